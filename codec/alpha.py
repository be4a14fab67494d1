"""PIL images of any mode as 8-bit samples and alpha; the alpha channel packed without loss."""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms
from PIL.PngImagePlugin import PngImageFile

from .errors import BitstreamError, ImageError

__all__ = ["pack_alpha", "separate", "unpack_alpha"]

Samples = npt.NDArray[np.uint8]


def pack_alpha(alpha: Samples) -> bytes:
    """A grayscale PNG of the channel, of 1 bit per pixel where only 0 and 255 occur.

    Args:
        alpha: (height, width), uint8, 0 transparent … 255 opaque.
    """
    image, out = Image.fromarray(alpha), io.BytesIO()
    if np.isin(alpha, (0, 255)).all():
        image = image.convert("1", dither=Image.Dither.NONE)
    image.save(out, "PNG", optimize=True)
    return out.getvalue()


def unpack_alpha(packed: bytes, width: int, height: int) -> Samples:
    """The channel that `pack_alpha` packed; allocates nothing before the size has been checked.

    Args:
        packed: a grayscale PNG of 1 or 8 bits.
        width: of the picture, pixels.
        height: of the picture, pixels.

    Returns:
        (height, width), uint8.

    Raises:
        BitstreamError: no such PNG, damaged, or of another size.
    """
    try:
        image = PngImageFile(io.BytesIO(packed))  # not Image.open: its limit of pixels is not ours
        size, mode = image.size, image.mode
        if size == (width, height) and mode in ("1", "L"):
            image.load()
            return np.array(image.convert("L"))
    except Exception as error:  # damaged bytes make Pillow raise almost anything
        raise BitstreamError(f"the alpha channel cannot be read: {error}") from error
    if mode not in ("1", "L"):
        raise BitstreamError(f"the alpha channel is a PNG of mode {mode}, not grayscale")
    raise BitstreamError(
        f"the alpha channel is {size[0]}×{size[1]} pixels, the picture {width}×{height}"
    )


def separate(
    image: Image.Image, stored_as: str = ""
) -> tuple[Samples, Samples | None, tuple[str, ...]]:
    """Samples and alpha of an image, and notes on what the conversion has lost.

    Args:
        image: loaded, of any mode.
        stored_as: Pillow's raw mode of the file, such as `RGB;16B`; empty if not known.

    Returns:
        (height, width) gray or (height, width, 3) RGB; alpha (height, width), None if it is opaque
        everywhere; notes.

    Raises:
        ImageError: no picture can be made of the samples.
    """
    image, alpha = _split(image)
    pixels, notes = _eight_bits(image, stored_as)
    if stored_as.startswith("LA;") and pixels.ndim == 3:  # Pillow opens 16-bit LA as RGBA
        pixels = pixels[:, :, 0]
    opaque = alpha is None or bool((alpha == 255).all())
    return pixels, None if opaque else alpha, notes


def _split(image: Image.Image) -> tuple[Image.Image, Samples | None]:
    """The image without palette and transparency, which may be a band, a palette's, or a key."""
    if image.mode in ("P", "PA"):
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    elif image.mode in ("RGBa", "La"):  # colours multiplied by alpha
        image = image.convert(image.mode.replace("a", "A"))
    if image.mode in ("RGBA", "LA"):
        return image.convert(image.mode[:-1]), np.asarray(image.getchannel("A"))
    if image.mode == "1":
        image = image.convert("L")
    key = image.info.get("transparency")
    if isinstance(key, int) and image.mode in ("L", "I", "I;16", "I;16B", "I;16L"):
        return image, np.where(np.asarray(image) == key, np.uint8(0), np.uint8(255))
    if isinstance(key, tuple) and len(key) == 3 and image.mode == "RGB":
        if max(key) > 255:  # of 16 bits; Pillow has kept the high bytes of the samples
            key = tuple(value >> 8 for value in key)
        keyed = (np.asarray(image) == key).all(axis=2)
        return image, np.where(keyed, np.uint8(0), np.uint8(255))
    return image, None


def _eight_bits(image: Image.Image, stored_as: str) -> tuple[Samples, tuple[str, ...]]:
    """Gray or RGB samples of an image without alpha and palette."""
    mode = image.mode
    if mode.startswith("I;16"):
        most = 4095 if "12" in stored_as else 65535
        return _reduced(np.asarray(image), most), (_reduction(most),)
    if mode in ("I", "F"):
        return _from_wide(np.asarray(image), stored_as)
    if mode == "CMYK":
        return _from_cmyk(image)
    if mode == "LAB":
        lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
        image = _through_profiles(image, lab)
    elif mode not in ("L", "RGB"):
        image = image.convert("RGB")
    return np.asarray(image), (_reduction(65535),) if ";16" in stored_as else ()


def _reduction(most: int) -> str:
    return f"{most.bit_length()}-bit samples reduced to 8 bits"


def _reduced(samples: npt.NDArray[np.generic], most: int) -> Samples:
    """Samples 0…most as 0…255, rounded; larger ones clipped."""
    wide = np.clip(samples.astype(np.int64), 0, most)
    return ((wide * 255 + most // 2) // most).astype(np.uint8)


def _from_wide(
    samples: npt.NDArray[np.int32] | npt.NDArray[np.float32], stored_as: str
) -> tuple[Samples, tuple[str, ...]]:
    """Gray from 32-bit samples, whose range no mode tells: the narrowest usual one that fits."""
    low, high = samples.min(), samples.max()
    if not np.isfinite([low, high]).all():
        raise ImageError("some samples are not finite numbers")
    integers = samples.dtype.kind == "i"
    if integers and ";16" in stored_as and low >= 0:
        return _reduced(samples, 65535), (_reduction(65535),)
    kind, shown = ("integer", "d") if integers else ("float", "g")
    ranges = (255, 65535) if integers else (1, 255, 65535)
    fitting = [most for most in ranges if low >= 0 and high <= most]
    if fitting:
        bottom, top, how = 0.0, float(fitting[0]), "taken as"
    else:
        bottom, top, how = float(low), float(high), "stretched from"
    span = top - bottom or 1.0  # all samples alike: black
    scaled = (samples.astype(np.float64) - bottom) * 255 / span
    note = f"32-bit {kind} samples {low:{shown}}…{high:{shown}} {how} {bottom:g}…{top:g}"
    return np.floor(scaled + 0.5).astype(np.uint8), (note,)


def _from_cmyk(image: Image.Image) -> tuple[Samples, tuple[str, ...]]:
    profile = image.info.get("icc_profile")
    if profile:
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            rgb = _through_profiles(image, source)
            return np.asarray(rgb), ("CMYK converted to sRGB by its profile",)
        except (ImageCms.PyCMSError, OSError):
            pass
    which = "an unusable" if profile else "no"
    return np.asarray(image.convert("RGB")), (
        f"CMYK with {which} profile: colours are approximate",
    )


def _through_profiles(image: Image.Image, source: ImageCms.ImageCmsProfile) -> Image.Image:
    """The image in sRGB."""
    target = ImageCms.createProfile("sRGB")
    converted = ImageCms.profileToProfile(image, source, target, outputMode="RGB")
    assert converted is not None  # it is None only for conversions in place
    return converted
