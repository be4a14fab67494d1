"""All rows that are asked for: over several processes, going on where an earlier run stopped."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path

from ...codec.errors import DctcodecError
from ...codec.pictures import atomic_write
from .dataset import Photo, pixel_sum, read_pixels
from .measure import level_label, measure
from .peers import Peer, Pixels, by_name
from .rows import Key, Row, key_of, read_log, to_line

__all__ = ["LOG", "Failure", "Task", "plan", "run"]

LOG = "rows.jsonl"
"""In the folder of the results: a line per row as soon as it is measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One picture through one codec at one level."""

    codec: str
    level: float
    order: int
    photo: Photo


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A task that its codec could not do, and why."""

    task: Task
    why: str

    def __str__(self) -> str:
        return (
            f"{self.task.codec} {level_label(self.task.level)}, {self.task.photo.name}: {self.why}"
        )


Report = Callable[[int, int, "Row | Failure"], None]
"""Called with (done, of how many, the newest)."""


def plan(
    peers: Sequence[Peer],
    photos: Sequence[Photo],
    levels: Mapping[str, Sequence[float]] | None = None,
) -> list[Task]:
    """Codec by codec, level by level, coarse to fine.

    Args:
        levels: of some codecs by name, instead of their own.

    Raises:
        UsageError: a level does not exist.
    """
    tasks = []
    for peer in peers:
        chosen = sorted({*((levels or {}).get(peer.name, peer.levels))})
        for level in chosen:
            peer.check(level)
        for order, level in enumerate(chosen):
            tasks += [Task(codec=peer.name, level=level, order=order, photo=p) for p in photos]
    return tasks


def run(
    tasks: Sequence[Task],
    out: Path,
    *,
    known: Iterable[Row] = (),
    jobs: int = 1,
    report: Report | None = None,
) -> tuple[list[Row], list[Failure]]:
    """Rows in the order of the tasks, and what failed.

    What the log of `out` holds, and after it what is `known` from elsewhere, is not measured again
    if codec, version, settings and picture are the same. Each new row is in the log before the
    next is waited for, so that a run that was killed goes on.

    Args:
        known: rows of other runs; their files are not in `out`.
        jobs: processes; 1 works in this one.

    Raises:
        DctcodecError: the log is damaged, or a worker died.
    """
    out.mkdir(parents=True, exist_ok=True)
    found: dict[Key, Row] = {key_of(row): replace(row, file=None) for row in known}
    for row in read_log(out / LOG):
        there = row.file is not None and (out / row.file).is_file()
        found[key_of(row)] = row if there else replace(row, file=None)
    keys = [_key(task) for task in tasks]
    todo = [task for task, key in zip(tasks, keys, strict=True) if key not in found]
    done, failures = len(tasks) - len(todo), []
    with _log(out / LOG) as append:
        for result in _results(todo, out, jobs):
            done += 1
            if isinstance(result, Row):
                append(result)
                found[key_of(result)] = result
            else:
                failures.append(result)
            if report:
                report(done, len(tasks), result)
    rows = [
        replace(found[key], order=task.order, image=task.photo.name)
        for task, key in zip(tasks, keys, strict=True)
        if key in found
    ]
    return rows, failures


def _key(task: Task) -> Key:
    peer = by_name(task.codec)
    return task.codec, _version(task.codec), peer.settings(task.level), task.photo.sha256


@lru_cache(maxsize=64)
def _version(codec: str) -> str:
    return by_name(codec).version()


@contextmanager
def _log(path: Path) -> Iterator[Callable[[Row], None]]:
    """Appends rows, each written through; a cut last line of an earlier run is ended first."""
    kept = "".join(to_line(row) for row in read_log(path))
    if path.exists() and path.read_text(encoding="utf-8") != kept:
        atomic_write(path, kept.encode(), force=True)
    with path.open("a", encoding="utf-8") as file:

        def append(row: Row) -> None:
            file.write(to_line(row))
            file.flush()

        yield append


def _results(tasks: Sequence[Task], out: Path, jobs: int) -> Iterator[Row | Failure]:
    if jobs <= 1:
        with _one_thread():
            for task in tasks:
                yield _work(task, out)
        return
    pool = ProcessPoolExecutor(min(jobs, max(1, len(tasks))), get_context("spawn"), _begin)
    try:
        futures: list[Future[Row | Failure]] = [pool.submit(_work, task, out) for task in tasks]
        for future in as_completed(futures):
            yield future.result()
    except BrokenProcessPool as error:
        raise DctcodecError(
            "a worker died, perhaps for want of memory; the same command goes on, with fewer --jobs"
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _begin() -> None:
    """In each worker: one thread, and the interrupt is for the parent to act on."""
    os.environ["OMP_NUM_THREADS"] = "1"
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    import torch

    torch.set_num_threads(1)


@contextmanager
def _one_thread() -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _work(task: Task, out: Path) -> Row | Failure:
    """A codec that fails on a picture does not end the run; a full disk or our own errors do."""
    peer = by_name(task.codec)
    pixels = _pixels(task.photo)
    try:
        return measure(peer, task.level, task.order, task.photo, pixels, out)
    except (MemoryError, KeyboardInterrupt):
        raise
    except Exception as error:  # each library has its own way to say that it cannot
        return Failure(task=task, why=f"{type(error).__name__}: {' '.join(str(error).split())}")


@lru_cache(maxsize=32)
def _pixels(photo: Photo) -> Pixels:
    pixels = read_pixels(photo.path)
    if pixel_sum(pixels) != photo.sha256:
        raise DctcodecError(f"{photo.path}: changed during the run")
    pixels.setflags(write=False)
    return pixels
