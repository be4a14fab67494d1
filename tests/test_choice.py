"""Factors on what an error costs in the encoder's choice of symbols."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from test_sets import PICTURE, chunks, model
from test_usage import TINY, noise

from dctcodec.codec.api import decode_picture, encode_picture
from dctcodec.eval import fit_choice
from dctcodec.models import weights
from dctcodec.models.config import KNOTS
from dctcodec.models.export import parameters_of
from dctcodec.models.model import CodecModel
from dctcodec.models.runtime import runtime
from dctcodec.models.train import TrainConfig, starting_point, train


def changed(
    stored: weights.StoredModel, out: Path, table: np.ndarray | None
) -> weights.StoredModel:
    """The model with other factors, or with none, as files of older models have it."""
    arrays = weights.read_tensors(stored.path, lambda name: name != "log_choice")
    if table is not None:
        arrays["log_choice"] = table.astype(np.float32)
    weights.save(out, stored.name, stored.cfg, arrays, weights.known_answers(stored), {})
    return weights.load(out)


def test_a_model_without_factors_has_factors_of_one(tmp_path: Path) -> None:
    stored = model(tmp_path / "a.safetensors", 1)
    old = changed(stored, tmp_path / "old.safetensors", None)
    assert "log_choice" not in weights.float_arrays(old)
    for quality in (20, 80):
        data = encode_picture(PICTURE, quality, model=old).data
        assert data == encode_picture(PICTURE, quality, model=stored).data
    assert torch.equal(parameters_of(old)["log_choice"], torch.zeros(KNOTS, 3))
    state = {k: v for k, v in CodecModel(TINY).state_dict().items() if k != "log_choice"}
    torch.save({"config": TINY.to_json(), "average": state}, tmp_path / "state.pt")
    assert "log_choice" in starting_point(tmp_path / "state.pt")[1]


@pytest.mark.parametrize("part", [0, 1, 2])
def test_a_factor_changes_what_is_sent_of_its_part_alone(tmp_path: Path, part: int) -> None:
    """Half of its layers before it: later symbols depend on earlier ones, earlier on none."""
    stored = model(tmp_path / "a.safetensors", 1)
    table = np.zeros((KNOTS, 3))
    table[:, part] = 6.0  # an error is never worth a bit: symbols are rounded
    careful = changed(stored, tmp_path / "b.safetensors", table)
    assert (careful.prior_id, careful.synthesis_id) == (stored.prior_id, stored.synthesis_id)
    a, b = (encode_picture(PICTURE, 5, model=m) for m in (stored, careful))
    assert chunks(a.data)[:part] == chunks(b.data)[:part]
    assert b.estimated_bits[part][0] > a.estimated_bits[part][0]
    pixels = decode_picture(b.data, model=stored).picture.pixels
    assert np.array_equal(pixels, decode_picture(b.data, model=careful).picture.pixels)
    assert runtime(careful).quality(130).choice == pytest.approx(np.exp(table[0]))


def test_training_chooses_with_the_factors(tmp_path: Path) -> None:
    table = torch.zeros(KNOTS, 3)
    table[:, 1] = 6.0
    x, q = torch.stack(noise()).float(), torch.tensor([20, 20])
    torch.manual_seed(0)
    made = CodecModel(TINY).eval()
    made.initialise_scales(x)
    with torch.no_grad():
        plain = made(x, q, chosen=True)
        made.get_buffer("log_choice").copy_(table)
        careful = made(x, q, chosen=True)
    assert (careful.use[1].moved >= plain.use[1].moved).all()
    assert int(careful.use[1].moved.sum()) > int(plain.use[1].moved.sum())
    assert not any("log_choice" in name for name, _ in made.named_parameters())


def test_factors_are_found_by_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = [torch.nn.functional.interpolate(p[None], 288, mode="nearest")[0] for p in noise()]
    settings = TrainConfig(steps=1, batch=1, crop=64, bf16=False)
    run = train(TINY, settings, photos, [], tmp_path, torch.device("cpu"))
    state, out = tmp_path / "state.pt", tmp_path / "b.pt"
    monkeypatch.setattr(fit_choice, "load_photos", lambda paths: photos)
    command = ["fit_choice", str(state), "none", "-o", str(out), "--coarsest", "40"]
    monkeypatch.setattr(sys, "argv", [*command, "--finest", "60", "--crops", "2", "--sweeps", "1"])
    fit_choice.main()
    table = starting_point(out)[1]["log_choice"]
    assert table.shape == (KNOTS, 3) and float(table.abs().max()) > 0
    assert not table[:, 0].any()  # the context's choice is not part of the trial
    assert (table[:4] == table[3]).all() and (table[5:] == table[5]).all()
    assert capsys.readouterr().out.count('"saved": 0.') == 3
    out.replace(state)
    settings = replace(settings, steps=2)
    resumed = train(TINY, settings, photos, [], tmp_path, torch.device("cpu"))
    assert resumed.step == 2 == run.step + 1
    assert torch.equal(resumed.model.get_buffer("log_choice"), table)
    assert torch.allclose(resumed.average["log_choice"], table)
