"""The water level of the codec against what its files use, per layer and quality.

    python -m dctcodec.eval.theory.codec_level PHOTOS… -o docs/results/collapse-codec.csv

Training minimises bits + squared error / (w step²), w = 0.12. With bits = nats / ln 2 that is the
linear VAE's objective with D = w step² / (2 ln 2): a channel whose variance, given what is sent
before it, is at most D should stay unused. As "what is sent before" only the rounded context is
taken off here, and as channels the block DCT that the codec starts from: no training enters.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from ...codec.info import model_info
from ...codec.usage import measure
from ...data.photos import load_photos
from ...models import weights
from ...models.config import DISTORTION_WEIGHT, QUALITY_STEPS, ModelConfig
from ...models.networks import block_inverse, block_transform, shell_basis, to_cells
from ...models.transforms import GREY, context_basis
from .study import Row, append


def level(cfg: ModelConfig, quality: float) -> float:
    """D at a quality 0…100, squared grey levels."""
    step = cfg.step(round(quality * QUALITY_STEPS / 100))
    return DISTORTION_WEIGHT * step**2 / (2 * math.log(2))


def expected_share(cfg: ModelConfig, photos: Sequence[Tensor], quality: float) -> list[float]:
    """Share of channels with a variance above D, per layer, context first.

    Args:
        photos: (3, h, w) grey levels; cut to multiples of 32.
    """
    import torch

    d, step = level(cfg, quality), cfg.step(round(quality * QUALITY_STEPS / 100))
    basis = torch.from_numpy(context_basis(cfg.context_block, cfg.context_kept))
    shells = {stride: shell_basis(cfg, stride) for stride in (16, 8)}
    sums = {0: torch.zeros(cfg.context_channels)}
    sums |= {stride: torch.zeros(cfg.channels(stride)) for stride in shells}
    counts = dict.fromkeys(sums, 0)
    for photo in photos:
        block = cfg.context_block
        h, w = (n // block * block for n in photo.shape[1:])
        x = to_cells(photo[None, :, :h, :w].float()) - GREY
        c = block_transform(x, basis)
        residual = x - block_inverse((c / step).round() * step, basis)
        for stride, y in [(0, c), *((s, block_transform(residual, b)) for s, b in shells.items())]:
            sums[stride] += y.square().sum((0, 2, 3))
            counts[stride] += y.shape[2] * y.shape[3]
    above = {stride: (total / counts[stride] > d).numpy() for stride, total in sums.items()}
    layers: list[list[bool]] = [above[0].tolist()] + [[] for _ in range(cfg.layers)]
    for part in cfg.parts:
        layers[part.layer] += above[part.stride][: part.channels].tolist()
        above[part.stride] = above[part.stride][part.channels :]
    return [float(np.mean(mine)) for mine in layers]


def codec_rows(stored: weights.StoredModel, photos: Sequence[Tensor]) -> list[Row]:
    """A row per quality and layer; what files use is taken from the weights file if it is there."""
    found = model_info(stored).get("usage")
    if found is None:
        found = measure(stored, [p.numpy().transpose(1, 2, 0) for p in photos])
    rows = []
    for q in found["qualities"]:
        expected = expected_share(stored.cfg, photos, q["quality"])
        for layer, (share, got) in enumerate(zip(expected, q["layers"], strict=True)):
            rows.append(
                {
                    "prior_id": stored.prior_id.hex(),
                    "photos": str(found["photos"]),
                    "quality": f"{q['quality']:g}",
                    "level": f"{level(stored.cfg, q['quality']):.4g}",
                    "layer": str(layer),
                    "expected": f"{share:.4f}",
                    "in_use": f"{got['in_use']:.4f}",
                    "bpp": f"{got['bpp']:.6f}",
                }
            )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photos", type=Path, nargs="+")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--weights", type=Path, help="default: the model that encodes")
    args = parser.parse_args()
    stored = weights.load(args.weights) if args.weights else weights.default()
    partial = args.output.with_suffix(".part")
    partial.unlink(missing_ok=True)
    for row in codec_rows(stored, load_photos(args.photos)):
        append(partial, row)
    partial.replace(args.output)


if __name__ == "__main__":
    main()
