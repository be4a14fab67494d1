"""Entropy coding of symbols with integer tables, on the ANS stack of `constriction`.

One stream holds the symbols of one layer of one tile. Within a step of coding, symbols are grouped
by table (ascending), raster order within a table; escapes follow the step, in raster order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from time import perf_counter
from typing import Any

import constriction
import numpy as np
import numpy.typing as npt

from ..models.tables import LATENT_PHASE, PHASES, TABLE_SUM, Tables, escape_bits
from .errors import BitstreamError

Ints = npt.NDArray[np.int32]

AnsModel = Any  # constriction ships no types
Tally = Callable[[Ints, Ints], None]
"""Told the symbols and table numbers of every step, for statistics."""

_PRECISION = 24  # bits of constriction's probabilities
WORD = 4  # bytes


def without_padding(stream: bytes) -> bytes:
    """A stream as a file's chunk holds it: without the zero bytes at the end of its last word."""
    return stream.rstrip(b"\0")


def whole_words(chunk: bytes) -> bytes:
    """The stream of a chunk, also of one that was never shortened."""
    return chunk + bytes(-len(chunk) % WORD)


def ans_model(frequencies: npt.NDArray[np.int64]) -> AnsModel:
    """A constriction model with exactly these frequencies (sum 2^16, scaled to 2^24).

    `perfect=False` gives symbol i the range that starts at floor(Σ_{j<i} p_j · s) + i, where s
    scales Σp to 2^24 − n. With p = frequency − 1 in 24-bit units, s is one and the start is the
    plain sum; all numbers are integers below 2^24, so float32 holds them exactly.
    """
    p = frequencies * (2**_PRECISION // TABLE_SUM) - 1
    return constriction.stream.model.Categorical(p.astype(np.float32), perfect=False, lazy=False)


class TableModels:
    """The tables of a model as constriction models, made when first used."""

    def __init__(self, tables: Tables) -> None:
        self.tables = tables
        self.reach = tables.reach.astype(np.int32)
        self._models: dict[int, AnsModel] = {}
        self._bits: dict[int, npt.NDArray[np.float64]] = {}
        self.length = ans_model(np.full(16, TABLE_SUM // 16))
        self.bit = ans_model(np.full(2, TABLE_SUM // 2))

    def model(self, table: int) -> AnsModel:
        """Model of table number scale index · PHASES + phase."""
        m = self._models.get(table)
        if m is None:
            m = self._models[table] = ans_model(self.tables.table(*divmod(table, PHASES)))
        return m

    def bits(self, table: int) -> npt.NDArray[np.float64]:
        b = self._bits.get(table)
        if b is None:
            b = self._bits[table] = 16 - np.log2(self.tables.table(*divmod(table, PHASES)))
        return b


def groups(tables: Ints) -> Iterator[tuple[int, npt.NDArray[np.int64]]]:
    """(table, positions) in ascending order of table; positions in raster order."""
    if not len(tables):
        return
    order = np.argsort(tables.astype(np.uint16), kind="stable")
    ordered = tables[order]
    starts = np.flatnonzero(np.diff(ordered, prepend=-1))
    for a, b in zip(starts, np.append(starts[1:], len(ordered)), strict=True):
        yield int(ordered[a]), order[a:b]


def table_numbers(scale_index: Ints, phase: Ints | int = LATENT_PHASE) -> Ints:
    return np.asarray(scale_index * PHASES + phase, np.int32)


class StreamEncoder:
    """Collects symbols in the order in which they will be decoded; writes them last to first."""

    def __init__(self, models: TableModels, tally: Tally | None = None) -> None:
        self.models, self.tally = models, tally
        self.ops: list[tuple[AnsModel, Ints]] = []
        self.estimate = 0.0  # ideal bits under the tables
        self.seconds = 0.0  # spent in here
        self.nonzero = False  # whether there is anything to send

    def put(self, symbols: Ints, tables: Ints) -> None:
        """One step. symbols: (n,), distances from the rounded mean; tables: (n,) table numbers."""
        if self.tally:
            self.tally(symbols, tables)
        began = perf_counter()
        self.nonzero |= bool(np.any(symbols))
        reach = self.models.reach[tables // PHASES]
        outside = np.abs(symbols) > reach
        coded = np.where(outside, 2 * reach + 1, symbols + reach)
        for table, where in groups(tables):
            chosen = coded[where]
            self.ops.append((self.models.model(table), chosen))
            self.estimate += float(self.models.bits(table)[chosen].sum())
        for i in np.flatnonzero(outside):
            rest = int(abs(symbols[i]) - reach[i] - 1)
            value = 2 * rest + (symbols[i] < 0) + 1
            length = int(value).bit_length() - 1
            digits = [(int(value) >> b) & 1 for b in range(length - 1, -1, -1)]
            self.ops.append((self.models.length, np.array([length], np.int32)))
            if digits:
                self.ops.append((self.models.bit, np.array(digits, np.int32)))
            self.estimate += float(escape_bits(np.array(value - 1)))
        self.seconds += perf_counter() - began

    def finish(self) -> bytes:
        """The stream: 32-bit words, little-endian; empty if nothing but zeros was put."""
        if not self.nonzero:
            return b""
        began = perf_counter()
        coder = constriction.stream.stack.AnsCoder()
        for model, symbols in reversed(self.ops):
            coder.encode_reverse(symbols, model)
        data = coder.get_compressed().astype("<u4").tobytes()
        self.seconds += perf_counter() - began
        return bytes(data)


class StreamDecoder:
    """Reads what `StreamEncoder` wrote; symbols of an empty stream are 0."""

    def __init__(self, models: TableModels, data: bytes, tally: Tally | None = None) -> None:
        if len(data) % WORD:
            raise BitstreamError(f"a stream of {len(data)} bytes is no whole number of words")
        self.models, self.tally = models, tally
        words = np.frombuffer(data, "<u4").astype(np.uint32)
        if len(words) and words[-1] == 0:
            raise BitstreamError("a stream ends in an empty word")
        self.nothing = not len(words)
        self.coder = constriction.stream.stack.AnsCoder(words)

    def is_empty(self) -> bool:
        """True once all that the encoder put has been read."""
        return bool(self.coder.is_empty())

    def get(self, tables: Ints) -> Ints:
        """One step: symbols (n,) for table numbers (n,)."""
        out = np.zeros(len(tables), np.int32)
        if self.nothing:
            if self.tally:
                self.tally(out, tables)
            return out
        for table, where in groups(tables):
            out[where] = self.coder.decode(self.models.model(table), len(where))
        reach = self.models.reach[tables // PHASES]
        out -= reach
        for i in np.flatnonzero(out == reach + 1):
            length = int(self.coder.decode(self.models.length))
            value = 1
            if length:
                for digit in self.coder.decode(self.models.bit, length):
                    value = 2 * value + int(digit)
            rest, negative = divmod(value - 1, 2)
            magnitude = int(reach[i]) + 1 + rest
            out[i] = -magnitude if negative else magnitude
        if self.tally:
            self.tally(out, tables)
        return out
