"""What a file holds and what a model costs, as plain data. No torch."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from ..models import weights
from ..models.config import QUALITY_STEPS
from ..models.cost import cost_table
from ..models.weights import StoredModel, WeightsError
from . import presets
from .container import DEFAULT_MAX_PIXELS, read, tile_box
from .errors import ModelError
from .info_text import usage_text


def info(
    data: bytes, *, max_pixels: int = DEFAULT_MAX_PIXELS, model: StoredModel | None = None
) -> dict[str, Any]:
    """Header, chunks and model of a .dctc file.

    Args:
        model: named if it wrote the file, as a released one is.

    Returns:
        width, height, quality, grayscale, tile, rows, columns, bytes, bits_per_pixel,
        container_bytes, layers: [{layer, name, bytes, chunks, intact}], tiles: [{tile, box,
        bytes: [per layer], intact_layers}], extra: {kind: bytes}, losses: [text],
        model: {name or None, prior_id, synthesis_id, same_synthesis}.

    Raises:
        BitstreamError: the header is damaged, or this is no .dctc file.
    """
    container = read(data, mode="salvage", max_pixels=max_pixels)
    header = container.header
    latent = [c for c in container.chunks if c.kind == "latent"]
    names = {0: "context"}
    layers = [
        {
            "layer": layer,
            "name": names.get(layer, f"layer {layer}"),
            "bytes": sum(c.length for c in latent if c.layer == layer),
            "chunks": header.tiles,
            "intact": sum(c.state == "intact" for c in latent if c.layer == layer),
        }
        for layer in range(header.layers + 1)
    ]
    tiles = [
        {
            "tile": i,
            "box": list(tile_box(header, i)),
            "bytes": [
                latent[layer * header.tiles + i].length for layer in range(header.layers + 1)
            ],
            "intact_layers": container.intact_layers(i),
        }
        for i in range(header.tiles)
    ]
    try:
        stored = weights.find(header.prior_id, model)
    except WeightsError as e:
        raise ModelError(str(e)) from e
    preset = presets.find(header.prior_id)
    return {
        "width": header.width,
        "height": header.height,
        "quality": header.quality,
        "grayscale": header.grayscale,
        "tile": header.tile,
        "rows": header.rows,
        "columns": header.columns,
        "bytes": len(data),
        "bits_per_pixel": 8 * len(data) / (header.width * header.height),
        "container_bytes": container.container_bytes,
        "layers": layers,
        "tiles": tiles,
        "extra": {c.kind: c.length for c in container.chunks if c.kind != "latent"},
        "losses": [f"{c.name}: {c.state}" for c in container.losses],
        "model": {
            "name": stored.name if stored else preset,
            "prior_id": header.prior_id.hex(),
            "synthesis_id": header.synthesis_id.hex(),
            "same_synthesis": preset is not None
            or bool(stored and stored.synthesis_id == header.synthesis_id),
        },
    }


def model_info(stored: StoredModel | None = None) -> dict[str, Any]:
    """Name, ids, size, parameters, card and cost of a model (default: the one that encodes).

    `usage`, if the weights file holds it, is what `codec.usage.measure` gave. `parameters` are
    those of all sets of weights together; `sets` holds the quality from which each set is used.

    `kmac` gives thousands of multiply-accumulates per pixel: context prior, prior path,
    synthesis, their sum `decoder`, and analysis (encoder only).
    """
    try:
        model = stored or weights.default()
    except WeightsError as e:
        raise ModelError(str(e)) from e
    floats = [(k, v) for s in model.sets for k, v in weights.float_arrays(s).items()]
    prior = sum(int(c.weight.size) for s in model.sets for c in s.prior.convs.values())
    card = {k: v for k, v in model.metadata.items() if k not in weights.OWN_KEYS}
    used = _usage(card)
    return {
        "name": model.name,
        "prior_id": model.prior_id.hex(),
        "synthesis_id": model.synthesis_id.hex(),
        "weights_bytes": model.path.stat().st_size,
        "parameters": {
            "prior": prior,
            "synthesis": int(sum(np.size(v) for k, v in floats if k.startswith("synthesis"))),
            "analysis": int(sum(np.size(v) for k, v in floats if k.startswith("analysis"))),
        },
        "sets": [s.first * 100 / QUALITY_STEPS for s in model.sets],
        "layers": model.cfg.layers,
        "kmac": cost_table(model.cfg),
        "card": card,
        **({"usage": used} if used else {}),
    }


def _usage(card: dict[str, str]) -> dict[str, Any] | None:
    """The figures of `codec.usage`, taken out of the card; None if it holds none."""
    try:
        values = json.loads(card[weights.USAGE_KEY])
        usage_text(values)
    except (KeyError, TypeError, ValueError):
        return None
    del card[weights.USAGE_KEY]
    return dict(values)
