"""Training of the Gaussian prior by its variational bound (Eqs. 13–15 of arXiv 2302.09976)."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from .diffusion import LIMIT, Conditioning, Schedule
from .interface import FitBudget, Report
from .normal import INDICES, LOG_RATIO, SMALLEST

Symbols = npt.NDArray[np.int16]
LN2 = math.log(2)


@dataclass(frozen=True, eq=False)
class Process:
    """The diffusion process in floats, for training and for the float bound."""

    steps: int
    cells: float  # per unit of y0
    limit: int  # largest magnitude of a symbol, or 0
    ranges: Tensor  # (channels, 1, 1)
    skip: Tensor  # (T, channels, rows, columns): see `diffusion.Conditioning`
    out: Tensor
    index: Tensor
    signal: Tensor  # (T,): √ᾱ_t
    noise: Tensor  # (T,): √(1−ᾱ_t)
    posterior: tuple[Tensor, Tensor, Tensor]  # each (T,)

    @classmethod
    def of(
        cls, schedule: Schedule, grid_bits: int, limit: int, ranges: Any, known: Conditioning
    ) -> Process:
        def tensor(x: Any) -> Tensor:
            return torch.as_tensor(np.asarray(x), dtype=torch.float32)

        a = schedule.alpha_bars
        p0, pt, var = (tensor(x) for x in schedule.posterior)
        return cls(
            schedule.steps,
            2.0**grid_bits,
            limit,
            tensor(ranges)[:, None, None],
            tensor(known.skip),
            tensor(known.out),
            tensor(known.index),
            tensor(np.sqrt(a)),
            tensor(np.sqrt(1 - a)),
            (p0, pt, var),
        )

    def bits(self, net: Any, c: Tensor, t: Tensor, noise: Tensor, exact: bool) -> Tensor:
        """−L_{t−1} of Eq. 13 in bits, per symbol, like `c`; t: (patches,), 1…T."""
        k = t - 1

        def at(x: Tensor) -> Tensor:
            return x[k][:, None, None, None]

        y0 = c / self.ranges
        y = at(self.signal) * y0 + at(self.noise) * noise
        if exact:
            y = (y * self.cells).round() / self.cells
        v, more = net(y, t, exact)
        guess = (self.skip[k] * y + self.out[k] * v).clamp(-LIMIT / 16, LIMIT / 16)
        index = (self.index[k] + more).clamp(0, INDICES - 1)
        deviation = SMALLEST * torch.exp(LOG_RATIO * index)  # cells, of symbols for t = 1
        first = _binned_bits(c, guess * self.ranges, deviation, self.limit)
        p0, _, var = (at(x) for x in self.posterior)
        sigma = deviation / self.cells
        apart = p0 * (y0 - guess)  # both means share the term of y_t
        var = var.clamp_min(1e-12)
        later = (torch.log(sigma) - 0.5 * torch.log(var) - 0.5) / LN2
        later = later + (var + apart.square()) / (2 * LN2 * sigma.square())
        return torch.where((t == 1)[:, None, None, None], first, later)

    def last_bits(self, c: Tensor) -> Tensor:
        """D_KL(q(y_T|y0) || N(0, 1)) in bits, like `c`."""
        mean = self.signal[-1] * c / self.ranges
        var = self.noise[-1].square()
        return (var + mean.square() - 1 - torch.log(var)) / (2 * LN2)


def _binned_bits(c: Tensor, mean: Tensor, deviation: Tensor, limit: int) -> Tensor:
    """Eqs. 14–15: bits of the unit bin around `c`; the bins at ±limit are open."""
    far = 30.0
    upper, lower = (c + 0.5 - mean) / deviation, (c - 0.5 - mean) / deviation
    if limit:
        upper = torch.where(c >= limit, far, upper)
        lower = torch.where(c <= -limit, -far, lower)
    # work in the tail on the left: Φ(u) − Φ(l) = Φ(−l) − Φ(−u)
    flip = lower + upper > 0
    upper, lower = torch.where(flip, -lower, upper), torch.where(flip, -upper, lower)
    upper, lower = upper.clamp(-far, far), lower.clamp(-far, far)
    big, small = torch.special.log_ndtr(upper), torch.special.log_ndtr(lower)
    inside = torch.log(-torch.expm1((small - big).clamp_max(-1e-6)))
    # beyond 24 bits an escape takes over: keep a slope, as the coder's cost grows with log distance
    return torch.as_tensor(-(big + inside) / LN2)


def augmented(x: Tensor, rng: np.random.Generator, frequency_grid: bool, kept: int) -> Tensor:
    """A batch of contexts of the mirrored or transposed pictures, exact in the DCT domain.

    Args:
        x: (patches, 3, kept, kept) with a frequency grid, else (patches, 3·kept², rows, columns).
    """
    n, _, rows, columns = x.shape
    if frequency_grid:
        if rng.random() < 0.5:
            x = x.transpose(2, 3)
        sign = torch.tensor([(-1.0) ** k for k in range(kept)])
        if rng.random() < 0.5:
            x = x * sign
        return x * sign[:, None] if rng.random() < 0.5 else x
    x = x.reshape(n, 3, kept, kept, rows, columns)
    if rows == columns and rng.random() < 0.5:
        x = x.permute(0, 1, 3, 2, 5, 4)
    sign = torch.tensor([(-1.0) ** k for k in range(kept)])[:, None, None]
    if rng.random() < 0.5:
        x = x.flip(5) * sign
    if rng.random() < 0.5:
        x = x.flip(4) * sign[:, None]
    return x.reshape(n, 3 * kept * kept, rows, columns)


def fit_network(
    net: nn.Module,
    process: Process,
    patches: Symbols,
    budget: FitBudget,
    *,
    frequency_grid: bool,
    kept: int,
    report: Report | None = None,
) -> None:
    """Train a network (`FakeUnet` or `FloatUnet`) in place; the averaged weights are left in it.

    Args:
        patches: (n, channels, rows, columns) symbols of photos.
    """
    torch.manual_seed(budget.seed)
    rng = np.random.default_rng(budget.seed)
    data = torch.from_numpy(patches)
    optimiser = torch.optim.Adam(net.parameters(), lr=budget.rate, betas=(0.9, 0.99))
    average = {k: v.detach().clone() for k, v in net.state_dict().items()}
    began, step, recent = time.process_time(), 0, []
    while True:
        spent = time.process_time() - began
        share = step / budget.steps if budget.steps else spent / budget.seconds
        if share >= 1:
            break
        rate = (
            budget.rate * min(1, (step + 1) / 50) * (0.02 + 0.49 * (1 + math.cos(math.pi * share)))
        )
        for group in optimiser.param_groups:
            group["lr"] = rate
        c = data[torch.from_numpy(rng.integers(len(data), size=budget.batch))].float()
        c = augmented(c, rng, frequency_grid, kept)
        t, weight = _turns(process.steps, budget.batch, rng)
        bits = process.bits(net, c, t, torch.randn_like(c), True)
        loss = (bits.mean((1, 2, 3)) * weight).mean()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        norm = float(nn.utils.clip_grad_norm_(net.parameters(), 2.0))
        if math.isfinite(norm):
            optimiser.step()
        step += 1
        decay = min(0.998, (1 + step) / (10 + step))
        with torch.no_grad():
            for key, value in net.state_dict().items():
                average[key].lerp_(value, 1 - decay)
        recent.append(float(loss.detach()))
        if report and step % 50 == 0:
            report(step, float(np.mean(recent)))
            recent.clear()
    net.load_state_dict(average)


def _turns(steps: int, batch: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Steps t for a batch, and weights that make the mean of their bits an estimate of the sum.

    Most bits are spent at the first steps, so they are drawn most often: a share of 1/3 evenly,
    the rest falling as 1/t.
    """
    t = np.arange(1, steps + 1)
    share = 1 / (3 * steps) + 2 / 3 * (1 / t) / (1 / t).sum()
    edges = np.cumsum(share)
    points = (np.arange(batch) + rng.random()) / batch  # stratified
    drawn = np.minimum(np.searchsorted(edges, points), steps - 1)
    return torch.from_numpy(drawn + 1), torch.from_numpy(1 / share[drawn]).float()


@torch.no_grad()
def float_bits(net: Any, process: Process, c: Tensor, seed: int) -> float:
    """−ELBO in bits of all patches `c` together, one draw of y_t for each step; continuous y_t."""
    generator = torch.Generator().manual_seed(seed)
    total = float(process.last_bits(c).double().sum())
    for t in range(1, process.steps + 1):
        noise = torch.randn(c.shape, generator=generator)
        bits = process.bits(net, c, torch.full((len(c),), t), noise, False)
        total += float(bits.double().sum())
    return total
