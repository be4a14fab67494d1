"""Linear models trained on the moments of digits, against the closed forms."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from torch import Tensor

from . import conditional, hierarchical, linear_vae
from .linear_training import (
    Moments,
    Parameters,
    conditional_objective,
    descend,
    hierarchical_objective,
    singular_values,
    start,
    vae_objective,
)
from .linear_vae import Floats
from .nonlinear import context_basis
from .study import BETAS, Row

AXES = 24
"""Digits are taken in their leading principal axes, so that descent is quick."""

LATENTS = 16

SEEN = 0.02
"""Singular values above this count as in use; near a threshold descent closes in slowly."""


def linear_rows(
    covariance: Floats, report: Callable[[str], None] | None = None, most: int = 2500
) -> list[Row]:
    """A row per model and setting: dimensions in use and singular values of the (upper) decoder.

    Args:
        covariance: of the digits, (784, 784).
        most: evaluations of the objective per run.
    """
    values, vectors = np.linalg.eigh(covariance)
    top, n, d = vectors[:, ::-1][:, :AXES], AXES, LATENTS
    data = np.diag(values[::-1][:AXES])
    moments, theta = Moments.of(data, data, data), np.sqrt(values[::-1][:AXES])
    rows: list[Row] = []

    def add(
        model: str,
        setting: float,
        objective: Callable[[Parameters], Tensor],
        shapes: dict[str, tuple[int, ...]],
        decoder: str,
        expected: Floats,
        lowest: float,
    ) -> None:
        run = descend(objective, start(shapes, 0), most)
        found = singular_values(run.parameters[decoder])[: len(expected)]
        rows.append(
            {
                "model": model,
                "setting": f"{setting:g}",
                "predicted": str(int((expected > SEEN).sum())),
                "found": str(int((found > SEEN).sum())),
                "difference": f"{np.abs(found - expected).max():.2g}",
                "objective_gap": f"{(run.objective - lowest) / abs(lowest):.2g}",
                "expected_values": " ".join(f"{v:.5f}" for v in expected),
                "found_values": " ".join(f"{v:.5f}" for v in found),
            }
        )
        if report:
            row = rows[-1]
            report(f"{model} {setting:g}: {row['found']} in use, {row['predicted']} predicted")

    shapes: dict[str, tuple[int, ...]] = {"U": (n, d), "W": (d, n), "log_variance": (d,)}
    for beta in BETAS:
        one = linear_vae.optimum(theta, d, beta=beta)
        objective = partial(
            vae_objective, moments=moments, beta=beta, decoder_std=1.0, prior_std=1.0
        )
        add("one latent, β", beta, objective, shapes, "U", one.decoder, one.objective)
    for kept in (1, 2, 4):
        seen = context_basis(kept) @ top  # the context of a digit in its principal axes
        x, cross = seen @ data @ seen.T, data @ seen.T
        given = conditional.optimum(conditional.residual_spectrum(x, cross, data), d)
        objective = partial(
            conditional_objective,
            moments=Moments.of(x, cross, data),
            beta=1.0,
            decoder_std=1.0,
            prior_std=1.0,
        )
        k = kept**2
        mine: dict[str, tuple[int, ...]] = {
            "U1": (n, d),
            "U2": (n, k),
            "W1": (d, k),
            "W2": (d, n),
            "log_variance": (d,),
        }
        add("conditional, K", kept, objective, mine, "U1", given.decoder, given.objective)
    shapes = {"U1": (n, d), "W1": (d, n), "U2": (d, d), "W2": (d, d), "log_variance": (d,)}
    settings = [("two latents, β₂", b, 1.0, b) for b in BETAS]
    settings += [("two latents, β₁ at β₂ = 4", b, b, 4.0) for b in BETAS]
    for title, beta, beta1, beta2 in settings:
        two = hierarchical.optimum(
            theta, d, d, first_std=0.5, beta1=beta1, beta2=beta2, decoder_std=0.5, prior_std=0.5
        )
        objective = partial(
            hierarchical_objective,
            moments=moments,
            first_std=0.5,
            beta1=beta1,
            beta2=beta2,
            decoder_std=0.5,
            prior_std=0.5,
        )
        add(title, beta, objective, shapes, "U2", two.decoder2, two.objective)
    return rows
