"""Training of the masked prior's network alone, on contexts of photos."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from .. import scales
from ..config import ModelConfig
from ..export import default_tables, stored_conv
from ..fakequant import FakePrior, FakeQuantOps
from ..integer import StoredConv, StoredPrior, context_gains
from ..networks import knot_weights, step_tensor
from ..schedule import context_order
from ..tables import Tables
from ..topology import SCALE_BITS, context_specs, predict_context
from .interface import Context, FitBudget, Report

SIDE = 8
"""Blocks per side of the fields that are trained on."""

SCHEDULES = (2, 4, 8, 12)
"""Prefixes of these schedules are drawn, and one random mask beside them."""


def fit_masked(
    cfg: ModelConfig,
    quality_index: int,
    fields: Sequence[Context],
    budget: FitBudget,
    report: Report | None = None,
) -> tuple[StoredPrior, Tables]:
    """A network for contexts at one quality, and logistic tables.

    Unlike the codec's trainer this one sees one quality, and prefixes of several schedules, so that
    schedules can be compared under one network.
    """
    torch.manual_seed(budget.seed)
    rng = np.random.default_rng(budget.seed)
    data = [f for f in fields if min(f.shape[1:]) >= SIDE]
    share = np.array([f.shape[1] * f.shape[2] for f in data], np.float64)
    share /= share.sum()
    net = FakePrior(cfg)
    wanted = [net.named(s.name) for s in context_specs(cfg)]
    parameters = [p for conv in wanted for p in conv.parameters()]
    spread = np.mean([np.abs(f).reshape(len(f), -1).mean(1) for f in data[:200]], 0)
    index = scales.index_of_deviation(1.5 * torch.from_numpy(spread).float()).clamp(4, 60)
    with torch.no_grad():
        net.named("context.head").bias[:, cfg.context_channels :] = index / 2**SCALE_BITS
    optimiser = torch.optim.Adam(parameters, lr=budget.rate, betas=(0.9, 0.99))
    average = [p.detach().clone() for p in parameters]
    orders = {t: context_order(cfg.context_kept, t, SIDE, SIDE) for t in SCHEDULES}
    q = torch.full((budget.batch,), quality_index)
    hat, d = knot_weights(q), step_tensor(cfg, q)
    began, step, recent = time.process_time(), 0, []
    while True:
        spent = time.process_time() - began
        done = step / budget.steps if budget.steps else spent / budget.seconds
        if done >= 1:
            break
        rate = budget.rate * min(1, (step + 1) / 50)
        for group in optimiser.param_groups:
            group["lr"] = rate * (0.02 + 0.49 * (1 + math.cos(math.pi * done)))
        c = torch.from_numpy(np.stack([_cut(data, share, rng) for _ in range(budget.batch)]))
        known, coded, weight = _masks(orders, rng, c)
        ops = FakeQuantOps(net, hat, d, True)
        mean, at = predict_context(ops, c, known)
        bits = scales.logistic_bits(c - mean, at)
        loss = (bits * coded * weight).sum() / c.numel()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 2.0)
        optimiser.step()
        step += 1
        with torch.no_grad():
            decay = min(0.998, (1 + step) / (10 + step))
            for a, p in zip(average, parameters, strict=True):
                a.lerp_(p, 1 - decay)
        recent.append(float(loss.detach()))
        if report and step % 50 == 0:
            report(step, float(np.mean(recent)))
            recent.clear()
    with torch.no_grad():
        for a, p in zip(average, parameters, strict=True):
            p.copy_(a)
    convs = {}
    for conv in wanted:
        s = stored_conv(conv)
        gain = s["gain"].astype(np.int32) if conv.spec.head else None
        convs[conv.spec.name] = StoredConv(
            conv.spec,
            s["weight"].astype(np.int8),
            s["shift"].astype(np.int8),
            s["bias"].astype(np.int32),
            gain,
        )
    return StoredPrior(cfg, convs, *context_gains(cfg)), default_tables(0)


def _cut(
    data: Sequence[Context], share: npt.NDArray[np.float64], rng: np.random.Generator
) -> npt.NDArray[np.float32]:
    """A random field of SIDE × SIDE blocks, float32."""
    f = data[rng.choice(len(data), p=share)]
    i, j = rng.integers(f.shape[1] - SIDE + 1), rng.integers(f.shape[2] - SIDE + 1)
    return f[:, i : i + SIDE, j : j + SIDE].astype(np.float32)


def _masks(
    orders: dict[int, npt.NDArray[np.int64]], rng: np.random.Generator, c: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """For each field a random prefix of a random schedule, or a random mask.

    Returns:
        known, what is coded next, and the weight that makes its bits an estimate of all; each
        broadcasts to `c`.
    """
    known, coded, weight = [], [], []
    for k in range(len(c)):
        steps = SCHEDULES[rng.integers(len(SCHEDULES))]
        if k % 8 == 7:
            hidden = rng.random(c.shape[1:]) < rng.uniform(0.05, 1)
            known.append(~hidden)
            coded.append(hidden)
            weight.append(1 / max(hidden.mean(), 1e-3))
        else:
            at = rng.integers(steps)
            known.append(orders[steps] < at)
            coded.append(orders[steps] == at)
            weight.append(float(steps))
    w = torch.tensor(weight, dtype=torch.float32)[:, None, None, None]
    return (
        torch.from_numpy(np.stack(known)).float(),
        torch.from_numpy(np.stack(coded)).float(),
        w,
    )
