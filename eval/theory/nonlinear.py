"""Small nonlinear VAEs on digits, and how many of their latents stay in use.

As in the experiments of arXiv 2306.05023 (section 5, appendix): one hidden layer of ReLUs on each
side, 16 latents, Adam. Ours differ where stated: pixels are centred, the decoder's mean is not
squashed, and the condition of the conditional VAE is the DCT context of arXiv 2302.09976, the
context_kept × context_kept lowest coefficients of the picture itself, instead of a quadrant.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...models.transforms import dct_matrix
from .linear_vae import Floats

SIDE = 28
"""Pixels per side of a digit."""

EPSILON, DELTA = 0.1, 0.05
"""A dimension has collapsed if its divergence is below EPSILON nats for a share of at least
1 − DELTA of the data: the (ε, δ)-collapse of arXiv 1911.02469."""

ACTIVE = 0.01
"""A unit is active if the variance over the data of its posterior mean, in units of the prior's,
exceeds this (arXiv 1509.00519)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunConfig:
    """One run."""

    kind: Literal["vae", "two latents"] = "vae"
    beta: float = 1.0  # weight of the divergence of z, or of z₁
    beta2: float = 1.0  # of z₂
    decoder_std: float = 1.0  # η_dec; pixels are 0…1
    prior_std: float = 1.0  # η_enc
    first_std: float = 0.5  # σ₁ of the encoder of z₁, fixed; two latents only
    learned: bool = True  # variance of the encoder of z (z₂): learned, or prior_std²
    context_kept: int = 0  # DCT coefficients per axis that encoder and decoder see
    latents: int = 16  # of each layer
    hidden: int = 128
    epochs: int = 20
    warm_beta2: float = 0.0  # where positive, as many epochs with this β₂ come first
    batch: int = 128
    rate: float = 1e-3
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """On held-out digits. Counts are of the last latent: z, or z₂."""

    collapsed: int  # dimensions, by EPSILON and DELTA
    active: int  # units, by ACTIVE
    directions: int  # eigenvalues of the covariance of the posterior means above ACTIVE
    active_first: int  # as `active`, of z₁; 0 with one latent
    divergence: float  # of the last latent, nats per digit
    divergence_first: float  # of z₁
    error: float  # squared error per digit, sum over pixels


def context_basis(kept: int) -> Floats:
    """(kept², 784): the lowest coefficients of the orthonormal DCT of a digit."""
    m = dct_matrix(SIDE)[:kept]
    return np.asarray(np.kron(m, m), np.float64)


class Head(nn.Sequential):
    """One hidden layer of ReLUs."""

    def __init__(self, inputs: int, hidden: int, outputs: int) -> None:
        super().__init__(nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, outputs))


def divergence(mean: Tensor, log_variance: Tensor, prior_std: float) -> Tensor:
    """KL of N(mean, e^log_variance) from N(0, prior_std²), nats per dimension, shaped as `mean`."""
    scaled = log_variance - 2 * math.log(prior_std)
    return 0.5 * (mean.square() / prior_std**2 + scaled.exp() - 1 - scaled)


class Encoder(nn.Module):
    """Gaussian posterior of a latent; the variance learned per datum, or fixed."""

    def __init__(self, inputs: int, cfg: RunConfig, fixed_std: float | None) -> None:
        super().__init__()
        self.fixed = None if fixed_std is None else 2 * math.log(fixed_std)
        self.net = Head(inputs, cfg.hidden, cfg.latents * (2 if fixed_std is None else 1))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance, each (batch, latents)."""
        out = self.net(x)
        if self.fixed is not None:
            return out, torch.full_like(out, self.fixed)
        mean, log_variance = out.chunk(2, 1)
        return mean, log_variance.clamp(-12, 6)


def drawn(mean: Tensor, log_variance: Tensor) -> Tensor:
    return mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)


@dataclass(frozen=True, slots=True)
class Pass:
    """What a forward pass gives; sums over pixels, one entry per digit."""

    error: Tensor  # (batch,)
    last: Tensor  # (batch, latents): divergence of z or z₂
    first: Tensor  # (batch,): of z₁ from p(z₁ | z₂); 0 with one latent
    mean: Tensor  # (batch, latents): posterior mean of z or z₂
    mean_first: Tensor  # (batch, latents) of z₁; the same as `mean` with one latent


class DigitVae(nn.Module):
    """One latent, or two in a chain."""

    def __init__(self, cfg: RunConfig) -> None:
        super().__init__()
        self.cfg = cfg
        n, k = SIDE**2, cfg.context_kept**2
        basis = torch.from_numpy(context_basis(cfg.context_kept)).float().reshape(k, n)
        self.register_buffer("basis", basis)
        self.decoder = Head(cfg.latents + k, cfg.hidden, n)
        last_std = None if cfg.learned else cfg.prior_std
        if cfg.kind == "vae":
            self.encoder = Encoder(n, cfg, last_std)
        else:
            self.encoder = Encoder(n, cfg, cfg.first_std)
            self.encoder2 = Encoder(cfg.latents, cfg, last_std)
            self.decoder2 = Head(cfg.latents, cfg.hidden, cfg.latents)

    def forward(self, x: Tensor) -> Pass:
        """x: (batch, 784), centred pixels."""
        cfg = self.cfg
        context = F.linear(x, self.get_buffer("basis"))
        mean, log_variance = self.encoder(x)
        z = drawn(mean, log_variance)
        y = self.decoder(torch.cat([z, context], 1)) + context @ self.get_buffer("basis")
        error = (y - x).square().sum(1)
        if cfg.kind == "vae":
            last = divergence(mean, log_variance, cfg.prior_std)
            return Pass(error, last, torch.zeros_like(error), mean, mean)
        mean2, log_variance2 = self.encoder2(z)
        guess = self.decoder2(drawn(mean2, log_variance2))
        # KL of q(z₁ | x) from p(z₁ | z₂) = N(guess, η_dec²), one draw of both
        first = divergence(mean - guess, log_variance, cfg.decoder_std).sum(1)
        return Pass(error, divergence(mean2, log_variance2, cfg.prior_std), first, mean2, mean)

    def loss(self, out: Pass) -> Tensor:
        """Negative weighted ELBO without constants, nats per digit."""
        cfg = self.cfg
        rate = cfg.beta * out.last.sum(1)
        if cfg.kind == "two latents":
            rate = cfg.beta * out.first + cfg.beta2 * out.last.sum(1)
        return (out.error / (2 * cfg.decoder_std**2) + rate).mean()


def train(cfg: RunConfig, digits: Tensor) -> DigitVae:
    """Train on (count, 784) centred pixels; the same numbers for the same seed and machine."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(cfg.seed)
        model = DigitVae(cfg)
        optimiser = torch.optim.Adam(model.parameters(), cfg.rate)
        warm = cfg.epochs if cfg.warm_beta2 else 0
        for epoch in range(warm + cfg.epochs):
            model.cfg = replace(cfg, beta2=cfg.warm_beta2) if epoch < warm else cfg
            order = torch.randperm(len(digits))
            for chosen in order.split(cfg.batch)[: len(digits) // cfg.batch]:
                optimiser.zero_grad(set_to_none=True)
                loss = model.loss(model(digits[chosen]))
                loss.backward()
                optimiser.step()
    return model


@torch.no_grad()
def measure(model: DigitVae, digits: Tensor, draws: int = 16) -> Measured:
    """Collapse on (count, 784) centred pixels; means over `draws` of z₁ where there are two."""
    cfg = model.cfg
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(cfg.seed)
        passes = [model(digits) for _ in range(draws)]
    last = torch.stack([p.last for p in passes]).mean(0)
    mean = torch.stack([p.mean for p in passes]).mean(0) / cfg.prior_std
    noise = mean.new_zeros(mean.shape[1])
    if cfg.kind == "two latents":  # the average over draws still holds 1/draws of their variance
        noise = torch.stack([p.mean for p in passes]).var(0).mean(0) / cfg.prior_std**2 / draws
    covariance = torch.cov(mean.T) - torch.diag(noise)
    first = passes[0].mean_first / cfg.prior_std
    return Measured(
        collapsed=int(((last < EPSILON).float().mean(0) >= 1 - DELTA).sum()),
        active=int((covariance.diagonal() > ACTIVE).sum()),
        directions=int((torch.linalg.eigvalsh(covariance) > ACTIVE).sum()),
        active_first=int((first.var(0) > ACTIVE).sum()) if cfg.kind == "two latents" else 0,
        divergence=float(last.sum(1).mean()),
        divergence_first=float(torch.stack([p.first for p in passes]).mean()),
        error=float(torch.stack([p.error for p in passes]).mean()),
    )
