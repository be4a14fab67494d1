"""`dctcodec study collapse`: when latents collapse, by theory and by training."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .console import remark, result
from .errors import OutputError, UsageError

# As the other studies: the command line is the rim, above both codec and eval.


def collapse(
    out: Annotated[
        Path, typer.Argument(metavar="OUT", help="Folder of the results; one there goes on.")
    ],
    mnist: Annotated[
        Path,
        typer.Option(
            metavar="DIR", exists=True, file_okay=False, help="Where MNIST's test digits are."
        ),
    ],
    figures: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where the figures go; default: OUT.")
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="Of torch.")] = 1,
) -> None:
    """Train linear and nonlinear VAEs on digits; compare with the closed forms of collapse."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise UsageError('figures need matplotlib: pip install "dctcodec[eval]"') from error
    import torch

    from ..eval.theory import page, study
    from ..eval.theory.digits import load_digits
    from ..eval.theory.figures import linear_figure, nonlinear_figure
    from ..eval.theory.linear_study import linear_rows
    from ..eval.theory.tables import linear_table, nonlinear_table

    torch.set_num_threads(threads)
    digits = load_digits(mnist)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise OutputError(f"{out}: is no folder") from error
    remark(f"{len(digits.training)} digits to train on, {len(digits.held_out)} to measure on")
    linear = out / page.LINEAR_ROWS
    if not linear.exists():
        rows = linear_rows(digits.covariance(), remark)
        partial = linear.with_suffix(".part")
        partial.unlink(missing_ok=True)
        for row in rows:
            study.append(partial, row)
        partial.replace(linear)
    nonlinear = study.run_all(digits, out / page.ROWS, report=remark)
    result(linear_table(study.read_rows(linear)))
    result("")
    result(nonlinear_table(nonlinear))
    linear_figure(study.read_rows(linear), (figures or out) / "theory-linear.png")
    nonlinear_figure(nonlinear, (figures or out) / "theory-nonlinear.png")
