"""How hard the encoder looks for symbols: levels 0…9. The decoder does not know."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..models.config import DISTORTION_WEIGHT
from .engine import PictureSource, TileSymbols, latent_planes
from .errors import UsageError

if TYPE_CHECKING:
    from ..models.search import SearchConfig

Floats = npt.NDArray[np.float32]

DEFAULT_EFFORT = 1

ITERATIONS = (0, 0, 20, 30, 50, 75, 100, 150, 250, 400)
"""Steps of the search (`models.search`) at each level."""

AFTER_SEARCH = 0.25
"""Share of its frugality that the greedy choice keeps when a search has weighed every bit."""

START = 0.4
"""Symbols: how far from what the greedy choice would send a search may start."""


@dataclass(frozen=True, slots=True)
class Effort:
    """A level: 0 and 1 choose symbols greedily, which costs no time; 2…9 search for them too."""

    level: int = DEFAULT_EFFORT

    def __post_init__(self) -> None:
        if not 0 <= self.level < len(ITERATIONS):
            raise UsageError(f"effort {self.level} is not in 0…{len(ITERATIONS) - 1}")

    @property
    def iterations(self) -> int:
        return ITERATIONS[self.level]

    def search_config(self) -> SearchConfig:
        """Longer searches take smaller steps: found on validation crops, see docs/study.md."""
        from ..models.search import SearchConfig

        n = self.iterations
        return SearchConfig(iterations=n, rate=0.015 * (50 / max(n, 1)) ** 0.4)

    def thrift_after_search(self, frugality: float) -> float:
        """Of the greedy choice that follows, see `engine.PictureSource`."""
        return AFTER_SEARCH * frugality


def searched(
    run: Any,
    quality_index: int,
    tile: Any,
    analyse: Callable[[Floats], list[Floats]],
    greedy: Sequence[npt.NDArray[np.int16]],
    effort: Effort,
    worth: Any = None,
) -> Callable[[Floats], list[Floats]]:
    """`analyse`, and then a search that starts from what it gives.

    Args:
        run: `models.runtime.Runtime`.
        tile: (1, 3, h, w) grey levels 0…255 of the tile, a tensor.
        analyse: see `engine.PictureSource`.
        greedy: latents per part as the greedy choice would send them, sixteenths of a symbol. The
            search starts within START of them: plain rounding costs up to 40 % more, which a
            short search would first have to win back.
        worth: (1, 1, h, w) what a squared error costs at each pixel, a tensor; None: 1.
    """
    import torch

    from ..models.search import search, searchable, table_costs

    def both(context: Floats) -> list[Floats]:
        near = [z.astype(np.float32) / 16 for z in greedy]
        clipped = [
            np.clip(y, z - START, z + START) for y, z in zip(analyse(context), near, strict=True)
        ]
        start = [torch.from_numpy(y)[None].to(run.device) for y in clipped]
        found = search(
            searchable(run.stored, str(run.device)),
            table_costs(run.stored, str(run.device)),
            tile,
            quality_index,
            torch.from_numpy(context)[None].to(run.device),
            start,
            effort.search_config(),
            worth,
        )
        return [np.ascontiguousarray(y[0].float().cpu().numpy()) for y in found]

    return both


def cost(
    run: Any, q: Any, tile: Any, worth: Any, symbols: TileSymbols, source: PictureSource
) -> float:
    """What a search minimises, of one tile by itself: bits at its price, and squared error in bits.

    Args:
        q: `models.runtime.Quality`; tile, worth: as `searched`.
    """
    import torch

    from ..models.search import SearchConfig

    def plane(a: npt.NDArray[Any], unit: float) -> Any:
        return torch.from_numpy(a.astype(np.float32) / unit)[None].to(run.device)

    cfg = run.cfg
    drawn = run.reconstruct(
        plane(symbols.context, 1),
        plane(latent_planes(cfg, symbols, 16), 1),
        plane(latent_planes(cfg, symbols, 8), 1),
        plane(symbols.state, 32),
        q,
    )
    error = (drawn.float() - tile[0]).square()
    distortion = float((error if worth is None else error * worth[0]).sum())
    bits = SearchConfig().price * sum(source.estimates())
    return float(bits + distortion / (DISTORTION_WEIGHT * q.step**2))
