"""One row per codec, setting and picture; written as JSON and CSV, kept from run to run."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, TypeAlias

from ...codec.errors import DctcodecError

__all__ = ["Key", "Row", "finite", "key_of", "read_csv", "read_log", "to_csv", "to_line"]

Key: TypeAlias = tuple[str, str, str, str]
"""Codec, version, settings, and the SHA-256 of the picture: what decides a file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What one file costs and is worth. Missing figures are None, never made up."""

    codec: str
    version: str
    setting: str  # level of quality, as its codec counts
    order: int  # along the curve, from 0, coarse to fine
    settings: str  # all of them, as one would type them
    image: str
    width: int
    height: int
    bytes: int
    bpp: float
    psnr_rgb: float  # dB; infinite for equal pictures
    psnr_y: float  # dB
    ms_ssim: float | None  # None: a side of less than 161 pixels
    ms_ssim_db: float | None
    ssim: float | None  # None: a side of less than 11 pixels
    encode_s: float  # processor seconds of one thread, loading apart
    decode_s: float
    peak_memory_mb: float | None  # None: this system does not tell
    file: str | None  # from the folder of the results; None: the figures came without their file
    image_sha256: str
    machine: str


def key_of(row: Row) -> Key:
    return row.codec, row.version, row.settings, row.image_sha256


def to_line(row: Row) -> str:
    """One line of JSON, for a log."""
    return json.dumps(asdict(row), ensure_ascii=False) + "\n"


def read_log(path: Path) -> list[Row]:
    """Rows of a log; a last line that was cut short is left out.

    Raises:
        DctcodecError: another line is no row.
    """
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").split("\n")
    rows = []
    for n, line in enumerate(lines, start=1):
        try:
            if line:
                rows.append(Row(**json.loads(line)))
        except (ValueError, TypeError) as error:
            if n == len(lines):  # without its line end: the run was stopped while writing it
                break
            raise DctcodecError(
                f"{path}: line {n} is no row of a benchmark ({error}); remove it to begin anew"
            ) from error
    return rows


def read_csv(path: Path) -> list[Row]:
    """Rows as `to_csv` writes them.

    Raises:
        DctcodecError: the file is not there, or is no table of such rows.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            table = list(csv.DictReader(file))
    except OSError as error:
        raise DctcodecError(f"{path}: {error.strerror or error}") from error
    rows = []
    for n, record in enumerate(table, start=2):
        try:
            rows.append(Row(**{f.name: _parsed(record[f.name], str(f.type)) for f in fields(Row)}))
        except (KeyError, TypeError, ValueError) as error:
            raise DctcodecError(
                f"{path}: line {n} is no row of a benchmark ({type(error).__name__}: {error})"
            ) from error
    return rows


def to_csv(records: Sequence[Mapping[str, Any]]) -> str:
    """A table with the keys of the first record as its head; None is an empty cell."""
    out = io.StringIO()
    writer = csv.DictWriter(out, list(records[0]) if records else [], lineterminator="\n")
    writer.writeheader()
    for record in records:
        writer.writerow({k: _cell(v) for k, v in record.items()})
    return out.getvalue()


def finite(value: Any) -> Any:
    """For JSON, which knows no infinity: null in its place."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {k: finite(v) for k, v in value.items()}
    if isinstance(value, Iterable) and not isinstance(value, str):
        return [finite(v) for v in value]
    return value


def _cell(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return " ".join(map(str, value))
    return "" if value is None else value


def _parsed(text: str, kind: str) -> Any:
    """A cell as its field's type, which `from __future__ import annotations` has left a string."""
    if text == "" and "None" in kind:
        return None
    if kind.startswith("str"):
        return text
    return int(text) if kind == "int" else float(text)
