"""The entropy coder against a second reader, written from docs/format.md."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from dctcodec.codec.entropy import (
    StreamDecoder,
    StreamEncoder,
    TableModels,
    whole_words,
    without_padding,
)
from dctcodec.models.tables import PHASES, TABLE_SUM, Tables, integer_frequencies, logistic_tables


class PlainReader:
    """The ANS stack of the format page, in plain Python."""

    def __init__(self, data: bytes) -> None:
        self.words = [int.from_bytes(data[i : i + 4], "little") for i in range(0, len(data), 4)]
        self.state = 0
        while self.words and self.state < 2**32:
            self.state = self.state * 2**32 + self.words.pop()

    def read(self, frequencies: npt.NDArray[np.int64]) -> int:
        q, left, value = self.state % 2**24, 0, 0
        f = int(frequencies[0]) * 2**8
        while q >= left + f:
            left, value = left + f, value + 1
            f = int(frequencies[value]) * 2**8
        self.state = self.state // 2**24 * f + q - left
        if self.state < 2**32 and self.words:
            self.state = self.state * 2**32 + self.words.pop()
        return value

    def symbols(self, tables: Tables, numbers: npt.NDArray[np.int32]) -> list[int]:
        out: dict[int, int] = {}
        for n in sorted(set(numbers.tolist())):
            for i in np.flatnonzero(numbers == n).tolist():
                reach = int(tables.reach[n // PHASES])
                out[i] = self.read(tables.table(*divmod(n, PHASES))) - reach
        for i in range(len(numbers)):
            reach = int(tables.reach[numbers[i] // PHASES])
            if out[i] == reach + 1:
                n, v = self.read(np.full(16, 2**12)), 1
                for _ in range(n):
                    v = 2 * v + self.read(np.full(2, 2**15))
                size = reach + 1 + (v - 1) // 2
                out[i] = -size if (v - 1) % 2 else size
        return [out[i] for i in range(len(numbers))]


@pytest.fixture(scope="module")
def tables() -> Tables:
    return logistic_tables(np.geomspace(0.05, 40, 64), skip_below=3)


def test_a_plain_reader_agrees_symbol_by_symbol(tables: Tables) -> None:
    rng = np.random.default_rng(1)
    models = TableModels(tables)
    steps = []
    encoder = StreamEncoder(models)
    for size in (1, 700, 0, 50):
        numbers = rng.integers(3 * PHASES, 64 * PHASES, size).astype(np.int32)
        spread = 3 * np.geomspace(0.05, 40, 64)[numbers // PHASES]
        symbols = np.rint(spread * rng.standard_t(1.5, size)).clip(-4000, 4000).astype(np.int32)
        encoder.put(symbols, numbers)
        steps.append((numbers, symbols))
    data = encoder.finish()
    reader, decoder = PlainReader(data), StreamDecoder(models, data)
    escapes = 0
    for numbers, symbols in steps:
        assert reader.symbols(tables, numbers) == symbols.tolist()
        assert np.array_equal(decoder.get(numbers), symbols)
        escapes += int((np.abs(symbols) > tables.reach[numbers // PHASES]).sum())
    assert escapes > 3
    assert reader.state == 0 and not reader.words and decoder.is_empty()
    assert 8 * len(data) <= encoder.estimate + 56


def test_nothing_coded_is_nothing_written(tables: Tables) -> None:
    encoder = StreamEncoder(TableModels(tables))
    encoder.put(np.zeros(0, np.int32), np.zeros(0, np.int32))
    assert encoder.finish() == b""


def test_zeros_alone_are_nothing_written(tables: Tables) -> None:
    encoder, numbers = StreamEncoder(TableModels(tables)), np.full(900, 500, np.int32)
    encoder.put(np.zeros(900, np.int32), numbers)
    assert encoder.finish() == b""
    decoder = StreamDecoder(TableModels(tables), b"")
    assert decoder.get(numbers).tolist() == [0] * 900 and decoder.is_empty()


def test_zero_bytes_at_the_end_are_left_out(tables: Tables) -> None:
    short = 0
    for seed in range(20):
        rng, encoder = np.random.default_rng(seed), StreamEncoder(TableModels(tables))
        numbers = np.full(300, 600, np.int32)
        symbols = rng.integers(-2, 3, 300).astype(np.int32)
        encoder.put(symbols, numbers)
        whole = encoder.finish()  # as version 1 of the format has it
        data = without_padding(whole)
        short += len(data) % 4 > 0
        assert data[-1] != 0 and whole_words(data) == whole_words(whole) == whole
        for payload in (data, whole):
            decoder = StreamDecoder(TableModels(tables), whole_words(payload))
            assert np.array_equal(decoder.get(numbers), symbols) and decoder.is_empty()
    assert short > 5


def test_literal_bytes_of_a_stream_never_change(tables: Tables) -> None:
    encoder = StreamEncoder(TableModels(tables))
    encoder.put(np.array([0, 1, -1, 2000], np.int32), np.array([168, 500, 500, 1000], np.int32))
    data = encoder.finish()
    assert data.hex() == "0041527198f64505"
    assert StreamDecoder(TableModels(tables), data).get(
        np.array([168, 500, 500, 1000], np.int32)
    ).tolist() == [0, 1, -1, 2000]


@pytest.mark.parametrize("n", [2, 3, 1000])
def test_integer_frequencies_are_positive_and_sum_to_the_table(n: int) -> None:
    f = integer_frequencies(np.random.default_rng(n).random(n) ** 9)
    assert f.min() >= 1 and f.sum() == TABLE_SUM
