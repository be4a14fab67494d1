"""Both priors over the context: they give back what they were given, at the cost they state."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from dctcodec.codec.bitsback import NormalModels, Stack, borrowed_words
from dctcodec.codec.errors import BitstreamError, UsageError
from dctcodec.codec.gaussian_prior import GaussianPrior, GaussianShape
from dctcodec.codec.masked_prior import MaskedPrior
from dctcodec.models import weights
from dctcodec.models.context_priors.interface import ContextPrior, FitBudget
from dctcodec.models.context_priors.normal import (
    PRECISION,
    NormalTables,
    cumulative,
    deviation,
    stored_inverse,
)
from dctcodec.models.context_priors.quantise import Quantiser, as_patches, from_patches
from dctcodec.models.context_priors.stored import GaussianModel
from dctcodec.models.context_priors.unet import UnetConfig
from dctcodec.models.context_steps import ContextSteps
from dctcodec.models.integer import NumpyOps
from dctcodec.models.schedule import context_order
from dctcodec.models.topology import predict_context
from dctcodec.models.weights import WeightsError

Pixels = npt.NDArray[np.uint8]
Context = npt.NDArray[np.int32]


def small_shape(frequency_grid: bool) -> GaussianShape:
    """Quick to train: the paper's setting with few channels, or groups of 2×2 blocks."""
    if frequency_grid:
        q = Quantiser("dct", 6, np.full(108, 120.0, np.float32), 15)
        net = UnetConfig(
            channels=3, rows=6, columns=6, steps=3, width=8, low_width=8, blocks=1,
            position=True, limit=15,
        )  # fmt: skip
    else:
        q = Quantiser("dct", 2, np.full(12, 60.0, np.float32))
        net = UnetConfig(
            channels=12, rows=2, columns=2, steps=3, width=8, low_width=8, blocks=1,
            grid_bits=7, first_beta=0.001,
        )  # fmt: skip
    return GaussianShape(unet=net, frequency_grid=frequency_grid, quantiser=q)


@pytest.fixture(scope="module", params=[True, False], ids=["patches", "groups"])
def prior(request: pytest.FixtureRequest, photo: Pixels) -> GaussianPrior:
    shape = small_shape(request.param)
    fields = [
        shape.quantiser.symbols(shape.quantiser.coefficients(photo[i:, i:]))
        for i in range(0, 32, 8)
    ]
    return GaussianPrior.fitted(shape, fields, FitBudget(steps=20, batch=16))


@pytest.fixture(scope="module")
def context(prior: GaussianPrior, photo: Pixels) -> Context:
    q = prior.model.quantiser
    return q.symbols(q.coefficients(photo[:160]))  # 5 × 9 blocks


@pytest.fixture(scope="module")
def masked() -> MaskedPrior:
    return MaskedPrior.of_model(weights.default(), 120)


def masked_context(photo: Pixels) -> Context:
    q = Quantiser.of_model(weights.default(), 120)
    return q.symbols(q.coefficients(photo))


def check_round_trip(prior: ContextPrior, c: Context) -> None:
    """Decoding returns the symbols, and the bytes are what the integer network says they cost."""
    coded = prior.encode(c)
    assert np.array_equal(prior.decode(coded.data, *c.shape[1:]), c)
    assert abs(8 * len(coded.data) - coded.cost - coded.initial) <= max(0.01 * coded.cost, 64)


def test_a_gaussian_prior_gives_back_a_photo_at_its_cost(
    prior: GaussianPrior, context: Context
) -> None:
    check_round_trip(prior, context)


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (3, 2)])
def test_a_gaussian_prior_codes_any_size(prior: GaussianPrior, shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(3)
    n = 3 * prior.model.quantiser.kept**2
    check_round_trip(prior, rng.integers(-3, 4, (n, *shape)).astype(np.int32))


def test_symbols_far_outside_the_range_are_escaped(prior: GaussianPrior) -> None:
    c = np.zeros((3 * prior.model.quantiser.kept**2, 2, 3), np.int32)
    limit = prior.model.cfg.limit
    c[5, 0, 0], c[7, 1, 1] = (limit, -limit) if limit else (900, -4095)
    check_round_trip(prior, c)
    if limit:
        c[0, 0, 0] = limit + 1
        with pytest.raises(UsageError, match="beyond 15"):
            prior.encode(c)


def test_real_bits_are_near_the_float_bound(prior: GaussianPrior, context: Context) -> None:
    likelihood = prior.nll_bits(context)
    assert likelihood.coded == pytest.approx(likelihood.bound, rel=0.1)


def test_the_numpy_executor_and_threads_write_the_same_bytes(
    prior: GaussianPrior, context: Context
) -> None:
    data = prior.encode(context).data
    other = prior.with_executor("numpy")
    assert other.encode(context).data == data
    assert np.array_equal(other.decode(data, *context.shape[1:]), context)
    threads = torch.get_num_threads()
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            assert prior.encode(context).data == data
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("damage", ["flip", "cut", "more", "odd", "empty", "zero"])
def test_a_bad_stream_of_the_gaussian_prior_is_refused(
    prior: GaussianPrior, context: Context, damage: str
) -> None:
    data = bytearray(prior.encode(context).data)
    if damage == "flip":
        data[len(data) // 2] ^= 16
    bad = {
        "flip": bytes(data),
        "cut": bytes(data[8:]),
        "more": bytes(4) + bytes(data),
        "odd": bytes(data[:-1]),
        "empty": b"",
        "zero": bytes(data) + bytes(4),
    }[damage]
    with pytest.raises(BitstreamError):
        prior.decode(bad, *context.shape[1:])


def test_a_gaussian_prior_is_stored_and_read_back_equal(
    prior: GaussianPrior, context: Context, tmp_path: Path
) -> None:
    path = tmp_path / "x.safetensors"
    prior.model.save(path)
    read = GaussianPrior(GaussianModel.load(path))
    assert read.model.prior_id == prior.model.prior_id
    assert read.encode(context).data == prior.encode(context).data
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(WeightsError):
        GaussianModel.load(path)


def test_samples_have_the_shape_and_at_temperature_0_no_noise(prior: GaussianPrior) -> None:
    n = 3 * prior.model.quantiser.kept**2
    first, second = (prior.sample(3, 4, np.random.default_rng(k), 0.0) for k in range(2))
    assert first.shape == (n, 3, 4) and np.array_equal(first, second)
    assert prior.sample(3, 4, np.random.default_rng(0), 1.0).any()


@pytest.mark.parametrize("steps", [2, 4, 6, 8, 12])
def test_the_masked_prior_gives_back_a_photo_at_its_cost(
    masked: MaskedPrior, photo: Pixels, steps: int
) -> None:
    check_round_trip(masked.with_steps(steps), masked_context(photo))


def test_the_masked_prior_reads_the_same_with_numpy(masked: MaskedPrior, photo: Pixels) -> None:
    c = masked_context(photo)
    other = MaskedPrior.of_model(weights.default(), 120, executor="numpy")
    data = masked.encode(c).data
    assert other.encode(c).data == data
    assert np.array_equal(other.decode(data, *c.shape[1:]), c)


def test_both_likelihoods_of_the_masked_prior_are_reported(
    masked: MaskedPrior, photo: Pixels
) -> None:
    c = masked_context(photo)
    likelihood = masked.nll_bits(c)
    assert likelihood.coded == masked.encode(c).cost
    assert 0.5 * likelihood.coded < likelihood.bound < 2 * likelihood.coded


def test_bad_streams_of_the_masked_prior_are_refused(masked: MaskedPrior, photo: Pixels) -> None:
    c = masked_context(photo)
    data = masked.encode(c).data
    for bad in (data[:-1], data + bytes(4), bytes([1, 2, 3, 4]) + data):
        with pytest.raises(BitstreamError):
            masked.decode(bad, *c.shape[1:])
    with pytest.raises(UsageError):
        masked.encode(c[:5])


@pytest.mark.parametrize("executor", ["torch", "numpy"])
@pytest.mark.parametrize("size", [(1, 1), (2, 3), (5, 4)])
def test_steps_that_keep_their_sums_give_the_numbers_of_the_whole_network(
    masked: MaskedPrior, size: tuple[int, int], executor: str
) -> None:
    ops = masked.ops if executor == "torch" else NumpyOps(masked.prior, masked.quality_index)
    order = context_order(masked.cfg.context_kept, 12, *size)
    rng = np.random.default_rng(5)
    c = rng.integers(-300, 300, order.shape).astype(np.int32)
    steps = ContextSteps(ops, *size)
    for step in range(12):
        where = order == step
        if not where.any():
            continue
        known = (order < step).astype(np.float32)
        mean, index = predict_context(
            ops, ops.tensor((c * known)[None].astype(np.float32)), ops.tensor(known[None])
        )
        blocks = np.flatnonzero(where.any(0))
        flat = where.reshape(len(where), -1)
        got = steps.predict(blocks)
        assert np.array_equal(got[0][flat[:, blocks]], ops.array(mean)[0][where])
        assert np.array_equal(got[1][flat[:, blocks]], ops.array(index)[0][where])
        steps.reveal(flat, c[where])


def test_normal_tables_are_normal_and_exact() -> None:
    phi = cumulative()
    z = torch.arange(-2048, 2049, dtype=torch.float64) / 256
    assert np.abs(phi / 2**30 - torch.special.ndtr(z).numpy()).max() < 1e-9
    tables = NormalTables(stored_inverse(deviation(np.arange(64))))
    for index in (0, 17, 40, 63):
        reach = int(tables.reach[index])
        for phase in (-8, 0, 3):
            f = tables.frequencies(index, phase, -reach, reach, True)
            assert f.sum() == 2**PRECISION and f.min() >= 1
            edges = (np.arange(-reach, reach) + 0.5 - phase / 16) / deviation(index)
            cdf = torch.special.ndtr(torch.from_numpy(edges)).numpy()
            assert np.abs(np.cumsum(f)[:-2] / 2**PRECISION - cdf).max() < 3e-4


def test_popping_undoes_pushing_to_the_word() -> None:
    models = NormalModels(NormalTables(stored_inverse(deviation(np.arange(64)))))
    words = borrowed_words(20)
    stack = Stack(models, words, limit=0)
    rng = np.random.default_rng(1)
    mean, index = rng.integers(-900, 900, 400), rng.integers(0, 64, 400)
    values = np.rint(mean / 16 + 9 * deviation(index) * rng.normal(size=400)).astype(np.int64)
    stack.push(values, mean, index, bounded=False, escape=True)
    got = stack.pop(mean, index, bounded=False, escape=True)
    assert np.array_equal(got, values)
    assert np.array_equal(stack.words(), words)
    assert stack.cost == pytest.approx(0, abs=1e-6)


def test_the_first_patch_borrows_and_the_chain_pays_once(
    prior: GaussianPrior, context: Context
) -> None:
    twice = np.concatenate([context, context], 2)
    once, both = prior.encode(context), prior.encode(twice)
    assert both.initial < once.initial + 0.5 * once.cost


@pytest.mark.parametrize("rows", [1, 4, 5])
def test_patches_join_to_the_context_they_were_cut_from(rows: int) -> None:
    c = np.random.default_rng(rows).integers(-9, 9, (48, rows, 7)).astype(np.int32)
    for grid in (True, False):
        p = as_patches(c, grid, 4, 4, 4)
        assert np.array_equal(from_patches(p, grid, 4, rows, 7), c)
