"""Normal distributions as integer tables, the same on every machine. NumPy and Python integers.

A value is coded as its distance, in cells, from the rounded mean. Cells have frequencies that sum
to 2^24, from a cumulative table that is itself made with integers; end cells are open (Eq. 15 of
arXiv 2302.09976).
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]

PRECISION = 24
"""Frequencies sum to 2^24, as the entropy coder has them."""

INDICES = 64
SMALLEST, LARGEST = 0.08, 320.0
LOG_RATIO = math.log(LARGEST / SMALLEST) / (INDICES - 1)
"""A scale index i stands for a deviation of 0.08·e^(i·LOG_RATIO) cells."""

ESCAPE = 2**8
"""Frequency of the escape, for values beyond the reach."""

REACH = 5.0
"""Deviations from the mean that a table covers."""

_RESOLUTION = 256  # entries of the cumulative table per deviation
_SPAN = 8  # deviations that it covers
_ONE = 2**30


def deviation(index: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Cells that a scale index stands for."""
    return SMALLEST * np.exp(LOG_RATIO * np.asarray(index, np.float64))


def index_of(cells: float) -> float:
    """The real-valued scale index of a deviation in cells."""
    return math.log(cells / SMALLEST) / LOG_RATIO


@lru_cache(maxsize=1)
def cumulative() -> Ints:
    """Φ at −8, −8 + 1/256, …, 8, in units of 2^−30, rounded; (4097,).

    Φ(x) = 1/2 + Σ (−1)^k x^(2k+1) / (√(2π) 2^k k! (2k+1)) in whole numbers of 2^−256, so that no
    library's exp or erf is asked.
    """
    bits = 256
    one = 1 << bits

    # π by Machin's formula
    def arctan_inverse(n: int) -> int:
        total, power, k = 0, one // n, 0
        while power:
            total += (power if k % 2 == 0 else -power) // (2 * k + 1)
            power, k = power // (n * n), k + 1
        return total

    pi = 4 * (4 * arctan_inverse(5) - arctan_inverse(239))
    root = math.isqrt(2 * pi << bits)  # √(2π) in 2^−256
    half = []
    for i in range(_SPAN * _RESOLUTION + 1):
        term, total, k = one * i // _RESOLUTION, 0, 0  # term: x^(2k+1) / (2^k k!)
        while term:
            total += (term if k % 2 == 0 else -term) // (2 * k + 1)
            k += 1
            term = term * i * i // (2 * k * _RESOLUTION * _RESOLUTION)
        half.append(((total * _ONE << 1) // root + 1) >> 1)
    upper = np.array(half, np.int64)
    return np.concatenate([_ONE // 2 - upper[:0:-1], _ONE // 2 + upper])


class NormalTables:
    """Frequencies of cells.

    Args:
        inverse: (n,), for each scale index 2^18 / deviation, rounded: stored with the weights.
    """

    def __init__(self, inverse: Ints) -> None:
        self.inverse = inverse
        cells = 2.0**18 / inverse
        self.reach = (2**18 * int(REACH) // inverse + 2).astype(np.int64)
        # the mean is kept to 1/16 of a cell only where that matters: a mean that is off by d
        # costs d² / (2 σ² ln 2) bits
        self.mean_step = np.where(cells >= 4, 16, np.where(cells >= 1, 4, 1)).astype(np.int64)

    def frequencies(self, index: int, phase: int, low: int, high: int, escape: bool) -> Ints:
        """Of the cells low…high around the rounded mean, and of the escape.

        Args:
            phase: the mean above the rounded mean, −8…7 sixteenths of a cell.
            low, high: at most 0, at least 0; the end cells take all that lies beyond them.

        Returns:
            (high − low + 1 (+ 1),), positive, sum 2^24.
        """
        n = high - low + 1
        edges = 16 * np.arange(low + 1, high + 1, dtype=np.int64) - 8 - phase
        z = (edges * self.inverse[index]) >> 6  # 2^−16 of a deviation
        z = np.clip(z, -_SPAN * 2**16, _SPAN * 2**16 - 1) + _SPAN * 2**16
        table, place, part = cumulative(), z >> 8, z & 255
        f = (table[place] * (256 - part) + table[place + 1] * part) >> 8
        free = 2**PRECISION - n - (ESCAPE if escape else 0)
        inner = ((f * free) >> 30) + np.arange(1, n, dtype=np.int64)
        ends = [2**PRECISION - ESCAPE, 2**PRECISION] if escape else [2**PRECISION]
        return np.diff(np.concatenate([[0], inner, ends]))


def stored_inverse(deviations: npt.NDArray[np.float64]) -> Ints:
    """What `NormalTables` needs, from deviations in cells; made when a model is stored."""
    return np.rint(2.0**18 / deviations).astype(np.int64)
