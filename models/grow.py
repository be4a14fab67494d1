"""A wider or deeper model that computes what a smaller one does: training goes on from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor

from .config import ModelConfig
from .model import CodecModel
from .weights import WeightsError

RESIDUAL = ("back.weight", "second.weight")
"""Ends of the names of the last kernels of residual blocks."""


def symbols(cfg: ModelConfig) -> tuple[Any, ...]:
    """All of a shape that says which symbols there are and what they stand for."""
    parts = tuple(replace(p, blocks=0) for p in cfg.parts)
    steps = cfg.coarsest_step, cfg.finest_step
    return cfg.context_block, cfg.context_kept, cfg.context_kind, steps, parts


def grown(
    cfg: ModelConfig, parameters: Mapping[str, Tensor], model: CodecModel
) -> dict[str, Tensor]:
    """Parameters for `model` from those of one that is nowhere wider or deeper.

    Old outputs do not see new inputs, and new residual blocks add nothing: kernels from new to old
    channels, and last kernels of new blocks, are zero. What leads into new channels is as drawn
    when `model` was made, so that they learn. Source: T. Chen et al., "Net2Net", 2016, in
    the form for additive blocks.

    Args:
        cfg: of the model that the parameters are of; its symbols must be the same.

    Raises:
        WeightsError: `model` has other symbols, or is narrower or shallower somewhere.
    """
    if symbols(cfg) != symbols(model.cfg):
        raise WeightsError("the weights to start from have other symbols: keep context and parts")
    new = {name: value.detach().clone() for name, value in model.state_dict().items()}
    if lost := sorted(set(parameters) - set(new)):
        raise WeightsError(f"the shape lacks {lost[0]}, which the weights to start from have")
    for name, out in new.items():
        old = parameters.get(name)
        if old is None:
            if name.endswith(RESIDUAL):
                out.zero_()
            continue
        if old.ndim != out.ndim or any(a > b for a, b in zip(old.shape, out.shape, strict=True)):
            raise WeightsError(
                f"{name} of the weights to start from, {tuple(old.shape)}, does not fit into "
                f"{tuple(out.shape)}: a shape can only grow"
            )
        if name.startswith("synthesis.out4"):  # whose outputs all lead to pixels
            out[old.shape[0] :] = 0
        if out.ndim > 1:
            out[: old.shape[0], old.shape[1] :] = 0
        out[tuple(slice(0, n) for n in old.shape)] = old
    return new
