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


LARGEST_ENLARGEMENT = 1.5
"""Soft crops are enlarged by at most this factor and axis."""

GRAIN = (0.7, 5.0)
"""Standard deviation of grain, grey levels: the range of the draws, log-uniform."""


class Crops:
    """Random square crops: position by area, flips, turns, scaling, tone, camera traces.

    Training photos are clean: made smaller, so that noise and the traces of a camera are gone.
    What people encode has grain, colour at half the resolution, and is often soft at its own scale.

    Args:
        photos: (3, h, w) uint8 tensors; kept on `device`.
        size: side of a crop, pixels.
        scaled: share of the crops that are downscaled, by a factor 0.5…1.
        camera: share of the crops that get traces of a camera, each with even chances: enlarged by
            a factor 1…1.5, colour at half the resolution per axis, grain.
        tone: share of the crops with another exposure, white balance and saturation.
        turned: share of the crops turned by half a circle, on top of flips and transposition.
    """

    def __init__(
        self,
        photos: Sequence[Tensor],
        size: int,
        device: torch.device,
        scaled: float = 0.3,
        camera: float = 0.0,
        tone: float = 0.0,
        turned: float = 0.0,
    ) -> None:
        self.photos = [p.to(device) for p in photos if min(p.shape[1:]) >= size]
        if not self.photos:
            raise ValueError(f"no photo has {size}x{size} pixels")
        self.size, self.scaled, self.camera = size, scaled, camera
        self.tone, self.turned = tone, turned
        area = np.array([p.shape[1] * p.shape[2] for p in self.photos], np.float64)
        self.share = area / area.sum()

    def crop(self, rng: np.random.Generator) -> Tensor:
        """(3, size, size), float32 grey levels."""
        photo = self.photos[rng.choice(len(self.photos), p=self.share)]
        _, h, w = photo.shape
        side = self.size
        camera = self.camera > 0 and rng.random() < self.camera
        if rng.random() < self.scaled:
            side = min(int(side / rng.uniform(0.5, 1)), h, w)
        elif camera and rng.random() < 0.5:
            side = int(side / rng.uniform(1, LARGEST_ENLARGEMENT))
        i, j = rng.integers(h - side + 1), rng.integers(w - side + 1)
        x = photo[:, i : i + side, j : j + side].float()
        if side != self.size:
            x = F.interpolate(x[None], self.size, mode="bicubic", antialias=True)[0].clamp(0, 255)
            x = x.round()
        if self.tone > 0 and rng.random() < self.tone:
            x = with_other_tone(x, rng)
        if camera:
            x = with_camera_traces(x, rng)
        if self.turned > 0 and rng.random() < self.turned:
            x = x.flip(1, 2)
        if rng.random() < 0.5:
            x = x.flip(2)
        if rng.random() < 0.5:
            x = x.transpose(1, 2)
        return x

    def batch(self, rng: np.random.Generator, count: int) -> Tensor:
        """(count, 3, size, size)."""
        return torch.stack([self.crop(rng) for _ in range(count)])


def with_other_tone(x: Tensor, rng: np.random.Generator) -> Tensor:
    """Exposure (a power of 0.7 to 1.4), white balance (gains of some 6 %), saturation (0.5 to 1.3).

    Args:
        x: (3, h, w), whole grey levels 0…255.

    Returns:
        the same shape and range, whole grey levels.
    """
    power = float(np.exp(rng.uniform(np.log(0.7), np.log(1.4))))
    gains = torch.from_numpy(np.exp(rng.normal(0, 0.06, 3)).astype(np.float32))
    curve = 255 * torch.linspace(0, 1, 256) ** power  # grey levels by grey level
    x = gains.to(x.device)[:, None, None] * curve.to(x.device)[x.long()]
    luma = x.mean(0, keepdim=True)
    return (luma + float(rng.uniform(0.5, 1.3)) * (x - luma)).round().clamp(0, 255)


def with_camera_traces(x: Tensor, rng: np.random.Generator) -> Tensor:
    """Colour at half the resolution, or grain, or both, or neither, by draws of even chances.

    Args:
        x: (3, h, w), grey levels 0…255; h and w even.

    Returns:
        the same shape, whole grey levels.
    """
    if rng.random() < 0.5:
        luma = x.mean(0, keepdim=True)
        colour = F.avg_pool2d((x - luma)[None], 2)
        full = F.interpolate(colour, scale_factor=2, mode="bilinear", align_corners=False)
        x = luma + full[0]
    if rng.random() < 0.5:
        x = x + grain(x, rng)
    return x.round().clamp(0, 255)


def grain(x: Tensor, rng: np.random.Generator) -> Tensor:
    """Gaussian noise of one random strength, mostly the same in all colours, fine or coarse."""
    sigma = float(np.exp(rng.uniform(*np.log(GRAIN))))
    noise = rng.standard_normal((4, *x.shape[1:]), dtype=np.float32)
    share = rng.uniform(0, 0.5)  # of the noise that differs between colours
    mixed = torch.from_numpy((1 - share) * noise[:1] + share * noise[1:]).to(x.device)
    blur = float(rng.uniform(0, 0.25))  # weight of a neighbour against the centre
    kernel = torch.tensor([blur, 1.0, blur], device=x.device)
    kernel = (kernel[:, None] * kernel).expand(3, 1, 3, 3)
    padded = F.pad(mixed[None], (1, 1, 1, 1), mode="reflect")
    soft = F.conv2d(padded, kernel, groups=3)[0]
    return soft * (sigma / soft.std().clamp_min(1e-6))
