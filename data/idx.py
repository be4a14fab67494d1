"""MNIST and its like: IDX files, gzipped or not."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import numpy.typing as npt

IMAGES_MAGIC = b"\x00\x00\x08\x03"  # unsigned bytes, three dimensions


def read_idx_images(path: Path) -> npt.NDArray[np.uint8]:
    """Pictures of an IDX file, (count, height, width), 0…255.

    Raises:
        ValueError: the bytes are no IDX file of pictures, or fewer than it declares.
    """
    data = path.read_bytes()
    if data[:2] == b"\x1f\x8b":
        try:
            data = gzip.decompress(data)
        except (EOFError, gzip.BadGzipFile) as error:
            raise ValueError(f"{path}: damaged gzip ({error})") from error
    if len(data) < 16 or data[:4] != IMAGES_MAGIC:
        raise ValueError(f"{path}: no IDX file of pictures; it begins with {data[:4].hex()}")
    count, height, width = (int.from_bytes(data[i : i + 4], "big") for i in (4, 8, 12))
    if len(data) - 16 != count * height * width:
        raise ValueError(
            f"{path}: {count} pictures of {height}x{width} need {count * height * width} bytes, "
            f"{len(data) - 16} are there"
        )
    return np.frombuffer(data, np.uint8, offset=16).reshape(count, height, width)


def find_idx(folder: Path, part: str) -> Path | None:
    """The pictures of `train` or `t10k` in a folder, under the usual names; None if absent."""
    for name in (f"{part}-images-idx3-ubyte", f"{part}-images.idx3-ubyte"):
        for suffix in ("", ".gz"):
            if (folder / (name + suffix)).is_file():
                return folder / (name + suffix)
    return None
