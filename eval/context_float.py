"""What integers cost: the Gaussian prior beside a float UNet of the same shape and training.

    python -m dctcodec.eval.context_float KODAK PRIORS -o docs/results/context_float.csv

The float network has what the integer one gives up: SiLU, group norms, a time embedding. Same
widths, patches, seed and steps; −ELBO with one draw of y_t per step, on the same contexts.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..codec.gaussian_prior import GaussianPrior, ranges_of, spread_of, training_patches
from ..codec.pictures import load
from ..models.context_priors.diffusion import Conditioning, Schedule
from ..models.context_priors.gaussian_fit import Process, fit_network, float_bits
from ..models.context_priors.interface import FitBudget
from ..models.context_priors.stored import GaussianModel
from ..models.context_priors.unet_torch import FloatUnet
from .context_priors import Entry, coefficients_of, fields_for, shape_for
from .context_study import append


def trained_float(priors: Path, steps: int, budget: FitBudget, fields: int) -> tuple[Any, Process]:
    """A float network for the paper's setting at T = steps, and its process."""
    quantiser = GaussianModel.load(priors / f"paper-T{steps}.safetensors").quantiser
    coefficients = coefficients_of([], "dct", priors / "dct.npz")
    shape = shape_for(Entry(setting="paper", steps=steps), quantiser)
    chosen = coefficients[:: max(1, len(coefficients) // fields)]
    patches = training_patches(shape, fields_for(quantiser, chosen))
    cfg = shape.unet
    ranges = ranges_of(patches, cfg.limit)
    schedule = Schedule(cfg.steps, cfg.first_beta)
    known = Conditioning.of(schedule, cfg.grid_bits, ranges, spread_of(patches, ranges, True))
    process = Process.of(schedule, cfg.grid_bits, cfg.limit, ranges, known)
    torch.manual_seed(budget.seed)
    net = FloatUnet(cfg)
    fit_network(net, process, patches, budget, frequency_grid=True, kept=quantiser.kept)
    return net.eval(), process


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kodak", type=Path)
    parser.add_argument("priors", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--timesteps", type=int, nargs="+", default=[7])
    parser.add_argument("--steps", type=int, default=800, help="of training, as `context_priors`")
    parser.add_argument("--fields", type=int, default=320)
    args = parser.parse_args()
    torch.set_num_threads(1)
    for timesteps in args.timesteps:
        budget = FitBudget(steps=args.steps, batch=64, rate=1e-3)
        began = time.process_time()
        net, process = trained_float(args.priors, timesteps, budget, args.fields)
        seconds = time.process_time() - began
        prior = GaussianPrior(GaussianModel.load(args.priors / f"paper-T{timesteps}.safetensors"))
        q, rows = prior.model.quantiser, []
        for path in sorted(args.kodak.glob("*.png")):
            pixels = load(path).pixels
            c = q.symbols(q.coefficients(pixels))
            x = torch.from_numpy(prior.patches(c)).float()
            area = pixels.shape[0] * pixels.shape[1]
            rows.append(
                {
                    "timesteps": timesteps,
                    "image": path.stem,
                    "float_unet_bpp": round(float_bits(net, process, x, 0) / area, 5),
                    "same_weights_in_float_bpp": round(prior.bound_bits(c) / area, 5),
                }
            )
        append(args.output, rows)
        mean = np.mean([[r["float_unet_bpp"], r["same_weights_in_float_bpp"]] for r in rows], 0)
        print(
            f"T={timesteps}: float UNet {mean[0]:.4f}, integer network's weights in floats "
            f"{mean[1]:.4f} bits per pixel; trained {seconds:.0f} s of one core",
            flush=True,
        )


if __name__ == "__main__":
    main()
