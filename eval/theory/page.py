"""docs/theory.md: its tables and figures from the rows; the words are typed.

dctcodec study collapse docs/results --mnist FOLDER    (makes the rows that are missing)
python -m dctcodec.eval.theory.codec_level PHOTOS -o docs/results/collapse-codec.csv
python -m dctcodec.eval.theory.page                    (tables and figures of the page)
"""

from __future__ import annotations

import re
from pathlib import Path

from .figures import linear_figure, nonlinear_figure
from .study import read_rows
from .tables import codec_table, linear_table, nonlinear_table

RESULTS = Path("docs/results")
PAGE = Path("docs/theory.md")
FIGURES = Path("docs/science")
ROWS, LINEAR_ROWS = "collapse.csv", "collapse-linear.csv"
CODEC_ROWS = "collapse-codec.csv"


def filled(words: str) -> str:
    """The page with its tables made anew, each between `<!-- NAME -->` and `<!-- end -->`."""
    tables = {
        "linear": linear_table(read_rows(RESULTS / LINEAR_ROWS)),
        "nonlinear": nonlinear_table(read_rows(RESULTS / ROWS)),
        "codec": codec_table(read_rows(RESULTS / CODEC_ROWS)),
    }
    for name, table in tables.items():
        pattern = rf"(<!-- {name} -->\n).*?(<!-- end -->)"
        words = re.sub(pattern, lambda m, t=table: f"{m[1]}{t}\n{m[2]}", words, flags=re.S)  # type: ignore[misc]
    return words


def main() -> None:
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    linear_figure(read_rows(RESULTS / LINEAR_ROWS), FIGURES / "theory-linear.png")
    nonlinear_figure(read_rows(RESULTS / ROWS), FIGURES / "theory-nonlinear.png")


if __name__ == "__main__":
    main()
