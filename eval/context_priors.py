"""Which priors the context study compares, and their training on photos.

    python -m dctcodec.eval.context_priors PRIORS --photos PHOTOS… [--only NAME…] [--steps 800]

Trains every prior that the folder PRIORS lacks. Never give it test pictures.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from ..codec.gaussian_prior import GaussianPrior, GaussianShape
from ..codec.masked_prior import MaskedPrior
from ..data.photos import load_photos
from ..models import weights
from ..models.config import ModelConfig
from ..models.context_priors.interface import Context, FitBudget
from ..models.context_priors.masked_fit import fit_masked
from ..models.context_priors.quantise import Kind, Quantiser
from ..models.context_priors.unet import UnetConfig

Floats = npt.NDArray[np.float32]

PAPER_KEPT, PAPER_LIMIT = 6, 15
"""5 bits: symbols −15…15, one of the 32 levels unused, so that 0 is one."""

GAUSSIAN_STEPS = (4, 7, 20, 40)
QUALITIES = {"q24": 24.0, "q58": 58.0}
"""About 0.2 and 1 bit per pixel."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A Gaussian prior of the study."""

    setting: str  # paper, down, q24 or q58
    steps: int

    @property
    def name(self) -> str:
        return f"{self.setting}-T{self.steps}"


ENTRIES = [
    *(Entry(setting="paper", steps=t) for t in (7, 20, 4, 40)),
    Entry(setting="down", steps=7),
    *(Entry(setting=s, steps=t) for t in (7, 20, 4, 40) for s in QUALITIES),
]


def quantiser_for(setting: str, coefficients: Sequence[Floats]) -> Quantiser:
    """Of a setting; the paper's steps are the largest magnitude of each coefficient over photos,
    divided into 15."""
    if setting in QUALITIES:
        return Quantiser.of_model(weights.default(), round(4 * QUALITIES[setting]))
    kind: Kind = "dct" if setting == "paper" else "down"
    largest = np.max([np.abs(c).reshape(len(c), -1).max(1) for c in coefficients], 0)
    return Quantiser(kind, PAPER_KEPT, (largest / PAPER_LIMIT).astype(np.float32), PAPER_LIMIT)


def shape_for(entry: Entry, quantiser: Quantiser) -> GaussianShape:
    # with few steps the first takes more noise: a jump from almost none costs more than it brings
    first = 0.0025 if entry.steps >= 20 else 0.006
    if entry.setting not in QUALITIES:
        net = UnetConfig(
            channels=3,
            rows=6,
            columns=6,
            steps=entry.steps,
            first_beta=first,
            position=True,
            limit=PAPER_LIMIT,
        )
        return GaussianShape(unet=net, frequency_grid=True, quantiser=quantiser)
    net = UnetConfig(
        channels=3 * quantiser.kept**2,
        rows=4,
        columns=4,
        steps=entry.steps,
        first_beta=first,
        width=48,
        low_width=64,
    )
    return GaussianShape(unet=net, frequency_grid=False, quantiser=quantiser)


MASKED_PAPER = "masked-paper.npz"
# One quality; the step only scales what the network sees: 2 units of the coarse plane per symbol of
# the means of blocks, 8 of the others.
MASKED_PAPER_CONFIG = ModelConfig(
    context_kept=PAPER_KEPT, context_steps=12, coarsest_step=112.1, finest_step=111.9
)


def coefficients_of(photos: Sequence[Path], kind: Kind, cache: Path) -> list[Floats]:
    """Block coefficients (108, rows, columns) of photos, twice: aligned, and shifted at random."""
    if not cache.exists():
        plain = Quantiser(kind, PAPER_KEPT, np.ones(3 * PAPER_KEPT**2, np.float32))
        rng = np.random.default_rng(0)
        out = []
        for photo in load_photos(sorted(photos)):
            pixels = photo.numpy().transpose(1, 2, 0)
            for i, j in ((0, 0), tuple(rng.integers(1, 32, 2))):
                x = pixels[i:, j:]
                x = x[: x.shape[0] // 32 * 32, : x.shape[1] // 32 * 32]
                if x.size:
                    out.append(plain.coefficients(x))
        np.savez(cache, *out)
    with np.load(cache) as stored:
        return [stored[name] for name in stored.files]


def lowest(c: Floats, kept: int) -> Floats:
    """The kept×kept lowest frequencies of the 6×6 that are cached."""
    _, rows, columns = c.shape
    full = c.reshape(3, PAPER_KEPT, PAPER_KEPT, rows, columns)[:, :kept, :kept]
    return np.ascontiguousarray(full).reshape(3 * kept**2, rows, columns)


def fields_for(quantiser: Quantiser, coefficients: Sequence[Floats]) -> list[Context]:
    return [quantiser.symbols(lowest(c, quantiser.kept)) for c in coefficients]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("priors", type=Path)
    parser.add_argument("--photos", type=Path, nargs="+", required=True)
    parser.add_argument("--only", nargs="+", default=[])
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--fields", type=int, default=320, help="contexts to train on")
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.priors.mkdir(parents=True, exist_ok=True)
    kinds: dict[Kind, list[Floats]] = {}
    masked = args.priors / MASKED_PAPER
    if not masked.exists() and (not args.only or "masked-paper" in args.only):
        kinds["dct"] = coefficients_of(args.photos, "dct", args.priors / "dct.npz")
        every = max(1, len(kinds["dct"]) // args.fields)
        fields = fields_for(quantiser_for("paper", kinds["dct"]), kinds["dct"][::every])
        began, cpu = time.monotonic(), time.process_time()
        budget = FitBudget(steps=args.steps, batch=16, rate=3e-3, seed=args.seed)
        network, tables = fit_masked(MASKED_PAPER_CONFIG, 0, fields, budget)
        fitted = MaskedPrior(MASKED_PAPER_CONFIG, network, tables, 0).with_fitted_tables(
            fields[::4]
        )
        fitted.save(masked)
        print(
            f"masked-paper: {args.steps} steps, {time.process_time() - cpu:.0f} s of one core, "
            f"{time.monotonic() - began:.0f} s",
            flush=True,
        )
    for entry in ENTRIES:
        path = args.priors / f"{entry.name}.safetensors"
        if path.exists() or (args.only and entry.name not in args.only):
            continue
        kind: Kind = "down" if entry.setting == "down" else "dct"
        if kind not in kinds:
            kinds[kind] = coefficients_of(args.photos, kind, args.priors / f"{kind}.npz")
        quantiser = quantiser_for(entry.setting, kinds[kind])
        every = max(1, len(kinds[kind]) // args.fields)
        fields = fields_for(quantiser, kinds[kind][::every])
        began, cpu = time.monotonic(), time.process_time()
        batch = 32 if entry.setting in QUALITIES else 64
        budget = FitBudget(steps=args.steps, batch=batch, rate=1e-3, seed=args.seed)

        def report(step: int, bits: float, name: str = entry.name) -> None:
            if step % 100 == 0:
                print(f"{name} step {step}: {bits:.4f} bits per symbol", flush=True)

        prior = GaussianPrior.fitted(shape_for(entry, quantiser), fields, budget, report)
        prior.model.save(path)
        print(
            f"{entry.name}: {args.steps} steps, {time.process_time() - cpu:.0f} s of one core, "
            f"{time.monotonic() - began:.0f} s",
            flush=True,
        )


if __name__ == "__main__":
    main()
