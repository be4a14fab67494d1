"""Attacks on the top latents (the paper's appendix H, after Kuzina et al. 2022, arXiv 2203.09940).

A perturbation of the picture, bounded in every pixel, that moves the posteriors of the top m layers
as far as it can. How much it matters is how little the reconstruction still looks like that of the
clean picture.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ...models.vae.blocks import Gaussian
from ...models.vae.context import quantised
from ...models.vae.hierarchy import Hierarchy
from .similarity import small_ms_ssim


@dataclass(frozen=True, slots=True, kw_only=True)
class AttackConfig:
    """Projected gradient ascent in the maximum norm."""

    points: int = 50  # test pictures
    starts: int = 5  # random starts per picture
    bound: float = 0.1  # largest change of a pixel, of 0…1
    steps: int = 10
    seed: int = 10


@dataclass(frozen=True, slots=True)
class Robustness:
    """MS-SSIM to the clean reconstruction, by number of layers under attack (1, 2, …)."""

    whole: list[float]  # all layers from the attacked picture; mean over points and starts
    worst: list[float]  # the same, the worst start of each point
    top: list[float]  # attacked layers from the picture, the rest the prior's mean, in both


def _mean(_: int, prior: Gaussian, posterior: Gaussian | None) -> Tensor:
    return (posterior or prior).mean


def _posteriors(model: Hierarchy, x: Tensor, layers: int) -> tuple[list[Gaussian], Tensor | None]:
    """Posteriors of the top layers along their means, and the context before rounding, if any."""
    y = scaled = None
    if model.context is not None:
        scaled = model.context.scaled(x)
        y = scaled + (quantised(scaled, model.context.levels) - scaled).detach()
    down = model.descend(_mean, features=model.encode(x), y=y, stop=layers)
    return [layer.posterior for layer in down.layers if layer.posterior is not None], scaled


def _distance(model: Hierarchy, x: Tensor, clean: tuple[list[Gaussian], Tensor | None]) -> Tensor:
    """Symmetric divergence of the attacked layers' posteriors from the clean ones, (batch,) nats.

    A context has no posterior; it counts as a Gaussian whose deviation is the distance of its
    levels, before rounding (which has no gradient).
    """
    attacked_layers = len(clean[0]) + (clean[1] is not None)
    posteriors, scaled = _posteriors(model, x, attacked_layers)
    total = torch.zeros(len(x), device=x.device)
    for now, then in zip(posteriors, clean[0], strict=True):
        total = total + (now.divergence(then) + then.divergence(now)).flatten(1).sum(1)
    if scaled is not None and clean[1] is not None:
        step = 2 / (model.cfg.context_levels - 1)
        total = total + ((scaled - clean[1]) / step).square().flatten(1).sum(1)
    return total


def attacked(model: Hierarchy, x: Tensor, layers: int, cfg: AttackConfig) -> Tensor:
    """The pictures, changed by at most `bound` per pixel so as to move the top `layers` layers.

    Args:
        x: (batch, channels, side, side) in 0…1.

    Returns:
        Of the same shape, in 0…1.
    """
    generator = torch.Generator().manual_seed(cfg.seed)
    with torch.no_grad():
        clean = _posteriors(model, x, layers)
    rate = 2.5 * cfg.bound / cfg.steps
    change = cfg.bound * (2 * torch.rand(x.shape, generator=generator) - 1).to(x.device)
    for _ in range(cfg.steps):
        current = (x + change).clamp(0, 1).requires_grad_()
        (gradient,) = torch.autograd.grad(_distance(model, current, clean).sum(), current)
        change = (change + rate * gradient.sign()).clamp(-cfg.bound, cfg.bound)
    return (x + change).clamp(0, 1).detach()


def robustness(model: Hierarchy, x: Tensor, cfg: AttackConfig) -> Robustness:
    """Attacks on the top 1, 2, … layers.

    Args:
        x: test pictures; the first `points` are attacked, each from `starts` random starts.
    """
    x = x[: cfg.points]
    points = len(x)
    repeated = x.repeat(cfg.starts, 1, 1, 1)
    model.requires_grad_(False)
    whole, worst, top = [], [], []
    for layers in range(1, model.cfg.layers + 1):
        bad = attacked(model, repeated, layers, cfg)
        with torch.no_grad():
            clean = model.reconstruct(x).repeat(cfg.starts, 1, 1, 1)
            alike = small_ms_ssim(clean, model.reconstruct(bad)).view(cfg.starts, points)
            kept = model.reconstruct(x, layers).repeat(cfg.starts, 1, 1, 1)
            alike_top = small_ms_ssim(kept, model.reconstruct(bad, layers))
        whole.append(float(alike.mean()))
        worst.append(float(alike.amin(0).mean()))
        top.append(float(alike_top.mean()))
    model.requires_grad_(True)
    return Robustness(whole, worst, top)
