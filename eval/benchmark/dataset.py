"""The pictures that a benchmark runs over: Kodak, fetched and checked, or any folder."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from ...codec.errors import DctcodecError, ImageError, UsageError
from ...codec.pictures import atomic_write, load
from ...data.photos import SUFFIXES
from .peers import Pixels

__all__ = [
    "HOMES",
    "KODAK",
    "Dataset",
    "Photo",
    "fetch_kodak",
    "folder_dataset",
    "kodak_dataset",
    "kodak_sums",
    "read_pixels",
]

KODAK = "kodak"
HOMES: tuple[str, ...] = (
    "https://r0k.us/graphics/kodak/kodak/",
    "http://r0k.us/graphics/kodak/kodak/",
)
"""Where kodim01.png … kodim24.png lie, tried in this order; checksums make them equal."""

TIMEOUT = 30.0  # seconds without a byte
MOST_BYTES = 4 << 20  # of one picture; the largest has 0.9 million

Report = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Photo:
    """One picture of a data set; `sha256` is that of its samples, not of its file."""

    name: str
    path: Path
    width: int
    height: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """Pictures by name; notes tell what a reader of the results should know about them."""

    name: str
    photos: tuple[Photo, ...]
    notes: tuple[str, ...] = ()

    @property
    def paths(self) -> dict[str, Path]:
        return {photo.name: photo.path for photo in self.photos}


@lru_cache(maxsize=1)
def kodak_sums() -> dict[str, str]:
    """SHA-256 of each of the 24 files, by file name."""
    text = (Path(__file__).with_name("kodak.sha256")).read_text(encoding="ascii")
    return {name: digest for digest, name in map(str.split, text.splitlines())}


def kodak_dataset(folder: Path | None = None, report: Report | None = None) -> Dataset:
    """The 24 Kodak pictures, from a folder, or from where they were fetched to.

    Args:
        folder: holds kodim01.png … kodim24.png; None: they are fetched once.

    Raises:
        DctcodecError: a file is missing, cannot be fetched, or is another one.
    """
    folder = fetch_kodak(report=report) if folder is None else folder
    wrong = [name for name, digest in kodak_sums().items() if _file_sum(folder / name) != digest]
    if wrong:
        raise DctcodecError(
            f"{folder}: {', '.join(wrong[:3])}{' and others' if len(wrong) > 3 else ''} "
            "missing or not the Kodak picture; without --data they are fetched, and "
            f"`benchmark {folder}` takes any pictures"
        )
    return Dataset(name=KODAK, photos=_photos([folder / name for name in kodak_sums()])[0])


def folder_dataset(folder: Path) -> Dataset:
    """All pictures that lie in a folder.

    Raises:
        UsageError: no folder, or no picture in it; ImageError: one cannot be read.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder}: neither 'kodak' nor a folder of pictures")
    paths = sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and p.is_file())
    if not paths:
        raise UsageError(f"{folder}: no picture ({', '.join(sorted(SUFFIXES))}) in it")
    photos, notes = _photos(paths)
    return Dataset(name=folder.resolve().name, photos=photos, notes=notes)


def fetch_kodak(
    home: Sequence[str] | None = None, cache: Path | None = None, report: Report | None = None
) -> Path:
    """Fetch what is not there yet of the 24 pictures; each is checked before it is kept.

    Args:
        home: URLs of folders, tried in order; None: `HOMES`.
        cache: folder to keep them in; None: `dctcodec/kodak` in the user's cache folder.
        report: called with a line per picture.

    Returns:
        the folder.

    Raises:
        DctcodecError: no home has a picture with the right checksum.
    """
    folder = cache or cache_folder() / KODAK
    folder.mkdir(parents=True, exist_ok=True)
    for n, (name, digest) in enumerate(kodak_sums().items(), start=1):
        if _file_sum(folder / name) == digest:
            continue
        if report:
            report(f"fetching {name}, {n} of {len(kodak_sums())}")
        atomic_write(folder / name, _fetch(name, digest, HOMES if home is None else home), True)
    return folder


def cache_folder() -> Path:
    """Where fetched files are kept: XDG_CACHE_HOME, else ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dctcodec"


def read_pixels(path: Path) -> Pixels:
    """Upright 8-bit RGB (height, width, 3); gray three times, without alpha.

    Raises:
        ImageError: not a picture.
    """
    pixels = load(path).pixels
    return pixels if pixels.ndim == 3 else np.repeat(pixels[:, :, None], 3, axis=2)


def pixel_sum(pixels: Pixels) -> str:
    """SHA-256 of the samples and their shape."""
    shape = "x".join(map(str, pixels.shape)).encode()
    return hashlib.sha256(shape + np.ascontiguousarray(pixels).tobytes()).hexdigest()


def _fetch(name: str, digest: str, homes: Sequence[str]) -> bytes:
    from urllib.error import URLError
    from urllib.request import urlopen

    failures = []
    for home in homes:
        url = home.rstrip("/") + "/" + name
        try:
            with urlopen(url, timeout=TIMEOUT) as answer:
                data: bytes = answer.read(MOST_BYTES)
        except (URLError, OSError, ValueError) as error:
            failures.append(f"{url}: {getattr(error, 'reason', error)}")
            continue
        found = hashlib.sha256(data).hexdigest()
        if found == digest:
            return data
        failures.append(f"{url}: SHA-256 {found[:16]}…, expected {digest[:16]}…")
    raise DctcodecError(
        f"{name} cannot be fetched ({'; '.join(failures)}); --data takes a folder that has it"
    )


def _photos(paths: Sequence[Path]) -> tuple[tuple[Photo, ...], tuple[str, ...]]:
    """Photos by stem, by file name where stems are equal; and notes on what was converted."""
    stems = Counter(path.stem for path in paths)
    photos, notes = [], []
    for path in paths:
        try:
            picture = load(path)
        except ImageError as error:
            raise ImageError(f"{path}: {error}") from error
        name = path.stem if stems[path.stem] == 1 else path.name
        converted = list(picture.notes)
        if picture.alpha is not None:
            converted.append("transparency left out")
        if picture.grayscale:
            converted.append("gray, measured as RGB with three equal channels")
        notes += [f"{name}: {note}" for note in converted]
        height, width = picture.pixels.shape[:2]
        digest = pixel_sum(read_pixels(path))
        photos.append(Photo(name=name, path=path, width=width, height=height, sha256=digest))
    return tuple(photos), tuple(notes)


def _file_sum(path: Path) -> str | None:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return None
