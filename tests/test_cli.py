"""The command line: rows of arguments, exit codes and words, and what it never does."""

from __future__ import annotations

import io
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Event

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

import dctcodec
from dctcodec.codec import api, console
from dctcodec.codec.cli import app
from dctcodec.codec.container import read
from dctcodec.models import weights

ROOT = Path(__file__).parents[1]
WIDTH, HEIGHT, TILE = 200, 136, 96


def run(*args: object, stdin: bytes | None = None) -> Result:
    return CliRunner().invoke(app, [str(a) for a in args], input=stdin)


def succeed(*args: object, stdin: bytes | None = None) -> Result:
    outcome = run(*args, stdin=stdin)
    assert outcome.exit_code == 0, outcome.output
    return outcome


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """photo.png and, of it, photo.dctc in six tiles; damaged.dctc; text.txt. Not to be changed."""
    folder = tmp_path_factory.mktemp("cli")
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    noise = np.random.default_rng(1).normal(0, 6, (HEIGHT, WIDTH, 3))
    waves = 128 + 60 * np.sin(x / 17 + y / 29)[..., None] * np.array([1, 0.7, 0.4])
    Image.fromarray(np.clip(waves + noise, 0, 255).astype(np.uint8)).save(folder / "photo.png")
    succeed("encode", folder / "photo.png", "--tile", TILE, "-q", 60)
    data = bytearray((folder / "photo.dctc").read_bytes())
    (folder / "trailing.dctc").write_bytes(data + b"more")
    chunk = next(c for c in read(bytes(data)).chunks if c.layer == 1 and c.tile == 5)
    data[chunk.offset] ^= 1
    (folder / "damaged.dctc").write_bytes(data)
    (folder / "text.txt").write_text("no picture")
    (folder / "exists.png").write_text("a file that must stay")
    return folder


@pytest.fixture
def here(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A fresh current folder with links to the files of `folder`."""
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    monkeypatch.chdir(tmp_path)
    yield tmp_path


ROWS: list[tuple[str, int, str]] = [
    # What is printed of success.
    ("--version", 0, r"dctcodec \d+\.\d+\.\d+"),
    ("--help", 0, r"Exit codes: 0 done, 1 the file"),
    ("encode --help", 0, r"^Usage: .* encode \[OPTIONS\]"),
    ("encode photo.png -o a.dctc", 0, r"a\.dctc: \d+ bytes, \d\.\d+ bits per pixel, .* % of photo"),
    ("encode photo.png -o a.dctc --layers context", 0, "bits per pixel"),
    ("encode photo.png -o a.dctc --quiet", 0, r"^$"),
    ("decode photo.dctc -o a.png", 0, r"a\.png: 200x136 pixels"),
    ("decode photo.dctc -o a.jpg --layers 1", 0, r"a\.jpg: 200x136 pixels"),
    ("decode photo.dctc -o a.png --region 90,80,50,20", 0, r"a\.png: 50x20 pixels"),
    ("decode photo.dctc -o a.png --layers context --temperature 1", 0, "200x136"),
    ("decode photo.dctc -o exists.png --force", 0, "200x136"),
    ("preview photo.dctc -o a.png", 0, r"a\.png: 25x17 pixels"),
    ("preview photo.dctc -o a.png --size 64", 0, r"a\.png: 64x44 pixels"),
    ("preview photo.dctc", 0, r"photo\.preview\.png: 25x17 pixels"),
    ("info photo.dctc", 0, r"picture +200x136 pixels, colour\nquality +60\n"),
    ("info photo.dctc --tiles", 0, r"\n5 +192,96,8,40 "),
    ("info --model", 0, "kMAC/pixel"),
    # The file or the machine.
    ("encode none.png", 1, r"^Error: none\.png: No such file or directory$"),
    ("encode text.txt", 1, r"^Error: text\.txt: .*image"),
    ("encode photo.png", 1, r"^Error: photo\.dctc: exists already; --force overwrites it"),
    (
        "encode photo.png -o none/a.dctc",
        1,
        r"^Error: none/a\.dctc: the folder none does not exist$",
    ),
    ("encode photo.png -o .", 1, r"^Error: \.: is a folder"),
    ("encode photo.png -o a.dctc --max-pixels 100", 1, r"^Error: photo\.png: .*100"),
    ("decode photo.png -o a.png", 1, r"^Error: photo\.png: not a dctcodec file"),
    ("decode photo.dctc -o exists.png", 1, r"^Error: exists\.png: exists already"),
    ("decode photo.dctc -o a.png --max-pixels 100", 1, r"^Error: photo\.dctc: .*--max-pixels"),
    ("decode photo.dctc", 1, r"^Error: photo\.png: exists already"),
    ("decode damaged.dctc -o a.png", 1, r"layer 1 of tile 5 is damaged.*--salvage decodes"),
    ("decode trailing.dctc -o a.png --strict", 1, r"4 trailing bytes"),
    ("info text.txt", 1, r"^Error: text\.txt: not a dctcodec file"),
    ("preview text.txt -o a.png", 1, r"^Error: text\.txt: not a dctcodec file"),
    ("demo none.png", 1, r"^Error: none\.png: No such file"),
    # The usage.
    ("nonsense", 2, "No such command 'nonsense'"),
    ("encode", 2, "Missing argument 'IMAGE'"),
    (
        "encode photo.png -q 130",
        2,
        r"^Error: quality 130 is not a multiple of 0\.25 in 0…100$",
    ),
    ("encode photo.png -o a.dctc -q 60.1", 2, r"^Error: quality 60\.1 is not a multiple of 0\.25"),
    ("encode photo.png -o a.dctc --tile 100", 2, "tile side 100 is not a multiple of 32"),
    ("encode photo.png -o a.dctc --layers 99", 2, r"^Error: layers 99 is not in 0…\d"),
    ("encode photo.png -o a.dctc --layers all", 2, "'all' is neither a number nor 'context'"),
    ("encode photo.png -o a.dctc --device nowhere", 2, r"^Error: device 'nowhere'"),
    ("decode photo.dctc -o a.xyz", 2, r"^Error: a\.xyz: \.xyz names no picture format"),
    ("decode photo.dctc -o a", 2, "a: no suffix names no picture format"),
    ("decode photo.dctc -o a.png --region 1,2,3", 2, r"'1,2,3' is not X,Y,W,H"),
    ("decode photo.dctc -o a.png --region 0,0,999,9", 2, r"not within the picture of 200x136"),
    ("decode photo.dctc -o a.png --layers 99", 2, r"layers 99 is not in 0…\d"),
    ("decode photo.dctc -o a.png --temperature 3", 2, "^Error: temperature 3 is not in 0…2$"),
    ("decode photo.dctc -o a.png --salvage --strict", 2, "exclude each other"),
    ("info", 2, "name either a FILE or --model"),
    ("info photo.dctc --model", 2, "name either a FILE or --model"),
    ("train run", 2, "Missing option '--photos'"),
    ("train run --photos .", 2, "either --minutes or --steps"),
    ("train run --photos . --steps 1 --crop 50", 2, "--crop 50 is not a multiple of 32"),
    ("train run --photos photo.png --steps 1 --crop 512", 2, "none of 1 photos has 512x512 pixels"),
    (
        "train run --photos text.txt --steps 1",
        2,
        r"text\.txt: neither a folder, an image nor a tar",
    ),
    ("encode photo.png -o a.dctc --weights none", 1, r"^Error: none: not a readable weights file"),
    ("encode photo.png -o a.dctc --weights text.txt", 1, r"^Error: text\.txt: not a readable"),
    ("decode photo.dctc -o a.png --weights .", 1, r"^Error: .*not a readable weights file"),
    ("encode photo.png -o a.dctc --preset paper --weights none", 2, "a preset has one quality"),
    ("export text.txt", 1, r"^Error: text\.txt: no state of a training run"),
]


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(("line", "code", "words"), ROWS, ids=[row[0] for row in ROWS])
def test_each_line_ends_with_this_code_and_these_words(line: str, code: int, words: str) -> None:
    outcome = run(*shlex.split(line))
    assert outcome.exit_code == code, outcome.output
    assert re.search(words, outcome.output.strip(), re.MULTILINE), outcome.output
    if code == 1:  # one line, on stderr
        assert outcome.stdout == ""
        assert outcome.stderr.startswith("Error: ") and outcome.stderr.count("\n") == 1
    if code == 2:
        assert outcome.stdout == ""
    assert Path("exists.png").read_bytes()[:6] == b"a file" or "--force" in line


def test_salvage_decodes_what_is_intact_and_says_what_is_lost(here: Path) -> None:
    whole, salvaged = here / "whole.png", here / "salvaged.png"
    succeed("decode", "photo.dctc", "-o", whole)
    outcome = succeed("decode", "damaged.dctc", "-o", salvaged, "--salvage")
    assert "damaged.dctc: tile 5: lost from layer 1 on" in outcome.stderr
    a, b = np.asarray(Image.open(whole)), np.asarray(Image.open(salvaged))
    assert np.array_equal(a[:TILE, :TILE], b[:TILE, :TILE])


@pytest.mark.usefixtures("here")
def test_a_region_shows_the_pixels_of_the_whole() -> None:
    succeed("decode", "photo.dctc", "-o", "whole.png")
    succeed("decode", "photo.dctc", "-o", "part.png", "--region", "70,50,60,70")
    whole, part = np.asarray(Image.open("whole.png")), np.asarray(Image.open("part.png"))
    difference = whole[50:120, 70:130].astype(int) - part
    assert np.abs(difference).max() <= 1


@pytest.mark.usefixtures("here")
def test_bytes_go_through_pipes() -> None:
    outcome = succeed("encode", "-", "--tile", TILE, "-q", 60, stdin=Path("photo.png").read_bytes())
    assert outcome.stdout_bytes == Path("photo.dctc").read_bytes()
    assert "bits per pixel" in outcome.stderr  # the line makes way for the bytes
    outcome = succeed("decode", "-", stdin=outcome.stdout_bytes)
    with Image.open(io.BytesIO(outcome.stdout_bytes)) as image:
        assert (image.format, image.size) == ("PNG", (WIDTH, HEIGHT))
    outcome = succeed("preview", "-", "--quiet", stdin=Path("photo.dctc").read_bytes())
    assert outcome.stdout_bytes.startswith(b"\x89PNG") and outcome.stderr == ""
    outcome = run("decode", "-", stdin=b"nothing")
    assert outcome.stderr.startswith("Error: stdin: not a dctcodec file")


@pytest.mark.usefixtures("here")
def test_nothing_is_left_behind_by_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    before = sorted(Path().iterdir())

    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", fail)
    outcome = run("encode", "photo.png", "-o", "a.dctc")
    assert outcome.exit_code == 1
    assert "No space left on device" in outcome.stderr
    assert sorted(Path().iterdir()) == before


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (KeyboardInterrupt(), 130, "Error: interrupted\n"),
        (MemoryError(), 1, "Error: out of memory\n"),
        (RuntimeError("CUDA out of memory. Tried\nto allocate"), 1, "Error: out of memory\n"),
        (PermissionError(13, "Permission denied", "x"), 1, "Error: x: Permission denied\n"),
    ],
)
def test_what_stops_the_work_ends_as_one_line(
    error: BaseException, code: int, line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(api, "encode_picture", stop)
    outcome = run("encode", "photo.png", "-o", "a.dctc")
    assert (outcome.exit_code, outcome.stderr) == (code, line)


@pytest.mark.usefixtures("here")
def test_a_defect_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr(api, "encode_picture", fail)
    outcome = run("encode", "photo.png", "-o", "a.dctc")
    assert isinstance(outcome.exception, RuntimeError)


def test_a_reader_that_leaves_is_no_error(here: Path) -> None:
    code = "from dctcodec.codec.cli import main; main()"
    args = [sys.executable, "-c", code, "info", "photo.dctc", "--json"]
    pipe = subprocess.PIPE
    with subprocess.Popen(args, cwd=here, stdout=pipe, stderr=pipe) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(60) == 1


@pytest.mark.parametrize("line", ["info photo.dctc", "info --model", "preview photo.dctc -o a.png"])
def test_info_and_preview_never_load_torch_or_rich(line: str, here: Path) -> None:
    code = """
import sys
from dctcodec.codec.cli import main
try:
    main()
finally:
    print([name for name in ("torch", "rich", "skimage") if name in sys.modules])
"""
    args = [sys.executable, "-c", code, *line.split()]
    outcome = subprocess.run(args, cwd=here, capture_output=True, text=True, timeout=60)
    assert outcome.returncode == 0, outcome.stderr
    assert outcome.stdout.endswith("[]\n")


@pytest.mark.usefixtures("here")
def test_json_and_text_of_info_agree() -> None:
    values = json.loads(succeed("info", "photo.dctc", "--json").stdout)
    assert values["bytes"] == Path("photo.dctc").stat().st_size
    parts = [layer["bytes"] for layer in values["layers"]]
    assert sum(parts) + values["container_bytes"] + sum(values["extra"].values()) == values["bytes"]
    text = succeed("info", "photo.dctc").stdout
    for layer in values["layers"]:
        assert re.search(rf"^{layer['name']} +{layer['bytes']} ", text, re.MULTILINE)
    model = json.loads(succeed("info", "--model", "--json").stdout)
    assert model["name"] == weights.DEFAULT_MODEL


@pytest.mark.usefixtures("here")
def test_info_of_a_damaged_file_names_the_damage() -> None:
    outcome = succeed("info", "damaged.dctc")
    assert "damaged.dctc: layer 1 of tile 5: damaged" in outcome.stderr


@pytest.mark.usefixtures("here")
def test_the_demo_compares_with_a_jpeg_and_keeps_its_files() -> None:
    pytest.importorskip("pytorch_msssim")
    outcome = succeed("demo", "photo.png", "--keep", "kept", "-q", 90)
    ours, jpeg = outcome.stdout.splitlines()[-2:]
    sizes = [int(re.split(r"\s{2,}", line)[1]) for line in (ours, jpeg)]
    assert sizes == [Path("kept", name).stat().st_size for name in ("demo.dctc", "demo.jpg")]
    assert sizes[1] <= sizes[0]


@pytest.mark.usefixtures("here")
def test_the_demo_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "skimage", None)
    outcome = run("demo")
    assert outcome.exit_code == 1
    assert outcome.stderr == "Error: the demo needs scikit-image: pip install 'dctcodec[eval]'\n"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_bar_appears_on_a_terminal_once_patience_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    drawn = []
    for patience in (0.0, 60.0):
        screen = Terminal()
        monkeypatch.setattr(console, "PATIENCE", patience)
        monkeypatch.setattr(sys, "stderr", screen)
        with console.bar("encoding") as progress:
            assert progress is not None
            for share in (0.25, 0.5):
                progress(share)
                Event().wait(0.4)
        drawn.append(screen.getvalue())
    assert "encoding" in drawn[0] and "50%" in drawn[0]
    assert drawn[1] == ""


def test_a_bar_is_not_drawn_into_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with console.bar("encoding") as progress:
        assert progress is None


def test_binary_is_not_written_to_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", Terminal())
    with pytest.raises(ValueError, match="stdout is a terminal"):
        console.output_for("-", None, ".dctc", force=False)


def test_the_trainer_s_defaults_are_those_of_its_configuration() -> None:
    import inspect

    from dctcodec.codec.train_command import train
    from dctcodec.models.train import TrainConfig

    parameters = inspect.signature(train).parameters
    names = ("minutes", "steps", "batch", "crop", "rate", "optimiser", "bf16", "compile", "seed")
    for name in names:
        assert parameters[name].default == getattr(TrainConfig(), name), name


@pytest.mark.usefixtures("here")
def test_a_run_trains_goes_on_and_is_exported() -> None:
    line = "train run --photos photo.png --validation photo.png --batch 1 --crop 64 --no-bf16"
    outcome = succeed(*line.split(), "--device", "cpu", "--steps", 1)
    assert "run/state.pt: 1 steps" in outcome.stdout
    assert "step 1: validation q10 " in outcome.stderr
    outcome = succeed(*line.split(), "--device", "cpu", "--steps", 2)
    assert "goes on from run/state.pt" in outcome.stderr
    assert "run/state.pt: 2 steps" in outcome.stdout
    outcome = succeed("export", "run/state.pt", "-o", "m.safetensors", "--card", "photos=one")
    assert re.search(r"m\.safetensors: \d+ bytes, prior [0-9a-f]{8}", outcome.stdout)
    assert run("export", "run/state.pt", "-o", "m.safetensors").exit_code == 1
    own = "--weights", "m.safetensors"
    succeed("encode", "photo.png", "-o", "own.dctc", "-q", 20, *own)
    succeed("encode", "photo.png", "-o", "near.dctc", "--target-bytes", 4000, *own)
    refused = run("decode", "own.dctc", "-o", "own.png")
    assert refused.exit_code == 1
    assert re.search(r"^Error: own\.dctc: .*not installed.*\(--weights\)\n$", refused.stderr), (
        refused.stderr
    )
    for name in ("own", "near"):
        succeed("decode", f"{name}.dctc", "-o", f"{name}.png", *own)
        succeed("preview", f"{name}.dctc", "-o", f"{name}.small.png", *own)
        values = json.loads(succeed("info", f"{name}.dctc", "--json", *own).stdout)
        assert values["model"]["name"] == "m" and values["model"]["same_synthesis"]
    data = Path("own.dctc").read_bytes()
    pixels = np.asarray(dctcodec.decode(data, weights_file="m.safetensors"))
    assert np.array_equal(pixels, np.asarray(Image.open("own.png")))
    again = dctcodec.encode("photo.png", 20, weights_file="m.safetensors")
    assert again == data
    assert succeed("info", "--model", *own).stdout != succeed("info", "--model").stdout
    succeed("decode", "photo.dctc", "-o", "released.png", *own)  # by the model that wrote it


@pytest.mark.usefixtures("here")
def test_what_a_run_cannot_do_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    line = [
        "train",
        "run",
        "--photos",
        "photo.png",
        "--batch",
        "1",
        "--crop",
        "64",
        "--steps",
        "1",
        "--device",
        "cpu",
    ]
    outcome = run(*line, "--set", "learn=prior")
    assert outcome.exit_code == 2 and "none of all, context, latents" in outcome.stderr
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.delenv("CXX", raising=False)
    outcome = run(*line, "--compile")
    assert outcome.exit_code == 2 and "no C++ compiler" in outcome.stderr
    assert not Path("run").exists()


@pytest.mark.slow
def test_two_processes_train_together(here: Path) -> None:
    line = "train run --photos photo.png --batch 1 --crop 64 --steps 2 --no-bf16 --device cpu"
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    launch += ["-m", "dctcodec", *line.split()]
    outcome = subprocess.run(launch, cwd=here, capture_output=True, text=True, timeout=300)
    assert outcome.returncode == 0, outcome.stderr
    assert outcome.stdout.count("run/state.pt: 2 steps") == 1


def readme_blocks(language: str) -> list[str]:
    text = (ROOT / "README.md").read_text()
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def test_the_commands_of_the_readme_work_when_pasted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("skimage")
    monkeypatch.chdir(tmp_path)
    lines = [line for block in readme_blocks("sh") for line in block.splitlines()]
    commands = [line for line in lines if line.startswith("dctcodec ")]
    assert len(commands) >= 5
    for line in commands:
        succeed(*shlex.split(line)[1:])
    table = re.findall(r"^\|.*", (ROOT / "README.md").read_text(), re.MULTILINE)
    for line in re.findall(r"`dctcodec ([^`<]*)`", "\n".join(table)):
        args = shlex.split(line)
        if args[0] in ("benchmark", "study"):  # take minutes, data: only that they are there
            succeed(*args[:2], "--help")
            continue
        if args[0] == "train":  # a step, not an hour
            assert args[2:] == ["--photos", "PHOTOS", "--minutes", "60"]
            args[3:] = shlex.split("photo.png --steps 1 --batch 1 --crop 64 --no-bf16")
        succeed(*args, *(["--force"] if args[0] in ("encode", "decode", "preview") else []))
    for block in readme_blocks("python"):
        exec(compile(block, "README.md", "exec"), {})
