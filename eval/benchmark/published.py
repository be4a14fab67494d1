"""Rate-distortion curves on Kodak that others have published: figures only, with their sources.

They are not measured here: other machines, other code, and for some the rate is an estimate of the
entropy, not the size of a file; the column `rate` of published.csv says what the source says.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from ...codec.errors import UsageError
from ..metrics import ms_ssim_db

__all__ = ["SHOWN", "Published", "choose", "published"]

SHOWN: Final = ("vtm-18.0", "bpg-444", "mbt2018", "bmshj2018-hyperprior", "elic", "cool-chic-4.2")
"""Overlaid when none is named: enough to see where the field stands."""

Points = tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """A published mean curve over the 24 pictures.

    rate: what the source says of its bits per pixel.
    psnr: (bits per pixel, dB), RGB.
    ms_ssim: (bits per pixel, 0…1), as the mean over pictures; empty: not published.
    """

    name: str
    title: str
    source: str
    rate: str
    psnr: Points
    ms_ssim: Points

    def records(self) -> list[dict[str, Any]]:
        """One per metric, named as the columns of rows are; MS-SSIM in dB of the mean."""
        head = {"name": self.name, "title": self.title, "source": self.source, "rate": self.rate}
        found: list[dict[str, Any]] = [{**head, "metric": "psnr_rgb", "points": self.psnr}]
        if self.ms_ssim:
            points = [(bpp, round(ms_ssim_db(m), 4)) for bpp, m in self.ms_ssim]
            found.append({**head, "metric": "ms_ssim_db", "points": points})
        return found


@lru_cache(maxsize=1)
def published() -> dict[str, Published]:
    """All curves by name."""
    with Path(__file__).with_name("published.csv").open(newline="", encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    curves = {}
    for name in dict.fromkeys(row["name"] for row in table):
        mine = [row for row in table if row["name"] == name]
        curves[name] = Published(
            name=name,
            title=mine[0]["title"],
            source=mine[0]["source"],
            rate=mine[0]["rate"],
            psnr=_points(mine, "psnr"),
            ms_ssim=_points(mine, "ms_ssim"),
        )
    return curves


def _points(rows: Sequence[dict[str, str]], column: str) -> Points:
    return tuple((float(r["bpp"]), float(r[column])) for r in rows if r[column])


def choose(names: Sequence[str]) -> list[Published]:
    """Curves by name; none named: `SHOWN`; `all` and `none` are those.

    Raises:
        UsageError: there is none of a name.
    """
    known = published()
    if "none" in names:
        return []
    if "all" in names:
        return list(known.values())
    for name in names:
        if name not in known:
            raise UsageError(f"published curve {name!r} is not one of {', '.join(known)}")
    return [known[name] for name in names or SHOWN]
