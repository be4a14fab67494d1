"""Linear VAEs trained by descent, with exact expectations over the data: the closed forms' check.

The objectives are those at the heads of `linear_vae`, `conditional` and `hierarchical`, as
functions of the moments of the data, so that a run has no noise and ends at an optimum. Double
precision.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .linear_vae import Floats

Parameters = dict[str, Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class Moments:
    """Second moments of input x (n values) and output y (m values); y = x for an autoencoder."""

    inputs: Tensor  # E[x xᵀ], (n, n), double
    cross: Tensor  # E[y xᵀ], (m, n)
    outputs: Tensor  # E[y yᵀ], (m, m)

    @classmethod
    def of(cls, inputs: Floats, cross: Floats, outputs: Floats) -> Moments:
        return cls(
            inputs=torch.from_numpy(inputs),
            cross=torch.from_numpy(cross),
            outputs=torch.from_numpy(outputs),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """What a run ends with."""

    objective: float
    parameters: Mapping[str, Floats]
    evaluations: int


def mean_error(moments: Moments, linear: Tensor) -> Tensor:
    """E|A x − y|² of a linear map A, (m, n)."""
    return (
        torch.trace(linear @ moments.inputs @ linear.T)
        - 2 * torch.trace(linear @ moments.cross.T)
        + torch.trace(moments.outputs)
    )


def vae_objective(
    p: Parameters,
    moments: Moments,
    *,
    beta: float,
    decoder_std: float,
    prior_std: float,
    fixed_std: float | None = None,
) -> Tensor:
    """Objective of `linear_vae`. p: U (m, d), W (d, n), and log_variance (d,) if Σ is learned."""
    u, w = p["U"], p["W"]
    if fixed_std is None:
        log_variance = p["log_variance"]
    else:
        log_variance = torch.full((w.shape[0],), 2 * float(np.log(fixed_std)), dtype=w.dtype)
    variance = log_variance.exp()
    return (
        mean_error(moments, u @ w)
        + (u.square().sum(0) * variance).sum()
        + beta
        * (decoder_std / prior_std) ** 2
        * (torch.trace(w @ moments.inputs @ w.T) + variance.sum())
        - beta * decoder_std**2 * log_variance.sum()
    )


def conditional_objective(
    p: Parameters, moments: Moments, *, beta: float, decoder_std: float, prior_std: float
) -> Tensor:
    """Objective of `conditional`.

    p: U1 (m, d), U2 (m, n), W1 (d, n), W2 (d, m), log_variance (d,).
    """
    joint = torch.cat(
        [
            torch.cat([moments.inputs, moments.cross.T], 1),
            torch.cat([moments.cross, moments.outputs], 1),
        ]
    )
    both = Moments(
        inputs=joint,
        cross=torch.cat([moments.cross, moments.outputs], 1),
        outputs=moments.outputs,
    )
    u, w, variance = p["U1"], torch.cat([p["W1"], p["W2"]], 1), p["log_variance"].exp()
    skip = torch.cat([p["U2"], torch.zeros_like(moments.outputs)], 1)
    return (
        mean_error(both, u @ w + skip)
        + (u.square().sum(0) * variance).sum()
        + beta * (decoder_std / prior_std) ** 2 * (torch.trace(w @ joint @ w.T) + variance.sum())
        - beta * decoder_std**2 * p["log_variance"].sum()
    )


def hierarchical_objective(
    p: Parameters,
    moments: Moments,
    *,
    first_std: float,
    beta1: float,
    beta2: float,
    decoder_std: float,
    prior_std: float,
    fixed_second_std: float | None = None,
) -> Tensor:
    """Objective of `hierarchical`.

    p: U1 (m, d1), W1 (d1, n), U2 (d1, d2), W2 (d2, d1), and log_variance (d2,) if Σ₂ is learned;
    log_first_variance (d1,) if Σ₁ is learned too, which the paper leaves open: then the objective
    gains −β₁ η_dec² log|Σ₁| and `first_std` counts for nothing.
    """
    w1, w2 = p["W1"], p["W2"]
    if "log_first_variance" in p:
        log_first = p["log_first_variance"]
    else:
        log_first = torch.full((w1.shape[0],), 2 * float(np.log(first_std)), dtype=w1.dtype)
    m = w1 @ moments.inputs @ w1.T + torch.diag(log_first.exp())
    second = vae_objective(
        {"U": p["U2"], "W": w2, **{k: v for k, v in p.items() if k == "log_variance"}},
        Moments(inputs=m, cross=m, outputs=m),
        beta=beta2 / beta1,
        decoder_std=decoder_std,
        prior_std=prior_std,
        fixed_std=fixed_second_std,
    )
    error = mean_error(moments, p["U1"] @ w1) + (p["U1"].square().sum(0) * log_first.exp()).sum()
    entropy = beta1 * decoder_std**2 * log_first.sum() if "log_first_variance" in p else 0.0
    return error + beta1 * second - entropy


def start(shapes: Mapping[str, tuple[int, ...]], seed: int, spread: float = 0.3) -> Parameters:
    """Random parameters of the given shapes, double; log variances start at 0."""
    generator = torch.Generator().manual_seed(seed)
    out = {}
    for name, shape in shapes.items():
        noise = torch.randn(shape, generator=generator, dtype=torch.float64)
        out[name] = spread * noise if not name.startswith("log") else torch.zeros_like(noise)
    return out


def descend(
    objective: Callable[[Parameters], Tensor], begin: Parameters, most: int = 4000
) -> Trained:
    """Minimise by L-BFGS until it stands still, or for `most` evaluations."""
    p = {k: v.clone().requires_grad_() for k, v in begin.items()}
    optimiser = torch.optim.LBFGS(
        list(p.values()),
        max_iter=most,
        max_eval=most,
        tolerance_grad=1e-10,
        tolerance_change=1e-14,
        history_size=30,
        line_search_fn="strong_wolfe",
    )
    count = 0

    def closure() -> Tensor:
        nonlocal count
        count += 1
        optimiser.zero_grad()
        loss = objective(p)
        loss.backward()
        return loss

    optimiser.step(closure)
    with torch.no_grad():
        final = float(objective(p))
    return Trained(
        objective=final,
        parameters={k: v.detach().numpy() for k, v in p.items()},
        evaluations=count,
    )


def singular_values(matrix: Floats, moments: Floats | None = None) -> Floats:
    """Falling singular values of a matrix, after the root of the second moments of its input."""
    if moments is not None:
        values, vectors = np.linalg.eigh(moments)
        matrix = matrix @ vectors * np.sqrt(np.maximum(values, 0))
    return np.asarray(np.linalg.svd(matrix, compute_uv=False))
