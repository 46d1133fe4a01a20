"""Torch's optimizers as they are published race as they train: closures, schedules, factories, schedule-free ones."""

import dataclasses
import functools
import gc
import threading
import warnings
import zlib

import pytest
import torch
from torch.optim import lr_scheduler

import lossatlas as la
from lossatlas.cli._optimizers import optimizers as parse_all
from lossatlas.optimize import Streams

GROUND = la.landscapes.himmelblau()
START = torch.tensor([-0.7, 1.3], dtype=torch.float64)


class SAM(torch.optim.Optimizer):
    """Two steps in one, as in the authors' repository: the first gradient is there before the call."""

    def __init__(self, params, base=torch.optim.SGD, rho=0.05, **settings):
        super().__init__(params, {"rho": rho, **settings})
        self.base = base(self.param_groups, **settings)

    @torch.no_grad()
    def step(self, closure=None):
        assert closure is not None, "SAM needs a closure"
        closure = torch.enable_grad()(closure)
        group = self.param_groups[0]
        norm = torch.stack([p.grad.norm() for p in group["params"]]).norm()
        before = [p.clone() for p in group["params"]]
        for p in group["params"]:
            p.add_(p.grad * (group["rho"] / (norm + 1e-12)))
        self.zero_grad()
        closure()
        for p, old in zip(group["params"], before, strict=True):
            p.copy_(old)
        self.base.step()
        self.zero_grad()


class AdaHessian(torch.optim.Optimizer):
    """Adam with Hutchinson's estimate of the Hessian's diagonal in place of the gradient (Yao et al. 2021, algorithm 1)."""

    def __init__(self, params, lr=0.1, betas=(0.9, 0.999), eps=1e-4):
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps})

    def step(self, closure=None):
        group = self.param_groups[0]
        params = group["params"]
        grads = [p.grad for p in params]
        if any(g.grad_fn is None for g in grads):
            raise RuntimeError("gradients have no grad_fn; call backward with create_graph=True")
        signs = [torch.randint_like(p, high=2) * 2 - 1 for p in params]
        curved = torch.autograd.grad(grads, params, grad_outputs=signs, retain_graph=True)
        with torch.no_grad():
            for p, g, sign, h in zip(params, grads, signs, curved, strict=True):
                s = self.state[p]
                if not s:
                    s.update(t=0, m=torch.zeros_like(p), v=torch.zeros_like(p))
                one, two = group["betas"]
                s["t"] += 1
                s["m"].mul_(one).add_(g, alpha=1 - one)
                s["v"].mul_(two).addcmul_(sign * h, sign * h, value=1 - two)
                root = (s["v"] / (1 - two ** s["t"])).sqrt() + group["eps"]
                p.sub_(group["lr"] / (1 - one ** s["t"]) * s["m"] / root)


class ScheduleFree(torch.optim.Optimizer):
    """SGD of Defazio et al. 2024: gradients at y = (1 − β) z + β x, where x is the running mean of z."""

    def __init__(self, params, lr=0.05, beta=0.9):
        super().__init__(params, {"lr": lr, "beta": beta, "training": False, "k": 0})

    def _to(self, training):
        for group in self.param_groups:
            if group["training"] is training:
                continue
            for p in group["params"]:
                if "z" in self.state[p]:
                    weight = 1 - group["beta"] if training else 1 - 1 / group["beta"]
                    p.data.lerp_(self.state[p]["z"], weight)
            group["training"] = training

    def train(self):
        self._to(True)

    def eval(self):
        self._to(False)

    @torch.no_grad()
    def step(self, closure=None):
        (group,) = self.param_groups
        if not group["training"]:
            raise RuntimeError("step was called in evaluation mode; call train() first")
        weight = 1 / (group["k"] + 1)
        for p in group["params"]:
            z = self.state[p].setdefault("z", p.clone())
            p.lerp_(z, weight)
            p.add_(p.grad, alpha=group["lr"] * (group["beta"] * (1 - weight) - 1))
            z.sub_(p.grad, alpha=group["lr"])
        group["k"] += 1


def trained(make, steps, schedule=None, graph=False):
    """Where each step ended: a plain training loop of the same function."""
    theta = torch.nn.Parameter(START.clone())
    mind = make([theta])
    planned = schedule(mind) if schedule else None
    places = [START.clone()]

    def closure():
        mind.zero_grad()
        x, y = theta
        loss = (x * x + y - 11) ** 2 + (x + y * y - 7) ** 2
        (theta.grad,) = torch.autograd.grad(loss, theta, create_graph=graph)
        return loss

    for _ in range(steps):
        loss = closure()
        mind.step(closure) if not graph else mind.step()
        if isinstance(planned, lr_scheduler.ReduceLROnPlateau):
            planned.step(loss.detach())
        elif planned:
            planned.step()
        places.append(theta.detach().clone())
    return torch.stack(places)


def raced(one, steps, **settings):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return la.race(GROUND, {"mine": one, "gd": "gd"}, start=START, steps=steps, progress=False, **settings)


def stops(track):
    """Where a run stood, each place once."""
    places = [track.positions[0, 0]]
    for place in track.positions[0, 1:]:
        if not torch.equal(place, places[-1]):
            places.append(place)
    return torch.stack(places)


def test_sam_steps_as_in_a_training_loop_and_both_of_its_gradients_are_counted():
    race = raced(la.TorchOptimizer(SAM, lr=0.01, rho=0.1), 40)
    truth = trained(lambda p: SAM(p, lr=0.01, rho=0.1), 20)
    assert torch.allclose(stops(race.tracks["mine"]), truth, atol=1e-12)
    assert race.meter["mine"].gradients == 40 and race.status["mine"] == ("steps",)
    losses = race.losses["mine"][0, :40].reshape(20, 2)
    assert torch.equal(losses[:, 0], losses[:, 1])  # it stands where the step began
    assert torch.allclose(losses[:, 0], GROUND.values(truth[:-1]))


@pytest.mark.slow
@pytest.mark.parametrize("search", [None, "strong_wolfe"])
def test_torchs_lbfgs_steps_as_in_a_training_loop(search):
    settings = {"lr": 0.05 if search is None else 1.0, "max_iter": 4, "line_search_fn": search}
    truth = trained(lambda p: torch.optim.LBFGS(p, **settings), 6)
    race = raced(functools.partial(torch.optim.LBFGS, **settings), 60)
    found = stops(race.tracks["mine"])[: len(truth)]
    assert len(found) >= 4 and torch.allclose(found, truth[: len(found)], atol=1e-9)
    assert len(found) == 7 or torch.allclose(truth[len(found) - 1], truth[-1], atol=1e-9)  # it rests in a minimum
    assert race.meter["mine"].gradients == 60


@pytest.mark.slow
def test_adahessian_gets_products_of_the_hessian_which_are_counted():
    race = raced(la.TorchOptimizer(AdaHessian, lr=0.1), 60)
    state = torch.get_rng_state()
    seed = Streams(0, 1, salt=zlib.crc32(b"mine")).seeds().tolist()[0]
    torch.default_generator.manual_seed(seed)
    truth = trained(lambda p: AdaHessian(p, lr=0.1), 30, graph=True)
    torch.set_rng_state(state)
    assert torch.allclose(stops(race.tracks["mine"]), truth, atol=1e-9)
    assert race.meter["mine"].gradients == 30 and race.meter["mine"].products == 30


@pytest.mark.parametrize(
    "schedule",
    [
        lambda o: lr_scheduler.CosineAnnealingLR(o, T_max=20),
        lambda o: lr_scheduler.SequentialLR(
            o, [lr_scheduler.LinearLR(o, 0.1, total_iters=5), lr_scheduler.ExponentialLR(o, 0.9)], milestones=[5]
        ),
        lambda o: lr_scheduler.ReduceLROnPlateau(o, factor=0.5, patience=1),
    ],
)
def test_schedules_are_those_of_a_training_loop(schedule):
    settings = {"lr": 0.003, "momentum": 0.9}
    truth = trained(lambda p: torch.optim.SGD(p, **settings), 30, schedule)
    race = raced(la.TorchOptimizer(torch.optim.SGD, schedule=schedule, **settings), 30)
    assert torch.allclose(race.trajectories["mine"][0], truth, atol=1e-12)
    flat = raced(la.TorchOptimizer(torch.optim.SGD, **settings), 30)
    assert not torch.allclose(flat.trajectories["mine"][0], truth, atol=1e-3)


def test_a_factory_makes_an_optimizer_with_its_schedule():
    def cosine(parameters):
        one = torch.optim.Adam(parameters, lr=0.2)
        return one, lr_scheduler.CosineAnnealingLR(one, T_max=20)

    race = la.race(GROUND, [cosine, torch.optim.Adam, "gd"], start=START, steps=20)
    assert list(race.tracks) == ["cosine", "adam", "gd"]
    apart = la.TorchOptimizer(torch.optim.Adam, lr=0.2, schedule=lambda o: lr_scheduler.CosineAnnealingLR(o, T_max=20))
    other = la.race(GROUND, {"cosine": apart}, start=START, steps=20)
    assert torch.equal(race.final("cosine"), other.final("cosine"))
    assert race.provenance["racers"]["cosine"]["settings"]["class"].endswith("cosine")
    assert "lambda" in apart.settings()["schedule"] and " at 0x" not in repr(apart)


def test_schedule_free_is_read_where_it_would_be_used():
    steps, lr, beta = 40, 0.01, 0.9
    race = raced(la.TorchOptimizer(ScheduleFree, lr=lr, beta=beta), steps)
    # The recurrence of the paper: z ← z − lr ∇L(y), x ← (1 − 1/t) x + z / t, y = (1 − β) z + β x.
    x = y = z = START
    places, trained_at = [x], []
    for t in range(1, steps + 1):
        trained_at.append(y)
        z = z - lr * GROUND.gradients(y[None])[1][0]
        x = x + (z - x) / t
        y = (1 - beta) * z + beta * x
        places.append(x)
    found = race.tracks["mine"]
    assert torch.allclose(found.positions[0], torch.stack(places), atol=1e-9)
    assert float((torch.stack(places[:-1]) - torch.stack(trained_at)).norm(dim=1).max()) > 0.1
    assert torch.allclose(found.losses[0], GROUND.values(found.positions[0])) and torch.equal(found.final, found.last)
    assert race.meter["mine"].gradients == steps and race.meter["mine"].values == 0


@pytest.mark.slow
@pytest.mark.parametrize("cls", [SAM, AdaHessian, ScheduleFree, torch.optim.LBFGS], ids=lambda cls: cls.__name__)
def test_a_run_is_the_same_alone_and_beside_others_and_the_global_stream_is_untouched(cls):
    one = la.TorchOptimizer(cls, lr=0.02)
    state = torch.get_rng_state()
    starts = torch.stack([START, START + 0.5, START - 0.25])
    several = la.race(GROUND, {"x": one}, start=starts, runs=3, steps=16)
    assert torch.equal(torch.get_rng_state(), state)
    alone = la.race(GROUND, {"x": one}, start=START, steps=16)
    assert torch.equal(several.tracks["x"].positions[0], alone.tracks["x"].positions[0])
    again = la.race(GROUND, {"x": one}, start=starts, runs=3, steps=16)
    assert torch.equal(again.final("x"), several.final("x"))


@pytest.mark.slow
def test_gradients_of_one_step_are_of_one_mini_batch():
    torch.manual_seed(0)
    data = torch.randn(32, 3).double(), torch.randint(0, 2, (32,))
    surface = la.NetworkSurface(torch.nn.Linear(3, 2).double(), "cross_entropy", data)
    seen = []
    walk = la.steps(
        la.optimizer("mini-batches", inner=la.TorchOptimizer(SAM, lr=0.1), batch_size=4), surface, steps=6, runs=2
    )
    for query in walk:
        seen.append(query.sample.seeds)
        walk.tell(surface.gradients(query.points, query.sample))
    assert all(torch.equal(seen[k], seen[k + 1]) for k in (0, 2, 4))
    assert not (seen[0] == seen[2]).any() and not (seen[2] == seen[4]).any()
    race = la.network_race(
        surface,
        {"sam": la.TorchOptimizer(SAM, lr=0.1), "gd": "gd"},
        steps=6,
        runs=2,
        batch_size=4,
        ends=0,
        progress=False,
    )
    assert race.meter["sam"].gradients == race.meter["gd"].gradients == 12


@pytest.mark.slow
def test_what_fails_inside_a_step_ends_its_racer_with_a_sentence_and_leaves_no_thread():
    class Angry(torch.optim.Optimizer):
        def __init__(self, params):
            super().__init__(params, {})

        def step(self, closure):
            for p in self.param_groups[0]["params"]:
                p.data.add_(1.0)
            closure()
            raise ArithmeticError("no step")

    class Endless(Angry):
        def step(self, closure):
            while True:
                for p in self.param_groups[0]["params"]:
                    p.data.add_(0.01)
                closure()

    before = threading.active_count()
    race = la.race(GROUND, {"angry": Angry, "endless": Endless, "gd": "gd"}, start=START, steps=9, runs=2)
    assert "Angry could not step: ArithmeticError: no step (test_torch.py" in race.verdicts["angry"].sentence
    assert race.status["endless"] == ("steps", "steps") and race.meter["endless"].gradients == 18
    del race
    gc.collect()
    assert threading.active_count() == before


@pytest.mark.slow
def test_what_makes_no_optimizer_is_said(tmp_path):
    race = la.race(GROUND, {"x": lambda parameters: 3, "gd": "gd"}, steps=3)
    assert "returned 3; expected an optimizer" in race.tracks["x"].why
    wrong = la.TorchOptimizer(torch.optim.SGD, lr=0.1, schedule=lambda o: 3)
    assert "the schedule of SGD is 3" in la.race(GROUND, {"x": wrong, "gd": "gd"}, steps=3).tracks["x"].why
    with pytest.raises(la.InputError, match="expected a function of the optimizer"):
        la.TorchOptimizer(torch.optim.SGD, lr=0.1, schedule=0.5)
    with pytest.raises(la.InputError, match="not an instance"):
        la.TorchOptimizer(torch.optim.SGD([torch.nn.Parameter(START)], lr=0.1))
    race = la.race(GROUND, {"sam": la.TorchOptimizer(SAM, lr=0.01), "gd": "gd"}, steps=4)
    race.save(tmp_path)
    assert la.load(tmp_path).verdicts["sam"].sentence == race.verdicts["sam"].sentence
    assert dataclasses.replace(wrong) == wrong


def test_the_command_takes_a_function_of_the_parameters(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(
        "import torch\n"
        "def decayed(parameters, lr=0.1):\n"
        "    one = torch.optim.SGD(parameters, lr=lr)\n"
        "    return one, torch.optim.lr_scheduler.ExponentialLR(one, 0.9)\n"
    )
    (made,) = parse_all("mine.py:decayed(lr=0.01)").values()
    race = la.race(GROUND, {"mine": made}, start=START, steps=10)
    schedule = functools.partial(lr_scheduler.ExponentialLR, gamma=0.9)
    truth = trained(lambda p: torch.optim.SGD(p, lr=0.01), 10, schedule)
    assert torch.allclose(race.trajectories["mine"][0], truth, atol=1e-12)
