"""Straight lines: profiles, barriers, intervals, and what is refused."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn

import lossatlas as la
from lossatlas.connect import DEFINITIONS
from lossatlas.connect._barrier import above, barrier, bootstrap, monotone_rise, percentiles
from lossatlas.connect._profile import BREAK_EVEN, Profile, adaptive
from lossatlas.demo import digits
from lossatlas.probe import Exchange


def ends(surface):
    return [well.minimum for well in surface.wells]


@pytest.mark.parametrize("stiffness, bend", [(4.0, 1.0), (0.5, 0.7), (20.0, -0.5)])
def test_the_barrier_of_two_wells_is_the_closed_form(bent_valley, stiffness, bend):
    surface = bent_valley(stiffness, bend)
    path = la.connect(surface, *ends(surface), progress=False)
    assert path.barrier == pytest.approx(1 + stiffness * bend**2, rel=1e-9)
    assert path.train.barriers["entezari"].t == pytest.approx(0.5)
    # along the line the loss is (1 + k c²)(1 − x²)² with x = 2t − 1, a quartic
    fine = np.linspace(0, 1, 200)
    truth = (1 + stiffness * bend**2) * (1 - (2 * fine - 1) ** 2) ** 2
    assert np.abs(path.profile(fine) - truth).max() <= 2 * path.profile_error
    assert path.interval is None and path.error is None and "no interval" in " ".join(path.notes)
    assert path.length == pytest.approx(2.0)


@pytest.mark.slow
def test_the_profile_is_what_a_plain_loop_over_state_dicts_gives(mlps):
    (one, two), surface, test = mlps
    path = la.connect(surface, one, two, test=test, progress=False)
    x, y = digits("train")
    for k in (0, 5, len(path.t) - 1):
        mixed = {n: torch.lerp(p, two.state_dict()[n], float(path.t[k])) for n, p in one.state_dict().items()}
        model = copy.deepcopy(one)
        model.load_state_dict(mixed)
        with torch.no_grad():
            output = model(x)
        assert path.loss[k] == pytest.approx(float(nn.functional.cross_entropy(output, y)), rel=1e-5)
        assert path.error[k] == pytest.approx(1 - float((output.argmax(1) == y).double().mean()), abs=1e-6)
    assert path.test is not None and path.test.loss.shape == path.t.shape
    assert path.t[0] == 0 and path.t[-1] == 1 and len(path.t) <= 20
    assert path.meter.values == 2 * len(path.t)
    assert path.meter.examples == len(path.t) * (surface.examples + test.examples)


@pytest.mark.slow
def test_all_three_definitions_agree_with_their_formulas(mlps):
    (one, two), surface, test = mlps
    path = la.connect(surface, one, two, test=test, definition="frankle", progress=False)
    for side in (path.train, path.test):
        loss, t = side.loss, path.t
        assert side.barriers["entezari"].value == max(loss - ((1 - t) * loss[0] + t * loss[-1]))
        assert side.barriers["ainsworth"].value == max(loss) - (loss[0] + loss[-1]) / 2
        assert side.barriers["frankle"].value == max(side.error) - (side.error[0] + side.error[-1]) / 2
        for one_way in side.barriers.values():
            assert one_way.interval[0] <= one_way.value <= one_way.interval[1]
    assert path.barrier == path.train.barriers["frankle"].value
    assert set(path.barriers["train"]) == set(DEFINITIONS)


def test_each_definition_is_its_formula_where_they_differ():
    """Ends of unequal height, and the peak over the chord elsewhere than the peak over the mean of the ends."""
    t, y = [0.0, 0.1, 0.3, 0.7, 1.0], [3.0, 3.2, 2.0, 2.9, 0.0]
    formulas = {
        "entezari": [y[k] - ((1 - t[k]) * y[0] + t[k] * y[-1]) for k in range(5)],
        "ainsworth": [y[k] - (y[0] + y[-1]) / 2 for k in range(5)],
        "frankle": [y[k] - (y[0] + y[-1]) / 2 for k in range(5)],
    }
    peaks = []
    for name, heights in formulas.items():
        found = barrier(name, np.array(t), np.array(y))
        peaks.append(t[heights.index(max(heights))])
        assert found.value == pytest.approx(max(heights)) and found.t == peaks[-1]
    assert peaks == [0.7, 0.1, 0.1]


@pytest.mark.slow
def test_between_wells_of_unequal_depth_the_definitions_differ():
    """From A to the global well of the four wells, against a plain loop over 2,001 points of the line."""
    surface = la.landscapes.four_wells()
    wells = {well.name: well.minimum for well in surface.wells}
    path = la.connect(surface, wells["A"], wells["global"], points=60, tolerance=1e-6, progress=False)
    fine = [k / 2000 for k in range(2001)]
    losses = [float(surface.values((1 - t) * wells["A"][None] + t * wells["global"][None])[0]) for t in fine]
    chord = max(y - ((1 - t) * losses[0] + t * losses[-1]) for t, y in zip(fine, losses, strict=True))
    mean = max(losses) - (losses[0] + losses[-1]) / 2
    assert path.train.barriers["entezari"].value == pytest.approx(chord, rel=1e-4)
    assert path.train.barriers["ainsworth"].value == pytest.approx(mean, rel=1e-4)
    assert abs(chord - mean) > 0.05 * chord


@pytest.mark.slow
def test_the_filled_in_profile_is_as_good_as_61_points_for_a_third_of_them(mlps):
    (one, two), surface, _ = mlps
    path = la.connect(surface, one, two, resamples=0, progress=False)
    fine = np.linspace(0, 1, 601)
    truth = surface.on(la.Line.between(surface, one, two)).values(torch.from_numpy(fine)[:, None]).numpy()
    grid = np.linspace(0, 1, 61)
    drawn = np.interp(fine, grid, truth[::10])
    error = np.abs(path.profile(fine) - truth).max()
    assert len(path.t) <= 61 / 3
    assert error <= np.abs(drawn - truth).max()
    assert error <= 1.5 * path.profile_error  # what it says of itself is about what it is
    assert truth.max() - path.loss.max() <= 1e-3 * np.ptp(truth)  # closed in on the maximum


def test_hermite_profiles_meet_their_slopes():
    t = np.linspace(0, 1, 5)
    known = Profile(t, t**3 - t, 3 * t**2 - 1)
    fine = np.linspace(0, 1, 50)
    assert known(fine) == pytest.approx(fine**3 - fine, abs=1e-14)  # cubics are met exactly
    assert known.errors().max() < 1e-14


def test_slopes_are_asked_for_where_they_pay(bent_valley):
    surface = bent_valley()
    dear = la.connect(surface, *ends(surface), progress=False)
    cheap = la.connect(surface, *ends(surface), exchange=Exchange(gradient=1.0), progress=False)
    assert dear.slopes is None and dear.meter.gradients == 0
    assert BREAK_EVEN > 1 and cheap.slopes is not None and cheap.meter.gradients == len(cheap.t)
    x = 2 * cheap.t - 1
    assert cheap.slopes == pytest.approx(2 * 5 * 2 * (1 - x**2) * -2 * x, abs=1e-9)
    assert cheap.profile_error < dear.profile_error or len(cheap.t) < len(dear.t)
    with pytest.raises(la.NotApplicableError, match="straight lines"):
        la.connect(surface, *ends(surface), kind="bezier", slopes=True, progress=False)


def test_a_kink_is_kept_where_a_path_has_one():
    def asked(t):
        return np.abs(t - 0.5)

    asker = adaptive(40, 1e-6, np.array([0.0, 0.5, 1.0]))
    t = next(asker)
    with pytest.raises(StopIteration) as done:
        while True:
            t = asker.send((asked(t), None))
    known = done.value.value
    fine = np.linspace(0, 1, 77)
    assert known(fine) == pytest.approx(asked(fine), abs=1e-12)


def test_the_bootstrap_is_paired_and_covers():
    """400 samples of 200 examples with a hardness shared by both t: the paired interval must cover 95 % and be narrow.

    Coverage of a 95 % interval over 400 draws is at least 0.91 with probability above 0.999.
    """
    rng = np.random.default_rng(0)
    covered, widths = 0, []
    for k in range(400):
        hard = rng.exponential(3.0, 200)
        rows = np.stack([hard, hard + 1 + 0.3 * rng.standard_normal(200), hard])
        draws = above("entezari", np.array([0.0, 0.5, 1.0]), bootstrap(rows, resamples=200, seed=k))[:, 1]
        low, high = percentiles(draws)
        covered += low <= 1.0 <= high
        widths.append(high - low)
    assert covered >= 0.91 * 400
    assert np.mean(widths) < 0.1  # unpaired it would be 4 · 3 · sqrt(1.5 / 200) = 1.04


def test_a_line_from_the_start_says_whether_it_is_monotone(mlps):
    (one, _), surface, _ = mlps
    start = copy.deepcopy(one)
    torch.manual_seed(0)
    for module in start:
        if isinstance(module, nn.Linear):
            module.reset_parameters()
    path = la.connect(surface, start, one, progress=False)
    assert path.train.rise == max(
        path.loss[j] - path.loss[i] for i in range(len(path.t)) for j in range(i, len(path.t))
    )
    assert path.monotone == bool((np.diff(path.loss) <= 0).all())
    assert path.train.rise_interval[0] <= path.train.rise <= path.train.rise_interval[1] + 1e-12
    assert "Vlaar" in path.caption() and "Frankle" in path.caption()
    assert monotone_rise(np.array([3.0, 2.0, 1.0])) == 0 and monotone_rise(np.array([3.0, 1.0, 2.0])) == 1


@pytest.mark.slow
def test_saved_and_loaded_it_is_the_same(mlps, tmp_path):
    (one, two), surface, test = mlps
    path = la.connect(surface, one, two, test=test, points=5, progress=False)
    path.save(tmp_path)
    back = la.load(tmp_path)
    assert back.record() == path.record() and back.barriers == path.barriers
    assert np.array_equal(back.test.high, path.test.high) and torch.equal(back.points(0.3), path.points(0.3))


@pytest.mark.slow
def test_pictures_are_drawn(mlps, tmp_path):
    (one, two), surface, test = mlps
    path = la.connect(surface, one, two, test=test, points=6, progress=False)
    for name, display in {
        "loss": path.plot(),
        "error": path.plot(quantity="error"),
        "both": path.plot(label="one", also={"other": path}, arc=True),
    }.items():
        assert display.save(tmp_path / f"{name}.png").stat().st_size > 10_000


@pytest.mark.slow
def test_a_loss_that_is_not_finite_on_the_way_is_kept_and_said(tmp_path):
    model = nn.Linear(1, 1, bias=False).double()
    nn.init.ones_(model.weight)

    def loss(output, target):
        return (1 / (output.abs() > 0.2).double() * output**2).mean()

    surface = la.NetworkSurface(model, loss, (torch.ones(2, 1).double(), torch.zeros(2, 1)))
    path = la.connect(surface, torch.tensor([-1.0]), torch.tensor([1.0]), progress=False)
    assert math.isinf(path.barrier) and path.interval is None and path.status == "not finite"
    assert any("not finite" in note for note in path.notes) and not np.isfinite(path.loss).all()
    path.save(tmp_path)
    assert math.isinf(la.load(tmp_path).barrier)
    path.plot().render()


class Renamed(nn.Module):
    def __init__(self, like):
        super().__init__()
        self.first, self.second, self.third = copy.deepcopy(like[0]), copy.deepcopy(like[2]), copy.deepcopy(like[4])


@pytest.mark.parametrize(
    "b, message",
    [
        ("itself", "the same point"),
        ("other width", "another architecture.*of another shape"),
        ("other depth", "missing: 4.weight"),
        ("other names", r"same shapes can be paired.*'0.weight': 'first.weight'.*names='guess'"),
        ("nan", "not finite"),
        ("vector", "one per parameter"),
        ("missing file", "no checkpoint file"),
    ],
)
def test_ends_that_do_not_fit_are_refused(mlps, b, message, tmp_path):
    (one, two), surface, _ = mlps
    from lossatlas.demo import digits_mlp

    broken = copy.deepcopy(two)
    with torch.no_grad():
        broken[0].weight[0, 0] = float("nan")
    given = {
        "itself": copy.deepcopy(one),
        "other width": digits_mlp((32, 16)),
        "other depth": digits_mlp((32,)),
        "other names": Renamed(two),
        "nan": broken,
        "vector": torch.zeros(3),
        "missing file": tmp_path / "none.safetensors",
    }[b]
    with pytest.raises(la.InputError, match=message):
        la.connect(surface, one, given, progress=False)


@pytest.mark.slow
def test_other_names_are_taken_when_they_are_mapped(mlps):
    (one, two), surface, _ = mlps
    plain = la.connect(surface, one, two, points=5, progress=False)
    by_order = la.connect(surface, one, Renamed(two), names="guess", points=5, progress=False)
    pairs = {
        f"{k}.{kind}": f"{n}.{kind}"
        for k, n in ((0, "first"), (2, "second"), (4, "third"))
        for kind in ("weight", "bias")
    }
    by_hand = la.connect(surface, one, Renamed(two), names=pairs, points=5, progress=False)
    assert np.array_equal(plain.loss, by_order.loss) and np.array_equal(plain.loss, by_hand.loss)
    both = la.connect(surface, Renamed(one), Renamed(two), names="guess", points=5, progress=False)
    assert np.array_equal(plain.loss, both.loss)
    with pytest.raises(la.InputError, match="no entry 'elsewhere'"):
        la.connect(surface, one, two, names={"0.weight": "elsewhere"}, progress=False)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"kind": "spline"}, "no kind of path"),
        ({"points": 2}, "from 3 to 100,000"),
        ({"tolerance": 0.0}, "tolerance"),
        ({"tolerance": "a"}, "tolerance"),
        ({"points": 10**9}, "points=1000000000; expected a whole number from 3 to 100,000"),
        ({"kind": "bezier", "controls": 10**6}, "controls=1000000; expected"),
        ({"kind": "line", "controls": 3}, "controls=3 for a line, which has none"),
        ({"resamples": 10**12}, "resamples"),
        ({"steps": 10**30}, "from 0 to 999,999,999"),
        ({"definition": "mine"}, "no definition"),
        ({"definition": "frankle"}, "needs an error"),
        ({"statistics": "mean"}, "no treatment"),
    ],
)
def test_settings_that_cannot_be_are_refused(bent_valley, settings, message):
    surface = bent_valley()
    with pytest.raises(la.LossAtlasError, match=message):
        la.connect(surface, *ends(surface), progress=False, **settings)


def test_a_frozen_parameter_that_differs_is_refused(mlps):
    (one, two), _, _ = mlps
    frozen = copy.deepcopy(one)
    frozen[0].weight.requires_grad_(False)
    surface = la.NetworkSurface(frozen, "cross_entropy", digits("test"))
    with pytest.raises(la.InputError, match=r"differs from the surface in '0.weight'"):
        la.connect(surface, frozen, two, progress=False)


@pytest.mark.slow
@pytest.mark.parametrize(
    "bad", [math.nan, math.inf, -math.inf, 1e308, 1.5, True, "3", -1, torch.tensor(math.nan), None]
)
def test_counts_that_are_none_are_refused_in_one_sentence(mlps, bad):
    """Before anything is evaluated or trained: a NaN once trained a curve without end."""
    (one, two), surface, _ = mlps
    wells = ends(la.landscapes.himmelblau())
    for name in ("steps", "points", "controls", "resamples", "batch_size", "seed"):
        if bad is None and name in ("points", "controls"):  # there it stands for the default
            continue
        for kind in ("bezier", "band"):
            with pytest.raises(la.InputError, match=f"got {name}=.*; expected a whole number"):
                la.connect(la.landscapes.himmelblau(), *wells[:2], kind=kind, progress=False, **{name: bad})
    for name in ("lr", "weight_decay"):
        if bad in (1e308, 1.5):
            continue
        with pytest.raises(la.InputError, match=f"got {name}=.*; expected a finite number"):
            la.connect(la.landscapes.himmelblau(), *wells[:2], kind="bezier", progress=False, **{name: bad})
    for call, names in ((la.align, ("restarts", "examples", "seed")), (la.merge, ("restarts", "seed"))):
        for name in names:
            with pytest.raises(la.InputError, match=f"got {name}=.*; expected a whole number"):
                call(surface, one, two, progress=False, **{name: bad})
    with pytest.raises(la.InputError, match="got t="):
        la.merge(surface, one, two, t=math.nan if bad is None else bad, progress=False)
    for name in ("examples", "seed"):
        with pytest.raises(la.InputError, match=f"got {name}=.*; expected a whole number"):
            la.random_copy(surface, one, **{name: bad})


def test_numpys_numbers_are_numbers(bent_valley):
    surface = bent_valley()
    plain = la.connect(surface, *ends(surface), kind="bezier", points=9, steps=3, batch_size=8, seed=2, progress=False)
    numpys = {name: np.int64(value) for name, value in {"points": 9, "steps": 3, "batch_size": 8, "seed": 2}.items()}
    found = la.connect(surface, *ends(surface), kind="bezier", progress=False, controls=np.int64(1), **numpys)
    assert np.array_equal(found.loss, plain.loss) and found.provenance["training"] == plain.provenance["training"]
