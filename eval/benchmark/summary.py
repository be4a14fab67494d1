"""Mean curves, BD-rates against an anchor, and the table of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import mean, median
from typing import Any, Final

import numpy as np

from ..metrics import Curve, bd_psnr, bd_rate, ms_ssim_db
from .rows import Row

__all__ = ["FIXED", "RULES", "Point", "Summary", "curves", "markdown", "summarise"]

FIXED: Final = (30.5, 37.0)
"""dB: the interval by which codecs can be ranked, since it is the same for all."""

TIMED_AT: Final = 34.0  # dB: seconds are given at the setting whose mean PSNR is nearest

RULES: Final = (
    "Bytes are those of real files; pictures were decoded from these files.",
    "PSNR is from the mean squared error over the three 8-bit RGB channels, per picture; PSNR-Y "
    "on 0.299 R + 0.587 G + 0.114 B.",
    "A point of a curve is the mean of bits per pixel and the mean of PSNR over all pictures at "
    "one setting.",
    "MS-SSIM and SSIM are pytorch-msssim's, range 255, mean over RGB; in dB as −10·log10(1 − m), "
    "on curves of the mean m. Pictures with a side of less than 161 pixels have no MS-SSIM; a "
    "curve with such pictures has none.",
    "BD-rate is the mean difference of ln(bits per pixel) at equal quality, PCHIP, over the "
    "interval printed beside it, which both curves cover; negative: fewer bits. BD-PSNR is the "
    "same with the axes exchanged. Intervals differ between codecs; only the column over "
    "30.5–37 dB ranks them.",
    "Seconds are processor seconds of one thread, libraries and weights loaded before; medians "
    "over pictures at the setting whose mean PSNR is nearest 34 dB. Memory is the rise of the "
    "resident peak during encoding or decoding, largest over pictures there.",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """Means over all pictures at one setting."""

    setting: str
    bpp: float
    psnr: float
    ms_ssim_db: float | None  # dB of the mean; None: some picture has none
    encode_s: float  # medians
    decode_s: float
    peak_memory_mb: float | None  # largest


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """One codec against the anchor. None: no common interval, or no such figure."""

    codec: str
    title: str
    version: str
    anchor: str
    points: int
    bd_rate_psnr: float | None  # per cent
    psnr_interval: tuple[float, float] | None  # dB
    bd_rate_psnr_fixed: float | None  # over `FIXED`
    bd_psnr: float | None  # dB
    bd_psnr_interval: tuple[float, float] | None  # bits per pixel
    bd_rate_ms_ssim: float | None
    ms_ssim_interval: tuple[float, float] | None  # dB
    bpp_range: tuple[float, float]
    encode_s: float
    decode_s: float
    peak_memory_mb: float | None


def curves(rows: Iterable[Row], pictures: int) -> dict[str, list[Point]]:
    """By codec, in order; settings that lack a picture, or whose PSNR is infinite, are left out.

    Args:
        pictures: how many a complete setting has.
    """
    groups: dict[str, dict[int, list[Row]]] = {}
    for row in rows:
        groups.setdefault(row.codec, {}).setdefault(row.order, []).append(row)
    return {
        codec: [
            point
            for _, group in sorted(by_order.items())
            if len(group) == pictures and np.isfinite((point := _point(group)).psnr)
        ]
        for codec, by_order in groups.items()
    }


def _point(rows: Sequence[Row]) -> Point:
    similarities = [row.ms_ssim for row in rows if row.ms_ssim is not None]
    memory = [row.peak_memory_mb for row in rows if row.peak_memory_mb is not None]
    whole = len(similarities) == len(rows)
    return Point(
        setting=rows[0].setting,
        bpp=mean(row.bpp for row in rows),
        psnr=mean(row.psnr_rgb for row in rows),
        ms_ssim_db=ms_ssim_db(mean(similarities)) if whole else None,
        encode_s=median(row.encode_s for row in rows),
        decode_s=median(row.decode_s for row in rows),
        peak_memory_mb=max(memory) if memory else None,
    )


def summarise(
    points: Mapping[str, Sequence[Point]],
    anchor: str,
    titles: Mapping[str, str],
    versions: Mapping[str, str],
) -> list[Summary]:
    """One entry per codec with a point, best over the fixed interval first, then by name."""
    base = points.get(anchor, ())
    found = [
        _summary(codec, curve, anchor, base, titles.get(codec, codec), versions.get(codec, ""))
        for codec, curve in points.items()
        if curve
    ]
    return sorted(
        found,
        key=lambda s: (s.bd_rate_psnr_fixed is None, s.bd_rate_psnr_fixed or 0.0, s.codec),
    )


def psnr_curve(points: Iterable[Point]) -> Curve:
    chosen = list(points)
    return [p.bpp for p in chosen], [p.psnr for p in chosen]


def ms_ssim_curve(points: Iterable[Point]) -> Curve:
    chosen = [(p.bpp, p.ms_ssim_db) for p in points if p.ms_ssim_db is not None]
    finite = [(bpp, db) for bpp, db in chosen if np.isfinite(db)]
    return [bpp for bpp, _ in finite], [db for _, db in finite]


def _summary(
    codec: str, curve: Sequence[Point], anchor: str, base: Sequence[Point], title: str, version: str
) -> Summary:
    by_psnr = bd_rate(psnr_curve(base), psnr_curve(curve))
    fixed = bd_rate(psnr_curve(base), psnr_curve(curve), FIXED)
    by_ms_ssim = bd_rate(ms_ssim_curve(base), ms_ssim_curve(curve))
    gain = bd_psnr(psnr_curve(base), psnr_curve(curve))
    timed = min(curve, key=lambda p: abs(p.psnr - TIMED_AT))
    return Summary(
        codec=codec,
        title=title,
        version=version,
        anchor=anchor,
        points=len(curve),
        bd_rate_psnr=_rounded(by_psnr.percent if by_psnr else None),
        psnr_interval=_interval(by_psnr),
        bd_rate_psnr_fixed=_rounded(fixed.percent if fixed else None),
        bd_psnr=_rounded(gain.decibel if gain else None, 3),
        bd_psnr_interval=_interval(gain, 4),
        bd_rate_ms_ssim=_rounded(by_ms_ssim.percent if by_ms_ssim else None),
        ms_ssim_interval=_interval(by_ms_ssim),
        bpp_range=(
            round(min(p.bpp for p in curve), 4),
            round(max(p.bpp for p in curve), 4),
        ),
        encode_s=timed.encode_s,
        decode_s=timed.decode_s,
        peak_memory_mb=timed.peak_memory_mb,
    )


def _rounded(value: float | None, digits: int = 2) -> float | None:
    return None if value is None else round(value, digits) + 0.0  # no minus in front of zero


def _interval(found: tuple[float, float, float] | None, digits: int = 2) -> Any:
    return None if found is None else (round(found[1], digits), round(found[2], digits))


HEAD: Final = (
    "codec",
    "BD-rate PSNR",
    "over, dB",
    "30.5–37 dB",
    "BD-PSNR, dB",
    "BD-rate MS-SSIM",
    "over, dB",
    "bits per pixel",
    "encode, s",
    "decode, s",
    "memory, MB",
)


def cells(summary: Summary) -> list[str]:
    """A row of the table, as `HEAD` names its columns."""

    def percent(value: float | None) -> str:
        return "–" if value is None else f"{value:+.1f} %".replace("-", "−")

    def interval(pair: tuple[float, float] | None, digits: int) -> str:
        return "–" if pair is None else f"{pair[0]:.{digits}f}–{pair[1]:.{digits}f}"

    s = summary
    gain = "–" if s.bd_psnr is None else f"{s.bd_psnr:+.2f}".replace("-", "−")
    return [
        s.title,
        percent(s.bd_rate_psnr),
        interval(s.psnr_interval, 1),
        percent(s.bd_rate_psnr_fixed),
        gain,
        percent(s.bd_rate_ms_ssim),
        interval(s.ms_ssim_interval, 1),
        interval(s.bpp_range, 2),
        f"{s.encode_s:.3f}",
        f"{s.decode_s:.3f}",
        "–" if s.peak_memory_mb is None else f"{s.peak_memory_mb:.0f}",
    ]


def markdown(summaries: Sequence[Summary], meta: Mapping[str, Any], pictures: int) -> str:
    """A page: the table, how it was measured, versions and notes."""
    anchor = meta["titles"].get(meta["anchor"], meta["anchor"])
    lines = [
        f"# {pictures} pictures of {meta['dataset']}: rate and distortion",
        "",
        f"BD-rates against {anchor}; {meta['machine']}; {meta['date']}.",
        "",
        "| " + " | ".join(HEAD) + " |",
        "|" + "---|" * len(HEAD),
        *("| " + " | ".join(cells(s)) + " |" for s in summaries),
        "",
        "![PSNR](plots/psnr.png)",
        "",
        "![MS-SSIM](plots/ms-ssim.png)",
        "",
        "## How it was measured",
        "",
        *(f"* {rule}" for rule in RULES),
        "",
        "## Versions and settings",
        "",
        *(f"* {s.title}: {meta['settings'].get(s.codec, '')} ({s.version})" for s in summaries),
    ]
    if meta["notes"]:
        lines += ["", "## Notes", "", *(f"* {note}" for note in meta["notes"])]
    return "\n".join(lines) + "\n"


def records(summaries: Sequence[Summary]) -> list[dict[str, Any]]:
    """As dictionaries, for JSON and CSV."""
    return [asdict(s) for s in summaries]
