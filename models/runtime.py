"""A model ready to encode and decode: exact prior, float analysis and synthesis (torch)."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from .config import KNOTS, ModelConfig
from .integer_torch import TorchOps
from .known_answer import QUALITY_INDEX, known_answer
from .networks import (
    Analysis,
    Synthesis,
    block_inverse,
    block_transform,
    knot_weights,
    to_cells,
    to_picture,
)
from .transforms import GREY, basis_of
from .weights import StoredModel, WeightsError, float_arrays


def _fill(module: nn.Module, prefix: str, arrays: Mapping[str, Any]) -> None:
    own = {k[len(prefix) :]: torch.from_numpy(v) for k, v in arrays.items() if k.startswith(prefix)}
    module.load_state_dict(own)
    module.eval().requires_grad_(False)


@dataclass(frozen=True)
class Quality:
    """What depends on quality alone. Gains are (1, channels, 1, 1).

    choice: (1 + parts,), factors on what an error of the context and of each part costs where the
    encoder chooses symbols.
    """

    index: int
    hat: Tensor
    step: float
    choice: npt.NDArray[np.float32]
    context_gain: Tensor
    gain16: Tensor
    gain8: Tensor
    context_inverse: Tensor
    inverse16: Tensor
    inverse8: Tensor


class Runtime:
    """Networks of one set of weights on a device. Thread-safe: nothing changes afterwards."""

    def __init__(self, stored: StoredModel, device: torch.device) -> None:
        self.stored, self.cfg, self.device = stored, stored.cfg, device
        arrays = float_arrays(stored)
        self.analysis, self.synthesis = Analysis(self.cfg), Synthesis(self.cfg)
        try:
            _fill(self.analysis, "analysis.", arrays)
            _fill(self.synthesis, "synthesis.", arrays)
        except RuntimeError as e:
            raise WeightsError(f"{stored.path.name}: networks do not fit ({e})") from e
        layout: Any = torch.channels_last
        for network in (self.analysis, self.synthesis):
            network.to(device).to(memory_format=layout)  # type: ignore[call-overload]
        self.log_gain = torch.from_numpy(arrays["log_gain"])
        self.log_inverse = torch.from_numpy(arrays["log_inverse"])
        nothing = np.zeros((KNOTS, 1 + len(self.cfg.parts)), np.float32)
        self.log_choice = torch.from_numpy(arrays.get("log_choice", nothing))
        basis = basis_of(self.cfg.context_kind, self.cfg.context_block, self.cfg.context_kept)
        self.basis = torch.from_numpy(basis).to(device)
        if known_answer(self.ops(QUALITY_INDEX), self.cfg) != stored.known_answer:
            raise WeightsError(
                f"{stored.path.name}: this machine's arithmetic fails the known-answer test"
            )

    def ops(self, quality_index: int) -> TorchOps:
        return TorchOps(self.stored.prior, quality_index, self.device)

    def quality(self, index: int) -> Quality:
        hat = knot_weights(torch.tensor([index]))
        sizes = [self.cfg.context_channels, self.cfg.channels(16), self.cfg.channels(8)]

        def parts(table: Tensor) -> list[Tensor]:
            g = torch.exp(hat @ table)[:, :, None, None]
            return [t.to(self.device) for t in g.split(sizes, 1)]

        return Quality(
            index,
            hat.to(self.device),
            self.cfg.step(index),
            torch.exp(hat @ self.log_choice)[0].numpy(),
            *parts(self.log_gain),
            *parts(self.log_inverse),
        )

    @torch.inference_mode()
    def context(self, centred: Tensor, q: Quality) -> Tensor:
        """Context of a picture around 0, in symbols before rounding.

        (1, 3, h, w) → (1, channels, h/32, w/32).
        """
        return block_transform(to_cells(centred), self.basis) * q.context_gain / q.step

    @torch.inference_mode()
    def latents(self, centred: Tensor, c: Tensor, q: Quality) -> tuple[Tensor, Tensor]:
        """Latents in symbols at 1/16 and 1/8 (not quantised)."""
        picture = block_inverse(c * q.context_inverse * q.step, self.basis)
        step, cells = torch.tensor(q.step, device=self.device), to_cells(centred)
        y16, y8 = self.analysis(cells, cells - picture, step, q.hat)
        return y16 * q.gain16 / q.step, y8 * q.gain8 / q.step

    @torch.inference_mode()
    def reconstruct(self, c: Tensor, z16: Tensor, z8: Tensor, state: Tensor, q: Quality) -> Tensor:
        """Grey levels, uint8 (3, h, w), from symbols (1, channels, …) and the state / 32."""
        return self.reconstruct_many(c, z16, z8, state, q)[0]

    @torch.inference_mode()
    def reconstruct_many(
        self, c: Tensor, z16: Tensor, z8: Tensor, state: Tensor, q: Quality
    ) -> Tensor:
        """`reconstruct` of a batch: uint8 (batch, 3, h, w)."""
        picture = block_inverse(c * q.context_inverse * q.step, self.basis)
        layout: Any = torch.channels_last
        y16 = (z16 * q.inverse16 * q.step).contiguous(memory_format=layout)
        y8 = (z8 * q.inverse8 * q.step).contiguous(memory_format=layout)
        x = self.synthesis(picture, y16, y8, state.contiguous(memory_format=layout), q.hat)
        return to_picture((x + GREY).round_().clamp_(0, 255).to(torch.uint8))


_lock = threading.Lock()


@lru_cache(maxsize=8)
def _runtime(stored: StoredModel, device: str) -> Runtime:
    return Runtime(stored, torch.device(device))


def runtime(stored: StoredModel, device: str = "cpu") -> Runtime:
    """The runtime of a set of weights (`StoredModel.at`) on a device, made once."""
    with _lock:
        return _runtime(stored, device)


__all__ = ["ModelConfig", "Quality", "Runtime", "runtime"]
