"""Pictures in and out: files, PIL images and arrays become 8-bit samples, and go back."""

from __future__ import annotations

import io
import os
import secrets
import struct
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, UnidentifiedImageError

from .alpha import Samples, pack_alpha, separate, unpack_alpha
from .container import DEFAULT_MAX_PIXELS, MAX_SIDE
from .errors import DctcodecError, ImageError, OutputError, UsageError

__all__ = [
    "Picture",
    "atomic_write",
    "from_array",
    "load",
    "pack_alpha",
    "save",
    "to_bytes",
    "to_pil",
    "unpack_alpha",
]

Source: TypeAlias = "str | os.PathLike[str] | bytes | Image.Image | npt.NDArray[np.uint8]"

MAX_METADATA: Final = 16 << 20  # bytes of an ICC profile or of EXIF; larger ones are left out
EXIF_PREFIX: Final = b"Exif\0\0"  # where Pillow has EXIF; `Picture` and the container leave it out
_WITH_ALPHA: Final = frozenset(
    ("AVIF", "DCTC", "GIF", "ICNS", "ICO", "JPEG2000", "JXL", "PNG", "TGA", "TIFF", "WEBP")
)
_SAVE_SETTINGS: Final[dict[str, dict[str, Any]]] = {  # what is decoded shall not lose once more
    "AVIF": {"quality": 95, "subsampling": "4:4:4"},
    "JPEG": {"quality": 95, "subsampling": "4:4:4", "optimize": True},
    "WEBP": {"lossless": True},
}
_DESCRIPTIVE: Final = (
    ExifTags.Base.ImageDescription,
    ExifTags.Base.Make,
    ExifTags.Base.Model,
    ExifTags.Base.XResolution,
    ExifTags.Base.YResolution,
    ExifTags.Base.ResolutionUnit,
    ExifTags.Base.Software,
    ExifTags.Base.DateTime,
    ExifTags.Base.Artist,
    ExifTags.Base.Copyright,
)
_pillow_lock = threading.RLock()


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """An upright picture of 8-bit samples, and what belongs to it.

    Raises:
        ImageError: pixels or alpha have another type or shape, or there is no pixel.
    """

    pixels: Samples  # (height, width, 3) RGB, or (height, width) gray
    alpha: Samples | None = None  # (height, width), 0 transparent; None: opaque everywhere
    icc: bytes | None = None  # colour profile, RGB or gray as `pixels` are; None: sRGB
    exif: bytes | None = None  # a TIFF stream, without `Exif\0\0` in front; its orientation is 1
    notes: tuple[str, ...] = ()  # what loading has changed or left out, for a person

    def __post_init__(self) -> None:
        shape = self.pixels.shape
        if self.pixels.dtype != np.uint8:
            raise ImageError(f"samples are {self.pixels.dtype}, not uint8 with values 0…255")
        if not (len(shape) == 2 or (len(shape) == 3 and shape[2] == 3)) or 0 in shape:
            raise ImageError(f"an array of shape {shape} is no picture; (h, w) or (h, w, 3) is")
        alpha = self.alpha
        if alpha is not None and (alpha.dtype != np.uint8 or alpha.shape != shape[:2]):
            raise ImageError(f"alpha is {alpha.dtype} {alpha.shape}, not uint8 {shape[:2]}")

    @property
    def width(self) -> int:
        return int(self.pixels.shape[1])

    @property
    def height(self) -> int:
        return int(self.pixels.shape[0])

    @property
    def grayscale(self) -> bool:
        return self.pixels.ndim == 2


def from_array(array: npt.NDArray[np.uint8]) -> Picture:
    """A picture without metadata from samples.

    Args:
        array: uint8, (height, width) or (height, width, n): gray, gray and alpha, RGB or RGBA for
            n = 1…4. Not copied if it is contiguous and writable.

    Raises:
        ImageError: another type or shape, or no pixel.
    """
    alpha = None
    if array.ndim == 3 and array.shape[2] in (2, 4):
        array, alpha = array[:, :, :-1], array[:, :, -1]
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if alpha is not None and (alpha == 255).all():
        alpha = None
    return Picture(_owned(array), None if alpha is None else _owned(alpha))


def load(source: Source, *, max_pixels: int = DEFAULT_MAX_PIXELS, strip: bool = False) -> Picture:
    """A picture from a file, bytes, a PIL image or an array.

    It is the first frame, upright: the EXIF orientation is applied, and reset in the EXIF that is
    kept. Samples that are not 8-bit gray or RGB are converted; what is lost leaves a note.

    Args:
        source: a path, `-` for stdin, the bytes of a file, a PIL image (its current frame), or an
            array as `from_array` takes it.
        max_pixels: largest width × height accepted; checked before samples are decoded.
        strip: leave out EXIF and the ICC profile; the samples stay as they are.

    Raises:
        ImageError: no such file, no image, damaged, cut short, or too large.
        UsageError: `source` is of another type.
    """
    if isinstance(source, np.ndarray):
        if source.ndim >= 2:
            _check_size(source.shape[1], source.shape[0], max_pixels)
        return from_array(source)
    if isinstance(source, Image.Image):
        with _pillow(max_pixels) as remarks:
            return _convert(source, max_pixels, strip, remarks)
    data = _read(source)
    if not data:
        raise ImageError("the file is empty")
    with _pillow(max_pixels) as remarks, Image.open(io.BytesIO(data)) as image:
        return _convert(image, max_pixels, strip, remarks)


def to_pil(picture: Picture) -> Image.Image:
    """A PIL image of mode L, LA, RGB or RGBA, with the metadata in `info` as Pillow has it."""
    image = Image.fromarray(picture.pixels)
    if picture.alpha is not None:
        image.putalpha(Image.fromarray(picture.alpha))
    if picture.icc:
        image.info["icc_profile"] = picture.icc
    if picture.exif:
        image.info["exif"] = EXIF_PREFIX + picture.exif
    return image


def save(
    picture: Picture,
    target: str | os.PathLike[str],
    format: str | None = None,
    force: bool = False,
) -> tuple[str, ...]:
    """Write a picture with Pillow, whole or not at all; without further loss where possible.

    Args:
        picture: with its alpha and metadata, as far as the format has room for them.
        target: a path, or `-` for stdout.
        format: as Pillow names it; None: by the suffix of the path, PNG on stdout.
        force: overwrite.

    Returns:
        notes on what the format has no room for.

    Raises:
        UsageError: there is no such format; OutputError: exists, or cannot be written.
    """
    data, notes = to_bytes(picture, _format(target, format), f"{target}: ")
    if os.fspath(target) == "-":
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    else:
        atomic_write(target, data, force)
    return notes


def to_bytes(picture: Picture, format: str, name: str = "") -> tuple[bytes, tuple[str, ...]]:
    """A picture file in memory, as `save` writes it, and notes on what it has no room for.

    Args:
        format: as Pillow names it, or a suffix.
        name: goes in front of the message of an error.

    Raises:
        UsageError: there is no such format; OutputError: the format cannot hold this picture.
    """
    format = _format("", format)
    image, notes = to_pil(picture), []
    if picture.alpha is not None and format not in _WITH_ALPHA:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
        image = image.convert("L" if picture.grayscale else "RGB")
        notes.append(f"{format} has no transparency: laid on white")
    settings = dict(_SAVE_SETTINGS.get(format, {}))
    if picture.icc:
        settings["icc_profile"] = picture.icc
    if picture.exif:
        settings["exif"] = EXIF_PREFIX + picture.exif
    out = io.BytesIO()
    try:
        image.save(out, format, **settings)
    except DctcodecError:
        raise
    except Exception as error:  # each writer has its own way to say that it cannot
        raise OutputError(f"{name}cannot be written as {format}: {error}") from error
    return out.getvalue(), tuple(notes)


def atomic_write(path: str | os.PathLike[str], data: bytes, force: bool = False) -> None:
    """Write a file that appears whole or not at all.

    The bytes go to a file beside it, which then takes its name; a link keeps pointing where it
    does. A device or pipe, which has no name to take, is written to directly.

    Raises:
        OutputError: it exists and `force` is not given, is a folder, or cannot be written.
    """
    target = Path(os.path.realpath(path))
    if target.is_dir():
        raise OutputError(f"{path}: is a folder")
    try:
        if target.exists() and not target.is_file():
            target.write_bytes(data)
            return
        if target.exists() and not force:
            raise OutputError(f"{path}: exists already; --force overwrites it")
        part = target.with_name(f".dctcodec-{secrets.token_hex(6)}.part")
        try:
            with open(part, "xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            if target.exists():
                part.chmod(target.stat().st_mode & 0o777)
            os.replace(part, target)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror or error}") from error


def _format(target: str | os.PathLike[str], format: str | None) -> str:
    """Pillow's name of the format to write."""
    known = Image.registered_extensions()  # also loads the writers
    name = os.fspath(target)
    if format is not None:
        found = known.get("." + format.lower().removeprefix("."), format.upper())
    elif name == "-":
        found = "PNG"
    else:
        found = known.get(Path(name).suffix.lower(), "")
    if found not in Image.SAVE:
        what = repr(format) if format else repr(Path(name).suffix)
        raise UsageError(f"{what} names no picture format that can be written; try .png")
    return found


def _read(source: str | os.PathLike[str] | bytes) -> bytes:
    if isinstance(source, (bytes, bytearray, memoryview)):
        return bytes(source)
    if not isinstance(source, (str, os.PathLike)):
        raise UsageError(
            f"{type(source).__name__} is no picture; give a path, bytes, a PIL image or an array"
        )
    if os.fspath(source) == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(source).read_bytes()
    except OSError as error:
        raise ImageError(f"{source}: {error.strerror or error}") from error


def _check_size(width: int, height: int, max_pixels: int) -> None:
    if not 1 <= width <= MAX_SIDE or not 1 <= height <= MAX_SIDE:
        raise ImageError(f"{width}×{height} pixels: a side is not in 1…{MAX_SIDE}")
    if width * height > max_pixels:
        raise ImageError(
            f"{width}×{height} are {width * height} pixels, more than the limit of {max_pixels}; "
            "--max-pixels raises it"
        )


@contextmanager
def _pillow(max_pixels: int) -> Iterator[list[warnings.WarningMessage]]:
    """Pillow with our limit of pixels in place of its own, and its failures as ImageError.

    Both the limit and the filter of warnings belong to the process, so one thread at a time.

    Yields:
        the list to which Pillow's warnings are added.
    """
    with _pillow_lock, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for ignored in (DeprecationWarning, PendingDeprecationWarning, ResourceWarning):
            warnings.simplefilter("ignore", ignored)
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, max_pixels
        try:
            yield caught
        except DctcodecError:
            raise
        except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
            raise ImageError(
                f"more pixels than the limit of {max_pixels}; --max-pixels raises it"
            ) from error
        except UnidentifiedImageError:
            raise ImageError("not an image that Pillow can read") from None
        except MemoryError:
            raise
        except Exception as error:  # damaged files make Pillow raise almost anything
            raise ImageError(f"the image is damaged or cut short: {error}") from error
        finally:
            Image.MAX_IMAGE_PIXELS = before


def _convert(
    image: Image.Image,
    max_pixels: int,
    strip: bool,
    remarks: list[warnings.WarningMessage],
) -> Picture:
    """What `load` promises, from an image that may still be on disk."""
    _check_size(*image.size, max_pixels)
    notes = []
    if getattr(image, "is_animated", False):
        notes.append("more than one frame: one is kept")
    stored_as = _stored_as(image)
    image.load()
    _check_size(*image.size, max_pixels)  # an icon learns its size only now
    pixels, alpha, lost = separate(image, stored_as)
    tags = _tags(image)
    orientation = tags.get(ExifTags.Base.Orientation, 1)
    icc, lost_profile = _profile(image, grayscale=pixels.ndim == 2, strip=strip)
    exif, lost_exif = _exif(image.info.get("exif") or _described(tags))
    notes += [*lost, *lost_profile, *([] if strip else lost_exif)]
    notes += [f"Pillow: {' '.join(str(remark.message).split())}" for remark in remarks]
    return Picture(
        _owned(_upright(pixels, orientation)),
        None if alpha is None else _owned(_upright(alpha, orientation)),
        icc,
        None if strip else exif,
        tuple(dict.fromkeys(notes)),
    )


def _stored_as(image: Image.Image) -> str:
    """Pillow's raw mode of a file that has not been decoded yet, such as `RGB;16B`; or nothing."""
    for codec, _, _, arguments in getattr(image, "tile", ()):
        raw = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
        deep = codec == "ppm" and arguments[1] > 255
        return f"{raw};16" if deep else str(raw)
    return ""


def _owned(samples: Samples) -> Samples:
    """Contiguous and writable, as other libraries want it; copied only if it is not."""
    return np.require(samples, requirements=["C", "W"])


def _upright(samples: Samples, orientation: object) -> Samples:
    """Samples as the eye should see them; EXIF 2.32, tag 0x0112, values 1…8."""
    if orientation not in range(2, 9):
        return samples
    assert isinstance(orientation, int)
    if orientation >= 5:
        samples = samples.swapaxes(0, 1)
    flips = (orientation - 1) % 4
    if flips in (1, 2):
        samples = samples[:, ::-1]
    if flips in (2, 3):
        samples = samples[::-1]
    return samples


def _profile(image: Image.Image, *, grayscale: bool, strip: bool) -> tuple[bytes | None, list[str]]:
    """The ICC profile if it is one for these samples; CMYK and LAB have become sRGB."""
    profile = image.info.get("icc_profile")
    if not profile or image.mode in ("CMYK", "LAB"):
        return None, []
    if strip:
        srgb = b"sRGB" in profile or "sRGB".encode("utf-16-be") in profile
        return None, [] if srgb else ["colour profile left out: colours will be taken for sRGB"]
    if len(profile) > MAX_METADATA:
        return None, [f"ICC profile of {len(profile)} bytes, over {MAX_METADATA}, left out"]
    space = profile[16:20]  # ICC.1:2022, 7.2: colour space at 16, `acsp` at 36
    if len(profile) < 128 or profile[36:40] != b"acsp":
        return None, ["damaged ICC profile left out"]
    if space != (b"GRAY" if grayscale else b"RGB "):
        name = space.decode("latin-1").strip()
        kind = "gray" if grayscale else "RGB"
        return None, [f"ICC profile for {name} does not fit {kind} samples: left out"]
    return bytes(profile), []


def _tags(image: Image.Image) -> Image.Exif:
    """EXIF tags as Pillow finds them, in EXIF, XMP, a TIFF's own tags; none if damaged."""
    with suppress(Exception):
        return image.getexif()
    return Image.Exif()


def _exif(raw: bytes) -> tuple[bytes | None, list[str]]:
    """EXIF as a TIFF stream with its orientation set to 1; all else stays byte for byte."""
    while raw.startswith(EXIF_PREFIX):
        raw = raw[len(EXIF_PREFIX) :]
    if not raw:
        return None, []
    if len(raw) > MAX_METADATA:
        return None, [f"EXIF of {len(raw)} bytes, over {MAX_METADATA}, left out"]
    try:
        return _reset_orientation(raw), []
    except (struct.error, KeyError):
        return None, ["damaged EXIF left out"]


def _reset_orientation(exif: bytes) -> bytes:
    """TIFF 6.0, section 2: header, then a directory of 12-byte entries."""
    order = {b"II*\0": "<", b"MM\0*": ">"}[exif[:4]]
    (start,) = struct.unpack_from(order + "I", exif, 4)
    (count,) = struct.unpack_from(order + "H", exif, start)
    out = bytearray(exif)
    for entry in range(start + 2, start + 2 + 12 * count, 12):
        (tag,) = struct.unpack_from(order + "H", exif, entry)
        if tag == ExifTags.Base.Orientation:
            struct.pack_into(order + "HHIHH", out, entry, tag, 3, 1, 1, 0)  # one SHORT: 1
    return bytes(out)


def _described(tags: Image.Exif) -> bytes:
    """EXIF made from a TIFF's tags about the picture, not those on how its samples are stored."""
    kept = Image.Exif()
    kept.update((tag, tags[tag]) for tag in _DESCRIPTIVE if tag in tags)
    for directory in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo):
        with suppress(Exception):  # one that cannot be read is left out
            if entries := tags.get_ifd(directory):
                kept[directory] = dict(entries)
    with suppress(Exception):  # nor is all that Pillow reads something that it can write
        return kept.tobytes() if kept else b""
    return b""
