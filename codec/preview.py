"""A thumbnail from the context alone: exact prior in NumPy, inverse DCT, no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ..models.integer import NumpyOps
from ..models.transforms import inverse_context
from ..models.weights import StoredModel
from . import presets
from .container import DEFAULT_MAX_PIXELS, Container, read, tile_box
from .engine import BLOCK, decode_context
from .errors import ModelError, UsageError

if TYPE_CHECKING:
    from PIL import Image


def thumbnail(
    data: bytes,
    *,
    scale: int | None = None,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    model: StoredModel | None = None,
) -> npt.NDArray[np.uint8]:
    """The context as a small picture; reads nothing but the context chunks.

    Args:
        data: a .dctc file.
        scale: pixels per side of a 32×32 block, 1…32; None: as many as frequencies are kept,
            so that a 4×4 context gives a picture an eighth as wide and high.
        model: as `api.decode_picture`.

    Returns:
        (h, w, 3) uint8, or (h, w) of a grayscale file.

    Raises:
        BitstreamError, ModelError: as `api.decode`; UsageError: scale out of range.
    """
    from .api import find_model, table_models

    container = read(data, mode="salvage", max_pixels=max_pixels)
    header = container.header
    if (preset := presets.find(header.prior_id)) is not None:
        return _of_preset(container, preset, scale)
    stored = find_model(header.prior_id, model).at(header.quality_index)
    if stored.cfg.context_kind != "dct":
        raise ModelError("previews are drawn from DCT contexts alone; decode the file instead")
    kept = stored.cfg.context_kept
    side = kept if scale is None else scale
    if not 1 <= side <= BLOCK:
        raise UsageError(f"scale {side} is not in 1…{BLOCK}")
    ops = NumpyOps(stored.prior, header.quality_index)
    step = stored.context_step(header.quality_index)[:, None, None]
    rows, columns = -(-header.height // BLOCK), -(-header.width // BLOCK)
    out = np.zeros((3, rows * side, columns * side), np.float32)
    for i in range(header.tiles):
        x, y, w, h = tile_box(header, i)
        payload = container.payload(0, i)  # an error if it is damaged
        c = decode_context(
            ops, stored, table_models(stored), payload, -(-h // BLOCK), -(-w // BLOCK)
        )
        tile = _shrunk(c * step, kept, side)
        top, left = y // BLOCK * side, x // BLOCK * side
        out[:, top : top + tile.shape[1], left : left + tile.shape[2]] = tile
    height, width = -(-header.height * side // BLOCK), -(-header.width * side // BLOCK)
    pixels = np.clip(np.rint(out[:, :height, :width]), 0, 255).astype(np.uint8)
    if header.grayscale:
        return np.asarray((pixels.sum(0, dtype=np.uint16) + 1) // 3, np.uint8)
    return np.ascontiguousarray(pixels.transpose(1, 2, 0))


def _of_preset(container: Container, preset: str, scale: int | None) -> npt.NDArray[np.uint8]:
    """`thumbnail` of a preset's file."""
    from PIL import Image

    pixels = presets.context_picture(container, preset).pixels
    side = presets.prior(preset, "numpy").model.quantiser.kept if scale is None else scale
    if not 1 <= side <= BLOCK:
        raise UsageError(f"scale {side} is not in 1…{BLOCK}")
    height, width = (-(-n * side // BLOCK) for n in pixels.shape[:2])
    return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BOX))


def _shrunk(c: npt.NDArray[np.float32], kept: int, side: int) -> npt.NDArray[np.float32]:
    """Inverse DCT at `side` pixels per block: low frequencies of a smaller DCT of equal mean."""
    low = min(kept, side)
    cut = c.reshape(3, kept, kept, *c.shape[1:])[:, :low, :low]
    cut = cut.reshape(3 * low * low, *c.shape[1:]) * np.float32(side / BLOCK)
    return inverse_context(np.ascontiguousarray(cut), side, low)


def preview(
    data: bytes,
    *,
    max_side: int | None = None,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    model: StoredModel | None = None,
) -> Image.Image:
    """`thumbnail` as a PIL image, its longer side at most `max_side` pixels.

    Without `max_side` it is an eighth as wide and high as the picture. `model` as there.
    """
    from PIL import Image

    if max_side is None:
        return Image.fromarray(thumbnail(data, max_pixels=max_pixels, model=model))
    if max_side < 1:
        raise UsageError(f"size {max_side} is not at least 1 pixel")
    header = read(data, mode="salvage", max_pixels=max_pixels).header
    longer = max(header.width, header.height)
    scale = min(BLOCK, max(1, -(-max_side * BLOCK // longer)))
    image = Image.fromarray(thumbnail(data, scale=scale, max_pixels=max_pixels, model=model))
    ratio = min(1.0, max_side / longer)
    size = max(1, round(header.width * ratio)), max(1, round(header.height * ratio))
    return image if image.size == size else image.resize(size, Image.Resampling.LANCZOS)
