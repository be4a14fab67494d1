"""Likelihood and use of latents: importance-weighted bound, ELBO, divergences, active units."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from ...models.vae.hierarchy import Hierarchy, divergences, sampled

ACTIVE_VARIANCE = 0.01
"""A unit is active if Cov_x(E_q[z]) exceeds this (Burda et al. 2016, arXiv 1509.00519)."""

INFORMED_NATS = 0.01
"""A unit is informed if its mean divergence from the prior exceeds this many nats."""


def importance_bound(draw: Callable[[], Tensor], samples: int) -> Tensor:
    """log (1/S) Σ w of Burda et al. 2016, Eq. 8: at most log p(x) on average, rising with S.

    Args:
        draw: gives log w of one sample for each picture, nats (batch,).
        samples: S.

    Returns:
        Nats, (batch,).
    """
    total = torch.stack([draw() for _ in range(samples)])
    return torch.logsumexp(total, 0) - math.log(samples)


def latent_log_weight(model: Hierarchy, x: Tensor) -> Callable[[], Tensor]:
    """Draws log p(x|z,c) + log p(z|c) − log q(z|x), nats (batch,); c is the context, if any."""
    features = model.encode(x)
    y = model.context(x) if model.context is not None else None

    def draw() -> Tensor:
        down = model.descend(sampled, features=features, y=y)
        total = model.likelihood.log_density(down.parameters, x)
        for layer in down.layers:
            assert layer.posterior is not None
            ratio = layer.prior.log_density(layer.z) - layer.posterior.log_density(layer.z)
            total = total + ratio.flatten(1).sum(1)
        return total

    return draw


@dataclass(frozen=True, slots=True)
class Measured:
    """Means over test pictures, nats per picture; lists run from the top layer down."""

    nll: float  # importance-weighted bound, context included
    elbo: float  # negative ELBO, context included
    distortion: float  # −log p(x|z) under the posterior
    context_nll: float  # importance-weighted share of the context; 0 in the baseline
    context_elbo: float  # −Eq. 13
    kl: list[float]  # of each layer; the context's entry is `context_elbo`
    units: list[int]  # of each layer
    active: list[int]  # units active by Burda et al.; context: values that are not constant
    informed: list[int]  # units whose mean divergence exceeds 0.01 nats; context: as `active`


@torch.no_grad()
def measure(
    model: Hierarchy, x: Tensor, samples: int, *, passes: int = 4, part: int = 250
) -> Measured:
    """Everything about one model.

    Args:
        x: test pictures (count, channels, side, side) in 0…1.
        samples: of the importance-weighted bound, for latents and context alike.
        passes: over which ELBO and posterior means are averaged.
        part: pictures at a time.
    """
    nll = elbo = distortion = context_nll = context_elbo = 0.0
    kl_units: list[Tensor] = []
    means: list[list[list[Tensor]]] = []  # part, pass, layer
    contexts: list[Tensor] = []
    for chunk in x.split(part):
        nll -= float(importance_bound(latent_log_weight(model, chunk), samples).sum())
        features = model.encode(chunk)
        y = model.context(chunk) if model.context is not None else None
        means.append([])
        for _ in range(passes):
            down = model.descend(sampled, features=features, y=y)
            distortion -= float(model.likelihood.log_density(down.parameters, chunk).sum()) / passes
            elbo += sum(float(d.sum()) for d in divergences(down)) / passes
            units = [
                layer.posterior.divergence(layer.prior).flatten(1).sum(0) / passes
                for layer in down.layers
                if layer.posterior is not None
            ]
            if kl_units:
                units = [a + b for a, b in zip(kl_units, units, strict=True)]
            kl_units = units
            means[-1].append(
                [a.posterior.mean.flatten(1) for a in down.layers if a.posterior is not None]
            )
        if model.prior is not None and y is not None:
            bounds = [float(model.prior.bound(y).sum()) for _ in range(passes)]
            context_elbo += sum(bounds) / passes
            draw = partial(model.prior.log_weight, y)
            context_nll -= float(importance_bound(draw, samples).sum())
            contexts.append(y.flatten(1))
    count = len(x)
    kl = [float(u.sum()) / count for u in kl_units]
    informed = [int((u / count > INFORMED_NATS).sum()) for u in kl_units]
    active, size = [], []
    for index in range(len(kl_units)):
        per_pass = torch.stack(
            [torch.cat([p[k][index] for p in means]) for k in range(passes)]
        )  # (passes, count, units)
        active.append(int((between_variance(per_pass) > ACTIVE_VARIANCE).sum()))
        size.append(per_pass.shape[2])
    if contexts:
        values = torch.cat(contexts)
        used = int((values.amax(0) > values.amin(0)).sum())
        kl, informed = [context_elbo / count, *kl], [used, *informed]
        active, size = [used, *active], [values.shape[1], *size]
    return Measured(
        nll=(nll + context_nll) / count,
        elbo=(distortion + elbo + context_elbo) / count,
        distortion=distortion / count,
        context_nll=context_nll / count,
        context_elbo=context_elbo / count,
        kl=kl,
        units=size,
        active=active,
        informed=informed,
    )


def between_variance(means: Tensor) -> Tensor:
    """Variance over pictures of E_q[z], from posterior means along several drawn paths.

    In a hierarchy the posterior mean of a layer depends on the draws above it. The mean over a few
    paths has noise of its own, whose variance is taken off, so that it does not count as activity.

    Args:
        means: (paths, pictures, units).

    Returns:
        (units,); can be slightly negative.
    """
    paths = means.shape[0]
    between = means.mean(0).var(0)
    if paths == 1:
        return between
    return between - means.var(0).mean(0) / paths
