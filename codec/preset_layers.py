"""Latent layers below the contexts of the presets: a small hierarchy over independent patches.

The networks are those of every model (`models/topology.py`, `models/networks.py`); each 32×32 patch
is a picture of its own to them, with one block of context. Patches go side by side, in groups of
`GROUP`, so that memory stays bounded.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ..models import centroids
from ..models.integer import LATENT_LIMIT, NumpyOps
from ..models.scale_grid import SCALES, scale
from ..models.topology import walk
from ..models.weights import StoredModel
from .engine import PictureSource, StreamSource, SymbolSource, checkerboard_positions, split_parts
from .errors import BitstreamError

Executor = Literal["torch", "numpy"]
Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int32]

GROUP = 256
"""Patches that are coded side by side. Part of the format: it fixes the order of symbols."""

SIDE = 32


def layers_id(stored: StoredModel) -> bytes:
    """2 bytes that name the weights in the header of a file."""
    return hashlib.sha256(stored.prior_id + stored.synthesis_id).digest()[:2]


def _groups(count: int) -> Iterator[slice]:
    for start in range(0, count, GROUP):
        yield slice(start, min(start + GROUP, count))


def _run(stored: StoredModel) -> Any:
    from .api import _runtime

    return _runtime(stored, "cpu")


class _Drawn:
    """Latents of layers that were not sent: means, or draws, in sixteenths of a symbol.

    A draw need not be a whole number of symbols, as nothing is coded: at the paper's temperature of
    0.1 rounding to symbols would leave nothing of it.
    """

    def __init__(self, temperature: float, rng: np.random.Generator) -> None:
        self.temperature, self.rng = temperature, rng
        self.spread = 16 * temperature * scale(np.arange(SCALES))

    def latent(self, mean: Ints, index: Ints) -> Ints:
        if not self.temperature:
            return mean
        draw = self.spread[index] * self.rng.logistic(size=mean.shape)
        return np.asarray(mean + np.rint(draw).clip(-LATENT_LIMIT, LATENT_LIMIT), np.int32)


def _walk_patches(
    ops: Any, stored: StoredModel, c: Floats, source: SymbolSource, layers: int, rest: _Drawn
) -> tuple[list[Floats], Any]:
    """Latents of patches with contexts (patches, channels), and the last state.

    Args:
        source: of the first `layers` layers; its arrays are (channels, patches · positions).
        rest: of the others.

    Returns:
        per part (patches, channels, rows, columns), symbols, as synthesis takes them; the
        executor's tensor.
    """
    values: list[Floats] = []
    shown: list[Floats] = []

    def code(part: int, half: int, mean: Any, index: Any) -> Any:
        m, i = ops.array(mean).astype(np.int32), ops.array(index).astype(np.int32)
        if half == 0:
            values.append(np.zeros(m.shape, np.float32))
            shown.append(np.zeros(m.shape, np.float32))
        n, channels, rows, columns = m.shape
        where = checkerboard_positions(rows, columns, half)

        def cut(a: Ints) -> Ints:
            taken = a.reshape(n, channels, -1)[:, :, where]
            return np.ascontiguousarray(taken.transpose(1, 0, 2)).reshape(channels, -1)

        m, i = cut(m), cut(i)
        if stored.cfg.parts[part].layer <= layers:
            places = (np.arange(n)[:, None] * (rows * columns) + where).ravel()
            k = source.latent(part, m, i, places)
            z, beyond = m + 16 * k, centroids.shifts(stored.centroids, part, k, i)
        else:
            z, beyond = rest.latent(m, i), np.zeros(m.shape, np.int8)
        z = np.clip(z, -LATENT_LIMIT, LATENT_LIMIT)
        at = z / np.float32(16) + beyond / np.float32(centroids.UNIT)
        for planes, a in ((values, z), (shown, at)):
            flat = planes[part].reshape(n, channels, -1)
            flat[:, :, where] = a.reshape(channels, n, -1).transpose(1, 0, 2)
        return ops.tensor(values[part])

    state = walk(ops, stored.cfg, ops.tensor(np.ascontiguousarray(c[:, :, None, None])), code)
    return shown, state


def encode(
    stored: StoredModel, patches: npt.NDArray[np.uint8], c: Ints, layers: int
) -> list[bytes]:
    """The chunks of layers 1…`layers`.

    Args:
        patches: (patches, 3, 32, 32); c: their contexts, symbols (patches, channels).
    """
    import torch

    from ..models.config import FRUGALITY
    from ..models.transforms import GREY
    from .api import choice_costs, symbol_weights, table_models

    run, models = _run(stored), table_models(stored)
    q, ops = run.quality(0), run.ops(0)
    context_weight, weight = symbol_weights(stored.cfg, q)
    source = PictureSource(
        stored, models, np.zeros((c.shape[1], 1, 1), np.float32), lambda _: [],
        context_weight, weight, FRUGALITY, choice_costs(), layers,
    )  # fmt: skip
    rest = _Drawn(0.0, np.random.default_rng(0))
    for group in _groups(len(c)):
        symbols = np.ascontiguousarray(c[group], np.float32)
        x = torch.from_numpy(patches[group].astype(np.float32) - np.float32(GREY))
        y16, y8 = run.latents(x, torch.from_numpy(symbols)[:, :, None, None], q)
        by_channel = [y.permute(1, 0, 2, 3).flatten(1).float().numpy() for y in (y16, y8)]
        source.latents = split_parts(stored.cfg, *by_channel)
        _walk_patches(ops, stored, symbols, source, layers, rest)
    return source.chunks()[1:]


def decode(
    stored: StoredModel,
    c: Ints,
    chunks: Sequence[bytes],
    temperature: float = 0.0,
    seed: int | Sequence[int] = 0,
    executor: Executor = "torch",
) -> npt.NDArray[np.uint8]:
    """Patches (patches, 3, 32, 32) from contexts (patches, channels) and chunks of leading layers.

    Layers without a chunk are the prior's mean, or drawn with scales times `temperature`.

    Raises:
        BitstreamError: a chunk does not come from `encode`.
    """
    import torch

    from .api import table_models

    run = _run(stored)
    q = run.quality(0)
    ops = NumpyOps(stored.prior, 0) if executor == "numpy" else run.ops(0)
    source = StreamSource(stored, table_models(stored), [b"", *chunks])
    rest = _Drawn(temperature, np.random.Generator(np.random.Philox(seed)))
    out = np.empty((len(c), 3, SIDE, SIDE), np.uint8)
    for group in _groups(len(c)):
        symbols = np.ascontiguousarray(c[group], np.float32)
        values, state = _walk_patches(ops, stored, symbols, source, len(chunks), rest)
        planes = [
            np.concatenate(
                [v for v, p in zip(values, stored.cfg.parts, strict=True) if p.stride == stride], 1
            )
            for stride in (16, 8)
        ]
        z16, z8 = (torch.from_numpy(z) for z in planes)
        last = torch.from_numpy(ops.array(state)) / 32
        context = torch.from_numpy(symbols)[:, :, None, None]
        out[group] = run.reconstruct_many(context, z16, z8, last, q).numpy()
    for layer, stream in enumerate(source.streams):
        if not stream.is_empty():
            raise BitstreamError(f"layer {layer} holds more than its symbols")
    return out
