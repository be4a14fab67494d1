"""Photos for training: a folder or tars of images, held in memory, cut into random crops."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torch.nn import functional as F

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".avif", ".tif", ".tiff", ".bmp", ".ppm"}


def image_files(paths: Sequence[Path]) -> Iterator[tuple[str, bytes]]:
    """(name, bytes) of every image in folders (recursively), tars and single files, in order."""
    for path in paths:
        if path.is_dir():
            for p in sorted(path.rglob("*")):
                if p.suffix.lower() in SUFFIXES:
                    yield str(p), p.read_bytes()
        elif path.suffix.lower() in SUFFIXES:
            yield str(path), path.read_bytes()
        else:
            with tarfile.open(path) as tar:
                for member in tar:
                    data = tar.extractfile(member)
                    if data is not None and Path(member.name).suffix.lower() in SUFFIXES:
                        yield f"{path}:{member.name}", data.read()


def load_photos(paths: Sequence[Path]) -> list[Tensor]:
    """Every image as a (3, h, w) uint8 tensor, upright."""
    photos = []
    for _, data in image_files(paths):
        with Image.open(io.BytesIO(data)) as im:
            rgb = np.asarray(ImageOps.exif_transpose(im).convert("RGB"))
        photos.append(torch.from_numpy(rgb.transpose(2, 0, 1).copy()))
    return photos


class Crops:
    """Random square crops: position by area, flips, transposition, random downscaling.

    Args:
        photos: (3, h, w) uint8 tensors; kept on `device`.
        size: side of a crop, pixels.
        scaled: share of the crops that are downscaled, by a factor 0.5…1.
    """

    def __init__(
        self, photos: Sequence[Tensor], size: int, device: torch.device, scaled: float = 0.3
    ) -> None:
        self.photos = [p.to(device) for p in photos if min(p.shape[1:]) >= size]
        if not self.photos:
            raise ValueError(f"no photo has {size}x{size} pixels")
        self.size, self.scaled = size, scaled
        area = np.array([p.shape[1] * p.shape[2] for p in self.photos], np.float64)
        self.share = area / area.sum()

    def crop(self, rng: np.random.Generator) -> Tensor:
        """(3, size, size), float32 grey levels."""
        photo = self.photos[rng.choice(len(self.photos), p=self.share)]
        _, h, w = photo.shape
        side = self.size
        if rng.random() < self.scaled:
            side = min(int(side / rng.uniform(0.5, 1)), h, w)
        i, j = rng.integers(h - side + 1), rng.integers(w - side + 1)
        x = photo[:, i : i + side, j : j + side].float()
        if side != self.size:
            x = F.interpolate(x[None], self.size, mode="bicubic", antialias=True)[0].clamp(0, 255)
            x = x.round()
        if rng.random() < 0.5:
            x = x.flip(2)
        if rng.random() < 0.5:
            x = x.transpose(1, 2)
        return x

    def batch(self, rng: np.random.Generator, count: int) -> Tensor:
        """(count, 3, size, size)."""
        return torch.stack([self.crop(rng) for _ in range(count)])
