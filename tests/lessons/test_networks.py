"""The parts of lessons that run on networks: what they measure is held against another way to measure it."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from pytorch_optimizer import Lion
from torch import nn
from torch.nn import functional

import lossatlas as la
from lossatlas.demo import digits, digits_mlp
from lossatlas.lessons import Check, Evidence, Part, spent
from lossatlas.lessons import _b5_adamw_decays_apart as _b5
from lossatlas.lessons import _b6_lion_steps_by_sign as _b6
from lossatlas.lessons import _b7_sophia_shampoo_muon as _b7
from lossatlas.lessons import _c6_adaptive_pays_if_ill_conditioned as _c6
from lossatlas.lessons import _c7_four_ways_out as _c7
from lossatlas.lessons import _d7_noise_leaves_basins as _d7
from lossatlas.lessons import _e3_components_show_the_path as _e3
from lossatlas.lessons import _network_basins as _basins
from lossatlas.lessons._lesson import meters_of
from lossatlas.optimize import optimizer
from lossatlas.probe import Gradients, Meter, Probe, Values
from lossatlas.surface import Block


def ended(rows):
    """The checks of an experiment, and what it ends with."""
    rows = list(rows)
    return SimpleNamespace(checks=[row for row in rows if isinstance(row, Check)], data=rows[-1].data)


@pytest.fixture
def small(monkeypatch):
    """Descents that are long enough to come down, and no longer."""
    monkeypatch.setattr(_basins, "EXAMPLES", 40)
    monkeypatch.setattr(_basins, "SETTLING", 150)
    return _basins.ground(4)


@pytest.mark.slow
def test_decay_apart_from_the_gradient_is_torchs_own():
    """Weights that no gradient reaches: our share against torch's AdamW on a weight whose gradient is zero."""
    part = ended(_b5._network(2, 0, 60))
    weight = nn.Parameter(torch.ones(5, dtype=torch.float64))
    theirs = torch.optim.AdamW([weight], lr=_b5.RATE, weight_decay=_b5.DECAY)
    for _ in range(60):
        weight.grad = torch.zeros_like(weight)
        theirs.step()
    kept = part.data["network"]["kept"]
    assert np.allclose(kept["adamw"], weight.detach().numpy()[0], atol=1e-12)
    assert kept["adam"] == [1.0, 1.0]
    # The coupled pull is normalized: a step of η from every weight, whatever λ is, so that most of them are gone.
    assert max(kept["adam + L2"]) < 0.5 < min(kept["adamw"])


@pytest.mark.slow
def test_a_decay_that_goes_through_the_gradient_is_found_out(monkeypatch):
    """AdamW in the place of Adam with L2: nothing is gone, and the two do not end apart."""
    monkeypatch.setattr(
        _b5, "TorchOptimizer", lambda kind, lr, weight_decay: optimizer("adamw", lr=lr, weight_decay=weight_decay)
    )
    holds = [check.holds for check in ended(_b5._network(2, 0, 60)).checks]
    assert holds == [True, False, False, False]


@pytest.mark.slow
def test_lions_bytes_are_those_of_another_lion():
    found = _b6._held("MLP", 2, 0)
    model = digits_mlp()
    theirs = Lion(model.parameters())
    functional.cross_entropy(model(digits("test")[0]), digits("test")[1]).backward()
    theirs.step()
    held = sum(v.numel() for state in theirs.state.values() for v in state.values() if torch.is_tensor(v) and v.ndim)
    assert found.numbers["lion"] == held / found.parameters == 1.0
    assert found.numbers["adam"] == found.theirs == 2.0


def test_lion_stands_still_only_where_there_is_no_gradient():
    """Weights on pixels that are dark in every image, and on units that are never alive."""
    found = _b6._held("MLP", 1, 0)
    x, _ = digits("test")
    dark = int((x.amax(0) == 0).sum())
    assert dark > 0 and found.gap < 1e-12
    assert 1 - found.moved[0] >= 64 * dark / found.parameters
    assert found.moved[0] > 0.5


def test_singular_values_of_steps_are_over_the_rate(monkeypatch):
    """Steps with known singular values come back over the rate."""
    monkeypatch.setitem(_b7.RATES, "muon", 0.5)
    block = Block("w", (3, 4), "linear", 0)
    q, _ = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64))
    r, _ = torch.linalg.qr(torch.randn(4, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64))
    step = 0.5 * q @ torch.diag(torch.tensor([0.4, 0.9, 1.2], dtype=torch.float64)) @ r[:3]
    found = _b7._singular(step.reshape(1, 1, -1), [block])
    assert found[0].tolist() == pytest.approx([1.2, 0.9, 0.4])


@pytest.mark.slow
def test_shampoo_on_a_kernel_with_another_root_is_another_rule(monkeypatch):
    monkeypatch.setattr(_b7, "KERNEL_STEPS", 2)
    right, shape, _ = _b7._kernel(1, 0)
    assert right < 1e-9 and len(shape) == 4
    power = _b7._power
    monkeypatch.setattr(_b7, "_power", lambda matrix, exponent: power(matrix, 2 * exponent))
    assert _b7._kernel(1, 0)[0] > 1e-3


@pytest.mark.slow
def test_barriers_are_those_of_connect(small):
    ends = _basins.settled(small, _basins.initial(small, 4, range(4))).final
    found, meter = _basins.heights(small, ends[:2], ends[2:])
    for k in range(2):
        line = la.connect(small, ends[k], ends[k + 2], resamples=0, progress=False)
        # Both read at their own t: the largest of either set is a lower bound of the same height.
        assert found[k] == pytest.approx(line.barrier, rel=0.02)
    assert meter.values == 2 * _basins.POINTS and found.max() > _basins.LEFT
    assert _basins.heights(small, ends[:1], ends[:1])[0][0] == pytest.approx(0, abs=1e-12)


@pytest.mark.slow
def test_settling_goes_down_and_full_batches_stay(small):
    begin = _basins.initial(small, 4, range(3))
    once = _basins.settled(small, begin)
    twice = _basins.settled(small, once.final)
    assert (once.loss[:, -1] < 0.6 * once.loss[:, 0]).all() and (twice.loss[:, -1] < once.loss[:, -1]).all()
    assert np.allclose(twice.loss[:, 0], once.loss[:, -1])


def test_a_dead_unit_has_no_gradient(small):
    """Units whose bias is far below zero, found by what they answer and by what the loss's gradient says of them."""
    points = _basins.initial(small, 4, range(3))
    points[:, 4 * 64 : 4 * 64 + 4] = 10.0
    points[1, 4 * 64 + 2] = -1e3
    points[2, 4 * 64 : 4 * 64 + 3] = -1e3
    assert _basins.dead(points, 4) == [0, 1, 3]
    slopes = Probe(small).evaluate(Gradients(points)).gradients[:, : 4 * 64].reshape(3, 4, 64).norm(dim=2)
    assert (slopes == 0).sum(1).tolist() == [0, 1, 3]


@pytest.mark.slow
def test_the_noise_of_mini_batches_has_its_known_size(small):
    """Of means without replacement: s² (1/b − 1/n), from the gradients of all examples. False alarm below 1e-6."""
    points = _basins.initial(small, 4, range(2))
    size, _ = _d7._noise(small, points, 0)
    x, y = (part[:40] for part in digits("train"))
    squares = []
    for point in points:
        rows = []
        for k in range(40):
            model = digits_mlp((4,)).double()
            nn.utils.vector_to_parameters(point, model.parameters())
            functional.cross_entropy(model(x[k : k + 1].double()), y[k : k + 1]).backward()
            rows.append(torch.cat([p.grad.reshape(-1) for p in model.parameters()]))
        variance = torch.stack(rows).var(0)
        squares.append(float(variance.mean()) * (1 / _d7.BATCH - 1 / 40))
    # 64 draws of a squared length of many coordinates: its deviation is well below a tenth of itself.
    assert size**2 == pytest.approx(np.mean(squares), rel=0.3)


def test_who_left_is_counted_by_the_barrier():
    stays = _d7.Outcome([0.0] * 16, [1.0] * 16, [1.0] * 16, [0.1] * 16, [0] * 16)
    leaves = replace(stays, barriers=[1.0] * 12 + [0.0] * 4, loss=[0.5] * 15 + [1.0])
    assert (stays.out, leaves.out) == (0, 12)
    assert all(c.holds for c in _d7._checks("n", {"mini-batch": leaves, "full batch": stays, "more": stays}))
    assert not any(c.holds for c in _d7._checks("n", {"mini-batch": stays, "full batch": stays, "more": leaves}))
    higher = replace(leaves, loss=[1.5] * 15 + [1.0])
    held = [c.holds for c in _d7._checks("n", {"mini-batch": higher, "full batch": stays, "more": leaves})]
    assert held == [True, False, False]


@pytest.mark.slow
def test_shares_on_the_plane_are_those_of_a_decomposition(monkeypatch):
    monkeypatch.setattr(_e3, "EPOCHS", 2)
    monkeypatch.setattr(_e3, "WIDTHS", (8,))
    kept = []
    torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    step = torch.optim.SGD.step  # by now with torch's hooks around it, which must not be put around it twice

    def noted(self, *args, **kwargs):
        def point():
            return torch.cat([p.detach().reshape(-1) for group in self.param_groups for p in group["params"]]).double()

        kept.append(point()) if not kept else None
        done = step(self, *args, **kwargs)
        kept.append(point())
        return done

    noted.hooked = True
    monkeypatch.setattr(torch.optim.SGD, "step", noted)
    made = _e3._recorded("SGD", 0, None)
    found = _e3._seen(made)
    last = len(kept) - 1
    steps = sorted({*range(0, last + 1, _e3.EVERY), last})
    rows = torch.stack([kept[k] for k in steps])
    squares = torch.linalg.svdvals(rows - rows[-1]).square()
    assert found.points == len(steps)
    assert found.share == pytest.approx(float(squares[:2].sum() / squares.sum()), abs=1e-5)
    assert 0 < found.off_start <= found.off_most <= 1


def test_random_walks_come_near_their_theory():
    """In this many dimensions the share varies by less than a percentage point from walk to walk."""
    shares = _e3._walks(2, 0, 30)
    lags = np.arange(30, 0.0, -1) - 1
    theory = np.linalg.eigvalsh(np.minimum.outer(lags, lags))[::-1]
    assert np.allclose(shares, theory[:2].sum() / theory.sum(), atol=0.03)


def test_a_path_like_a_random_walk_is_not_called_more_than_one():
    like = _e3.Seen(share=0.89, null=0.9, gap=2.0, off_start=0.1, off_most=0.9, points=30)
    holds = [c.holds for c in _e3._checks("it", [like, replace(like, share=0.91), replace(like, share=0.895)])]
    assert holds == [True, False, False]


def test_inputs_spread_as_they_should():
    for spread in (1.0, 1e4):
        surface = _c6._surface(spread, 0)
        assert surface.examples == _c6.EXAMPLES
        model = _c6._model(0)
        assert sum(p.numel() for p in model.parameters()) == surface.dimension
    x, _ = digits("train")
    centered = (x.double() - x.double().mean(0)).numpy()
    left = np.linalg.svd(centered, full_matrices=False)[0][:, : _c6.FEATURES] * np.sqrt(len(x))
    assert np.allclose(left.var(0), 1)


def test_the_first_step_at_the_target_is_counted():
    noisy = np.array([[2.0, 1.0, 0.05, 0.2], [2.0, 1.0, 0.9, 0.8]])
    made = la.network_race(
        la.NetworkSurface(digits_mlp((4,)), "cross_entropy", digits("test")),
        ["gd"],
        steps=2,
        runs=2,
        ends=0,
        progress=False,
    )
    assert _c6._first(replace(made.runners["gd"], noisy=noisy)).tolist() == [2.0, _c6.STEPS]


@pytest.mark.slow
def test_each_method_counts_at_its_soonest_rate(monkeypatch):
    """Among rates of which one hardly moves; and no rate that was tried is sooner."""
    monkeypatch.setattr(_c6, "RATES", {"gd": (1e-4, 1.0), "adam": (1e-5, 0.1)})
    monkeypatch.setattr(_c6, "STEPS", 40)
    meters = []
    found = _c6._steps(1.0, 2, 0, meters)
    assert {name: rate for name, (rate, _) in found.items()} == {"gd": 1.0, "adam": 0.1}
    assert all((counts < 40).all() for _, counts in found.values())
    assert spent(*meters)["gradients"] == 4 * 2 * 40


def test_how_many_must_get_out_to_be_told_from_none():
    assert _c7._needed(12) == 6 and _c7._needed(2) is None


@pytest.mark.slow
def test_a_trap_is_the_highest_of_its_minima(small, monkeypatch):
    monkeypatch.setattr(_c7, "WIDTH", 4)
    traps = _c7._traps(small, 2, 0, [])
    all_ = _basins.settled(small, _basins.initial(small, 4, range(6))).loss[:, -1].reshape(2, 3)
    values = Probe(small).evaluate(Values(traps)).values.numpy()
    assert np.allclose(values, all_.max(1))


@pytest.mark.slow
def test_parts_join_and_pictures_are_saved(tmp_path):
    from lossatlas.draw import BarsDisplay

    picture = BarsDisplay(["a"], [0.5], [0.2], [0.8], xlabel="share")
    one = Part("One.", (Check("a", "1", True),), spent(Meter(values=2)), data={"j": 0})
    two = Part("Two.", (Check("b", "2", False),), {"values": 5}, ("c",), {"k": 1}, {"left": picture})
    whole = Evidence("B5", "claim", (one, two), seed=3, runs=7)
    assert whole.outcome == "depends" and whole.cost == {"values": 7, "gradients": 0, "products": 0, "examples": 0}
    assert whole.experiment == "One. Two." and whole.data == {"j": 0, "k": 1} and whole.caveats == ("c",)
    whole.save(tmp_path / "new")
    assert json.loads((tmp_path / "new/lesson-B5.json").read_text())["outcome"] == "depends"
    assert (tmp_path / "new/lesson-B5-left.png").read_bytes().startswith(b"\x89PNG")
    assert Evidence.load(tmp_path / "new/lesson-B5.json").record() == whole.record()


@pytest.mark.slow
def test_the_bill_holds_tuning_and_referee():
    surface = la.NetworkSurface(digits_mlp((4,)), "cross_entropy", digits("test"))
    made = la.network_race(surface, ["gd"], steps=5, runs=2, trials=3, checks=1, ends=0, progress=False)
    found = spent(*meters_of(made), Meter(values=1))
    assert found["gradients"] == 2 * 5 + 3 * 2 * 5
    assert found["values"] == made.referee.values + made.runners["gd"].tuning.meter.values + 1
