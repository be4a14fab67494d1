"""BD-rate on validation photos against megapixels seen, from the logs of one or more runs.

    python -m dctcodec.eval.training_curve VALIDATION RUN/log.jsonl… -o T.csv --plot T.png

Logs are those of runs that went on from one another, in order; megapixels add up. Bits are the
estimates of training (logistic tables, symbols rounded plainly, or as the encoder chooses them in
a settled run), so this is the curve of the network, a few points above what files reach.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from ..data.photos import load_photos
from .metrics import bd_rate

JPEG_QUALITIES = (5, 10, 20, 30, 40, 50, 60, 70, 80, 90, 95)
SIDE = 512  # as `models.train.validate` cuts photos

Curve = npt.NDArray[np.float64]


def jpeg_curve(paths: Sequence[Path], every: int) -> Curve:
    """(2, qualities): mean bits per pixel and PSNR of JPEG 4:2:0, photos cut as in training."""
    photos = []
    for p in load_photos(paths)[::every]:
        p = p if p.shape[2] >= p.shape[1] else p.transpose(1, 2)
        h, w = min(p.shape[1] // 32 * 32, SIDE), min(p.shape[2] // 32 * 32, 768)
        photos.append(np.ascontiguousarray(p[:, :h, :w].permute(1, 2, 0).numpy()))
    rows = []
    for quality in JPEG_QUALITIES:
        one = []
        for x in photos:
            out = io.BytesIO()
            Image.fromarray(x).save(out, "JPEG", quality=quality, subsampling=2, optimize=True)
            y = np.asarray(Image.open(out))
            error = float(((y.astype(float) - x) ** 2).mean())
            one.append((8 * len(out.getvalue()) / (x.size / 3), 10 * np.log10(255**2 / error)))
        rows.append(np.mean(one, 0))
    return np.array(rows).T


def points(logs: Sequence[Path], anchor: Curve) -> list[dict[str, Any]]:
    """A row for every validation in the logs: megapixels so far, run, BD-rate in per cent."""
    rows: list[dict[str, Any]] = []
    before = 0.0
    for number, log in enumerate(logs, 1):
        seen = 0.0
        for line in log.read_text().splitlines():
            entry = json.loads(line)
            seen = entry.get("megapixels", seen)
            if "validation" not in entry:
                continue
            curve = np.array([[v["bpp"], v["psnr"]] for v in entry["validation"]]).T
            rate = bd_rate((list(anchor[0]), list(anchor[1])), (list(curve[0]), list(curve[1])))
            if rate is not None:
                seen_so_far = round(before + seen)
                rows.append(
                    {"megapixels": seen_so_far, "run": number, "bd_rate": round(rate.percent, 2)}
                )
        before += seen
    return rows


def plot(rows: Sequence[dict[str, Any]], out: Path) -> None:
    """One line a run, megapixels on a logarithmic axis."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6.4, 3.6), layout="constrained")
    for number in sorted({r["run"] for r in rows}):
        mine = [r for r in rows if r["run"] == number]
        axes.plot(
            [r["megapixels"] for r in mine],
            [r["bd_rate"] for r in mine],
            "o-",
            ms=3,
            label=f"run {number}",
        )
    axes.set_xscale("log")
    ticks = [500, 1000, 2000, 4000, 8000, 16000]
    axes.set_xticks(ticks, [str(t) for t in ticks])
    axes.minorticks_off()
    axes.set(xlabel="megapixels seen", ylabel="BD-rate against JPEG, %, validation")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(out, dpi=120)
    pyplot.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("validation", type=Path)
    parser.add_argument("logs", type=Path, nargs="+")
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--every", type=int, default=1, help="every so many photos, as the run had")
    args = parser.parse_args()
    rows = points(args.logs, jpeg_curve([args.validation], args.every))
    with open(args.out, "w", newline="") as f:
        writer = csv.DictWriter(f, ["megapixels", "run", "bd_rate"], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    if args.plot:
        plot(rows, args.plot)


if __name__ == "__main__":
    main()
