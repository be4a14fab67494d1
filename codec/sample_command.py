"""`dctcodec sample`: pictures drawn from the model."""

from __future__ import annotations

from typing import Annotated

import typer

from .console import bar, check_suffix, output_for, result
from .errors import UsageError


def sample(
    out: Annotated[
        str, typer.Option("-o", "--out", help="The grid to write, by its suffix; - for PNG.")
    ] = "sample.png",
    count: Annotated[int, typer.Option(min=1, max=64, help="Pictures to draw.")] = 4,
    size: Annotated[
        int, typer.Option(min=32, max=2048, help="Side of a picture in pixels, a multiple of 32.")
    ] = 256,
    temperature: Annotated[
        float, typer.Option(help="0…2: scales of all draws; 0 is the prior's mean.")
    ] = 1.0,
    quality: Annotated[
        float, typer.Option("-q", "--quality", help="0…100: how fine the drawn symbols are.")
    ] = 30.0,
    preset: Annotated[
        str | None, typer.Option(help="paper, paper-down: from the models of this preset instead.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the draws.")] = 0,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the output if it exists.")] = (
        False
    ),
) -> None:
    """Draw pictures from the prior: contexts above, whole pictures below."""
    import numpy as np

    from .api import default_runtime, quality_index
    from .pictures import load, save
    from .sample import draw, grid

    index = quality_index(quality)
    if size % 32:
        raise UsageError(f"--size {size} is not a multiple of 32")
    if not 0 <= temperature <= 2:
        raise UsageError(f"temperature {temperature:g} is not in 0…2")
    target = output_for("-" if out == "-" else "sample", out, ".png", force=force)
    check_suffix(target)
    columns = []
    with bar("drawing") as progress:
        for k in range(count):
            rng = np.random.default_rng([seed, k])
            if preset is not None:
                from . import presets

                drawn = presets.draw(preset, size // 32, temperature, rng)
                columns.append([x for x in drawn if x is not None])
            else:
                stored, run = default_runtime(index)
                columns.append(list(draw(stored, run, index, size // 32, temperature, rng)))
            if progress:
                progress((k + 1) / count)
    picture = load(grid(columns))
    save(picture, target, force=force)
    result(f"{target}: {count} draws, {picture.width}x{picture.height} pixels", target)
