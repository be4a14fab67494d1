"""The Gaussian prior's network: a UNet of integers.

Against the UNet of Dhariwal & Nichol (the paper's): clamped ReLU in place of SiLU, no
normalisation, no attention, a bias per step in place of the time embedding, widths reduced; where
the grid is that of frequencies, two input planes tell the position. The arithmetic is that of
`integer`: every value a whole number below 2^24.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from ..integer import HEAD_LIMIT, Floats, IntegerOps, NumpyOps, Resolved, StoredConv
from ..topology import Activation, ConvSpec
from .diffusion import HEAD_BITS

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class UnetConfig:
    """Shape of a Gaussian prior: patches of channels × rows × columns."""

    channels: int
    rows: int  # even
    columns: int  # even
    steps: int = 7  # T
    first_beta: float = 0.0025
    grid_bits: int = 6  # y_t lives on a grid of 2^−grid_bits
    width: int = 32  # channels at full size
    low_width: int = 48  # channels at half size
    blocks: int = 2  # residual blocks at half size; half as many (at least one) before and after
    position: bool = False  # two input planes tell row and column
    limit: int = 0  # largest magnitude of a symbol; 0: any

    def __post_init__(self) -> None:
        if self.rows % 2 or self.columns % 2:
            raise ValueError(f"{self.rows}×{self.columns} has an odd side")
        if not 1 <= self.steps <= 100:
            raise ValueError(f"steps={self.steps} is not in 1…100")

    @property
    def shifts(self) -> tuple[int, int, int]:
        """Input planes: y_t in cells, divided by 2^shift: they span ±1/4, ±2 and ±8 of y0's unit.

        Most coefficients are small: without the first plane training stands still for long.
        """
        return self.grid_bits - 9, self.grid_bits - 6, self.grid_bits - 4

    @property
    def outer_blocks(self) -> int:
        return max(1, self.blocks // 2)

    def position_planes(self) -> Floats:
        """(2, rows, columns): −127…127."""
        i = np.linspace(-127, 127, self.rows).round()
        j = np.linspace(-127, 127, self.columns).round()
        return np.stack(np.meshgrid(i, j, indexing="ij")).astype(np.float32)


def unet_specs(cfg: UnetConfig) -> list[ConvSpec]:
    w, low = cfg.width, cfg.low_width
    inputs = cfg.channels * len(cfg.shifts) + 2 * cfg.position

    def block(name: str, width: int) -> list[ConvSpec]:
        return [
            ConvSpec(f"{name}.a", width, width, 3, relu_input=False),
            ConvSpec(f"{name}.b", width, width, 3, residual=True),
        ]

    specs = [ConvSpec("embed", inputs, w, 3, relu_input=False)]
    for b in range(cfg.outer_blocks):
        specs += block(f"before{b}", w)
    specs.append(ConvSpec("down", 4 * w, low, relu_input=False))
    for b in range(cfg.blocks):
        specs += block(f"low{b}", low)
    specs.append(ConvSpec("up", low, 4 * w, relu_input=False, residual=True))
    for b in range(cfg.outer_blocks):
        specs += block(f"after{b}", w)
    specs.append(
        ConvSpec("head", w, 2 * cfg.channels, relu_input=False, out_bits=HEAD_BITS, head=True)
    )
    return specs


class UnetOps(Protocol[T]):
    """What an executor offers at one step t. Tensors are (patches, channel, row, column)."""

    def conv(self, name: str, x: T, act: Activation, skip: T | None = None) -> T: ...

    def planes(self, y: T) -> T:
        """Input planes of y_t."""
        ...

    def shuffle(self, x: T) -> T: ...

    def unshuffle(self, x: T) -> T:
        """(c, 2h, 2w) → (4c, h, w), as PyTorch's pixel_unshuffle."""
        ...

    def plus(self, x: T, y: T) -> T: ...


def predict(ops: UnetOps[T], cfg: UnetConfig, y: T) -> T:
    """v and the scale index of y_{t−1} from y_t: (patches, 2·channels, rows, columns)."""

    def block(name: str, x: T) -> T:
        return ops.conv(f"{name}.b", ops.conv(f"{name}.a", x, "relu"), "signed", skip=x)

    x = ops.conv("embed", ops.planes(y), "signed")
    for b in range(cfg.outer_blocks):
        x = block(f"before{b}", x)
    z = ops.conv("down", ops.unshuffle(x), "signed")
    for b in range(cfg.blocks):
        z = block(f"low{b}", z)
    x = ops.shuffle(ops.conv("up", z, "signed", skip=ops.unshuffle(x)))
    for b in range(cfg.outer_blocks):
        x = block(f"after{b}", x)
    return ops.conv("head", x, "head")


@dataclass(frozen=True, eq=False)
class StoredUnet:
    """The network as stored, checked: biases have one row per step."""

    cfg: UnetConfig
    convs: Mapping[str, StoredConv]

    def __post_init__(self) -> None:
        for conv in self.convs.values():
            conv.check()

    @classmethod
    def from_arrays(
        cls, cfg: UnetConfig, arrays: Mapping[str, npt.NDArray[np.generic]]
    ) -> StoredUnet:
        """From NAME.weight, .shift and .bias (int8, int8, int32 (steps, outputs))."""
        convs = {}
        for s in unet_specs(cfg):
            parts = [arrays[f"{s.name}.{k}"] for k in ("weight", "shift", "bias")]
            shapes = [
                (s.outputs, s.inputs, s.kernel, s.kernel),
                (s.outputs,),
                (cfg.steps, s.outputs),
            ]
            for part, shape in zip(parts, shapes, strict=True):
                if part.shape != shape:
                    raise ValueError(f"{s.name}: shape {part.shape} is not {shape}")
            convs[s.name] = StoredConv(
                s, parts[0].astype(np.int8), parts[1].astype(np.int8), parts[2].astype(np.int32)
            )
        return cls(cfg, convs)


class StepOps(IntegerOps[T]):
    """An integer executor at one step t of a stored UNet; mixed into both executors."""

    def __init__(self, net: StoredUnet, t: int, other: StepOps[T] | None = None) -> None:
        """Takes the weights of `other`, an executor of the same network at another step."""
        self.net = net
        self._convs: dict[str, Resolved[T]] = {}
        for name, c in net.convs.items():
            half = (1 << c.shift.astype(np.int64)) >> 1
            offset = (c.bias[t - 1] + half).astype(np.float32)[:, None]
            if other is not None:
                weight, factor = other._convs[name].weight, other._convs[name].factor
            else:
                w = c.weight.astype(np.float32)
                k = c.spec.kernel
                w = w[:, :, 0, 0] if k == 1 else w.transpose(2, 3, 0, 1).reshape(9, *w.shape[:2])
                weight = self.tensor(np.ascontiguousarray(w))
                factor = self.tensor(np.ldexp(np.float32(1), -c.shift.astype(np.int32))[:, None])
            self._convs[name] = Resolved(c.spec, weight, self.tensor(offset), factor, None)
        self._position = self.tensor(net.cfg.position_planes()[None])

    def planes(self, y: T) -> T:
        parts = [
            self.clamp(self.scaled_floor(y, (1 << max(s, 0)) >> 1, 0.5**s), -127, 127)
            for s in self.net.cfg.shifts
        ]
        if self.net.cfg.position:
            parts.append(self.repeated(self._position, y))
        return self.cat(parts)

    @abstractmethod
    def repeated(self, x: T, like: T) -> T:
        """(1, c, h, w) once per patch of `like`."""

    @abstractmethod
    def unshuffle(self, x: T) -> T: ...

    def heads(self, y: Floats) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """v (2^−8) and what is added to the scale index, from y_t in cells; both like y."""
        head = self.array(predict(self, self.net.cfg, self.tensor(y))).astype(np.int64)
        v, index = np.split(head, 2, 1)
        return v, index


class NumpyStep(NumpyOps, StepOps[Floats]):
    """The NumPy executor at one step."""

    def __init__(self, net: StoredUnet, t: int, other: StepOps[Floats] | None = None) -> None:
        StepOps.__init__(self, net, t, other)

    def repeated(self, x: Floats, like: Floats) -> Floats:
        return np.repeat(x, len(like), 0)

    def unshuffle(self, x: Floats) -> Floats:
        b, c, h, w = x.shape
        y = x.reshape(b, c, h // 2, 2, w // 2, 2).transpose(0, 1, 3, 5, 2, 4)
        return np.ascontiguousarray(y).reshape(b, 4 * c, h // 2, w // 2)


def numpy_steps(net: StoredUnet) -> Sequence[NumpyStep]:
    """Executors for t = 1…T."""
    steps = [NumpyStep(net, 1)]
    return steps + [NumpyStep(net, t, steps[0]) for t in range(2, net.cfg.steps + 1)]


__all__ = [
    "HEAD_LIMIT",
    "NumpyStep",
    "StepOps",
    "StoredUnet",
    "UnetConfig",
    "UnetOps",
    "numpy_steps",
    "predict",
    "unet_specs",
]
