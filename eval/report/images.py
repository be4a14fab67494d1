"""Pictures as data URIs, within a bound on their total size.

A peer's file that browsers can show is embedded as it is, so that the reader's browser decodes the
very bytes that were measured. All else (originals, our reconstructions, formats that browsers do
not know) is stored again at high quality; how far that is from the exact pixels is measured. Where
the bound asks for it, pictures are cut to crops from their middle, then stored more coarsely, then
fewer are shown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...codec.api import decode_picture
from ...codec.container import read
from ..metrics import bits_per_pixel, ms_ssim, psnr
from .curves import Pair, matched
from .equal import Encoder, nearer
from .results import OURS, Results, Row
from .store import (
    Decoder,
    Pixels,
    Store,
    browser_kind,
    crop,
    data_uri,
    file_of,
    middle,
    original,
    rgb,
)

__all__ = ["Gallery", "gallery", "layers"]

LARGEST = 1024
LADDER = (
    (LARGEST, 94), (LARGEST, 90), (LARGEST, 86), (LARGEST, 80), (640, 80),
    (512, 75), (384, 75), (320, 70), (256, 60),
)  # fmt: skip
"""(longest side of what is shown, quality it is stored with), tried in turn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gallery:
    """Pictures for the slider, and in words what the bound on their size left of them."""

    items: list[dict[str, Any]]
    remark: str


def gallery(
    results: Results,
    folder: Path,
    originals: Mapping[str, Path],
    peers: Sequence[str],
    decode: Decoder,
    encode: Encoder | None,
    max_bytes: int,
) -> Gallery:
    """For each picture the original, ours and the peers at nearly equal bytes.

    Args:
        originals: the picture files by the name of `Row.image`.
        encode: makes a peer's file nearer in size to ours; None: only the measured ones are used.
        max_bytes: of all data URIs together.

    Returns:
        items: [{image, width, height, box, panels: [{codec, setting, bytes, bpp, psnr_rgb,
        ms_ssim, as_is, src}]}], the original first, ours second.
    """
    names = [n for n in results.images if n in originals]
    pairs = {n: p for n in names if (p := matched(results, n, peers))}
    kept: dict[str, list[_Panel]] = {}

    def item(image: str, pair: Pair, side: int, store: Store) -> dict[str, Any]:
        if image not in kept:
            exact = original(originals[image])
            mine = [r for r in results.rows if r.image == image]
            kept[image] = [
                _Panel(facts={"codec": "original"}, data=b"", middle=_middle(exact)),
                _measured(pair.ours, folder, decode),
            ]
            for row in pair.peers:
                theirs = [r for r in mine if r.codec == row.codec]
                found = encode and nearer(theirs, exact, pair.ours.bytes, encode)
                kept[image].append(
                    _made(row, *found, exact, decode) if found else _measured(row, folder, decode)
                )
        w, h = pair.ours.width, pair.ours.height
        left, top, *size = middle(w, h, LARGEST)
        inner = middle(size[0], size[1], side)
        box = left + inner[0], top + inner[1], inner[2], inner[3]

        def panel(p: _Panel) -> dict[str, Any]:
            kind = browser_kind(p.data) if box[2:] == (w, h) else None
            src = data_uri(kind, p.data) if kind else store.uri(crop(p.middle, inner))
            return p.facts | {"as_is": kind is not None, "src": src}

        panels = [panel(p) for p in kept[image]]
        return {"image": image, "width": w, "height": h, "box": box, "panels": panels}

    for side, quality in LADDER:
        store, total = Store(quality), 0
        items: list[dict[str, Any]] = []
        last = (side, quality) == LADDER[-1]
        for image, pair in pairs.items():
            new = item(image, pair, side, store)
            total += _size(new)
            # Three pictures tell whether the rest will fit; going on would only cost time.
            hopeless = len(items) == 3 and not last and total / 4 * len(pairs) > 1.2 * max_bytes
            if total > max_bytes or hopeless:
                break
            items.append(new)
        if len(items) == len(pairs) or last:
            return Gallery(items=items, remark=_remark(items, len(pairs), side, store, max_bytes))
    raise AssertionError("the ladder has a last rung")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Panel:
    """A version of a picture: its file, and the middle of its pixels (pictures may be large)."""

    facts: dict[str, Any]
    data: bytes
    middle: Pixels


def _middle(pixels: Pixels) -> Pixels:
    return crop(pixels, middle(pixels.shape[1], pixels.shape[0], LARGEST)).copy()


def _measured(row: Row, folder: Path, decode: Decoder) -> _Panel:
    data = file_of(folder, row)
    names = ("codec", "setting", "bytes", "bpp", "psnr_rgb", "ms_ssim")
    facts = {n: getattr(row, n) for n in names} | {"between": False}
    return _Panel(facts=facts, data=data, middle=_middle(decode(row.codec, data)))


def _made(row: Row, data: bytes, level: str, exact: Pixels, decode: Decoder) -> _Panel:
    """A file of a level that is not on the curve, measured as the rows are."""
    pixels = decode(row.codec, data)
    facts = {
        "codec": row.codec,
        "setting": level,
        "bytes": len(data),
        "bpp": bits_per_pixel(len(data), row.width, row.height),
        "psnr_rgb": psnr(exact, pixels),
        "ms_ssim": ms_ssim(exact, pixels),
        "between": True,
    }
    return _Panel(facts=facts, data=data, middle=_middle(pixels))


def _size(item: Mapping[str, Any]) -> int:
    return sum(len(p["src"]) for p in item["panels"])


def _remark(
    items: Sequence[Mapping[str, Any]], of: int, side: int, store: Store, bound: int
) -> str:
    if not items:
        return f"No picture is shown: none fits into {bound / 1e6:.1f} MB."
    cut = any(tuple(i["box"][2:]) != (i["width"], i["height"]) for i in items)
    shown = f"the middle {side}×{side} pixels at most" if cut else "whole"
    some = f"{len(items)} of {of} pictures" if len(items) < of else f"All {of} pictures"
    text = f"{some} are shown, {shown}, so that they stay within {bound / 1e6:.1f} MB."
    if any(p.get("as_is") for i in items for p in i["panels"]):
        text += (
            " Panels marked “file itself” are the very files, which your browser decodes;"
            " the others are"
        )
    else:
        text += " They are"
    return text + (
        f" stored again as {store.name}, quality {store.quality}, and differ from the exact"
        f" pixels by {store.worst:.1f} dB PSNR or better. All figures are of the exact pixels."
    )


def layers(
    results: Results,
    folder: Path,
    originals: Mapping[str, Path],
    image: str | None,
    *,
    rate: float = 0.9,
    width: int = 288,
    height: int = 256,
    quality: int = 82,
) -> dict[str, Any] | None:
    """What each layer of one of our files adds, from the context alone to the whole file.

    Args:
        image: None: the first that is at hand.
        rate: bits per pixel; the file nearest to it is taken.
        width, height: of the crops from the middle, pixels.

    Returns:
        {image, setting, bytes, width, height, panels: [{layers, bytes, bpp, psnr_rgb, src}],
        worst}: bytes are those of a file cut after that layer; None where there is no file.
    """
    rows = [
        r
        for r in results.rows
        if r.codec == OURS and r.file and r.image in originals and image in (None, r.image)
    ]
    if not rows:
        return None
    row = min(
        (r for r in rows if r.image == rows[0].image), key=lambda r: abs(np.log(r.bpp / rate))
    )
    data, exact = file_of(folder, row), original(originals[row.image])
    container, store = read(data), Store(quality)
    w, h = min(width, row.width), min(height, row.height)
    box = (row.width - w) // 2, (row.height - h) // 2, w, h
    size, panels = container.container_bytes, []
    for layer in range(container.header.layers + 1):
        size += sum(c.length for c in container.chunks if c.layer == layer)
        pixels = rgb(decode_picture(data, layers=layer).picture.pixels)
        panels.append(
            {
                "layers": layer,
                "bytes": size,
                "bpp": 8 * size / (row.width * row.height),
                "psnr_rgb": psnr(pixels, exact),
                "src": store.uri(crop(pixels, box)),
            }
        )
    return {
        "image": row.image,
        "setting": row.setting,
        "bytes": row.bytes,
        "width": w,
        "height": h,
        "panels": panels,
        "worst": round(store.worst, 1),
        "stored": f"{store.name}, quality {store.quality}",
    }
