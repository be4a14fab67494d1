"""Which channels a model uses: bits and symbols per layer and quality, and what is dead.

A channel says something only where its symbol differs from the one that the prior expects (its
mean, rounded); the rest of its bits are the price of saying nothing. So a channel counts as in use
at a quality if at least `IN_USE` of its symbols differ. This is posterior collapse in a codec: the
posterior is the prior (`docs/theory.md`). Coarse steps leave channels out rightly; what is in use
at no quality is dead. NumPy only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from .config import ModelConfig

IN_USE = 1e-3
"""Least share of a channel's symbols that differ from what the prior expects."""

COLOURS = ("luma", "red-blue", "green-magenta")

KEY = "usage"
"""Where a weights file keeps the figures: JSON in its metadata, no part of any id."""

Counts = npt.NDArray[np.float64]


def channel_names(cfg: ModelConfig) -> list[list[str]]:
    """Per group (context, then the parts) the name of every channel.

    A channel is called after the DCT coefficient that it started as: colour, vertical and
    horizontal frequency in cycles per two blocks.
    """
    kept = range(cfg.context_kept)
    groups = [[f"context {colour} {u},{v}" for colour in COLOURS for u in kept for v in kept]]
    for part in cfg.parts:
        groups.append(
            [
                f"layer {part.layer} {COLOURS[colour]} {u},{v}"
                for colour in part.colours
                for u, v in part.frequencies
            ]
        )
    return groups


def group_layers(cfg: ModelConfig) -> list[int]:
    """The layer of each group; 0 is the context."""
    return [0, *(part.layer for part in cfg.parts)]


def layer_name(layer: int) -> str:
    return f"layer {layer}" if layer else "context"


class Tally:
    """Counts of one quality, summed over photos."""

    def __init__(self, cfg: ModelConfig) -> None:
        self.cfg = cfg
        sizes = [len(names) for names in channel_names(cfg)]
        self.bits: list[Counts] = [np.zeros(n) for n in sizes]
        self.moved: list[Counts] = [np.zeros(n) for n in sizes]
        self.symbols: list[Counts] = [np.zeros(n) for n in sizes]
        self.pixels = 0

    def add(
        self,
        group: int,
        bits: npt.NDArray[Any],
        moved: npt.NDArray[Any],
        symbols: npt.NDArray[Any] | int,
    ) -> None:
        """Per channel of a group: bits, symbols that the prior did not expect, all symbols."""
        self.bits[group] += bits
        self.moved[group] += moved
        self.symbols[group] += symbols

    def in_use(self) -> list[npt.NDArray[np.bool_]]:
        """Per group and channel."""
        return [
            m >= np.maximum(IN_USE * n, 1) for m, n in zip(self.moved, self.symbols, strict=True)
        ]

    def layers(self) -> list[dict[str, float]]:
        """Per layer, context first: bits per pixel and the share of its channels in use."""
        owner, use = group_layers(self.cfg), self.in_use()
        rows = []
        for layer in range(self.cfg.layers + 1):
            mine = [g for g, of in enumerate(owner) if of == layer]
            rows.append(
                {
                    "bpp": round(sum(float(self.bits[g].sum()) for g in mine) / self.pixels, 6),
                    "in_use": round(float(np.concatenate([use[g] for g in mine]).mean()), 4),
                }
            )
        return rows

    def unused(self) -> list[str]:
        """Names of the channels not in use."""
        return [
            name
            for names, used in zip(channel_names(self.cfg), self.in_use(), strict=True)
            for name, u in zip(names, used, strict=True)
            if not u
        ]


def usage(cfg: ModelConfig, tallies: Mapping[float, Tally]) -> dict[str, Any]:
    """Figures of several qualities as plain data.

    Returns:
        channels: how many there are; qualities: [{quality, layers: [{bpp, in_use}]}];
        dead_layers: [number, 0 for the context]; dead: [name] of channels in use at no quality.
    """
    unused = [set(t.unused()) for t in tallies.values()]
    return {
        "channels": sum(map(len, channel_names(cfg))),
        "qualities": [{"quality": q, "layers": t.layers()} for q, t in tallies.items()],
        **dead_of(cfg, unused),
    }


def dead_of(cfg: ModelConfig, unused: Sequence[set[str]]) -> dict[str, Any]:
    """`dead_layers` and `dead` of `usage` from the channels not in use at each quality."""
    gone = set.intersection(*unused) if unused else set()
    names = channel_names(cfg)
    alive = {
        layer
        for layer, group in zip(group_layers(cfg), names, strict=True)
        if not gone.issuperset(group)
    }
    return {
        "dead_layers": [n for n in range(cfg.layers + 1) if n not in alive],
        "dead": [name for group in names for name in group if name in gone],
    }


def deaths(now: Sequence[int], before: Sequence[int]) -> list[str]:
    """A warning for each layer that is dead now and was not at the last validation."""
    return [
        f"{layer_name(n)} is dead: at no quality does it say more than the prior expects"
        for n in now
        if n not in before
    ]
