"""`dctcodec benchmark` and `dctcodec compare`: how good files and pictures are."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .console import about, read_input, remark, result, table
from .container import DEFAULT_MAX_PIXELS
from .errors import UsageError

# Of the codec only commands import eval: the command line is the rim, above both.
if TYPE_CHECKING:
    from ..eval.benchmark.dataset import Dataset
    from ..eval.benchmark.rows import Row
    from ..eval.benchmark.runner import Failure
    from .pictures import Picture

ANCHOR = "jpeg-420"


def benchmark(
    pictures: Annotated[
        str, typer.Argument(metavar="kodak|FOLDER", help="The Kodak set, or a folder of pictures.")
    ],
    data: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Where the Kodak pictures are; default: fetch them."),
    ] = None,
    codecs: Annotated[
        str | None,
        typer.Option(
            metavar="NAME,…", help="Which; all; a name may end with *; `list` shows them."
        ),
    ] = None,
    qualities: Annotated[
        list[str] | None,
        typer.Option(metavar="[CODEC=]N,…", help="Levels, of dctcodec if no codec is named."),
    ] = None,
    anchor: Annotated[str, typer.Option(help="What BD-rates are against.")] = ANCHOR,
    published: Annotated[
        str | None,
        typer.Option(metavar="NAME,…", help="Published Kodak curves to overlay; all; none."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", help="Folder of the results; one that is there goes on."),
    ] = None,
    reuse: Annotated[
        list[Path] | None,
        typer.Option(metavar="CSV", help="A results.csv; rows of equal version are taken over."),
    ] = None,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Processes of one thread each; default: all cores.")
    ] = None,
    quiet: Annotated[
        bool, typer.Option("--quiet", help="Print errors and the table only.")
    ] = False,
) -> None:
    """Measure codecs on pictures: rates, PSNR, MS-SSIM, BD-rates, plots and a report."""
    from ..eval.benchmark import published as others
    from ..eval.benchmark.bench import Benchmark
    from ..eval.benchmark.bench import benchmark as run
    from ..eval.benchmark.peers import by_name, choose
    from ..eval.benchmark.summary import HEAD, cells

    if codecs == "list":
        result(_listing())
        return
    peers = choose(_names(codecs))
    base = by_name(anchor)
    cfg = Benchmark(
        peers=peers if base in peers else [*peers, base],
        anchor=anchor,
        levels=_levels(qualities or []),
        reuse=reuse or [],
        overlay=others.choose(_names(published)),
        jobs=jobs or _cores(),
    )
    dataset = _dataset(pictures, data, quiet=quiet)
    folder = out or Path(f"benchmark-{dataset.name}")
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder}: is no folder; name another one with -o")
    began = time.monotonic()
    with _live(quiet=quiet) as report:
        try:
            outcome = run(cfg, dataset, folder, report)
        except KeyboardInterrupt:
            remark(f"the same command goes on from {folder}")
            raise
    for why, names in outcome.missing.items():
        remark(f"not measured here: {', '.join(names)}: {why}")
    for failure in outcome.failures:
        remark(f"failed: {failure}")
    result(table([list(HEAD), *map(cells, outcome.summaries)]))
    if not quiet:
        page = outcome.report or folder / "summary.md"
        seconds = time.monotonic() - began
        remark(
            f"{folder}: {len(outcome.rows)} rows, {len(dataset.photos)} pictures, "
            f"{seconds:.0f} s; see {page}"
        )


def compare(
    files: Annotated[
        list[str],
        typer.Argument(metavar="REFERENCE FILE…", help="Pictures or .dctc files of one size."),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    max_pixels: Annotated[
        int, typer.Option(min=1, help="Refuse pictures with more pixels than this.")
    ] = DEFAULT_MAX_PIXELS,
) -> None:
    """Measure pictures against the first one: PSNR, SSIM, MS-SSIM, bits per pixel."""
    if len(files) < 2:
        raise UsageError("name a reference and at least one FILE to compare with it")
    reference, _ = _picture(files[0], max_pixels)
    rows = [_compared(files[0], reference, name, max_pixels) for name in files[1:]]
    if as_json:
        result(json.dumps(rows, indent=2, allow_nan=False))
        return
    names = {
        "file": ("file", ""),
        "bytes": ("bytes", "d"),
        "bpp": ("bits/pixel", ".4f"),
        "psnr_rgb": ("PSNR, dB", ".3f"),
        "psnr_y": ("PSNR-Y, dB", ".3f"),
        "ssim": ("SSIM", ".5f"),
        "ms_ssim": ("MS-SSIM", ".5f"),
        "ms_ssim_db": ("MS-SSIM, dB", ".3f"),
    }

    def cell(row: dict[str, Any], key: str, form: str) -> str:
        if row[key] is None:  # a picture equal to the reference, or too small a one
            return "equal" if row["equal"] else "small"
        return format(row[key], form)

    lines = [[cell(row, key, form) for key, (_, form) in names.items()] for row in rows]
    result(table([[head for head, _ in names.values()], *lines]))


def _compared(name: str, reference: Picture, other: str, max_pixels: int) -> dict[str, Any]:
    """One row; what is infinite or does not exist is None."""
    import numpy as np

    from ..eval.metrics import bits_per_pixel, ms_ssim, ms_ssim_db, psnr, psnr_y, ssim

    picture, size = _picture(other, max_pixels)
    a, b = reference.pixels, picture.pixels
    if a.shape[:2] != b.shape[:2]:
        raise UsageError(
            f"{other} has {picture.width}x{picture.height} pixels, {name} "
            f"{reference.width}x{reference.height}; only equal sizes compare"
        )
    if a.ndim != b.ndim:  # one is gray
        a, b = (p if p.ndim == 3 else np.repeat(p[:, :, None], 3, axis=2) for p in (a, b))
    similarity = ms_ssim(a, b)
    values = {
        "bpp": bits_per_pixel(size, picture.width, picture.height),
        "psnr_rgb": psnr(a, b),
        "psnr_y": psnr_y(a, b),
        "ssim": ssim(a, b),
        "ms_ssim": similarity,
        "ms_ssim_db": None if similarity is None else ms_ssim_db(similarity),
    }
    known = {k: v if v is not None and math.isfinite(v) else None for k, v in values.items()}
    return {"file": other, "bytes": size, **known, "equal": bool((a == b).all())}


def _picture(name: str, max_pixels: int) -> tuple[Picture, int]:
    """A picture and the bytes of its file; remarks on what is left out of the comparison."""
    from .pictures import load

    data = read_input(name)
    with about(name):
        picture = load(data, max_pixels=max_pixels)
    if picture.alpha is not None:
        remark(f"{name}: transparency is not compared")
    for note in picture.notes:
        remark(f"{name}: {note}")
    return picture, len(data)


def _dataset(pictures: str, data: Path | None, *, quiet: bool) -> Dataset:
    from ..eval.benchmark.dataset import KODAK, folder_dataset, kodak_dataset

    if pictures == KODAK:
        return kodak_dataset(data, None if quiet else remark)
    if data is not None:
        raise UsageError("--data is where the Kodak pictures are; FOLDER needs none")
    return folder_dataset(Path(pictures))


def _names(text: str | None) -> list[str]:
    return [name.strip() for name in (text or "").split(",") if name.strip()]


def _levels(texts: Sequence[str]) -> dict[str, list[float]]:
    """`--qualities`: by codec, dctcodec if none is named.

    Raises:
        UsageError: no numbers, or no such codec.
    """
    from ..eval.benchmark.peers import by_name
    from ..eval.benchmark.peers.ours import NAME

    chosen: dict[str, list[float]] = {}
    for text in texts:
        codec, equals, levels = text.rpartition("=")
        codec = by_name(codec).name if equals else NAME
        try:
            chosen[codec] = [float(level) for level in _names(levels)]
        except ValueError:
            raise UsageError(f"--qualities {text!r} is not [CODEC=]N,N,…: numbers") from None
        if not chosen[codec]:
            raise UsageError(f"--qualities {text!r} names no level")
    return chosen


def _listing() -> str:
    from ..eval.benchmark.peers import all_peers

    rows = [["name", "codec", "measured by default", "levels"]]
    for peer in all_peers().values():
        levels = f"{abs(peer.levels[0]):g}…{abs(peer.levels[-1]):g}"
        rows.append([peer.name, peer.title, "yes" if peer.by_default else "no", levels])
    return table(rows)


def _cores() -> int:
    """That this process may use."""
    import os

    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextmanager
def _live(*, quiet: bool) -> Iterator[Callable[[int, int, Row | Failure], None] | None]:
    """Progress on stderr: a bar on a terminal, else a line per codec and level."""
    if quiet:
        yield None
        return
    if not sys.stderr.isatty():
        last = ""

        def line(done: int, total: int, newest: Row | Failure) -> None:
            nonlocal last
            at = _place(newest)
            if at != last or done == total:
                remark(f"{done}/{total} {at}")
            last = at

        yield line
        return

    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as Remaining

    columns = (BarColumn(), MofNCompleteColumn(), Remaining(), TextColumn("{task.description}"))
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("loading", total=None)

        def draw(done: int, total: int, newest: Row | Failure) -> None:
            bar.update(task, completed=done, total=total, description=_place(newest))

        yield draw


def _place(newest: Row | Failure) -> str:
    """Codec and level."""
    from ..eval.benchmark.measure import level_label
    from ..eval.benchmark.rows import Row

    if isinstance(newest, Row):
        return f"{newest.codec} {newest.setting}"
    return f"{newest.task.codec} {level_label(newest.task.level)}"
