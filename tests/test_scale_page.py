"""The page on scale is written from its rows, and its arithmetic holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("scipy", reason="needs the extra `eval`")

from dctcodec.eval import batch_speed, scale_page

ROOT = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def at_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def test_the_page_on_scale_is_written_from_its_rows() -> None:
    assert scale_page.PAGE.read_text(encoding="utf-8") == scale_page.results()


def test_the_rows_hold_all_parts() -> None:
    assert set(json.loads(batch_speed.RESULTS.read_text())) == set(batch_speed.PARTS)


def test_a_billion_photos_cost_what_the_formula_says() -> None:
    photos = scale_page.Photos(name="x", count=1e9, megapixels=3.6, jpeg_bytes=1e6)
    column = scale_page.on_paper(photos, 1.0, 1000, scale_page.Prices())
    assert column["core-hours"] == "1,000,000"
    assert column["cost of the cores"] == "$40,000"
    assert column["bytes now, as JPEG"] == "1,000 TB"
    assert column["lines of manifests"] == "1,000 GB"
    _, bits, jpeg_bits = scale_page.saved_share()
    assert column["bytes saved"].startswith(f"{1000 * (1 - bits / jpeg_bits):,.0f} TB")


def test_phases_and_rates_are_read_from_a_summary() -> None:
    summary: dict[str, Any] = {"done": 8, "seconds": 6, "start_up_seconds": {"a": 1.5, "b": 2.0}}
    assert batch_speed.steady_rate(summary) == 2.0
