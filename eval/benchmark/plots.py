"""Curves as pictures: PSNR and MS-SSIM against rate, rate against speed; PNG and SVG."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ...codec.errors import UsageError
from ..metrics import Curve
from .peers.ours import NAME
from .published import Published
from .summary import Point, Summary, ms_ssim_curve, psnr_curve

__all__ = ["draw"]


def draw(
    folder: Path,
    points: Mapping[str, Sequence[Point]],
    titles: Mapping[str, str],
    summaries: Sequence[Summary],
    overlay: Sequence[Published],
    subject: str,
) -> list[Path]:
    """psnr, ms-ssim and speed, each as .png and .svg.

    Args:
        points: curves by codec.
        overlay: published curves, drawn dashed.
        subject: what the means are over, for the title.

    Raises:
        UsageError: matplotlib is not installed.
    """
    try:
        import matplotlib
    except ImportError:
        raise UsageError("plots need matplotlib: pip install 'dctcodec[eval]'") from None
    # No pyplot: it would choose a backend for the whole process.
    with matplotlib.rc_context({"svg.hashsalt": "dctcodec", "font.size": 9}):
        return [
            *_curves(
                folder / "psnr",
                {titles.get(c, c): psnr_curve(p) for c, p in points.items()},
                {p.title: _split(p.psnr) for p in overlay},
                "PSNR, dB",
                f"{subject}: PSNR",
            ),
            *_curves(
                folder / "ms-ssim",
                {titles.get(c, c): ms_ssim_curve(p) for c, p in points.items()},
                {
                    str(r["title"]): _split(r["points"])
                    for p in overlay
                    for r in p.records()
                    if r["metric"] == "ms_ssim_db"
                },
                "MS-SSIM, dB",
                f"{subject}: MS-SSIM",
            ),
            *_speed(folder / "speed", summaries, f"{subject}: bits against time"),
        ]


def _split(points: Sequence[tuple[float, float]]) -> Curve:
    return [bpp for bpp, _ in points], [value for _, value in points]


def _curves(
    path: Path,
    measured: Mapping[str, Curve],
    published: Mapping[str, Curve],
    label: str,
    title: str,
) -> list[Path]:
    from matplotlib.ticker import LogLocator

    def content(axes: Any) -> None:
        for n, (name, (bpp, value)) in enumerate(measured.items()):
            if bpp:
                ours = {"linewidth": 2.4, "color": "black", "zorder": 5} if name == NAME else {}
                style = {"color": f"C{n % 10}", "marker": "os^v"[n // 10 % 4], "markersize": 3}
                axes.plot(bpp, value, **{**style, **ours, "label": name})
        for n, (name, (bpp, value)) in enumerate(published.items()):
            axes.plot(
                bpp, value, linestyle="--", linewidth=0.9, color=f"C{n % 10}", alpha=0.7,
                label=f"{name}, published",
            )  # fmt: skip
        axes.set(xscale="log", xlabel="bits per pixel", ylabel=label, title=title)
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter("")

    return _save(path, content)


def _speed(path: Path, summaries: Sequence[Summary], title: str) -> list[Path]:
    shown = [s for s in summaries if s.bd_rate_psnr_fixed is not None]

    def content(axes: Any) -> None:
        for n, s in enumerate(shown):
            color = "black" if s.codec == NAME else f"C{n % 10}"
            for seconds, marker in ((s.encode_s, "o"), (s.decode_s, "v")):
                axes.plot(max(seconds, 1e-4), s.bd_rate_psnr_fixed, marker=marker, color=color)
            axes.plot(
                [max(s.encode_s, 1e-4), max(s.decode_s, 1e-4)],
                [s.bd_rate_psnr_fixed] * 2,
                color=color,
                linewidth=0.8,
                label=s.title,
            )
        axes.set(
            xscale="log",
            xlabel="processor seconds per picture: ▼ decode, ● encode",
            ylabel="BD-rate by PSNR over 30.5–37 dB, %",
            title=title,
        )

    return _save(path, content)


def _save(path: Path, content: Callable[[Any], None]) -> list[Path]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.5, 5.5), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    content(axes)
    axes.grid(alpha=0.3, which="both")
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1.01, 0.5))
    path.parent.mkdir(parents=True, exist_ok=True)
    out = []
    for suffix, metadata in ((".png", {"Software": None}), (".svg", {"Date": None})):
        figure.savefig(path.with_suffix(suffix), metadata=metadata)
        out.append(path.with_suffix(suffix))
    return out
