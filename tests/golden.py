"""Golden files: where they are, and a checksum over every symbol that a file decodes to."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from dctcodec.codec.api import decode_tile
from dctcodec.codec.container import read
from dctcodec.models import weights
from dctcodec.models.integer import IntegerOps, StoredPrior
from dctcodec.models.integer_torch import TorchOps

GOLDEN = Path(__file__).parent / "golden"

MakeOps = Callable[[StoredPrior, int], IntegerOps[Any]]


def golden_files() -> list[Path]:
    return sorted(GOLDEN.glob("*/*.dctc"))


def expected_crc(path: Path) -> int:
    return int(json.loads((path.parent / "symbols.json").read_text())[path.stem])


def symbols_crc(data: bytes, make_ops: MakeOps = TorchOps) -> int:
    """CRC-32 of context, latents and last state of every tile, as little-endian int32."""
    container = read(data, mode="strict")
    header = container.header
    stored = weights.find(header.prior_id)
    assert stored is not None, f"no released model has the prior {header.prior_id.hex()}"
    stored = stored.at(header.quality_index)
    ops = make_ops(stored.prior, header.quality_index)
    crc = 0
    for i in range(header.tiles):
        chunks = [container.payload(layer, i) for layer in range(header.layers + 1)]
        tile = decode_tile(stored, ops, header, i, chunks)
        for a in (tile.context, *tile.latents, tile.state):
            crc = zlib.crc32(np.ascontiguousarray(a, "<i4").tobytes(), crc)
    return crc
