"""JPEG 4:2:0 by Pillow with optimised Huffman tables: the anchor of all comparisons here."""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt
from PIL import Image

from ..codec.errors import UsageError

__all__ = ["QUALITIES", "decode_jpeg", "encode_jpeg", "jpeg_at_size"]

QUALITIES = range(1, 101)
"""libjpeg's; 1 is the smallest file."""


def encode_jpeg(image: Image.Image | npt.NDArray[np.uint8], quality: int) -> bytes:
    """A JPEG file without metadata.

    Args:
        image: RGB or gray; as an array uint8, (height, width, 3) or (height, width).
        quality: 1…100.

    Raises:
        UsageError: quality is out of range.
    """
    if quality not in QUALITIES:
        raise UsageError(f"JPEG quality {quality} is not in 1…100")
    out, picture = io.BytesIO(), _picture(image)
    settings = {} if picture.mode == "L" else {"subsampling": "4:2:0"}
    bare = {"icc_profile": None, "comment": None}  # which Pillow would take over from the image
    picture.save(out, "JPEG", quality=quality, optimize=True, **bare, **settings)
    return out.getvalue()


def decode_jpeg(data: bytes) -> npt.NDArray[np.uint8]:
    """(height, width, 3) RGB or (height, width) gray, uint8."""
    with Image.open(io.BytesIO(data), formats=["JPEG"]) as image:
        return np.array(image)


def jpeg_at_size(image: Image.Image | npt.NDArray[np.uint8], target: int) -> bytes:
    """The JPEG file of the highest quality that has at most `target` bytes, by bisection.

    Sizes rise with quality but for a byte or two between neighbours on tiny pictures, where the
    result may then be the quality just below the highest.

    Args:
        image: as `encode_jpeg` takes it.
        target: bytes.

    Returns:
        a file; that of quality 1 where even this one is larger than `target`.
    """
    picture = _picture(image)
    low, high = QUALITIES[0], QUALITIES[-1]
    best = encode_jpeg(picture, low)
    while low < high:  # the best quality known to fit, or 1, is `low`
        middle = (low + high + 1) // 2
        data = encode_jpeg(picture, middle)
        if len(data) <= target:
            low, best = middle, data
        else:
            high = middle - 1
    return best


def _picture(image: Image.Image | npt.NDArray[np.uint8]) -> Image.Image:
    return image if isinstance(image, Image.Image) else Image.fromarray(image)
