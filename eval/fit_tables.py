"""Probability tables from what the encoder sends for photos: the last step of making a model.

    python -m dctcodec.eval.fit_tables WEIGHTS PHOTOS… -o WEIGHTS_OUT [--count 60] [--qualities 2 …]

Training assumes logistic distributions; the encoder's rate-distortion choice makes symbols sparser.
Use training photos, never test pictures. Of a model that will be joined with another
(`eval.join_weights`), name the qualities that it will serve, and join afterwards.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..codec.api import encode_picture
from ..codec.pictures import load
from ..data.photos import load_photos
from ..models import weights
from ..models.tables import PHASES, Counts, Tables, fitted_tables

QUALITIES = (2, 10, 20, 30, 42, 55, 68, 80, 92)


def count(
    stored: weights.StoredModel,
    photos: Iterable[npt.NDArray[np.uint8]],
    qualities: Sequence[float] = QUALITIES,
) -> Counts:
    """Symbols that the encoder sends for photos (h, w, 3), each at every third quality in turn."""
    reach = stored.tables.reach
    counts: Counts = {}

    def tally(symbols: npt.NDArray[np.int32], tables: npt.NDArray[np.int32]) -> None:
        r = reach[tables // PHASES]
        place = np.where(np.abs(symbols) > r, 2 * r + 1, symbols + r)
        for number in np.unique(tables):
            size = 2 * int(reach[number // PHASES]) + 2
            seen = np.bincount(place[tables == number], minlength=size)
            counts[int(number)] = counts.get(int(number), np.zeros(size, np.int64)) + seen

    for n, photo in enumerate(photos):
        for quality in qualities[n % 3 :: 3]:
            encode_picture(load(photo), quality, model=stored, tally=tally)
    return counts


def replace_tables(path: Path, tables: Tables, out: Path) -> None:
    """The same model, of one set of weights, with other tables: a new prior, with a new id."""
    stored = weights.load(path)
    if stored.finer:
        raise weights.WeightsError(f"{path.name}: joined; fit tables to its parts, then join them")
    arrays = weights.read_tensors(path, lambda _: True)
    arrays["tables.reach"], arrays["tables.frequencies"] = tables.reach, tables.frequencies
    own = {*weights.OWN_KEYS, weights.USAGE_KEY}  # with other tables the encoder chooses otherwise
    card = {k: v for k, v in stored.metadata.items() if k not in own}
    weights.store(out, stored.name, stored.cfg, arrays, [stored.known_answer], card)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("weights", type=Path)
    parser.add_argument("photos", type=Path, nargs="+")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--count", type=int, default=60, help="photos to use")
    parser.add_argument("--qualities", type=float, nargs="+", default=QUALITIES)
    args = parser.parse_args()
    photos = [p.numpy().transpose(1, 2, 0) for p in load_photos(args.photos)]
    stored = weights.load(args.weights)
    chosen = photos[:: max(1, len(photos) // args.count)]
    counts = count(stored, chosen, args.qualities)
    replace_tables(args.weights, fitted_tables(stored.tables, counts), args.output)
    print(
        json.dumps({"photos": len(chosen), "symbols": int(sum(c.sum() for c in counts.values()))})
    )


if __name__ == "__main__":
    main()
