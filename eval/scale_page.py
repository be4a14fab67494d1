"""docs/scale.md from measured rows, and from them on paper to 10⁹ photos.

python -m dctcodec.eval.batch_speed …     (measures)
python -m dctcodec.eval.scale_page        (writes docs/scale.md)
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .batch_speed import RESULTS
from .kodak_page import RESULTS as KODAK
from .kodak_page import curve, read_rows, table

PAGE = Path("docs/scale.md")
QUALITY = 75.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """Assumed, near the list prices of large clouds; US dollars."""

    core_hour: float = 0.04
    core_hour_spot: float = 0.015
    gigabyte_month: float = 0.023
    million_reads: float = 0.4
    million_writes: float = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Photos:
    """A collection on paper."""

    name: str
    count: float
    megapixels: float  # of each
    jpeg_bytes: float  # of each, as it is now


COLLECTIONS = (
    Photos(name="web pictures", count=1e9, megapixels=0.5, jpeg_bytes=150e3),
    Photos(name="phone photos", count=1e9, megapixels=12, jpeg_bytes=3e6),
)


def saved_share(quality: float = QUALITY) -> tuple[float, float, float]:
    """(PSNR dB, our bpp, JPEG's bpp at that PSNR): means over Kodak, JPEG between its points."""
    ours, jpeg = (curve(read_rows(KODAK / f"{n}.csv")) for n in ("kodak", "jpeg420"))
    at = ours["quality"].tolist().index(quality)
    value = float(ours["psnr"][at])
    bits = float(np.exp(np.interp(value, jpeg["psnr"], np.log(jpeg["bpp"]))))
    return value, float(ours["bpp"][at]), bits


def on_paper(c: Photos, cpu_per_megapixel: float, line: float, prices: Prices) -> dict[str, str]:
    """One column of the table: a collection in figures."""
    _, bits, jpeg_bits = saved_share()
    saved = c.count * c.jpeg_bytes * (1 - bits / jpeg_bits)
    hours = c.count * c.megapixels * cpu_per_megapixel / 3600
    months = saved / 1e9 * prices.gigabyte_month
    machines = hours / 64 / (24 * 7)
    seconds = 7 * 24 * 3600
    requests = c.count / 1e6 * (prices.million_reads + prices.million_writes)
    return {
        "pixels": f"{c.count * c.megapixels * 1e6:.1e}",
        "bytes now, as JPEG": f"{c.count * c.jpeg_bytes / 1e12:,.0f} TB",
        "bytes saved": f"{saved / 1e12:,.0f} TB ({1 - bits / jpeg_bits:.0%})",
        "core-hours": f"{hours:,.0f}",
        "machines of 64 cores, for a week": f"{np.ceil(machines):,.0f}",
        "cost of the cores": f"${hours * prices.core_hour:,.0f}",
        "on spot machines": f"${hours * prices.core_hour_spot:,.0f}",
        "cost of requests, one object each": f"${requests:,.0f}",
        "the same, read from tars of 10⁴": (
            f"${c.count / 1e6 * (prices.million_reads / 1e4 + prices.million_writes):,.0f}"
        ),
        "storage saved": f"${months:,.0f} a month",
        "paid back after, on spot machines": (
            f"{(hours * prices.core_hour_spot + requests) / months:.1f} months"
        ),
        "read, in that week": f"{c.count * c.jpeg_bytes * 8 / seconds / 1e9:.1f} Gbit/s",
        "pictures per second, in that week": f"{c.count / seconds:,.0f}",
        "lines of manifests": f"{c.count * line / 1e9:,.0f} GB",
    }


def conditions(part: dict[str, Any]) -> str:
    m = part["machine"]
    return (
        f"{m['processor']}, cores to use: {m['cores']}, load average before "
        f"{m['load_average'][0]:g}, model {m['model']}, PyTorch {m['torch']}, Python {m['python']}"
    )


def collection_section(part: dict[str, Any]) -> str:
    v = part["values"]
    phases, whole = v["phase_seconds"], sum(v["phase_seconds"].values())
    rows = [
        ["pictures done, failed", f"{v['pictures']}, {v['failed']}"],
        ["megapixels", f"{v['pixels'] / 1e6:.1f}"],
        ["bytes in, out", f"{v['bytes_in']:,}, {v['bytes_out']:,}"],
        ["quality", f"{v['settings']['quality']:g}"],
        ["verified: symbols and PSNR", f"{v['verified']}"],
        ["PSNR, mean and least", f"{v['mean_psnr']} dB, {v['least_psnr']} dB"],
        ["processor seconds, start-up not included", f"{v['cpu_seconds']:.0f}"],
        *([f"of it {k}", f"{s / whole:.1%}"] for k, s in phases.items()),
    ]
    return "\n".join(
        [
            "## A run over photos",
            "`dctcodec batch encode photos out --verify`: what its manifest says. The sources are "
            "AVIF, from which the model also learned: the bytes say nothing about compression. "
            f"{conditions(part)}.",
            "",
            table(["", ""], rows),
        ]
    )


def scaling_section(part: dict[str, Any]) -> str:
    runs = part["values"]["runs"]
    rows = [
        [
            f"{r['jobs']} × {r['threads']}",
            f"{r['rate']:.2f}",
            f"{r['steady_rate']:.2f}",
            f"{r['start_up']:.1f} s",
            f"{r['cpu_seconds'] / r['pixels'] * 1e6:.2f} s",
            f"{r['peak_memory'] / 1e6:.0f} MB",
        ]
        for r in runs
    ]
    head = ["jobs × threads", "pictures/s", "once started", "start-up", "CPU per megapixel"]
    by = {(r["jobs"], r["threads"]): r for r in runs}
    text = [
        "## Jobs",
        f"{runs[0]['pictures']} of these photos ({runs[0]['pixels'] / 1e6:.1f} megapixels), "
        f"medians of {part['values']['repeat']} runs in turn. {conditions(part)}.",
        "",
        table([*head, "memory per worker"], rows),
    ]
    if {(1, 1), (2, 1)} <= set(by):
        one, two = by[1, 1], by[2, 1]
        ratio = f"{two['steady_rate'] / one['steady_rate']:.2f}"
        whole = f"{two['rate'] / one['rate']:.2f}"
        text.append(
            f"Two jobs do {ratio} times the pictures per second of one once started, {whole} times "
            "with start-up; the aim is 1.7. "
            + (
                "This run had one core for all: the figure says nothing."
                if part["machine"]["cores"] < 2
                else ""
            )
        )
        text.append("")
    return "\n".join(text)


def phases_section(parts: dict[str, Any]) -> str:
    columns: dict[str, dict[str, float]] = {}
    if "scaling" in parts:
        run = parts["scaling"]["values"]["runs"][0]
        columns["folder to folder"] = {"start-up": run["start_up"], **run["phase_seconds"]}
        count = run["pictures"]
    if "network" in parts:
        run = parts["network"]["values"]
        start = max(run["start_up_seconds"].values())
        columns["S3 on loopback"] = {"start-up": start, **run["phase_seconds"]}
        count = run["done"]
    names = sorted({k for c in columns.values() for k in c})
    order = ["start-up", "read", "network", "load", "networks", "entropy", "write"]
    names = [n for n in order if n in names]
    meaning = {
        "read": "read (and hash)",
        "load": "decode the source picture",
        "networks": "neural networks, choice of symbols",
        "entropy": "entropy coding",
        "write": "write (and fsync)",
    }
    rows = [
        [meaning.get(n, n), *(f"{c[n]:.2f} s" if n in c else "" for c in columns.values())]
        for n in names
    ]
    return "\n".join(
        [
            "## Where the time goes",
            f"One job, one thread, {count} photos, seconds in all. The S3 server (moto) runs on "
            "the same machine and takes its share of the cores.",
            "",
            table(["", *columns], rows),
        ]
    )


def dataset_section(part: dict[str, Any]) -> str:
    rows = [
        [
            r["what"],
            f"{r['bytes'] / r['pictures'] / 1e3:.1f} kB",
            f"{r['pictures'] / r['seconds']:.1f}",
            f"{1e3 * r['cpu_seconds'] / r['pictures']:.1f} ms",
        ]
        for r in part["values"]
    ]
    return "\n".join(
        [
            "## Reading compressed pictures for training",
            "`CompressedFolder` beside Pillow's JPEG, one process, one thread; each JPEG has the "
            f"PSNR of its .dctc file. {conditions(part)}.",
            "",
            table(["", "a picture", "pictures/s", "CPU per picture"], rows),
        ]
    )


def paper_section(parts: dict[str, Any], prices: Prices) -> str:
    run = parts["scaling"]["values"]["runs"][0]
    cpu = run["cpu_seconds"] / run["pixels"] * 1e6
    v = parts["collection"]["values"] if "collection" in parts else None
    line = v["manifest_bytes"] / v["pictures"] if v else 1500.0
    columns = [on_paper(c, cpu, line, prices) for c in COLLECTIONS]
    head = ["", *(f"{c.name}: {c.megapixels:g} MP, {c.jpeg_bytes / 1e3:g} kB" for c in COLLECTIONS)]
    value, bits, jpeg_bits = saved_share()
    rows = [[k, *(c[k] for c in columns)] for k in columns[0]]
    return "\n".join(
        [
            "## On paper: 10⁹ photos",
            f"From {cpu:.2f} processor seconds per megapixel (above, one thread) and, for the "
            f"bytes saved, Kodak at quality {QUALITY:g}: {bits:.3f} bits per pixel where JPEG "
            f"4:2:0 needs {jpeg_bits:.3f} for the same {value:.2f} dB. Both are taken to hold at "
            "other sizes, and the saving for photos coded from their originals: one that is "
            "coded from a JPEG keeps the JPEG's loss and adds its own. Not measured at this "
            "scale; processor seconds grow when others use the machine, see the load above.",
            "",
            f"Assumed prices: ${prices.core_hour:g} per core-hour (${prices.core_hour_spot:g} "
            f"spot), ${prices.gigabyte_month:g} per GB and month, ${prices.million_reads:g} and "
            f"${prices.million_writes:g} per million reads and writes.",
            "",
            table(head, rows),
            limits_section(parts),
        ]
    )


def limits_section(parts: dict[str, Any]) -> str:
    """What gives way first; the run's own share only where it was measured."""
    text = [
        "**What becomes the bottleneck.** First the processors: nearly all of a picture's time is "
        "in the networks. Then, for small pictures, requests: to write each as an object of its "
        "own costs more than to code it on spot machines. So encode to local disks, pack the "
        "outputs into tars and upload these; sources in tars already spare the reads. The network "
        "of a store is no limit as long as the machines stand beside it. Start-up is seconds per "
        "worker and vanishes. No GPU was measured.",
        "",
    ]
    if "driver" in parts:
        v = parts["driver"]["values"]
        seconds, memory = v["cpu_seconds"] / v["pictures"], v["memory"] / v["pictures"]
        text += [
            "**What must be cut up.** A run holds its list of sources and its manifest in memory: "
            f"{memory / 1e3:.1f} kB per picture, and {1e6 * seconds:.0f} µs of one core to plan "
            f"and to note it ({v['pictures']} pictures, workers that do nothing). One run could so "
            f"serve at most {1 / seconds:,.0f} pictures per second. Runs of 10⁵ to 10⁶ pictures "
            "are sensible, a thousand and more of them, each with a prefix or a list of shards as "
            "its source and a manifest of its own: they share nothing and can be started and lost "
            "independently.",
            "",
        ]
    return "\n".join(text)


def page(parts: dict[str, Any], prices: Prices | None = None) -> str:
    text = [
        "# Throughput and scale",
        "Written by `python -m dctcodec.eval.scale_page` from `docs/results/batch.json`, which "
        "`python -m dctcodec.eval.batch_speed` measures. How to run collections: "
        "[collections.md](collections.md).",
        "",
    ]
    if "collection" in parts:
        text.append(collection_section(parts["collection"]))
    if "scaling" in parts:
        text += [scaling_section(parts["scaling"]), phases_section(parts)]
    if "dataset" in parts:
        text.append(dataset_section(parts["dataset"]))
    if "scaling" in parts:
        text.append(paper_section(parts, prices or Prices()))
    return "\n".join(text).rstrip() + "\n"


def results() -> str:
    parts: dict[str, Any] = json.loads(RESULTS.read_text(encoding="utf-8"))
    return page(parts)


def main() -> None:
    PAGE.write_text(results(), encoding="utf-8")


if __name__ == "__main__":
    main()
