"""Figures in documents are those of the measured rows."""

from __future__ import annotations

from pathlib import Path

import pytest

from dctcodec.eval import kodak_page
from dctcodec.models import weights

ROOT = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def at_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def test_the_kodak_page_is_written_from_its_rows() -> None:
    assert kodak_page.PAGE.read_text(encoding="utf-8") == kodak_page.results()


def test_the_rows_hold_what_the_page_promises() -> None:
    rows = kodak_page.read_rows(kodak_page.RESULTS / "kodak.csv")
    for r in rows:
        limit = 1.01 * float(r["estimated_bytes"]) + int(r["container_bytes"])
        assert int(r["bytes"]) <= limit + 7 * int(r["streams"]), r
        assert int(r["container_bytes"]) <= 72, r
    curve = kodak_page.curve(rows)
    for key in ("bpp", "psnr"):
        values = curve[key].tolist()
        assert values == sorted(values), key


def test_mean_psnr_never_falls_from_layer_to_layer() -> None:
    rows = kodak_page.read_rows(kodak_page.RESULTS / "layers.csv")
    for quality in {r["quality"] for r in rows}:
        mine = [r for r in rows if r["quality"] == quality]
        levels = sorted({int(r["layers"]) for r in mine})
        means = [
            sum(float(r["psnr_rgb"]) for r in mine if int(r["layers"]) == n) / 24 for n in levels
        ]
        assert means == sorted(means), quality


@pytest.mark.parametrize("name", ["kodak", "kodak-psnr", "kodak-ms-ssim"])
def test_the_readme_names_the_bd_rates_of_the_rows(name: str) -> None:
    rows = [kodak_page.read_rows(kodak_page.RESULTS / f"{n}.csv") for n in (name, "jpeg420")]
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for by, rate in kodak_page.bd_rates(rows[0], rows[1]).items():
        assert rate is not None
        (line,) = [x for x in readme.splitlines() if x.startswith(f"| {by} |")]
        assert f"{rate.percent:.1f} %".replace("-", "−") in line


def test_the_model_card_names_the_model() -> None:
    card = (ROOT / "docs" / "model-card.md").read_text(encoding="utf-8")
    assert weights.default().prior_id.hex() in card
