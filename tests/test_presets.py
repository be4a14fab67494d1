"""The published setting as files: independent patches, a context alone, bits-back."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from typer.testing import CliRunner

from dctcodec.codec import preset_layers, presets
from dctcodec.codec.api import decode_picture
from dctcodec.codec.cli import app
from dctcodec.codec.container import read, write
from dctcodec.codec.errors import BitstreamError, ModelError, UsageError
from dctcodec.codec.info import info
from dctcodec.codec.pictures import Picture, load
from dctcodec.codec.preview import preview

Pixels = npt.NDArray[np.uint8]

pytestmark = pytest.mark.skipif(
    not all(presets.installed(p) and presets.layers_model(p) for p in presets.PRESETS),
    reason="the presets' weights are not installed",
)


@pytest.fixture(scope="module", params=list(presets.PRESETS))
def preset(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def picture(photo: Pixels) -> Picture:
    return load(photo[:120, :170])  # 4 × 6 patches


@pytest.fixture(scope="module")
def file(preset: str, picture: Picture) -> bytes:
    """With all layers."""
    return presets.encode(picture, preset)


def error(decoded: Pixels, picture: Picture) -> float:
    return float(((decoded.astype(float) - picture.pixels) ** 2).mean())


def all_layers(file: bytes) -> int:
    return read(file).header.layers


def test_a_context_alone_comes_back_near_and_the_same_with_numpy(
    preset: str, picture: Picture
) -> None:
    file = presets.encode(picture, preset, 0)
    decoded = decode_picture(file, mode="strict").picture.pixels
    assert decoded.shape == picture.pixels.shape
    assert error(decoded, picture) < 1200  # the patches' 6×6 lowest frequencies or means, no more
    other = presets.decode(read(file), preset, executor="numpy")[0].pixels
    assert np.array_equal(other, decoded)
    plain = presets.context_picture(read(file), preset)
    assert error(plain.pixels, picture) < 1200
    assert np.array_equal(presets.context_picture(read(file), preset, "torch").pixels, plain.pixels)


def test_each_layer_makes_the_file_larger_and_the_picture_better(
    preset: str, file: bytes, picture: Picture
) -> None:
    last_size, last_error = 0, 1e9
    for layers in range(all_layers(file) + 1):
        shorter = presets.encode(picture, preset, layers)
        decoded = decode_picture(shorter, mode="strict").picture.pixels
        assert np.array_equal(decode_picture(file, layers=layers).picture.pixels, decoded)
        assert len(shorter) > last_size and error(decoded, picture) < last_error
        last_size, last_error = len(shorter), error(decoded, picture)
    assert layers >= 2 and last_error < 200
    other = presets.decode(read(file), preset, executor="numpy")[0].pixels
    assert np.array_equal(other, decoded)


def test_left_out_layers_are_drawn_at_a_temperature_and_always_alike(file: bytes) -> None:
    mean = decode_picture(file, layers=0).picture.pixels
    drawn = [decode_picture(file, layers=0, temperature=t).picture.pixels for t in (0.1, 0.1, 1, 0)]
    assert np.array_equal(drawn[0], drawn[1])
    assert np.array_equal(drawn[3], mean)
    differences = [float(np.abs(d.astype(float) - mean).mean()) for d in (drawn[0], drawn[2])]
    assert 0 < differences[0] < differences[1]
    whole = decode_picture(file).picture.pixels
    assert np.array_equal(decode_picture(file, temperature=1).picture.pixels, whole)


def test_groups_of_patches_follow_each_other(
    preset: str, file: bytes, picture: Picture, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = decode_picture(file).picture.pixels.astype(int)
    monkeypatch.setattr(preset_layers, "GROUP", 7)
    again = decode_picture(presets.encode(picture, preset)).picture.pixels
    assert np.abs(again - whole).mean() < 0.1


def with_header(file: bytes, **changes: object) -> bytes:
    """The same chunks under another header."""
    container = read(file)
    header = replace(container.header, **changes)  # type: ignore[arg-type]
    return write(header, [[container.payload(k, 0)] for k in range(header.layers + 1)])


def test_files_from_before_the_layers_are_their_context_inversely_transformed(
    preset: str, picture: Picture
) -> None:
    old = with_header(presets.encode(picture, preset, 0), synthesis_id=presets.NO_SYNTHESIS)
    decoded = decode_picture(old, mode="strict")
    assert decoded.remarks == ()
    plain = presets.context_picture(read(old), preset).pixels
    assert np.abs(decoded.picture.pixels.astype(int) - plain).max() <= 1
    drawn = decode_picture(old, temperature=0.5).picture.pixels
    assert not np.array_equal(drawn, decoded.picture.pixels)


def test_layers_of_unknown_weights_are_refused_and_the_context_is_not(file: bytes) -> None:
    other = with_header(file, synthesis_id=b"??")
    with pytest.raises(ModelError, match="layers need the weights 3f3f"):
        decode_picture(other)
    assert "drawn alone" in decode_picture(other, layers=0).remarks[0]


def test_salvage_takes_the_layers_above_a_damaged_one(file: bytes) -> None:
    chunk = read(file).chunks[2]
    bad = bytearray(file)
    bad[chunk.offset + 3] ^= 1
    with pytest.raises(BitstreamError, match="layer 2"):
        decode_picture(bytes(bad))
    saved = decode_picture(bytes(bad), mode="salvage")
    assert saved.remarks == ("tile 0: lost from layer 2 on",)
    assert np.array_equal(saved.picture.pixels, decode_picture(file, layers=1).picture.pixels)


@pytest.mark.parametrize("layers", [-1, 9])
def test_a_number_of_layers_that_is_not_there_is_refused(
    preset: str, picture: Picture, layers: int
) -> None:
    with pytest.raises(UsageError, match=f"layers {layers} is not in 0…"):
        presets.encode(picture, preset, layers)


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
    bad[read(file).chunks[0].offset + 9] ^= 1
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
    short = tmp_path / "short.dctc"
    command = ["encode", str(source), "--preset", "paper", "--layers", "context", "-o", str(short)]
    assert runner.invoke(app, command).exit_code == 0
    assert short.stat().st_size < out.stat().st_size
    drawn = ["decode", str(short), "-o", str(tmp_path / "c.png"), "--temperature", "0.1"]
    assert runner.invoke(app, drawn).exit_code == 0
    for options, words in (
        (["encode", str(source), "--preset", "paper", "-q", "50"], "one quality"),
        (["encode", str(source), "--preset", "paper", "--layers", "9"], "layers 9 is not in 0…"),
        (["decode", str(short), "--temperature", "-1"], "temperature -1 is not in 0…2"),
    ):
        refused = runner.invoke(app, [*options, "--force"])
        assert refused.exit_code == 2 and words in refused.stderr
        assert refused.stderr.strip().count("\n") == 0


@pytest.mark.parametrize("options", [[], ["--preset", "paper"]])
def test_sample_draws_a_grid(options: list[str], tmp_path: Path) -> None:
    out = tmp_path / "s.png"
    command = ["sample", "-o", str(out), "--count", "2", "--size", "64", *options]
    assert CliRunner().invoke(app, command).exit_code == 0
    with Image.open(out) as im:
        assert im.size == (64 * 2 + 8, 64 * 2 + 8)
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
