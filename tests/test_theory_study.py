"""The study of collapse: digits, nonlinear runs, rows, and the page that is made of them."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from dctcodec.codec.cli import app
from dctcodec.codec.errors import UsageError
from dctcodec.eval.theory import page, study
from dctcodec.eval.theory.codec_level import expected_share, level
from dctcodec.eval.theory.digits import Digits, load_digits
from dctcodec.eval.theory.nonlinear import RunConfig, context_basis, divergence, measure, train
from dctcodec.models.config import ModelConfig

QUICK = RunConfig(epochs=3, hidden=16, latents=4, batch=50)


def strokes(count: int = 300) -> Digits:
    """Pictures on a plane of three dimensions, with a little noise."""
    rng = np.random.default_rng(0)
    basis = context_basis(2)[:3]
    x = rng.normal(size=(count, 3)) * 3 @ basis + 0.05 * rng.normal(size=(count, 784))
    pixels = torch.from_numpy(x).float()
    return Digits(training=pixels[: count * 4 // 5], held_out=pixels[count * 4 // 5 :])


def test_the_dct_of_a_digit_is_orthonormal() -> None:
    basis = context_basis(6)
    np.testing.assert_allclose(basis @ basis.T, np.eye(36), atol=1e-12)
    assert context_basis(0).shape == (0, 784)


def test_the_divergence_is_that_of_gaussians() -> None:
    p, q = torch.distributions.Normal(0.0, 0.7), torch.distributions.Normal(0.4, 1.2)
    expected = float(torch.distributions.kl_divergence(q, p))
    found = divergence(torch.tensor(0.4), torch.tensor(2 * math.log(1.2)), 0.7)
    assert float(found) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("kind", ["vae", "two latents"])
def test_an_enormous_weight_collapses_a_network_and_a_small_one_does_not(kind: str) -> None:
    data = strokes()
    cfg = replace(QUICK, kind=kind, epochs=60, rate=3e-3)  # type: ignore[arg-type]
    dear = measure(train(replace(cfg, beta=50.0, beta2=50.0), data.training), data.held_out)
    assert dear.active == 0 and dear.divergence < 0.1
    cheap = measure(train(replace(cfg, beta=0.02, beta2=0.02), data.training), data.held_out)
    assert cheap.active >= 3 and cheap.divergence > 2
    assert cheap.error < dear.error


def test_a_run_gives_the_same_numbers_again() -> None:
    data = strokes()
    first, second = (measure(train(QUICK, data.training), data.held_out) for _ in range(2))
    assert first == second
    assert first != measure(train(replace(QUICK, seed=1), data.training), data.held_out)


def test_a_fixed_variance_stays_fixed_and_a_context_is_seen() -> None:
    data = strokes()
    model = train(replace(QUICK, learned=False, context_kept=2), data.training)
    _, log_variance = model.encoder(data.held_out)
    assert torch.equal(log_variance, torch.zeros_like(log_variance))
    assert model.decoder[0].in_features == QUICK.latents + 4


def test_linear_theory_counts_what_the_pictures_and_the_context_leave() -> None:
    covariance = strokes().covariance()
    assert study.predicted(replace(QUICK, decoder_std=0.5), covariance) == 3
    assert study.predicted(replace(QUICK, decoder_std=0.5, context_kept=1), covariance) == 2
    assert study.predicted(replace(QUICK, decoder_std=0.5, context_kept=2), covariance) == 0
    assert study.predicted(replace(QUICK, beta=100.0), covariance) == 0
    two = replace(QUICK, kind="two latents", decoder_std=0.5, prior_std=0.5)
    assert study.predicted(two, covariance) == 3
    assert study.predicted(replace(two, beta2=100.0), covariance) == 0


def test_a_study_goes_on_where_it_stopped(tmp_path: Path) -> None:
    data, path, told = strokes(), tmp_path / "rows.csv", list[str]()
    runs = [replace(QUICK, epochs=1, beta=b) for b in (0.5, 2.0)]
    study.run_all(data, path, runs=runs[:1], report=told.append)
    rows = study.run_all(data, path, runs=runs, report=told.append)
    assert len(told) == 2 and told[1].startswith("1/1: vae, β 2")
    assert rows == study.read_rows(path) == study.run_all(data, path, runs=runs)


def test_every_run_is_planned_once_and_for_each_seed() -> None:
    runs = list(study.all_runs())
    assert len(set(runs)) == len(runs) and len(runs) % len(study.SEEDS) == 0
    assert {r.seed for r in runs} == set(study.SEEDS)


def write_digits(folder: Path, count: int = 10000) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (count, 784), np.uint8)
    head = b"\x00\x00\x08\x03" + np.array([count, 28, 28], ">u4").tobytes()
    (folder / "t10k-images-idx3-ubyte").write_bytes(head + pixels.tobytes())


def test_digits_are_split_and_centred_on_the_training_part(tmp_path: Path) -> None:
    write_digits(tmp_path)
    digits = load_digits(tmp_path)
    assert digits.training.shape == (9000, 784) and digits.held_out.shape == (1000, 784)
    assert float(digits.training.mean(0).abs().max()) < 1e-5


def test_other_digits_are_refused(tmp_path: Path) -> None:
    write_digits(tmp_path, 10)
    with pytest.raises(UsageError, match="is not 10,000 digits"):
        load_digits(tmp_path)


def test_the_command_says_which_file_is_missing(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="needs matplotlib (extra `eval`)")
    line = ["study", "collapse", str(tmp_path / "out"), "--mnist", str(tmp_path)]
    outcome = CliRunner().invoke(app, line)
    assert outcome.exit_code == 2 and "t10k-images-idx3-ubyte(.gz) is not there" in outcome.stderr
    assert not (tmp_path / "out").exists()


def test_the_water_level_of_the_codec_is_close_to_the_error_of_rounding() -> None:
    cfg = ModelConfig()
    for quality in (0.0, 50.0, 100.0):
        step = cfg.step(round(4 * quality))
        assert level(cfg, quality) == pytest.approx(step**2 / 12, rel=0.05)


def test_flat_photos_need_no_channel_and_noise_needs_all() -> None:
    cfg = ModelConfig()
    flat, rough = torch.full((3, 64, 64), 128), torch.randint(0, 256, (3, 64, 64))
    assert expected_share(cfg, [flat], 90.0) == [0.0] * 7
    assert expected_share(cfg, [rough], 90.0) == [1.0] * 7


def test_the_theory_page_is_written_from_its_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(__file__).parent.parent)
    words = page.PAGE.read_text(encoding="utf-8")
    assert words == page.filled(words)
    assert words.count("<!-- end -->") == 3
