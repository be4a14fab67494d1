"""Digits as centred vectors, and their second moments."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ...codec.errors import UsageError
from ...data.idx import find_idx, read_idx_images
from .linear_vae import Floats

TRAINING = 9000
"""Of MNIST's 10,000 test digits, the first are trained on, the rest measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Digits:
    """Pixels 0…1 less the mean picture of the training digits."""

    training: Tensor  # (9000, 784), float32
    held_out: Tensor  # (1000, 784)

    def covariance(self) -> Floats:
        """Of the training digits, (784, 784)."""
        x = self.training.double()
        return np.asarray((x.T @ x / len(x)).numpy())


def load_digits(folder: Path) -> Digits:
    """MNIST's test digits from a folder that holds `t10k-images-idx3-ubyte`, gzipped or not.

    Raises:
        UsageError: the file is not there, or does not hold 10,000 digits of 28x28 pixels.
    """
    path = find_idx(folder, "t10k")
    if path is None:
        raise UsageError(
            f"{folder}: t10k-images-idx3-ubyte(.gz) is not there; it comes with MNIST's test set"
        )
    try:
        pictures = read_idx_images(path)
    except ValueError as error:
        raise UsageError(str(error)) from error
    if pictures.shape != (10000, 28, 28):
        raise UsageError(f"{path}: {pictures.shape} is not 10,000 digits of 28x28 pixels")
    pixels = pictures.reshape(10000, 784).astype(np.float64) / 255
    centred = torch.from_numpy(pixels - pixels[:TRAINING].mean(0)).float()
    return Digits(training=centred[:TRAINING], held_out=centred[TRAINING:])
