"""Centroids for trained weights, nothing else learning: a first step where there were none.

    python -m dctcodec.eval.fit_centroids WEIGHTS PHOTOS… -o OUT.pt [--coarsest 0] [--finest 100]

WEIGHTS: a run's state.pt or a weights file (of several sets, the one that codes in the middle of
the qualities named). Symbols do not depend on centroids, so what is descended on is the logarithm
of the squared error of pictures. The output goes on training, or is exported. Use training photos,
never test pictures.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch

from ..data.photos import Crops, load_photos
from ..models.config import QUALITY_STEPS
from ..models.model import CodecModel
from ..models.train import store, trained_model

START = ((0.4, 0.18, 0.0), (0.45, 0.38, 0.04))
"""Symbols: where ±1 and larger symbols begin at the first knots; 0 at the others."""


def fit(
    model: CodecModel,
    crops: Crops,
    indices: tuple[int, int],
    steps: int,
    rate: float = 0.02,
    batch: int = 4,
    seed: int = 5,
) -> None:
    """Descend on the model's centroids (Adam, the rate falling to zero); all else stays.

    Args:
        indices: coarsest and finest quality index of the crops.
    """
    model.requires_grad_(False)
    knots = model.centroids.requires_grad_(True)
    if not knots.detach().any():
        with torch.no_grad():
            for size, first in enumerate(START):
                knots[:, size, : len(first)] = torch.tensor(first)
    optimiser = torch.optim.Adam([knots], lr=rate)
    rng = np.random.default_rng(seed)
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = rate * (1 - step / steps)
        x = crops.batch(rng, batch).float()
        q = torch.from_numpy(rng.integers(indices[0], indices[1] + 1, batch))
        loss = model(x, q, chosen=True, learn="latents").error.clamp_min(1e-6).log().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("weights", type=Path)
    parser.add_argument("photos", type=Path, nargs="+")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--coarsest", type=float, default=0, help="quality")
    parser.add_argument("--finest", type=float, default=100, help="quality")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--crop", type=int, default=256)
    args = parser.parse_args()
    low, high = (round(q * QUALITY_STEPS / 100) for q in (args.coarsest, args.finest))
    model = trained_model(args.weights, (low + high) // 2)
    crops = Crops(load_photos(args.photos), args.crop, torch.device("cpu"), scaled=0.3)
    fit(model, crops, (low, high), args.steps)
    store({"config": model.cfg.to_json(), "average": model.state_dict()}, args.output)
    print(json.dumps({"centroids": model.centroids.detach().round(decimals=3).tolist()}))


if __name__ == "__main__":
    main()
