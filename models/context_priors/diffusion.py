"""The Gaussian diffusion process: schedule, and Eqs. 11–12 of arXiv 2302.09976 in integers.

y0 is the context scaled to [−1, 1]; y_t for t ≥ 1 lives on a grid of 2^−grid_bits. Our t counts
from 1 as the paper's; arrays begin with t = 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .normal import INDICES, LOG_RATIO, SMALLEST, deviation, stored_inverse

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

SHIFT = 14
"""Stored coefficients count in 2^−14."""

LAST_SIGNAL = 0.005
"""ᾱ_T: what is left of the variance of y0 in y_T."""

HEAD_BITS = 8
"""The network's output v counts in 2^−8."""

LIMIT = 20
"""Predictions of y0 are clamped to ±LIMIT/16."""


@dataclass(frozen=True)
class Schedule:
    """β_t, linear from `first` to the value at which ᾱ_T = LAST_SIGNAL.

    The usual 10⁻⁴…0.02 scaled by 1000/T exceeds 1 for T below 20, so the end is solved for.
    """

    steps: int
    first: float

    @property
    def betas(self) -> Floats:
        low, high = self.first, 0.9999
        for _ in range(60):
            last = (low + high) / 2
            signal = np.prod(1 - np.linspace(self.first, last, self.steps))
            low, high = (last, high) if signal > LAST_SIGNAL else (low, last)
        return np.linspace(self.first, high, self.steps)

    @property
    def alpha_bars(self) -> Floats:
        return np.asarray(np.cumprod(1 - self.betas), np.float64)

    @property
    def before(self) -> Floats:
        """ᾱ_{t−1}; ᾱ_0 = 1."""
        return np.concatenate([[1.0], self.alpha_bars[:-1]])

    @property
    def posterior(self) -> tuple[Floats, Floats, Floats]:
        """Eq. 12: factors of y0 and of y_t in the mean of q(y_{t−1}|y_t, y0), and its variance."""
        b, a, p = self.betas, self.alpha_bars, self.before
        return (
            np.sqrt(p) * b / (1 - a),
            np.sqrt(1 - b) * (1 - p) / (1 - a),
            (1 - p) / (1 - a) * b,
        )


@dataclass(frozen=True, eq=False)
class Conditioning:
    """What a linear denoiser knows of each coefficient; the network gives the rest.

    y0 is predicted as skip·y_t + out·v with v the network's output (arXiv 2206.00364, for data of
    deviation s): skip = s²√ᾱ / (s²ᾱ + 1 − ᾱ), out = s√(1−ᾱ) / √(s²ᾱ + 1 − ᾱ), so that v = 0 is
    already the best linear guess. Arrays are (T, channels, rows, columns), the last two maybe 1.
    """

    skip: Floats
    out: Floats
    index: Floats  # scale index that the network's is added to, whole numbers

    @classmethod
    def of(cls, schedule: Schedule, grid_bits: int, ranges: Ints, spread: Floats) -> Conditioning:
        """spread: deviations s of y0, (channels, rows or 1, columns or 1)."""
        a = schedule.alpha_bars[:, None, None, None]
        total = spread**2 * a + 1 - a
        skip, out = spread**2 * np.sqrt(a) / total, spread * np.sqrt((1 - a) / total)
        p0, _, variance = (x[:, None, None, None] for x in schedule.posterior)
        deviations = np.sqrt(variance + (p0 * out) ** 2) * 2.0**grid_bits
        deviations[0] = np.maximum(out[0] * ranges[:, None, None], 0.3)
        index = np.log(deviations / SMALLEST) / LOG_RATIO
        return cls(skip, out, np.rint(np.clip(index, 0, INDICES - 1)))


@dataclass(frozen=True, eq=False)
class IntegerDiffusion:
    """The process as files are coded by it: whole numbers, made once when a prior is stored.

    Means are in sixteenths of a cell, y_t in cells of 2^−grid_bits.
    """

    steps: int
    grid_bits: int
    ranges: Ints  # (channels,): the symbol that y0 = 1 stands for
    skip: Ints  # (T, channels, rows, columns): see `Conditioning`
    out: Ints  # the same, in sixteenths of a cell per unit of the head
    index: Ints  # the same, whole
    posterior0: Ints  # (T,): Eq. 12, factor of y0
    posteriort: Ints  # (T,): Eq. 12, factor of y_t
    forward0: Ints  # (channels,): sixteenths of a cell of y1 per symbol
    forward: Ints  # (T,): √(1 − β_t)
    inverse: Ints  # (64 + T + 1,): `normal.NormalTables`; then √β_t; then y_T's

    @classmethod
    def make(
        cls, schedule: Schedule, grid_bits: int, ranges: Ints, known: Conditioning
    ) -> IntegerDiffusion:
        one, cells = 2.0**SHIFT, 2.0**grid_bits
        c0, ct, _ = schedule.posterior
        own = np.concatenate([np.sqrt(schedule.betas), [1.0]]) * cells

        def ints(x: Floats) -> Ints:
            return np.rint(x * one).astype(np.int64)

        return cls(
            schedule.steps,
            grid_bits,
            ranges.astype(np.int64),
            ints(known.skip),
            ints(known.out * 16 * cells / 2**HEAD_BITS),
            known.index.astype(np.int64),
            ints(c0),
            ints(ct),
            ints(16 * cells * np.sqrt(1 - schedule.betas[0]) / ranges),
            ints(np.sqrt(1 - schedule.betas)),
            np.concatenate([stored_inverse(deviation(np.arange(INDICES))), stored_inverse(own)]),
        )

    def conditioning(self) -> Conditioning:
        """As real numbers, as near as they are stored."""
        unit = 2.0 ** (HEAD_BITS - SHIFT - 4 - self.grid_bits)
        skip, out, index = (x.astype(np.float64) for x in (self.skip, self.out, self.index))
        return Conditioning(skip / 2.0**SHIFT, out * unit, index)

    def forward_mean(self, t: int, y: Ints) -> Ints:
        """Of q(y_t|y_{t−1}), in sixteenths of a cell; y: symbols for t = 1, else cells."""
        if t == 1:
            return _rounded(y * self.forward0[:, None, None])
        return _rounded(16 * y * self.forward[t - 1])

    def forward_index(self, t: int) -> int:
        """Scale index of q(y_t|y_{t−1})."""
        return INDICES + t - 1

    @property
    def last_index(self) -> int:
        """Scale index of p(y_T)."""
        return INDICES + self.steps

    def reverse_mean(self, t: int, y: Ints, v: Ints) -> Ints:
        """Of p(y_{t−1}|y_t): y0 = skip·y_t + out·v, and Eq. 12 gives the mean from it and y_t.

        Returns:
            sixteenths of a symbol for t = 1, else of a cell.
        """
        k = t - 1
        y0 = _rounded(16 * y * self.skip[k] + v * self.out[k])
        limit = LIMIT << self.grid_bits
        y0 = np.clip(y0, -limit, limit)
        if t == 1:
            half = 1 << (self.grid_bits - 1)
            return np.asarray((y0 * self.ranges[:, None, None] + half) >> self.grid_bits)
        return _rounded(y0 * self.posterior0[k] + 16 * y * self.posteriort[k])

    def reverse_index(self, t: int, s: Ints) -> Ints:
        """Scale indices of p(y_{t−1}|y_t) from the network's."""
        return np.asarray(np.clip(self.index[t - 1] + s, 0, INDICES - 1))


def _rounded(x: Ints) -> Ints:
    return np.asarray((x + (1 << (SHIFT - 1))) >> SHIFT)
