"""`dctcodec study …`: the science behind the codec, trained and measured again."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from . import collapse_command
from .console import remark, result
from .errors import UsageError

study = typer.Typer(
    help="Rerun the studies of the documents.",
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@study.callback()
def studies() -> None:
    pass


study.command()(collapse_command.collapse)


@study.command()
def vae(
    out: Annotated[
        Path, typer.Argument(metavar="OUT", help="Folder of the study; one that is there goes on.")
    ],
    mnist: Annotated[
        Path | None, typer.Option(exists=True, help="Folder with MNIST's IDX files.")
    ] = None,
    omniglot: Annotated[
        Path | None, typer.Option(exists=True, help="Folder with OMNIGLOT's PNG files or zips.")
    ] = None,
    cifar10: Annotated[
        Path | None, typer.Option(exists=True, help="CIFAR-10's python batches, folder or tar.")
    ] = None,
    photos: Annotated[
        list[Path] | None,
        typer.Option(exists=True, help="Photos for 32x32 patches; give it again for more."),
    ] = None,
    preset: Annotated[
        Literal["reduced", "paper"],
        typer.Option(help="reduced: for two cores; paper: Table 6, for a GPU and days."),
    ] = "reduced",
    seeds: Annotated[int, typer.Option(min=1, help="Runs per data set and arm.")] = 3,
    sizes: Annotated[
        str, typer.Option(help="Further context sizes K, on the first data set; '' for none.")
    ] = "2,4,10,14",
    steps: Annotated[
        int | None, typer.Option(min=1, help="Updates per run; default: the preset's.")
    ] = None,
    samples: Annotated[int, typer.Option(min=1, help="Of the importance-weighted bound.")] = 32,
    pictures: Annotated[int, typer.Option(min=2, help="Test pictures that are measured.")] = 500,
    processes: Annotated[
        int | None, typer.Option(min=1, help="Runs at a time; default: the cores, at most 2.")
    ] = None,
    device: Annotated[str, typer.Option(help="Where to train, as torch names it.")] = "cpu",
) -> None:
    """Hierarchical VAEs with a context, and with a latent in its place: table and figures."""
    from ..eval.vae_study.attack import AttackConfig
    from ..eval.vae_study.sets import Name
    from ..eval.vae_study.study import MeasureConfig, plan
    from ..eval.vae_study.study import study as go

    given: dict[Name, tuple[Path, ...]] = {
        "mnist": (mnist,) if mnist else (),
        "omniglot": (omniglot,) if omniglot else (),
        "cifar10": (cifar10,) if cifar10 else (),
        "photo32": tuple(photos or ()),
    }
    folders = {name: paths for name, paths in given.items() if paths}
    if not folders:
        raise UsageError("name a data set: --mnist, --omniglot, --cifar10 or --photos")
    measuring = MeasureConfig(pictures=pictures, samples=samples, attack=AttackConfig())
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    count = processes or min(2, cores or 1)
    try:
        from ..eval.vae_study.report import write_report

        jobs = plan(
            folders,
            preset=preset,
            seeds=seeds,
            sizes=_sizes(sizes),
            steps=steps,
            measuring=measuring,
        )
        remark(f"{len(jobs)} runs, {count} at a time; finished ones are kept in {out}")

        def report(done: int, row: dict[str, Any]) -> None:
            remark(
                f"{done}/{len(jobs)} {row['dataset']} {row['arm']} K {row['context_size'] or '-'} "
                f"seed {row['seed']}: NLL {row['nll']:.1f} nats, ELBO {-row['elbo']:.1f}, "
                f"{row['training']['seconds'] + row['measuring_seconds']:.0f} s"
            )

        rows = go(jobs, folders, out / "runs", processes=count, device=device, report=report)
        tables = write_report(rows, out)
    except ModuleNotFoundError as error:
        if error.name != "matplotlib":
            raise
        raise UsageError('figures need matplotlib: pip install "dctcodec[eval]"') from error
    except KeyboardInterrupt:
        remark("the same command goes on")
        raise
    except ValueError as error:
        raise UsageError(str(error)) from error
    result(tables)


def _sizes(text: str) -> tuple[int, ...]:
    """`--sizes`: numbers with commas between them."""
    parts = [p.strip() for p in text.split(",") if p.strip()]
    if not all(p.isdecimal() and int(p) > 0 for p in parts):
        raise UsageError(f"--sizes {text!r} is no list of numbers such as 2,4,10")
    return tuple(map(int, parts))
