"""docs/kodak.md from measured rows: no figure on that page is typed by hand.

python -m dctcodec.eval.evaluate KODAK -o docs/results/kodak.csv --qualities 0,5,…
python -m dctcodec.eval.evaluate KODAK -o docs/results/kodak-psnr.csv --tune psnr …
python -m dctcodec.eval.evaluate KODAK -o docs/results/kodak-ms-ssim.csv --tune ms-ssim …
python -m dctcodec.eval.evaluate KODAK -o docs/results/layers.csv --layers --qualities 10,50,95
python -m dctcodec.eval.kodak_page --jpeg KODAK   (measures the anchor, once)
python -m dctcodec.eval.kodak_page                (writes docs/kodak.md and docs/kodak.png)
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np

from ..codec.pictures import load
from ..codec.tune import DEFAULT_TUNE, TUNES
from .evaluate import Row, pictures, write_csv
from .jpeg import decode_jpeg, encode_jpeg
from .metrics import BdRate, bd_rate, ms_ssim, ms_ssim_db, psnr

RESULTS = Path("docs/results")
OTHERS = tuple(name for name in TUNES if name != DEFAULT_TUNE)
ROWS = ("kodak", *(f"kodak-{name}" for name in OTHERS), "jpeg420", "layers")
PAGE = Path("docs/kodak.md")
JPEG_QUALITIES = (5, 8, 10, 15, 20, 25, 30, 40, 50, 60, 70, 75, 80, 85, 90, 95, 97)
Curve: TypeAlias = dict[str, np.ndarray[tuple[int], np.dtype[np.float64]]]
SHOWN = (10.0, 30.0, 50.0, 75.0, 95.0)


def read_rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as f:
        return list(csv.DictReader(f))


def curve(rows: Iterable[dict[str, str]]) -> Curve:
    """Mean bpp, PSNR and MS-SSIM (dB of the mean) per quality, ascending."""
    by: dict[float, list[dict[str, str]]] = {}
    for r in rows:
        by.setdefault(float(r["quality"]), []).append(r)
    mean = [
        [float(np.mean([float(r[k]) for r in by[q]])) for k in ("bpp", "psnr_rgb", "msssim_rgb")]
        for q in sorted(by)
    ]
    bpp, quality, ms = np.array(mean).T
    return {
        "quality": np.array(sorted(by)),
        "bpp": bpp,
        "psnr": quality,
        "msssim_db": np.array([ms_ssim_db(m) for m in ms]),
    }


def measure_jpeg(folder: Path) -> None:
    rows: list[Row] = []
    for quality in JPEG_QUALITIES:
        for path in pictures(folder):
            pixels = load(path).pixels
            data = encode_jpeg(pixels, quality)
            decoded = decode_jpeg(data)
            ms = ms_ssim(pixels, decoded)
            rows.append(
                {
                    "image": path.stem,
                    "quality": quality,
                    "bytes": len(data),
                    "bpp": round(8 * len(data) / (pixels.shape[0] * pixels.shape[1]), 6),
                    "psnr_rgb": round(psnr(pixels, decoded), 4),
                    "msssim_rgb": "" if ms is None else round(ms, 6),
                }
            )
    write_csv(rows, RESULTS / "jpeg420.csv")


def bd_rates(
    ours: Sequence[dict[str, str]], jpeg: Sequence[dict[str, str]]
) -> dict[str, BdRate | None]:
    """Against the anchor: by PSNR over all, 26–40 and 30.5–37 dB, by MS-SSIM (dB).

    Of mean curves, but for one row: there each picture's own curve is compared, and the mean of the
    per cents taken. It does not depend on how an encoder spreads its bits over the pictures.
    """
    a, b = ({k: list(v) for k, v in curve(rows).items()} for rows in (jpeg, ours))
    signal = (a["bpp"], a["psnr"]), (b["bpp"], b["psnr"])
    return {
        "PSNR, whole common interval": bd_rate(*signal),
        "PSNR, 26–40 dB": bd_rate(*signal, (26.0, 40.0)),
        "PSNR, 30.5–37 dB": bd_rate(*signal, (30.5, 37.0)),
        "PSNR, picture by picture, 26–40 dB": mean_of_pictures(ours, jpeg, (26.0, 40.0)),
        "MS-SSIM in dB": bd_rate((a["bpp"], a["msssim_db"]), (b["bpp"], b["msssim_db"])),
    }


def mean_of_pictures(
    ours: Sequence[dict[str, str]],
    jpeg: Sequence[dict[str, str]],
    interval: tuple[float, float],
) -> BdRate:
    """Mean of the pictures' own BD-rates, each over what both its curves cover of `interval`."""
    percents = []
    for image in sorted({r["image"] for r in ours}):
        a, b = (curve([r for r in rows if r["image"] == image]) for rows in (jpeg, ours))
        low = max(interval[0], a["psnr"].min(), b["psnr"].min())
        high = min(interval[1], a["psnr"].max(), b["psnr"].max())
        both = [(list(c["bpp"]), list(c["psnr"])) for c in (a, b)]
        found = bd_rate(both[0], both[1], (float(low), float(high)))
        assert found is not None
        percents.append(found.percent)
    return BdRate(float(np.mean(percents)), *interval)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(r) + " |" for r in rows]) + "\n"


def page(
    ours: list[dict[str, str]],
    others: list[list[dict[str, str]]],
    jpeg: list[dict[str, str]],
    layers: list[dict[str, str]],
) -> str:
    """The page. others: with each of `OTHERS`."""
    curves = [curve(rows) for rows in (ours, *others)]
    rates = [bd_rates(rows, jpeg) for rows in (ours, *others)]
    aims = [DEFAULT_TUNE, *OTHERS]
    parts = [
        "# Kodak, picture by picture",
        "Written by `python -m dctcodec.eval.kodak_page` from the rows in `docs/results`. 24 "
        "pictures, real files, RGB PSNR of the 8-bit output; a curve's point is the mean over "
        "pictures at one quality. Anchor: Pillow JPEG 4:2:0, `optimize=True`. Kodak was never "
        "trained or tuned on.",
        "## Bits saved against JPEG",
        table(
            ["by", *(cell for aim in aims for cell in (f"`--tune {aim}`", "over"))],
            [[k, *(cell for found in rates for cell in _saved(found[k]))] for k in rates[0]],
        ),
        f"`{DEFAULT_TUNE}` is the default, and what the rest of this page shows unless it names "
        "another.",
        "## Mean curve",
        "![Rate-distortion curves](kodak.png)",
        table(
            ["quality", *(f"{what}, {aim}" for aim in aims for what in ("bpp", "PSNR", "MS-SSIM"))],
            [
                [f"{q:g}", *(cell for c in curves for cell in _point(c, q))]
                for q in sorted({q for c in curves for q in c["quality"]})
            ],
        ),
        "PSNR and MS-SSIM in dB.",
        "## What each layer adds",
        "Mean bits per pixel and PSNR when a file's layers are decoded up to and including the one "
        "named.",
        table(
            ["quality", *("context" if n == "0" else f"layer {n}" for n in _levels(layers))],
            [
                [q, *(_layer(layers, q, n) for n in _levels(layers))]
                for q in sorted({r["quality"] for r in layers}, key=float)
            ],
        ),
        "## Every picture",
        "Bytes of the file; the model's own estimate (ideal code under its tables) without the "
        "container; seconds of one core of a shared machine, loading apart.",
    ]
    for q in SHOWN:
        rows = [r for r in ours if float(r["quality"]) == q]
        parts += [
            f"### Quality {q:g}",
            table(
                [
                    "picture",
                    "bytes",
                    "estimate",
                    "bpp",
                    "PSNR",
                    "MS-SSIM",
                    "encode, s",
                    "decode, s",
                ],
                [
                    [
                        r["image"],
                        r["bytes"],
                        f"{float(r['estimated_bytes']):.0f}",
                        f"{float(r['bpp']):.4f}",
                        f"{float(r['psnr_rgb']):.2f}",
                        f"{float(r['msssim_rgb']):.4f}",
                        f"{float(r['enc_s']):.2f}",
                        f"{float(r['dec_s']):.2f}",
                    ]
                    for r in rows
                ],
            ),
        ]
    return "\n\n".join(p.rstrip("\n") for p in parts) + "\n"


def _saved(rate: BdRate | None) -> tuple[str, str]:
    if rate is None:
        return "–", "–"
    return f"{rate.percent:.1f} %", f"{rate.low:.1f}–{rate.high:.1f} dB"


def _point(c: Curve, quality: float) -> tuple[str, str, str]:
    if quality not in c["quality"]:
        return "–", "–", "–"
    n = int(np.searchsorted(c["quality"], quality))
    return f"{c['bpp'][n]:.4f}", f"{c['psnr'][n]:.3f}", f"{c['msssim_db'][n]:.2f}"


def _levels(layers: list[dict[str, str]]) -> list[str]:
    return sorted({r["layers"] for r in layers}, key=int)


def _layer(layers: list[dict[str, str]], quality: str, level: str) -> str:
    mine = [r for r in layers if r["quality"] == quality and r["layers"] == level]
    bpp, db = (np.mean([float(r[k]) for r in mine]) for k in ("bpp", "psnr_rgb"))
    return f"{bpp:.3f} → {db:.2f} dB"


def results() -> str:
    """The page's text from the rows in docs/results."""
    ours, *others, jpeg, layers = (read_rows(RESULTS / f"{n}.csv") for n in ROWS)
    return page(ours, others, jpeg, layers)


def plot(path: Path) -> None:
    """Rate-distortion curves of the rows in docs/results."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 4), dpi=120, layout="constrained")
    for name, label in (("kodak", "dctcodec"), ("jpeg420", "JPEG 4:2:0, optimised")):
        c = curve(read_rows(RESULTS / f"{name}.csv"))
        axes.plot(c["bpp"], c["psnr"], marker="o", markersize=3, label=label)
    axes.set(xscale="log", xlabel="bits per pixel", ylabel="PSNR, dB", title="Kodak, means of 24")
    axes.grid(alpha=0.3, which="both")
    axes.legend()
    figure.savefig(path)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jpeg", type=Path, metavar="KODAK")
    args = parser.parse_args()
    if args.jpeg:
        measure_jpeg(args.jpeg)
    else:
        PAGE.write_text(results(), encoding="utf-8")
        plot(PAGE.with_suffix(".png"))


if __name__ == "__main__":
    main()
