"""Tables and figures of the study, from its rows.

python -m dctcodec.eval.vae_study.report RUN [--docs docs [--longer RUN]]

With `--docs`, the rows (without the models' settings) go to DOCS/results/vae_study.jsonl, the
figures to DOCS/science/ and the tables between their markers in DOCS/science.md.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import re
import statistics
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Row = dict[str, Any]

ARM_NAMES = {"dct": "DCT context", "downsampling": "downsampling context", "baseline": "baseline"}
COLOURS = {"dct": "#1b6ca8", "downsampling": "#d98e04", "baseline": "#555555"}


def spread(values: Sequence[float], digits: int = 1) -> str:
    """Mean ± standard deviation over seeds; the mean alone of a single run."""
    mean = f"{statistics.mean(values):.{digits}f}"
    if len(values) == 1:
        return mean
    return f"{mean} ± {statistics.stdev(values):.{digits}f}"


def groups(rows: Iterable[Row]) -> dict[tuple[str, str], list[Row]]:
    """Rows of the main comparison by (data set, arm), in the order of their appearance."""
    out: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        if not row["sweep"]:
            out.setdefault((row["dataset"], row["arm"]), []).append(row)
    order = list(dict.fromkeys(d for d, _ in out))
    arms = list(ARM_NAMES)
    keys = sorted(out, key=lambda k: (order.index(k[0]), arms.index(k[1])))
    return {k: sorted(out[k], key=lambda r: int(r["seed"])) for k in keys}


def _table(head: Sequence[str], body: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *body]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _per_dimension(row: Row, nats: float) -> float:
    return nats / int(row["dimensions"]) / math.log(2)


def sets_table(rows: Sequence[Row]) -> str:
    """What each data set is: the labels that the other tables abbreviate."""
    first = {r["dataset"]: r for r in reversed(rows)}
    body = [[name, r["label"], str(r["test_pictures"])] for name, r in sorted(first.items())]
    return _table(["name", "data (training / test)", "test pictures measured"], body)


def likelihood_table(rows: Sequence[Row]) -> str:
    """NLL, ELBO and their parts; nats per picture, for colours bits per dimension."""
    head = ["data", "arm", "parameters", "seeds", "NLL", "−ELBO", "of which context"]
    body = []
    for (name, arm), found in groups(rows).items():
        colours = found[0]["dimensions"] > 784

        def show(key: str, found: list[Row] = found, colours: bool = colours) -> str:
            if colours:
                return spread([_per_dimension(r, r[key]) for r in found], 3) + " b/d"
            return spread([r[key] for r in found])

        context = show("context_nll") if arm != "baseline" else "–"
        body.append(
            [
                name,
                ARM_NAMES[arm],
                f"{found[0]['parameters']:,}",
                str(len(found)),
                show("nll"),
                show("elbo"),
                context,
            ]
        )
    return _table(
        [*head[:4], f"NLL (importance-weighted, S = {rows[0]['samples']})", *head[5:]], body
    )


def layers_table(rows: Sequence[Row]) -> str:
    """Divergence and use of every layer, from the top."""
    body = []
    for (name, arm), found in groups(rows).items():
        kl = " / ".join(spread([r["kl"][i] for r in found]) for i in range(len(found[0]["kl"])))
        cells = []
        for key in ("active", "informed"):
            shares = [_share(r, key) for r in found]
            layers = "/".join(
                f"{statistics.mean(r[key][i] for r in found):.0f}"
                for i in range(len(found[0]["units"]))
            )
            cells.append(f"{spread(shares)} % ({layers})")
        units = "/".join(map(str, found[0]["units"]))
        body.append([name, ARM_NAMES[arm], units, kl, *cells])
    head = ["data", "arm", "units per layer, top first", "KL per layer, nats"]
    return _table([*head, "active units", "informed units"], body)


def difference_table(rows: Sequence[Row]) -> str:
    """Context arms minus baseline, seed by seed: mean ± standard deviation of the differences."""
    found = groups(rows)
    body = []
    for (name, arm), runs in found.items():
        others = {r["seed"]: r for r in found.get((name, "baseline"), [])}
        pairs = [(r, others[r["seed"]]) for r in runs if r["seed"] in others]
        if arm == "baseline" or not pairs:
            continue

        def of(value: Callable[[Row], float], digits: int, pairs: Any = pairs) -> str:
            return spread([value(a) - value(b) for a, b in pairs], digits)

        cells = [
            of(lambda r: float(r["nll"]), 1),
            of(lambda r: float(r["elbo"]), 1),
            of(lambda r: _share(r, "active"), 1),
            of(lambda r: _share(r, "informed"), 1),
            of(lambda r: float(r["robustness"]["whole"][1]), 3),
            of(lambda r: float(r["robustness"]["whole"][-1]), 3),
        ]
        body.append([name, ARM_NAMES[arm], *cells])
    head = ["data", "arm minus baseline", "NLL, nats", "−ELBO, nats", "active units, points"]
    more = ["informed units, points", "MS-SSIM, two layers attacked", "all attacked"]
    return _table([*head, *more], body)


def _share(row: Row, key: str) -> float:
    """Per cent of the Gaussian units; a context has none."""
    first = 0 if row["arm"] == "baseline" else 1
    return 100 * float(sum(row[key][first:])) / float(sum(row["units"][first:]))


def sweep_table(rows: Sequence[Row]) -> str:
    """Context size K against bits and likelihood: the DCT arm, seed 0."""
    chosen = sweep_rows(rows)
    body = [
        [
            str(r["context_size"]),
            str(r["units"][0]),
            f"{r['context_nll'] / math.log(2):.1f}",
            f"{r['nll']:.1f}",
            f"{r['elbo']:.1f}",
            f"{sum(r['kl'][1:]):.1f}",
            f"{_share(r, 'active'):.0f} %",
            f"{_share(r, 'informed'):.0f} %",
        ]
        for r in chosen
    ]
    head = ["K", "symbols", "context, bits", "NLL, nats", "−ELBO", "KL below the context"]
    return _table([*head, "active units", "informed units"], body)


def sweep_rows(rows: Sequence[Row]) -> list[Row]:
    """The sweep and the run of the main comparison that belongs to it, by K."""
    swept = [r for r in rows if r["sweep"]]
    if not swept:
        return []
    same = [
        r
        for r in rows
        if not r["sweep"]
        and r["arm"] == "dct"
        and r["dataset"] == swept[0]["dataset"]
        and r["seed"] == swept[0]["seed"]
    ]
    return sorted(swept + same, key=lambda r: int(r["context_size"]))


def robustness_table(rows: Sequence[Row]) -> str:
    """MS-SSIM between reconstructions of attacked and clean pictures."""
    body = []
    for (name, arm), found in groups(rows).items():
        for key, words in (("whole", "all layers"), ("top", "attacked layers only")):
            values = [r["robustness"][key] for r in found]
            cells = [spread([v[i] for v in values], 3) for i in range(len(values[0]))]
            body.append([name, ARM_NAMES[arm], words, *cells])
    count = max((len(b) - 3 for b in body), default=0)
    head = [
        "data",
        "arm",
        "taken from the attacked picture",
        *(f"m = {m + 1}" for m in range(count)),
    ]
    return _table(head, body)


def tables(rows: Sequence[Row], longer: Sequence[Row] = ()) -> dict[str, str]:
    """Every table in Markdown, by the name of its markers; `longer`: rows of more updates."""
    made = {
        "sets": sets_table(rows),
        "likelihood": likelihood_table(rows),
        "differences": difference_table(rows),
        "layers": layers_table(rows),
        "robustness": robustness_table(rows),
    }
    if any(r["sweep"] for r in rows):
        made["sweep"] = sweep_table(rows)
    if longer:
        made["longer-likelihood"] = likelihood_table(longer)
        made["longer-layers"] = layers_table(longer)
        made["longer-robustness"] = robustness_table(longer)
    return made


def _figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure as Blank  # no pyplot: no global state, no display

    return Blank(figsize=(width, height), layout="constrained")


def kl_figure(rows: Sequence[Row]) -> Figure:
    """Divergence per layer, one panel per data set."""
    found = groups(rows)
    names = list(dict.fromkeys(d for d, _ in found))
    figure = _figure(4.2 * len(names), 3)
    for axes, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        for i, (arm, title) in enumerate(ARM_NAMES.items()):
            runs = found.get((name, arm), [])
            if not runs:
                continue
            values = np.array([r["kl"] for r in runs])
            at = np.arange(values.shape[1]) + 0.27 * (i - 1)
            deviation = values.std(0, ddof=1) if len(runs) > 1 else None
            axes.bar(at, values.mean(0), 0.25, yerr=deviation, label=title, color=COLOURS[arm])
        axes.set_xlabel("layer, 0 is the context or the latent in its place")
        axes.set_ylabel("KL, nats per picture")
        axes.set_yscale("symlog", linthresh=1)
        axes.set_ylim(bottom=0)
        axes.set_title(name, fontsize=10)
        axes.legend(fontsize=7)
    return figure


def robustness_figure(rows: Sequence[Row]) -> Figure:
    """The paper's Figure 10: similarity against the number of layers under attack."""
    found = groups(rows)
    names = list(dict.fromkeys(d for d, _ in found))
    figure = _figure(4.2 * len(names), 3)
    for axes, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        for arm, title in ARM_NAMES.items():
            runs = found.get((name, arm), [])
            if not runs:
                continue
            for key, dashes in (("whole", "-"), ("top", ":")):
                values = np.array([r["robustness"][key] for r in runs])
                at = np.arange(1, values.shape[1] + 1)
                deviation = values.std(0, ddof=1) if len(runs) > 1 else None
                axes.errorbar(
                    at,
                    values.mean(0),
                    deviation,
                    linestyle=dashes,
                    marker="o",
                    markersize=3,
                    capsize=2,
                    color=COLOURS[arm],
                    label=title if key == "whole" else None,
                )
        axes.set_xlabel("layers under attack, from the top")
        axes.set_ylabel("MS-SSIM to the clean reconstruction")
        axes.set_title(name, fontsize=10)
        axes.legend(fontsize=7)
    return figure


def sweep_figure(rows: Sequence[Row]) -> Figure:
    """Context size against likelihood and bits."""
    chosen = sweep_rows(rows)
    sizes = [r["context_size"] for r in chosen]
    figure = _figure(8, 3)
    left, right = figure.subplots(1, 2)
    left.plot(sizes, [r["nll"] for r in chosen], "o-", color=COLOURS["dct"], label="NLL")
    left.plot(sizes, [r["elbo"] for r in chosen], "o:", color=COLOURS["dct"], label="−ELBO")
    left.set_ylabel("nats per picture")
    bits = [r["context_nll"] / math.log(2) for r in chosen]
    below = [sum(r["kl"][1:]) / math.log(2) for r in chosen]
    right.plot(sizes, bits, "o-", color=COLOURS["dct"], label="context")
    right.plot(sizes, below, "o-", color=COLOURS["baseline"], label="KL of the layers below")
    right.set_ylabel("bits per picture")
    for axes in (left, right):
        axes.set_xlabel("context size K")
        axes.legend(fontsize=8)
    return figure


def _sheet(tiles: npt.NDArray[np.uint8], columns: int) -> npt.NDArray[np.uint8]:
    """Pictures (count, channels, side, side) side by side with a grey line between them."""
    count, channels, side, _ = tiles.shape
    rows = -(-count // columns)
    out = np.full((rows * (side + 1), columns * (side + 1), 3), 128, np.uint8)
    for i, tile in enumerate(tiles):
        r, c = divmod(i, columns)
        at = out[r * (side + 1) :, c * (side + 1) :][:side, :side]
        at[:] = np.broadcast_to(
            tile.transpose(1, 2, 0), (side, side, 3) if channels == 3 else (side, side, 1)
        )
    return out


def picture_figures(rows: Sequence[Row], runs: Path) -> dict[str, Figure]:
    """Reconstructions from the top m layers, and samples; of seed 0, where its pictures are."""
    packs: dict[tuple[str, str], dict[str, npt.NDArray[np.uint8]]] = {}
    for key in groups(rows):
        for path in sorted(runs.glob(f"{key[0]}-{key[1]}-*seed0-*.npz")):
            with np.load(path) as pack:
                packs[key] = {k: pack[k] for k in pack.files}
    out: dict[str, Figure] = {}
    for name in dict.fromkeys(d for d, _ in packs):
        arms = [a for a in ARM_NAMES if (name, a) in packs]
        figure = _figure(3.6 * len(arms), 3.2)
        for axes, arm in zip(figure.subplots(1, len(arms), squeeze=False)[0], arms, strict=True):
            pack = packs[name, arm]
            shown = [pack["original"], *pack["reconstructions"]]
            count = len(shown[0])
            axes.imshow(_sheet(np.concatenate(shown), count), interpolation="nearest")
            side = shown[0].shape[-1] + 1
            labels = ["original", *(f"top {m}" for m in range(1, len(shown)))]
            axes.set_yticks([side * (i + 0.5) for i in range(len(shown))], labels, fontsize=7)
            axes.set_xticks([])
            axes.set_title(ARM_NAMES[arm], fontsize=9)
        out[f"reconstructions-{name}"] = figure
        figure = _figure(3.6 * len(arms), 1.7)
        for axes, arm in zip(figure.subplots(1, len(arms), squeeze=False)[0], arms, strict=True):
            axes.imshow(_sheet(packs[name, arm]["samples"], 8), interpolation="nearest")
            axes.set_axis_off()
            axes.set_title(ARM_NAMES[arm], fontsize=9)
        out[f"samples-{name}"] = figure
    return out


def figures(rows: Sequence[Row], runs: Path) -> dict[str, Figure]:
    """Every figure, by the name of its file."""
    makers: dict[str, Callable[[Sequence[Row]], Figure]] = {
        "vae-kl": kl_figure,
        "vae-robustness": robustness_figure,
    }
    if sweep_rows(rows):
        makers["vae-context-size"] = sweep_figure
    drawn = {name: make(rows) for name, make in makers.items()}
    pictures = picture_figures(rows, runs)
    return drawn | {f"vae-{name}": figure for name, figure in pictures.items()}


def write_figures(rows: Sequence[Row], runs: Path, folder: Path) -> list[Path]:
    """PNG files of all figures, with few colours so that they stay small."""
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, figure in figures(rows, runs).items():
        raw = io.BytesIO()
        figure.savefig(raw, format="png", dpi=110)
        path = folder / f"{name}.png"
        with Image.open(raw) as image:
            image.convert("RGB").quantize(128).save(path, optimize=True)
        written.append(path)
    return written


def write_report(rows: Sequence[Row], out: Path) -> str:
    """`OUT/tables.md` and `OUT/figures/*.png`.

    Returns:
        The tables in Markdown.
    """
    text = "\n\n".join(f"### {name}\n\n{table}" for name, table in tables(rows).items())
    (out / "tables.md").write_text(text + "\n")
    write_figures(rows, out / "runs", out / "figures")
    return text


def filled(page: str, made: dict[str, str]) -> str:
    """A page with its tables put between `<!-- table: name -->` and `<!-- end -->`."""
    for name, table in made.items():
        pattern = rf"(<!-- table: {name} -->\n).*?(\n?<!-- end -->)"
        safe = table.replace("\\", r"\\")
        page = re.sub(pattern, rf"\g<1>{safe}\n<!-- end -->", page, flags=re.S)
    return page


def read_rows(path: Path) -> list[Row]:
    """Rows of a folder of runs, or of a file with one row per line."""
    if path.is_dir():
        return [json.loads(p.read_text()) for p in sorted(path.glob("*.json"))]
    return [json.loads(line) for line in path.read_text().splitlines()]


def publish(run: Path, docs: Path, longer: Path | None = None) -> None:
    """Rows, figures and tables of a study into the documents; rows without the models' settings."""

    def kept(folder: Path, name: str) -> list[Row]:
        rows = [{k: v for k, v in r.items() if k != "config"} for r in read_rows(folder / "runs")]
        (docs / "results" / name).write_text("".join(json.dumps(r) + "\n" for r in rows))
        return rows

    rows = kept(run, "vae_study.jsonl")
    more = kept(longer, "vae_study_longer.jsonl") if longer is not None else []
    write_figures(rows, run / "runs", docs / "science")
    page = docs / "science.md"
    page.write_text(filled(page.read_text(), tables(rows, more)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="folder of `dctcodec study vae`")
    parser.add_argument("--docs", type=Path)
    parser.add_argument("--longer", type=Path, help="folder of a study with more updates")
    args = parser.parse_args()
    if args.docs is None:
        print(write_report(read_rows(args.run / "runs"), args.run))
        return
    publish(args.run, args.docs, args.longer)


if __name__ == "__main__":
    main()
