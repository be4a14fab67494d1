"""Workers on a Ray cluster: actors in Ray's `ActorPool`, restarted and retried by Ray itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ..errors import UsageError
from .local import given_up
from .settings import Settings
from .worker import Outcome, Task, Worker

__all__ = ["RayEngine"]

RETRIES: Final = 2
"""Times that a picture is begun again because its worker died."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RayEngine:
    """Workers on a cluster, each an actor that loads the model once.

    Args:
        address: as `ray.init` takes it; None: RAY_ADDRESS, or else a cluster on this machine.
        jobs: workers; None: as many as the cluster has room for now.
        threads: of each worker, so many of the cluster's CPUs; None: 1.
        gpus: of each worker; a share such as 0.25 is allowed.
    """

    address: str | None = None
    jobs: int | None = None
    threads: int | None = None
    gpus: float = 0.0

    def run(
        self, settings: Settings, tasks: Sequence[Task], journal: str | None
    ) -> Iterator[Outcome]:
        """Outcomes as they come. Sources and destination must be in reach of every machine.

        `journal` is not used: workers elsewhere cannot write it.

        Raises:
            UsageError: Ray is not installed, or no such cluster answers, or it has no room.
        """
        try:
            import ray
            from ray.util import ActorPool
        except ImportError as error:
            raise UsageError('--engine ray needs Ray: pip install "dctcodec[cluster]"') from error
        ours = not ray.is_initialized()
        if ours:
            _connect(ray, self.address)
        try:
            threads = self.threads or 1
            count = min(self._workers(ray.cluster_resources(), threads), max(1, len(tasks)))
            # Ray restarts an actor that died, its constructor loads the model again, and the
            # call that was lost is made again.
            actor = ray.remote(
                num_cpus=threads, num_gpus=self.gpus, max_restarts=-1, max_task_retries=RETRIES
            )(Worker)
            pool = ActorPool([actor.remote(settings, threads) for _ in range(count)])
            yield from _drain(ray, pool, settings, tasks)
        finally:
            if ours:
                ray.shutdown()

    def _workers(self, has: dict[str, float], threads: int) -> int:
        """How many workers there is room for."""
        room = int(has.get("CPU", 0) // threads)
        if self.gpus:
            room = min(room, int(has.get("GPU", 0) / self.gpus + 1e-9))
        if room < 1:
            raise UsageError(
                f"the cluster has {has.get('CPU', 0):g} CPUs and {has.get('GPU', 0):g} GPUs; "
                f"a worker needs {threads} and {self.gpus:g}"
            )
        return min(room, self.jobs or room)


def _connect(ray: Any, address: str | None) -> None:
    settings: dict[str, Any] = {"logging_level": "ERROR", "log_to_driver": False}
    try:
        ray.init(address=address, **settings)
    except (ConnectionError, ValueError, RuntimeError) as error:
        where = f"Ray cluster {address}" if address else "Ray"
        raise UsageError(f"{where}: {' '.join(str(error).split())}") from error


def _drain(ray: Any, pool: Any, settings: Settings, tasks: Sequence[Task]) -> Iterator[Outcome]:
    """All outcomes; a task whose worker died each time is given up at the end."""
    left = {task.output: task for task in tasks}
    for task in tasks:
        pool.submit(lambda actor, task: actor.do.remote(task), task)
    while pool.has_next():
        try:
            outcome: Outcome = pool.get_next_unordered()
        except ray.exceptions.RayTaskError as error:  # the model cannot be loaded, say
            raise error.as_instanceof_cause() from None
        except ray.exceptions.RayActorError as error:
            if "__init__" in str(error) and "Error" in str(error):
                cause = getattr(error, "cause", None) or error
                raise UsageError(f"a worker cannot start: {_last_line(cause)}") from error
            continue
        except ray.exceptions.RayError:
            continue
        del left[outcome.record.output]
        yield outcome
    for task in left.values():
        yield given_up(task, settings, RETRIES + 1)


def _last_line(error: object) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else str(error)
