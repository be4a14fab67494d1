"""What integers cost: the prior path with whole numbers, as files need it, beside its float twin.

    python -m dctcodec.eval.float_twin RUN/state.pt PICTURES -o docs/results/float_twin.csv
        [--finer RUN/state.pt --from 36]

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
from ..models.model import CodecModel
from ..models.train import starting_point
from .metrics import bd_rate

QUALITIES = (10, 30, 50, 70, 90)


def trained(path: Path) -> CodecModel:
    """The model of a run's averaged weights, or of a weights file."""
    cfg, parameters = starting_point(path)
    model = CodecModel(cfg)
    model.load_state_dict(parameters)
    model.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return model


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
    parser.add_argument("weights", type=Path, help="state.pt of a run, or a .safetensors file")
    parser.add_argument("pictures", type=Path)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--finer", type=Path, help="the same, of the finer qualities")
    parser.add_argument("--from", type=float, default=0, dest="first", help="their first quality")
    args = parser.parse_args()
    coarse = trained(args.weights)
    fine = trained(args.finer) if args.finer else coarse
    rows = []
    for number, photo in enumerate(load_photos([args.pictures])[:: args.every]):
        for quality in QUALITIES:
            model = coarse if quality < args.first else fine
            for exact in (True, False):
                bpp, psnr = measure(model, photo, quality, exact)
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
