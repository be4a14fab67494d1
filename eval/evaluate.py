"""Our codec over a folder of pictures, by real files: one CSV row per picture and quality.

python -m dctcodec.eval.evaluate FOLDER -o rows.csv [--qualities 10,30,50,75,95] [--layers]
    [--tune ms-ssim]
"""

from __future__ import annotations

import argparse
import csv
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from ..codec.api import decode_picture, encode_picture
from ..codec.container import read
from ..codec.pictures import load
from ..codec.tune import DEFAULT_TUNE, Tune
from ..data.photos import SUFFIXES
from .metrics import ms_ssim, psnr

Row = dict[str, str | int | float]


def evaluate_file(path: Path, quality: float, tune: str = DEFAULT_TUNE) -> Row:
    """Encode to a real file, decode from it, measure. Seconds exclude loading model and picture."""
    picture = load(path)
    began = time.perf_counter()
    encoded = encode_picture(picture, quality, tune=tune)
    encode_seconds = time.perf_counter() - began
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "x.dctc"
        file.write_bytes(encoded.data)
        size = file.stat().st_size
        data = file.read_bytes()
    began = time.perf_counter()
    decoded = decode_picture(data).picture.pixels
    decode_seconds = time.perf_counter() - began
    container = read(data)
    height, width = picture.pixels.shape[:2]
    ms = ms_ssim(picture.pixels, decoded)
    return {
        "image": path.stem,
        "quality": quality,
        "bytes": size,
        "estimated_bytes": round(sum(map(sum, encoded.estimated_bits)) / 8, 2),
        "container_bytes": container.container_bytes,
        "streams": sum(c.length > 0 for c in container.chunks),
        "bpp": round(8 * size / (width * height), 6),
        "psnr_rgb": round(psnr(picture.pixels, decoded), 4),
        "msssim_rgb": "" if ms is None else round(ms, 6),
        "enc_s": round(encode_seconds, 4),
        "dec_s": round(decode_seconds, 4),
    }


def layer_rows(path: Path, quality: float) -> Iterator[Row]:
    """Bits per pixel and PSNR with the context alone, one layer, two layers, …"""
    picture = load(path)
    data = encode_picture(picture, quality).data
    container = read(data)
    pixels = picture.pixels.shape[0] * picture.pixels.shape[1]
    size = container.container_bytes
    for layer in range(container.header.layers + 1):
        size += sum(c.length for c in container.chunks if c.layer == layer)
        decoded = decode_picture(data, layers=layer).picture.pixels
        yield {
            "image": path.stem,
            "quality": quality,
            "layers": layer,
            "bpp": round(8 * size / pixels, 6),
            "psnr_rgb": round(psnr(picture.pixels, decoded), 4),
        }


def pictures(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES)


def write_csv(rows: Sequence[Row], path: Path) -> None:
    with path.open("w", newline="") as f:
        writer = csv.DictWriter(f, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def mean(rows: Sequence[Row], key: str) -> float:
    return float(np.mean([float(r[key]) for r in rows]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--qualities", default="10,30,50,75,95")
    parser.add_argument("--layers", action="store_true", help="PSNR layer by layer instead")
    parser.add_argument("--tune", default=DEFAULT_TUNE)
    args = parser.parse_args()
    Tune(args.tune)
    rows: list[Row] = []
    for quality in map(float, args.qualities.split(",")):
        mine: list[Row] = []
        for path in pictures(args.folder):
            if args.layers:
                mine += layer_rows(path, quality)
            else:
                mine.append(evaluate_file(path, quality, args.tune))
        rows += mine
        if not args.layers:
            print(
                f"{quality:6.2f} {mean(mine, 'bpp'):8.4f} bpp {mean(mine, 'psnr_rgb'):7.3f} dB",
                flush=True,
            )
    write_csv(rows, args.output)


if __name__ == "__main__":
    main()
