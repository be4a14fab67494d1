"""Two models as one whose weights change with the quality.

    python -m dctcodec.eval.join_weights COARSE FINE --from 36 --name NAME -o WEIGHTS_OUT
        [--card KEY=TEXT …]

COARSE codes the qualities below, FINE those from there on. Both are weights files of one set and
one shape, say of runs with `--set finest=…` and `--set coarsest=…`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from ..codec.api import quality_index
from ..models import weights
from ..models.export import join


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("coarse", type=Path)
    parser.add_argument("fine", type=Path)
    parser.add_argument("--from", type=float, required=True, dest="first", help="quality, 0…100")
    parser.add_argument("--name", required=True)
    parser.add_argument("--card", nargs="*", default=[], help="KEY=TEXT")
    parser.add_argument("-o", "--output", type=Path, required=True)
    args = parser.parse_args()
    card = dict(entry.split("=", 1) for entry in args.card)
    models = weights.load(args.coarse), weights.load(args.fine)
    join(*models, quality_index(args.first), args.output, args.name, card)
    stored = weights.load(args.output)
    print(f"{args.output}: prior {stored.prior_id.hex()}, synthesis {stored.synthesis_id.hex()}")


if __name__ == "__main__":
    main()
