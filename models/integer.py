"""The stored integer prior and its NumPy executor.

Every value is an integer carried in float32 and every sum stays below 2^24, so the order of
summation, the number of threads and the library cannot change a result. docs/format.md states the
arithmetic; `integer_torch` runs the same network with torch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt

from .config import KNOT_SPACING, KNOTS, QUALITY_STEPS, ModelConfig
from .topology import Activation, ConvSpec, prior_specs

T = TypeVar("T")
Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

BOUND = 2**24
CONTEXT_PLANE_UNIT = (56.0, 14.0)
"""Grey-level units of the coarse context plane: of the DC coefficients, of all others."""

CONTEXT_LIMIT = 4095
"""Largest magnitude of a context symbol."""

LATENT_LIMIT = 32767
"""Largest magnitude of a latent value, in sixteenths."""

HEAD_LIMIT = 2047
"""Largest magnitude of a mean as a head gives it, before its gain."""

GAIN_UNIT = 256
GAIN_LIMIT = 8191


class BoundError(ValueError):
    """A stored convolution could leave the range in which float32 counts exactly."""


@dataclass(frozen=True, slots=True)
class StoredConv:
    """One convolution of the prior path, as stored.

    weight: int8 (outputs, inputs or 1, kernel, kernel); shift: int (outputs,), right shift of the
    accumulator; bias: int32 (KNOTS, outputs), in accumulator units; gain: int32 (KNOTS,
    outputs / 2) in units of 1/256, heads only.
    """

    spec: ConvSpec
    weight: npt.NDArray[np.int8]
    shift: npt.NDArray[np.int8]
    bias: npt.NDArray[np.int32]
    gain: npt.NDArray[np.int32] | None = None

    def check(self) -> None:
        """Raises BoundError unless Σ|w|·max|a| + |b| + half < 2^24 for every output."""
        s = self.spec
        largest = 255 if s.relu_input else 127
        total = np.abs(self.weight.astype(np.int64)).sum((1, 2, 3)) * largest
        total += np.abs(self.bias.astype(np.int64)).max(0)
        total += (1 << self.shift.astype(np.int64)) >> 1
        if int(self.shift.min()) < 0 or int(self.weight.min()) < -127:
            raise BoundError(f"{s.name}: a shift is negative or a weight is -128")
        if int(total.max()) >= BOUND:
            raise BoundError(f"{s.name}: sums may reach {int(total.max())}, not below {BOUND}")


def interpolate(table: npt.NDArray[np.int32], quality_index: int) -> Ints:
    """Row of an integer table (KNOTS, n) at a quality, rounded: floor((a(50−f) + bf + 25) / 50)."""
    k, f = divmod(quality_index, KNOT_SPACING)
    a, b = table[k].astype(np.int64), table[min(k + 1, KNOTS - 1)].astype(np.int64)
    return np.asarray((a * (KNOT_SPACING - f) + b * f + KNOT_SPACING // 2) // KNOT_SPACING)


def context_gains(cfg: ModelConfig) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """Integer factors between context symbols and the coarse plane, for DC and for the others.

    Made once when a model is stored (they come from real-valued steps), never when a file is read.

    Returns:
        (QUALITY_STEPS+1, 2): plane units per symbol in 1/256; sixteenths of a symbol per
        1/256 of a plane unit of 1/32, in 1/256.
    """
    step = np.array([cfg.step(q) for q in range(QUALITY_STEPS + 1)])[:, None]
    unit = np.array(CONTEXT_PLANE_UNIT)
    return (
        np.rint(GAIN_UNIT * step / unit).astype(np.int32),
        np.rint(16 * 32 * unit / step).astype(np.int32),
    )


@dataclass(frozen=True, slots=True)
class StoredPrior:
    """The whole prior path, checked: convolutions by name and the context's factors."""

    cfg: ModelConfig
    convs: Mapping[str, StoredConv]
    plane_gain: npt.NDArray[np.int32]  # (401, 2)
    mean_gain: npt.NDArray[np.int32]  # (401, 2)

    def __post_init__(self) -> None:
        for conv in self.convs.values():
            conv.check()

    @classmethod
    def from_arrays(
        cls, cfg: ModelConfig, arrays: Mapping[str, npt.NDArray[np.generic]]
    ) -> StoredPrior:
        """From the tensors NAME.weight, .shift, .bias and .gain of a weights file."""
        convs = {}
        for s in prior_specs(cfg):
            shape = (s.outputs, 1 if s.depthwise else s.inputs, s.kernel, s.kernel)
            weight = arrays[f"{s.name}.weight"]
            if weight.shape != shape:
                raise BoundError(f"{s.name}: shape {weight.shape} is not {shape}")
            convs[s.name] = StoredConv(
                s,
                weight.astype(np.int8),
                arrays[f"{s.name}.shift"].astype(np.int8),
                arrays[f"{s.name}.bias"].astype(np.int32),
                arrays[f"{s.name}.gain"].astype(np.int32) if s.head else None,
            )
        return cls(
            cfg,
            convs,
            arrays["context.plane_gain"].astype(np.int32),
            arrays["context.mean_gain"].astype(np.int32),
        )

    def is_dc(self) -> npt.NDArray[np.bool_]:
        """Which context channels are the mean of a block."""
        return np.array(self.cfg.context_is_mean)

    def plane_gains(self, quality_index: int) -> Ints:
        """Plane units per context symbol, in 1/256; (channels,)."""
        dc, other = (int(g) for g in self.plane_gain[quality_index])
        return np.where(self.is_dc(), dc, other).astype(np.int64)

    def head_gains(self, name: str, quality_index: int) -> Ints:
        """Factor on the means of a head, in 1/256; (channels,), within ±8191."""
        gain = self.convs[name].gain
        assert gain is not None
        g = interpolate(gain, quality_index)
        if name == "context.head":
            dc, other = (int(v) for v in self.mean_gain[quality_index])
            g = (g * np.where(self.is_dc(), dc, other) + GAIN_UNIT // 2) // GAIN_UNIT
        return np.clip(g, -GAIN_LIMIT, GAIN_LIMIT)


@dataclass(frozen=True, slots=True)
class Resolved(Generic[T]):
    """A stored convolution at one quality, as tensors of an executor."""

    spec: ConvSpec
    weight: T  # kernel 1: (out, in); kernel 3: (9, out, in); depthwise: (9, channels, 1)
    offset: T  # (out, 1): bias plus half of the divisor
    factor: T  # (out, 1): 2^-shift
    gain: T | None  # (out/2, 1)


class IntegerOps(ABC, Generic[T]):
    """What both exact executors share: the order of operations. Subclasses give the operations.

    Tensors are (batch, channel, row, column), float32, integers only.
    """

    def __init__(self, prior: StoredPrior, quality_index: int) -> None:
        self.cfg = prior.cfg
        self._convs: dict[str, Resolved[T]] = {}
        for name, c in prior.convs.items():
            k = c.spec.kernel
            w = c.weight.astype(np.float32)
            if c.spec.depthwise:
                w = w.reshape(-1, k * k).T[:, :, None]
            elif k == 1:
                w = w[:, :, 0, 0]
            else:
                w = w.transpose(2, 3, 0, 1).reshape(k * k, *w.shape[:2])
            half = (1 << c.shift.astype(np.int64)) >> 1
            offset = interpolate(c.bias, quality_index) + half
            self._convs[name] = Resolved(
                c.spec,
                self.tensor(np.ascontiguousarray(w)),
                self.tensor(offset.astype(np.float32)[:, None]),
                self.tensor(np.ldexp(np.float32(1), -c.shift.astype(np.int32))[:, None]),
                self.tensor(prior.head_gains(name, quality_index).astype(np.float32)[:, None])
                if c.spec.head
                else None,
            )
        self._plane_gain = self.tensor(
            prior.plane_gains(quality_index).astype(np.float32)[:, None, None]
        )

    def resolved(self, name: str) -> Resolved[T]:
        """A convolution as it stands at this quality."""
        return self._convs[name]

    @abstractmethod
    def tensor(self, x: Floats) -> T: ...

    @abstractmethod
    def array(self, x: T) -> Floats: ...

    @abstractmethod
    def scaled_floor(self, x: T, offset: T | float, factor: T | float) -> T:
        """floor((x + offset) · factor)."""

    @abstractmethod
    def clamp(self, x: T, low: float, high: float) -> T: ...

    @abstractmethod
    def pointwise(self, weight: T, x: T) -> T:
        """(out, in) times (batch, in, h, w), as (batch, out, h·w)."""

    @abstractmethod
    def spatial(self, weight: T, x: T, depthwise: bool) -> T:
        """3×3 with zero padding, as nine shifted products: (batch, out, h·w)."""

    @abstractmethod
    def like(self, flat: T, x: T) -> T:
        """(batch, c, h·w) with the rows and columns of `x`."""

    @abstractmethod
    def plus(self, x: T, y: T) -> T: ...

    @abstractmethod
    def times(self, x: T, known: T) -> T: ...

    @abstractmethod
    def cat(self, xs: Sequence[T]) -> T: ...

    @abstractmethod
    def shuffle(self, x: T) -> T: ...

    @abstractmethod
    def halves(self, x: T) -> tuple[T, T]:
        """Split the channels in two."""

    def conv(self, name: str, x: T, act: Activation, skip: T | None = None) -> T:
        c = self._convs[name]
        if c.spec.kernel == 1:
            acc = self.pointwise(c.weight, x)
        else:
            acc = self.spatial(c.weight, x, c.spec.depthwise)
        y = self.like(self.scaled_floor(acc, c.offset, c.factor), x)
        if skip is not None:
            y = self.plus(y, skip)
        if act == "relu":
            return self.clamp(y, 0, 255)
        if act == "signed":
            return self.clamp(y, -127, 127)
        return self.clamp(y, -HEAD_LIMIT, HEAD_LIMIT)

    def means_and_scales(self, name: str, head: T) -> tuple[T, T]:
        mean, scale = self.halves(head)
        gain = self._convs[name].gain
        assert gain is not None
        mean = self.scaled_floor(self.times(mean, self.column(gain)), GAIN_UNIT // 2, 1 / GAIN_UNIT)
        return self.clamp(mean, -LATENT_LIMIT, LATENT_LIMIT), self.clamp(scale, 0, 63)

    @abstractmethod
    def column(self, gain: T) -> T:
        """(c, 1) as (c, 1, 1)."""

    def context_planes(self, c: T) -> list[T]:
        coarse = self.scaled_floor(self.times(c, self._plane_gain), GAIN_UNIT // 2, 1 / GAIN_UNIT)
        fine = self.scaled_floor(c, 0, 32)
        return [self.clamp(coarse, -127, 127), self.clamp(fine, -127, 127)]

    def latent_planes(self, z: T) -> list[T]:
        fine, coarse = self.scaled_floor(z, 0, 2), self.scaled_floor(z, 4, 1 / 8)
        return [self.clamp(fine, -127, 127), self.clamp(coarse, -127, 127)]

    def known_plane(self, known: T) -> T:
        return self.scaled_floor(known, 0, 32)


class NumpyOps(IntegerOps[Floats]):
    """The NumPy executor: no torch, the independent check of the other one."""

    def tensor(self, x: Floats) -> Floats:
        return x

    def array(self, x: Floats) -> Floats:
        return x

    def scaled_floor(self, x: Floats, offset: Floats | float, factor: Floats | float) -> Floats:
        y = np.add(x, offset, dtype=np.float32)
        y *= np.asarray(factor, np.float32)
        return np.floor(y, out=y)

    def clamp(self, x: Floats, low: float, high: float) -> Floats:
        return np.clip(x, np.float32(low), np.float32(high), out=x)

    def pointwise(self, weight: Floats, x: Floats) -> Floats:
        b, c, h, w = x.shape
        return np.asarray(weight @ x.reshape(b, c, h * w))

    def spatial(self, weight: Floats, x: Floats, depthwise: bool) -> Floats:
        b, c, h, w = x.shape
        padded = np.zeros((b, c, h + 3, w + 2), np.float32)
        padded[:, :, 1 : h + 1, 1 : w + 1] = x
        flat, span = padded.reshape(b, c, -1), h * (w + 2)
        acc = np.zeros((b, weight.shape[1], span), np.float32)
        for k in range(9):
            start = k // 3 * (w + 2) + k % 3
            view = flat[:, :, start : start + span]
            acc += weight[k] * view if depthwise else weight[k] @ view
        acc = acc.reshape(b, -1, h, w + 2)[:, :, :, :w]
        return acc.reshape(b, -1, h * w)

    def like(self, flat: Floats, x: Floats) -> Floats:
        return flat.reshape(flat.shape[0], flat.shape[1], *x.shape[2:])

    def plus(self, x: Floats, y: Floats) -> Floats:
        return x + y

    def times(self, x: Floats, known: Floats) -> Floats:
        return x * known

    def cat(self, xs: Sequence[Floats]) -> Floats:
        return np.concatenate(list(xs), 1)

    def shuffle(self, x: Floats) -> Floats:
        b, c, h, w = x.shape
        y = x.reshape(b, c // 4, 2, 2, h, w).transpose(0, 1, 4, 2, 5, 3)
        return np.ascontiguousarray(y).reshape(b, c // 4, 2 * h, 2 * w)

    def halves(self, x: Floats) -> tuple[Floats, Floats]:
        n = x.shape[1] // 2
        return x[:, :n], x[:, n:]

    def column(self, gain: Floats) -> Floats:
        return gain[:, :, None]
