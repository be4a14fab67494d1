"""MS-SSIM for pictures of 28x28 and 32x32.

The usual five scales with a window of 11 pixels need 161 pixels a side (so does pytorch-msssim).
Here: three scales (28, 14, 7 pixels) and a Gaussian window of 7 pixels, σ = 1.5, the largest that
fits the last one. The weights are the first three of Wang et al. 2003, divided by their sum.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

WINDOW, SIGMA = 7, 1.5
WEIGHTS = (0.0448, 0.2856, 0.3001)
C1, C2 = 0.01**2, 0.03**2  # stabilisers, for pictures in 0…1


def _window(channels: int) -> Tensor:
    at = torch.arange(WINDOW, dtype=torch.float32) - WINDOW // 2
    g = torch.exp(-at.square() / (2 * SIGMA**2))
    g = g / g.sum()
    return torch.outer(g, g).expand(channels, 1, WINDOW, WINDOW)


def ssim_parts(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """SSIM and its contrast-structure factor, both (batch, channels), without padding.

    Args:
        a, b: (batch, channels, height, width) in 0…1, sides at least 7.
    """
    channels = a.shape[1]
    window = _window(channels).to(a)

    def blur(t: Tensor) -> Tensor:
        return F.conv2d(t, window, groups=channels)

    ma, mb = blur(a), blur(b)
    va, vb, cab = blur(a * a) - ma * ma, blur(b * b) - mb * mb, blur(a * b) - ma * mb
    structure = (2 * cab + C2) / (va + vb + C2)
    luminance = (2 * ma * mb + C1) / (ma * ma + mb * mb + C1)
    return (luminance * structure).mean((2, 3)), structure.mean((2, 3))


def small_ms_ssim(a: Tensor, b: Tensor) -> Tensor:
    """Three-scale MS-SSIM, (batch,), 1 for equal pictures; negative factors count as 0.

    Raises:
        ValueError: shapes differ, or a side is below 28 pixels.
    """
    if a.shape != b.shape:
        raise ValueError(f"shapes {tuple(a.shape)} and {tuple(b.shape)} differ")
    if min(a.shape[2:]) < WINDOW << (len(WEIGHTS) - 1):
        raise ValueError(f"side {min(a.shape[2:])} is below {WINDOW << (len(WEIGHTS) - 1)}")
    total = torch.ones(a.shape[:2], dtype=a.dtype, device=a.device)
    for scale, weight in enumerate(WEIGHTS):
        whole, structure = ssim_parts(a, b)
        factor = whole if scale == len(WEIGHTS) - 1 else structure
        total = total * factor.clamp(min=0) ** (weight / sum(WEIGHTS))
        a, b = F.avg_pool2d(a, 2), F.avg_pool2d(b, 2)
    return total.mean(1)
