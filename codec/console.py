"""What the commands share: input and output by name, remarks, tables, bars, and how errors end.

Results go to stdout, remarks to stderr. Rich is imported only for a bar that is drawn.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from .errors import DctcodecError, OutputError, UsageError

PATIENCE = 2.0
"""Seconds that work may take before a bar is drawn."""

TuneName = Annotated[
    str,
    typer.Option(
        help="psnr, ms-ssim (fewer bits for errors that busy places hide), or balanced between."
    ),
]
EffortLevel = Annotated[
    int,
    typer.Option(
        "-e",
        "--effort",
        help="0, 1: fastest; 2 … 9 search for better symbols: seconds to minutes.",
    ),
]


class Rim(TyperGroup):
    """The commands; each error that a person can meet ends as one line and an exit code.

    0: done; 1: the file or the machine; 2: the usage; 130: interrupted. Anything else is a defect
    of this program and keeps its traceback.
    """

    def invoke(self, ctx: Any) -> Any:
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()  # a reader that has gone away shows here, not at exit
            return result
        except DctcodecError as error:
            end(str(error), error.exit_code)
        except KeyboardInterrupt:
            end("interrupted", 130)
        except BrokenPipeError:  # whoever read has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(1) from None
        except OSError as error:
            name = f"{os.fsdecode(error.filename)}: " if error.filename else ""
            end(name + (error.strerror or str(error)))
        except MemoryError:
            end("out of memory")
        except RuntimeError as error:  # torch has no class of its own for a full memory
            if "out of memory" not in str(error) and "not enough memory" not in str(error):
                raise
            end("out of memory")


def end(message: str, code: int = 1) -> NoReturn:
    """Print `Error: message` on stderr and leave with a code."""
    remark("Error: " + " ".join(message.split()))
    raise typer.Exit(code) from None


def remark(text: str) -> None:
    """A line for the person, not for the next program."""
    typer.echo(text, err=True)


def result(text: str, out: str | None = None) -> None:
    """A line on stdout; on stderr where `out` is `-`, the picture itself having gone to stdout."""
    typer.echo(text, err=out == "-")


@contextmanager
def about(name: str) -> Iterator[None]:
    """Puts the name of a file in front of the errors it causes; usage errors stay as they are."""
    try:
        yield
    except UsageError:
        raise
    except DctcodecError as error:
        error.args = (f"{'stdin' if name == '-' else name}: {error}",)
        raise


def read_input(source: str) -> bytes:
    """All bytes of a file; of stdin for `-`."""
    return sys.stdin.buffer.read() if source == "-" else Path(source).read_bytes()


def output_for(source: str, out: str | None, suffix: str, *, force: bool) -> str:
    """The output's name, by default the source's with another suffix; checked before the work.

    `-` is stdout, the default where the source is stdin.

    Raises:
        OutputError: it exists and `force` is not given, is a folder, or its folder is missing.
        UsageError: it is stdout, and stdout is a terminal.
    """
    if out is None:
        out = "-" if source == "-" else str(Path(source).with_suffix(suffix))
    if out == "-":
        if sys.stdout.isatty():
            raise UsageError("stdout is a terminal; name a file with -o, or redirect stdout")
        return out
    path = Path(out)
    if path.is_dir():
        raise OutputError(f"{out}: is a folder; name a file with -o")
    if path.exists() and not force:
        raise OutputError(f"{out}: exists already; --force overwrites it, -o names another file")
    if not path.parent.is_dir():
        raise OutputError(f"{out}: the folder {path.parent} does not exist")
    return out


def check_suffix(out: str) -> None:
    """Refuses a picture whose suffix names no format that Pillow writes, before the work.

    Raises:
        UsageError: there is no such format.
    """
    from PIL import Image

    suffix = Path(out).suffix.lower()
    known = Image.registered_extensions()
    if out != "-" and known.get(suffix) not in Image.SAVE:
        raise UsageError(f"{out}: {suffix or 'no suffix'} names no picture format; try .png")


def write_output(out: str, data: bytes, *, force: bool) -> None:
    """A whole file, or nothing; `-` is stdout."""
    if out == "-":
        sys.stdout.buffer.write(data)
        return
    from .pictures import atomic_write

    atomic_write(Path(out), data, force)


def table(rows: Sequence[Sequence[str]]) -> str:
    """Aligned columns, the first to the left, the others to the right.

    Not rich's: that fits tables to the terminal, and these are also read by other programs.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


@contextmanager
def bar(what: str, *, quiet: bool = False) -> Iterator[Callable[[float], None] | None]:
    """A progress bar on stderr, if that is a terminal and the work takes longer than `PATIENCE`.

    Yields:
        what to call with the share that is done, 0…1; None where there is no terminal.
    """
    if quiet or not sys.stderr.isatty():
        yield None
        return
    share, done = 0.0, Event()

    def report(value: float) -> None:
        nonlocal share
        share = value

    def draw() -> None:
        if done.wait(PATIENCE):
            return
        from rich.console import Console
        from rich.progress import Progress

        with Progress(console=Console(stderr=True), transient=True) as progress:
            task = progress.add_task(what, total=None)
            while not done.wait(0.1):
                if share:
                    progress.update(task, completed=share, total=1.0)

    thread = Thread(target=draw, daemon=True)
    thread.start()
    try:
        yield report
    finally:
        done.set()
        thread.join()
