"""Pictures as data URIs, within a bound on their total size.

A peer's file that browsers can show is embedded as it is, so that the reader's browser decodes the
very bytes that were measured. All else (originals, our reconstructions, formats that browsers do
not know) is stored again at high quality; how far that is from the exact pixels is measured. Where
the bound asks for it, pictures are cut to crops from their middle, then stored more coarsely, then
fewer are shown.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, features

from ...codec.api import decode_picture
from ...codec.container import read
from ...codec.errors import UsageError
from ...codec.pictures import load
from ..metrics import bits_per_pixel, ms_ssim, psnr
from .curves import Pair, matched
from .equal import Encoder, nearer
from .results import OURS, Results, Row

__all__ = ["Decoder", "Gallery", "Store", "decode_file", "gallery", "layers", "thumbnail"]

Pixels = npt.NDArray[np.uint8]
Box = tuple[int, int, int, int]
"""(left, top, width, height), pixels."""

Decoder = Callable[[str, bytes], Pixels]
"""(codec, file) → uint8 (height, width, 3)."""

LARGEST = 1024
LADDER = (
    (LARGEST, 94), (LARGEST, 90), (LARGEST, 86), (LARGEST, 80), (640, 80),
    (512, 75), (384, 75), (320, 70), (256, 60),
)  # fmt: skip
"""(longest side of what is shown, quality it is stored with), tried in turn."""


def decode_file(codec: str, data: bytes) -> Pixels:
    """A file's pixels, uint8 (height, width, 3), by our codec or the benchmark's peer."""
    if codec == OURS:
        return _rgb(decode_picture(data).picture.pixels)
    from ..benchmark import peers

    return _rgb(np.asarray(peers.by_name(codec).decode(data)))


def usable(codec: str) -> bool:
    """Whether the benchmark has a peer of that name that can run here."""
    from ..benchmark import peers

    return codec == OURS or (codec in peers.all_peers() and peers.by_name(codec).missing() is None)


def original(path: Path) -> Pixels:
    """A picture as the codecs saw it, uint8 (height, width, 3)."""
    return _rgb(load(path).pixels)


def _rgb(pixels: Pixels) -> Pixels:
    return np.stack([pixels] * 3, 2) if pixels.ndim == 2 else pixels[:, :, :3]


class Store:
    """Stores pixels for the page at one quality and remembers the worst error it made.

    Attributes:
        worst: dB, the lowest PSNR of a stored picture against the pixels it stands for.
    """

    def __init__(self, quality: int) -> None:
        self.quality = quality
        self.worst = float("inf")
        self.name = "AVIF 4:4:4" if features.check("avif") else "JPEG 4:4:4"

    def uri(self, pixels: Pixels) -> str:
        out, image = io.BytesIO(), Image.fromarray(np.ascontiguousarray(pixels))
        if self.name.startswith("AVIF"):
            settings = {"quality": self.quality, "subsampling": "4:4:4", "speed": 8}
            try:
                image.save(out, "AVIF", **settings, advanced={"tune": "psnr"})
            except ValueError:  # another encoder than libaom
                image.save(out, "AVIF", **settings)
            kind = "image/avif"
        else:
            image.save(out, "JPEG", quality=self.quality + 4, subsampling="4:4:4", optimize=True)
            kind = "image/jpeg"
        with Image.open(out) as stored:
            self.worst = min(self.worst, psnr(np.asarray(stored.convert("RGB")), pixels))
        return data_uri(kind, out.getvalue())


def data_uri(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"


def browser_kind(data: bytes) -> str | None:
    """The media type of a file that today's browsers show; None for others."""
    if data[:3] == b"\xff\xd8\xff":
        return "image/jpeg"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    if data[4:12] == b"ftypavif":
        return "image/avif"
    return "image/png" if data[:8] == b"\x89PNG\r\n\x1a\n" else None


def thumbnail(pixels: Pixels, height: int = 64) -> str:
    image = Image.fromarray(np.ascontiguousarray(pixels))
    image = image.resize((max(1, round(image.width * height / image.height)), height))
    out = io.BytesIO()
    image.save(out, "JPEG", quality=72, optimize=True)
    return data_uri("image/jpeg", out.getvalue())


def middle(width: int, height: int, side: int) -> Box:
    """The box of at most `side` pixels a side in the middle of a picture."""
    w, h = min(width, side), min(height, side)
    return (width - w) // 2, (height - h) // 2, w, h


def _crop(pixels: Pixels, box: Box) -> Pixels:
    x, y, w, h = box
    return pixels[y : y + h, x : x + w]


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
            src = data_uri(kind, p.data) if kind else store.uri(_crop(p.middle, inner))
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
    return _crop(pixels, middle(pixels.shape[1], pixels.shape[0], LARGEST)).copy()


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


def file_of(folder: Path, row: Row) -> bytes:
    """The compressed file of a row.

    Raises:
        UsageError: it is missing, or not of the size that the row says.
    """
    if row.file is None:
        raise UsageError(f"{row.codec} {row.setting}, {row.image}: the results hold no file of it")
    path = folder / row.file
    try:
        data = path.read_bytes()
    except OSError:
        raise UsageError(f"{path} is missing; run the benchmark again") from None
    if len(data) != row.bytes:
        raise UsageError(f"{path} has {len(data)} bytes, its row says {row.bytes}")
    return data


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
        pixels = _rgb(decode_picture(data, layers=layer).picture.pixels)
        panels.append(
            {
                "layers": layer,
                "bytes": size,
                "bpp": 8 * size / (row.width * row.height),
                "psnr_rgb": psnr(pixels, exact),
                "src": store.uri(_crop(pixels, box)),
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
