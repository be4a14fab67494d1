"""Wider and deeper models that begin as what a smaller one computes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from test_usage import TINY, noise
from typer.testing import CliRunner

from dctcodec.codec.cli import app
from dctcodec.models.config import ModelConfig
from dctcodec.models.fakequant import FakeConv
from dctcodec.models.grow import grown
from dctcodec.models.model import CodecModel
from dctcodec.models.train import TrainConfig, starting_point, train
from dctcodec.models.weights import WeightsError

WIDER = replace(
    TINY,
    context_width=12,
    prior_width_16=16,
    prior_width_8=12,
    analysis_width_4=12,
    analysis_width_8=16,
    analysis_width_16=12,
    synthesis_width_8=16,
    synthesis_width_4=12,
    synthesis_blocks_8=2,
    synthesis_blocks_4=2,
    parts=tuple(replace(p, blocks=2) for p in TINY.parts),
)


def lively(cfg: ModelConfig, seed: int = 0) -> CodecModel:
    """A model in which everything has some effect."""
    torch.manual_seed(seed)
    model = CodecModel(cfg).eval()
    model.initialise_scales(torch.stack(noise()).float())
    for conv in model.prior.convs.values():
        assert isinstance(conv, FakeConv)
        if conv.spec.head:
            torch.nn.init.normal_(conv.weight, 0, 0.05)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if ".out" in name:
                p.normal_(0, 0.02)
    return model


@pytest.mark.parametrize("chosen", [False, True])
def test_a_grown_model_gives_the_same_picture_and_bits(chosen: bool) -> None:
    small, large = lively(TINY), lively(WIDER, 1)
    x, q = torch.stack(noise()).float(), torch.tensor([60, 330])
    with torch.no_grad():
        before = small(x, q, chosen=chosen, exact=False)
        other = large(x, q, chosen=chosen, exact=False)
        large.load_state_dict(grown(TINY, small.state_dict(), large))
        after = large(x, q, chosen=chosen, exact=False)
    assert float((other.picture - before.picture).abs().max()) > 1
    assert torch.allclose(after.bits, before.bits, rtol=1e-3, atol=0.1)
    assert float((after.picture - before.picture).abs().mean()) < 0.01


def test_new_channels_learn(tmp_path: Path) -> None:
    settings = TrainConfig(steps=1, batch=1, crop=64, bf16=False, settled=0)
    cpu = torch.device("cpu")
    train(TINY, settings, noise(), [], tmp_path / "a", cpu)
    start = tmp_path / "a" / "state.pt"
    torch.manual_seed(settings.seed)
    fresh = CodecModel(WIDER)
    begun = grown(*starting_point(start), fresh)
    end = train(WIDER, settings, noise(), [], tmp_path / "b", cpu, start).model.state_dict()
    for name in ("prior.convs.context_mix1.weight", "synthesis.blocks8.1.back.weight"):
        assert not torch.equal(end[name], begun[name]), name


def test_a_shape_only_grows() -> None:
    large = lively(WIDER)
    with pytest.raises(WeightsError, match="a shape can only grow"):
        grown(WIDER, large.state_dict(), lively(replace(WIDER, context_width=8)))
    with pytest.raises(WeightsError, match=r"the shape lacks prior\.convs\.part0_block1"):
        grown(WIDER, large.state_dict(), lively(replace(WIDER, parts=TINY.parts)))
    more = (TINY.parts[0], replace(TINY.parts[1], high=4))
    for other in ({"context_kept": 3}, {"finest_step": 4.0}, {"parts": more}):
        with pytest.raises(WeightsError, match="have other symbols"):
            grown(TINY, lively(TINY).state_dict(), lively(replace(TINY, **other)))


def test_the_command_grows_a_start_and_refuses_to_shrink_it(tmp_path: Path) -> None:
    train(TINY, TrainConfig(steps=1, batch=1, crop=64, bf16=False), noise(), [], tmp_path / "a",
          torch.device("cpu"))  # fmt: skip
    Image.fromarray(noise(1)[0].numpy().transpose(1, 2, 0)).save(tmp_path / "photo.png")
    command = ["train", str(tmp_path / "b"), "--photos", str(tmp_path / "photo.png")]
    command += ["--steps=1", "--batch=1", "--crop=64", "--device=cpu", "--start"]
    command.append(str(tmp_path / "a" / "state.pt"))
    refused = CliRunner().invoke(app, [*command, "--set", "context_width=4"])
    assert refused.exit_code == 1 and "a shape can only grow" in refused.stderr
    assert CliRunner().invoke(app, [*command, "--set", "context_width=16"]).exit_code == 0
    cfg = starting_point(tmp_path / "b" / "state.pt")[0]
    assert cfg == replace(TINY, context_width=16)
    again = CliRunner().invoke(app, [*command, "--set", "context_width=24"])
    assert again.exit_code == 2 and "this run has its shape already" in again.stderr
