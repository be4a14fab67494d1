"""`dctcodec batch encode | decode`: collections."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .console import EffortLevel, TuneName, remark, result
from .container import DEFAULT_MAX_PIXELS
from .errors import UsageError
from .tune import DEFAULT_TUNE

if TYPE_CHECKING:
    from .batch.job import Engine, Summary
    from .batch.settings import Settings
    from .batch.worker import Outcome

app = typer.Typer(
    help="Encode or decode a collection: a folder, glob, list, tar or URL, with many workers.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

REPORT_EVERY = 10.0
"""Seconds between lines of progress where stderr is no terminal."""

Source = Annotated[
    str,
    typer.Argument(
        metavar="SRC", help="A folder, glob, tar, file or URL; - for a list on stdin, one per line."
    ),
]
Destination = Annotated[str, typer.Argument(metavar="DST", help="A folder or URL.")]
Jobs = Annotated[
    int | None,
    typer.Option("-j", "--jobs", min=1, help="Workers; default: as many as cores or as fit."),
]
Threads = Annotated[
    int | None,
    typer.Option(min=1, help="Threads of each worker; default: the cores shared out; 1 with ray."),
]
EngineName = Annotated[str, typer.Option("--engine", help="local, or ray for a cluster.")]
Address = Annotated[
    str | None,
    typer.Option(help="Of the Ray cluster; default: RAY_ADDRESS, or one on this machine."),
]
Gpus = Annotated[
    float | None,
    typer.Option(min=0, help="With ray: GPUs of each worker; default: 1 if --device is cuda."),
]
Device = Annotated[str, typer.Option(help="Where the networks run, as torch names it: cpu, cuda.")]
MaxPixels = Annotated[int, typer.Option(min=1, help="Refuse pictures with more pixels than this.")]
ManifestPath = Annotated[
    str | None,
    typer.Option("--manifest", help="The run's memory; default: DST/manifest.jsonl."),
]
Force = Annotated[
    bool, typer.Option("--force", help="Overwrite outputs that the manifest does not know.")
]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print errors only.")]
Json = Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")]
Layers = Annotated[
    str | None,
    typer.Option(metavar="context|N", help="How many layers below the context; default: all."),
]


@app.command()
def encode(
    source: Source,
    destination: Destination,
    quality: Annotated[
        float, typer.Option("-q", "--quality", help="0 smallest … 100 finest, in quarters.")
    ] = 75.0,
    layers: Layers = None,
    effort: EffortLevel = 1,
    tune: TuneName = DEFAULT_TUNE,
    tile: Annotated[int, typer.Option(help="Side of a tile in pixels, a multiple of 32.")] = 1024,
    strip: Annotated[bool, typer.Option("--strip", help="Leave out EXIF and ICC.")] = False,
    verify: Annotated[
        bool,
        typer.Option("--verify", help="Decode each file; compare its symbols and its PSNR."),
    ] = False,
    psnr_floor: Annotated[
        float, typer.Option(help="Least PSNR that --verify lets pass, dB.")
    ] = 20.0,
    jobs: Jobs = None,
    threads: Threads = None,
    engine: EngineName = "local",
    address: Address = None,
    gpus: Gpus = None,
    device: Device = "cpu",
    max_pixels: MaxPixels = DEFAULT_MAX_PIXELS,
    manifest: ManifestPath = None,
    force: Force = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Compress every picture of a collection; what is done already is left alone."""
    from .batch.settings import EncodeSettings
    from .cli import layers_of

    settings = EncodeSettings(
        quality=quality,
        layers=layers_of(layers),
        effort=effort,
        tune=tune,
        tile=tile,
        strip=strip,
        device=device,
        max_pixels=max_pixels,
        verify=verify,
        psnr_floor=psnr_floor,
    )
    workers = engine_of(engine, jobs, threads, address, gpus, device)
    batch(source, destination, settings, workers, manifest, force, quiet, as_json)


@app.command()
def decode(
    source: Source,
    destination: Destination,
    format: Annotated[str, typer.Option(help="The pictures' suffix: png, webp, jpg, …")] = "png",
    layers: Layers = None,
    jobs: Jobs = None,
    threads: Threads = None,
    engine: EngineName = "local",
    address: Address = None,
    gpus: Gpus = None,
    device: Device = "cpu",
    max_pixels: MaxPixels = DEFAULT_MAX_PIXELS,
    manifest: ManifestPath = None,
    force: Force = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Decompress every .dctc file of a collection."""
    from .batch.settings import DecodeSettings
    from .cli import layers_of

    settings = DecodeSettings(
        format=format.lower().removeprefix("."),
        layers=layers_of(layers),
        device=device,
        max_pixels=max_pixels,
    )
    workers = engine_of(engine, jobs, threads, address, gpus, device)
    batch(source, destination, settings, workers, manifest, force, quiet, as_json)


def engine_of(
    name: str,
    jobs: int | None,
    threads: int | None,
    address: str | None,
    gpus: float | None,
    device: str,
) -> Engine:
    """Who does the work.

    Raises:
        UsageError: there is no such engine, or an option does not belong to it.
    """
    if name == "local":
        if address is not None or gpus is not None:
            raise UsageError("--address and --gpus belong to --engine ray")
        from .batch.local import LocalEngine, cores

        return LocalEngine(jobs=jobs or cores(), threads=threads)
    if name == "ray":
        from .batch.ray_engine import RayEngine

        if gpus is None:
            gpus = 1.0 if device.startswith("cuda") else 0.0
        return RayEngine(address=address, jobs=jobs, threads=threads, gpus=gpus)
    raise UsageError(f"--engine {name!r} is neither 'local' nor 'ray'")


def batch(
    source: str,
    destination: str,
    settings: Settings,
    engine: Engine,
    manifest_path: str | None,
    force: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Find, plan, run, and say what came of it; exit code 1 if a picture failed."""
    from .batch import job
    from .batch.sources import find

    settings.key()  # an error before the work
    lines = listed() if source == "-" else None
    found = find(source, settings.inputs, lines)
    manifest = job.open_manifest(destination, manifest_path)
    try:
        plan = job.plan(found, destination, settings, manifest, force=force)
        summary = job.Summary.of(plan)
        if found.ignored and not quiet:
            remark(f"{found.ignored} files with other suffixes are left alone")
        try:
            # stdout is for the summary; Ray would tell there of workers that died
            with redirect_stdout(sys.stderr), progress(summary, quiet=quiet) as show:
                for outcome in job.run(plan, engine, manifest):
                    summary.add(outcome)
                    show(outcome)
        finally:  # also when interrupted: what is done is done
            if as_json:
                result(json.dumps(summary.to_json(), indent=2))
            elif not quiet:
                result(text_of(summary))
        if not quiet:
            remark(f"manifest: {manifest.path}")
    finally:
        manifest.close()
    if summary.failed:
        raise typer.Exit(1)


def listed() -> list[str]:
    """Names from stdin, a line each, or with NUL between them as `find -print0` gives them."""
    text = sys.stdin.buffer.read().decode(errors="surrogateescape")
    return text.split("\0") if "\0" in text else text.splitlines()


@contextmanager
def progress(summary: Summary, *, quiet: bool) -> Iterator[Callable[[Outcome], None]]:
    """Shows how a run goes: a bar on a terminal, else a line now and then; errors always."""
    shown = time.monotonic()

    def complain(outcome: Outcome, say: Callable[[str], Any]) -> None:
        record = outcome.record
        if record.error is not None:
            say(f"Error: {record.source}: {record.error}")
        elif not quiet:
            for note in record.notes:
                say(f"{record.source}: {note}")

    if quiet or not sys.stderr.isatty():

        def line(outcome: Outcome) -> None:
            nonlocal shown
            complain(outcome, remark)
            if not quiet and time.monotonic() - shown > REPORT_EVERY:
                shown = time.monotonic()
                remark(f"{summary.finished} of {summary.total}, {status(summary)}")

        yield line
        return

    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("starting", total=summary.total, completed=summary.finished)

        def update(outcome: Outcome) -> None:
            complain(outcome, lambda text: bar.console.print(text, markup=False, highlight=False))
            bar.update(task, completed=summary.finished, description=status(summary))

        yield update


def status(summary: Summary) -> str:
    """Rate, bytes, failures and time left, in a line."""
    left = summary.time_left()
    parts = [f"{summary.rate:.2f} pictures/s", sizes(summary)]
    if summary.failed:
        parts.append(f"{summary.failed} failed")
    if left is not None:
        parts.append(f"{clock(left)} left")
    return ", ".join(parts)


def sizes(summary: Summary) -> str:
    share = f" ({100 * summary.bytes_out / summary.bytes_in:.1f} %)" if summary.bytes_in else ""
    return f"{size(summary.bytes_in)} in, {size(summary.bytes_out)} out{share}"


def text_of(summary: Summary) -> str:
    """The end of a run, for a person."""
    s = summary
    lines = [
        f"{s.done} done, {s.before + s.reused} done before, {s.failed} failed"
        + (f", {s.total - s.finished} left" if s.finished < s.total else "")
    ]
    if s.done:
        lines.append(f"{sizes(s)}, {s.pixels / 1e6:.1f} megapixels")
        lines.append(f"{clock(s.seconds)}, {s.rate:.2f} pictures/s, {len(s.start_up)} workers")
        if s.least_psnr is not None:
            lines.append(f"all verified, least PSNR {s.least_psnr:.2f} dB")
    return "\n".join(lines)


def size(count: int) -> str:
    """Bytes in decimal units."""
    if count < 1000:
        return f"{count} B"
    power = min(4, (len(str(count)) - 1) // 3)
    return f"{count / 1000**power:.1f} {('B', 'kB', 'MB', 'GB', 'TB')[power]}"


def clock(seconds: float) -> str:
    """h:mm:ss, or m:ss."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
