"""Encode and decode pictures from Python."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..models import weights
from ..models.config import DISTORTION_WEIGHT, FRUGALITY, ModelConfig
from ..models.scale_grid import SCALES, scale
from ..models.tables import logistic_costs
from ..models.transforms import GREY
from ..models.weights import StoredModel, WeightsError
from . import presets
from .container import DEFAULT_MAX_PIXELS, Container, Header, Mode, read, tile_box, write
from .effort import DEFAULT_EFFORT, Effort, cost, searched
from .engine import BLOCK, PictureSource, StreamSource, TileSymbols, run_tile, split_parts
from .entropy import TableModels, Tally
from .errors import BitstreamError, ModelError, UsageError
from .pictures import Picture, load, pack_alpha, to_pil, unpack_alpha
from .tune import DEFAULT_TUNE, Tune

if TYPE_CHECKING:
    from PIL import Image

Progress = Callable[[float], None]
"""Called with the share that is done, 0…1."""

DEFAULT_QUALITY = 75.0
DEFAULT_TILE = 1024


@dataclass(frozen=True)
class Encoded:
    """A file and what the model expected of it.

    estimated_bits: [layer][tile], ideal bits under the integer tables.
    coding_seconds: time spent in the entropy coder.
    """

    data: bytes
    header: Header
    estimated_bits: tuple[tuple[float, ...], ...]
    coding_seconds: float = 0.0


@dataclass(frozen=True)
class Decoded:
    """A picture, and remarks about what is missing or may differ."""

    picture: Picture
    remarks: tuple[str, ...]


def quality_index(quality: float) -> int:
    """Quality 0…100 as a number of quarter steps.

    Raises:
        UsageError: out of range, or no multiple of 1/4.
    """
    index = round(quality * 4) if 0 <= quality <= 100 else -1  # nan compares with nothing
    if index < 0 or abs(quality * 4 - index) > 1e-6:
        raise UsageError(f"quality {quality:g} is not a multiple of 0.25 in 0…100")
    return index


@lru_cache(maxsize=8)
def table_models(stored: StoredModel) -> TableModels:
    """A model's tables ready to code with."""
    return TableModels(stored.tables)


@lru_cache(maxsize=1)
def choice_costs() -> npt.NDArray[np.float32]:
    """What magnitudes cost where symbols are chosen, (scale indices, magnitudes), bits."""
    return logistic_costs(scale(np.arange(SCALES)))


def _runtime(stored: StoredModel, device: str) -> Any:
    import torch

    from ..models.runtime import runtime

    try:
        torch.device(device)
        if device.startswith("cuda") and not torch.cuda.is_available():
            raise UsageError(f"device {device!r}: no GPU is to be had here; use --device cpu")
        return runtime(stored, device)
    except WeightsError as e:
        raise ModelError(str(e)) from e
    except RuntimeError as e:
        raise UsageError(f"device {device!r}: {str(e).splitlines()[0]}") from e


def _default_model() -> StoredModel:
    try:
        return weights.default()
    except WeightsError as e:
        raise ModelError(str(e)) from e


def load_model(path: str | os.PathLike[str] | None) -> StoredModel | None:
    """A weights file, as `dctcodec export` writes it, for `encode_picture` and `decode_picture`.

    None gives None, which stands for the released models there.

    Raises:
        ModelError: it is missing, damaged, or no weights file.
    """
    try:
        return None if path is None else weights.load(Path(path))
    except WeightsError as e:
        raise ModelError(str(e)) from e


def default_runtime(quality_index: int, device: str = "cpu") -> tuple[StoredModel, Any]:
    """The model that encodes, its weights for a quality, and its networks ready to run.

    Raises:
        ModelError: it is missing or damaged.
    """
    stored = _default_model().at(quality_index)
    return stored, _runtime(stored, device)


def find_model(prior_id: bytes, model: StoredModel | None = None) -> StoredModel:
    """The model that wrote a file: the one given, if it did, or a released one.

    Raises:
        ModelError: there is none.
    """
    try:
        stored = weights.find(prior_id, model)
    except WeightsError as e:
        raise ModelError(str(e)) from e
    if stored is None:
        raise ModelError(
            f"the file needs the model {prior_id.hex()}, which is not installed; "
            "a newer dctcodec may have it, or name its weights file (--weights)"
        )
    return stored


def encode(
    image: str | os.PathLike[str] | bytes | Image.Image | npt.NDArray[np.uint8],
    quality: float = DEFAULT_QUALITY,
    *,
    layers: int | None = None,
    tile: int = DEFAULT_TILE,
    device: str = "cpu",
    strip: bool = False,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    progress: Progress | None = None,
    target_bytes: int | None = None,
    target_bpp: float | None = None,
    target_psnr: float | None = None,
    effort: int = DEFAULT_EFFORT,
    tune: str = DEFAULT_TUNE,
    weights_file: str | os.PathLike[str] | None = None,
) -> bytes:
    """Compress a picture.

    Args:
        image: a path, the bytes of an image file, a PIL image, or a uint8 array (h, w), (h, w, 3)
            or (h, w, 4).
        quality: 0 (smallest) … 100 (finest), a multiple of 1/4.
        layers: latent layers to keep; fewer give a smaller, coarser file. None: all; 0: context
            only.
        tile: side of a tile in pixels, a multiple of 32.
        device: where the networks run, as torch names it.
        strip: leave out EXIF and the ICC profile.
        max_pixels: refuse larger pictures.
        progress: called with the share that is done.
        target_bytes, target_bpp, target_psnr: one of them chooses the quality, in place of
            `quality`: size of the file in bytes or in bits per pixel, reached within 1 %, or PSNR
            in dB, within 0.05 dB; the nearest there is where the range does not allow that
            (`target.encode_to_target` says so).
        effort: 0 and 1 weigh each symbol's bits against its error, 2…9 search longer and longer
            for better symbols (seconds to minutes); files decode alike.
        tune: what the encoder aims at: `psnr`, `ms-ssim`, which spends less where a picture is
            busy, or `balanced` between them; files decode alike.
        weights_file: of a model to encode with in place of the released one; decoding needs it.

    Returns:
        a whole .dctc file.

    Raises:
        ImageError: no picture, or too large; UsageError: an argument is out of range; ModelError.
    """
    picture = load(image, max_pixels=max_pixels, strip=strip)
    settings: dict[str, Any] = {
        "layers": layers,
        "tile": tile,
        "device": device,
        "progress": progress,
        "effort": effort,
        "tune": tune,
        "model": load_model(weights_file),
    }
    if (target_bytes, target_bpp, target_psnr) != (None, None, None):
        from .target import encode_to_target, goal_of

        goal = goal_of(picture, target_bytes, target_bpp, target_psnr)
        assert goal is not None
        return encode_to_target(picture, goal, **settings).encoded.data
    return encode_picture(picture, quality, **settings).data


def encode_picture(
    picture: Picture,
    quality: float = DEFAULT_QUALITY,
    *,
    layers: int | None = None,
    tile: int = DEFAULT_TILE,
    device: str = "cpu",
    progress: Progress | None = None,
    frugality: float = FRUGALITY,
    model: StoredModel | None = None,
    tally: Tally | None = None,
    effort: int = DEFAULT_EFFORT,
    tune: str = DEFAULT_TUNE,
) -> Encoded:
    """As `encode`, from a loaded picture; also gives the estimated bits.

    Args:
        frugality: see `engine.PictureSource`.
        model: None: the released default.
        tally: see `entropy.Tally`; not told of what a search finds.
        effort: as `encode`. Pictures with layers left out are not searched.
        tune: as `encode`.
    """
    from .tiler import padded_tile_box, pixel_window, with_halo

    index, how, aim = quality_index(quality), Effort(effort), Tune(tune)
    if tile < 32 or tile % 32 or tile > 65536:
        raise UsageError(f"tile side {tile} is not a multiple of 32 in 32…65536")
    stored = (model or _default_model()).at(index)
    most = stored.cfg.layers
    kept = most if layers is None else layers
    if not 0 <= kept <= most:
        raise UsageError(f"layers {kept} is not in 0…{most}")
    height, width = picture.pixels.shape[:2]
    extra = {"alpha": pack_alpha(picture.alpha) if picture.alpha is not None else b""}
    extra |= {"icc": picture.icc or b"", "exif": picture.exif or b""}
    extra = {k: v for k, v in extra.items() if v}
    header = Header(
        width=width,
        height=height,
        quality_index=index,
        tile=tile,
        layers=kept,
        prior_id=stored.prior_id,
        synthesis_id=stored.synthesis_id,
        grayscale=picture.pixels.ndim == 2,
        alpha="alpha" in extra,
        icc="icc" in extra,
        exif="exif" in extra,
    )
    run = _runtime(stored, device)
    models = table_models(stored)
    q, ops = run.quality(index), run.ops(index)
    context_weight, part_weights = symbol_weights(stored.cfg, q)
    part_weights = [w * aim.band(p) for w, p in zip(part_weights, stored.cfg.parts, strict=True)]
    chunks: list[list[bytes]] = [[] for _ in range(kept + 1)]
    bits: list[list[float]] = [[] for _ in range(kept + 1)]
    coding = 0.0
    for i in range(header.tiles):
        box = padded_tile_box(header, i)
        window = with_halo(box, header)
        place = box[0] - window[0], box[1] - window[1], box[2], box[3]
        x = pixel_window(picture.pixels, window).to(run.device) - GREY
        c = run.context(x, q)
        analyse = partial(_analyse, run, q, x, c, place)
        worth = aim.worth(x)
        at_pixels, places = None, None
        if worth is not None:
            at_pixels = aim.places(worth, 1)[:, :, place[1] :, place[0] :][:, :, : box[3], : box[2]]
            strides = {p.stride for p in stored.cfg.parts}
            places = {s: _cut(aim.places(worth, s), place, s).reshape(-1) for s in strides}
        choose = partial(
            PictureSource,
            stored,
            models,
            _cut(c, place, BLOCK),
            context_weight=context_weight,
            weight=part_weights,
            costs=choice_costs(),
            layers=kept,
            places=places,
        )
        size = box[3] // BLOCK, box[2] // BLOCK
        walked = partial(run_tile, ops, stored.cfg, *size, table=stored.centroids)
        steps: list[Any] = []  # what the tally is told, once it is known which symbols are sent
        told = partial(_note, steps) if tally else None
        source = choose(analyse=analyse, frugality=frugality, tally=told)
        symbols = walked(source)
        if how.iterations and kept == most:
            inside = pixel_window(picture.pixels, box).to(run.device)
            better = searched(run, index, inside, analyse, symbols.latents, how, at_pixels)
            others: list[Any] = []
            told = partial(_note, others) if tally else None
            other = choose(analyse=better, frugality=how.thrift_after_search(frugality), tally=told)
            found = walked(other)
            coding += source.coding_seconds()
            judge = partial(cost, run, q, inside, at_pixels)
            if judge(found, other) < judge(symbols, source):
                source, steps = other, others
        for step in steps:
            assert tally is not None
            tally(*step)
        for layer, (chunk, estimate) in enumerate(
            zip(source.chunks(), source.estimates(), strict=True)
        ):
            chunks[layer].append(chunk)
            bits[layer].append(estimate)
        coding += source.coding_seconds()
        if progress:
            progress((i + 1) / header.tiles)
    return Encoded(write(header, chunks, extra), header, tuple(tuple(b) for b in bits), coding)


def _note(steps: list[Any], symbols: npt.NDArray[np.int32], tables: npt.NDArray[np.int32]) -> None:
    """A tally that remembers: a coding step's symbols and table numbers."""
    steps.append((symbols, tables))


def symbol_weights(
    cfg: ModelConfig, q: Any
) -> tuple[npt.NDArray[np.float32], list[npt.NDArray[np.float32]]]:
    """Bits that a squared error of one symbol is worth, per channel: context, then every part.

    q: `models.runtime.Quality`.
    """
    gains = [g[0, :, 0, 0].cpu().numpy() for g in (q.context_inverse, q.inverse16, q.inverse8)]
    context, at16, at8 = (np.asarray(g**2 / DISTORTION_WEIGHT, np.float32) for g in gains)
    parts = zip(split_parts(cfg, at16, at8), q.choice[1:], strict=True)
    return context * q.choice[0], [w * k for w, k in parts]


def _cut(a: Any, place: tuple[int, int, int, int], stride: int) -> npt.NDArray[np.float32]:
    """The tile's part of a window's plane, (channels, rows, columns). place: in pixels."""
    left, top, width, height = (n // stride for n in place)
    part = a[0, :, top : top + height, left : left + width].float().cpu().numpy()
    return np.ascontiguousarray(part)


def _analyse(
    run: Any,
    q: Any,
    x: Any,
    c: Any,
    place: tuple[int, int, int, int],
    chosen: npt.NDArray[np.float32],
) -> list[npt.NDArray[np.float32]]:
    """Latents of a tile by part, once its context is chosen (its surroundings keep theirs)."""
    import torch

    left, top, width, height = (n // BLOCK for n in place)
    c = c.round()
    c[0, :, top : top + height, left : left + width] = torch.from_numpy(chosen)
    y16, y8 = run.latents(x, c, q)
    return split_parts(run.cfg, _cut(y16, place, 16), _cut(y8, place, 8))


def decode(
    data: bytes,
    *,
    layers: int | None = None,
    temperature: float = 0.0,
    region: tuple[int, int, int, int] | None = None,
    device: str = "cpu",
    mode: Mode = "default",
    max_pixels: int = DEFAULT_MAX_PIXELS,
    progress: Progress | None = None,
    weights_file: str | os.PathLike[str] | None = None,
) -> Image.Image:
    """Decompress a .dctc file to a PIL image; arguments and errors as `decode_picture`.

    Args:
        weights_file: of the model that wrote the file, if it was not a released one.
    """
    return to_pil(
        decode_picture(
            data,
            layers=layers,
            temperature=temperature,
            region=region,
            device=device,
            mode=mode,
            max_pixels=max_pixels,
            progress=progress,
            model=load_model(weights_file),
        ).picture
    )


def decode_picture(
    data: bytes,
    *,
    layers: int | None = None,
    temperature: float = 0.0,
    region: tuple[int, int, int, int] | None = None,
    device: str = "cpu",
    mode: Mode = "default",
    max_pixels: int = DEFAULT_MAX_PIXELS,
    progress: Progress | None = None,
    tally: Tally | None = None,
    model: StoredModel | None = None,
) -> Decoded:
    """Decompress a .dctc file.

    Args:
        data: the whole file.
        layers: latent layers to use; None: all there are; 0: context only.
        temperature: layers that are not used are filled with the prior's mean (0) or drawn from
            the prior with scales times this, 0…2; the draw depends on the file alone.
        region: (left, top, width, height) in pixels: only that part, decoding only its tiles.
        mode: `default`: any damage is an error; `salvage`: every tile up to its first bad layer;
            `strict`: also refuse trailing bytes, reserved flags and non-shortest numbers.
        tally: see `entropy.Tally`; tiles may come in another order than when encoding.
        model: for files of weights that are not released; None, or another prior than the file's:
            the released one that wrote it.

    Raises:
        BitstreamError: damaged or no .dctc file; ModelError: needs a model that is not installed;
        UsageError: an argument is out of range.
    """
    from .tiler import Synthesiser, cover

    container = read(data, mode=mode, max_pixels=max_pixels)
    header = container.header
    if layers is not None and not 0 <= layers <= header.layers:
        raise UsageError(f"layers {layers} is not in 0…{header.layers}, which the file holds")
    if not 0 <= temperature <= 2:
        raise UsageError(f"temperature {temperature:g} is not in 0…2")
    x, y, w, h = region or (0, 0, header.width, header.height)
    if not (
        x >= 0 and y >= 0 and w > 0 and h > 0 and x + w <= header.width and y + h <= header.height
    ):
        raise UsageError(
            f"region {x},{y},{w},{h} is not within the picture of {header.width}x{header.height}"
        )
    if (preset := presets.find(header.prior_id)) is not None:
        picture, notes = presets.decode(container, preset, layers=layers, temperature=temperature)
        notes += tuple(lost(container, (header.layers if layers is None else layers) + 1))
        pixels = np.ascontiguousarray(picture.pixels[y : y + h, x : x + w])
        alpha = _alpha(container, (x, y, w, h))
        return Decoded(replace(picture, pixels=pixels, alpha=alpha), notes)
    stored = find_model(header.prior_id, model).at(header.quality_index)
    if header.layers > stored.cfg.layers:
        raise BitstreamError(f"{header.layers} layers; the model has {stored.cfg.layers}")
    run = _runtime(stored, device)
    remarks = []
    if header.synthesis_id != stored.synthesis_id:
        remarks.append("made for another synthesis network: pixels may differ slightly")
    use = (header.layers if layers is None else layers) + 1
    ops = run.ops(header.quality_index)
    seed = container.header_crc << 32

    def tile(i: int) -> TileSymbols:
        intact = min(use, container.intact_layers(i))
        chunks = [container.payload(layer, i) for layer in range(intact)]
        return decode_tile(stored, ops, header, i, chunks, temperature, seed + i, tally)

    drawer = Synthesiser(run, run.quality(header.quality_index), header, tile)
    out = np.empty((h, w) if header.grayscale else (h, w, 3), np.uint8)
    boxes = list(cover((x, y, w, h), header))
    for n, box in enumerate(boxes):
        part = drawer.draw(box)
        top, left = max(y, box[1]), max(x, box[0])
        bottom, right = min(y + h, box[1] + box[3]), min(x + w, box[0] + box[2])
        part = part[top - box[1] : bottom - box[1], left - box[0] : right - box[0]]
        if header.grayscale:
            part = np.asarray((part.sum(2, dtype=np.uint16) + 1) // 3, np.uint8)
        out[top - y : bottom - y, left - x : right - x] = part
        if progress:
            progress((n + 1) / len(boxes))
    remarks += lost(container, use)
    picture = Picture(
        pixels=out,
        alpha=_alpha(container, (x, y, w, h)),
        icc=container.extra("icc"),
        exif=container.extra("exif"),
        notes=(),
    )
    return Decoded(picture, tuple(remarks))


def decode_tile(
    stored: StoredModel,
    ops: Any,
    header: Header,
    index: int,
    chunks: list[bytes],
    temperature: float = 0.0,
    seed: int = 0,
    tally: Tally | None = None,
) -> TileSymbols:
    """Symbols of one tile from its leading chunks, with any executor of the prior path."""
    _, _, w, h = tile_box(header, index)
    source = StreamSource(stored, table_models(stored), chunks, temperature, seed, tally)
    size = -(-h // BLOCK), -(-w // BLOCK)
    symbols = run_tile(ops, stored.cfg, *size, source, stored.centroids)
    for layer, stream in enumerate(source.streams):
        if not stream.is_empty():
            raise BitstreamError(f"layer {layer} of tile {index} holds more than its symbols")
    return symbols


def lost(container: Container, use: int) -> list[str]:
    """One line per tile and optional chunk that salvage could not bring back, ten at most."""
    bad = [
        (i, container.intact_layers(i))
        for i in range(container.header.tiles)
        if container.intact_layers(i) < use
    ]
    lines = [
        f"tile {i}: lost from {'the context' if n == 0 else f'layer {n}'} on" for i, n in bad[:10]
    ]
    if len(bad) > 10:
        lines.append(f"and {len(bad) - 10} more tiles")
    return lines + [f"{c.kind} is lost" for c in container.losses if c.kind != "latent"]


def _alpha(container: Container, box: tuple[int, int, int, int]) -> npt.NDArray[np.uint8] | None:
    header = container.header
    packed = container.extra("alpha")
    if packed is None:
        return None
    x, y, w, h = box
    return unpack_alpha(packed, header.width, header.height)[y : y + h, x : x + w]
