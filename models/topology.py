"""The prior path, written once: which integer operation follows which.

Three executors run it: `fakequant.FakeQuantOps` (training), `integer.TorchOps` and
`integer.NumpyOps` (exact). All follow one rule, stated in docs/format.md: weights −127…127,
activations −127…127 ("signed") or 0…255 ("relu") in units of 1/32, rounding by a power of two.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeVar

from .config import ModelConfig, PartConfig

T = TypeVar("T")

Activation = Literal["relu", "signed", "head"]

ACTIVATION_BITS = 5
"""Activations count in units of 2^-5."""

CONTEXT_MEAN_BITS = 8
"""The context head gives means in units of 2^-8 of the coarse plane (see `ConvSpec.out_bits`)."""

MEAN_BITS = 4
"""Means are handed on in sixteenths of a symbol."""

SCALE_BITS = 2
"""The scale head is trained as index/4, so that it learns as fast as the means."""


@dataclass(frozen=True, slots=True)
class ConvSpec:
    """One stored convolution: (inputs → outputs), `kernel`×`kernel`, maybe depthwise."""

    name: str
    inputs: int
    outputs: int
    kernel: int = 1
    depthwise: bool = False
    relu_input: bool = True  # input 0…255 rather than −127…127
    out_bits: int = ACTIVATION_BITS  # outputs in units of 2^-out_bits; heads: of the mean half
    head: bool = False  # first half of the outputs means, second half scale indices
    residual: bool = False  # its output is added to the state


def context_specs(cfg: ModelConfig) -> list[ConvSpec]:
    c, w = cfg.context_channels, cfg.context_width
    return [
        ConvSpec("context.embed", 3 * c, w, relu_input=False),
        ConvSpec("context.mix1", w, w, 3),
        ConvSpec("context.mix2", w, w, 3),
        ConvSpec("context.head", w, 2 * c, out_bits=CONTEXT_MEAN_BITS, head=True),
    ]


def part_specs(index: int, part: PartConfig, width: int) -> list[ConvSpec]:
    n, p = part.channels, f"part{index}"
    blocks = []
    for b in range(part.blocks):
        blocks += [
            ConvSpec(f"{p}.block{b}.depth", width, width, 3, depthwise=True, relu_input=False),
            ConvSpec(f"{p}.block{b}.wide", width, 2 * width, relu_input=False),
            ConvSpec(f"{p}.block{b}.back", 2 * width, width, residual=True),
        ]
    return [
        *blocks,
        ConvSpec(f"{p}.head_a", width, 2 * n, relu_input=False, out_bits=MEAN_BITS, head=True),
        ConvSpec(f"{p}.embed_a", 2 * n, width, relu_input=False),
        ConvSpec(f"{p}.mix_a", width, width, 3, depthwise=True, residual=True),
        ConvSpec(f"{p}.hidden_b", width, width, relu_input=False),
        ConvSpec(f"{p}.head_b", width, 2 * n, out_bits=MEAN_BITS, head=True),
        ConvSpec(f"{p}.embed_b", 2 * n, width, relu_input=False),
        ConvSpec(f"{p}.inject", width, width, residual=True),
    ]


def width_at(cfg: ModelConfig, stride: int) -> int:
    return cfg.prior_width_16 if stride == 16 else cfg.prior_width_8


def prior_specs(cfg: ModelConfig) -> list[ConvSpec]:
    """Every convolution of the prior path, in the order of the stored file."""
    c, w = cfg.context_channels, cfg.context_width
    specs = [
        *context_specs(cfg),
        ConvSpec("state.embed", 2 * c, w, relu_input=False),
        ConvSpec("state.mix", w, w, 3),
        ConvSpec("state.up16", w, 4 * cfg.prior_width_16),
    ]
    for i, part in enumerate(cfg.parts):
        if i and part.stride != cfg.parts[i - 1].stride:
            specs.append(
                ConvSpec("state.up8", cfg.prior_width_16, 4 * cfg.prior_width_8, relu_input=False)
            )
        specs += part_specs(i, part, width_at(cfg, part.stride))
    return specs


class Ops(Protocol[T]):
    """What an executor must offer. Tensors are (batch, channel, row, column)."""

    def conv(self, name: str, x: T, act: Activation, skip: T | None = None) -> T:
        """Convolution with zero padding, rounding, then `skip` added, then the clamp of `act`."""
        ...

    def means_and_scales(self, name: str, head: T) -> tuple[T, T]:
        """Split a head: means in sixteenths, scale indices 0…63."""
        ...

    def context_planes(self, c: T) -> list[T]:
        """Context symbols as two planes: coarse (grey levels), fine (symbols)."""
        ...

    def latent_planes(self, z: T) -> list[T]:
        """Latent values (sixteenths) as two planes: fine and coarse."""
        ...

    def known_plane(self, known: T) -> T: ...

    def cat(self, xs: Sequence[T]) -> T: ...

    def times(self, x: T, known: T) -> T: ...

    def shuffle(self, x: T) -> T:
        """(4·c, h, w) → (c, 2h, 2w), as PyTorch's pixel_shuffle."""
        ...


Coder = Callable[[int, int, T, T], T]
"""(part, half, means, scale indices) → latent values known after this half, 0 where unknown."""


def predict_context(ops: Ops[T], c: T, known: T) -> tuple[T, T]:
    """The masked diffusion prior: means and scales of every context symbol from the known ones.

    Args:
        c: context symbols; `known`: 1 where a symbol may be seen, 0 where it is masked; same shape.
    """
    planes = [ops.times(p, known) for p in ops.context_planes(c)]
    x = ops.conv("context.embed", ops.cat([*planes, ops.known_plane(known)]), "relu")
    x = ops.conv("context.mix1", x, "relu")
    x = ops.conv("context.mix2", x, "relu")
    return ops.means_and_scales("context.head", ops.conv("context.head", x, "head"))


def first_state(ops: Ops[T], c: T) -> T:
    """The prior's state at 1/16 from the whole context."""
    x = ops.conv("state.embed", ops.cat(ops.context_planes(c)), "relu")
    x = ops.conv("state.mix", x, "relu")
    return ops.shuffle(ops.conv("state.up16", x, "signed"))


def walk_part(ops: Ops[T], index: int, part: PartConfig, h: T, code: Coder[T]) -> T:
    """One part: predict and code half A, predict and code half B, take both into the state."""
    p = f"part{index}"
    for b in range(part.blocks):
        x = ops.conv(f"{p}.block{b}.depth", h, "signed")
        x = ops.conv(f"{p}.block{b}.wide", x, "relu")
        h = ops.conv(f"{p}.block{b}.back", x, "signed", skip=h)
    z = code(index, 0, *ops.means_and_scales(f"{p}.head_a", ops.conv(f"{p}.head_a", h, "head")))
    e = ops.conv(f"{p}.embed_a", ops.cat(ops.latent_planes(z)), "relu")
    x = ops.conv(f"{p}.mix_a", e, "signed", skip=h)
    x = ops.conv(f"{p}.hidden_b", x, "relu")
    z = code(index, 1, *ops.means_and_scales(f"{p}.head_b", ops.conv(f"{p}.head_b", x, "head")))
    e = ops.conv(f"{p}.embed_b", ops.cat(ops.latent_planes(z)), "relu")
    return ops.conv(f"{p}.inject", e, "signed", skip=h)


def walk(ops: Ops[T], cfg: ModelConfig, c: T, code: Coder[T]) -> T:
    """All latent layers below the context `c`.

    Returns:
        the last state, (batch, prior_width_8, rows, columns) at 1/8.
    """
    h = first_state(ops, c)
    for i, part in enumerate(cfg.parts):
        if i and part.stride != cfg.parts[i - 1].stride:
            h = ops.shuffle(ops.conv("state.up8", h, "signed"))
        h = walk_part(ops, i, part, h, code)
    return h
