"""The product's prior over the context behind the common interface: masked diffusion.

`codec/engine.py` runs it inside files; here it stands alone, lossless, with any coding schedule.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ..models.config import ModelConfig
from ..models.context_priors.interface import (
    Coded,
    Context,
    ContextPrior,
    FitBudget,
    Likelihood,
    Report,
)
from ..models.integer import CONTEXT_LIMIT, NumpyOps, StoredPrior
from ..models.scale_grid import SCALES, scale
from ..models.schedule import SCHEDULES
from ..models.tables import PHASES, Counts, Tables, fitted_tables
from ..models.topology import predict_context
from ..models.weights import StoredModel
from .engine import Ints, SymbolSource, _run_context, split_mean
from .entropy import StreamDecoder, StreamEncoder, TableModels, Tally, table_numbers
from .errors import BitstreamError, UsageError

Executor = Literal["torch", "numpy"]
BOUND_DRAWS = 16
"""Random masks of the order-agnostic bound, their shares spread evenly over 0…1."""


class MaskedPrior(ContextPrior):
    """The masked prior at one quality.

    Args:
        steps: of the coding schedule, one of `schedule.SCHEDULES`; None: those of the model. 2 is
            the checkerboard alone.
        executor: which library computes the integer network; the bits are the same.
    """

    def __init__(
        self,
        cfg: ModelConfig,
        prior: StoredPrior,
        tables: Tables,
        quality_index: int,
        steps: int | None = None,
        executor: Executor = "torch",
    ) -> None:
        if steps is not None and steps not in SCHEDULES:
            raise UsageError(f"a schedule of {steps} steps is not one of {SCHEDULES}")
        self.cfg = replace(cfg, context_steps=steps or cfg.context_steps)
        # the codec does not send symbols of the smallest scales; here nothing may be lost
        self.prior, self.tables = prior, replace(tables, skip_below=0)
        self.quality_index, self.executor = quality_index, executor
        self.name = f"masked, T = {self.cfg.context_steps}"
        self.models = TableModels(self.tables)
        self.ops: Any
        if executor == "numpy":
            self.ops = NumpyOps(prior, quality_index)
        else:
            from ..models.integer_torch import TorchOps

            self.ops = TorchOps(prior, quality_index)

    @classmethod
    def of_model(
        cls,
        stored: StoredModel,
        quality_index: int,
        steps: int | None = None,
        executor: Executor = "torch",
    ) -> MaskedPrior:
        """That of a codec model at a quality."""
        stored = stored.at(quality_index)
        return cls(stored.cfg, stored.prior, stored.tables, quality_index, steps, executor)

    def with_steps(self, steps: int) -> MaskedPrior:
        """The same network under another schedule."""
        return MaskedPrior(
            self.cfg, self.prior, self.tables, self.quality_index, steps, self.executor
        )

    def fit(
        self, fields: Sequence[Context], budget: FitBudget, report: Report | None = None
    ) -> MaskedPrior:
        from ..models.context_priors.masked_fit import fit_masked

        prior, tables = fit_masked(self.cfg, self.quality_index, fields, budget, report)
        rough = MaskedPrior(self.cfg, prior, tables, self.quality_index, None, self.executor)
        return rough.with_fitted_tables(fields[:: max(1, len(fields) // 200)])

    def with_fitted_tables(self, fields: Sequence[Context]) -> MaskedPrior:
        """The same network, its tables fitted to contexts of photos."""
        counts: Counts = {}
        reach = self.tables.reach

        def tally(symbols: Ints, tables: Ints) -> None:
            r = reach[tables // PHASES]
            place = np.where(np.abs(symbols) > r, 2 * r + 1, symbols + r)
            for number in np.unique(tables):
                size = 2 * int(reach[number // PHASES]) + 2
                seen = np.bincount(place[tables == number], minlength=size)
                counts[int(number)] = counts.get(int(number), np.zeros(size, np.int64)) + seen

        for c in fields:
            self._run(c, tally)
        tables = fitted_tables(self.tables, counts)
        return MaskedPrior(self.cfg, self.prior, tables, self.quality_index, None, self.executor)

    def _run(self, c: Context, tally: Tally | None = None) -> StreamEncoder:
        most = int(np.abs(c).max(initial=0))
        if most > CONTEXT_LIMIT:
            raise UsageError(f"a context symbol of {most} is beyond {CONTEXT_LIMIT}")
        if c.ndim != 3 or c.shape[0] != self.cfg.context_channels:
            raise UsageError(
                f"a context of shape {c.shape} does not have {self.cfg.context_channels} channels"
            )
        source = _Given(c, StreamEncoder(self.models, tally))
        _run_context(self.ops, self.cfg, c.shape[1], c.shape[2], source)
        return source.stream

    def sample(
        self, rows: int, columns: int, rng: np.random.Generator, temperature: float = 1.0
    ) -> Context:
        source = ContextDraws(rng, temperature)
        return _run_context(self.ops, self.cfg, rows, columns, source).astype(np.int32)

    def nll_bits(self, c: Context, seed: int = 0) -> Likelihood:
        """coded: bits by the schedule; bound: the order-agnostic bound, the mean over random masks
        of the hidden symbols' bits divided by their share. Both under the integer network."""
        coded = self._run(c).estimate
        rng = np.random.default_rng(seed)
        total = 0.0
        x = self.ops.tensor(c[None].astype(np.float32))
        for draw in range(BOUND_DRAWS):
            hidden = rng.random(c.shape) < (draw + rng.random()) / BOUND_DRAWS
            if not hidden.any():
                continue
            known = (~hidden).astype(np.float32)
            mean, index = predict_context(self.ops, x, self.ops.tensor(known[None]))
            m = self.ops.array(mean)[0][hidden].astype(np.int32)
            i = self.ops.array(index)[0][hidden].astype(np.int32)
            whole, phase = split_mean(m)
            stream = StreamEncoder(self.models)
            stream.put(c[hidden].astype(np.int32) - whole, table_numbers(i, phase))
            total += stream.estimate / hidden.mean()
        return Likelihood(coded, total / BOUND_DRAWS)

    def encode(self, c: Context) -> Coded:
        stream = self._run(c)
        return Coded(stream.finish(), stream.estimate, 0)

    def decode(self, data: bytes, rows: int, columns: int) -> Context:
        source = _Read(StreamDecoder(self.models, data))
        c = _run_context(self.ops, self.cfg, rows, columns, source)
        if not source.stream.is_empty():
            raise BitstreamError("the context holds more than its symbols")
        return c.astype(np.int32)

    def save(self, path: Path) -> None:
        """The context network and tables alone, as .npz."""
        arrays: dict[str, Any] = {
            "plane_gain": self.prior.plane_gain,
            "mean_gain": self.prior.mean_gain,
            "reach": self.tables.reach,
            "frequencies": self.tables.frequencies,
            "quality_index": np.array(self.quality_index),
            "config": np.array(repr(self.cfg.to_json())),
        }
        for name, conv in self.prior.convs.items():
            if name.startswith("context."):
                for key in ("weight", "shift", "bias", "gain"):
                    if getattr(conv, key) is not None:
                        arrays[f"{name}.{key}"] = getattr(conv, key)
        np.savez_compressed(path, **arrays)

    @classmethod
    def load(cls, path: Path, executor: Executor = "torch") -> MaskedPrior:
        """What `save` wrote."""
        import ast

        from ..models.integer import StoredConv
        from ..models.topology import context_specs

        with np.load(path) as a:
            cfg = ModelConfig.from_json(ast.literal_eval(str(a["config"])))
            convs = {
                s.name: StoredConv(
                    s,
                    a[f"{s.name}.weight"],
                    a[f"{s.name}.shift"],
                    a[f"{s.name}.bias"],
                    a[f"{s.name}.gain"] if s.head else None,
                )
                for s in context_specs(cfg)
            }
            prior = StoredPrior(cfg, convs, a["plane_gain"], a["mean_gain"])
            tables = Tables(a["reach"], a["frequencies"], 0)
            return cls(cfg, prior, tables, int(a["quality_index"]), None, executor)


class _Given(SymbolSource):
    """Symbols that are given; they are written."""

    def __init__(self, c: Context, stream: StreamEncoder) -> None:
        self.c, self.stream = c, stream

    def context(self, mean: Ints, index: Ints, where: npt.NDArray[np.bool_]) -> Ints:
        whole, phase = split_mean(mean)
        out = self.c[where].astype(np.int32)
        self.stream.put(out - whole, table_numbers(index, phase))
        return out

    def latent(self, part: int, mean: Ints, index: Ints, where: npt.NDArray[np.int64]) -> Ints:
        raise NotImplementedError  # contexts alone


class _Read(SymbolSource):
    """Symbols from a stream."""

    def __init__(self, stream: StreamDecoder) -> None:
        self.stream = stream

    def context(self, mean: Ints, index: Ints, where: npt.NDArray[np.bool_]) -> Ints:
        whole, phase = split_mean(mean)
        out = whole + self.stream.get(table_numbers(index, phase))
        if np.abs(out).max(initial=0) > CONTEXT_LIMIT:
            raise BitstreamError("a context symbol is out of range")
        return np.asarray(out, np.int32)

    def latent(self, part: int, mean: Ints, index: Ints, where: npt.NDArray[np.int64]) -> Ints:
        raise NotImplementedError  # contexts alone


class ContextDraws(SymbolSource):
    """Symbols drawn from the prior, context and latents, with scales times `temperature`."""

    def __init__(self, rng: np.random.Generator, temperature: float) -> None:
        self.rng, self.temperature = rng, temperature
        self.scales = scale(np.arange(SCALES)) * temperature

    def context(self, mean: Ints, index: Ints, where: npt.NDArray[np.bool_]) -> Ints:
        draw = self.rng.logistic(size=mean.shape) * self.scales[index]
        out = np.rint(mean / 16 + draw.clip(-CONTEXT_LIMIT, CONTEXT_LIMIT))
        return np.asarray(out.clip(-CONTEXT_LIMIT, CONTEXT_LIMIT), np.int32)

    def latent(self, part: int, mean: Ints, index: Ints, where: npt.NDArray[np.int64]) -> Ints:
        draw = self.rng.logistic(size=mean.shape) * self.scales[index]
        return np.asarray(np.rint(draw).clip(-2047, 2047), np.int32)
