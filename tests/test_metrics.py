"""Metrics against other people's: scikit-image, published numbers, measured anchors."""

from __future__ import annotations

import csv
import io
import math
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from dctcodec.codec.errors import UsageError
from dctcodec.eval.benchmark.published import published
from dctcodec.eval.jpeg import QUALITIES, decode_jpeg, encode_jpeg, jpeg_at_size
from dctcodec.eval.metrics import (
    BdRate,
    Curve,
    bd_psnr,
    bd_rate,
    bits_per_pixel,
    ms_ssim,
    ms_ssim_db,
    psnr,
    psnr_y,
    ssim,
)

Pixels = npt.NDArray[np.uint8]
ANCHORS = Path(__file__).parents[2] / "shared" / "anchors"
KODAK = ANCHORS.parent / "data" / "kodak"
needs_anchors = pytest.mark.skipif(
    not (ANCHORS / "bd_rates.csv").is_file(), reason="needs the measured curves beside the clone"
)
needs_kodak = pytest.mark.skipif(
    not (KODAK / "kodim01.png").is_file(), reason="needs the Kodak pictures beside the clone"
)
RATES, DECIBELS = [0.2, 0.4, 0.8, 1.6], [28.0, 31.0, 34.5, 38.0]


@pytest.fixture
def noisy(photo: Pixels) -> Pixels:
    noise = np.random.default_rng(5).normal(0, 9, photo.shape)
    return np.clip(photo + noise, 0, 255).round().astype(np.uint8)


# PSNR


def test_psnr_is_that_of_scikit_image(photo: Pixels, noisy: Pixels) -> None:
    metrics = pytest.importorskip("skimage.metrics", reason="needs scikit-image (extra `eval`)")
    for a, b in ((photo, noisy), (photo[:, :, 0], noisy[:, :, 0]), (photo[:1, :1], noisy[:1, :1])):
        expected = metrics.peak_signal_noise_ratio(a, b, data_range=255)
        assert psnr(a, b) == pytest.approx(expected, abs=1e-9)


def test_psnr_of_known_errors() -> None:
    black = np.zeros((4, 4, 3), np.uint8)
    assert psnr(black, black + 1) == pytest.approx(48.1308, abs=1e-4)  # 20·log10(255)
    assert psnr(black, black + 255) == 0  # 8-bit arithmetic would wrap around
    assert psnr(black + 255, black) == 0
    assert psnr(black, black) == psnr_y(black, black) == math.inf


def test_luma_psnr_weighs_the_channels() -> None:
    black = np.zeros((4, 4, 3), np.uint8)
    for channel, weight in enumerate((0.299, 0.587, 0.114)):
        other = black.copy()
        other[:, :, channel] = 10
        assert psnr_y(black, other) == pytest.approx(20 * math.log10(255 / (10 * weight)))
    assert psnr_y(black[:, :, 0], black[:, :, 0] + 3) == psnr(black[:, :, 0], black[:, :, 0] + 3)


@pytest.mark.parametrize("measure", [psnr, psnr_y, ms_ssim, ssim])
def test_pictures_that_cannot_be_compared_are_refused(measure: object) -> None:
    assert callable(measure)
    a = np.zeros((4, 4, 3), np.uint8)
    with pytest.raises(UsageError, match=r"\(4, 4, 3\) and \(4, 5, 3\)"):
        measure(a, np.zeros((4, 5, 3), np.uint8))
    with pytest.raises(UsageError, match="float64, not uint8"):
        measure(a, np.zeros((4, 4, 3)))


def test_bits_per_pixel_counts_every_byte() -> None:
    assert bits_per_pixel(49152, 768, 512) == 1.0


# MS-SSIM


def test_ms_ssim_needs_more_than_160_pixels(photo: Pixels) -> None:
    pytest.importorskip("pytorch_msssim", reason="needs pytorch-msssim (extra `eval`)")
    assert ms_ssim(photo[:160], photo[:160]) is None
    assert ms_ssim(photo[:, :160], photo[:, :160]) is None
    assert ms_ssim(photo[:161, :161], photo[:161, :161]) == pytest.approx(1, abs=1e-6)


def test_ms_ssim_falls_with_the_error(photo: Pixels, noisy: Pixels) -> None:
    pytest.importorskip("pytorch_msssim", reason="needs pytorch-msssim (extra `eval`)")
    value, gray = ms_ssim(photo, noisy), ms_ssim(photo[:, :, 1], noisy[:, :, 1])
    assert value is not None and gray is not None
    assert 0.9 < value < 0.999 and 0.9 < gray < 0.999


def test_ms_ssim_is_that_of_pytorch_msssim(photo: Pixels, noisy: Pixels) -> None:
    library = pytest.importorskip("pytorch_msssim", reason="needs the extra `eval`")
    import torch

    a, b = (torch.from_numpy(p).permute(2, 0, 1)[None].double() for p in (photo, noisy))
    expected = library.ms_ssim(a, b, data_range=255, size_average=False)
    assert ms_ssim(photo, noisy) == pytest.approx(expected.item(), abs=1e-6)


# SSIM


def test_ssim_is_that_of_scikit_image(photo: Pixels, noisy: Pixels) -> None:
    pytest.importorskip("pytorch_msssim", reason="needs pytorch-msssim (extra `eval`)")
    metrics = pytest.importorskip("skimage.metrics", reason="needs scikit-image (extra `eval`)")
    # Wang et al.'s constants, as scikit-image's documentation gives them.
    wang = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    for a, b in ((photo, noisy), (photo, photo[::-1]), (photo[:13, :11], noisy[:13, :11])):
        expected = metrics.structural_similarity(a, b, data_range=255, channel_axis=2, **wang)
        assert ssim(a, b) == pytest.approx(expected, abs=5e-5)  # float32 here
        gray = metrics.structural_similarity(a[:, :, 1], b[:, :, 1], data_range=255, **wang)
        assert ssim(a[:, :, 1], b[:, :, 1]) == pytest.approx(gray, abs=5e-5)  # float32 here


def test_ssim_needs_a_window(photo: Pixels) -> None:
    pytest.importorskip("pytorch_msssim", reason="needs pytorch-msssim (extra `eval`)")
    assert ssim(photo[:10], photo[:10]) is None
    assert ssim(photo[:11, :11], photo[:11, :11]) == pytest.approx(1, abs=1e-6)


def test_ms_ssim_in_decibel() -> None:
    assert ms_ssim_db(0.9) == pytest.approx(10)
    assert ms_ssim_db(0.99) == pytest.approx(20)
    assert ms_ssim_db(0) == 0
    assert ms_ssim_db(1) == math.inf


@pytest.mark.parametrize("missing", ["pytorch_msssim", "scipy.interpolate"])
def test_a_missing_extra_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)  # as if it were not installed
    picture, curve = np.zeros((200, 200), np.uint8), (RATES, DECIBELS)
    with pytest.raises(UsageError, match=r"pip install 'dctcodec\[eval\]'"):
        ms_ssim(picture, picture) if "msssim" in missing else bd_rate(curve, curve)


# BD-rate


def need_scipy() -> None:
    pytest.importorskip("scipy", reason="needs scipy (extra `eval`)")


def test_a_curve_saves_nothing_against_itself() -> None:
    need_scipy()
    result = bd_rate((RATES, DECIBELS), (RATES, DECIBELS))
    assert result == BdRate(0, 28, 38)


@pytest.mark.parametrize("factor", [0.5, 0.9, 1.25])
def test_files_smaller_by_a_factor_give_that_factor(factor: float) -> None:
    need_scipy()
    result = bd_rate((RATES, DECIBELS), ([factor * r for r in RATES], DECIBELS))
    assert result is not None and result.percent == pytest.approx(100 * (factor - 1))


def test_anchor_and_test_exchanged_give_the_reciprocal() -> None:
    need_scipy()
    other = ([0.15, 0.33, 0.7, 1.3], [28.5, 31.5, 34.0, 37.0])
    there, back = bd_rate((RATES, DECIBELS), other), bd_rate(other, (RATES, DECIBELS))
    assert there is not None and back is not None
    assert (1 + there.percent / 100) * (1 + back.percent / 100) == pytest.approx(1)
    assert there[1:] == back[1:] == (28.5, 37)


def test_order_and_wasteful_points_do_not_matter() -> None:
    need_scipy()
    shuffled = ([1.6, 0.4, 0.9, 0.2, 0.8], [38.0, 31.0, 34.0, 28.0, 34.5])  # 0.9 for less than 0.8
    assert bd_rate((RATES, DECIBELS), shuffled) == BdRate(0, 28, 38)


def test_nothing_is_extrapolated() -> None:
    need_scipy()
    anchor: Curve = (RATES, DECIBELS)
    assert bd_rate(anchor, (RATES, [d + 20 for d in DECIBELS])) is None
    assert bd_rate(anchor, anchor, (27, 37)) is None
    assert bd_rate(anchor, anchor, (30, 38.5)) is None
    assert bd_rate(anchor, anchor, (30, 37)) == BdRate(0, 30, 37)
    assert bd_rate(anchor, (RATES[:2], DECIBELS[:2])) is None  # too few points


def test_curves_that_are_none_are_refused() -> None:
    need_scipy()
    with pytest.raises(UsageError, match="3 rates and 4 qualities"):
        bd_rate((RATES, DECIBELS), (RATES[:3], DECIBELS))
    with pytest.raises(UsageError, match=r"rate 0\.0 is not above 0"):
        bd_rate((RATES, DECIBELS), ([0.0, *RATES[1:]], DECIBELS))


def test_quality_gained_at_equal_rate() -> None:
    need_scipy()
    better: Curve = (RATES, [d + 1.5 for d in DECIBELS])
    result = bd_psnr((RATES, DECIBELS), better)
    assert result is not None and result == pytest.approx((1.5, 0.2, 1.6))
    back = bd_psnr(better, (RATES, DECIBELS), (0.3, 1.0))
    assert back is not None and back == pytest.approx((-1.5, 0.3, 1.0))
    assert bd_psnr((RATES, DECIBELS), ([r + 9 for r in RATES], DECIBELS)) is None
    assert bd_psnr((RATES, DECIBELS), better, (0.1, 1.0)) is None


def other_curves() -> list[Curve]:
    """Published ones, with the first as their anchor."""
    return [([bpp for bpp, _ in c.psnr], [db for _, db in c.psnr]) for c in published().values()]


def test_bd_figures_are_those_of_an_independent_package() -> None:
    need_scipy()
    other = pytest.importorskip("bjontegaard", reason="pip install bjontegaard")
    anchor, *curves = other_curves()
    settings = {"method": "pchip", "require_matching_points": False, "min_overlap": 0}
    for curve in curves:
        result, gain = bd_rate(anchor, curve), bd_psnr(anchor, curve)
        assert result is not None and gain is not None
        words = (*anchor, *curve)
        assert result.percent == pytest.approx(other.bd_rate(*words, **settings), abs=0.01)
        assert gain.decibel == pytest.approx(other.bd_psnr(*words, **settings), abs=0.001)


# Against VTM 18.0 over the whole common interval, by the script that comes with the curves; it was
# checked against the package `bjontegaard` in its turn.
PUBLISHED_PAIRS = {
    "hpcm-large": -19.39,
    "lalic": -14.69,
    "mlic++": -14.41,
    "tcm-large": -11.15,
    "elic": -6.37,
    "qres-vae": -4.03,
    "cool-chic-4.2": 1.55,
    "vtm-9.1": 0.17,
}


@pytest.mark.parametrize("name", PUBLISHED_PAIRS)
def test_bd_rates_of_published_pairs(name: str) -> None:
    need_scipy()
    curves = {n: c.psnr for n, c in published().items()}
    anchor, test = (tuple(zip(*curves[n], strict=True)) for n in ("vtm-18.0", name))
    result = bd_rate((anchor[0], anchor[1]), (test[0], test[1]))
    assert result is not None and result.percent == pytest.approx(PUBLISHED_PAIRS[name], abs=0.0051)


def mean_curve(path: Path) -> Curve | None:
    """Mean bits per pixel and mean PSNR at each quality, or a published curve of such means."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    if "image" not in rows[0]:
        if not rows[0]["psnr"]:
            return None
        return [float(r["bpp"]) for r in rows], [float(r["psnr"]) for r in rows]
    by_quality = defaultdict(list)
    for row in rows:
        by_quality[float(row["quality"])].append((float(row["bpp"]), float(row["psnr_rgb"])))
    means = np.array(
        [np.mean(points, axis=0) for points in by_quality.values() if len(points) == 24]
    )
    return means[:, 0].tolist(), means[:, 1].tolist()


@needs_anchors
def test_bd_rates_are_those_of_the_measured_anchors() -> None:
    need_scipy()
    anchor = mean_curve(ANCHORS / "measured" / "jpeg420_optimize.csv")
    assert anchor is not None
    with (ANCHORS / "bd_rates.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    compared = 0
    for row in rows:
        curve = mean_curve(ANCHORS / row["kind"] / f"{row['codec']}.csv")
        for column, interval in (
            ("bd_psnr_overlap", None),
            ("bd_psnr_30.5_37", (30.5, 37.0)),
            ("bd_psnr_32.5_37", (32.5, 37.0)),
        ):
            result = None if curve is None else bd_rate(anchor, curve, interval)
            if not row[column]:
                assert result is None, (row["codec"], column)
                continue
            assert result is not None, (row["codec"], column)
            assert result.percent == pytest.approx(float(row[column]), abs=0.0051), row["codec"]
            if interval is None:
                ends = float(row["psnr_lo"]), float(row["psnr_hi"])
                assert result[1:] == pytest.approx(ends, abs=0.0051), row["codec"]
            compared += 1
    assert compared > 50


# JPEG


def test_jpeg_is_4_2_0_with_optimised_tables_and_no_metadata(photo: Pixels) -> None:
    image = Image.fromarray(photo)
    image.info.update(exif=b"Exif\0\0II*\0", icc_profile=bytes(200), comment=b"words")
    data = encode_jpeg(image, 75)
    with Image.open(io.BytesIO(data)) as jpeg:
        assert jpeg.layer[0][1:3] == (2, 2)  # type: ignore[attr-defined]
        assert not {"exif", "icc_profile", "comment"} & set(jpeg.info)
    assert data == encode_jpeg(photo, 75)
    plain = io.BytesIO()
    Image.fromarray(photo).save(plain, "JPEG", quality=75, subsampling="4:2:0")
    assert len(data) < len(plain.getvalue())
    assert decode_jpeg(data).shape == photo.shape
    assert decode_jpeg(encode_jpeg(photo[:, :, 0], 75)).shape == photo.shape[:2]


@pytest.mark.parametrize("quality", [0, 101, -1])
def test_jpeg_qualities_are_1_to_100(photo: Pixels, quality: int) -> None:
    with pytest.raises(UsageError, match=f"{quality} is not in 1…100"):
        encode_jpeg(photo, quality)


def test_the_best_jpeg_that_fits_is_found(photo: Pixels) -> None:
    crop = photo[:96, :96]
    files = [encode_jpeg(crop, quality) for quality in QUALITIES]
    sizes = [len(data) for data in files]
    assert sizes == sorted(sizes)  # or bisection would have no point
    for target in (sizes[0], sizes[49] - 1, sizes[49], sizes[74] + 1, sizes[99], 10**6):
        assert len(jpeg_at_size(crop, target)) == max(s for s in sizes if s <= target)
    assert jpeg_at_size(crop, 10) == files[0]  # nothing fits


@needs_anchors
@needs_kodak
def test_the_anchor_is_made_as_the_measured_one_was() -> None:
    # Bytes may differ between releases of libjpeg-turbo, but hardly.
    with (ANCHORS / "measured" / "jpeg420_optimize.csv").open(newline="") as file:
        rows = [r for r in csv.DictReader(file) if r["image"] == "kodim01"]
    with Image.open(KODAK / "kodim01.png") as image:
        pixels = np.array(image)
    for row in rows[::5]:
        data = encode_jpeg(pixels, int(row["quality"]))
        decoded = decode_jpeg(data)
        assert len(data) == pytest.approx(int(row["bytes"]), rel=0.002)
        bpp = bits_per_pixel(len(data), 768, 512)
        assert bpp == pytest.approx(float(row["bpp"]), rel=0.002)
        assert psnr(pixels, decoded) == pytest.approx(float(row["psnr_rgb"]), abs=0.01)
        assert psnr_y(pixels, decoded) == pytest.approx(float(row["psnr_y"]), abs=0.01)
        value = ms_ssim(pixels, decoded)
        assert value == pytest.approx(float(row["msssim_rgb"]), abs=1e-4)
