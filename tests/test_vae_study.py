"""The study: loaders, estimators, similarity, attacks, and a whole study on noise."""

from __future__ import annotations

import gzip
import io
import json
import pickle
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dctcodec.data.cifar10 import TEST, TRAIN, read_cifar10
from dctcodec.data.idx import read_idx_images
from dctcodec.data.omniglot import drawer, read_omniglot
from dctcodec.data.photo32 import patches, read_photo32
from dctcodec.eval.vae_study.attack import AttackConfig, attacked, robustness
from dctcodec.eval.vae_study.estimators import between_variance, importance_bound, measure
from dctcodec.eval.vae_study.report import filled, read_rows, tables, write_report
from dctcodec.eval.vae_study.sets import mnist, omniglot
from dctcodec.eval.vae_study.similarity import small_ms_ssim, ssim_parts
from dctcodec.eval.vae_study.study import Job, MeasureConfig, plan, study
from dctcodec.models.vae.config import Arm, DiffusionConfig, ScaleConfig, TrainConfig, VaeConfig
from dctcodec.models.vae.hierarchy import Hierarchy
from dctcodec.models.vae.match import matched

TINY = VaeConfig(
    context_size=4,
    context_levels=3,
    scales=(ScaleConfig(side=4, layers=1, width=1), ScaleConfig(side=7, layers=1, width=1)),
    features=8,
    hidden=4,
    patch=4,
    stem_blocks=0,
    shared_features=True,
    diffusion=DiffusionConfig(steps=3, channels=4, blocks=1),
)


def idx_bytes(pixels: np.ndarray) -> bytes:
    head = b"\x00\x00\x08\x03" + b"".join(n.to_bytes(4, "big") for n in pixels.shape)
    return head + pixels.astype(np.uint8).tobytes()


def digits(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 28, 28), dtype=np.uint8)


@pytest.mark.parametrize("packed", [False, True])
def test_idx_files_are_read_plain_and_packed(tmp_path: Path, packed: bool) -> None:
    pixels = digits(3)
    data = idx_bytes(pixels)
    path = tmp_path / ("a.gz" if packed else "a")
    path.write_bytes(gzip.compress(data) if packed else data)
    assert np.array_equal(read_idx_images(path), pixels)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "no IDX file"),
        (b"\x00\x00\x08\x01" + bytes(20), "no IDX file"),
        (idx_bytes(digits(2))[:-1], "1567 are there"),
        (b"\x1f\x8b\x00", "damaged gzip"),
    ],
)
def test_a_damaged_idx_file_is_refused(tmp_path: Path, data: bytes, words: str) -> None:
    (tmp_path / "x").write_bytes(data)
    with pytest.raises(ValueError, match=words):
        read_idx_images(tmp_path / "x")


def test_test_digits_alone_are_split_and_named_so(tmp_path: Path) -> None:
    (tmp_path / "t10k-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx_bytes(digits(20))))
    data = mnist(tmp_path)
    assert (len(data.train), len(data.test)) == (18, 2)
    assert "20 test digits" in data.label
    (tmp_path / "train-images-idx3-ubyte").write_bytes(idx_bytes(digits(30)))
    assert len(mnist(tmp_path).train) == 30


def character(seed: int) -> bytes:
    ink = np.random.default_rng(seed).random((105, 105)) < 0.1
    out = io.BytesIO()
    Image.fromarray(~ink).save(out, "png")
    return out.getvalue()


def test_omniglot_is_read_from_zips_and_folders_once_each(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "one.zip", "w") as pack:
        for who in (1, 19, 20):
            pack.writestr(f"one/Greek/character01/0394_{who:02}.png", character(who))
    folder = tmp_path / "two/Greek/character01"
    folder.mkdir(parents=True)
    (folder / "0394_01.png").write_bytes(character(1))
    (folder / "0394_02.png").write_bytes(character(2))
    pictures, names = read_omniglot(tmp_path)
    assert pictures.shape == (4, 28, 28)
    assert [drawer(n) for n in names] == [1, 2, 19, 20]
    assert 0.05 < pictures.mean() / 255 < 0.15  # ink is bright
    data = omniglot(tmp_path)
    assert (len(data.train), len(data.test)) == (2, 2)


def test_a_folder_without_omniglot_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no PNG files"):
        read_omniglot(tmp_path)
    (tmp_path / "x.zip").write_bytes(b"no zip")
    with pytest.raises(ValueError, match="neither a folder nor a zip"):
        read_omniglot(tmp_path)


def batch_bytes(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (2, 3072), dtype=np.uint8)
    return pickle.dumps({b"data": pixels, b"labels": [0, 1]}, protocol=2)


def test_cifar10_batches_are_read(tmp_path: Path) -> None:
    for i, name in enumerate(TRAIN + TEST):
        (tmp_path / name).write_bytes(batch_bytes(i))
    train, test = read_cifar10(tmp_path)
    assert train.shape == (10, 3, 32, 32)
    assert test.shape == (2, 3, 32, 32)
    expected = np.random.default_rng(0).integers(0, 256, (2, 3072), dtype=np.uint8)
    assert np.array_equal(train[:2].reshape(2, -1), expected)


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str, ...]]:
        import os

        return os.system, ("true",)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (pickle.dumps(Evil()), "has no place"),
        (b"nothing", "no CIFAR-10 batch"),
        (pickle.dumps({b"data": np.zeros((1, 5), np.uint8)}, protocol=2), "rows of 5 bytes"),
    ],
)
def test_a_batch_that_is_none_is_refused(tmp_path: Path, data: bytes, words: str) -> None:
    for i, name in enumerate(TRAIN + TEST):
        (tmp_path / name).write_bytes(batch_bytes(i))
    (tmp_path / TEST[0]).write_bytes(data)
    with pytest.raises(ValueError, match=words):
        read_cifar10(tmp_path)
    (tmp_path / TRAIN[0]).unlink()
    with pytest.raises(ValueError, match="data_batch_1 not found"):
        read_cifar10(tmp_path)


def test_patches_tile_the_downscaled_photo(tmp_path: Path) -> None:
    photo = np.random.default_rng(0).integers(0, 256, (300, 140, 3), dtype=np.uint8)
    cut = patches(photo)
    assert cut.shape == (2, 3, 32, 32)
    mean = photo[:128, :128].reshape(32, 4, 32, 4, 3).mean((1, 3))
    assert np.abs(cut[0].transpose(1, 2, 0) - mean).max() <= 1
    for i in range(4):
        Image.fromarray(photo).save(tmp_path / f"{i}.png")
    train, test = read_photo32([tmp_path], every=4)
    assert (len(train), len(test)) == (6, 2)
    with pytest.raises(ValueError, match="too few"):
        read_photo32([tmp_path])


def test_the_importance_weighted_bound_finds_the_likelihood_of_a_linear_gaussian_model() -> None:
    """z ~ N(0, I), x = W z + noise; q is the exact posterior, widened and moved."""
    torch.manual_seed(0)
    w, noise = torch.randn(5, 2, dtype=torch.float64), 0.7
    x = (
        torch.randn(20, 5, dtype=torch.float64)
        @ torch.linalg.cholesky(w @ w.T + noise**2 * torch.eye(5)).T
    )
    marginal = torch.distributions.MultivariateNormal(
        torch.zeros(5, dtype=torch.float64), w @ w.T + noise**2 * torch.eye(5)
    )
    exact = marginal.log_prob(x)
    covariance = torch.linalg.inv(torch.eye(2) + w.T @ w / noise**2)
    mean = x @ w @ covariance.T / noise**2
    scale = 1.3 * torch.linalg.cholesky(covariance)
    q = torch.distributions.MultivariateNormal(mean + 0.1, scale_tril=scale)

    def draw() -> torch.Tensor:
        z = q.sample()
        prior = torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(1)
        given = torch.distributions.Normal(z @ w.T, noise).log_prob(x).sum(1)
        weight: torch.Tensor = prior + given - q.log_prob(z)
        return weight

    bounds = [
        torch.stack([importance_bound(draw, s) for _ in range(1000 // s)]) for s in (1, 10, 500)
    ]
    gaps = [float((exact - b.mean(0)).mean()) for b in bounds]
    assert gaps[0] > gaps[1] > gaps[2] > -0.01
    assert gaps[2] < 0.01
    elbo_gap = torch.distributions.kl_divergence(
        q, torch.distributions.MultivariateNormal(mean, covariance)
    )
    assert gaps[0] == pytest.approx(float(elbo_gap.mean()), abs=0.05)


def test_noise_of_few_paths_is_no_activity() -> None:
    torch.manual_seed(0)
    signal = torch.tensor([0.0, 1.0]) * torch.randn(4000, 2)
    means = signal + 0.5 * torch.randn(4, 4000, 2)
    assert between_variance(means).tolist() == pytest.approx([0.0, 1.0], abs=0.06)


@pytest.mark.parametrize("arm", ["dct", "baseline"])
def test_a_models_measures_fit_together(arm: Arm) -> None:
    torch.manual_seed(0)
    model = Hierarchy(matched(TINY, arm))
    x = torch.rand(40, 1, 28, 28).round()
    model.fit(x)
    found = measure(model, x, 20, passes=3, part=16)
    assert len(found.kl) == len(found.units) == len(found.active) == 3
    assert found.units == [16, 16, 49]  # 4x4 symbols or a latent of 4x4 at the top
    assert found.elbo == pytest.approx(found.distortion + sum(found.kl), rel=1e-5)
    assert found.nll < found.elbo
    assert (found.context_nll == 0) == (arm == "baseline")


def test_ssim_is_that_of_a_known_library() -> None:
    library = pytest.importorskip("pytorch_msssim", reason="needs pytorch-msssim (extra `eval`)")
    torch.manual_seed(0)
    a = torch.rand(3, 1, 28, 28)
    b = (a + 0.2 * torch.rand_like(a)).clamp(0, 1)
    theirs = library.ssim(a, b, data_range=1, win_size=7, size_average=False)
    assert torch.allclose(ssim_parts(a, b)[0].mean(1), theirs, atol=1e-5)


def test_small_ms_ssim_is_one_for_equal_pictures_and_falls_with_noise() -> None:
    torch.manual_seed(0)
    a = torch.rand(3, 3, 32, 32)
    assert torch.allclose(small_ms_ssim(a, a), torch.ones(3), atol=1e-5)
    noisy = [small_ms_ssim(a, (a + s * torch.randn_like(a)).clamp(0, 1)).mean() for s in (0.1, 0.5)]
    assert 1 > noisy[0] > noisy[1] >= 0
    with pytest.raises(ValueError, match="below 28"):
        small_ms_ssim(a[..., :27], a[..., :27])


@pytest.mark.parametrize("arm", ["dct", "baseline"])
def test_an_attack_stays_within_its_bound_and_moves_the_latents(arm: Arm) -> None:
    from dctcodec.eval.vae_study.attack import _distance, _posteriors

    torch.manual_seed(0)
    model = Hierarchy(matched(TINY, arm))
    x = torch.rand(4, 1, 28, 28).round()
    model.fit(x)
    cfg = AttackConfig(points=4, starts=2, bound=0.1, steps=5)
    for layers in (1, 2, 3):
        bad = attacked(model, x, layers, cfg)
        assert float((bad - x).abs().max()) <= cfg.bound + 1e-6
        assert bad.min() >= 0 and bad.max() <= 1
        start = attacked(model, x, layers, replace(cfg, steps=1, bound=1e-4))
        with torch.no_grad():
            clean = _posteriors(model, x, layers)
            assert _distance(model, bad, clean).mean() > _distance(model, start, clean).mean()
    found = robustness(model, x, cfg)
    assert len(found.whole) == len(found.top) == 3
    assert all(w <= m + 1e-6 for w, m in zip(found.worst, found.whole, strict=True))
    assert all(p.requires_grad for p in model.parameters())


def small_jobs() -> list[Job]:
    measuring = MeasureConfig(
        pictures=6, samples=2, attack=AttackConfig(points=2, starts=2, steps=1)
    )
    jobs = plan(["mnist"], seeds=2, sizes=(2,), steps=2, measuring=measuring)
    training = TrainConfig(steps=2, batch=4)
    return [
        replace(
            j,
            train=training,
            vae=replace(matched(TINY, j.vae.arm), context_size=2 if j.sweep else 4),
        )
        for j in jobs
    ]


def test_a_study_goes_on_where_it_was_stopped_and_ends_in_tables(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="needs matplotlib (extra `eval`)")
    (tmp_path / "t10k-images-idx3-ubyte").write_bytes(idx_bytes(digits(80)))
    jobs, folders, out = small_jobs(), {"mnist": (tmp_path,)}, tmp_path / "out"
    first = study(jobs[:3], folders, out / "runs")  # type: ignore[arg-type]
    seen: list[int] = []
    rows = study(jobs, folders, out / "runs", report=lambda n, _: seen.append(n))  # type: ignore[arg-type]
    assert seen == list(range(1, 8))
    assert json.loads(json.dumps(first)) == rows[:3]  # read, not run again
    assert not list(out.rglob("*.part"))
    text = write_report(rows, out)
    for words in ("80 test digits", "DCT context", "baseline", "S = 2", "m = 3"):
        assert words in text
    names = {p.stem for p in (out / "figures").glob("*.png")}
    assert names == {
        "vae-kl",
        "vae-robustness",
        "vae-context-size",
        "vae-reconstructions-mnist",
        "vae-samples-mnist",
    }


def test_the_command_runs_a_study_and_prints_its_tables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib", reason="needs matplotlib (extra `eval`)")
    from typer.testing import CliRunner

    from dctcodec.codec.cli import app
    from dctcodec.eval.vae_study import study as module

    (tmp_path / "t10k-images-idx3-ubyte").write_bytes(idx_bytes(digits(80)))
    monkeypatch.setattr(module, "plan", lambda *_, **__: small_jobs()[:3])
    out = str(tmp_path / "out")
    args = ["study", "vae", out, "--mnist", str(tmp_path), "--processes", "1"]
    done = CliRunner().invoke(app, args)
    assert done.exit_code == 0, done.output
    assert "| mnist | DCT context |" in done.stdout
    assert "3/3 mnist baseline" in done.stderr


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ([], "name a data set"),
        (["--mnist", "."], "no t10k-images"),
        (["--mnist", ".", "--sizes", "2,x"], "--sizes '2,x'"),
        (["--photos", ".", "--preset", "paper"], "have none for 'photo32'"),
    ],
)
def test_a_study_that_cannot_be_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, args: list[str], words: str
) -> None:
    from typer.testing import CliRunner

    from dctcodec.codec.cli import app

    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["study", "vae", "out", *args])
    assert done.exit_code == 2
    assert words in done.stderr
    assert len(done.stderr.strip().splitlines()) <= 2


def test_a_pages_tables_are_those_of_its_rows() -> None:
    docs = Path(__file__).parents[1] / "docs"
    path = docs / "results" / "vae_study.jsonl"
    if not path.exists():
        pytest.skip("the study's rows are not there")
    longer = path.with_name("vae_study_longer.jsonl")
    more = read_rows(longer) if longer.exists() else []
    page = (docs / "science.md").read_text()
    assert filled(page, tables(read_rows(path), more)) == page


def test_a_table_is_filled_between_its_markers() -> None:
    page = "a\n<!-- table: x -->\nold\n<!-- end -->\nb"
    assert filled(page, {"x": "new"}) == "a\n<!-- table: x -->\nnew\n<!-- end -->\nb"
    assert filled(filled(page, {"x": "new"}), {"x": "new"}).count("new") == 1
