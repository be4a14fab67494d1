"""A peer's file of the size that ours has, from a level between those of its curve."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from ...codec.errors import DctcodecError
from .results import Row

__all__ = ["Encoder", "encode_file", "nearer"]

Encoder = Callable[[str, npt.NDArray[np.uint8], float], bytes]
"""(codec, uint8 (height, width, 3), level) → file."""

PATIENCE = 2.0
"""Seconds: a codec that takes longer for one file keeps those it has."""


def encode_file(codec: str, pixels: npt.NDArray[np.uint8], level: float) -> bytes:
    """A file by the benchmark's peer of that name."""
    from ..benchmark import peers

    peer = peers.by_name(codec)
    peer.check(level)
    return peer.encode(pixels, level)


def nearer(
    rows: Sequence[Row], pixels: npt.NDArray[np.uint8], target: int, encode: Encoder
) -> tuple[bytes, str] | None:
    """The file nearest to `target` bytes, by bisection over the whole levels between two rows.

    Args:
        rows: of one picture and one codec.

    Returns:
        the file and its level; None where no level between them comes nearer than the rows do, or
        the codec is too slow to look for one.
    """
    known = sorted((r.bytes, level) for r in rows if (level := _level(r.setting)) is not None)
    below = [k for k in known if k[0] <= target]
    above = [k for k in known if k[0] > target]
    if not below or not above:
        return None
    a, b = below[-1], above[0]
    if max((r.encode_s or 0.0) for r in rows) > PATIENCE:
        return None
    best, found = min(_apart(k[0], target) for k in known), None
    low, high = a[1], b[1]
    while abs(high - low) > 1:
        middle = float(round((low + high) / 2))
        if middle in (low, high):
            break
        try:
            data = encode(rows[0].codec, pixels, middle)
        except DctcodecError:  # a label that is not the level as its codec counts
            return found
        if _apart(len(data), target) < best:
            best, found = _apart(len(data), target), (data, f"{middle:g}")
        if len(data) <= target:
            low = middle
        else:
            high = middle
    return found


def _level(setting: str) -> float | None:
    try:
        return float(setting)
    except ValueError:
        return None


def _apart(size: int, target: int) -> float:
    return abs(math.log(size / target))
