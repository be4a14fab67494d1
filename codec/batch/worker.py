"""One picture at a time, with the model loaded once."""

from __future__ import annotations

import hashlib
import os
import platform
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from ..errors import DctcodecError, OutputError
from . import sources, store
from .manifest import Record, append
from .settings import EncodeSettings, Settings
from .sources import Source

__all__ = ["Outcome", "Task", "Worker", "peak_memory"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A source and where its output goes."""

    source: Source
    output: str  # relative to the destination
    target: str  # path or URL of the output
    replace: bool = False  # what is there may be overwritten
    known: Record | None = None  # done before with these settings, and the output is still there


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A record, and how its worker fares."""

    record: Record
    worker: str = ""  # host:process
    start_up: float = 0.0  # seconds that the worker took to import and to load the model
    peak_memory: int = 0  # bytes resident, at most, so far


class Worker:
    """Does tasks; made once in each process.

    Args:
        threads: for torch; None: as they are.
        journal: the manifest's path, where this process can write to it; None: it cannot.
        began: when the process was started, as `time.time()` gives it; None: now.

    Raises:
        ModelError, UsageError: the model cannot be loaded on the device.
    """

    def __init__(
        self,
        settings: Settings,
        threads: int | None = None,
        journal: str | None = None,
        began: float | None = None,
    ) -> None:
        began = time.time() if began is None else began
        self.settings, self.journal = settings, journal
        self.key = settings.key()
        self.name = f"{platform.node()}:{os.getpid()}"
        import torch

        if threads is not None and torch.get_num_threads() != threads:
            torch.set_num_threads(threads)
        self._warm_up()
        self.start_up = time.time() - began

    def _warm_up(self) -> None:
        """A first tile, so that the model is loaded and tested before the first picture."""
        import numpy as np

        from ..api import decode_picture, encode_picture
        from ..pictures import Picture

        device = self.settings.device
        grey = Picture(np.full((32, 32), 128, np.uint8))
        data = encode_picture(grey, 50, device=device).data
        if not isinstance(self.settings, EncodeSettings) or self.settings.verify:
            decode_picture(data, device=device)

    def do(self, task: Task) -> Outcome:
        """One picture; what goes wrong with it is in the record, never raised."""
        began, used = time.perf_counter(), time.process_time()
        clock = Clock()
        record = Record(
            source=task.source.label,
            output=task.output,
            state="failed",
            stamp=task.source.stamp,
            settings=self.key,
        )
        try:
            record = self._done(task, record, clock)
        except DctcodecError as error:
            record = replace(record, error=str(error))
        except MemoryError:
            record = replace(record, error="out of memory")
        except Exception as error:  # one picture must not stop the rest
            record = replace(record, error=f"{type(error).__name__}: {store.reason(error)}")
        phases = {k: round(v, 4) for k, v in clock.seconds.items()}
        record = replace(
            record,
            seconds=round(time.perf_counter() - began, 4),
            cpu_seconds=round(time.process_time() - used, 4),
            phases=phases,
        )
        return Outcome(
            record=record,
            worker=self.name,
            start_up=self.start_up,
            peak_memory=peak_memory(),
        )

    def _done(self, task: Task, record: Record, clock: Clock) -> Record:
        with clock.phase("network" if store.is_url(task.source.location) else "read"):
            data = sources.read(task.source)
            digest = hashlib.sha256(data).hexdigest()
        record = replace(record, sha256=digest, bytes_in=len(data))
        known = task.known
        if known and known.sha256 == digest:
            return replace(
                known,
                state="done",
                source=record.source,
                stamp=record.stamp,
                reused=True,
                error=None,
            )
        if isinstance(self.settings, EncodeSettings):
            out, record = self._encode(data, record, clock)
        else:
            out, record = self._decode(data, record, clock)
        record = replace(record, bytes_out=len(out), output_sha256=hashlib.sha256(out).hexdigest())
        self._write(task, out, record, clock)
        return replace(record, state="done")

    def _encode(self, data: bytes, record: Record, clock: Clock) -> tuple[bytes, Record]:
        from ..api import encode_picture
        from ..pictures import load
        from .verify import SymbolDigest, verify

        s = self.settings
        assert isinstance(s, EncodeSettings)
        with clock.phase("load"):
            picture = load(data, max_pixels=s.max_pixels, strip=s.strip)
        symbols = SymbolDigest() if s.verify else None
        with clock.phase("networks"):
            encoded = encode_picture(
                picture,
                s.quality,
                layers=s.layers,
                tile=s.tile,
                device=s.device,
                tally=symbols,
                effort=s.effort,
                tune=s.tune,
            )
        clock.move("networks", "entropy", encoded.coding_seconds)
        value = None
        if symbols:
            with clock.phase("verify"):
                value = verify(
                    encoded.data,
                    picture,
                    symbols,
                    floor=s.psnr_floor,
                    device=s.device,
                    max_pixels=s.max_pixels,
                )
        pixels = picture.width * picture.height
        psnr = None if value is None else round(value, 3)
        return encoded.data, replace(record, pixels=pixels, psnr=psnr, notes=picture.notes)

    def _decode(self, data: bytes, record: Record, clock: Clock) -> tuple[bytes, Record]:
        from ..api import decode_picture
        from ..container import read
        from ..pictures import to_bytes

        s = self.settings
        with clock.phase("networks"):
            layers = s.layers
            if layers is not None:
                layers = min(layers, read(data, max_pixels=s.max_pixels).header.layers)
            decoded = decode_picture(data, layers=layers, device=s.device, max_pixels=s.max_pixels)
        assert not isinstance(s, EncodeSettings)
        with clock.phase("save"):
            out, notes = to_bytes(decoded.picture, s.format)
        pixels = decoded.picture.width * decoded.picture.height
        return out, replace(record, pixels=pixels, notes=(*decoded.remarks, *notes))

    def _write(self, task: Task, out: bytes, record: Record, clock: Clock) -> None:
        """The file, whole; one that is there already with these very bytes is as good."""

        def note() -> None:
            if self.journal:
                append(self.journal, replace(record, state="written"))

        with clock.phase("network" if store.is_url(task.target) else "write"):
            try:
                store.write(
                    task.target,
                    out,
                    compare=self.settings.verify,
                    before=note,
                    replace=task.replace,
                )
            except OutputError:
                if task.replace or not _holds(task.target, out):
                    raise


def _holds(target: str, data: bytes) -> bool:
    """Whether a file is there with these bytes."""
    try:
        return store.read(target) == data
    except DctcodecError:
        return False


class Clock:
    """Adds up seconds by kind of work."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        began = time.perf_counter()
        try:
            yield
        finally:
            self.add(name, time.perf_counter() - began)

    def add(self, name: str, seconds: float) -> None:
        self.seconds[name] = self.seconds.get(name, 0.0) + seconds

    def move(self, source: str, target: str, seconds: float) -> None:
        """Seconds that were counted as one kind but belong to another."""
        self.add(source, -seconds)
        self.add(target, seconds)


def peak_memory() -> int:
    """Most bytes that this process has had resident; 0 where the system does not say."""
    try:
        import resource
    except ImportError:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak if sys.platform == "darwin" else peak * 1024)
