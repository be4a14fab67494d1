"""The Gaussian diffusion prior over the quantised context (appendix C, Eqs. 11-15), in floats.

Steps count t = 1…T; y_0 is the context itself. All log probabilities are nats.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from .blocks import Gaussian, resized
from .config import DiffusionConfig


class StepBlock(nn.Module):
    """Two 3x3 convolutions with a residual; the step enters as a bias between them."""

    def __init__(self, channels: int, steps: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        self.step = nn.Embedding(steps + 1, channels)
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)  # type: ignore[arg-type]

    def forward(self, h: Tensor, t: Tensor) -> Tensor:
        inner = self.first(nn.functional.silu(h)) + self.step(t)[:, :, None, None]
        out: Tensor = h + self.second(nn.functional.silu(inner))
        return out


class Denoiser(nn.Module):
    """A small U-Net: noisy context and step in, estimate of y_0 and a raw log scale out.

    Coefficients at different frequencies are different things, so each position has a bias of its
    own, at the input and at the output.
    """

    def __init__(self, cfg: DiffusionConfig, channels: int, size: int) -> None:
        super().__init__()
        width = cfg.channels
        self.channels, self.size = channels, size
        self.half_size = -(-size // 2)
        self.enter = nn.Conv2d(channels, width, 3, padding=1)
        self.place = nn.Parameter(torch.zeros(width, size, size))
        self.upper = nn.ModuleList(StepBlock(width, cfg.steps) for _ in range(cfg.blocks))
        self.lower = nn.ModuleList(
            StepBlock(width, cfg.steps) for _ in range(cfg.blocks if cfg.scales == 2 else 0)
        )
        self.join = nn.Conv2d(2 * width, width, 1) if cfg.scales == 2 else None
        self.leave = nn.Conv2d(width, 2 * channels, 3, padding=1)
        self.marginal = nn.Parameter(torch.zeros(cfg.steps + 1, 2 * channels, size, size))
        nn.init.normal_(self.place, std=0.1)

    def forward(self, y: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """y (batch, channels, K, K), t (batch,) 1…T; both results of the shape of y."""
        h = self.enter(y) + self.place
        for block in self.upper:
            h = block(h, t)
        if self.join is not None:
            low = resized(h, self.half_size)
            for block in self.lower:
                low = block(low, t)
            h = self.join(torch.cat([h, resized(low, self.size)], 1))
        estimate, raw = (self.leave(nn.functional.silu(h)) + self.marginal[t]).chunk(2, 1)
        return estimate, raw


class DiffusionPrior(nn.Module):
    """p(y_0) bounded from below by Eq. 13, trained together with the VAE.

    The paper's network gives mean and variance of each reverse step. Ours gives an estimate of y_0,
    from which Eq. 12 makes the mean, and the logarithm of what the variance of Eq. 12 is multiplied
    by. In the last step, p(y_0|y_1), a share of 1e-4 is uniform over the levels, so that no
    probability vanishes in float32 and none has to be clamped.
    """

    UNIFORM = 1e-4
    LOG_BOUND = 5.0

    alpha_bar: Tensor
    beta: Tensor
    of_start: Tensor
    of_noisy: Tensor
    log_scale: Tensor

    def __init__(self, cfg: DiffusionConfig, channels: int, size: int, levels: int) -> None:
        super().__init__()
        self.steps, self.levels = cfg.steps, levels
        self.shape = (channels, size, size)
        self.net = Denoiser(cfg, channels, size)
        beta = torch.cat(
            [
                torch.zeros(1, dtype=torch.float64),
                torch.linspace(cfg.first_beta, cfg.last_beta, cfg.steps, dtype=torch.float64),
            ]
        )
        bar = torch.cumprod(1 - beta, 0)  # index 0: no noise yet
        before = torch.cat([bar[:1], bar[:-1]])
        rest = (1 - bar).clamp(min=1e-12)
        # Eq. 12: mean = of_start · y_0 + of_noisy · y_t, variance = (1 − ᾱ_{t−1}) / (1 − ᾱ_t) · β_t
        self.register_buffer("beta", beta.float(), persistent=False)
        self.register_buffer("alpha_bar", bar.float(), persistent=False)
        self.register_buffer("of_start", (before.sqrt() * beta / rest).float(), persistent=False)
        self.register_buffer(
            "of_noisy", ((1 - beta).sqrt() * (1 - before) / rest).float(), persistent=False
        )
        variance = ((1 - before) / rest * beta).clamp(min=1e-12)
        self.register_buffer("log_scale", (0.5 * variance.log()).float(), persistent=False)

    def noisy(self, y0: Tensor, t: Tensor) -> Tensor:
        """A draw of q(y_t | y_0), Eq. 11."""
        bar = self.alpha_bar[t][:, None, None, None]
        return bar.sqrt() * y0 + (1 - bar).sqrt() * torch.randn_like(y0)

    def reverse(self, y: Tensor, t: Tensor) -> Gaussian:
        """p(y_{t−1} | y_t); for t = 1 the Gaussian that is then cut into bins."""
        estimate, raw = self.net(y, t)
        raw = self.LOG_BOUND * torch.tanh(raw / self.LOG_BOUND)
        at = t[:, None, None, None]
        mean = self.of_start[at] * estimate + self.of_noisy[at] * y
        first = at == 1
        scale = torch.where(first, raw - 2.0, raw + self.log_scale[at])
        return Gaussian(torch.where(first, estimate, mean), scale)

    def log_bins(self, p: Gaussian, y0: Tensor) -> Tensor:
        """Eq. 14: nats of each symbol under a Gaussian cut into bins; the end bins are open."""
        half = 1 / (self.levels - 1)  # half the distance of two levels
        inverse = torch.exp(-p.log_scale) * math.sqrt(0.5)
        upper = torch.erf((y0 + half - p.mean) * inverse)
        lower = torch.erf((y0 - half - p.mean) * inverse)
        upper = torch.where(y0 > 1 - half, torch.ones_like(upper), upper)
        lower = torch.where(y0 < half - 1, -torch.ones_like(lower), lower)
        mass = 0.5 * (upper - lower).clamp(min=0)
        return torch.log((1 - self.UNIFORM) * mass + self.UNIFORM / self.levels)

    def last_term(self, y0: Tensor) -> Tensor:
        """L_T of Eq. 13 with its sign: KL(q(y_T|y_0) ‖ N(0, I)), nats (batch,)."""
        bar = self.alpha_bar[-1]
        kl = 0.5 * (bar * y0.square() - bar - torch.log1p(-bar))
        return kl.flatten(1).sum(1)

    def term(self, y0: Tensor, t: Tensor) -> Tensor:
        """−L_{t−1} of Eq. 13 at one step per picture, by one draw of y_t; nats (batch,)."""
        y = self.noisy(y0, t)
        p = self.reverse(y, t)
        at = t[:, None, None, None]
        q = Gaussian(
            self.of_start[at] * y0 + self.of_noisy[at] * y, self.log_scale[at].expand_as(y0)
        )
        first = at == 1
        # The branch not taken must not make gradients infinite.
        kl = q.divergence(p).where(~first, torch.zeros_like(y0))
        bins = self.log_bins(p, y0).where(first, torch.zeros_like(y0))
        return (kl - bins).flatten(1).sum(1)

    def loss(self, y0: Tensor) -> Tensor:
        """Unbiased estimate of −Eq. 13 from one step per picture, nats (batch,)."""
        t = torch.randint(1, self.steps + 1, (len(y0),), device=y0.device)
        return self.steps * self.term(y0, t) + self.last_term(y0)

    def bound(self, y0: Tensor) -> Tensor:
        """−Eq. 13 over all steps, one draw each, nats (batch,): at least −log p(y_0) on average."""
        total = self.last_term(y0)
        for t in range(1, self.steps + 1):
            total = total + self.term(y0, torch.full((len(y0),), t, device=y0.device))
        return total

    def log_weight(self, y0: Tensor) -> Tensor:
        """log p(y_0…y_T) − log q(y_1…y_T | y_0) of one drawn path, (batch,)."""
        total = torch.zeros(len(y0), device=y0.device)
        y = y0
        for t in range(1, self.steps + 1):
            beta = self.beta[t]
            forward = Gaussian((1 - beta).sqrt() * y, (0.5 * beta.log()).expand_as(y))
            later = forward.sample()
            p = self.reverse(later, torch.full((len(y0),), t, device=y0.device))
            ours = self.log_bins(p, y) if t == 1 else p.log_density(y)
            total = total + (ours - forward.log_density(later)).flatten(1).sum(1)
            y = later
        start = Gaussian(torch.zeros_like(y), torch.zeros_like(y))
        return total + start.log_density(y).flatten(1).sum(1)

    @torch.no_grad()
    def sample(self, count: int, temperature: float = 1.0) -> Tensor:
        """Contexts (count, channels, K, K) on the grid of levels."""
        from .context import quantised

        y = torch.randn(count, *self.shape, device=self.beta.device)
        for t in range(self.steps, 0, -1):
            p = self.reverse(y, torch.full((count,), t, device=y.device))
            y = p.sample(temperature)
        return quantised(y.clamp(-1, 1), self.levels)
