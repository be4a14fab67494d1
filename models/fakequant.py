"""The training executor of the prior path: floats that follow the integer rule, with gradients."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .config import KNOTS, ModelConfig
from .fuse import fused
from .integer import BOUND, CONTEXT_PLANE_UNIT, HEAD_LIMIT
from .topology import (
    ACTIVATION_BITS,
    MEAN_BITS,
    SCALE_BITS,
    Activation,
    ConvSpec,
    prior_specs,
)

UNITS = 2.0**ACTIVATION_BITS
"""Activations are carried as the integer path has them: in units of 1/32."""


LARGEST_SHIFT = 20


def out_bits(spec: ConvSpec) -> Tensor:
    """Binary digits after the point of each output, (outputs,), int."""
    bits = torch.full((spec.outputs,), spec.out_bits)
    if spec.head:
        bits[spec.outputs // 2 :] = SCALE_BITS
    return bits


def quantise_weight(weight: Tensor, bias: Tensor, spec: ConvSpec) -> tuple[Tensor, Tensor]:
    """Integers −127…127 and a power of two per output channel: weight ≈ integer · 2^−shift.

    The shift is the largest that keeps the integers in range, Σ|w|·max|a| below 2^23 and the bias
    below 2^22, which leaves the rest of 2^24 to rounding.

    Args:
        weight: (outputs, inputs, kernel, kernel); bias: (KNOTS, outputs), real.

    Returns:
        integers (same shape, float) and shift (outputs,), int.
    """
    bits = out_bits(spec).to(weight)
    flat = weight.detach().flatten(1)
    integers, shift = _quantise(flat, bias.detach(), bits, largest_input(spec))
    return integers.reshape(weight.shape), shift.to(torch.int32)


def largest_input(spec: ConvSpec) -> float:
    """Of the magnitudes that an input can have, in units of 1/32."""
    return 255.0 if spec.relu_input else 127.0


def _quantise(
    weight: Tensor, bias: Tensor, bits: Tensor, largest_input: float
) -> tuple[Tensor, Tensor]:
    """`quantise_weight` of plain tensors; weight: (outputs, inputs·kernel²); bits: `out_bits`."""
    size = weight.abs()
    total = size.sum(1).clamp_min(1e-9) * largest_input
    offset = bias.abs().amax(0).clamp_min(1e-9) * UNITS
    room = torch.minimum(127 / size.amax(1).clamp_min(1e-9), 0.99 * BOUND / 2 / total)
    shift = torch.log2(torch.minimum(room, BOUND / 4 / offset)).floor()
    low = bits - ACTIVATION_BITS
    shift = torch.minimum(torch.maximum(shift, low), low + LARGEST_SHIFT)
    integers = (weight * torch.exp2(shift)[:, None]).round().clamp(-127, 127)
    return integers, shift


def _rounded_weight(weight: Tensor, bias: Tensor, bits: Tensor, largest_input: float) -> Tensor:
    """Weights (outputs, inputs·kernel²) as the integer path will store them."""
    integers, shift = _quantise(weight, bias, bits, largest_input)
    return integers * torch.exp2(-shift)[:, None]


def round_through(x: Tensor) -> Tensor:
    """Rounding whose gradient is one (straight-through)."""
    return x + (x.round() - x).detach()


class _Requantise(torch.autograd.Function):
    """x + bias + skip, rounded and clamped; gradient one inside the clamp."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, bias: Tensor, skip: Tensor | None, low: float, high: float
    ) -> Tensor:
        y = x + bias[:, :, None, None].to(x.dtype)
        if skip is not None:
            y += skip
        y.round_()
        ctx.save_for_backward(y)
        ctx.low, ctx.high = low, high
        ctx.skipped = skip is not None
        ctx.bias_type = bias.dtype
        out: Tensor = y.clamp(low, high)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (y,) = ctx.saved_tensors
        g = torch.ops.aten.hardtanh_backward(grad, y, ctx.low, ctx.high)
        return g, g.sum((2, 3)).to(ctx.bias_type), g if ctx.skipped else None, None, None


class _RoundWeight(torch.autograd.Function):
    """Weights as the integer path will store them; gradient one."""

    @staticmethod
    def forward(
        ctx: Any, weight: Tensor, bias: Tensor, bits: Tensor, largest: float, fuse: bool
    ) -> Tensor:
        rounded = fused(_rounded_weight) if fuse else _rounded_weight
        # no parameters, whose shapes a compiler takes for constants
        flat: Tensor = rounded(weight.detach().flatten(1), bias.detach(), bits, largest)
        return flat.view(weight.shape)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        return grad, None, None, None, None


class FakeConv(nn.Module):
    """Float weights of one stored convolution; a bias per knot of quality.

    Biases, and outputs of heads, are real numbers (integer / 32); the scale half of a head is
    trained as index / 4.
    """

    def __init__(self, spec: ConvSpec) -> None:
        super().__init__()
        self.spec = spec
        fan_in = (1 if spec.depthwise else spec.inputs) * spec.kernel**2
        shape = (spec.outputs, 1 if spec.depthwise else spec.inputs, spec.kernel, spec.kernel)
        w = torch.randn(shape) * math.sqrt((2 if spec.relu_input else 1) / fan_in)
        if spec.depthwise:
            w = 0.5 * w
            w[:, 0, spec.kernel // 2, spec.kernel // 2] += 0.5
        if spec.residual:
            w = 0.2 * w
        if spec.head:
            w = torch.zeros(shape)
        self.weight = nn.Parameter(w)
        self.bias = nn.Parameter(torch.zeros(KNOTS, spec.outputs))
        self.register_buffer("bits", out_bits(spec).float(), persistent=False)
        if spec.head:
            self.gain = nn.Parameter(torch.ones(KNOTS, spec.outputs // 2))
        self.rounded = False  # whether the weights are the stored integers already

    def forward(self, x: Tensor, exact: bool, fuse: bool = False) -> Tensor:
        spec = self.spec
        w = self.weight
        if exact and not self.rounded:
            bits = self.get_buffer("bits")
            w = _RoundWeight.apply(  # type: ignore[no-untyped-call]
                w, self.bias, bits, largest_input(spec), fuse
            )
        groups = spec.inputs if spec.depthwise else 1
        return F.conv2d(x, w, padding=spec.kernel // 2, groups=groups)


class FakePrior(nn.Module):
    """All parameters of the prior path."""

    def __init__(self, cfg: ModelConfig) -> None:
        super().__init__()
        self.cfg = cfg
        self.convs = nn.ModuleDict(
            {s.name.replace(".", "_"): FakeConv(s) for s in prior_specs(cfg)}
        )

    def take_as_stored(self) -> None:
        """The weights came from a weights file and learn no more: do not round them again."""
        for conv in self.convs.values():
            assert isinstance(conv, FakeConv)
            conv.rounded = True

    def named(self, name: str) -> FakeConv:
        conv = self.convs[name.replace(".", "_")]
        assert isinstance(conv, FakeConv)
        return conv


class FakeQuantOps:
    """`topology.Ops` for tensors with gradients.

    Args:
        hat: (batch, KNOTS) weights of the two knots around each image's quality.
        step: (batch,) quantisation steps, grey levels.
        exact: round weights and activations as the integer path does; otherwise only clamp them.
        fuse: round weights by a compiled kernel (see `fuse`).
    """

    def __init__(
        self,
        prior: FakePrior,
        hat: Tensor,
        step: Tensor,
        exact: bool = True,
        fuse: bool = False,
    ) -> None:
        self.prior, self.hat, self.step, self.exact, self.fuse = prior, hat, step, exact, fuse
        unit = torch.full((prior.cfg.context_channels,), CONTEXT_PLANE_UNIT[1], device=step.device)
        unit[prior.cfg.context_is_mean] = CONTEXT_PLANE_UNIT[0]
        self.plane_unit = unit / step[:, None]  # symbols per unit of the coarse plane

    def conv(self, name: str, x: Tensor, act: Activation, skip: Tensor | None = None) -> Tensor:
        c = self.prior.named(name)
        y, bias = c(x, self.exact, self.fuse), self._batch(self.hat, x) @ c.bias
        if act == "head":
            head: Tensor = y.float() / UNITS + bias[:, :, None, None]
            return head
        bias = bias * UNITS
        low, high = (0.0, 255.0) if act == "relu" else (-127.0, 127.0)
        if not self.exact:
            y = y + bias[:, :, None, None].to(y.dtype)
            clamped: Tensor = (y if skip is None else y + skip).clamp(low, high)
            return clamped
        out: Tensor = _Requantise.apply(y, bias, skip, low, high)  # type: ignore[no-untyped-call]
        return out

    def means_and_scales(self, name: str, head: Tensor) -> tuple[Tensor, Tensor]:
        c = self.prior.named(name)
        m, s = head.chunk(2, 1)
        gain = self._batch(self.hat, head) @ c.gain
        if name.startswith("context"):
            gain = gain * self._batch(self.plane_unit, head) * UNITS
        if not self.exact:
            return m * gain[:, :, None, None], (s * 2**SCALE_BITS).clamp(0, 63)
        unit = 2.0**-c.spec.out_bits
        m = round_through(m / unit).clamp(-HEAD_LIMIT, HEAD_LIMIT) * unit
        m = round_through(m * gain[:, :, None, None] * 2**MEAN_BITS) * 2.0**-MEAN_BITS
        return m, round_through((s * 2**SCALE_BITS).clamp(0, 63))

    def context_planes(self, c: Tensor) -> list[Tensor]:
        coarse = (c / self._batch(self.plane_unit, c)[:, :, None, None]).round()
        return [coarse.clamp(-127, 127), (c * UNITS).clamp(-127, 127)]

    def latent_planes(self, z: Tensor) -> list[Tensor]:
        coarse = 2 * z
        if self.exact:
            coarse = round_through(coarse)
        return [(z * UNITS).clamp(-127, 127), coarse.clamp(-127, 127)]

    def known_plane(self, known: Tensor) -> Tensor:
        return known * UNITS

    def cat(self, xs: Sequence[Tensor]) -> Tensor:
        return torch.cat(list(xs), 1)

    def times(self, x: Tensor, known: Tensor) -> Tensor:
        return x * known

    def shuffle(self, x: Tensor) -> Tensor:
        return F.pixel_shuffle(x, 2).contiguous(memory_format=torch.channels_last)

    def _batch(self, per_image: Tensor, like: Tensor) -> Tensor:
        """Repeat per-image values where several masks of each image are stacked in the batch."""
        return per_image.repeat(like.shape[0] // per_image.shape[0], 1)
