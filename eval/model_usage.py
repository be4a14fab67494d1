"""Measure which channels a weights file uses, and keep the figures in its card.

    python -m dctcodec.eval.model_usage WEIGHTS PHOTOS… -o WEIGHTS_OUT

`dctcodec info --model` prints them. Neither the model's ids nor its known answer change. Use
held-out photos. `-o` may name the input: it is replaced when all is done.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from ..codec.info_text import usage_text
from ..codec.usage import measure
from ..data.photos import load_photos
from ..models import weights


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("weights", type=Path)
    parser.add_argument("photos", type=Path, nargs="+")
    parser.add_argument("-o", "--output", type=Path, required=True)
    args = parser.parse_args()
    photos = [p.numpy().transpose(1, 2, 0) for p in load_photos(args.photos)]
    found = measure(weights.load(args.weights), photos)
    weights.add_usage(args.weights, found, args.output)
    print(usage_text(found))


if __name__ == "__main__":
    main()
