"""Optimisers: Adam for small tensors; for matrices Muon (orthogonalised momentum), or SOAP."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch import distributed as dist


def orthogonalise(g: Tensor, steps: int = 5) -> Tensor:
    """Nearest semi-orthogonal matrix, by the quintic Newton–Schulz iteration of Muon.

    Source: K. Jordan et al., "Muon: an optimizer for hidden layers", 2024.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    x = g / (g.norm() + 1e-7)
    tall = x.shape[0] > x.shape[1]
    if tall:
        x = x.T
    for _ in range(steps):
        s = x @ x.T
        x = a * x + (b * s + c * s @ s) @ x
    out: Tensor = x.T if tall else x
    return out


class Muon(torch.optim.Optimizer):
    """Momentum, orthogonalised per weight matrix; kernels are flattened to (out, in·k·k).

    The update of a matrix has a root mean square of 0.8·lr, near that of an Adam update, so
    one learning rate serves both optimisers. Where several processes train together (gradients
    averaged, hence equal), each orthogonalises its share of the matrices.
    """

    def __init__(self, params: Iterable[nn.Parameter], lr: float, momentum: float = 0.95) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        rank, world = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            params.sort(key=lambda p: -p.numel())  # large ones first: even shares
            updates = []
            for i, p in enumerate(params):
                buf = self.state[p].setdefault("momentum", torch.zeros_like(p))
                buf.lerp_(p.grad, 1 - group["momentum"])
                g = p.grad.lerp(buf, group["momentum"]).flatten(1)  # Nesterov
                mine = i % world == rank
                updates.append(orthogonalise(g) if mine else torch.zeros_like(g))
            if world > 1 and updates:
                joined = torch.cat([u.flatten() for u in updates])
                dist.all_reduce(joined)
                updates = list(joined.split([u.numel() for u in updates]))
            for p, u in zip(params, updates, strict=True):
                size = 0.8 * max(p.shape[0], p[0].numel()) ** 0.5
                p.add_(u.reshape(p.shape), alpha=-group["lr"] * size)


class Soap(torch.optim.Optimizer):
    """Adam in the eigenbasis of the gradients' second moments; kernels flattened as for `Muon`.

    The bases follow by one power iteration with orthonormalisation every `every` steps. The first
    step of a matrix sets its bases and leaves it as it is. Source: N. Vyas et al., "SOAP: Improving
    and Stabilizing Shampoo using Adam", arXiv 2409.11321, Algorithms 3 and 4, with the momentum in
    the weights' own coordinates.
    """

    def __init__(
        self,
        params: Iterable[nn.Parameter],
        lr: float,
        betas: tuple[float, float] = (0.95, 0.95),
        every: int = 10,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "every": every})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            first, second = group["betas"]
            for p in group["params"]:
                if p.grad is None:
                    continue
                g, state = p.grad.flatten(1).contiguous(), self.state[p]
                moments = {"left": g @ g.T, "right": g.T @ g}
                if not state:
                    state["step"] = 0
                    state["momentum"], state["square"] = torch.zeros_like(g), torch.zeros_like(g)
                    for side, moment in moments.items():
                        state[side], state[f"{side}_basis"] = moment, eigenbasis(moment)
                    continue
                state["step"] += 1
                n, left, right = state["step"], state["left_basis"], state["right_basis"]
                state["momentum"].lerp_(g, 1 - first)
                state["square"].lerp_((left.T @ g @ right).square(), 1 - second)
                moved = left.T @ state["momentum"] @ right / (1 - first**n)
                moved /= (state["square"] / (1 - second**n)).sqrt() + 1e-8
                p.add_((left @ moved @ right.T).reshape(p.shape), alpha=-group["lr"])
                for axis, (side, moment) in enumerate(moments.items()):
                    state[side].lerp_(moment, 1 - second)
                    if n % group["every"] == 0:
                        turned = state[side] @ state[f"{side}_basis"]
                        order = (state[f"{side}_basis"] * turned).sum(0).argsort(descending=True)
                        state["square"] = state["square"].index_select(axis, order)
                        state[f"{side}_basis"] = torch.linalg.qr(turned[:, order])[0]


def eigenbasis(moment: Tensor) -> Tensor:
    """Eigenvectors of a symmetric matrix as columns, largest eigenvalue first; any, of zeros."""
    size = moment.diagonal().mean()
    if not size > 0:
        return torch.eye(len(moment), dtype=moment.dtype, device=moment.device)
    # distinct small values beside it: one gradient leaves most eigenvalues at zero, which some
    # solvers cannot tell apart
    spread = torch.linspace(1e-9, 2e-9, len(moment), dtype=torch.float64, device=moment.device)
    vectors: Tensor = torch.linalg.eigh(moment.double() / size + torch.diag(spread))[1]
    return vectors.flip(1).to(moment.dtype).contiguous()


def make_optimisers(model: nn.Module, name: str, lr: float) -> list[torch.optim.Optimizer]:
    """`adamw`: Adam for everything; `muon`, `soap`: that for dense kernels inside the networks.

    Transform bases, depthwise kernels, heads, gains and biases always take Adam.
    """
    matrices: list[nn.Parameter] = []
    rest: list[nn.Parameter] = []
    for key, p in model.named_parameters():
        wide = p.ndim == 4 and min(p.shape[0], p.shape[1]) > 1 and "basis" not in key
        outer = ".out" in key or "head" in key
        (matrices if name != "adamw" and wide and not outer else rest).append(p)
    out: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(rest, lr=lr, betas=(0.9, 0.98), weight_decay=0.0)
    ]
    if matrices:
        out.append((Soap if name == "soap" else Muon)(matrices, lr=lr))
    return out
