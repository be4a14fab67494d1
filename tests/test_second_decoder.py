"""The decoder that was written from docs/format.md alone reads the golden files."""

from __future__ import annotations

import zlib
from pathlib import Path

import pytest
from golden import expected_crc, golden_files
from second_decoder import compute_prior_id, decode_symbols, load_weights, read_file

WEIGHTS = Path(__file__).parents[1] / "models" / "weights"


def find_weights(prior_id: bytes) -> Path:
    for path in sorted(WEIGHTS.glob("*.safetensors")):
        if load_weights(path)[0].get("prior_id") == prior_id.hex():
            return path
    raise AssertionError(f"no weights with the prior {prior_id.hex()}")


@pytest.mark.parametrize("path", golden_files(), ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_reads_the_golden_files(path: Path) -> None:
    data = path.read_bytes()
    crc = 0
    for tile in decode_symbols(data, find_weights(read_file(data).prior_id)):
        for a in (tile.context, *tile.latents, tile.state):
            crc = zlib.crc32(a.astype("<i4").tobytes(), crc)
    assert crc == expected_crc(path)


@pytest.mark.parametrize("path", golden_files(), ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_prior_id_is_the_hash_of_the_weights(path: Path) -> None:
    prior_id = read_file(path.read_bytes()).prior_id
    assert compute_prior_id(find_weights(prior_id)) == prior_id
