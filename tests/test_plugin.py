"""The Pillow plugin: opening is cheap, loading decodes, drafts come from the context."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageCms, ImageFile

from dctcodec.codec import container
from dctcodec.codec.plugin import register

Pixels = npt.NDArray[np.uint8]
ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@pytest.fixture(autouse=True)
def plugin() -> None:
    register()


def empty_file(width: int = 64, height: int = 48, **flags: bool) -> bytes:
    """A sound file of one empty context, of a prior that nobody has; extras are given by flags."""
    header = container.Header(
        width=width,
        height=height,
        quality_index=250,
        tile=1024,
        layers=0,
        prior_id=b"none",
        synthesis_id=b"no",
        **flags,
    )
    rows = [[b""] * header.tiles]
    return container.write(header, rows, {kind: b"payload" for kind in header.extras})


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


def saved(image: Image.Image, **settings: object) -> bytes:
    out = io.BytesIO()
    image.save(out, "DCTC", **settings)
    return out.getvalue()


@pytest.fixture
def rgba(photo: Pixels) -> Image.Image:
    """A photo with a gradient of transparency, a profile and EXIF."""
    image = Image.fromarray(photo)
    height, width, _ = photo.shape
    ramp = np.linspace(0, 255, width).round().astype(np.uint8)
    image.putalpha(Image.fromarray(np.tile(ramp, (height, 1))))
    tags = Image.Exif()
    tags[0x0110] = "Camera"
    image.info |= {"icc_profile": ICC, "exif": tags.tobytes()}
    return image


# Without any model


def test_pillow_knows_suffix_magic_and_mime_type(tmp_path: Path) -> None:
    register()  # a second time
    assert Image.registered_extensions()[".dctc"] == "DCTC"
    assert Image.MIME["DCTC"] == "image/x-dctc"
    assert Image.ID.count("DCTC") == 1
    path = tmp_path / "named.png"  # the magic decides, not the suffix
    path.write_bytes(empty_file())
    with Image.open(path) as image:
        assert image.format == "DCTC"
        assert image.get_format_mimetype() == "image/x-dctc"


@pytest.mark.parametrize(("flags", "mode"), [({}, "RGB"), ({"grayscale": True}, "L")])
@pytest.mark.parametrize("alpha", [False, True])
def test_opening_reads_the_header(flags: dict[str, bool], mode: str, alpha: bool) -> None:
    image = opened(empty_file(130, 70, alpha=alpha, icc=True, exif=True, **flags))
    assert image.size == (130, 70)
    assert image.mode == mode + ("A" if alpha else "")
    assert image.info["quality"] == 62.5 and image.info["layers"] == 0
    assert image.info["icc_profile"] == b"payload"
    assert image.info["exif"] == b"Exif\0\0payload"
    assert not {"icc_profile", "exif"} & set(opened(empty_file()).info)


def test_opening_does_not_load_torch() -> None:
    code = """
import io, sys
from PIL import Image
from dctcodec.codec.plugin import register
register()
assert Image.open(io.BytesIO(bytes.fromhex(sys.argv[1]))).size == (64, 48)
print("torch" in sys.modules)
"""
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, empty_file().hex()],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert run.stdout.strip() == "False", run.stderr


def test_a_damaged_file_is_an_os_error_that_says_what_is_wrong(photo_file: bytes) -> None:
    with pytest.raises(OSError, match="missing"):
        opened(photo_file[:-1])
    with pytest.raises(OSError, match="ends inside its header"):
        opened(photo_file[:10])
    with pytest.raises(OSError, match="header is damaged"):
        opened(photo_file[:6] + b"else" + photo_file[10:])
    with pytest.raises(OSError, match="version 9"):
        opened(photo_file[:4] + b"\x09" + photo_file[5:])


def test_a_file_of_an_unknown_model_opens_but_does_not_load() -> None:
    from dctcodec.codec.errors import ModelError

    image = opened(empty_file())
    for _ in range(2):
        with pytest.raises(ModelError, match=b"none".hex()):
            image.load()


def test_the_limit_of_pixels_is_that_of_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(Image.DecompressionBombError):
        opened(empty_file())
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    assert opened(empty_file(65535, 65535)).size == (65535, 65535)


# With a model


def test_loading_decodes(photo_file: bytes) -> None:
    from dctcodec.codec.api import decode

    image = opened(photo_file)
    assert image.size == (264, 200)
    assert np.array_equal(np.asarray(image), np.asarray(decode(photo_file)))
    image.load()  # a second time
    assert np.array_equal(np.asarray(image.copy()), np.asarray(decode(photo_file)))


def test_a_file_on_disk_is_not_kept_open(tmp_path: Path, photo_file: bytes) -> None:
    path = tmp_path / "photo.dctc"
    path.write_bytes(photo_file)
    image = Image.open(path)  # left open, the file would be a ResourceWarning: an error in tests
    assert image.fp is None
    with path.open("rb") as file:
        assert np.array_equal(np.asarray(Image.open(file)), np.asarray(image))
        assert not file.closed  # it is the caller's
    with Image.open(path) as other:
        other.load()
    image.close()


def test_saving_encodes_with_the_settings_given(tmp_path: Path, photo: Pixels) -> None:
    from dctcodec.codec.api import encode

    image = Image.fromarray(photo)
    settings: dict[str, Any] = {"quality": 20, "layers": 2, "tile": 96}
    image.save(tmp_path / "photo.dctc", **settings)
    data = (tmp_path / "photo.dctc").read_bytes()
    assert data == encode(photo, 20, layers=2, tile=96)
    assert saved(image) == encode(photo)  # the defaults are those of encode
    assert opened(data).info["layers"] == 2


def test_settings_out_of_range_write_no_file(tmp_path: Path, photo: Pixels) -> None:
    with pytest.raises(ValueError, match="quality 101"):
        Image.fromarray(photo).save(tmp_path / "photo.dctc", quality=101)
    assert not list(tmp_path.iterdir())


def test_transparency_and_metadata_come_through(rgba: Image.Image) -> None:
    image = opened(saved(rgba, quality=20))
    assert image.mode == "RGBA"
    assert image.info["icc_profile"] == ICC
    assert image.getexif()[0x0110] == "Camera"
    assert np.array_equal(np.asarray(image)[:, :, 3], np.asarray(rgba)[:, :, 3])
    assert image.mode == "RGBA"


def test_metadata_can_be_given_or_left_out(rgba: Image.Image) -> None:
    other = Image.Exif()
    other[0x0110] = "Other"
    image = opened(saved(rgba, layers=0, exif=other, icc_profile=None))
    assert image.getexif()[0x0110] == "Other"
    assert "icc_profile" not in image.info
    bare = opened(saved(rgba, layers=0, strip=True))
    assert not {"icc_profile", "exif"} & set(bare.info)
    assert rgba.getexif()[0x0110] == "Camera"  # the caller's image is as before


@pytest.mark.parametrize("mode", ["L", "P", "LA", "1", "CMYK"])
def test_images_of_other_modes_can_be_saved(photo: Pixels, mode: str) -> None:
    image = Image.fromarray(photo[:48, :64]).convert(mode)
    again = opened(saved(image, layers=0))
    again.load()
    assert again.mode == {"L": "L", "1": "L", "LA": "L"}.get(mode, "RGB")
    assert again.size == (64, 48)


def test_a_draft_is_the_thumbnail_of_the_context(photo_file: bytes) -> None:
    image = opened(photo_file)
    assert image.draft(None, (34, 25)) is None  # 8·34 is more than 264
    assert image.draft(None, (33, 26)) is None
    assert image.size == (264, 200)
    assert image.draft("RGB", (33, 25)) == ("RGB", (0, 0, 33, 25))
    assert image.size == (33, 25)
    from dctcodec.codec.preview import thumbnail

    assert np.array_equal(np.asarray(image), thumbnail(photo_file, scale=4))
    assert image.draft(None, (1, 1)) is None  # it has been decoded


def test_a_thumbnail_needs_no_networks(photo: Pixels, photo_file: bytes, rgba: Image.Image) -> None:
    from unittest import mock

    with mock.patch("dctcodec.codec.api.decode", side_effect=AssertionError):
        small = opened(photo_file)
        small.thumbnail((12, 12))
        clear = opened(saved(rgba, quality=50))
        clear.thumbnail((12, 12))
    expected = Image.fromarray(photo)
    expected.thumbnail((12, 12))
    assert small.size == expected.size == (12, 9)
    assert np.abs(np.asarray(small).astype(int) - np.asarray(expected)).mean() < 6
    assert clear.mode == "RGBA"
    ramp = np.asarray(clear)[:, :, 3].mean(0)
    assert np.abs(ramp - np.linspace(11, 244, 12)).max() < 4


def test_a_large_thumbnail_is_decoded_in_full(photo_file: bytes) -> None:
    image = opened(photo_file)
    full = np.asarray(opened(photo_file).resize((132, 100), Image.Resampling.BICUBIC))
    image.thumbnail((132, 100))
    assert np.abs(np.asarray(image).astype(int) - full).mean() < 2


def test_truncated_files_are_salvaged_where_pillow_is_told_to(
    monkeypatch: pytest.MonkeyPatch, photo_file: bytes
) -> None:
    from dctcodec.codec.api import decode

    cut = photo_file[: len(photo_file) * 2 // 3]
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    image = opened(cut)
    assert np.array_equal(np.asarray(image), np.asarray(decode(cut, mode="salvage")))
    assert image.size == (264, 200)


def test_a_dctc_file_is_a_picture_for_every_function_here(photo_file: bytes) -> None:
    from dctcodec.codec.errors import ImageError
    from dctcodec.codec.pictures import load

    picture = load(photo_file)
    assert np.array_equal(picture.pixels, np.asarray(opened(photo_file)))
    with pytest.raises(ImageError, match="missing"):
        load(photo_file[:-1])
