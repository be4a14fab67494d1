"""The study's data sets: pictures in memory, with the names that every table must carry."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ...data.cifar10 import read_cifar10
from ...data.idx import find_idx, read_idx_images
from ...data.omniglot import drawer, read_omniglot
from ...data.photo32 import read_photo32

Name = Literal["mnist", "omniglot", "cifar10", "photo32"]

BINARY_SEED = 2016
"""Of the one binarisation of the test pictures, the same for all runs."""

HELD_OUT_DRAWERS = (19, 20)
"""OMNIGLOT: the drawings of these two of the twenty people are the test set."""


@dataclass(frozen=True, slots=True)
class SmallSet:
    """Training and test pictures, (count, channels, side, side), uint8."""

    name: Name
    label: str  # what it is, in full
    train: Tensor
    test: Tensor
    binary: bool  # grey levels are probabilities, drawn anew for each batch (Burda et al. 2016)

    def draw(self, indices: Tensor, generator: torch.Generator) -> Tensor:
        """Training pictures in 0…1, (batch, channels, side, side)."""
        x = self.train[indices].float() / 255
        return torch.bernoulli(x, generator=generator) if self.binary else x

    def fitting(self) -> Tensor:
        """All training pictures once, in 0…1."""
        x = self.train.float() / 255
        generator = torch.Generator().manual_seed(BINARY_SEED)
        return torch.bernoulli(x, generator=generator) if self.binary else x

    def held_out(self, count: int) -> Tensor:
        """`count` test pictures in 0…1, spread evenly over the test set; fixed binarisation."""
        x = self.test.float() / 255
        if self.binary:
            x = torch.bernoulli(x, generator=torch.Generator().manual_seed(BINARY_SEED))
        if count >= len(x):
            return x
        return x[torch.linspace(0, len(x) - 1, count).long()]


def mnist(folder: Path) -> SmallSet:
    """MNIST as it lies in a folder.

    With the training file: its 60,000 digits against the 10,000 test digits. With the test file
    alone: its first 9,000 digits against its last 1,000.

    Raises:
        ValueError: neither file is there, or one is damaged.
    """
    train, test = find_idx(folder, "train"), find_idx(folder, "t10k")
    if test is None:
        raise ValueError(f"{folder}: no t10k-images-idx3-ubyte (or .gz) of MNIST")
    digits = read_idx_images(test)
    if train is not None:
        return _set("mnist", "MNIST, 60,000 digits", read_idx_images(train), digits)
    if len(digits) < 10:
        raise ValueError(f"{test}: {len(digits)} pictures are too few to be split")
    cut = len(digits) * 9 // 10
    label = f"MNIST's {len(digits):,} test digits, split {cut:,}/{len(digits) - cut:,}"
    return _set("mnist", label, digits[:cut], digits[cut:])


def omniglot(path: Path) -> SmallSet:
    """OMNIGLOT, the drawings of two of the twenty people held out.

    Raises:
        ValueError: there are no drawings, or those of one side are missing.
    """
    pictures, names = read_omniglot(path)
    away = np.array([drawer(n) in HELD_OUT_DRAWERS for n in names])
    if not away.any() or away.all():
        raise ValueError(f"{path}: needs drawings of people 19 and 20 and of others")
    alphabets = len({n.split("/")[0] for n in names})
    label = (
        f"OMNIGLOT, {alphabets} alphabets of the small background sets, "
        f"{int((~away).sum()):,} drawings of 18 people / {int(away.sum()):,} of 2 others"
    )
    return _set("omniglot", label, pictures[~away], pictures[away])


def cifar10(path: Path) -> SmallSet:
    """CIFAR-10, its 50,000 training and 10,000 test pictures."""
    train, test = read_cifar10(path)
    return _set("cifar10", "CIFAR-10", train, test)


def photo32(paths: Sequence[Path]) -> SmallSet:
    """32x32 patches of photos downscaled four times; every tenth photo is held out."""
    train, test = read_photo32(paths)
    label = f"photo32, {len(train):,} patches / {len(test):,} of other photos"
    return _set("photo32", label, train, test)


def _set(
    name: Name, label: str, train: npt.NDArray[np.uint8], test: npt.NDArray[np.uint8]
) -> SmallSet:
    def planes(x: npt.NDArray[np.uint8]) -> Tensor:
        return torch.from_numpy((x if x.ndim == 4 else x[:, None]).copy())

    return SmallSet(name, label, planes(train), planes(test), name in ("mnist", "omniglot"))


LOADERS: dict[Name, Callable[[list[Path]], SmallSet]] = {
    "mnist": lambda paths: mnist(paths[0]),
    "omniglot": lambda paths: omniglot(paths[0]),
    "cifar10": lambda paths: cifar10(paths[0]),
    "photo32": photo32,
}
