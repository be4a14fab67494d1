"""Seconds and memory of this machine's encoder and decoder. A benchmark, not a test.

    python -m dctcodec.eval.speed PHOTO [--threads 2] [--repeat 7] [--quality 75]
    python -m dctcodec.eval.speed --memory [--megapixels 108]

The first form gives medians for one photo, loading apart, with the share of entropy coding, and
the wall time of whole commands. The second encodes and decodes one large picture by the command
line and gives the peak resident memory of each.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from PIL import Image

from ..codec import entropy
from ..codec.api import decode_picture, encode_picture
from ..codec.pictures import load


class Stopwatch:
    """Adds up the time spent in some methods."""

    def __init__(self, *methods: tuple[type, str]) -> None:
        self.seconds = 0.0
        for cls, name in methods:
            setattr(cls, name, self._timed(getattr(cls, name)))

    def _timed(self, method: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(method)
        def timed(*args: Any, **settings: Any) -> Any:
            began = time.perf_counter()
            try:
                return method(*args, **settings)
            finally:
                self.seconds += time.perf_counter() - began

        return timed

    def lap(self) -> float:
        seconds, self.seconds = self.seconds, 0.0
        return seconds


def codec_seconds(photo: Path, quality: float, repeat: int) -> dict[str, float]:
    """Medians of encode and decode and of the entropy coding in them, seconds."""
    writing = Stopwatch((entropy.StreamEncoder, "put"), (entropy.StreamEncoder, "finish"))
    reading = Stopwatch((entropy.StreamDecoder, "get"))
    picture = load(photo)
    data = encode_picture(picture, quality).data
    decode_picture(data)
    rows: dict[str, list[float]] = {k: [] for k in ("encode", "put", "decode", "get")}
    for _ in range(repeat):
        writing.lap()
        began = time.perf_counter()
        encode_picture(picture, quality)
        rows["encode"].append(time.perf_counter() - began)
        rows["put"].append(writing.lap())
        reading.lap()
        began = time.perf_counter()
        decode_picture(data)
        rows["decode"].append(time.perf_counter() - began)
        rows["get"].append(reading.lap())
    return {k: median(v) for k, v in rows.items()}


def command_seconds(photo: Path, repeat: int) -> dict[str, float]:
    """Medians of whole commands in fresh processes, seconds."""
    with tempfile.TemporaryDirectory() as folder:
        file = str(Path(folder) / "x.dctc")
        run("encode", str(photo), "-o", file)
        commands = {
            "--help": ["--help"],
            "info": ["info", file],
            "preview": ["preview", file, "-o", f"{folder}/t.png", "--force"],
            "decode": ["decode", file, "-o", f"{folder}/y.png", "--force"],
            "encode": ["encode", str(photo), "-o", f"{folder}/z.dctc", "--force"],
        }
        out = {}
        for name, words in commands.items():
            seconds = []
            for _ in range(repeat):
                began = time.perf_counter()
                run(*words)
                seconds.append(time.perf_counter() - began)
            out[name] = median(seconds)
        return out


def run(*words: str) -> None:
    subprocess.run([sys.executable, "-m", "dctcodec", *words], check=True, capture_output=True)


def peak_memory(*words: str) -> tuple[float, float]:
    """(seconds, peak resident GB) of one command; only of the largest child so far."""
    began = time.perf_counter()
    run(*words)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return time.perf_counter() - began, peak * 1024 / 1e9


def large_picture(megapixels: float) -> Image.Image:
    """A 4:3 picture with smooth parts, edges and grain (seed 0)."""
    height = round((megapixels * 1e6 * 3 / 4) ** 0.5)
    width = round(height * 4 / 3)
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (height // 64, width // 64, 3), dtype=np.uint8)
    image = Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)
    grain = Image.fromarray(rng.integers(0, 24, (512, 512, 3), dtype=np.uint8))
    for y in range(0, height, 1024):
        for x in range(0, width, 512):
            image.paste(grain, (x, y))
    return image


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photo", type=Path, nargs="?")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=7)
    parser.add_argument("--quality", type=float, default=75)
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--megapixels", type=float, default=108)
    args = parser.parse_args()
    if args.memory:
        with tempfile.TemporaryDirectory() as folder:
            source, file = f"{folder}/big.png", f"{folder}/big.dctc"
            image = large_picture(args.megapixels)
            print(f"{image.width}x{image.height}")
            image.save(source, compress_level=1)
            del image
            # encode first: RUSAGE_CHILDREN keeps the maximum over all children
            for words in (
                ["encode", source, "-o", file],
                ["decode", file, "-o", f"{folder}/y.png"],
            ):
                seconds, gigabytes = peak_memory(*words)
                print(f"{words[0]}: {seconds:.1f} s, peak so far {gigabytes:.2f} GB")
        return
    import torch

    torch.set_num_threads(args.threads)
    s = codec_seconds(args.photo, args.quality, args.repeat)
    print(f"encode {s['encode']:.3f} s, of it entropy coding {s['put'] / s['encode']:.0%}")
    print(f"decode {s['decode']:.3f} s, of it entropy coding {s['get'] / s['decode']:.0%}")
    for name, seconds in command_seconds(args.photo, args.repeat).items():
        print(f"dctcodec {name}: {seconds:.2f} s")


if __name__ == "__main__":
    main()
