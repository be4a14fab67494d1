"""The dictionaries of `info` as text for a person."""

from __future__ import annotations

from typing import Any

from .console import table

MOST_COLUMNS = 4
"""Tiles that get a column each in the table of layers."""


def file_text(values: dict[str, Any]) -> str:
    """Header, and a table with a row for each layer; a column for each tile if they are few."""
    tiles, size = values["tiles"], values["bytes"]
    pixels = values["width"] * values["height"]

    def row(name: str, count: int, parts: list[str]) -> list[str]:
        share, bits = f"{100 * count / size:.1f} %", f"{8 * count / pixels:.4f}"
        return [name, str(count), share, bits, *parts]

    columns = tiles if 1 < len(tiles) <= MOST_COLUMNS else []
    blank = [""] * len(columns)
    rows = [["part", "bytes", "share", "bits/pixel", *(f"tile {t['tile']}" for t in columns)]]
    for layer in values["layers"]:
        parts = [str(t["bytes"][layer["layer"]]) for t in columns]
        rows.append(row(layer["name"], layer["bytes"], parts))
    rows += [row(kind, count, blank) for kind, count in values["extra"].items()]
    rows.append(row("container", values["container_bytes"], blank))
    rows.append(row("file", size, blank))
    return f"{_header(values)}\n\n{table(rows)}"


def tiles_text(values: dict[str, Any]) -> str:
    """`file_text`, and a table with a row for each tile."""
    rows = [["tile", "x,y,w,h", *(layer["name"] for layer in values["layers"]), "all"]]
    for t in values["tiles"]:
        box = ",".join(map(str, t["box"]))
        rows.append([str(t["tile"]), box, *map(str, t["bytes"]), str(sum(t["bytes"]))])
    return f"{file_text(values)}\n\n{table(rows)}"


def _header(values: dict[str, Any]) -> str:
    model, count = values["model"], len(values["tiles"])
    name = f"{model['name']} ({model['prior_id']})" if model["name"] else model["prior_id"]
    if model["name"] is None:
        name += ", not installed"
    elif not model["same_synthesis"]:
        name += ", drawn by another synthesis: pixels may differ"
    colours = "grey" if values["grayscale"] else "colour"
    rows = [
        ["picture", f"{values['width']}x{values['height']} pixels, {colours}"],
        ["quality", f"{values['quality']:g}"],
        ["layers", f"context and {len(values['layers']) - 1}"],
        ["tiles", f"{count} ({values['columns']}x{values['rows']}) of {values['tile']} pixels"],
        ["model", name],
    ]
    return "\n".join(f"{key:9} {value}" for key, value in rows)


def model_text(values: dict[str, Any]) -> str:
    """Name and ids, parameters and cost by part, what is in use by layer, and the card."""
    parameters, kmac = values["parameters"], values["kmac"]
    lines = [
        f"model     {values['name']}, {values['layers']} layers below the context",
        f"ids       prior {values['prior_id']}, synthesis {values['synthesis_id']}",
        f"weights   {values['weights_bytes']} bytes, {sum(parameters.values())} parameters"
        + "".join(f", other values from quality {q:g} on" for q in values["sets"][1:]),
        "",
        table([["part", "parameters"], *([k, str(v)] for k, v in parameters.items())]),
        "",
        table([["work", "kMAC/pixel"], *([k, f"{v:.2f}"] for k, v in kmac.items())]),
    ]
    if "usage" in values:
        lines += ["", usage_text(values["usage"])]
    card = [f"{key}: {value}" for key, value in sorted(values["card"].items())]
    return "\n".join([*lines, *(["", *card] if card else [])])


MOST_NAMES = 12
"""Dead channels that are named to a person; JSON names all."""


def usage_text(values: dict[str, Any]) -> str:
    """Bits per pixel and share of channels in use by quality and layer, and what is dead."""
    count = len(values["qualities"][0]["layers"])
    names = ["context", *(f"layer {n}" for n in range(1, count))]
    rows = [["quality", *names]]
    for q in values["qualities"]:
        cells = (f"{x['bpp']:.4f} {100 * x['in_use']:3.0f} %" for x in q["layers"])
        rows.append([f"{q['quality']:g}", *cells])
    dead = list(values["dead"])
    more = f" and {len(dead) - MOST_NAMES} more" if len(dead) > MOST_NAMES else ""
    told = f"{', '.join(dead[:MOST_NAMES])}{more}" if dead else "none"
    layers = "".join(f"\n{names[n]} is dead at every quality" for n in values["dead_layers"])
    return (
        f"bits per pixel and channels in use, {values['photos']} photos\n{table(rows)}\n"
        f"dead channels, {len(dead)} of {values['channels']}: {told}{layers}"
    )
