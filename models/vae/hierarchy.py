"""Top-down hierarchical VAE with a context, or in the baseline a latent, at the top (Figure 8).

Layers are counted from the top: layer 0 is the context or the latent in its place, layers 1… are
the latents below. All log probabilities are nats.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .blocks import Bottleneck, Gaussian, TopDown, convolution, gaussian, resized
from .config import VaeConfig
from .context import context_of
from .diffusion import DiffusionPrior
from .likelihoods import Bernoulli, Likelihood, LogisticMixture


@dataclass(frozen=True, slots=True)
class Layer:
    """One latent layer of one pass; `posterior` is None where no picture was given."""

    prior: Gaussian
    posterior: Gaussian | None
    z: Tensor


Choice = Callable[[int, Gaussian, Gaussian | None], Tensor]
"""(layer, prior, posterior) → the value that the layer takes."""


@dataclass(frozen=True, slots=True)
class Pass:
    """One way down: the Gaussian layers, the context if there is one, and the last parameters."""

    layers: list[Layer]  # from the top; in the baseline the top latent is the first
    y: Tensor | None  # context values in −1…1
    parameters: Tensor  # of the likelihood, (batch, parameters per pixel, side, side)


def sampled(_: int, prior: Gaussian, posterior: Gaussian | None) -> Tensor:
    """The usual choice: from the posterior, or from the prior where there is no picture."""
    return (posterior or prior).sample()


class Hierarchy(nn.Module):
    """The model of one arm.

    Encoder: a stem, then per scale average pooling and residual blocks. Decoder: `TopDown` blocks
    from the smallest scale to the largest. What stands at the top enters at the start of every
    scale: the context as the picture it gives back, pooled to the scale; the baseline's latent
    enlarged by nearest neighbours. A 3x3 convolution follows each.
    """

    def __init__(self, cfg: VaeConfig) -> None:
        super().__init__()
        self.cfg = cfg
        channels, side = cfg.image_channels, cfg.image_side // cfg.patch
        self.likelihood: Likelihood = (
            Bernoulli(channels) if cfg.likelihood == "bernoulli" else LogisticMixture(cfg.mixtures)
        )
        self.context = context_of(cfg)
        self.prior: DiffusionPrior | None = None
        if self.context is not None:
            self.prior = DiffusionPrior(
                cfg.diffusion, channels, cfg.context_size, cfg.context_levels
            )

        normed, wide = cfg.weight_norm, cfg.features
        stem_kernel = cfg.patch if cfg.patch > 1 else 3
        self.stem = nn.Sequential(
            nn.Conv2d(channels, wide, stem_kernel, cfg.patch, padding=0 if cfg.patch > 1 else 1),
            *(
                Bottleneck(wide, cfg.hidden, wide, side, residual=True, normed=normed)
                for _ in range(cfg.stem_blocks)
            ),
        )
        self.encoder = nn.ModuleList()  # one list of blocks per scale, top-down
        self.decoder = nn.ModuleList()
        self.entries = nn.ModuleList()
        entering = channels if self.context is not None else cfg.top_width
        for scale in cfg.scales:
            blocks = 1 if cfg.shared_features else scale.layers
            self.encoder.append(
                nn.ModuleList(
                    Bottleneck(wide, cfg.hidden, wide, scale.side, residual=True, normed=normed)
                    for _ in range(blocks)
                )
            )
            self.decoder.append(
                nn.ModuleList(
                    TopDown(wide, cfg.hidden, scale.width, scale.side, normed=normed)
                    for _ in range(scale.layers)
                )
            )
            self.entries.append(convolution(entering, wide, scale.side))
        top = cfg.scales[0].side
        self.start = nn.Parameter(torch.zeros(1, wide, top, top))
        self.top_posterior: nn.Module | None = None
        if self.context is None:
            self.top_posterior = Bottleneck(
                wide, cfg.top_hidden, 2 * cfg.top_width, top, residual=False, normed=normed
            )
        per_patch = self.likelihood.parameters_per_pixel * cfg.patch**2
        self.head = nn.Sequential(nn.SiLU(), nn.Conv2d(wide, per_patch, 1))

    @torch.no_grad()
    def fit(self, x: Tensor) -> None:
        """Take from training pictures what is not learned: the context's scaling, a start value.

        The logits begin at the pictures' mean, or the first gradients would be those of a constant.
        """
        if self.context is not None:
            self.context.fit(x)
        bias = self.head[1].bias
        assert isinstance(bias, Tensor)
        if isinstance(self.likelihood, Bernoulli):
            share = x.mean((0, 2, 3)).clamp(0.01, 0.99)
            bias.copy_(torch.logit(share).repeat_interleave(self.cfg.patch**2))
        elif isinstance(self.likelihood, LogisticMixture):
            m, area = self.likelihood.mixtures, self.cfg.patch**2
            flat = bias.view(10 * m, area)
            spread = (2 * x - 1).std()
            flat[m : 4 * m] = torch.randn(3 * m, 1) * spread
            flat[4 * m : 7 * m] = torch.log(0.3 * spread)
            flat[7 * m :] = 0.0

    def encode(self, x: Tensor) -> list[list[Tensor]]:
        """Features per scale (top-down) and layer (top-down within a scale)."""
        h = self.stem(2 * x - 1)
        out: list[list[Tensor]] = []
        for blocks, scale in zip(reversed(self.encoder), reversed(self.cfg.scales), strict=True):
            assert isinstance(blocks, nn.ModuleList)
            h = resized(h, scale.side)
            found = []
            for block in blocks:  # bottom-up
                h = block(h)
                found.append(h)
            found.reverse()
            out.append(found if len(found) == scale.layers else found * scale.layers)
        out.reverse()
        return out

    def descend(
        self,
        choose: Choice,
        *,
        features: list[list[Tensor]] | None = None,
        y: Tensor | None = None,
        count: int = 0,
        stop: int | None = None,
    ) -> Pass:
        """One way down.

        Args:
            choose: says what value each Gaussian layer takes.
            features: of `encode`; None: there is no picture, and no posterior.
            y: the context's values in −1…1; needed in the arms that have a context.
            count: pictures, where neither `features` nor `y` tells.
            stop: leave after this many layers, the top one counted; parameters are then empty.
        """
        layers: list[Layer] = []
        if self.context is not None:
            if y is None:
                raise ValueError("this arm needs the context's values")
            count = len(y)
            top = self.context.picture(y)
        else:
            if features is not None:
                count = len(features[0][0])
            side = self.cfg.scales[0].side
            zeros = self.start.new_zeros(count, self.cfg.top_width, side, side)
            prior, posterior = Gaussian(zeros, zeros), None
            if features is not None:
                assert self.top_posterior is not None
                posterior = gaussian(self.top_posterior(features[0][0]))
            top = choose(0, prior, posterior)
            layers.append(Layer(prior, posterior, top))
        state = self.start.expand(count, -1, -1, -1)
        index = 0
        for s, (scale, blocks, entry) in enumerate(
            zip(self.cfg.scales, self.decoder, self.entries, strict=True)
        ):
            assert isinstance(blocks, nn.ModuleList)
            state = resized(state, scale.side) + entry(resized(top, scale.side))
            for i, block in enumerate(blocks):
                index += 1
                if stop is not None and index >= stop:
                    return Pass(layers, y, state[:, :0])
                assert isinstance(block, TopDown)
                posterior = None
                if features is not None:
                    posterior = block.posterior(state, features[s][i])
                prior, state = block.prior(state)
                z = choose(index, prior, posterior)
                layers.append(Layer(prior, posterior, z))
                state = block.enter(state, z)
        state = resized(state, self.cfg.image_side // self.cfg.patch)
        parameters = self.head(state)
        if self.cfg.patch > 1:
            parameters = F.pixel_shuffle(parameters, self.cfg.patch)
        return Pass(layers, y, parameters)

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor], Tensor]:
        """The terms of the negative ELBO for training, nats, each (batch,).

        Returns:
            −log p(x|z), the divergence of each Gaussian layer from the top, and the estimated bound
            on −log p(context) (zeros in the baseline). The context is a function of the picture:
            its entropy given the picture is 0, so no other term arises (Eq. 7).
        """
        y = self.context(x) if self.context is not None else None
        down = self.descend(sampled, features=self.encode(x), y=y)
        code = self.prior.loss(y) if self.prior is not None and y is not None else None
        return (
            -self.likelihood.log_density(down.parameters, x),
            divergences(down),
            code if code is not None else torch.zeros(len(x), device=x.device),
        )

    @torch.no_grad()
    def generate(self, count: int, temperature: float = 1.0) -> Tensor:
        """Pictures drawn from the model, as means of p(x|z): (count, channels, side, side)."""
        y = self.prior.sample(count, temperature) if self.prior is not None else None
        down = self.descend(lambda _, p, __: p.sample(temperature), y=y, count=count)
        return self.likelihood.mean(down.parameters)

    @torch.no_grad()
    def reconstruct(self, x: Tensor, kept: int | None = None) -> Tensor:
        """Means of p(x|z) with the top `kept` layers from the picture, the rest the prior's mean.

        Args:
            kept: 1 is the context (or the latent in its place) alone; None: all layers.
        """

        def choose(index: int, prior: Gaussian, posterior: Gaussian | None) -> Tensor:
            given = posterior is not None and (kept is None or index < kept)
            return posterior.mean if given and posterior is not None else prior.mean

        y = self.context(x) if self.context is not None else None
        return self.likelihood.mean(self.descend(choose, features=self.encode(x), y=y).parameters)


def divergences(down: Pass) -> list[Tensor]:
    """KL(posterior ‖ prior) of each Gaussian layer, nats (batch,), along the drawn path."""
    out = []
    for layer in down.layers:
        assert layer.posterior is not None
        out.append(layer.posterior.divergence(layer.prior).flatten(1).sum(1))
    return out


def parameter_count(model: nn.Module) -> int:
    """Learned numbers of a model; buffers are not counted."""
    return sum(p.numel() for p in model.parameters())
