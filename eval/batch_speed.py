"""Throughput of collections, measured: jobs, phases, memory, a store, and datasets beside JPEG.

    python -m dctcodec.eval.batch_speed PHOTOS              (all parts but the first, some minutes)
    python -m dctcodec.eval.batch_speed --manifest out/manifest.jsonl --parts collection
    python -m dctcodec.eval.scale_page                      (writes docs/scale.md from the results)

Parts, each a key of docs/results/batch.json that a new run replaces:

    collection  what a manifest of `batch encode` says
    scaling     one job and two, on some of the photos
    network     the same through an S3 server on loopback (needs moto)
    dataset     .dctc files and JPEGs of equal PSNR as torch datasets
    driver      what a run itself costs per picture, with workers that do nothing
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from PIL import Image

from ..codec.batch import job
from ..codec.batch.local import cores
from ..codec.batch.manifest import Manifest, Record
from ..codec.batch.settings import PICTURES, EncodeSettings, Settings
from ..codec.batch.sources import Found, Source
from ..codec.batch.worker import Outcome, Task, peak_memory
from ..codec.pictures import load
from ..models import weights
from .jpeg import QUALITIES, decode_jpeg, encode_jpeg
from .metrics import psnr

RESULTS = Path("docs/results/batch.json")
PARTS = ("collection", "scaling", "network", "dataset", "driver")
RUNS = ((1, 1), (1, 2), (2, 1))
"""(jobs, threads of each)"""


def collection(path: Path) -> dict[str, Any]:
    """Totals over what a manifest says is done, and how many failed."""
    manifest = Manifest(str(path))
    rows = list(manifest.latest.values())
    manifest.close()
    done = [r for r in rows if r.state == "done"]
    phases = sorted({k for r in done for k in r.phases})
    values = [r.psnr for r in done if r.psnr is not None]
    return {
        "pictures": len(done),
        "failed": len(rows) - len(done),
        "settings": dict(done[0].settings),
        "verified": len(values),
        "least_psnr": min(values, default=None),
        "mean_psnr": round(float(np.mean(values)), 3) if values else None,
        "bytes_in": sum(r.bytes_in for r in done),
        "bytes_out": sum(r.bytes_out for r in done),
        "pixels": sum(r.pixels for r in done),
        "cpu_seconds": round(sum(r.cpu_seconds for r in done), 2),
        "phase_seconds": {k: round(sum(r.phases.get(k, 0) for r in done), 2) for k in phases},
        "manifest_bytes": path.stat().st_size,
    }


def batch(*args: str, env: dict[str, str] | None = None) -> dict[str, Any]:
    """The summary of one `dctcodec batch` in a process of its own."""
    command = [sys.executable, "-m", "dctcodec", "batch", *args, "--json", "--quiet"]
    environment = {**os.environ, **(env or {})}
    environment.pop("OMP_NUM_THREADS", None)  # --threads says it
    run = subprocess.run(command, capture_output=True, text=True, env=environment)
    if run.returncode:
        raise SystemExit(f"{' '.join(command)}: {run.stderr}")
    summary: dict[str, Any] = json.loads(run.stdout)
    return summary


def steady_rate(summary: dict[str, Any]) -> float:
    """Pictures per second once the workers have started."""
    start = max(summary["start_up_seconds"].values())
    return float(summary["done"] / (summary["seconds"] - start))


def scaling(photos: Path, quality: float, repeat: int) -> dict[str, Any]:
    """Medians of repeated runs for each of `RUNS`, in turn so that drift hits all alike."""
    seen: dict[tuple[int, int], list[dict[str, Any]]] = {r: [] for r in RUNS}
    for _ in range(repeat):
        for jobs, threads in RUNS:
            with tempfile.TemporaryDirectory() as out:
                words = ["-j", str(jobs), "--threads", str(threads), "-q", str(quality)]
                seen[jobs, threads].append(batch("encode", str(photos), out, *words))
    rows = []
    for (jobs, threads), runs in seen.items():
        first = runs[0]
        rows.append(
            {
                "jobs": jobs,
                "threads": threads,
                "pictures": first["done"],
                "pixels": first["pixels"],
                "bytes_in": first["bytes_in"],
                "bytes_out": first["bytes_out"],
                "rate": median(r["pictures_per_second"] for r in runs),
                "steady_rate": round(median(map(steady_rate, runs)), 4),
                "start_up": round(median(max(r["start_up_seconds"].values()) for r in runs), 3),
                "cpu_seconds": round(median(r["cpu_seconds"] for r in runs), 3),
                "peak_memory": max(max(r["peak_memory_bytes"].values()) for r in runs),
                "phase_seconds": first["phase_seconds"],
            }
        )
    return {"runs": rows, "repeat": repeat, "quality": quality}


@contextmanager
def s3_server() -> Iterator[dict[str, str]]:
    """moto's S3 server on loopback with a bucket `bench`; gives the environment to reach it."""
    import fsspec
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    env = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_ENDPOINT_URL": url}
    os.environ.update(env)
    fsspec.filesystem("s3").mkdir("bench")
    try:
        yield env
    finally:
        server.stop()


def network(photos: Path, quality: float) -> dict[str, Any]:
    """One job that reads from and writes to S3 on loopback."""
    import fsspec

    with s3_server() as env, tempfile.TemporaryDirectory() as folder:
        fs = fsspec.filesystem("s3")
        for path in photos.iterdir():
            fs.pipe_file(f"bench/in/{path.name}", path.read_bytes())
        manifest = ["--manifest", f"{folder}/manifest.jsonl"]
        words = ["-j", "1", "--threads", "1", "-q", str(quality), *manifest]
        return batch("encode", "s3://bench/in", "s3://bench/out", *words, env=env)


def jpeg_like(pixels: Any, wanted: float) -> bytes:
    """The smallest JPEG with at least this PSNR (dB), by bisection; quality 100 if none has."""
    low, high = QUALITIES[0], QUALITIES[-1]
    while low < high:
        middle = (low + high) // 2
        if psnr(pixels, decode_jpeg(encode_jpeg(pixels, middle))) >= wanted:
            high = middle
        else:
            low = middle + 1
    return encode_jpeg(pixels, low)


def dataset(photos: Path, quality: float) -> list[dict[str, Any]]:
    """Pictures per second of one process with one thread, by kind of file and of decoding."""
    import torch

    from ..codec.dataset import CompressedFolder, Decoding

    torch.set_num_threads(1)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        files, jpegs = Path(folder, "dctc"), Path(folder, "jpeg")
        batch("encode", str(photos), str(files), "-j", "1", "--threads", "1", "-q", str(quality))
        jpegs.mkdir()
        whole = CompressedFolder(str(files))
        for name, pixels in whole:
            original = load(photos / name.removesuffix(".dctc")).pixels
            decoded = pixels.numpy().transpose(1, 2, 0)
            if original.ndim == 2:
                original = np.repeat(original[:, :, None], 3, 2)
            data = jpeg_like(original, psnr(original, decoded))
            (jpegs / f"{name}.jpg").write_bytes(data)
        size = sum(p.stat().st_size for p in files.glob("*.dctc"))
        for what, decoding in {
            "all layers": Decoding(),
            "3 layers": Decoding(layers=3),
            "context only, full size": Decoding(layers=0),
            "preview, an eighth": Decoding(preview=True),
        }.items():
            data_set = CompressedFolder(str(files), decoding)
            data_set[0]
            rows.append({"what": f".dctc, {what}", "bytes": size, **timed(data_set)})
        paths = sorted(jpegs.iterdir())
        rows.append(
            {
                "what": "JPEG of equal PSNR",
                "bytes": sum(p.stat().st_size for p in paths),
                **timed((p.name, _tensor(Image.open(p))) for p in paths),
            }
        )
        rows.append(
            {
                "what": "JPEG, an eighth (draft)",
                "bytes": sum(p.stat().st_size for p in paths),
                **timed((p.name, _tensor(_draft(p))) for p in paths),
            }
        )
    return rows


class _Idle:
    """An engine whose workers have always finished."""

    def run(
        self, settings: Settings, tasks: Sequence[Task], journal: str | None
    ) -> Iterator[Outcome]:
        key = settings.key()
        for t in tasks:
            record = Record(
                source=t.source.label,
                output=t.output,
                state="done",
                stamp=t.source.stamp,
                sha256="0" * 64,
                output_sha256="0" * 64,
                settings=key,
                phases=dict.fromkeys(("read", "load", "networks", "entropy", "write"), 0.1),
            )
            yield Outcome(record=record, worker="one")


def driver(count: int = 20_000) -> dict[str, Any]:
    """Processor seconds and bytes of memory per picture that planning and noting take."""
    before, used = peak_memory(), time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        found = Found(
            sources=tuple(
                Source(name=f"photos/{i:08}.jpg", label=f"photos/{i:08}.jpg", stamp=f"{i}:{i}")
                for i in range(count)
            )
        )
        manifest = Manifest(f"{folder}/manifest.jsonl")
        plan = job.plan(found, folder, EncodeSettings(), manifest)
        summary = job.Summary.of(plan)
        for outcome in job.run(plan, _Idle(), manifest):
            summary.add(outcome)
        manifest.close()
    return {
        "pictures": count,
        "cpu_seconds": round(time.process_time() - used, 3),
        "memory": peak_memory() - before,
    }


def timed(samples: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Go through a dataset; seconds on the wall and of the processor."""
    began, used = time.perf_counter(), time.process_time()
    count = sum(1 for _ in samples)
    return {
        "pictures": count,
        "seconds": round(time.perf_counter() - began, 4),
        "cpu_seconds": round(time.process_time() - used, 4),
    }


def _tensor(image: Image.Image) -> Any:
    import torch

    pixels = np.array(image.convert("RGB"))
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))


def _draft(path: Path) -> Image.Image:
    image = Image.open(path)
    image.draft("RGB", (image.width // 8, image.height // 8))
    return image


def machine() -> dict[str, Any]:
    """What the figures hold for."""
    model = platform.processor()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        model = names[0].split(":", 1)[1].strip() if names else model
    packages = ("dctcodec", "torch", "numpy", "pillow", "constriction")
    return {
        "processor": model,
        "model": weights.default().name,
        "cores": cores(),
        "load_average": [round(x, 1) for x in os.getloadavg()],
        "python": platform.python_version(),
        **{name: version(name) for name in packages},
    }


def some(photos: Path, count: int, folder: Path) -> Path:
    """A flat folder of `count` photos, evenly spread over all in order of name."""
    paths = sorted(p for p in photos.rglob("*") if p.suffix.lower() in PICTURES)
    folder.mkdir()
    for i in np.linspace(0, len(paths) - 1, min(count, len(paths))).round().astype(int):
        shutil.copy(paths[i], folder)
    return folder


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photos", type=Path, nargs="?")
    parser.add_argument("--manifest", type=Path)
    parser.add_argument("--parts", default=None)
    parser.add_argument("--count", type=int, default=64)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--quality", type=float, default=75)
    parser.add_argument("-o", "--out", type=Path, default=RESULTS)
    args = parser.parse_args(argv)
    parts = args.parts.split(",") if args.parts else ["scaling", "network", "dataset", "driver"]
    if set(parts) - set(PARTS):
        parser.error(f"--parts are of {', '.join(PARTS)}")
    if "collection" in parts and not args.manifest:
        parser.error("the part collection needs --manifest")
    if set(parts) - {"collection", "driver"} and not args.photos:
        parser.error("name a folder of photos")
    with tempfile.TemporaryDirectory() as folder:
        photos = some(args.photos, args.count, Path(folder, "photos")) if args.photos else Path()
        measure: dict[str, Callable[[], Any]] = {
            "collection": lambda: collection(args.manifest),
            "scaling": lambda: scaling(photos, args.quality, args.repeat),
            "network": lambda: network(photos, args.quality),
            "dataset": lambda: dataset(photos, args.quality),
            "driver": driver,
        }
        for part in parts:
            print(f"{part} …", file=sys.stderr)
            on = machine()
            values = measure[part]()
            kept = json.loads(args.out.read_text()) if args.out.exists() else {}
            kept[part] = {"machine": on, "values": values}
            args.out.write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
