"""What integers cost: the prior path with whole numbers, as files need it, beside its float twin.

    python -m dctcodec.eval.float_twin PICTURES RUN/state.pt … -o docs/results/float_twin.csv
        [--from 30 56]

Several runs, from coarse to fine: each but the first is measured from a quality of `--from` on.

The same weights, once rounded and clamped as the stored integers are, once in floats (clamped, as
the network was trained, but nothing rounded). Symbols as the encoder chooses them; bits are the
estimates of logistic tables, the same for both.
"""

from __future__ import annotations

import argparse
import csv
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..data.photos import load_photos
from ..models.config import QUALITY_STEPS
from ..models.model import CodecModel
from ..models.train import trained_model
from .metrics import bd_rate

QUALITIES = (10, 30, 50, 70, 90)


@torch.no_grad()
def measure(model: CodecModel, photo: Tensor, quality: int, exact: bool) -> tuple[float, float]:
    """Bits per pixel and PSNR of one photo, (3, h, w) uint8, cut to multiples of 32."""
    h, w = photo.shape[1] // 32 * 32, photo.shape[2] // 32 * 32
    x = photo[None, :, :h, :w].float()
    out = model(x, torch.tensor([quality * 4]), exact=exact, chosen=True)
    error = float((out.picture.clamp(0, 255).round() - x).square().mean())
    return float(out.bits.sum()) / (h * w), 10 * math.log10(255**2 / error)


def rate_between(rows: Sequence[dict[str, Any]]) -> float:
    """BD-rate of the integers against the floats, per cent; positive: they cost bits."""

    def mean(groups: Sequence[Sequence[dict[str, Any]]], key: str) -> list[float]:
        return [float(np.mean([r[key] for r in g])) for g in groups]

    curves = {}
    for numbers in ("integers", "floats"):
        mine = [r for r in rows if r["numbers"] == numbers]
        at = [[r for r in mine if r["quality"] == q] for q in sorted({r["quality"] for r in mine})]
        curves[numbers] = mean(at, "bpp"), mean(at, "psnr")
    rate = bd_rate(curves["floats"], curves["integers"])
    if rate is None:
        raise ValueError("the two curves have no quality in common")
    return rate.percent


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("pictures", type=Path)
    parser.add_argument("weights", type=Path, nargs="+", help="state.pt of a run, or .safetensors")
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--from", type=float, nargs="*", default=[], dest="starts")
    args = parser.parse_args()
    if len(args.starts) != len(args.weights) - 1 or args.starts != sorted(args.starts):
        parser.error("--from: a quality for every model but the first, rising")
    files = {q: args.weights[sum(q >= start for start in args.starts)] for q in QUALITIES}
    models = {q: trained_model(path, q * QUALITY_STEPS // 100) for q, path in files.items()}
    rows = []
    for number, photo in enumerate(load_photos([args.pictures])[:: args.every]):
        for quality in QUALITIES:
            for exact in (True, False):
                bpp, psnr = measure(models[quality], photo, quality, exact)
                rows.append(
                    {
                        "picture": number * args.every + 1,
                        "quality": quality,
                        "numbers": "integers" if exact else "floats",
                        "bpp": round(bpp, 6),
                        "psnr": round(psnr, 4),
                    }
                )
    with open(args.out, "w", newline="") as f:
        writer = csv.DictWriter(f, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    print(f"integers against floats: {rate_between(rows):+.2f} %")


if __name__ == "__main__":
    main()
