"""The torch executor of the stored integer prior; see `integer`.

Spatial convolutions are nine shifted matrix products, never `conv2d`: fast convolution algorithms
(Winograd, as NNPACK uses it) are off by more than rounding can mend.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from .integer import Floats, IntegerOps, StoredPrior


class TorchOps(IntegerOps[Tensor]):
    """Exact on every device, thread count and library; `dtype` float32 or float64."""

    def __init__(
        self,
        prior: StoredPrior,
        quality_index: int,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.device, self.dtype = torch.device(device), dtype
        super().__init__(prior, quality_index)

    def tensor(self, x: Floats) -> Tensor:
        return torch.from_numpy(x).to(self.device, self.dtype)

    def array(self, x: Tensor) -> Floats:
        out: Floats = x.to("cpu", torch.float32).numpy()
        return out

    def scaled_floor(self, x: Tensor, offset: Tensor | float, factor: Tensor | float) -> Tensor:
        return (x + offset).mul_(factor).floor_()

    def clamp(self, x: Tensor, low: float, high: float) -> Tensor:
        return x.clamp_(low, high)

    def pointwise(self, weight: Tensor, x: Tensor) -> Tensor:
        return weight @ x.flatten(2)

    def spatial(self, weight: Tensor, x: Tensor, depthwise: bool) -> Tensor:
        b, _, h, w = x.shape
        flat, span = F.pad(x, (1, 1, 1, 2)).flatten(2), h * (w + 2)
        acc = x.new_zeros(b, weight.shape[1], span)
        for k in range(9):
            start = k // 3 * (w + 2) + k % 3
            view = flat[:, :, start : start + span]
            if depthwise:
                acc.addcmul_(view, weight[k])
            else:
                acc += weight[k] @ view
        return acc.view(b, -1, h, w + 2)[:, :, :, :w].flatten(2)

    def like(self, flat: Tensor, x: Tensor) -> Tensor:
        return flat.view(flat.shape[0], flat.shape[1], *x.shape[2:])

    def plus(self, x: Tensor, y: Tensor) -> Tensor:
        return x.add_(y)

    def times(self, x: Tensor, known: Tensor) -> Tensor:
        return x * known

    def cat(self, xs: Sequence[Tensor]) -> Tensor:
        return torch.cat(list(xs), 1)

    def shuffle(self, x: Tensor) -> Tensor:
        return F.pixel_shuffle(x, 2)

    def halves(self, x: Tensor) -> tuple[Tensor, Tensor]:
        a, b = x.chunk(2, 1)
        return a, b.contiguous()

    def column(self, gain: Tensor) -> Tensor:
        return gain[:, :, None]
