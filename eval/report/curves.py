"""Figures of the report that are not in the rows as they stand: means, pairs, speeds, scatter."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..metrics import bd_rate
from .results import METRICS, OURS, Results, Row, is_ours

__all__ = ["Pair", "Speed", "default_peers", "matched", "points", "scatter", "speed"]

LOW_RATES = (0.22, 0.42)
"""Bits per pixel at which pictures are shown: low enough that codecs differ to the eye."""

AIM = 0.32
MATCHED_RATES = (0.25, 0.5, 1.0)
SPEED_AT = 34.0
"""dB: seconds are compared at the setting whose mean PSNR is nearest to this."""

HARDNESS_AT = 34.0
"""dB: a picture is the harder the more bits a peer needs for this PSNR."""


def points(results: Results, codec: str) -> list[dict[str, Any]]:
    """A codec's curve: per setting, by `order`, the rate and each measure of every picture.

    Returns:
        [{setting, bpp, psnr_rgb, …}], each measure a list in the order of `results.images`, None
        where there is none.
    """
    place = {name: n for n, name in enumerate(results.images)}
    by: dict[int, list[Row]] = {}
    for row in results.rows:
        if row.codec == codec:
            by.setdefault(row.order, []).append(row)
    out = []
    for order in sorted(by):
        values: dict[str, Any] = {"setting": by[order][0].setting}
        for name in ("bpp", *METRICS):
            column: list[float | None] = [None] * len(place)
            for row in by[order]:
                value = getattr(row, name)
                column[place[row.image]] = None if value is None else round(float(value), 5)
            values[name] = column
        out.append(values)
    return out


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """Megapixels per second at `setting`, whose mean PSNR is nearest to `SPEED_AT`; MB."""

    setting: str
    encode: float | None
    decode: float | None
    memory: float | None


def speed(results: Results, codec: str) -> Speed:
    """Medians over pictures at about equal quality; of memory the largest."""
    by: dict[int, list[Row]] = {}
    for row in results.rows:
        if row.codec == codec:
            by.setdefault(row.order, []).append(row)

    def distance(order: int) -> float:
        values = [r.psnr_rgb for r in by[order] if r.psnr_rgb is not None]
        return abs(float(np.mean(values)) - SPEED_AT) if values else math.inf

    rows = by[min(by, key=distance)]

    def rate(seconds: Callable[[Row], float | None]) -> float | None:
        timed = [r.width * r.height / s / 1e6 for r in rows if (s := seconds(r))]
        return float(np.median(timed)) if timed else None

    memory = [r.peak_memory_mb for r in rows if r.peak_memory_mb]
    return Speed(
        setting=rows[0].setting,
        encode=rate(lambda r: r.encode_s),
        decode=rate(lambda r: r.decode_s),
        memory=max(memory) if memory else None,
    )


def scatter(results: Results, peer: str) -> list[dict[str, Any]]:
    """Ours against a peer, picture by picture.

    Returns:
        [{image, hardness, bd_psnr, bd_ms_ssim, at_0.25, …}]: bits per pixel that the peer needs
        for `HARDNESS_AT` dB; BD-rates in per cent by PSNR and by MS-SSIM in dB; PSNR differences
        in dB at equal rates, interpolated. None where the curves do not reach.
    """
    out = []
    for image in results.images:
        mine, theirs = (
            {m: _curve(results.rows, c, image, m) for m in ("psnr_rgb", "ms_ssim_db")}
            for c in (OURS, peer)
        )
        item: dict[str, Any] = {"image": image}
        rates, values = theirs["psnr_rgb"]
        item["hardness"] = _exp(_at(values, [math.log(r) for r in rates], HARDNESS_AT))
        for name, metric in (("bd_psnr", "psnr_rgb"), ("bd_ms_ssim", "ms_ssim_db")):
            bd = None
            if min(len(mine[metric][0]), len(theirs[metric][0])) > 1:
                bd = bd_rate(theirs[metric], mine[metric])
            item[name] = None if bd is None else round(bd.percent, 3)
        for rate in MATCHED_RATES:
            pair = [
                _at([math.log(r) for r in rs], vs, math.log(rate))
                for rs, vs in (mine["psnr_rgb"], theirs["psnr_rgb"])
            ]
            a, b = pair
            item[f"at_{rate:g}"] = None if a is None or b is None else round(a - b, 3)
        out.append(item)
    return out


def _curve(
    rows: Iterable[Row], codec: str, image: str, metric: str
) -> tuple[list[float], list[float]]:
    kept = sorted(
        (r.bpp, value)
        for r in rows
        if r.codec == codec and r.image == image and (value := getattr(r, metric)) is not None
    )
    return [b for b, _ in kept], [v for _, v in kept]


def _at(xs: Sequence[float], ys: Sequence[float], x: float) -> float | None:
    """Piecewise linear; None outside of the points."""
    if len(xs) < 2 or not min(xs) <= x <= max(xs):
        return None
    order = np.argsort(xs)
    return float(np.interp(x, np.asarray(xs)[order], np.asarray(ys)[order]))


def _exp(value: float | None) -> float | None:
    return None if value is None else round(math.exp(value), 4)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Files of one picture at nearly equal bytes: ours, and one of each peer."""

    ours: Row
    peers: tuple[Row, ...]


def matched(results: Results, image: str, peers: Sequence[str]) -> Pair | None:
    """Our file at a low rate, and each peer's file nearest to it in bytes.

    Among our files within `LOW_RATES` the one whose peers come nearest is taken, those near `AIM`
    preferred; where there is none, the one nearest to `AIM`.
    """
    rows = [r for r in results.rows if r.image == image and r.file is not None]
    mine = [r for r in rows if r.codec == OURS]
    if not mine:
        return None
    low = [r for r in mine if LOW_RATES[0] <= r.bpp <= LOW_RATES[1]]
    low = low or [min(mine, key=lambda r: abs(math.log(r.bpp / AIM)))]

    def nearest(ours: Row, codec: str) -> Row | None:
        theirs = [r for r in rows if r.codec == codec]
        return min(theirs, key=lambda r: _apart(r, ours), default=None)

    def pair(ours: Row) -> Pair:
        found = (nearest(ours, codec) for codec in peers)
        return Pair(ours=ours, peers=tuple(r for r in found if r))

    def cost(p: Pair) -> float:
        worst = max((_apart(r, p.ours) for r in p.peers), default=0.0)
        return worst + 0.1 * abs(math.log(p.ours.bpp / AIM))

    return min(map(pair, low), key=cost)


def _apart(a: Row, b: Row) -> float:
    return abs(math.log(a.bytes / b.bytes))


def default_peers(results: Results, usable: Callable[[str], bool]) -> list[str]:
    """The anchor, and the codec of others with the lowest BD-rate by PSNR.

    Args:
        usable: whether a codec can decode here; those that cannot, or have no files, are passed
            over.
    """
    known = {r.codec for r in results.rows if r.file is not None and not is_ours(r.codec)}
    known = {codec for codec in known if usable(codec)}
    best = sorted(
        (s.bd_rate_psnr, s.codec)
        for s in results.summary
        if s.codec in known and s.codec != results.anchor and s.bd_rate_psnr is not None
    )
    peers = [results.anchor] if results.anchor in known else []
    peers += [best[0][1]] if best else []
    return peers or sorted(known)[:2]
