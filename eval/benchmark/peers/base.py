"""What a codec must offer to be measured."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = ["Peer", "Pixels"]

Pixels: TypeAlias = npt.NDArray[np.uint8]
"""(height, width, 3), RGB, 0…255."""


class Peer(ABC):
    """One codec with one way of setting it; its levels are the points of one curve.

    Everything runs on one thread, so that seconds compare.

    Attributes:
        name: what the command line and the rows call it: letters, digits, `.`, `+` and `-`.
        title: what plots and tables call it.
        suffix: of its files, with the dot.
        levels: of quality, from the smallest files to the largest.
        by_default: measured when no codec is named.
    """

    name: str
    title: str
    suffix: str
    levels: tuple[float, ...]
    by_default: bool = True

    @abstractmethod
    def version(self) -> str:
        """Of all libraries that decide bytes and pixels; rows of another version are not reused."""

    @abstractmethod
    def settings(self, level: float) -> str:
        """All settings of the encoder at a level, as one would have to type them."""

    @abstractmethod
    def encode(self, pixels: Pixels, level: float) -> bytes:
        """A whole file."""

    @abstractmethod
    def decode(self, data: bytes) -> Pixels:
        """The picture of a file that `encode` made."""

    def missing(self) -> str | None:
        """Why this codec cannot run here, in one line that says what would help; None if it can."""
        return None

    @abstractmethod
    def check(self, level: float) -> None:
        """Refuses levels that do not exist.

        Raises:
            UsageError: the level is out of range.
        """
