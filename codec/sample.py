"""Pictures drawn from a model: no file behind them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ..models.weights import StoredModel
from .container import Header
from .engine import run_tile
from .errors import UsageError
from .masked_prior import ContextDraws

Pixels = npt.NDArray[np.uint8]


def draw(
    stored: StoredModel,
    run: Any,
    quality_index: int,
    blocks: int,
    temperature: float,
    rng: np.random.Generator,
) -> tuple[Pixels, Pixels]:
    """A context as a picture, and a whole picture with all layers drawn below it.

    Args:
        run: `runtime.Runtime` of the model.
        blocks: context blocks per side.
        temperature: of context and layers, 0…2; 0 gives the prior's mean.

    Returns:
        two (32·blocks, 32·blocks, 3), uint8.
    """
    from ..models.transforms import GREY, inverse_context
    from .tiler import Synthesiser

    cfg = stored.cfg
    ops = run.ops(quality_index)
    symbols = run_tile(ops, cfg, blocks, blocks, ContextDraws(rng, temperature))
    side = 32 * blocks
    header = Header(
        width=side,
        height=side,
        quality_index=quality_index,
        tile=side,
        layers=cfg.layers,
        prior_id=stored.prior_id,
        synthesis_id=stored.synthesis_id,
    )
    whole = Synthesiser(run, run.quality(quality_index), header, lambda _: symbols).draw(
        (0, 0, side, side)
    )
    if cfg.context_kind != "dct":
        return np.full_like(whole, int(GREY)), whole
    step = stored.context_step(quality_index)[:, None, None]
    context = inverse_context(symbols.context * step, cfg.context_block, cfg.context_kept)
    return as_pixels(context.transpose(1, 2, 0)), whole


def as_pixels(x: npt.NDArray[np.floating[Any]]) -> Pixels:
    return np.ascontiguousarray(np.clip(np.rint(x), 0, 255).astype(np.uint8))


def grid(columns: list[list[Pixels]], gap: int = 8) -> Pixels:
    """Pictures of one size side by side; each entry is a column, top to bottom; white between."""
    if not columns or not columns[0]:
        raise UsageError("a grid needs at least one picture")
    h, w = columns[0][0].shape[:2]
    rows = len(columns[0])
    out = np.full((rows * (h + gap) - gap, len(columns) * (w + gap) - gap, 3), 255, np.uint8)
    for j, column in enumerate(columns):
        for i, picture in enumerate(column):
            top, left = i * (h + gap), j * (w + gap)
            out[top : top + h, left : left + w] = picture
    return out
