"""Symbols of one tile: the prior path drives an entropy coder, to write or to read.

NumPy and an executor of the prior path; torch only if that executor is torch's.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from ..models import centroids
from ..models.config import ModelConfig
from ..models.context_steps import ContextSteps
from ..models.integer import CONTEXT_LIMIT, LATENT_LIMIT, Floats, IntegerOps
from ..models.scale_grid import scale
from ..models.schedule import context_order
from ..models.tables import CENTRE_PHASE, MOST_REACH
from ..models.topology import walk
from ..models.weights import StoredModel
from .entropy import (
    StreamDecoder,
    StreamEncoder,
    TableModels,
    Tally,
    table_numbers,
    whole_words,
    without_padding,
)
from .errors import BitstreamError

BLOCK = 32
"""Side of a context block, pixels."""

T = TypeVar("T")
Ints = npt.NDArray[np.int32]


@dataclass(frozen=True)
class TileSymbols:
    """All that synthesis needs of a tile.

    context: int16 (channels, rows, columns), symbols; latents: int16 per part (channels, rows,
    columns), sixteenths of a symbol; shifts: int8 per part, what synthesis adds to them, 64ths
    (`centroids.shifts`); state: int8 (channels, rows, columns) at 1/8.
    """

    context: npt.NDArray[np.int16]
    latents: tuple[npt.NDArray[np.int16], ...]
    shifts: tuple[npt.NDArray[np.int8], ...]
    state: npt.NDArray[np.int8]


class SymbolSource(ABC):
    """Where the symbols of a step come from: a picture (encoding) or a stream (decoding)."""

    @abstractmethod
    def context(self, mean: Ints, index: Ints, where: npt.NDArray[np.bool_]) -> Ints:
        """Context symbols at `where`, in raster order; mean (sixteenths) and index there."""

    @abstractmethod
    def latent(self, part: int, mean: Ints, index: Ints, where: npt.NDArray[np.int64]) -> Ints:
        """Steps from the mean (symbols), (channels, positions) at flat positions `where`."""


def run_tile(
    ops: IntegerOps[T],
    cfg: ModelConfig,
    rows: int,
    columns: int,
    source: SymbolSource,
    table: centroids.Table | None = None,
) -> TileSymbols:
    """Walk the prior path over a tile of rows × columns context blocks.

    table: the model's centroids; None where nothing is to be drawn.
    """
    c = _run_context(ops, cfg, rows, columns, source)
    values: list[Floats] = []
    beyond: list[npt.NDArray[np.int8]] = []
    table = centroids.no_centroids(len(cfg.parts)) if table is None else table

    def code(part: int, half: int, mean: T, index: T) -> T:
        m, i = ops.array(mean)[0].astype(np.int32), ops.array(index)[0].astype(np.int32)
        if half == 0:
            values.append(np.zeros(m.shape, np.float32))
            beyond.append(np.zeros(m.shape, np.int8))
        where = checkerboard_positions(m.shape[1], m.shape[2], half)
        m, i = m.reshape(len(m), -1)[:, where], i.reshape(len(i), -1)[:, where]
        k = source.latent(part, m, i, where)
        beyond[part].reshape(len(m), -1)[:, where] = centroids.shifts(table, part, k, i)
        flat = values[part].reshape(len(m), -1)
        flat[:, where] = np.clip(m + 16 * k, -LATENT_LIMIT, LATENT_LIMIT)
        return ops.tensor(values[part][None])

    state = walk(ops, cfg, ops.tensor(c[None]), code)
    return TileSymbols(
        c.astype(np.int16),
        tuple(v.astype(np.int16) for v in values),
        tuple(beyond),
        ops.array(state)[0].astype(np.int8),
    )


def _run_context(
    ops: IntegerOps[T], cfg: ModelConfig, rows: int, columns: int, source: SymbolSource
) -> Floats:
    """The masked diffusion prior, step by step; (channels, rows, columns)."""
    order = context_order(cfg.context_kept, cfg.context_steps, rows, columns)
    steps = ContextSteps(ops, rows, columns)
    for step in range(cfg.context_steps):
        where = order == step
        if not where.any():  # small tiles lack some phases
            continue
        blocks = np.flatnonzero(where.any(0))
        mean, index = steps.predict(blocks)
        flat = where.reshape(len(where), -1)
        here = flat[:, blocks]
        found = source.context(mean[here].astype(np.int32), index[here].astype(np.int32), where)
        steps.reveal(flat, np.clip(found, -CONTEXT_LIMIT, CONTEXT_LIMIT))
    return steps.c.reshape(order.shape)


def decode_context(
    ops: IntegerOps[T],
    stored: StoredModel,
    models: TableModels,
    data: bytes,
    rows: int,
    columns: int,
) -> Floats:
    """Context symbols of a tile from its context chunk alone, (channels, rows, columns)."""
    return _run_context(ops, stored.cfg, rows, columns, StreamSource(stored, models, [data]))


def checkerboard_positions(rows: int, columns: int, half: int) -> npt.NDArray[np.int64]:
    """Flat positions whose row + column has the parity `half`, in raster order."""
    i, j = np.arange(rows)[:, None], np.arange(columns)[None, :]
    return np.flatnonzero((i + j) % 2 == half)


def split_mean(mean: Ints) -> tuple[Ints, Ints]:
    """Sixteenths to the nearest integer (halves up) and the phase 0…15 around it."""
    whole = (mean + 8) >> 4
    return whole, mean - (whole << 4) + CENTRE_PHASE


class StreamSource(SymbolSource):
    """Reads symbols from the chunks of a tile; what is absent is the mean, or is drawn.

    Args:
        chunks: context, layer 1, …, as many as are to be used.
        temperature: absent latents are drawn from the prior with scales times this; 0: the mean.
        seed: of the draws.
        tally: see `entropy.Tally`.
    """

    def __init__(
        self,
        stored: StoredModel,
        models: TableModels,
        chunks: Sequence[bytes],
        temperature: float = 0.0,
        seed: int = 0,
        tally: Tally | None = None,
    ) -> None:
        self.cfg, self.tables = stored.cfg, stored.tables
        self.streams = [StreamDecoder(models, whole_words(c), tally) for c in chunks]
        self.temperature = temperature
        self.rng = np.random.Generator(np.random.Philox(seed))

    def context(self, mean: Ints, index: Ints, where: npt.NDArray[np.bool_]) -> Ints:
        whole, phase = split_mean(mean)
        if not self.streams:
            return whole
        coded = index >= self.tables.skip_below
        out = whole.copy()
        out[coded] += self.streams[0].get(table_numbers(index[coded], phase[coded]))
        if np.abs(out).max(initial=0) > CONTEXT_LIMIT:
            raise BitstreamError("a context symbol is out of range")
        return out

    def latent(self, part: int, mean: Ints, index: Ints, where: npt.NDArray[np.int64]) -> Ints:
        layer = self.cfg.parts[part].layer
        out = np.zeros(mean.shape, np.int32)
        if layer < len(self.streams):
            coded = index >= self.tables.skip_below
            out[coded] = self.streams[layer].get(table_numbers(index[coded]))
            return out
        if self.temperature > 0:
            spread = scale(np.arange(len(self.tables.reach)))[index] * self.temperature
            out[...] = np.rint(spread * self.rng.logistic(size=mean.shape)).clip(-2047, 2047)
        return out


class PictureSource(SymbolSource):
    """Chooses symbols for a tile and writes them.

    Args:
        context: symbols (channels, rows, columns), real-valued.
        analyse: latents per part (channels, rows, columns), symbols, real-valued, for the context
            that was chosen.
        context_weight: (channels,) and weight: per part (channels,): squared error, in the bits
            that it is worth, of one symbol off: gain² / distortion weight.
        places: per stride what that is multiplied with at each place, (rows · columns,); None: 1.
        frugality: share of a bit's price that counts when a symbol nearer to the mean would cost
            less (greedy rate-distortion choice); 0 rounds plainly.
        costs: bits of magnitudes by scale index, `tables.logistic_costs`.
        layers: to write, beside the context.
    """

    def __init__(
        self,
        stored: StoredModel,
        models: TableModels,
        context: Floats,
        analyse: Callable[[Floats], list[Floats]],
        context_weight: Floats,
        weight: Sequence[Floats],
        frugality: float,
        costs: Floats,
        layers: int,
        tally: Tally | None = None,
        places: Mapping[int, Floats] | None = None,
    ) -> None:
        self.stored, self.frugality, self.costs = stored, frugality, costs
        self.wanted, self.chosen = context, np.zeros(context.shape, np.float32)
        self.analyse = analyse
        self.context_weight = np.broadcast_to(context_weight[:, None, None], context.shape)
        self.weight, self.places = weight, places
        self.latents: list[Floats] = []
        self.streams = [StreamEncoder(models, tally) for _ in range(layers + 1)]

    def context(self, mean: Ints, index: Ints, where: npt.NDArray[np.bool_]) -> Ints:
        whole, phase = split_mean(mean)
        coded = index >= self.stored.tables.skip_below
        wanted = (self.wanted[where] - whole).astype(np.float32)
        k = self._choose(wanted, index, self.context_weight[where])
        out = whole + np.where(coded, k, 0).astype(np.int32)
        out = np.clip(out, -CONTEXT_LIMIT, CONTEXT_LIMIT)
        self.streams[0].put((out - whole)[coded], table_numbers(index[coded], phase[coded]))
        self.chosen[where] = out
        return out

    def latent(self, part: int, mean: Ints, index: Ints, where: npt.NDArray[np.int64]) -> Ints:
        layer, stride = self.stored.cfg.parts[part].layer, self.stored.cfg.parts[part].stride
        if layer >= len(self.streams):
            return np.zeros(mean.shape, np.int32)
        if not self.latents:
            self.latents = [y.reshape(len(y), -1) for y in self.analyse(self.chosen)]
        v = self.latents[part][:, where] - mean.astype(np.float32) / np.float32(16)
        coded = index >= self.stored.tables.skip_below
        weight = self.weight[part][:, None]
        if self.places is not None:
            weight = weight * self.places[stride][where]
        chosen = self._choose(v, index, weight)
        # keep the value within ±LATENT_LIMIT sixteenths
        chosen = np.clip(chosen, (-LATENT_LIMIT - mean) // 16 + 1, (LATENT_LIMIT - mean) // 16)
        k = np.where(coded, chosen, 0).astype(np.int32)
        self.streams[layer].put(k[coded], table_numbers(index[coded]))
        return k

    def _choose(self, v: Floats, index: Ints, weight: Floats) -> Floats:
        """Steps from the mean for real-valued ones `v`: the nearest, or one nearer to zero."""
        k = np.rint(v)
        if self.frugality <= 0:
            return k
        size = np.abs(k).astype(np.int32)
        smaller = np.maximum(size - 1, 0)
        near, far = np.minimum(size, MOST_REACH + 1), np.minimum(smaller, MOST_REACH + 1)
        saved = self.costs[index, near] - self.costs[index, far]
        a = np.abs(v)
        lost = ((a - smaller) ** 2 - (a - size) ** 2) * weight
        better = (size > 0) & (self.frugality * saved > lost)
        return np.where(better, np.sign(k) * smaller, k)

    def chunks(self) -> list[bytes]:
        return [without_padding(s.finish()) for s in self.streams]

    def estimates(self) -> list[float]:
        """Ideal bits of each chunk under the tables."""
        return [s.estimate for s in self.streams]

    def coding_seconds(self) -> float:
        """Time spent in the entropy coder so far."""
        return sum(s.seconds for s in self.streams)


def split_parts(cfg: ModelConfig, at16: Floats, at8: Floats) -> list[Floats]:
    """Arrays over the channels of each stride, cut into the parts."""
    rest = {16: at16, 8: at8}
    out = []
    for p in cfg.parts:
        out.append(rest[p.stride][: p.channels])
        rest[p.stride] = rest[p.stride][p.channels :]
    return out


def latent_planes(cfg: ModelConfig, tile: TileSymbols, stride: int) -> Floats:
    """Parts of one stride as synthesis takes them, joined: (channels, rows, columns), symbols."""
    parts = zip(cfg.parts, tile.latents, tile.shifts, strict=True)
    mine = [
        z.astype(np.float32) / np.float32(16) + s.astype(np.float32) / np.float32(centroids.UNIT)
        for p, z, s in parts
        if p.stride == stride
    ]
    return np.concatenate(mine)


__all__ = [
    "PictureSource",
    "StreamSource",
    "SymbolSource",
    "TileSymbols",
    "decode_context",
    "latent_planes",
    "run_tile",
    "split_parts",
]
