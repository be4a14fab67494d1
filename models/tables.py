"""Integer probability tables: made once when a model is stored, never when a file is read.

A table belongs to a scale index 0…63 and a phase. Phases 0…15 are for context symbols: integers
around a mean that lies (phase − 8)/16 above an integer. Phase 16 is for latents, which are coded
about their mean. Symbols −reach…reach, then an escape; frequencies are positive and sum to 2^16.
NumPy only.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

TABLE_SUM = 2**16
PHASES = 17
CENTRE_PHASE = 8
"""The phase of a context mean that is an integer."""

LATENT_PHASE = 16

MOST_REACH = 1000


@dataclass(frozen=True, slots=True)
class Tables:
    """All tables of a model.

    reach: (64,) largest magnitude coded without escape; frequencies: uint16, all tables one after
    another, scale index outermost, each 2·reach + 2 long; skip_below: symbols whose scale index is
    smaller are not coded (they are the rounded mean).
    """

    reach: npt.NDArray[np.int32]
    frequencies: npt.NDArray[np.uint16]
    skip_below: int

    def __post_init__(self) -> None:
        sizes = np.repeat(2 * self.reach.astype(np.int64) + 2, PHASES)
        if int(sizes.sum()) != len(self.frequencies):
            raise ValueError(f"{len(self.frequencies)} frequencies, {int(sizes.sum())} expected")
        starts = np.concatenate([[0], np.cumsum(sizes)])
        sums = np.add.reduceat(self.frequencies.astype(np.int64), starts[:-1])
        if not (sums == TABLE_SUM).all() or int(self.frequencies.min()) < 1:
            raise ValueError("frequencies are not positive or do not sum to 2^16")

    def table(self, scale_index: int, phase: int) -> npt.NDArray[np.int64]:
        """Frequencies of −reach…reach and of the escape."""
        size = 2 * self.reach.astype(np.int64) + 2
        start = int((size[:scale_index] * PHASES).sum() + size[scale_index] * phase)
        return self.frequencies[start : start + int(size[scale_index])].astype(np.int64)

    def costs(self) -> npt.NDArray[np.float32]:
        """Bits of latents of magnitude 0…MOST_REACH+1, (64, MOST_REACH + 2).

        Beyond the reach: the escape's bits and the length of its code.
        """
        out = np.zeros((len(self.reach), MOST_REACH + 2), np.float32)
        for i, reach in enumerate(self.reach):
            if i < self.skip_below:
                continue  # never coded
            bits = 16 - np.log2(self.table(i, LATENT_PHASE))
            out[i, : reach + 1] = bits[reach : 2 * reach + 1]
            rest = np.arange(MOST_REACH + 1 - reach)
            out[i, reach + 1 :] = bits[-1] + escape_bits(2 * rest)
        return out


def logistic_costs(scales: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    """Bits of magnitudes 0…MOST_REACH+1 under logistic distributions, (scales, MOST_REACH + 2).

    As training counts them (`scales.logistic_bits`). The encoder chooses symbols by these: tables
    are fitted to its choice, and a choice by fitted tables makes rare symbols rarer with each fit.

    Args:
        scales: (n,), symbols.
    """
    a, inverse = np.arange(MOST_REACH + 2.0), 1 / scales[:, None]
    below, above = (a - 0.5) * inverse, -(a + 0.5) * inverse
    nats = np.logaddexp(0, below) + np.logaddexp(0, above) - np.log(-np.expm1(-inverse))
    return np.asarray(nats / np.log(2), np.float32)


def escape_bits(value: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Length of an escaped value ≥ 0: four bits, then as many as value + 1 has after its first."""
    return np.asarray(4 + np.floor(np.log2(value + 1.0)))


def integer_frequencies(p: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Positive integers that sum to 2^16, as near to the probabilities `p` as rounding allows."""
    free = TABLE_SUM - len(p)
    exact = p / p.sum() * free
    f = np.floor(exact).astype(np.int64)
    order = np.argsort(-(exact - f), kind="stable")
    f[order[: free - int(f.sum())]] += 1
    return np.asarray(f + 1)


def _sigmoid(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.asarray(0.5 * (1 + np.tanh(0.5 * x)))


def logistic_tables(scales: npt.NDArray[np.float64], skip_below: int) -> Tables:
    """Tables of logistic distributions with the given scales (symbols)."""
    reach = np.minimum(np.ceil(12 * scales) + 1, MOST_REACH).astype(np.int32)
    parts = []
    for s, r in zip(scales, reach, strict=True):
        edges = np.arange(-r, r + 2) - 0.5
        for phase in range(PHASES):
            offset = 0.0 if phase == LATENT_PHASE else (phase - CENTRE_PHASE) / 16
            cdf = _sigmoid((edges - offset) / s)
            inside = np.diff(cdf)
            parts.append(integer_frequencies(np.append(inside, max(0.0, 1 - inside.sum()))))
    return Tables(reach, np.concatenate(parts).astype(np.uint16), skip_below)


Counts = dict[int, npt.NDArray[np.int64]]
"""Occurrences of −reach…reach and of the escape, by table number (scale index · PHASES + phase)."""


def mirrored(phase: int) -> int:
    """The phase whose table is this one's mirror image; phase 0 (−8/16) has none in the grid."""
    return phase if phase in (0, LATENT_PHASE) else 2 * CENTRE_PHASE - phase


def fitted_tables(start: Tables, counts: Counts, weight: float = 300.0) -> Tables:
    """Tables of what an encoder really sent, with `start` counted `weight` times as a prior.

    Symbols and their mirror images are counted together: pictures have no preferred sign.
    """
    parts = []
    for i in range(len(start.reach)):
        for phase in range(PHASES):
            p = start.table(i, phase) / TABLE_SUM * weight
            for number, flip in ((phase, False), (mirrored(phase), True)):
                if phase == 0 and flip:
                    continue
                seen = counts.get(i * PHASES + number)
                if seen is not None:
                    p = p + (np.append(seen[-2::-1], seen[-1]) if flip else seen)
            parts.append(integer_frequencies(p))
    return Tables(start.reach, np.concatenate(parts).astype(np.uint16), start.skip_below)
