"""The trainer: draw crops, run the model, descend, average, validate, save.

A run has a budget of wall-clock time (or of steps); the learning rate follows the share of the
budget that is spent, also across interruptions.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, get_args

import numpy as np
import torch
from torch import Tensor
from torch import distributed as dist

from ..data.photos import Crops
from .config import DISTORTION_WEIGHT, QUALITY_STEPS, ModelConfig
from .export import complete, parameters_of
from .grow import grown
from .model import CodecModel, Learn
from .networks import step_tensor
from .optim import make_optimisers
from .precision import bf16_pays
from .usage import Tally, dead_of, deaths
from .weights import WeightsError, load


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """One training run."""

    minutes: float = 0.0  # wall-clock budget; 0: use `steps`
    steps: int = 0  # budget in steps, where `minutes` is 0
    batch: int = 8  # crops per step and process
    crop: int = 192  # side of a crop, pixels
    scaled: float = 0.3  # share of crops that are downscaled
    coarsest: float = 0.0  # quality from which
    finest: float = 100.0  # and up to which the model learns
    camera: float = 0.0  # share of crops with traces of a camera: soft, grain, less colour
    tone: float = 0.0  # share of crops with another exposure, white balance and saturation
    turned: float = 0.0  # share of crops turned by half a circle
    optimiser: str = "muon"  # or soap, or adamw
    rate: float = 2e-3  # peak learning rate
    final_rate: float = 0.01  # learning rate at the end, as a share of the peak
    warm_up: int = 100  # steps of linear warm-up
    flat: float = 0.0  # share of the budget at the peak rate before the cosine begins
    clip: float = 2.0  # largest norm of the gradient
    average: float = 0.999  # decay of the exponential moving average of the weights
    balance: float = 1.0  # images count (step / 25)^balance
    drop: float = 0.08  # share of images trained with late layers left out
    agnostic: float = 0.02  # weight of the order-agnostic context bound
    learn: Learn = "all"  # or context: its prior alone; or latents: all but that
    settled: float = 0.25  # share of the budget, its last, in which the encoder chooses the symbols
    float_share: float = 0.0  # share of the budget before the integer rule is switched on
    bf16: bool | None = None  # compute in bfloat16; None: if it is faster here
    compile: bool = False  # on a GPU the whole model, on a CPU its element-wise chains
    seed: int = 0
    report_every: int = 50  # steps
    save_every: float = 120.0  # seconds
    validate_every: float = 600.0  # seconds

    def __post_init__(self) -> None:
        if self.learn not in get_args(Learn):
            names = ", ".join(get_args(Learn))
            raise ValueError(f"learn={self.learn!r} is none of {names}")
        if not 0 <= self.coarsest <= self.finest <= 100:
            raise ValueError(f"qualities {self.coarsest:g}…{self.finest:g} are not within 0…100")

    @property
    def quality_indices(self) -> tuple[int, int]:
        """The coarsest and the finest quality index to learn."""
        scale = QUALITY_STEPS / 100
        return round(scale * self.coarsest), round(scale * self.finest)

    @property
    def validation_qualities(self) -> tuple[int, ...]:
        """Five qualities: the middles of as many equal parts of the range."""
        width = (self.finest - self.coarsest) / 5
        return tuple(round(self.coarsest + (k + 0.5) * width) for k in range(5))


@dataclass
class State:
    """Everything that resuming bit for bit needs."""

    model: CodecModel
    average: dict[str, Tensor]
    optimisers: list[torch.optim.Optimizer]
    rng: np.random.Generator
    step: int = 0
    seconds: float = 0.0
    megapixels: float = 0.0
    settled: bool = False
    history: list[dict[str, Any]] = field(default_factory=list)
    optimiser: str = "muon"  # see `TrainConfig`

    def settle(self) -> None:
        """Go on from the averaged weights, with the symbols that the encoder will choose."""
        self.model.load_state_dict(self.average)
        self.settled = True

    def save(self, path: Path) -> None:
        blob = {
            "config": self.model.cfg.to_json(),
            "model": self.model.state_dict(),
            "average": self.average,
            "optimiser": self.optimiser,
            "optimisers": [o.state_dict() for o in self.optimisers],
            "numpy_rng": self.rng.bit_generator.state,
            "torch_rng": torch.get_rng_state(),
            "step": self.step,
            "seconds": self.seconds,
            "megapixels": self.megapixels,
            "settled": self.settled,
            "history": self.history,
        }
        if torch.cuda.is_available():
            blob["cuda_rng"] = torch.cuda.get_rng_state()
        store(blob, path)

    def load(self, path: Path) -> None:
        """Raises WeightsError if the run was begun with another optimiser."""
        blob = torch.load(path, map_location="cpu", weights_only=False)
        if (begun := blob.get("optimiser", "muon")) != self.optimiser:
            raise WeightsError(f"this run was begun with --optimiser {begun}; go on with that")
        self.model.load_state_dict(complete(self.model.cfg, blob["model"]))
        device = next(self.model.parameters()).device
        average = complete(self.model.cfg, blob["average"])
        self.average = {k: average[k].to(device) for k in self.model.state_dict()}
        for o, s in zip(self.optimisers, blob["optimisers"], strict=True):
            o.load_state_dict(s)
        self.rng.bit_generator.state = blob["numpy_rng"]
        torch.set_rng_state(blob["torch_rng"])
        if "cuda_rng" in blob and torch.cuda.is_available():
            torch.cuda.set_rng_state(blob["cuda_rng"])
        self.step, self.seconds = blob["step"], blob["seconds"]
        self.megapixels, self.history = blob["megapixels"], blob["history"]
        self.settled = blob.get("settled", False)


def store(blob: Mapping[str, Any], path: Path) -> None:
    """Write a state file that appears whole or not at all."""
    partial = path.with_suffix(".part")
    torch.save(blob, partial)
    os.replace(partial, path)


def spent(state: State, cfg: TrainConfig) -> float:
    """Share of the budget that is used up, 0…1."""
    if cfg.minutes:
        return min(1.0, state.seconds / (60 * cfg.minutes))
    return min(1.0, state.step / max(1, cfg.steps))


def learning_rate(state: State, cfg: TrainConfig) -> float:
    """Linear warm-up, flat, then a cosine down to `final_rate` of the peak."""
    warm = min(1.0, (state.step + 1) / max(1, cfg.warm_up))
    x = max(0.0, (spent(state, cfg) - cfg.flat) / max(1e-9, 1 - cfg.flat))
    return (
        cfg.rate * warm * (cfg.final_rate + (1 - cfg.final_rate) * (1 + math.cos(math.pi * x)) / 2)
    )


def loss_of(
    model: torch.nn.Module,
    cfg: TrainConfig,
    x: Tensor,
    q: Tensor,
    last: Tensor,
    exact: bool,
    chosen: bool = False,
) -> tuple[Tensor, dict[str, float]]:
    """Weighted rate-distortion loss of a batch, and figures for the log."""
    short = bf16_pays(x.device.type) if cfg.bf16 is None else cfg.bf16
    with torch.autocast(x.device.type, dtype=torch.bfloat16, enabled=short):
        out = model(x, q, last, exact, chosen, cfg.learn)
    pixels = x.shape[2] * x.shape[3]
    step = step_tensor(model_config(model), q)
    error = out.error / pixels
    bpp = out.bits.sum(1) / pixels
    weight = (step / 25) ** cfg.balance
    loss = (
        bpp
        + error / (DISTORTION_WEIGHT * step**2)
        + cfg.agnostic * out.order_agnostic_bits / pixels
    )
    figures = {
        "bpp": float(bpp.detach().mean()),
        "context_bpp": float(out.bits.detach()[:, 0].mean() / pixels),
        "psnr": float(10 * torch.log10(255**2 * 3 / error.detach().mean())),
    }
    return (loss * weight).mean(), figures


def model_config(model: torch.nn.Module) -> ModelConfig:
    """The configuration below any wrapper (parallel, compiled)."""
    while not isinstance(model, CodecModel):
        model = getattr(model, "module", None) or model._orig_mod  # type: ignore[assignment]
    return model.cfg


@torch.no_grad()
def validate(
    model: CodecModel,
    photos: Sequence[Tensor],
    qualities: Sequence[float] = (10, 30, 50, 70, 90),
    side: int = 512,
    chosen: bool = False,
) -> list[dict[str, Any]]:
    """Estimated bits per pixel and PSNR (8-bit RGB), means over photos, at each quality.

    Photos are cut to multiples of 32, at most `side`×768. `layers` holds bits per pixel and the
    share of channels in use per layer, over all photos; `unused` names the channels not in use.
    `chosen`: symbols as the encoder chooses them rather than the nearest.
    """
    model.eval()
    rows = []
    device = next(model.parameters()).device
    for quality in qualities:
        bpp, psnr, tally = [], [], Tally(model.cfg)
        for p in photos:
            p = p if p.shape[2] >= p.shape[1] else p.transpose(1, 2)
            h, w = min(p.shape[1] // 32 * 32, side), min(p.shape[2] // 32 * 32, 768)
            x = p[None, :, :h, :w].to(device).float()
            out = model(x, torch.tensor([round(quality * 4)], device=device), chosen=chosen)
            y = out.picture.clamp(0, 255).round()
            bpp.append(float(out.bits.sum()) / (h * w))
            psnr.append(10 * math.log10(255**2 / max(1e-9, float((y - x).square().mean()))))
            tally.pixels += h * w
            for group, use in enumerate(out.use):
                tally.add(group, use.bits.cpu().numpy(), use.moved.cpu().numpy(), use.symbols)
        rows.append(
            {
                "quality": quality,
                "bpp": float(np.mean(bpp)),
                "psnr": float(np.mean(psnr)),
                "layers": tally.layers(),
                "unused": tally.unused(),
            }
        )
    model.train()
    return rows


def train(
    model_cfg: ModelConfig,
    cfg: TrainConfig,
    photos: Sequence[Tensor],
    validation: Sequence[Tensor],
    out: Path,
    device: torch.device,
    start: Path | None = None,
    report: Callable[[dict[str, Any]], None] | None = None,
) -> State:
    """Train, or continue a run whose state lies at `out`/state.pt.

    Args:
        photos, validation: (3, h, w) uint8 tensors.
        out: folder for state.pt, log.jsonl, config.json.
        start: weights to begin with (a state.pt or a .safetensors file), of this shape or a smaller
            one (`grow`); optimiser and schedule start anew.
        report: called with each line of the log.

    Raises:
        WeightsError: `start` does not fit, or the run at `out` has another optimiser.
    """
    out.mkdir(parents=True, exist_ok=True)
    rank, world = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
    torch.manual_seed(cfg.seed + 1000 * rank)
    whole = cfg.compile and device.type != "cpu"
    model = CodecModel(model_cfg, fuse=cfg.compile and not whole)
    model.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    state = State(
        model,
        {},
        make_optimisers(model, cfg.optimiser, cfg.rate),
        np.random.default_rng(cfg.seed + 1000 * rank),
        optimiser=cfg.optimiser,
    )
    crops = Crops(photos, cfg.crop, device, cfg.scaled, cfg.camera, cfg.tone, cfg.turned)
    resume = out / "state.pt"
    if resume.exists():
        state.load(resume)
        if rank:  # the file holds the draws of the first process; others need their own
            state.rng = np.random.default_rng([cfg.seed, rank, state.step])
            torch.manual_seed(cfg.seed + 1000 * rank + state.step)
    elif start is not None:
        model.load_state_dict(grown(*starting_point(start, sum(cfg.quality_indices) // 2), model))
    else:
        model.initialise_scales(crops.batch(np.random.default_rng(cfg.seed), 8 * cfg.batch))
    if not state.average:
        state.average = {k: v.detach().clone() for k, v in model.state_dict().items()}
    run: torch.nn.Module = torch.compile(model) if whole else model  # type: ignore[assignment]
    if world > 1:
        run = torch.nn.parallel.DistributedDataParallel(
            run, find_unused_parameters=cfg.settled > 0 or cfg.learn != "all"
        )
    if rank == 0:
        (out / "config.json").write_text(
            json.dumps({"model": model_cfg.to_json(), "train": asdict(cfg)}, indent=1)
        )
    params = [p for p in model.parameters() if p.requires_grad]
    low, high = cfg.quality_indices
    recent: list[float] = []
    last_save = last_validation = time.monotonic()

    def log(row: dict[str, Any]) -> None:
        state.history.append(row)
        if rank == 0:
            with open(out / "log.jsonl", "a") as f:
                f.write(json.dumps(row) + "\n")
            if report:
                report(row)

    while spent(state, cfg) < 1:
        began = time.monotonic()
        rate = learning_rate(state, cfg)
        for o in state.optimisers:
            for group in o.param_groups:
                group["lr"] = rate
        x = crops.batch(state.rng, cfg.batch)
        q = torch.from_numpy(state.rng.integers(low, high + 1, cfg.batch)).to(device)
        full = state.rng.random(cfg.batch) >= cfg.drop
        cut = state.rng.integers(0, model_cfg.layers, cfg.batch)
        last = torch.from_numpy(np.where(full, model_cfg.layers, cut)).to(device)
        if cfg.settled and not state.settled and spent(state, cfg) >= 1 - cfg.settled:
            state.settle()
        exact = spent(state, cfg) >= cfg.float_share
        loss, figures = loss_of(run, cfg, x, q, last, exact, state.settled)
        for o in state.optimisers:
            o.zero_grad(set_to_none=True)
        loss.backward()
        norm = float(torch.nn.utils.clip_grad_norm_(params, cfg.clip))
        if math.isfinite(norm):
            for o in state.optimisers:
                o.step()
        decay = min(cfg.average, (1 + state.step) / (10 + state.step))
        with torch.no_grad():
            torch._foreach_lerp_(
                list(state.average.values()), list(model.state_dict().values()), 1 - decay
            )
        state.step += 1
        now = time.monotonic()
        state.seconds += now - began
        if world > 1 and cfg.minutes:  # all processes must agree on when to stop
            clock = torch.tensor([state.seconds], device=device)
            dist.broadcast(clock, 0)
            state.seconds = float(clock)
        state.megapixels += world * cfg.batch * cfg.crop**2 / 1e6
        recent.append(float(loss.detach()))
        if state.step % cfg.report_every == 0:
            log(
                {
                    "step": state.step,
                    "seconds": round(state.seconds, 1),
                    "megapixels": round(state.megapixels, 1),
                    "rate": rate,
                    "loss": float(np.mean(recent)),
                    "norm": norm,
                    **figures,
                }
            )
            recent.clear()
        if rank == 0 and validation and now - last_validation > cfg.validate_every:
            log(validation_row(state, validation, cfg.validation_qualities))
            last_validation = time.monotonic()
        if rank == 0 and now - last_save > cfg.save_every:
            state.save(resume)
            last_save = time.monotonic()
    if rank == 0:
        if validation:
            log(validation_row(state, validation, cfg.validation_qualities))
        state.save(resume)
    return state


def starting_point(path: Path, quality_index: int = 0) -> tuple[ModelConfig, dict[str, Tensor]]:
    """Configuration and averaged parameters of a state file, or those of a weights file.

    Args:
        quality_index: of a weights file with several sets, the one that holds there.

    Raises:
        WeightsError: it is neither.
    """
    if path.suffix == ".safetensors":
        stored = load(path).at(quality_index)
        return stored.cfg, parameters_of(stored)
    try:
        blob = torch.load(path, map_location="cpu", weights_only=True)
        cfg = ModelConfig.from_json(blob["config"])
        return cfg, complete(cfg, blob["average"])
    except (UnpicklingError, EOFError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise WeightsError(f"{path.name}: no state of a training run") from error


def trained_model(path: Path, quality_index: int = 0) -> CodecModel:
    """The model at a `starting_point`, in evaluation mode."""
    cfg, parameters = starting_point(path, quality_index)
    model = CodecModel(cfg)
    model.load_state_dict(parameters)
    model.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return model


def model_config_for(out: Path, start: Path | None) -> ModelConfig:
    """Of the run in `out` if there is one, else of `start`, else the default."""
    resume = out / "state.pt"
    if resume.exists():
        return starting_point(resume)[0]
    return starting_point(start)[0] if start else ModelConfig()


def validation_row(
    state: State, photos: Sequence[Tensor], qualities: Sequence[int]
) -> dict[str, Any]:
    """A line of the log: `validate` with the averaged weights, and what is dead.

    `dead` names channels that no quality uses, `dead_layers` layers without any other channel;
    `warnings` is there if a layer has died since the last such line.
    """
    rows = validate_average(state, photos, qualities)
    dead = dead_of(state.model.cfg, [set(row.pop("unused")) for row in rows])
    past = [row["dead_layers"] for row in state.history if "dead_layers" in row]
    warnings = deaths(dead["dead_layers"], past[-1] if past else [])
    return {
        "step": state.step,
        "seconds": round(state.seconds, 1),
        "validation": rows,
        **dead,
        **({"warnings": warnings} if warnings else {}),
    }


def validate_average(
    state: State, photos: Sequence[Tensor], qualities: Sequence[int]
) -> list[dict[str, Any]]:
    """`validate` with the averaged weights."""
    device = next(state.model.parameters()).device
    averaged = CodecModel(state.model.cfg).to(device)
    averaged.load_state_dict(state.average)
    with torch.random.fork_rng(devices=[]):
        return validate(averaged, photos, qualities, chosen=state.settled)
