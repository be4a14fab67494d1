"""The masked prior over the context, step by step, without doing anything twice. NumPy and an
executor of the prior path."""

from __future__ import annotations

from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt

from .integer import Floats, IntegerOps

T = TypeVar("T")
Places = npt.NDArray[np.int64]


class ContextSteps(Generic[T]):
    """`topology.predict_context` while a context becomes known: the same numbers, less work.

    What is revealed changes the first layer of the network at its own blocks only, and the sums of
    the second around them: both are kept, and corrected. The third is computed where the next
    step lies. All of it is whole numbers below 2^24, so a corrected sum equals the sum: corrections
    are products of the same weights with differences of values in 0…255, and what stands in
    between is the sum over some old and some new values.

    Args:
        rows, columns: blocks of the tile.
    """

    def __init__(self, ops: IntegerOps[T], rows: int, columns: int) -> None:
        self.ops, self.columns = ops, columns
        cfg = ops.cfg
        self.c = np.zeros((cfg.context_channels, rows * columns), np.float32)
        self.known = np.zeros_like(self.c)
        positions = (rows + 2) * (columns + 2)  # with a border of zeros, as the convolutions have
        shift = np.arange(-1, 2)
        self.offsets = (shift[:, None] * (columns + 2) + shift).ravel()
        first, second = ops.resolved("context.mix1"), ops.resolved("context.mix2")
        spread = ops.array(first.weight)  # (9, out, in)
        gathered = ops.array(second.weight).transpose(1, 0, 2)
        self.spread = ops.tensor(np.ascontiguousarray(spread.reshape(-1, spread.shape[2])))
        self.gathered = ops.tensor(np.ascontiguousarray(gathered.reshape(len(gathered), -1)))
        self.embedded = np.zeros((spread.shape[2], positions), np.float32)
        self.sums = np.zeros((spread.shape[1], positions), np.float32)
        self.every = self.pending = np.arange(rows * columns)

    def _inside(self, places: Places) -> Places:
        """Positions of blocks within the border."""
        row, column = places // self.columns, places % self.columns
        return np.asarray((row + 1) * (self.columns + 2) + column + 1)

    def _tensor(self, a: Floats) -> T:
        """(channels, n) as (1, channels, 1, n)."""
        return self.ops.tensor(np.ascontiguousarray(a)[None, :, None])

    def _renew(self) -> None:
        """Take what was last revealed into account."""
        ops, places = self.ops, self.pending
        known = self._tensor(self.known[:, places])
        planes = ops.context_planes(self._tensor(self.c[:, places]))
        seen = [ops.times(p, known) for p in planes]
        x = ops.conv("context.embed", ops.cat([*seen, ops.known_plane(known)]), "relu")
        now, at = ops.array(x)[0, :, 0], self._inside(places)
        change = self._tensor(now - self.embedded[:, at])
        self.embedded[:, at] = now
        parts = ops.array(ops.pointwise(self.spread, change))[0].reshape(9, len(self.sums), -1)
        for offset, part in zip(self.offsets, parts, strict=True):
            self.sums[:, at - offset] += part

    def reveal(self, where: npt.NDArray[np.bool_], values: npt.NDArray[np.int32]) -> None:
        """Symbols that are known from now on. where: (channels, rows · columns)."""
        self.c[where], self.known[where] = values, 1
        self.pending = np.union1d(self.pending, np.flatnonzero(where.any(0)))

    def predict(self, places: Places) -> tuple[Floats, Floats]:
        """Means (sixteenths) and scale indices of blocks, both (channels, n)."""
        ops = self.ops
        first, second = ops.resolved("context.mix1"), ops.resolved("context.mix2")
        if len(self.pending):
            self._renew()
            self.pending = self.pending[:0]
        inside = self._inside(self.every)
        sums = ops.tensor(np.ascontiguousarray(self.sums[:, inside])[None])
        x = np.zeros_like(self.sums)
        x[:, inside] = ops.array(
            ops.clamp(ops.scaled_floor(sums, first.offset, first.factor), 0, 255)
        )[0]
        around = self._inside(places) + self.offsets[:, None]
        seen = x[:, around.ravel()].reshape(len(x), 9, -1).transpose(1, 0, 2)
        acc = ops.pointwise(self.gathered, self._tensor(seen.reshape(9 * len(x), -1)))
        y = ops.clamp(ops.scaled_floor(acc, second.offset, second.factor), 0, 255)
        head = ops.conv("context.head", self._tensor(ops.array(y)[0]), "head")
        mean, index = ops.means_and_scales("context.head", head)
        return ops.array(mean)[0, :, 0], ops.array(index)[0, :, 0]
