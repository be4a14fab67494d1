"""A second decoder of symbols, written from docs/format.md alone: it checks that the page suffices.

It shares no code with dctcodec. Section names in the comments are those of the page.
"""

from __future__ import annotations

import json
import re
import struct
import zlib
from binascii import crc_hqx
from bisect import bisect_right
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from safetensors import safe_open

Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
PRIOR = ("context.", "state.", "part", "tables.")
SET = re.compile(r"from([0-9]+)\.")
RANGES = {"relu": (0, 255), "signed": (-127, 127), "head": (-2047, 2047)}


class Tile(NamedTuple):
    context: Ints
    latents: list[Ints]
    state: Ints


def check(good: bool, what: str) -> None:
    if not good:
        raise ValueError(what)


# Layout, Header fields, Chunks


class File(NamedTuple):
    prior_id: bytes
    quality_index: int
    tile_sizes: list[tuple[int, int]]  # height, width of each tile
    chunks: list[list[bytes]]  # of each tile: context, layer 1, …


def crc_bytes(data: bytes) -> bytes:
    return struct.pack("<I", zlib.crc32(data))


def chunk_crc(payload: bytes, version: int, symbols: bool) -> bytes:
    if not payload:
        return b""
    if version == 2 and symbols and len(payload) < 4096:
        return struct.pack("<H", crc_hqx(payload, 0xFFFF))
    return crc_bytes(payload)


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for i in range(5):
        check(at + i < len(data), "the file ends inside its header")
        value |= (data[at + i] & 127) << (7 * i)
        if data[at + i] < 128:
            check(value < 2**32, "varint above 2^32 - 1")
            return value, at + i + 1
    raise ValueError("varint of more than 5 bytes")


def read_file(data: bytes) -> File:
    check(data[:4] == b"DCTC", "not a dctcodec file")
    check(len(data) >= 22, "the file ends inside its header")
    version, flags = data[4], data[5]
    check(version in (1, 2), f"version {version}")
    check(flags < 16, "reserved bits")
    width, at = read_varint(data, 12)
    height, at = read_varint(data, at)
    check(1 <= width <= 65535 and 1 <= height <= 65535, "size out of range")
    check(width * height <= 200_000_000, "too many pixels")
    check(at + 2 <= len(data), "the file ends inside its header")
    quality_index, layers = data[at] | (data[at + 1] & 1) << 8, data[at + 1] >> 1
    check(quality_index <= 400, "quality index out of range")
    units, at = read_varint(data, at + 2)
    check(1 <= units <= 2048, "tile units out of range")
    ys, xs = range(0, height, 32 * units), range(0, width, 32 * units)
    tiles = len(ys) * len(xs)
    symbol_chunks = tiles * (1 + layers)
    count = symbol_chunks + (flags >> 1).bit_count()
    check(symbol_chunks <= 2**18 and at + count + 4 <= len(data), "too many chunks")
    lengths = []
    for _ in range(count):
        length, at = read_varint(data, at)
        lengths.append(length)
    check(data[at : at + 4] == crc_bytes(data[:at]), "damaged header")
    check(all(lengths[symbol_chunks:]), "empty optional chunk")
    at += 4
    payloads = []
    for index, length in enumerate(lengths):
        payloads.append(data[at : at + length])
        at += length
        crc = chunk_crc(payloads[-1], version, index < symbol_chunks)
        check(data[at : at + len(crc)] == crc, "damaged or missing chunk")
        at += len(crc)
    side = 32 * units
    sizes = [(min(side, height - y), min(side, width - x)) for y in ys for x in xs]
    chunks = [payloads[t:symbol_chunks:tiles] for t in range(tiles)]
    return File(data[6:10], quality_index, sizes, chunks)


# Probability tables and entropy coding


class Stack:
    """The ANS stack of one chunk."""

    def __init__(self, payload: bytes) -> None:
        payload += bytes(-len(payload) % 4)
        self.words = list(struct.unpack(f"<{len(payload) // 4}I", payload))
        check(not self.words or self.words[-1] != 0, "the last word is 0")
        self.empty = not self.words
        self.state = 0
        while self.words and self.state < 2**32:
            self.refill()

    def refill(self) -> None:
        self.state = self.state << 32 | self.words.pop()

    def read(self, starts: list[int]) -> int:
        """The number of a value; `starts` are running sums of frequencies from 0 to 2^16."""
        q = self.state & 0xFFFFFF
        value = bisect_right(starts, q >> 8) - 1
        low, high = starts[value] << 8, starts[value + 1] << 8
        self.state = (self.state >> 24) * (high - low) + q - low
        if self.state < 2**32 and self.words:
            self.refill()
        return value

    def read_escape(self) -> int:
        """The signed amount by which a value lies beyond the reach."""
        v = 1
        for _ in range(self.read(SIXTEENTHS)):
            v = 2 * v + self.read(HALVES)
        v -= 1
        return -(1 + v // 2) if v % 2 else 1 + v // 2

    def finish(self) -> None:
        check(self.state == 0 and not self.words, "the chunk does not end with its last symbol")


SIXTEENTHS = list(range(0, 2**16 + 1, 2**12))
HALVES = [0, 2**15, 2**16]


class Tables:
    def __init__(self, tensors: dict[str, Ints]) -> None:
        self.reach: list[int] = tensors["tables.reach"].tolist()
        self.skip_below = int(tensors["tables.skip_below"][0])
        sizes = np.repeat(2 * tensors["tables.reach"] + 2, 17)
        tables = np.split(tensors["tables.frequencies"], np.cumsum(sizes)[:-1])
        self.starts = [[0, *np.cumsum(table).tolist()] for table in tables]

    def read_step(self, stack: Stack | None, index: Ints, phase: Ints | int, step: Mask) -> Ints:
        """The values at the positions `step`; 0 elsewhere, and everywhere without a chunk."""
        values = np.zeros(index.size, np.int64)
        if stack is None or stack.empty:
            return values.reshape(index.shape)
        tables = (17 * index + phase).ravel()
        places = np.flatnonzero(step & (index >= self.skip_below))
        escapes: list[int] = []
        for place in places[np.argsort(tables[places], kind="stable")].tolist():
            table = int(tables[place])
            reach = self.reach[table // 17]
            values[place] = stack.read(self.starts[table]) - reach
            if values[place] > reach:
                escapes.append(place)
        for place in sorted(escapes):
            beyond = stack.read_escape()
            reach = self.reach[tables[place] // 17]
            values[place] = beyond + (reach if beyond > 0 else -reach)
        return values.reshape(index.shape)


# The integer prior path


def load_weights(path: Path) -> tuple[dict[str, str], dict[str, npt.NDArray[Any]]]:
    with safe_open(path, "np") as f:
        metadata: dict[str, str] = f.metadata()
        return metadata, {name: f.get_tensor(name) for name in f.keys()}  # noqa: SIM118


def compute_prior_id(path: Path) -> bytes:
    metadata, tensors = load_weights(path)
    digest = sha256(json.dumps(json.loads(metadata["config"]), sort_keys=True).encode())
    for name in sorted(tensors):
        if SET.sub("", name).startswith(PRIOR):
            a = tensors[name]
            digest.update(f"{name} {a.dtype.str} {a.shape}\n".encode())
            digest.update(a.astype(a.dtype.newbyteorder("<")).tobytes())
    return digest.digest()[:4]


def first_index(name: str) -> int:
    """Where the set of a tensor begins."""
    prefix = SET.match(name)
    return int(prefix[1]) if prefix else 0


def set_at(tensors: dict[str, npt.NDArray[Any]], q: int) -> dict[str, npt.NDArray[Any]]:
    """The set of a quality index, names without the prefix."""
    first = max(i for i in map(first_index, tensors) if i <= q)
    return {SET.sub("", k): v for k, v in tensors.items() if first_index(k) == first}


def clamp(a: Ints, most: int) -> Ints:
    return np.clip(a, -most, most)


def shuffle(a: Ints) -> Ints:
    c, h, w = a.shape[0] // 4, *a.shape[1:]
    return a.reshape(c, 2, 2, h, w).transpose(0, 3, 1, 4, 2).reshape(c, 2 * h, 2 * w)


def planes(z: Ints) -> Ints:
    return np.concatenate([clamp(2 * z, 127), clamp((z + 4) // 8, 127)])


class Prior:
    """The network at one quality index."""

    def __init__(self, tensors: dict[str, npt.NDArray[Any]], config: Any, q: int) -> None:
        self.tensors: dict[str, Ints] = {
            name: a.astype(np.int64) for name, a in tensors.items() if name.startswith(PRIOR)
        }
        self.config, self.q, self.tables = config, q, Tables(self.tensors)

    def interpolate(self, name: str) -> Ints:
        knots = self.tensors[name]
        k, f = divmod(self.q, 50)
        value: Ints = (knots[k] * (50 - f) + knots[min(k + 1, 8)] * f + 25) // 50
        return value

    def conv(self, name: str, kind: str, x: Ints, skip: Ints | int = 0) -> Ints:
        """One convolution. Sums are carried in doubles, which hold them exactly."""
        weight = self.tensors[f"{name}.weight"].astype(np.float64)
        shift: Ints = self.tensors[f"{name}.shift"][:, None, None]
        (outputs, inputs, k, _), (_, h, w) = weight.shape, x.shape
        a = np.pad(x.astype(np.float64), ((0, 0), (k // 2, k // 2), (k // 2, k // 2)))
        acc = np.zeros((outputs, h, w))
        for dy in range(k):
            for dx in range(k):
                window, tap = a[:, dy : dy + h, dx : dx + w], weight[:, :, dy, dx]
                if inputs == 1:
                    acc += tap[:, :, None] * window
                else:
                    acc += (tap @ window.reshape(inputs, h * w)).reshape(outputs, h, w)
        y: Ints = acc.astype(np.int64) + self.interpolate(f"{name}.bias")[:, None, None]
        low, high = RANGES[kind]
        y = ((y + ((1 << shift) >> 1)) >> shift) + skip
        return np.clip(y, low, high)

    def head(self, name: str, x: Ints) -> tuple[Ints, Ints]:
        """Means in sixteenths, and scale indices."""
        m, index = np.split(self.conv(name, "head", x), 2)
        gain = self.interpolate(f"{name}.gain")
        if name == "context.head":
            gain = (gain * self.context_gain("context.mean_gain") + 128) >> 8
        mean = (m * clamp(gain, 8191)[:, None, None] + 128) >> 8
        return clamp(mean, 32767), np.clip(index, 0, 63)

    def context_gain(self, name: str) -> Ints:
        """[q][0] for the DC coefficient of each colour, [q][1] for the others."""
        kept: int = self.config["context_kept"] ** 2
        one_colour = np.repeat([0, 1], [1, kept - 1])
        gains: Ints = self.tensors[name][self.q, np.tile(one_colour, 3)]
        return gains

    def context_steps(self, rows: int, columns: int) -> Ints:
        kept: int = self.config["context_kept"]
        shape = (3, kept, kept, rows, columns)
        colour, v, u, row, column = np.indices(shape, sparse=True)
        chroma, low = np.minimum(colour, 1), (v < kept // 2) & (u < kept // 2)
        row, column = row % 2, column % 2
        phase = np.where(row == column, row, np.where(row == 0, 2, 3))
        steps = {
            2: (row + column) % 2,
            4: phase,
            6: 2 * np.minimum(phase, 2) + chroma,
            8: 2 * phase + chroma,
            12: 4 * np.minimum(phase, 2) + 2 * chroma + np.where(low, 0, 1),
        }[self.config["context_steps"]]
        return np.broadcast_to(steps, shape).reshape(3 * kept * kept, rows, columns)

    def context_planes(self, symbols: Ints) -> tuple[Ints, Ints]:
        gain = self.context_gain("context.plane_gain")[:, None, None]
        return clamp((symbols * gain + 128) >> 8, 127), clamp(32 * symbols, 127)

    def read_context(self, stack: Stack, rows: int, columns: int) -> Ints:
        steps = self.context_steps(rows, columns)
        symbols = np.zeros(steps.shape, np.int64)
        for step in range(self.config["context_steps"]):
            known = (steps < step).astype(np.int64)
            coarse, fine = self.context_planes(symbols)
            x = np.concatenate([coarse * known, fine * known, 32 * known])
            for name in ("embed", "mix1", "mix2"):
                x = self.conv(f"context.{name}", "relu", x)
            mean, index = self.head("context.head", x)
            base = (mean + 8) >> 4
            now = steps == step
            values = base + self.tables.read_step(stack, index, mean - 16 * base + 8, now)
            symbols = np.where(now, values, symbols)
        check(bool((np.abs(symbols) <= 4095).all()), "context symbol out of range")
        return symbols

    def read_part(self, p: int, stack: Stack | None, h: Ints) -> tuple[Ints, Ints]:
        """The latents of a part and the state after it."""
        at = f"part{p}"
        for b in range(self.config["parts"][p]["blocks"]):
            x = self.conv(f"{at}.block{b}.depth", "signed", h)
            x = self.conv(f"{at}.block{b}.wide", "relu", x)
            h = self.conv(f"{at}.block{b}.back", "signed", x, h)
        half_a = np.indices(h.shape[1:]).sum(0) % 2 == 0

        mean, index = self.head(f"{at}.head_a", h)
        k = self.tables.read_step(stack, index, 16, half_a)
        z = np.where(half_a, clamp(mean + 16 * k, 32767), 0)
        e = self.conv(f"{at}.embed_a", "relu", planes(z))
        x = self.conv(f"{at}.mix_a", "signed", e, h)

        x = self.conv(f"{at}.hidden_b", "relu", x)
        mean, index = self.head(f"{at}.head_b", x)
        k = self.tables.read_step(stack, index, 16, ~half_a)
        z = np.where(half_a, z, clamp(mean + 16 * k, 32767))
        e = self.conv(f"{at}.embed_b", "relu", planes(z))
        return z, self.conv(f"{at}.inject", "signed", e, h)

    def read_tile(self, size: tuple[int, int], chunks: list[bytes]) -> Tile:
        stacks = [Stack(chunk) for chunk in chunks]
        context = self.read_context(stacks[0], -(-size[0] // 32), -(-size[1] // 32))
        x = self.conv("state.embed", "relu", np.concatenate(self.context_planes(context)))
        x = self.conv("state.mix", "relu", x)
        h = shuffle(self.conv("state.up16", "signed", x))
        latents = []
        stride = 16
        for p, part in enumerate(self.config["parts"]):
            if part["stride"] < stride:
                stride = part["stride"]
                h = shuffle(self.conv("state.up8", "signed", h))
            stack = stacks[part["layer"]] if part["layer"] < len(stacks) else None
            z, h = self.read_part(p, stack, h)
            latents.append(z)
        for stack in stacks:
            stack.finish()
        return Tile(context, latents, h)


def decode_symbols(data: bytes, weights_path: Path) -> list[Tile]:
    """Every symbol of a file, and the last state of each tile."""
    file = read_file(data)
    metadata, tensors = load_weights(weights_path)
    check(bytes.fromhex(metadata["prior_id"]) == file.prior_id, "another prior")
    config = json.loads(metadata["config"])
    most = max(part["layer"] for part in config["parts"])
    check(len(file.chunks[0]) <= 1 + most, "more layers than the prior has")
    prior = Prior(set_at(tensors, file.quality_index), config, file.quality_index)
    return [prior.read_tile(s, c) for s, c in zip(file.tile_sizes, file.chunks, strict=True)]
