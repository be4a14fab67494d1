"""The same symbols on every machine: golden files under every library, layout and thread count."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from golden import expected_crc, golden_files, symbols_crc
from PIL import Image

from dctcodec.codec.api import decode_picture
from dctcodec.codec.container import read, write
from dctcodec.codec.entropy import whole_words
from dctcodec.models import weights
from dctcodec.models.integer import NumpyOps
from dctcodec.models.known_answer import QUALITY_INDEX, known_answer

PROBE = Path(__file__).parent / "exact_probe.py"


def test_there_are_golden_files_of_every_released_model() -> None:
    ids = {p.parent.name.rsplit("-", 1)[1] for p in golden_files()}
    assert {prior_id.hex() for _, prior_id, _ in weights.released()} <= ids


@pytest.mark.parametrize("isa", ["SSE41", "AVX2", "DEFAULT"])
def test_no_symbol_differs_under_any_instruction_set_thread_count_or_layout(isa: str) -> None:
    env = {**os.environ, "ONEDNN_MAX_CPU_ISA": isa}
    out = subprocess.run(
        [sys.executable, str(PROBE)], env=env, capture_output=True, text=True, check=True
    )
    found = json.loads(out.stdout)
    files = golden_files()
    # threads × oneDNN × (layouts, pixels); batches 1 and 16
    assert len(found) == len(files) * 4 * (3 + 1) + 8
    for path in files:
        ways = {k.split("|")[1]: v for k, v in found.items() if k.startswith(str(path))}
        assert ways == dict.fromkeys(ways, expected_crc(path)), path.name
    assert max(v for k, v in found.items() if k.startswith("pixels")) <= 1
    answers = {v for k, v in found.items() if k.startswith("known")}
    assert answers == {weights.default().known_answer}


@pytest.mark.parametrize("path", golden_files(), ids=lambda p: p.stem)
def test_the_numpy_executor_reads_the_same_symbols(path: Path) -> None:
    assert symbols_crc(path.read_bytes(), NumpyOps) == expected_crc(path)


@pytest.mark.parametrize("path", golden_files(), ids=lambda p: p.stem)
def test_a_golden_file_decodes_to_its_picture_within_one_grey_level(path: Path) -> None:
    decoded = decode_picture(path.read_bytes(), mode="strict").picture.pixels
    with Image.open(path.with_suffix(".png")) as im:
        expected = np.asarray(im)
    assert decoded.shape == expected.shape
    assert np.abs(decoded.astype(int) - expected).max() <= 1


@pytest.mark.parametrize("path", golden_files(), ids=lambda p: p.stem)
def test_the_same_file_in_version_1_of_the_format_holds_the_same_symbols(path: Path) -> None:
    file = read(path.read_bytes(), mode="strict")
    layers = range(file.header.layers + 1)
    # Streams of whole words: version 1 left no zero bytes out at their ends.
    chunks = [
        [whole_words(file.payload(layer, t)) for t in range(file.header.tiles)] for layer in layers
    ]
    old = write(replace(file.header, version=1), chunks)
    assert len(old) > len(path.read_bytes()) and old[4] == 1
    assert symbols_crc(old) == expected_crc(path)


@pytest.mark.parametrize("batch", [1, 3])
def test_the_numpy_executor_gives_the_known_answer(batch: int) -> None:
    stored = weights.default()
    ops = NumpyOps(stored.prior, QUALITY_INDEX)
    assert known_answer(ops, stored.cfg, batch=batch) == stored.known_answer
