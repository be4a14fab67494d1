"""Our own codec."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path

import numpy as np

from ....codec.api import decode_picture, encode_picture, quality_index
from ....codec.errors import DctcodecError
from ....codec.pictures import from_array
from ....codec.tune import DEFAULT_TUNE, TUNES
from .base import Peer, Pixels

__all__ = ["NAME", "PEERS", "Ours"]

NAME = "dctcodec"


class Ours(Peer):
    """The released default model, as `dctcodec encode --tune` uses it."""

    def __init__(self, tune: str = DEFAULT_TUNE) -> None:
        self.tune = tune
        self.name = self.title = NAME if tune == DEFAULT_TUNE else f"{NAME}-{tune}"

    suffix = ".dctc"
    levels = (0, 5, 10, 20, 30, 40, 50, 60, 75, 85, 95, 100)

    def missing(self) -> str | None:
        from ....models import weights

        try:
            weights.default()
        except (DctcodecError, weights.WeightsError) as error:
            return str(error)
        return None

    def version(self) -> str:
        """Package, model and code: a change of any of them makes other files or pixels."""
        from .... import __version__
        from ....models import weights

        model = weights.default()
        return (
            f"dctcodec {__version__}, model {model.name} {model.prior_id.hex()}"
            f"-{model.synthesis_id.hex()}, code {_code()}"
        )

    def settings(self, level: float) -> str:
        return f"quality={level:g}" + (f" tune={self.tune}" if self.tune != DEFAULT_TUNE else "")

    def check(self, level: float) -> None:
        quality_index(level)

    def encode(self, pixels: Pixels, level: float) -> bytes:
        return encode_picture(from_array(pixels), level, tune=self.tune).data

    def decode(self, data: bytes) -> Pixels:
        pixels = decode_picture(data).picture.pixels
        return pixels if pixels.ndim == 3 else np.repeat(pixels[:, :, None], 3, axis=2)


@lru_cache(maxsize=1)
def _code() -> str:
    """Eight hex digits of the code that decides bytes and pixels."""
    root = Path(__file__).resolve().parents[3]
    codec = [root / "codec" / f"{name}.py" for name in CODING]
    models = [p for p in root.glob("models/*.py") if p.stem not in TRAINING]
    digest = hashlib.sha256()
    for path in sorted([*codec, *models]):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:8]


CODING = ("api", "container", "engine", "entropy", "tiler", "tune")
TRAINING = ("export", "optim", "train")

PEERS = tuple(Ours(tune) for tune in TUNES)
