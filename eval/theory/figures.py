"""Figures of docs/theory.md. Needs matplotlib (extra `eval`)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .study import Row, Sweep, sweeps
from .tables import rows_of, sign


def _canvas(rows: int, columns: int) -> tuple[Any, Any]:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    return pyplot.subplots(
        rows, columns, figsize=(4.2 * columns, 3.2 * rows), layout="constrained", squeeze=False
    )


def _save(figure: Any, path: Path) -> None:
    from matplotlib import pyplot

    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110, metadata={"Software": None})
    pyplot.close(figure)


def linear_figure(rows: Sequence[Row], path: Path) -> None:
    """Singular values of the decoder by dimension: lines predicted, dots trained."""
    models = list(dict.fromkeys(r["model"] for r in rows))
    figure, axes = _canvas(-(-len(models) // 2), 2)
    for ax in axes.flat[len(models) :]:
        ax.axis("off")
    for ax, model in zip(axes.flat, models, strict=False):
        for n, row in enumerate(r for r in rows if r["model"] == model):
            expected = np.array(list(map(float, row["expected_values"].split())))
            found = np.array(list(map(float, row["found_values"].split())))
            place = np.arange(1, len(expected) + 1)
            ax.plot(place, expected, color=f"C{n}", lw=1, label=row["setting"])
            ax.plot(place, found, "o", color=f"C{n}", ms=3.5)
        title, varied = model.rsplit(", ", 1)
        ax.set_title(f"{title}: {varied}", fontsize=10)
        ax.set_xticks([1, 4, 8, 12, 16])
        ax.set_xlabel("dimension of the latent")
        ax.set_ylabel("singular value of its decoder")
        ax.legend(title=varied.split(" ")[0], fontsize=7, title_fontsize=8)
    _save(figure, path)


def _dots(ax: Any, sweep: Sweep, rows: Sequence[Row], color: str, label: str) -> None:
    line, points, turned = [], [], []
    for cfg in sweep.configs:
        x = float(getattr(cfg, sweep.setting))
        for row in rows_of(cfg, rows):
            points.append((x, float(row["active"])))
            turned.append((x, float(row["directions"])))
            line.append((x, float(row["predicted"])))
    if not points:
        return
    predicted = sorted(set(line))
    ax.plot(*zip(*predicted, strict=True), color=color, lw=1, ls="--", label=f"{label}: linear")
    ax.plot(*zip(*points, strict=True), "o", color=color, ms=4, alpha=0.7, label=f"{label}: units")
    ax.plot(*zip(*turned, strict=True), "x", color=color, ms=5, label=f"{label}: directions")


def nonlinear_figure(rows: Sequence[Row], path: Path) -> None:
    """Nonlinear VAEs by setting: active units (dots) and directions (crosses) of each seed.

    Dashed: dimensions in use by linear theory.
    """
    by_name = {s.name: s for s in sweeps()}
    panels = [
        ("one latent", ["one latent, learned variance", "one latent, fixed variance"]),
        ("one latent, β = 1", ["one latent, decoder deviation"]),
        ("conditional on K×K DCT coefficients", ["conditional on a DCT context"]),
        (
            "two latents: z₂",
            ["two latents, β₂, learned variance", "two latents, β₂, fixed variance"],
        ),
        (
            "two latents: z₂",
            [
                "two latents, β₁, learned variance",
                "two latents, β₁ at β₂ = 4",
                "two latents, β₁ at β₂ = 4, begun at β₂ = 0.25",
            ],
        ),
    ]
    figure, axes = _canvas(2, 3)
    axes.flat[-1].axis("off")
    for ax, (title, names) in zip(axes.flat, panels, strict=False):
        for n, name in enumerate(names):
            label = name.rsplit(", ", 1)[-1] if len(names) > 1 else "learned variance"
            label = "β₂ = 1" if name == "two latents, β₁, learned variance" else label
            label = "β₂ = 4" if name.endswith("β₂ = 4") else label
            label = "β₂ = 4, begun at 0.25" if name.endswith("begun at β₂ = 0.25") else label
            _dots(ax, by_name[name], rows, f"C{n}", label)
        sweep = by_name[names[0]]
        if sweep.setting != "context_kept":
            ax.set_xscale("log", base=2)
        ax.set_xlabel(sign(sweep))
        ax.set_ylabel("in use, of 16")
        ax.set_ylim(-0.5, 16.5)
        ax.set_title(title, fontsize=10)
        if len(names) < 3:
            ax.legend(fontsize=7)
        else:  # too long to lie on the dots
            axes.flat[-1].legend(*ax.get_legend_handles_labels(), title=title, loc="center left")
    _save(figure, path)
