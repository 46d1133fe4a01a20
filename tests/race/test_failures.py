"""What one racer lacks, or raises, is said in its own sentence and ends it alone."""

import dataclasses
import re

import numpy as np
import pytest
import torch

import lossatlas as la
from lossatlas.probe import Gradients, Products, Values
from lossatlas.surface import Sample

WELLS = la.landscapes.four_wells()


@dataclasses.dataclass(frozen=True)
class Failing(la.Optimizer):
    after: int = 3

    def walk(self, start, layout, rng):
        for _ in range(self.after):
            yield Values(start)
        raise ValueError("Input X contains NaN.")


@dataclasses.dataclass(frozen=True)
class Wall(la.landscapes.Formula):
    height: float = 1e300

    def value(self, u):
        return u[0] ** 2 + u[1] ** 2 + self.height * (u[0] > 0).to(u.dtype)

    def gradient(self, u):
        return self.value(u), 2 * u


@dataclasses.dataclass(frozen=True)
class Lacking(la.Optimizer):
    name = "lacking"

    def walk(self, start, layout, rng):
        raise la.NotApplicableError(
            "it needs the library spam, which is not installed; install it with pip install spam."
        )
        yield


@pytest.mark.slow
def test_a_library_that_is_not_there_is_named(tmp_path):
    race = la.race(WELLS, [Lacking(), "gd"], steps=5)
    assert race.status["lacking"] == ("not applicable",) and race.status["gd"] == ("steps",)
    assert "pip install spam" in race.tracks["lacking"].why
    assert race.verdicts["lacking"].sentence.startswith("lacking did not run: it needs the library spam")
    race.save(tmp_path)
    back = la.load(tmp_path)
    assert back.tracks["lacking"].why == race.tracks["lacking"].why
    assert back.verdicts["lacking"].sentence == race.verdicts["lacking"].sentence
    with pytest.raises(la.NotApplicableError, match="spam"):
        la.steps(Lacking(), WELLS)


@pytest.mark.parametrize("name", ["restart", "bayes", "random", "de", "center"])
def test_a_method_without_its_box_says_so(name):
    boxless = la.landscapes.four_wells()
    boxless.layout = la.Layout.vector(2)
    race = la.race(boxless, [name, "gd"], start=[0.0, 0.0], steps=5)
    assert "did not run: it needs a box" in race.verdicts[name].sentence and race.status["gd"] == ("steps",)


def test_a_surface_without_gradients_is_named():
    class Mute(la.Surface):
        name, gradients_known = "mute", False

        def __init__(self):
            self.layout, self.start = WELLS.layout, WELLS.start

        def read(self, points):
            return WELLS.read(points)

        def gradients(self, points, sample=None):
            raise AssertionError

        products = gradients

    race = la.race(Mute(), ["gd", "sophia", "random"], steps=5)
    assert race.verdicts["gd"].sentence == "gd did not run: it needs gradients, which mute does not provide."
    assert race.status["random"] == ("steps",)


@pytest.mark.slow
@pytest.mark.parametrize("after", [0, 1, 3])
def test_an_exception_ends_its_racer_alone(after, tmp_path):
    race = la.race(WELLS, [Failing(after), "gd"], steps=8, runs=2)
    alone = la.race(WELLS, ["gd"], steps=8, runs=2)
    assert race.status["failing"] == ("failed", "failed") and torch.equal(race.final("gd"), alone.final("gd"))
    assert race.tracks["failing"].why.startswith("ValueError: Input X contains NaN (test_failures.py, line ")
    assert "Input X contains NaN" in race.verdicts["failing"].sentence
    assert race.meter["failing"].values == 2 * after
    assert torch.equal(race.final("failing"), race.start.expand(2, -1))
    race.table(), race.accounting(), race.to_dataframe()
    race.save(tmp_path)
    assert la.load(tmp_path).verdicts["failing"].sentence == race.verdicts["failing"].sentence


def test_if_all_fail_the_exception_is_raised():
    with pytest.raises(ValueError, match="contains NaN"):
        la.race(WELLS, [Failing()], steps=8)
    with pytest.raises(ValueError, match="contains NaN"):
        walk = la.steps(Failing(1), WELLS)
        walk.tell(0.0)


def test_what_is_yielded_and_is_no_query_is_refused():
    class Odd(la.Optimizer):
        def walk(self, start, layout, rng):
            yield start

    class Wide(la.Optimizer):
        def walk(self, start, layout, rng):
            yield Values(torch.zeros(len(start), 3))

    race = la.race(WELLS, [Odd(), Wide(), "gd"], steps=3)
    assert "yielded a Tensor; expected a query" in race.tracks["odd"].why
    assert "points of shape (1, 3); expected (1, 2)" in race.verdicts["wide"].sentence
    assert race.status["gd"] == ("steps",)


# What a walk may not yield, and a word of what is said of it.
SEEDS = torch.zeros(2, dtype=torch.int64)
QUERIES = {
    "nothing": (lambda x: None, "yielded a NoneType; expected a query"),
    "array": (lambda x: Gradients(x.numpy()), "expected a tensor"),
    "list": (lambda x: Values(x.tolist()), "expected a tensor"),
    "integers": (lambda x: Values(x.long()), r"torch.int64 .*expected torch.float64"),
    "float32": (lambda x: Gradients(x.float()), r"torch.float32 .*expected torch.float64"),
    "one run less": (lambda x: Values(x[1:]), r"points of shape \(1, \d\); expected \(2, \d\)"),
    "several gradients": (
        lambda x: Gradients(x[:, None].repeat(1, 2, 1)),
        r"points of shape \(2, 2, \d\); expected \(2, \d\)",
    ),
    "no points": (lambda x: Values(x[:, None][:, :0]), "k ≥ 1"),
    "flat vectors": (lambda x: Products(x, x), r"vectors of shape \(2, \d\); expected \(2, k, \d\)"),
    "graph": (lambda x: Gradients(x.clone().requires_grad_()), "Detach"),
    "place": (lambda x: Values(x, at=(x, 1.0)), r"expected At\(theta, values\)"),
    "rows as a list": (lambda x: Values(x, active=[True, True]), "active .*expected a tensor"),
    "rows of another number": (
        lambda x: Gradients(x, active=torch.ones(3, dtype=torch.bool)),
        r"active of shape \(3,\)",
    ),
    "rows as numbers": (lambda x: Gradients(x, active=torch.ones(2)), "torch.float32; expected .*torch.bool"),
    "sample as a number": (lambda x: Gradients(x, 4), r"sample=4; expected Sample\(size, seeds\)"),
    "empty sample": (lambda x: Gradients(x, Sample(0, SEEDS)), "size=0; expected a whole number"),
    "sample of one run": (lambda x: Gradients(x, Sample(2, SEEDS[:1])), r"seeds of shape \(1,\)"),
}


@dataclasses.dataclass(frozen=True)
class Yielding(la.Optimizer):
    """A good query, then another one."""

    what: str

    def walk(self, start, layout, rng):
        yield Gradients(start)
        yield QUERIES[self.what][0](start)


@dataclasses.dataclass(frozen=True)
class Listing(la.Optimizer):
    def walk(self, start, layout, rng):
        return [Values(start)]


@dataclasses.dataclass(frozen=True)
class Planless(la.Optimizer):
    def walk(self, start, layout, rng):
        yield Gradients(start)

    def plan(self, steps):
        return steps


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    data = torch.randn(8, 3).double(), torch.randint(0, 2, (8,))
    return la.NetworkSurface(torch.nn.Linear(3, 2).double(), "cross_entropy", data)


BAD = [
    *((Yielding(what), says) for what, (_, says) in QUERIES.items()),
    (Listing(), "expected a generator"),
    (la.optimizer("restart", inner=Listing()), "expected a generator"),
    (Planless(), r"expected \(optimizer, queries\)"),
    (la.optimizer("gradient-noise", inner=Planless()), r"expected \(optimizer, queries\)"),
]


@pytest.mark.parametrize(("bad", "says"), BAD, ids=lambda part: getattr(part, "what", None))
def test_a_walk_that_is_none_ends_its_racer_alone_and_is_refused_where_there_is_no_other(bad, says, network):
    race = la.race(WELLS, {"bad": bad, "gd": "gd"}, steps=4, runs=2)
    assert set(race.status["bad"]) == {"failed"} and re.search(says, race.verdicts["bad"].sentence)
    assert race.table().rows and race.accounting().rows
    assert torch.equal(race.final("gd"), la.race(WELLS, ["gd"], steps=4, runs=2).final("gd"))
    settings = {"steps": 4, "runs": 2, "batch_size": None, "ends": 0, "progress": False}
    if not isinstance(bad, la.optimize.Restart):
        trained = la.network_race(network, {"bad": bad, "gd": "gd"}, **settings)
        assert list(trained.runners) == ["gd"] and re.search(says, trained.provenance["failed"]["bad"])
    with pytest.raises(la.InputError, match=says.replace("(2,", "(4,").replace(r"\(1, \d\)", r"\(3, \d\)")) as refused:
        la.basin_map(la.landscapes.himmelblau(), bad, points=2, steps=4)
    assert "(_queries.py" not in str(refused.value)
    with pytest.raises(la.InputError, match=says):
        walk = la.steps(bad, WELLS, runs=2)
        walk.tell(WELLS.gradients(walk.ask().points))


def test_a_query_of_no_run_is_answered_with_nothing(network):
    @dataclasses.dataclass(frozen=True)
    class Resting(la.Optimizer):
        def walk(self, start, layout, rng):
            yield Gradients(start)
            answer = yield Gradients(start, active=torch.zeros(len(start), dtype=torch.bool))
            assert not answer.answered.any() and answer.gradients.isnan().all()
            yield Gradients(start)

    assert la.race(WELLS, [Resting()], steps=3).meter["resting"].gradients == 2
    race = la.network_race(network, [Resting()], steps=3, runs=2, batch_size=4, ends=0, progress=False)
    assert race.meter["resting"].gradients == 4


def test_where_a_run_that_evaluated_nothing_ended_is_said():
    class Idle(la.Optimizer):
        def walk(self, start, layout, rng):
            yield from ()

    verdict = la.race(WELLS, [Idle(), "gd"], steps=3).verdicts["idle"]
    assert verdict.ends == ("no look",) and "it never evaluated anything" in verdict.sentence
    assert la.basin_map(WELLS, Idle(), points=2, steps=3).loss.shape == (2, 2)


@pytest.mark.slow
@pytest.mark.parametrize("height", [1e300, float("inf")])
def test_losses_whose_squares_overflow_end_no_race(height):
    surface = la.landscapes.Landscape("wall", Wall(height), bounds=[(-4, 4)] * 2, start=(-3.0, 3.0))
    race = la.race(surface, ["random", "bayes", "de"], steps=12)
    assert set(sum(race.status.values(), ())) == {"steps"}


@pytest.mark.parametrize("kind", ["state", "module", "array", "file"])
def test_a_race_starts_from_whatever_describes_a_point(kind, tmp_path):
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 2)
    data = (torch.randn(8, 3), torch.randint(0, 2, (8,)))
    surface = la.NetworkSurface(model, "cross_entropy", data)
    other = torch.nn.Linear(3, 2)
    theta = surface.vector(other)
    torch.save(other.state_dict(), tmp_path / "w.pt")
    start = {"state": other.state_dict(), "module": other, "array": theta.numpy(), "file": tmp_path / "w.pt"}[kind]
    race = la.race(surface, ["gd"], start=start, steps=2)
    assert torch.equal(race.start, theta)
    with pytest.raises(la.InputError, match="expected"):
        la.race(surface, ["gd"], start=np.zeros(3), steps=2)


@pytest.mark.slow
def test_progress_is_one_convention(capsys):
    surface, seen = la.landscapes.himmelblau(), []
    jobs = [
        lambda show: la.race(surface, ["gd"], steps=3, progress=show),
        lambda show: la.basin_map(surface, "gd", points=3, steps=3, progress=show),
        lambda show: la.sweep(surface, "gd", [0.01, 0.02], steps=3, progress=show),
        lambda show: la.tune("gd", surface, trials=2, steps=3, progress=show),
        lambda show: la.counterfactual(la.race(surface, ["gd"], steps=3), "gd", runs=1, progress=show),
    ]
    for job in jobs:
        for show in (True, False):
            job(show)
            assert capsys.readouterr().err == ""  # no terminal, no bar
        seen.clear()
        job(lambda done, total: seen.append((done, total)))
        assert seen and seen[-1][0] == seen[-1][1] and [done for done, _ in seen] == sorted(done for done, _ in seen)
        with pytest.raises(la.InputError, match="progress"):
            job("loud")


def test_a_callable_progress_of_a_race_hears_of_its_end():
    seen = []
    la.race(WELLS, ["gd", "hill-climbing"], steps=200, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1][0] == seen[-1][1]


def test_gradients_are_what_a_walk_is_told():
    told = []

    class Listener(la.Optimizer):
        def walk(self, start, layout, rng):
            told.append((yield Gradients(start)))

    la.race(WELLS, [Listener(), "gd"], steps=2)
    assert torch.equal(told[0].gradients, WELLS.gradients(WELLS.start[None])[1]) and told[0].products.numel() == 0


@pytest.mark.parametrize(
    "job",
    [
        lambda: la.race(WELLS, ["gd"], runs=10**12),
        lambda: la.race(WELLS, ["gd"], steps=10**18),
        lambda: la.race(WELLS, ["restart"], steps=10**8),
        lambda: la.basin_map(WELLS, "gd", points=10**9),
        lambda: la.basin_map(WELLS, "gd", points=4, steps=10**9),
        lambda: la.tune("gd", WELLS, trials=10**12),
        lambda: la.steps("gd", WELLS, runs=10**12),
    ],
)
def test_counts_beyond_memory_are_refused_before_anything_runs(job):
    with pytest.raises(la.InputError, match=r"expected (at most|fewer than)"):
        job()


@pytest.mark.slow
def test_a_failing_optimizer_ends_alone_on_a_network_too(tmp_path):
    @dataclasses.dataclass(frozen=True)
    class Breaking(la.Optimizer):
        def walk(self, start, layout, rng):
            yield Gradients(start)
            raise ZeroDivisionError("by zero")

    @dataclasses.dataclass(frozen=True)
    class Short(la.Optimizer):
        def walk(self, start, layout, rng):
            answer = yield Gradients(start)
            yield Gradients(start - 0.1 * answer.gradients)

    torch.manual_seed(0)
    surface = la.NetworkSurface(
        torch.nn.Linear(3, 2).double(), "cross_entropy", (torch.randn(8, 3).double(), torch.randint(0, 2, (8,)))
    )
    settings = {"steps": 6, "runs": 2, "batch_size": 4, "ends": 0, "checks": 2, "progress": False}
    race = la.network_race(surface, [Breaking(), "gd", Short()], **settings)
    assert list(race.runners) == ["gd", "short"] and race.runners["short"].steps.tolist()[-1] == 2
    assert race.provenance["failed"]["breaking"].startswith("ZeroDivisionError: by zero (test_failures.py")
    assert "breaking failed" in race.table().title
    alone = la.network_race(surface, ["gd"], **settings)
    assert torch.equal(race.final("gd"), alone.final("gd"))
    race.save(tmp_path)
    assert la.load(tmp_path).provenance["failed"] == race.provenance["failed"]
    with pytest.raises(ZeroDivisionError):
        la.network_race(surface, [Breaking()], **settings)
    with pytest.raises(la.InputError, match="random queries no gradients"):
        la.network_race(surface, ["gd", "random"], **settings)
