"""The tables and figures of docs/context-prior.md, from measured rows.

    python -m dctcodec.eval.context_page                            refreshes the tables in the page
    python -m dctcodec.eval.context_page --figures KODAK PRIORS     draws the two figures too

Tables stand between `<!-- table NAME -->` and `<!-- end -->`; all other text is written by hand.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .context_study import QUALITIES, context_alone, read_rows, with_layers

RESULTS = Path("docs/results")
PAGE = Path("docs/context-prior.md")
GRID_PICTURES = ("kodim04", "kodim09", "kodim20")
PAPER_TEMPERATURE = 0.1
Rows = list[dict[str, Any]]


def _total(rows: Rows, key: str) -> float:
    return sum(float(r[key]) for r in rows)


def _bpp(rows: Rows, key: str) -> float:
    return 8 * _total(rows, key) / _total(rows, "pixels")


def prior_table(rows: Rows, setting: str) -> str:
    """One row per prior, over the pictures it was measured on."""
    mine = [r for r in rows if r["setting"] == setting]
    reference = {r["image"]: r for r in mine if r["prior"] == "histogram"}
    lines = [
        "| prior | context, bpp | its cost, bpp | borrowed, bytes | −ELBO or bound, bpp "
        "| whole file, bpp | against the histogram | encode, ms | decode, ms | pictures |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name in dict.fromkeys(r["prior"] for r in mine):
        own = [r for r in mine if r["prior"] == name]
        base = [reference[r["image"]] for r in own]
        change = 100 * (_total(own, "bytes") / _total(base, "bytes") - 1)
        measured = name != "in files"
        times = [f"{np.median([float(r[k]) for r in own]):.0f}" for k in ("enc_ms", "dec_ms")]
        coded = name.startswith(("gaussian", "masked"))
        cells = [
            name,
            f"{_bpp(own, 'bytes'):.4f}",
            f"{_bpp(own, 'cost_bytes'):.4f}" if measured else "",
            f"{_total(own, 'initial_bytes') / len(own):.0f}" if measured else "",
            f"{_bpp(own, 'bound_bytes'):.4f}" if coded else "",
            f"{_bpp(own, 'whole_bytes'):.4f}",
            "" if name == "histogram" else f"{change:+.1f} %",
            *(times if measured else ["", ""]),
            str(len(own)),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def target_table(rows: Rows) -> str:
    """The default prior against both histograms."""
    lines = ["| quality | against the histogram begun from photos | begun flat |", "|---|---|---|"]
    for setting, quality in QUALITIES.items():
        mine = [r for r in rows if r["setting"] == setting]
        by = {
            name: _total([r for r in mine if r["prior"] == name], "bytes")
            for name in ("histogram", "histogram, begun flat", "masked T=12")
        }
        saved = [
            100 * (1 - by["masked T=12"] / by[n]) for n in ("histogram", "histogram, begun flat")
        ]
        lines.append(f"| {quality:g} | {saved[0]:.1f} % saved | {saved[1]:.1f} % saved |")
    return "\n".join(lines)


def picture_table(rows: Rows, preset: str) -> str:
    lines = [
        "| picture | bpp | PSNR, dB | MS-SSIM | JPEG bpp | its PSNR, dB | its MS-SSIM |",
        "|---|---|---|---|---|---|---|",
    ]
    keys = ("bpp", "psnr_rgb", "msssim_rgb", "jpeg_bpp", "jpeg_psnr_rgb", "jpeg_msssim_rgb")
    digits = (3, 2, 3, 3, 2, 3)
    mine = [r for r in rows if r["preset"] == preset]

    def line(name: str, values: list[float]) -> str:
        cells = [f"{v:.{d}f}" for v, d in zip(values, digits, strict=True)]
        return f"| {name} | " + " | ".join(cells) + " |"

    for r in mine:
        lines.append(line(r["image"], [float(r[k]) for k in keys]))
    lines.append(line("mean", [float(np.mean([float(r[k]) for r in mine])) for k in keys]))
    return "\n".join(lines)


def layers_table(rows: Rows, alone: Rows) -> str:
    """Means over pictures: contexts alone in several ways, then with layers."""
    lines = ["| preset | decoded | bpp | PSNR, dB | MS-SSIM |", "|---|---|---|---|---|"]

    def line(preset: str, what: str, mine: Rows) -> str:
        cells = [
            f"{float(np.mean([float(r[k]) for r in mine])):.{d}f}"
            for k, d in (("bpp", 3), ("psnr_rgb", 2), ("msssim_rgb", 3))
        ]
        return f"| {preset} | {what} | " + " | ".join(cells) + " |"

    for preset in dict.fromkeys(r["preset"] for r in rows):
        mine = [r for r in rows if r["preset"] == preset]
        names = {r["image"] for r in mine}
        plain = [r for r in alone if r["preset"] == preset and r["image"] in names]
        lines.append(line(preset, "context alone, inverse transform", plain))
        for key in dict.fromkeys((r["layers"], r["temperature"]) for r in mine):
            group = [r for r in mine if (r["layers"], r["temperature"]) == key]
            layers, temperature = int(key[0]), float(key[1])
            if layers:
                what = f"context and {layers} layer{'s' if layers > 1 else ''}"
            elif temperature:
                what = f"context, layers drawn at temperature {temperature:g}"
            else:
                what = "context, layers at their prior's mean (temperature 0)"
            lines.append(line(preset, what, group))
    return "\n".join(lines)


def size_table(rows: Rows) -> str:
    """Context bits at two qualities, and BD-rate of the whole codec against K = 4, DCT."""
    if not rows:
        return "Not measured yet."
    from .metrics import bd_rate

    def curve(mine: Rows) -> tuple[list[float], list[float]]:
        by: dict[str, Rows] = {}
        for r in mine:
            by.setdefault(r["quality"], []).append(r)
        points = [
            [float(np.mean([float(r[k]) for r in group])) for k in ("bpp", "psnr_rgb")]
            for group in by.values()
        ]
        return [p[0] for p in points], [p[1] for p in points]

    seen = {r["image"] for r in rows}
    jpeg = curve([r for r in read_rows(RESULTS / "jpeg420.csv") if r["image"] in seen])
    anchor = curve([r for r in rows if (r["kept"], r["kind"]) == ("4", "dct")])
    lines = [
        "| K | context | its bits at quality 24, bpp | at 58, bpp "
        "| BD-rate against K = 4, DCT | against JPEG |",
        "|---|---|---|---|---|---|",
    ]
    for kept, kind in sorted({(r["kept"], r["kind"]) for r in rows}):
        mine = [r for r in rows if (r["kept"], r["kind"]) == (kept, kind)]
        bits = [
            float(np.mean([float(r["context_bpp"]) for r in mine if r["quality"] == q]))
            for q in ("24", "58")
        ]
        changes = [bd_rate(a, curve(mine)) for a in (anchor, jpeg)]
        text = [f"{c.percent:+.1f} %" if c else "" for c in changes]
        name = "mean" if kept == "1" else "DCT" if kind == "dct" else "downsampling"
        lines.append(f"| {kept} | {name} | {bits[0]:.4f} | {bits[1]:.4f} | {text[0]} | {text[1]} |")
    return "\n".join(lines)


def page(text: str) -> str:
    """The page with fresh tables."""
    rows, pictures = (read_rows(RESULTS / f"context{n}.csv") for n in ("", "_pictures"))
    tables: dict[str, Callable[[], str]] = {
        "paper": lambda: prior_table(rows, "paper"),
        **{s: (lambda s=s: prior_table(rows, s)) for s in QUALITIES},  # type: ignore[misc]
        "size": lambda: size_table(read_rows(RESULTS / "context_size.csv")),
        "target": lambda: target_table(rows),
        "layers": lambda: layers_table(read_rows(RESULTS / "context_layers.csv"), pictures),
        "pictures paper": lambda: picture_table(pictures, "paper"),
        "pictures paper-down": lambda: picture_table(pictures, "paper-down"),
    }

    def fresh(m: re.Match[str]) -> str:
        return f"<!-- table {m[1]} -->\n{tables[m[1]]()}\n<!-- end -->"

    return re.sub(r"<!-- table ([^>]+?) -->\n.*?<!-- end -->", fresh, text, flags=re.S)


def draw_grid(kodak: Path, out: Path) -> None:
    """Original, context alone, layers drawn below it, JPEG of the same PSNR, for three pictures."""
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default(13)
    w, h, title = 384, 256, 24
    sheet = Image.new("RGB", (4 * w + 24, len(GRID_PICTURES) * (h + title)), "white")
    draw = ImageDraw.Draw(sheet)
    for k, name in enumerate(GRID_PICTURES):
        row, original, ours, theirs = context_alone(kodak / f"{name}.png", "paper")
        below = with_layers(kodak / f"{name}.png", "paper")
        drawn, sampled = next(b for b in below if float(b[0]["temperature"]) == PAPER_TEMPERATURE)
        texts = (
            name,
            f"context alone: {row['bpp']:.2f} bpp, {row['psnr_rgb']:.1f} dB, "
            f"MS-SSIM {row['msssim_rgb']:.2f}",
            f"layers drawn at 0.1: {drawn['psnr_rgb']:.1f} dB, MS-SSIM {drawn['msssim_rgb']:.2f}",
            f"JPEG: {row['jpeg_bpp']:.2f} bpp, {row['jpeg_psnr_rgb']:.1f} dB, "
            f"MS-SSIM {row['jpeg_msssim_rgb']:.2f}",
        )
        pictures = (original, ours, sampled, theirs)
        for j, (pixels, text) in enumerate(zip(pictures, texts, strict=True)):
            if pixels.shape[0] > pixels.shape[1]:
                pixels = np.ascontiguousarray(pixels.transpose(1, 0, 2))
            left, top = j * (w + 8), k * (h + title)
            sheet.paste(Image.fromarray(pixels).resize((w, h)), (left, top + title))
            draw.text((left + 4, top + 4), text, fill="black", font=font)
    sheet.save(out, quality=88)


def stack_heights(kodak: Path, priors: Path, patches: int) -> list[tuple[str, float]]:
    """Bits on the stack after each push and pop of the first patches of a picture."""
    from ..codec.bitsback import Stack, borrowed_words
    from ..codec.gaussian_prior import GaussianPrior
    from ..codec.pictures import load
    from ..models.context_priors.stored import GaussianModel

    prior = GaussianPrior(GaussianModel.load(priors / "paper-T4.safetensors"))
    q = prior.model.quantiser
    c = q.symbols(q.coefficients(load(kodak / f"{GRID_PICTURES[0]}.png").pixels))
    heights: list[tuple[str, float]] = [("start", 0.0)]

    class Traced(Stack):
        def push(self, *args: Any, **kwargs: Any) -> None:
            super().push(*args, **kwargs)
            heights.append(("push", self.cost))

        def pop(self, *args: Any, **kwargs: Any) -> npt.NDArray[np.int64]:
            out = super().pop(*args, **kwargs)
            heights.append(("pop", self.cost))
            return out

    stack = Traced(prior.coder.models, borrowed_words(4096), prior.model.cfg.limit)
    for k in range(patches):
        prior.coder._encode_link(stack, prior.patches(c)[k : k + 1].astype(np.int64))
        heights.append(("patch", stack.cost))
    return heights


def draw_stack(kodak: Path, priors: Path, out: Path) -> None:
    """How the stack falls and rises while the first patches of a picture are coded."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    heights = stack_heights(kodak, priors, 3)
    figure, axis = plt.subplots(figsize=(9, 4.2))
    colours = {"pop": "#c44e52", "push": "#4c72b0"}
    x, last, t = 0, 0.0, 0
    low = min(h for _, h in heights)
    for kind, h in heights[1:]:
        if kind == "patch":
            axis.axvline(x - 0.5, color="0.8", lw=0.8)
            above = (0, 24 if x < 10 else 2)  # of the first patch's last label
            axis.annotate(
                f"{h:.0f} bits", (x - 0.6, h), above, textcoords="offset points",
                ha="right", va="bottom", fontsize=8,
            )  # fmt: skip
            t = 0
            continue
        axis.bar(x, h - last, bottom=last, color=colours[kind], width=0.85)
        if x < 9:
            if kind == "pop":
                t += 1
                label = f"pop\n$y_{t}$"
            else:
                label = f"push\n$y_{t - 1 if x < 8 else t}$"
            axis.text(x, max(h, last) + 12, label, ha="center", fontsize=8)
        x, last = x + 1, h
    axis.axhline(0, color="black", lw=0.8)
    axis.axhline(low, color="0.5", lw=0.8, ls="--")
    axis.text(x - 0.5, low + 8, f"borrowed: {-low:.0f} bits, once", ha="right", fontsize=9)
    axis.set_ylim(low - 60, 1.35 * max(h for _, h in heights))
    axis.set_xticks([])
    axis.set_ylabel("bits on the stack")
    axis.set_title("Three patches, T = 4: pops (red) borrow, pushes (blue) pay back", fontsize=10)
    figure.tight_layout()
    figure.savefig(out, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--figures", type=Path, nargs=2, metavar=("KODAK", "PRIORS"))
    args = parser.parse_args()
    if args.figures:
        draw_grid(args.figures[0], PAGE.parent / "context-only.jpg")
        draw_stack(args.figures[0], args.figures[1], PAGE.parent / "bits-back.png")
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
