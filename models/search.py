"""A search for better latents of one picture: stochastic Gumbel annealing.

The encoder's analysis gives the same latents whatever the prior thinks of them, and the greedy
choice looks at one symbol at a time. Here the latents of one picture descend on what the picture
really costs, rate and distortion together, through the prior path and synthesis as they are.
The decoder is unchanged. Source: Yang, Bamler, Mandt, "Improving Inference for Neural Image
Compression", arXiv 2006.04240, section 3.2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product

import torch
from torch import Tensor

from .config import DISTORTION_WEIGHT
from .export import parameters_of
from .fakequant import UNITS, FakeQuantOps
from .model import CodecModel, halves, spread, squared_error
from .networks import knot_weights, step_tensor, to_cells
from .precision import bf16_pays
from .scales import centroid_shift
from .topology import walk
from .transforms import GREY
from .weights import StoredModel


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchConfig:
    """One search."""

    iterations: int = 100
    rate: float = 0.015  # of Adam at the start, symbols; a tenth at the end
    hot: float = 0.5  # temperature of the draws at the start
    cold: float = 0.1  # and at the end
    price: float = 1.3  # of a bit: the slope that the encoder's greedy choice works at
    window: int = 512  # side of what is searched at once, pixels; a multiple of 32
    seed: int = 0


@lru_cache(maxsize=2)
def searchable(stored: StoredModel, device: str = "cpu") -> CodecModel:
    """The model as it was trained, to take gradients through."""
    model = CodecModel(stored.cfg)
    model.load_state_dict(parameters_of(stored))
    model.eval().requires_grad_(False)
    model.prior.take_as_stored()
    model.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return model


@lru_cache(maxsize=2)
def table_costs(stored: StoredModel, device: str = "cpu") -> Tensor:
    """Bits of a latent's magnitude under each scale index, (64, MOST_REACH + 2).

    What is never coded (`Tables.skip_below`) is given the price of the first index that is.
    """
    costs = stored.tables.costs()
    costs[: stored.tables.skip_below] = costs[stored.tables.skip_below]
    return torch.from_numpy(costs).to(device)


def table_bits(costs: Tensor, symbols: Tensor, index: Tensor) -> Tensor:
    """Bits of real-valued symbols under real-valued scale indices, by interpolation.

    Args:
        costs: see `table_costs`; symbols, index: of one shape.
    """
    a = symbols.abs().clamp_max(costs.shape[1] - 1.001)
    i = index.clamp(0, costs.shape[0] - 1)
    column, row = a.detach().long(), i.detach().long().clamp_max(costs.shape[0] - 2)
    x, y = a - column, i - row
    first = row * costs.shape[1] + column
    flat = costs.reshape(-1)
    low = flat[first] * (1 - x) + flat[first + 1] * x
    first = first + costs.shape[1]
    high = flat[first] * (1 - x) + flat[first + 1] * x
    return low * (1 - y) + high * y


def search(
    model: CodecModel,
    costs: Tensor,
    picture: Tensor,
    quality_index: int,
    context: Tensor,
    latents: Sequence[Tensor],
    cfg: SearchConfig,
    worth: Tensor | None = None,
) -> list[Tensor]:
    """Better latents for a picture.

    Args:
        costs: bits of the symbols, see `table_costs`.
        picture: (1, 3, h, w), grey levels 0…255; h and w multiples of 32.
        quality_index: 0…400.
        context: (1, channels, h/32, w/32), symbols as they are coded.
        latents: per part (1, channels, h/stride, w/stride), symbols, real-valued: the start.
        worth: (1, 1, h, w) what a squared error costs at each pixel; None: 1.

    Returns:
        as `latents`; rounded to whole steps from the prior's means they are what was found.
    """
    _, _, height, width = picture.shape
    n = cfg.window
    if max(height, width) > n:  # window by window
        out = [y.clone() for y in latents]
        strides = [p.stride for p in model.cfg.parts]

        def cut(x: Tensor, top: int, left: int, stride: int) -> Tensor:
            rows, columns = (slice(i // stride, (i + n) // stride) for i in (top, left))
            return x[:, :, rows, columns]

        for top, left in product(range(0, height, n), range(0, width, n)):
            found = search(
                model,
                costs,
                cut(picture, top, left, 1),
                quality_index,
                cut(context, top, left, model.cfg.context_block),
                [cut(y, top, left, s) for y, s in zip(latents, strides, strict=True)],
                cfg,
                None if worth is None else cut(worth, top, left, 1),
            )
            for y, f, s in zip(out, found, strides, strict=True):
                cut(y, top, left, s).copy_(f)
        return out
    device = picture.device
    q = torch.tensor([quality_index], device=device)
    hat, d = knot_weights(q), step_tensor(model.cfg, q)
    step = d[:, None, None, None]
    coarse = model.context_picture(context, step, hat)
    wanted = to_cells(picture) - GREY
    root = None if worth is None else to_cells(worth.expand_as(picture)).sqrt()
    wanted = wanted if root is None else root * wanted
    values = [y.detach().clone().requires_grad_() for y in latents]
    optimiser = torch.optim.Adam(values, lr=cfg.rate, betas=(0.9, 0.95))
    generator = torch.Generator(device).manual_seed(cfg.seed)
    short = bf16_pays(device.type)
    for i in range(cfg.iterations):
        share = i / max(1, cfg.iterations - 1)
        temperature = cfg.hot * (cfg.cold / cfg.hot) ** share
        for group in optimiser.param_groups:
            group["lr"] = cfg.rate * (1 - 0.9 * share)
        with torch.enable_grad(), torch.autocast(device.type, torch.bfloat16, enabled=short):
            bits, drawn = _draw(
                model, costs, context, coarse, values, (hat, d), temperature, generator
            )
            error = squared_error(drawn if root is None else root * drawn, wanted).sum()
            loss = cfg.price * bits + error / (DISTORTION_WEIGHT * float(d) ** 2)
            loss.backward()
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
    return [v.detach() for v in values]


def _draw(
    model: CodecModel,
    costs: Tensor,
    context: Tensor,
    coarse: Tensor,
    values: Sequence[Tensor],
    quality: tuple[Tensor, Tensor],
    temperature: float,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Bits of the latents and the picture in cells; each latent one of its neighbours by chance."""
    hat, d = quality
    filled: list[Tensor] = [torch.zeros(0)] * len(values)
    shown: list[Tensor] = list(filled)
    total = torch.zeros((), device=context.device)

    def code(part: int, half: int, mean: Tensor, index: Tensor) -> Tensor:
        nonlocal total
        mean, index = halves(mean, half), halves(index, half)
        k = between_neighbours(halves(values[part], half) - mean, temperature, generator)
        total = total + table_bits(costs, k, index).sum()
        beyond = centroid_shift(model.centroids[part], k, index)
        for planes, value in ((filled, mean + k), (shown, mean + k + beyond)):
            z = spread(value, half)
            planes[part] = z if half == 0 else planes[part] + z
        return filled[part]

    state = walk(FakeQuantOps(model.prior, hat, d, True), model.cfg, context, code) / UNITS
    coarse_parts = sum(p.stride == 16 for p in model.cfg.parts)
    z16, z8 = torch.cat(shown[:coarse_parts], 1), torch.cat(shown[coarse_parts:], 1)
    return total, model.reconstruct(coarse, z16, z8, state, d[:, None, None, None], hat)


def between_neighbours(v: Tensor, temperature: float, generator: torch.Generator) -> Tensor:
    """Values in ⌊v⌋…⌊v⌋ + 1, drawn by the Gumbel-softmax of arXiv 2006.04240, Eq. 11–12."""
    below = v.detach().floor()
    r = (v - below).clamp(1e-4, 1 - 1e-4)
    up = (torch.atanh(r) - torch.atanh(1 - r)) / temperature
    u = torch.rand(r.shape, generator=generator, device=r.device).clamp(1e-6, 1 - 1e-6)
    return below + torch.sigmoid((up + torch.log(u) - torch.log1p(-u)) / temperature)


__all__ = [
    "SearchConfig",
    "between_neighbours",
    "search",
    "searchable",
    "table_bits",
    "table_costs",
]
