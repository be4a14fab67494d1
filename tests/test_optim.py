"""Optimisers on problems whose solution is known."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from dctcodec.models.optim import Muon, Soap, eigenbasis, make_optimisers

Make = Callable[[nn.Parameter], torch.optim.Optimizer]


def problem(seed: int = 0) -> Callable[[Tensor], Tensor]:
    """Loss of a matrix seen through two badly conditioned, turned coordinate systems."""
    g = torch.Generator().manual_seed(seed)

    def system(n: int) -> Tensor:
        q: Tensor = torch.linalg.qr(torch.randn(n, n, generator=g))[0]
        return q @ torch.diag(torch.logspace(-1.5, 0, n)) @ q.T

    left, right, goal = system(12), system(20), torch.randn(12, 20, generator=g)
    return lambda w: (left @ (w - goal) @ right).square().sum()


def after(make: Make, steps: int = 150) -> float:
    w, loss = nn.Parameter(torch.zeros(12, 20)), problem()
    optimiser = make(w)
    for k in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = 0.1 * (1 - k / steps)
        optimiser.zero_grad()
        loss(w).backward()
        optimiser.step()
    return float(loss(w).detach())


def test_soap_finds_the_coordinates_in_which_adam_is_good() -> None:
    begun = float(problem()(torch.zeros(12, 20)))
    adam = after(lambda w: torch.optim.Adam([w], lr=0.1, betas=(0.95, 0.95)))
    soap = after(lambda w: Soap([w], lr=0.1))
    assert soap < adam / 3 < begun / 10


@pytest.mark.parametrize("kind", [Soap, Muon])
def test_an_optimiser_goes_on_from_its_state(kind: type[Soap | Muon]) -> None:
    loss, ends = problem(1), []
    for interrupted in (False, True):
        w = nn.Parameter(torch.zeros(12, 20))
        optimiser = kind([w], lr=0.05)
        for k in range(25):
            if interrupted and k == 13:
                stored, (w, optimiser) = optimiser.state_dict(), copied(kind, w)
                optimiser.load_state_dict(stored)
            optimiser.zero_grad()
            loss(w).backward()
            optimiser.step()
        ends.append(w.detach())
    assert torch.equal(*ends)


def copied(kind: type[Soap | Muon], w: nn.Parameter) -> tuple[nn.Parameter, Soap | Muon]:
    again = nn.Parameter(w.detach().clone())
    return again, kind([again], lr=0.05)


@pytest.mark.parametrize("rank", [0, 1, 8])
def test_an_eigenbasis_is_orthonormal_whatever_the_rank(rank: int) -> None:
    g = torch.Generator().manual_seed(rank)
    half = torch.randn(8, rank, generator=g) * 1e-6
    moment = half @ half.T
    basis = eigenbasis(moment)
    assert torch.allclose(basis.T @ basis, torch.eye(8), atol=1e-5)
    values = (basis.T @ moment @ basis).diagonal()
    assert (values[:-1] >= values[1:] - 1e-18).all()


@pytest.mark.parametrize("name, kinds", [("adamw", 1), ("muon", 2), ("soap", 2)])
def test_every_parameter_has_one_optimiser(name: str, kinds: int) -> None:
    model = nn.Sequential(nn.Conv2d(4, 8, 3), nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 3, groups=8))
    optimisers = make_optimisers(model, name, 1e-3)
    given = [p for o in optimisers for g in o.param_groups for p in g["params"]]
    assert len(optimisers) == kinds
    assert sorted(map(id, given)) == sorted(map(id, model.parameters()))
