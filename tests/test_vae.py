"""The hierarchical VAE of the studies: contexts, prior, likelihoods, matching, training."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from dctcodec.models.transforms import context_basis
from dctcodec.models.vae.config import (
    ARMS,
    PAPER,
    REDUCED,
    Arm,
    DiffusionConfig,
    ScaleConfig,
    TrainConfig,
    VaeConfig,
)
from dctcodec.models.vae.context import Context, DctContext, DownsamplingContext, quantised
from dctcodec.models.vae.diffusion import DiffusionPrior
from dctcodec.models.vae.hierarchy import Hierarchy, divergences, sampled
from dctcodec.models.vae.likelihoods import Bernoulli, LogisticMixture
from dctcodec.models.vae.match import matched, size_of
from dctcodec.models.vae.train import learning_rate, train

TINY = VaeConfig(
    context_size=4,
    context_levels=3,
    top_width=1,
    scales=(ScaleConfig(side=4, layers=1, width=1), ScaleConfig(side=7, layers=2, width=1)),
    features=8,
    hidden=4,
    patch=4,
    stem_blocks=0,
    shared_features=True,
    diffusion=DiffusionConfig(steps=3, channels=4, blocks=1),
)


def pictures(count: int, channels: int = 1, side: int = 28, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, channels, side, side, generator=generator)


def test_the_dct_context_of_a_colour_picture_is_the_codecs_block_dct() -> None:
    cfg = replace(TINY, image_channels=3, image_side=32, context_size=5)
    x = pictures(2, 3, 32)
    basis = torch.from_numpy(context_basis(32, 5))  # (75, 3, 32, 32)
    expected = torch.einsum("kchw,nchw->nk", basis, x).view(2, 3, 5, 5)
    assert torch.allclose(DctContext(cfg).raw(x), expected, atol=1e-4)


def test_a_dct_context_with_all_coefficients_gives_the_picture_back() -> None:
    context = DctContext(replace(TINY, context_size=28))
    x = pictures(2)
    assert torch.allclose(context.from_raw(context.raw(x)), x, atol=1e-5)


@pytest.mark.parametrize(("size", "kernel"), [(7, 4), (14, 2), (6, 5)])
def test_a_downsampling_context_averages_and_repeats(size: int, kernel: int) -> None:
    context = DownsamplingContext(replace(TINY, context_size=size))
    x = pictures(2)
    raw = context.raw(x)
    assert raw.shape == (2, 1, size, size)
    back = context.from_raw(raw)
    assert back.shape == x.shape
    if 28 % size == 0:
        blocks = x.view(2, 1, size, kernel, size, kernel).mean((3, 5))
        assert torch.allclose(raw, blocks, atol=1e-6)
        assert torch.equal(
            back[..., :kernel, :kernel], raw[..., :1, :1].expand(2, 1, kernel, kernel)
        )


@pytest.mark.parametrize("kind", [DctContext, DownsamplingContext])
@pytest.mark.parametrize("levels", [2, 3, 7])
def test_a_context_has_so_many_levels_and_is_a_function_of_the_picture(
    kind: type[Context], levels: int
) -> None:
    context = kind(replace(TINY, context_levels=levels))
    x = pictures(50)
    context.fit(x)
    y = context(x)
    assert torch.equal(y, context(x))
    assert y.abs().max() <= 1
    assert len(torch.unique(y.round(decimals=4))) <= levels
    shown = context.picture(y)
    assert shown.shape == x.shape
    assert shown.min() >= 0 and shown.max() <= 1


def test_odd_numbers_of_levels_include_the_mean() -> None:
    assert quantised(torch.tensor([0.1, -0.9, 0.6]), 3).tolist() == [0.0, -1.0, 1.0]
    assert 0.0 not in quantised(torch.linspace(-1, 1, 9), 4).tolist()


@pytest.mark.parametrize("steps", [1, 2])
def test_the_diffusion_priors_probabilities_are_those_of_its_samples(steps: int) -> None:
    """p(y) by importance sampling is unbiased: over all symbols it sums to 1.

    Strong noise keeps the weights' variance small, so that few samples suffice.
    """
    torch.manual_seed(0)
    levels, count = 5, 40_000
    cfg = DiffusionConfig(steps=steps, channels=4, blocks=1, first_beta=0.7, last_beta=0.9)
    prior = DiffusionPrior(cfg, 1, 1, levels)
    with torch.no_grad():
        for p in prior.parameters():  # away from the symmetric start
            p.add_(0.1 * torch.randn_like(p))
        values = torch.linspace(-1, 1, levels)
        y = values.repeat_interleave(count)[:, None, None, None]
        found = prior.log_weight(y).double().exp().view(levels, count).mean(1)
        drawn = prior.sample(count).flatten()
    assert float(found.sum()) == pytest.approx(1, abs=0.02)
    for value, probability in zip(values, found.tolist(), strict=True):
        share = float(((drawn - value).abs() < 1e-3).double().mean())
        assert share == pytest.approx(probability, abs=0.02)


def test_the_bound_over_steps_is_the_mean_of_the_bound_of_one_step_and_of_paths() -> None:
    torch.manual_seed(1)
    prior = DiffusionPrior(DiffusionConfig(steps=4, channels=4, blocks=1), 1, 2, 3)
    with torch.no_grad():
        for p in prior.parameters():
            p.add_(0.1 * torch.randn_like(p))
        y = quantised(torch.rand(1, 1, 2, 2) * 2 - 1, 3).expand(20_000, 1, 2, 2)
        estimates = [prior.bound(y), prior.loss(y), -prior.log_weight(y)]
    means = [float(e.mean()) for e in estimates]
    errors = [float(e.std()) / 20_000**0.5 for e in estimates]
    for mean, error in zip(means[1:], errors[1:], strict=True):
        assert abs(mean - means[0]) < 5 * (error + errors[0])


def test_the_logistic_mixture_sums_to_one_over_the_values_of_a_channel() -> None:
    """With one component and no dependence between channels, equal values have equal masses."""
    parameters = torch.zeros(256, 10, 1, 1)
    parameters[:, 1:4], parameters[:, 4:7] = 0.3, -2.0  # means, log scales
    x = (torch.arange(256) / 255)[:, None, None, None].expand(256, 3, 1, 1)
    mass = (LogisticMixture(1).log_density(parameters, x).double() / 3).exp()
    assert float(mass.sum()) == pytest.approx(1, abs=1e-4)
    mean = float((mass * x[:, 0, 0, 0]).sum())
    assert float(LogisticMixture(1).mean(parameters)[0, 0]) == pytest.approx(mean, abs=0.01)


def test_the_logistic_mixtures_green_follows_red() -> None:
    parameters = torch.zeros(2, 10, 1, 1)
    parameters[:, 4:7], parameters[:, 7] = -3.0, 5.0  # narrow; coefficient tanh(5), about 1
    alike = torch.tensor([0.9, 0.9, 0.5])[None, :, None, None]
    other = torch.tensor([0.9, 0.1, 0.5])[None, :, None, None]
    density = LogisticMixture(1).log_density(parameters, torch.cat([alike, other]))
    assert density[0] > density[1] + 5


def test_means_and_samples_of_likelihoods_are_pictures() -> None:
    torch.manual_seed(0)
    for likelihood, channels in ((Bernoulli(1), 1), (LogisticMixture(3), 3)):
        parameters = torch.randn(2, likelihood.parameters_per_pixel, 8, 8)
        for x in (likelihood.mean(parameters), likelihood.sample(parameters)):
            assert x.shape == (2, channels, 8, 8)
            assert x.min() >= 0 and x.max() <= 1


@pytest.mark.parametrize("name", ["mnist", "photo32"])
def test_baselines_have_as_many_parameters(name: str) -> None:
    cfg = REDUCED[name].vae
    sizes = {arm: size_of(matched(cfg, arm)) for arm in ARMS}
    assert sizes["downsampling"] == sizes["dct"]
    assert abs(sizes["baseline"] / sizes["dct"] - 1) < 0.02


@pytest.mark.slow  # makes networks of 22 million parameters, without their numbers
def test_the_papers_configurations_have_its_numbers_of_layers() -> None:
    assert {n: p.vae.layers for n, p in PAPER.items()} == {
        "mnist": 8,
        "omniglot": 8,
        "cifar10": 29,
    }
    for preset in PAPER.values():
        assert abs(size_of(matched(preset.vae, "baseline")) / size_of(preset.vae) - 1) < 0.03


@pytest.mark.parametrize("arm", ARMS)
def test_a_models_terms_have_a_number_per_picture(arm: Arm) -> None:
    torch.manual_seed(0)
    model = Hierarchy(replace(TINY, arm=arm))
    x = pictures(3).round()
    model.fit(x)
    reconstruction, kl, code = model(x)
    layers = 4 if arm == "baseline" else 3
    assert [tuple(t.shape) for t in (reconstruction, *kl, code)] == [(3,)] * (layers + 2)
    assert all(bool((k >= 0).all()) for k in kl)
    assert bool((code == 0).all()) == (arm == "baseline")
    assert model.generate(2).shape == (2, 1, 28, 28)
    for kept in (1, 2, None):
        assert model.reconstruct(x, kept).shape == x.shape


def test_drawn_and_closed_divergences_agree() -> None:
    torch.manual_seed(0)
    model = Hierarchy(replace(TINY, arm="baseline"))
    x = pictures(1).round().expand(4000, 1, 28, 28)
    with torch.no_grad():
        down = model.descend(sampled, features=model.encode(x))
        closed = sum(d.mean() for d in divergences(down))
        drawn = torch.stack(
            [
                (a.posterior.log_density(a.z) - a.prior.log_density(a.z)).flatten(1).sum(1)
                for a in down.layers
                if a.posterior is not None
            ]
        ).sum(0)
    error = float(drawn.std()) / 4000**0.5
    assert abs(float(drawn.mean()) - float(closed)) < 5 * error


def test_training_lowers_the_loss_and_repeats() -> None:
    x = pictures(32).round()
    cfg = TrainConfig(steps=30, batch=8, first_rate=5e-3, skip=1e6)
    logs = []
    for _ in range(2):
        torch.manual_seed(0)
        model = Hierarchy(TINY)
        model.fit(x)
        logs.append(train(model, cfg, len(x), lambda i, _: x[i], 0).losses)
    assert logs[0] == logs[1]
    assert logs[0][-1] < logs[0][0]


def test_updates_with_large_gradients_are_left_out() -> None:
    x = pictures(8).round()
    torch.manual_seed(0)
    model = Hierarchy(TINY)
    before = [p.clone() for p in model.parameters()]
    log = train(model, TrainConfig(steps=4, batch=4, skip=0.0, grace=0), 8, lambda i, _: x[i], 0)
    assert log.skipped == 4
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_the_rate_falls_as_a_cosine() -> None:
    cfg = TrainConfig(steps=10, first_rate=1e-3, last_rate=1e-5)
    rates = [learning_rate(s, cfg) for s in range(11)]
    assert rates[0] == pytest.approx(1e-3)
    assert rates[10] == pytest.approx(1e-5)
    assert rates[5] == pytest.approx(np.mean([1e-3, 1e-5]))
    assert rates == sorted(rates, reverse=True)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"scales": ()}, "do not rise"),
        ({"patch": 3}, "does not divide"),
        ({"context_size": 29}, "context_size=29"),
        ({"context_levels": 1}, "below 2"),
    ],
)
def test_configurations_that_cannot_be_are_refused(change: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        replace(TINY, **change)  # type: ignore[arg-type]
