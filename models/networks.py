"""The float networks: analysis (encoder only) and synthesis (symbols to pixels)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .config import KNOT_SPACING, KNOTS, ModelConfig
from .transforms import block_basis

PIXEL_UNIT = 64.0
"""Networks see grey levels divided by this."""

CELL = 4
"""Side of the cells that pictures are laid out in, pixels."""


def knot_weights(quality_index: Tensor) -> Tensor:
    """Linear interpolation between knots, (batch,) indices 0…400 → (batch, KNOTS)."""
    knots = torch.arange(KNOTS, device=quality_index.device)
    return (1 - (quality_index[:, None] / KNOT_SPACING - knots).abs()).clamp_min(0)


def shuffle(x: Tensor, factor: int) -> Tensor:
    return F.pixel_shuffle(x, factor).contiguous(memory_format=torch.channels_last)


def to_cells(x: Tensor) -> Tensor:
    """Pictures by cells of 4×4 pixels: (batch, 3, h, w) → (batch, h/4, w/4, 48).

    All block transforms work on this layout: blocks of 8, 16 and 32 pixels are then made of whole
    runs of numbers, and moving those costs little.
    """
    b, planes, h, w = x.shape
    x = x.reshape(b, planes, h // CELL, CELL, w // CELL, CELL).permute(0, 2, 4, 1, 3, 5)
    return x.reshape(b, h // CELL, w // CELL, planes * CELL * CELL)


def to_picture(cells: Tensor) -> Tensor:
    """The inverse of `to_cells`: (batch, rows, columns, 48) → (batch, 3, 4·rows, 4·columns)."""
    b, rows, columns, n = cells.shape
    x = cells.reshape(b, rows, columns, n // CELL**2, CELL, CELL).permute(0, 3, 1, 4, 2, 5)
    return x.reshape(b, n // CELL**2, rows * CELL, columns * CELL)


def _by_cells(basis: Tensor) -> Tensor:
    """Basis pictures (channels, 3, n, n) as (channels, 3·n²), cell by cell."""
    return to_cells(basis).flatten(1)


def block_transform(cells: Tensor, basis: Tensor) -> Tensor:
    """Convolution whose stride is its kernel size, as one matrix product.

    Args:
        cells: a picture, see `to_cells`; basis: (channels, 3, n, n), n a multiple of 4.

    Returns:
        (batch, channels, h/n, w/n), channels last in memory.
    """
    b, rows, columns, c = cells.shape
    m = basis.shape[2] // CELL
    x = cells.reshape(b, rows // m, m, columns // m, m, c).transpose(2, 3)
    y = F.linear(x.reshape(b, rows // m, columns // m, m * m * c), _by_cells(basis))
    return y.permute(0, 3, 1, 2)


def block_inverse(y: Tensor, basis: Tensor) -> Tensor:
    """The transpose of `block_transform`: (batch, channels, h/n, w/n) → cells, float32."""
    b, _, rows, columns = y.shape
    m = basis.shape[2] // CELL
    x = F.linear(y.permute(0, 2, 3, 1), _by_cells(basis).T)
    x = x.reshape(b, rows, columns, m, m, -1).transpose(2, 3)
    x = x.to(torch.float32, memory_format=torch.contiguous_format)
    return x.reshape(b, rows * m, columns * m, -1)


class Block(nn.Module):
    """x + 1×1(act(1×1(depthwise 3×3(x)))): cheap in products, wide in reach."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.depth = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.wide = nn.Conv2d(width, 2 * width, 1)
        self.back = nn.Conv2d(2 * width, width, 1)
        with torch.no_grad():
            self.back.weight.mul_(0.3)
            assert self.back.bias is not None
            self.back.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x + self.back(F.gelu(self.wide(self.depth(x)), approximate="tanh"))
        return y


class DenseBlock(nn.Module):
    """x + 3×3(leaky(3×3(x)))."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        with torch.no_grad():
            self.second.weight.mul_(0.3)
            assert self.second.bias is not None
            self.second.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x + self.second(F.leaky_relu(self.first(x), 0.1))
        return y


class QualityGain(nn.Module):
    """Per channel and knot of quality: a factor (as logarithm) and a shift."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.log_gain = nn.Parameter(torch.zeros(KNOTS, width))
        self.shift = nn.Parameter(torch.zeros(KNOTS, width))

    def forward(self, x: Tensor, hat: Tensor) -> Tensor:
        g, b = torch.exp(hat @ self.log_gain), hat @ self.shift
        return x * g[:, :, None, None].to(x.dtype) + b[:, :, None, None].to(x.dtype)


def shell_basis(cfg: ModelConfig, stride: int) -> Tensor:
    """Block-DCT basis pictures of all parts at this stride, (channels, 3, stride, stride)."""
    parts = [p for p in cfg.parts if p.stride == stride]
    return torch.cat(
        [torch.from_numpy(block_basis(stride, p.frequencies, p.colours)) for p in parts]
    )


def _zeroed(conv: nn.Conv2d) -> nn.Conv2d:
    nn.init.zeros_(conv.weight)
    assert conv.bias is not None
    nn.init.zeros_(conv.bias)
    return conv


class Analysis(nn.Module):
    """Picture and residual to latents: block DCTs, plus a network that starts at zero."""

    def __init__(self, cfg: ModelConfig) -> None:
        super().__init__()
        c8, c16 = cfg.channels(8), cfg.channels(16)
        w4, w8, w16 = cfg.analysis_width_4, cfg.analysis_width_8, cfg.analysis_width_16
        self.basis8 = nn.Parameter(shell_basis(cfg, 8))
        self.basis16 = nn.Parameter(shell_basis(cfg, 16))
        self.in4 = nn.Parameter(torch.randn(w4, 6, 4, 4) / math.sqrt(96))
        self.block4 = DenseBlock(w4)
        self.in8 = nn.Conv2d(w4, w8, 2, stride=2)
        self.linear8 = nn.Conv2d(c8, w8, 1)
        self.quality8 = QualityGain(w8)
        self.blocks8 = nn.Sequential(Block(w8), Block(w8), Block(w8))
        self.out8 = _zeroed(nn.Conv2d(w8, c8, 1))
        self.in16 = nn.Conv2d(w8, w16, 2, stride=2)
        self.quality16 = QualityGain(w16)
        self.blocks16 = nn.Sequential(Block(w16), Block(w16))
        self.out16 = _zeroed(nn.Conv2d(w16, c16, 1))

    def forward(
        self, picture: Tensor, residual: Tensor, step: Tensor, hat: Tensor
    ) -> tuple[Tensor, Tensor]:
        """
        Args:
            picture: grey levels around 0, in cells (`to_cells`); residual: picture − context.
            step: (batch, 1, 1, 1), grey levels.

        Returns:
            latents at 1/16 and at 1/8, in grey levels (not yet divided by the step).
        """
        if torch.is_autocast_enabled(picture.device.type):  # once, not in every product
            kind = torch.get_autocast_dtype(picture.device.type)
            picture, residual = picture.to(kind), residual.to(kind)
        y8 = block_transform(residual, self.basis8)
        y16 = block_transform(residual, self.basis16)
        x = torch.cat([picture, residual], 3)
        f4 = self.block4(block_transform(x, self.in4 / PIXEL_UNIT))
        f8 = self.in8(f4) + self.linear8(y8 / PIXEL_UNIT)
        f8 = self.blocks8(self.quality8(f8, hat))
        f16 = self.blocks16(self.quality16(self.in16(f8), hat))
        y8 = y8.float() + self.out8(f8).float() * PIXEL_UNIT
        y16 = y16.float() + self.out16(f16).float() * PIXEL_UNIT
        return y16, y8


class Synthesis(nn.Module):
    """Latents, prior state and context picture to pixels: inverse block DCTs, plus a network."""

    def __init__(self, cfg: ModelConfig) -> None:
        super().__init__()
        c8, c16 = cfg.channels(8), cfg.channels(16)
        w8, w4 = cfg.synthesis_width_8, cfg.synthesis_width_4
        self.basis8 = nn.Parameter(shell_basis(cfg, 8))
        self.basis16 = nn.Parameter(shell_basis(cfg, 16))
        self.linear8 = nn.Conv2d(c8, w8, 1)
        self.state8 = nn.Conv2d(cfg.prior_width_8, w8, 1)
        self.linear16 = nn.Conv2d(c16, 4 * w8, 1)
        self.quality8 = QualityGain(w8)
        self.blocks8 = nn.Sequential(*[Block(w8) for _ in range(cfg.synthesis_blocks_8)])
        self.up4 = nn.Conv2d(w8, 4 * w4, 1)
        self.pixels4 = nn.Parameter(torch.randn(w4, 3, 4, 4) / math.sqrt(48))
        self.quality4 = QualityGain(w4)
        self.blocks4 = nn.Sequential(*[DenseBlock(w4) for _ in range(cfg.synthesis_blocks_4)])
        self.out4 = _zeroed(nn.Conv2d(w4, w4, 3, padding=1))
        self.basis4 = nn.Parameter(torch.randn(w4, 3, 4, 4) / math.sqrt(w4))

    def forward(
        self, context: Tensor, y16: Tensor, y8: Tensor, state: Tensor, hat: Tensor
    ) -> Tensor:
        """
        Args:
            context: grey levels around 0, in cells (`to_cells`): the inverse DCT of the context.
            y16, y8: dequantised latents, grey levels.
            state: last state of the prior path at 1/8, −127/32…127/32.

        Returns:
            grey levels around 0, in cells, float32, not clipped.
        """
        linear = context + block_inverse(y16, self.basis16) + block_inverse(y8, self.basis8)
        f8 = self.linear8(y8 / PIXEL_UNIT) + self.state8(state)
        f8 = f8 + shuffle(self.linear16(y16 / PIXEL_UNIT), 2)
        f8 = self.blocks8(self.quality8(f8, hat))
        f4 = shuffle(self.up4(f8), 2) + block_transform(linear, self.pixels4 / PIXEL_UNIT)
        f4 = self.blocks4(self.quality4(f4, hat))
        return linear + block_inverse(self.out4(f4) * PIXEL_UNIT, self.basis4)


def step_tensor(cfg: ModelConfig, quality_index: Tensor) -> Tensor:
    """(batch,) quantisation steps, grey levels."""
    ratio = math.log(cfg.finest_step / cfg.coarsest_step)
    return cfg.coarsest_step * torch.exp(ratio * quality_index / (KNOT_SPACING * (KNOTS - 1)))
