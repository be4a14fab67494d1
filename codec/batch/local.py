"""Workers on this machine: a process each, told what to do over a pipe.

A worker that dies costs its own picture a retry; one that dies three times over the same picture
gives that picture up. If the run itself is killed, its workers stop at once.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any, Final

from ..errors import DctcodecError, ModelError
from .manifest import Record
from .settings import Settings
from .worker import Outcome, Task, Worker

__all__ = ["LocalEngine", "cores"]

ATTEMPTS: Final = 3
PATIENCE: Final = 30.0
"""Seconds that a worker has to end its picture when the run is given up."""


def cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalEngine:
    """`jobs` workers with `threads` each; one job runs in this very process.

    Args:
        jobs: at least 1.
        threads: for torch in each worker; None: the cores, shared out.
    """

    jobs: int = 1
    threads: int | None = None

    def run(
        self, settings: Settings, tasks: Sequence[Task], journal: str | None
    ) -> Iterator[Outcome]:
        """Outcomes as they come.

        Raises:
            ModelError, UsageError: no worker can be had with these settings.
        """
        threads = self.threads or max(1, cores() // self.jobs)
        if self.jobs == 1:
            worker = Worker(settings, threads, journal)
            yield from map(worker.do, tasks)
            return
        with _Crew(settings, threads, journal) as crew:
            yield from crew.run(tasks, self.jobs)


@dataclass(slots=True, kw_only=True)
class _Member:
    process: Any
    pipe: Connection
    task: Task | None = None
    ready: bool = False


class _Crew:
    """The worker processes of one run."""

    def __init__(self, settings: Settings, threads: int, journal: str | None) -> None:
        self.arguments = settings, threads, journal
        self.members: dict[Connection, _Member] = {}

    def __enter__(self) -> _Crew:
        return self

    def __exit__(self, *_: object) -> None:
        for member in self.members.values():
            member.pipe.close()
        deadline = time.monotonic() + PATIENCE
        for member in self.members.values():
            member.process.join(max(0.0, deadline - time.monotonic()))
            if member.process.is_alive():
                member.process.kill()

    def hire(self) -> None:
        # not a fork: torch's threads and a store's connections do not survive one
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(
            target=_serve, args=(theirs, *self.arguments, time.time()), daemon=True
        )
        process.start()
        theirs.close()
        self.members[ours] = _Member(process=process, pipe=ours)

    def run(self, tasks: Sequence[Task], jobs: int) -> Iterator[Outcome]:
        waiting, attempts = deque(tasks), dict[str, int]()
        for _ in range(min(jobs, len(tasks))):
            self.hire()
        left = len(tasks)
        while left:
            for pipe in wait(list(self.members)):
                assert isinstance(pipe, Connection)
                member = self.members[pipe]
                try:
                    message = pipe.recv()
                except (EOFError, OSError):  # the worker is dead
                    task = self._bury(member)
                    if task is not None:
                        attempts[task.output] = attempts.get(task.output, 0) + 1
                        if attempts[task.output] < ATTEMPTS:
                            waiting.appendleft(task)
                        else:
                            left -= 1
                            yield given_up(task, self.arguments[0], ATTEMPTS)
                    if waiting:
                        self.hire()
                    continue
                if isinstance(message, DctcodecError):
                    raise message
                member.ready = True
                member.task = None
                if waiting:
                    member.task = waiting.popleft()
                    pipe.send(member.task)
                if isinstance(message, Outcome):
                    left -= 1
                    yield message

    def _bury(self, member: _Member) -> Task | None:
        """Forget a dead worker; its task, if it had one.

        Raises:
            ModelError: it died before it was ready, as the next would.
        """
        del self.members[member.pipe]
        member.pipe.close()
        member.process.join()
        if not member.ready:
            raise ModelError(
                f"a worker ended with code {member.process.exitcode} while it loaded the model; "
                "fewer --jobs need less memory"
            )
        return member.task


def given_up(task: Task, settings: Settings, attempts: int) -> Outcome:
    """The record of a picture over which workers died."""
    record = Record(
        source=task.source.label,
        output=task.output,
        state="failed",
        stamp=task.source.stamp,
        settings=settings.key(),
        error=f"{attempts} workers died over it (out of memory?)",
    )
    return Outcome(record=record)


def _serve(
    pipe: Connection, settings: Settings, threads: int, journal: str | None, began: float
) -> None:
    """A worker process, until its pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the run says when to stop
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        worker = Worker(settings, threads, journal, began)
    except DctcodecError as error:
        pipe.send(error)
        return
    try:
        pipe.send("ready")
    except OSError:  # the run was over before it began
        return
    while True:
        try:
            task = pipe.recv()
        except (EOFError, OSError):  # the run is over
            return
        outcome = worker.do(task)
        try:
            pipe.send(outcome)
        except OSError:  # nobody waits for it; the journal has it
            return


def _end_with_parent() -> None:
    """Without this, workers of a run that was killed would write on beside its successor's."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
