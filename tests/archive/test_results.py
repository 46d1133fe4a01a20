"""The laws of results: every kind comes back bit for bit, damage is refused in words, and a result says itself briefly."""

import html
import json
import re
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
import pytest
import torch
from torch import nn

import lossatlas as la
from lossatlas import archive
from lossatlas.connect import barriers
from lossatlas.curvature import compare_traces, descend_both_sides, sharpness_invariance
from lossatlas.optimize import Optimizer
from lossatlas.probe import Meter
from lossatlas.record import Recording
from lossatlas.surface import Surface

# A model whose class has a name that must not get into a page as it is.
HOSTILE = "<script>alert(1)</script>"


def network(seed: int, dtype: torch.dtype = torch.float32) -> nn.Module:
    torch.manual_seed(seed)
    kind = type(HOSTILE, (nn.Sequential,), {})
    return kind(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)).to(dtype)


def data(rows: int = 12) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(9)
    return torch.randn(rows, 3, generator=generator), torch.arange(rows) % 2


class Shop:
    """One result of every kind, made when it is wanted."""

    def __init__(self, folder):
        self.folder = folder
        self.wells = la.landscapes.four_wells()
        self.surface = la.NetworkSurface(network(0), "cross_entropy", data())
        self.other = la.NetworkSurface(network(0), "cross_entropy", data(8))
        self.a, self.b, self.c = (network(seed) for seed in range(3))
        self.plane = la.Plane.random(self.surface, seed=0)
        self.quiet = {"progress": False}

    def alignment(self):
        return la.align(self.surface, self.a, self.b, **self.quiet)

    def barriers(self):
        return barriers([la.connect(self.surface, self.a, end, **self.quiet) for end in (self.b, self.c)])

    def similarity(self):
        return la.similarity(self.surface, {HOSTILE: self.a, "other": self.b})

    def through(self):
        return la.through(self.surface, self.a, self.b, points=9)

    def basins(self):
        return la.basin_map(self.wells, "adam", points=(5, 4), steps=20)

    def blocks(self):
        return la.per_block(self.surface, limit=40)

    def card(self):
        return self.chart().card()

    def saddle_probability(self):
        return la.p_saddle(self.spectrum(), draws=200)

    def chart(self):
        made = la.chart(self.surface, self.plane, points=9, **self.quiet)
        made.card(budget=300, progress=False)
        return made

    def comparison(self):
        surfaces = {HOSTILE: self.surface, "other": self.other}
        return la.compare(surfaces, seeds=2, points=5, exact=True, **self.quiet)

    def coordinates(self):
        return self.recording().coordinates()

    def copies(self):
        return la.copies(self.surface)

    def copy(self):
        return la.random_copy(self.surface)

    def counterfactual(self):
        return la.counterfactual(self.race(), "gd", runs=3)

    def critical_point(self):
        return la.critical_point(self.wells, point=torch.zeros(2, dtype=torch.float64))

    def critical_points(self):
        return la.critical_points(self.wells, starts=2)

    def advice(self):
        return la.advise(self.wells, budget=120, **self.quiet)

    def critical_sharpness(self):
        return la.critical_sharpness(self.surface)

    def curvature_map(self):
        return la.curvature_map(self.surface, self.plane, points=2, **self.quiet)

    def diagonal(self):
        return la.diagonal(self.surface)

    def eigenpairs(self):
        return la.saddle_directions(self.wells, point=torch.zeros(2, dtype=torch.float64))

    def estimate(self):
        return la.trace(la.landscapes.quadratic(condition=9.0, dimension=70), relative=0.5)

    def extremes(self):
        return la.extremes(self.surface, k=2)

    def fast_ensemble(self):
        return la.fast_ensemble(self.surface, cycles=2, steps=2, batch_size=4, test=self.other, **self.quiet)

    def forecast(self):
        return la.forecast(self.surface, self.plane, points=9)

    def merge(self):
        return la.merge(self.surface, self.a, self.b, test=self.other, **self.quiet)

    def morse_smale(self):
        return self.chart().morse_smale()

    def network_race(self):
        adam = la.optimizer("adam", lr=0.1)
        return la.network_race(
            self.surface,
            {HOSTILE: "gd", "adam": adam},
            test=self.other,
            batch_size=4,
            steps=3,
            runs=2,
            trials=2,
            **self.quiet,
        )

    def path(self):
        return la.connect(self.surface, self.a, self.b, kind="bezier", steps=5, test=self.other, **self.quiet)

    def policy(self):
        return la.policy(self.surface)

    def projection(self):
        return self.plane.project([self.a, self.b])

    def race(self):
        racers = {
            HOSTILE: "annealing",
            "gd": "gd",
            "shaken": la.optimizer("gradient-noise", inner=la.optimizer("adam")),
        }
        return la.race(self.wells, racers, steps=9, runs=3, budget=8)

    def recording(self):
        model = network(4)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        with la.Recorder(model, optimizer, self.folder / "run", every=1, quiet=True):
            for _ in range(5):
                optimizer.zero_grad()
                nn.functional.cross_entropy(model(data()[0]), data()[1]).backward()
                optimizer.step()
        return Recording.load(self.folder / "run")

    def run_curvature(self):
        return la.curvature_along(self.surface, [self.a, self.b], k=2, with_trace=False)

    def saddle_descent(self):
        return descend_both_sides(self.wells, direction=torch.tensor([1.0, 0.5]))

    def sharpness(self):
        return la.sharpness(self.surface, kind="average", samples=4)

    def sharpness_table(self):
        return la.sharpness([self.surface], kind="sam", halves=2)

    def noise_scale(self):
        return la.noise_scale(self.surface, batch_size=2, batches=2)

    def sharpness_invariance(self):
        return sharpness_invariance(network(0), "cross_entropy", data(), measures=[{"kind": "sam"}])

    def smad(self):
        return la.chart(
            self.wells, la.Frame(torch.zeros(2), torch.eye(2)), span=2.0, points=31, exact=True, **self.quiet
        ).smad()

    def spectrum(self):
        return la.spectrum(self.surface, probes=2, steps=5, dense=False)

    def sweep(self):
        return la.sweep(self.wells, "gd", [0.01, 0.1], runs=2, steps=9)

    def topology(self):
        return self.chart().topology()

    def trace_comparison(self):
        return compare_traces(self.surface, self.other, limit=40)

    def trajectory(self):
        runs = {HOSTILE: [self.a, self.b, self.c]}
        return la.trajectory(self.surface, self.plane, runs, points=5, **self.quiet)

    def volume(self):
        return la.volume(self.surface, la.Space.random(self.surface), points=3, **self.quiet)

    def volume_topology(self):
        return self.volume().topology()

    def tuning(self):
        return la.tune("gd", self.wells, trials=3, steps=9)


KINDS = sorted(name for name in vars(Shop) if name[0] != "_" and name != "recording")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """One result of every kind; each is made once."""
    shop, kept = Shop(tmp_path_factory.mktemp("shop")), {}

    def get(name):
        if name not in kept:
            kept[name] = getattr(shop, name)()
        return kept[name]

    return get


def of(value: Any) -> str:
    """The class of a value, by name: doctests import modules a second time."""
    return f"{type(value).__module__}.{type(value).__qualname__}"


def bits(value: Any) -> Any:
    """A value as something that is equal where every bit is: types, shapes and bytes of arrays among it."""
    if isinstance(value, torch.Tensor):
        raw = value.detach().cpu().contiguous()
        return str(raw.dtype), tuple(raw.shape), (raw.float() if raw.dtype == torch.bfloat16 else raw).numpy().tobytes()
    if isinstance(value, np.ndarray):
        return str(value.dtype), value.shape, value.tobytes()
    if isinstance(value, Surface):
        return value.fingerprint()
    if isinstance(value, Optimizer):
        return value
    if is_dataclass(value):
        kept = [one for one in fields(value) if one.metadata.get("saved", True)]
        return of(value), {one.name: bits(getattr(value, one.name)) for one in kept}
    if isinstance(value, dict):
        return {key: bits(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [bits(one) for one in value]
    return float(value).hex() if isinstance(value, float) else value


def parts_of(value: Any):
    """All results inside a result."""
    if isinstance(value, archive.Result):
        yield value
        for one in fields(value):
            if one.metadata.get("saved", True):
                yield from parts_of(getattr(value, one.name))
    elif isinstance(value, dict):
        for one in value.values():
            yield from parts_of(one)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from parts_of(one)


def test_there_is_a_result_of_every_kind_to_test():
    assert la.load  # its module knows all rooms
    assert callable(la.load), "importing it imports all rooms"
    ours = {kind for kind, one in archive.results.items() if one.__module__.startswith("lossatlas.")}
    assert {name.replace("_", "-") for name in KINDS} == ours


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_every_kind_comes_back_bit_for_bit(made, name, tmp_path):
    one = made(name)
    path = one.save(tmp_path)
    assert path.name == f"{name.replace('_', '-')}.json"
    back = la.load(tmp_path)
    assert of(back) == of(one) and bits(back) == bits(one)
    assert repr(back) == repr(one) and archive.dump(back.record()) == archive.dump(one.record())
    assert back.arrays().keys() == one.arrays().keys()


@pytest.mark.parametrize("name", KINDS)
def test_what_is_damaged_is_refused(made, name, tmp_path):
    path = made(name).save(tmp_path)
    whole = json.loads(path.read_text())
    for key in whole["record"]:
        kept = {k: v for k, v in whole["record"].items() if k != key}
        path.write_text(json.dumps(whole | {"record": kept}))
        if key in {one.name for one in fields(made(name))}:
            with pytest.raises(la.InputError, match=r"damaged, or another version wrote it \(no "):
                la.load(tmp_path)
    if whole["arrays"]:
        path.write_text(json.dumps(whole))
        weights = path.with_suffix(".safetensors")
        content = bytearray(weights.read_bytes())
        content[-1] ^= 1
        weights.write_bytes(content)
        with pytest.raises(la.InputError, match="is damaged or does not belong"):
            la.load(tmp_path)
    path.write_text(path.read_text()[:-9])
    with pytest.raises(la.InputError, match="no strict JSON"):
        la.load(tmp_path)


@pytest.mark.parametrize("name", KINDS)
def test_a_result_says_itself_in_a_line_and_in_escaped_html(made, name):
    for one in parts_of(made(name)):
        text, page = repr(one), one._repr_html_()
        assert len(text) < 200 and "\n" not in text and not re.search(r"array\(|tensor\(", text), text
        assert text.startswith(f"<{type(one).__name__}: ")
        assert "<script" not in page and page.count("<p") + page.count("<ul") + page.count("<table")


@pytest.mark.parametrize("name", ["race", "comparison", "network_race", "trajectory", "merge", "path", "card"])
def test_names_of_users_are_shown_and_not_run(made, name):
    assert html.escape(HOSTILE) in made(name)._repr_html_()


@pytest.mark.slow
def test_surfaces_planes_and_recordings_say_themselves_briefly(made, tmp_path):
    shop = Shop(tmp_path)
    things = [shop.surface, shop.wells, shop.surface.on(shop.plane), shop.plane, shop.plane.frame, shop.surface.layout,
              la.Line.between(shop.surface, shop.a, shop.b), shop.recording(), la.landscapes.quadratic(dimension=500),
              shop.plane.project([shop.a]), la.landscapes.quadratic(dimension=500).layout]  # fmt: skip
    for one in things:
        text = repr(one)
        assert len(text) < 200 and "\n" not in text and not re.search(r"array\(|tensor\(", text), text
        assert text.startswith(f"<{type(one).__name__}: ")
    for one in (shop.surface, shop.surface.on(shop.plane)):
        page = one._repr_html_()
        assert html.escape(HOSTILE) in page and "<script" not in page
    # What print says of a network stays whole.
    assert "shortcuts proven so far" in str(shop.surface) and "random plane" in shop.plane._repr_html_()


class Mark(NamedTuple):
    at: float
    what: str


@dataclass(frozen=True, eq=False)
class Part(archive.Result):
    weight: torch.Tensor
    kind: Literal["a", "b"] = "a"


@dataclass(frozen=True, eq=False)
class Mine(archive.Result):
    """A result of a user's own."""

    KIND: ClassVar[str] = "mine-of-the-tests"
    SAYS: ClassVar[tuple[str, ...]] = ("largest",)

    title: str
    parts: dict[str, tuple[Part, ...]]
    marks: tuple[Mark, ...]
    share: float
    maybe: np.ndarray | None
    none: Part | None
    status: archive.Status
    both: str | int = 3
    here: Any = field(default=None, metadata=archive.UNSAVED)

    @property
    def largest(self) -> float:
        return max(float(part.weight.max()) for group in self.parts.values() for part in group)

    @property
    def sentence(self) -> str:
        return f"{self.title} up to {self.largest:g}"


def mine(**changes) -> Mine:
    half = torch.tensor([0.1, 3.0], dtype=torch.bfloat16)
    parts = {
        "a/b": (Part(half), Part(torch.arange(100.0).reshape(2, 50).T, "b")),
        "a%2Fb": (Part(torch.ones(())),),
        "": (),
    }
    told = {"title": "mine", "parts": parts, "marks": (Mark(float("inf"), "x"), Mark(2, "y")), "share": 1, "none": None}
    return Mine(**told | {"maybe": np.float32([[1]]), "status": archive.Status.INTERRUPTED, "here": object()} | changes)


def test_a_result_of_ones_own_is_saved_and_loaded(tmp_path):
    one = mine()
    one.save(tmp_path)
    back = la.load(tmp_path)
    assert (
        type(back) is Mine and back.here is None and back.both == 3 and back.share == 1.0 and type(back.share) is float
    )
    assert bits(back.parts) == bits(one.parts) and back.marks == one.marks and back.maybe.dtype == np.float32
    assert back.status is archive.Status.INTERRUPTED == "interrupted" and "interrupted" in back.status.sentence
    assert bits(la.load(mine(maybe=None, both="x").save(tmp_path)).both) == "x"
    record = one.record()
    assert record["largest"] == 99.0 and record["sentence"] == "mine up to 99" and record["maybe"] == [[1.0]]
    assert record["parts"]["a/b"][1]["weight"] == {"shape": [50, 2], "dtype": "float32"}
    assert repr(one) == "<Mine: mine up to 99>" and "mine up to 99" in one._repr_html_()
    with pytest.raises(la.InputError, match="saved under that name"):
        type("Other", (archive.Result,), {"KIND": "chart"})
    with pytest.raises(la.InputError, match="a Part has no KIND: it is saved only inside a result that holds it"):
        one.parts["a/b"][0].save(tmp_path)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("share", "much", "share is a str, expected float"),
        ("share", True, "share is a bool, expected float"),
        ("title", 3, "title is an int, expected str"),
        ("status", "lost", "not a valid Status"),
        ("marks", [[1.0]], "marks/0 is a list"),
        ("marks", {"a": 1}, "marks is a dict"),
        ("parts", [], "parts is a list"),
        ("none", 3, "none is an int"),
        ("parts", {"x": [{"weight": [1.0], "kind": "a"}]}, "no .*parts/x/0/weight"),
        ("parts", {"x": [{"weight": [1.0], "kind": "c"}]}, "no .*parts/x/0/weight|parts/x/0/kind is a str"),
    ],
)
def test_a_record_that_does_not_fit_is_refused_in_a_sentence(name, value, message):
    record = mine().record() | {name: value}
    with pytest.raises(la.InputError, match=message) as refused:
        Mine.restore(mine().arrays(), record)
    assert "\n" not in str(refused.value) and "make it again" in str(refused.value)


def test_meters_add():
    one, two = Meter(calls=1, values=3, surface_seconds=0.5, runs=2), Meter(calls=2, gradients=4, examples=7, runs=2)
    one._some, two._some = torch.tensor([1, 2]), torch.tensor([4, 0])
    both = one + two
    assert (both.calls, both.values, both.gradients, both.examples) == (3, 3, 4, 7)
    assert both.per_run.tolist() == [5, 2] and both.runs == 2 and both.cost() == 3 + 3 * 4
    assert one.per_run.tolist() == [1, 2], "a sum leaves its parts alone"
    alone = Meter(values=5)
    alone._every = 5
    assert (both + alone).per_run.tolist() == [12] and (alone + both).per_run.tolist() == [12]
    assert sum([Meter(), both, Meter()], Meter()).per_run.tolist() == [5, 2] and sum([both]).per_run.tolist() == [5, 2]
    for order in ([one, two, alone], [alone, one, two], [one, alone, two]):
        assert sum(order, Meter()).per_run.tolist() == [12] and sum(order, Meter()).values == 8
    later = both.copy()
    later.values, later._some = later.values + 2, later.per_run + torch.tensor([1, 1])
    since = later.since(both, seconds=2.0)
    assert (since.values, since.gradients, since.per_run.tolist(), since.algorithm_seconds) == (2, 0, [1, 1], 2.0)
    with pytest.raises(TypeError):
        _ = one + 3
    assert str(Meter(products=2).sentence) == "2 products in 0 s, worth 12 values"


def test_a_race_counts_what_its_racers_did():
    race = la.race(la.landscapes.four_wells(), ["gd", "annealing"], steps=7, runs=3)
    total = sum(race.meter.values(), Meter())
    assert total.per_run.tolist() == [14, 14, 14] and total.queries == 42


@pytest.mark.slow
def test_a_race_of_one_run_comes_back_bit_for_bit(tmp_path):
    race = la.race(la.landscapes.four_wells(), ["gd", "annealing"], steps=4, runs=1)
    assert bits(la.load(race.save(tmp_path).parent)) == bits(race)
    assert torch.equal(la.load(tmp_path).trajectories["gd"], race.trajectories["gd"])


@pytest.mark.parametrize("order", [[2, 0], [0, 2], [0, 0], [0, 2, 0]])
def test_a_sum_of_meters_has_the_runs_of_its_parts(order):
    meters = [Meter(runs=3) for _ in order]
    for meter, counted in zip(meters, order, strict=True):
        meter._every = counted
    for total in (sum(meters), sum(meters, Meter())):
        assert total.runs == 3 and total.per_run.tolist() == [2 * (2 in order)] * 3
    for other in (torch.zeros(1), torch.zeros(3), np.zeros(3)):
        with pytest.raises(TypeError, match="unsupported operand"):
            _ = Meter() + other
    with pytest.raises(TypeError, match="unsupported operand"):
        sum(meters, torch.zeros(1))


@pytest.mark.parametrize(
    ("values", "examples", "said"),
    [
        (0, 0, "nothing evaluated in 0 s, worth 0 values"),
        (1, 0, "1 value in 0 s, worth 1 value"),
        (2, 1, "2 values over 1 example in 0 s, worth 2 values"),
    ],
)
def test_a_meter_says_one_and_many(values, examples, said):
    assert Meter(values=values, examples=examples).sentence == said


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("tuning", r"<Tuning: .*: a median loss of [-\d.]+, the best of 3 trials>"),
        ("sharpness_invariance", "<Invariance: invariant to rescaling: .*>"),
        ("alignment", "<Alignment: 1 group of 4 units, .*>"),
    ],
)
def test_lines_of_results_say_what_came_out(made, name, said):
    assert re.fullmatch(said, repr(made(name)))
    specification = made("alignment").specification
    assert re.fullmatch(r"<Specification: 1 group of 4 units may be moved \(traced\); .*>", repr(specification))


def test_another_card_of_a_loaded_chart_is_refused_by_its_settings(made, tmp_path):
    made("chart").save(tmp_path)
    loaded = la.load(tmp_path)
    assert loaded.card().record() == made("chart").card().record()
    with pytest.raises(la.InputError, match=r"got card\(budget=…\) on a chart .*only the card it was saved with"):
        loaded.card(budget=10)
