"""The 64 scales of the coded symbols. NumPy only."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

SCALES = 64
SMALLEST_SCALE = 0.04
LARGEST_SCALE = 150.0
LOG_RATIO = math.log(LARGEST_SCALE / SMALLEST_SCALE) / (SCALES - 1)


def scale(index: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Logistic scales in symbols; log-spaced from 0.04 (index 0) to 150 (index 63)."""
    return SMALLEST_SCALE * np.exp(LOG_RATIO * np.asarray(index, np.float64))
