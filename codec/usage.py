"""Which channels the files of a model use: encode photos, read back, count.

Training logs estimate this; here it is what files hold, after the encoder's choice of symbols.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ..models.tables import MOST_REACH
from ..models.usage import Tally, usage
from ..models.weights import StoredModel
from .api import encode_picture, quality_index, table_models
from .container import read
from .engine import BLOCK, StreamSource, run_tile, split_mean
from .entropy import table_numbers
from .pictures import load

QUALITIES = (10.0, 30.0, 50.0, 70.0, 90.0)

Ints = npt.NDArray[np.int32]


class CountingSource(StreamSource):
    """Reads a tile and counts, per channel, bits under the tables and symbols off the mean."""

    def __init__(self, stored: StoredModel, chunks: Sequence[bytes], tally: Tally) -> None:
        self.models, self.costs = table_models(stored), stored.tables.costs()
        super().__init__(stored, self.models, chunks)
        self.counts = tally

    def context(self, mean: Ints, index: Ints, where: npt.NDArray[np.bool_]) -> Ints:
        whole, phase = split_mean(mean)
        out = super().context(mean, index, where)
        bits = np.zeros(len(out))
        numbers, reach = table_numbers(index, phase), self.tables.reach[index]
        step = np.where(np.abs(out - whole) > reach, reach + 1, out - whole)  # beyond: the escape
        coded = index >= self.tables.skip_below
        for number in np.unique(numbers[coded]):
            mine = coded & (numbers == number)
            bits[mine] = self.models.bits(int(number))[(step + reach)[mine]]
        channel, n = np.nonzero(where)[0], len(where)
        self.counts.add(
            0,
            np.bincount(channel, bits, n),
            np.bincount(channel, out != whole, n),
            np.bincount(channel, minlength=n),
        )
        return out

    def latent(self, part: int, mean: Ints, index: Ints, where: npt.NDArray[np.int64]) -> Ints:
        out = super().latent(part, mean, index, where)
        bits = self.costs[index, np.minimum(np.abs(out), MOST_REACH + 1)]
        self.counts.add(part + 1, bits.sum(1, np.float64), (out != 0).sum(1), len(where))
        return out


def measure(
    stored: StoredModel,
    photos: Iterable[npt.NDArray[np.uint8]],
    qualities: Sequence[float] = QUALITIES,
    progress: Callable[[float], None] | None = None,
) -> dict[str, Any]:
    """`models.usage.usage` of the files of photos.

    Args:
        photos: (h, w, 3) each; cut to multiples of 32, at most 512×768 (or 768×512).

    Returns:
        as `usage`, and photos: how many.
    """
    from ..models.runtime import runtime

    pictures = [cut(p) for p in photos]
    tallies = {float(q): Tally(stored.cfg) for q in qualities}
    for n, picture in enumerate(pictures):
        height, width = picture.shape[:2]
        for m, (quality, tally) in enumerate(tallies.items()):
            data = encode_picture(load(picture), quality, model=stored).data
            container = read(data)
            chunks = [container.payload(layer, 0) for layer in range(stored.cfg.layers + 1)]
            index = quality_index(quality)
            source = CountingSource(stored.at(index), chunks, tally)
            ops = runtime(stored.at(index)).ops(index)
            run_tile(ops, stored.cfg, height // BLOCK, width // BLOCK, source)
            tally.pixels += height * width
            if progress:
                progress((n * len(tallies) + m + 1) / (len(pictures) * len(tallies)))
    return {"photos": len(pictures), **usage(stored.cfg, tallies)}


def cut(photo: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """The top left corner, multiples of 32, one tile."""
    h, w = photo.shape[:2]
    most = (512, 768) if w >= h else (768, 512)
    return photo[: min(h // BLOCK * BLOCK, most[0]), : min(w // BLOCK * BLOCK, most[1])]
