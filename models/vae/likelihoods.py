"""What the last features say about pixels: Bernoulli, and the discretised logistic mixture."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F


class Likelihood(Protocol):
    """p(x|z); pictures are (batch, channels, side, side) in 0…1."""

    parameters_per_pixel: int

    def log_density(self, parameters: Tensor, x: Tensor) -> Tensor:
        """Nats per picture, (batch,)."""

    def mean(self, parameters: Tensor) -> Tensor:
        """The expected picture, 0…1."""

    def sample(self, parameters: Tensor) -> Tensor:
        """A drawn picture, 0…1."""


class Bernoulli:
    """Independent bits; one logit per pixel and channel."""

    def __init__(self, channels: int) -> None:
        self.parameters_per_pixel = channels

    def log_density(self, parameters: Tensor, x: Tensor) -> Tensor:
        loss = F.binary_cross_entropy_with_logits(parameters, x, reduction="none")
        return -loss.flatten(1).sum(1)

    def mean(self, parameters: Tensor) -> Tensor:
        return torch.sigmoid(parameters)

    def sample(self, parameters: Tensor) -> Tensor:
        return torch.bernoulli(torch.sigmoid(parameters))


class LogisticMixture:
    """Discretised logistic mixture over 8-bit RGB (Salimans et al. 2017, arXiv 1701.05517).

    Per pixel and component: a weight, three means, three log scales, and three coefficients by
    which the means of green and blue depend on the channels before them. Bins are 2/255 wide on
    −1…1, the outermost open. A share of 1e-5 is uniform, so that no probability is zero and none
    has to be clamped; the sum over all 256 values stays 1.
    """

    MIN_LOG_SCALE = -7.0
    UNIFORM = 1e-5

    def __init__(self, mixtures: int) -> None:
        self.mixtures = mixtures
        self.parameters_per_pixel = 10 * mixtures

    def _split(self, parameters: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        n, _, h, w = parameters.shape
        m = self.mixtures
        logits, rest = parameters[:, :m], parameters[:, m:].view(n, 9, m, h, w)
        scales = rest[:, 3:6].clamp(min=self.MIN_LOG_SCALE)
        return logits, rest[:, :3], scales, torch.tanh(rest[:, 6:])

    def _means(self, means: Tensor, k: Tensor, x: Tensor) -> Tensor:
        """(n, 3, mixtures, h, w): means given the channels before; x (n, 3, 1, h, w) in −1…1."""
        green = means[:, 1] + k[:, 0] * x[:, 0]
        blue = means[:, 2] + k[:, 1] * x[:, 0] + k[:, 2] * x[:, 1]
        return torch.stack([means[:, 0], green, blue], 1)

    def log_density(self, parameters: Tensor, x: Tensor) -> Tensor:
        logits, means, scales, k = self._split(parameters)
        y = (2 * x - 1)[:, :, None]  # (n, 3, 1, h, w)
        centred = y - self._means(means, k, y)
        inverse = torch.exp(-scales)
        upper = torch.sigmoid(inverse * (centred + 1 / 255))
        lower = torch.sigmoid(inverse * (centred - 1 / 255))
        upper = torch.where(y > 0.999, torch.ones_like(upper), upper)
        lower = torch.where(y < -0.999, torch.zeros_like(lower), lower)
        mass = (1 - self.UNIFORM) * (upper - lower).clamp(min=0) + self.UNIFORM / 256
        per_component = mass.log().sum(1) + F.log_softmax(logits, 1)
        return torch.logsumexp(per_component, 1).flatten(1).sum(1)

    def mean(self, parameters: Tensor) -> Tensor:
        logits, means, _, k = self._split(parameters)
        weights = F.softmax(logits, 1)[:, None]
        x = (weights * means).sum(2).clamp(-1, 1)
        for _ in range(2):  # green needs red, blue needs both
            x = (weights * self._means(means, k, x[:, :, None])).sum(2).clamp(-1, 1)
        return (x + 1) / 2

    def sample(self, parameters: Tensor) -> Tensor:
        logits, means, scales, k = self._split(parameters)
        gumbel = -torch.log(-torch.log(torch.rand_like(logits).clamp(1e-6, 1 - 1e-6)))
        chosen = (logits + gumbel).argmax(1, keepdim=True)[:, None]  # (n, 1, 1, h, w)
        index = chosen.expand(-1, 3, -1, -1, -1)
        mean, scale, c = (t.gather(2, index)[:, :, 0] for t in (means, scales, k))
        u = torch.rand_like(mean).clamp(1e-5, 1 - 1e-5)
        noise = scale.exp() * (u.log() - (-u).log1p())
        red = (mean[:, 0] + noise[:, 0]).clamp(-1, 1)
        green = (mean[:, 1] + c[:, 0] * red + noise[:, 1]).clamp(-1, 1)
        blue = (mean[:, 2] + c[:, 1] * red + c[:, 2] * green + noise[:, 2]).clamp(-1, 1)
        x = torch.stack([red, green, blue], 1)
        return ((x + 1) * 127.5).round() / 255
