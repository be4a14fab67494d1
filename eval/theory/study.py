"""The runs behind docs/theory.md: which there are, what theory predicts, rows on disk."""

from __future__ import annotations

import csv
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from . import conditional, hierarchical, linear_vae
from .digits import Digits
from .linear_vae import Floats
from .nonlinear import Measured, RunConfig, context_basis, measure, train

SEEDS = (0, 1, 2)
BETAS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
CONTEXTS = (0, 1, 2, 3, 4, 6)
TWO = RunConfig(kind="two latents", decoder_std=0.5, prior_std=0.5, first_std=0.5)
"""The paper's setting for two latents: all deviations 0.5."""

Row = dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """Runs that differ in one setting."""

    name: str
    setting: str  # the field of RunConfig that varies
    configs: tuple[RunConfig, ...]


def sweeps() -> list[Sweep]:
    """All runs, of seed 0."""
    base, coarse = RunConfig(), (0.25, 1.0, 4.0)
    return [
        Sweep(
            name="one latent, learned variance",
            setting="beta",
            configs=tuple(replace(base, beta=b) for b in BETAS),
        ),
        Sweep(
            name="one latent, fixed variance",
            setting="beta",
            configs=tuple(replace(base, beta=b, learned=False) for b in coarse),
        ),
        Sweep(
            name="one latent, decoder deviation",
            setting="decoder_std",
            configs=tuple(replace(base, decoder_std=s) for s in (0.5, 1.0, 2.0)),
        ),
        Sweep(
            name="conditional on a DCT context",
            setting="context_kept",
            configs=tuple(replace(base, context_kept=k) for k in CONTEXTS),
        ),
        Sweep(
            name="two latents, β₂, learned variance",
            setting="beta2",
            configs=tuple(replace(TWO, beta2=b) for b in coarse),
        ),
        Sweep(
            name="two latents, β₂, fixed variance",
            setting="beta2",
            configs=tuple(replace(TWO, beta2=b, learned=False) for b in coarse),
        ),
        Sweep(
            name="two latents, β₁, learned variance",
            setting="beta",
            configs=tuple(replace(TWO, beta=b) for b in coarse),
        ),
        Sweep(
            name="two latents, β₁ at β₂ = 4",
            setting="beta",
            configs=tuple(replace(TWO, beta=b, beta2=4.0) for b in coarse),
        ),
        Sweep(
            name="two latents, β₁ at β₂ = 4, begun at β₂ = 0.25",
            setting="beta",
            configs=tuple(replace(TWO, beta=b, beta2=4.0, warm_beta2=0.25) for b in (1.0, 4.0)),
        ),
    ]


def residual(covariance: Floats, kept: int) -> Floats:
    """Eigenvalues of what the kept×kept DCT context leaves open of a digit, falling."""
    basis = context_basis(kept)
    return conditional.residual_spectrum(
        basis @ covariance @ basis.T, covariance @ basis.T, covariance
    )


def predicted(cfg: RunConfig, covariance: Floats) -> int:
    """Dimensions in use of the last latent in the linear model with the same settings."""
    theta = np.sqrt(residual(covariance, cfg.context_kept))
    fixed = None if cfg.learned else cfg.prior_std
    stds = {"decoder_std": cfg.decoder_std, "prior_std": cfg.prior_std}
    if cfg.kind == "vae":
        return linear_vae.optimum(theta, cfg.latents, beta=cfg.beta, fixed_std=fixed, **stds).in_use
    return hierarchical.optimum(
        theta,
        cfg.latents,
        cfg.latents,
        first_std=cfg.first_std,
        beta1=cfg.beta,
        beta2=cfg.beta2,
        fixed_second_std=fixed,
        **stds,
    ).in_use2


def key(row: Row) -> tuple[str, ...]:
    """What makes a run the run it is."""
    return tuple(row[name] for name in RunConfig.__slots__)


def text(values: dict[str, object]) -> Row:
    return {k: f"{v:.6g}" if isinstance(v, float) else str(v) for k, v in values.items()}


def read_rows(path: Path) -> list[Row]:
    """Rows of a results file; none if it is not there."""
    if not path.exists():
        return []
    with open(path, newline="", encoding="utf-8") as f:
        return list(csv.DictReader(f))


def run_all(
    digits: Digits,
    path: Path,
    *,
    report: Callable[[str], None] | None = None,
    runs: list[RunConfig] | None = None,
) -> list[Row]:
    """Do what is missing in `path`, a row after each run; all rows.

    Args:
        runs: default: every run of every sweep with each of SEEDS, each once.
    """
    wanted = runs if runs is not None else list(all_runs())
    rows = read_rows(path)
    done = {key(r) for r in rows}
    covariance = digits.covariance()
    missing = [c for c in wanted if key(text(asdict(c))) not in done]
    for n, cfg in enumerate(missing):
        began = time.monotonic()
        measured = measure(train(cfg, digits.training), digits.held_out)
        row = {
            **text(asdict(cfg)),
            "predicted": str(predicted(cfg, covariance)),
            **text(asdict(measured)),
            "seconds": f"{time.monotonic() - began:.1f}",
        }
        append(path, row)
        rows.append(row)
        if report:
            report(f"{n + 1}/{len(missing)}: {summary(cfg, measured)}")
    return rows


def all_runs() -> Iterator[RunConfig]:
    """Each run once; seed 0 of everything first."""
    seen: set[tuple[str, ...]] = set()
    for seed in SEEDS:
        for sweep in sweeps():
            for cfg in sweep.configs:
                mine = replace(cfg, seed=seed)
                if (k := key(text(asdict(mine)))) not in seen:
                    seen.add(k)
                    yield mine


def append(path: Path, row: Row) -> None:
    new = not path.exists()
    with open(path, "a", newline="", encoding="utf-8") as f:
        writer = csv.DictWriter(f, list(row), lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerow(row)


def summary(cfg: RunConfig, measured: Measured) -> str:
    """One line for a person."""
    second = f", β₂ {cfg.beta2:g}" if cfg.kind == "two latents" else ""
    return (
        f"{cfg.kind}, β {cfg.beta:g}{second}, η {cfg.decoder_std:g}, context {cfg.context_kept}, "
        f"{'learned' if cfg.learned else 'fixed'}, seed {cfg.seed}: "
        f"{measured.active} of {cfg.latents} active, {measured.collapsed} collapsed"
    )
