"""Run by test_exact in a process of its own: decode every golden file in many ways; print CRCs."""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
import torch
from golden import golden_files, symbols_crc
from PIL import Image
from torch import Tensor

from dctcodec.codec.api import decode_picture
from dctcodec.models import weights
from dctcodec.models.integer import Floats, StoredPrior
from dctcodec.models.integer_torch import TorchOps
from dctcodec.models.known_answer import QUALITY_INDEX, known_answer


class ChannelsLast(TorchOps):
    """Every tensor that enters is laid out channels last."""

    def tensor(self, x: Floats) -> Tensor:
        t = super().tensor(x)
        return t.contiguous(memory_format=torch.channels_last) if t.ndim == 4 else t


def double(prior: StoredPrior, quality_index: int) -> TorchOps:
    return TorchOps(prior, quality_index, dtype=torch.float64)


def largest_difference(path: Path) -> int:
    """Grey levels between the picture drawn here and the one stored beside the file."""
    with Image.open(path.with_suffix(".png")) as im:
        expected = np.asarray(im).astype(int)
    return int(np.abs(decode_picture(path.read_bytes()).picture.pixels - expected).max())


def main() -> None:
    out: dict[str, int] = {}
    for mkldnn in (True, False):
        with torch.backends.mkldnn.flags(enabled=mkldnn):
            for threads in (1, 2):
                torch.set_num_threads(threads)
                way = f"{'onednn' if mkldnn else 'no onednn'}, {threads} threads"
                for name, make in (("", TorchOps), (", last", ChannelsLast), (", f64", double)):
                    for path in golden_files():
                        out[f"{path}|{way}{name}"] = symbols_crc(path.read_bytes(), make)
                for path in golden_files():
                    out[f"pixels {path}|{way}"] = largest_difference(path)
                stored = weights.default()
                for batch in (1, 16):
                    ops = TorchOps(stored.prior, QUALITY_INDEX)
                    answer = known_answer(ops, stored.cfg, batch=batch)
                    out[f"known answer|{way}, batch {batch}"] = answer
    print(json.dumps(out))


if __name__ == "__main__":
    main()
