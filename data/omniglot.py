"""OMNIGLOT: characters of many alphabets, from folders or zips of its PNG files, at 28x28."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt
from PIL import Image

SIDE = 28
ORIGINAL_SIDE = 105


def _files(path: Path) -> Iterator[tuple[str, bytes]]:
    """(alphabet/character/file, bytes) of each PNG."""
    if path.is_dir():
        packs = sorted(path.rglob("*.zip"))
        for pack in packs:
            yield from _files(pack)
        for file in sorted(path.rglob("*.png")):
            yield "/".join(file.parts[-3:]), file.read_bytes()
        return
    try:
        with zipfile.ZipFile(path) as archive:
            for name in sorted(archive.namelist()):
                if name.endswith(".png"):
                    yield "/".join(PurePosixPath(name).parts[-3:]), archive.read(name)
    except zipfile.BadZipFile as error:
        raise ValueError(f"{path}: neither a folder nor a zip ({error})") from error


def read_omniglot(path: Path) -> tuple[npt.NDArray[np.uint8], list[str]]:
    """Every drawing once, ink bright, averaged down to 28x28.

    Args:
        path: a folder (searched for PNG files and zips) or a zip.

    Returns:
        (count, 28, 28), 0 paper … 255 ink, and the name alphabet/character/file of each. A drawing
        that lies in several sets is taken once.

    Raises:
        ValueError: there is none, or a file is no picture.
    """
    found: dict[str, npt.NDArray[np.uint8]] = {}
    for name, data in _files(path):
        if name in found:
            continue
        try:
            with Image.open(io.BytesIO(data)) as image:
                ink = Image.eval(image.convert("L"), lambda v: 255 - v)
        except OSError as error:
            raise ValueError(f"{path}: {name} is no picture ({error})") from error
        found[name] = np.asarray(ink.resize((SIDE, SIDE), Image.Resampling.BOX))
    if not found:
        raise ValueError(f"{path}: holds no PNG files of OMNIGLOT, nor zips of them")
    names = sorted(found)
    return np.stack([found[n] for n in names]), names


def drawer(name: str) -> int:
    """Which of the twenty people drew it, 1…20: the number after the underscore.

    Raises:
        ValueError: the name has no such number.
    """
    number = PurePosixPath(name).stem.rpartition("_")[2]
    if not number.isdecimal():
        raise ValueError(f"{name!r} does not end in the number of a drawer")
    return int(number)
