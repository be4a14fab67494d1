"""The whole model as it is trained: context, analysis, prior path, synthesis, bits and error."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from . import centroids, scales
from .config import DISTORTION_WEIGHT, FRUGALITY, KNOT_SPACING, KNOTS, ModelConfig
from .fakequant import UNITS, FakePrior, FakeQuantOps, round_through
from .networks import (
    Analysis,
    Synthesis,
    block_inverse,
    block_transform,
    knot_weights,
    step_tensor,
    to_cells,
    to_picture,
)
from .schedule import context_order
from .topology import SCALE_BITS, predict_context, walk
from .transforms import GREY, basis_of

Learn = Literal["all", "context", "latents"]
"""What is to learn: everything, the context's prior alone, or everything but that."""


@dataclass(frozen=True, slots=True)
class ChannelUse:
    """What the channels of the context or of a part carry, summed over the batch."""

    bits: Tensor  # (channels,)
    moved: Tensor  # (channels,): symbols that differ from what the prior expects
    symbols: int  # per channel


@dataclass(frozen=True, slots=True)
class Result:
    """What one pass gives."""

    cells: Tensor  # the picture, grey levels around 0 in cells (`networks.to_cells`), not clipped
    error: Tensor  # (batch,): squared error, grey levels, summed over an image
    bits: Tensor  # (batch, 1 + layers): context, layer 1, …; per image
    order_agnostic_bits: Tensor  # (batch,): the context under a random mask, scaled to the whole
    use: tuple[ChannelUse, ...] = ()  # context, then every part; empty while training

    @property
    def picture(self) -> Tensor:
        """(batch, 3, h, w), grey levels 0…255, not clipped."""
        return to_picture(self.cells) + GREY


class CodecModel(nn.Module):
    """The DCT-VAE of docs/design.md. fuse: element-wise chains by compiled kernels (`fuse`)."""

    def __init__(self, cfg: ModelConfig, fuse: bool = False) -> None:
        super().__init__()
        self.cfg, self.fuse = cfg, fuse
        basis = torch.from_numpy(basis_of(cfg.context_kind, cfg.context_block, cfg.context_kept))
        self.register_buffer("context_basis", basis, persistent=False)
        self.analysis = Analysis(cfg)
        self.synthesis = Synthesis(cfg)
        self.prior = FakePrior(cfg)
        n = cfg.context_channels + cfg.channels(16) + cfg.channels(8)
        # log factors on coefficients before and after quantisation, per knot of quality
        self.log_gain = nn.Parameter(torch.zeros(KNOTS, n))
        self.log_inverse = nn.Parameter(torch.zeros(KNOTS, n))
        # in symbols; what is sent as ±1, ±2… lies a little beyond (`centroids`)
        shape = len(cfg.parts), centroids.SIZES, centroids.KNOTS
        self.centroids = nn.Parameter(torch.zeros(shape))
        # log factors on what the encoder takes an error of the context and of each part to cost;
        # found by trial after training (`eval.fit_choice`)
        self.register_buffer("log_choice", torch.zeros(KNOTS, 1 + len(cfg.parts)))

    def gains(self, table: Tensor, hat: Tensor) -> list[Tensor]:
        """Factors of context, 1/16 and 1/8 channels, each (batch, channels, 1, 1)."""
        sizes = [self.cfg.context_channels, self.cfg.channels(16), self.cfg.channels(8)]
        return list(torch.exp(hat @ table)[:, :, None, None].split(sizes, 1))

    def context(self, centred: Tensor, step: Tensor, hat: Tensor) -> Tensor:
        """Context coefficients in symbols, before rounding, of a picture around 0 in cells.

        step: (batch, 1, 1, 1).
        """
        y = block_transform(centred, self.get_buffer("context_basis"))
        return y * self.gains(self.log_gain, hat)[0] / step

    def context_picture(self, c: Tensor, step: Tensor, hat: Tensor) -> Tensor:
        """Inverse DCT of context symbols, grey levels around 0 in cells."""
        d = c * step * self.gains(self.log_inverse, hat)[0]
        return block_inverse(d, self.get_buffer("context_basis"))

    def latents(
        self, centred: Tensor, context_picture: Tensor, step: Tensor, hat: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Latents in symbols at 1/16 and 1/8, before quantisation."""
        y16, y8 = self.analysis(centred, centred - context_picture, step, hat)
        _, g16, g8 = self.gains(self.log_gain, hat)
        return y16 * g16 / step, y8 * g8 / step

    def reconstruct(
        self,
        context_picture: Tensor,
        z16: Tensor,
        z8: Tensor,
        state: Tensor,
        step: Tensor,
        hat: Tensor,
    ) -> Tensor:
        """Picture around 0 in cells from latents in symbols; not clipped."""
        _, g16, g8 = self.gains(self.log_inverse, hat)
        x: Tensor = self.synthesis(context_picture, z16 * g16 * step, z8 * g8 * step, state, hat)
        return x

    @torch.no_grad()
    def symbol_weights(self, hat: Tensor) -> list[Tensor]:
        """Per part, (batch, channels, 1, 1): bits that a squared error of one symbol is worth."""
        _, *gains = self.gains(self.log_inverse, hat)
        parts = self.cfg.parts
        sizes = [[p.channels for p in parts if p.stride == stride] for stride in (16, 8)]
        weights = [
            w
            for g, n in zip(gains, sizes, strict=True)
            for w in (g**2 / DISTORTION_WEIGHT).split(n, 1)
        ]
        choice = torch.exp(hat @ self.get_buffer("log_choice"))[:, 1:, None, None]
        return [w * choice[:, k : k + 1] for k, w in enumerate(weights)]

    def context_bits(
        self, ops: FakeQuantOps, noisy: Tensor, c: Tensor
    ) -> tuple[Tensor, Tensor, tuple[ChannelUse, ...]]:
        """Bits of the context by the coding schedule, and by one random mask (order-agnostic).

        Then what its channels carry; nothing while training.

        All steps run side by side, stacked in the batch.
        """
        cfg, (b, n, rows, columns) = self.cfg, c.shape
        order = torch.from_numpy(
            context_order(cfg.context_kept, cfg.context_steps, rows, columns)
        ).to(c.device)
        masks = [(order < t).float().expand(b, -1, -1, -1) for t in range(cfg.context_steps)]
        # forward process of the absorbing state: every symbol masked with the same probability t
        t = torch.rand(b, 1, 1, 1, device=c.device)
        masks.append((torch.rand(c.shape, device=c.device) > t).float())
        known = torch.cat(masks)
        many = cfg.context_steps + 1
        mean, index = predict_context(ops, c.repeat(many, 1, 1, 1), known)
        bits = scales.logistic_bits(noisy.repeat(many, 1, 1, 1) - mean, index)
        bits = bits.reshape(many, b, n, rows, columns)
        coded = torch.stack([order == t for t in range(cfg.context_steps)])[:, None]
        scheduled = (bits[:-1] * coded).sum((0, 2, 3, 4))
        use: tuple[ChannelUse, ...] = ()
        if not self.training:
            expected = torch.floor(mean.reshape(bits.shape)[:-1] + 0.5)
            moved = ((c != expected) & coded).sum((0, 1, 3, 4))
            use = (ChannelUse((bits[:-1] * coded).sum((0, 1, 3, 4)), moved, b * rows * columns),)
        hidden = 1 - masks[-1]
        share = hidden.mean((1, 2, 3)).clamp_min(1 / hidden[0].numel())
        return scheduled, (bits[-1] * hidden).sum((1, 2, 3)) / share, use

    def forward(
        self,
        x: Tensor,
        quality_index: Tensor,
        last_layer: Tensor | None = None,
        exact: bool = True,
        chosen: bool = False,
        learn: Learn = "all",
    ) -> Result:
        """
        Args:
            x: (batch, 3, h, w), grey levels 0…255; h and w multiples of the context block.
            quality_index: (batch,), 0…400.
            last_layer: (batch,): later layers are left out (filled with the prior's mean).
            exact: follow the integer rule in the prior path.
            chosen: latents as the encoder chooses them, and their own bits in place of those under
                noise (`scales.chosen_symbols`); the context's gains do not learn then.
            learn: `context` stops at the context (its picture, no bits of layers), `latents` does
                not count the context's bits. Both pay where `chosen`, since then the context's
                prior shares no gradient with the rest.
        """
        cfg = self.cfg
        hat, d = knot_weights(quality_index), step_tensor(cfg, quality_index)
        step, centred = d[:, None, None, None], to_cells(x) - GREY
        with torch.autocast(x.device.type, enabled=False):
            with torch.set_grad_enabled(torch.is_grad_enabled() and not chosen):
                y = self.context(centred, step, hat)
            c = round_through(y)
            noisy = y + torch.rand_like(y) - 0.5 if self.training and not chosen else c
            picture = self.context_picture(c, step, hat)
            ops = FakeQuantOps(self.prior, hat, d, exact, self.fuse)
            context_bits = agnostic = torch.zeros_like(d)
            use: tuple[ChannelUse, ...] = ()
            if learn != "latents":
                context_bits, agnostic, use = self.context_bits(ops, noisy, c.detach())
        layer_bits = [torch.zeros_like(d) for _ in range(cfg.layers)]
        if learn == "context":
            bits = torch.stack([context_bits, *layer_bits], 1)
            error = squared_error(picture.detach(), centred)
            return Result(picture, error, bits, agnostic, use)
        y16, y8 = self.latents(centred, picture, step, hat)
        sixteenth = list(y16.split([p.channels for p in cfg.parts if p.stride == 16], 1))
        eighth = list(y8.split([p.channels for p in cfg.parts if p.stride == 8], 1))
        # dense slices: arithmetic on strided ones is several times slower on a CPU
        targets = [t.contiguous(memory_format=torch.channels_last) for t in sixteenth + eighth]
        filled: list[Tensor] = [torch.zeros(0)] * len(targets)
        shown: list[Tensor] = list(filled)  # the same for synthesis, with centroids
        weights = self.symbol_weights(hat) if chosen else []
        half_use: list[ChannelUse] = []

        def code(part: int, half: int, mean: Tensor, index: Tensor) -> Tensor:
            layer = cfg.parts[part].layer
            mean, index = halves(mean, half), halves(index, half)
            v = halves(targets[part], half) - mean
            if chosen:
                weight = weights[part].repeat(2, 1, 1, 1)
                k, bits = scales.chosen_symbols(v, index, weight, FRUGALITY, self.fuse)
            else:
                k = round_through(v)
                bits = scales.logistic_bits(
                    v + torch.rand_like(v) - 0.5 if self.training else k, index
                )
            if last_layer is not None:
                sent = (layer <= last_layer).to(v).repeat(2)[:, None, None, None]
                k, bits = k * sent, bits * sent
            layer_bits[layer - 1] = layer_bits[layer - 1] + sum(bits.sum((1, 2, 3)).chunk(2))
            if not self.training:
                moved = (k != 0).sum((0, 2, 3))
                half_use.append(ChannelUse(bits.sum((0, 2, 3)), moved, k.numel() // k.shape[1]))
            beyond = scales.centroid_shift(self.centroids[part], k.detach(), index)
            for planes, value in ((filled, mean + k), (shown, mean + k + beyond)):
                z = spread(value, half)
                planes[part] = z if half == 0 else planes[part] + z
            return filled[part]

        state = walk(ops, cfg, c.detach(), code) / UNITS
        z16 = torch.cat(shown[: len(sixteenth)], 1)
        z8 = torch.cat(shown[len(sixteenth) :], 1)
        out = self.reconstruct(picture, z16, z8, state, step, hat)
        use += tuple(
            ChannelUse(a.bits + b.bits, a.moved + b.moved, a.symbols + b.symbols)
            for a, b in zip(half_use[::2], half_use[1::2], strict=True)
        )
        bits = torch.stack([context_bits, *layer_bits], 1)
        return Result(out, squared_error(out, centred), bits, agnostic, use)

    @torch.no_grad()
    def initialise_scales(self, x: Tensor) -> None:
        """Start every scale head at the spread its channels have in photos `x`, at each knot."""
        for knot in range(KNOTS):
            q = torch.full((x.shape[0],), knot * KNOT_SPACING, device=x.device)
            hat, d = knot_weights(q), step_tensor(self.cfg, q)
            step, centred = d[:, None, None, None], to_cells(x) - GREY
            y = self.context(centred, step, hat)
            picture = self.context_picture(y.round(), step, hat)
            y16, y8 = self.latents(centred, picture, step, hat)
            self._start_head("context.head", y, knot)
            ys = {16: y16, 8: y8}
            for i, part in enumerate(self.cfg.parts):
                n = part.channels
                mine, ys[part.stride] = ys[part.stride][:, :n], ys[part.stride][:, n:]
                for half in "ab":
                    self._start_head(f"part{i}.head_{half}", mine, knot)

    def _start_head(self, name: str, y: Tensor, knot: int) -> None:
        # heavy tails: the mean absolute value speaks for most symbols better than the variance
        spread = 1.5 * y.abs().mean((0, 2, 3))
        index = scales.index_of_deviation(spread).clamp(8, 60)
        self.prior.named(name).bias[knot, y.shape[1] :] = index / 2**SCALE_BITS


def squared_error(a: Tensor, b: Tensor) -> Tensor:
    """Sum of squares of the differences of each image, (batch,)."""
    pairs = zip(a.float().unbind(), b.unbind(), strict=True)  # one pass each way per image
    return torch.stack([F.mse_loss(x, y, reduction="sum") for x, y in pairs])


def halves(x: Tensor, half: int) -> Tensor:
    """Where row + column has the parity `half`: (b, c, rows, columns) → (2b, c, rows/2, columns/2).

    Even rows first, then odd ones: what is done with half the values costs half the time.
    """
    return torch.cat([x[:, :, 0::2, half::2], x[:, :, 1::2, 1 - half :: 2]])


def spread(x: Tensor, half: int) -> Tensor:
    """The inverse of `halves`, with zeros elsewhere."""
    even, odd = x.chunk(2)
    b, c, rows, columns = even.shape
    out = x.new_zeros((b, c, 2 * rows, 2 * columns)).contiguous(memory_format=torch.channels_last)
    out[:, :, 0::2, half::2] = even
    out[:, :, 1::2, 1 - half :: 2] = odd
    return out
