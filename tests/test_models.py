"""The model: integer path against its float twin, schedules, bounds, transforms, training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from dctcodec.models import weights
from dctcodec.models.config import ModelConfig, PartConfig
from dctcodec.models.cost import cost_table
from dctcodec.models.export import arrays_of, default_tables, export, parameters_of
from dctcodec.models.fakequant import FakeConv, FakeQuantOps
from dctcodec.models.integer import BOUND, BoundError, NumpyOps, StoredConv, StoredPrior
from dctcodec.models.integer_torch import TorchOps
from dctcodec.models.model import CodecModel, Learn
from dctcodec.models.schedule import SCHEDULES, context_order
from dctcodec.models.topology import ConvSpec
from dctcodec.models.train import State, TrainConfig, loss_of, train
from dctcodec.models.transforms import block_basis, context_basis, inverse_context

SMALL = ModelConfig(
    context_width=16,
    context_steps=6,
    prior_width_16=16,
    prior_width_8=16,
    analysis_width_4=8,
    analysis_width_8=16,
    analysis_width_16=16,
    synthesis_width_8=16,
    synthesis_width_4=8,
    parts=(
        PartConfig(layer=1, stride=16, low=0, high=4, colours=(0, 1, 2), blocks=1),
        PartConfig(layer=2, stride=8, low=2, high=4, colours=(0, 1, 2), blocks=1),
    ),
)


def photos(count: int = 3, side: int = 96) -> list[torch.Tensor]:
    g = torch.Generator().manual_seed(3)
    coarse = torch.rand(count, 3, 6, 6, generator=g) * 255
    smooth = torch.nn.functional.interpolate(coarse, side, mode="bicubic").clamp(0, 255)
    return [p.to(torch.uint8) for p in smooth]


def test_block_bases_are_orthonormal() -> None:
    for n, high in ((8, 8), (16, 4)):
        basis = block_basis(n, [(u, v) for u in range(high) for v in range(high)])
        gram = basis.reshape(len(basis), -1) @ basis.reshape(len(basis), -1).T
        assert np.allclose(gram, np.eye(len(basis)), atol=1e-5)


def test_the_fast_inverse_context_is_the_sum_of_basis_pictures() -> None:
    c = np.random.default_rng(0).normal(0, 50, (48, 2, 3)).astype(np.float32)
    basis = context_basis(32, 4)
    slow = np.einsum("cij,cpab->piajb", c, basis).reshape(3, 64, 96) + 128
    assert np.allclose(inverse_context(c, 32, 4), slow, atol=1e-2)


@pytest.mark.parametrize("steps", SCHEDULES)
def test_every_context_symbol_has_one_step(steps: int) -> None:
    order = context_order(4, steps, 5, 6)
    assert order.shape == (48, 5, 6)
    assert sorted(set(order.ravel().tolist())) == list(range(steps))


def test_a_configuration_is_read_back_equal_and_cannot_be_wrong() -> None:
    assert ModelConfig.from_json(SMALL.to_json()) == SMALL
    with pytest.raises(ValueError, match="stride"):
        PartConfig(layer=1, stride=4, low=0, high=2, colours=(0,))
    with pytest.raises(ValueError, match="layers"):
        ModelConfig(parts=(PartConfig(layer=2, stride=8, low=0, high=2, colours=(0,)),))


def test_a_convolution_that_could_leave_24_bits_is_refused() -> None:
    spec = ConvSpec("x", 600, 1)
    conv = StoredConv(
        spec,
        np.full((1, 600, 1, 1), 127, np.int8),
        np.zeros(1, np.int8),
        np.zeros((9, 1), np.int32),
    )
    assert BOUND <= 600 * 127 * 255
    with pytest.raises(BoundError, match="x: sums may reach"):
        conv.check()


def test_the_released_weights_are_small_and_within_the_bound() -> None:
    stored = weights.default()
    assert stored.path.stat().st_size <= 25_000_000
    for conv in stored.prior.convs.values():
        conv.check()
    assert cost_table(stored.cfg)["decoder"] <= 20


def test_damaged_weights_are_refused(tmp_path: Path) -> None:
    stored = weights.default()
    arrays = weights.read_tensors(stored.path, lambda _: True)
    arrays["state.mix.weight"][3, 1, 0, 2] ^= 1
    bad = tmp_path / "bad.safetensors"
    save_file(arrays, bad, dict(stored.metadata))
    with pytest.raises(weights.WeightsError, match="does not match its hash"):
        weights.load(bad)
    bad.write_bytes(stored.path.read_bytes()[:-1])
    with pytest.raises(weights.WeightsError, match=r"bad\.safetensors"):
        weights.load(bad)


def test_the_integer_path_follows_its_float_twin() -> None:
    """Means and indices of training's fake quantisation against the exact executor.

    Sums of a training step are rounded by floats, so single values may fall on the other side of
    a rounding; nearly all must be equal.
    """
    torch.manual_seed(5)
    model = CodecModel(SMALL).eval()
    x = torch.stack(photos()).float()
    model.initialise_scales(x)
    for conv in model.prior.convs.values():
        assert isinstance(conv, FakeConv)
        if conv.spec.head:
            torch.nn.init.normal_(conv.weight, 0, 0.05)
    prior = StoredPrior.from_arrays(SMALL, arrays_of(model, default_tables()))
    from dctcodec.models.networks import knot_weights, step_tensor
    from dctcodec.models.topology import walk

    q = torch.tensor([130])
    c = torch.round(torch.randn(1, SMALL.context_channels, 3, 3) * 3)
    found: dict[str, list[torch.Tensor]] = {"float": [], "integer": []}

    def recorder(name: str, sixteenths: bool):  # type: ignore[no-untyped-def]
        def code(part: int, half: int, mean: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
            m = mean if sixteenths else mean * 16
            found[name] += [m.detach().clone(), index.detach().clone()]
            return torch.zeros_like(mean)

        return code

    with torch.no_grad():
        walk(FakeQuantOps(model.prior, knot_weights(q), step_tensor(SMALL, q)), SMALL, c,
             recorder("float", False))  # fmt: skip
    walk(TorchOps(prior, 130), SMALL, c, recorder("integer", True))
    for a, b in zip(found["float"], found["integer"], strict=True):
        assert float(((a - b).abs() <= 1).float().mean()) > 0.99
        assert float((a - b).abs().max()) <= 6


@pytest.mark.parametrize("settled", [0, 0.8, 0.3])
def test_training_learns_resumes_exactly_and_exports(tmp_path: Path, settled: float) -> None:
    """Also where the encoder's own choices begin before or after the interruption."""
    cfg = TrainConfig(steps=6, batch=2, crop=64, bf16=False, report_every=1, drop=0.3, seed=1,
                      settled=settled)  # fmt: skip
    cpu = torch.device("cpu")
    whole = train(SMALL, cfg, photos(), photos(1), tmp_path / "a", cpu)
    # stop after three steps, go on later
    state = interrupted(tmp_path / "b", cfg, after=3)
    assert state.step == 3
    resumed = train(SMALL, cfg, photos(), photos(1), tmp_path / "b", cpu)
    for k, v in whole.model.state_dict().items():
        assert torch.equal(v, resumed.model.state_dict()[k]), k
    assert whole.history[0]["loss"] > 0 and "validation" in whole.history[-1]
    out = tmp_path / "small.safetensors"
    export(whole.average, CodecModel(SMALL), out, name="small")
    stored = weights.load(out)
    from dctcodec.models.known_answer import QUALITY_INDEX, known_answer

    assert known_answer(NumpyOps(stored.prior, QUALITY_INDEX), SMALL) == stored.known_answer
    assert known_answer(TorchOps(stored.prior, QUALITY_INDEX), SMALL) == stored.known_answer


def test_symbols_are_chosen_in_training_as_the_encoder_chooses_them() -> None:
    """The trainer's choice and the encoder's agree where their costs do; zero costs little."""
    from dctcodec.models import scales

    v = torch.linspace(-4, 4, 161)[None, None, None]
    index = torch.full_like(v, 20.0)
    plain = scales.thrifty(v, index, torch.ones_like(v), 0)
    assert torch.equal(plain, v.round())
    some = scales.thrifty(v, index, torch.full_like(v, 8.0), 0.5)
    assert ((some.abs() == plain.abs()) | (some.abs() == plain.abs() - 1)).all()
    assert (some.abs() < plain.abs()).any() and (some == plain).any()
    assert (scales.thrifty(v, index, torch.full_like(v, 1e6), 0.5) == plain).float().mean() > 0.9


def test_the_encoder_counts_bits_as_training_does() -> None:
    from dctcodec.codec.api import choice_costs
    from dctcodec.codec.engine import PictureSource
    from dctcodec.models import scales
    from dctcodec.models.scale_grid import SCALES

    index = torch.arange(SCALES)[:, None].expand(-1, 12)
    sizes = torch.arange(12.0).expand(SCALES, -1)
    bits = scales.logistic_bits(sizes.double(), index.double())
    assert np.allclose(choice_costs()[:, :12], bits.numpy(), rtol=1e-4)
    source = object.__new__(PictureSource)
    source.frugality, source.costs = 0.4, choice_costs()
    v = torch.from_numpy(np.random.default_rng(0).logistic(0, 2, (SCALES, 500)).astype(np.float32))
    index, weight = torch.arange(SCALES)[:, None].expand(-1, 500), np.full(v.shape, 8, np.float32)
    mine = source._choose(v.numpy(), index.numpy().astype(np.int32), weight)
    trained = scales.thrifty(v, index.float(), torch.from_numpy(weight), 0.4)
    assert (mine == trained.numpy()).mean() > 0.9999


def test_slopes_of_chosen_symbols_are_those_of_the_cost_under_a_shift() -> None:
    """Bits and squared error together: what half a symbol to either side would cost."""
    from dctcodec.models import scales

    torch.manual_seed(0)
    v = (3 * torch.randn(400)).requires_grad_()
    index, weight, target = torch.full((400,), 18.0), torch.tensor(3.0), v.detach() + 0.2

    def cost(k: torch.Tensor) -> torch.Tensor:
        return scales.logistic_bits(k, index) + weight * (target - k) ** 2

    k, bits = scales.chosen_symbols(v, index, weight, 0.4)
    assert torch.equal(k.detach(), scales.thrifty(v, index, weight, 0.4))
    assert torch.equal(bits.detach(), scales.logistic_bits(k.detach(), index))
    (bits + weight * (target - k) ** 2).sum().backward()
    up, down = (scales.thrifty(v + d, index, weight, 0.4) for d in (0.5, -0.5))
    assert v.grad is not None
    assert torch.allclose(v.grad, (cost(up) - cost(down)).detach(), atol=1e-3)
    still = (up == 0) & (down == 0)
    assert still.any() and (v.grad[still] == 0).all()


@pytest.mark.slow
def test_compiled_chains_change_nothing() -> None:
    """Loss and gradients with fused element-wise operations and without."""
    torch.manual_seed(13)
    plain = CodecModel(SMALL)
    x, q = torch.stack(photos(2, 64)).float(), torch.tensor([40, 300])
    plain.initialise_scales(x)
    fused = CodecModel(SMALL, fuse=True)
    fused.load_state_dict(plain.state_dict())
    losses = []
    for model in (plain, fused):
        torch.manual_seed(14)
        cfg, last = TrainConfig(bf16=False), torch.full((2,), SMALL.layers)
        losses.append(loss_of(model, cfg, x, q, last, True, True)[0])
        losses[-1].backward()
    assert torch.allclose(losses[0], losses[1], rtol=1e-5)
    for (k, a), b in zip(plain.named_parameters(), fused.parameters(), strict=True):
        if a.grad is not None:
            assert b.grad is not None and torch.allclose(a.grad, b.grad, rtol=1e-3, atol=1e-6), k


def test_all_but_the_gains_of_the_context_learns_from_chosen_symbols(tmp_path: Path) -> None:
    cfg = TrainConfig(steps=3, batch=2, crop=64, bf16=False, seed=1, settled=1, warm_up=1)
    first = CodecModel(SMALL)
    torch.manual_seed(3)
    export(first.state_dict(), first, tmp_path / "a.safetensors", name="small")
    began = parameters_of(weights.load(tmp_path / "a.safetensors"))
    done = train(SMALL, cfg, photos(), [], tmp_path / "b", torch.device("cpu"),
                 start=tmp_path / "a.safetensors")  # fmt: skip
    now = done.model.state_dict()
    changed = {k for k, v in now.items() if not torch.equal(v, began[k])}
    assert done.settled and any(k.startswith("analysis") for k in changed)
    assert {"log_gain", "log_inverse"} <= changed
    n = SMALL.context_channels
    assert torch.equal(now["log_gain"][:, :n], began["log_gain"][:, :n])


def test_a_run_does_not_go_on_with_another_optimiser(tmp_path: Path) -> None:
    cfg = TrainConfig(steps=1, batch=1, crop=64, bf16=False)
    train(SMALL, cfg, photos(), [], tmp_path, torch.device("cpu"))
    with pytest.raises(weights.WeightsError, match="begun with --optimiser muon"):
        train(SMALL, replace(cfg, steps=2, optimiser="soap"), photos(), [], tmp_path,
              torch.device("cpu"))  # fmt: skip


@pytest.mark.parametrize("bf16, float32", [(1.0, 2.0), (2.0, 1.0)])
def test_bfloat16_is_taken_where_it_is_faster(
    bf16: float, float32: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dctcodec.models import precision

    seconds = {torch.bfloat16: bf16, torch.float32: float32}
    monkeypatch.setattr(precision, "_seconds", lambda kind: seconds[kind])
    precision.bf16_pays.cache_clear()
    assert precision.bf16_pays("cpu") == (bf16 < float32)
    assert precision.bf16_pays("cuda")
    precision.bf16_pays.cache_clear()


def test_context_and_latents_can_learn_apart_from_chosen_symbols() -> None:
    """Their gradients together are those of learning everything at once."""
    torch.manual_seed(11)
    model = CodecModel(SMALL)
    x, q = torch.stack(photos(2, 64)).float(), torch.tensor([40, 300])
    model.initialise_scales(x)

    def gradients(learn: Learn) -> dict[str, torch.Tensor]:
        torch.manual_seed(12)  # the random mask of the order-agnostic bits
        model.zero_grad(set_to_none=True)
        cfg = TrainConfig(bf16=False, learn=learn)
        loss_of(model, cfg, x, q, torch.full((2,), SMALL.layers), True, True)[0].backward()
        return {k: p.grad for k, p in model.named_parameters() if p.grad is not None}

    whole, context, latents = (gradients(learn) for learn in ("all", "context", "latents"))
    assert all(k.startswith("prior.convs.context_") for k in context)
    shared = set(context) & set(latents)
    assert not shared and set(context) | set(latents) == set(whole)
    for k, g in whole.items():
        assert torch.allclose(g, (context | latents)[k], rtol=1e-4, atol=1e-7), k


def test_training_can_go_on_from_a_weights_file(tmp_path: Path) -> None:
    """Parameters read from a weights file store the same integers again."""
    torch.manual_seed(6)
    model = CodecModel(SMALL)
    model.initialise_scales(torch.stack(photos()).float())
    out = tmp_path / "small.safetensors"
    export(model.state_dict(), model, out, name="small")
    stored = weights.load(out)
    cfg, state = stored.cfg, parameters_of(stored)
    assert cfg == SMALL
    again = CodecModel(cfg)
    again.load_state_dict(state)
    first, second = (arrays_of(m, default_tables()) for m in (model, again))
    for name, value in first.items():
        if weights.is_prior(name) and not name.endswith("shift"):
            a = value.astype(np.float64)
            b = second[name].astype(np.float64)
            assert np.abs(a - b).max() <= 1e-3 * np.abs(a).max() + 1, name
    run = train(cfg, TrainConfig(steps=1, batch=1, crop=64, bf16=False), photos(), [],
                tmp_path / "run", torch.device("cpu"), start=out)  # fmt: skip
    assert run.step == 1


class _Stop(Exception):
    pass


def interrupted(out: Path, cfg: TrainConfig, after: int) -> State:
    """Train until `after` steps are done, saving at every step; then fall over."""

    def report(row: dict[str, object]) -> None:
        if row["step"] == after + 1:
            raise _Stop

    with pytest.raises(_Stop):
        train(SMALL, replace(cfg, save_every=0.0), photos(), photos(1), out, torch.device("cpu"),
              report=report)  # fmt: skip
    from dctcodec.models.optim import make_optimisers

    model = CodecModel(SMALL)
    state = State(
        model, {}, make_optimisers(model, cfg.optimiser, cfg.rate), np.random.default_rng()
    )
    state.load(out / "state.pt")
    return state
