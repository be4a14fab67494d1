"""Training crops: what is drawn, and the traces of a camera."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from dctcodec.data.photos import GRAIN, Crops, grain, with_camera_traces, with_other_tone


def picture(side: int = 96) -> Tensor:
    rng = np.random.default_rng(3)
    return torch.from_numpy(rng.integers(0, 256, (3, side, side), dtype=np.uint8))


def crops(camera: float, count: int = 40) -> Tensor:
    maker = Crops([picture()], 64, torch.device("cpu"), scaled=0.3, camera=camera)
    return maker.batch(np.random.default_rng(7), count)


def test_crops_are_whole_grey_levels_of_the_asked_size() -> None:
    x = crops(camera=1.0)
    assert x.shape == (40, 3, 64, 64)
    assert torch.equal(x, x.round()) and float(x.min()) >= 0 and float(x.max()) <= 255


def test_a_seed_fixes_the_crops() -> None:
    assert torch.equal(crops(camera=0.5), crops(camera=0.5))
    assert not torch.equal(crops(camera=0.5), crops(camera=0.0))


def test_a_share_of_zero_leaves_crops_clean() -> None:
    noise = picture().unique()
    flat = Crops([torch.full((3, 96, 96), 90, dtype=torch.uint8)], 64, torch.device("cpu"), 0.0)
    assert torch.equal(flat.batch(np.random.default_rng(1), 8), torch.full((8, 3, 64, 64), 90.0))
    assert len(noise) > 200


def test_colour_at_half_resolution_keeps_the_luma() -> None:
    x = picture(64).float()
    rng = np.random.default_rng(0)
    seen = set()
    for _ in range(30):
        y = with_camera_traces(x, rng)
        kept = float((y.mean(0) - x.mean(0)).abs().mean())
        colour = (x - x.mean(0)) - (y - y.mean(0))
        seen.add((kept > 0.5, float(colour.abs().mean()) > 20))
    # nothing, colour, grain and both all come up; random colours lie far beyond 0…255 at the edges
    assert (False, False) in seen and any(c for _, c in seen) and len(seen) >= 3


@pytest.mark.parametrize("seed", range(5))
def test_grain_has_a_strength_within_its_range(seed: int) -> None:
    noise = grain(torch.zeros(3, 64, 64), np.random.default_rng(seed))
    low, high = GRAIN
    assert 0.99 * low <= float(noise.std()) <= 1.01 * high
    assert abs(float(noise.mean())) < 0.5


def test_another_tone_keeps_whole_grey_levels_and_the_order_of_them() -> None:
    ramp = torch.arange(256.0).reshape(1, 16, 16).expand(3, -1, -1).contiguous()
    seen = []
    for seed in range(8):
        y = with_other_tone(ramp, np.random.default_rng(seed))
        assert torch.equal(y, y.round()) and float(y.min()) >= 0 and float(y.max()) <= 255
        assert (y.reshape(3, -1).diff() >= 0).all()  # brighter stays brighter
        seen.append(y)
    assert all(float((y - ramp).abs().mean()) > 1 for y in seen)
    assert float((seen[0] - seen[1]).abs().mean()) > 1


def test_turned_crops_are_crops_turned_by_half_a_circle() -> None:
    photo, none = picture(64), np.random.default_rng
    upright = Crops([photo], 64, torch.device("cpu"), scaled=0.0, turned=0.0)
    turned = Crops([photo], 64, torch.device("cpu"), scaled=0.0, turned=1.0)

    def kinds(crops: Crops) -> set[bytes]:
        return {crops.crop(none(seed)).byte().numpy().tobytes() for seed in range(40)}

    assert len(kinds(upright)) == len(kinds(turned)) == 4
    assert not kinds(upright) & kinds(turned)
