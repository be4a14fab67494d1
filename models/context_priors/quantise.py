"""Contexts of pictures: a block transform, a step per coefficient, rounding. NumPy only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from ..config import KNOT_SPACING, KNOTS
from ..transforms import GREY, basis_of
from ..weights import StoredModel
from .interface import Context

Kind = Literal["dct", "down"]
Floats = npt.NDArray[np.float32]
BLOCK = 32


@dataclass(frozen=True, eq=False)
class Quantiser:
    """From pictures to context symbols and back.

    steps: (3·kept²,), grey levels per symbol; limit: symbols are clipped to ±limit, 0: not.
    """

    kind: Kind
    kept: int
    steps: Floats
    limit: int = 0

    @classmethod
    def of_model(cls, stored: StoredModel, quality_index: int) -> Quantiser:
        """That of the codec at a quality, without its rate-distortion choice."""
        k, f = divmod(quality_index, KNOT_SPACING)
        gain = stored.at(quality_index).tensors(lambda name: name == "log_gain")["log_gain"]
        a, b = gain[k], gain[min(k + 1, KNOTS - 1)]
        log = (a + (b - a) * f / KNOT_SPACING)[: stored.cfg.context_channels]
        step = stored.cfg.step(quality_index) * np.exp(-log)
        return cls("dct", stored.cfg.context_kept, step.astype(np.float32))

    def coefficients(self, pixels: npt.NDArray[np.uint8]) -> Floats:
        """(3·kept², rows, columns), grey levels, of a picture (h, w, 3); edges are repeated."""
        h, w = pixels.shape[:2]
        pad = ((0, -h % BLOCK), (0, -w % BLOCK), (0, 0))
        x = np.pad(pixels, pad, mode="edge").astype(np.float32) - np.float32(GREY)
        rows, columns = x.shape[0] // BLOCK, x.shape[1] // BLOCK
        blocks = x.reshape(rows, BLOCK, columns, BLOCK, 3).transpose(0, 2, 4, 1, 3)
        basis = basis_of(self.kind, BLOCK, self.kept)
        flat = blocks.reshape(rows * columns, -1) @ basis.reshape(len(basis), -1).T
        return np.ascontiguousarray(flat.T, np.float32).reshape(-1, rows, columns)

    def symbols(self, coefficients: Floats) -> Context:
        c = np.rint(coefficients / self.steps[:, None, None]).astype(np.int32)
        return np.asarray(np.clip(c, -self.limit, self.limit) if self.limit else c, np.int32)

    def picture(self, c: Context) -> Floats:
        """(rows·32, columns·32, 3), grey levels around 128, not clipped."""
        n, rows, columns = c.shape
        basis = basis_of(self.kind, BLOCK, self.kept)
        d = (c * self.steps[:, None, None]).reshape(n, -1).T.astype(np.float32)
        x = (d @ basis.reshape(n, -1)).reshape(rows, columns, 3, BLOCK, BLOCK)
        x = x.transpose(0, 3, 1, 4, 2).reshape(rows * BLOCK, columns * BLOCK, 3)
        return np.asarray(x + np.float32(GREY), np.float32)


def as_patches(c: Context, frequency_grid: bool, kept: int, rows: int, columns: int) -> Context:
    """A context cut into the patches of a Gaussian prior, in raster order.

    Args:
        frequency_grid: a patch is one block, (3, kept, kept); otherwise a group of rows × columns
            blocks, (3·kept², rows, columns), the last symbols repeated where the picture ends.

    Returns:
        (patches, channels, rows, columns).
    """
    n, h, w = c.shape
    if frequency_grid:
        return np.ascontiguousarray(c.reshape(3, kept, kept, -1).transpose(3, 0, 1, 2))
    c = np.pad(c, ((0, 0), (0, -h % rows), (0, -w % columns)), mode="edge")
    down, across = c.shape[1] // rows, c.shape[2] // columns
    c = c.reshape(n, down, rows, across, columns).transpose(1, 3, 0, 2, 4)
    return np.ascontiguousarray(c).reshape(down * across, n, rows, columns)


def from_patches(
    patches: Context, frequency_grid: bool, kept: int, rows: int, columns: int
) -> Context:
    """The inverse of `as_patches` for a context of rows × columns blocks."""
    count, n, r, s = patches.shape
    if frequency_grid:
        c = patches.transpose(1, 2, 3, 0).reshape(3 * kept * kept, rows, columns)
        return np.ascontiguousarray(c)
    across = -(-columns // s)
    c = patches.reshape(count // across, across, n, r, s).transpose(2, 0, 3, 1, 4)
    return np.ascontiguousarray(c.reshape(n, count // across * r, across * s)[:, :rows, :columns])
