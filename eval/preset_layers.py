"""Training of the latent layers below the contexts of the presets `paper` and `paper-down`.

    python -m dctcodec.eval.preset_layers RUNS --photos PHOTOS… [--only paper] [--steps 400]

A small model of the codec's kind (`models/model.py`) on independent 32×32 patches: its context is
the preset's own, with the steps that the preset's prior quantises with; nothing of it is trained.
One quality. Writes RUNS/paper-dct-layers.safetensors and RUNS/paper-down-layers.safetensors; never
give it test pictures.
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..codec import presets
from ..data.photos import Crops, load_photos
from ..models import weights
from ..models.config import DISTORTION_WEIGHT, ModelConfig, PartConfig
from ..models.export import default_tables, export
from ..models.model import CodecModel
from ..models.optim import make_optimisers
from ..models.scale_grid import SCALES
from ..models.tables import PHASES, Tables, integer_frequencies

STEP = 56.0
"""Grey levels per latent symbol before the gains are learned; about 0.4 bits per pixel in all."""

SIDE = 32
REACH = 24
"""Largest magnitude that the tables code without an escape: they would else be most of the file."""

PARTS = (
    PartConfig(layer=1, stride=16, low=0, high=4, colours=(0,)),
    PartConfig(layer=1, stride=16, low=0, high=4, colours=(1, 2), blocks=1),
    PartConfig(layer=2, stride=8, low=2, high=4, colours=(0,), blocks=1),
    PartConfig(layer=3, stride=8, low=4, high=6, colours=(0,), blocks=1),
    PartConfig(layer=3, stride=8, low=2, high=4, colours=(1, 2), blocks=1),
)


def config_for(kind: str, kept: int) -> ModelConfig:
    """Widths of about half the default model's."""
    return ModelConfig(
        context_kept=kept,
        context_kind=kind,
        context_width=48,
        coarsest_step=STEP * 1.001,
        finest_step=STEP * 0.999,
        parts=PARTS,
        prior_width_16=48,
        prior_width_8=48,
        analysis_width_4=24,
        analysis_width_8=48,
        analysis_width_16=48,
        synthesis_width_8=48,
        synthesis_width_4=16,
        synthesis_blocks_8=2,
        synthesis_blocks_4=1,
    )


def patches_of(crops: Tensor) -> Tensor:
    """(batch, 3, h, w) cut into (patches, 3, 32, 32)."""
    b, c, h, w = crops.shape
    x = crops.reshape(b, c, h // SIDE, SIDE, w // SIDE, SIDE).permute(0, 2, 4, 1, 3, 5)
    return x.reshape(-1, c, SIDE, SIDE)


@torch.no_grad()
def fix_context(model: CodecModel, steps: Tensor) -> None:
    """Gains of the context such that its symbols are the preset's. steps: grey levels."""
    log = torch.log(steps / model.cfg.step(0))
    model.log_gain[:, : len(steps)] = -log
    model.log_inverse[:, : len(steps)] = log


def rate_at(step: int, steps: int, peak: float) -> float:
    """Linear warm-up, then a cosine down to a hundredth."""
    falling = 0.01 + 0.99 * (1 + math.cos(math.pi * step / steps)) / 2
    return peak * min(1.0, (step + 1) / 50) * falling


def fit(
    cfg: ModelConfig, context_steps: Tensor, photos: list[Tensor], args: argparse.Namespace
) -> tuple[CodecModel, dict[str, Tensor]]:
    """Model and averaged weights after `args.steps` steps."""
    began = time.process_time()
    torch.manual_seed(args.seed)
    rng = np.random.default_rng(args.seed)
    crops = Crops(photos, 4 * SIDE, torch.device("cpu"))
    model = CodecModel(cfg).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    fix_context(model, context_steps)
    model.initialise_scales(patches_of(crops.batch(rng, 4 * args.batch)))
    average = {k: v.detach().clone() for k, v in model.state_dict().items()}
    optimisers = make_optimisers(model, "muon", args.rate)
    for step in range(args.steps):
        for o in optimisers:
            for group in o.param_groups:
                group["lr"] = rate_at(step, args.steps, args.rate)
        x = patches_of(crops.batch(rng, args.batch))
        n = len(x)
        kept = np.where(rng.random(n) < args.drop, rng.integers(0, cfg.layers, n), cfg.layers)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            out = model(x, torch.zeros(n, dtype=torch.int64), torch.from_numpy(kept))
        error = out.error / SIDE**2
        bpp = out.bits.sum(1) / SIDE**2
        loss = (bpp + error / (DISTORTION_WEIGHT * STEP**2)).mean()
        for o in optimisers:
            o.zero_grad(set_to_none=True)
        loss.backward()
        norm = float(torch.nn.utils.clip_grad_norm_(model.parameters(), 2.0))
        if math.isfinite(norm):
            for o in optimisers:
                o.step()
        fix_context(model, context_steps)
        decay = min(0.99, (1 + step) / (10 + step))
        with torch.no_grad():
            torch._foreach_lerp_(
                list(average.values()), list(model.state_dict().values()), 1 - decay
            )
        if (step + 1) % 50 == 0:
            layers = out.bits.detach().mean(0) / SIDE**2
            mse = [float(error.detach()[torch.from_numpy(kept) == k].mean() / 3)
                   for k in (0, cfg.layers)]  # fmt: skip
            print(
                f"step {step + 1}: loss {float(loss.detach()):.3f}, bits per pixel "
                f"{' '.join(f'{float(b):.3f}' for b in layers)}, "
                f"{10 * math.log10(255**2 / mse[0]):.2f} dB with the context alone, "
                f"{10 * math.log10(255**2 / mse[1]):.2f} dB with all, "
                f"{time.process_time() - began:.0f} s",
                flush=True,
            )
    return model, average


def short_tables() -> Tables:
    """The default tables with reaches of at most `REACH`; the rest is escaped."""
    tables = default_tables()
    reach = np.minimum(tables.reach, REACH).astype(np.int32)
    parts = []
    for i in range(SCALES):
        for phase in range(PHASES):
            p = tables.table(i, phase).astype(np.float64)
            r, centre = int(reach[i]), int(tables.reach[i])
            inside = p[centre - r : centre + r + 1]
            parts.append(integer_frequencies(np.append(inside, p.sum() - inside.sum())))
    return Tables(reach, np.concatenate(parts).astype(np.uint16), tables.skip_below)


@torch.no_grad()
def store(
    model: CodecModel, average: dict[str, Tensor], path: Path, name: str, card: dict[str, str]
) -> None:
    """As `models.export.export`, with short tables and 16-bit floats for the synthesis too."""
    export(average, model, path, name, card, short_tables())
    stored = weights.load(path)
    arrays = weights.read_tensors(path, lambda _: True)
    arrays |= {k: v.astype(np.float16) for k, v in arrays.items() if k.startswith("synthesis.")}
    weights.store(path, name, stored.cfg, arrays, weights.known_answers(stored), card)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path)
    parser.add_argument("--photos", type=Path, nargs="+", required=True)
    parser.add_argument("--only", nargs="+", default=list(presets.PRESETS))
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--batch", type=int, default=10, help="crops of 4×4 patches per step")
    parser.add_argument("--rate", type=float, default=3e-3)
    parser.add_argument("--drop", type=float, default=0.3, help="share without the last layers")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.runs.mkdir(parents=True, exist_ok=True)
    photos = load_photos(args.photos)
    for preset in args.only:
        path = args.runs / f"{presets.PRESETS[preset]}-layers.safetensors"
        if path.exists():
            continue
        q = presets.prior(preset).model.quantiser
        cfg = config_for(q.kind, q.kept)
        began = time.process_time()
        model, average = fit(cfg, torch.from_numpy(q.steps), photos, args)
        seconds = time.process_time() - began
        card = {
            "training": f"{args.steps} steps of {16 * args.batch} patches, seed {args.seed}, "
            f"{seconds:.0f} s of one core",
            "preset": preset,
        }
        store(model, average, path, f"{preset}-layers", card)
        print(f"{path.name}: {path.stat().st_size} bytes, {seconds:.0f} s of one core", flush=True)


if __name__ == "__main__":
    main()
