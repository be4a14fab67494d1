"""`dctcodec demo`: a picture through a real file, beside a JPEG of the same size."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer

from .console import about, bar, read_input, remark, result, table
from .container import DEFAULT_MAX_PIXELS
from .errors import DctcodecError

if TYPE_CHECKING:
    from .pictures import Picture


def demo(
    image: Annotated[
        str | None,
        typer.Argument(metavar="IMAGE", help="A picture; default: scikit-image's astronaut."),
    ] = None,
    quality: Annotated[
        float, typer.Option("-q", "--quality", help="0 smallest … 100 finest, in quarters.")
    ] = 75.0,
    keep: Annotated[
        Path | None, typer.Option(help="A folder for the files; default: they are removed.")
    ] = None,
    device: Annotated[str, typer.Option(help="Where the networks run, as torch names it.")] = "cpu",
) -> None:
    """Compare a picture's .dctc file with a JPEG of its size."""
    from .api import decode_picture, encode_picture, quality_index
    from .pictures import atomic_write, save

    quality_index(quality)  # an error before the work
    picture = _picture(image)

    with _folder(keep) as folder:
        file = folder / "demo.dctc"
        with bar("encoding") as progress:
            encoded = encode_picture(picture, quality, device=device, progress=progress)
        atomic_write(file, encoded.data, force=True)
        data = file.read_bytes()
        with bar("decoding") as progress:
            decoded = decode_picture(data, device=device, progress=progress).picture
        rows = _compare(picture, decoded, data, folder, quality)
        save(decoded, folder / "demo.png", force=True)
        result(f"{image or 'astronaut'}, {picture.width}x{picture.height} pixels")
        result(table(rows))
        if keep is not None:
            remark(f"{keep}: demo.dctc, demo.png and demo.jpg are there")


def _picture(image: str | None) -> Picture:
    """The picture without its metadata, which would count as bytes on one side only."""
    from .pictures import load

    if image is not None:
        with about(image):
            return load(read_input(image), max_pixels=DEFAULT_MAX_PIXELS, strip=True)
    try:
        from skimage import data
    except ImportError:
        raise DctcodecError("the demo needs scikit-image: pip install 'dctcodec[eval]'") from None
    return load(data.astronaut(), max_pixels=DEFAULT_MAX_PIXELS)


@contextmanager
def _folder(keep: Path | None) -> Iterator[Path]:
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        yield keep
        return
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def _compare(
    picture: Picture, decoded: Picture, data: bytes, folder: Path, quality: float
) -> list[list[str]]:
    """A table of both codecs; writes demo.jpg."""
    # Of the codec only commands import eval: the command line is the rim, above both.
    from PIL import Image

    from ..eval.jpeg import jpeg_at_size
    from ..eval.metrics import ms_ssim, psnr
    from .pictures import atomic_write, to_pil

    def row(name: str, size: int, image: Image.Image) -> list[str]:
        pixels = np.asarray(image.convert("RGB"))
        ms = ms_ssim(original, pixels)
        return [
            name,
            str(size),
            f"{8 * size / (image.width * image.height):.3f}",
            f"{psnr(original, pixels):.2f}",
            "small" if ms is None else f"{ms:.4f}",
        ]

    source = to_pil(picture).convert("RGB")
    original = np.asarray(source)
    jpeg = jpeg_at_size(source, len(data))
    atomic_write(folder / "demo.jpg", jpeg, force=True)
    with Image.open(folder / "demo.jpg") as image:
        theirs = row("JPEG 4:2:0", len(jpeg), image)
    return [
        ["", "bytes", "bits/pixel", "PSNR, dB", "MS-SSIM"],
        row(f"dctcodec -q {quality:g}", len(data), to_pil(decoded)),
        theirs,
    ]
