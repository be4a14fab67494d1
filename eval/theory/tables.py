"""Tables of docs/theory.md from the rows of the study."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace

import numpy as np

from .nonlinear import RunConfig
from .study import Row, Sweep, key, sweeps, text

SIGNS = {"beta": "β", "beta2": "β₂", "decoder_std": "η_dec", "context_kept": "K"}


def sign(sweep: Sweep) -> str:
    """The setting of a sweep as formulas write it."""
    two = sweep.configs[0].kind == "two latents"
    return "β₁" if two and sweep.setting == "beta" else SIGNS[sweep.setting]


def rows_of(cfg: RunConfig, rows: Iterable[Row]) -> list[Row]:
    """Rows of a configuration, whatever the seed."""
    found = []
    for row in rows:
        mine = replace(cfg, seed=int(row["seed"]))
        if key(row) == key(text(asdict(mine))):
            found.append(row)
    return found


def spread(rows: Sequence[Row], name: str, digits: int = 1) -> str:
    """Mean ± sample standard deviation over seeds; the mean alone where there is one seed."""
    values = np.array([float(r[name]) for r in rows])
    mean = f"{values.mean():.{digits}f}"
    return mean if len(values) < 2 else f"{mean} ± {values.std(ddof=1):.{digits}f}"


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; the first row is the head."""
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])


def linear_table(rows: Sequence[Row]) -> str:
    """Dimensions in use as predicted and found, and the largest differences."""
    out = [["model", "setting", "in use, predicted", "in use, trained", "largest difference of a "
            "singular value", "objective above the optimum, relative"]]  # fmt: skip
    for r in rows:
        out.append(
            [
                r["model"].rsplit(",", 1)[0] if r["model"].count(",") else r["model"],
                f"{setting_of(r)} = {r['setting']}{at_of(r)}",
                r["predicted"],
                r["found"],
                r["difference"],
                r["objective_gap"],
            ]
        )
    return markdown(out)


def setting_of(row: Row) -> str:
    """`β`, `K`, `β₂` or `β₁`: what a linear row varies."""
    return row["model"].rsplit(", ", 1)[1].split(" ")[0]


def at_of(row: Row) -> str:
    tail = row["model"].rsplit(", ", 1)[1].split(" ", 1)
    return f" {tail[1]}" if len(tail) > 1 else ""


def nonlinear_table(rows: Sequence[Row]) -> str:
    """A line per configuration: what linear theory predicts, and means over seeds."""
    out = [["runs", "setting", "in use, linear theory", "active units", "in use by (ε, δ)",
            "directions", "divergence, nats", "squared error"]]  # fmt: skip
    for sweep in sweeps():
        for cfg in sweep.configs:
            mine = rows_of(cfg, rows)
            if not mine:
                continue
            alive = [{**r, "alive": str(int(r["latents"]) - int(r["collapsed"]))} for r in mine]
            out.append(
                [
                    sweep.name,
                    f"{sign(sweep)} = {getattr(cfg, sweep.setting):g}",
                    mine[0]["predicted"],
                    spread(mine, "active"),
                    spread(alive, "alive"),
                    spread(mine, "directions"),
                    spread(mine, "divergence", 2),
                    spread(mine, "error"),
                ]
            )
    return markdown(out)


def codec_table(rows: Sequence[Row]) -> str:
    """Per quality and layer: expected share of channels in use / share that files use, in %."""
    if not rows:
        return ""
    layers = sorted({int(r["layer"]) for r in rows})
    out = [["quality", "D", "context", *(f"layer {n}" for n in layers[1:])]]
    for quality in dict.fromkeys(r["quality"] for r in rows):
        mine = [r for r in rows if r["quality"] == quality]
        cells = [f"{100 * float(r['expected']):.0f} / {100 * float(r['in_use']):.0f}" for r in mine]
        out.append([quality, mine[0]["level"], *cells])
    return markdown(out)
