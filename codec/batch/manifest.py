"""What was done, a JSON object per line: the batch's memory between runs, and its report.

Lines are only ever added, each by one write. Before a file takes its name, its worker notes what
it is about to be (state `written`); when all is well the run notes it as `done`. So a batch that
was killed between the two still knows its own files.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import IO, Any, Final, Literal

from ..errors import OutputError
from . import store

__all__ = ["NAME", "Manifest", "Record", "append"]

NAME: Final = "manifest.jsonl"
State = Literal["done", "written", "failed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One line: one attempt at one source."""

    source: str  # path or URL; of a tar's member, shard.tar!member
    output: str  # relative to the destination
    state: State
    stamp: str = ""  # version of the source: time and size, or a store's ETag
    sha256: str = ""  # of the source, hexadecimal
    settings: Mapping[str, Any] = field(default_factory=dict)
    bytes_in: int = 0
    bytes_out: int = 0
    output_sha256: str = ""
    pixels: int = 0
    seconds: float = 0.0  # by the clock on the wall
    cpu_seconds: float = 0.0  # of all its threads; what others on the machine do is not in it
    phases: Mapping[str, float] = field(default_factory=dict)  # seconds of it, by kind of work
    psnr: float | None = None  # dB, where verified; 100 for equal pictures
    reused: bool = False  # found done: nothing was encoded
    notes: tuple[str, ...] = ()  # what reading or writing the picture left out
    error: str | None = None

    def line(self) -> str:
        values = {k: v for k, v in asdict(self).items() if v not in ("", (), {})}
        return json.dumps(values, ensure_ascii=False) + "\n"


_FIELDS = frozenset(f.name for f in fields(Record))


def append(path: str, record: Record) -> None:
    """Add one line, in one write."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0)
    handle = os.open(path, flags, 0o666)
    try:
        os.write(handle, record.line().encode())
    finally:
        os.close(handle)


class Manifest:
    """A manifest file, held by one run at a time.

    Args:
        path: where it is or will be; a path, since lines are added to it.
        mirror: a URL beside the outputs, to which copies go and from which a missing file is
            fetched; None: none.

    Raises:
        OutputError: another run holds it, or it cannot be written.
    """

    def __init__(self, path: str, mirror: str | None = None) -> None:
        self.path, self.mirror = path, mirror
        try:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            if mirror and not os.path.exists(path):
                self._fetch(mirror)
            self._file: IO[bytes] = open(path, "ab+")  # noqa: SIM115 (held by the run)
        except OSError as error:
            raise OutputError(f"{path}: {store.reason(error)}") from error
        if not _lock(self._file):
            self._file.close()
            raise OutputError(f"{path}: another batch is writing it; wait, or name another one")
        self.latest: dict[str, Record] = {}  # by output
        self.made: dict[str, str] = {}  # outputs that were once done, and from which source
        self._read()

    def _fetch(self, mirror: str) -> None:
        fs, there = store.filesystem(mirror)
        if store.patiently(lambda: fs.exists(there)):
            store.write(self.path, store.read(mirror))

    def _read(self) -> None:
        """The last line of each output; what is no whole line is passed over."""
        self._file.seek(0)
        last = b"\n"
        for last in self._file:
            try:
                values = json.loads(last)
                record = Record(**{k: v for k, v in values.items() if k in _FIELDS})
            except (ValueError, TypeError, AttributeError):
                continue
            self._keep(record)
        if not last.endswith(b"\n"):  # the machine went down within a line
            os.write(self._file.fileno(), b"\n")

    def _keep(self, record: Record) -> None:
        self.latest[record.output] = record
        if record.state == "done":
            self.made[record.output] = record.source

    def add(self, record: Record) -> None:
        """Add a line."""
        self._keep(record)
        append(self.path, record)

    def copy(self) -> None:
        """Bring the mirror up to date."""
        if self.mirror:
            store.write(self.mirror, Path(self.path).read_bytes())

    def close(self) -> None:
        self._file.close()


def settle(manifest: Manifest, digest: Callable[[str], str]) -> None:
    """Lines left at `written` by a run that was killed: done if the file is there as noted.

    Args:
        digest: SHA-256 of an output, hexadecimal; empty if there is none.
    """
    from dataclasses import replace

    for record in [r for r in manifest.latest.values() if r.state == "written"]:
        if digest(record.output) == record.output_sha256:
            manifest.add(replace(record, state="done"))


def _lock(file: IO[bytes]) -> bool:
    """Held until the file is closed or the process ends, however it ends."""
    try:
        import fcntl
    except ImportError:  # no such locks here
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return True
    return True
