"""Races on real networks: rows are runs, rules are torch's, bills are equal, ends are measured."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from pytorch_optimizer import Lion
from torch import nn

import lossatlas as la
from lossatlas._errors import InputError, StartError, UnknownNameError
from lossatlas.demo import digits, digits_cnn, digits_mlp, digits_transformer
from lossatlas.probe import Probe, Products
from lossatlas.race import Ends, with_heads
from lossatlas.surface.network._minibatch import draw

STEPS, RUNS, SIZE = 80, 3, 64
# After 80 steps in float64: what is added in another order differs in the last bits, and grows on the way.
BOUND = 1e-12
RULES = {
    "gd": {"lr": 0.1},
    "momentum": {"lr": 0.05},
    "rmsprop": {"lr": 0.003},
    "adam": {"lr": 0.01},
    "adamw": {"lr": 0.01, "weight_decay": 0.1},
    "lion": {"lr": 0.002, "weight_decay": 0.1},
    "sophia": {"lr": 0.01, "gamma": 0.05},
    "shampoo": {"lr": 0.1},
    "muon": {"lr": 0.02},
}


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def data(split="train"):
    x, y = digits(split)
    return x.double(), y


def surface(split="train", widths=(12,)):
    return la.NetworkSurface(digits_mlp(widths).double(), "cross_entropy", data(split))


def starts(runs=RUNS, widths=(12,)):
    return torch.stack(
        [nn.utils.parameters_to_vector(digits_mlp(widths, seed=k).double().parameters()).detach() for k in range(runs)]
    )


def raced(optimizer, ground=None, **settings):
    defaults = {"steps": STEPS, "runs": RUNS, "starts": starts(), "ends": 0, "checks": 1, "progress": False}
    return la.network_race(ground or surface(), {"it": optimizer}, **{**defaults, **settings})


def batches(ground, run, steps, seed=0):
    """The examples that run `run` sees at each of its steps."""
    from lossatlas.optimize import Streams

    streams = Streams(seed, [run]).part("mini-batches")
    return [draw(SIZE, streams.seeds(), ground.examples)[0] for _ in range(steps)]


@pytest.mark.slow
@pytest.mark.parametrize("rule", RULES)
def test_a_row_of_a_batch_is_that_run_alone(rule):
    """Vectorized rows against one run by itself, on the same mini-batches, after 80 steps."""
    optimizer = la.optimizer(rule, **RULES[rule])
    together = raced(optimizer)
    alone = raced(optimizer, runs=1, first_run=1, starts=starts()[1:2])
    gap = float((together.final("it")[1] - alone.final("it")[0]).abs().max())
    assert gap < BOUND
    assert float((together.final("it")[1] - together.final("it")[0]).abs().max()) > 1e-3
    loss = together.runners["it"].loss
    assert (loss[:, -1] < 0.9 * loss[:, 0]).all()  # the runs have gone somewhere
    noisy = together.runners["it"].noisy[1] - alone.runners["it"].noisy[0]
    assert np.abs(noisy).max() < 1e-11


TORCH = {
    "gd": lambda p: torch.optim.SGD(p, lr=0.1),
    "momentum": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.92),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.003, alpha=la.optimizer("rmsprop").alpha),
    "adam": lambda p: torch.optim.Adam(p, lr=0.01),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.1),
    "lion": lambda p: Lion(p, lr=0.002, betas=(0.9, 0.99), weight_decay=0.1, weight_decouple=True),
}


@pytest.mark.slow
@pytest.mark.parametrize("rule", TORCH)
def test_eighty_steps_are_those_of_a_plain_loop(rule):
    """A module of torch's, its autograd and its optimizer, on the same mini-batches."""
    ground, run = surface(), 2
    model = digits_mlp((12,), seed=run).double()
    theirs, (x, y) = TORCH[rule](model.parameters()), data()
    for rows in batches(ground, run, STEPS):
        theirs.zero_grad()
        nn.functional.cross_entropy(model(x[rows]), y[rows]).backward()
        theirs.step()
    ours = raced(la.optimizer(rule, **RULES[rule]), ground).final("it")[run]
    gap = float((ours - nn.utils.parameters_to_vector(model.parameters()).detach()).abs().max())
    assert gap < 1e-11


@pytest.mark.slow
def test_muon_steps_hidden_matrices_and_leaves_the_rest_to_adam():
    """Against the rule written out: singular values through the polynomial, Adam on biases and on the head."""
    ground, run, steps = surface(widths=(12, 9)), 1, 15
    model, (x, y) = digits_mlp((12, 9), seed=run).double(), data()
    hidden = ("0.weight", "2.weight")
    state = {name: [torch.zeros_like(p), torch.zeros_like(p)] for name, p in model.named_parameters()}
    for t, rows in enumerate(batches(ground, run, steps), start=1):
        model.zero_grad()
        nn.functional.cross_entropy(model(x[rows]), y[rows]).backward()
        with torch.no_grad():
            for name, p in model.named_parameters():
                mean, square = state[name]
                mean.mul_(0.95).add_(p.grad, alpha=0.05)
                square.mul_(0.999).add_(p.grad**2, alpha=0.001)
                if name in hidden:
                    u, s, v = torch.linalg.svd(0.95 * mean + 0.05 * p.grad, full_matrices=False)
                    s = s / (s.norm() + 1e-7)
                    for _ in range(5):
                        s = 3.4445 * s - 4.7750 * s**3 + 2.0315 * s**5
                    p -= 0.02 * math.sqrt(max(1.0, p.shape[0] / p.shape[1])) * (u * s) @ v
                else:
                    p -= 1e-3 * (mean / (1 - 0.95**t)) / ((square / (1 - 0.999**t)).sqrt() + 1e-8)
    race = raced(la.optimizer("muon"), ground, steps=steps, starts=starts(widths=(12, 9)))
    assert race.provenance["heads"] == ["4.weight"]
    ours = race.final("it")[run]
    assert float((ours - nn.utils.parameters_to_vector(model.parameters()).detach()).abs().max()) < 1e-9
    bare = raced(la.optimizer("muon"), ground, steps=steps, starts=starts(widths=(12, 9)), heads=())
    assert float((bare.final("it")[run] - ours).abs().max()) > 1e-2


@pytest.mark.slow
def test_shampoo_preconditions_every_axis():
    """L^(-1/4) G R^(-1/4) on weights and (εI + Σ gg')^(-1/2) g on biases, by NumPy."""
    ground, run, steps = surface(), 0, 12
    model, (x, y) = digits_mlp((12,), seed=run).double(), data()
    roots: dict[str, list[np.ndarray]] = {}
    for rows in batches(ground, run, steps):
        model.zero_grad()
        nn.functional.cross_entropy(model(x[rows]), y[rows]).backward()
        for name, p in model.named_parameters():
            g = p.grad.numpy() if p.ndim == 2 else p.grad.numpy()[:, None]
            sides = roots.setdefault(name, [1e-6 * np.eye(g.shape[0]), 1e-6 * np.eye(g.shape[1])])
            sides[0] += g @ g.T
            sides[1] += g.T @ g
            step = _power(sides[0], -1 / (2 * p.ndim)) @ g
            step = step @ _power(sides[1], -1 / 4) if p.ndim == 2 else step[:, 0]
            p.data -= 0.1 * torch.from_numpy(step)
    ours = raced(la.optimizer("shampoo"), ground, steps=steps).final("it")[run]
    assert float((ours - nn.utils.parameters_to_vector(model.parameters()).detach()).abs().max()) < 1e-7


def _power(matrix, power):
    values, vectors = np.linalg.eigh(matrix)
    return vectors * np.maximum(values, 1e-6) ** power @ vectors.T


@pytest.mark.slow
def test_everyone_is_billed_the_same_and_sees_the_same_mini_batches():
    ground = surface()
    race = la.network_race(
        ground, ["adam", "sophia"], test=surface("test"), steps=60, runs=2, ends=0, checks=4, progress=False
    )
    adam, sophia = race.runners["adam"], race.runners["sophia"]
    assert adam.meter.gradients == 2 * 60 and adam.meter.products == 0 and adam.meter.examples == 2 * 60 * SIZE
    # A product costs two gradients: ten steps of Sophia are billed as twelve.
    assert sophia.meter.gradients == 2 * 50 and sophia.meter.products == 2 * 5
    for runner in race.runners.values():
        price = (3 * runner.meter.gradients + 6 * runner.meter.products) * SIZE / 2
        assert race.provenance["allowance"] - 6 * SIZE < price <= race.provenance["allowance"]
        assert np.array_equal(runner.noisy[:, 0], adam.noisy[:, 0])  # the same start, the same first mini-batch
        assert runner.steps[0] == runner.queries[0] == 0 and runner.steps[-1] == runner.noisy.shape[1]
        assert (np.diff(runner.seconds) > 0).all() and len(runner.steps) == 5
    assert sophia.examples[-1] == 55 * SIZE and sophia.queries[-1] == 55
    assert not np.array_equal(adam.noisy[0], adam.noisy[1])


@pytest.mark.slow
def test_what_is_measured_on_the_way_is_the_loss_and_the_error():
    race = raced("adam", steps=40, test=surface("test"), checks=2)
    runner, model = race.runners["it"], digits_mlp((12,)).double()
    for run in range(RUNS):
        for place, theta in ((0, starts()[run]), (-1, runner.final[run])):
            nn.utils.vector_to_parameters(theta, model.parameters())
            for split, loss in (("train", runner.loss), ("test", runner.test_loss)):
                x, y = data(split)
                with torch.no_grad():
                    scores = model(x)
                assert loss[run, place] == pytest.approx(float(nn.functional.cross_entropy(scores, y)), rel=1e-9)
            wrong = float((scores.argmax(1) != y).double().mean())
            assert runner.test_error[run, place] == pytest.approx(wrong, abs=1e-7)
    assert race.referee.values == 3 * RUNS and race.test_referee.values == 3 * RUNS
    first = runner.noisy[0, 0]
    x, y = data()
    rows = batches(surface(), 0, 1)[0]
    nn.utils.vector_to_parameters(starts()[0], model.parameters())
    assert first == pytest.approx(float(nn.functional.cross_entropy(model(x[rows]), y[rows]).detach()), rel=1e-9)


@pytest.mark.slow
def test_tuning_is_blind_and_costs_everyone_the_same():
    ground = surface()
    race = la.network_race(ground, ["gd", "adam"], steps=12, runs=1, trials=5, ends=0, checks=1, progress=False)
    for name, runner in race.runners.items():
        assert len(runner.tuning.trials) == 5
        given = la.optimizer(name)
        assert runner.tuning.trials[0][0]["lr"] == given.lr
        scores = [score for _, score in runner.tuning.trials]
        assert runner.optimizer.lr == runner.tuning.trials[int(np.argmin(scores))][0]["lr"]
        # Two runs of every setting, and their loss over all training data at start and end.
        assert runner.tuning.meter.examples == 5 * 2 * (12 * SIZE + 2 * ground.examples)
    assert race.meter["gd"].examples == race.meter["adam"].examples == 12 * SIZE
    again = la.network_race(ground, ["adam"], steps=12, runs=1, trials=5, ends=0, checks=1, progress=False)
    assert torch.equal(again.final("adam"), race.final("adam"))
    assert "tuned blindly over 5 settings each at the same cost" in race.table().title


def test_full_batches_and_starts():
    ground = surface()
    race = raced("gd", ground, batch_size=None, steps=3, starts=starts()[0])
    assert race.meter["it"].examples == RUNS * 3 * ground.examples
    assert torch.equal(race.final("it")[0], race.final("it")[1])  # nothing is left to chance
    theta = starts()[0].clone()
    for _ in range(3):
        theta = theta - 0.05 * ground.gradients(theta[None])[1][0]
    assert torch.allclose(race.final("it")[0], theta, atol=1e-12)


@pytest.mark.slow
def test_ends_are_compared():
    ground = surface(widths=(4,))
    race = la.network_race(
        ground, ["adam", "momentum"], steps=30, runs=2, starts=starts(2, (4,)), ends=2, checks=1, progress=False
    )
    ends = race.ends
    assert ends.names == ("adam", "adam", "momentum", "momentum") and ends.runs == (0, 1, 0, 1)
    finals = torch.cat([race.final("adam"), race.final("momentum")])
    x, y = data()
    model = digits_mlp((4,)).double()

    def loss(theta):
        nn.utils.vector_to_parameters(theta, model.parameters())
        with torch.no_grad():
            return float(nn.functional.cross_entropy(model(x), y))

    for a in range(4):
        assert ends.loss[a] == pytest.approx(loss(finals[a]), rel=1e-9)
        for b in range(a):
            assert ends.distances[a, b] == pytest.approx(float((finals[a] - finals[b]).norm()), rel=1e-9)
            line = [(t, loss((1 - t) * finals[a] + t * finals[b])) for t in np.arange(1, 10) / 10]
            barrier = max(value - (1 - t) * ends.loss[a] - t * ends.loss[b] for t, value in line)
            assert ends.barriers[a, b] == ends.barriers[b, a] == pytest.approx(max(0.0, barrier), abs=1e-9)
    eye = torch.eye(ground.dimension, dtype=torch.float64)
    hessian = Probe(ground).evaluate(Products(finals[:1], eye[None])).products[0].numpy()
    assert ends.sharpness[0] == pytest.approx(np.linalg.eigvalsh(hessian)[-1], rel=1e-2)
    places, share = ends.places
    assert places.shape == (4, 2) and 0 < share <= 1
    drawn = race.plot_ends()
    assert drawn.ax_.get_aspect() == 1.0 and len(drawn.render()) > 10_000


def test_the_map_of_ends_keeps_distances_that_lie_in_a_plane():
    points = np.array([[0.0, 0], [3, 0], [0, 4], [5, 5], [-2, 1]])
    apart = np.linalg.norm(points[:, None] - points[None], axis=2)
    names = tuple("abcde")
    places, share = Ends(names, (0,) * 5, *(np.zeros(5),) * 3, apart, np.zeros((5, 5))).places
    assert np.allclose(np.linalg.norm(places[:, None] - places[None], axis=2), apart) and share == pytest.approx(1.0)
    two = Ends(names[:2], (0,) * 2, *(np.zeros(2),) * 3, apart[:2, :2], np.zeros((2, 2)))
    assert two.places[0].tolist() == [[0, 0], [3, 0]]


@pytest.mark.slow
def test_it_is_drawn_tabled_saved_and_read_back(tmp_path):
    race = la.network_race(
        surface(), ["adam", "lion"], test=surface("test"), steps=20, runs=2, trials=2, checks=3, progress=False
    )
    assert race.table().columns == [
        "optimizer", "training loss", "test error", "λmax", "updates", "gradients", "products", "examples", "seconds",
    ]  # fmt: skip
    for what, against in (("loss", "queries"), ("loss", "examples"), ("test_error", "seconds"), ("test_loss", "steps")):
        assert race.plot(what=what, against=against).ax_.get_xlabel()
    assert "test error" in race.runners["adam"].sentence and "<table>" in race._repr_html_()
    race.save(tmp_path)
    back = la.load(tmp_path)
    assert back.record() == race.record() and torch.equal(back.final("lion"), race.final("lion"))
    assert back.runners["adam"].optimizer == race.runners["adam"].optimizer
    assert back.plot().render() == race.plot().render() and back.plot_ends().render() == race.plot_ends().render()
    with pytest.raises(UnknownNameError, match="no optimizer in this race named 'sgd'"):
        race.final("sgd")
    with pytest.raises(UnknownNameError, match="no curve named"):
        race.plot(what="accuracy")
    with pytest.raises(UnknownNameError, match="no axis named"):
        race.plot(against="hours")


@pytest.mark.slow
def test_a_run_that_diverges_is_data():
    race = raced(la.optimizer("gd", lr=1e300), steps=6, ends=2, checks=3)
    runner = race.runners["it"]
    assert runner.diverged.all() and "3 of 3 diverged" in runner.sentence and not race.ends.names
    assert race.plot().ax_ is not None and "inf" in str(race.table())
    with pytest.raises(InputError, match="no ends to draw"):
        race.plot_ends()
    tuned = raced(la.optimizer("gd", lr=1e300), steps=10, trials=6)
    assert tuned.runners["it"].tuning.trials[0][1] == np.inf and not tuned.runners["it"].diverged.any()


@pytest.mark.slow
def test_bad_input():
    ground = surface()
    for settings, kind, said in (
        ({"batch_size": 0}, InputError, "got batch_size=0"),
        ({"batch_size": 5000}, InputError, "got batch_size=5000; expected 1 to 1437"),
        ({"steps": 0}, InputError, "steps=0"),
        ({"trials": -1}, InputError, "trials=-1"),
        ({"runs": []}, InputError, r"runs=\[\]"),
        ({"starts": torch.zeros(2, 3)}, StartError, r"got a start of shape \(2, 3\)"),
        ({"test": surface("test", (5,))}, InputError, "test surface is of another network"),
        ({"heads": ["body"]}, InputError, "got heads 'body'"),
    ):
        with pytest.raises(kind, match=said):
            raced("adam", ground, **settings)
    with pytest.raises(InputError, match="it queries no gradients"):
        raced("annealing", ground)
    with pytest.raises(InputError, match="expected a NetworkSurface"):
        la.network_race(la.landscapes.four_wells(), ["adam"])
    with pytest.raises(InputError, match="has no test"):
        raced("adam", ground, steps=2).plot(what="test_error")


def test_heads_are_told_in_the_layout():
    layout = with_heads(surface(widths=(12, 9)).layout)
    assert [block.kind for block in layout.blocks] == ["linear", "bias", "linear", "bias", "head", "bias"]
    assert with_heads(layout, ["0.weight"]).blocks[0].kind == "head"


@pytest.mark.slow
@pytest.mark.parametrize("make", [digits_cnn, digits_transformer])
def test_convolutions_and_attention_are_raced_too(make):
    images = make is digits_cnn
    ground, test = (la.NetworkSurface(make(), "cross_entropy", digits(s, images=images)) for s in ("test", "train"))
    rules = [la.optimizer("adam", lr=0.003), la.optimizer("muon"), la.optimizer("sophia", lr=0.003)]
    race = la.network_race(ground, rules, test=test, steps=15, batch_size=32, runs=2, checks=1, progress=False)
    for name, runner in race.runners.items():
        assert (runner.loss[:, -1] < 0.95 * runner.loss[:, 0]).all(), name
    assert len(race.ends.names) == 3 and (race.ends.sharpness > 0).all()
    if make is digits_transformer:
        assert race.provenance["heads"] == ["head.weight"] and ground._evaluation.minibatches.possible


def test_the_transformer_is_what_it_says():
    model, (x, _) = digits_transformer(), digits("test")
    assert model(x[:5]).shape == (5, 10) and not model.training
    other = digits_transformer(seed=1)
    assert not torch.equal(model.head.weight, other.head.weight)
    assert torch.equal(digits_transformer(seed=1).head.weight, other.head.weight)
    kinds = {block.kind for block in la.NetworkSurface(model, "cross_entropy", digits("test")).layout.blocks}
    assert kinds == {"linear", "bias", "norm", "token"}


def test_a_race_on_a_network_says_whom_to_cite():
    race = raced("muon", steps=2, ends=0)
    assert "jordan2024" in la.citation(race) and "kingma" not in la.citation(race)


@pytest.mark.slow
def test_sgd_is_gradient_descent_on_the_mini_batches_of_the_race():
    sgd, gd = (raced(la.optimizer(name, lr=0.1), steps=12, batch_size=48) for name in ("sgd", "gd"))
    assert torch.equal(sgd.final("it"), gd.final("it"))
    assert sgd.runners["it"].meter.examples == gd.runners["it"].meter.examples == 12 * 48 * RUNS
    assert sgd.runners["it"].optimizer.batch_size == 48
