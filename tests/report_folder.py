"""A small benchmark folder, made by real codecs: three photos, one too small for MS-SSIM."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from dctcodec.codec.api import encode_picture
from dctcodec.codec.pictures import load
from dctcodec.eval.jpeg import encode_jpeg
from dctcodec.eval.metrics import bd_rate, ms_ssim, ms_ssim_db, psnr, psnr_y
from dctcodec.eval.report.results import OURS
from dctcodec.eval.report.store import decode_file

Pixels = npt.NDArray[np.uint8]

NASTY = "web</script><b>p"  # a name that must not break out of the page


def encode(codec: str, pixels: Pixels, level: float) -> bytes:
    if codec == OURS:
        return encode_picture(load(pixels), level).data
    if codec == "jpeg-420":
        return encode_jpeg(pixels, int(level))
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG" if codec == "png" else "WEBP", quality=int(level))
    return out.getvalue()


def decode(codec: str, data: bytes) -> Pixels:
    if codec == OURS:
        return decode_file(codec, data)
    with Image.open(io.BytesIO(data)) as image:
        return np.array(image.convert("RGB"))


LEVELS = {OURS: (10, 30, 60, 90), "jpeg-420": (5, 20, 40, 80, 95), NASTY: (1, 20, 70, 95)}


def make(folder: Path, photo: Pixels) -> dict[str, Path]:
    """Fills a folder; returns the originals."""
    pictures = {"face": photo, "flag": photo[20:190, 60:].copy(), "small": photo[:96, :96].copy()}
    paths = {}
    rows: list[dict[str, Any]] = []
    for name, pixels in pictures.items():
        paths[name] = folder / f"{name}.png"
        Image.fromarray(pixels).save(paths[name])
        for n, (codec, levels) in enumerate(LEVELS.items()):
            for order, level in enumerate(levels):
                rows.append(_row(folder, f"files/{n}-{name}-{order}", codec, level, order, pixels))
                rows[-1]["image"] = name
    meta = {
        "dataset": "three photos",
        "machine": "a machine",
        "date": "2026-01-02",
        "anchor": "jpeg-420",
        "versions": {"python": "3", "pillow": "12"},
        "titles": {"jpeg-420": "JPEG 4:2:0"},
        "notes": ["a note"],
    }
    summary = [_summary(rows, codec) for codec in LEVELS if codec != "jpeg-420"]
    published = [
        {
            "name": "someone",
            "title": "Someone's",
            "source": "a paper",
            "rate": "entropy estimate",
            "metric": metric,
            "points": points,
        }
        for metric, points in (
            ("psnr_rgb", [[0.3, 30.0], [1.0, 35.0]]),
            ("ms_ssim", [[0.3, 0.9], [1.0, 0.98]]),
        )
    ]
    text = json.dumps({"meta": meta, "rows": rows, "summary": summary, "published": published})
    (folder / "results.json").write_text(text, encoding="utf-8")
    return paths


def _row(
    folder: Path, file: str, codec: str, level: float, order: int, pixels: Pixels
) -> dict[str, Any]:
    data = encode(codec, pixels, level)
    decoded = decode(codec, data)
    path = folder / file
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    ms = ms_ssim(pixels, decoded)
    return {
        "codec": codec,
        "version": "1",
        "setting": f"{level:g}",
        "order": order,
        "settings": "all as usual",
        "width": pixels.shape[1],
        "height": pixels.shape[0],
        "bytes": len(data),
        "bpp": 8 * len(data) / (pixels.shape[0] * pixels.shape[1]),
        "psnr_rgb": psnr(pixels, decoded),
        "psnr_y": psnr_y(pixels, decoded),
        "ms_ssim": ms,
        "ms_ssim_db": None if ms is None else ms_ssim_db(ms),
        "ssim": None,
        "encode_s": 0.2,
        "decode_s": 0.1,
        "peak_memory_mb": None,
        "file": file,
    }


def _summary(rows: list[dict[str, Any]], codec: str) -> dict[str, Any]:
    def curve(name: str) -> tuple[list[float], list[float]]:
        mine = [r for r in rows if r["codec"] == name and r["image"] == "face"]
        return [r["bpp"] for r in mine], [r["psnr_rgb"] for r in mine]

    found = bd_rate(curve("jpeg-420"), curve(codec))
    assert found is not None
    return {
        "codec": codec,
        "anchor": "jpeg-420",
        "bd_rate_psnr": found.percent,
        "bd_psnr": None,
        "psnr_interval": [found.low, found.high],
        "bd_rate_ms_ssim": None,
        "ms_ssim_interval": None,
        "bpp_range": [0.1, 3.0],
    }
