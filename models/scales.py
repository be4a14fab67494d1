"""What a symbol costs under a scale index while training.

An index 0…63 stands for a logistic distribution (`scale_grid`). The stored integer tables
(`tables`) have the same order; they may have any shape.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from .centroids import between_knots
from .fuse import fused
from .scale_grid import LOG_RATIO, SCALES, SMALLEST_SCALE


def index_of_deviation(deviation: Tensor) -> Tensor:
    """Real-valued index of the logistic distribution with this standard deviation (symbols)."""
    s = deviation.clamp_min(1e-6) * (math.sqrt(3) / math.pi)
    return torch.log(s / SMALLEST_SCALE) / LOG_RATIO


def logistic_bits(distance: Tensor, index: Tensor) -> Tensor:
    """Bits of the unit interval around `distance` (symbols from the mean) under scale `index`.

    Uses log(σ(u) − σ(l)) = log σ(u) + log σ(−l) + log(1 − e^(l−u)), which keeps a slope however
    far a symbol lies from its mean.
    """
    inverse = torch.exp(-LOG_RATIO * index) / SMALLEST_SCALE
    a = distance.abs()
    nats = (
        F.softplus((a - 0.5) * inverse)
        + F.softplus(-(a + 0.5) * inverse)
        - torch.log(-torch.expm1(-inverse))
    )
    return nats / math.log(2)


@torch.no_grad()
def thrifty(v: Tensor, index: Tensor, weight: Tensor, frugality: float) -> Tensor:
    """Integers for real-valued `v` as the encoder chooses them: the nearest, or one nearer to zero.

    Args:
        v: steps from the mean, symbols; index: scale indices.
        weight: bits that a squared error of one symbol is worth.
        frugality: share of a bit's price that counts.
    """
    k, a = v.round(), v.abs()
    size = k.abs()
    smaller = (size - 1).clamp_min(0)
    saved = logistic_bits(size, index) - logistic_bits(smaller, index)
    lost = ((a - smaller) ** 2 - (a - size) ** 2) * weight
    better = (size > 0) & (frugality * saved > lost)
    return torch.where(better, k.sign() * smaller, k)


def chosen_symbols(
    v: Tensor, index: Tensor, weight: Tensor, frugality: float, fuse: bool = False
) -> tuple[Tensor, Tensor]:
    """`thrifty` symbols and their bits, with slopes that training can follow.

    Both are stairs in `v`. Averaged over a shift of −½…½, a stair s(v) has the slope
    s(v + ½) − s(v − ½), and that is the gradient given here. The squared error of a symbol is no
    straight line either: the bits get the slope of its bent part, weight · k², around what is sent.

    Args:
        v: steps from the mean, symbols; index: scale indices; weight, frugality: see `thrifty`.
        fuse: by a compiled kernel (see `fuse`).

    Returns:
        symbols and bits, as `v`.
    """
    found: tuple[Tensor, Tensor] = _Chosen.apply(  # type: ignore[no-untyped-call]
        v, index, weight, frugality, fuse
    )
    return found


def centroid_shift(knots: Tensor, k: Tensor, index: Tensor) -> Tensor:
    """How far the latents of symbols lie beyond them in the mean, symbols (`centroids`).

    Args:
        knots: (`SIZES`, `KNOTS`), centroids of a part.
        k: symbols, real-valued: linear between whole ones; index: scale indices, rounded here.
    """
    steps = (knots @ torch.from_numpy(between_knots()).to(knots)).T
    one, more = F.embedding(index.detach().round().long().clamp(0, SCALES - 1), steps).unbind(-1)
    a = k.abs()
    return k.sign() * (one * a.clamp_max(1) + (more - one) * (a - 1).clamp(0, 1))


class _Chosen(torch.autograd.Function):
    """What `thrifty` says of v, v + ½ and v − ½ at the price of three costs, not of six."""

    @staticmethod
    def forward(
        ctx: Any, v: Tensor, index: Tensor, weight: Tensor, frugality: float, fuse: bool
    ) -> tuple[Tensor, Tensor]:
        choice = fused(_choice) if fuse else _choice
        k, bits, *slopes = choice(v.detach(), index.detach(), weight, frugality)
        ctx.save_for_backward(*slopes)
        return k, bits

    @staticmethod
    def backward(ctx: Any, k: Tensor, bits: Tensor) -> tuple[Tensor | None, ...]:
        of_symbol, of_bits, of_index = ctx.saved_tensors
        return k * of_symbol + bits * of_bits, bits * of_index, None, None, None


def _choice(
    v: Tensor, index: Tensor, weight: Tensor, frugality: float
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Symbols, bits; slopes of symbols and of bits in `v`; slope of the bits in `index`.

    Half a symbol outwards the nearest integer is ⌊|v|⌋ + 1, inwards ⌊|v|⌋; all three choices are
    among these two and the next below.
    """
    inverse = torch.exp(-LOG_RATIO * index) / SMALLEST_SCALE

    def nats(size: Tensor) -> Tensor:  # without what all sizes have in common
        return F.softplus((size - 0.5) * inverse) + F.softplus(-(size + 0.5) * inverse)

    a = v.abs()
    low = a.floor()
    lower, high = (low - 1).clamp_min(0), low + 1
    cost_lower, cost_low, cost_high = nats(lower), nats(low), nats(high)
    price = frugality / math.log(2) / weight
    gain_high, gain_low = price * (cost_high - cost_low), price * (cost_low - cost_lower)
    gain_low = torch.where(low > 0, gain_low, -1.0)
    r = 2 * (a - low)  # what the nearer symbol costs in squared error, both half a symbol away
    outer = torch.where(gain_high > r, low, high)
    cost_outer = torch.where(gain_high > r, cost_low, cost_high)
    inner = torch.where(gain_low > r, lower, low)
    cost_inner = torch.where(gain_low > r, cost_lower, cost_low)
    up, down = (r > 1) & (gain_high <= r - 1), (r <= 1) & (gain_low > r + 1)
    size = torch.where(up, high, torch.where(down, lower, low))
    cost = torch.where(up, cost_high, torch.where(down, cost_lower, cost_low))
    sign = v.sign()
    bent = weight * ((outer - size) ** 2 - (inner - size) ** 2)
    of_bits = sign * ((cost_outer - cost_inner) / math.log(2) + bent)
    away, near = (size + 0.5) * inverse, (size - 0.5) * inverse
    small = torch.exp(-inverse)
    of_inverse = near * torch.sigmoid(near) - away * torch.sigmoid(-away)
    of_inverse = of_inverse - inverse * small / (1 - small).clamp_min(1e-12)
    bits = (cost - torch.log(-torch.expm1(-inverse))) / math.log(2)
    return sign * size, bits, outer - inner, of_bits, of_inverse * (-LOG_RATIO / math.log(2))
