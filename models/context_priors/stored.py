"""Gaussian priors as files: integers, checked when read. NumPy only."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from ..weights import WeightsError
from .diffusion import IntegerDiffusion
from .quantise import Quantiser
from .unet import StoredUnet, UnetConfig

FORMAT = "gaussian context prior 1"
Arrays = Mapping[str, npt.NDArray[np.generic]]
_TENSORS = [f.name for f in fields(IntegerDiffusion) if f.name not in ("steps", "grid_bits")]


@dataclass(frozen=True, eq=False)
class GaussianModel:
    """A Gaussian prior as stored.

    frequency_grid: a patch is the kept×kept coefficients of one block, 3 × kept × kept, as the
    paper has it; otherwise a group of neighbouring blocks, 3·kept² × rows × columns.
    """

    cfg: UnetConfig
    frequency_grid: bool
    quantiser: Quantiser
    diffusion: IntegerDiffusion
    net: StoredUnet
    note: str = ""  # how it was trained

    @property
    def prior_id(self) -> bytes:
        """4 bytes of a hash over all that decides how symbols are read and dequantised."""
        h = hashlib.sha256(json.dumps(self._config(), sort_keys=True).encode())
        for name, a in sorted(self._arrays().items()):
            h.update(
                f"{name} {a.dtype.str} {a.shape}\n".encode() + np.ascontiguousarray(a).tobytes()
            )
        return h.digest()[:4]

    def _config(self) -> dict[str, Any]:
        return {
            "unet": asdict(self.cfg),
            "frequency_grid": self.frequency_grid,
            "kind": self.quantiser.kind,
            "kept": self.quantiser.kept,
        }

    def _arrays(self) -> dict[str, npt.NDArray[np.generic]]:
        out: dict[str, npt.NDArray[np.generic]] = {
            f"diffusion.{k}": getattr(self.diffusion, k).astype(np.int32) for k in _TENSORS
        }
        for name, conv in self.net.convs.items():
            out[f"{name}.weight"], out[f"{name}.shift"] = conv.weight, conv.shift
            out[f"{name}.bias"] = conv.bias
        out["quantiser.steps"] = self.quantiser.steps
        return out

    def save(self, path: Path) -> None:
        metadata = {
            "format": FORMAT,
            "config": json.dumps(self._config()),
            "prior_id": self.prior_id.hex(),
            "note": self.note,
        }
        save_file({k: np.ascontiguousarray(v) for k, v in self._arrays().items()}, path, metadata)

    @classmethod
    def load(cls, path: Path) -> GaussianModel:
        """Read and check.

        Raises:
            WeightsError: unreadable, not of this kind, or against the rules of the integer path.
        """
        try:
            with safe_open(path, framework="numpy") as f:
                meta = dict(f.metadata() or {})
                arrays: dict[str, Any] = {k: f.get_tensor(k) for k in f.keys()}  # noqa: SIM118
            if meta.get("format") != FORMAT:
                raise WeightsError(f"{path.name}: format {meta.get('format')!r} is not {FORMAT!r}")
            config = json.loads(meta["config"])
            cfg = UnetConfig(**config["unet"])
            tensors = {k: arrays[f"diffusion.{k}"].astype(np.int64) for k in _TENSORS}
            model = cls(
                cfg,
                bool(config["frequency_grid"]),
                Quantiser(config["kind"], config["kept"], arrays["quantiser.steps"], cfg.limit),
                IntegerDiffusion(steps=cfg.steps, grid_bits=cfg.grid_bits, **tensors),
                StoredUnet.from_arrays(cfg, arrays),
                meta.get("note", ""),
            )
        except (OSError, SafetensorError, KeyError, TypeError, ValueError) as e:
            if isinstance(e, WeightsError):
                raise
            raise WeightsError(f"{path.name}: no readable prior ({e})") from e
        if model.prior_id.hex() != meta.get("prior_id"):
            raise WeightsError(f"{path.name}: the prior does not match its hash")
        return model
