"""The preset `paper`: the Kodak setting of arXiv 2302.09976 (appendix G) as files.

Independent 32×32 patches; of each the 6×6 lowest DCT coefficients per colour (or 6×6 means: the
downsampling context) at 5 bits, coded against the Gaussian diffusion prior with bits-back, chained
over the patches inside one context chunk, so that the borrowed bits are paid once per picture. The
container is that of every file; the one tile covers the picture. Below the context lie the latent
layers of `preset_layers`; those that are not in a file are drawn from their prior, or are its mean.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..models import weights
from ..models.context_priors.interface import Context
from ..models.context_priors.stored import GaussianModel
from ..models.weights import StoredModel, WeightsError
from . import preset_layers
from .container import Container, Header, write
from .errors import BitstreamError, ModelError, UsageError
from .gaussian_prior import Executor, GaussianPrior
from .pictures import Picture, pack_alpha, unpack_alpha

FOLDER = Path(__file__).parent.parent / "models" / "context_priors" / "weights"
PRESETS = {"paper": "paper-dct", "paper-down": "paper-down"}
"""Name on the command line → weights file."""

NO_SYNTHESIS = b"\0\0"
"""Of files without layers whose picture is the inverse transform of their context, no more."""

Pixels = npt.NDArray[np.uint8]


@lru_cache(maxsize=4)
def _load(name: str) -> GaussianModel:
    path = FOLDER / f"{PRESETS[name]}.safetensors"
    if not path.exists():
        raise ModelError(f"the weights of the preset {name!r} are not installed: {path.name}")
    try:
        return GaussianModel.load(path)
    except WeightsError as e:
        raise ModelError(str(e)) from e


@lru_cache(maxsize=4)
def prior(name: str, executor: Executor = "torch") -> GaussianPrior:
    """The prior of a preset.

    Raises:
        UsageError: there is no such preset; ModelError: its weights are missing or damaged.
    """
    if name not in PRESETS:
        raise UsageError(f"preset {name!r} is not one of {', '.join(PRESETS)}")
    return GaussianPrior(_load(name), executor)


def installed(name: str) -> bool:
    return (FOLDER / f"{PRESETS[name]}.safetensors").exists()


@lru_cache(maxsize=4)
def layers_model(name: str) -> StoredModel | None:
    """Weights of the layers below a preset's context; None where they are not installed.

    Raises:
        ModelError: they are damaged.
    """
    path = FOLDER / f"{PRESETS[name]}-layers.safetensors"
    if not path.exists():
        return None
    try:
        return weights.load(path)
    except WeightsError as e:
        raise ModelError(str(e)) from e


def find(prior_id: bytes) -> str | None:
    """The preset that wrote a file, or None."""
    for name in PRESETS:
        if installed(name) and _load(name).prior_id == prior_id:
            return name
    return None


def _patches(pixels: Pixels) -> Pixels:
    """(h, w, 3) → (patches, 3, 32, 32) in raster order; edges are repeated."""
    h, w = pixels.shape[:2]
    x = np.pad(pixels, ((0, -h % 32), (0, -w % 32), (0, 0)), mode="edge")
    rows, columns = x.shape[0] // 32, x.shape[1] // 32
    x = x.reshape(rows, 32, columns, 32, 3).transpose(0, 2, 4, 1, 3)
    return np.ascontiguousarray(x).reshape(-1, 3, 32, 32)


def joined(patches: Pixels, rows: int, columns: int) -> Pixels:
    """The inverse: (rows·32, columns·32, 3)."""
    x = patches.reshape(rows, columns, 3, 32, 32).transpose(0, 3, 1, 4, 2)
    return x.reshape(rows * 32, columns * 32, 3)


def encode(picture: Picture, name: str, layers: int | None = None) -> bytes:
    """A whole .dctc file.

    Args:
        layers: below the context; None: all; 0: the context alone.

    Raises:
        UsageError, ModelError: as `prior`; UsageError: so many layers are not to be had.
    """
    p, below = prior(name), layers_model(name)
    most = below.cfg.layers if below else 0
    kept = most if layers is None else layers
    if not 0 <= kept <= most:
        raise UsageError(f"layers {kept} is not in 0…{most}")
    pixels = picture.pixels
    height, width = pixels.shape[:2]
    extra = {"alpha": pack_alpha(picture.alpha) if picture.alpha is not None else b""}
    extra |= {"icc": picture.icc or b"", "exif": picture.exif or b""}
    extra = {k: v for k, v in extra.items() if v}
    header = Header(
        width=width,
        height=height,
        quality_index=0,
        tile=-(-max(width, height) // 32) * 32,
        layers=kept,
        prior_id=p.model.prior_id,
        synthesis_id=preset_layers.layers_id(below) if below else NO_SYNTHESIS,
        grayscale=pixels.ndim == 2,
        alpha="alpha" in extra,
        icc="icc" in extra,
        exif="exif" in extra,
    )
    rgb = np.repeat(pixels[:, :, None], 3, 2) if pixels.ndim == 2 else pixels
    q = p.model.quantiser
    c = q.symbols(q.coefficients(rgb))
    chunks = [p.encode(c).data]
    if below and kept:
        chunks += preset_layers.encode(below, _patches(rgb), c.reshape(len(c), -1).T, kept)
    return write(header, [[chunk] for chunk in chunks], extra)


def _context(container: Container, name: str, executor: Executor) -> Context:
    """The symbols of a file; damage to them is an error."""
    header = container.header
    if header.tiles != 1:
        raise BitstreamError(f"{header.tiles} tiles; a file of the preset {name!r} has one tile")
    rows, columns = -(-header.height // 32), -(-header.width // 32)
    return prior(name, executor).decode(container.payload(0, 0), rows, columns)


def _finished(container: Container, x: Pixels) -> Picture:
    """A picture with what the file holds beside its pixels. x: the padded pixels."""
    header = container.header
    x = x[: header.height, : header.width]
    if header.grayscale:
        x = np.asarray((x.sum(2, dtype=np.uint16) + 1) // 3, np.uint8)
    packed = container.extra("alpha")
    alpha = None if packed is None else unpack_alpha(packed, header.width, header.height)
    return Picture(
        pixels=np.ascontiguousarray(x),
        alpha=alpha,
        icc=container.extra("icc"),
        exif=container.extra("exif"),
        notes=(),
    )


def _inverse(c: Context, name: str, executor: Executor) -> Pixels:
    x = prior(name, executor).model.quantiser.picture(c)
    return np.asarray(np.clip(np.rint(x), 0, 255), np.uint8)


def context_picture(container: Container, name: str, executor: Executor = "numpy") -> Picture:
    """The inverse transform of a file's context: no layers, no torch if the executor is NumPy's.

    Raises:
        BitstreamError: the context is damaged or of another size.
    """
    return _finished(container, _inverse(_context(container, name, executor), name, executor))


def decode(
    container: Container,
    name: str,
    *,
    layers: int | None = None,
    temperature: float = 0.0,
    executor: Executor = "torch",
) -> tuple[Picture, tuple[str, ...]]:
    """The picture of a file that `encode` wrote, and remarks.

    Args:
        layers: to use; None: all there are. A damaged one ends them if the container was read to
            salvage.
        temperature: layers that are not used are the prior's mean (0), or drawn from it with scales
            times this; the draw depends on the file alone.

    Raises:
        BitstreamError: a chunk is damaged; ModelError: the layers need weights that are not here.
    """
    header = container.header
    c = _context(container, name, executor)
    use = header.layers if layers is None else layers
    use = max(0, min(use, container.intact_layers(0) - 1))
    below = layers_model(name)
    known = below is not None and header.synthesis_id == preset_layers.layers_id(below)
    if use and not known:
        raise ModelError(
            f"the file's layers need the weights {header.synthesis_id.hex()}, which are not "
            "installed; --layers context decodes what lies above them"
        )
    if below is None or not (known or temperature):
        remark = "made for other weights of its layers: the context is drawn alone"
        plain = header.synthesis_id == NO_SYNTHESIS
        return _finished(container, _inverse(c, name, executor)), () if plain else (remark,)
    chunks = [container.payload(layer, 0) for layer in range(1, use + 1)]
    seed = container.header_crc << 32
    rows, columns = c.shape[1:]
    flat = np.ascontiguousarray(c.reshape(len(c), -1).T)
    x = preset_layers.decode(below, flat, chunks, temperature, seed, executor)
    return _finished(container, joined(x, rows, columns)), ()


def draw(
    name: str, blocks: int, temperature: float, rng: np.random.Generator
) -> tuple[Pixels, Pixels | None]:
    """A context drawn from the prior as a picture, and a whole picture with the layers drawn below.

    Args:
        blocks: patches per side.

    Returns:
        two (32·blocks, 32·blocks, 3); None where the preset's layers are not installed.
    """
    c = prior(name).sample(blocks, blocks, rng, temperature)
    below, alone = layers_model(name), _inverse(c, name, "torch")
    if below is None:
        return alone, None
    flat = np.ascontiguousarray(c.reshape(len(c), -1).T)
    seed = int(rng.integers(2**62))
    return alone, joined(preset_layers.decode(below, flat, [], temperature, seed), blocks, blocks)
