"""Make the golden files of the released model: run once per release, never again.

    python tests/make_golden.py

Writes tests/golden/<model>-<prior id>/NAME.dctc, NAME.png (what it decodes to) and symbols.json
(CRC-32 of every decoded symbol).
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from golden import symbols_crc
from PIL import Image
from skimage.data import astronaut, coffee

from dctcodec.codec.api import decode_picture, encode_picture
from dctcodec.codec.pictures import load
from dctcodec.models import weights

HERE = Path(__file__).parent / "golden"


def cases() -> dict[str, tuple[np.ndarray, dict[str, float | int]]]:
    """Small crops of public-domain pictures; sizes that are no multiples of anything."""
    face, cup = astronaut()[10:170, 150:330], coffee()[100:196, 200:296]
    return {
        "face-q30": (face, {"quality": 30}),
        "face-q85": (face, {"quality": 85}),
        "gray-q60": (np.asarray(Image.fromarray(face).convert("L")), {"quality": 60}),
        "tiles-q50": (cup, {"quality": 50, "tile": 64}),
        "layers2-q70": (cup[:33, :65], {"quality": 70, "layers": 2}),
        "pixel-q100": (cup[:1, :1], {"quality": 100}),
    }


def main() -> None:
    stored = weights.default()
    folder = HERE / f"{stored.name}-{stored.prior_id.hex()}"
    folder.mkdir(parents=True, exist_ok=True)
    sums = {}
    for name, (pixels, settings) in cases().items():
        data = encode_picture(load(pixels), **settings).data  # type: ignore[arg-type]
        (folder / f"{name}.dctc").write_bytes(data)
        Image.fromarray(decode_picture(data).picture.pixels).save(folder / f"{name}.png")
        sums[name] = symbols_crc(data)
    (folder / "symbols.json").write_text(json.dumps(sums, indent=1) + "\n")


if __name__ == "__main__":
    main()
