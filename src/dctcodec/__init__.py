"""dctcodec: a neural image codec with exact entropy coding.

>>> import dctcodec
>>> blob = dctcodec.encode(image, quality=75)
>>> image = dctcodec.decode(blob)
"""

from .codec.api import decode, encode
from .codec.errors import (
    BitstreamError,
    DctcodecError,
    ImageError,
    ModelError,
    OutputError,
    UsageError,
)
from .codec.info import info
from .codec.plugin import register
from .codec.preview import preview

__version__ = "0.1.0"

__all__ = [
    "BitstreamError",
    "DctcodecError",
    "ImageError",
    "ModelError",
    "OutputError",
    "UsageError",
    "decode",
    "encode",
    "info",
    "preview",
]

register()
