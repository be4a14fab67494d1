"""The trainer of the hierarchical VAE: AdamW, a cosine, gradient clipping and skipping."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from .config import TrainConfig
from .hierarchy import Hierarchy

Draw = Callable[[Tensor, torch.Generator], Tensor]
"""(indices (batch,), generator) → pictures (batch, channels, side, side) in 0…1."""


@dataclass(frozen=True, slots=True)
class TrainLog:
    """What a training run left behind."""

    losses: list[float]  # negative ELBO in nats per picture, mean over each tenth of the run
    skipped: int  # updates that were left out


def learning_rate(step: int, cfg: TrainConfig) -> float:
    """Cosine from the first rate to the last."""
    part = 0.5 * (1 + math.cos(math.pi * step / cfg.steps))
    return cfg.last_rate + (cfg.first_rate - cfg.last_rate) * part


def train(model: Hierarchy, cfg: TrainConfig, count: int, draw: Draw, seed: int) -> TrainLog:
    """Minimise the negative ELBO; deterministic given the seed, the machine and its library.

    Args:
        count: pictures in the training set; indices 0…count − 1 are drawn without replacement
            within an epoch.
        draw: gives the pictures of a batch, binarised anew where the data set asks for it.
        seed: of batches, binarisation, latents and diffusion steps.
    """
    torch.manual_seed(seed)
    order_rng = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=cfg.first_rate, weight_decay=cfg.weight_decay
    )
    batch = min(cfg.batch, count)
    order, losses, skipped = torch.empty(0, dtype=torch.long), [], 0
    model.train()
    for step in range(cfg.steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, cfg)
        if len(order) < batch:
            order = torch.randperm(count, generator=order_rng)
        indices, order = order[:batch], order[batch:]
        x = draw(indices, order_rng)
        reconstruction, kl, code = model(x)
        loss = (reconstruction + torch.stack(kl).sum(0) + code).mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = float(torch.nn.utils.clip_grad_norm_(model.parameters(), cfg.clip))
        losses.append(float(loss.detach()))
        if not math.isfinite(norm) or (norm > cfg.skip and step >= cfg.grace):
            skipped += 1
            continue
        optimizer.step()
    model.eval()
    tenth = max(1, len(losses) // 10)
    parts = [losses[i : i + tenth] for i in range(0, len(losses), tenth)]
    return TrainLog([sum(p) / len(p) for p in parts], skipped)
