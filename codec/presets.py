"""The preset `paper`: the Kodak setting of arXiv 2302.09976 (appendix G) as files.

Independent 32×32 patches; of each the 6×6 lowest DCT coefficients per colour (or 6×6 means: the
downsampling context) at 5 bits, coded against the Gaussian diffusion prior with bits-back, chained
over the patches inside one context chunk, so that the borrowed bits are paid once per picture. The
container is that of every file; the one tile covers the picture. Nothing lies below the context:
what it leaves open is drawn as its inverse transform, the mean that the context alone gives.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np

from ..models.context_priors.stored import GaussianModel
from ..models.weights import WeightsError
from .container import Container, Header, write
from .errors import BitstreamError, ModelError, UsageError
from .gaussian_prior import Executor, GaussianPrior
from .pictures import Picture, pack_alpha, unpack_alpha

FOLDER = Path(__file__).parent.parent / "models" / "context_priors" / "weights"
PRESETS = {"paper": "paper-dct", "paper-down": "paper-down"}
"""Name on the command line → weights file."""

NO_SYNTHESIS = b"\0\0"


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


def find(prior_id: bytes) -> str | None:
    """The preset that wrote a file, or None."""
    for name in PRESETS:
        if installed(name) and _load(name).prior_id == prior_id:
            return name
    return None


def encode(picture: Picture, name: str) -> bytes:
    """A whole .dctc file.

    Raises:
        UsageError, ModelError: as `prior`.
    """
    p = prior(name)
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
        layers=0,
        prior_id=p.model.prior_id,
        synthesis_id=NO_SYNTHESIS,
        grayscale=pixels.ndim == 2,
        alpha="alpha" in extra,
        icc="icc" in extra,
        exif="exif" in extra,
    )
    rgb = np.repeat(pixels[:, :, None], 3, 2) if pixels.ndim == 2 else pixels
    q = p.model.quantiser
    chunk = p.encode(q.symbols(q.coefficients(rgb))).data
    return write(header, [[chunk]], extra)


def decode(container: Container, name: str, executor: Executor = "torch") -> Picture:
    """The picture of a file that `encode` wrote; damage is an error, as nothing could be salvaged.

    Raises:
        BitstreamError: the chunk is damaged or holds no context of this size.
    """
    header = container.header
    if header.layers or header.tiles != 1:
        raise BitstreamError(
            f"{header.tiles} tiles and {header.layers} layers; a file of the preset "
            f"{name!r} has one tile and no layers"
        )
    p = prior(name, executor)
    rows, columns = -(-header.height // 32), -(-header.width // 32)
    c = p.decode(container.payload(0, 0), rows, columns)
    x = np.clip(np.rint(p.model.quantiser.picture(c)), 0, 255).astype(np.uint8)
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
