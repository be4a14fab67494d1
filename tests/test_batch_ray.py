"""Collections on a Ray cluster: a real one, on this machine."""

from __future__ import annotations

import os
import signal
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from batch_help import collection, tree

from dctcodec.codec.api import decode
from dctcodec.codec.batch import job
from dctcodec.codec.batch.manifest import Manifest
from dctcodec.codec.batch.ray_engine import RayEngine
from dctcodec.codec.batch.settings import EncodeSettings
from dctcodec.codec.batch.sources import find
from dctcodec.codec.errors import UsageError

NAMES = [f"{i}.png" for i in range(12)]
OUTPUTS = {f"{name}.dctc" for name in NAMES}


@pytest.fixture(scope="module")
def ray(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A cluster of one machine with two CPUs and one GPU in name only."""
    ray = pytest.importorskip("ray", reason="needs the extra `cluster`")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        ray.init(
            num_cpus=2,
            num_gpus=1,
            include_dashboard=False,
            log_to_driver=False,
            logging_level="ERROR",
            object_store_memory=100 << 20,
        )
        yield ray
        ray.shutdown()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_worker_killed_on_a_cluster_costs_a_retry(ray: Any, tmp_path: Path) -> None:
    photos = str(collection(tmp_path / "photos", NAMES, side=96))
    out = str(tmp_path / "out")
    settings = EncodeSettings(quality=30)
    seen = []
    with closing(Manifest(str(tmp_path / "out/manifest.jsonl"))) as manifest:
        plan = job.plan(find(photos, settings.inputs), out, settings, manifest)
        for outcome in job.run(plan, RayEngine(jobs=2), manifest):
            seen.append(outcome)
            if len(seen) == 2:
                os.kill(int(outcome.worker.rpartition(":")[2]), signal.SIGKILL)
        assert not job.plan(find(photos, settings.inputs), out, settings, manifest).tasks
    assert Counter(o.record.output for o in seen) == dict.fromkeys(OUTPUTS, 1)
    assert not [o.record.error for o in seen if o.record.error]
    assert len({o.worker for o in seen}) >= 2
    assert tree(tmp_path / "out") == OUTPUTS | {"manifest.jsonl"}
    for name in OUTPUTS:
        decode((tmp_path / "out" / name).read_bytes(), mode="strict")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_workers_are_given_the_gpus_they_ask_for(ray: Any, tmp_path: Path) -> None:
    photos = str(collection(tmp_path / "photos", NAMES[:2]))
    settings = EncodeSettings(quality=30)
    with closing(Manifest(str(tmp_path / "out/manifest.jsonl"))) as manifest:
        plan = job.plan(find(photos, settings.inputs), str(tmp_path / "out"), settings, manifest)
        done = list(job.run(plan, RayEngine(gpus=0.5), manifest))
    assert [o.record.error for o in done] == [None, None]
    with pytest.raises(UsageError, match="the cluster has 2 CPUs and 1 GPUs; a worker needs 1 and"):
        list(RayEngine(gpus=2).run(settings, plan.tasks, None))


def test_the_room_of_a_cluster_is_shared_out() -> None:
    cluster = {"CPU": 8.0, "GPU": 2.0}
    assert RayEngine()._workers(cluster, 1) == 8
    assert RayEngine(jobs=3)._workers(cluster, 1) == 3
    assert RayEngine()._workers(cluster, 3) == 2
    assert RayEngine(gpus=0.5)._workers(cluster, 1) == 4
    with pytest.raises(UsageError, match="a worker needs 16 and 0"):
        RayEngine()._workers(cluster, 16)
