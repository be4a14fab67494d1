"""The closed forms of collapse are the optima that descent finds."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from dctcodec.eval.theory import conditional, hierarchical, linear_training, linear_vae
from dctcodec.eval.theory.linear_training import Moments, Parameters, Trained
from dctcodec.eval.theory.linear_vae import Floats

SPECTRUM = np.array([6.0, 3.0, 1.5, 0.8, 0.3])
STDS = {"decoder_std": 0.9, "prior_std": 1.3}


def moments_with(spectrum: Floats, seed: int = 0) -> Floats:
    """A random symmetric matrix with these eigenvalues."""
    rotation, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(len(spectrum),) * 2))
    return np.asarray(rotation @ np.diag(spectrum) @ rotation.T)


DATA = moments_with(SPECTRUM)
AUTO = Moments.of(DATA, DATA, DATA)
THETA = linear_vae.cross_spectrum(DATA, DATA)


def best_of(
    objective: Callable[[Parameters], torch.Tensor], shapes: dict[str, tuple[int, ...]]
) -> Trained:
    """The lower of two starts: descent may stop at a saddle."""
    starts = (linear_training.start(shapes, seed) for seed in range(2))
    runs = (linear_training.descend(objective, begin, most=1000) for begin in starts)
    return min(runs, key=lambda run: run.objective)


@pytest.mark.parametrize("fixed", [None, 0.7])
@pytest.mark.parametrize("beta", [0.3, 1.0, 2.5, 8.0])
def test_a_trained_linear_vae_lands_on_the_closed_form(beta: float, fixed: float | None) -> None:
    expected = linear_vae.optimum(
        THETA, 4, beta=beta, fixed_std=fixed, power=float(SPECTRUM.sum()), **STDS
    )
    shapes: dict[str, tuple[int, ...]] = {"U": (5, 4), "W": (4, 5)}
    if fixed is None:
        shapes["log_variance"] = (4,)
    run = best_of(
        lambda p: linear_training.vae_objective(p, AUTO, beta=beta, fixed_std=fixed, **STDS), shapes
    )
    assert run.objective == pytest.approx(expected.objective, abs=1e-7)
    found = linear_training.singular_values(run.parameters["U"])
    np.testing.assert_allclose(found, expected.decoder, atol=1e-4)
    found = linear_training.singular_values(run.parameters["W"], DATA)
    np.testing.assert_allclose(found, np.sort(expected.encoder)[::-1], atol=1e-4)
    assert expected.in_use == int((found > 1e-4).sum())
    if fixed is None:
        variances = np.sort(np.exp(run.parameters["log_variance"]))
        np.testing.assert_allclose(variances, np.sort(expected.variance), atol=1e-4)


@pytest.mark.parametrize("beta", [0.5, 1.0, 2.5])
def test_a_trained_linear_conditional_vae_lands_on_the_closed_form(beta: float) -> None:
    joint = moments_with(np.array([5.0, 3.0, 2.0, 1.2, 0.7]), seed=1)
    x, y, cross = joint[:2, :2], joint[2:, 2:], joint[2:, :2]
    eigenvalues = conditional.residual_spectrum(x, cross, y)
    expected = conditional.optimum(eigenvalues, 3, beta=beta, **STDS)
    moments = Moments.of(x, cross, y)
    run = best_of(
        lambda p: linear_training.conditional_objective(p, moments, beta=beta, **STDS),
        {"U1": (3, 3), "U2": (3, 2), "W1": (3, 2), "W2": (3, 3), "log_variance": (3,)},
    )
    assert run.objective == pytest.approx(expected.objective, abs=1e-7)
    found = linear_training.singular_values(run.parameters["U1"])
    np.testing.assert_allclose(found, expected.decoder, atol=1e-4)
    assert expected.in_use == int((found > 1e-4).sum())
    variances = np.sort(np.exp(run.parameters["log_variance"]))
    np.testing.assert_allclose(variances, np.sort(expected.variance), atol=1e-4)


@pytest.mark.parametrize("fixed", [None, 0.8])
@pytest.mark.parametrize(
    ("first_std", "beta1", "beta2", "first", "second"),
    [
        (0.5, 1.0, 1.0, 4, 4),
        (0.5, 1.0, 3.0, 4, 4),
        (0.5, 3.0, 1.0, 4, 3),
        (1.2, 1.0, 1.0, 4, 4),  # z2 codes z1's noise
        (1.2, 3.0, 1.0, 4, 2),
        (1.2, 1.0, 3.0, 3, 4),  # z2 has more dimensions than z1
    ],
)
def test_a_trained_two_latent_vae_lands_on_the_closed_form(
    first_std: float, beta1: float, beta2: float, first: int, second: int, fixed: float | None
) -> None:
    expected = hierarchical.optimum(
        THETA,
        first,
        second,
        first_std=first_std,
        beta1=beta1,
        beta2=beta2,
        fixed_second_std=fixed,
        power=float(SPECTRUM.sum()),
        **STDS,
    )
    shapes: dict[str, tuple[int, ...]] = {
        "U1": (5, first),
        "W1": (first, 5),
        "U2": (first, second),
        "W2": (second, first),
    }
    if fixed is None:
        shapes["log_variance"] = (second,)
    run = best_of(
        lambda p: linear_training.hierarchical_objective(
            p,
            AUTO,
            first_std=first_std,
            beta1=beta1,
            beta2=beta2,
            fixed_second_std=fixed,
            **STDS,
        ),
        shapes,
    )
    assert run.objective == pytest.approx(expected.objective, abs=1e-7)
    found = linear_training.singular_values(run.parameters["W1"], DATA)
    np.testing.assert_allclose(found, expected.encoder1, atol=1e-4)
    assert expected.in_use1 == int((found > 1e-4).sum())
    found = linear_training.singular_values(run.parameters["U2"])
    shared = min(first, second)
    np.testing.assert_allclose(found[:shared], expected.decoder2[:shared], atol=1e-3)
    assert expected.off_prior2 == int((found > 1e-3).sum())


def test_collapse_is_counted_by_the_spectrum_and_the_water_level() -> None:
    for beta, decoder_std in [(0.1, 1.0), (1.0, 1.0), (2.0, 1.0), (1.0, 2.0), (4.0, 1.5)]:
        level = beta * decoder_std**2
        got = linear_vae.optimum(THETA, 5, beta=beta, decoder_std=decoder_std)
        assert got.collapsed == int((level >= SPECTRUM).sum())
        expected = 0.5 * np.log(np.maximum(SPECTRUM / level, 1))
        np.testing.assert_allclose(got.divergence, expected, atol=1e-12)


def test_everything_collapses_where_the_decoder_variance_reaches_the_largest_eigenvalue() -> None:
    # the criterion of arXiv 2510.01621
    top = float(np.sqrt(SPECTRUM[0]))
    assert linear_vae.optimum(THETA, 5, decoder_std=1.001 * top).in_use == 0
    assert linear_vae.optimum(THETA, 5, decoder_std=0.999 * top).in_use == 1


def test_a_larger_beta_never_revives_a_dimension() -> None:
    betas = np.geomspace(0.05, 20, 40)
    counts = [linear_vae.optimum(THETA, 5, beta=float(b)).collapsed for b in betas]
    assert counts == sorted(counts) and counts[0] == 0 and counts[-1] == 5


def test_in_a_hierarchy_beta2_collapses_the_second_latent_and_beta1_revives_it() -> None:
    def in_use(beta1: float, beta2: float) -> int:
        return hierarchical.optimum(THETA, 5, 5, first_std=0.5, beta1=beta1, beta2=beta2).in_use2

    betas = [float(b) for b in np.geomspace(0.05, 20, 40)]
    by_beta2 = [in_use(1.0, b) for b in betas]
    by_beta1 = [in_use(b, 1.0) for b in betas]
    assert by_beta2 == sorted(by_beta2, reverse=True) and by_beta2[0] > by_beta2[-1]
    assert by_beta1 == sorted(by_beta1) and by_beta1[0] < by_beta1[-1]


def test_what_the_input_says_collapses_the_conditional_latent() -> None:
    variance, decoder_std = 2.0, 1.0
    edge = conditional.collapse_correlation(variance, decoder_std=decoder_std)
    for correlation, in_use in [(0.0, 1), (0.99 * edge, 1), (1.01 * edge, 0), (-1.01 * edge, 0)]:
        x, y = np.array([[1.0]]), np.array([[variance]])
        cross = np.array([[correlation * np.sqrt(variance)]])
        spectrum = conditional.residual_spectrum(x, cross, y)
        assert conditional.optimum(spectrum, 1, decoder_std=decoder_std).in_use == in_use


def test_a_second_latent_may_leave_its_prior_and_say_nothing_of_the_data() -> None:
    got = hierarchical.optimum(np.zeros(3), 3, 3, first_std=1.5)
    assert got.off_prior2 == 3 and (got.divergence2 > 0.3).all()
    assert got.in_use1 == got.in_use2 == 0


@pytest.mark.parametrize("name", ["beta", "decoder_std", "prior_std", "fixed_std"])
def test_a_setting_that_is_not_positive_is_refused_with_its_name(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name}=0"):
        linear_vae.optimum(THETA, 2, **{name: 0.0})


def test_a_two_latent_setting_that_is_not_positive_is_refused_with_its_name() -> None:
    with pytest.raises(ValueError, match="first_std=-1"):
        hierarchical.optimum(THETA, 2, 2, first_std=-1.0)


def both_learned(beta2: float, seed: int) -> Trained:
    """The two-latent model with β₁ = 1 and Σ₁ learned too."""
    shapes = {
        "U1": (5, 3),
        "W1": (3, 5),
        "U2": (3, 3),
        "W2": (3, 3),
        "log_variance": (3,),
        "log_first_variance": (3,),
    }
    return linear_training.descend(
        lambda p: linear_training.hierarchical_objective(
            p, AUTO, first_std=1.0, beta1=1.0, beta2=beta2, **STDS
        ),
        linear_training.start(shapes, seed),
        most=600,
    )


def test_with_both_variances_learned_a_dearer_second_latent_collapses_as_a_whole() -> None:
    run = both_learned(2.0, seed=0)
    assert linear_training.singular_values(run.parameters["U2"]).max() < 1e-3


def test_with_both_variances_learned_the_true_bound_does_not_mind_the_second_latent() -> None:
    runs = [both_learned(1.0, seed) for seed in range(2)]
    assert runs[0].objective == pytest.approx(runs[1].objective, abs=1e-6)
    used = [linear_training.singular_values(r.parameters["U2"]) for r in runs]
    assert np.abs(used[0] - used[1]).max() > 0.1
