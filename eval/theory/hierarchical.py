"""The global optimum of the linear VAE with two latents in a chain.

Model: z₂ ~ N(0, η_enc² I), z₁ | z₂ ~ N(U₂ z₂, η_dec² I), y | z₁ ~ N(U₁ z₁, η_dec² I); encoder
z₁ | x ~ N(W₁ x, Σ₁), z₂ | z₁ ~ N(W₂ z₁, Σ₂), Σ₁ = σ₁² I fixed, Σ₂ diagonal and learned (arXiv
2306.05023, section 4.2). Objective, to be minimised (twice the negative ELBO with the divergences
of z₁ and z₂ weighted by β₁ and β₂, times η_dec², without constants):

    E|U₁ z₁ − y|² + β₁ E|U₂ z₂ − z₁|² + β₂ (η_dec/η_enc)² E|z₂|² − β₂ η_dec² log|Σ₂|.

Derivation. z₂ sees z₁ only through M = E[z₁ z₁ᵀ] = V₁ V₁ᵀ + σ₁² I: given M, the last three terms
are β₁ times a linear VAE with data M and β = β₂/β₁, whose water level is D = β₂ η_dec²/β₁. Its
optimum is, per eigenvalue m of M, f(m) = m if m ≤ D, else D + D ln(m/D). The first term is ridge
regression of y on z₁ and leaves θ² σ₁²/m of the mode θ. So each mode minimises
θ² σ₁²/m + β₁ f(m) over m ≥ σ₁²; m² times its slope is −θ² σ₁² + β₁ min(m², D m), which rises, so

    m = max(σ₁², θ σ₁/√β₁, θ² σ₁²/(β₂ η_dec²)),
    λ² = m − σ₁² (V₁),    ω² = max(0, m − D)/η_enc² (U₂),    σ₂² = η_enc² D/max(m, D).

Hence z₁ feels a mode if θ > min(√β₁ σ₁, √β₂ η_dec), and a dimension of z₂ leaves its prior if
m > D. β₂ and η_dec raise D (more of z₂ collapses); β₁ lowers it (less does) and takes modes from z₁
as long as √β₁ σ₁ < √β₂ η_dec. Where σ₁² > D every dimension of z₂ leaves the prior, also for modes
that z₁ does not feel: it then codes the noise of z₁, and its divergence says nothing about the
data. Such dimensions are counted apart.

Σ₂ = σ₂² I fixed changes f to 2k√m − k² above m = k², k = √(β₂/β₁) (η_dec/η_enc) σ₂, and with it
the third term of the maximum to (θ² σ₁²/(β₁ k))^⅔.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .linear_vae import TINY, Floats, filled


@dataclass(frozen=True, slots=True, kw_only=True)
class TwoLatentOptimum:
    """One entry per dimension, in falling order of θ; first: (first,), second: (second,)."""

    theta: Floats  # (first,), singular values of Z, filled up with zeros
    moments: Floats  # (first,), eigenvalues m of E[z₁ z₁ᵀ]
    encoder1: Floats  # (first,), singular values λ of V₁: W₁ on the whitened input
    decoder1: Floats  # (first,), singular values of U₁
    encoder2: Floats  # (second,), singular values of W₂ on the whitened z₁
    decoder2: Floats  # (second,), singular values ω of U₂
    variance2: Floats  # (second,), of the encoder of z₂
    divergence2: Floats  # (second,), KL of z₂ from its prior, nats, the mean over q(z₁ | x)
    objective: float

    @property
    def in_use1(self) -> int:
        """Modes of the data that z₁ feels."""
        return int(np.sum(self.encoder1 > TINY))

    @property
    def off_prior2(self) -> int:
        """Dimensions of z₂ that leave their prior, be it for the noise of z₁ only."""
        return int(np.sum(self.encoder2 > TINY))

    @property
    def in_use2(self) -> int:
        """Dimensions of z₂ that depend on the data."""
        n = min(len(self.encoder1), len(self.encoder2))
        return int(np.sum((self.encoder1[:n] > TINY) & (self.encoder2[:n] > TINY)))

    @property
    def collapsed2(self) -> int:
        """Dimensions of z₂ that equal their prior."""
        return len(self.encoder2) - self.off_prior2


def optimum(
    theta: Floats,
    first: int,
    second: int,
    *,
    first_std: float,
    beta1: float = 1.0,
    beta2: float = 1.0,
    decoder_std: float = 1.0,
    prior_std: float = 1.0,
    fixed_second_std: float | None = None,
    power: float | None = None,
) -> TwoLatentOptimum:
    """The global optimum of the two-latent linear VAE.

    Args:
        theta: singular values of Z as in `linear_vae`, ≥ 0.
        first, second: dimensions of z₁ and z₂.
        first_std: σ₁ of the encoder of z₁, fixed, > 0.
        beta1, beta2: weights of the two divergences, > 0.
        decoder_std, prior_std: η_dec and η_enc, > 0.
        fixed_second_std: σ₂ where Σ₂ is not learned; None: a learned diagonal Σ₂.
        power: E|y|²; default: Σ θ².

    Raises:
        ValueError: a weight or a deviation is not positive, or θ is no singular value.
    """
    named = {
        "first_std": first_std,
        "beta1": beta1,
        "beta2": beta2,
        "decoder_std": decoder_std,
        "prior_std": prior_std,
        "fixed_second_std": 1.0 if fixed_second_std is None else fixed_second_std,
    }
    for name, value in named.items():
        if value <= 0:
            raise ValueError(f"{name}={value} is not positive")
    total = float(np.sum(theta**2)) if power is None else power
    t = filled(theta, first)
    reach = np.arange(first) < second  # modes that z₂ has a dimension for
    floor, alone = first_std**2, t * first_std / np.sqrt(beta1)
    level, ratio = beta2 * decoder_std**2 / beta1, decoder_std / prior_std
    if fixed_second_std is None:
        jointly = t**2 * floor / (beta2 * decoder_std**2)
    else:
        k = np.sqrt(beta2 / beta1) * ratio * fixed_second_std
        jointly = (t**2 * floor / (beta1 * k)) ** (2 / 3)
    m = np.maximum(floor, np.maximum(alone, np.where(reach, jointly, 0.0)))
    encoder1 = np.sqrt(np.maximum(m - floor, 0.0))
    seen = filled(m, second)  # z₂'s data; zeros where it has more dimensions than z₁
    if fixed_second_std is None:
        kept = np.maximum(seen - level, 0.0)
        safe = np.maximum(seen, TINY)
        decoder2, encoder2 = np.sqrt(kept) / prior_std, prior_std * np.sqrt(kept / safe)
        variance2 = np.where(kept > 0, prior_std**2 * level / safe, prior_std**2)
    else:
        kept = np.maximum(np.sqrt(seen) - k, 0.0)
        decoder2 = np.sqrt(kept * k) / fixed_second_std
        encoder2 = fixed_second_std * np.sqrt(kept / k)
        variance2 = np.full(second, fixed_second_std**2)
    scaled = variance2 / prior_std**2
    divergence2 = 0.5 * ((encoder2 / prior_std) ** 2 + scaled - 1 - np.log(scaled))
    objective = (
        total
        + float(np.sum(t**2 * (floor / m - 1)))
        + beta1 * float(np.sum(m) - np.sum(seen))
        + beta1
        * float(np.sum((decoder2 * encoder2 - np.sqrt(seen)) ** 2 + decoder2**2 * variance2))
        + beta2 * ratio**2 * float(np.sum(encoder2**2 + variance2))
        - beta2 * decoder_std**2 * float(np.sum(np.log(variance2)))
    )
    return TwoLatentOptimum(
        theta=t,
        moments=m,
        encoder1=encoder1,
        decoder1=t * encoder1 / m,
        encoder2=encoder2,
        decoder2=decoder2,
        variance2=variance2,
        divergence2=divergence2,
        objective=objective,
    )
