"""The model's shape can be set for studies; released models do not notice."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from dctcodec.codec.cli import app
from dctcodec.models import weights
from dctcodec.models.config import ModelConfig
from dctcodec.models.transforms import opponent_matrix, pooling_basis


def test_the_default_kind_of_context_is_not_stored() -> None:
    assert "context_kind" not in ModelConfig().to_json()
    down = ModelConfig(context_kind="down")
    assert ModelConfig.from_json(down.to_json()) == down
    assert weights.default().cfg.context_kind == "dct"


@pytest.mark.parametrize("kept", [1, 2, 4, 6])
def test_pooling_is_orthonormal_and_gives_cell_means(kept: int) -> None:
    basis = pooling_basis(32, kept)
    flat = basis.reshape(len(basis), -1)
    assert np.allclose(flat @ flat.T, np.eye(len(basis)), atol=1e-5)
    x = np.random.default_rng(kept).normal(size=(3, 32, 32)).astype(np.float32)
    edges = [32 * i // kept for i in range(kept + 1)]
    cell = x[:, : edges[1], : edges[1]]
    luma = opponent_matrix()[0] @ cell.mean((1, 2))
    assert np.isclose((flat @ x.ravel())[0], luma * edges[1], atol=1e-3)


@pytest.mark.parametrize(
    ("pair", "words"),
    [
        ("context_kept", "no int"),
        ("nothing=3", "KEY among"),
        ("context_kept=many", "no int"),
        ("blocks=many", "not a number of residual blocks"),
        ("compile=maybe", "no bool"),
        ("context_kind=wavelet", "neither 'dct' nor 'down'"),
    ],
)
def test_a_shape_that_cannot_be_is_refused(pair: str, words: str, tmp_path: Path) -> None:
    from PIL import Image

    Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
    options = ["--photos", str(tmp_path), "--steps", "1", "--crop", "32", "--set", pair]
    result = CliRunner().invoke(app, ["train", str(tmp_path / "run"), *options])
    assert result.exit_code == 2
    assert words in " ".join(result.stderr.split())


@pytest.mark.parametrize("kind", ["dct", "down"])
def test_a_model_of_another_context_trains_and_codes(kind: str, tmp_path: Path) -> None:
    from PIL import Image

    from dctcodec.codec.api import encode_picture
    from dctcodec.codec.pictures import load

    noise = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.png")
    small = ["context_width=16", "prior_width_16=16", "prior_width_8=16", "synthesis_width_8=16"]
    small += ["analysis_width_8=16", "analysis_width_16=16", "context_kept=2"]
    small += ["blocks=1", "drop=0.5"]  # of every part; of training
    options = ["--photos", str(tmp_path), "--steps", "1", "--crop", "64", "--batch", "1"]
    for pair in [*small, f"context_kind={kind}"]:
        options += ["--set", pair]
    runner = CliRunner()
    done = runner.invoke(app, ["train", str(tmp_path / "run"), "--device", "cpu", *options])
    assert done.exit_code == 0, done.output
    state, out = str(tmp_path / "run" / "state.pt"), str(tmp_path / "x.safetensors")
    assert runner.invoke(app, ["export", state, "-o", out]).exit_code == 0
    stored = weights.load(Path(out))
    assert (stored.cfg.context_kept, stored.cfg.context_kind) == (2, kind)
    assert {p.blocks for p in stored.cfg.parts} == {1}
    assert json.loads((tmp_path / "run" / "config.json").read_text())["train"]["drop"] == 0.5
    assert len(encode_picture(load(noise), 50, model=stored).data) > 100
