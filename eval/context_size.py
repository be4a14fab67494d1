"""The size and the kind of the context, at equal training budgets: bits of the context, BD-rate.

    python -m dctcodec.eval.context_size KODAK --runs RUNS --photos PHOTOS… -o docs/results/context_size.csv

For K in 1, 2, 4, 6, DCT and downsampling (the same for K = 1): trains a whole codec from nothing
unless RUNS has it, exports it, and measures real files of test pictures. The budget is one of steps:
the same crops in the same order for all, whatever else the machine does. Runs that are there go on
or are taken as they are, so the command can be called again. The page's table is by
`context_page`; the anchor of the BD-rate is DCT with K = 4.
"""  # noqa: E501

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch

from ..codec.api import decode_picture, encode_picture
from ..codec.container import read
from ..codec.pictures import load
from ..models import weights
from .context_study import Row, append, read_rows
from .metrics import psnr

VARIANTS = [(k, kind) for k in (4, 2, 6, 1) for kind in ("dct", "down") if (k, kind) != (1, "down")]
QUALITIES = (10, 24, 40, 58, 75)


def command(*words: str) -> None:
    subprocess.run([sys.executable, "-m", "dctcodec", *words], check=True)


def trained(runs: Path, photos: list[Path], budget: list[str], kept: int, kind: str) -> Path:
    """The weights file of a variant. budget: options of `dctcodec train`."""
    run = runs / f"K{kept}-{kind}"
    file = run / "model.safetensors"
    if not file.exists():
        options = [f"--photos={p}" for p in photos] + [*budget, "--device", "cpu"]
        if not (run / "state.pt").exists():  # a run that was interrupted has its shape already
            options += ["--set", f"context_kept={kept}", "--set", f"context_kind={kind}"]
        command("train", str(run), *options)
        command("export", str(run / "state.pt"), "-o", str(file), "--name", f"K{kept}-{kind}")
    return file


def measured(path: Path, stored: weights.StoredModel, kept: int, kind: str) -> list[Row]:
    """Real files of one picture at each quality."""
    picture = load(path)
    area = picture.width * picture.height
    rows = []
    for quality in QUALITIES:
        data = encode_picture(picture, quality, model=stored).data
        context = sum(c.length for c in read(data).chunks if c.layer == 0)
        decoded = decode_picture(data, model=stored).picture.pixels
        rows.append(
            {
                "kept": kept,
                "kind": kind,
                "image": path.stem,
                "quality": quality,
                "context_bpp": round(8 * context / area, 5),
                "bpp": round(8 * len(data) / area, 5),
                "psnr_rgb": round(psnr(picture.pixels, decoded), 4),
            }
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kodak", type=Path)
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--photos", type=Path, nargs="+", required=True)
    parser.add_argument("--steps", type=int, default=200, help="of training, for each")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--crop", type=int, default=128)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--every", type=int, default=6, help="measured: every so-manyth picture")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--only", nargs="+", default=[], help="as K4-dct")
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.runs.mkdir(parents=True, exist_ok=True)
    budget = [f"--{k}={getattr(args, k)}" for k in ("steps", "batch", "crop", "seed")]
    done = {(int(r["kept"]), r["kind"]) for r in read_rows(args.output)}
    for kept, kind in VARIANTS:
        if (kept, kind) in done or (args.only and f"K{kept}-{kind}" not in args.only):
            continue
        file = trained(args.runs, args.photos, budget, kept, kind)
        stored = weights.load(file)
        rows = [
            r
            for p in sorted(args.kodak.glob("*.png"))[:: args.every]
            for r in measured(p, stored, kept, kind)
        ]
        append(args.output, rows)
        mean = np.mean([[r["context_bpp"], r["bpp"], r["psnr_rgb"]] for r in rows], 0)
        print(f"K={kept} {kind}: context {mean[0]:.4f}, whole {mean[1]:.4f} bpp, {mean[2]:.2f} dB")


if __name__ == "__main__":
    main()
