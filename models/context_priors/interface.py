"""What every prior over the quantised context can do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Context = npt.NDArray[np.int32]
"""Context symbols of one picture, (channels, rows, columns)."""

Report = Callable[[int, float], None]
"""Told a step of training and its loss, bits per symbol."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FitBudget:
    """How long a prior is fitted, and from which draws."""

    seconds: float = 120.0  # of one core; the learning rate falls over this time
    steps: int = 0  # instead of seconds, where not 0
    batch: int = 128  # patches, or fields, per step
    rate: float = 2e-3  # peak learning rate of Adam
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Likelihood:
    """Bits of one context under a prior.

    coded: the cost under the integer network, in the way `encode` codes; bound: the same model's
    variational bound in floats (Gaussian: −ELBO; masked: the order-agnostic bound).
    """

    coded: float
    bound: float


@dataclass(frozen=True, slots=True)
class Coded:
    """A context as bytes. cost: bits under the integer network; initial: bits that bits-back had
    to borrow and that stay in `data` (0 without bits-back)."""

    data: bytes
    cost: float
    initial: int


class ContextPrior(ABC):
    """A distribution over quantised contexts that can also code them.

    What decides how symbols are read is integer arithmetic: `encode` on one machine, `decode` on
    any other.
    """

    name: str

    @abstractmethod
    def fit(
        self, fields: Sequence[Context], budget: FitBudget, report: Report | None = None
    ) -> ContextPrior:
        """A prior of the same shape, trained on contexts of photos."""

    @abstractmethod
    def sample(
        self, rows: int, columns: int, rng: np.random.Generator, temperature: float = 1.0
    ) -> Context:
        """A context of rows × columns blocks, drawn with deviations times `temperature`."""

    @abstractmethod
    def nll_bits(self, c: Context, seed: int = 0) -> Likelihood:
        """Bits of a context; the seed is of the bound's draws."""

    @abstractmethod
    def encode(self, c: Context) -> Coded:
        """A context as bytes; lossless.

        Raises:
            UsageError: a symbol is outside the range that the prior can code.
        """

    @abstractmethod
    def decode(self, data: bytes, rows: int, columns: int) -> Context:
        """The context that `encode` was given.

        Raises:
            BitstreamError: `data` does not come from `encode`.
        """
