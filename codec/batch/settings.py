"""What a batch does to each picture: settings that decide the bytes, and how they are checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, TypeAlias

from ..api import DEFAULT_QUALITY, DEFAULT_TILE, quality_index
from ..container import DEFAULT_MAX_PIXELS
from ..effort import DEFAULT_EFFORT, Effort
from ..errors import UsageError
from ..plugin import SUFFIX
from ..tune import DEFAULT_TUNE, Tune

__all__ = ["DecodeSettings", "EncodeSettings", "Settings"]

_JPEG = "jpg", "jpeg", "jpe", "jfif", "jp2", "j2k", "jxl"
_OTHERS = "avif", "bmp", "gif", "heic", "heif", "png", "tga", "tif", "tiff", "webp"
_NETPBM = "pbm", "pgm", "pnm", "ppm"
PICTURES = frozenset(f".{suffix}" for suffix in (*_JPEG, *_OTHERS, *_NETPBM))
"""Suffixes that name a picture in a folder, a glob or a tar; a list is taken as it is."""

Value: TypeAlias = "str | int | float | bool | None"


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodeSettings:
    """Pictures to .dctc files.

    Raises:
        UsageError: a value is out of range.
    """

    quality: float = DEFAULT_QUALITY  # 0…100, in quarters
    layers: int | None = None  # below the context; None: all
    effort: int = DEFAULT_EFFORT  # 0…9
    tune: str = DEFAULT_TUNE  # see `tune.TUNES`
    tile: int = DEFAULT_TILE  # side, pixels, a multiple of 32
    strip: bool = False  # leave out EXIF and ICC
    device: str = "cpu"  # as torch names it
    max_pixels: int = DEFAULT_MAX_PIXELS
    verify: bool = False  # decode each file, compare its symbols and its PSNR
    psnr_floor: float = 20.0  # dB, with `verify`

    inputs: ClassVar[frozenset[str]] = PICTURES

    def __post_init__(self) -> None:
        quality_index(self.quality)
        Effort(self.effort)
        Tune(self.tune)
        if self.tile < 32 or self.tile % 32 or self.tile > 65536:
            raise UsageError(f"tile side {self.tile} is not a multiple of 32 in 32…65536")
        if not 0 <= self.psnr_floor <= 100:
            raise UsageError(f"PSNR floor {self.psnr_floor:g} dB is not in 0…100")

    def output(self, name: str) -> str:
        """The suffix is added, not replaced: a.jpg and a.png stay two files."""
        return name + SUFFIX

    def key(self) -> dict[str, Value]:
        """What decides the bytes of a file, for the manifest.

        Raises:
            ModelError: the model that encodes is missing or damaged.
            UsageError: it has not so many layers.
        """
        from ...models import weights
        from ..errors import ModelError

        try:
            model = weights.default()
        except weights.WeightsError as error:
            raise ModelError(str(error)) from error
        most = model.cfg.layers
        if self.layers is not None and not 0 <= self.layers <= most:
            raise UsageError(f"layers {self.layers} is not in 0…{most}")
        # left out where they are the default: manifests of before there were these stay good
        later: dict[str, Value] = {} if self.effort == DEFAULT_EFFORT else {"effort": self.effort}
        later |= {} if self.tune == DEFAULT_TUNE else {"tune": self.tune}
        return {
            "task": "encode",
            "quality": float(self.quality),
            "layers": most if self.layers is None else self.layers,
            "tile": self.tile,
            "strip": self.strip,
            "model": f"{model.prior_id.hex()}-{model.synthesis_id.hex()}",
            **later,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodeSettings:
    """.dctc files to pictures.

    Raises:
        UsageError: a value is out of range, or Pillow does not write the format.
    """

    format: str = "png"  # a suffix that Pillow knows
    layers: int | None = None  # at most so many; None: all there are
    device: str = "cpu"
    max_pixels: int = DEFAULT_MAX_PIXELS

    inputs: ClassVar[frozenset[str]] = frozenset([SUFFIX])
    verify: ClassVar[bool] = False
    psnr_floor: ClassVar[float] = 0.0

    def __post_init__(self) -> None:
        from PIL import Image

        known = Image.registered_extensions()
        if known.get(f".{self.format.lower()}") not in Image.SAVE:
            raise UsageError(f"{self.format!r} names no picture format; try png")
        if self.layers is not None and self.layers < 0:
            raise UsageError(f"layers {self.layers} is not at least 0")

    def output(self, name: str) -> str:
        """a.png.dctc becomes a.png, a.jpg.dctc becomes a.jpg.png."""
        suffix = f".{self.format.lower()}"
        name = name.removesuffix(SUFFIX)
        return name if name.lower().endswith(suffix) else name + suffix

    def key(self) -> dict[str, Value]:
        """What decides the picture, for the manifest."""
        return {"task": "decode", "format": self.format.lower(), "layers": self.layers}


Settings: TypeAlias = EncodeSettings | DecodeSettings
