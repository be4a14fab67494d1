"""The benchmark: pictures, codecs, rows that survive, summaries, files, and its command."""

from __future__ import annotations

import csv
import hashlib
import json
import math
import threading
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from dctcodec.codec.cli import app
from dctcodec.codec.errors import BitstreamError, DctcodecError, ImageError, UsageError
from dctcodec.eval.benchmark import bench, dataset, measure, runner
from dctcodec.eval.benchmark import published as published_curves
from dctcodec.eval.benchmark.bench import Benchmark, benchmark
from dctcodec.eval.benchmark.dataset import folder_dataset, kodak_dataset, kodak_sums, read_pixels
from dctcodec.eval.benchmark.peers import Peer, all_peers, by_name, choose
from dctcodec.eval.benchmark.peers.compressai import Zoo, import_compressai
from dctcodec.eval.benchmark.rows import Row, key_of, read_csv, read_log, to_csv, to_line
from dctcodec.eval.benchmark.runner import LOG, Failure, plan, run
from dctcodec.eval.benchmark.summary import RULES, Point, cells, curves, summarise

pytest.importorskip("pytorch_msssim", reason="needs the extra `eval`")
pytest.importorskip("scipy", reason="needs the extra `eval`")

Pixels = npt.NDArray[np.uint8]
ROOT = Path(__file__).parents[1]
KODAK = ROOT.parent / "shared" / "data" / "kodak"
needs_kodak = pytest.mark.skipif(
    not (KODAK / "kodim01.png").is_file(), reason="needs the Kodak pictures beside the clone"
)


@pytest.fixture
def pictures(photo: Pixels, tmp_path: Path) -> Path:
    """A folder of two pictures, one of them too small for MS-SSIM, and a file that is none."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    Image.fromarray(photo).save(folder / "large.png")
    Image.fromarray(photo[40:120, 60:150]).save(folder / "small.png")
    (folder / "notes.txt").write_text("no picture")
    return folder


def rows_of(
    folder: Path, out: Path, names: str, **settings: Any
) -> tuple[list[Row], list[Failure]]:
    data = folder_dataset(folder)
    levels: dict[str, Sequence[float]] = {name: (30, 60, 90) for name in names.split()}
    return run(plan(choose(names.split()), data.photos, levels), out, **settings)


def invoke(*words: object) -> Result:
    return CliRunner().invoke(app, [str(w) for w in words])


# Pictures


def test_a_folder_gives_its_pictures_in_order(pictures: Path) -> None:
    data = folder_dataset(pictures)
    assert [p.name for p in data.photos] == ["large", "small"]
    assert [(p.width, p.height) for p in data.photos] == [(264, 200), (90, 80)]
    assert data.name == "pictures" and data.notes == ()


def test_equal_stems_keep_their_suffixes(pictures: Path) -> None:
    Image.open(pictures / "small.png").save(pictures / "small.webp", lossless=True)
    photos = folder_dataset(pictures).photos
    assert [p.name for p in photos] == ["large", "small.png", "small.webp"]
    assert photos[1].sha256 == photos[2].sha256  # of the samples, not of the files


def test_what_is_left_out_of_a_picture_is_noted(pictures: Path, photo: Pixels) -> None:
    alpha = np.full(photo.shape[:2], 100, np.uint8)
    Image.fromarray(np.dstack([photo, alpha])).save(pictures / "large.png")
    Image.fromarray(photo[:, :, 0]).save(pictures / "small.png")
    notes = folder_dataset(pictures).notes
    assert notes[0] == "large: transparency left out"
    assert notes[1].startswith("small: gray")
    assert read_pixels(pictures / "small.png").shape == photo.shape


def test_a_damaged_picture_is_named(pictures: Path) -> None:
    (pictures / "bad.png").write_bytes(b"no picture")
    with pytest.raises(ImageError, match=r"bad\.png: "):
        folder_dataset(pictures)


class Home:
    """A web server with four small files in place of the pictures."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.asked = folder, list[str]()
        asked = self.asked

        class Handler(SimpleHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                asked.append(self.path)

        server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.server, self.url = server, f"http://127.0.0.1:{server.server_port}/"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Home]:
    folder = tmp_path / "home"
    folder.mkdir()
    sums = {}
    for n in range(1, 4):
        Image.fromarray(np.full((8, 8, 3), n, np.uint8)).save(folder / f"kodim{n:02}.png")
        data = (folder / f"kodim{n:02}.png").read_bytes()
        sums[f"kodim{n:02}.png"] = hashlib.sha256(data).hexdigest()
    monkeypatch.setattr(dataset, "kodak_sums", lambda: sums)
    server = Home(folder)
    yield server
    server.server.shutdown()
    server.server.server_close()


def test_kodak_is_fetched_once_and_checked(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(dataset, "HOMES", (home.url,))
    lines: list[str] = []
    data = kodak_dataset(report=lines.append)
    assert [p.name for p in data.photos] == ["kodim01", "kodim02", "kodim03"]
    assert lines[0] == "fetching kodim01.png, 1 of 3" and len(home.asked) == 3
    kodak_dataset()
    assert len(home.asked) == 3


def test_the_next_home_is_asked_where_one_fails(home: Home, tmp_path: Path) -> None:
    homes = ("http://127.0.0.1:9/", home.url + "nowhere/", home.url)
    folder = dataset.fetch_kodak(homes, tmp_path / "kodak")
    assert len(list(folder.iterdir())) == 3


def test_another_picture_than_kodaks_is_refused_and_not_kept(home: Home, tmp_path: Path) -> None:
    (home.folder / "kodim02.png").write_bytes(b"something else")
    with pytest.raises(DctcodecError, match=r"kodim02\.png cannot be fetched .*SHA-256 .*expected"):
        dataset.fetch_kodak((home.url,), tmp_path / "kodak")
    assert [p.name for p in (tmp_path / "kodak").iterdir()] == ["kodim01.png"]


def test_without_a_network_the_message_names_data(tmp_path: Path) -> None:
    with pytest.raises(DctcodecError, match=r"cannot be fetched .*--data takes a folder"):
        dataset.fetch_kodak(("http://127.0.0.1:9/",), tmp_path)


def test_a_folder_that_is_not_kodak_is_refused_as_kodak(pictures: Path) -> None:
    with pytest.raises(DctcodecError, match=r"kodim01\.png, .* and others missing or not the"):
        kodak_dataset(pictures)


@needs_kodak
def test_the_checksums_are_kodaks() -> None:
    assert len(kodak_sums()) == 24
    data = kodak_dataset(KODAK)
    assert {(p.width, p.height) for p in data.photos} == {(768, 512), (512, 768)}


# Codecs


def peers_here() -> list[Peer]:
    return [p for p in all_peers().values() if not isinstance(p, Zoo)]


@pytest.mark.parametrize("name", [p.name for p in peers_here()])
def test_a_codec_gives_a_picture_back(name: str, photo: Pixels) -> None:
    peer = by_name(name)
    if why := peer.missing():
        pytest.skip(why)
    crop = photo[:97, :131].copy()
    sizes, errors = [], []
    for level in (peer.levels[0], peer.levels[-1]):
        peer.check(level)
        data = peer.encode(crop, level)
        back = peer.decode(data)
        assert back.shape == crop.shape and back.dtype == np.uint8
        assert data == peer.encode(crop, level)  # or cached rows would be of another file
        sizes.append(len(data))
        errors.append(float(np.square(back.astype(float) - crop).mean()))
    assert sizes[0] < sizes[1] and errors[0] > errors[1]
    assert errors[1] < 60 and peer.version() and peer.settings(peer.levels[0])


@pytest.mark.parametrize("peer", all_peers().values(), ids=lambda p: p.name)
def test_levels_rise_and_settings_tell_them_apart(peer: Peer) -> None:
    assert list(peer.levels) == sorted(set(peer.levels))
    assert len({peer.settings(level) for level in peer.levels}) == len(peer.levels)
    labels = {measure.file_name(peer, level, "x") for level in peer.levels}
    assert len(labels) == len(peer.levels)
    with pytest.raises(UsageError):
        peer.check(1e6)


def test_avif_says_whether_it_is_tuned_for_psnr() -> None:
    assert "tune" not in by_name("avif-s6-420").settings(50)
    assert "advanced={'tune': 'psnr'}" in by_name("avif-s6-420-psnr").settings(50)


def test_names_choose_codecs() -> None:
    assert [p.name for p in choose(["webp", "jpeg-4*"])] == ["webp", "jpeg-420", "jpeg-444"]
    assert "avif-s4-420" not in {p.name for p in choose([])}
    assert len(choose(["all"])) == len(all_peers())
    for wrong in ("gif", "gif*"):
        with pytest.raises(
            UsageError, match="is not one of dctcodec, dctcodec-psnr, dctcodec-ms-ssim, jpeg-420"
        ):
            choose([wrong])


def test_the_codecs_that_the_page_adds_work(photo: Pixels) -> None:
    import re

    from dctcodec.eval.benchmark.peers.pillow import PillowPeer

    page = (ROOT / "docs" / "benchmark.md").read_text(encoding="utf-8")
    entry, module = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    names: dict[str, Any] = {"PillowPeer": PillowPeer, "Peer": Peer, "Pixels": Pixels, "np": np}
    names["UsageError"] = UsageError
    exec(f"added = {entry}\n{module}", names)
    added, raw = names["added"], names["Raw"]()
    assert added.decode(added.encode(photo, 50)).shape == photo.shape
    assert (raw.decode(raw.encode(photo, 1)) == photo).all()


class Toy:
    """In place of a model of the zoo: strings that hold the picture itself."""

    def compress(self, x: Any) -> dict[str, Any]:
        height, width = x.shape[2:]
        assert height % 64 == width % 64 == 0
        samples = (x[0] * 255).round().byte().numpy()
        return {"strings": [[samples.tobytes()], [b"more"]], "shape": (height // 64, width // 64)}

    def decompress(self, strings: list[list[bytes]], shape: tuple[int, int]) -> dict[str, Any]:
        import torch

        assert strings[1] == [b"more"]
        samples = np.frombuffer(strings[0][0], np.uint8).reshape(3, shape[0] * 64, shape[1] * 64)
        return {"x_hat": torch.from_numpy(samples.copy())[None].float() / 255}


def test_files_of_the_zoo_hold_what_its_decoder_needs(photo: Pixels) -> None:
    asked: list[int] = []

    def load(quality: int) -> Toy:
        asked.append(quality)
        return Toy()

    peer = Zoo("toy", 8, load)
    data = peer.encode(photo, 3)
    assert (peer.decode(data) == photo).all()
    assert asked == [3, 3]
    with pytest.raises(BitstreamError, match="no file of toy"):
        peer.decode(data[:5])
    with pytest.raises(UsageError, match=r"level 9 is not in 1…8"):
        peer.check(9)


def test_a_zoo_that_is_not_installed_says_so() -> None:
    if find_spec("compressai"):
        pytest.skip("compressai is installed")
    assert "docs/benchmark.md says how" in str(by_name("mbt2018").missing())


def test_an_untrained_model_of_the_zoo_round_trips(photo: Pixels) -> None:
    """Needs `compressai`; its trained weights are not needed."""
    try:
        import_compressai()
    except ImportError as error:
        pytest.skip(f"needs compressai: {error}")
    from importlib import import_module

    import torch

    torch.manual_seed(0)
    models = import_module("compressai.zoo").image_models
    model = models["bmshj2018-hyperprior"](quality=1, metric="mse", pretrained=False).eval()
    model.update()
    peer = Zoo("bmshj2018-hyperprior", 8, lambda _: model)
    crop = photo[:70, :90].copy()
    back = peer.decode(peer.encode(crop, 1))
    assert back.shape == crop.shape
    with torch.inference_mode():  # what the network gives without entropy coding
        x = torch.from_numpy(np.pad(crop, ((0, 58), (0, 38), (0, 0)), "edge"))
        out = model(x.permute(2, 0, 1)[None].float() / 255)["x_hat"]
    wanted = (out[0, :, :70, :90].clamp(0, 1) * 255).round().permute(1, 2, 0).numpy()
    assert np.abs(back.astype(float) - wanted).max() <= 1


# Rows that survive


def test_a_run_goes_on_where_it_was_killed(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, measured = tmp_path / "out", list[str]()

    def counted(*args: Any) -> Row:
        row = measure.measure(*args)
        measured.append(f"{row.codec} {row.setting} {row.image}")
        return row

    def kill(done: int, total: int, newest: object) -> None:
        if done == 5:
            raise KeyboardInterrupt

    monkeypatch.setattr(runner, "measure", counted)
    with pytest.raises(KeyboardInterrupt):
        rows_of(pictures, out, "jpeg-420 webp", report=kill)
    assert len(read_log(out / LOG)) == 5
    with (out / LOG).open("a") as log:
        log.write('{"codec": "jpeg-4')  # and in the middle of a line
    seen: list[tuple[int, int]] = []
    rows, failures = rows_of(
        pictures, out, "jpeg-420 webp", report=lambda done, total, _: seen.append((done, total))
    )
    assert (len(rows), failures) == (12, [])
    assert seen[0] == (6, 12) and seen[-1] == (12, 12)
    assert len(measured) == len(set(measured)) == 12
    assert len((out / LOG).read_text().splitlines()) == 12
    again, _ = rows_of(pictures, out, "jpeg-420 webp")
    assert again == rows and len(measured) == 12
    for row in rows:
        assert row.file is not None and (out / row.file).stat().st_size == row.bytes


def test_rows_of_another_version_or_picture_are_measured_anew(
    pictures: Path, photo: Pixels, tmp_path: Path
) -> None:
    rows, _ = rows_of(pictures, tmp_path / "a", "jpeg-420")
    old = [replace(row, version="Pillow 1", bytes=1) for row in rows]
    fresh, _ = rows_of(pictures, tmp_path / "b", "jpeg-420", known=old)
    assert [r.bytes for r in fresh] == [r.bytes for r in rows]
    Image.fromarray(photo[::-1]).save(pictures / "large.png")
    done: list[object] = []
    known = [replace(row, encode_s=123.0) for row in rows]
    fresh, _ = rows_of(
        pictures, tmp_path / "c", "jpeg-420", known=known, report=lambda *a: done.append(a)
    )
    assert len(done) == 3  # those of the picture that changed
    assert [r.encode_s == 123 and r.file is None for r in fresh] == [False, True] * 3


def test_several_processes_give_the_rows_of_one(pictures: Path, tmp_path: Path) -> None:
    alone, _ = rows_of(pictures, tmp_path / "a", "jpeg-420 webp")
    both, _ = rows_of(pictures, tmp_path / "b", "jpeg-420 webp", jobs=2)

    def figures(row: Row) -> Row:
        return replace(row, encode_s=0.0, decode_s=0.0, peak_memory_mb=None)

    assert list(map(figures, alone)) == list(map(figures, both))


def test_a_picture_that_changes_during_a_run_ends_it(pictures: Path, tmp_path: Path) -> None:
    tasks = plan(choose(["jpeg-420"]), folder_dataset(pictures).photos, {"jpeg-420": (50,)})
    Image.open(pictures / "small.png").rotate(90).save(pictures / "large.png")
    with pytest.raises(DctcodecError, match=r"large\.png: changed during the run"):
        run(tasks, tmp_path / "out")


def test_a_codec_that_fails_on_a_picture_is_told_and_the_run_goes_on(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    peer, honest = by_name("webp"), type(by_name("webp")).encode

    def encode(self: Peer, pixels: Pixels, level: float) -> bytes:
        if self.name == "webp" and level == 60 and pixels.shape[1] == 264:
            raise ValueError("two\nlines")
        return honest(self, pixels, level)

    monkeypatch.setattr(type(peer), "encode", encode)
    rows, failures = rows_of(pictures, tmp_path / "out", "webp")
    assert len(rows) == 5
    assert list(map(str, failures)) == ["webp 60, large: ValueError: two lines"]
    assert [p.setting for p in curves(rows, 2)["webp"]] == ["30", "90"]


def test_rows_come_back_from_json_and_csv(pictures: Path, tmp_path: Path) -> None:
    rows, _ = rows_of(pictures, tmp_path, "jpeg-420")
    rows[0] = replace(rows[0], psnr_rgb=math.inf, file=None)
    assert rows[1].ms_ssim is None  # too small
    (tmp_path / "t.csv").write_text(to_csv([asdict(row) for row in rows]))
    assert read_csv(tmp_path / "t.csv") == rows
    (tmp_path / "t.jsonl").write_text("".join(map(to_line, rows)))
    assert read_log(tmp_path / "t.jsonl") == rows
    assert len({key_of(row) for row in rows}) == len(rows)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("codec,bytes\njpeg-420,12\n", r"line 2 is no row of a benchmark \(KeyError: 'version'\)"),
        (None, "No such file"),
    ],
)
def test_a_table_that_is_none_is_refused(tmp_path: Path, text: str | None, words: str) -> None:
    if text is not None:
        (tmp_path / "t.csv").write_text(text)
    with pytest.raises(DctcodecError, match=words):
        read_csv(tmp_path / "t.csv")


def test_a_damaged_log_is_refused(tmp_path: Path) -> None:
    (tmp_path / LOG).write_text('{"codec": 1}\n{}\n')
    with pytest.raises(DctcodecError, match=r"line 1 is no row .*remove it to begin anew"):
        read_log(tmp_path / LOG)


def test_memory_is_what_a_call_adds() -> None:
    _, seconds, rise = measure.measured_call(lambda: np.ones(50_000_000, np.uint8).sum())
    if rise is None:
        pytest.skip("this system does not tell")
    assert 45 < rise < 120
    assert 0 <= seconds < 5
    _, _, less = measure.measured_call(lambda: None)
    assert less is not None and less < 5  # the peak before is forgotten


# Summaries


def curve(*points: tuple[float, float]) -> list[Point]:
    return [
        Point(
            setting=str(n),
            bpp=bpp,
            psnr=db,
            ms_ssim_db=db / 2,
            encode_s=0.1,
            decode_s=0.2,
            peak_memory_mb=None,
        )
        for n, (bpp, db) in enumerate(points)
    ]


def test_a_codec_at_half_the_rate_saves_half() -> None:
    base = curve((0.2, 28), (0.4, 31), (0.8, 34.5), (1.6, 38))
    half = [replace(p, bpp=p.bpp / 2) for p in base]
    far = [replace(p, psnr=p.psnr + 30, ms_ssim_db=None) for p in base]
    found = summarise({"base": base, "half": half, "far": far, "none": []}, "base", {}, {})
    assert [s.codec for s in found] == ["half", "base", "far"]
    best, anchor, other = found
    assert best.bd_rate_psnr == best.bd_rate_psnr_fixed == best.bd_rate_ms_ssim == -50
    assert best.psnr_interval == (28, 38) and best.bpp_range == (0.1, 0.8)
    assert best.bd_psnr is not None and best.bd_psnr > 3
    assert best.bd_psnr_interval == (0.2, 0.8)
    assert (anchor.bd_rate_psnr, anchor.bd_psnr) == (0, 0)
    assert (other.bd_rate_psnr, other.bd_rate_ms_ssim, other.psnr_interval) == (None,) * 3


def test_missing_ms_ssim_is_not_made_up(pictures: Path, tmp_path: Path) -> None:
    rows, _ = rows_of(pictures, tmp_path, "jpeg-420")
    by_image = {row.image: row for row in rows}
    assert by_image["small"].ms_ssim is None and by_image["small"].ms_ssim_db is None
    assert by_image["small"].ssim is not None and by_image["large"].ms_ssim is not None
    points = curves(rows, 2)["jpeg-420"]
    assert len(points) == 3 and {p.ms_ssim_db for p in points} == {None}
    (found,) = summarise({"jpeg-420": points}, "jpeg-420", {}, {})
    assert found.bd_rate_psnr == 0 and found.bd_rate_ms_ssim is None


def test_published_curves_have_sources_and_rise() -> None:
    known = published_curves.published()
    assert set(published_curves.SHOWN) <= set(known)
    for found in known.values():
        assert found.source and found.title
        for points in (found.psnr, found.ms_ssim):
            assert list(points) == sorted(points)
            assert [v for _, v in points] == sorted(v for _, v in points)
        assert len(found.psnr) >= 3
    assert published_curves.choose(["none"]) == []
    assert len(published_curves.choose(["all"])) == len(known)
    with pytest.raises(UsageError, match="'vtm' is not one of vtm-18"):
        published_curves.choose(["vtm"])


# All of it


def test_the_folder_holds_all_results(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib", reason="needs the extra `eval`")
    monkeypatch.setattr(bench, "_report", lambda out, data: None)
    names = ("dctcodec", "jpeg-420")
    cfg = Benchmark(
        peers=choose(names),
        anchor="jpeg-420",
        levels={"dctcodec": (20, 50, 80), "jpeg-420": (10, 50, 90)},
        overlay=published_curves.choose([]),
    )
    outcome = benchmark(cfg, folder_dataset(pictures), tmp_path / "out")
    out = outcome.folder
    assert len(outcome.rows) == 12 and not outcome.failures and not outcome.missing
    results = json.loads((out / "results.json").read_text(encoding="utf-8"))
    assert set(results) == {"meta", "rows", "summary", "published"}
    assert results["published"] == []  # these are not the Kodak pictures
    meta = results["meta"]
    assert meta["anchor"] == "jpeg-420" and meta["rules"] == list(RULES)
    assert {"dctcodec", "torch", "pillow", "python"} <= set(meta["versions"])
    assert "MS-SSIM is missing for pictures with a side of less than 161 pixels" in meta["notes"]
    rows = results["rows"]
    assert len(rows) == 12
    assert {r["order"] for r in rows} == {0, 1, 2}
    for row in rows:
        assert row["bytes"] == (out / row["file"]).stat().st_size
        assert row["bpp"] == pytest.approx(8 * row["bytes"] / (row["width"] * row["height"]), 1e-4)
        decoded = by_name(row["codec"]).decode((out / row["file"]).read_bytes())
        assert decoded.shape == (row["height"], row["width"], 3)
    assert read_csv(out / "results.csv") == list(outcome.rows)
    with (out / "summary.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert [r["codec"] for r in table] == [s["codec"] for s in results["summary"]]
    assert {r["anchor"] for r in table} == {"jpeg-420"}
    page = (out / "summary.md").read_text(encoding="utf-8")
    assert "| dctcodec |" in page and RULES[0] in page and "## Notes" in page
    for name in ("psnr", "ms-ssim", "speed"):
        with Image.open(out / "plots" / f"{name}.png") as image:
            assert image.width > 600
        assert "<svg" in (out / "plots" / f"{name}.svg").read_text()


def test_a_codec_that_is_missing_here_is_told_or_taken_from_earlier(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib", reason="needs the extra `eval`")
    monkeypatch.setattr(bench, "_report", lambda out, data: None)
    levels: dict[str, Sequence[float]] = {"jpeg-420": (10, 50, 90), "webp": (10, 50, 90)}
    peers = choose(list(levels))
    first = benchmark(
        Benchmark(peers=peers, anchor="jpeg-420", levels=levels),
        folder_dataset(pictures),
        tmp_path / "a",
    )
    monkeypatch.setattr(
        type(by_name("webp")), "missing", lambda self: "gone" if self.name == "webp" else None
    )
    told = benchmark(
        Benchmark(peers=peers, anchor="jpeg-420", levels=levels),
        folder_dataset(pictures),
        tmp_path / "b",
    )
    assert told.missing == {"gone": ("webp",)} and len(told.rows) == 6
    assert "not measured: webp: gone" in (tmp_path / "b" / "summary.md").read_text()
    reused = Benchmark(
        peers=peers, anchor="jpeg-420", levels=levels, reuse=[tmp_path / "a" / "results.csv"]
    )
    done: list[object] = []
    again = benchmark(reused, folder_dataset(pictures), tmp_path / "c", lambda *a: done.append(a))
    assert not done and len(again.rows) == 12
    assert {row.file for row in again.rows} == {None}
    assert [s.bd_rate_psnr for s in again.summaries] == [s.bd_rate_psnr for s in first.summaries]
    page = (tmp_path / "c" / "summary.md").read_text()
    assert "measured earlier, not here: webp: gone" in page
    with pytest.raises(DctcodecError, match="the anchor webp cannot run: gone"):
        benchmark(Benchmark(peers=peers, anchor="webp"), folder_dataset(pictures), tmp_path / "d")


def test_the_command_measures_a_folder(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib", reason="needs the extra `eval`")
    monkeypatch.setattr(bench, "_report", lambda out, data: None)
    words = ["benchmark", pictures, "-o", tmp_path / "o", "--codecs", "dctcodec", "--jobs", 1]
    words += ["--qualities", "20,50,80", "--qualities", "jpeg-420=10,50,90"]
    outcome = invoke(*words)
    assert outcome.exit_code == 0, outcome.output
    assert "12/12 jpeg-420 90" in outcome.stderr
    assert outcome.stdout.startswith("codec ") and "BD-rate PSNR" in outcome.stdout
    assert "dctcodec" in outcome.stdout and "JPEG 4:2:0" in outcome.stdout
    assert "12 rows, 2 pictures" in outcome.stderr
    quiet = invoke(*words, "--quiet")
    assert quiet.stdout == outcome.stdout and quiet.stderr == ""


ROWS: list[tuple[str, int, str]] = [
    ("benchmark --help", 0, r"Usage: .*benchmark \[OPTIONS\] .?kodak\|FOLDER"),
    ("benchmark pictures --codecs list", 0, r"avif-s4-444-psnr +AVIF speed 4"),
    ("benchmark", 2, r"Missing argument 'kodak\|FOLDER'"),
    ("benchmark none", 2, r"^Error: none: neither 'kodak' nor a folder of pictures$"),
    ("benchmark empty", 2, r"^Error: empty: no picture \(\.avif, "),
    ("benchmark broken", 1, r"^Error: broken/x\.png: not an image that Pillow can read$"),
    ("benchmark kodak --data pictures", 1, r"^Error: pictures: kodim01\.png, .*not the Kodak"),
    ("benchmark pictures --data empty", 2, r"^Error: --data is where the Kodak pictures are"),
    (
        "benchmark pictures --codecs gif",
        2,
        r"^Error: codec 'gif' is not one of dctcodec, dctcodec-psnr, dctcodec-ms-ssim, jpeg",
    ),
    ("benchmark pictures --anchor gif", 2, r"^Error: codec 'gif' is not one of"),
    ("benchmark pictures --qualities x", 2, r"^Error: --qualities 'x' is not \[CODEC=\]N,N"),
    ("benchmark pictures --qualities ,", 2, r"^Error: --qualities ',' names no level$"),
    ("benchmark pictures --qualities gif=1", 2, r"^Error: codec 'gif' is not one of"),
    ("benchmark pictures --qualities 130", 2, r"^Error: quality 130 is not a multiple"),
    ("benchmark pictures --qualities jpeg-420=0", 2, r"^Error: jpeg-420: level 0 is not in 1…100"),
    ("benchmark pictures --published x", 2, r"^Error: published curve 'x' is not one of"),
    ("benchmark pictures --jobs 0", 2, "Invalid value for '--jobs'"),
    ("benchmark pictures --reuse none.csv", 1, r"^Error: none\.csv: No such file"),
    ("benchmark pictures -o notes.txt", 2, r"^Error: notes\.txt: is no folder"),
    ("compare large.png", 2, r"^Error: name a reference and at least one FILE"),
    ("compare large.png none.png", 1, r"^Error: none\.png: No such file"),
    ("compare large.png notes.txt", 1, r"^Error: notes\.txt: not an image"),
    ("compare large.png small.png", 2, r"^Error: small\.png has 90x80 pixels, large\.png 264x200"),
    ("compare large.png large.png --max-pixels 9", 1, r"^Error: large\.png: .*--max-pixels"),
]


@pytest.mark.parametrize(("words", "code", "expected"), ROWS, ids=[row[0] for row in ROWS])
def test_the_command_says(
    words: str,
    code: int,
    expected: str,
    pictures: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import re

    (tmp_path / "empty").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "x.png").write_text("no picture")
    for name in ("large.png", "small.png", "notes.txt"):
        (tmp_path / name).write_bytes((pictures / name).read_bytes())
    before = sorted(p.name for p in tmp_path.rglob("*"))
    monkeypatch.chdir(tmp_path)
    outcome = invoke(*words.split())
    assert outcome.exit_code == code, outcome.output
    assert re.search(expected, outcome.output, re.MULTILINE), outcome.output
    assert "Traceback" not in outcome.output
    assert sorted(p.name for p in tmp_path.rglob("*")) == before  # nothing half done


# Compare


def test_compare_prints_all_metrics(
    pictures: Path, photo: Pixels, photo_file: bytes, tmp_path: Path
) -> None:
    (tmp_path / "photo.dctc").write_bytes(photo_file)
    Image.fromarray(photo).save(tmp_path / "photo.jpg", quality=50)
    files = [pictures / "large.png", tmp_path / "photo.dctc", tmp_path / "photo.jpg"]
    shown = invoke("compare", *files, files[0])
    assert shown.exit_code == 0, shown.output
    lines = shown.stdout.splitlines()
    assert lines[0].split()[:3] == ["file", "bytes", "bits/pixel"]
    assert len(lines) == 4 and lines[3].split().count("equal") == 3
    answer = invoke("compare", *files, "--json")
    ours, jpeg = json.loads(answer.stdout)
    assert ours["bytes"] == len(photo_file)
    assert ours["bpp"] == pytest.approx(8 * len(photo_file) / (264 * 200))
    from dctcodec import decode
    from dctcodec.eval.metrics import ms_ssim, psnr, psnr_y, ssim

    back = np.asarray(decode(photo_file))
    assert ours["psnr_rgb"] == psnr(photo, back) and ours["psnr_y"] == psnr_y(photo, back)
    assert ours["ms_ssim"] == ms_ssim(photo, back) and ours["ssim"] == ssim(photo, back)
    assert jpeg["psnr_rgb"] < ours["psnr_rgb"] and not jpeg["equal"]


def test_compare_tells_small_from_equal_and_takes_gray(photo: Pixels, tmp_path: Path) -> None:
    crop = photo[:60, :60, :1].repeat(3, axis=2)
    Image.fromarray(crop).save(tmp_path / "a.png")
    Image.fromarray(crop[:, :, 0]).save(tmp_path / "gray.png")
    Image.fromarray(crop // 2).save(tmp_path / "dark.png")
    names = [tmp_path / f"{n}.png" for n in ("a", "gray", "dark")]
    same, dark = json.loads(invoke("compare", *names, "--json").stdout)
    assert same["equal"] and same["psnr_rgb"] is None
    assert dark["psnr_rgb"] > 0 and dark["ms_ssim"] is None and not dark["equal"]
    assert invoke("compare", *names).stdout.splitlines()[2].split()[-2:] == ["small", "small"]


# What is committed

RESULTS = ROOT / "docs" / "benchmark"
needs_results = pytest.mark.skipif(
    not (RESULTS / "results.csv").is_file(), reason="needs the results in docs/benchmark"
)


@needs_results
def test_the_committed_summary_is_that_of_its_rows() -> None:
    rows = read_csv(RESULTS / "results.csv")
    points = curves(rows, len({row.image for row in rows}))
    with (RESULTS / "summary.csv").open(newline="", encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    titles = {record["codec"]: record["title"] for record in table}
    versions = {row.codec: row.version for row in rows}
    found = summarise(points, table[0]["anchor"], titles, versions)
    assert to_csv([asdict(summary) for summary in found]) == (RESULTS / "summary.csv").read_text()
    page = (RESULTS / "summary.md").read_text(encoding="utf-8")
    for summary in found:
        assert "| " + " | ".join(cells(summary)) + " |" in page


@needs_results
def test_the_committed_rows_are_of_kodak_and_complete() -> None:
    rows = read_csv(RESULTS / "results.csv")
    assert len({row.image_sha256 for row in rows}) == 24
    for codec in {row.codec for row in rows}:
        mine = [row for row in rows if row.codec == codec]
        levels = {row.settings for row in mine}
        assert len(mine) == 24 * len(levels), codec
        assert len({row.version for row in mine}) == 1, codec
