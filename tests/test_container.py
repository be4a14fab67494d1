"""The container: laws of writing and reading, golden bytes, every way a file can go wrong."""

from __future__ import annotations

import pickle
import random
import re
import runpy
import time
import tracemalloc
import zlib
from binascii import crc_hqx
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dctcodec.codec import container, errors
from dctcodec.codec.container import Container, Header, Mode, read, tile_box, write
from dctcodec.codec.errors import BitstreamError, ModelError, UsageError

MODES: tuple[Mode, ...] = ("default", "salvage", "strict")
DOCUMENT = Path(__file__).parents[1] / "docs" / "format.md"
minimal_parse: Callable[[bytes], dict[str, Any]] = runpy.run_path(
    str(Path(__file__).with_name("minimal_parser.py"))
)["parse"]


def header(width: int = 1100, height: int = 40, **fields: Any) -> Header:
    defaults: dict[str, Any] = {
        "quality_index": 300,
        "tile": 1024,
        "layers": 1,
        "prior_id": bytes.fromhex("11223344"),
        "synthesis_id": bytes.fromhex("5566"),
    }
    return Header(width=width, height=height, **(defaults | fields))


def random_chunks(of: Header, rng: random.Random, longest: int = 40) -> list[list[bytes]]:
    """Payloads for every tile and layer, about one in five of them empty."""
    return [
        [rng.randbytes(rng.randint(1, longest) * (rng.random() > 0.2)) for _ in range(of.tiles)]
        for _ in range(of.layers + 1)
    ]


def with_crc(head: bytes) -> bytes:
    """A header that is wrong on purpose, with the CRC that makes it believable."""
    return head + zlib.crc32(head).to_bytes(4, "little")


# Two tiles, one layer, an empty chunk and an alpha chunk; in version 2 the file of docs/format.md.
SMALL_HEADER = header(alpha=True, version=1)
SMALL_CHUNKS = [[b"\xa1\xa2\xa3", b"\xb1"], [b"\xc1\xc2", b""]]
SMALL_EXTRA = {"alpha": b"\xd1\xd2\xd3\xd4"}
SMALL = bytes.fromhex(
    "44435443 01 02 11223344 5566 cc08 28 2c03 20 0301020004 a106d3d5"
    "a1a2a3 7cc215f4 b1 976c646e c1c2 6c5752e6 d1d2d3d4 af600a1a"
)
SMALL_2 = bytes.fromhex(
    "444354430202112233445566cc08282c0320030102000408808576a1a2a3a5b8b10a56c1c264c1d1d2d3d4af600a1a"
)
FIRST_CHUNK = 27  # where the header of SMALL and SMALL_2 ends
TINY = bytes.fromhex("44435443 01 01 00000000 0000 01 01 0000 01 00 1b30b2b0")  # one grey pixel
START = SMALL[:5] + b"\0" + SMALL[6:12]  # all before the width; no flags


# ---- laws of writing and reading


def check_round_trip(of: Header, chunks: list[list[bytes]], extra: dict[str, bytes]) -> Container:
    """Every mode, and the independent reader, gives back the header and the payloads."""
    data = write(of, chunks, extra)
    files = [read(data, mode=mode) for mode in MODES]
    for file in files:
        assert file == files[0]
        assert file.header == of
        assert [
            [file.payload(i, t) for t in range(of.tiles)] for i in range(of.layers + 1)
        ] == chunks
        assert {k: v for k in container.EXTRAS if (v := file.extra(k)) is not None} == extra
        assert file.losses == ()
        assert {file.intact_layers(t) for t in range(of.tiles)} == {of.layers + 1}
        assert file.complete_layers == of.layers + 1
        assert file.end == len(data)
        assert file.container_bytes == len(data) - sum(c.length for c in file.chunks)
    other = minimal_parse(data)
    assert other == {
        "Grayscale": of.grayscale,
        "Prior_Id": of.prior_id,
        "Synthesis_Id": of.synthesis_id,
        "Width": of.width,
        "Height": of.height,
        "Layers": of.layers,
        "Quality_Index": of.quality_index,
        "Tile_Side": of.tile,
        "Payloads": [payload for row in chunks for payload in row],
        "Extras": extra,
    }
    return files[0]


@pytest.mark.parametrize(
    ("width", "height", "tile", "tiles"),
    [
        (1, 1, 32, 1),
        (1, 1, 65536, 1),
        (32, 32, 32, 1),
        (33, 32, 32, 2),
        (127, 128, 32, 16),
        (128, 16384 // 128, 32, 16),
        (768, 512, 1024, 1),
        (1025, 2049, 1024, 6),
        (65535, 1, 1024, 64),
        (1, 65535, 1024, 64),
        (65535, 1, 32, 2048),
        (65535, 3000, 65536, 1),
    ],
)
@pytest.mark.parametrize("layers", [0, 1, 6])
def test_what_is_written_is_read_back(
    width: int, height: int, tile: int, tiles: int, layers: int
) -> None:
    rng = random.Random(width * 7 + height + layers)
    of = header(width, height, tile=tile, layers=layers)
    assert of.tiles == tiles == of.rows * of.columns
    check_round_trip(of, random_chunks(of, rng), {})


@pytest.mark.parametrize("flags", range(16))
def test_every_set_of_flags_is_read_back(flags: int) -> None:
    names = [
        name for bit, name in enumerate(("grayscale", "alpha", "icc", "exif")) if flags >> bit & 1
    ]
    of = header(**dict.fromkeys(names, True))
    assert of.flags == flags
    extra = {name: name.encode() * 50 for name in names if name != "grayscale"}
    file = check_round_trip(of, random_chunks(of, random.Random(flags)), extra)
    assert [c.kind for c in file.chunks if c.layer is None] == list(extra)


@pytest.mark.parametrize("seed", range(50))
def test_random_files_are_read_back(seed: int) -> None:
    rng = random.Random(seed)
    of = header(
        rng.randint(1, 500),
        rng.randint(1, 500),
        tile=32 * rng.randint(1, 8),
        layers=rng.randint(0, 9),
        quality_index=rng.randint(0, 400),
        prior_id=rng.randbytes(4),
        synthesis_id=rng.randbytes(2),
        icc=bool(rng.getrandbits(1)),
        version=rng.randint(1, 2),
    )
    extra = {"icc": rng.randbytes(rng.randint(1, 300))} if of.icc else {}
    check_round_trip(of, random_chunks(of, rng), extra)


@pytest.mark.parametrize("length", [0, 1, 127, 128, 16383, 16384, 2**21 - 1, 2**21])
def test_lengths_around_the_steps_of_a_varint_are_read_back(length: int) -> None:
    check_round_trip(header(8, 8, layers=0), [[bytes(length)]], {})


@pytest.mark.parametrize("index", [0, 1, 127, 128, 255, 256, 399, 400])
@pytest.mark.parametrize("layers", [0, 1, 63, 127])
def test_quality_and_layers_share_a_field_and_do_not_meet(index: int, layers: int) -> None:
    of = header(8, 8, quality_index=index, layers=layers)
    assert of.quality == index / 4
    check_round_trip(of, random_chunks(of, random.Random(0)), {})


@pytest.mark.parametrize(("width", "height", "tile"), [(1, 1, 32), (100, 70, 32), (65535, 1, 1024)])
def test_tile_boxes_cover_the_picture_once(width: int, height: int, tile: int) -> None:
    of = header(width, height, tile=tile)
    covered = bytearray(width * height)
    for index in range(of.tiles):
        x, y, w, h = tile_box(of, index)
        assert 1 <= w <= tile and 1 <= h <= tile
        for row in range(y, y + h):
            start = row * width + x
            assert not any(covered[start : start + w])
            covered[start : start + w] = b"\1" * w
    assert all(covered)


def test_tile_boxes_lie_in_raster_order() -> None:
    of = header(70, 40, tile=32)
    assert [tile_box(of, i) for i in range(6)] == [
        (0, 0, 32, 32),
        (32, 0, 32, 32),
        (64, 0, 6, 32),
        (0, 32, 32, 8),
        (32, 32, 32, 8),
        (64, 32, 6, 8),
    ]


def test_a_prefix_that_ends_between_layers_is_a_coarser_picture() -> None:
    of = header(70, 40, tile=32, layers=3)
    data = write(of, [[bytes([i, t]) for t in range(6)] for i in range(4)])
    ends = [read(data).chunks[6 * i + 5].end for i in range(4)]
    for layers, end in enumerate(ends, start=1):
        file = read(data[:end], mode="salvage")
        assert {file.intact_layers(t) for t in range(6)} == {layers}
        assert file.complete_layers == layers
        assert file.payload(layers - 1, 5) == bytes([layers - 1, 5])


def test_the_container_of_a_kodak_photo_takes_at_most_72_bytes() -> None:
    of = header(768, 512, layers=6, quality_index=400)
    data = write(of, [[bytes(20_000)]] * 7)
    assert read(data).container_bytes == len(data) - 7 * 20_000 <= 72
    data = write(of, [[bytes(4_095)]] * 7)  # shorter CRCs
    assert read(data).container_bytes == len(data) - 7 * 4_095 <= 58
    data = write(replace(of, version=1), [[bytes(4_095)]] * 7)
    assert 58 < read(data).container_bytes == len(data) - 7 * 4_095 <= 72


# ---- golden bytes


def test_the_small_file_has_these_bytes_for_ever() -> None:
    assert write(SMALL_HEADER, SMALL_CHUNKS, SMALL_EXTRA) == SMALL
    file = check_round_trip(SMALL_HEADER, SMALL_CHUNKS, SMALL_EXTRA)
    assert file.header_crc == 0xD5D306A1
    assert [(c.name, c.offset, c.length) for c in file.chunks] == [
        ("context of tile 0", 27, 3),
        ("context of tile 1", 34, 1),
        ("layer 1 of tile 0", 39, 2),
        ("layer 1 of tile 1", 45, 0),
        ("alpha chunk", 45, 4),
    ]


def test_the_small_file_of_version_2_has_these_bytes_for_ever() -> None:
    of = replace(SMALL_HEADER, version=2)
    assert write(of, SMALL_CHUNKS, SMALL_EXTRA) == SMALL_2
    file = check_round_trip(of, SMALL_CHUNKS, SMALL_EXTRA)
    assert [(c.name, c.offset, c.length, c.crc_bytes) for c in file.chunks] == [
        ("context of tile 0", 27, 3, 2),
        ("context of tile 1", 32, 1, 2),
        ("layer 1 of tile 0", 35, 2, 2),
        ("layer 1 of tile 1", 39, 0, 0),
        ("alpha chunk", 39, 4, 4),
    ]


@pytest.mark.parametrize(("length", "crc"), [(1, 2), (4095, 2), (4096, 4)])
def test_few_bytes_of_symbols_have_a_short_crc(length: int, crc: int) -> None:
    of = header(8, 8, layers=0, icc=True)
    file = check_round_trip(of, [[b"\7" * length]], {"icc": b"\7" * length})
    assert [c.crc_bytes for c in file.chunks] == [crc, 4]
    assert crc_hqx(b"123456789", 0xFFFF) == 0x29B1  # as docs/format.md says


def test_the_smallest_file_has_these_bytes_for_ever() -> None:
    of = Header(
        width=1,
        height=1,
        quality_index=0,
        tile=32,
        layers=0,
        prior_id=bytes(4),
        synthesis_id=bytes(2),
        grayscale=True,
        version=1,
    )
    assert write(of, [[b""]]) == TINY
    assert read(TINY, mode="strict").header == of


# ---- the document


def document_section(title: str) -> str:
    return DOCUMENT.read_text(encoding="utf-8").split(f"\n## {title}", 1)[1].split("\n## ", 1)[0]


def test_the_documents_complete_file_is_ours() -> None:
    section = document_section("A complete small file in hex")
    block = re.search(r"```\n(.*?)```", section, re.DOTALL)
    assert block and bytes.fromhex(block[1]) == SMALL_2
    rows = re.findall(r"^\| (\d+) \| `([0-9a-f ]+)` \| (.+) \|$", section, re.MULTILINE)
    explained = b""
    for offset, text, meaning in rows:
        field = bytes.fromhex(text)
        assert int(offset) == len(explained)
        for number in re.findall(r"_CRC` 0x([0-9a-f]{4,8})", meaning):
            assert int(number, 16) == int.from_bytes(field, "little")
        explained += field
    assert explained == SMALL_2


def refused_files() -> list[tuple[str, str]]:
    rows = re.findall(
        r"^\| `([0-9a-f ]+)` \| (.+) \|$", document_section("Reading rules"), re.MULTILINE
    )
    assert len(rows) >= 10
    return rows


@pytest.mark.parametrize(("text", "reason"), refused_files())
def test_the_documents_bad_files_are_refused_for_the_reason_given(text: str, reason: str) -> None:
    with pytest.raises(BitstreamError, match=re.escape(reason)):
        read(bytes.fromhex(text))
    with pytest.raises(ValueError):
        minimal_parse(bytes.fromhex(text))


def test_the_document_states_the_limits_of_the_code() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    for number in (container.MAX_SIDE, container.MAX_TILE // 32, container.MAX_LAYERS):
        assert f"…{number}" in text
    assert f"2^18 = {container.MAX_CHUNKS}" in text
    assert f"{container.DEFAULT_MAX_PIXELS:,} pixels" in text


# ---- damage


@pytest.mark.parametrize("data", [SMALL, SMALL_2, TINY], ids=["small", "small-2", "tiny"])
def test_a_file_cut_anywhere_is_refused_and_says_how_much_is_intact(data: bytes) -> None:
    for cut in range(len(data)):
        for mode in ("default", "strict"):
            with pytest.raises(BitstreamError) as caught:
                read(data[:cut], mode=mode)
            error = caught.value
            assert (error.intact_layers is not None) == (cut >= FIRST_CHUNK)
            assert error.offset is None if cut == 0 else 0 <= (error.offset or 0) <= cut
        with pytest.raises(ValueError):
            minimal_parse(data[:cut])


def test_salvage_of_a_cut_file_keeps_every_whole_chunk() -> None:
    whole = read(SMALL)
    for cut in range(len(SMALL)):
        if cut < FIRST_CHUNK:
            with pytest.raises(BitstreamError):
                read(SMALL[:cut], mode="salvage")
            continue
        file = read(SMALL[:cut], mode="salvage")
        for chunk, sound in zip(file.chunks, whole.chunks, strict=True):
            kept = chunk.length == 0 or chunk.end <= cut
            assert chunk == replace(sound, state="intact" if kept else "missing")
        assert file.intact_layers(0) == (cut >= 34) + (cut >= 45)
        assert file.intact_layers(1) == 2 * (cut >= 39)  # its layer 1 is empty, so never lost
        assert file.complete_layers == (cut >= 39) + (cut >= 45)
        assert file.extra("alpha") is None


@pytest.mark.parametrize("data", [SMALL, SMALL_2, TINY], ids=["small", "small-2", "tiny"])
def test_every_flipped_bit_is_found(data: bytes) -> None:
    whole = read(data)
    for position in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[position // 8] ^= 1 << position % 8
        bad = bytes(flipped)
        for mode in ("default", "strict"):
            with pytest.raises(BitstreamError) as caught:
                read(bad, mode=mode)
            assert "\n" not in str(caught.value)
        with pytest.raises(ValueError):
            minimal_parse(bad)
        try:
            file = read(bad, mode="salvage")
        except BitstreamError:
            assert position // 8 < whole.chunks[0].offset
            continue
        (lost,) = file.losses
        assert lost.state == "damaged"
        assert lost.offset <= position // 8 < lost.end


@pytest.mark.parametrize("seed", range(300))
def test_random_damage_raises_nothing_but_our_own_error(seed: int) -> None:
    rng = random.Random(seed)
    bad = bytearray(SMALL)
    for _ in range(rng.randint(1, 8)):
        bad[rng.randrange(4, len(bad))] = rng.randrange(256)
    del bad[rng.randint(4, 2 * len(bad)) :]
    if bytes(bad) == SMALL:
        return
    for mode in MODES:
        try:
            file = read(bytes(bad), mode=mode)
        except BitstreamError:
            continue
        assert mode == "salvage" and file.losses


def test_salvage_marks_what_is_lost_and_gives_the_rest() -> None:
    of = header(70, 40, tile=32, layers=2, alpha=True, exif=True)
    chunks = [[bytes([i, t]) * 9 for t in range(6)] for i in range(3)]
    extra = {"alpha": b"alpha", "exif": b"Exif"}
    data = write(of, chunks, extra)
    whole = read(data)
    bad = bytearray(data)
    for index in (6 + 4, 12 + 2, 18):  # layer 1 of tile 4, layer 2 of tile 2, alpha
        bad[whole.chunks[index].offset] ^= 0x10
    file = read(bytes(bad), mode="salvage")
    assert [c.name for c in file.losses] == [
        "layer 1 of tile 4",
        "layer 2 of tile 2",
        "alpha chunk",
    ]
    assert [file.intact_layers(t) for t in range(6)] == [3, 3, 2, 3, 1, 3]
    assert file.complete_layers == 1
    assert file.payload(2, 4) == chunks[2][4]
    with pytest.raises(BitstreamError, match=r"layer 1 of tile 4 is damaged, at byte \d+$"):
        file.payload(1, 4)
    assert file.extra("alpha") is None
    assert file.extra("exif") == b"Exif"
    assert file.extra("icc") is None
    assert (file.header_crc, file.container_bytes) == (whole.header_crc, whole.container_bytes)


@pytest.mark.parametrize(
    ("offset", "intact", "words"),
    [
        (34, 0, "context of tile 1 is damaged: CRC-32 .*, at byte 34; no layer is intact"),
        (39, 1, "layer 1 of tile 0 is damaged: .*; the context is intact in every tile"),
        (45, 2, "alpha chunk is damaged: .*; the context and 1 layer are intact"),
    ],
)
def test_the_error_says_what_and_where_and_how_much_is_intact(
    offset: int, intact: int, words: str
) -> None:
    bad = bytearray(SMALL)
    bad[offset] ^= 1
    with pytest.raises(BitstreamError, match=words) as caught:
        read(bytes(bad))
    assert (caught.value.offset, caught.value.intact_layers) == (offset, intact)
    assert "--salvage" in str(caught.value)


def test_the_error_of_a_cut_file_prints_both_ends() -> None:
    with pytest.raises(BitstreamError, match="its CRC-32 ends at byte 53, the file at 52"):
        read(SMALL[:-1])


# ---- what only strict refuses, and what salvage forgives


@pytest.mark.parametrize("tail", [b"\0", b"DCTC", SMALL])
def test_trailing_bytes_are_ignored_except_in_strict_mode(tail: bytes) -> None:
    for mode in ("default", "salvage"):
        file = read(SMALL + tail, mode=mode)
        assert (file.end, file.losses, file.chunks) == (len(SMALL), (), read(SMALL).chunks)
    assert minimal_parse(SMALL + tail) == minimal_parse(SMALL)
    with pytest.raises(BitstreamError, match=f"{len(tail)} trailing bytes, at byte {len(SMALL)}"):
        read(SMALL + tail, mode="strict")


@pytest.mark.parametrize("bit", [4, 5, 6, 7])
def test_reserved_flags_are_refused_except_in_salvage_mode(bit: int) -> None:
    head = bytearray(SMALL[: FIRST_CHUNK - 4])
    head[5] |= 1 << bit
    data = with_crc(bytes(head)) + SMALL[FIRST_CHUNK:]
    for mode in ("default", "strict"):
        with pytest.raises(
            BitstreamError, match=f"reserved bits 0x{1 << bit:02x}.*update dctcodec"
        ):
            read(data, mode=mode)
    assert read(data, mode="salvage").header == SMALL_HEADER


@pytest.mark.parametrize(
    ("at", "last", "what"),
    [
        (12, 13, "width 1100 is written in 3 bytes instead of 2"),
        (14, 14, "height 40 is written in 2 bytes instead of 1"),
        (17, 17, "tile side in units of 32 pixels 32 is written in 2"),
        (18, 18, "length of chunk 0 3 is written in 2"),
        (21, 21, "length of chunk 3 0 is written in 2"),
        (22, 22, "length of the alpha chunk 4 is written in 2"),
    ],
)
def test_long_varints_are_refused_in_strict_mode_only(at: int, last: int, what: str) -> None:
    head = bytearray(SMALL[: FIRST_CHUNK - 4])
    head[last] |= 0x80
    head.insert(last + 1, 0)
    data = with_crc(bytes(head)) + SMALL[FIRST_CHUNK:]
    for mode in ("default", "salvage"):
        assert read(data, mode=mode).header == SMALL_HEADER
    assert minimal_parse(data) == minimal_parse(SMALL)
    with pytest.raises(BitstreamError, match=f"{what}.*, at byte {at}"):
        read(data, mode="strict")


def test_varints_end_at_five_bytes_and_32_bits() -> None:
    start = START
    assert read(with_crc(start + b"\x81\x80\x80\x80\x00" + TINY[13:18])).header.width == 1
    for head, words in (
        (start + b"\x81\x80\x80\x80\x80\x00", "width takes more than 5 bytes"),
        (TINY[:17] + b"\xff\xff\xff\xff\x1f" + bytes(9), f"{2**33 - 1} is not in 0…{2**32 - 1}"),
    ):
        with pytest.raises(BitstreamError, match=words):
            read(head)


@pytest.mark.parametrize("version", [0, 3, 255])
@pytest.mark.parametrize("mode", MODES)
def test_another_version_is_refused_in_every_mode(version: int, mode: Mode) -> None:
    data = bytearray(SMALL)
    data[4] = version
    with pytest.raises(BitstreamError, match=f"version {version} is unknown.*reads 1 and 2;"):
        read(bytes(data), mode=mode)


@pytest.mark.parametrize("data", [b"", b"\xff\xd8\xff\xe0", b"D", b"DCT", b"DCTD", b"\x89PNG\r\n"])
@pytest.mark.parametrize("mode", MODES)
def test_other_files_are_refused(data: bytes, mode: Mode) -> None:
    with pytest.raises(BitstreamError, match=r"empty|not a dctcodec file|ends inside its header"):
        read(data, mode=mode)


def test_an_announced_optional_chunk_is_never_empty() -> None:
    head = bytearray(SMALL[: FIRST_CHUNK - 4])
    head[22] = 0
    for mode in MODES:
        with pytest.raises(BitstreamError, match="length of the alpha chunk 0 is not in 1…"):
            read(with_crc(bytes(head)) + SMALL[FIRST_CHUNK:], mode=mode)


@pytest.mark.parametrize("mode", MODES)
def test_an_unknown_prior_is_a_model_error_once_the_header_is_sound(mode: Mode) -> None:
    asked: list[bytes] = []

    def known(prior_id: bytes) -> bool:
        asked.append(prior_id)
        return False

    with pytest.raises(ModelError, match="11223344"):
        read(SMALL, mode=mode, known_prior=known)
    assert asked == [SMALL_HEADER.prior_id]
    assert read(SMALL, mode=mode, known_prior=lambda _: True).header == SMALL_HEADER
    bad = bytearray(SMALL)
    bad[6] ^= 1
    with pytest.raises(BitstreamError):
        read(bytes(bad), mode=mode, known_prior=known)


# ---- hostile sizes


SIDE = b"\xff\xff\x03"  # 65535


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("data", "max_pixels", "words"),
    [
        (
            START + SIDE + SIDE + b"\0\0\1",
            None,
            "4294836225 pixels, more than the limit of 200000000",
        ),
        (START + SIDE + SIDE + b"\0\0\1", 2**32, "4194304 tiles × 1 make 4194304 chunks"),
        (START + SIDE + SIDE + b"\x00\xfe\1", 2**32, "536870912 chunks, more than 262144"),
        (START + SIDE + SIDE + b"\0\0\x04" + bytes(9), 2**32, "262144 chunk lengths .* 9 are left"),
        (START + SIDE + b"\1\0\xfe\1" + bytes(9), None, "262144 chunk lengths .* 9 are left"),
        (START + b"\xff\xff\xff\xff\x0f", None, "width 4294967295 is not in 1…65535"),
        (START + b"\1\1\0\0\xff\xff\xff\xff\x0f", None, "4294967295 is not in 1…2048"),
        (START + b"\1\1\0\0\0", None, "0 is not in 1…2048"),
    ],
)
def test_declared_sizes_cost_nothing(
    data: bytes, max_pixels: int | None, words: str, mode: Mode
) -> None:
    limit = max_pixels or container.DEFAULT_MAX_PIXELS
    tracemalloc.start()
    try:
        with pytest.raises(BitstreamError, match=words):
            read(data, mode=mode, max_pixels=limit)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 200_000


@pytest.mark.parametrize("mode", MODES)
def test_a_declared_length_of_four_gigabytes_costs_nothing(mode: Mode) -> None:
    longest = b"\xff\xff\xff\xff\x0f"
    data = with_crc(START + b"\1\1\0\xfe\1" + longest * 128) + b"payload"
    tracemalloc.start()
    try:
        if mode == "salvage":
            assert {c.state for c in read(data, mode=mode).chunks} == {"missing"}
        else:
            with pytest.raises(BitstreamError, match=r"context of tile 0 is missing.*no layer is"):
                read(data, mode=mode)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 200_000


def test_the_largest_number_of_chunks_is_read_in_moderate_time() -> None:
    # 65535×1 pixels in 2048 tiles of 32 pixels, 127 layers and the context; all chunks are empty.
    data = with_crc(START + SIDE + b"\1" + b"\0\xfe" + b"\1" + bytes(2**18))
    started = time.perf_counter()
    assert len(read(data).chunks) == container.MAX_CHUNKS
    assert time.perf_counter() - started < 5


def test_max_pixels_counts_the_whole_picture() -> None:
    data = write(header(100, 50, layers=0), [[b""]])
    assert read(data, max_pixels=5000).header.width == 100
    with pytest.raises(BitstreamError, match="100×50 are 5000 pixels, more than the limit of 4999"):
        read(data, max_pixels=4999)


# ---- wrong arguments


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"width": 0}, "width 0 is not in 1…65535"),
        ({"height": 65536}, "height 65536 is not in 1…65535"),
        ({"quality_index": 401}, "quality index 401 is not in 0…400"),
        ({"quality_index": -1}, "quality index -1 is not in 0…400"),
        ({"layers": 128}, "layers 128 is not in 0…127"),
        ({"tile": 0}, "tile side 0 is not in 32…65536"),
        ({"tile": 100}, "tile side 100 is not a multiple of 32"),
        ({"version": 3}, "format version 3 is none of"),
        ({"prior_id": b"abc"}, "prior_id has 3 bytes, not 4"),
        ({"synthesis_id": b"abc"}, "synthesis_id has 3 bytes, not 2"),
        ({"width": 65535, "height": 65535, "tile": 32}, "8388608 chunks, more than 262144"),
    ],
)
def test_a_header_cannot_be_wrong(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        header(**fields)
    assert isinstance(caught.value, ValueError)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("chunks", "extra", "words"),
    [
        (SMALL_CHUNKS[:1], SMALL_EXTRA, "1 rows of chunks given, 2 needed"),
        ([[b""], [b"", b""]], SMALL_EXTRA, "layer 0 has 1 chunks for 2 tiles"),
        (SMALL_CHUNKS, {}, "announced: alpha; given: none"),
        (SMALL_CHUNKS, {"alpha": b"a", "icc": b"i"}, "announced: alpha; given: alpha, icc"),
        (SMALL_CHUNKS, {"alpha": b""}, "the alpha chunk is empty"),
    ],
)
def test_payloads_that_disagree_with_the_header_are_not_written(
    chunks: list[list[bytes]], extra: dict[str, bytes], words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        write(SMALL_HEADER, chunks, extra)


def test_a_chunk_that_is_too_long_is_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(container, "MAX_LENGTH", 3)
    with pytest.raises(UsageError, match="a chunk of 4 bytes is longer than 3"):
        write(SMALL_HEADER, SMALL_CHUNKS, SMALL_EXTRA)


def test_places_that_do_not_exist_are_usage_errors() -> None:
    file = read(SMALL)
    calls: list[tuple[Callable[[], object], str]] = [
        (lambda: file.payload(2, 0), "layer 2 is not in 0…1"),
        (lambda: file.payload(-1, 0), "layer -1 is not in 0…1"),
        (lambda: file.payload(0, 2), "tile 2 is not in 0…1"),
        (lambda: file.intact_layers(-1), "tile -1 is not in 0…1"),
        (lambda: tile_box(SMALL_HEADER, 2), "tile 2 is not in 0…1"),
        (lambda: file.extra("latent"), "'latent' is not an optional chunk"),
        (lambda: read(SMALL, mode="lax"), "mode 'lax' is not"),  # type: ignore[arg-type]
    ]
    for call, words in calls:
        with pytest.raises(UsageError, match=words):
            call()


# ---- errors


def test_every_error_is_one_of_ours_and_knows_its_exit_code() -> None:
    tree = {name: getattr(errors, name) for name in errors.__all__}
    assert all(issubclass(leaf, errors.DctcodecError) for leaf in tree.values())
    assert {name: leaf.exit_code for name, leaf in tree.items()} == {
        "DctcodecError": 1,
        "BitstreamError": 1,
        "ModelError": 1,
        "ImageError": 1,
        "OutputError": 1,
        "UsageError": 2,
    }


def test_a_bitstream_error_survives_pickling() -> None:
    error = BitstreamError("cut short", offset=7, intact_layers=3)
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.offset, again.intact_layers) == (str(error), 7, 3)
    assert str(error) == (
        "cut short, at byte 7; the context and 2 layers are intact in every tile; "
        "--salvage decodes what is intact"
    )


def test_the_container_module_never_imports_torch() -> None:
    source = Path(container.__file__).read_text(encoding="utf-8")
    imported = set(re.findall(r"^\s*(?:import|from) ([\w.]+)", source, re.MULTILINE))
    allowed = {"binascii", "zlib", "collections.abc", "dataclasses", "typing", ".errors"}
    assert imported == allowed | {"__future__"}
