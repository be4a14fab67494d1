"""The report of a benchmark: figures, pictures and scripts put together into one HTML file."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from html import escape
from importlib import resources
from pathlib import Path
from typing import Any

from ...codec.errors import UsageError
from ...codec.pictures import atomic_write
from . import tables, words
from .curves import HARDNESS_AT, SPEED_AT, default_peers, speed
from .data import script_data
from .equal import Encoder, encode_file
from .images import Gallery, gallery, layers
from .results import OURS, Results, Summary, read_results
from .store import Decoder, decode_file, original, thumbnail, usable

__all__ = ["DEFAULT_MAX_BYTES", "page", "write_report"]

DEFAULT_MAX_BYTES = 8_000_000
MARKERS = ("circle", "square", "triangle", "diamond", "down", "bar")
SCRIPTS = ("chart.js", "curves.js", "plots.js", "viewer.js", "page.js")


def write_report(
    folder: Path,
    images: Mapping[str, Path],
    out: Path,
    *,
    max_bytes: int = DEFAULT_MAX_BYTES,
    peers: Sequence[str] | None = None,
    layers_image: str | None = None,
    decode: Decoder = decode_file,
    encode: Encoder | None = encode_file,
) -> None:
    """Write one HTML file that needs nothing but itself.

    Args:
        folder: of a benchmark, with `results.json` and the compressed files.
        images: the originals by the name they have in the rows; pictures without one are left out
            of the slider.
        out: written whole or not at all; overwritten if it exists.
        max_bytes: bound on the file's size; pictures become crops, coarser, or fewer to meet it.
        peers: codecs beside ours in the slider; None: the anchor, and the one with the lowest
            BD-rate.
        layers_image: whose layers are shown; None: the first picture's.
        decode: how a peer's file becomes pixels.
        encode: how a peer's file is made that is as large as ours; None: the measured one nearest
            in size is shown.

    Raises:
        UsageError: results or files are missing or contradict each other, a name is unknown, or
            the figures alone exceed `max_bytes`.
    """
    results = read_results(folder)
    unknown = sorted(set(peers or ()) - set(results.codecs))
    if unknown:
        raise UsageError(f"no codec {unknown[0]!r} in the results ({', '.join(results.codecs)})")
    if layers_image is not None and layers_image not in images:
        raise UsageError(f"no picture {layers_image!r} at hand ({', '.join(images)})")
    able = usable if decode is decode_file else (lambda _: True)
    shown = default_peers(results, able) if peers is None else list(peers)
    strip = layers(results, folder, images, layers_image)
    thumbs = {n: thumbnail(original(images[n])) for n in results.images if n in images}
    empty = Gallery(items=[], remark="")
    bare = len(page(results, empty, strip, thumbs).encode())
    room = max_bytes - bare - 4096 - 600 * len(results.images)
    if room < 0:
        raise UsageError(f"the report takes {bare} bytes without pictures, over {max_bytes}")
    pictures = gallery(results, folder, images, shown, decode, encode, room)
    atomic_write(out, page(results, pictures, strip, thumbs).encode(), True)


def page(
    results: Results,
    pictures: Gallery,
    strip: Mapping[str, Any] | None,
    thumbs: Mapping[str, str],
) -> str:
    """The HTML text; see `images.gallery` and `images.layers` for the parts."""
    speeds = {c: speed(results, c) for c in results.codecs}
    summary = _summaries(results)
    ours = summary.get(OURS)
    dataset = str(results.meta.get("dataset", "")) or "pictures"
    dataset = "Kodak" if dataset == "kodak" else dataset
    parts = {
        "title": f"dctcodec benchmark: {escape(dataset)}",
        "css": _asset("page.css"),
        "theme_js": _asset("theme.js"),
        "js": '"use strict";\n' + "\n".join(_asset(n) for n in SCRIPTS),
        "eyebrow": words.eyebrow(results, dataset),
        "headline": words.headline(results, ours),
        "lead": words.lead(results, ours),
        "facts": words.facts(results, ours, speeds),
        "table_note": words.table_note(results),
        "table": tables.summary_table(results, summary, speeds),
        "hardness": f"{HARDNESS_AT:g}",
        "speed_at": f"{SPEED_AT:g}",
        "speed_machine": words.machine(results),
        "gallery_remark": escape(pictures.remark),
        "look_note": words.look_note(pictures),
        "layers_note": words.layers_note(strip),
        "layers": words.strip(strip),
        "layers_remark": words.layers_remark(strip),
        "anchor": words.anchor(results),
        "rules": words.rules(results),
        "notes": words.notes(results.meta.get("notes")),
        "meta": words.meta(results.meta),
        "settings": tables.settings_table(results),
        "sources": words.sources(results),
        "footer": "One file, no network: curves, pictures and scripts are within it.",
        "data": script_data(results, pictures, thumbs, summary, speeds),
    }
    template = _asset("page.html")
    return re.sub(r"\{\{(\w+)\}\}", lambda m: parts[m[1]], template)


def _asset(name: str) -> str:
    return (resources.files(__package__) / "assets" / name).read_text(encoding="utf-8")


def _summaries(results: Results) -> dict[str, Summary]:
    """By codec; the anchor stands at zero against itself."""
    known = {s.codec: s for s in results.summary if s.anchor == results.anchor}
    if results.anchor in results.codecs:
        zero = Summary(
            codec=results.anchor,
            anchor=results.anchor,
            bd_rate_psnr=0.0,
            bd_psnr=0.0,
            bd_rate_ms_ssim=0.0,
            bpp_range=known[results.anchor].bpp_range if results.anchor in known else None,
        )
        known[results.anchor] = zero
    return known
