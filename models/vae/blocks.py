"""Residual blocks and the top-down block of the paper's Figure 8."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm as normalised

LOG_SCALE_BOUND = 5.0
"""Log standard deviations of latents stay within ±5, smoothly."""


class Gaussian(NamedTuple):
    """A diagonal Gaussian; both fields (batch, channels, side, side)."""

    mean: Tensor
    log_scale: Tensor

    def sample(self, temperature: float = 1.0) -> Tensor:
        """One draw; its noise is scaled by `temperature`."""
        return self.mean + temperature * self.log_scale.exp() * torch.randn_like(self.mean)

    def log_density(self, z: Tensor) -> Tensor:
        """Nats per unit, of the shape of `z`."""
        d = (z - self.mean) * torch.exp(-self.log_scale)
        return -0.5 * d.square() - self.log_scale - 0.9189385332046727

    def divergence(self, other: Gaussian) -> Tensor:
        """KL(self ‖ other) in nats per unit."""
        ratio = 2 * (self.log_scale - other.log_scale)
        d = (self.mean - other.mean) * torch.exp(-other.log_scale)
        return 0.5 * (ratio.exp() + d.square() - 1 - ratio)


def gaussian(parameters: Tensor) -> Gaussian:
    """Mean and bounded log scale from (batch, 2·width, side, side)."""
    mean, raw = parameters.chunk(2, 1)
    return Gaussian(mean, LOG_SCALE_BOUND * torch.tanh(raw / LOG_SCALE_BOUND))


def convolution(into: int, out: int, side: int, *, normed: bool = False) -> nn.Module:
    """3x3 with zero padding; 1x1 where the plane is too small for it to see anything more."""
    kernel = 3 if side > 1 else 1
    layer: nn.Module = nn.Conv2d(into, out, kernel, padding=kernel // 2)
    return normalised(layer) if normed else layer


class Bottleneck(nn.Module):
    """1x1, 3x3, 3x3, 1x1 with SiLU before each, as in the very deep VAE that the paper extends.

    Args:
        into, hidden, out: channels.
        side: of the planes, for the choice of kernels.
        residual: adds the input, if `into` equals `out`.
        silent: starts with zeros as output (before the residual).
    """

    def __init__(
        self,
        into: int,
        hidden: int,
        out: int,
        side: int,
        *,
        residual: bool,
        silent: bool = False,
        normed: bool = False,
    ) -> None:
        super().__init__()
        if residual and into != out:
            raise ValueError(f"a residual of {into} channels cannot be added to {out}")
        last = nn.Conv2d(hidden, out, 1)
        nn.init.zeros_(last.bias)  # type: ignore[arg-type]
        if silent:
            nn.init.zeros_(last.weight)
        first: nn.Module = nn.Conv2d(into, hidden, 1)
        self.residual = residual
        self.net = nn.Sequential(
            nn.SiLU(),
            normalised(first) if normed else first,
            nn.SiLU(),
            convolution(hidden, hidden, side, normed=normed),
            nn.SiLU(),
            convolution(hidden, hidden, side, normed=normed),
            nn.SiLU(),
            # Weight normalisation divides by the norm, which is 0 for a silent layer.
            normalised(last) if normed and not silent else last,
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.net(x)
        return x + out if self.residual else out


class TopDown(nn.Module):
    """One latent layer: prior from the decoder's state, posterior from it and the encoder."""

    def __init__(
        self, features: int, hidden: int, width: int, side: int, *, normed: bool = False
    ) -> None:
        super().__init__()
        self.width = width
        self.prior_net = Bottleneck(
            features, hidden, 2 * width + features, side, residual=False, silent=True, normed=normed
        )
        self.posterior_net = Bottleneck(
            features, hidden, 2 * width, side, residual=False, normed=normed
        )
        self.up = nn.Conv2d(width, features, 1)
        self.out = Bottleneck(features, hidden, features, side, residual=True, normed=normed)

    def prior(self, state: Tensor) -> tuple[Gaussian, Tensor]:
        """The prior of the layer, and the state with the prior's own features added."""
        parameters, more = self.prior_net(state).split([2 * self.width, state.shape[1]], 1)
        return gaussian(parameters), state + more

    def posterior(self, state: Tensor, encoded: Tensor) -> Gaussian:
        """The variational posterior, given the state before the prior's features."""
        return gaussian(self.posterior_net(state + encoded))

    def enter(self, state: Tensor, z: Tensor) -> Tensor:
        """The state that knows the latent."""
        out: Tensor = self.out(state + self.up(z))
        return out


def resized(planes: Tensor, side: int) -> Tensor:
    """To side x side: averages where it shrinks, nearest neighbours where it grows."""
    if planes.shape[-1] == side:
        return planes
    if planes.shape[-1] > side:
        return F.adaptive_avg_pool2d(planes, side)
    return F.interpolate(planes, size=side, mode="nearest")
