"""Laws of encoding and decoding: round trips, tiles, layers, regions, damage."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest

import dctcodec
from dctcodec.codec import api
from dctcodec.codec.container import read
from dctcodec.codec.engine import TileSymbols
from dctcodec.codec.pictures import load
from dctcodec.eval.metrics import psnr
from dctcodec.models import weights

Pixels = npt.NDArray[np.uint8]


def pixels_of(data: bytes, **settings: object) -> Pixels:
    return api.decode_picture(data, **settings).picture.pixels  # type: ignore[arg-type]


def test_a_photo_comes_back_close_and_small(photo: Pixels) -> None:
    data = dctcodec.encode(photo, quality=50)
    decoded = np.asarray(dctcodec.decode(data))
    assert decoded.shape == photo.shape
    assert psnr(photo, decoded) > 33
    assert len(data) < photo.size / 15


def test_more_quality_costs_more_and_gives_more(photo: Pixels) -> None:
    points = []
    for quality in (0, 12.5, 25, 50, 75, 100):
        data = dctcodec.encode(photo, quality=quality)
        points.append((len(data), psnr(photo, pixels_of(data))))
    assert points == sorted(points)
    assert len({size for size, _ in points}) == len(points)


def test_encoding_is_repeatable(photo: Pixels) -> None:
    assert dctcodec.encode(photo, quality=40) == dctcodec.encode(photo, quality=40)


@pytest.mark.parametrize("size", [(1, 1), (1, 70), (33, 31), (32, 32), (64, 65), (97, 200)])
@pytest.mark.parametrize("gray", [False, True])
def test_any_size_comes_back(photo: Pixels, size: tuple[int, int], gray: bool) -> None:
    crop = photo[: size[0], : size[1]]
    if gray:
        crop = np.ascontiguousarray(crop[:, :, 1])
    decoded = pixels_of(dctcodec.encode(crop, quality=90))
    assert decoded.shape == crop.shape
    assert psnr(crop, decoded) > 34


@pytest.mark.parametrize("quality", [10, 50, 95])
def test_real_bytes_are_what_the_model_expects(photo: Pixels, quality: float) -> None:
    encoded = api.encode_picture(load(photo), quality, tile=160)
    container = read(encoded.data)
    streams = sum(c.length > 0 for c in container.chunks)
    expected = sum(map(sum, encoded.estimated_bits)) / 8
    assert len(encoded.data) <= 1.01 * expected + container.container_bytes + 7 * streams


def test_each_layer_makes_the_picture_better(photo: Pixels, photo_file: bytes) -> None:
    levels = range(weights.default().cfg.layers + 1)
    values = [psnr(photo, pixels_of(photo_file, layers=n)) for n in levels]
    assert all(b > a - 0.01 for a, b in pairwise(values)), values
    assert values[-1] > values[0] + 5


def test_a_file_with_fewer_layers_is_the_same_picture_cut_short(
    photo: Pixels, photo_file: bytes
) -> None:
    short = dctcodec.encode(photo, quality=50, tile=160, layers=2)
    assert len(short) < len(photo_file)
    assert np.array_equal(pixels_of(short), pixels_of(photo_file, layers=2))
    assert read(short).payload(2, 1) == read(photo_file).payload(2, 1)


def test_a_tile_decodes_the_same_whatever_its_neighbours_hold(photo: Pixels) -> None:
    """The middle tile of one file among the tiles of another: its inside does not change."""
    from dctcodec.codec.container import write

    one = np.tile(photo, (4, 3, 1))[:768, :768]
    files = [read(dctcodec.encode(p, quality=50, tile=256)) for p in (one, 255 - one)]
    header = files[0].header
    assert (header.tiles, files[1].header) == (9, header)
    chunks = [
        [files[t != 4].payload(layer, t) for t in range(9)] for layer in range(header.layers + 1)
    ]
    mixed, whole = pixels_of(write(header, chunks)), pixels_of(files[0].data)
    inside = slice(256 + 96, 512 - 96)
    difference = np.abs(mixed.astype(int) - whole)
    assert difference[inside, inside].max() <= 1
    assert difference[:256].max() > 50  # the others are another picture's


def test_tiled_and_untiled_synthesis_differ_by_at_most_one_grey_level(photo: Pixels) -> None:
    """The same symbols, drawn window by window and all at once."""
    from dctcodec.codec import tiler
    from dctcodec.codec.container import Header
    from dctcodec.models.runtime import runtime

    big = np.tile(photo, (3, 2, 1))
    data = dctcodec.encode(big, quality=40, tile=256)
    windowed = pixels_of(data)
    container = read(data)
    header: Header = container.header
    stored = api.find_model(header.prior_id).at(header.quality_index)
    run = runtime(stored)
    ops = run.ops(header.quality_index)

    def tile(i: int) -> TileSymbols:
        chunks = [container.payload(n, i) for n in range(header.layers + 1)]
        return api.decode_tile(stored, ops, header, i, chunks)

    drawer = tiler.Synthesiser(run, run.quality(header.quality_index), header, tile)
    w, h = tiler.padded_size(header.width, header.height)
    whole = drawer.draw((0, 0, w, h))[: header.height, : header.width]
    assert np.abs(whole.astype(int) - windowed).max() <= 1


@pytest.mark.parametrize("box", [(0, 0, 264, 200), (150, 90, 40, 77), (263, 199, 1, 1)])
def test_a_region_is_the_same_part_of_the_whole(
    photo_file: bytes, box: tuple[int, int, int, int]
) -> None:
    x, y, w, h = box
    part, whole = pixels_of(photo_file, region=box), pixels_of(photo_file)
    difference = np.abs(part.astype(int) - whole[y : y + h, x : x + w])
    assert difference.max() <= 1


def test_a_region_decodes_only_the_tiles_it_needs(
    photo: Pixels, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = dctcodec.encode(np.tile(photo, (3, 3, 1)), quality=20, tile=128)
    decoded: list[int] = []
    real = api.decode_tile

    def counting(*args: object) -> TileSymbols:
        decoded.append(int(args[3]))  # type: ignore[call-overload]
        return real(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(api, "decode_tile", counting)
    pixels_of(data, region=(0, 0, 20, 20))
    assert len(decoded) <= 4 < read(data).header.tiles


def test_absent_layers_are_drawn_by_the_file_alone(photo_file: bytes) -> None:
    plain = pixels_of(photo_file, layers=1)
    warm = pixels_of(photo_file, layers=1, temperature=0.5)
    assert np.array_equal(warm, pixels_of(photo_file, layers=1, temperature=0.5))
    assert not np.array_equal(warm, plain)
    assert np.array_equal(
        pixels_of(photo_file, temperature=0.5), pixels_of(photo_file)
    )  # nothing is absent


def test_alpha_comes_back_exactly(photo: Pixels) -> None:
    alpha = (np.arange(photo.shape[0] * photo.shape[1]) % 251).astype(np.uint8)
    rgba = np.dstack([photo, alpha.reshape(photo.shape[:2])])
    decoded = dctcodec.decode(dctcodec.encode(rgba, quality=30))
    assert decoded.mode == "RGBA"
    assert np.array_equal(np.asarray(decoded)[:, :, 3], rgba[:, :, 3])


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"quality": 101}, "0…100"),
        ({"quality": 50.1}, "0.25"),
        ({"quality": float("nan")}, "nan"),
        ({"quality": float("inf")}, "inf"),
        ({"layers": 9}, "0…6"),
        ({"tile": 100}, "32"),
        ({"device": "abacus"}, "abacus"),
    ],
)
def test_wrong_arguments_are_named(photo: Pixels, settings: dict[str, float], words: str) -> None:
    with pytest.raises(dctcodec.UsageError, match=words):
        dctcodec.encode(photo[:32, :32], **settings)  # type: ignore[arg-type]


def test_a_region_outside_the_picture_is_refused(photo_file: bytes) -> None:
    with pytest.raises(dctcodec.UsageError, match="264x200"):
        dctcodec.decode(photo_file, region=(200, 0, 65, 10))


def test_an_unknown_model_is_named(photo_file: bytes) -> None:
    import zlib

    length = read(photo_file).chunks[0].offset - 4
    head = bytearray(photo_file[:length])
    head[6:10] = b"\xde\xad\xbe\xef"
    data = bytes(head) + zlib.crc32(head).to_bytes(4, "little") + photo_file[length + 4 :]
    with pytest.raises(dctcodec.ModelError, match="deadbeef"):
        dctcodec.decode(data)


def test_damage_is_an_error_and_salvage_brings_back_the_rest(photo_file: bytes) -> None:
    container = read(photo_file)
    bad = next(c for c in container.chunks if c.layer == 3 and c.tile == 1)
    data = bytearray(photo_file)
    data[bad.offset + 2] ^= 0x40
    with pytest.raises(dctcodec.BitstreamError, match="layer 3"):
        dctcodec.decode(bytes(data))
    decoded = api.decode_picture(bytes(data), mode="salvage")
    assert any("tile 1" in r and "layer 3" in r for r in decoded.remarks)
    difference = np.abs(decoded.picture.pixels.astype(int) - pixels_of(photo_file))
    assert difference[:160, 160:].max() > 1  # the damaged tile is coarser
    assert difference[: 160 - 96, : 160 - 96].max() == 0  # far from it nothing changed


@pytest.mark.parametrize("mode", ["default", "salvage", "strict"])
def test_truncation_anywhere_never_gives_a_traceback(photo_file: bytes, mode: str) -> None:
    rng = np.random.default_rng(7)
    container = read(photo_file)
    cuts = {c.offset for c in container.chunks} | {c.end for c in container.chunks[:-1]}
    cuts |= {int(n) for n in rng.integers(0, len(photo_file), 200 if mode == "default" else 12)}
    if mode == "salvage":
        cuts = set(sorted(cuts)[::5])
    for cut in sorted(cuts - {len(photo_file)}):
        try:
            decoded = api.decode_picture(photo_file[:cut], mode=mode)  # type: ignore[arg-type]
            assert mode == "salvage" and decoded.remarks, cut
        except dctcodec.BitstreamError:
            continue


def test_a_thousand_flipped_bits_never_give_a_traceback(photo_file: bytes) -> None:
    rng = np.random.default_rng(8)
    for bit in rng.integers(0, 8 * len(photo_file), 1000):
        data = bytearray(photo_file)
        data[bit // 8] ^= 1 << (bit % 8)
        with pytest.raises(dctcodec.DctcodecError):
            dctcodec.decode(bytes(data))


@pytest.mark.parametrize("layer", [0, 1, 4])
def test_symbols_that_make_no_sense_are_an_error(photo_file: bytes, layer: int) -> None:
    """Chunks with good checksums but random payloads, as only a forger writes them."""
    from dctcodec.codec.container import write

    container = read(photo_file)
    header = container.header
    rng = np.random.default_rng(layer)
    chunks = [
        [container.payload(n, t) for t in range(header.tiles)] for n in range(header.layers + 1)
    ]
    chunks[layer][0] = rng.bytes(len(chunks[layer][0]) // 4 * 4)
    with pytest.raises(dctcodec.BitstreamError):
        dctcodec.decode(write(header, chunks))


def test_a_preview_is_the_context_alone_without_torch(photo: Pixels, photo_file: bytes) -> None:
    thumb = np.asarray(dctcodec.preview(photo_file))
    assert thumb.shape == (25, 33, 3)
    context = pixels_of(photo_file, layers=0).astype(float)
    blocks = context[:200, :264].reshape(25, 8, 33, 8, 3).mean((1, 3))
    assert np.abs(blocks - thumb).mean() < 6


def test_decoding_in_threads_gives_the_same(photo_file: bytes) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(pixels_of, [photo_file] * 8))
    assert all(np.array_equal(r, results[0]) for r in results)


def test_twelve_megapixels_fit(photo: Pixels) -> None:
    big = np.tile(photo, (16, 16, 1))[:3000, :4000]
    data = dctcodec.encode(big, quality=5, layers=1)
    assert dctcodec.decode(data, layers=0).size == (4000, 3000)
