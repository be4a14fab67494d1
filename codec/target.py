"""The quality that reaches a size or a PSNR: a search over the quality steps, then between them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from ..models.config import FRUGALITY
from .api import (
    DEFAULT_TILE,
    Encoded,
    Progress,
    decode_picture,
    encode_picture,
    quality_index,
)
from .errors import UsageError

if TYPE_CHECKING:
    from .pictures import Picture

__all__ = ["Goal", "Targeted", "encode_to_target", "goal_of"]

STEPS: Final = 400  # quality 100 in quarters
RATE_TOLERANCE: Final = 0.01  # of the bytes
PSNR_TOLERANCE: Final = 0.05  # dB
CLOSE: Final = 0.2  # share of the tolerance at which the search is content
THRIFT: Final = (0.0, 8 * FRUGALITY)  # what the encoder's frugality may be between two steps
HALVINGS: Final = 10  # of that range

# Where a typical photo lies (means over photos, rounded): first guesses, nothing depends on them.
_GUESS_QUALITY: Final = (0.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 75.0, 85.0, 100.0)
_GUESS_BPP: Final = (0.05, 0.09, 0.16, 0.29, 0.48, 0.74, 1.1, 1.7, 2.3, 3.5)
_GUESS_PSNR: Final = (24.5, 26.0, 27.8, 29.8, 32.1, 34.4, 36.8, 40.3, 42.5, 45.8)


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """What to reach: a number of bytes or a PSNR in dB.

    Raises:
        UsageError: not one of the two, or not above 0.
    """

    bytes: int | None = None
    psnr: float | None = None

    def __post_init__(self) -> None:
        if (self.bytes is None) == (self.psnr is None):
            raise UsageError("a goal is either bytes or PSNR")
        if self.bytes is not None and self.bytes < 1:
            raise UsageError(f"target of {self.bytes} bytes is not at least 1")
        if self.psnr is not None and not 0 < self.psnr < math.inf:
            raise UsageError(f"target PSNR {self.psnr:g} dB is not a number above 0")

    @property
    def value(self) -> float:
        return float(self.bytes) if self.bytes is not None else float(self.psnr or 0)

    def off(self, value: float) -> float:
        """How far a value is from the goal in tolerances; negative: coarser than asked for."""
        if self.bytes is not None:
            return (value / self.bytes - 1) / RATE_TOLERANCE
        return (value - self.value) / PSNR_TOLERANCE

    def describe(self, value: float) -> str:
        return f"{value:.0f} bytes" if self.bytes is not None else f"{value:.2f} dB"


@dataclass(frozen=True, slots=True, kw_only=True)
class Targeted:
    """A file that is as near to the goal as it can be.

    encoded: the file; quality: 0…100; value: its bytes or its PSNR in dB, of the 8-bit output.
    reached: within 1 % of the bytes, or 0.05 dB. remark: why not, in one line; None if reached.
    tries: encodings that the search took.
    """

    encoded: Encoded
    quality: float
    value: float
    reached: bool
    remark: str | None
    tries: int


def goal_of(
    picture: Picture,
    target_bytes: int | None = None,
    target_bpp: float | None = None,
    target_psnr: float | None = None,
) -> Goal | None:
    """The goal that at most one of three arguments names; bits per pixel become bytes.

    Raises:
        UsageError: more than one is given, or one is out of range.
    """
    given = [v for v in (target_bytes, target_bpp, target_psnr) if v is not None]
    if not given:
        return None
    if len(given) > 1:
        raise UsageError("give one target only: bytes, bits per pixel or PSNR")
    if target_bpp is not None:
        if not 0 < target_bpp < math.inf:
            raise UsageError(f"target of {target_bpp:g} bits per pixel is not a number above 0")
        return Goal(bytes=max(1, int(target_bpp * picture.width * picture.height / 8)))
    return Goal(bytes=target_bytes, psnr=target_psnr)


def encode_to_target(
    picture: Picture,
    goal: Goal,
    *,
    layers: int | None = None,
    tile: int = DEFAULT_TILE,
    device: str = "cpu",
    progress: Progress | None = None,
    **settings: Any,
) -> Targeted:
    """Encode as often as it takes to reach a goal.

    Of the qualities 0, 0.25, … 100 the two around the goal are sought, from a guess by steps that
    follow the slope seen so far, and by halving. Where neither is near enough, the coarser one is
    encoded with less frugality, or the finer one with more, in which size and PSNR hardly jump.
    Of files equally near to a goal in bytes those are preferred that are not larger than it.

    Args:
        settings: further ones of `encode_picture`.
        progress: called with the share that is done, as far as that can be told.

    Raises:
        UsageError, ImageError, ModelError: as `encode_picture`.
    """
    search = _Search(picture, goal, {"layers": layers, "tile": tile, "device": device, **settings})
    low, high = search.bracket(progress)
    best = search.between(low, high)
    if progress:
        progress(1.0)
    off = goal.off(best.value)
    reached = abs(off) <= 1
    return Targeted(
        encoded=best.encoded,
        quality=best.index / 4,
        value=best.value,
        reached=reached,
        remark=None if reached else search.remark(best),
        tries=search.tries,
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Try:
    """One encoding: quality in quarters, frugality, bytes or PSNR."""

    index: int
    frugality: float
    value: float
    encoded: Encoded


class _Search:
    """Encodings of one picture on the way to one goal; only the two around it are kept."""

    def __init__(self, picture: Picture, goal: Goal, settings: dict[str, Any]) -> None:
        self.picture, self.goal, self.settings = picture, goal, settings
        self.frugality = float(self.settings.pop("frugality", FRUGALITY))
        self.tries = 0

    def encode(self, index: int, frugality: float) -> _Try:
        self.tries += 1
        encoded = encode_picture(self.picture, index / 4, frugality=frugality, **self.settings)
        if self.goal.bytes is not None:
            return _Try(index, frugality, float(len(encoded.data)), encoded)
        decoded = decode_picture(
            encoded.data,
            device=self.settings.get("device", "cpu"),
            max_pixels=self.picture.width * self.picture.height,
        ).picture
        return _Try(index, frugality, psnr(self.picture.pixels, decoded.pixels), encoded)

    def bracket(self, progress: Progress | None) -> tuple[_Try | None, _Try | None]:
        """The finest step not above the goal and the coarsest one above it; None beyond the ends.

        A try that is close enough is both ends.
        """
        low: _Try | None = None
        high: _Try | None = None
        index = self._guess()
        while True:
            tried = self.encode(index, self.frugality)
            off = self.goal.off(tried.value)
            if -CLOSE <= off <= (0 if self.goal.bytes is not None else CLOSE):
                return tried, tried
            if off <= 0:
                low = tried
            else:
                high = tried
            below = -1 if low is None else low.index
            above = STEPS + 1 if high is None else high.index
            if progress:
                progress(1 - math.log(max(1, above - below)) / math.log(STEPS + 2))
            if above - below <= 1:
                return low, high
            index = self._next(low, high, below, above)

    def between(self, low: _Try | None, high: _Try | None) -> _Try:
        """The nearest to the goal of two neighbours and what frugality makes of them."""
        ends = [end for end in (low, high) if end is not None]
        best = min(ends, key=self._cost)
        if low is None or high is None or self._near(best):
            return best
        # From the coarser step upwards with less frugality, or from the finer downwards with more.
        for start, (coarse, fine) in (
            (low, (self.frugality, THRIFT[0])),
            (high, (THRIFT[1], self.frugality)),
        ):
            for _ in range(HALVINGS):
                middle = (coarse + fine) / 2
                tried = self.encode(start.index, middle)
                best = min(best, tried, key=self._cost)
                if self._near(best):
                    return best
                if self.goal.off(tried.value) <= 0:
                    coarse = middle
                else:
                    fine = middle
                if abs(fine - coarse) < 0.01:
                    break
        return best

    def remark(self, best: _Try) -> str:
        """Why the goal was not reached."""
        goal, got = self.goal.describe(self.goal.value), self.goal.describe(best.value)
        off = self.goal.off(best.value)
        if best.index == 0 and off > 0:
            hint = "; --layers keeps fewer layers" if self.goal.bytes is not None else ""
            return f"target of {goal} is out of range: quality 0 gives {got}{hint}"
        if best.index == STEPS and off < 0:
            return f"target of {goal} is out of range: quality 100 gives {got}"
        return f"target of {goal} was missed: {got} is the nearest found"

    def _near(self, tried: _Try) -> bool:
        """Within the tolerance, and on the right side of a goal in bytes."""
        off = self.goal.off(tried.value)
        return -1 <= off <= (0 if self.goal.bytes is not None else 1)

    def _cost(self, tried: _Try) -> tuple[bool, bool, float]:
        """Orders tries: within the tolerance first, then those that are not above a size."""
        off = self.goal.off(tried.value)
        return abs(off) > 1, self.goal.bytes is not None and off > 0, abs(off)

    def _guess(self) -> int:
        if self.goal.bytes is not None:
            pixels = self.picture.width * self.picture.height
            bpp = math.log(8 * self.goal.bytes / pixels)
            quality = np.interp(bpp, np.log(_GUESS_BPP), _GUESS_QUALITY)
        else:
            quality = np.interp(self.goal.value, _GUESS_PSNR, _GUESS_QUALITY)
        return quality_index(round(float(quality) * 4) / 4)

    def _next(self, low: _Try | None, high: _Try | None, below: int, above: int) -> int:
        """Between two tries where a line through them meets the goal; else a typical slope away."""
        if low is not None and high is not None:
            a, b = self._scale(low.value), self._scale(high.value)
            share = (self._scale(self.goal.value) - a) / (b - a) if b > a else 0.5
            # Halving is the rule where the line would only nibble at one end.
            share = min(0.9, max(0.1, share)) if above - below > 16 else share
            index = below + round(share * (above - below))
        else:
            only = low or high
            assert only is not None
            away = self._scale(self.goal.value) - self._scale(only.value)
            slope = 0.011 if self.goal.bytes is not None else 0.053  # per quarter of quality
            step = away / slope
            index = only.index + round(math.copysign(max(2.0, 1.3 * abs(step)), step))
        return min(max(index, below + 1, 0), above - 1, STEPS)

    def _scale(self, value: float) -> float:
        """Sizes by their logarithm, which runs nearly straight along the qualities."""
        return math.log(value) if self.goal.bytes is not None else min(value, 200.0)


def psnr(a: npt.NDArray[np.uint8], b: npt.NDArray[np.uint8]) -> float:
    """In dB over all samples of two pictures of one shape; row by row, in little memory."""
    total = 0
    for rows in range(0, a.shape[0], 256):
        part = slice(rows, rows + 256)
        total += int(np.square(a[part].astype(np.int32) - b[part]).sum(dtype=np.int64))
    return 10 * math.log10(255**2 * a.size / total) if total else math.inf
