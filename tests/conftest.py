"""Shared fixtures: a photo that ships with scikit-image, and files made from it."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

sys.path.insert(0, str(Path(__file__).parent))  # `golden`, `minimal_parser`: helpers of tests

Pixels = npt.NDArray[np.uint8]


@pytest.fixture(scope="session")
def photo() -> Pixels:
    """(200, 264, 3): a face, a flag, smooth and rough parts; no side a multiple of 32."""
    data = pytest.importorskip("skimage.data", reason="needs scikit-image (extra `eval`)")
    return np.ascontiguousarray(data.astronaut()[:200, 130:394])


@pytest.fixture(scope="session")
def photo_file(photo: Pixels) -> bytes:
    """The photo at quality 50, in four tiles."""
    from dctcodec.codec.api import encode_picture
    from dctcodec.codec.pictures import load

    return encode_picture(load(photo), 50, tile=160).data
