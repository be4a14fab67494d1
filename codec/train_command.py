"""`dctcodec train` and `dctcodec export`: from photos to a weights file."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, fields, replace
from pathlib import Path
from shutil import which
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import typer

from .console import bar, output_for, remark, result
from .errors import DctcodecError, UsageError

if TYPE_CHECKING:
    import torch

    from ..models.config import ModelConfig
    from ..models.train import TrainConfig

Paths = list[Path]


def train(
    out: Annotated[
        Path, typer.Argument(metavar="OUT", help="Folder of the run; a run that is there goes on.")
    ],
    photos: Annotated[
        Paths,
        typer.Option(exists=True, help="Folder, tar or image; give it again for more."),
    ],
    validation: Annotated[
        Paths | None, typer.Option(exists=True, help="As --photos: measured, never trained on.")
    ] = None,
    minutes: Annotated[float, typer.Option(min=0, help="Budget of wall-clock time.")] = 0.0,
    steps: Annotated[int, typer.Option(min=0, help="Budget of steps, instead.")] = 0,
    batch: Annotated[int, typer.Option(min=1, help="Crops per step and process.")] = 8,
    crop: Annotated[int, typer.Option(min=32, help="Side of a crop, a multiple of 32.")] = 192,
    rate: Annotated[float, typer.Option(min=0, help="Peak learning rate.")] = 2e-3,
    optimiser: Annotated[
        Literal["muon", "soap", "adamw"], typer.Option(help="Of the matrices.")
    ] = "muon",
    settled: Annotated[
        float,
        typer.Option(
            min=0, max=1, help="Share of the budget, its last, with the encoder's own choices."
        ),
    ] = 0.25,
    device: Annotated[str, typer.Option(help="auto: a GPU if there is one.")] = "auto",
    bf16: Annotated[
        bool | None,
        typer.Option("--bf16/--no-bf16", help="Compute in bfloat16. Default: if that is faster."),
    ] = None,
    compile: Annotated[
        bool, typer.Option("--compile", help="Compile parts; needs a C++ compiler.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Of all random choices.")] = 0,
    start: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="A state.pt or .safetensors to begin with."),
    ] = None,
    shape: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="A field of the model's shape (new runs; with --start it can only grow), or of "
            "training; give it again.",
        ),
    ] = None,
) -> None:
    """Train a model on photos. For several GPUs: torchrun -m dctcodec train …"""
    if (minutes > 0) == (steps > 0):
        raise UsageError("give a budget: either --minutes or --steps")
    if crop % 32:
        raise UsageError(f"--crop {crop} is not a multiple of 32")

    from ..models.train import TrainConfig, model_config_for
    from ..models.train import train as run
    from ..models.weights import WeightsError

    own = {f.name for f in fields(TrainConfig)}
    pairs = [p for p in shape or [] if p.partition("=")[0] not in own]
    cfg = TrainConfig(
        minutes=minutes,
        steps=steps,
        batch=batch,
        crop=crop,
        rate=rate,
        optimiser=optimiser,
        settled=settled,
        bf16=bf16,
        compile=compile,
        seed=seed,
    )
    cfg = _changed(cfg, [p for p in shape or [] if p not in pairs])
    training, held_out = _photos(photos, crop), _photos(validation or [], 0)
    state = out / "state.pt"
    try:
        model = model_config_for(out, start)
    except WeightsError as error:
        raise DctcodecError(str(error)) from error
    if pairs:
        if state.exists():
            raise UsageError(f"--set {pairs[0]}: this run has its shape already")
        model = _shaped(model, pairs)
    with _processes(device) as (place, first):
        if cfg.compile and not any(map(which, (os.environ.get("CXX", "g++"), "clang++"))):
            raise UsageError("--compile: no C++ compiler (g++) is to be had; leave it out")
        if first:
            begun = "goes on from" if state.exists() else "will be saved as"
            remark(f"{len(training)} photos, {len(held_out)} for validation, on {place}")
            remark(f"the run {begun} {state}")
        try:
            with _live(cfg.minutes * 60, cfg.steps, quiet=not first) as report:
                final = run(model, cfg, training, held_out, out, place, start, report)
        except WeightsError as error:
            raise DctcodecError(str(error)) from error
        except KeyboardInterrupt:
            if first and state.exists():
                remark(f"the same command goes on from {state}")
            raise
        if first:
            result(f"{state}: {final.step} steps, {final.megapixels:.0f} megapixels seen")


def export(
    state: Annotated[
        Path, typer.Argument(metavar="STATE", exists=True, dir_okay=False, help="A run's state.pt.")
    ],
    out: Annotated[
        str | None, typer.Option("-o", "--out", help="Default: STATE.safetensors.")
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="What the model is called; default: OUT without its suffix.")
    ] = None,
    card: Annotated[
        list[str] | None, typer.Option(metavar="KEY=TEXT", help="Metadata; give it again for more.")
    ] = None,
    validation: Annotated[
        Paths | None,
        typer.Option(exists=True, help="Photos: what each layer uses is measured, for info."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the output.")] = False,
) -> None:
    """Make a weights file of a run's averaged weights."""
    pairs = [entry.partition("=") for entry in card or []]
    for key, equals, _ in pairs:
        if not (key and equals):
            raise UsageError(f"--card {key!r} is not KEY=TEXT")
    target = Path(output_for(str(state), out, ".safetensors", force=force))
    if str(target) == "-":
        raise UsageError("a weights file cannot go to stdout; name a file with -o")
    held_out = _photos(validation or [], 32) if validation else []

    from ..models import weights
    from ..models.export import export as store
    from ..models.model import CodecModel
    from ..models.train import starting_point

    try:
        if state.suffix == ".safetensors" and weights.load(state).finer:
            raise UsageError(f"{state}: joined already; export the runs that it came from")
        cfg, average = starting_point(state)
        metadata = {key: text for key, _, text in pairs}
        store(average, CodecModel(cfg), target, name or target.stem, metadata)
    except weights.WeightsError as error:
        raise DctcodecError(str(error)) from error
    if held_out:
        from .usage import measure

        with bar("measuring") as progress:
            pictures = (p.numpy().transpose(1, 2, 0) for p in held_out)
            weights.add_usage(
                target, measure(weights.load(target), pictures, progress=progress), target
            )
    stored = weights.load(target)
    result(
        f"{target}: {target.stat().st_size} bytes, prior {stored.prior_id.hex()}, "
        f"synthesis {stored.synthesis_id.hex()}"
    )


def _shaped(model: ModelConfig, pairs: list[str]) -> ModelConfig:
    """The configuration with some of its numbers and words replaced.

    `blocks` is one number for every part, or one for each, with commas between.
    """
    blocks = [p for p in pairs if p.partition("=")[0] == "blocks"]
    model = _changed(model, [p for p in pairs if p not in blocks])
    for pair in blocks:
        counts = pair.partition("=")[2].split(",")
        if not all(count.isdecimal() for count in counts):
            raise UsageError(f"--set {pair}: not a number of residual blocks")
        if len(counts) not in (1, len(model.parts)):
            raise UsageError(f"--set {pair}: {len(counts)} numbers for {len(model.parts)} parts")
        each = counts * len(model.parts) if len(counts) == 1 else counts
        parts = tuple(replace(p, blocks=int(n)) for p, n in zip(model.parts, each, strict=True))
        model = replace(model, parts=parts)
    return model


Settings = TypeVar("Settings", "ModelConfig", "TrainConfig")


def _changed(settings: Settings, pairs: list[str]) -> Settings:
    """A frozen dataclass with fields replaced by KEY=VALUE."""
    values = {k: v for k, v in asdict(settings).items() if isinstance(v, int | float | str)}
    changes: dict[str, Any] = {}
    for pair in pairs:
        key, _, text = pair.partition("=")
        if key not in values:
            raise UsageError(f"--set {pair!r} is not KEY=VALUE with KEY among {', '.join(values)}")
        try:
            kind = type(values[key])
            changes[key] = {"true": True, "false": False}[text] if kind is bool else kind(text)
        except (ValueError, KeyError):
            raise UsageError(f"--set {key}: {text!r} is no {kind.__name__}") from None
    try:
        return replace(settings, **changes)
    except ValueError as error:
        raise UsageError(f"--set: {error}") from error


def _photos(paths: Paths, crop: int) -> list[torch.Tensor]:
    """The photos of all paths; refused if none is given a crop."""
    from tarfile import TarError

    from ..data.photos import load_photos

    try:
        photos = load_photos(paths)
    except TarError as error:
        names = ", ".join(map(str, paths))
        raise UsageError(f"{names}: neither a folder, an image nor a tar ({error})") from error
    if crop and not any(min(p.shape[1:]) >= crop for p in photos):
        raise UsageError(f"none of {len(photos)} photos has {crop}x{crop} pixels, one --crop")
    return photos


@contextmanager
def _processes(device: str) -> Iterator[tuple[torch.device, bool]]:
    """Where this process trains, and whether it is the first; joins the others under torchrun."""
    import torch
    from torch import distributed

    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        place = torch.device(device)
    except RuntimeError as error:
        raise UsageError(f"device {device!r}: {str(error).splitlines()[0]}") from error
    if place.type == "cuda" and not torch.cuda.is_available():
        raise UsageError(f"device {device!r}: no GPU is to be had here; use --device cpu")
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield place, True
        return
    if place.type == "cuda":
        place = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(place)
    distributed.init_process_group("nccl" if place.type == "cuda" else "gloo")
    try:
        yield place, distributed.get_rank() == 0
    finally:
        distributed.destroy_process_group()


@contextmanager
def _live(
    seconds: float, steps: int, *, quiet: bool
) -> Iterator[Callable[[dict[str, Any]], None] | None]:
    """What the trainer reports to: a bar on a terminal, else a line on stderr per report.

    Args:
        seconds, steps: the budget; the other one is 0.
    """
    if quiet:
        yield None
        return
    if not sys.stderr.isatty():
        yield lambda row: remark("\n".join([_line(row), *_warnings(row)]))
        return

    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (BarColumn(), TextColumn("{task.percentage:.1f} %"), TimeRemainingColumn())
    with Progress(*columns, TextColumn("{task.description}"), console=Console(stderr=True)) as bar:
        task = bar.add_task("first steps", total=seconds or steps)

        def report(row: dict[str, Any]) -> None:
            if "validation" in row:
                for line in [_line(row), *_warnings(row)]:
                    bar.console.print(line, highlight=False)
            else:
                bar.update(task, completed=row["seconds" if seconds else "step"])
                bar.update(task, description=_line(row))

        yield report


def _warnings(row: dict[str, Any]) -> list[str]:
    """Lines on layers that have died."""
    return [f"Warning: step {row['step']}: {text}" for text in row.get("warnings", [])]


def _line(row: dict[str, Any]) -> str:
    """One line of the log for a person."""
    if "validation" in row:
        curve = (
            f"q{r['quality']:g} {r['bpp']:.3f} bpp {r['psnr']:.2f} dB" for r in row["validation"]
        )
        dead = f"; {len(row['dead'])} dead channels" if row.get("dead") else ""
        return f"step {row['step']}: validation {', '.join(curve)}{dead}"
    return (
        f"step {row['step']}: loss {row['loss']:.3f}, {row['bpp']:.3f} bpp, {row['psnr']:.2f} dB, "
        f"rate {row['rate']:.2g}, {row['seconds']:.0f} s"
    )
