"""The study: a list of jobs, each a training run that ends as one JSON row in a file of its own."""

from __future__ import annotations

import hashlib
import io
import json
import os
import platform
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...models.vae.config import ARMS, PAPER, REDUCED, Arm, Preset, TrainConfig, VaeConfig
from ...models.vae.hierarchy import Hierarchy, parameter_count
from ...models.vae.match import matched
from ...models.vae.train import train
from .attack import AttackConfig, robustness
from .estimators import measure
from .sets import LOADERS, Name, SmallSet

BITS_BOUND = 0.03
"""Bound of the attacks on grey levels; on bits the default of `AttackConfig` holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasureConfig:
    """How a trained model is measured."""

    pictures: int = 500  # of the test set, evenly spread; the same for all runs
    samples: int = 32  # of the importance-weighted bound
    attack: AttackConfig = field(default_factory=AttackConfig)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One run."""

    dataset: Name
    seed: int
    vae: VaeConfig
    train: TrainConfig
    measure: MeasureConfig
    sweep: bool = False  # belongs to the sweep of K alone: no attack
    drawn: bool = False  # keeps pictures for the figures

    @property
    def key(self) -> str:
        """Name of the row's file; another configuration gets another name."""
        digest = hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()
        size = f"-k{self.vae.context_size}" if self.vae.arm != "baseline" else ""
        return f"{self.dataset}-{self.vae.arm}{size}-seed{self.seed}-{digest[:8]}"


def plan(
    datasets: Iterable[Name],
    *,
    preset: str = "reduced",
    seeds: int = 3,
    sizes: tuple[int, ...] = (2, 4, 10, 14),
    steps: int | None = None,
    measuring: MeasureConfig | None = None,
) -> list[Job]:
    """All jobs, the ones that matter most first: seeds outermost, the sweep of K before colours.

    Args:
        preset: `reduced` or `paper`.
        sizes: further K for the DCT arm, on the first data set, one seed each.
        steps: updates per run instead of the preset's.

    Raises:
        ValueError: a preset has no configuration for a data set.
    """
    presets = {"reduced": REDUCED, "paper": PAPER}[preset]
    measuring = measuring or MeasureConfig()
    names = list(datasets)
    for name in names:
        if name not in presets:
            raise ValueError(f"the {preset} configurations have none for {name!r}")

    def job(name: Name, arm: Arm, seed: int, size: int | None = None) -> Job:
        chosen: Preset = presets[name]
        # The arms share a size; only the sweep varies it, so the baseline is matched once.
        vae = matched(chosen.vae, arm)
        attack = measuring.attack
        if chosen.vae.likelihood != "bernoulli":
            attack = replace(attack, bound=BITS_BOUND)
        return Job(
            dataset=name,
            seed=seed,
            vae=vae if size is None else replace(vae, context_size=size),
            train=chosen.train if steps is None else replace(chosen.train, steps=steps),
            measure=replace(measuring, attack=attack),
            sweep=size is not None,
            drawn=seed == 0 and size is None,
        )

    bits = [n for n in names if presets[n].vae.likelihood == "bernoulli"]
    colours = [n for n in names if n not in bits]
    jobs = [job(n, arm, seed) for seed in range(seeds) for n in bits for arm in ARMS]
    jobs += [job(n, "dct", 0, size) for n in bits[:1] for size in sizes]
    return jobs + [job(n, arm, seed) for seed in range(seeds) for n in colours for arm in ARMS]


def run(job: Job, data: SmallSet, out: Path, device: str = "cpu") -> dict[str, Any]:
    """Train, measure, and leave weights, pictures and the row in `out`.

    Weights that are there are measured without training again.
    """
    torch.manual_seed(job.seed)
    model = Hierarchy(job.vae)
    weights = out / f"{job.key}.pt"
    begun = time.process_time()
    if weights.exists():
        stored = torch.load(weights, weights_only=True)
        model.load_state_dict(stored["model"])
        training = stored["training"]
    else:
        model.fit(data.fitting())
        model = model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]

        def draw(indices: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
            return data.draw(indices, generator).to(device)

        log = train(model, job.train, len(data.train), draw, job.seed)
        training = {
            "losses": log.losses,
            "skipped": log.skipped,
            "seconds": time.process_time() - begun,
        }
        _atomic(
            weights, lambda p: torch.save({"model": model.state_dict(), "training": training}, p)
        )
    model = model.to(device).eval()
    x = data.held_out(job.measure.pictures).to(device)
    torch.manual_seed(1000 + job.seed)
    begun = time.process_time()
    found = asdict(measure(model, x, job.measure.samples))
    attack = None
    if not job.sweep:
        # The attacked pictures lie as evenly in the test set as the measured ones.
        spread = torch.linspace(0, len(x) - 1, min(job.measure.attack.points, len(x))).long()
        attack = asdict(robustness(model, x[spread], job.measure.attack))
    if job.drawn:
        _draw(model, x, out / f"{job.key}.npz")
    row = {
        "dataset": job.dataset,
        "label": data.label,
        "arm": job.vae.arm,
        "context_size": job.vae.context_size if job.vae.arm != "baseline" else None,
        "context_levels": job.vae.context_levels if job.vae.arm != "baseline" else None,
        "seed": job.seed,
        "sweep": job.sweep,
        "parameters": parameter_count(model),
        "dimensions": int(x[0].numel()),
        "test_pictures": len(x),
        "samples": job.measure.samples,
        **found,
        "robustness": attack,
        "training": training,
        "measuring_seconds": time.process_time() - begun,
        "config": {"vae": asdict(job.vae), "train": asdict(job.train)},
        "measure": asdict(job.measure),
        "machine": f"{platform.machine()}, torch {torch.__version__}",
    }
    _atomic(out / f"{job.key}.json", lambda p: p.write_text(json.dumps(row)))
    return row


def _draw(model: Hierarchy, x: torch.Tensor, path: Path) -> None:
    """Pictures for the figures: originals, reconstructions from the top m layers, samples."""
    shown = x[torch.linspace(0, len(x) - 1, min(8, len(x))).long()]
    steps = [model.reconstruct(shown, m) for m in range(1, model.cfg.layers + 1)]
    pictures = {
        "original": shown,
        "reconstructions": torch.stack(steps),  # (layers, pictures, channels, side, side)
        "samples": model.generate(24),
    }
    if model.context is not None:
        with torch.no_grad():
            pictures["context"] = model.context.picture(model.context(shown))
    arrays = {k: (v * 255).round().to(torch.uint8).cpu().numpy() for k, v in pictures.items()}
    packed = io.BytesIO()  # given a name, NumPy would add its own suffix to it
    np.savez_compressed(packed, **arrays)  # type: ignore[arg-type]
    _atomic(path, lambda p: p.write_bytes(packed.getvalue()))


def _atomic(path: Path, write: Callable[[Path], Any]) -> None:
    """The file appears whole or not at all."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        write(part)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


@lru_cache(maxsize=2)
def _loaded(name: Name, paths: tuple[Path, ...]) -> SmallSet:
    return LOADERS[name](list(paths))


def _work(job: Job, paths: tuple[Path, ...], out: Path, device: str) -> dict[str, Any]:
    row = out / f"{job.key}.json"
    if row.exists():
        return dict(json.loads(row.read_text()))
    torch.set_num_threads(1)
    return run(job, _loaded(job.dataset, paths), out, device)


def study(
    jobs: list[Job],
    folders: dict[Name, tuple[Path, ...]],
    out: Path,
    *,
    processes: int = 1,
    device: str = "cpu",
    report: Callable[[int, dict[str, Any]], None] | None = None,
) -> list[dict[str, Any]]:
    """Run all jobs that have no row yet; rows in the order of the jobs.

    Args:
        folders: where each data set lies.
        out: folder of rows, weights and pictures; made if it is missing.
        processes: jobs at a time, each on one thread.
        device: where they train, as torch names it.
        report: called with the jobs done and the newest row.
    """
    out.mkdir(parents=True, exist_ok=True)
    for name in dict.fromkeys(job.dataset for job in jobs):
        if any(not (out / f"{j.key}.json").exists() for j in jobs if j.dataset == name):
            _loaded(name, folders[name])  # errors before the work
    rows: list[dict[str, Any]] = []

    def done(row: dict[str, Any]) -> None:
        rows.append(row)
        if report is not None:
            report(len(rows), row)

    if processes == 1:
        threads = torch.get_num_threads()
        try:
            for job in jobs:
                done(_work(job, folders[job.dataset], out, device))
        finally:
            torch.set_num_threads(threads)
        return rows
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        futures = [pool.submit(_work, job, folders[job.dataset], out, device) for job in jobs]
        try:
            for future in futures:
                done(future.result())
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return rows
