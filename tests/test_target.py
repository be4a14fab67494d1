"""Encoding to a size or a PSNR: reached where the range allows, and said where not."""

from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

import dctcodec
from dctcodec.codec import api, target
from dctcodec.codec.cli import app
from dctcodec.codec.errors import UsageError
from dctcodec.codec.pictures import load
from dctcodec.codec.target import Goal, encode_to_target, goal_of
from dctcodec.eval import metrics

Pixels = npt.NDArray[np.uint8]


def invoke(*words: object) -> Result:
    return CliRunner().invoke(app, [str(w) for w in words])


@pytest.mark.parametrize("size", [700, 4000, 18000])
def test_a_size_is_reached_within_one_per_cent(photo: Pixels, size: int) -> None:
    found = encode_to_target(load(photo), Goal(bytes=size))
    assert found.reached and found.remark is None
    assert abs(len(found.encoded.data) / size - 1) <= 0.01
    assert found.value == len(found.encoded.data) and found.tries <= 20
    assert dctcodec.info(found.encoded.data)["quality"] == found.quality


@pytest.mark.parametrize("decibel", [27.5, 38.0])
def test_a_psnr_is_reached_within_a_twentieth_of_a_decibel(photo: Pixels, decibel: float) -> None:
    found = encode_to_target(load(photo), Goal(psnr=decibel))
    back = np.asarray(dctcodec.decode(found.encoded.data))
    assert found.reached and abs(metrics.psnr(photo, back) - decibel) <= 0.05
    assert found.value == pytest.approx(metrics.psnr(photo, back), abs=1e-9)


def test_bits_per_pixel_are_bytes(photo: Pixels) -> None:
    data = dctcodec.encode(photo, target_bpp=1.0)
    assert abs(8 * len(data) / (264 * 200) - 1) <= 0.01
    assert abs(len(dctcodec.encode(photo, target_bytes=6600)) / 6600 - 1) <= 0.01


def test_tiny_gray_and_layerless_pictures_come_as_near_as_they_can(photo: Pixels) -> None:
    for pixels, goal in (
        (photo[:40, :40, 0].copy(), Goal(psnr=34.0)),
        (photo[:40, :40].copy(), Goal(bytes=500)),
    ):
        found = encode_to_target(load(pixels), goal)
        assert found.reached or found.remark
    kept = encode_to_target(load(photo), Goal(bytes=1200), layers=2)
    assert kept.encoded.header.layers == 2
    assert kept.reached


def test_between_two_qualities_the_encoder_itself_is_tuned(
    photo: Pixels, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As if neighbouring qualities lay far apart: only every fortieth quarter exists.
    honest = api.encode_picture

    def coarse(picture: object, quality: float, **settings: object) -> object:
        return honest(picture, 10 * round(quality / 10), **settings)  # type: ignore[arg-type]

    monkeypatch.setattr(target, "encode_picture", coarse)
    sizes = [len(honest(load(photo), q).data) for q in (50, 60)]
    aim = round(sizes[0] + 0.12 * (sizes[1] - sizes[0]))
    found = encode_to_target(load(photo), Goal(bytes=aim))
    assert found.reached, found.remark
    assert abs(found.value / aim - 1) <= 0.01 and found.value not in sizes


@pytest.mark.parametrize(
    ("goal", "words"),
    [
        (Goal(bytes=50), r"50 bytes is out of range: quality 0 gives \d+ bytes; --layers keeps"),
        (Goal(bytes=10**6), r"1000000 bytes is out of range: quality 100 gives \d+ bytes$"),
        (Goal(psnr=5.0), r"5\.00 dB is out of range: quality 0 gives 2\d\.\d\d dB$"),
        (Goal(psnr=80.0), r"80\.00 dB is out of range: quality 100 gives 4\d\.\d\d dB$"),
    ],
)
def test_what_is_out_of_range_is_said(photo: Pixels, goal: Goal, words: str) -> None:
    found = encode_to_target(load(photo), goal)
    assert not found.reached and found.quality in (0, 100)
    assert found.remark is not None and re.search(words, found.remark), found.remark


def test_a_picture_whose_size_does_not_change_ends_the_search() -> None:
    flat = np.full((64, 64, 3), 127, np.uint8)
    found = encode_to_target(load(flat), Goal(bytes=60))
    assert found.tries < 40 and (found.reached or found.remark)
    assert encode_to_target(load(flat), Goal(psnr=40.0)).tries < 40


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"target_bytes": 0}, "target of 0 bytes is not at least 1"),
        ({"target_bpp": -1.0}, "target of -1 bits per pixel is not a number above 0"),
        ({"target_bpp": float("nan")}, "is not a number above 0"),
        ({"target_psnr": float("inf")}, "target PSNR inf dB is not a number above 0"),
        ({"target_bytes": 1, "target_psnr": 30.0}, "give one target only"),
    ],
)
def test_targets_that_are_none_are_refused(
    photo: Pixels, arguments: dict[str, float], words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        dctcodec.encode(photo, **arguments)  # type: ignore[arg-type]
    assert goal_of(load(photo)) is None


def test_its_psnr_is_that_of_the_metrics(photo: Pixels) -> None:
    other = np.tile(photo, (3, 1, 1))  # more rows than are taken at once
    noisy = np.clip(other.astype(int) + 3, 0, 255).astype(np.uint8)
    assert target.psnr(other, noisy) == pytest.approx(metrics.psnr(other, noisy), abs=1e-9)
    assert target.psnr(other, other) == metrics.psnr(other, other)


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        ("--target-bytes 5000", 0, r"^a\.dctc: quality [\d.]+, (49[5-9]\d|50[0-4]\d|5050) bytes$"),
        ("--target-bpp 0.5", 0, r"^a\.dctc: quality [\d.]+, \d+ bytes$"),
        ("--target-psnr 32", 0, r"^a\.dctc: quality [\d.]+, (31\.9[5-9]|32\.0[0-5]) dB$"),
        ("--target-bytes 9", 0, r"^a\.dctc: target of 9 bytes is out of range: quality 0 gives"),
        ("--target-bytes 0", 2, r"^Error: target of 0 bytes is not at least 1$"),
        ("--target-bpp 0", 2, r"^Error: target of 0 bits per pixel is not a number above 0$"),
        ("--target-psnr nan", 2, r"^Error: target PSNR nan dB is not a number above 0$"),
        ("--target-bpp 1 --target-psnr 30", 2, r"^Error: give one target only"),
        ("--target-bpp 1 -q 75", 2, r"^Error: a target chooses the quality: leave out --quality$"),
    ],
)
def test_the_command_says(
    options: str,
    code: int,
    words: str,
    photo: Pixels,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Image.fromarray(photo).save("photo.png")
    outcome = invoke("encode", "photo.png", "-o", "a.dctc", *options.split())
    assert outcome.exit_code == code, outcome.output
    assert re.search(words, outcome.stderr, re.MULTILINE), outcome.output
    assert (tmp_path / "a.dctc").exists() == (code == 0)


def test_a_target_goes_through_a_pipe(photo: Pixels) -> None:
    source = io.BytesIO()
    Image.fromarray(photo).save(source, "PNG")
    words = ["encode", "-", "--target-bytes", "3000"]
    outcome = CliRunner().invoke(app, words, input=source.getvalue())
    assert outcome.exit_code == 0, outcome.output
    assert abs(len(outcome.stdout_bytes) / 3000 - 1) <= 0.01
