"""Levels of encoder effort: what they choose differs, the decoder does not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

import dctcodec
from dctcodec.codec.api import decode_picture, encode_picture
from dctcodec.codec.cli import app
from dctcodec.codec.effort import ITERATIONS, Effort
from dctcodec.codec.errors import UsageError
from dctcodec.codec.pictures import load
from dctcodec.models.config import DISTORTION_WEIGHT, FRUGALITY
from dctcodec.models.fakequant import FakeConv
from dctcodec.models.search import (
    SearchConfig,
    between_neighbours,
    search,
    searchable,
    table_bits,
    table_costs,
)
from dctcodec.models.weights import default

Pixels = npt.NDArray[np.uint8]


def total_cost(pixels: Pixels, data: bytes, quality: float) -> float:
    """Bits of the file and the bits that its squared error is worth."""
    drawn = decode_picture(data).picture.pixels.astype(float)
    step = default().cfg.step(round(quality * 4))
    return 8 * len(data) + float(((drawn - pixels) ** 2).sum()) / (DISTORTION_WEIGHT * step**2)


@pytest.mark.parametrize("level", [-1, 10])
def test_levels_that_there_are_not(photo: Pixels, level: int) -> None:
    with pytest.raises(UsageError, match=r"effort -?\d+ is not in 0…9"):
        Effort(level)
    with pytest.raises(UsageError):
        encode_picture(load(photo), 40, effort=level)


def test_more_effort_means_more_iterations() -> None:
    assert list(ITERATIONS) == sorted(ITERATIONS)
    assert [Effort(n).iterations > 0 for n in (0, 1, 2, 9)] == [False, False, True, True]


@pytest.mark.parametrize("tile", [1024, 64])
def test_a_search_costs_no_more_than_the_greedy_choice(photo: Pixels, tile: int) -> None:
    crop = np.ascontiguousarray(photo[:100, :120])
    files = [
        encode_picture(load(crop), 40, effort=e, tile=tile, frugality=f).data
        for e, f in ((0, 0.0), (0, FRUGALITY), (5, FRUGALITY))
    ]
    plain, greedy, found = (total_cost(crop, f, 40) for f in files)
    assert greedy < plain
    # each tile is weighed by itself, so seams may take back a little
    assert found <= greedy * (1 if tile == 1024 else 1.02)
    assert files[2] != files[1]


def test_a_search_gives_the_same_file_again(photo: Pixels) -> None:
    crop = np.ascontiguousarray(photo[:64, :64])
    once, again = (encode_picture(load(crop), 40, effort=2).data for _ in range(2))
    assert once == again


def test_left_out_layers_are_not_searched(photo: Pixels) -> None:
    crop = load(np.ascontiguousarray(photo[:64, :64]))
    assert (
        encode_picture(crop, 40, layers=2, effort=9).data == encode_picture(crop, 40, layers=2).data
    )


def test_effort_from_python_and_the_command_line(photo: Pixels, tmp_path: Path) -> None:
    source, out = tmp_path / "a.png", tmp_path / "a.dctc"
    Image.fromarray(photo[:64, :64]).save(source)
    done = CliRunner().invoke(app, ["encode", str(source), "-q", "40", "-e", "2", "-o", str(out)])
    assert done.exit_code == 0, done.output
    assert out.read_bytes() == dctcodec.encode(source, 40, effort=2)
    assert dctcodec.encode(source, 40, effort=0) == dctcodec.encode(source, 40)
    failed = CliRunner().invoke(app, ["encode", str(source), "-e", "12", "--force"])
    assert failed.exit_code and "effort 12 is not in 0…9" in failed.output


def test_draws_lie_between_neighbours_and_settle_on_the_nearest() -> None:
    v = torch.tensor([0.1, -0.3, 1.8, 2.45]).repeat(400, 1).requires_grad_()
    generator = torch.Generator().manual_seed(0)
    warm = between_neighbours(v, 0.5, generator)
    assert ((warm >= v.floor()) & (warm <= v.floor() + 1)).all()
    warm.sum().backward()
    assert v.grad is not None and (v.grad != 0).any()
    cold = between_neighbours(v.detach(), 0.02, generator).mean(0)
    assert torch.allclose(cold, torch.tensor([0.0, 0.0, 2.0, 2.0]), atol=0.05)


def test_large_pictures_are_searched_window_by_window(photo: Pixels) -> None:
    stored = default()
    model, cfg = searchable(stored), SearchConfig(iterations=2, window=64)
    x = torch.from_numpy(photo[:64, :96].copy()).permute(2, 0, 1)[None].float()
    c = torch.zeros(1, stored.cfg.context_channels, 2, 3)
    torch.manual_seed(0)  # real-valued: a latent that is whole lies on a corner, without a slope
    start = [torch.randn(1, p.channels, 64 // p.stride, 96 // p.stride) for p in stored.cfg.parts]
    costs = table_costs(stored)
    whole = search(model, costs, x, 160, c, start, cfg)
    cut = [64 // p.stride for p in stored.cfg.parts]
    corner = [y[..., :n] for y, n in zip(start, cut, strict=True)]
    left = search(model, costs, x[..., :64], 160, c[..., :2], corner, cfg)
    for y, z, n in zip(whole, left, cut, strict=True):
        assert y.shape[3] * 64 == n * 96 and torch.equal(y[..., :n], z)
        assert (y[..., n:] != 0).any()


def test_stored_weights_need_no_rounding() -> None:
    for conv in searchable(default()).prior.convs.values():
        assert isinstance(conv, FakeConv) and conv.rounded
        channels = conv.weight.shape[1] * (conv.weight.shape[0] if conv.spec.depthwise else 1)
        x = torch.ones(1, channels, 3, 3)
        as_stored = conv(x, True)
        conv.rounded = False
        again = conv(x, True)
        conv.rounded = True
        assert torch.equal(as_stored, again), conv.spec.name


def test_prices_between_symbols_and_indices_are_interpolated() -> None:
    stored = default()
    costs, skip = table_costs(stored), stored.tables.skip_below
    symbols = torch.tensor([0.0, -3.0, 2.5, 1.0, 4.0], requires_grad=True)
    index = torch.tensor([20.0, 30.0, 40.0, 30.5, 70.0], requires_grad=True)
    bits = table_bits(costs, symbols, index)
    wanted = [costs[20, 0], costs[30, 3], costs[40, 2:4].mean(), costs[30:32, 1].mean()]
    assert torch.allclose(bits.detach(), torch.stack([*wanted, costs[63, 4]]))
    bits.sum().backward()
    assert symbols.grad is not None and index.grad is not None
    assert float(symbols.grad[1]) == pytest.approx(float(costs[30, 3] - costs[30, 4]), rel=1e-4)
    assert float(index.grad[3]) == pytest.approx(float(costs[31, 1] - costs[30, 1]), rel=1e-4)
    # a symbol that is never coded has a price, so that the search does not take it for free
    assert (costs[:skip] == costs[skip]).all() and float(costs[0, 1]) > float(costs[0, 0])
