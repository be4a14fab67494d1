"""Weights that change with the quality: models joined as one."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from second_decoder import compute_prior_id, decode_symbols
from test_usage import TINY, noise
from typer.testing import CliRunner

from dctcodec.codec.api import decode_picture, encode_picture, find_model, quality_index
from dctcodec.codec.cli import app
from dctcodec.codec.container import Container, read
from dctcodec.codec.info import model_info
from dctcodec.codec.info_text import model_text
from dctcodec.codec.masked_prior import MaskedPrior
from dctcodec.codec.pictures import from_array
from dctcodec.codec.preview import thumbnail
from dctcodec.codec.usage import measure
from dctcodec.eval.fit_tables import replace_tables
from dctcodec.models import weights
from dctcodec.models.context_priors.quantise import Quantiser
from dctcodec.models.export import export, join, parameters_of
from dctcodec.models.model import CodecModel
from dctcodec.models.train import TrainConfig, starting_point, train

SWITCH = 36.0
PICTURE = from_array(noise(1)[0].numpy().transpose(1, 2, 0))


def model(path: Path, seed: int) -> weights.StoredModel:
    torch.manual_seed(seed)
    made = CodecModel(TINY)
    made.initialise_scales(torch.stack(noise()).float())
    with torch.no_grad():
        made.log_gain.add_(0.1 * seed)
        made.log_inverse.sub_(0.1 * seed)
    export(made.state_dict(), made, path, name=path.stem)
    return weights.load(path)


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> list[weights.StoredModel]:
    """A coarse model, a fine one, and both joined at quality 36."""
    folder = tmp_path_factory.mktemp("sets")
    coarse, fine = model(folder / "coarse.safetensors", 1), model(folder / "fine.safetensors", 2)
    out = folder / "joined.safetensors"
    join({0: coarse, quality_index(SWITCH): fine}, out, "joined", {"licence": "MIT"})
    return [coarse, fine, weights.load(out)]


def chunks(data: bytes) -> list[bytes]:
    found: Container = read(data)
    return [found.payload(layer, 0) for layer in range(found.header.layers + 1)]


def test_each_quality_is_coded_by_its_own_set(three: list[weights.StoredModel]) -> None:
    coarse, fine, joined = three
    assert [s.first for s in joined.sets] == [0, 144]
    assert joined.at(143) is joined and joined.at(144) is joined.finer
    assert joined.at(144).at(400) is joined.finer
    for quality, part in ((0, coarse), (35.75, coarse), (36, fine), (100, fine)):
        data = encode_picture(PICTURE, quality, model=joined).data
        assert read(data).header.prior_id == joined.prior_id
        alone = encode_picture(PICTURE, quality, model=part).data
        assert chunks(data) == chunks(alone)
        pixels = decode_picture(data, model=joined).picture.pixels
        assert np.array_equal(pixels, decode_picture(alone, model=part).picture.pixels)
    assert chunks(encode_picture(PICTURE, 36, model=coarse).data) != chunks(
        encode_picture(PICTURE, 36, model=fine).data
    )


def test_a_second_decoder_finds_the_set(three: list[weights.StoredModel]) -> None:
    joined = three[2]
    assert compute_prior_id(joined.path) == joined.prior_id
    for quality in (20, 36):
        data = encode_picture(PICTURE, quality, model=joined).data
        (tile,) = decode_symbols(data, joined.path)
        (alone,) = decode_symbols(
            encode_picture(PICTURE, quality, model=three[quality >= SWITCH]).data,
            three[quality >= SWITCH].path,
        )
        assert np.array_equal(tile.state, alone.state)


def test_previews_priors_and_search_use_the_set_too(
    three: list[weights.StoredModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    coarse, fine, joined = three
    models = {m.prior_id: m for m in three}
    monkeypatch.setattr(weights, "find", models.get)
    assert find_model(joined.prior_id) is joined
    for quality, part in ((20, coarse), (60, fine)):
        index = quality_index(quality)
        data = encode_picture(PICTURE, quality, model=joined).data
        alone = encode_picture(PICTURE, quality, model=part).data
        assert np.array_equal(thumbnail(data), thumbnail(alone))
        steps = Quantiser.of_model(part, index).steps
        assert np.array_equal(Quantiser.of_model(joined, index).steps, steps)
        prior = MaskedPrior.of_model(joined, index, executor="numpy")
        assert prior.prior is joined.at(index).prior
        searched = encode_picture(PICTURE, quality, model=joined, effort=2).data
        assert chunks(searched) == chunks(
            encode_picture(PICTURE, quality, model=part, effort=2).data
        )


def test_a_model_tells_of_its_sets(three: list[weights.StoredModel]) -> None:
    coarse, _, joined = three
    values, one = model_info(joined), model_info(coarse)
    assert values["sets"] == [0, SWITCH] and one["sets"] == [0]
    assert values["parameters"] == {k: 2 * v for k, v in one["parameters"].items()}
    assert values["kmac"] == one["kmac"] and values["card"] == {"licence": "MIT"}
    assert "other values from quality 36 on" in model_text(values)
    assert "other values" not in model_text(one)
    used = measure(joined, [PICTURE.pixels], qualities=(20, 60))
    apart = [
        measure(m, [PICTURE.pixels], qualities=(q,)) for m, q in zip(three, (20, 60), strict=False)
    ]
    assert used["qualities"] == [a["qualities"][0] for a in apart]
    before = joined.prior_id
    weights.add_usage(joined.path, used, joined.path.with_name("with.safetensors"))
    after = weights.load(joined.path.with_name("with.safetensors"))
    assert after.prior_id == before and [s.first for s in after.sets] == [0, 144]
    assert model_info(after)["usage"] == used


def test_training_goes_on_from_the_set_of_its_qualities(
    three: list[weights.StoredModel], tmp_path: Path
) -> None:
    fine, joined = three[1:]
    cfg, parameters = starting_point(joined.path, 300)
    assert cfg == TINY
    for name, value in parameters_of(fine).items():
        assert torch.equal(parameters[name], value), name
    settings = TrainConfig(steps=1, batch=1, crop=64, bf16=False, coarsest=40, finest=90)
    assert settings.quality_indices == (160, 360)
    assert settings.validation_qualities == (45, 55, 65, 75, 85)
    assert TrainConfig().validation_qualities == (10, 30, 50, 70, 90)
    end = train(TINY, settings, noise(), noise(1), tmp_path, torch.device("cpu"), joined.path)
    assert [r["quality"] for r in end.history[-1]["validation"]] == [45, 55, 65, 75, 85]
    # one small step away from the fine set, not from the coarse one
    gain = end.model.state_dict()["log_gain"]
    assert float((gain - parameters["log_gain"]).abs().max()) < 0.05
    with pytest.raises(ValueError, match=r"qualities 50…40 are not within 0…100"):
        TrainConfig(steps=1, coarsest=50, finest=40)


def test_what_cannot_be_joined_is_refused(three: list[weights.StoredModel], tmp_path: Path) -> None:
    coarse, fine, joined = three
    out = tmp_path / "out.safetensors"
    for a, b in ((coarse, joined), (joined, fine)):
        with pytest.raises(weights.WeightsError, match=r"joined\.safetensors: joined already"):
            join({0: a, 144: b}, out)
    for starts in ((0,), (4, 144), (0, 401)):
        with pytest.raises(weights.WeightsError, match=re.escape(f"from {list(starts)}; begin")):
            join(dict(zip(starts, (coarse, fine), strict=False)), out)
    with pytest.raises(weights.WeightsError, match="not of the shape of"):
        join({0: coarse, 144: weights.default()}, out)
    with pytest.raises(weights.WeightsError, match="fit tables to its parts"):
        replace_tables(joined.path, joined.tables, tmp_path / "out.safetensors")
    assert not list(tmp_path.iterdir())


def test_a_joined_model_is_not_exported_in_part(
    three: list[weights.StoredModel], tmp_path: Path
) -> None:
    out = tmp_path / "out.safetensors"
    refused = CliRunner().invoke(app, ["export", str(three[2].path), "-o", str(out)])
    assert refused.exit_code == 2 and "joined already" in refused.stderr
    assert not out.exists()


def test_three_sets(three: list[weights.StoredModel], tmp_path: Path) -> None:
    coarse, fine, _ = three
    middle = model(tmp_path / "middle.safetensors", 3)
    out = tmp_path / "out.safetensors"
    command = [sys.executable, "-m", "dctcodec.eval.join_weights"]
    command += [str(m.path) for m in (coarse, middle, fine)]
    wrong = subprocess.run(
        [*command, "--from", "36", "--name", "x", "-o", str(out)], capture_output=True, text=True
    )
    assert wrong.returncode == 2 and "for every model but the first" in wrong.stderr
    command += ["--from", "36", "60", "--name", "joined", "-o", str(out)]
    subprocess.run(command, check=True, capture_output=True)
    joined = weights.load(out)
    assert [s.first for s in joined.sets] == [0, 144, 240]
    assert model_info(joined)["sets"] == [0, 36, 60]
    for quality, part in ((20, coarse), (36, middle), (59.75, middle), (60, fine)):
        data = encode_picture(PICTURE, quality, model=joined).data
        assert chunks(data) == chunks(encode_picture(PICTURE, quality, model=part).data)
        (tile,) = decode_symbols(data, joined.path)
        (alone,) = decode_symbols(encode_picture(PICTURE, quality, model=part).data, part.path)
        assert np.array_equal(tile.state, alone.state)


def test_damaged_sets_are_refused(three: list[weights.StoredModel], tmp_path: Path) -> None:
    joined = three[2]
    arrays = weights.read_tensors(joined.path, lambda _: True)
    bad = tmp_path / "bad.safetensors"
    arrays["from144.state.mix.weight"][3, 1, 0, 2] ^= 1
    save_file(arrays, bad, dict(joined.metadata))
    with pytest.raises(weights.WeightsError, match="does not match its hash"):
        weights.load(bad)
    alone = {k: v for k, v in arrays.items() if k.startswith("from144.")}
    weights.save(bad, "bad", joined.cfg, alone, [1], {})
    with pytest.raises(weights.WeightsError, match=re.escape("from qualities [144], not from 0")):
        weights.load(bad)
    weights.save(bad, "bad", joined.cfg, arrays, [1], {})
    with pytest.raises(weights.WeightsError, match="damaged weights"):
        weights.load(bad)


def test_the_command_joins(three: list[weights.StoredModel], tmp_path: Path) -> None:
    coarse, fine, joined = three
    out = tmp_path / "both.safetensors"
    command = [sys.executable, "-m", "dctcodec.eval.join_weights", str(coarse.path), str(fine.path)]
    command += ["--from", "36", "--name", "joined", "--card", "licence=MIT", "-o", str(out)]
    subprocess.run(command, check=True, capture_output=True)
    stored = weights.load(out)
    for field in ("prior_id", "synthesis_id", "name", "metadata"):
        assert getattr(stored, field) == getattr(joined, field), field
    assert [x.known_answer for x in stored.sets] == [x.known_answer for x in joined.sets]
