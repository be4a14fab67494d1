"""From trained parameters to a weights file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from . import centroids, weights
from .config import KNOTS, QUALITY_STEPS, ModelConfig
from .fakequant import FakeConv, out_bits, quantise_weight
from .integer import GAIN_UNIT, NumpyOps, StoredPrior, context_gains
from .known_answer import QUALITY_INDEX, known_answer
from .model import CodecModel
from .scale_grid import SCALES, scale
from .tables import Tables, logistic_tables
from .topology import ACTIVATION_BITS, prior_specs

Array = npt.NDArray[np.generic]


def stored_conv(conv: FakeConv) -> dict[str, Array]:
    """weight, shift, bias and (heads) gain as integers."""
    spec = conv.spec
    integers, shift = quantise_weight(conv.weight, conv.bias, spec)
    unit = torch.ldexp(torch.ones(shift.shape), shift + ACTIVATION_BITS)
    out: dict[str, Array] = {
        "weight": integers.to(torch.int8).numpy(),
        "shift": (shift + ACTIVATION_BITS - out_bits(spec)).to(torch.int8).numpy(),
        "bias": (conv.bias.detach() * unit).round().to(torch.int32).numpy(),
    }
    if spec.head:
        out["gain"] = (conv.gain.detach() * GAIN_UNIT).round().to(torch.int32).numpy()
    return out


def parameters_of(stored: weights.StoredModel) -> dict[str, Tensor]:
    """The inverse of `arrays_of`: parameters of a set of weights, to go on training from.

    Prior weights come back as the integers say, analysis as 16-bit floats say.
    """
    arrays = stored.tensors(weights.is_prior)
    state: dict[str, Tensor] = {}
    for spec in prior_specs(stored.cfg):
        part = {k: torch.from_numpy(arrays[f"{spec.name}.{k}"]).float() for k in ("weight", "bias")}
        shift = torch.from_numpy(arrays[f"{spec.name}.shift"]).int() - ACTIVATION_BITS
        shift += out_bits(spec)
        name = f"prior.convs.{spec.name.replace('.', '_')}"
        state[f"{name}.weight"] = torch.ldexp(part["weight"], -shift[:, None, None, None])
        state[f"{name}.bias"] = torch.ldexp(part["bias"], -(shift + ACTIVATION_BITS))
        if spec.head:
            gain = torch.from_numpy(arrays[f"{spec.name}.gain"]).float()
            state[f"{name}.gain"] = gain / GAIN_UNIT
    floats = weights.float_arrays(stored)
    floats.pop("centroids", None)  # stored as integers, read by `weights.load`
    for key, value in floats.items():
        state[key] = torch.from_numpy(value)
    state["centroids"] = torch.from_numpy(centroids.knots_of(stored.centroids))
    return complete(stored.cfg, state)


def complete(cfg: ModelConfig, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Parameters with what those of older models lack: factors of the choice, all 1; centroids."""
    parts = len(cfg.parts)
    lacking = {
        "log_choice": torch.zeros(KNOTS, 1 + parts),
        "centroids": torch.zeros(parts, centroids.SIZES, centroids.KNOTS),
    }
    return {**lacking, **state}


def default_tables(skip_below: int = 0) -> Tables:
    """Logistic tables at the scales that training assumed."""
    return logistic_tables(scale(np.arange(SCALES)), skip_below)


def arrays_of(model: CodecModel, tables: Tables) -> dict[str, Array]:
    """Everything a weights file holds."""
    arrays: dict[str, Array] = {}
    for conv in model.prior.convs.values():
        assert isinstance(conv, FakeConv)
        for key, value in stored_conv(conv).items():
            arrays[f"{conv.spec.name}.{key}"] = value
    plane, mean = context_gains(model.cfg)
    arrays["context.plane_gain"], arrays["context.mean_gain"] = plane, mean
    arrays["tables.reach"] = tables.reach
    arrays["tables.frequencies"] = tables.frequencies
    arrays["tables.skip_below"] = np.array([tables.skip_below], np.int32)
    arrays["log_gain"] = model.log_gain.detach().numpy()
    arrays["log_inverse"] = model.log_inverse.detach().numpy()
    arrays["centroids"] = centroids.table_of(model.centroids.detach().numpy())
    arrays["log_choice"] = model.get_buffer("log_choice").numpy()
    for key, value in model.synthesis.state_dict().items():
        arrays[f"synthesis.{key}"] = value.numpy()
    for key, value in model.analysis.state_dict().items():
        arrays[f"analysis.{key}"] = value.to(torch.float16).numpy()
    return arrays


def export(
    state: Mapping[str, Tensor],
    model: CodecModel,
    path: Path,
    name: str = weights.DEFAULT_MODEL,
    card: Mapping[str, str] | None = None,
    tables: Tables | None = None,
) -> None:
    """Store the parameters `state` of a model; the result is read back and checked.

    Args:
        card: further metadata, text by key.
    """
    model.load_state_dict(state)
    arrays = arrays_of(model, tables or default_tables())
    prior = StoredPrior.from_arrays(model.cfg, arrays)
    answer = known_answer(NumpyOps(prior, QUALITY_INDEX), model.cfg)
    weights.store(path, name, model.cfg, arrays, [answer], card or {})


def join(
    sets: Mapping[int, weights.StoredModel],
    path: Path,
    name: str = weights.DEFAULT_MODEL,
    card: Mapping[str, str] | None = None,
) -> None:
    """Store several models as one whose weights change with the quality; read back and checked.

    Args:
        sets: models of one set of weights each, by the quality index from which they hold; the
            first from 0.
        card: further metadata, text by key.

    Raises:
        WeightsError: the models differ in shape, are joined already, or do not begin at 0.
    """
    starts = sorted(sets)
    models = [sets[first] for first in starts]
    if len(sets) < 2 or starts[0] or starts[-1] > QUALITY_STEPS:
        raise weights.WeightsError(f"{path.name}: sets of weights from {starts}; begin at 0, 1…")
    arrays: dict[str, Array] = {}
    for first, model in zip(starts, models, strict=True):
        if model.cfg != models[0].cfg:
            raise weights.WeightsError(
                f"{model.path.name}: not of the shape of {models[0].path.name}"
            )
        if model.finer:
            raise weights.WeightsError(f"{model.path.name}: joined already; name its parts")
        arrays |= weights.prefixed(first, model.tensors(lambda _: True))
    answers = [model.known_answer for model in models]
    weights.store(path, name, models[0].cfg, arrays, answers, card or {})
