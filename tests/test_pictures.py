"""Pictures in and out: every mode, orientation and profile; what is refused; how files appear."""

from __future__ import annotations

import io
import os
import struct
import sys
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageCms, ImageOps

from dctcodec.codec import pictures
from dctcodec.codec.errors import BitstreamError, ImageError, OutputError, UsageError
from dctcodec.codec.pictures import (
    Picture,
    atomic_write,
    from_array,
    load,
    pack_alpha,
    save,
    to_pil,
    unpack_alpha,
)

Pixels = npt.NDArray[np.uint8]
RNG = np.random.default_rng(7)
RGB: Pixels = RNG.integers(0, 256, (5, 7, 3), dtype=np.uint8)
GRAY: Pixels = RGB[:, :, 0].copy()
ALPHA: Pixels = RGB[:, :, 1].copy()
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def profile_for(space: bytes) -> bytes:
    """128 bytes that look like the header of an ICC profile, and no tags."""
    return bytes(16) + space.ljust(4) + bytes(16) + b"acsp" + bytes(88)


def file_of(image: Image.Image | Pixels, format: str = "PNG", **settings: Any) -> bytes:
    if isinstance(image, np.ndarray):
        image = Image.fromarray(image)
    out = io.BytesIO()
    image.save(out, format, **settings)
    return out.getvalue()


def exif_of(orientation: int | None = None, model: str = "") -> bytes:
    tags = Image.Exif()
    if orientation is not None:
        tags[0x0112] = orientation
    if model:
        tags[0x0110] = model
    return tags.tobytes()


def tags_of(picture: Picture) -> dict[int, Any]:
    tags = Image.Exif()
    tags.load(picture.exif or b"")
    return dict(tags)


def png_chunk(kind: bytes, payload: bytes) -> bytes:
    return (
        struct.pack(">I", len(payload))
        + kind
        + payload
        + struct.pack(">I", zlib.crc32(kind + payload))
    )


def png_declaring(width: int, height: int) -> bytes:
    """A PNG that declares a size and holds next to nothing."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = png_chunk(b"IHDR", header) + png_chunk(b"IDAT", zlib.compress(bytes(64)))
    return b"\x89PNG\r\n\x1a\n" + chunks + png_chunk(b"IEND", b"")


# Modes

# Mode, whether gray, whether with alpha, words of the note.
MODES = [
    ("1", True, False, ""),
    ("L", True, False, ""),
    ("LA", True, True, ""),
    ("La", True, True, ""),
    ("I;16", True, False, "16-bit"),
    ("I;16L", True, False, "16-bit"),
    ("I;16B", True, False, "16-bit"),
    ("I;16N", True, False, "16-bit"),
    ("I", True, False, "32-bit integer"),
    ("F", True, False, "32-bit float"),
    ("P", False, False, ""),
    ("PA", False, True, ""),
    ("RGB", False, False, ""),
    ("RGBX", False, False, ""),
    ("RGBA", False, True, ""),
    ("RGBa", False, True, ""),
    ("CMYK", False, False, "CMYK"),
    ("YCbCr", False, False, ""),
    ("LAB", False, False, ""),
    ("HSV", False, False, ""),
]


@pytest.mark.parametrize(("mode", "gray", "alpha", "note"), MODES)
def test_every_mode_becomes_8_bit_samples(mode: str, gray: bool, alpha: bool, note: str) -> None:
    picture = load(Image.new(mode, (7, 5)))
    assert picture.pixels.dtype == np.uint8
    assert picture.pixels.shape == ((5, 7) if gray else (5, 7, 3))
    assert (picture.alpha is not None) == alpha
    assert [note in text for text in picture.notes] == ([True] if note else [])


def test_modes_without_loss_keep_their_samples() -> None:
    assert np.array_equal(load(Image.fromarray(RGB)).pixels, RGB)
    assert np.array_equal(load(Image.fromarray(GRAY)).pixels, GRAY)
    bits = Image.fromarray(GRAY > 127)
    assert np.array_equal(load(bits).pixels, np.where(GRAY > 127, 255, 0))
    palette = Image.fromarray(RGB).quantize(32)
    assert np.array_equal(load(palette).pixels, np.asarray(palette.convert("RGB")))


def test_lab_becomes_the_colour_it_means() -> None:
    red = Image.new("RGB", (4, 4), (200, 30, 40))
    to_lab = ImageCms.buildTransform(
        ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB"
    )
    lab = ImageCms.applyTransform(red, to_lab)
    assert lab is not None
    assert np.abs(load(lab).pixels.astype(int) - (200, 30, 40)).max() <= 3


def test_16_bit_samples_are_rounded_not_cut() -> None:
    samples = np.array([[0, 128, 129, 257, 65406, 65407, 65535]], np.uint16)
    expected = [[0, 0, 1, 1, 254, 255, 255]]
    picture = load(file_of(Image.fromarray(samples)))
    assert picture.pixels.tolist() == expected
    assert picture.notes == ("16-bit samples reduced to 8 bits",)


def test_16_bit_colour_leaves_a_note() -> None:
    header = struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0)
    row = zlib.compress(b"\0" + struct.pack(">6H", 65535, 256, 0, 1024, 512, 4096))
    data = b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", row)
    picture = load(data + png_chunk(b"IEND", b""))
    assert picture.pixels.tolist() == [[[255, 1, 0], [4, 2, 16]]]
    assert picture.notes == ("16-bit samples reduced to 8 bits",)
    assert load(b"P6 1 1 65535\n" + bytes(6)).notes == picture.notes
    assert load(b"P6 1 1 255\n" + bytes(3)).notes == ()


def test_16_bit_gray_and_alpha_stays_gray() -> None:
    # Pillow has no mode for it and opens RGBA: three equal bands.
    header = struct.pack(">IIBBBBB", 2, 1, 16, 4, 0, 0, 0)
    row = zlib.compress(b"\0" + struct.pack(">4H", 0x1234, 0xFFFF, 0x5678, 0x8000))
    data = b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", row)
    picture = load(data + png_chunk(b"IEND", b""))
    assert picture.pixels.tolist() == [[0x12, 0x56]]
    assert picture.alpha is not None and picture.alpha.tolist() == [[255, 128]]


@pytest.mark.parametrize(
    ("samples", "expected"),
    [
        (np.array([[0, 7, 255]], np.int32), [[0, 7, 255]]),
        (np.array([[0, 257, 65535]], np.int32), [[0, 1, 255]]),
        (np.array([[-100, 0, 100]], np.int32), [[0, 128, 255]]),
        (np.array([[0, 0.5, 1]], np.float32), [[0, 128, 255]]),
        (np.array([[0, 7.4, 255]], np.float32), [[0, 7, 255]]),
        (np.array([[0, 257, 65535]], np.float32), [[0, 1, 255]]),
        (np.array([[-1, 0, 1]], np.float32), [[0, 128, 255]]),
        (np.array([[2e9, 2e9, 2e9]], np.float32), [[0, 0, 0]]),
    ],
)
def test_32_bit_samples_take_the_narrowest_range_and_say_so(
    samples: npt.NDArray[Any], expected: list[list[int]]
) -> None:
    picture = load(Image.fromarray(samples))
    assert picture.pixels.tolist() == expected
    assert len(picture.notes) == 1 and "…" in picture.notes[0]


def test_samples_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(ImageError, match="not finite"):
        load(Image.fromarray(np.array([[0, np.nan]], np.float32)))


def test_cmyk_goes_through_its_profile_or_says_that_it_has_none() -> None:
    inks = Image.fromarray(RGB).convert("CMYK")
    plain = load(file_of(inks, "TIFF"))
    assert plain.notes == ("CMYK with no profile: colours are approximate",)
    assert np.array_equal(plain.pixels, np.asarray(inks.convert("RGB")))
    broken = load(file_of(inks, "TIFF", icc_profile=profile_for(b"CMYK")))
    assert broken.notes == ("CMYK with an unusable profile: colours are approximate",)
    assert broken.icc is plain.icc is None


# Transparency


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_alpha_is_kept_apart(mode: str) -> None:
    image = Image.fromarray(RGB if mode == "RGBA" else GRAY)
    image.putalpha(Image.fromarray(ALPHA))
    assert image.mode == mode
    picture = load(file_of(image))
    assert np.array_equal(picture.pixels, RGB if mode == "RGBA" else GRAY)
    assert picture.alpha is not None and np.array_equal(picture.alpha, ALPHA)


def test_alpha_that_is_opaque_everywhere_is_dropped() -> None:
    image = Image.fromarray(RGB)
    image.putalpha(255)
    assert load(image).alpha is None
    assert from_array(np.asarray(image)).alpha is None


@pytest.mark.parametrize("transparency", [3, bytes([0, 128, 255, 7])])
def test_palette_transparency_becomes_alpha(transparency: int | bytes) -> None:
    image = Image.new("P", (4, 1))
    image.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90, 11, 22, 33])
    image.putdata([0, 1, 2, 3])
    picture = load(file_of(image, transparency=transparency))
    expected = [255, 255, 255, 0] if transparency == 3 else [0, 128, 255, 7]
    assert picture.alpha is not None and picture.alpha.tolist() == [expected]
    assert picture.pixels.tolist() == [[[10, 20, 30], [40, 50, 60], [70, 80, 90], [11, 22, 33]]]


@pytest.mark.parametrize(
    ("image", "key"),
    [
        (Image.fromarray(GRAY), int(GRAY[2, 3])),
        (Image.fromarray(RGB), tuple(map(int, RGB[2, 3]))),
        (Image.fromarray(GRAY.astype(np.uint16) * 200), int(GRAY[2, 3]) * 200),
    ],
)
def test_the_colour_that_stands_for_transparent_becomes_alpha(
    image: Image.Image, key: int | tuple[int, ...]
) -> None:
    picture = load(file_of(image, transparency=key))
    assert picture.alpha is not None
    assert picture.alpha[2, 3] == 0 and set(np.unique(picture.alpha)) == {0, 255}


@pytest.mark.parametrize("size", [(1, 1), (3, 17), (64, 1)])
@pytest.mark.parametrize("levels", [2, 256])
def test_packed_alpha_comes_back(size: tuple[int, int], levels: int) -> None:
    alpha = (RNG.integers(0, levels, size) * (255 // (levels - 1))).astype(np.uint8)
    assert np.array_equal(unpack_alpha(pack_alpha(alpha), size[1], size[0]), alpha)


@pytest.mark.parametrize(
    ("packed", "words"),
    [
        (b"", "cannot be read"),
        (b"no PNG at all", "cannot be read"),
        (pack_alpha(ALPHA)[:60], "cannot be read"),
        (pack_alpha(ALPHA[:4]), "7×4 pixels, the picture 7×5"),
        (png_declaring(60000, 60000), "60000×60000 pixels, the picture 7×5"),
        (file_of(RGB), "mode RGB"),
    ],
)
def test_alpha_that_does_not_fit_is_refused(packed: bytes, words: str) -> None:
    with pytest.raises(BitstreamError, match=words):
        unpack_alpha(packed, 7, 5)


# Metadata


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["PNG", "TIFF", "WEBP"])
def test_orientation_is_applied_and_reset(orientation: int, format: str) -> None:
    settings = {"lossless": True} if format == "WEBP" else {}
    data = file_of(RGB, format, exif=exif_of(orientation, "Camera"), **settings)
    picture = load(data)
    with Image.open(io.BytesIO(data)) as image:
        expected = np.asarray(ImageOps.exif_transpose(image))
    assert np.array_equal(picture.pixels, expected)
    assert tags_of(picture).get(0x0112, 1) == 1
    assert tags_of(picture)[0x0110] == "Camera"
    assert np.array_equal(load(to_pil(picture)).pixels, expected)  # not turned a second time


def test_alpha_turns_with_the_picture() -> None:
    image = Image.fromarray(RGB)
    image.putalpha(Image.fromarray(ALPHA))
    picture = load(file_of(image, exif=exif_of(6)))
    assert picture.alpha is not None
    assert np.array_equal(picture.alpha, np.rot90(ALPHA, -1))
    assert picture.pixels.flags.c_contiguous and picture.alpha.flags.c_contiguous


@pytest.mark.parametrize("order", ["<", ">"])
def test_exif_keeps_every_other_byte(order: str) -> None:
    # Maker notes hold offsets from the start of the stream: writing the tags anew would break them.
    head = b"II*\0" if order == "<" else b"MM\0*"
    orientation = struct.pack(order + "HHIHH", 0x0112, 3, 1, 8, 0)
    unknown = struct.pack(order + "HHI4s", 0xC4A5, 7, 4, b"note")
    exif = head + struct.pack(order + "IH", 8, 2) + orientation + unknown + bytes(4) + b"the rest"
    picture = load(file_of(RGB, exif=b"Exif\0\0" + exif))
    at = exif.index(orientation) + 8
    assert picture.exif == exif[:at] + struct.pack(order + "H", 1) + exif[at + 2 :]
    assert picture.pixels.shape == (7, 5, 3)


@pytest.mark.parametrize("exif", [b"II*\0\xff\xff\0\0", b"no TIFF", b"II*\0\x08\0\0\0\x09\0"])
def test_damaged_exif_is_left_out_with_a_note(exif: bytes) -> None:
    image = Image.fromarray(RGB)
    image.info["exif"] = b"Exif\0\0" + exif
    picture = load(image)
    assert picture.exif is None
    assert "damaged EXIF left out" in picture.notes
    assert np.array_equal(picture.pixels, RGB)


def test_a_tiff_keeps_what_it_says_about_the_picture() -> None:
    tags = Image.Exif()
    tags[0x0110], tags[0x8769] = "Camera", {0x829A: 0.5}
    picture = load(file_of(RGB, "TIFF", exif=tags.tobytes()))
    kept = Image.Exif()
    kept.load(picture.exif or b"")
    assert kept[0x0110] == "Camera" and kept.get_ifd(0x8769) == {0x829A: 0.5}
    assert 0x0111 not in kept  # where the strips of samples lay
    assert load(file_of(RGB, "TIFF")).exif is None


@pytest.mark.parametrize("format", ["PNG", "JPEG", "TIFF", "WEBP"])
def test_profile_and_exif_survive_a_round_trip(tmp_path: Path, format: str) -> None:
    picture = load(file_of(RGB, exif=exif_of(model="Camera"), icc_profile=SRGB))
    assert picture.icc == SRGB and picture.exif is not None
    assert not picture.exif.startswith(b"Exif")
    save(picture, tmp_path / "out", format)
    again = load(tmp_path / "out")
    assert again.icc == SRGB
    assert tags_of(again)[0x0110] == "Camera"


def test_strip_leaves_out_exif_and_profile_but_turns_the_picture() -> None:
    data = file_of(RGB, exif=exif_of(6, "Camera"), icc_profile=SRGB)
    picture = load(data, strip=True)
    assert picture.exif is picture.icc is None
    assert np.array_equal(picture.pixels, np.rot90(RGB, -1))
    assert picture.notes == ()
    wide = load(file_of(RGB, icc_profile=profile_for(b"RGB")), strip=True)
    assert wide.notes == ("colour profile left out: colours will be taken for sRGB",)


@pytest.mark.parametrize(
    ("pixels", "profile", "kept", "words"),
    [
        (RGB, profile_for(b"RGB"), True, ""),
        (GRAY, profile_for(b"GRAY"), True, ""),
        (GRAY, profile_for(b"RGB"), False, "for RGB does not fit gray samples"),
        (RGB, profile_for(b"CMYK"), False, "for CMYK does not fit RGB samples"),
        (RGB, b"too short", False, "damaged"),
        (RGB, profile_for(b"RGB").replace(b"acsp", b"none"), False, "damaged"),
    ],
)
def test_a_profile_is_kept_only_where_it_fits(
    pixels: Pixels, profile: bytes, kept: bool, words: str
) -> None:
    image = Image.fromarray(pixels)
    image.info["icc_profile"] = profile
    picture = load(image)
    assert picture.icc == (profile if kept else None)
    assert [words in note for note in picture.notes] == ([] if kept else [True])


def test_huge_metadata_is_left_out_with_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "MAX_METADATA", 30)
    exif = exif_of(model="a name that needs room")
    picture = load(file_of(RGB, icc_profile=profile_for(b"RGB"), exif=exif))
    assert picture.icc is picture.exif is None
    assert len(picture.notes) == 2
    assert all("over 30, left out" in note for note in picture.notes)


def test_only_the_first_frame_is_kept_with_a_note() -> None:
    second = Image.fromarray(255 - RGB)
    data = file_of(RGB, save_all=True, append_images=[second])
    picture = load(data)
    assert np.array_equal(picture.pixels, RGB)
    assert picture.notes == ("more than one frame: one is kept",)


# Refusals


def test_bytes_that_are_no_image_are_refused() -> None:
    for data in (b"text", bytes(1000), RNG.bytes(1000)):
        with pytest.raises(ImageError, match=r"^not an image that Pillow can read$"):
            load(data)
    with pytest.raises(ImageError, match="the file is empty"):
        load(b"")


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "TIFF", "GIF", "BMP", "JPEG2000"])
def test_an_image_cut_anywhere_is_refused(format: str) -> None:
    noise = RNG.integers(0, 256, (40, 40, 3), dtype=np.uint8)
    data = file_of(noise, format)
    assert load(data).pixels.shape == (40, 40, 3)
    for cut in (1, 20, len(data) // 2, len(data) * 3 // 4):
        with pytest.raises(ImageError):
            load(data[:cut])


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "TIFF", "GIF"])
def test_a_damaged_image_is_refused_or_read_but_never_crashes(format: str) -> None:
    data = file_of(RNG.integers(0, 256, (16, 16, 3), dtype=np.uint8), format)
    for _ in range(100):
        bad = bytearray(data)
        for at in RNG.integers(0, len(data), 3):
            bad[at] = RNG.integers(256)
        try:
            picture = load(bytes(bad), max_pixels=10**6)
        except ImageError:
            continue
        assert picture.pixels.dtype == np.uint8


@pytest.mark.parametrize("size", [(60000, 60000), (20000, 10001), (16000, 12500)])
def test_a_bomb_is_refused_before_it_unfolds(size: tuple[int, int]) -> None:
    with pytest.raises(ImageError, match=r"limit of 199999999; --max-pixels raises it"):
        load(png_declaring(*size), max_pixels=199_999_999)


def test_the_limit_is_ours_and_not_that_of_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    # Pillow warns beyond one limit and fails beyond its double; both are below what we allow.
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load(file_of(RGB)).pixels.shape == (5, 7, 3)
    assert Image.MAX_IMAGE_PIXELS == 10


@pytest.mark.parametrize("source", [file_of(RGB), Image.fromarray(RGB), RGB])
def test_max_pixels_counts_for_every_kind_of_source(source: Any) -> None:
    assert load(source, max_pixels=35).pixels.shape == (5, 7, 3)
    with pytest.raises(ImageError, match="limit of 34; --max-pixels raises it"):
        load(source, max_pixels=34)


def test_sides_that_the_format_cannot_hold_are_refused() -> None:
    with pytest.raises(ImageError, match="65536×1 pixels: a side is not in 1…65535"):
        load(np.zeros((1, 65536), np.uint8))
    with pytest.raises(ImageError, match="0×5"):
        load(Image.new("RGB", (0, 5)))


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((4, 4), np.float32), "float32, not uint8"),
        (np.zeros((4, 4, 5), np.uint8), "is no picture"),
        (np.zeros((0, 4), np.uint8), "a side is not in"),
        (np.zeros(4, np.uint8), "is no picture"),
        (np.zeros((2, 4, 4, 3), np.uint8), "is no picture"),
    ],
)
def test_arrays_that_are_no_pictures_are_refused(array: Any, words: str) -> None:
    with pytest.raises(ImageError, match=words):
        load(array)


def test_sources_of_another_type_are_a_usage_error() -> None:
    with pytest.raises(UsageError, match="list is no picture"):
        load([[0, 1]])  # type: ignore[arg-type]


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"missing\.png: No such file"):
        load(tmp_path / "missing.png")
    with pytest.raises(ImageError, match="directory"):
        load(str(tmp_path))


# Sources


@pytest.mark.parametrize(
    ("shape", "gray", "alpha"),
    [
        ((3, 5), True, False),
        ((3, 5, 1), True, False),
        ((3, 5, 2), True, True),
        ((3, 5, 3), False, False),
        ((3, 5, 4), False, True),
        ((1, 1), True, False),
        ((1, 1, 3), False, False),
    ],
)
def test_arrays_are_pictures(shape: tuple[int, ...], gray: bool, alpha: bool) -> None:
    array = RNG.integers(0, 255, shape, dtype=np.uint8)
    picture = load(array)
    assert picture.grayscale == gray and (picture.alpha is not None) == alpha
    assert (picture.height, picture.width) == shape[:2]
    assert np.array_equal(
        np.asarray(to_pil(picture)), array.squeeze(2) if shape[2:] == (1,) else array
    )


def test_samples_are_contiguous_and_writable() -> None:
    # Other libraries warn of, or fail on, what is neither.
    read_only = RGB[:, ::-1]
    read_only.flags.writeable = False
    for source in (read_only, Image.fromarray(RGB), file_of(RGB)):
        pixels = load(source).pixels
        assert pixels.flags.c_contiguous and pixels.flags.writeable


def test_a_path_bytes_and_stdin_give_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, data = tmp_path / "x.png", file_of(RGB)
    path.write_bytes(data)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
    for source in (path, str(path), data, "-"):
        assert np.array_equal(load(source).pixels, RGB)


def test_an_image_of_the_caller_stays_as_it_was() -> None:
    image = Image.open(io.BytesIO(file_of(RGB, exif=exif_of(6))))
    load(image)
    assert image.size == (7, 5)
    assert image.getexif()[0x0112] == 6
    assert np.array_equal(np.asarray(image), RGB)


# Writing


@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp", ".webp", ".ppm"])
def test_saving_loses_nothing_where_the_format_can(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"out{suffix}"
    assert save(from_array(RGB), path) == ()
    assert np.array_equal(load(path).pixels, RGB)


def test_transparency_that_has_no_place_is_laid_on_white(tmp_path: Path) -> None:
    clear = Picture(np.zeros((4, 4, 3), np.uint8), alpha=np.zeros((4, 4), np.uint8))
    assert save(clear, tmp_path / "out.bmp") == ("BMP has no transparency: laid on white",)
    assert (load(tmp_path / "out.bmp").pixels == 255).all()
    assert save(clear, tmp_path / "out.png") == ()
    kept = load(tmp_path / "out.png").alpha
    assert kept is not None and not kept.any()
    gray = Picture(np.zeros((4, 4), np.uint8), alpha=np.zeros((4, 4), np.uint8))
    save(gray, tmp_path / "gray.jpg")
    assert load(tmp_path / "gray.jpg").grayscale


def test_stdout_gets_a_png(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    save(from_array(RGB), "-")
    assert np.array_equal(load(capfdbinary.readouterr().out).pixels, RGB)


@pytest.mark.parametrize(("name", "format"), [("x.txt", None), ("x", None), ("x.png", "nothing")])
def test_an_unknown_format_is_a_usage_error(tmp_path: Path, name: str, format: str | None) -> None:
    with pytest.raises(UsageError, match=r"names no picture format that can be written; try \.png"):
        save(from_array(RGB), tmp_path / name, format)
    assert not list(tmp_path.iterdir())


def test_what_a_format_cannot_hold_is_an_output_error(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"out\.webp: cannot be written as WEBP"):
        save(from_array(np.zeros((1, 20000), np.uint8)), tmp_path / "out.webp")
    assert not list(tmp_path.iterdir())


def test_nothing_is_overwritten_without_force(tmp_path: Path) -> None:
    path = tmp_path / "out.png"
    path.write_bytes(b"old")
    with pytest.raises(OutputError, match=r"out\.png: exists already; --force overwrites it"):
        save(from_array(RGB), path)
    assert path.read_bytes() == b"old"
    save(from_array(RGB), path, force=True)
    assert np.array_equal(load(path).pixels, RGB)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("fails", ["fsync", "replace"])
@pytest.mark.parametrize("before", [None, b"old"])
def test_a_failed_write_leaves_all_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: str, before: bytes | None
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    path = tmp_path / "out.bin"
    if before is not None:
        path.write_bytes(before)
    monkeypatch.setattr(os, fails, full)
    with pytest.raises(OutputError, match=r"out\.bin: cannot be written: No space left"):
        atomic_write(path, b"new", force=True)
    assert [p.read_bytes() for p in tmp_path.iterdir()] == ([] if before is None else [before])


def test_an_interrupted_write_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        atomic_write(tmp_path / "out.bin", b"new")
    assert not list(tmp_path.iterdir())


def test_folders_are_no_output(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="is a folder"):
        atomic_write(tmp_path, b"new", force=True)
    with pytest.raises(OutputError, match="cannot be written: No such file"):
        atomic_write(tmp_path / "missing" / "out.bin", b"new")


@pytest.mark.skipif(os.name == "nt", reason="links and modes of POSIX")
def test_links_modes_and_devices_stay_what_they_are(tmp_path: Path) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_bytes(b"old")
    target.chmod(0o640)
    link.symlink_to(target)
    atomic_write(link, b"new", force=True)
    assert link.is_symlink() and target.read_bytes() == b"new"
    assert target.stat().st_mode & 0o777 == 0o640
    atomic_write(os.devnull, b"new")
    assert not Path(os.devnull).is_file()
    atomic_write(tmp_path / "fresh", b"new")
    (tmp_path / "plain").write_bytes(b"")  # with the modes that the umask leaves
    assert (tmp_path / "fresh").stat().st_mode == (tmp_path / "plain").stat().st_mode
