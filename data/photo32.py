"""`photo32`: 32x32 patches of photos downscaled four times, where CIFAR-10 is not at hand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from .photos import load_photos

SIDE, FACTOR = 32, 4


def patches(photo: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """All patches of one photo on a grid without overlap.

    Args:
        photo: (height, width, 3), 0…255.

    Returns:
        (count, 3, 32, 32); count is 0 for a photo with a side below 128 pixels.
    """
    small = np.asarray(Image.fromarray(photo).reduce(FACTOR))
    rows, columns = small.shape[0] // SIDE, small.shape[1] // SIDE
    cut = small[: rows * SIDE, : columns * SIDE].reshape(rows, SIDE, columns, SIDE, 3)
    return np.ascontiguousarray(cut.transpose(0, 2, 4, 1, 3).reshape(-1, 3, SIDE, SIDE))


def read_photo32(
    paths: Sequence[Path], every: int = 10
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """(training, test) patches, each (count, 3, 32, 32): every `every`-th photo is for the test.

    No photo gives patches to both.

    Raises:
        ValueError: fewer than `every` photos, or none large enough.
    """
    photos = load_photos(paths)
    if len(photos) < every:
        raise ValueError(f"{len(photos)} photos are too few: every {every}th is held out")
    cut = [patches(np.ascontiguousarray(p.numpy().transpose(1, 2, 0))) for p in photos]
    test = np.concatenate(cut[every - 1 :: every])
    train = np.concatenate([c for i, c in enumerate(cut) if i % every != every - 1])
    if not (len(train) and len(test)):
        raise ValueError(f"no photo has {FACTOR * SIDE}x{FACTOR * SIDE} pixels, one patch")
    return train, test
