"""The command line: `dctcodec encode | decode | info | preview | demo | benchmark | compare | …`.

This is the rim of the package: the only place that prints. What costs time to import is imported
inside the command that needs it, so that `--help`, `info` and `preview` answer at once.
"""

from __future__ import annotations

import gc
import json
from typing import TYPE_CHECKING, Annotated

import typer

from . import (
    batch_command,
    benchmark_command,
    demo_command,
    sample_command,
    study_command,
    train_command,
)
from .console import (
    EffortLevel,
    Rim,
    TuneName,
    about,
    bar,
    check_suffix,
    output_for,
    read_input,
    remark,
    result,
    write_output,
)
from .container import DEFAULT_MAX_PIXELS
from .errors import UsageError
from .info_text import file_text, model_text, tiles_text
from .tune import DEFAULT_TUNE

if TYPE_CHECKING:
    from .container import Mode

app = typer.Typer(
    cls=Rim,
    help="A neural image codec. Pictures are compressed to .dctc files and back.",
    epilog="Exit codes: 0 done, 1 the file or the machine, 2 the usage, 130 interrupted.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # plain help: rich would take longer to load than all the rest
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Layers = Annotated[
    str | None,
    typer.Option(metavar="context|N", help="How many layers below the context; default: all."),
]
Device = Annotated[str, typer.Option(help="Where the networks run, as torch names it: cpu, cuda.")]
Force = Annotated[bool, typer.Option("--force", help="Overwrite the output if it exists.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print errors only.")]
MaxPixels = Annotated[int, typer.Option(min=1, help="Refuse pictures with more pixels than this.")]
File = Annotated[str, typer.Argument(metavar="FILE", help="A .dctc file; - for stdin.")]
WeightsFile = Annotated[
    str | None,
    typer.Option("--weights", metavar="FILE", help="Of a model that is not in the package."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def encode(
    image: Annotated[
        str, typer.Argument(metavar="IMAGE", help="A picture that Pillow can read; - for stdin.")
    ],
    out: Annotated[
        str | None,
        typer.Option("-o", "--out", help="The file to write, - for stdout; default: IMAGE.dctc."),
    ] = None,
    quality: Annotated[
        float | None,
        typer.Option(
            "-q", "--quality", help="0 smallest … 100 finest, in quarters.", show_default="75.0"
        ),
    ] = None,
    target_bytes: Annotated[
        int | None, typer.Option(help="Choose the quality for this size of the file, within 1 %.")
    ] = None,
    target_bpp: Annotated[float | None, typer.Option(help="The same in bits per pixel.")] = None,
    target_psnr: Annotated[
        float | None, typer.Option(help="Choose the quality for this PSNR in dB, within 0.05.")
    ] = None,
    layers: Layers = None,
    preset: Annotated[
        str | None,
        typer.Option(help="paper, paper-down: the published setting, a 5-bit context of patches."),
    ] = None,
    effort: EffortLevel = 1,
    tune: TuneName = DEFAULT_TUNE,
    tile: Annotated[int, typer.Option(help="Side of a tile in pixels, a multiple of 32.")] = 1024,
    weights: WeightsFile = None,
    device: Device = "cpu",
    strip: Annotated[bool, typer.Option("--strip", help="Leave out EXIF and ICC.")] = False,
    max_pixels: MaxPixels = DEFAULT_MAX_PIXELS,
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """Compress a picture to a .dctc file."""
    from . import presets
    from .api import encode_picture, load_model, quality_index
    from .effort import Effort
    from .pictures import load
    from .target import encode_to_target, goal_of
    from .tune import Tune

    quality_index(75.0 if quality is None else quality)  # an error before the work
    Effort(effort)
    Tune(tune)
    aims = target_bytes, target_bpp, target_psnr
    if quality is not None and aims != (None, None, None):
        raise UsageError("a target chooses the quality: leave out --quality")
    kept = layers_of(layers)
    how = quality, *aims, effort, tune, weights
    if preset is not None and how != (None, None, None, None, 1, DEFAULT_TUNE, None):
        raise UsageError(
            "a preset has one quality, effort, tune and model: leave out their options"
        )
    model = load_model(weights)
    target = output_for(image, out, ".dctc", force=force)
    source = read_input(image)
    with about(image):
        picture = load(source, max_pixels=max_pixels, strip=strip)
    goal = goal_of(picture, *aims)
    for note in picture.notes if not quiet else ():
        remark(f"{image}: {note}")
    with bar("encoding", quiet=quiet) as progress:
        if preset is not None:
            data = presets.encode(picture, preset, kept)
        elif goal is None:
            data = encode_picture(
                picture,
                75.0 if quality is None else quality,
                layers=kept,
                tile=tile,
                device=device,
                progress=progress,
                effort=effort,
                tune=tune,
                model=model,
            ).data
        else:
            found = encode_to_target(
                picture,
                goal,
                layers=kept,
                tile=tile,
                device=device,
                progress=progress,
                effort=effort,
                tune=tune,
                model=model,
            )
            data = found.encoded.data
    if goal is not None and not quiet:
        if found.remark:
            remark(f"{target}: {found.remark}")
        remark(f"{target}: quality {found.quality:g}, {goal.describe(found.value)}")
    write_output(target, data, force=force)
    if not quiet:
        bits = 8 * len(data) / (picture.width * picture.height)
        result(
            f"{target}: {len(data)} bytes, {bits:.3f} bits per pixel, "
            f"{100 * len(data) / len(source):.1f} % of {image}",
            target,
        )


@app.command()
def decode(
    file: File,
    out: Annotated[
        str | None,
        typer.Option(
            "-o", "--out", help="The picture to write, by its suffix; - for PNG on stdout."
        ),
    ] = None,
    layers: Layers = None,
    temperature: Annotated[
        float,
        typer.Option(help="0…2: draw left-out layers from the prior; 0: its mean."),
    ] = 0.0,
    region: Annotated[
        str | None, typer.Option(metavar="X,Y,W,H", help="Only this part of the picture, pixels.")
    ] = None,
    salvage: Annotated[
        bool, typer.Option("--salvage", help="Decode what is intact of a damaged file.")
    ] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Refuse also what a careful reader may ignore.")
    ] = False,
    weights: WeightsFile = None,
    device: Device = "cpu",
    max_pixels: MaxPixels = DEFAULT_MAX_PIXELS,
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """Decompress a .dctc file to a picture."""
    from .api import decode_picture, load_model
    from .pictures import save

    kept, box = layers_of(layers), region_of(region)
    mode: Mode = "salvage" if salvage else "strict" if strict else "default"
    if salvage and strict:
        raise UsageError("--salvage and --strict exclude each other")
    target = output_for(file, out, ".png", force=force)

    check_suffix(target)
    model = load_model(weights)
    data = read_input(file)
    with about(file), bar("decoding", quiet=quiet) as progress:
        decoded = decode_picture(
            data,
            layers=kept,
            temperature=temperature,
            region=box,
            device=device,
            mode=mode,
            max_pixels=max_pixels,
            progress=progress,
            model=model,
        )
    for line in decoded.remarks if not quiet else ():
        remark(f"{file}: {line}")
    notes = save(decoded.picture, target, force=force)
    for note in notes if not quiet else ():
        remark(f"{target}: {note}")
    if not quiet:
        result(f"{target}: {decoded.picture.width}x{decoded.picture.height} pixels", target)


@app.command()
def info(
    file: Annotated[
        str | None, typer.Argument(metavar="FILE", help="A .dctc file; - for stdin.")
    ] = None,
    model: Annotated[bool, typer.Option("--model", help="About the model that encodes.")] = False,
    weights: WeightsFile = None,
    tiles: Annotated[bool, typer.Option("--tiles", help="A row for each tile too.")] = False,
    as_json: Json = False,
    max_pixels: MaxPixels = DEFAULT_MAX_PIXELS,
) -> None:
    """Show what a file holds, layer by layer, or what the model costs."""
    from . import info as about_files
    from .api import load_model

    if model == (file is not None):
        raise UsageError("name either a FILE or --model")
    stored = load_model(weights)
    if file is None:
        values = about_files.model_info(stored)
        text = model_text
    else:
        with about(file):
            values = about_files.info(read_input(file), max_pixels=max_pixels, model=stored)
        text = tiles_text if tiles else file_text
    if as_json:
        result(json.dumps(values, indent=2))
        return
    result(text(values))
    for loss in values.get("losses", []):
        remark(f"{file}: {loss}")


@app.command()
def preview(
    file: File,
    out: Annotated[
        str | None,
        typer.Option("-o", "--out", help="The thumbnail to write, by its suffix; - for PNG."),
    ] = None,
    size: Annotated[
        int | None, typer.Option(min=1, help="Longer side, pixels; default: an eighth.")
    ] = None,
    weights: WeightsFile = None,
    max_pixels: MaxPixels = DEFAULT_MAX_PIXELS,
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """Draw a thumbnail from the context alone."""
    target = output_for(file, out, ".preview.png", force=force)

    check_suffix(target)

    from .api import load_model
    from .pictures import load, save
    from .preview import preview as draw

    model = load_model(weights)
    with about(file):
        image = draw(read_input(file), max_side=size, max_pixels=max_pixels, model=model)
    save(load(image, max_pixels=max_pixels), target, force=force)
    if not quiet:
        result(f"{target}: {image.width}x{image.height} pixels", target)


app.command()(demo_command.demo)
app.command()(benchmark_command.benchmark)
app.command()(benchmark_command.compare)
app.command()(sample_command.sample)
app.command()(train_command.train)
app.command()(train_command.export)
app.add_typer(batch_command.app, name="batch")
app.add_typer(study_command.study, name="study")


def version(show: bool) -> None:
    if show:
        from importlib.metadata import version as installed

        result(f"dctcodec {installed('dctcodec')}")
        raise typer.Exit


@app.callback()
def options(
    show_version: Annotated[
        bool, typer.Option("--version", callback=version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


def layers_of(text: str | None) -> int | None:
    """`--layers`: a number, or `context` for 0."""
    if text is None:
        return None
    if text == "context":
        return 0
    if not text.isdecimal():
        raise UsageError(f"--layers {text!r} is neither a number nor 'context'")
    return int(text)


def region_of(text: str | None) -> tuple[int, int, int, int] | None:
    """`--region`: left, top, width, height."""
    if text is None:
        return None
    parts = text.split(",")
    if len(parts) != 4 or not all(p.strip().isdecimal() for p in parts):
        raise UsageError(f"--region {text!r} is not X,Y,W,H: four whole numbers of pixels")
    x, y, w, h = map(int, parts)
    return x, y, w, h


def main() -> None:
    """Entry point of the command."""
    try:
        app(prog_name="dctcodec")
    finally:
        gc.freeze()  # or Python's last collection walks through all of torch, for 0.3 s
