"""The global optimum of the linear VAE with one latent, in closed form.

Model: z ~ N(0, η_enc² I), y | z ~ N(U z, η_dec² I); encoder z | x ~ N(W x, Σ). Objective, to be
minimised (twice the negative β-ELBO times η_dec², without constants):

    E|U W x − y|² + tr(U Σ Uᵀ) + β (η_dec/η_enc)² (E|W x|² + tr Σ) − β η_dec² log|Σ|.

With the whitened input x̃ and Z = E[y x̃ᵀ] = P diag(θ) Qᵀ, the problem falls apart into one scalar
problem per singular value θ (arXiv 2306.05023, section 3; for y = x, θ² are the eigenvalues of the
data's second moments, and β = 1 is probabilistic PCA). Per mode, with m = θ² and D = β η_dec²:

* Σ learnable and diagonal: in use if θ² > D, and then ω² = (θ² − D)/η_enc² (U),
  λ² = η_enc² (θ² − D)/θ² (W on the whitened input), σ² = η_enc² D/θ²; the divergence from the
  prior is ½ ln(θ²/D) nats. Otherwise U and W vanish and σ² = η_enc². This is reverse
  water-filling (Cover and Thomas, Elements of Information Theory, theorem 10.3.3) with the water
  level D: a mode that is in use is reconstructed with the mean squared error D, for y = x.
* Σ = σ² I fixed: in use if θ > √β (η_dec/η_enc) σ.

D grows with β and with η_dec: both collapse modes, neither revives one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

TINY = 1e-9
"""Singular values below this count as zero."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Optimum:
    """One entry per latent dimension, in falling order of θ; all arrays are (latents,)."""

    theta: Floats  # singular values of Z, filled up with zeros
    decoder: Floats  # singular values ω of U
    encoder: Floats  # singular values λ of W on the whitened input
    variance: Floats  # of the encoder, σ²
    divergence: Floats  # KL of posterior from prior, nats per datum, the latents in these axes
    objective: float  # value of the objective above

    @property
    def in_use(self) -> int:
        """Dimensions of the latent that depend on the input."""
        return int(np.sum(self.encoder > TINY))

    @property
    def collapsed(self) -> int:
        """Dimensions of the latent that do not depend on the input."""
        return len(self.theta) - self.in_use


def cross_spectrum(inputs: Floats, cross: Floats) -> Floats:
    """Singular values θ of Z = E[y x̃ᵀ], falling.

    Args:
        inputs: E[x xᵀ], (n, n), positive semi-definite.
        cross: E[y xᵀ], (m, n).

    Returns:
        (min(m, n),); for y = x the square roots of the eigenvalues of E[x xᵀ].
    """
    values, vectors = np.linalg.eigh(inputs)
    kept = values > TINY * max(float(values[-1]), TINY)
    whitened = cross @ vectors[:, kept] / np.sqrt(values[kept])
    theta = np.linalg.svd(whitened, compute_uv=False)
    return filled(theta, min(cross.shape))


def filled(theta: Floats, count: int) -> Floats:
    """The `count` largest values, falling; zeros where there are fewer.

    Raises:
        ValueError: a value is negative or no number.
    """
    if not (theta >= 0).all():
        raise ValueError("a singular value is negative or no number")
    out = np.zeros(count)
    ordered = np.sort(theta)[::-1][:count]
    out[: len(ordered)] = ordered
    return out


def water_level(beta: float, decoder_std: float) -> float:
    """D = β η_dec²: a mode with θ² ≤ D collapses. Squared units of the data."""
    return beta * decoder_std**2


def optimum(
    theta: Floats,
    latents: int,
    *,
    beta: float = 1.0,
    decoder_std: float = 1.0,
    prior_std: float = 1.0,
    fixed_std: float | None = None,
    power: float | None = None,
) -> Optimum:
    """The global optimum of the linear VAE.

    Args:
        theta: singular values of Z, ≥ 0, in units of the data.
        latents: dimensions of z.
        beta: weight of the divergence, > 0.
        decoder_std: η_dec, > 0, in units of the data.
        prior_std: η_enc, > 0, in units of z.
        fixed_std: σ of the encoder where it is not learned; None: a learned diagonal Σ.
        power: E|y|², of which the modes beyond the latents are left unexplained; default: Σ θ².

    Raises:
        ValueError: β or a deviation is not positive, or θ is no singular value.
    """
    for name, value in (("beta", beta), ("decoder_std", decoder_std), ("prior_std", prior_std)):
        if value <= 0:
            raise ValueError(f"{name}={value} is not positive")
    total = float(np.sum(theta**2)) if power is None else power
    t = filled(theta, latents)
    level, ratio = water_level(beta, decoder_std), decoder_std / prior_std
    if fixed_std is None:
        kept = np.maximum(t**2 - level, 0.0)
        safe = np.maximum(t, TINY)
        decoder = np.sqrt(kept) / prior_std
        encoder = prior_std * np.sqrt(kept) / safe
        variance = np.where(kept > 0, prior_std**2 * level / safe**2, prior_std**2)
    else:
        if fixed_std <= 0:
            raise ValueError(f"fixed_std={fixed_std} is not positive")
        k = np.sqrt(beta) * ratio * fixed_std
        kept = np.maximum(t - k, 0.0)
        decoder = np.sqrt(kept * k) / fixed_std
        encoder = fixed_std * np.sqrt(kept / k)
        variance = np.full(latents, fixed_std**2)
    scaled = variance / prior_std**2
    divergence = 0.5 * ((encoder / prior_std) ** 2 + scaled - 1 - np.log(scaled))
    objective = total + float(
        np.sum(
            (decoder * encoder - t) ** 2
            - t**2
            + decoder**2 * variance
            + beta * ratio**2 * (encoder**2 + variance)
            - level * np.log(variance)
        )
    )
    return Optimum(
        theta=t,
        decoder=decoder,
        encoder=encoder,
        variance=variance,
        divergence=divergence,
        objective=objective,
    )
