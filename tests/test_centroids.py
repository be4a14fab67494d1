"""Centroids: what latents lie beyond their symbols in the mean, for synthesis alone."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from test_sets import PICTURE, chunks, model
from test_usage import TINY, noise

from dctcodec.codec.api import decode_picture, encode_picture
from dctcodec.eval import fit_centroids
from dctcodec.models import centroids, search, weights
from dctcodec.models.export import export, join, parameters_of
from dctcodec.models.model import CodecModel
from dctcodec.models.scales import centroid_shift
from dctcodec.models.train import TrainConfig, starting_point, train

PARTS = len(TINY.parts)


def random_knots(seed: int = 3) -> torch.Tensor:
    shape = PARTS, centroids.SIZES, centroids.KNOTS
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) - 0.3


def with_centroids(stored: weights.StoredModel, out: Path) -> weights.StoredModel:
    made = CodecModel(stored.cfg)
    state = {**parameters_of(stored), "centroids": random_knots()}
    export(state, made, out, stored.name, tables=stored.tables)
    return weights.load(out)


def without(stored: weights.StoredModel, out: Path) -> weights.StoredModel:
    """As weights files were before there were centroids."""
    arrays = weights.read_tensors(stored.path, lambda name: name != "centroids")
    weights.save(out, stored.name, stored.cfg, arrays, weights.known_answers(stored), {})
    return weights.load(out)


def test_a_table_is_read_back_within_half_a_unit() -> None:
    knots = random_knots().numpy()
    table = centroids.table_of(knots)
    assert table.shape == (PARTS, 2, 64) and table.dtype == np.int8
    assert np.abs(centroids.knots_of(table) - knots).max() <= 0.5 / centroids.UNIT + 1e-6
    assert not centroids.no_centroids(3).any()
    assert np.array_equal(
        centroids.table_of(centroids.knots_of(table))[:, :, ::9], table[:, :, ::9]
    )


def test_shifts_point_away_from_the_mean_and_training_has_the_same() -> None:
    rng = np.random.default_rng(0)
    table = centroids.table_of(random_knots().numpy())
    k = rng.integers(-4, 5, (3, 500)).astype(np.int32)
    index = rng.integers(0, 64, (3, 500)).astype(np.int32)
    found = centroids.shifts(table, 1, k, index)
    assert not found[k == 0].any()
    assert np.array_equal(found[k == -1], -table[1, 0][index[k == -1]])
    assert np.array_equal(found[k >= 2], table[1, 1][index[k >= 2]])
    knots = torch.from_numpy(centroids.knots_of(table))[1]
    same = centroid_shift(knots, torch.from_numpy(k).float(), torch.from_numpy(index).float())
    assert np.abs(same.numpy() - found / centroids.UNIT).max() <= 1 / centroids.UNIT
    between = centroid_shift(knots, torch.tensor([0.5, 1.5, -1.5]), torch.tensor([9.0, 9.0, 9.0]))
    one, more = (float(v) for v in knots[:, 1])
    assert between.tolist() == pytest.approx([one / 2, (one + more) / 2, -(one + more) / 2])


def test_centroids_change_pixels_and_not_one_symbol(tmp_path: Path) -> None:
    plain = model(tmp_path / "a.safetensors", 1)
    made = with_centroids(plain, tmp_path / "b.safetensors")
    assert made.prior_id == plain.prior_id and made.synthesis_id != plain.synthesis_id
    a, b = (encode_picture(PICTURE, 60, model=m).data for m in (plain, made))
    assert chunks(a) == chunks(b)
    first, second = (decode_picture(d, model=made).picture.pixels for d in (a, b))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, decode_picture(a, model=plain).picture.pixels)
    one, two = (decode_picture(a, layers=0, model=m).picture.pixels for m in (plain, made))
    assert np.array_equal(one, two)  # of the context alone nothing is shifted


def test_weights_without_centroids_are_read_as_before(tmp_path: Path) -> None:
    plain = model(tmp_path / "a.safetensors", 1)
    old = without(plain, tmp_path / "old.safetensors")
    assert not old.centroids.any() and not parameters_of(old)["centroids"].any()
    data = encode_picture(PICTURE, 40, model=old).data
    pixels = decode_picture(data, model=old).picture.pixels
    again = decode_picture(encode_picture(PICTURE, 40, model=plain).data, model=plain)
    assert np.array_equal(pixels, again.picture.pixels)


def test_each_set_has_its_own(tmp_path: Path) -> None:
    coarse = model(tmp_path / "a.safetensors", 1)
    fine = with_centroids(coarse, tmp_path / "b.safetensors")
    join({0: coarse, 200: fine}, tmp_path / "both.safetensors", "both")
    both = weights.load(tmp_path / "both.safetensors")
    assert not both.at(199).centroids.any()
    assert np.array_equal(both.at(200).centroids, fine.centroids)


def test_the_encoder_and_the_trained_model_draw_the_same(tmp_path: Path) -> None:
    """The trained model under integers, and the released one, from the symbols of one picture."""
    stored = with_centroids(model(tmp_path / "a.safetensors", 1), tmp_path / "b.safetensors")
    trained = search.searchable(stored)
    assert torch.allclose(trained.centroids, random_knots(), atol=0.5 / centroids.UNIT + 1e-6)
    x = noise(1)[0][None].float()
    with torch.no_grad():
        out = trained(x, torch.tensor([240]), chosen=True).picture.clamp(0, 255).round()
    data = encode_picture(PICTURE, 60, model=stored).data
    pixels = decode_picture(data, model=stored).picture.pixels.transpose(2, 0, 1)
    plain = without(stored, tmp_path / "plain.safetensors")
    unshifted = decode_picture(data, model=plain).picture.pixels.transpose(2, 0, 1)
    # tables are not the logistic ones that training assumes, so a few symbols are chosen otherwise
    near, far = (float((out[0].numpy() - p).std()) for p in (pixels, unshifted.astype(np.float32)))
    assert near < 0.5 * far


def test_centroids_learn_and_a_search_goes_through_them(tmp_path: Path) -> None:
    settings = TrainConfig(steps=3, batch=2, crop=64, settled=1.0, bf16=False, rate=1e-2)
    state = train(TINY, settings, noise(), [], tmp_path / "run", torch.device("cpu"))
    assert bool(state.model.centroids.detach().any())
    stored = with_centroids(model(tmp_path / "a.safetensors", 1), tmp_path / "b.safetensors")
    data = encode_picture(PICTURE, 30, model=stored, effort=3).data
    assert decode_picture(data, model=stored).picture.pixels.shape == (96, 96, 3)


def test_centroids_are_fitted_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stored = model(tmp_path / "a.safetensors", 1)
    out = tmp_path / "b.pt"
    monkeypatch.setattr(fit_centroids, "load_photos", lambda paths: noise())
    command = ["fit_centroids", str(stored.path), "none", "-o", str(out)]
    monkeypatch.setattr(sys, "argv", [*command, "--steps", "2", "--crop", "64"])
    fit_centroids.main()
    before, (_, after) = parameters_of(stored), starting_point(out)
    changed = [k for k in after if not torch.equal(before[k], after[k])]
    assert changed == ["centroids"]
    assert json.loads(capsys.readouterr().out)["centroids"][0][0][0] == pytest.approx(0.4, abs=0.1)
