"""The published setting as files: independent patches, a context alone, bits-back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from typer.testing import CliRunner

from dctcodec.codec import presets
from dctcodec.codec.api import decode_picture
from dctcodec.codec.cli import app
from dctcodec.codec.container import read
from dctcodec.codec.errors import BitstreamError, UsageError
from dctcodec.codec.info import info
from dctcodec.codec.pictures import Picture, load
from dctcodec.codec.preview import preview

Pixels = npt.NDArray[np.uint8]

pytestmark = pytest.mark.skipif(
    not all(presets.installed(p) for p in presets.PRESETS),
    reason="the presets' weights are not installed",
)


@pytest.fixture(scope="module", params=list(presets.PRESETS))
def preset(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def file(preset: str, photo: Pixels) -> bytes:
    return presets.encode(load(photo[:120, :170]), preset)


def test_a_photo_comes_back_near_and_the_same_with_numpy(
    preset: str, file: bytes, photo: Pixels
) -> None:
    part = photo[:120, :170]
    decoded = decode_picture(file, mode="strict").picture.pixels
    assert decoded.shape == part.shape
    error = float(((decoded.astype(float) - part) ** 2).mean())
    assert error < 1200  # the patches' 6×6 lowest frequencies or means, no more
    other = presets.decode(read(file), preset, "numpy").pixels
    assert np.array_equal(other, decoded)


def test_a_region_is_cut_from_the_whole(file: bytes) -> None:
    whole = decode_picture(file).picture.pixels
    assert np.array_equal(decode_picture(file, region=(33, 5, 70, 60)).picture.pixels,
                          whole[5:65, 33:103])  # fmt: skip


def test_grey_pictures_and_alpha_are_kept(preset: str, photo: Pixels) -> None:
    grey = np.ascontiguousarray(photo[:40, :50, 1])
    alpha = np.full((40, 50), 77, np.uint8)
    picture = decode_picture(presets.encode(Picture(pixels=grey, alpha=alpha), preset)).picture
    assert picture.pixels.shape == (40, 50)
    assert picture.alpha is not None and (picture.alpha == 77).all()


def test_damage_is_an_error(file: bytes) -> None:
    bad = bytearray(file)
    bad[len(bad) // 2] ^= 1
    for data in (bytes(bad), file[:-9]):
        with pytest.raises(BitstreamError):
            decode_picture(data)


def test_info_and_preview_know_the_preset(preset: str, file: bytes) -> None:
    model = info(file)["model"]
    assert model["name"] == preset and model["same_synthesis"]
    assert preview(file, max_side=30).size == (30, 21)


def test_an_unknown_preset_is_refused(photo: Pixels) -> None:
    with pytest.raises(UsageError, match="not one of paper, paper-down"):
        presets.encode(load(photo), "papyrus")


def test_the_command_line_encodes_with_a_preset(photo: Pixels, tmp_path: Path) -> None:
    source = tmp_path / "a.png"
    Image.fromarray(photo[:64, :64]).save(source)
    runner, out = CliRunner(), tmp_path / "a.dctc"
    assert runner.invoke(app, ["encode", str(source), "--preset", "paper"]).exit_code == 0
    done = runner.invoke(app, ["decode", str(out), "-o", str(tmp_path / "b.png")])
    assert done.exit_code == 0, done.output
    refused = runner.invoke(app, ["encode", str(source), "--preset", "paper", "-q", "50"])
    assert refused.exit_code == 2 and "one quality" in refused.stderr


@pytest.mark.parametrize("options", [[], ["--preset", "paper"]])
def test_sample_draws_a_grid(options: list[str], tmp_path: Path) -> None:
    out = tmp_path / "s.png"
    command = ["sample", "-o", str(out), "--count", "2", "--size", "64", *options]
    assert CliRunner().invoke(app, command).exit_code == 0
    with Image.open(out) as im:
        assert im.size == (64 * 2 + 8, 64 if options else 64 * 2 + 8)
        first = np.asarray(im)
    again = CliRunner().invoke(app, [*command, "--force"])
    assert again.exit_code == 0
    with Image.open(out) as im:
        assert np.array_equal(np.asarray(im), first)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--size", "100"], "not a multiple of 32"),
        (["--temperature", "3"], "not in 0…2"),
        (["--preset", "other"], "not one of paper"),
    ],
)
def test_sample_refuses_what_it_cannot_draw(options: list[str], words: str, tmp_path: Path) -> None:
    out = str(tmp_path / "s.png")
    done = CliRunner().invoke(app, ["sample", "-o", out, "--count", "1", *options])
    assert done.exit_code == 2 and words in done.stderr
    assert not Path(out).exists()
