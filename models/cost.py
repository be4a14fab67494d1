"""Multiply-accumulates per pixel, counted from the shapes. No torch."""

from __future__ import annotations

from .config import ModelConfig
from .topology import ConvSpec, prior_specs


def _macs(spec: ConvSpec) -> int:
    """Products per output position."""
    inputs = 1 if spec.depthwise else spec.inputs
    return inputs * spec.outputs * spec.kernel**2


def prior_cost(cfg: ModelConfig) -> tuple[float, float]:
    """(context prior over all its steps, the rest of the prior path), products per pixel."""
    context, rest = 0.0, 0.0
    block = cfg.context_block**2
    for s in prior_specs(cfg):
        if s.name.startswith("context."):
            context += cfg.context_steps * _macs(s) / block
        elif s.name in ("state.embed", "state.mix", "state.up16"):
            rest += _macs(s) / block
        elif s.name == "state.up8":
            rest += _macs(s) / 16**2
        else:
            part = cfg.parts[int(s.name.split(".")[0].removeprefix("part"))]
            rest += _macs(s) / part.stride**2
    return context, rest


def _block(width: int) -> int:
    return 9 * width + 4 * width**2


def synthesis_cost(cfg: ModelConfig) -> float:
    """Synthesis with the inverse DCTs, products per pixel."""
    w8, w4 = cfg.synthesis_width_8, cfg.synthesis_width_4
    c8, c16 = cfg.channels(8), cfg.channels(16)
    linear = 3 * (c8 + c16 + cfg.context_channels)
    at8 = (c8 + cfg.prior_width_8) * w8 + cfg.synthesis_blocks_8 * _block(w8) + 4 * w8 * w4
    at4 = 48 * w4 + cfg.synthesis_blocks_4 * 18 * w4**2 + 9 * w4**2 + 48 * w4
    return linear + 4 * c16 * w8 / 16**2 + at8 / 8**2 + at4 / 4**2


def analysis_cost(cfg: ModelConfig) -> float:
    """Analysis with the DCTs, products per pixel."""
    w4, w8, w16 = cfg.analysis_width_4, cfg.analysis_width_8, cfg.analysis_width_16
    c8, c16 = cfg.channels(8), cfg.channels(16)
    linear = 3 * (c8 + c16 + 2 * cfg.context_channels)
    at4 = 96 * w4 + 18 * w4**2
    at8 = 4 * w4 * w8 + c8 * w8 + 3 * _block(w8) + w8 * c8
    at16 = 4 * w8 * w16 + 2 * _block(w16) + w16 * c16
    return linear + at4 / 4**2 + at8 / 8**2 + at16 / 16**2


def cost_table(cfg: ModelConfig) -> dict[str, float]:
    """Thousands of multiply-accumulates per pixel, by part."""
    context, rest = prior_cost(cfg)
    synthesis = synthesis_cost(cfg)
    table = {
        "context prior": context,
        "prior path": rest,
        "synthesis": synthesis,
        "decoder": context + rest + synthesis,
        "analysis": analysis_cost(cfg),
    }
    return {k: v / 1000 for k, v in table.items()}
