"""What the encoder aims at: PSNR, MS-SSIM, or between. The decoder does not know."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

import dctcodec
from dctcodec.codec.api import decode_picture, encode_picture
from dctcodec.codec.batch.settings import EncodeSettings
from dctcodec.codec.cli import app
from dctcodec.codec.errors import UsageError
from dctcodec.codec.pictures import from_array
from dctcodec.codec.tune import ALIKE, C2, Tune
from dctcodec.eval.metrics import bd_rate, bits_per_pixel, ms_ssim, ms_ssim_db, psnr
from dctcodec.models.config import DISTORTION_WEIGHT
from dctcodec.models.weights import default

Pixels = npt.NDArray[np.uint8]


def test_a_tune_that_there_is_not(photo: Pixels, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="tune 'ssim' is none of balanced, psnr, ms-ssim"):
        dctcodec.encode(photo, tune="ssim")
    with pytest.raises(UsageError):
        EncodeSettings(tune="vmaf")
    Image.fromarray(photo).save(tmp_path / "a.png")
    refused = CliRunner().invoke(app, ["encode", str(tmp_path / "a.png"), "--tune", "x"])
    assert refused.exit_code == 2 and "psnr, ms-ssim" in refused.stderr
    command = ["encode", str(tmp_path / "a.png"), "--preset", "paper", "--tune", "ms-ssim"]
    assert CliRunner().invoke(app, command).exit_code == 2
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]


def test_busy_places_cost_less() -> None:
    x = torch.full((1, 3, 96, 64), 90.0)
    noise = np.random.default_rng(0).normal(0, 20, (48, 64)).astype(np.float32)
    x[:, :, :48] += torch.from_numpy(noise)
    tune = Tune("ms-ssim")
    worth = tune.worth(x)
    assert worth is not None and worth.shape == (1, 1, 96, 64)
    assert torch.allclose(worth[:, :, 60:], torch.tensor(ALIKE / C2), rtol=1e-3)
    assert float(worth[:, :, 10:40].mean()) == pytest.approx(ALIKE / (2 * 400 + C2), rel=0.1)
    shifted = tune.worth(x - 128.0)
    assert shifted is not None and torch.allclose(worth, shifted, rtol=1e-2)
    for stride in (1, 8, 16):
        places = tune.places(worth, stride)
        assert places.shape == (1, 1, 96 // stride, 64 // stride)
        assert float(places[0, 0, -1, 0]) > 1 > float(places[0, 0, 1, 1])
        halfway = Tune().places(worth, stride)
        assert torch.allclose(halfway**2, places, rtol=1e-4)
    assert Tune("psnr").worth(x) is None


def test_fine_frequencies_cost_less() -> None:
    parts = default().cfg.parts
    bands = [Tune("ms-ssim").band(p) for p in parts]
    middle = [(p.low + p.high) / p.stride for p in parts]
    assert [b for _, b in sorted(zip(middle, bands, strict=True))] == sorted(bands, reverse=True)
    assert 0 < min(bands) < 1 < max(bands) < 2
    assert {Tune("psnr").band(p) for p in parts} == {1.0}
    assert [Tune().band(p) ** 2 for p in parts] == pytest.approx(bands)


def curve(photo: Pixels, tune: str) -> tuple[list[float], list[float], list[float]]:
    """Bits per pixel, MS-SSIM and PSNR in dB."""
    points = []
    for quality in (10, 25, 40, 55, 70):
        data = dctcodec.encode(photo, quality, tune=tune)
        drawn = np.asarray(dctcodec.decode(data))
        m = ms_ssim(photo, drawn)
        assert m is not None
        rate = bits_per_pixel(len(data), photo.shape[1], photo.shape[0])
        points.append((rate, ms_ssim_db(m), psnr(photo, drawn)))
    rates, structure, signal = zip(*points, strict=True)
    return list(rates), list(structure), list(signal)


def test_it_buys_structure_with_psnr(photo: Pixels) -> None:
    plain, balanced, tuned = (curve(photo, name) for name in ("psnr", "balanced", "ms-ssim"))
    found = []
    for aimed in (balanced, tuned):
        structure = bd_rate((plain[0], plain[1]), (aimed[0], aimed[1]))
        signal = bd_rate((plain[0], plain[2]), (aimed[0], aimed[2]))
        assert structure is not None and signal is not None
        assert structure.percent < -2 and signal.percent < 15
        found.append(signal.percent)
    assert found[1] > 0 and found[0] < 0.5 * found[1]  # the first half of the way costs less


def test_balanced_is_the_default(photo: Pixels, tmp_path: Path) -> None:
    names = ("balanced", "psnr", "ms-ssim")
    plain, signal, tuned = (dctcodec.encode(photo, 30, tune=t) for t in names)
    assert plain == dctcodec.encode(photo, 30) and len({plain, signal, tuned}) == 3
    Image.fromarray(photo).save(tmp_path / "a.png")
    out = tmp_path / "a.dctc"
    command = ["encode", str(tmp_path / "a.png"), "-q", "30", "--tune", "ms-ssim", "-o", str(out)]
    assert CliRunner().invoke(app, command).exit_code == 0
    assert out.read_bytes() == tuned
    assert EncodeSettings(tune="ms-ssim").key()["tune"] == "ms-ssim"
    assert "tune" not in EncodeSettings().key()


def test_tiles_gray_and_few_layers(photo: Pixels) -> None:
    for pixels, tile, layers in (
        (photo, 64, None),
        (np.ascontiguousarray(photo[:70, :41, 0]), 1024, None),
        (photo, 1024, 2),
        (photo[:1, :1].copy(), 1024, None),
    ):
        picture = from_array(pixels)
        data = encode_picture(picture, 40, tune="ms-ssim", tile=tile, layers=layers).data
        assert decode_picture(data).picture.pixels.shape == pixels.shape


def weighed(pixels: Pixels, data: bytes, quality: float) -> float:
    """Bits of the file, and what its squared error costs by places, in bits."""
    tune = Tune("ms-ssim")
    x = torch.from_numpy(pixels.transpose(2, 0, 1).astype(np.float32))[None]
    worth = tune.worth(x)
    assert worth is not None
    error = (decode_picture(data).picture.pixels.astype(float) - pixels) ** 2
    cost = float((error.sum(2) * tune.places(worth, 1)[0, 0].numpy()).sum())
    step = default().cfg.step(round(quality * 4))
    return 8 * len(data) + cost / (DISTORTION_WEIGHT * step**2)


def test_a_search_aims_at_it_too(photo: Pixels) -> None:
    crop = np.ascontiguousarray(photo[:96, :128])
    greedy, found = (
        encode_picture(from_array(crop), 40, effort=effort, tune="ms-ssim").data
        for effort in (1, 5)
    )
    assert weighed(crop, found, 40) < weighed(crop, greedy, 40)
