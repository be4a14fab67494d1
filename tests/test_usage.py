"""What channels carry: counted, named, and dead layers told."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from dctcodec.models.config import ModelConfig, PartConfig
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
    told = []
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
