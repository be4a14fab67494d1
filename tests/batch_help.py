"""Small collections for the tests of batches, and what a manifest says of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

SIDE = 40
SUFFIX = ".dctc"


def picture(seed: int, side: int = SIDE) -> Image.Image:
    """Waves and a little noise, (side, side + 8) RGB; each seed has its own."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, : side + 8]
    waves = 128 + 60 * np.sin(x / 7 + y / 9 + seed)[..., None] * rng.uniform(0.3, 1, 3)
    noisy = waves + rng.normal(0, 3, waves.shape)
    return Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))


def collection(root: Path, names: list[str], side: int = SIDE) -> Path:
    """Pictures of these names below `root`."""
    for seed, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        picture(seed, side).save(path)
    return root


def lines(manifest: Path, state: str | None = None) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in manifest.read_text(encoding="utf-8").splitlines()]
    return [r for r in rows if state in (None, r["state"])]


def tree(root: Path) -> set[str]:
    """Names of all files below a folder."""
    return {p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file()}


def versions(root: Path) -> dict[str, tuple[int, int]]:
    """What changes when a file is written anew: its number and its time."""
    found = {p: p.stat() for p in root.rglob(f"*{SUFFIX}")}
    return {p.relative_to(root).as_posix(): (s.st_ino, s.st_mtime_ns) for p, s in found.items()}
