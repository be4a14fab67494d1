"""Pictures in tiles: bits of a tile depend on that tile alone, pixels on its neighbours too.

Analysis and synthesis run on windows with a halo, so a seam cannot be seen and memory stays
bounded: at most three rows of tiles are held at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
import torch

from ..models.runtime import Quality, Runtime
from .container import Header
from .engine import BLOCK, TileSymbols, latent_planes

HALO = 96
"""Pixels beyond a window that its inside can depend on; a multiple of 32."""

Box = tuple[int, int, int, int]  # left, top, width, height in pixels
Bytes = npt.NDArray[np.uint8]


def padded_size(width: int, height: int) -> tuple[int, int]:
    """Size rounded up to whole context blocks."""
    return -(-width // BLOCK) * BLOCK, -(-height // BLOCK) * BLOCK


def padded_tile_box(header: Header, index: int) -> Box:
    """A tile's pixels in the padded picture."""
    w, h = padded_size(header.width, header.height)
    x, y = index % header.columns * header.tile, index // header.columns * header.tile
    return x, y, min(header.tile, w - x), min(header.tile, h - y)


def with_halo(box: Box, header: Header) -> Box:
    """A box grown by the halo, cut at the padded picture's edge."""
    w, h = padded_size(header.width, header.height)
    x, y = max(0, box[0] - HALO), max(0, box[1] - HALO)
    return x, y, min(w, box[0] + box[2] + HALO) - x, min(h, box[1] + box[3] + HALO) - y


def pixel_window(pixels: Bytes, box: Box) -> torch.Tensor:
    """(1, 3, h, w) grey levels of a box that may reach beyond the picture, edges repeated.

    Args:
        pixels: (h, w, 3) or (h, w) uint8.
    """
    x, y, w, h = box
    part = pixels[y : y + h, x : x + w]
    if part.ndim == 2:
        part = np.repeat(part[:, :, None], 3, 2)
    pad = ((0, h - part.shape[0]), (0, w - part.shape[1]), (0, 0))
    part = np.pad(part, pad, mode="edge")
    return torch.from_numpy(part.transpose(2, 0, 1).astype(np.float32))[None]


class Synthesiser:
    """Draws any box of a picture from its tiles' symbols, decoding each tile once, when needed.

    Args:
        tile: gives the symbols of tile number i.
    """

    def __init__(
        self,
        runtime: Runtime,
        quality: Quality,
        header: Header,
        tile: Callable[[int], TileSymbols],
    ) -> None:
        self.runtime, self.quality, self.header, self.tile = runtime, quality, header, tile
        self.held: dict[int, TileSymbols] = {}

    def tiles_of(self, box: Box) -> list[int]:
        """Numbers of the tiles that overlap a box."""
        t, n = self.header.tile, self.header.columns
        rows = range(box[1] // t, -(-(box[1] + box[3]) // t))
        columns = range(box[0] // t, -(-(box[0] + box[2]) // t))
        return [r * n + c for r in rows for c in columns]

    def draw(self, box: Box) -> Bytes:
        """(h, w, 3) uint8 of a box in the padded picture; its sides must be multiples of 32."""
        window = with_halo(box, self.header)
        needed = self.tiles_of(window)
        first_row = min(needed) // self.header.columns
        for i in [i for i in self.held if i // self.header.columns < first_row]:
            del self.held[i]
        for i in needed:
            if i not in self.held:
                self.held[i] = self.tile(i)
        drawn = self._synthesise(window, needed)
        x, y = box[0] - window[0], box[1] - window[1]
        return drawn[y : y + box[3], x : x + box[2]]

    def _synthesise(self, window: Box, needed: list[int]) -> Bytes:
        cfg = self.runtime.cfg

        def plane(
            get: Callable[[TileSymbols], npt.NDArray[np.generic]], stride: int
        ) -> torch.Tensor:
            x0, y0, w, h = window
            out: npt.NDArray[np.float32] | None = None
            for i in needed:
                a = get(self.held[i])
                if out is None:
                    out = np.zeros((len(a), h // stride, w // stride), np.float32)
                x, y, tw, th = padded_tile_box(self.header, i)
                left, top = max(x, x0), max(y, y0)
                right, bottom = min(x + tw, x0 + w), min(y + th, y0 + h)
                out[
                    :,
                    (top - y0) // stride : (bottom - y0) // stride,
                    (left - x0) // stride : (right - x0) // stride,
                ] = a[
                    :,
                    (top - y) // stride : (bottom - y) // stride,
                    (left - x) // stride : (right - x) // stride,
                ]
            assert out is not None
            return torch.from_numpy(out)[None].to(self.runtime.device)

        c = plane(lambda t: t.context, BLOCK)
        z16 = plane(lambda t: latent_planes(cfg, t, 16), 16)
        z8 = plane(lambda t: latent_planes(cfg, t, 8), 8)
        state = plane(lambda t: t.state, 8) / 32
        drawn = self.runtime.reconstruct(c, z16, z8, state, self.quality)
        return np.asarray(drawn.permute(1, 2, 0).cpu().numpy())


def cover(box: Box, header: Header) -> Iterator[Box]:
    """Boxes on the tile grid, raster order, that cover `box` (grown to multiples of 32)."""
    w, h = padded_size(header.width, header.height)
    x0, y0 = box[0] // BLOCK * BLOCK, box[1] // BLOCK * BLOCK
    x1 = min(w, -(-(box[0] + box[2]) // BLOCK) * BLOCK)
    y1 = min(h, -(-(box[1] + box[3]) // BLOCK) * BLOCK)
    t = header.tile
    for y in range(y0 // t * t, y1, t):
        for x in range(x0 // t * t, x1, t):
            left, top = max(x, x0), max(y, y0)
            yield left, top, min(x + t, x1) - left, min(y + t, y1) - top
