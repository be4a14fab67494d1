"""Runs and workers that die: what is done stays done, nothing is half done, the rest follows."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest
from batch_help import collection, lines, tree, versions

from dctcodec.codec.api import decode
from dctcodec.codec.batch import job
from dctcodec.codec.batch.local import LocalEngine
from dctcodec.codec.batch.manifest import Manifest
from dctcodec.codec.batch.settings import EncodeSettings
from dctcodec.codec.batch.sources import find

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs POSIX signals")

NAMES = [f"{i // 6}/{i}.png" for i in range(16)]
OUTPUTS = {f"{name}.dctc" for name in NAMES}
COMMAND = [sys.executable, "-m", "dctcodec", "batch", "encode", "photos", "out", "-q", "30"]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    collection(tmp_path / "photos", NAMES, side=96)
    return tmp_path


def finished(root: Path) -> int:
    return len(list((root / "out").rglob("*.dctc")))


def start(root: Path, count: int) -> subprocess.Popen[str]:
    """A run with two workers that has written `count` files."""
    run = subprocess.Popen(
        [*COMMAND, "-j", "2"],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        # a shell's background jobs, and what they start, ignore it
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 300
    while finished(root) < count:
        assert run.poll() is None and time.monotonic() < deadline, run.communicate()
        time.sleep(0.002)
    return run


def children(parent: int) -> list[int]:
    """Processes below one, from /proc."""
    out = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == parent:
            out.append(int(path.parent.name))
    return out


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
def test_a_run_killed_at_any_moment_goes_on_where_it_was(here: Path) -> None:
    run = start(here, 4)
    workers = children(run.pid)
    os.kill(run.pid, signal.SIGKILL)
    run.communicate()
    deadline = time.monotonic() + 30
    while any(Path(f"/proc/{pid}").exists() for pid in workers) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not any(Path(f"/proc/{pid}").exists() for pid in workers), "workers outlived their run"
    before = versions(here / "out")
    assert 4 <= len(before) < len(NAMES)
    for name in before:  # none is partial
        decode((here / "out" / name).read_bytes(), mode="strict")

    again = subprocess.run([*COMMAND, "-j", "1", "--json"], capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    values = json.loads(again.stdout)
    assert values["done_before"] == len(before), "something that was done was repeated"
    assert values["done"] == len(NAMES) - len(before)
    after = versions(here / "out")
    assert {name: after[name] for name in before} == before
    assert tree(here / "out") == OUTPUTS | {"manifest.jsonl"}, "something partial is left"
    times = Counter(r["output"] for r in lines(here / "out/manifest.jsonl", "done"))
    assert times == dict.fromkeys(OUTPUTS, 1)


def test_an_interrupted_run_says_what_is_left(here: Path) -> None:
    run = start(here, 2)
    run.send_signal(signal.SIGINT)
    stdout, stderr = run.communicate(timeout=300)
    assert run.returncode == 130, stderr
    assert " done, 0 done before, 0 failed, " in stdout and " left" in stdout
    assert "Error: interrupted" in stderr and "Traceback" not in stderr
    assert not [name for name in tree(here / "out") if name.endswith(".part")]


def test_a_worker_that_dies_costs_a_retry(here: Path) -> None:
    settings = EncodeSettings(quality=30)
    seen, dead = [], ""
    with closing(Manifest(str(here / "out/manifest.jsonl"))) as manifest:
        plan = job.plan(find("photos", settings.inputs), "out", settings, manifest)
        for outcome in job.run(plan, LocalEngine(jobs=2, threads=1), manifest):
            seen.append(outcome)
            if len(seen) == 3:
                dead = outcome.worker
                os.kill(int(dead.rpartition(":")[2]), signal.SIGKILL)
    assert not [o for o in seen[4:] if o.worker == dead]  # one may have been on its way
    assert Counter(o.record.output for o in seen) == dict.fromkeys(OUTPUTS, 1)
    assert not [o.record.error for o in seen if o.record.error]
    assert tree(here / "out") == OUTPUTS | {"manifest.jsonl"}
