"""Whether a file holds what its encoder meant: its symbols, and a picture close enough."""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt

from ..api import decode_picture
from ..errors import OutputError
from ..pictures import Picture

__all__ = ["SymbolDigest", "verify"]

MOST = 100.0
"""PSNR given for equal pictures, dB."""


class SymbolDigest:
    """A tally (`entropy.Tally`) that sums up hashes of all coding steps.

    A sum, because a decoder may take tiles in another order than the encoder did.
    """

    def __init__(self) -> None:
        self.steps, self.total = 0, 0

    def __call__(self, symbols: npt.NDArray[np.int32], tables: npt.NDArray[np.int32]) -> None:
        h = hashlib.sha256(np.ascontiguousarray(symbols, "<i4").tobytes())
        h.update(np.ascontiguousarray(tables, "<i4").tobytes())
        self.steps += 1
        self.total = (self.total + int.from_bytes(h.digest(), "little")) % 2**256

    def value(self) -> tuple[int, int]:
        return self.steps, self.total


def verify(
    data: bytes,
    picture: Picture,
    symbols: SymbolDigest,
    *,
    floor: float,
    device: str,
    max_pixels: int,
) -> float:
    """Decode a file and compare.

    Args:
        picture: what was encoded.
        symbols: the tally of its encoding.
        floor: least PSNR, dB.

    Returns:
        PSNR over all samples, dB; 100 at most.

    Raises:
        OutputError: symbols, alpha or metadata differ, or the PSNR is below the floor.
        BitstreamError: it cannot be decoded.
    """
    read = SymbolDigest()
    got = decode_picture(data, device=device, max_pixels=max_pixels, mode="strict", tally=read)
    if read.value() != symbols.value():
        raise OutputError("verification failed: the file decodes to other symbols than were sent")
    back = got.picture
    if (back.icc, back.exif) != (picture.icc, picture.exif):
        raise OutputError("verification failed: ICC profile or EXIF differ")
    if not _same(back.alpha, picture.alpha):
        raise OutputError("verification failed: alpha differs")
    value = psnr(picture.pixels, back.pixels)
    if not value >= floor:
        raise OutputError(
            f"verification failed: PSNR {value:.2f} dB is below the floor of {floor:g} dB; "
            "--psnr-floor sets it"
        )
    return value


def _same(a: npt.NDArray[np.uint8] | None, b: npt.NDArray[np.uint8] | None) -> bool:
    if a is None or b is None:
        return a is b
    return np.array_equal(a, b)


def psnr(a: npt.NDArray[np.uint8], b: npt.NDArray[np.uint8]) -> float:
    """dB over all samples of two pictures of one shape; 100 at most. Some rows at a time."""
    if a.shape != b.shape:
        raise OutputError(f"verification failed: {b.shape} samples, not {a.shape}")
    total = 0
    for y in range(0, len(a), 256):
        d = a[y : y + 256].astype(np.int32) - b[y : y + 256]
        total += int((d * d).sum(dtype=np.int64))
    if not total:
        return MOST
    return min(MOST, 10 * float(np.log10(255**2 * a.size / total)))
