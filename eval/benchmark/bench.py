"""The whole benchmark: a folder with rows, summary, plots and report."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ...codec.errors import DctcodecError, UsageError
from ...codec.pictures import atomic_write
from . import plots
from .dataset import KODAK, Dataset
from .measure import machine
from .peers import Peer
from .published import Published
from .rows import Row, finite, read_csv, to_csv
from .runner import Failure, Report, plan, run
from .summary import RULES, Summary, curves, markdown, summarise

__all__ = ["Benchmark", "Outcome", "benchmark"]

PACKAGES = ("dctcodec", "numpy", "pillow", "torch", "constriction", "pytorch-msssim", "scipy")


@dataclass(frozen=True, slots=True, kw_only=True)
class Benchmark:
    """What to measure.

    Attributes:
        peers: codecs, those that cannot run here among them.
        levels: of some codecs by name, instead of their own.
        anchor: the codec that BD-rates are against.
        reuse: tables of rows that were measured before (`results.csv` of another run); of codecs
            that can run here, rows of another version are measured anew.
        overlay: published curves; left out unless the pictures are Kodak's.
        jobs: processes.
    """

    peers: Sequence[Peer]
    anchor: str
    levels: Mapping[str, Sequence[float]] = field(default_factory=dict)
    reuse: Sequence[Path] = ()
    overlay: Sequence[Published] = ()
    jobs: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Where everything is, and what to tell.

    missing: codecs that could not run here, by reason; rows of theirs may come from `reuse`.
    """

    folder: Path
    rows: tuple[Row, ...]
    summaries: tuple[Summary, ...]
    failures: tuple[Failure, ...]
    missing: Mapping[str, tuple[str, ...]]
    report: Path | None


def benchmark(cfg: Benchmark, dataset: Dataset, out: Path, report: Report | None = None) -> Outcome:
    """Measure what is not measured yet, and write all results into a folder.

    Args:
        report: called with (done, of how many, the newest row or failure).

    Raises:
        UsageError: the anchor is not among the codecs, or a level does not exist.
        DctcodecError: a table to reuse, or the log in the folder, is damaged.
    """
    names = [peer.name for peer in cfg.peers]
    if cfg.anchor not in names:
        raise UsageError(f"the anchor {cfg.anchor!r} is not one of the codecs {', '.join(names)}")
    known = [row for path in cfg.reuse for row in read_csv(path)]
    reasons = {peer.name: why for peer in cfg.peers if (why := peer.missing())}
    if cfg.anchor in reasons:
        raise DctcodecError(f"the anchor {cfg.anchor} cannot run: {reasons[cfg.anchor]}")
    present = [peer for peer in cfg.peers if peer.name not in reasons]
    tasks = plan(present, dataset.photos, cfg.levels)
    rows, failures = run(tasks, out, known=known, jobs=cfg.jobs, report=report)
    rows += _without_codec(known, [n for n in names if n in reasons], dataset)
    missing: dict[str, tuple[str, ...]] = {}
    for name, why in reasons.items():
        missing[why] = (*missing.get(why, ()), name)
    return _write(cfg, dataset, out, rows, failures, missing)


def _without_codec(known: Sequence[Row], names: Sequence[str], dataset: Dataset) -> list[Row]:
    """Rows of codecs that cannot run here, as they were measured before."""
    by_sum = {photo.sha256: photo.name for photo in dataset.photos}
    found = {}
    for row in known:
        if row.codec in names and row.image_sha256 in by_sum:
            record = asdict(row) | {"file": None, "image": by_sum[row.image_sha256]}
            found[row.codec, row.setting, row.image_sha256] = Row(**record)
    return sorted(found.values(), key=lambda r: (names.index(r.codec), r.order, r.image))


def _write(
    cfg: Benchmark,
    dataset: Dataset,
    out: Path,
    rows: Sequence[Row],
    failures: Sequence[Failure],
    missing: Mapping[str, tuple[str, ...]],
) -> Outcome:
    titles = {peer.name: peer.title for peer in cfg.peers}
    versions = {row.codec: row.version for row in rows}
    points = curves(rows, len(dataset.photos))
    summaries = summarise(points, cfg.anchor, titles, versions)
    overlay = cfg.overlay if dataset.name == KODAK else ()
    meta = _meta(cfg, dataset, rows, failures, missing)
    records = [asdict(row) for row in rows]
    sums = [asdict(summary) for summary in summaries]
    everything = {
        "meta": meta,
        "rows": records,
        "summary": sums,
        "published": [record for curve in overlay for record in curve.records()],
    }
    text = json.dumps(finite(everything), ensure_ascii=False, indent=1, allow_nan=False) + "\n"
    for name, content in (
        ("results.json", text),
        ("results.csv", to_csv(records)),
        ("summary.csv", to_csv(sums)),
        ("summary.md", markdown(summaries, meta, len(dataset.photos))),
    ):
        atomic_write(out / name, content.encode(), force=True)
    subject = f"{dataset.name}, means of {len(dataset.photos)}"
    plots.draw(out / "plots", points, titles, summaries, overlay, subject)
    return Outcome(
        folder=out,
        rows=tuple(rows),
        summaries=tuple(summaries),
        failures=tuple(failures),
        missing=missing,
        report=_report(out, dataset),
    )


def _meta(
    cfg: Benchmark,
    dataset: Dataset,
    rows: Sequence[Row],
    failures: Sequence[Failure],
    missing: Mapping[str, tuple[str, ...]],
) -> dict[str, Any]:
    present = list(dict.fromkeys(row.codec for row in rows))
    notes = [*dataset.notes, *map(str, failures)]
    for why, names in missing.items():
        stale = [name for name in names if name in present]
        gone = [name for name in names if name not in present]
        if gone:
            notes.append(f"not measured: {', '.join(gone)}: {why}")
        if stale:
            notes.append(f"measured earlier, not here: {', '.join(stale)}: {why}")
    for other in sorted({row.machine for row in rows} - {machine()}):
        codecs = dict.fromkeys(row.codec for row in rows if row.machine == other)
        notes.append(f"measured on {other}: {', '.join(codecs)}")
    if any(row.ms_ssim is None for row in rows):
        notes.append("MS-SSIM is missing for pictures with a side of less than 161 pixels")
    return {
        "dataset": dataset.name,
        "pictures": len(dataset.photos),
        "machine": machine(),
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d"),
        "anchor": cfg.anchor,
        "versions": {"python": platform.python_version()} | _versions(),
        "titles": {peer.name: peer.title for peer in cfg.peers},
        "codecs": {row.codec: row.version for row in rows},
        "settings": {codec: _settings(rows, codec) for codec in present},
        "rules": list(RULES),
        "notes": notes,
    }


def _settings(rows: Sequence[Row], codec: str) -> str:
    """Those of the coarsest level in full, and the levels."""
    levels = {row.setting: row.settings for row in rows if row.codec == codec}
    return f"{next(iter(levels.values()))}; then {', '.join([*levels][1:])}"


def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _report(out: Path, dataset: Dataset) -> Path | None:
    """The HTML page; None where this installation lacks its writer."""
    if find_spec("..report", __package__) is None:
        return None
    write_report = getattr(import_module("..report", __package__), "write_report", None)
    if write_report is None:
        return None
    path = out / "report.html"
    write_report(out, dataset.paths, path)
    return path
