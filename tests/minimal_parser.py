"""A second reader of the container, from docs/format.md alone, in the order of that document.

It shares no code with the package and reads in default mode: `parse(data)` gives the fields by
their names in the document and the payloads in file order, or raises ValueError.
"""

from __future__ import annotations

from binascii import crc_hqx
from typing import Any
from zlib import crc32


def need(condition: bool, what: str) -> None:
    if not condition:
        raise ValueError(what)


class Input:
    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def bytes(self, size: int) -> bytes:
        need(self.at + size <= len(self.data), "the file is cut short")
        self.at += size
        return self.data[self.at - size : self.at]

    def integer(self, size: int) -> int:
        return int.from_bytes(self.bytes(size), "little")

    def varint(self, low: int, high: int) -> int:
        value = 0
        for shift in range(0, 35, 7):
            byte = self.integer(1)
            value += (byte & 127) << shift
            if byte < 128:
                need(low <= value <= high, "varint out of range")
                return value
        raise ValueError("varint of more than 5 bytes")


def parse(data: bytes, max_pixels: int = 200_000_000) -> dict[str, Any]:
    file, field = Input(data), dict[str, Any]()
    need(file.bytes(4) == b"DCTC", "magic")
    version = file.integer(1)
    need(version in (1, 2), "version")
    flags = file.integer(1)
    need(flags < 16, "reserved flags")
    field["Grayscale"] = bool(flags & 1)
    extras = [kind for bit, kind in ((2, "alpha"), (4, "icc"), (8, "exif")) if flags & bit]
    field["Prior_Id"], field["Synthesis_Id"] = file.bytes(4), file.bytes(2)
    field["Width"], field["Height"] = file.varint(1, 65535), file.varint(1, 65535)
    need(field["Width"] * field["Height"] <= max_pixels, "too many pixels")
    field["Layers"], field["Quality_Index"] = divmod(file.integer(2), 512)
    need(field["Quality_Index"] <= 400, "quality")
    field["Tile_Side"] = 32 * file.varint(1, 2048)
    columns = (field["Width"] + field["Tile_Side"] - 1) // field["Tile_Side"]
    rows = (field["Height"] + field["Tile_Side"] - 1) // field["Tile_Side"]
    count = columns * rows * (1 + field["Layers"])
    need(count <= 2**18, "too many chunks")
    need(count + len(extras) + 4 <= len(data) - file.at, "too few bytes for the lengths")
    lengths = [file.varint(0, 2**32 - 1) for _ in range(count)]
    lengths += [file.varint(1, 2**32 - 1) for _ in extras]
    need(crc32(data[: file.at]) == file.integer(4), "header CRC")

    payloads = []
    for index, length in enumerate(lengths):
        payloads.append(file.bytes(length))
        if version == 2 and 0 < length < 4096 and index < count:
            need(crc_hqx(payloads[-1], 0xFFFF) == file.integer(2), "chunk CRC")
        elif length:
            need(crc32(payloads[-1]) == file.integer(4), "chunk CRC")
    field["Payloads"] = payloads[:count]
    field["Extras"] = dict(zip(extras, payloads[count:], strict=True))
    return field
