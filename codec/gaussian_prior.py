"""The paper's prior over the context, in real bits: a Gaussian diffusion model, bits-back coded."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ..models.context_priors.diffusion import Conditioning, IntegerDiffusion, Schedule
from ..models.context_priors.interface import (
    Coded,
    Context,
    ContextPrior,
    FitBudget,
    Likelihood,
    Report,
)
from ..models.context_priors.normal import INDICES, deviation
from ..models.context_priors.quantise import Quantiser, as_patches, from_patches
from ..models.context_priors.stored import GaussianModel
from ..models.context_priors.unet import StoredUnet, UnetConfig, numpy_steps
from ..models.integer import CONTEXT_LIMIT
from .bitsback import BitsBack
from .errors import BitstreamError, UsageError

Executor = Literal["torch", "numpy"]
OUTLIERS = 5e-4
"""Share of the symbols of a channel that may lie outside the range that is scaled to [−1, 1]."""

LEAST_RANGE = 15
"""Symbols that y0 = 1 stands for, at least: as with the paper's 5 bits. If a channel of small
symbols were stretched to [−1, 1], y1 would show spikes, which no normal distribution fits."""


@dataclass(frozen=True, kw_only=True)
class GaussianShape:
    """What a Gaussian prior is to be, before it is fitted."""

    unet: UnetConfig
    frequency_grid: bool
    quantiser: Quantiser


class GaussianPrior(ContextPrior):
    """A fitted Gaussian prior.

    Args:
        executor: which library computes the integer network; the bits are the same.
    """

    def __init__(self, model: GaussianModel, executor: Executor = "torch") -> None:
        self.model, self.executor = model, executor
        self.name = f"gaussian, T = {model.cfg.steps}"
        steps: Sequence[Any]
        if executor == "numpy":
            steps = numpy_steps(model.net)
        else:
            from ..models.context_priors.unet_torch import torch_steps

            steps = torch_steps(model.net)
        self.coder = BitsBack(model.diffusion, steps, model.cfg.limit)

    @classmethod
    def fitted(
        cls,
        shape: GaussianShape,
        fields: Sequence[Context],
        budget: FitBudget,
        report: Report | None = None,
    ) -> GaussianPrior:
        """Train a prior on contexts of photos."""
        import torch

        from ..models.context_priors.gaussian_fit import Process, fit_network
        from ..models.context_priors.unet_torch import FakeUnet

        cfg, patches = shape.unet, training_patches(shape, fields)
        ranges = ranges_of(patches, cfg.limit)
        schedule = Schedule(cfg.steps, cfg.first_beta)
        spread = spread_of(patches, ranges, shape.frequency_grid)
        known = Conditioning.of(schedule, cfg.grid_bits, ranges, spread)
        process = Process.of(schedule, cfg.grid_bits, cfg.limit, ranges, known)
        torch.manual_seed(budget.seed)
        net = FakeUnet(cfg)
        fit_network(
            net,
            process,
            patches,
            budget,
            frequency_grid=shape.frequency_grid,
            kept=shape.quantiser.kept,
            report=report,
        )
        note = f"{len(fields)} fields, {budget.seconds:g} s, seed {budget.seed}"
        return cls(
            GaussianModel(
                cfg,
                shape.frequency_grid,
                shape.quantiser,
                IntegerDiffusion.make(schedule, cfg.grid_bits, ranges, known),
                StoredUnet.from_arrays(cfg, net.arrays()),
                note,
            )
        )

    def fit(
        self, fields: Sequence[Context], budget: FitBudget, report: Report | None = None
    ) -> GaussianPrior:
        m = self.model
        shape = GaussianShape(unet=m.cfg, frequency_grid=m.frequency_grid, quantiser=m.quantiser)
        return self.fitted(shape, fields, budget, report)

    def patches(self, c: Context) -> Context:
        m = self.model
        return as_patches(c, m.frequency_grid, m.quantiser.kept, m.cfg.rows, m.cfg.columns)

    def _context(self, patches: Context, rows: int, columns: int) -> Context:
        m = self.model
        return from_patches(patches, m.frequency_grid, m.quantiser.kept, rows, columns)

    def _count(self, rows: int, columns: int) -> int:
        """Patches of a context of rows × columns blocks."""
        cfg = self.model.cfg
        if self.model.frequency_grid:
            return rows * columns
        return -(-rows // cfg.rows) * -(-columns // cfg.columns)

    def sample(
        self, rows: int, columns: int, rng: np.random.Generator, temperature: float = 1.0
    ) -> Context:
        cfg, d = self.model.cfg, self.model.diffusion
        shape = (self._count(rows, columns), cfg.channels, cfg.rows, cfg.columns)
        spread = temperature * deviation(np.arange(INDICES))
        y = np.rint(temperature * 2.0**cfg.grid_bits * rng.normal(size=shape)).astype(np.int64)
        for t in range(cfg.steps, 0, -1):
            v, more = self.coder.steps[t - 1].heads(y.astype(np.float32))
            mean = d.reverse_mean(t, y, v) / 16
            y = np.rint(mean + spread[d.reverse_index(t, more)] * rng.normal(size=shape)).astype(
                np.int64
            )
        if cfg.limit:
            y = np.clip(y, -cfg.limit, cfg.limit)
        return self._context(y.astype(np.int32), rows, columns)

    def nll_bits(self, c: Context, seed: int = 0) -> Likelihood:
        """coded: −ELBO under the integer network, for the latents that coding pops; bound: −ELBO
        of the same weights in floats, without rounding and with continuous y_t."""
        coded = self.coder.encode(self._checked(c).astype(np.int64))[1]
        return Likelihood(coded, self.bound_bits(c, seed))

    def bound_bits(self, c: Context, seed: int = 0) -> float:
        """The float half of `nll_bits`, one draw of y_t per step."""
        import torch

        from ..models.context_priors.gaussian_fit import Process, float_bits
        from ..models.context_priors.unet_torch import restored

        cfg, d = self.model.cfg, self.model.diffusion
        schedule = Schedule(cfg.steps, cfg.first_beta)
        process = Process.of(schedule, cfg.grid_bits, cfg.limit, d.ranges, d.conditioning())
        x = torch.from_numpy(self._checked(c)).float()
        return float_bits(restored(self.model.net), process, x, seed)

    def _checked(self, c: Context) -> Context:
        limit = self.model.cfg.limit or CONTEXT_LIMIT
        most = int(np.abs(c).max(initial=0))
        if most > limit:
            raise UsageError(f"a context symbol of {most} is beyond {limit}")
        n = 3 * self.model.quantiser.kept**2
        if c.ndim != 3 or c.shape[0] != n:
            raise UsageError(f"a context of shape {c.shape} does not have {n} channels")
        return self.patches(c)

    def encode(self, c: Context) -> Coded:
        words, cost, borrowed = self.coder.encode(self._checked(c).astype(np.int64))
        return Coded(words.astype("<u4").tobytes(), cost, 32 * borrowed)

    def decode(self, data: bytes, rows: int, columns: int) -> Context:
        if len(data) % 4:
            raise BitstreamError(f"a stream of {len(data)} bytes is no whole number of words")
        cfg = self.model.cfg
        shape = (self._count(rows, columns), cfg.channels, cfg.rows, cfg.columns)
        words = np.frombuffer(data, "<u4").astype(np.uint32)
        patches = self.coder.decode(words, shape)
        return self._context(patches.astype(np.int32), rows, columns)

    def with_executor(self, executor: Executor) -> GaussianPrior:
        return GaussianPrior(self.model, executor)


def training_patches(shape: GaussianShape, fields: Sequence[Context]) -> npt.NDArray[np.int16]:
    """All patches of contexts, groups also at half their stride."""
    kept, r, s = shape.quantiser.kept, shape.unet.rows, shape.unet.columns
    out = []
    for c in fields:
        offsets = [(0, 0)] if shape.frequency_grid else [(0, 0), (r // 2, s // 2)]
        for i, j in offsets:
            part = c[:, i:, j:]
            if not shape.frequency_grid:  # whole groups only
                part = part[:, : part.shape[1] // r * r, : part.shape[2] // s * s]
            if part.shape[1] and part.shape[2]:
                out.append(as_patches(part, shape.frequency_grid, kept, r, s).astype(np.int16))
    return np.concatenate(out)


def ranges_of(patches: npt.NDArray[np.int16], limit: int) -> npt.NDArray[np.int64]:
    """The symbol that y0 = 1 stands for, per channel."""
    channels = patches.shape[1]
    if limit:
        return np.full(channels, limit, np.int64)
    magnitude = np.abs(patches).transpose(1, 0, 2, 3).reshape(channels, -1)
    ranges = [math.ceil(np.quantile(m, 1 - OUTLIERS)) for m in magnitude]
    return np.maximum(np.array(ranges, np.int64), LEAST_RANGE)


def with_steps(shape: GaussianShape, steps: int) -> GaussianShape:
    return replace(shape, unet=replace(shape.unet, steps=steps))


def spread_of(
    patches: npt.NDArray[np.int16], ranges: npt.NDArray[np.int64], frequency_grid: bool
) -> npt.NDArray[np.float64]:
    """Deviation of y0, (channels, rows, columns) of a frequency grid, else (channels, 1, 1)."""
    over = 0 if frequency_grid else (0, 2, 3)
    s = np.sqrt((patches.astype(np.float32) ** 2).mean(over, keepdims=True, dtype=np.float64))
    return np.asarray(np.maximum(s[0], 0.1) / ranges[:, None, None])
