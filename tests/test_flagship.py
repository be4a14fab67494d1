"""The recipe of the flagship, from photographs to joined weights, on a tiny model."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dctcodec.eval import flagship
from dctcodec.models import weights

TINY = (
    "context_width=8 prior_width_16=8 prior_width_8=8 blocks=1 analysis_width_4=8 "
    "analysis_width_8=8 analysis_width_16=8 synthesis_width_8=8 synthesis_width_4=8 "
    "synthesis_blocks_8=1 synthesis_blocks_4=1"
)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "some photos"
    folder.mkdir()
    noise = np.random.default_rng(5).integers(0, 256, (20, 20, 3), dtype=np.uint8)
    Image.fromarray(noise).resize((288, 288), Image.Resampling.BICUBIC).save(folder / "a.png")
    return folder


def options(photos: Path, out: Path) -> list[str]:
    small = f"{out} --steps 5 --crops 1 --sweeps 0 --fitting 1 --count 1 --name small".split()
    shape = [word for pair in TINY.split() for word in ("--set", pair)]
    return [*small, *shape, "--photos", str(photos), "--validation", str(photos)]


def in_this_process(command: list[str], **_: object) -> None:
    """`subprocess.run` without starting Python and importing torch a dozen times."""
    module = "dctcodec.codec.cli" if command[2] == "dctcodec" else command[2]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", command[2:])
        try:
            importlib.import_module(module).main()
        except SystemExit as end:
            assert not end.code, command


def test_one_command_gives_weights_with_three_sets(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subprocess, "run", in_this_process)
    out = tmp_path / "run"
    flagship.main(options(photos, out))
    stored = weights.load(out / "small.safetensors")
    assert stored.name == "small"
    assert [stored.at(q).first for q in (0, 144, 296)] == [0, 144, 296]


def test_a_failed_command_is_named(photos: Path, tmp_path: Path) -> None:
    broken = [*options(photos, tmp_path / "run"), "--set", "context_width=many"]
    line = [sys.executable, "-m", "dctcodec.eval.flagship", *broken]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "context_width" in done.stderr and "the same command goes on" in done.stderr


def test_a_path_with_a_space_stays_one_word(photos: Path, tmp_path: Path) -> None:
    recipe = flagship.Recipe(out=tmp_path, photos=[photos], validation=[], minutes=10)
    words = recipe.training("all", 0.4, 0, "")
    assert words[words.index("--photos") + 1] == str(photos)
    assert words[words.index("--minutes") + 1] == "4.0"
    assert "--validation" not in words
