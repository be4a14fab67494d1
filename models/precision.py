"""Which floating-point type this machine multiplies fastest in."""

from __future__ import annotations

from functools import lru_cache
from time import perf_counter

import torch

ROWS, DEPTH, WIDTH = 4096, 128, 256
"""Of the product that is timed: a 1×1 convolution of a residual block, 64×64 positions."""


@lru_cache(maxsize=8)
def bf16_pays(device: str) -> bool:
    """Whether products in bfloat16 are faster than in float32; measured once on a CPU, 0.01 s.

    A CPU without bfloat16 instructions emulates them and takes twice as long or more.

    Args:
        device: as torch names it.
    """
    if not device.startswith("cpu"):
        return True
    return _seconds(torch.bfloat16) < _seconds(torch.float32)


def _seconds(kind: torch.dtype, rounds: int = 7) -> float:
    """Of one product, the best of several: others on this machine only ever slow it down."""
    a = torch.ones((ROWS, DEPTH), dtype=kind)
    b = torch.ones((DEPTH, WIDTH), dtype=kind)
    times = []
    for _ in range(rounds + 1):  # the first sets up kernels
        began = perf_counter()
        torch.mm(a, b)
        times.append(perf_counter() - began)
    return min(times[1:])


__all__ = ["bf16_pays"]
