"""Several models as one whose weights change with the quality.

    python -m dctcodec.eval.join_weights COARSE … FINE --from 30 56 --name NAME -o WEIGHTS_OUT
        [--card KEY=TEXT …]

The models, from coarse to fine, are weights files of one set and one shape, say of runs with
`--set finest=…` and `--set coarsest=…`; each but the first holds from a quality of `--from` on.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from ..codec.api import quality_index
from ..models import weights
from ..models.export import join


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("models", type=Path, nargs="+", metavar="MODEL")
    parser.add_argument("--from", type=float, nargs="+", required=True, dest="starts")
    parser.add_argument("--name", required=True)
    parser.add_argument("--card", nargs="*", default=[], help="KEY=TEXT")
    parser.add_argument("-o", "--output", type=Path, required=True)
    args = parser.parse_args()
    starts = [0, *map(quality_index, args.starts)]
    if len(args.models) != len(starts) or starts != sorted(set(starts)):
        parser.error("--from: a quality for every model but the first, rising")
    card = dict(entry.split("=", 1) for entry in args.card)
    sets = dict(zip(starts, map(weights.load, args.models), strict=True))
    join(sets, args.output, args.name, card)
    stored = weights.load(args.output)
    print(f"{args.output}: prior {stored.prior_id.hex()}, synthesis {stored.synthesis_id.hex()}")


if __name__ == "__main__":
    main()
