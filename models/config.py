"""What a model is made of: frozen settings, stored with the weights and read back equal."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

QUALITY_STEPS = 400
"""Qualities 0…100 in quarters: a quality index is an integer 0…400."""

KNOT_SPACING = 50
"""Quality indices between two knots; everything that depends on quality is linear between knots."""

KNOTS = QUALITY_STEPS // KNOT_SPACING + 1

DISTORTION_WEIGHT = 0.12
"""Training minimises bits + squared error / (0.12 · step²); the encoder chooses by the same."""


FRUGALITY = 0.4
"""Share of a bit's price that counts when the encoder weighs a symbol nearer to the mean.

Below one, because an error costs more after synthesis than the orthonormal transform says.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class PartConfig:
    """Channels that are coded together, in two checkerboard halves.

    A part starts as the block-DCT coefficients (u, v) with low ≤ max(u, v) < high of one or more
    opponent colours, at one sample per `stride`×`stride` pixels.
    """

    layer: int  # 1…; parts of one layer share a chunk of the file
    stride: int  # pixels per sample and axis, 16 or 8
    low: int  # first frequency of the shell
    high: int  # first frequency above the shell
    colours: tuple[int, ...]  # 0 luma, 1 and 2 chroma
    blocks: int = 2  # residual blocks of the prior before this part

    def __post_init__(self) -> None:
        if self.stride not in (8, 16):
            raise ValueError(f"stride={self.stride} is neither 8 nor 16")
        if not 0 <= self.low < self.high <= self.stride:
            raise ValueError(f"shell {self.low}…{self.high} is not within 0…{self.stride}")

    @property
    def frequencies(self) -> list[tuple[int, int]]:
        """(vertical, horizontal) frequencies, in the order of the channels of one colour."""
        n = range(self.high)
        return [(u, v) for u in n for v in n if max(u, v) >= self.low]

    @property
    def channels(self) -> int:
        return len(self.frequencies) * len(self.colours)


DEFAULT_PARTS = (
    PartConfig(layer=1, stride=16, low=0, high=4, colours=(0,)),
    PartConfig(layer=1, stride=16, low=0, high=4, colours=(1, 2)),
    PartConfig(layer=2, stride=8, low=2, high=4, colours=(0,)),
    PartConfig(layer=3, stride=8, low=2, high=4, colours=(1, 2)),
    PartConfig(layer=4, stride=8, low=4, high=6, colours=(0,)),
    PartConfig(layer=5, stride=8, low=6, high=8, colours=(0,)),
    PartConfig(layer=6, stride=8, low=4, high=6, colours=(1, 2), blocks=1),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """Everything that fixes the shapes of a model. Widths are in channels."""

    context_block: int = 32  # side of a context DCT block, pixels
    context_kept: int = 4  # lowest coefficients kept, per axis
    context_steps: int = 12  # coding steps of the masked diffusion prior
    context_width: int = 96  # of the network that predicts masked context symbols
    context_kind: str = "dct"  # or "down": average pooling to kept×kept per block, for the study
    coarsest_step: float = 200.0  # quantisation step at quality 0, grey levels
    finest_step: float = 5.0  # quantisation step at quality 100, grey levels
    parts: tuple[PartConfig, ...] = DEFAULT_PARTS
    prior_width_16: int = 96  # state of the prior path at 1/16
    prior_width_8: int = 96  # state of the prior path at 1/8
    analysis_width_4: int = 48
    analysis_width_8: int = 128
    analysis_width_16: int = 128
    synthesis_width_8: int = 96
    synthesis_width_4: int = 32
    synthesis_blocks_8: int = 3
    synthesis_blocks_4: int = 2

    def __post_init__(self) -> None:
        if not 1 <= self.context_kept <= self.context_block:
            raise ValueError(f"context_kept={self.context_kept} is not in 1…{self.context_block}")
        if self.context_kind not in ("dct", "down"):
            raise ValueError(f"context_kind={self.context_kind!r} is neither 'dct' nor 'down'")
        if not 0 < self.finest_step < self.coarsest_step:
            raise ValueError(f"steps {self.coarsest_step}…{self.finest_step} do not fall")
        layers = [p.layer for p in self.parts]
        if sorted(set(layers)) != list(range(1, max(layers) + 1)) or layers != sorted(layers):
            raise ValueError(f"layers {layers} are not 1, 2, … in order")
        strides = [p.stride for p in self.parts]
        if strides != sorted(strides, reverse=True):
            raise ValueError(f"strides {strides} do not fall: coarse parts come first")

    @property
    def context_channels(self) -> int:
        return 3 * self.context_kept**2

    @property
    def context_is_mean(self) -> list[bool]:
        """Which context channels span the range of a block's mean, (channels,)."""
        n = self.context_kept**2
        if self.context_kind == "down":  # means of smaller cells: a range 1/kept as large
            return [self.context_kept <= 2] * (3 * n)
        return [k % n == 0 for k in range(3 * n)]

    @property
    def layers(self) -> int:
        """Latent layers below the context."""
        return self.parts[-1].layer

    def channels(self, stride: int) -> int:
        """Latent channels at one sample per `stride`×`stride` pixels."""
        return sum(p.channels for p in self.parts if p.stride == stride)

    def step(self, quality_index: int) -> float:
        """Quantisation step in grey levels; log-spaced in quality."""
        ratio = self.finest_step / self.coarsest_step
        return float(self.coarsest_step * ratio ** (quality_index / QUALITY_STEPS))

    def to_json(self) -> dict[str, Any]:
        values = asdict(self)
        if self.context_kind == "dct":  # not stored: hashes of older weights stay as they are
            del values["context_kind"]
        return values

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> ModelConfig:
        parts = tuple(PartConfig(**{**p, "colours": tuple(p["colours"])}) for p in values["parts"])
        return cls(**{**values, "parts": parts})
