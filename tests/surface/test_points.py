"""Whatever describes a point or a direction is accepted by everything that takes one; what does not is refused."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import lossatlas as la
from lossatlas.surface import as_direction, as_points


def _model(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()


def _surface():
    g = torch.Generator().manual_seed(0)
    x, y = torch.randn(12, 3, generator=g, dtype=torch.float64), torch.randn(12, 2, generator=g, dtype=torch.float64)
    return la.NetworkSurface(_model(), "mse", (x, y))


def _flat(model):
    return nn.utils.parameters_to_vector(model.parameters()).detach()


def _file(folder):
    save_file(_model(1).state_dict(), folder / "model.safetensors")
    return folder / "model.safetensors"


class Found:
    """A result that was found at one point."""

    def __init__(self, point):
        self.point = point


FORMS = {
    "tensor": lambda folder: _flat(_model(1)),
    "one row": lambda folder: _flat(_model(1))[None],
    "array": lambda folder: _flat(_model(1)).numpy(),
    "list": lambda folder: _flat(_model(1)).tolist(),
    "list of NumPy numbers": lambda folder: list(_flat(_model(1)).numpy()),
    "tuple of tensors": lambda folder: tuple(_flat(_model(1))),
    "state dict": lambda folder: _model(1).state_dict(),
    "state dict of arrays": lambda folder: {k: v.numpy() for k, v in _model(1).state_dict().items()},
    "module": lambda folder: _model(1),
    "wrapped": lambda folder: nn.DataParallel(_model(1)),
    "averaged": lambda folder: torch.optim.swa_utils.AveragedModel(_model(1)),
    "file": _file,
    "file as text": lambda folder: str(_file(folder)),
    "folder": lambda folder: _file(folder).parent,
    "result": lambda folder: Found(_flat(_model(1))),
}


def _chart(surface, plane):
    return la.chart(surface, plane, points=3, exact=True, progress=False).loss


USES = {
    "vector": lambda s, p: s.vector(p),
    "Plane.random": lambda s, p: la.Plane.random(s, origin=p).frame.origin,
    "Line.of": lambda s, p: la.Line.of(s, p).frame.directions,
    "Line.of, origin": lambda s, p: la.Line.of(s, s.theta + 1, origin=p).frame.origin,
    "Plane.of": lambda s, p: la.Plane.of(s, p, torch.ones(s.dimension)).frame.directions,
    "Line.between": lambda s, p: la.Line.between(s, s.theta, p).frame.directions,
    "Plane.pca": lambda s, p: la.Plane.pca(s, [s.theta, p, torch.ones(s.dimension)]).frame.directions,
    "Plane.gradient, second": lambda s, p: la.Plane.gradient(s, second=p).frame.directions,
    "project": lambda s, p: la.Plane.random(s).project([p], surface=s).coords,
    "hessian": lambda s, p: la.hessian(s, point=p),
    "extremes": lambda s, p: la.extremes(s, 2, point=p).largest.values,
    "extremes, start": lambda s, p: la.extremes(s, 2, start=p).largest.values,
    "extremes, scaling": lambda s, p: la.extremes(s, 2, scaling=p).largest.values,
    "trace": lambda s, p: la.trace(s, point=p).value,
    "compare_traces": lambda s, p: la.compare_traces(s, s, points=(p, None), limit=32).difference.value,
    "spectrum": lambda s, p: la.spectrum(s, point=p).nodes,
    "diagonal": lambda s, p: la.diagonal(s, point=p).values,
    "per_block": lambda s, p: la.per_block(s, point=p, eigenvalues=False).traces,
    "sharpness": lambda s, p: la.sharpness(s, "sam", point=p).value,
    "critical_point": lambda s, p: la.critical_point(s, point=p).loss,
    "critical_points": lambda s, p: la.critical_points(s, starts=[p], steps=2).starts,
    "saddle_directions": lambda s, p: la.saddle_directions(s, 1, point=p).values,
    "descend_both_sides": lambda s, p: la.descend_both_sides(s, direction=p, limit=3).sides[0].loss,
    "curvature_along": lambda s, p: la.curvature_along(s, [p], k=1, with_trace=False).loss,
    "race": lambda s, p: la.race(s, ["gd"], start=p, steps=3).trajectories["gd"],
    "network_race": lambda s, p: (
        la.network_race(s, ["momentum"], starts=p, runs=2, steps=2, batch_size=4, ends=0, progress=False)
        .runners["momentum"]
        .loss
    ),
    "connect": lambda s, p: la.connect(s, s.theta, p, points=3, resamples=0, progress=False).train.loss,
    "trajectory": lambda s, p: la.trajectory(s, la.Plane.random(s), [s.theta, p], points=None).runs["run"].loss,
}
_EXPECTED = {}


def _numbers(found):
    return np.asarray(found.detach().numpy() if isinstance(found, torch.Tensor) else found, dtype=float)


# Every form is tried on what is cheap; on the rest, one form of each kind.
CHEAP = (
    "vector",
    "Plane.random",
    "Line.of",
    "Line.between",
    "Plane.pca",
    "hessian",
    "critical_point",
    "race",
    "project",
)
PAIRS = [(use, form) for use in USES for form in FORMS if use in CHEAP or form in ("array", "state dict", "folder")]


@pytest.mark.parametrize(("use", "form"), PAIRS)
def test_every_function_takes_every_form_of_a_point(tmp_path, use, form):
    if use not in _EXPECTED:
        _EXPECTED[use] = _numbers(USES[use](_surface(), _flat(_model(1))))
    found = _numbers(USES[use](_surface(), FORMS[form](tmp_path)))
    np.testing.assert_allclose(found, _EXPECTED[use], rtol=1e-9, atol=1e-12)


BAD = {
    "nan": lambda n: torch.full((n,), float("nan")),
    "inf": lambda n: np.full(n, np.inf),
    "another length": lambda n: torch.zeros(n + 1),
    "two rows": lambda n: torch.zeros(2, n),
    "bool": lambda n: torch.ones(n, dtype=torch.bool),
    "complex": lambda n: torch.ones(n, dtype=torch.complex64),
    "sparse": lambda n: torch.ones(n).to_sparse(),
    "meta": lambda n: torch.ones(n, device="meta"),
    "objects": lambda n: np.array(["a"] * n, dtype=object),
    "words": lambda n: ["a"] * n,
    "an integer": lambda n: 3,
    "nothing": lambda n: object(),
    "an empty state dict": lambda n: {},
    "a state dict of numbers": lambda n: {1: torch.ones(n)},
    "another module": lambda n: nn.Linear(3, 3),
    "a lazy module": lambda n: nn.LazyLinear(3),
    "no file": lambda n: "nowhere.safetensors",
    "a long name": lambda n: "x" * 300,
}
POINT_USES = {
    name: USES[name]
    for name in (
        "Plane.random", "Line.of", "Line.between", "hessian", "extremes, start", "extremes, scaling", "trace", "race",
        "connect", "descend_both_sides", "critical_points",
    )
}  # fmt: skip


@pytest.mark.parametrize("kind", BAD)
@pytest.mark.parametrize("use", POINT_USES)
def test_what_is_no_point_is_refused_and_its_numbers_are_not_printed(use, kind):
    surface = _surface()
    if use == "critical_points" and kind in ("nan", "inf"):
        pytest.skip("starts that are not finite are left out of a search")
    given = BAD[kind](surface.dimension)
    with pytest.raises(la.LossAtlasError) as refusal:
        POINT_USES[use](surface, given)
    text = str(refusal.value)
    assert len(text) < 700 and "tensor(" not in text and "array(" not in text and "\n" not in text


def test_landscapes_and_slices_take_vectors_of_every_form_and_no_names():
    valley = la.landscapes.himmelblau()
    slice_ = _surface().on(la.Plane.random(_surface()))
    for surface in (valley, slice_):
        for given in (
            torch.tensor([1.0, 2.0]),
            np.array([1, 2]),
            [1, 2.0],
            (np.float32(1), 2),
            Found(torch.tensor([1, 2])),
        ):
            assert surface.vector(given).tolist() == [1.0, 2.0] and surface.vector(given).dtype == surface.dtype
        for given in ({"theta": torch.ones(2)}, nn.Linear(1, 1), "w.pt"):
            with pytest.raises(la.InputError, match="have no names"):
                surface.vector(given)
    assert la.race(valley, ["gd"], start=np.array([1, 2]), steps=2).trajectories["gd"][0, 0].tolist() == [1.0, 2.0]
    rows = np.array([[1.0, 2.0], [0.0, 1.0]])
    assert la.race(valley, ["gd"], start=rows, runs=2, steps=2).trajectories["gd"][:, 0].tolist() == rows.tolist()
    assert as_points(valley, [[1, 2], np.array([0.0, 1.0])]).tolist() == rows.tolist()


@pytest.mark.slow
def test_results_are_points_and_directions():
    surface = _surface()
    ends = la.extremes(surface, 1)
    assert np.allclose(la.Line.of(surface, ends.largest).frame.directions[0].numpy(), ends.largest.vectors[0])
    assert la.Plane.of(surface, ends.largest.vectors[0], ends.smallest).frame.directions.shape == (2, surface.dimension)
    with pytest.raises(la.InputError, match=r"2 vectors; expected one.*\.vectors\[0\]"):
        la.Line.of(surface, la.extremes(surface, 2).largest)
    here = la.critical_point(la.landscapes.himmelblau(), point=[3, 2])
    assert la.critical_point(la.landscapes.himmelblau(), point=here).kind == "minimum"
    assert la.descend_both_sides(la.landscapes.himmelblau(), point=[0.0866775, 2.8842547], direction=[1, 0], limit=5)


def test_no_direction_is_not_the_own_point():
    for given in (None, torch.zeros(26)):
        with pytest.raises(la.InputError):
            la.Line.of(_surface(), given)
    with pytest.raises(la.InputError, match="zero"):
        as_direction(_surface(), np.zeros(26))


def test_directions_of_double_precision_keep_it_on_networks_of_single():
    model = _model().float()
    surface = la.NetworkSurface(model, "mse", (torch.ones(3, 3), torch.zeros(3, 2)))
    given = np.random.default_rng(0).standard_normal(surface.dimension)
    assert (as_direction(surface, given).numpy() == given).all()


@pytest.mark.slow
def test_an_integer_of_numpy_is_one_and_a_flag_is_none():
    surface, two = _surface(), la.landscapes.himmelblau()
    seed, few = np.int64(3), np.int32(5)
    assert torch.equal(
        la.Plane.random(surface, seed=seed).frame.directions, la.Plane.random(surface, seed=3).frame.directions
    )
    plane = la.Plane.random(surface)
    made = la.chart(surface, plane, points=few, seed=seed, exact=np.bool_(True), progress=False)
    assert made.loss.shape == (5, 5)
    assert la.chart(surface, plane, points=np.array([3, 5]), exact=True, progress=False).loss.shape == (5, 3)
    assert la.trace(surface, seed=seed, limit=np.int64(40)).value == la.trace(surface, seed=3, limit=40).value
    assert len(la.extremes(surface, np.int64(2), seed=seed).largest.values) == 2
    la.spectrum(surface, probes=np.int64(2), steps=np.int64(3), seed=seed)
    la.sharpness(surface, "average", samples=np.int64(2), seed=seed)
    la.critical_points(two, starts=np.int64(2), steps=np.int64(2), seed=seed)
    la.race(two, ["annealing"], steps=np.int64(3), runs=np.int64(2), seed=seed)
    la.basin_map(two, "gd", points=np.int64(3), steps=np.int64(2), seed=seed)
    la.network_race(
        surface, ["adam"], steps=few, runs=np.int64(2), batch_size=few, ends=np.int64(0), seed=seed, progress=False
    )
    la.connect(surface, _model(1), _model(2), points=few, seed=seed, resamples=np.int64(10), progress=False)
    la.compare({"a": two, "b": la.landscapes.rastrigin()}, seeds=np.int64(1), points=few, exact=True, progress=False)


WRONG = {
    "seed=True": lambda s: la.Plane.random(s, seed=True),
    "seed=-1": lambda s: la.trace(s, seed=-1),
    "seed=1.5": lambda s: la.extremes(s, 1, seed=1.5),
    "seed of spectrum": lambda s: la.spectrum(s, seed="a"),
    "exact='no'": lambda s: la.chart(s, la.Plane.random(s), points=3, exact="no", progress=False),
    "points=True": lambda s: la.chart(s, la.Plane.random(s), points=True, exact=True, progress=False),
    "orthogonal=1": lambda s: la.Plane.random(s, orthogonal=1),
    "epsilon=nan": lambda s: la.saddle_directions(s, epsilon=float("nan")),
    "epsilon=-1": lambda s: la.saddle_directions(s, epsilon=-1),
    "epsilon is a vector": lambda s: la.saddle_directions(s, epsilon=torch.ones(3)),
    "limit=True": lambda s: la.extremes(s, 1, limit=True),
    "limit=0.5": lambda s: la.descend_both_sides(s, limit=0.5),
    "sketch=0": lambda s: la.trace(s, sketch=0),
    "start of another length": lambda s: la.extremes(s, 1, start=torch.ones(3)),
    "steps=inf": lambda s: la.race(s, ["gd"], steps=float("inf")),
    "runs=True": lambda s: la.race(s, ["gd"], runs=True),
    "radius=nan": lambda s: la.Plane.worst(s, radius=float("nan")),
    "with_trace='no'": lambda s: la.curvature_along(s, [s.theta], with_trace="no"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_arguments_that_mean_nothing_are_refused_whether_they_are_used_or_not(kind):
    with pytest.raises(la.InputError, match="expected"):
        WRONG[kind](_surface())
