"""The global optimum of the linear conditional VAE: the linear VAE of what the input leaves open.

Model: z ~ N(0, η_enc² I), y | x, z ~ N(U₁ z + U₂ x, η_dec² I); encoder
z | x, y ~ N(W₁ x + W₂ y, Σ), Σ diagonal and learned (arXiv 2306.05023, section 4.1). The path U₂
takes over everything that is linear in x, and the part of z that depends on x alone costs
divergence for nothing. What is left is the linear VAE of the residual
r = y − E[y xᵀ] E[x xᵀ]⁻¹ x, whose second moments are

    E = E[y yᵀ] − E[y xᵀ] E[x xᵀ]⁻¹ E[x yᵀ].

So with θ the eigenvalues of E (not their roots: variances), a dimension is in use if θ > β η_dec²,
and then ω² = (θ − β η_dec²)/η_enc², σ² = β η_dec² η_enc²/θ. The more x says about y, the smaller
is E and the more dimensions collapse. The same holds if the prior's mean is learned from x.
"""

from __future__ import annotations

import numpy as np

from .linear_vae import TINY, Floats, Optimum, water_level
from .linear_vae import optimum as linear_optimum


def residual_moments(inputs: Floats, cross: Floats, outputs: Floats) -> Floats:
    """E above, (m, m): what of the output's second moments the input leaves open.

    Args:
        inputs: E[x xᵀ], (n, n); n = 0 means no input.
        cross: E[y xᵀ], (m, n).
        outputs: E[y yᵀ], (m, m).
    """
    if inputs.shape[0] == 0:
        return np.array(outputs)
    left = outputs - cross @ np.linalg.pinv(inputs, rcond=TINY, hermitian=True) @ cross.T
    return np.asarray((left + left.T) / 2)


def residual_spectrum(inputs: Floats, cross: Floats, outputs: Floats) -> Floats:
    """Eigenvalues θ of E, falling, not below 0, (m,). Arguments as `residual_moments`."""
    values = np.linalg.eigvalsh(residual_moments(inputs, cross, outputs))
    return np.asarray(np.maximum(values[::-1], 0.0))


def optimum(
    eigenvalues: Floats,
    latents: int,
    *,
    beta: float = 1.0,
    decoder_std: float = 1.0,
    prior_std: float = 1.0,
) -> Optimum:
    """The global optimum of the linear conditional VAE.

    Args:
        eigenvalues: of E, variances in squared units of the data.
        latents, beta, decoder_std, prior_std: as in `linear_vae.optimum`.

    Returns:
        `decoder` are the singular values of U₁; `encoder` those of (W₁, W₂) on the whitened
        residual; `theta` the roots of the eigenvalues.
    """
    return linear_optimum(
        np.sqrt(eigenvalues),
        latents,
        beta=beta,
        decoder_std=decoder_std,
        prior_std=prior_std,
    )


def collapse_correlation(variance: float, *, beta: float = 1.0, decoder_std: float = 1.0) -> float:
    """|correlation| of a scalar output with its input from which on the latent collapses, 0…1.

    The residual variance is (1 − ρ²) variance; 0 means that it has collapsed without any input.
    """
    return float(np.sqrt(max(0.0, 1 - water_level(beta, decoder_std) / variance)))
