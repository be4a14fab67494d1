"""In which order the masked diffusion prior reveals the context: coarse lattice before fine,
luma before chroma, low frequencies before high. NumPy only."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

SCHEDULES = (2, 4, 6, 8, 12)


def context_order(kept: int, steps: int, rows: int, columns: int) -> npt.NDArray[np.int64]:
    """The step 0…steps−1 in which each context symbol is coded.

    steps = 2: the two halves of a checkerboard of blocks; 4: the four phases (even, even),
    (odd, odd), (even, odd), (odd, even); 6: three lattices (the last two phases together), luma
    before chroma in each; 8: four phases, luma before chroma; 12: three lattices, in each luma
    low, luma high, chroma low, chroma high (low: both frequencies below kept/2).

    Returns:
        (3·kept², rows, columns).

    Raises:
        ValueError: no such schedule.
    """
    i, j = np.arange(rows)[:, None] % 2, np.arange(columns)[None, :] % 2
    phase = np.where(i == j, i, 2 + i)  # (0,0) → 0, (1,1) → 1, (0,1) → 2, (1,0) → 3
    lattice = np.minimum(phase, 2)
    k = np.arange(kept)
    low = (np.maximum(k[:, None], k[None, :]) < max(1, kept // 2)).ravel()
    chroma = np.repeat([0, 1, 1], kept**2)
    high = np.tile(~low, 3).astype(np.int64)
    if steps == 2:
        space, channel, per_place = (i + j) % 2, 0 * chroma, 1
    elif steps == 4:
        space, channel, per_place = phase, 0 * chroma, 1
    elif steps == 6:
        space, channel, per_place = lattice, chroma, 2
    elif steps == 8:
        space, channel, per_place = phase, chroma, 2
    elif steps == 12:
        space, channel, per_place = lattice, 2 * chroma + high, 4
    else:
        raise ValueError(f"context_steps={steps} is not one of {SCHEDULES}")
    return np.asarray(space[None] * per_place + channel[:, None, None], np.int64)
