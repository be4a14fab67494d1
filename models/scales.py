"""What a symbol costs under a scale index while training.

An index 0…63 stands for a logistic distribution (`scale_grid`). The stored integer tables
(`tables`) have the same order; they may have any shape.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from .scale_grid import LOG_RATIO, SMALLEST_SCALE


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
    v: Tensor, index: Tensor, weight: Tensor, frugality: float
) -> tuple[Tensor, Tensor]:
    """`thrifty` symbols and their bits, with slopes that training can follow.

    Both are stairs in `v`. Averaged over a shift of −½…½, a stair s(v) has the slope
    s(v + ½) − s(v − ½), and that is the gradient given here. The squared error of a symbol is no
    straight line either: the bits get the slope of its bent part, weight · k², around what is sent.

    Args:
        v: steps from the mean, symbols; index: scale indices; weight, frugality: see `thrifty`.

    Returns:
        symbols and bits, as `v`.
    """
    with torch.no_grad():
        k = thrifty(v, index, weight, frugality)
        up = thrifty(v + 0.5, index, weight, frugality)
        down = thrifty(v - 0.5, index, weight, frugality)
        slope = logistic_bits(up, index) - logistic_bits(down, index)
        slope += weight * ((up - k) ** 2 - (down - k) ** 2)
    shift = v - v.detach()
    return k + (up - down) * shift, logistic_bits(k, index) + slope * shift
