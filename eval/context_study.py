"""Priors over the context, side by side in real bytes; and pictures from contexts alone.

    python -m dctcodec.eval.context_study KODAK PRIORS -o docs/results [--settings q24 q58]

PRIORS is what `context_priors` trained. Writes context.csv (one row per picture and prior),
context_pictures.csv and context_layers.csv (the presets' pictures); rows that are there already are
kept, so that a run can be continued; delete those of q24 and q58 after a change of the default
weights. `context_page` makes the document. Milliseconds are of one thread, in CPU time.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ..codec import preset_layers, presets
from ..codec.api import encode_picture
from ..codec.container import read, write
from ..codec.gaussian_prior import GaussianPrior
from ..codec.masked_prior import MaskedPrior
from ..codec.pictures import load
from ..models import weights
from ..models.context_priors.interface import Coded, Context
from ..models.context_priors.quantise import Quantiser
from ..models.context_priors.stored import GaussianModel
from .context_baselines import AdaptiveHistogram
from .context_priors import (
    GAUSSIAN_STEPS,
    MASKED_PAPER,
    QUALITIES,
    coefficients_of,
    fields_for,
)
from .jpeg import decode_jpeg, encode_jpeg
from .metrics import ms_ssim, psnr

Pixels = npt.NDArray[np.uint8]
Row = dict[str, Any]

SETTINGS = ("paper", *QUALITIES)
MASKED_STEPS = (2, 4, 8, 12)
SLOW = ("gaussian T=20", "gaussian T=40")
LONG = "T7-long"
"""A prior that was trained longer than the others, if the folder has one."""

FIELDS = ("setting", "prior", "image", "pixels", "bytes", "cost_bytes", "initial_bytes",
          "bound_bytes", "whole_bytes", "enc_ms", "dec_ms")  # fmt: skip


def quantiser_of(setting: str, priors: Path) -> Quantiser:
    if setting in QUALITIES:
        return Quantiser.of_model(weights.default(), round(4 * QUALITIES[setting]))
    return GaussianModel.load(next(iter(sorted(priors.glob(f"{setting}-T*"))))).quantiser


def priors_of(setting: str, priors: Path) -> Iterator[tuple[str, Callable[[], Any]]]:
    """(name, how it is made) of every prior of a setting."""
    quantiser = quantiser_of(setting, priors)

    def histogram(flat: bool, dpcm: bool) -> AdaptiveHistogram:
        coefficients = coefficients_of([], "dct", priors / "dct.npz")[::6]
        fields = fields_for(quantiser, coefficients)
        return AdaptiveHistogram(fields, quantiser.kept, flat=flat, dpcm=dpcm)

    yield "histogram, begun flat", lambda: histogram(True, False)
    yield "histogram", lambda: histogram(False, False)
    yield "DPCM", lambda: histogram(False, True)
    for t in GAUSSIAN_STEPS:
        path = priors / f"{setting}-T{t}.safetensors"
        if path.exists():
            yield f"gaussian T={t}", partial(_gaussian, path)
    if (path := priors / f"{setting}-{LONG}.safetensors").exists():
        yield "gaussian T=7, longer trained", partial(_gaussian, path)
    for t in MASKED_STEPS:
        if setting in QUALITIES:
            index = round(4 * QUALITIES[setting])
            yield f"masked T={t}", partial(MaskedPrior.of_model, weights.default(), index, t)
        elif (priors / MASKED_PAPER).exists():
            yield f"masked T={t}", partial(_masked, priors / MASKED_PAPER, t)


def _gaussian(path: Path) -> GaussianPrior:
    return GaussianPrior(GaussianModel.load(path))


def _masked(path: Path, steps: int) -> MaskedPrior:
    return MaskedPrior.load(path).with_steps(steps)


def timed(action: Callable[[], Any]) -> tuple[Any, float]:
    """Result and milliseconds of CPU time."""
    began = time.process_time()
    out = action()
    return out, 1000 * (time.process_time() - began)


def measure(prior: Any, c: Context, known: float | None) -> Row:
    """Encode, decode, compare, state what it cost.

    Args:
        known: the bound in bytes, where another schedule of the same network has given it.
    """
    coded, enc = timed(partial(prior.encode, c))
    assert isinstance(coded, Coded)
    decoded, dec = timed(partial(prior.decode, coded.data, *c.shape[1:]))
    if not np.array_equal(decoded, c):
        raise AssertionError(f"{prior.name}: the context came back changed")
    if known is not None:
        bound = known
    elif isinstance(prior, GaussianPrior):
        bound = prior.bound_bits(c) / 8
    else:
        bound = (prior.nll_bits(c).bound if isinstance(prior, MaskedPrior) else coded.cost) / 8
    return {
        "bytes": len(coded.data),
        "cost_bytes": round(coded.cost / 8, 1),
        "initial_bytes": coded.initial // 8,
        "bound_bytes": round(bound, 1),
        "enc_ms": round(enc, 1),
        "dec_ms": round(dec, 1),
    }


def read_rows(path: Path) -> list[Row]:
    if not path.exists():
        return []
    with path.open(newline="") as f:
        return list(csv.DictReader(f))


def append(path: Path, rows: list[Row]) -> None:
    fresh = not path.exists()
    with path.open("a", newline="") as f:
        writer = csv.DictWriter(f, list(rows[0]), lineterminator="\n")
        if fresh:
            writer.writeheader()
        writer.writerows(rows)


def study(pictures: list[Path], priors: Path, out: Path, settings: list[str], most: int) -> None:
    """context.csv. most: pictures for priors that are slow (gaussian, T of 20 and more)."""
    path = out / "context.csv"
    done = {(r["setting"], r["prior"], r["image"]) for r in read_rows(path)}
    for setting in settings:
        quantiser = quantiser_of(setting, priors)
        rest: dict[str, int] = {}
        bounds: dict[str, float] = {}  # of the masked prior, which all its schedules share
        if (
            setting in QUALITIES
        ):  # as in files, the encoder choosing; and what lies around the chunk
            rows = []
            for p in pictures:
                picture = load(p)
                data = encode_picture(picture, QUALITIES[setting]).data
                chunk = next(c for c in read(data).chunks if c.layer == 0)
                rest[p.stem] = len(data) - chunk.length
                if (setting, "in files", p.stem) not in done:
                    rows.append(_file_row(setting, p.stem, picture, data, chunk.length))
            if rows:
                append(path, rows)
        for name, make in priors_of(setting, priors):
            chosen = pictures
            if name in SLOW:
                chosen = pictures[:: max(1, len(pictures) // most)]
            todo = [p for p in chosen if (setting, name, p.stem) not in done]
            if not todo:
                continue
            prior, rows = make(), []
            warm = quantiser.symbols(quantiser.coefficients(load(todo[0]).pixels))
            prior.decode(prior.encode(warm[:, :4, :4]).data, 4, 4)  # tables are made once
            for p in todo:
                pixels = load(p).pixels
                c = quantiser.symbols(quantiser.coefficients(pixels))
                masked = name.startswith("masked")
                row = measure(prior, c, bounds.get(p.stem) if masked else None)
                if masked:
                    bounds[p.stem] = row["bound_bytes"]
                around = rest.get(p.stem, 32)
                size = pixels.shape[0] * pixels.shape[1]
                row = {"setting": setting, "prior": name, "image": p.stem, "pixels": size, **row}
                row["whole_bytes"] = row["bytes"] + around
                rows.append({k: row[k] for k in FIELDS})
            append(path, rows)
            total = 8 * sum(r["bytes"] for r in rows) / sum(r["pixels"] for r in rows)
            print(f"{setting} {name}: {total:.4f} bits per pixel, {len(rows)} pictures", flush=True)


def _file_row(setting: str, image: str, picture: Any, data: bytes, length: int) -> Row:
    row = {
        "setting": setting,
        "prior": "in files",
        "image": image,
        "pixels": picture.width * picture.height,
        "bytes": length,
        "cost_bytes": length,
        "initial_bytes": 0,
        "bound_bytes": length,
        "whole_bytes": len(data),
        "enc_ms": 0,
        "dec_ms": 0,
    }
    return {k: row[k] for k in FIELDS}


def context_alone(p: Path, preset: str) -> tuple[Row, Pixels, Pixels, Pixels]:
    """A picture through a real file of a preset, its context alone, inversely transformed; and the
    JPEG of the lowest quality that is as near to it (by PSNR); original, ours, JPEG."""
    picture = load(p)
    original = picture.pixels
    data = presets.encode(picture, preset, 0)
    ours = presets.context_picture(read(data), preset, "torch").pixels
    reached = psnr(original, ours)
    quality = 1
    while psnr(original, decode_jpeg(encode_jpeg(original, quality))) < reached and quality < 100:
        quality += 1
    jpeg = encode_jpeg(original, quality)
    theirs = decode_jpeg(jpeg)
    area = original.shape[0] * original.shape[1]
    row = {
        "image": p.stem,
        "preset": preset,
        "bytes": len(data),
        "bpp": round(8 * len(data) / area, 4),
        "psnr_rgb": round(reached, 2),
        "msssim_rgb": round(ms_ssim(original, ours) or 0, 4),
        "jpeg_quality": quality,
        "jpeg_bpp": round(8 * len(jpeg) / area, 4),
        "jpeg_psnr_rgb": round(psnr(original, theirs), 2),
        "jpeg_msssim_rgb": round(ms_ssim(original, theirs) or 0, 4),
    }
    return row, original, ours, theirs


TEMPERATURES = (0.0, 0.1, 1.0)
"""Of the layers that are left out: 0 is their prior's mean, 0.1 the paper's."""


def with_layers(p: Path, preset: str) -> list[tuple[Row, Pixels]]:
    """A picture through real files with 0, 1, … layers; those without any at each temperature."""
    below = presets.layers_model(preset)
    if below is None:
        return []
    picture = load(p)
    height, width = picture.pixels.shape[:2]
    whole = read(presets.encode(picture, preset))
    q = presets.prior(preset).model.quantiser
    c = q.symbols(q.coefficients(picture.pixels))
    flat = np.ascontiguousarray(c.reshape(len(c), -1).T)
    payloads = [whole.payload(k, 0) for k in range(below.cfg.layers + 1)]
    out = []
    for k in range(len(payloads)):
        data = write(replace(whole.header, layers=k), [[b] for b in payloads[: k + 1]])
        for temperature in TEMPERATURES if k == 0 else (0.0,):
            seed = read(data).header_crc << 32
            x = preset_layers.decode(below, flat, payloads[1 : k + 1], temperature, seed)
            pixels = presets.joined(x, *c.shape[1:])[:height, :width]
            row = {
                "image": p.stem,
                "preset": preset,
                "layers": k,
                "temperature": temperature,
                "bytes": len(data),
                "bpp": round(8 * len(data) / (height * width), 4),
                "psnr_rgb": round(psnr(picture.pixels, pixels), 2),
                "msssim_rgb": round(ms_ssim(picture.pixels, pixels) or 0, 4),
            }
            out.append((row, np.ascontiguousarray(pixels)))
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kodak", type=Path)
    parser.add_argument("priors", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--settings", nargs="+", default=list(SETTINGS))
    parser.add_argument("--most", type=int, default=4, help="pictures for the slow priors")
    parser.add_argument("--count", type=int, default=24)
    args = parser.parse_args()
    torch.set_num_threads(1)
    pictures = sorted(args.kodak.glob("*.png"))[: args.count]
    study(pictures, args.priors, args.output, args.settings, args.most)
    path = args.output / "context_pictures.csv"
    done = {(r["image"], r["preset"]) for r in read_rows(path)}
    for preset in presets.PRESETS:
        for p in pictures:
            if presets.installed(preset) and (p.stem, preset) not in done:
                append(path, [context_alone(p, preset)[0]])
    path = args.output / "context_layers.csv"
    done = {(r["image"], r["preset"]) for r in read_rows(path)}
    for preset in presets.PRESETS:
        for p in pictures:
            if (p.stem, preset) not in done and (rows := with_layers(p, preset)):
                append(path, [row for row, _ in rows])


__all__ = ["FIELDS", "QUALITIES", "context_alone", "read_rows", "with_layers"]


if __name__ == "__main__":
    main()
