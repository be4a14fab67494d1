"""JPEG, WebP, AVIF, JPEG 2000 and JPEG XL by Pillow."""

from __future__ import annotations

import importlib
import importlib.util
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import PIL
from PIL import Image, features

from ....codec.errors import UsageError
from .base import Peer, Pixels

__all__ = ["PEERS", "PillowPeer"]

Settings = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class PillowPeer(Peer):
    """A format that Pillow writes.

    settings_of: keyword arguments of `Image.save` at a level.
    threads: further ones that keep the encoder on one thread and do not change the file.
    feature: as `PIL.features` names the library; None: the format comes with `plugin`.
    plugin: (module to import, package to install) that teaches Pillow the format.
    lowest, highest: levels that exist.
    """

    name: str
    title: str
    suffix: str
    levels: tuple[float, ...]
    format: str
    settings_of: Callable[[float], Settings]
    lowest: float
    highest: float
    feature: str | None = None
    plugin: tuple[str, str] | None = None
    threads: Settings | None = None
    by_default: bool = True

    def missing(self) -> str | None:
        if self.plugin and importlib.util.find_spec(self.plugin[0]) is None:
            return f"needs {self.plugin[1]}: pip install 'dctcodec[eval]'"
        if self.feature and not features.check(self.feature):
            return f"this Pillow {PIL.__version__} was built without {self.feature}"
        return None

    def version(self) -> str:
        parts = [f"Pillow {PIL.__version__}"]
        if self.feature == "jpg":
            parts.append(f"libjpeg-turbo {features.version('libjpeg_turbo')}")
        elif self.feature == "avif":
            from PIL import _avif

            parts.append(f"libavif {features.version('avif')}, {_avif.codec_versions()}")
        elif self.feature:
            parts.append(f"{_LIBRARIES[self.feature]} {features.version(self.feature)}")
        if self.plugin:
            from importlib.metadata import version

            parts.append(f"{self.plugin[1]} {version(self.plugin[1])}")
        return ", ".join(parts)

    def settings(self, level: float) -> str:
        return ", ".join(f"{k}={v}" for k, v in self.settings_of(level).items())

    def check(self, level: float) -> None:
        if not self.lowest <= level <= self.highest:
            raise UsageError(
                f"{self.name}: level {level:g} is not in {self.lowest:g}…{self.highest:g}"
            )

    def encode(self, pixels: Pixels, level: float) -> bytes:
        self._load()
        out = io.BytesIO()
        settings = {**self.settings_of(level), **(self.threads or {})}
        Image.fromarray(pixels).save(out, self.format, **settings)
        return out.getvalue()

    def decode(self, data: bytes) -> Pixels:
        self._load()
        with Image.open(io.BytesIO(data), formats=[self.format]) as image:
            return np.array(image.convert("RGB"))

    def _load(self) -> None:
        if self.plugin:
            importlib.import_module(self.plugin[0])
        if self.feature == "avif":
            from PIL import AvifImagePlugin

            AvifImagePlugin.DEFAULT_MAX_THREADS = 1  # decoders take no such argument


_LIBRARIES: Final = {"webp": "libwebp", "jpg_2000": "OpenJPEG"}
_JPEG: Final = (5, 8, 10, 15, 20, 25, 30, 40, 50, 60, 70, 75, 80, 85, 90, 95, 97)
_FEWER: Final = (5, 10, 20, 30, 50, 70, 80, 90, 95, 97)
_AVIF: Final = (10, 25, 40, 50, 60, 70, 80, 90)
_SLOW: Final = (15, 35, 55, 75)  # seconds a picture


def _jpeg(subsampling: str) -> PillowPeer:
    return PillowPeer(
        name=f"jpeg-{subsampling.replace(':', '')}",
        title=f"JPEG {subsampling}",
        suffix=".jpg",
        format="JPEG",
        feature="jpg",
        levels=_JPEG if subsampling == "4:2:0" else _FEWER,  # the first is the usual anchor
        lowest=1,
        highest=100,
        settings_of=lambda q: {"quality": int(q), "subsampling": subsampling, "optimize": True},
    )


def _avif(speed: int, subsampling: str, tune: str | None) -> PillowPeer:
    """`tune` None: libaom's own choice for still pictures."""

    def settings(level: float) -> Settings:
        chosen: dict[str, Any] = {"quality": int(level), "speed": speed, "subsampling": subsampling}
        return chosen | ({"advanced": {"tune": tune}} if tune else {})

    return PillowPeer(
        name=f"avif-s{speed}-{subsampling.replace(':', '')}" + (f"-{tune}" if tune else ""),
        title=f"AVIF speed {speed}, {subsampling}" + (f", tune={tune}" if tune else ""),
        suffix=".avif",
        format="AVIF",
        feature="avif",
        levels=_AVIF if speed >= 6 else _SLOW,
        lowest=0,
        highest=100,
        settings_of=settings,
        threads={"max_threads": 1},
        by_default=speed == 6,
    )


PEERS: Final[tuple[Peer, ...]] = (
    _jpeg("4:2:0"),
    _jpeg("4:4:4"),
    PillowPeer(
        name="webp",
        title="WebP",
        suffix=".webp",
        format="WEBP",
        feature="webp",
        levels=(5, 15, 30, 45, 60, 75, 85, 90, 95, 100),
        lowest=0,
        highest=100,
        settings_of=lambda q: {"quality": int(q), "method": 6},
    ),
    PillowPeer(
        name="jpeg2000",
        title="JPEG 2000",
        suffix=".jp2",
        format="JPEG2000",
        feature="jpg_2000",
        # The compression ratio against 24 bits per pixel, as OpenJPEG counts; negative, so that
        # the curve rises with the level as all others do.
        levels=(-240, -120, -96, -64, -48, -32, -24, -16, -10, -6),
        lowest=-2000,
        highest=-1,
        settings_of=lambda ratio: {
            "irreversible": True,
            "mct": 1,
            "quality_mode": "rates",
            "quality_layers": [-ratio],
        },
    ),
    PillowPeer(
        name="jpeg-xl",
        title="JPEG XL effort 7",
        suffix=".jxl",
        format="JXL",
        plugin=("pillow_jxl", "pillow-jxl-plugin"),
        levels=(5, 15, 30, 45, 60, 75, 87, 94, 98),
        lowest=0,
        highest=99,  # 100 is lossless
        settings_of=lambda q: {"quality": int(q), "effort": 7},
        threads={"num_threads": 0},  # none beside the caller's
    ),
    *(
        _avif(speed, subsampling, tune)
        for speed in (8, 6, 4)  # 6 is Pillow's default
        for subsampling in ("4:2:0", "4:4:4")  # 4:2:0 is Pillow's default
        for tune in (None, "psnr")
    ),
)
