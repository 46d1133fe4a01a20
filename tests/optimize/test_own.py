"""Optimizers from outside the package are first-class: raced, cited, described, saved and opened again."""

import dataclasses
import pickle
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import lossatlas as la
from lossatlas.cli import main
from lossatlas.cli._optimizers import parse
from lossatlas.optimize import Adam, RecordedOptimizer, TorchOptimizer, catalog, describe, revived
from lossatlas.probe import Gradients, Values

WELLS = la.landscapes.four_wells()
FILE = """
import dataclasses
import torch
import lossatlas as la
from lossatlas.probe import Gradients


@dataclasses.dataclass(frozen=True)
class Mine(la.Optimizer):
    lr: float = 0.05
    betas: tuple = (0.5, 0.9)

    def walk(self, start, layout, rng):
        theta = start
        while True:
            theta = theta - self.lr * (yield Gradients(theta)).gradients.sign()


class Step(torch.optim.SGD):
    pass


def made(lr=0.2):
    return Mine(lr)


@dataclasses.dataclass(frozen=True)
class Strict(Mine):
    mode: str = "slow"
    limit: int | None = 3

    def __post_init__(self):
        1 / (self.lr != 0.1)


def free(mode, lr=0.1):
    return Strict(0.2, mode=mode)


ready = Mine(0.3)
number = 3
"""


@dataclasses.dataclass(frozen=True)
class SignDescent(la.Optimizer):
    lr: float = 0.05
    pair: tuple = (1, 2.0)
    inner: la.Optimizer = dataclasses.field(default_factory=lambda: la.optimizer("adam"))

    def walk(self, start, layout, rng):
        theta = start
        while True:
            theta = theta - self.lr * (yield Gradients(theta)).gradients.sign()


@dataclasses.dataclass(frozen=True)
class Scheduled(SignDescent):
    schedule: object = len
    wanders = True
    reference = "@misc{me2026,\n  title = {Mine}\n}"
    title = "my schedule"


def run(*words):
    with pytest.raises(SystemExit) as end:
        main(list(words))
    return end.value.code


def test_what_a_class_does_not_say_is_said_by_its_name():
    mine = SignDescent()
    assert (mine.name, mine.title, mine.source) == ("sign-descent", "Sign Descent", __name__)
    assert mine.reference is None and mine.evaluates == mine.remembers == "not said"
    assert Gradients in mine.queries and Values in mine.queries and not mine.wanders
    assert Scheduled().name == "scheduled" and Scheduled().title == "my schedule"
    entry = describe(mine)
    assert (
        entry.name == "sign-descent"
        and entry.bibtex.startswith("@misc{sign-descent,")
        and "Sign Descent" in entry.bibtex
    )


def test_a_class_that_says_nonsense_is_refused_when_it_is_made():
    for said in ({"name": 3}, {"title": ""}, {"reference": 5}, {"queries": {Values}}, {"queries": frozenset({int})}):
        with pytest.raises(la.InputError, match=f"Wrong got {next(iter(said))}=.*expected"):
            type("Wrong", (la.Optimizer,), said)


def test_a_class_whose_settings_no_record_could_hold_is_refused_when_it_is_used():
    class Plain(la.Optimizer):
        def __init__(self, lr):
            self.lr = lr

        walk = SignDescent.walk

    class Annotated(la.Optimizer):
        lr: float = 0.1
        walk = SignDescent.walk

    class Below(SignDescent):
        scale: float = 2.0

    for make, has in (
        (lambda: Plain(0.1), "__init__"),
        (Annotated, "lr"),
        (lambda: Annotated(lr=1.0), "lr"),
        (Below, "scale"),
    ):
        with pytest.raises(la.InputError, match=f"has {has} and is no dataclass; expected a frozen one"):
            make()
    assert type("Same", (SignDescent,), {"name": "same"})(lr=0.3).record()["settings"]["lr"] == 0.3


@pytest.mark.parametrize(
    ("methods", "says"),
    [
        ({"walk": lambda self, start: None}, r"a walk that .*expected walk\(self, start, layout, rng\)"),
        ({"walk": lambda self, start, layout, rng, more: None}, "a walk that"),
        ({"plan": lambda self: None}, r"expected plan\(self, steps\)"),
        ({"breaks": lambda self: None}, "expected breaks"),
        ({"becomes": lambda: None}, "expected becomes"),
        ({"__annotations__": {"outside": "float"}}, "settings named outside.*expected other names"),
    ],
)
def test_a_method_that_cannot_be_called_is_refused_when_the_class_is_made(methods, says):
    with pytest.raises(la.InputError, match=says):
        type("Wrong", (la.Optimizer,), methods)


@dataclasses.dataclass(frozen=True)
class Awkward(la.Optimizer):
    """Settings that carry the names that a record uses itself."""

    optimizer: str = "mine"
    name: str = "awkward"
    settings_of: object = None
    inner: la.Optimizer = dataclasses.field(default_factory=lambda: la.optimizer("adam"))

    def walk(self, start, layout, rng):
        yield Values(start)


@dataclasses.dataclass(frozen=True)
class Named(la.Optimizer):
    schedule: dict

    def walk(self, start, layout, rng):
        yield Values(start)


@dataclasses.dataclass(frozen=True)
class Picky(la.Optimizer):
    lr: float = 0.1

    def __post_init__(self):
        if self.lr == 0.3:
            raise KeyError("lr")

    def walk(self, start, layout, rng):
        yield Values(start)


@pytest.mark.slow
@pytest.mark.parametrize(
    "schedule", [{"name": "gd", "lr": 1}, {"optimizer": "gd", "settings": {}}, {"optimizer": 3, "settings": None}]
)
def test_settings_are_never_taken_for_an_optimizer_or_for_the_record(tmp_path, schedule):
    race = la.race(WELLS, {"a": Awkward(), "b": Named(schedule)}, steps=2)
    race.save(tmp_path)
    back = la.load(tmp_path)
    one, two = (back.tracks[label].optimizer for label in "ab")
    assert (
        one == Awkward()
        and one.record()["settings"]["name"] == "awkward"
        and two.name == "named"
        and two.settings()["schedule"] == schedule
    )


def test_a_class_that_refuses_its_settings_now_comes_back_as_its_record():
    record = Picky(0.2).record()
    assert revived(record) == Picky(0.2)
    record["settings"]["lr"] = 0.3
    assert isinstance(revived(record), RecordedOptimizer) and revived(record).settings() == {"lr": 0.3}


def test_the_citation_of_an_unknown_reference_names_the_class():
    odd = type("Odd", (SignDescent,), {"reference": "bernstein2018"})
    race = la.race(WELLS, [odd(), "adam", Scheduled()], steps=2)
    cited = la.citation(race)
    assert "@misc{bernstein2018," in cited and "title = {Odd}" in cited
    assert "kingma2015" in cited and "@misc{me2026," in cited
    assert "kingma2015" in la.citation(SignDescent())  # of what it wraps


@pytest.mark.slow
@pytest.mark.parametrize("at_hand", [True, False])
def test_a_race_with_ones_own_is_saved_and_opened_again(tmp_path, monkeypatch, at_hand):
    mine = SignDescent(lr=0.1, inner=la.optimizer("restart", inner=SignDescent()))
    race = la.race(WELLS, {"mine": mine, "odd": Scheduled(), "gd": "gd"}, steps=6, runs=2)
    race.save(tmp_path)
    if not at_hand:
        monkeypatch.setattr(sys.modules["lossatlas.optimize._recorded"], "class_at_hand", lambda name: None)
    back = la.load(tmp_path)
    one, odd = back.tracks["mine"].optimizer, back.tracks["odd"].optimizer
    assert (one == mine) if at_hand else isinstance(one, RecordedOptimizer)
    assert one.name == "sign-descent" and one.title == "Sign Descent" and one.settings()["lr"] == 0.1
    assert isinstance(odd, RecordedOptimizer) and odd.wanders and odd.title == "my schedule"
    assert (
        torch.equal(back.final("odd"), race.final("odd"))
        and back.verdicts["mine"].sentence == race.verdicts["mine"].sentence
    )
    assert la.citation(back) == la.citation(race)
    assert hash(odd) == hash(odd) and repr(odd).startswith("Scheduled(lr=0.05")
    with pytest.raises(la.InputError, match="expected the class itself"):
        la.race(WELLS, [odd], steps=2)
    (tmp_path / "again").mkdir()
    back.save(tmp_path / "again")
    assert la.load(tmp_path / "again").tracks["odd"].optimizer == odd
    back.plot()


@pytest.mark.slow
def test_maps_and_sweeps_of_ones_own_are_saved_too(tmp_path):
    ground = la.landscapes.himmelblau()
    made = la.basin_map(ground, SignDescent(lr=0.1), points=4, steps=5)
    made.save(tmp_path / "map")
    assert la.load(tmp_path / "map").optimizer == SignDescent(lr=0.1)
    swept = la.sweep(ground, SignDescent(), [0.1, 0.2], setting="pair[1]", steps=3)
    swept.save(tmp_path / "sweep")
    assert la.load(tmp_path / "sweep").setting == "pair[1]"


def test_torch_optimizers_hash_and_print_as_they_are_typed():
    sgd = TorchOptimizer(torch.optim.SGD, lr=0.05, momentum=0.9)
    assert repr(sgd) == "TorchOptimizer(torch.optim.SGD, lr=0.05, momentum=0.9)"
    assert (
        eval(repr(sgd)) == sgd
        and hash(sgd) == hash(eval(repr(sgd)))
        and len({sgd, TorchOptimizer(torch.optim.SGD)}) == 2
    )
    assert hash(pickle.loads(pickle.dumps(sgd))) == hash(sgd)
    assert dataclasses.replace(sgd) == sgd == TorchOptimizer(cls=torch.optim.SGD, lr=0.05, momentum=0.9)
    for made in (
        lambda: TorchOptimizer(torch.optim.SGD, 0.1),
        lambda: TorchOptimizer(),
        lambda: TorchOptimizer(lr=0.1),
    ):
        with pytest.raises(la.InputError, match="expected"):
            made()


@pytest.mark.slow
def test_numpys_numbers_are_settings_and_come_back_as_pythons(tmp_path):
    for name, settings in (
        ("adam", {"lr": np.float32(0.5), "betas": np.array([0.5, 0.75])}),
        ("adam", {"lr": np.float64(0.5), "betas": [np.float64(0.5), np.float64(0.75)]}),
        ("restart", {"restarts": np.int64(2), "length": np.int64(3)}),
        ("de", {"population": np.int64(3), "dither": (np.float64(0.5), np.float64(1.0))}),
        ("beam", {"beams": np.int64(2)}),
    ):
        one = la.optimizer(name, **settings)
        for value in one.settings().values():
            for number in value if isinstance(value, tuple) else [value]:
                assert type(number) in (int, float, dict, type(None))
        race = la.race(WELLS, [one], steps=np.int64(4), runs=np.int64(2), seed=np.int64(3), budget=np.int64(50))
        race.save(tmp_path / name)
        assert la.load(tmp_path / name).tracks[name].optimizer == race.tracks[name].optimizer
    assert la.optimizer("adam", lr=np.float32(0.5), betas=np.array([0.5, 0.75])) == Adam(lr=0.5, betas=(0.5, 0.75))


@pytest.mark.slow
def test_the_command_takes_ones_own_from_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("ours.py").write_text(FILE)
    specs = "ours.py:Mine,ours.py:Mine(lr=0.1, betas=0.1:0.2),ours.py:made,ours.py:made(lr=0.4),ours.py:ready,"
    specs += "restart(inner=ours.py:Mine(lr=0.01), restarts=2),ours.py:Step(lr=0.01)"
    assert run("race", "four-wells", "--optimizers", specs, "--steps", "5", "--out", "out") == 0
    race = la.load("out")
    assert list(race.tracks) == ["mine", "mine-2", "mine-3", "mine-4", "mine-5", "restart", "step"]
    rates = [
        race.tracks[label].optimizer.settings()["lr"] for label in ("mine", "mine-2", "mine-3", "mine-4", "mine-5")
    ]
    assert rates == [0.05, 0.1, 0.2, 0.4, 0.3] and race.tracks["mine-2"].optimizer.settings()["betas"] == (0.1, 0.2)
    assert race.tracks["step"].optimizer.settings() == {"class": "ours.Step", "lr": 0.01}


def test_the_command_takes_words_flags_and_none(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("ours.py").write_text(FILE)
    for spec, settings in {
        "hill_climbing(choice=first)": {"choice": "first"},
        "Hill-Climbing(step=0.2)": {"step": 0.2},
        "restart(length=none)": {"length": None},
        "sophia(correct=yes)": {"correct": True},
        "torch.optim:Adam(amsgrad=true, foreach=none, lr=0.1)": {"amsgrad": True, "foreach": None, "lr": 0.1},
        "ours.py:Strict(lr=0.2, mode=none, limit=none)": {"mode": "none", "limit": None},
        "ours.py:free(mode=fast)": {"mode": "fast"},
    }.items():
        found = parse(spec).settings()
        assert {key: found[key] for key in settings} == settings


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("ours.py:number", "which is a int; expected"),
        ("ours.py:Mine(speed=1)", "could not be made"),
        ("ours.py:ready(lr=1)", "with settings already"),
        ("ours.py:nothing", "has no function"),
        ("theirs.py:Mine", "no file"),
        ("ours.py:Strict(lr=0.1)", "could not be made: ZeroDivisionError: division by zero (ours.py, line"),
        ("adam(lr=0.1, lr=0.2)", "'lr' twice"),
        ("adam(=1)", "expected setting=value"),
        ("adam(lr=none)", "lr=None; expected a finite number"),
        ("adam(speed=fast)", "adam has no setting speed"),
        ("sophia(correct=3)", "correct=3; expected True or False"),
        ("torch.optim:SGD(lr=fast)", "expected a number after the ="),
    ],
)
def test_the_command_refuses_what_is_no_optimizer(tmp_path, monkeypatch, capsys, spec, said):
    monkeypatch.chdir(tmp_path)
    Path("ours.py").write_text(FILE)
    assert run("race", "four-wells", "--optimizers", spec, "--steps", "5") == 2
    assert said in capsys.readouterr().err


def test_the_recipe_runs(capsys):
    page = (Path(__file__).parents[2] / "docs" / "recipes" / "optimizer.md").read_text(encoding="utf-8")
    for block in re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL):
        exec(compile(block, "optimizer.md", "exec"), {"__name__": "recipe"})
    said = capsys.readouterr().out
    assert said.startswith("sign-descent ended") and "@misc{sign-descent," in said and "cauchy1847" in said


def test_help_lists_the_catalogs(capsys):
    assert run("race", "--help") == 0
    said = " ".join(capsys.readouterr().out.split())
    for name in (*catalog, *la.landscapes.catalog):
        assert name in said
