"""The README's picture: original, JPEG and ours at equal bytes, side by side.

python -m dctcodec.eval.figure PICTURE -o docs/compare.png [-q 25] [--crop x,y,w,h]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ..codec.api import decode_picture, encode_picture
from ..codec.pictures import load
from .jpeg import decode_jpeg, jpeg_at_size
from .metrics import psnr

MARGIN = 30  # pixels above each panel, for its title


def comparison(path: Path, quality: float, crop: tuple[int, int, int, int]) -> Image.Image:
    """Three panels of the same crop (left, top, width, height), titled with bytes and PSNR."""
    picture = load(path)
    data = encode_picture(picture, quality).data
    ours = decode_picture(data).picture.pixels
    jpeg = jpeg_at_size(picture.pixels, len(data))
    theirs = decode_jpeg(jpeg)
    x, y, w, h = crop
    panels = [
        ("original", picture.pixels),
        (f"JPEG, {len(jpeg)} bytes, {psnr(picture.pixels, theirs):.2f} dB", theirs),
        (f"dctcodec, {len(data)} bytes, {psnr(picture.pixels, ours):.2f} dB", ours),
    ]
    out = Image.new("RGB", (3 * w + 20, h + MARGIN), "white")
    draw, font = ImageDraw.Draw(out), ImageFont.load_default(16)
    for n, (title, pixels) in enumerate(panels):
        left = n * (w + 10)
        out.paste(
            Image.fromarray(np.ascontiguousarray(pixels[y : y + h, x : x + w])), (left, MARGIN)
        )
        draw.text((left + 4, 6), title, fill="black", font=font)
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("picture", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("-q", "--quality", type=float, default=10)
    parser.add_argument("--crop", default="120,60,360,360")
    args = parser.parse_args()
    x, y, w, h = map(int, args.crop.split(","))
    comparison(args.picture, args.quality, (x, y, w, h)).save(args.output, optimize=True)


if __name__ == "__main__":
    main()
