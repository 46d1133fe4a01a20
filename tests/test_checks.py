"""Every public count and seed by one rule: NumPy's whole numbers are numbers; flags, fractions, words and NaN are none."""

import math
from functools import cache

import numpy as np
import pytest
import torch

import lossatlas as la
from lossatlas import _checks
from lossatlas.demo import digits, digits_cnn, digits_mlp, digits_transformer, fit
from lossatlas.lessons import Check, Lesson, Part
from lossatlas.probe import Budget

BAD = {"NaN": math.nan, "inf": math.inf, "1e308": 1e308, "half": 1.5, "flag": True, "word": "3", "negative": -1}
WELLS = [well.minimum for well in la.landscapes.himmelblau().wells]
QUIET = {"progress": False}


@cache
def surface():
    return la.landscapes.himmelblau()


@cache
def network():
    return la.NetworkSurface(digits_mlp((3,)), "cross_entropy", digits("test"))


@cache
def plane():
    return la.Plane.random(surface())


@cache
def charted():
    return la.chart(surface(), plane(), points=5, exact=True, **QUIET)


def connect(**settings):
    kind = {"kind": "bezier", "points": 5, "steps": 2} | settings
    return la.connect(surface(), *WELLS[:2], **kind, **QUIET)


def align(**settings):
    return la.align(network(), digits_mlp((3,), seed=1), digits_mlp((3,), seed=2), **settings, **QUIET)


def recorder(folder, **settings):
    model = digits_mlp((3,))
    return la.Recorder(model, torch.optim.SGD(model.parameters(), lr=0.1), folder, quiet=True, **settings)


def lesson(**settings):
    part = Part("Nothing.", (Check("it is", "so", True),), {})
    return Lesson("X", "Nothing is so.", lambda runs, seed: part, runs=1).run(**settings)


# Names of arguments, with a call and a value that is cheap.
TABLE = {
    "chart points": (lambda n: la.chart(surface(), plane(), points=n, exact=True, **QUIET), 5),
    "chart points of an axis": (lambda n: la.chart(surface(), plane(), points=(n, 5), exact=True, **QUIET), 5),
    "card probes": (lambda n: charted().card(probes=n, seeds=0), 32),
    "card seeds": (lambda n: charted().card(seeds=n), 0),
    "card seed": (lambda n: charted().card(seed=n, seeds=0), 3),
    "compare seeds": (lambda n: la.compare({"a": surface(), "b": surface()}, seeds=n, points=5, exact=True, **QUIET), 1),
    "plane seed": (lambda n: la.Plane.random(surface(), seed=n), 3),
    "line seed": (lambda n: la.Line.random(surface(), seed=n), 3),
    "race steps": (lambda n: la.race(surface(), ["gd"], steps=n), 2),
    "race runs": (lambda n: la.race(surface(), ["annealing"], steps=2, runs=n), 2),
    "race seed": (lambda n: la.race(surface(), ["gd"], steps=2, seed=n), 3),
    "budget": (lambda n: Budget(n), 3),
    "trace seed": (lambda n: la.trace(surface(), seed=n), 3),
    "critical points starts": (lambda n: la.critical_points(surface(), starts=n), 2),
    "connect points": (lambda n: connect(points=n), 5),
    "connect steps": (lambda n: connect(steps=n), 2),
    "connect controls": (lambda n: connect(controls=n), 2),
    "connect batch": (lambda n: connect(batch_size=n), 2),
    "connect resamples": (lambda n: connect(resamples=n), 2),
    "connect seed": (lambda n: connect(seed=n), 3),
    "align restarts": (lambda n: align(restarts=n), 1),
    "align examples": (lambda n: align(examples=n), 8),
    "align seed": (lambda n: align(seed=n), 3),
    "random copy examples": (lambda n: la.random_copy(network(), examples=n), 8),
    "random copy seed": (lambda n: la.random_copy(network(), seed=n), 3),
    "network examples": (lambda n: la.NetworkSurface(digits_mlp((3,)), "mse", (torch.ones(9, 64), torch.ones(9, 10)), examples=n), 4),
    "lesson runs": (lambda n: lesson(runs=n), 2),
    "lesson seed": (lambda n: lesson(seed=n), 3),
    "own lesson runs": (lambda n: Lesson("X", "claim", print, runs=n), 2),
    "digits seed": (lambda n: digits("test", seed=n), 3),
    "mlp seed": (lambda n: digits_mlp((3,), seed=n), 3),
    "cnn seed": (lambda n: digits_cnn(seed=n), 3),
    "transformer seed": (lambda n: digits_transformer(seed=n), 3),
    "fit epochs": (lambda n: fit(digits_mlp((3,)), digits("test"), epochs=n), 1),
    "fit batch size": (lambda n: fit(digits_mlp((3,)), digits("test"), epochs=1, batch_size=n), 64),
    "fit seed": (lambda n: fit(digits_mlp((3,)), digits("test"), epochs=1, seed=n), 3),
}  # fmt: skip
RECORDED = {"every": 2, "keep": 5, "sketch": 128, "start": 4}


@pytest.mark.parametrize("name", TABLE)
def test_a_count_or_seed_that_is_none_is_refused(name):
    call, _ = TABLE[name]
    for bad in BAD.values():
        with pytest.raises(la.InputError, match=r"expected .*(whole number|at least|a vector)"):
            call(bad)


@pytest.mark.parametrize("name", TABLE)
def test_numpys_whole_numbers_are_accepted(name):
    call, good = TABLE[name]
    call(np.int64(good))


@pytest.mark.parametrize("name", RECORDED)
def test_a_recorder_counts_by_the_same_rule(name, tmp_path):
    for k, bad in enumerate(BAD.values()):
        with pytest.raises(la.InputError, match=f"got {name}=.*; expected a whole number"):
            recorder(tmp_path / str(k), **{name: bad})
    recorder(tmp_path / "good", **{name: np.int64(RECORDED[name])}).close()
    assert not (tmp_path / "0").exists()


def test_numbers_come_back_as_pythons_own():
    for given in (3, 3.0, np.int64(3), np.float32(3), np.uint8(3), torch.tensor(3)):
        assert _checks.whole("n", given) == 3 and type(_checks.whole("n", given)) is int
    assert type(_checks.number("x", np.float32(0.5))) is float and type(_checks.flag("f", np.bool_(True))) is bool
    for bad in (0, 6, np.bool_(True), np.array([3]), torch.tensor([3, 4]), None, 2**63):
        with pytest.raises(la.InputError, match="a whole number from 1 to 5"):
            _checks.whole("n", bad, 1, 5)
    with pytest.raises(la.InputError, match="of at least 1 and below 2⁶³"):
        _checks.whole("n", 2**63)
    with pytest.raises(la.InputError, match="True or False"):
        _checks.flag("f", 1)


def test_a_name_is_one_of_those_there_are_or_is_refused():
    assert _checks.one_of("end", "largest", ("both", "largest")) == "largest"
    with pytest.raises(
        la.UnknownNameError, match=r"no end named 'largets'. Did you mean 'largest'\? Known: both, largest"
    ):
        _checks.one_of("end", "largets", ("both", "largest"))
    # What Python itself would refuse in words of its own: no hash, or no single truth value.
    for given in (["largest"], None, np.ones(3), torch.ones(2), {}):
        with pytest.raises(la.UnknownNameError, match="no end named"):
            _checks.one_of("end", given, {"largest": 1})
    with pytest.raises(la.UnknownNameError, match="of shape"):
        la.extremes(surface(), 1, ends=np.ones(3))


@pytest.mark.parametrize(
    "given", ["n" * 256, "a/" + "é" * 128, "/".join(["deep"] * 1000), "a\0b", "\ud800", 3, b"bytes", None]
)
def test_a_path_that_no_file_can_have_is_refused_without_asking_the_disk(given):
    with pytest.raises(la.OutputError, match="expected a path"):
        _checks.path("folder", given, error=la.OutputError)


def test_a_path_is_taken_up_to_the_longest_name():
    assert str(_checks.path("folder", "n" * 255)) == "n" * 255
    assert _checks.path("folder", "a/" * 2000 + "b").name == "b"


def test_work_is_foreseen_as_the_product_of_its_counts():
    assert _checks.work("race", {"steps": 300, "runs": 1000}) == 300_000
    assert _checks.work("race", {"steps": 10**9 - 1}) == 10**9 - 1
    with pytest.raises(
        la.InputError,
        match=r"steps=3 and runs=1,000,000,000: 3,000,000,000 evaluations; expected fewer than 1",
    ):
        _checks.work("race", {"steps": 3, "runs": 10**9})
    with pytest.raises(la.InputError, match="10,000,000,000"):
        la.race(surface(), ["gd"], steps=10, runs=10**9)
    with pytest.raises(la.InputError, match=r"3 × 1,000,000,000 cells, 3,000,000,000"):
        la.chart(surface(), plane(), points=(3, 10**9), **QUIET)


@pytest.mark.parametrize(
    "given",
    [
        [1.0, 2.0],
        np.zeros((1, 2)),
        torch.zeros(2),
        torch.zeros(1, 3),
        torch.zeros(1, 2, device="meta"),
        torch.zeros(1, 2, dtype=torch.bool),
        torch.zeros(1, 2, dtype=torch.complex64),
        torch.zeros(1, 2).to_sparse(),
    ],
)
def test_points_are_rows_of_real_numbers_that_are_there(given):
    with pytest.raises(la.InputError, match=r"got points=.*expected a tensor of real numbers of shape \(B, 2\)"):
        surface().values(given)


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_a_message_can_show_what_cannot_be_printed():
    class Touchy:
        def __repr__(self):
            raise ArithmeticError

    assert _checks.shown(Touchy()) == "Touchy" and _checks.shown("\x1b[31m") == "'\\x1b[31m'"
    assert _checks.shown(torch.nested.nested_tensor([torch.zeros(2)])) == "Tensor" and _checks.shown(10**5000) == "int"


def test_words_flags_functions_and_lists_are_told_from_what_resembles_them():
    assert _checks.is_word("auto", "auto") and not _checks.is_word(np.array(["auto", "b"]), "auto")
    assert _checks.text("title", "a") == "a" and _checks.function("f", len, "a function") is len
    assert _checks.listed("points", (n for n in (1, 2)), "points") == [1, 2]
    for check, given in ((_checks.text, b"a"), (_checks.function, int), (_checks.function, "len"), (_checks.listed, torch.tensor(3)),
                         (_checks.listed, "ab"), (_checks.listed, 3)):  # fmt: skip
        with pytest.raises(la.InputError, match="got x="):
            check("x", given, *(["more"] if check is not _checks.text else []))
