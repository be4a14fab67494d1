"""The tables of the page."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from .curves import Speed
from .results import OURS, Results, Summary
from .text import over, shared, signed, three


def summary_table(
    results: Results, summary: Mapping[str, Summary], speeds: Mapping[str, Speed]
) -> str:
    fixed = any(s.bd_rate_psnr_fixed is not None for s in summary.values())
    heads = ["Codec", "BD-rate, PSNR", "BD-PSNR", "BD-rate, MS-SSIM", "Rates, bpp"]
    heads += ["Encode, MP/s", "Decode, MP/s", "Memory, MB"]
    if fixed:
        heads.insert(2, "30.5–37 dB only")
    head = "".join(f'<th scope="col"><button type="button">{h}</button></th>' for h in heads)
    rates = [s.bd_rate_psnr for s in summary.values() if s.bd_rate_psnr is not None]
    reach = max((abs(r) for r in rates), default=1.0) or 1.0

    def key(codec: str) -> float:
        s = summary.get(codec)
        if s is None:
            return 1e9
        rate = s.bd_rate_psnr_fixed if fixed and codec != results.anchor else s.bd_rate_psnr
        return 1e9 if rate is None else rate

    body = []
    for codec in sorted(results.codecs, key=key):
        s = summary.get(codec) or Summary(codec=codec, anchor=results.anchor)
        v = speeds[codec]
        anchor = codec == results.anchor
        bpp = f"{s.bpp_range[0]:.2f}–{s.bpp_range[1]:.2f}" if s.bpp_range else "–"
        of_psnr = "anchor" if anchor else over(s.psnr_interval)
        of_ms_ssim = "anchor" if anchor else over(s.ms_ssim_interval)
        cells = [
            (
                _meter(s.bd_rate_psnr, reach) + _cell(signed(s.bd_rate_psnr), of_psnr),
                s.bd_rate_psnr,
            ),
            (signed(s.bd_psnr, 2, " dB") if not anchor else "0 dB", s.bd_psnr),
            (_cell(signed(s.bd_rate_ms_ssim), of_ms_ssim), s.bd_rate_ms_ssim),
            (bpp, s.bpp_range[0] if s.bpp_range else None),
            (three(v.encode), v.encode),
            (three(v.decode), v.decode),
            (f"{v.memory:.0f}" if v.memory else "–", v.memory),
        ]
        if fixed:
            cells.insert(1, ("0 %" if anchor else signed(s.bd_rate_psnr_fixed), key(codec)))
        title = results.title(codec)
        mine = (r for r in results.rows if r.codec == codec)
        under = codec if codec != title else next(r.version for r in mine)
        body.append(
            f"<tr{' class=ours' if codec == OURS else ''}>"
            f'<th scope="row" data-value="{escape(title)}">{escape(title)}'
            + ("" if under == title else f"<small>{escape(under)}</small>")
            + "</th>"
            + "".join(
                f'<td data-value="{"" if value is None else f"{value:.6g}"}">{text}</td>'
                for text, value in cells
            )
            + "</tr>"
        )
    return (
        f'<table class="sortable"><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table>"
    )


def _cell(figure: str, under: str) -> str:
    small = f"<small>{escape(under)}</small>" if under else ""
    return f'<span class="figure">{figure}{small}</span>'


def _meter(value: float | None, reach: float) -> str:
    """A bar from the zero at 60 % of its width: fewer bits to the left."""
    if value is None:
        return ""
    part = min(abs(value) / reach, 1.0) * (60 if value < 0 else 40)
    left = 60 - part if value < 0 else 60
    return (
        '<span class="meter" aria-hidden="true">'
        f'<i style="left:{left:.1f}%;width:{part:.1f}%"></i></span>'
    )


def settings_table(results: Results) -> str:
    """Levels have a column where the run does not tell them with the settings."""
    told = bool(results.meta.get("settings"))
    heads = ("Version", "Settings") if told else ("Version", "Settings", "Levels")
    body = []
    for codec in results.codecs:
        mine = sorted((r for r in results.rows if r.codec == codec), key=lambda r: r.order)
        levels = ", ".join(dict.fromkeys(r.setting for r in mine))
        cells = (mine[0].version, shared(results, codec), levels)[: len(heads)]
        body.append(
            f"<tr{' class=ours' if codec == OURS else ''}>"
            f'<th scope="row">{escape(results.title(codec))}</th>'
            + "".join(f'<td class="left">{escape(t)}</td>' for t in cells)
            + "</tr>"
        )
    head = "".join(f'<th scope="col" class="left">{h}</th>' for h in heads)
    return (
        f'<table><thead><tr><th scope="col">Codec</th>{head}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table>"
    )
