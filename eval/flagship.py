"""The whole way from photographs to weights with three sets, in one command.

    python -m dctcodec.eval.flagship OUT --photos PHOTOS [--photos MORE] --validation HELD-OUT
        --minutes 1200 [--jobs 2] [--name NAME]

One network learns all qualities; then each set goes on from it by itself; then factors, centroids
and tables are fitted, and the sets are joined to OUT/NAME.safetensors. The default weights came by
more detours (docs/model-card.md); these are the steps that were worth their time. A command that
was interrupted goes on where it was when it is given again.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

BEGINNING = 0.4
"""Share of the budget in which one network learns all qualities; the sets share the rest."""

COMMON = "--optimiser soap --crop 256 --batch 6 --set camera=0.1 --set tone=0.1 --set turned=0.1"
FIRST = "--rate 2e-3 --settled 0.5 --set balance=1.3 --set flat=0.3 --set drop=0.04"
THEN = "--rate 1.5e-3 --settled 1 --set learn=latents --set flat=0.3 --set drop=0.015"


@dataclass(frozen=True, slots=True)
class Set:
    """One set of weights."""

    name: str
    begins: float  # quality from which it holds
    coarsest: float  # qualities that it learns: a little more than it is used for
    finest: float
    balance: float  # see `TrainConfig.balance`
    counted: tuple[float, ...]  # qualities at which symbols are counted for its tables


SETS = (
    Set("coarse", 0, 0, 37, 1.3, (2, 8, 14, 20, 26, 30, 34)),
    Set("middle", 36, 33, 75, 1.2, (32, 37, 42, 47, 52, 57, 62, 67, 72)),
    Set("fine", 74, 72.5, 100, 1.1, (72, 77, 82, 88, 94)),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What to train on, where, and for how long."""

    out: Path
    photos: Sequence[Path]
    validation: Sequence[Path]
    minutes: float = 0.0  # of all runs together
    steps: int = 0  # of all runs together, in place of minutes
    name: str = "flagship"
    seed: int = 0
    crops: int = 24  # that factors are fitted on
    sweeps: int = 1  # over the parts, for their factors
    fitting: int = 60  # steps in which centroids are fitted
    count: int = 60  # photos that tables are fitted on
    shape: Sequence[str] = ()  # KEY=VALUE, see `dctcodec train --set`

    def command(self, module: str, *args: object) -> list[str]:
        return [sys.executable, "-m", module, *map(str, args)]

    def training(self, run: str, share: float, seed: int, options: str) -> list[str]:
        budget: list[object] = ["--steps", round(share * self.steps)]
        if self.minutes:
            budget = ["--minutes", share * self.minutes]
        paths: list[object] = []
        for option, given in (("--photos", self.photos), ("--validation", self.validation)):
            for path in given:
                paths += [option, path]
        line = self.command("dctcodec", "train", self.out / run, *paths, *budget, "--seed", seed)
        return [*line, *COMMON.split(), *options.split()]

    def beginning(self) -> list[list[str]]:
        """Commands up to the state that all sets go on from, in order."""
        run, chosen = self.out / "all" / "state.pt", self.out / "chosen.pt"
        shape = "".join(f" --set {pair}" for pair in self.shape)
        return [
            self.training("all", BEGINNING, self.seed, FIRST + shape),
            self._fit("choice", run, chosen, "--crops", self.crops, "--sweeps", self.sweeps),
            self._fit("centroids", chosen, self.out / "begun.pt", "--steps", self.fitting),
        ]

    def of_set(self, which: Set, seed: int) -> list[list[str]]:
        """Commands for one set, in order."""
        weights = self.out / f"{which.name}-plain.safetensors"
        share = (1 - BEGINNING) / len(SETS)
        options = f"{THEN} --set balance={which.balance}"
        options += f" --set coarsest={which.coarsest} --set finest={which.finest}"
        begun, state = self.out / "begun.pt", self.out / which.name / "state.pt"
        tables = "--count", self.count, "--qualities", *which.counted
        return [
            [*self.training(which.name, share, seed, options), "--start", str(begun)],
            self.command("dctcodec", "export", state, "-o", weights),
            self._fit("tables", weights, self.out / f"{which.name}.safetensors", *tables),
        ]

    def end(self) -> list[list[str]]:
        """Commands that make one weights file of all sets, in order."""
        joined, model = self.out / "joined.safetensors", self.out / f"{self.name}.safetensors"
        sets = [self.out / f"{s.name}.safetensors" for s in SETS]
        borders = "--from", *[s.begins for s in SETS[1:]]
        join = self.command(
            "dctcodec.eval.join_weights", *sets, *borders, "--name", self.name, "-o", joined
        )
        if not self.validation:
            return [[*join[:-1], str(model)]]
        usage = self.command("dctcodec.eval.model_usage", joined, *self.validation, "-o", model)
        return [join, usage]

    def _fit(self, what: str, source: Path, out: Path, *more: object) -> list[str]:
        module = f"dctcodec.eval.fit_{what}"
        return self.command(module, source, *self.photos, "-o", out, *more)


def perform(commands: Sequence[Sequence[str]], threads: int | None = None) -> None:
    """One after another; what has its output is left out, but for training, which knows itself.

    Args:
        threads: of each command; None: as many as it likes.

    Raises:
        subprocess.CalledProcessError: a command failed.
    """
    environment = dict(os.environ)
    if threads is not None:  # more than there are cores would wait for one another, spinning
        environment["OMP_NUM_THREADS"] = str(threads)
    for command in commands:
        if "-o" in command and Path(command[command.index("-o") + 1]).exists():
            continue
        print("+", *command[1:], flush=True)
        subprocess.run(command, check=True, env=environment)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--photos", type=Path, action="append", required=True)
    parser.add_argument("--validation", type=Path, action="append", default=[])
    parser.add_argument("--minutes", type=float, default=0.0, help="of all runs together")
    parser.add_argument("--steps", type=int, default=0, help="of all runs together, instead")
    parser.add_argument("--name", default="flagship")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1, help="sets that train side by side")
    parser.add_argument("--crops", type=int, default=24, help="that factors are fitted on")
    parser.add_argument("--sweeps", type=int, default=1, help="over the parts, for their factors")
    parser.add_argument("--fitting", type=int, default=60, help="steps for centroids")
    parser.add_argument("--count", type=int, default=60, help="photos that tables are fitted on")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="shape")
    args = parser.parse_args(argv)
    if (args.minutes > 0) == (args.steps > 0):
        parser.error("give a budget: either --minutes or --steps")
    recipe = Recipe(**{k: v for k, v in vars(args).items() if k != "jobs"})
    args.out.mkdir(parents=True, exist_ok=True)
    threads = max(1, (os.cpu_count() or 1) // args.jobs) if args.jobs > 1 else None
    try:
        perform(recipe.beginning())
        with ThreadPoolExecutor(max(1, args.jobs)) as pool:
            jobs = [
                pool.submit(perform, recipe.of_set(s, recipe.seed + 1 + k), threads)
                for k, s in enumerate(SETS)
            ]
            for job in jobs:
                job.result()
        perform(recipe.end())
    except subprocess.CalledProcessError as error:
        sys.exit(f"{' '.join(error.cmd[1:5])} … failed; the same command goes on from there")


if __name__ == "__main__":
    main()
