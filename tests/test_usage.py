"""What channels carry: counted, named, and dead layers told."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from dctcodec.codec.cli import app
from dctcodec.codec.info import model_info
from dctcodec.codec.info_text import model_text
from dctcodec.codec.usage import measure
from dctcodec.models import weights
from dctcodec.models.config import ModelConfig, PartConfig
from dctcodec.models.export import export
from dctcodec.models.model import CodecModel
from dctcodec.models.train import TrainConfig, train, validate
from dctcodec.models.usage import Tally, channel_names, dead_of, deaths, layer_name, usage

TINY = ModelConfig(
    context_kept=2,
    context_width=8,
    parts=(
        PartConfig(layer=1, stride=16, low=0, high=2, colours=(0,), blocks=1),
        PartConfig(layer=2, stride=8, low=2, high=3, colours=(0, 1), blocks=1),
    ),
    prior_width_16=8,
    prior_width_8=8,
    analysis_width_4=8,
    analysis_width_8=8,
    analysis_width_16=8,
    synthesis_width_8=8,
    synthesis_width_4=8,
    synthesis_blocks_8=1,
    synthesis_blocks_4=1,
)


def noise(count: int = 2) -> list[torch.Tensor]:
    """Rough photos (3, 96, 96): every channel has something to say at high quality."""
    rng = np.random.default_rng(5)
    return [torch.from_numpy(rng.integers(0, 256, (3, 96, 96), np.uint8)) for _ in range(count)]


def started(dead: bool) -> CodecModel:
    """A model at its start; `dead`: nothing reaches the quantiser of layer 2."""
    torch.manual_seed(0)
    model = CodecModel(TINY)
    model.initialise_scales(torch.stack(noise()).float())
    if dead:
        with torch.no_grad():
            model.log_gain[:, -TINY.channels(8) :] = -30.0
    return model


def test_every_channel_has_a_name_of_its_own() -> None:
    groups = channel_names(ModelConfig())
    names = [name for group in groups for name in group]
    assert len(set(names)) == len(names) == 48 + 172
    assert names[0] == "context luma 0,0" and "layer 6 green-magenta 5,5" in names


def test_bits_by_channel_add_up_to_the_bits_of_the_model() -> None:
    model = started(dead=False).eval()
    with torch.no_grad():
        out = model(torch.stack(noise()).float(), torch.tensor([200, 360]))
    assert [len(u.bits) for u in out.use] == [len(names) for names in channel_names(TINY)]
    by_group = [float(u.bits.sum()) for u in out.use]
    assert by_group == pytest.approx(out.bits.sum(0).tolist(), rel=1e-4)
    assert out.use[0].symbols == 2 * 9 and out.use[1].symbols == 2 * 36


def test_training_passes_count_nothing() -> None:
    model = started(dead=False).train()
    assert model(torch.stack(noise()).float(), torch.tensor([200, 360])).use == ()


def test_a_dead_layer_is_told_from_one_in_use() -> None:
    rows = validate(started(dead=False), noise(), qualities=(50, 90))
    assert dead_of(TINY, [set(r["unused"]) for r in rows])["dead_layers"] == []
    assert rows[1]["layers"][2]["in_use"] == 1
    assert rows[1]["bpp"] == pytest.approx(sum(x["bpp"] for x in rows[1]["layers"]), rel=1e-3)

    rows = validate(started(dead=True), noise(), qualities=(50, 90))
    dead = dead_of(TINY, [set(r["unused"]) for r in rows])
    assert dead["dead_layers"] == [2]
    assert dead["dead"] == channel_names(TINY)[2]
    assert rows[1]["layers"][2]["in_use"] == 0 < rows[1]["layers"][1]["in_use"]


def test_a_layer_that_dies_is_warned_of_once() -> None:
    assert deaths([2], []) == [
        "layer 2 is dead: at no quality does it say more than the prior expects"
    ]
    assert deaths([2], [2]) == [] and deaths([], [2]) == []
    assert layer_name(0) == "context"


def test_the_log_of_a_run_names_what_is_dead_and_warns(tmp_path: Path) -> None:
    path = tmp_path / "start.pt"
    model = started(dead=True)
    torch.save({"config": TINY.to_json(), "average": model.state_dict()}, path)
    cfg = TrainConfig(steps=2, batch=1, crop=64, bf16=False, rate=0.0, validate_every=0.0)
    told: list[dict[str, object]] = []
    train(TINY, cfg, noise(), noise(1), tmp_path / "run", torch.device("cpu"), path, told.append)
    log = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert log == told
    first, *later = [row for row in log if "validation" in row]
    assert first["dead_layers"] == [2] and set(channel_names(TINY)[2]) <= set(first["dead"])
    assert [w.split(":")[0] for w in first["warnings"]] == ["layer 2 is dead"]
    assert later and all("warnings" not in row for row in later)
    layers = first["validation"][0]["layers"]
    assert len(layers) == 3 and {"bpp", "in_use"} == set(layers[0])


def test_figures_of_a_model_are_plain_data() -> None:
    tally = Tally(TINY)
    for group, names in enumerate(channel_names(TINY)):
        n = len(names)
        moved = np.zeros(n)
        moved[0] = 10
        tally.add(group, np.full(n, 100.0), moved, 1000)
    tally.pixels = 1000
    got = usage(TINY, {50: tally})
    assert json.loads(json.dumps(got)) == got
    assert got["channels"] == 12 + 4 + 10
    assert got["qualities"][0]["layers"][0] == {"bpp": 1.2, "in_use": 0.0833}
    assert got["dead_layers"] == [] and len(got["dead"]) == 26 - 3


def stored(tmp_path: Path, dead: bool) -> Path:
    path = tmp_path / "tiny.safetensors"
    model = started(dead)
    export(model.state_dict(), model, path, name="tiny", card={"photos": "noise"})
    return path


def test_files_of_a_model_tell_its_dead_layer(tmp_path: Path) -> None:
    photos = [p.numpy().transpose(1, 2, 0) for p in noise()]
    path = stored(tmp_path, dead=True)
    found = measure(weights.load(path), photos, qualities=(50, 90))
    assert found["photos"] == 2 and found["dead_layers"] == [2]
    assert set(channel_names(TINY)[2]) <= set(found["dead"])
    fine = found["qualities"][1]["layers"]
    assert fine[1]["in_use"] == 1 and fine[2]["in_use"] == 0


def test_counted_bits_are_those_the_encoder_estimates(tmp_path: Path) -> None:
    from dctcodec.codec.api import encode_picture
    from dctcodec.codec.pictures import load

    model = weights.load(stored(tmp_path, dead=False))
    photo = noise(1)[0].numpy().transpose(1, 2, 0)
    for quality in (20.0, 95.0):
        encoded = encode_picture(load(photo), quality, model=model)
        layers = measure(model, [photo], [quality])["qualities"][0]["layers"]
        for layer, bits in zip(layers, encoded.estimated_bits, strict=True):
            assert layer["bpp"] * 96 * 96 == pytest.approx(sum(bits), rel=0.03, abs=30)


def test_figures_kept_in_a_weights_file_change_none_of_its_ids(tmp_path: Path) -> None:
    path = stored(tmp_path, dead=True)
    before = weights.load(path)
    plain = model_info(before)
    assert "usage" not in plain and plain["card"] == {"photos": "noise"}
    assert "channels in use" not in model_text(plain)

    photos = [p.numpy().transpose(1, 2, 0) for p in noise(1)]
    weights.add_usage(path, measure(before, photos, qualities=(50, 90)), path)
    after = weights.load(path)
    for name in ("prior_id", "synthesis_id", "known_answer", "cfg", "name"):
        assert getattr(before, name) == getattr(after, name), name
    values = model_info(after)
    assert values["card"] == plain["card"]
    assert values["usage"]["dead_layers"] == [2]
    text = model_text(values)
    assert "layer 2 is dead at every quality" in text and "layer 2 luma 0,2" in text


def test_damaged_figures_are_left_in_the_card(tmp_path: Path) -> None:
    path = tmp_path / "tiny.safetensors"
    model = started(dead=False)
    export(model.state_dict(), model, path, name="tiny", card={"usage": "much"})
    values = model_info(weights.load(path))
    assert values["card"] == {"usage": "much"} and "usage" not in values


def test_export_measures_what_a_model_uses(tmp_path: Path) -> None:
    from PIL import Image

    state, out = tmp_path / "state.pt", tmp_path / "m.safetensors"
    model = started(dead=True)
    torch.save({"config": TINY.to_json(), "average": model.state_dict()}, state)
    photo = tmp_path / "photo.png"
    Image.fromarray(noise(1)[0].numpy().transpose(1, 2, 0)).save(photo)
    line = ["export", str(state), "-o", str(out), "--validation", str(photo)]
    outcome = CliRunner().invoke(app, line)
    assert outcome.exit_code == 0, outcome.output
    assert model_info(weights.load(out))["usage"]["dead_layers"] == [2]


def test_training_warns_of_a_dead_layer_on_stderr(tmp_path: Path) -> None:
    from PIL import Image

    start = tmp_path / "start.pt"
    model = started(dead=True)
    torch.save({"config": TINY.to_json(), "average": model.state_dict()}, start)
    photo = tmp_path / "photo.png"
    Image.fromarray(noise(1)[0].numpy().transpose(1, 2, 0)).save(photo)
    line = f"train {tmp_path / 'run'} --photos {photo} --validation {photo} --start {start}"
    more = "--steps 1 --batch 1 --crop 64 --no-bf16 --rate 0 --device cpu"
    outcome = CliRunner().invoke(app, f"{line} {more}".split())
    assert outcome.exit_code == 0, outcome.output
    assert "Warning: step 1: layer 2 is dead" in outcome.stderr
