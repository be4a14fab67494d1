"""How good a picture is, and how much smaller one codec's files are: PSNR, MS-SSIM, BD-rate."""

from __future__ import annotations

import importlib
import math
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from ..codec.errors import UsageError

__all__ = [
    "BdPsnr",
    "BdRate",
    "Curve",
    "bd_psnr",
    "bd_rate",
    "bits_per_pixel",
    "ms_ssim",
    "ms_ssim_db",
    "psnr",
    "psnr_y",
    "ssim",
]

Pixels: TypeAlias = npt.NDArray[np.uint8]
Curve: TypeAlias = tuple[Sequence[float], Sequence[float]]
"""(rates, qualities) of the same points: bits per pixel, and dB or any measure that grows."""

MS_SSIM_SIDE = 160  # 11-tap window at the coarsest of five scales: (11 - 1)·2^4, pixels
SSIM_SIDE = 11  # taps of its window, pixels
LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601


class BdRate(NamedTuple):
    """Bits saved (negative) or spent at equal quality, and over which qualities."""

    percent: float
    low: float  # of the common interval of quality
    high: float


class BdPsnr(NamedTuple):
    """dB gained (positive) or lost at equal rate, and over which rates."""

    decibel: float
    low: float  # of the common interval of rate, bits per pixel
    high: float


def psnr(a: Pixels, b: Pixels) -> float:
    """Peak signal-to-noise ratio in dB, from the mean squared error over all samples; peak 255.

    Args:
        a: uint8, (height, width, 3) RGB or (height, width).
        b: of the same shape.

    Returns:
        dB; infinity for equal pictures.

    Raises:
        UsageError: shapes disagree, or samples are not uint8.
    """
    _check_alike(a, b)
    # In integers: exact, and half the memory of float64.
    difference = a.astype(np.int32) - b
    return _decibel(float(np.mean(np.square(difference), dtype=np.float64)))


def psnr_y(a: Pixels, b: Pixels) -> float:
    """`psnr` of the luma 0.299 R + 0.587 G + 0.114 B, not rounded; of gray pictures as they are."""
    _check_alike(a, b)
    if a.ndim == 2:
        return psnr(a, b)
    difference = (a.astype(np.float64) - b) @ LUMA
    return _decibel(float(np.mean(np.square(difference))))


def ms_ssim(a: Pixels, b: Pixels) -> float | None:
    """Multi-scale structural similarity (Wang et al. 2003), mean over the colour channels.

    Args:
        a: uint8, (height, width, 3) RGB or (height, width).
        b: of the same shape.

    Returns:
        0…1; None where the smaller side has at most 160 pixels, too few for five scales.

    Raises:
        UsageError: shapes disagree, samples are not uint8, or pytorch-msssim is not installed.
    """
    _check_alike(a, b)
    if min(a.shape[:2]) <= MS_SSIM_SIDE:
        return None
    return _similarity("ms_ssim", a, b)


def ssim(a: Pixels, b: Pixels) -> float | None:
    """Structural similarity (Wang et al. 2004), mean over the colour channels.

    Gaussian window of 11 taps, standard deviation 1.5, only where it fits: what scikit-image gives
    with `gaussian_weights=True, sigma=1.5, use_sample_covariance=False`.

    Args:
        a: uint8, (height, width, 3) RGB or (height, width).
        b: of the same shape.

    Returns:
        at most 1; None where the smaller side has less than 11 pixels.

    Raises:
        UsageError: shapes disagree, samples are not uint8, or pytorch-msssim is not installed.
    """
    _check_alike(a, b)
    return None if min(a.shape[:2]) < SSIM_SIDE else _similarity("ssim", a, b)


def ms_ssim_db(value: float) -> float:
    """−10·log10(1 − value): MS-SSIM on a scale that spreads the values near 1; 1 gives infinity."""
    return -10 * math.log10(1 - value) if value < 1 else math.inf


def bits_per_pixel(size: int, width: int, height: int) -> float:
    """Of a file of `size` bytes, all of them counted."""
    return 8 * size / (width * height)


def bd_rate(
    anchor: Curve, test: Curve, interval: tuple[float, float] | None = None
) -> BdRate | None:
    """Bjøntegaard's mean difference of rate at equal quality, without extrapolation.

    ln(rate) is interpolated as a function of quality by a monotone piecewise cubic (PCHIP) through
    each curve's points, those that cost more without being better left out. Bjøntegaard fits one
    cubic polynomial (VCEG-M33); PCHIP does not overshoot.

    Args:
        anchor: (rates, qualities), in any order; rates above 0.
        test: the same of the codec to judge; at least 3 points.
        interval: of quality, (low, high); None: all that both curves cover.

    Returns:
        exp(mean difference of ln rate) − 1 in per cent, negative where `test` needs fewer bits,
        and the interval; None where the curves do not cover the interval, or have no common one,
        or `test` has fewer than 3 points.

    Raises:
        UsageError: numbers of rates and qualities disagree, a rate is not above 0, or scipy is not
            installed.
    """
    pchip = _extra("scipy.interpolate").PchipInterpolator
    curves = [_rising(curve) for curve in (anchor, test)]
    bounds = _common([quality for quality, _ in curves], interval)
    if bounds is None:
        return None
    low, high = bounds
    ours, theirs = (
        float(pchip(quality, np.log(rate)).integrate(low, high)) for quality, rate in curves[::-1]
    )
    return BdRate(100 * math.expm1((ours - theirs) / (high - low)), low, high)


def bd_psnr(
    anchor: Curve, test: Curve, interval: tuple[float, float] | None = None
) -> BdPsnr | None:
    """Bjøntegaard's mean difference of quality at equal rate; as `bd_rate` with the axes exchanged.

    Args:
        anchor, test: as `bd_rate` takes them; qualities in dB.
        interval: of rate, (low, high), bits per pixel; None: all that both curves cover.

    Returns:
        mean difference over ln(rate) in dB, positive where `test` is better, and the interval; None
        where `bd_rate` gives None.

    Raises:
        UsageError: as `bd_rate`.
    """
    pchip = _extra("scipy.interpolate").PchipInterpolator
    curves = [_rising(curve) for curve in (anchor, test)]
    bounds = _common([rate for _, rate in curves], interval)
    if bounds is None:
        return None
    low, high = np.log(bounds)
    ours, theirs = (
        float(pchip(np.log(rate), quality).integrate(low, high)) for quality, rate in curves[::-1]
    )
    return BdPsnr((ours - theirs) / float(high - low), *bounds)


def _common(
    axes: Sequence[npt.NDArray[np.float64]], interval: tuple[float, float] | None
) -> tuple[float, float] | None:
    """What the rising coordinates of (anchor, test) both cover, or `interval` if they cover it."""
    if len(axes[0]) < 2 or len(axes[1]) < 3:
        return None
    low, high = max(float(a[0]) for a in axes), min(float(a[-1]) for a in axes)
    if interval is not None:
        slack = 1e-9  # qualities come from files with few decimals
        if low > interval[0] + slack or high < interval[1] - slack:
            return None
        low, high = interval
    return None if low >= high else (low, high)


def _rising(curve: Curve) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """(qualities, rates) by rate, without the points that are no better than a cheaper one."""
    rates, qualities = curve
    if len(rates) != len(qualities):
        raise UsageError(f"{len(rates)} rates and {len(qualities)} qualities are no curve")
    kept: list[tuple[float, float]] = []
    for rate, quality in sorted(zip(rates, qualities, strict=True)):
        if not rate > 0:
            raise UsageError(f"rate {rate} is not above 0")
        if not kept or (quality > kept[-1][0] and rate > kept[-1][1]):
            kept.append((quality, rate))
    points = np.array(kept, np.float64).reshape(-1, 2)
    return points[:, 0], points[:, 1]


def _similarity(name: str, a: Pixels, b: Pixels) -> float:
    """A measure of pytorch-msssim."""
    measure = getattr(_extra("pytorch_msssim"), name)
    import torch

    def planes(pixels: Pixels) -> torch.Tensor:
        channels = pixels.reshape(*pixels.shape[:2], -1).transpose(2, 0, 1)
        return torch.from_numpy(channels.astype(np.float32))[None]

    with torch.inference_mode():
        return float(measure(planes(a), planes(b), data_range=255.0))


def _decibel(mean_squared_error: float) -> float:
    return 10 * math.log10(255**2 / mean_squared_error) if mean_squared_error else math.inf


def _check_alike(a: Pixels, b: Pixels) -> None:
    if a.shape != b.shape:
        raise UsageError(f"pictures of shapes {a.shape} and {b.shape} cannot be compared")
    for pixels in (a, b):
        if pixels.dtype != np.uint8:
            raise UsageError(f"samples are {pixels.dtype}, not uint8 with values 0…255")


def _extra(module: str) -> Any:
    """A module of the extra `eval`."""
    try:
        return importlib.import_module(module)
    except ImportError:
        name = module.split(".")[0].replace("_", "-")
        raise UsageError(f"needs {name}: pip install 'dctcodec[eval]'") from None
