"""A batch from start to end: what there is, what is done, what is left, what came of it."""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from ..errors import DctcodecError
from . import store
from .manifest import NAME, Manifest, Record, settle
from .settings import Settings
from .sources import Found, Source
from .worker import Outcome, Task

__all__ = ["Engine", "Plan", "Summary", "default_manifest", "open_manifest", "plan", "run"]

MIRROR_EVERY: Final = 300.0
"""Seconds between copies of the manifest to the store where the outputs go."""


class Engine(Protocol):
    """Hands tasks to workers; each task has one outcome, in any order."""

    def run(
        self, settings: Settings, tasks: Sequence[Task], journal: str | None
    ) -> Iterator[Outcome]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is left to do.

    `done`: how many outputs are there already; `refused`: sources that cannot be used.
    """

    settings: Settings
    tasks: tuple[Task, ...]
    refused: tuple[Record, ...]
    done: int


def default_manifest(destination: str) -> str:
    """Beside the outputs; for a URL, a file in the current folder named after it."""
    if not store.is_url(destination):
        return os.path.join(destination, NAME)
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", destination.split("://", 1)[1]).strip("-.")
    return f"{name or 'store'}.{NAME}"


def open_manifest(destination: str, path: str | None = None) -> Manifest:
    """The manifest of a destination; see `Manifest` for what it raises."""
    mirror = store.join(destination, NAME) if store.is_url(destination) else None
    return Manifest(path or default_manifest(destination), mirror)


def plan(
    found: Found, destination: str, settings: Settings, manifest: Manifest, *, force: bool = False
) -> Plan:
    """Compare sources, manifest and what is at the destination.

    Done is what the manifest says was made from this version of the source (its stamp; the worker
    asks its hash where that has changed) with these settings, and what is there with that size.
    What the manifest knows as made from this source may be replaced; anything else only by force.
    """
    present = store.sizes(destination)
    outputs = [settings.output(s.name) for s in found.sources]
    store.remove_leftovers(destination, present, set(outputs))
    settle(manifest, lambda name: _digest(destination, name, present))
    key = settings.key()
    tasks: list[Task] = []
    refused: list[Record] = []
    taken: dict[str, Source] = {}
    done = 0
    for source, output in zip(found.sources, outputs, strict=True):
        error = source.error
        if error is None and output in taken:
            error = f"its output would be that of {taken[output].label}"
            output = ""  # or this line would count as that one's
        if error is not None:
            refused.append(Record(source=source.label, output=output, state="failed", error=error))
            continue
        taken[output] = source
        last = manifest.latest.get(output)
        known = _known(last, key, settings, present.get(output))
        if known and known.stamp == source.stamp != "" and known.source == source.label:
            done += 1
            continue
        tasks.append(
            Task(
                source=source,
                output=output,
                target=store.join(destination, output),
                replace=force or manifest.made.get(output) == source.label,
                known=known,
            )
        )
    return Plan(settings=settings, tasks=tuple(tasks), refused=tuple(refused), done=done)


def _known(
    last: Record | None, key: dict[str, Any], settings: Settings, size: int | None
) -> Record | None:
    """The line by which an output is done, whatever its source is now."""
    if last is None or last.state != "done" or last.settings != key or last.bytes_out != size:
        return None
    if settings.verify and (last.psnr is None or last.psnr < settings.psnr_floor):
        return None
    return last


def _digest(destination: str, name: str, present: dict[str, int]) -> str:
    if name not in present:
        return ""
    try:
        return hashlib.sha256(store.read(store.join(destination, name))).hexdigest()
    except DctcodecError:
        return ""


def run(plan: Plan, engine: Engine, manifest: Manifest) -> Iterator[Outcome]:
    """Do what is left; each outcome is in the manifest when it is given out."""
    for record in plan.refused:
        manifest.add(record)
        yield Outcome(record=record)
    copied = time.monotonic()
    try:
        if plan.tasks:
            for outcome in engine.run(plan.settings, plan.tasks, manifest.path):
                manifest.add(outcome.record)
                yield outcome
                if time.monotonic() - copied > MIRROR_EVERY:
                    manifest.copy()
                    copied = time.monotonic()
    finally:
        manifest.copy()


@dataclass(slots=True)
class Summary:
    """Counts as a run goes on. Seconds of phases are added over all workers."""

    total: int  # sources
    before: int  # done before this run
    todo_bytes: int = 0  # of the sources that are left, where known
    began: float = field(default_factory=time.monotonic)
    done: int = 0  # made in this run
    reused: int = 0  # found done by their hash
    failed: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    pixels: int = 0
    seconds: float = 0.0  # wall time, up to the last outcome
    cpu_seconds: float = 0.0  # over all pictures and workers, start-up not included
    phases: dict[str, float] = field(default_factory=dict)
    least_psnr: float | None = None
    start_up: dict[str, float] = field(default_factory=dict)  # by worker
    peak_memory: dict[str, int] = field(default_factory=dict)  # by worker, bytes

    @classmethod
    def of(cls, plan: Plan) -> Summary:
        total = plan.done + len(plan.tasks) + len(plan.refused)
        return cls(total, plan.done, sum(t.source.size for t in plan.tasks))

    @property
    def finished(self) -> int:
        return self.before + self.done + self.reused + self.failed

    @property
    def rate(self) -> float:
        """Pictures per second of this run, start-up included."""
        return self.done / self.seconds if self.seconds else 0.0

    def time_left(self) -> float | None:
        """Seconds, from the bytes read so far and those to come; None: not to be said yet."""
        if not self.bytes_in or not self.todo_bytes:
            return None
        return self.seconds * max(0.0, self.todo_bytes / self.bytes_in - 1)

    def add(self, outcome: Outcome) -> None:
        r = outcome.record
        self.seconds = time.monotonic() - self.began
        if outcome.worker:
            self.start_up[outcome.worker] = outcome.start_up
            self.peak_memory[outcome.worker] = outcome.peak_memory
        self.cpu_seconds += r.cpu_seconds
        for phase, seconds in r.phases.items():
            self.phases[phase] = self.phases.get(phase, 0.0) + seconds
        if r.error is not None:
            self.failed += 1
        elif r.reused:
            self.reused += 1
        else:
            self.done += 1
            self.bytes_in += r.bytes_in
            self.bytes_out += r.bytes_out
            self.pixels += r.pixels
            if r.psnr is not None:
                self.least_psnr = min(r.psnr, self.least_psnr or r.psnr)

    def to_json(self) -> dict[str, Any]:
        """For programs: counts, bytes, seconds."""
        return {
            "pictures": self.total,
            "done": self.done,
            "done_before": self.before + self.reused,
            "failed": self.failed,
            "left": self.total - self.finished,
            "bytes_in": self.bytes_in,
            "bytes_out": self.bytes_out,
            "pixels": self.pixels,
            "seconds": round(self.seconds, 3),
            "cpu_seconds": round(self.cpu_seconds, 3),
            "pictures_per_second": round(self.rate, 4),
            "least_psnr": self.least_psnr,
            "workers": len(self.start_up),
            "start_up_seconds": {k: round(v, 3) for k, v in self.start_up.items()},
            "peak_memory_bytes": self.peak_memory,
            "phase_seconds": {k: round(v, 3) for k, v in sorted(self.phases.items())},
        }
