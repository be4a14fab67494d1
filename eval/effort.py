"""What encoder effort buys: real files of the same pictures at several levels, and seconds.

    python -m dctcodec.eval.effort PICTURES -o docs/results/effort.csv

Pictures are cut to their middle `--side` × `--side` pixels, since the highest levels take minutes.
"""

from __future__ import annotations

import argparse
import csv
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np

from ..codec.api import decode_picture, encode_picture
from ..codec.effort import DEFAULT_EFFORT, ITERATIONS
from ..codec.pictures import load
from .metrics import bd_rate, bits_per_pixel, psnr

FIELDS = ("file", "effort", "quality", "bytes", "bpp", "psnr", "seconds")


def measure(path: Path, side: int, level: int, quality: float) -> dict[str, Any]:
    """One file, encoded, decoded and compared. Seconds are CPU time of encoding."""
    import torch

    torch.set_num_threads(1)
    pixels = load(path).pixels
    top, left = (pixels.shape[0] - side) // 2, (pixels.shape[1] - side) // 2
    pixels = np.ascontiguousarray(pixels[max(0, top) :, max(0, left) :][:side, :side])
    began = process_time()
    data = encode_picture(load(pixels), quality, effort=level).data
    seconds = process_time() - began
    return {
        "file": path.name,
        "effort": level,
        "quality": quality,
        "bytes": len(data),
        "bpp": bits_per_pixel(len(data), pixels.shape[1], pixels.shape[0]),
        "psnr": psnr(pixels, decode_picture(data).picture.pixels),
        "seconds": seconds,
    }


def table(rows: Sequence[dict[str, str]]) -> str:
    """Markdown: BD-rate of every level against the default one, and seconds a megapixel."""

    def curve(level: int) -> tuple[list[float], list[float]]:
        mine = [r for r in rows if int(r["effort"]) == level]
        qualities = sorted({float(r["quality"]) for r in mine})
        at = [[r for r in mine if float(r["quality"]) == q] for q in qualities]
        return (
            [float(np.mean([float(r["bpp"]) for r in a])) for a in at],
            [float(np.mean([float(r["psnr"]) for r in a])) for a in at],
        )

    lines = [
        "| effort | steps of search | BD-rate | CPU seconds per megapixel |",
        "|---|---|---|---|",
    ]
    for level in sorted({int(r["effort"]) for r in rows}):
        mine = [r for r in rows if int(r["effort"]) == level]
        pixels = [8 * float(r["bytes"]) / float(r["bpp"]) for r in mine]
        pace = np.median([1e6 * float(r["seconds"]) / n for r, n in zip(mine, pixels, strict=True)])
        rate = bd_rate(curve(DEFAULT_EFFORT), curve(level))
        shown = "–" if rate is None else f"{rate.percent:+.1f} %".replace("-", "−")
        lines.append(f"| {level} | {ITERATIONS[level]} | {shown} | {pace:.1f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("pictures", type=Path)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--side", type=int, default=192)
    parser.add_argument("--every", type=int, default=6)
    parser.add_argument("--levels", type=int, nargs="+", default=[1, 3, 6, 9])
    parser.add_argument("--qualities", type=float, nargs="+", default=[10.0, 30.0, 50.0, 70.0])
    parser.add_argument("--jobs", type=int, default=1)
    args = parser.parse_args()
    files = sorted(p for p in args.pictures.iterdir() if p.suffix in (".png", ".webp"))
    jobs = [
        (f, args.side, level, q)
        for level in args.levels
        for f in files[:: args.every]
        for q in args.qualities
    ]
    os.environ["OMP_NUM_THREADS"] = "1"
    with ProcessPoolExecutor(args.jobs) as pool, open(args.out, "w", newline="") as out:
        writer = csv.DictWriter(out, FIELDS, lineterminator="\n")
        writer.writeheader()
        for row in pool.map(measure, *zip(*jobs, strict=True)):
            writer.writerow({k: round(v, 5) if isinstance(v, float) else v for k, v in row.items()})
            out.flush()
    with open(args.out, newline="") as f:
        print(table(list(csv.DictReader(f))))


if __name__ == "__main__":
    main()
