"""Collections on one machine: what is found, done, left alone, refused, and said."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import sys
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from batch_help import collection, lines, picture, tree, versions
from PIL import Image
from typer.testing import CliRunner, Result

from dctcodec.codec.api import decode_picture, encode_picture
from dctcodec.codec.batch import store
from dctcodec.codec.batch.job import Summary, open_manifest
from dctcodec.codec.batch.manifest import Record
from dctcodec.codec.batch.settings import EncodeSettings
from dctcodec.codec.batch.sources import Source, find
from dctcodec.codec.batch.verify import SymbolDigest, psnr, verify
from dctcodec.codec.batch.worker import Outcome
from dctcodec.codec.batch_command import size, status
from dctcodec.codec.cli import app
from dctcodec.codec.errors import OutputError
from dctcodec.codec.pictures import load

NAMES = ["a.png", "sub/a.png", "sub/a.jpg", "sub/deep/ü b.webp"]
OUTPUTS = {f"{name}.dctc" for name in NAMES}
PNG = EncodeSettings.inputs


def run(*args: object, stdin: str | bytes | None = None) -> Result:
    return CliRunner().invoke(app, ["batch", *map(str, args)], input=stdin)


def succeed(*args: object, stdin: str | bytes | None = None) -> Result:
    outcome = run(*args, stdin=stdin)
    assert outcome.exit_code == 0, outcome.output
    return outcome


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder with the collection `photos` in it."""
    monkeypatch.chdir(tmp_path)
    collection(tmp_path / "photos", NAMES)
    (tmp_path / "photos" / "notes.txt").write_text("no picture")
    return tmp_path


@pytest.fixture(scope="module")
def encoded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """photos and what `batch encode photos out -j 1` made of it. To be copied, not changed."""
    root = tmp_path_factory.mktemp("encoded")
    collection(root / "photos", NAMES)
    succeed("encode", root / "photos", root / "out", "-j", 1, "-q", 30)
    return root


# Sources


def names(spec: str, given: list[str] | None = None) -> list[str]:
    return [s.name for s in find(spec, PNG, given).sources]


def make_tar(path: Path, members: dict[str, bytes], mode: Any = "w") -> Path:
    with tarfile.open(path, mode) as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


@pytest.mark.usefixtures("here")
def test_a_folder_keeps_its_names_and_structure() -> None:
    found = find("photos", PNG)
    assert [s.name for s in found.sources] == sorted(NAMES)
    assert found.ignored == 1


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("photos/**/*.png", ["a.png", "sub/a.png"]),
        ("photos/sub/*", ["a.jpg", "a.png"]),
        ("photos/*/a.[jp]*", ["sub/a.jpg", "sub/a.png"]),
    ],
)
def test_a_glob_keeps_what_follows_its_fixed_part(pattern: str, expected: list[str]) -> None:
    assert names(pattern) == expected


def test_a_list_keeps_whole_paths(here: Path) -> None:
    given = ["photos/a.png", f"{here}/photos/sub/a.png", "", "photos/none.png", "photos/sub/deep"]
    found = {s.name: s for s in find("-", PNG, given).sources}
    assert set(found) == {
        "photos/a.png",
        f"{here}/photos/sub/a.png".lstrip("/"),
        "photos/none.png",
        "photos/sub/deep/ü b.webp",
    }
    assert found["photos/none.png"].error == "no such file or folder"


def test_members_of_a_tar_are_read_where_they_lie(here: Path) -> None:
    data = {name: (here / "photos" / name).read_bytes() for name in NAMES}
    make_tar(here / "shard.tar", {**data, "label.json": b"{}"})
    found = find("shard.tar", PNG)
    assert [s.name for s in found.sources] == sorted(NAMES)
    assert found.ignored == 1
    for source in found.sources:
        assert source.start is not None
        assert store.read(source.location, source.start, source.size) == data[source.name]
    (here / "shards").mkdir()
    os.rename("shard.tar", "shards/7.tar")
    assert names("shards/*.tar") == [f"7/{name}" for name in sorted(NAMES)]


def test_a_bad_tar_gives_what_it_has_and_an_error(here: Path) -> None:
    data = {name: (here / "photos" / name).read_bytes() for name in NAMES}
    whole = make_tar(here / "whole.tar", data).read_bytes()
    (here / "cut.tar").write_bytes(whole[: len(whole) // 2])
    make_tar(here / "packed.tar", data, "w:gz")
    make_tar(here / "away.tar", {"../up.png": b"x", "/root.png": b"x", "in/../ok.png": b"x"})
    cut = find("cut.tar", PNG).sources
    assert 0 < sum(s.error is None for s in cut) < len(cut)
    (packed,) = find("packed.tar", PNG).sources
    assert packed.error is not None and "compressed tars must be unpacked" in packed.error
    away = {s.name: s.error for s in find("away.tar", PNG).sources}
    assert away.pop("ok.png") is None
    assert set(away.values()) == {"its name leads out of the collection"}


# Running


def test_a_folder_goes_there_and_back(here: Path) -> None:
    outcome = succeed("encode", "photos", "out", "-j", 1, "--verify")
    assert re.match(r"4 done, 0 done before, 0 failed\n.* in, .* out \(", outcome.stdout)
    assert "all verified, least PSNR" in outcome.stdout
    assert tree(here / "out") == OUTPUTS | {"manifest.jsonl"}
    succeed("decode", "out", "back", "-j", 1)
    # a.png needs no second suffix
    back = {"a.png", "sub/a.png", "sub/a.jpg.png", "sub/deep/ü b.webp.png"}
    assert tree(here / "back") == back | {"manifest.jsonl"}
    a, b = load("photos/sub/a.png").pixels, load("back/sub/a.png").pixels
    assert psnr(a, b) > 30


def test_a_line_of_the_manifest_says_what_was_done(encoded: Path) -> None:
    done = {r["output"]: r for r in lines(encoded / "out" / "manifest.jsonl", "done")}
    assert set(done) == OUTPUTS
    row = done["sub/a.png.dctc"]
    source, output = encoded / "photos/sub/a.png", encoded / "out/sub/a.png.dctc"
    assert row["source"] == str(source)
    assert row["bytes_in"] == source.stat().st_size
    assert row["bytes_out"] == output.stat().st_size
    assert row["settings"]["quality"] == 30
    assert len(row["sha256"]) == 64
    assert row["error"] is None
    assert row["seconds"] > 0
    assert set(row["phases"]) == {"read", "load", "networks", "entropy", "write"}
    assert sum(row["phases"].values()) <= row["seconds"] + 0.01


@pytest.fixture
def again(encoded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of `encoded` that may be changed, done by relative names."""
    monkeypatch.chdir(encoded)
    shutil.copytree(encoded / "photos", tmp_path / "photos")
    shutil.copytree(encoded / "out", tmp_path / "out")
    text = (tmp_path / "out/manifest.jsonl").read_text().replace(f"{encoded}/", "")
    (tmp_path / "out/manifest.jsonl").write_text(text)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def counts(*args: object) -> tuple[int, int, int]:
    """done, done before, failed"""
    values = json.loads(run("encode", "photos", "out", "-j", 1, "--json", *args).stdout)
    return values["done"], values["done_before"], values["failed"]


def test_what_is_done_is_not_repeated(again: Path) -> None:
    before = versions(again / "out")
    assert counts("-q", 30) == (0, 4, 0)  # copies have new times: found done by their hashes
    rows = lines(again / "out/manifest.jsonl", "done")
    assert [r["reused"] for r in rows[-4:]] == [True] * 4
    size = (again / "out/manifest.jsonl").stat().st_size
    assert counts("-q", 30) == (0, 4, 0)  # and now by their times alone
    assert (again / "out/manifest.jsonl").stat().st_size == size
    assert versions(again / "out") == before


def test_what_changed_is_done_anew(again: Path) -> None:
    picture(99).save("photos/a.png")
    os.remove("out/sub/a.jpg.dctc")
    before = versions(again / "out")
    assert counts("-q", 30) == (2, 2, 0)
    after = versions(again / "out")
    assert {n for n in OUTPUTS if before.get(n) != after[n]} == {"a.png.dctc", "sub/a.jpg.dctc"}
    assert counts("-q", 40) == (4, 0, 0)  # other settings
    assert counts("-q", 40, "--verify") == (4, 0, 0)  # done, but never verified
    assert counts("-q", 40, "--verify") == (0, 4, 0)
    assert counts("-q", 40, "--verify", "-e", 2) == (4, 0, 0)  # and what was searched for is sent
    assert counts("-q", 40, "-e", 2) == (0, 4, 0)


def test_a_foreign_file_is_not_overwritten_but_one_with_the_same_bytes_will_do(again: Path) -> None:
    os.remove("out/manifest.jsonl")
    Path("out/a.png.dctc").write_bytes(b"mine")
    before = versions(again / "out")
    outcome = run("encode", "photos", "out", "-j", 1, "-q", 30)
    assert outcome.exit_code == 1
    assert "Error: photos/a.png: exists already; --force overwrites it" in outcome.stderr
    assert "3 done, 0 done before, 1 failed" in outcome.stdout
    assert versions(again / "out") == before
    assert Path("out/a.png.dctc").read_bytes() == b"mine"
    assert counts("-q", 30) == (0, 3, 1)  # the failure's own line does not make the file ours
    assert Path("out/a.png.dctc").read_bytes() == b"mine"
    assert counts("-q", 30, "--force") == (1, 3, 0)


def test_one_bad_picture_does_not_stop_the_rest(here: Path) -> None:
    (here / "photos/bad.png").write_bytes(b"no picture")
    cut = (here / "photos/a.png").read_bytes()[:300]
    (here / "photos/cut.png").write_bytes(cut)
    outcome = run("encode", "photos", "out", "-j", 1)
    assert outcome.exit_code == 1
    assert "Error: photos/bad.png: not an image that Pillow can read" in outcome.stderr
    assert "Error: photos/cut.png: the image is damaged or cut short" in outcome.stderr
    assert "4 done, 0 done before, 2 failed" in outcome.stdout
    assert tree(here / "out") == OUTPUTS | {"manifest.jsonl"}
    assert {r["source"] for r in lines(here / "out/manifest.jsonl", "failed")} == {
        "photos/bad.png",
        "photos/cut.png",
    }
    assert len(tree(here / "photos")) == 7  # nothing is deleted


def test_a_shard_and_a_list_are_encoded(here: Path) -> None:
    data = {name: (here / "photos" / name).read_bytes() for name in NAMES[:2]}
    make_tar(here / "shard.tar", data)
    succeed("encode", "shard.tar", "from-tar", "-j", 1, "-q", 30)
    assert tree(here / "from-tar") == {"a.png.dctc", "sub/a.png.dctc", "manifest.jsonl"}
    text = "photos/a.png\0photos/sub/a.jpg\0"
    succeed("encode", "-", "from-list", "-j", 1, "-q", 30, stdin=text)
    assert tree(here / "from-list") == {
        "photos/a.png.dctc",
        "photos/sub/a.jpg.dctc",
        "manifest.jsonl",
    }


def test_two_members_of_one_name_do_not_overwrite_each_other(here: Path) -> None:
    data = (here / "photos/a.png").read_bytes()
    make_tar(here / "shard.tar", {"x/../a.png": data, "a.png": data})
    outcome = run("encode", "shard.tar", "out", "-j", 1)
    assert outcome.exit_code == 1
    assert "its output would be that of shard.tar!" in outcome.stderr
    values = json.loads(run("encode", "shard.tar", "out", "-j", 1, "--json").stdout)
    assert (values["done"], values["done_before"], values["failed"]) == (0, 1, 1)


def test_a_batch_refuses_a_manifest_that_another_one_writes(here: Path) -> None:
    held = open_manifest(str(here / "out"))
    outcome = run("encode", "photos", "out", "-j", 1)
    assert outcome.exit_code == 1
    assert "out/manifest.jsonl: another batch is writing it" in outcome.stderr
    held.close()


def test_a_torn_line_of_the_manifest_is_passed_over(again: Path) -> None:
    path = again / "out/manifest.jsonl"
    path.write_bytes(path.read_bytes()[:-40])
    outcome = run("encode", "photos", "out", "-j", 1, "-q", 30, "--json")
    assert json.loads(outcome.stdout)["done_before"] == 4  # the line `written` stands for it
    for line in path.read_text().splitlines()[-4:]:
        json.loads(line)


def test_a_file_that_was_written_but_not_noted_as_done_counts(again: Path) -> None:
    path = again / "out/manifest.jsonl"
    before = versions(again / "out")
    kept = [json.dumps(r) for r in lines(path, "written")]
    path.write_text("\n".join(kept) + "\n")
    os.remove("out/a.png.dctc")  # killed before it had its name
    Path("out/sub/a.png.dctc").write_bytes(b"not what was noted")
    assert counts("-q", 30) == (1, 2, 1)
    after = versions(again / "out")
    assert {n for n in OUTPUTS if before[n] == after[n]} == {
        "sub/a.jpg.dctc",
        "sub/deep/ü b.webp.dctc",
    }
    assert Path("out/sub/a.png.dctc").read_bytes() == b"not what was noted"


def test_what_a_killed_writer_left_is_removed_and_nothing_else(again: Path) -> None:
    mine, other = Path("out/sub/.a.jpg.dctc.0123abcd.part"), Path("out/.x.dctc.0123abcd.part")
    mine.write_bytes(b"half")
    other.write_bytes(b"of another batch")
    assert counts("-q", 30) == (0, 4, 0)
    assert not mine.exists() and other.exists()


# Verification


def test_verification_sees_other_symbols_and_a_poor_picture() -> None:
    one, two = load(picture(1)), load(picture(2))
    tally, other = SymbolDigest(), SymbolDigest()
    data = encode_picture(one, 60, tile=32, tally=tally).data
    encode_picture(two, 60, tile=32, tally=other)
    settings: dict[str, Any] = {"device": "cpu", "max_pixels": 10**6}
    value = verify(data, one, tally, floor=25, **settings)
    assert value == pytest.approx(psnr(one.pixels, decode_picture(data).picture.pixels))
    with pytest.raises(OutputError, match="other symbols"):
        verify(data, one, other, floor=25, **settings)
    with pytest.raises(OutputError, match=r"PSNR \d+\.\d\d dB is below the floor of 70 dB"):
        verify(data, one, tally, floor=70, **settings)


def test_psnr_is_that_of_its_definition() -> None:
    a = np.zeros((300, 4), np.uint8)
    b = a.copy()
    b[299, 3] = 30
    assert psnr(a, b) == pytest.approx(10 * np.log10(255**2 * 1200 / 900))
    assert psnr(a, a) == 100


def test_what_fails_verification_gets_no_name(here: Path) -> None:
    outcome = run("encode", "photos", "out", "-j", 1, "--verify", "--psnr-floor", 90)
    assert outcome.exit_code == 1
    assert "0 done, 0 done before, 4 failed" in outcome.stdout
    assert tree(here / "out") == {"manifest.jsonl"}


def test_a_disk_that_gives_back_other_bytes_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "read_bytes", lambda _: b"rot")
    with pytest.raises(OutputError, match="reads back differently"):
        store.write(str(tmp_path / "x"), b"data", compare=True)
    assert list(tmp_path.iterdir()) == []


# What is said


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        ("encode none out", 1, "^Error: none: no such file or folder"),
        ("encode none/*.png out", 1, r"^Error: none/\*\.png: nothing has such a name"),
        ("encode photos out -q 130", 2, "^Error: quality 130 is not a multiple"),
        ("encode photos out --tile 33", 2, "^Error: tile side 33 is not"),
        ("encode photos out --layers 99", 2, r"^Error: layers 99 is not in 0…\d"),
        ("encode photos out --psnr-floor 200", 2, "^Error: PSNR floor 200 dB is not in 0…100"),
        ("encode photos out --engine slurm", 2, "^Error: --engine 'slurm' is neither 'local' nor"),
        ("encode photos out --address x:1", 2, "^Error: --address and --gpus belong to --engine"),
        ("encode photos out -j 0", 2, "Invalid value for '-j' / '--jobs'"),
        ("encode photos out --device nowhere -j 1", 2, "^Error: device 'nowhere'"),
        ("encode photos nothere://x/y", 2, "^Error: nothere://x/y"),
        ("decode photos out --format xyz", 2, "^Error: 'xyz' names no picture format; try png"),
        ("encode photos photos/a.png", 1, "^Error: photos/a.png/manifest.jsonl: "),
    ],
)
def test_what_cannot_be_is_said_in_a_line(args: str, code: int, words: str) -> None:
    outcome = run(*args.split())
    assert outcome.exit_code == code, outcome.output
    assert re.search(words, outcome.stderr, re.MULTILINE), outcome.stderr
    assert "Traceback" not in outcome.stderr


@pytest.mark.usefixtures("here")
def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setitem(sys.modules, "fsspec", None)
    outcome = run("encode", "photos", "out", "--engine", "ray")
    assert outcome.exit_code == 2
    assert 'pip install "dctcodec[cluster]"' in outcome.stderr
    outcome = run("encode", "s3://bucket/photos", "out")
    assert outcome.exit_code == 2
    assert 'pip install "dctcodec[store]"' in outcome.stderr


def test_progress_tells_rate_bytes_and_time_left() -> None:
    summary = Summary(total=4, before=1, todo_bytes=3000)
    summary.began -= 10
    record = Record(source="a", output="a", state="done", bytes_in=1000, bytes_out=250)
    summary.add(Outcome(record=record))
    text = status(summary)
    assert text == "0.10 pictures/s, 1.0 kB in, 250 B out (25.0 %), 0:20 left"
    assert size(12_345_678) == "12.3 MB"


def test_a_store_s_stamp_is_asked_for(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    (one,) = find(str(tmp_path / "a.png"), PNG).sources
    assert isinstance(one, Source) and one.stamp
