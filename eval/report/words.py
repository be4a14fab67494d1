"""The sentences of the page, as HTML."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

from .curves import Speed
from .images import Gallery
from .results import OURS, Results, Summary, is_ours
from .text import grouped, level, over, percent_less, shared, signed

RULES = (
    "Bytes are those of real files; pictures were decoded from these files.",
    "PSNR is from the mean squared error over the three 8-bit RGB channels, per picture; PSNR Y "
    "on 0.299 R + 0.587 G + 0.114 B.",
    "A point of a curve is the mean of bits per pixel and the mean of the measure over all "
    "pictures at one setting.",
    "MS-SSIM has range 255 and is the mean over RGB; in dB it is −10·log10(1 − m), on curves of "
    "the mean m. A picture too small for its five scales has none, and a curve with such a picture "
    "neither.",
    "BD-rate is the mean difference of the logarithm of the rate at equal quality, PCHIP, over the "
    "interval printed beside it, which both curves cover. Negative: fewer bits.",
)
"""Said where the run does not state its own."""


def eyebrow(results: Results, dataset: str) -> str:
    count = len(results.images)
    words = [dataset, f"{count} picture{'s' if count != 1 else ''}"]
    words += [str(results.meta[k]) for k in ("date", "machine") if results.meta.get(k)]
    return " · ".join(map(escape, words))


def headline(results: Results, ours: Summary | None) -> str:
    if ours is None or ours.bd_rate_psnr is None:
        return "dctcodec beside other codecs"
    words = f"<em>{percent_less(ours.bd_rate_psnr)}</em>"
    return f"dctcodec takes {words} than {escape(results.title(results.anchor))} at equal PSNR"


def lead(results: Results, ours: Summary | None) -> str:
    text = "Real files, encoded and decoded side by side on one machine."
    if ours is not None and ours.psnr_interval:
        text = f"BD-rate over {over(ours.psnr_interval)}, RGB. " + text
    better = [
        results.title(s.codec)
        for s in results.summary
        if ours is not None
        and ours.bd_rate_psnr is not None
        and s.codec in results.codecs
        and not is_ours(s.codec)
        and _ranking(s) < _ranking(ours)
    ]
    if better:
        text += f" Ahead of it at equal PSNR: {', '.join(better)}."
    return escape(text)


def _ranking(summary: Summary) -> float:
    """Per cent over an interval that is the same for all, where the run gives it."""
    fixed, whole = summary.bd_rate_psnr_fixed, summary.bd_rate_psnr
    rate = whole if fixed is None else fixed
    return 1e9 if rate is None else rate


def facts(results: Results, ours: Summary | None, speeds: Mapping[str, Speed]) -> str:
    items: list[tuple[str, str, str]] = []
    if ours is not None:
        whole, similar = over(ours.psnr_interval), over(ours.ms_ssim_interval)
        figures = (
            ("BD-rate by PSNR", ours.bd_rate_psnr, " %", whole),
            ("BD-rate by PSNR", ours.bd_rate_psnr_fixed, " %", "30.5–37 dB only"),
            ("BD-rate by MS-SSIM", ours.bd_rate_ms_ssim, " %", similar),
            ("BD-PSNR", ours.bd_psnr, " dB", "at equal rate"),
        )
        for name, value, unit, small in figures:
            if value is not None:
                items.append((name, signed(value, 2 if unit == " dB" else 1, unit), small))
    v = speeds.get(OURS)
    if v is not None:
        for word, value in (("encoded", v.encode), ("decoded", v.decode)):
            if value:
                items.append(
                    (f"A megapixel is {word} in", f"{1 / value:.2g} s", f"at {level(v.setting)}")
                )
    return "".join(
        f"<div><dt>{escape(a)}</dt><dd>{escape(b)}<small>{escape(c)}</small></dd></div>"
        for a, b, c in items
    )


def table_note(results: Results) -> str:
    return escape(
        f"Bits that a codec needs for equal quality, against {results.title(results.anchor)}; "
        "negative is fewer. "
        "The interval is what both curves cover: figures over different intervals are not to be "
        "compared to the last digit. A click on a heading sorts."
    )


def machine(results: Results) -> str:
    machine = results.meta.get("machine")
    return f", on {escape(str(machine))}" if machine else ""


def anchor(results: Results) -> str:
    row = next((r for r in results.rows if r.codec == results.anchor), None)
    if row is None:
        return escape(results.anchor) or "not named"
    title = escape(results.title(row.codec))
    return f"<b>{title}</b>: {escape(row.version)}, {escape(shared(results, row.codec))}"


def rules(results: Results) -> str:
    rules = [escape(str(r)) for r in results.meta.get("rules") or RULES]
    rules.append(f"The anchor is {anchor(results)}.")
    count = len({r.image for r in results.rows if r.ms_ssim is None})
    if count:
        rules.append(f"MS-SSIM is missing for {count} of {len(results.images)} pictures.")
    if results.published:
        rules.append(
            "Published curves are dashed. They are figures of others, measured on their machines "
            "by their rules; nothing of them was run here."
        )
    return "".join(f"<li>{r}</li>" for r in rules)


def notes(notes: Any) -> str:
    lines = [notes] if isinstance(notes, str) else list(notes or ())
    if not lines:
        return ""
    items = "".join(f"<li>{escape(str(n))}</li>" for n in lines)
    return f'<h3>Notes of this run</h3><ul class="rules">{items}</ul>'


def meta(meta: Mapping[str, Any]) -> str:
    def text(value: Any) -> str:
        if isinstance(value, Mapping):
            return ", ".join(f"{k} {v}" for k, v in value.items())
        if isinstance(value, (list, tuple)):
            return ", ".join(map(str, value))
        return str(value)

    first = ("dataset", "date", "machine", "versions")
    # What stands elsewhere on the page.
    told = {"notes", "rules", "titles", "settings", "codecs", "pictures", "anchor"}
    keys = [k for k in first if k in meta] + [k for k in meta if k not in (*first, *told)]
    return "".join(
        f"<dt>{escape(k.replace('_', ' '))}</dt><dd>{escape(text(meta[k]))}</dd>" for k in keys
    )


def sources(results: Results) -> str:
    if not results.published:
        return ""
    by: dict[str, list[str]] = {}
    for p in results.published:
        names = by.setdefault(p.source, [])
        name = f"{p.title} ({p.rate})" if p.rate else p.title
        if name not in names:
            names.append(name)
    items = "".join(
        f"<li>{escape(', '.join(names))}: {escape(source)}</li>" for source, names in by.items()
    )
    return (
        f"<details><summary>Sources of the published curves ({len(by)})</summary>"
        f'<ul class="sources">{items}</ul></details>'
    )


def look_note(pictures: Gallery) -> str:
    panels = [p for item in pictures.items for p in item["panels"]]
    text = "The files compared are nearly equal in size; both sizes are stated."
    if any(p.get("between") for p in panels):
        text += (
            " A peer's file is coded at the level whose size is nearest to ours; it may lie between"
            " those of the curves."
        )
    return escape(text)


def layers_note(strip: Mapping[str, Any] | None) -> str:
    if strip is None:
        return ""
    last = len(strip["panels"]) - 1
    return escape(
        f"One file of {strip['image']} ({level(strip['setting'])}, "
        f"{grouped(strip['bytes'])} bytes), decoded from its context alone up to all {last} "
        "layers. A file cut after any layer is a whole, coarser picture; what is not there is "
        "filled with the prior's mean."
    )


def strip(strip: Mapping[str, Any] | None) -> str:
    if strip is None:
        return ""
    figures = []
    panels: Iterable[Mapping[str, Any]] = strip["panels"]
    before: Mapping[str, Any] | None = None
    for p in panels:
        title = "Context" if p["layers"] == 0 else f"+ layer {p['layers']}"
        gain = ""
        if before is not None:
            gain = (
                f" (+{grouped(p['bytes'] - before['bytes'])} bytes, "
                f"{signed(p['psnr_rgb'] - before['psnr_rgb'], 2, ' dB')})"
            )
        figures.append(
            f'<figure><div class="frame"><img src="{p["src"]}" width="{strip["width"]}" '
            f'height="{strip["height"]}" alt="{escape(strip["image"])}, {title}"></div>'
            f"<figcaption><b>{title}</b>{escape(gain)}<span>{grouped(p['bytes'])} bytes, "
            f"{p['bpp']:.3f} bpp, {p['psnr_rgb']:.2f} dB</span></figcaption></figure>"
        )
        before = p
    return "".join(figures)


def layers_remark(strip: Mapping[str, Any] | None) -> str:
    if strip is None:
        return ""
    return escape(
        f"The middle {strip['width']}×{strip['height']} pixels, stored as {strip['stored']}, "
        f"within {strip['worst']} dB PSNR of the exact pixels; figures are of the whole picture."
    )
