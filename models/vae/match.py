"""Baselines with as many parameters as the arm they are compared with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch

from .config import Arm, VaeConfig, with_arm
from .hierarchy import Hierarchy, parameter_count


def matched(cfg: VaeConfig, arm: Arm) -> VaeConfig:
    """The configuration of an arm; the baseline is widened until its parameters match `cfg`'s.

    What the context arms spend on their diffusion prior goes into wider residual blocks, as far as
    whole channels allow, and the rest into the posterior of the latent in the context's place.
    """
    other = with_arm(cfg, arm)
    if arm != "baseline":
        return other
    target = size_of(with_arm(cfg, "dct"))
    other = replace(other, top_hidden=4)
    hidden = _largest(lambda n: size_of(replace(other, hidden=n)), target)
    other = replace(other, hidden=hidden)
    top = _largest(lambda n: size_of(replace(other, top_hidden=n)), target)
    return replace(other, top_hidden=top)


def size_of(cfg: VaeConfig) -> int:
    """Parameters of a configuration, counted without making them."""
    with torch.device("meta"):
        return parameter_count(Hierarchy(cfg))


def _largest(count: Callable[[int], int], target: int) -> int:
    """The largest channels whose count does not exceed the target; at least 1.

    Counts are quadratic in the channels of a bottleneck, so three of them tell all the others.
    """
    one, two, three = count(1), count(2), count(3)
    square = (three - 2 * two + one) // 2
    linear = two - one - 3 * square
    constant = one - linear - square
    channels = 1
    while square * (channels + 1) ** 2 + linear * (channels + 1) + constant <= target:
        channels += 1
    return channels
