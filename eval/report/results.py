"""What a benchmark folder holds: `results.json`, read and checked."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from ...codec.errors import UsageError

__all__ = ["METRICS", "OURS", "Published", "Results", "Row", "Summary", "is_ours", "read_results"]

OURS = "dctcodec"
METRICS = ("psnr_rgb", "psnr_y", "ms_ssim", "ms_ssim_db", "ssim")


def is_ours(codec: str) -> bool:
    """Ours as it is, or with another setting, which is no peer: `dctcodec-psnr`."""
    return codec == OURS or codec.startswith(f"{OURS}-")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One picture through one codec at one setting.

    setting: the quality level in words; order: its place along the curve; settings: what all
    levels share. Measures are None where they do not exist (MS-SSIM of a small picture, PSNR of
    an exact copy). encode_s, decode_s: seconds; peak_memory_mb: MiB; file: within the
    folder, None where the figures came without it.
    """

    codec: str
    version: str
    setting: str
    order: int
    settings: str
    image: str
    width: int
    height: int
    bytes: int
    bpp: float
    psnr_rgb: float | None
    psnr_y: float | None
    ms_ssim: float | None
    ms_ssim_db: float | None
    ssim: float | None
    encode_s: float | None
    decode_s: float | None
    peak_memory_mb: float | None
    file: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """A codec's mean curve against the anchor's: per cent, dB, and the intervals they cover."""

    codec: str
    anchor: str
    bd_rate_psnr: float | None = None
    bd_rate_psnr_fixed: float | None = None  # over 30.5–37 dB
    bd_psnr: float | None = None
    psnr_interval: tuple[float, float] | None = None
    bd_rate_ms_ssim: float | None = None
    ms_ssim_interval: tuple[float, float] | None = None
    bpp_range: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """A mean curve as others gave it; points: (bits per pixel, value), by rising rate."""

    name: str
    title: str
    source: str
    rate: str  # what the source says of its bits per pixel
    metric: str
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    meta: Mapping[str, Any]
    rows: tuple[Row, ...]
    summary: tuple[Summary, ...]
    published: tuple[Published, ...]

    @property
    def anchor(self) -> str:
        """The codec that BD-rates refer to."""
        return str(self.meta.get("anchor") or (self.summary[0].anchor if self.summary else ""))

    def title(self, codec: str) -> str:
        """What people call a codec; its name where the run gives no other."""
        return str(self.meta.get("titles", {}).get(codec, codec))

    @property
    def codecs(self) -> list[str]:
        """In order of appearance, ours first."""
        names = list(dict.fromkeys(r.codec for r in self.rows))
        return sorted(names, key=lambda n: n != OURS)

    @property
    def images(self) -> list[str]:
        return list(dict.fromkeys(r.image for r in self.rows))


def read_results(folder: Path) -> Results:
    """`results.json` of a benchmark folder.

    Raises:
        UsageError: it is missing, no JSON, empty, or lacks a field.
    """
    path = folder / "results.json"
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"{path} is missing; `dctcodec benchmark` writes it") from None
    except (ValueError, OSError) as error:
        raise UsageError(f"{path} cannot be read: {error}") from None
    if not isinstance(data, dict) or not data.get("rows"):
        raise UsageError(f"{path} holds no rows; `dctcodec benchmark` writes them")
    rows = tuple(_row(r, f"{path}: row {n}") for n, r in enumerate(data["rows"]))
    summary = tuple(
        _summary(s, f"{path}: summary {n}") for n, s in enumerate(data.get("summary", ()))
    )
    published = tuple(
        _published(p, f"{path}: published curve {n}")
        for n, p in enumerate(data.get("published") or ())
    )
    return Results(meta=data.get("meta", {}), rows=rows, summary=summary, published=published)


_OPTIONAL = {f.name for f in fields(Row) if "None" in str(f.type)}


def _row(data: Mapping[str, Any], where: str) -> Row:
    values: dict[str, Any] = {}
    for f in fields(Row):
        value = _number(data.get(f.name))
        if value is None and f.name not in _OPTIONAL:
            raise UsageError(f"{where} lacks {f.name!r}")
        values[f.name] = value
    return Row(**values)


def _summary(data: Mapping[str, Any], where: str) -> Summary:
    if not data.get("codec") or not data.get("anchor"):
        raise UsageError(f"{where} lacks 'codec' or 'anchor'")
    values = {f.name: _number(data.get(f.name)) for f in fields(Summary)}
    for name in ("psnr_interval", "ms_ssim_interval", "bpp_range"):
        pair = _pair(data.get(name))
        values[name] = pair
    return Summary(**values)


def _published(data: Mapping[str, Any], where: str) -> Published:
    try:
        metric = {"psnr": "psnr_rgb", "msssim": "ms_ssim", "msssim_db": "ms_ssim_db"}.get(
            data["metric"], data["metric"]
        )
        points = tuple(sorted((float(x), float(y)) for x, y in data["points"]))
        return Published(
            name=str(data["name"]),
            title=str(data.get("title") or data["name"]),
            source=str(data["source"]),
            rate=str(data.get("rate") or ""),
            metric=metric,
            points=points,
        )
    except (KeyError, TypeError, ValueError):
        raise UsageError(f"{where} lacks name, source, metric or points") from None


def _number(value: Any) -> Any:
    """None for what is no number: an exact copy has no finite PSNR."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _pair(value: Sequence[float] | None) -> tuple[float, float] | None:
    if not value or len(value) != 2 or any(_number(v) is None for v in value):
        return None
    return float(value[0]), float(value[1])
