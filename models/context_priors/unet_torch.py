"""The Gaussian prior's network with torch: the exact executor, and the one that trains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..export import stored_conv
from ..fakequant import UNITS, FakeConv, _Requantise, out_bits
from ..integer import HEAD_LIMIT
from ..integer_torch import TorchOps
from ..topology import ACTIVATION_BITS, SCALE_BITS, Activation
from .diffusion import HEAD_BITS
from .unet import StepOps, StoredUnet, UnetConfig, predict, unet_specs


class TorchStep(TorchOps, StepOps[Tensor]):
    """The torch executor at one step, exact as TorchOps is."""

    def __init__(self, net: StoredUnet, t: int, other: StepOps[Tensor] | None = None) -> None:
        self.device, self.dtype = torch.device("cpu"), torch.float32
        StepOps.__init__(self, net, t, other)

    def repeated(self, x: Tensor, like: Tensor) -> Tensor:
        return x.expand(len(like), -1, -1, -1)

    def unshuffle(self, x: Tensor) -> Tensor:
        return F.pixel_unshuffle(x, 2)

    @torch.inference_mode()
    def heads(
        self, y: npt.NDArray[np.float32]
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        return super().heads(y)


def torch_steps(net: StoredUnet) -> Sequence[TorchStep]:
    """Executors for t = 1…T."""
    steps = [TorchStep(net, 1)]
    return steps + [TorchStep(net, t, steps[0]) for t in range(2, net.cfg.steps + 1)]


class Denoiser(Protocol):
    """What training needs of a network: y_t (in units of y0) and t = 1… to v and an addend of
    the scale index."""

    cfg: UnetConfig

    def __call__(self, y: Tensor, t: Tensor, exact: bool) -> tuple[Tensor, Tensor]: ...


class FakeUnet(nn.Module):
    """Parameters of the integer UNet, trained with rounding as the stored one rounds."""

    def __init__(self, cfg: UnetConfig) -> None:
        super().__init__()
        self.cfg = cfg
        self.convs = nn.ModuleDict()
        for spec in unet_specs(cfg):
            conv = FakeConv(spec)
            conv.bias = nn.Parameter(torch.zeros(cfg.steps, spec.outputs))
            if spec.head:
                del conv.gain
                nn.init.normal_(conv.weight, std=0.01)
            self.convs[spec.name.replace(".", "_")] = conv
        self.register_buffer("position", torch.from_numpy(cfg.position_planes())[None])

    def named(self, name: str) -> FakeConv:
        conv = self.convs[name.replace(".", "_")]
        assert isinstance(conv, FakeConv)
        return conv

    def forward(self, y: Tensor, t: Tensor, exact: bool = True) -> tuple[Tensor, Tensor]:
        """v and what is added to the scale index, both like `y`; t: (patches,), 1…T."""
        ops = _FakeStep(self, t, exact)
        v, s = predict(ops, self.cfg, y * 2**self.cfg.grid_bits).chunk(2, 1)
        s = s * 2**SCALE_BITS
        if exact:
            v = v + ((v * 2**HEAD_BITS).round() / 2**HEAD_BITS - v).detach()
            s = s + (s.round() - s).detach()
        limit = HEAD_LIMIT / 2**HEAD_BITS
        return v.clamp(-limit, limit), s

    def arrays(self) -> dict[str, npt.NDArray[np.generic]]:
        """Integers as `StoredUnet.from_arrays` reads them."""
        out: dict[str, npt.NDArray[np.generic]] = {}
        for conv in self.convs.values():
            assert isinstance(conv, FakeConv)
            for key, value in _stored(conv).items():
                out[f"{conv.spec.name}.{key}"] = value
        return out


def _stored(conv: FakeConv) -> Mapping[str, npt.NDArray[np.generic]]:
    if not conv.spec.head:
        return stored_conv(conv)
    conv.gain = nn.Parameter(torch.ones(1, 1))  # heads of the codec have one; this has none
    parts = stored_conv(conv)
    del conv.gain, parts["gain"]
    return parts


class _FakeStep:
    """`unet.UnetOps` with gradients; activations are carried in whole units, as integers are."""

    def __init__(self, net: FakeUnet, t: Tensor, exact: bool) -> None:
        self.net, self.t, self.exact = net, t - 1, exact

    def conv(self, name: str, x: Tensor, act: Activation, skip: Tensor | None = None) -> Tensor:
        c = self.net.named(name)
        y, bias = c(x, self.exact), c.bias[self.t]
        if act == "head":
            return torch.as_tensor(y / UNITS + bias[:, :, None, None])
        bias = bias * UNITS
        low, high = (0.0, 255.0) if act == "relu" else (-127.0, 127.0)
        if self.exact:
            out: Tensor = _Requantise.apply(y, bias, skip, low, high)  # type: ignore[no-untyped-call]
            return out
        y = y + bias[:, :, None, None]
        clamped: Tensor = (y if skip is None else y + skip).clamp(low, high)
        return clamped

    def planes(self, y: Tensor) -> Tensor:
        """y in cells."""
        cfg = self.net.cfg
        if self.exact:
            y = y.round()
            parts = [
                ((y + ((1 << max(s, 0)) >> 1)) / 2.0**s).floor().clamp(-127, 127)
                for s in cfg.shifts
            ]
        else:
            parts = [(y / 2.0**s).clamp(-127, 127) for s in cfg.shifts]
        if cfg.position:
            parts.append(self.net.get_buffer("position").expand(len(y), -1, -1, -1))
        return torch.cat(parts, 1)

    def shuffle(self, x: Tensor) -> Tensor:
        return F.pixel_shuffle(x, 2)

    def unshuffle(self, x: Tensor) -> Tensor:
        return F.pixel_unshuffle(x, 2)

    def plus(self, x: Tensor, y: Tensor) -> Tensor:
        return x + y


class FloatUnet(nn.Module):
    """The same shape as people build it: SiLU, group norms, a time embedding; floats throughout.

    For comparison only: its files could not be read on another machine.
    """

    def __init__(self, cfg: UnetConfig) -> None:
        super().__init__()
        self.cfg = cfg
        w, low = cfg.width, cfg.low_width
        self.time = nn.Sequential(nn.Embedding(cfg.steps, w), nn.Linear(w, w), nn.SiLU())
        self.embed = nn.Conv2d(cfg.channels + 2 * cfg.position, w, 3, padding=1)
        self.before = nn.ModuleList([_Block(w, w) for _ in range(cfg.outer_blocks)])
        self.down = nn.Conv2d(4 * w, low, 1)
        self.low = nn.ModuleList([_Block(low, w) for _ in range(cfg.blocks)])
        self.up = nn.Conv2d(low, 4 * w, 1)
        self.after = nn.ModuleList([_Block(w, w) for _ in range(cfg.outer_blocks)])
        self.norm = nn.GroupNorm(8, w)
        self.head = nn.Conv2d(w, 2 * cfg.channels, 1)
        nn.init.zeros_(self.head.weight)
        self.scales = nn.Embedding(cfg.steps, 2 * cfg.channels)
        nn.init.zeros_(self.scales.weight)
        self.register_buffer("position", torch.from_numpy(cfg.position_planes())[None] / 127)

    def forward(self, y: Tensor, t: Tensor, exact: bool = False) -> tuple[Tensor, Tensor]:
        """As `FakeUnet`; `exact` has no meaning here."""
        e = self.time(t - 1)
        parts = [y]
        if self.cfg.position:
            parts.append(self.get_buffer("position").expand(len(y), -1, -1, -1))
        x = self.embed(torch.cat(parts, 1))
        for block in self.before:
            x = block(x, e)
        z = self.down(F.pixel_unshuffle(x, 2))
        for block in self.low:
            z = block(z, e)
        x = x + F.pixel_shuffle(self.up(z), 2)
        for block in self.after:
            x = block(x, e)
        out = self.head(F.silu(self.norm(x))) + self.scales(t - 1)[:, :, None, None]
        v, s = out.chunk(2, 1)
        return v, s * 2**SCALE_BITS


class _Block(nn.Module):
    def __init__(self, width: int, time: int) -> None:
        super().__init__()
        self.first, self.second = nn.GroupNorm(8, width), nn.GroupNorm(8, width)
        self.a, self.b = (nn.Conv2d(width, width, 3, padding=1) for _ in range(2))
        self.shift = nn.Linear(time, width)
        nn.init.zeros_(self.b.weight)

    def forward(self, x: Tensor, e: Tensor) -> Tensor:
        h = self.a(F.silu(self.first(x))) + self.shift(e)[:, :, None, None]
        return torch.as_tensor(x + self.b(F.silu(self.second(h))))


def restored(net: StoredUnet) -> FakeUnet:
    """A network with the stored weights as floats, to compute without rounding."""
    out = FakeUnet(net.cfg)
    with torch.no_grad():
        for name, stored in net.convs.items():
            conv = out.named(name)
            shift = torch.from_numpy(stored.shift.astype(np.int32)) - ACTIVATION_BITS
            shift += out_bits(stored.spec)
            conv.weight.copy_(
                torch.ldexp(torch.from_numpy(stored.weight).float(), -shift[:, None, None, None])
            )
            bias = torch.from_numpy(stored.bias).float()
            conv.bias.copy_(torch.ldexp(bias, -(shift + ACTIVATION_BITS)))
    return out.eval()
