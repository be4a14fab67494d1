"""Collections of .dctc files as `torch.utils.data` datasets, whole or in quick previews.

    photos = CompressedFolder("photos/")                 # or a glob, a tar, a URL, several
    loader = DataLoader(photos, batch_size=None, num_workers=4, shuffle=True)
    for name, pixels in loader: ...                      # uint8 (3, height, width)

Pictures have their own sizes: give a `transform` that crops or resizes, and batches can be made.
"""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, distributed
from torch.utils.data import Dataset, IterableDataset, get_worker_info

from .api import decode_picture
from .batch import sources, store
from .container import DEFAULT_MAX_PIXELS, read
from .errors import ImageError, UsageError
from .plugin import SUFFIX
from .preview import thumbnail

__all__ = ["CompressedFolder", "CompressedTars", "Decoding"]

Sample = tuple[str, Any]
"""Name within the collection, and uint8 (3, height, width) RGB or what the transform made of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoding:
    """How files become tensors.

    Raises:
        UsageError: layers and preview exclude each other.
    """

    layers: int | None = None  # latent layers used, as far as a file has them; None: all
    preview: bool = False  # an eighth as wide and high, from the context alone
    max_pixels: int = DEFAULT_MAX_PIXELS
    transform: Callable[[Tensor], Any] | None = None  # of a (3, height, width) uint8 tensor

    def __post_init__(self) -> None:
        if self.preview and self.layers is not None:
            raise UsageError("a preview has no layers; give one of the two")
        if self.layers is not None and self.layers < 0:
            raise UsageError(f"layers {self.layers} is not at least 0")

    def __call__(self, data: bytes) -> Any:
        """A tensor from a .dctc file.

        Raises:
            BitstreamError: it is damaged; ModelError: it needs a model that is not installed.
        """
        if self.preview:
            pixels = thumbnail(data, max_pixels=self.max_pixels)
        else:
            layers = self.layers
            if layers is not None:
                layers = min(layers, read(data, max_pixels=self.max_pixels).header.layers)
            pixels = decode_picture(data, layers=layers, max_pixels=self.max_pixels).picture.pixels
        if pixels.ndim == 2:
            pixels = np.repeat(pixels[:, :, None], 3, 2)
        tensor = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))
        return self.transform(tensor) if self.transform else tensor


class CompressedFolder(Dataset[Sample]):
    """.dctc files of folders, globs and plain tars, each found by number.

    Members of a tar are read where they lie, so random order costs nothing more. Workers of a
    `DataLoader` each load the model when they decode first.

    Args:
        specs: a folder, glob, tar, file or URL, or several.
        decoding: see `Decoding`.

    Raises:
        ImageError: there is no such file or folder, or no .dctc file in it, or a bad tar.
    """

    def __init__(self, specs: str | Sequence[str], decoding: Decoding | None = None) -> None:
        self.decoding = decoding or Decoding()
        self.sources: list[sources.Source] = []
        for spec in _several(specs):
            for source in sources.find(spec, [SUFFIX]).sources:
                if source.error is not None:
                    raise ImageError(f"{source.label}: {source.error}")
                self.sources.append(source)
        if not self.sources:
            raise ImageError(f"{specs}: no {SUFFIX} file")

    def __len__(self) -> int:
        return len(self.sources)

    def __getitem__(self, index: int) -> Sample:
        source = self.sources[index]
        return source.name, self.decoding(sources.read(source))

    def __iter__(self) -> Iterator[Sample]:
        return map(self.__getitem__, range(len(self)))


class CompressedTars(IterableDataset[Sample]):
    """.dctc files of tars, read from start to end as they come: for shards far away.

    Every process of a distributed run and every worker of its loader reads other shards; where
    there are fewer shards than readers, each reader takes every n-th member instead.

    Args:
        tars: paths or URLs; compressed tars are fine here.
        decoding: see `Decoding`.
    """

    def __init__(self, tars: str | Sequence[str], decoding: Decoding | None = None) -> None:
        self.tars, self.decoding = _several(tars), decoding or Decoding()

    def __iter__(self) -> Iterator[Sample]:
        mine, readers = _share()
        by_shard = len(self.tars) >= readers
        count = 0
        for tar in self.tars[mine::readers] if by_shard else self.tars:
            for name, data in _members(tar):
                if by_shard or count % readers == mine:
                    yield name, self.decoding(data())
                count += 1


def _members(location: str) -> Iterator[tuple[str, Callable[[], bytes]]]:
    """Names, and how to read them now, of a tar's .dctc files.

    Raises:
        ImageError: it is no tar, or cut short.
    """
    try:
        with _opened(location) as file, tarfile.open(fileobj=file, mode="r|*") as tar:
            for member in tar:
                if member.isreg() and member.name.endswith(SUFFIX):
                    reader = tar.extractfile(member)
                    assert reader is not None
                    yield member.name, reader.read
    except (tarfile.TarError, OSError) as error:
        raise ImageError(f"{location}: {store.reason(error)}") from error


def _opened(location: str) -> Any:
    if not store.is_url(location):
        return open(location, "rb")
    fs, path = store.filesystem(location)
    return fs.open(path, "rb")


def _several(specs: str | Sequence[str]) -> list[str]:
    return [specs] if isinstance(specs, str) else list(specs)


def _share() -> tuple[int, int]:
    """Which reader this is, and of how many."""
    rank, world = 0, 1
    if distributed.is_available() and distributed.is_initialized():
        rank, world = distributed.get_rank(), distributed.get_world_size()
    worker = get_worker_info()
    if worker is None:
        return rank, world
    return rank * worker.num_workers + worker.id, world * worker.num_workers
