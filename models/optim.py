"""Optimisers: Adam for small tensors, Muon (orthogonalised momentum) for matrices."""

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


def make_optimisers(model: nn.Module, name: str, lr: float) -> list[torch.optim.Optimizer]:
    """`adamw`: Adam for everything; `muon`: Muon for dense kernels inside the networks.

    Transform bases, depthwise kernels, heads, gains and biases always take Adam.
    """
    matrices: list[nn.Parameter] = []
    rest: list[nn.Parameter] = []
    for key, p in model.named_parameters():
        wide = p.ndim == 4 and min(p.shape[0], p.shape[1]) > 1 and "basis" not in key
        outer = ".out" in key or "head" in key
        (matrices if name == "muon" and wide and not outer else rest).append(p)
    out: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(rest, lr=lr, betas=(0.9, 0.98), weight_decay=0.0)
    ]
    if matrices:
        out.append(Muon(matrices, lr=lr))
    return out
