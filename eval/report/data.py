"""What the scripts of the page are given, as JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from .curves import HARDNESS_AT, Speed, points, scatter
from .images import Gallery
from .results import OURS, Results, Summary
from .text import rounded, shared

MARKERS = ("circle", "square", "triangle", "diamond", "down", "bar")

FAMILIES = (
    (r"dctcodec", 0), (r"jpeg[ -]?2000|jp2|j2k", 8), (r"jpeg[ -]?xl|jxl", 3), (r"jpeg", 1),
    (r"webp", 5), (r"avif|av1", 2), (r"bpg|hm|vtm", 9), (r"bmshj", 4),
    (r"mbt|minnen", 7), (r"cheng", 6),
)  # fmt: skip
"""Name → colour variable of page.css: variants of one codec share a colour and differ in marker."""

WELL_KNOWN = ("bpg444", "vtm", "bmshj2018-hyperprior", "mbt2018-mean")
"""Published curves that are drawn at first; the others wait in the legend."""


def script_data(
    results: Results,
    pictures: Gallery,
    thumbs: Mapping[str, str],
    summary: Mapping[str, Summary],
    speeds: Mapping[str, Speed],
) -> str:
    codecs = []
    looks = _looks(results.codecs)
    first = _shown_at_first(results, summary)
    for name in results.codecs:
        row = next(r for r in results.rows if r.codec == name)
        s, v = summary.get(name), speeds[name]
        codecs.append(
            {
                "key": name,
                "name": results.title(name),
                "version": row.version,
                "settings": shared(results, name),
                "ours": name == OURS,
                "shown": name in first,
                "points": points(results, name),
                "summary": {k: getattr(s, k, None) for k in ("bd_rate_psnr", "bd_rate_ms_ssim")},
                "speed": {
                    "encode": rounded(v.encode),
                    "decode": rounded(v.decode),
                    "setting": v.setting,
                },
            }
            | looks[name]
        )
    published = _published(results)
    tested = [c for c in results.codecs if c != OURS] if OURS in results.codecs else []
    tested.sort(key=lambda c: c != results.anchor)
    data = {
        "anchor": results.anchor,
        "titles": {c: results.title(c) for c in results.codecs},
        "images": [{"name": n, "thumb": thumbs.get(n, "")} for n in results.images],
        "codecs": codecs,
        "published": published,
        "scatter": {peer: scatter(results, peer) for peer in tested},
        "hardness_at": HARDNESS_AT,
        "gallery": pictures.items,
    }
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c")  # so that no text can end the script element


def _published(results: Results) -> list[dict[str, Any]]:
    """One entry per name, its measures together; of the well-known ones the first is drawn."""
    looks = _looks(list(dict.fromkeys(p.name for p in results.published)))
    curves: dict[str, dict[str, Any]] = {}
    for p in results.published:
        facts = {"key": f"{p.name} (published)", "name": p.title, "shown": False, "measures": {}}
        facts |= {"source": p.source, "rate": p.rate}
        entry = curves.setdefault(p.name, facts | looks[p.name])
        entry["measures"][p.metric] = p.points
    found = [[n for n in curves if n.startswith(start)] for start in WELL_KNOWN]
    few = list(curves) if len(curves) <= 6 else [n[0] for n in found if n] or list(curves)[:4]
    for name in few:
        curves[name]["shown"] = True
    return list(curves.values())


def _looks(names: Sequence[str]) -> dict[str, dict[str, str]]:
    """Colour by family, marker by place within the family."""
    seen: dict[int, int] = {}
    spare = [4, 6, 7, 9, 3, 5, 8]
    strange: dict[str, int] = {}
    looks = {}
    for name in names:
        colour = next((c for p, c in FAMILIES if re.match(p, name.lower())), None)
        if colour is None:
            stem = re.split(r"[\W_\d]", name.lower())[0]
            colour = strange.setdefault(stem, spare[len(strange) % len(spare)])
        n = seen[colour] = seen.get(colour, -1) + 1
        looks[name] = {"colour": f"--c{colour}", "marker": MARKERS[n % len(MARKERS)]}
    return looks


def _shown_at_first(results: Results, summary: Mapping[str, Summary]) -> set[str]:
    """Ours, the anchor, and of each colour the codec with the lowest BD-rate."""
    best: dict[str, tuple[float, str]] = {}
    looks = _looks(results.codecs)
    for name in results.codecs:
        s = summary.get(name)
        rate = 1e9 if s is None or s.bd_rate_psnr is None else s.bd_rate_psnr
        colour = looks[name]["colour"]
        best[colour] = min(best.get(colour, (rate, name)), (rate, name))
    return {OURS, results.anchor} | {name for _, name in best.values()}
