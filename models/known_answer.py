"""A known-answer test of the prior path: a tiny fixed input, and the checksum of all it gives."""

from __future__ import annotations

import zlib
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from .config import ModelConfig
from .integer import Floats, IntegerOps
from .topology import predict_context, walk

T = TypeVar("T")

QUALITY_INDEX = 137  # between two knots, so that interpolation is tested too
ROWS, COLUMNS = 2, 3


def scramble(count: int, salt: int) -> npt.NDArray[np.int64]:
    """`count` reproducible integers 0…65535 (Knuth's multiplicative hash)."""
    x = (np.arange(count, dtype=np.uint64) + np.uint64(salt)) * np.uint64(2654435761)
    return np.asarray((x >> np.uint64(13)) & np.uint64(0xFFFF), np.int64)


def known_answer(
    ops: IntegerOps[T], cfg: ModelConfig, rows: int = ROWS, columns: int = COLUMNS, batch: int = 1
) -> int:
    """CRC-32 of every mean, scale index and the last state for made-up symbols.

    Batches repeat one image; their checksums must agree.
    """
    shape = (cfg.context_channels, rows, columns)
    n = int(np.prod(shape))
    c = (scramble(n, 1) % 61 - 30).astype(np.float32).reshape(shape)
    c[:: cfg.context_kept**2] *= 40
    known = (scramble(n, 2) % 2).astype(np.float32).reshape(shape)
    checks: list[int] = [0] * batch

    def note(x: T) -> None:
        a = ops.array(x).astype("<i4")
        for b in range(batch):
            checks[b] = zlib.crc32(np.ascontiguousarray(a[b]).tobytes(), checks[b])

    def tensor(a: Floats) -> T:
        return ops.tensor(np.repeat(a[None], batch, 0))

    for out in predict_context(ops, tensor(c), tensor(known)):
        note(out)
    values: dict[int, Floats] = {}

    def code(part: int, half: int, mean: T, index: T) -> T:
        note(mean)
        note(index)
        a = ops.array(mean)
        if half == 0:
            values[part] = np.zeros(a.shape[1:], np.float32)
        k = scramble(a[0].size, 3 + 2 * part + half).reshape(a.shape[1:]) % 7 - 3
        i, j = np.indices(a.shape[2:])
        here = (i + j) % 2 == half
        values[part][:, here] = np.clip(a[0] + 16 * k, -32767, 32767)[:, here]
        return tensor(values[part])

    note(walk(ops, cfg, tensor(c), code))
    if len(set(checks)) != 1:
        return -1
    return checks[0]
