"""Any Python function of a vector as a surface: which gradient it has, what works on it, what is refused."""

import math
import pickle
import warnings

import numpy as np
import pytest
import torch
from scipy.optimize import rosen, rosen_der, rosen_hess

import lossatlas as la
from lossatlas.surface import Function

BOX = [(-2, 2), (-1, 3)]
POINTS = torch.tensor([[0.3, -0.5], [1.2, 2.0], [-1.5, 0.1], [1.0, 1.0]], dtype=torch.float64)


def plain(x):
    """Arithmetic only: the same of tensors and arrays."""
    return 100 * (x[1] - x[0] ** 2) ** 2 + (1 - x[0]) ** 2


def rows(x):
    return 100 * (x[:, 1] - x[:, 0] ** 2) ** 2 + (1 - x[:, 0]) ** 2


def by_numpy(x):
    return float(rosen(np.asarray(x)))


def half_seen(x):
    """Autograd sees one of its two terms."""
    return x[0] ** 2 + math.sin(x[1])


KINDS = {
    "torch": lambda: Function(plain, BOX),
    "batched": lambda: Function(rows, BOX, batched=True),
    "given": lambda: Function(by_numpy, BOX, gradient=rosen_der),
    "given, batched": lambda: Function(
        lambda x: rosen(x.T), BOX, gradient=lambda x: rosen_der(x.T).T, batched=True, start=(0.5, 0.5)
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_values_gradients_and_products_are_scipys(kind):
    surface = KINDS[kind]()
    values, gradients = surface.gradients(POINTS)
    assert surface.gradients_known and surface.notes == () and surface.dimension == 2
    assert torch.equal(surface.values(POINTS), values) and values.dtype == torch.float64
    for point, value, gradient in zip(POINTS.numpy(), values, gradients, strict=True):
        assert float(value) == pytest.approx(rosen(point), rel=1e-13)
        assert gradient.numpy() == pytest.approx(rosen_der(point), rel=1e-10, abs=1e-10)
    products = surface.products(POINTS[0], torch.eye(2, dtype=torch.float64)).numpy()
    assert products == pytest.approx(rosen_hess(POINTS[0].numpy()), rel=1e-5)
    assert surface.values(POINTS[:0]).shape == (0,) and surface.gradients(POINTS[:0])[1].shape == (0, 2)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Function(by_numpy, BOX), "not made of torch operations"),
        (lambda: Function(lambda x: torch.as_tensor(np.cos(x.numpy())).sum(), BOX), "autograd fails"),
        (lambda: Function(half_seen, BOX), "autograd differs from central differences"),
        (lambda: Function(lambda x: torch.round(10 * x).sum() + x.detach().sum(), BOX), "autograd"),
        (
            lambda: Function(by_numpy, BOX, gradient=lambda x: 1.01 * rosen_der(x)),
            "the gradient that was given differs",
        ),
        (lambda: Function(lambda x: x[0] * math.nan, BOX), "finite at no point"),
    ],
)
def test_a_gradient_that_is_not_proven_is_not_used_and_a_sentence_says_so(make, says):
    with warnings.catch_warnings(action="error"):
        surface = make()
        surface.values(POINTS)
    assert not surface.gradients_known and len(surface.notes) == 1 and says in surface.notes[0]
    assert surface.notes[0].startswith("values only")
    with pytest.raises(la.NotApplicableError, match="values only"):
        surface.gradients(POINTS)


def test_kinks_and_holes_are_data():
    surface = Function(lambda x: x[0].abs() + torch.log(x[1]), [(-1, 1), (-1, 1)])
    values = surface.values(torch.tensor([[0.5, -0.5], [0.5, 0.0], [-0.5, 1.0]], dtype=torch.float64))
    assert math.isnan(values[0]) and values[1] == -math.inf and float(values[2]) == 0.5
    assert surface.gradients_known
    chart = la.chart(surface, la.Plane.of(surface, [1, 0], [0, 1]), points=9, exact=True, progress=False)
    assert np.isnan(chart.loss[:4]).all() and np.isfinite(chart.loss[5:]).all()


class Odd(Exception):
    pass


def test_an_exception_of_the_users_code_keeps_its_traceback_and_names_the_point():
    def fails(x):
        if x[0] > 1:
            raise Odd("no such place")
        return x[0] + x[1]

    surface = Function(fails, BOX)
    with pytest.raises(Odd, match=r"fails failed at θ = \(1.5, 2\): Odd: no such place") as caught:
        surface.values(torch.tensor([[0.0, 0.0], [1.5, 2.0]], dtype=torch.float64))
    assert isinstance(caught.value, la.InputError) and "fails(x)" not in str(caught.value)
    assert caught.value.__cause__.__traceback__.tb_next is not None and type(caught.value.__cause__) is Odd
    with pytest.raises(la.InputError, match="NameError"):
        Function(lambda x: nowhere(x), BOX)  # noqa: F821


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Function(3, BOX), "type int"),
        (lambda: Function(plain, BOX, gradient=[0, 0]), "type list"),
        (lambda: Function(plain), "neither a box nor a start"),
        (lambda: Function(plain, [(-1, 1), (2, 1)]), "low ≤ high"),
        (lambda: Function(plain, BOX, names=3), "2 names"),
        (lambda: Function(plain, BOX, name=3), "name=3"),
        (lambda: Function(plain, BOX, minima=3), "points by name"),
        (lambda: Function(plain, BOX, minima=["a"]), "have no names"),
        (lambda: Function(plain, [1, 2]), "low, high"),
        (lambda: Function(plain, BOX, start=(0, 0, 0)), "box of 2"),
        (lambda: Function(plain, BOX, names=["a"]), "expected 2"),
        (lambda: Function(rows, BOX), "failed at"),
        (lambda: Function(lambda x: x, BOX), "one real number"),
        (lambda: Function(lambda x: (x**2).sum(), BOX, batched=True), "one per row"),
        (lambda: Function(lambda x: x[:, 0] - x.mean(), BOX, batched=True), "each row alone"),
        (lambda: Function(lambda x: x[0] + torch.rand(()), BOX), "fixed function"),
        (lambda: Function(plain, BOX).values(torch.zeros(3, 3)), "one row per point"),
    ],
)
def test_what_is_no_function_of_a_vector_is_refused(make, words):
    with pytest.raises(la.InputError, match=words):
        make()


def himmelblau(x):
    return (x[:, 0] ** 2 + x[:, 1] - 11) ** 2 + (x[:, 0] + x[:, 1] ** 2 - 7) ** 2


NEAR = {"global": (3, 2), "second": (-2.8, 3.1), "third": (-3.8, -3.3), "fourth": (3.6, -1.8)}


@pytest.mark.slow
def test_what_works_on_a_landscape_works_on_a_function():
    surface = Function(
        himmelblau, [(-5, 5), (-5, 5)], batched=True, minima=NEAR, start=(0, 0), names=("width", "height")
    )
    known = la.landscapes.himmelblau()
    for well, other in zip(surface.wells, known.wells, strict=True):
        assert torch.allclose(well.minimum, other.minimum, atol=1e-9) and abs(well.value) < 1e-20
    race, there = (la.race(ground, ["gd", "adam"], steps=60) for ground in (surface, known))
    for label in race.tracks:
        assert race.verdicts[label].wells == there.verdicts[label].wells
        assert torch.allclose(race.tracks[label].final, there.tracks[label].final, atol=1e-8)
    ends = [la.basin_map(ground, "gd", points=6, steps=60, progress=False).ends for ground in (surface, known)]
    assert np.array_equal(*ends)
    assert la.extremes(surface, k=1).largest.values[0] == pytest.approx(la.extremes(known, k=1).largest.values[0])
    assert surface.plot(points=11).ax_.get_xlabel() == "width"


def test_slices_of_a_function_of_many_numbers():
    """On a random plane against a double loop over SciPy's function, here and after a pickle."""
    surface = Function(long, start=np.full(6, 0.5))
    plane = la.Plane.random(surface, seed=1)
    chart = la.chart(surface, plane, points=(4, 3), span=0.5, exact=True, progress=False)
    origin, (d1, d2) = plane.frame.origin.numpy(), plane.frame.directions.numpy()
    for j, beta in enumerate(chart.beta):
        for i, alpha in enumerate(chart.alpha):
            assert chart.loss[j, i] == pytest.approx(rosen(origin + alpha * d1 + beta * d2), rel=1e-12)
    piece = surface.on(la.Plane.of(surface, np.eye(6)[0], np.eye(6)[3]))
    coords = torch.tensor([[0.1, 0.2], [-1.0, 0.5]], dtype=torch.float64)
    assert torch.equal(pickle.loads(pickle.dumps(piece)).values(coords), piece.values(coords))
    hessian = la.hessian(surface)
    assert np.asarray(hessian) == pytest.approx(rosen_hess(np.full(6, 0.5)), abs=1e-9)


def long(x):
    return (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()


def test_values_alone_are_raced_and_charted():
    surface = Function(by_numpy, BOX)
    race = la.race(surface, ["hill-climbing", "gd"], steps=50)
    assert race.verdicts["gd"].stopped[0] == "not applicable" and float(race.tracks["hill-climbing"].loss[0]) < rosen(
        [0, 1]
    )
    chart = la.chart(surface, la.Line.of(surface, [1.0, 0.0]), points=(7, 1), exact=True, progress=False)
    assert chart.loss[0] == pytest.approx([rosen([t, 1.0]) for t in np.linspace(-1, 1, 7)])


@pytest.mark.slow
def test_a_race_on_it_is_cited_saved_and_loaded(tmp_path):
    surface = Function(plain, BOX, minima=[(1, 1)])
    race = la.race(surface, ["adam"], steps=30)
    race.save(tmp_path)
    back = la.load(tmp_path)
    assert str(back.table()) == str(race.table()) and la.citation(back) == la.citation(race)
    assert back.surface.wells[0].minimum.tolist() == pytest.approx([1, 1])
    assert la.load(tmp_path, surface=Function(plain, BOX, minima=[(1, 1)])).surface.gradients_known
    with pytest.raises(la.InputError, match="code"):
        la.load(tmp_path, surface=Function(lambda x: 2 * plain(x), BOX, name="plain"))


@pytest.mark.parametrize(
    "use",
    [
        lambda f: la.race(f, ["gd"]),
        lambda f: la.chart(f, None),
        lambda f: la.Plane.random(f),
        lambda f: la.Line(f, la.directions.gradient()),
        lambda f: la.extremes(f, k=1),
        lambda f: la.Probe(f),
        lambda f: la.connect(f, [0, 0], [1, 1]),
    ],
)
def test_a_plain_function_where_a_surface_is_expected_is_told_its_way(use):
    with pytest.raises(la.InputError, match=r"lossatlas\.Function"):
        use(plain)
    with pytest.raises(la.InputError, match=r"lossatlas\.NetworkSurface"):
        use(torch.nn.Linear(2, 1))


@pytest.mark.parametrize("batched", [False, True])
@pytest.mark.parametrize("given", ["torch", "numpy", "gradient"])
def test_a_coordinate_whose_bounds_are_equal_is_held_there(batched, given):
    aim = torch.tensor([0.3, 9.0, -0.4], dtype=torch.float64)

    def f(x):
        assert x.shape[-1] == 3 and bool((x[..., 1] == 0.5).all())
        if given == "numpy":
            return ((np.asarray(x) - aim.numpy()) ** 2).sum(-1)
        return ((torch.as_tensor(x) - aim) ** 2).sum(-1)

    def slope(x):
        return 2 * (torch.as_tensor(x) - aim)

    box = [(-1, 1), (0.5, 0.5), (-2, 2)]
    surface = la.Function(
        f,
        box,
        batched=batched,
        gradient=slope if given == "gradient" else None,
        minima=[aim] if given == "torch" else (),
    )
    assert surface.dimension == 2 and surface.box.tolist() == [[-1, 1], [-2, 2]] and surface.names == ("w₁", "w₃")
    assert surface.start.tolist() == [0.0, 0.0] and surface.whole(surface.start).tolist() == [0.0, 0.5, 0.0]
    point = torch.tensor([[0.1, 0.2], [0.3, -0.4]], dtype=torch.float64)
    assert torch.allclose(surface.values(point), ((point - aim[[0, 2]]) ** 2).sum(1) + 8.5**2)
    assert surface.whole(point).tolist() == [[0.1, 0.5, 0.2], [0.3, 0.5, -0.4]]
    if given != "numpy":
        assert torch.allclose(surface.gradients(point)[1], 2 * (point - aim[[0, 2]]))
    assert "held fixed: w₂ = 0.5" in surface.notes
    best = la.race(surface, ["nelder-mead"], steps=60).final("nelder-mead")[0]
    assert torch.allclose(surface.whole(best), torch.tensor([0.3, 0.5, -0.4]).double(), atol=1e-3)
    if given == "torch":
        assert surface.wells[0].minimum.tolist() == pytest.approx([0.3, -0.4])


def test_what_is_held_is_part_of_a_surfaces_identity_and_not_everything_can_be():
    def f(x):
        return (x * x).sum()

    made = [la.Function(f, [(-1, 1), (at, at)]) for at in (0.5, 0.25)]
    assert made[0].fingerprint() != made[1].fingerprint()
    with pytest.raises(la.InputError, match="bounds are all equal"):
        la.Function(f, [(1, 1), (2, 2)])
    with pytest.raises(la.InputError, match="low ≤ high"):
        la.Function(f, [(-1, 1), (2, 1)])
    with pytest.raises(la.InputError, match="expected points of 1 coordinates"):
        made[0].whole([1.0, 2.0])


@pytest.mark.parametrize("found", [None, "1.0", b"1", 1j, np.complex64(1), [None], np.datetime64("2020-01-01")])
def test_what_numpy_would_take_for_a_number_and_is_none_is_refused(found):
    for batched, function in ((False, lambda x: found), (True, lambda x: [found] * len(x))):
        with pytest.raises(la.InputError, match=r"returned .* for points of shape"):
            Function(function, BOX, batched=batched)
    surface = Function(plain, BOX, gradient=lambda x: found)
    assert not surface.gradients_known and "the gradient of plain returned" in surface.notes[0]


@pytest.mark.parametrize("kind", [torch.float32, torch.float16])
def test_a_function_in_lower_precision_keeps_its_gradient(kind):
    surface = Function(lambda x: (x.to(kind) ** 2).sum() + x[0].to(kind), BOX)
    assert surface.gradients_known and surface.computed_in == kind
    right = 2 * POINTS + torch.tensor([1.0, 0.0])
    assert torch.allclose(surface.gradients(POINTS)[1], right, atol=10 * torch.finfo(kind).eps * 5)


def test_a_wrong_gradient_is_found_in_lower_precision_too():
    assert not Function(lambda x: (x.float().detach() ** 2).sum() + 0 * x.float().sum(), BOX).gradients_known
