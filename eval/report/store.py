"""Pictures out of files and into data URIs."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, features

from ...codec.api import decode_picture
from ...codec.errors import UsageError
from ...codec.pictures import load
from ..metrics import psnr
from .results import OURS, Row

Pixels = npt.NDArray[np.uint8]
Box = tuple[int, int, int, int]
"""(left, top, width, height), pixels."""

Decoder = Callable[[str, bytes], Pixels]
"""(codec, file) → uint8 (height, width, 3)."""


def decode_file(codec: str, data: bytes) -> Pixels:
    """A file's pixels, uint8 (height, width, 3), by our codec or the benchmark's peer."""
    if codec == OURS:
        return rgb(decode_picture(data).picture.pixels)
    from ..benchmark import peers

    return rgb(np.asarray(peers.by_name(codec).decode(data)))


def usable(codec: str) -> bool:
    """Whether the benchmark has a peer of that name that can run here."""
    from ..benchmark import peers

    return codec == OURS or (codec in peers.all_peers() and peers.by_name(codec).missing() is None)


def original(path: Path) -> Pixels:
    """A picture as the codecs saw it, uint8 (height, width, 3)."""
    return rgb(load(path).pixels)


def rgb(pixels: Pixels) -> Pixels:
    return np.stack([pixels] * 3, 2) if pixels.ndim == 2 else pixels[:, :, :3]


class Store:
    """Stores pixels for the page at one quality and remembers the worst error it made.

    Attributes:
        worst: dB, the lowest PSNR of a stored picture against the pixels it stands for.
    """

    def __init__(self, quality: int) -> None:
        self.quality = quality
        self.worst = float("inf")
        self.name = "AVIF 4:4:4" if features.check("avif") else "JPEG 4:4:4"

    def uri(self, pixels: Pixels) -> str:
        out, image = io.BytesIO(), Image.fromarray(np.ascontiguousarray(pixels))
        if self.name.startswith("AVIF"):
            settings = {"quality": self.quality, "subsampling": "4:4:4", "speed": 8}
            try:
                image.save(out, "AVIF", **settings, advanced={"tune": "psnr"})
            except ValueError:  # another encoder than libaom
                image.save(out, "AVIF", **settings)
            kind = "image/avif"
        else:
            image.save(out, "JPEG", quality=self.quality + 4, subsampling="4:4:4", optimize=True)
            kind = "image/jpeg"
        with Image.open(out) as stored:
            self.worst = min(self.worst, psnr(np.asarray(stored.convert("RGB")), pixels))
        return data_uri(kind, out.getvalue())


def data_uri(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"


def browser_kind(data: bytes) -> str | None:
    """The media type of a file that today's browsers show; None for others."""
    if data[:3] == b"\xff\xd8\xff":
        return "image/jpeg"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    if data[4:12] == b"ftypavif":
        return "image/avif"
    return "image/png" if data[:8] == b"\x89PNG\r\n\x1a\n" else None


def thumbnail(pixels: Pixels, height: int = 64) -> str:
    image = Image.fromarray(np.ascontiguousarray(pixels))
    image = image.resize((max(1, round(image.width * height / image.height)), height))
    out = io.BytesIO()
    image.save(out, "JPEG", quality=72, optimize=True)
    return data_uri("image/jpeg", out.getvalue())


def middle(width: int, height: int, side: int) -> Box:
    """The box of at most `side` pixels a side in the middle of a picture."""
    w, h = min(width, side), min(height, side)
    return (width - w) // 2, (height - h) // 2, w, h


def crop(pixels: Pixels, box: Box) -> Pixels:
    x, y, w, h = box
    return pixels[y : y + h, x : x + w]


def file_of(folder: Path, row: Row) -> bytes:
    """The compressed file of a row.

    Raises:
        UsageError: it is missing, or not of the size that the row says.
    """
    if row.file is None:
        raise UsageError(f"{row.codec} {row.setting}, {row.image}: the results hold no file of it")
    path = folder / row.file
    try:
        data = path.read_bytes()
    except OSError:
        raise UsageError(f"{path} is missing; run the benchmark again") from None
    if len(data) != row.bytes:
        raise UsageError(f"{path} has {len(data)} bytes, its row says {row.bytes}")
    return data
