"""The learned codecs of CompressAI's zoo, where `compressai` and its weights are to be had.

A file of ours holds what their decoder needs: level, size of the picture, size of the latents and
the strings of the entropy coder, each with its length.
"""

from __future__ import annotations

import importlib
import importlib.util
import struct
import sys
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final

import numpy as np

from ....codec.errors import BitstreamError, UsageError
from .base import Peer, Pixels

__all__ = ["PEERS", "Load", "Zoo"]

Load = Callable[[int], Any]
"""A model of the zoo at a quality, ready to compress."""

_HEAD = struct.Struct("<BHHHHB")  # level, height, width, rows and columns of latents, strings
_SIDE = 64  # pictures are padded to multiples of this


class Zoo(Peer):
    """One architecture trained for mean squared error; its levels are the zoo's qualities.

    Args:
        name: as the zoo calls it.
        qualities: how many there are.
        load: where models come from; None: the zoo, with its weights.
    """

    suffix = ".cai"

    def __init__(self, name: str, qualities: int, load: Load | None = None) -> None:
        self.name, self.title = name, f"{name} (CompressAI)"
        self.levels = tuple(range(1, qualities + 1))
        self._load = load

    def missing(self) -> str | None:
        if why := _missing():
            return why
        try:
            self._model(int(self.levels[0]))
        except Exception as error:  # the downloader raises what urllib, ssl and torch.load raise
            return f"weights of CompressAI's zoo are not to be had: {error}"
        return None

    def version(self) -> str:
        from importlib.metadata import version

        return f"compressai {version('compressai')}, torch {version('torch')}"

    def settings(self, level: float) -> str:
        return f"quality={level:g}, metric=mse, pretrained=True"

    def check(self, level: float) -> None:
        if level not in self.levels:
            raise UsageError(f"{self.name}: level {level:g} is not in 1…{len(self.levels)}")

    def encode(self, pixels: Pixels, level: float) -> bytes:
        import torch
        from torch.nn import functional

        height, width = pixels.shape[:2]
        x = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255
        x = functional.pad(x, (0, -width % _SIDE, 0, -height % _SIDE), mode="replicate")
        with torch.inference_mode():
            out = self._model(int(level)).compress(x)
        strings = [s[0] for s in out["strings"]]
        head = _HEAD.pack(int(level), height, width, *out["shape"], len(strings))
        lengths = struct.pack(f"<{len(strings)}I", *map(len, strings))
        return head + lengths + b"".join(strings)

    def decode(self, data: bytes) -> Pixels:
        import torch

        try:
            level, height, width, rows, columns, count = _HEAD.unpack_from(data)
            lengths = struct.unpack_from(f"<{count}I", data, _HEAD.size)
        except struct.error as error:
            raise BitstreamError(f"no file of {self.name}: {error}") from error
        at, strings = _HEAD.size + 4 * count, []
        for length in lengths:
            strings.append([data[at : at + length]])
            at += length
        with torch.inference_mode():
            out = self._model(level).decompress(strings, (rows, columns))["x_hat"]
        samples = (out[0, :, :height, :width].clamp(0, 1) * 255).round().to(torch.uint8)
        return np.ascontiguousarray(samples.permute(1, 2, 0).numpy())

    def _model(self, quality: int) -> Any:
        return self._load(quality) if self._load else _pretrained(self.name, quality)


@lru_cache(maxsize=1)
def _missing() -> str | None:
    if importlib.util.find_spec("compressai") is None:
        return "compressai is not installed; docs/benchmark.md says how"
    try:
        import_compressai()
    except Exception as error:  # it imports much, and each of that fails in its own way
        return f"compressai does not import here: {error}"
    return None


def import_compressai() -> None:
    """Imports it even beside a torchvision whose compiled part does not fit this torch.

    Such a torchvision fails on the two operators that it only describes; they are declared here,
    without an implementation, which no model of the zoo needs.
    """
    try:
        importlib.import_module("compressai.zoo")
        return
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
    for name in [n for n in sys.modules if n.split(".")[0] in ("torchvision", "compressai")]:
        del sys.modules[name]
    _declare_operators()
    importlib.import_module("compressai.zoo")


@lru_cache(maxsize=1)
def _declare_operators() -> Any:
    """The library of declarations; they live as long as it does, which the cache holds."""
    import torch

    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return library


@lru_cache(maxsize=2)
def _pretrained(name: str, quality: int) -> Any:
    import_compressai()
    models = importlib.import_module("compressai.zoo").image_models
    model = models[name](quality=quality, metric="mse", pretrained=True, progress=False)
    return model.eval()


PEERS: Final[tuple[Peer, ...]] = (
    *(
        Zoo(name, 8)
        for name in ("bmshj2018-factorized", "bmshj2018-hyperprior", "mbt2018-mean", "mbt2018")
    ),
    *(Zoo(name, 6) for name in ("cheng2020-anchor", "cheng2020-attn")),
)
