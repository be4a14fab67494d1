"""Configurations of the hierarchical VAE: the paper's (Table 6) and smaller ones for two cores."""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal

Arm = Literal["dct", "downsampling", "baseline"]
ARMS: tuple[Arm, ...] = ("dct", "downsampling", "baseline")
"""What stands at the top: a DCT context, an average-pooled one, or a learned Gaussian latent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScaleConfig:
    """Latent layers at one resolution."""

    side: int  # positions per axis
    layers: int  # latent layers at this resolution
    width: int  # latent channels of each layer

    def __post_init__(self) -> None:
        if min(self.side, self.layers, self.width) < 1:
            raise ValueError(f"side={self.side}, layers={self.layers}, width={self.width}: below 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class DiffusionConfig:
    """The Gaussian diffusion prior of the context (the paper's appendix C)."""

    steps: int = 7  # T
    channels: int = 32
    blocks: int = 3  # residual blocks per scale
    scales: int = 1  # 2: a second, halved resolution with a skip connection
    first_beta: float = 0.02  # β of step 1; linear up to the last
    last_beta: float = 0.75  # β of step T; with seven steps, 1.8 % of the signal's power is left

    def __post_init__(self) -> None:
        if not 0 < self.first_beta <= self.last_beta < 1:
            raise ValueError(f"betas {self.first_beta}…{self.last_beta} do not rise within 0…1")
        if self.scales not in (1, 2):
            raise ValueError(f"scales={self.scales} is neither 1 nor 2")


@dataclass(frozen=True, slots=True, kw_only=True)
class VaeConfig:
    """Everything that fixes the shapes of a model; widths in channels, sides in pixels."""

    image_channels: int = 1
    image_side: int = 28
    likelihood: Literal["bernoulli", "logistic_mixture"] = "bernoulli"
    mixtures: int = 10  # components of the logistic mixture
    arm: Arm = "dct"
    context_size: int = 7  # K: the context is image_channels x K x K
    context_levels: int = 7  # values a context symbol can take; odd numbers include the mean
    top_width: int = 1  # baseline: channels of the latent in the context's place
    top_hidden: int = 16  # baseline: bottleneck of that latent's posterior
    scales: tuple[ScaleConfig, ...] = ()  # top-down: sides rise
    features: int = 32
    hidden: int = 16  # bottleneck of the residual blocks
    patch: int = 1  # the stem's stride: pixels per feature and axis
    stem_blocks: int = 1  # residual blocks before the first pooling
    shared_features: bool = False  # one encoder block per scale, not one per layer
    weight_norm: bool = False
    diffusion: DiffusionConfig = DiffusionConfig()

    def __post_init__(self) -> None:
        sides = [s.side for s in self.scales]
        if not sides or sides != sorted(set(sides)):
            raise ValueError(f"sides {sides} do not rise: top scales come first")
        if self.image_side % self.patch:
            raise ValueError(f"patch={self.patch} does not divide image_side={self.image_side}")
        if sides[-1] > self.image_side // self.patch:
            raise ValueError(f"side {sides[-1]} exceeds {self.image_side // self.patch} features")
        if not 1 <= self.context_size <= self.image_side:
            raise ValueError(f"context_size={self.context_size} is not in 1…{self.image_side}")
        if self.context_levels < 2:
            raise ValueError(f"context_levels={self.context_levels} is below 2")
        if self.image_channels not in (1, 3):
            raise ValueError(f"image_channels={self.image_channels} is neither 1 nor 3")

    @property
    def layers(self) -> int:
        """All layers, the top one (context or latent) included; the paper's L."""
        return 1 + sum(s.layers for s in self.scales)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """How a model is trained: AdamW with a cosine schedule."""

    steps: int  # updates
    batch: int = 128
    first_rate: float = 1e-3
    last_rate: float = 1e-5
    weight_decay: float = 1e-2
    clip: float = 1.0  # gradients are scaled to at most this norm
    skip: float = 100.0  # updates whose gradient norm exceeds this, or is no number, are left out
    grace: int = 50  # first updates, which are never left out for their norm

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch < 1:
            raise ValueError(f"steps={self.steps}, batch={self.batch}: below 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """A model in its DCT arm, and its training."""

    vae: VaeConfig
    train: TrainConfig


def _mnist_like(context_size: int, training_images: int) -> Preset:
    """Table 6, columns MNIST and OMNIGLOT: 4 layers of 14x14 and 3 of 7x7 below the context."""
    return Preset(
        vae=VaeConfig(
            context_size=context_size,
            context_levels=4,  # two bits, in the authors' published configuration
            scales=(
                ScaleConfig(side=7, layers=3, width=1),
                ScaleConfig(side=14, layers=4, width=1),
            ),
            features=32,
            hidden=40,
            diffusion=DiffusionConfig(steps=7, channels=32, blocks=3, scales=1),
        ),
        train=TrainConfig(steps=600 * training_images // 128, batch=128),
    )


PAPER = MappingProxyType(
    {
        "mnist": _mnist_like(6, 55_000),
        "omniglot": _mnist_like(7, 23_345),
        "cifar10": Preset(
            vae=VaeConfig(
                image_channels=3,
                image_side=32,
                likelihood="logistic_mixture",
                context_size=6,
                context_levels=32,
                top_width=8,
                scales=(
                    ScaleConfig(side=1, layers=1, width=8),
                    ScaleConfig(side=4, layers=2, width=8),
                    ScaleConfig(side=8, layers=5, width=8),
                    ScaleConfig(side=16, layers=10, width=8),
                    ScaleConfig(side=32, layers=10, width=8),
                ),
                features=384,
                hidden=96,
                weight_norm=True,
                diffusion=DiffusionConfig(
                    steps=40, channels=64, blocks=3, scales=2, first_beta=0.02, last_beta=0.2
                ),
            ),
            train=TrainConfig(
                steps=8000 * 50_000 // (4 * 96),
                batch=4 * 96,
                first_rate=4e-4,
                last_rate=5e-5,
                clip=0.2,
            ),
        ),
    }
)
"""The paper's Table 6. Its epochs are given in updates, for the training sets it used."""

_BINARY = Preset(
    vae=VaeConfig(
        context_size=7,
        context_levels=3,
        top_width=3,
        scales=(ScaleConfig(side=4, layers=2, width=2), ScaleConfig(side=7, layers=2, width=2)),
        patch=4,
        stem_blocks=0,
        shared_features=True,
        diffusion=DiffusionConfig(channels=24, blocks=2),
    ),
    train=TrainConfig(steps=500, batch=64, first_rate=6e-3, last_rate=6e-5, skip=2000.0),
)

_COLOUR = Preset(
    vae=VaeConfig(
        image_channels=3,
        image_side=32,
        likelihood="logistic_mixture",
        mixtures=3,
        context_size=8,
        context_levels=15,
        top_width=12,
        scales=(ScaleConfig(side=4, layers=2, width=4), ScaleConfig(side=8, layers=2, width=4)),
        patch=4,
        stem_blocks=0,
        shared_features=True,
        diffusion=DiffusionConfig(channels=24, blocks=2),
    ),
    train=TrainConfig(steps=400, batch=32, first_rate=4e-3, last_rate=4e-5, skip=20000.0),
)

REDUCED = MappingProxyType(
    {"mnist": _BINARY, "omniglot": _BINARY, "photo32": _COLOUR, "cifar10": _COLOUR}
)
"""Small enough for two cores: patches of 4x4 pixels instead of full-resolution features.

Gradient norms of these are 60…400 for bits and more for colours, so the threshold for skipping is
higher than the paper's. Smaller batches at higher rates reach a lower bound in the same time.
"""


def with_arm(cfg: VaeConfig, arm: Arm) -> VaeConfig:
    """The same model with another top, not yet matched in parameters (see `match`)."""
    return replace(cfg, arm=arm)
