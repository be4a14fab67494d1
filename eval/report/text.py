"""How figures are written."""

from __future__ import annotations

import re
from collections.abc import Mapping

from .results import Results


def signed(value: float | None, digits: int = 1, unit: str = " %") -> str:
    if value is None:
        return "–"
    return f"{value:+.{digits}f}{unit}".replace("-", "−").replace("+0.0 %", "0 %")


def percent_less(value: float) -> str:
    return f"{abs(value):.1f} % {'fewer' if value < 0 else 'more'} bits"


def over(interval: tuple[float, float] | None, unit: str = "dB", digits: int = 1) -> str:
    if interval is None:
        return ""
    return f"{interval[0]:.{digits}f}–{interval[1]:.{digits}f} {unit}"


def three(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}" if value < 1000 else f"{value:.0f}"


def level(setting: str) -> str:
    """A bare number says nothing in a sentence."""
    return f"level {setting}" if re.fullmatch(r"[\d.]+", setting) else setting


def grouped(value: int) -> str:
    return f"{value:,}".replace(",", "\u2009")


def shared(results: Results, codec: str) -> str:
    """Settings that all levels of a codec share, or what comes nearest to them."""
    settings = results.meta.get("settings", {})
    first = next(r.settings for r in results.rows if r.codec == codec)
    return str(settings.get(codec, first)) if isinstance(settings, Mapping) else first


def rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")
