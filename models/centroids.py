"""Where the latents that a symbol stands for lie in the mean: reconstruction points.

A symbol k says that a latent lies about k steps from the prior's mean μ. The encoder sends one only
where it is worth its bits, so under a narrow distribution a latent that is sent as +1 lies well
beyond one step in the mean, and synthesis takes μ + k + sign(k) · centroid for it. The prior goes
on from μ + k, so symbols do not depend on centroids, only pixels do. NumPy only. Source: G. J.
Sullivan, "Efficient scalar quantization of exponential and Laplacian random variables", IEEE
Transactions on Information Theory 42(5), 1996.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .scale_grid import SCALES

SIZES = 2
"""Magnitudes of a symbol that have a centroid of their own: 1, and 2 and more."""

SPACING = 9
"""Scale indices between two knots; centroids are linear between them."""

KNOTS = (SCALES - 1) // SPACING + 1

UNIT = 64
"""Centroids per symbol, as they are stored."""

Table = npt.NDArray[np.int8]
"""(parts, `SIZES`, `SCALES`), 64ths of a symbol."""


def between_knots() -> npt.NDArray[np.float32]:
    """(`KNOTS`, `SCALES`): what each knot counts at each scale index."""
    away = np.abs(np.arange(SCALES) / SPACING - np.arange(KNOTS)[:, None])
    return np.asarray(np.maximum(0, 1 - away), np.float32)


def table_of(knots: npt.NDArray[np.float32]) -> Table:
    """What a weights file holds of trained centroids (parts, `SIZES`, `KNOTS`), in symbols."""
    steps = np.rint(UNIT * (knots @ between_knots()))
    return np.asarray(steps.clip(-127, 127), np.int8)


def knots_of(table: Table) -> npt.NDArray[np.float32]:
    """The inverse of `table_of`, but for rounding."""
    return np.asarray(table[:, :, ::SPACING] / np.float32(UNIT), np.float32)


def no_centroids(parts: int) -> Table:
    """Of models that have none."""
    return np.zeros((parts, SIZES, SCALES), np.int8)


def shifts(
    table: Table, part: int, k: npt.NDArray[np.int32], index: npt.NDArray[np.int32]
) -> npt.NDArray[np.int8]:
    """What to add to the latents of symbols `k`, 64ths of a symbol; index: scale indices."""
    size = np.minimum(np.abs(k), SIZES)
    padded = np.concatenate([np.zeros((1, SCALES), np.int8), table[part]])
    return np.asarray(padded[size, index] * np.sign(k).astype(np.int8), np.int8)
