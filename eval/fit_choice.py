"""What an error of each part costs in the encoder's choice of symbols, found by trial on photos.

    python -m dctcodec.eval.fit_choice RUN/state.pt PHOTOS… -o OUT.pt [--coarsest 0] [--finest 100]

The choice takes synthesis for an orthonormal transform. It is not quite one, and what is coded
later is predicted from what was coded before; a factor per part and knot of quality says how much
an error really costs. It changes what is sent, not how it is read. The averaged weights of a run
are tried; the state that is written goes on training with the factors, or is exported. Use training
photos, never test pictures.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..data.photos import Crops, load_photos
from ..models.config import KNOT_SPACING, QUALITY_STEPS
from ..models.model import CodecModel
from ..models.train import store, trained_model, validate

STEP = 0.4
"""Natural logarithm of the factor that is tried first, both ways."""

LIMIT = 1.2
"""Largest magnitude of a factor's logarithm."""


def point(model: CodecModel, photos: Sequence[Tensor], quality_index: int) -> tuple[float, float]:
    """Mean bits per pixel (its logarithm) and mean PSNR of photos (3, h, w), symbols chosen."""
    (row,) = validate(model, photos, [100 * quality_index / QUALITY_STEPS], chosen=True)
    return float(np.log(row["bpp"])), row["psnr"]


def fit_knot(
    model: CodecModel, photos: Sequence[Tensor], knot: int, sweeps: int
) -> tuple[list[float], float]:
    """Logarithms of the factors of the parts at one knot, and what they save, as a share of bits.

    Each part in turn: the bits at equal PSNR at three factors, and the lowest point of the parabola
    through them. The slope of the curve around the knot turns PSNR into bits.
    """
    table = model.get_buffer("log_choice")
    q = knot * KNOT_SPACING
    low, high = max(0, q - 6), min(QUALITY_STEPS, q + 6)
    (r0, p0), (r1, p1) = point(model, photos, low), point(model, photos, high)
    slope = (r1 - r0) / (p1 - p0)

    def cost(part: int, value: float) -> float:
        before = float(table[knot, part])
        table[knot, part] = value
        rate, psnr = point(model, photos, q)
        table[knot, part] = before
        return rate - slope * psnr

    first = best = cost(1, float(table[knot, 1]))
    for sweep in range(sweeps):
        step = STEP / 2**sweep
        for part in range(1, table.shape[1]):
            at = float(table[knot, part])
            down, up = cost(part, at - step), cost(part, at + step)
            bend = down - 2 * best + up
            move = step * (down - up) / (2 * bend) if bend > 0 else step * np.sign(down - up)
            to = float(np.clip(at + np.clip(move, -2 * step, 2 * step), -LIMIT, LIMIT))
            tried = min((best, at), (down, at - step), (up, at + step), (cost(part, to), to))
            best, table[knot, part] = tried
    return table[knot].tolist(), 1 - float(np.exp(best - first))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("state", type=Path)
    parser.add_argument("photos", type=Path, nargs="+")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--coarsest", type=float, default=0, help="quality")
    parser.add_argument("--finest", type=float, default=100, help="quality")
    parser.add_argument("--crops", type=int, default=24, help="of 256×256 pixels")
    parser.add_argument("--sweeps", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    model = trained_model(args.state)
    crops = Crops(load_photos(args.photos), 256, torch.device("cpu"), scaled=0.0, camera=0.0)
    photos = list(crops.batch(np.random.default_rng(args.seed), args.crops))
    scale = QUALITY_STEPS / 100 / KNOT_SPACING
    first, last = int(np.floor(scale * args.coarsest)), int(np.ceil(scale * args.finest))
    table = model.get_buffer("log_choice")
    for knot in range(first, last + 1):
        factors, saved = fit_knot(model, photos, knot, args.sweeps)
        print(
            json.dumps({"quality": knot / scale, "saved": round(saved, 5), "log_choice": factors})
        )
    table[:first], table[last + 1 :] = table[first], table[last]  # never used
    blob = torch.load(args.state, map_location="cpu", weights_only=False)
    for kind in ("model", "average"):
        blob[kind] = {**blob[kind], "log_choice": table.clone()}
    store(blob, args.output)


if __name__ == "__main__":
    main()
