"""The context: a fixed, quantised function of the picture that stands at the top of the hierarchy.

Algorithms 1-2 (DCT) and 3-4 (downsampling) of arXiv 2302.09976.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..transforms import dct_matrix, opponent_matrix
from .config import VaeConfig


class Context(nn.Module):
    """Symbols of a picture, and the picture that they give back.

    Raw values are centred by their mean over the training set and divided by their largest
    deviation, then rounded to `levels` equidistant values in −1…1. The paper divides by the
    largest value only; centring lets an odd number of levels include the mean.
    """

    centre: Tensor
    spread: Tensor

    def __init__(self, cfg: VaeConfig) -> None:
        super().__init__()
        self.levels, self.size, self.side = cfg.context_levels, cfg.context_size, cfg.image_side
        shape = (cfg.image_channels, self.size, self.size)
        self.register_buffer("centre", torch.zeros(shape))
        self.register_buffer("spread", torch.ones(shape))

    def raw(self, x: Tensor) -> Tensor:
        """(batch, channels, K, K) of pictures (batch, channels, side, side) in 0…1."""
        raise NotImplementedError

    def from_raw(self, values: Tensor) -> Tensor:
        """Pictures, not clipped, of raw values."""
        raise NotImplementedError

    def fit(self, x: Tensor) -> None:
        """Take centre and spread from training pictures (count, channels, side, side) in 0…1."""
        values = torch.cat([self.raw(part) for part in x.split(1024)])
        self.centre.copy_(values.mean(0))
        self.spread.copy_((values - self.centre).abs().amax(0).clamp(min=1e-6))

    def scaled(self, x: Tensor) -> Tensor:
        """Values before rounding, within −1…1, of the shape (batch, channels, K, K)."""
        return ((self.raw(x) - self.centre) / self.spread).clamp(-1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Quantised values y in −1…1: deterministic given the picture."""
        return quantised(self.scaled(x), self.levels)

    def picture(self, y: Tensor) -> Tensor:
        """What the decoder is shown: (batch, channels, side, side), clipped to 0…1."""
        return self.from_raw(y * self.spread + self.centre).clamp(0, 1)


def quantised(values: Tensor, levels: int) -> Tensor:
    """The nearest of `levels` equidistant values in −1…1."""
    half = (levels - 1) / 2
    return ((values + 1) * half).round() / half - 1


class DctContext(Context):
    """The K x K lowest coefficients of the picture's orthonormal DCT, per opponent colour."""

    rows: Tensor
    colours: Tensor

    def __init__(self, cfg: VaeConfig) -> None:
        super().__init__(cfg)
        rows = torch.from_numpy(dct_matrix(cfg.image_side)[: self.size]).float()
        colours = torch.from_numpy(opponent_matrix()) if cfg.image_channels == 3 else torch.eye(1)
        self.register_buffer("rows", rows, persistent=False)
        self.register_buffer("colours", colours, persistent=False)

    def raw(self, x: Tensor) -> Tensor:
        return torch.einsum("dc,nchw,uh,vw->nduv", self.colours, x, self.rows, self.rows)

    def from_raw(self, values: Tensor) -> Tensor:
        return torch.einsum("dc,nduv,uh,vw->nchw", self.colours, values, self.rows, self.rows)


class DownsamplingContext(Context):
    """Average pooling (Algorithm 3) and nearest neighbours (Algorithm 4).

    Where K does not divide the side, the picture is padded with its border to the next multiple
    first, and cut after.
    """

    def __init__(self, cfg: VaeConfig) -> None:
        super().__init__(cfg)
        self.kernel = -(-self.side // self.size)
        more = self.kernel * self.size - self.side
        self.before, self.after = more // 2, more - more // 2

    def raw(self, x: Tensor) -> Tensor:
        pads = (self.before, self.after) * 2
        return F.avg_pool2d(F.pad(x, pads, mode="replicate"), self.kernel)

    def from_raw(self, values: Tensor) -> Tensor:
        picture = F.interpolate(values, scale_factor=self.kernel, mode="nearest")
        cut = slice(self.before, self.before + self.side)
        return picture[:, :, cut, cut]


def context_of(cfg: VaeConfig) -> Context | None:
    """The context of an arm; None for the baseline."""
    if cfg.arm == "baseline":
        return None
    return DctContext(cfg) if cfg.arm == "dct" else DownsamplingContext(cfg)
