"""The benchmark's report: one file with all it needs, and nothing that is not so."""

from __future__ import annotations

import base64
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import report_folder
from PIL import Image

from dctcodec.codec.api import decode_picture
from dctcodec.codec.errors import UsageError
from dctcodec.eval.metrics import bd_rate, ms_ssim_db, psnr
from dctcodec.eval.report import write_report
from dctcodec.eval.report.curves import default_peers, matched, scatter, speed
from dctcodec.eval.report.equal import nearer
from dctcodec.eval.report.results import OURS, read_results
from dctcodec.eval.report.store import browser_kind
from dctcodec.eval.report.words import lead


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, photo: Any) -> tuple[Path, dict[str, Path]]:
    folder = tmp_path_factory.mktemp("run")
    return folder, report_folder.make(folder, photo)


def write(run: tuple[Path, dict[str, Path]], out: Path, **more: Any) -> str:
    functions = {"decode": report_folder.decode, "encode": report_folder.encode}
    write_report(run[0], run[1], out, **(functions | more))
    return out.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(run: tuple[Path, dict[str, Path]], tmp_path_factory: pytest.TempPathFactory) -> str:
    return write(run, tmp_path_factory.mktemp("page") / "report.html")


def data_of(page: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)
    assert found
    data = json.loads(found[1])
    assert isinstance(data, dict)
    return data


def test_nothing_outside_of_the_file_is_asked_for(page: str) -> None:
    bare = re.sub(r"data:[\w/+-]*;base64,[\w+/=]*", "", page).replace(
        "http://www.w3.org/2000/svg", ""
    )
    assert not re.search(r"https?://|@import|url\((?!#)", bare.replace("url(#${clip})", ""))
    for tag in re.findall(r"<(?:img|script|link)\b[^>]*>", bare):
        assert not re.search(r'(?:src|href)="(?!data:|")', tag), tag
    assert "default-src 'none'" in page


def test_the_page_is_well_formed_and_has_no_id_twice(page: str) -> None:
    class Reader(HTMLParser):
        void = ("meta", "link", "img", "input", "br")

        def __init__(self) -> None:
            super().__init__()
            self.open: list[str] = []
            self.ids: list[str] = []

        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            self.ids += [v for k, v in attrs if k == "id" and v]
            if tag not in self.void:
                self.open.append(tag)

        def handle_endtag(self, tag: str) -> None:
            assert self.open.pop() == tag

    reader = Reader()
    reader.feed(page)
    assert not reader.open
    assert len(reader.ids) == len(set(reader.ids))


def test_a_name_from_the_results_cannot_become_markup(page: str) -> None:
    assert report_folder.NASTY not in page
    assert "web&lt;/script&gt;&lt;b&gt;p" in page
    assert report_folder.NASTY in data_of(page)["titles"]


def test_no_placeholder_is_left(page: str) -> None:
    assert "{{" not in re.sub(r"<script.*?</script>", "", page, flags=re.S)


def test_rules_machine_versions_and_notes_are_stated(page: str) -> None:
    for words in ("real files", "8-bit RGB", "PCHIP", "a machine", "pillow 12", "a note", "dashed"):
        assert words in page, words
    assert "MS-SSIM is missing for 1 of 3 pictures" in page


def test_the_headline_is_the_bd_rate_of_the_summary(
    run: tuple[Path, dict[str, Path]], page: str
) -> None:
    ours = next(s for s in read_results(run[0]).summary if s.codec == OURS)
    assert ours.bd_rate_psnr is not None and ours.bd_rate_psnr < 0
    assert f"{-ours.bd_rate_psnr:.1f} % fewer bits" in page


def test_a_panel_marked_as_the_file_itself_holds_its_bytes(
    run: tuple[Path, dict[str, Path]], page: str
) -> None:
    seen = 0
    for item in data_of(page)["gallery"]:
        assert [p["codec"] for p in item["panels"]][:3] == ["original", OURS, "jpeg-420"]
        exact = np.asarray(Image.open(run[1][item["image"]]))
        for panel in item["panels"][1:]:
            data = base64.b64decode(panel["src"].partition(",")[2])
            if panel["as_is"]:
                seen += 1
                assert len(data) == panel["bytes"]
                shown = report_folder.decode(panel["codec"], data)
                assert psnr(exact, shown) == pytest.approx(panel["psnr_rgb"])
    assert seen >= 3


def test_peers_are_shown_at_our_bytes(page: str) -> None:
    # `small` is left out: 96x96 pixels have no neighbouring levels at such sizes.
    for item in data_of(page)["gallery"][:2]:
        ours, *peers = item["panels"][1:]
        for p in peers:
            assert abs(p["bytes"] / ours["bytes"] - 1) < 0.08, (item["image"], p["codec"])


def test_stored_pictures_are_near_the_exact_ones(
    run: tuple[Path, dict[str, Path]], page: str
) -> None:
    item = data_of(page)["gallery"][0]
    source = base64.b64decode(item["panels"][0]["src"].partition(",")[2])
    exact = np.asarray(Image.open(run[1][item["image"]]))
    worst = re.search(r"exact pixels by ([\d.]+) dB", page)
    assert worst and float(worst[1]) > 38
    stored = np.asarray(Image.open(io.BytesIO(source)).convert("RGB"))
    assert psnr(exact, stored) >= float(worst[1]) - 0.05


def test_the_layers_lead_from_the_context_to_the_file(
    run: tuple[Path, dict[str, Path]], page: str
) -> None:
    strip = re.findall(r"<figcaption>.*?<span>([\d\u2009]+) bytes, .*?, ([\d.]+) dB", page)
    sizes = [int(size.replace("\u2009", "")) for size, _ in strip]
    assert sizes == sorted(sizes) and len(sizes) == 7
    results = read_results(run[0])
    whole = next(r for r in results.rows if r.bytes == sizes[-1] and r.codec == OURS)
    assert whole.psnr_rgb == pytest.approx(float(strip[-1][1]), abs=0.006)
    assert whole.file
    context = decode_picture((run[0] / whole.file).read_bytes(), layers=0).picture.pixels
    exact = np.asarray(Image.open(run[1][whole.image]))
    assert psnr(exact, context) == pytest.approx(float(strip[0][1]), abs=0.006)


@pytest.mark.parametrize("bound", [400_000, 220_000])
def test_the_file_stays_within_its_bound(
    run: tuple[Path, dict[str, Path]], tmp_path: Path, bound: int
) -> None:
    text = write(run, tmp_path / "r.html", max_bytes=bound)
    assert len(text.encode()) <= bound
    assert "so that they stay within" in text or "No picture is shown" in text


def test_a_bound_below_the_figures_is_refused_and_nothing_is_written(
    run: tuple[Path, dict[str, Path]], tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=r"\d+ bytes without pictures, over 1000"):
        write(run, tmp_path / "r.html", max_bytes=1000)
    assert not list(tmp_path.iterdir())


def test_originals_that_are_not_at_hand_leave_the_curves(
    run: tuple[Path, dict[str, Path]], tmp_path: Path
) -> None:
    write_report(run[0], {}, tmp_path / "r.html")
    data = data_of((tmp_path / "r.html").read_text(encoding="utf-8"))
    assert data["gallery"] == [] and len(data["codecs"]) == 3


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: d.update(rows=[]), "holds no rows"),
        (lambda d: d["rows"][3].pop("bpp"), "row 3 lacks 'bpp'"),
        (lambda d: d["published"][0].pop("points"), "published curve 0 lacks"),
        (lambda d: d["summary"][0].pop("anchor"), "summary 0 lacks"),
    ],
)
def test_results_that_lack_something_are_refused(
    run: tuple[Path, dict[str, Path]], tmp_path: Path, change: Any, words: str
) -> None:
    data = json.loads((run[0] / "results.json").read_text(encoding="utf-8"))
    change(data)
    (tmp_path / "results.json").write_text(json.dumps(data), encoding="utf-8")
    with pytest.raises(UsageError, match=words):
        read_results(tmp_path)


def test_a_missing_file_or_another_size_is_refused(
    run: tuple[Path, dict[str, Path]], tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="`dctcodec benchmark` writes it"):
        read_results(tmp_path)
    text = (run[0] / "results.json").read_text(encoding="utf-8")
    (tmp_path / "results.json").write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match="is missing; run the benchmark again"):
        write_report(tmp_path, run[1], tmp_path / "r.html")
    with pytest.raises(UsageError, match="no codec 'nobody'"):
        write_report(tmp_path, run[1], tmp_path / "r.html", peers=["nobody"])


def test_another_setting_of_ours_is_no_peer(run: tuple[Path, dict[str, Path]]) -> None:
    results = read_results(run[0])
    (ours,) = [s for s in results.summary if s.codec == OURS]
    best = replace(ours, bd_rate_psnr=-99.0, bd_rate_psnr_fixed=-99.0)
    other = f"{OURS}-psnr"
    more = replace(
        results,
        rows=results.rows + tuple(replace(r, codec=other) for r in results.rows if r.codec == OURS),
        summary=(*results.summary, replace(best, codec=other)),
    )
    assert default_peers(more, lambda _: True) == default_peers(results, lambda _: True)
    assert lead(more, ours) == lead(results, ours)
    stranger = replace(best, codec=report_folder.NASTY)
    assert "Ahead of it" in lead(replace(more, summary=(ours, stranger)), ours)


def test_scatter_matching_and_speed_are_those_of_the_rows(
    run: tuple[Path, dict[str, Path]],
) -> None:
    results = read_results(run[0])
    face = scatter(results, "jpeg-420")[0]

    def curve(codec: str) -> tuple[list[float], list[float]]:
        mine = [r for r in results.rows if r.codec == codec and r.image == "face"]
        return [r.bpp for r in mine], [r.psnr_rgb or 0.0 for r in mine]

    expected = bd_rate(curve("jpeg-420"), curve(OURS))
    assert expected and face["bd_psnr"] == pytest.approx(expected.percent, abs=1e-3)
    assert scatter(results, "jpeg-420")[2]["bd_ms_ssim"] is None  # too small
    assert default_peers(results, lambda _: True) == ["jpeg-420", report_folder.NASTY]
    assert default_peers(results, lambda codec: codec != "jpeg-420") == [report_folder.NASTY]
    pair = matched(results, "face", ["jpeg-420"])
    assert pair and pair.ours.codec == OURS and pair.peers[0].codec == "jpeg-420"
    pixels = 200 * 264, 170 * 204, 96 * 96
    assert speed(results, OURS).decode == pytest.approx(sorted(pixels)[1] / 0.1 / 1e6)


def test_a_nearer_level_is_searched_between_the_rows(
    run: tuple[Path, dict[str, Path]], photo: Any
) -> None:
    rows = [r for r in read_results(run[0]).rows if r.codec == "jpeg-420" and r.image == "face"]
    target = len(report_folder.encode("jpeg-420", photo, 31))
    found = nearer(rows, photo, target, report_folder.encode)
    assert found and abs(len(found[0]) / target - 1) < 0.01
    assert nearer(rows, photo, rows[1].bytes, report_folder.encode) is None  # there already
    assert nearer(rows, photo, 10, report_folder.encode) is None


def test_files_that_browsers_show_are_known() -> None:
    pixels = np.zeros((16, 16, 3), np.uint8)
    for codec, kind in (("jpeg-420", "image/jpeg"), ("webp", "image/webp"), ("png", "image/png")):
        assert browser_kind(report_folder.encode(codec, pixels, 50)) == kind
    assert browser_kind(report_folder.encode(OURS, pixels, 50)) is None


def test_the_mean_curves_of_the_page_take_decibels_of_the_mean() -> None:
    # As eval/benchmark/summary.py does; the script's formula, in Python.
    script = (resources.files("dctcodec.eval.report") / "assets" / "curves.js").read_text("utf-8")
    assert "decibel(whole(p.ms_ssim))" in script and "-10 * Math.log10(1 - m)" in script
    assert ms_ssim_db(0.99) == pytest.approx(20)


def _luminance(colour: str) -> float:
    """WCAG 2.2, relative luminance of #rrggbb."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_colours_have_contrast_in_both_schemes() -> None:
    css = (resources.files("dctcodec.eval.report") / "assets" / "page.css").read_text("utf-8")
    blocks = re.findall(r":root[^{]*\{(.*?)\}", css, re.S)
    assert len(blocks) == 2
    for block in blocks:
        colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", block))
        least = {"ink": 7.0} | {n: 4.5 for n in colours if re.fullmatch(r"soft|accent|c\d", n)}
        assert len(least) == 13
        for name, ratio in least.items():
            pair = sorted((_luminance(colours[name]), _luminance(colours["paper"])))
            assert (pair[1] + 0.05) / (pair[0] + 0.05) >= ratio, name
