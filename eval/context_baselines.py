"""What the priors over the context are compared with: histograms, and DPCM of the block means.

Both adapt to the picture while they code it, and begin with what photos have shown, or flat.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import constriction
import numpy as np
import numpy.typing as npt

from ..models.context_priors.interface import Coded, Context

Floats = npt.NDArray[np.float64]
WEIGHT = 24.0
"""Symbols that the beginning counts for."""

FLAT = 0.05
"""Count that each value begins with where nothing was shown."""


class AdaptiveHistogram:
    """One histogram per coefficient; a block's symbols are coded, then counted.

    Args:
        fields: contexts of photos to begin with; their largest values bound the alphabet.
        flat: begin with equal counts instead.
        dpcm: code the mean of each block as its difference from the block to the left (in the first
            column: above), as JPEG does.
    """

    def __init__(
        self, fields: Sequence[Context], kept: int, *, flat: bool = False, dpcm: bool = False
    ) -> None:
        self.kept, self.dpcm = kept, dpcm
        self.name = "DPCM of the means, histograms" if dpcm else "histogram per frequency"
        self.name += ", begun flat" if flat else ""
        shown = np.concatenate([self._differences(c).reshape(len(c), -1) for c in fields], 1)
        self.reach = int(np.abs(shown).max()) + 1
        size = 2 * self.reach + 2  # and an escape
        channels = len(shown)
        counts = np.zeros((channels, size))
        for k in range(channels):
            counts[k] = np.bincount(shown[k] + self.reach, minlength=size)
        if flat:
            seen = np.abs(shown).max(1)
            within = np.abs(np.arange(size) - self.reach) <= seen[:, None]
            self.start = np.where(within, FLAT, 1e-4)
        else:
            # what was seen, smoothed a little, so that neighbours of rare values are not absurd
            smooth = counts.copy()
            smooth[:, 1:] += 0.05 * counts[:, :-1]
            smooth[:, :-1] += 0.05 * counts[:, 1:]
            self.start = WEIGHT * smooth / smooth.sum(1, keepdims=True)
        self.start[:, -1] = 1e-3
        self.start += 1e-4

    def _dc(self) -> slice:
        return slice(None, None, self.kept**2)

    def _differences(self, c: Context) -> Context:
        """Means of blocks as differences, if so wanted."""
        if not self.dpcm:
            return c
        out, dc = c.copy(), c[self._dc()]
        out[self._dc(), :, 1:] -= dc[:, :, :-1]
        out[self._dc(), 1:, 0] -= dc[:, :-1, 0]
        return out

    def _sums(self, d: Context) -> Context:
        """The inverse of `_differences`."""
        if not self.dpcm:
            return d
        out = d.copy()
        dc = out[self._dc()]
        dc[:, :, 0] = np.cumsum(dc[:, :, 0], 1)
        out[self._dc()] = np.cumsum(dc, 2)
        return out

    def _probabilities(self, symbols: npt.NDArray[np.int64]) -> Iterator[Floats]:
        """Before each block: (channels, size)."""
        counts = self.start.copy()
        every = np.arange(len(counts))
        for block in symbols.T:
            yield counts / counts.sum(1, keepdims=True)
            counts[every, block] += 1

    def encode(self, c: Context) -> Coded:
        d = self._differences(c).reshape(len(c), -1).astype(np.int64)
        symbols = np.where(np.abs(d) < self.reach, d + self.reach, 2 * self.reach + 1)
        coder = constriction.stream.stack.AnsCoder()
        family, raw = _family(), constriction.stream.model.Uniform(2**16)
        cost = 0.0
        escaped = np.abs(d) >= self.reach
        for value in d.T[escaped.T][::-1]:
            coder.encode_reverse(np.array([value + 2**15], np.int32), raw)
            cost += 16
        tables = [p.astype(np.float32) for p in self._probabilities(symbols)]
        every = np.arange(len(d))
        for p, block in zip(reversed(tables), symbols.T[::-1], strict=True):
            coder.encode_reverse(block.astype(np.int32), family, p)
            cost -= float(np.log2(p[every, block]).sum())
        return Coded(coder.get_compressed().astype("<u4").tobytes(), cost, 0)

    def decode(self, data: bytes, rows: int, columns: int) -> Context:
        coder = constriction.stream.stack.AnsCoder(np.frombuffer(data, "<u4").astype(np.uint32))
        family, raw = _family(), constriction.stream.model.Uniform(2**16)
        counts = self.start.copy()
        channels = len(counts)
        every = np.arange(channels)
        d = np.zeros((channels, rows * columns), np.int64)
        for k in range(rows * columns):
            p = (counts / counts.sum(1, keepdims=True)).astype(np.float32)
            block = np.asarray(coder.decode(family, p), np.int64)
            counts[every, block] += 1
            d[:, k] = block
        out = d == 2 * self.reach + 1
        d -= self.reach
        for k, channel in np.argwhere(out.T):
            d[channel, k] = int(coder.decode(raw)) - 2**15
        return self._sums(d.reshape(channels, rows, columns).astype(np.int32))


def _family() -> Any:
    return constriction.stream.model.Categorical(perfect=False)
