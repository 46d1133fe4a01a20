"""Charts from interpolated outputs: splines, fill, nodes and certificate against slow computations and dense truth."""

from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.interpolate import make_interp_spline

import lossatlas as la
from lossatlas._errors import LossError
from lossatlas.chart.sampling._adaptive import OutputSampler
from lossatlas.chart.sampling._dense import fill_all
from lossatlas.chart.sampling._fill import Filler
from lossatlas.chart.sampling._grid import grid
from lossatlas.chart.sampling._metric import Metric, near
from lossatlas.chart.sampling._outputs import Losses, Store, finite, node_bytes, nodes_within
from lossatlas.chart.sampling._spline import CUBIC, QUINTIC, Spline, farthest
from lossatlas.chart.sampling._strata import Certified, certify

ORIGIN = np.zeros((1, 2))


@dataclass
class Cases:
    """A network of one hidden layer on a plane of its weights, as the surface will offer it."""

    dimension: int = 2
    fused: str | None = "cross_entropy"
    accurate: bool = True
    dtype: torch.dtype = torch.float64
    batches: int = 2
    steep: float = 1.0
    reads: list = field(default_factory=list)

    def __post_init__(self):
        rng = torch.Generator().manual_seed(0)
        draw = lambda *shape: torch.randn(*shape, generator=rng)  # noqa: E731
        self.x = draw(60, 6)
        self.ways = [draw(6, 12) * self.steep for _ in range(3)], [draw(12, 3) for _ in range(3)]
        target = self._forward(self.x, np.zeros(self.dimension)).argmax(1)
        if self.fused == "mse":
            target = draw(60, 3)
        self.parts = self.x.chunk(self.batches)
        self.targets = list(target.chunk(self.batches))
        self.shapes = [(len(part), 3) for part in self.parts]
        self.examples = 60

    def _forward(self, x, at):
        first, second = (w[0] * 3 + sum(float(c) * d for c, d in zip(at, w[1:], strict=False)) for w in self.ways)
        return torch.tanh(x @ first / 3) @ second

    def read(self, coords):
        self.reads.append(len(coords))
        return [torch.stack([self._forward(part, at) for at in coords]) for part in self.parts]

    def score(self, batch, outputs):
        target = self.targets[batch]
        losses = [F.cross_entropy(out.double(), target, reduction="sum") for out in outputs]
        right = [(out.argmax(1) == target).double().mean() for out in outputs]
        return torch.stack(losses), float(len(target)), {"accuracy": torch.stack(right)}

    def truth(self, cells):
        outputs = self.read(cells.coords())
        total = sum(self.score(b, out)[0] for b, out in enumerate(outputs)) / self.examples
        return total.numpy().reshape(cells.shape)


def run(cells, cases, read=None, **settings):
    walk = OutputSampler(cells, cases, **settings).walk()
    coords = next(walk)
    try:
        while True:
            coords = walk.send((read or cases.read)(coords))
    except StopIteration as finished:
        return finished.value


def filled(cases, weights, outputs, **settings):
    filler = Filler(cases, **settings)
    return filler.losses(weights, filler.prepare(outputs))


def lowest(_, losses):
    return losses <= np.quantile(losses, 0.1)


def scattered(count, dimension, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, (count, dimension))


@pytest.mark.parametrize("dimension", [1, 2])
@pytest.mark.parametrize("exponent", [CUBIC, QUINTIC])
def test_a_spline_goes_through_its_nodes_and_reproduces_quadratics(dimension, exponent):
    # On a line thirty random nodes would lie too close together for tight bounds on rounding.
    count = 12 if dimension == 1 else 30
    nodes, points = scattered(count, dimension), scattered(50, dimension, 1)
    spline = Spline(nodes, exponent)
    assert np.allclose(spline.weights(nodes), np.eye(count), atol=1e-4)
    quadratic = lambda p: 1 + 2 * p[:, 0] - p[:, -1] + 3 * p[:, 0] * p[:, -1]  # noqa: E731
    assert np.allclose(spline.weights(points) @ quadratic(nodes), quadratic(points), atol=1e-6)
    assert np.allclose(spline.power(nodes), 0, atol=1e-3) and np.median(spline.power(points)) > 1e-3


def test_on_a_line_the_spline_is_the_natural_one_up_to_its_polynomial():
    nodes = np.linspace(-1, 1, 21)
    points = np.linspace(-0.5, 0.5, 40)
    weights = Spline(nodes[:, None], QUINTIC).weights(points[:, None])
    oracle = make_interp_spline(nodes, np.exp(nodes), k=5)(points)
    assert np.allclose(weights @ np.exp(nodes), oracle, atol=1e-7)


def test_left_out_nodes_are_predicted_as_by_a_spline_without_them():
    nodes = scattered(25, 2)
    values, spline = np.sin(2 * nodes[:, 0]) + nodes[:, 1], Spline(nodes)
    left, spread = spline.omitted @ values, spline.spread
    for one in (0, 7, 24):
        rest = np.delete(np.arange(25), one)
        without = Spline(nodes[rest])
        assert left[one] == pytest.approx(float(without.weights(nodes[[one]])[0] @ values[rest]), abs=1e-7)
        assert spread[one] == pytest.approx(float(without.power(nodes[[one]])[0]), rel=1e-4)


def test_nodes_are_chosen_where_scale_times_power_is_largest_each_with_the_ones_before():
    nodes, candidates = scattered(12, 2), scattered(200, 2, 1)
    scale = np.exp(-np.abs(candidates).max(1))
    chosen = farthest(Spline(nodes), candidates, scale, 5)
    for k, pick in enumerate(chosen):
        power = Spline(np.concatenate([nodes, candidates[chosen[:k]]])).power(candidates)
        assert (scale * power)[pick] == pytest.approx((scale * power).max(), rel=1e-6)
    assert len(set(chosen)) == 5
    assert len(farthest(Spline(nodes), nodes, np.ones(12), 3)) == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_fused_cross_entropy_is_torchs_also_for_huge_ties_and_ignored_targets(dtype):
    rng = torch.Generator().manual_seed(0)
    outputs = 30 * torch.randn(7, 301, 5, generator=rng).to(dtype)
    target = torch.randint(0, 5, (301,), generator=rng)
    outputs[0], outputs[1, :, 0], outputs[2] = 0, 5000, outputs[2] * 1e-3
    target[::7] = -100
    cases = Cases()
    cases.fused, cases.targets, cases.shapes, cases.examples = "cross_entropy", [target], [(301, 5)], 301
    weights = np.random.default_rng(0).normal(size=(9, 7))
    weights[:3] = np.eye(7)[:3]
    loss, extras = filled(cases, weights, [outputs])
    at = torch.tensordot(torch.from_numpy(weights), outputs.double(), 1)
    for k in range(9):
        assert loss[k] == pytest.approx(float(F.cross_entropy(at[k], target)), rel=1e-5)
        kept = target != -100
        assert extras["accuracy"][k] == pytest.approx(float((at[k][kept].argmax(1) == target[kept]).double().mean()))


def test_losses_far_below_the_rounding_of_log_softmax_are_kept():
    cases = Cases()
    cases.targets, cases.shapes, cases.examples = [torch.zeros(4, dtype=torch.long)], [(4, 2)], 4
    loss, _ = filled(cases, np.eye(1), [torch.tensor([[[30.0, 0.0]] * 4])])
    assert loss[0] == pytest.approx(np.exp(-30.0), rel=1e-5)


def test_a_users_loss_and_the_squared_error_are_filled_as_they_are_defined():
    cases = Cases(fused=None)
    cells = grid(1.0, 5, 2)
    outputs = cases.read(cells.coords())
    fused = Cases()
    loss, extras = filled(cases, np.eye(25), outputs, limit=3000)
    other, found = filled(fused, None, outputs)
    assert np.allclose(loss, other, rtol=1e-5) and np.allclose(extras["accuracy"], found["accuracy"])
    squares = Cases(fused="mse", batches=1)
    loss, _ = filled(squares, np.eye(25), squares.read(cells.coords()))
    want = [float(F.mse_loss(out, squares.targets[0])) for out in squares.read(cells.coords())[0]]
    assert np.allclose(loss, want, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("span", [1.0, [(-0.3, 1.2), (0.0, 1.0)]])
def test_a_plane_is_known_to_its_tolerance_from_few_evaluations(span):
    cells, cases = grid(span, 41, 2), Cases(steep=2.0)
    truth = cases.truth(cells)
    cases.reads.clear()
    made = run(cells, cases)
    assert sum(cases.reads) == len(made.samples) < cells.cells / 12
    off = np.abs(made.loss - truth) / truth
    coords = cells.coords()
    middle = np.array([[(axis[0] + axis[-1]) / 2 for axis in cells.axes]])
    close = near(truth.ravel(), (coords - middle) / ((coords.max(0) - coords.min(0)) / 2), ORIGIN).reshape(cells.shape)
    assert np.quantile(off[close], 0.95) < 0.02 and np.quantile(off, 0.95) < 0.05
    assert made.certificate.reached and "held-out" in made.certificate.sentence
    assert np.allclose(made.loss[made.exactly], truth[made.exactly], rtol=1e-5)
    assert (made.error[made.exactly] == 0).all() and (made.error[~made.exactly] > 0).all()
    # Expected errors are of the right size.
    ratio = np.abs(made.loss - truth)[~made.exactly] / made.error[~made.exactly]
    assert 0.1 < np.sqrt((ratio**2).mean()) < 3


def test_a_line_is_known_from_ten_evaluations():
    cells, cases = grid(1.0, 61, 1), Cases(dimension=1)
    made = run(cells, cases)
    assert len(made.samples) <= 10
    assert np.quantile(np.abs(made.loss - cases.truth(cells)) / cases.truth(cells), 0.95) < 0.05


@pytest.mark.slow
def test_the_same_seed_evaluates_the_same_cells_and_the_models_between_are_among_them():
    cells, corners = grid((-0.5, 1.5), 25, 2), np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    one, two = (run(cells, Cases(), centers=corners) for _ in range(2))
    assert np.array_equal(one.samples, two.samples) and np.array_equal(one.loss, two.loss)
    for corner in corners:
        assert (np.abs(one.samples - corner).max(1) < 1e-12).any()


@pytest.mark.slow
def test_where_outputs_are_not_finite_there_are_holes_and_elsewhere_the_field_is_right():
    cells, cases = grid(1.0, 31, 2), Cases()

    def read(coords):
        outputs = cases.read(coords)
        for part in outputs:
            part[torch.from_numpy(coords[:, 0] > 0.7)] = torch.nan
        return outputs

    made, truth = run(cells, cases, read), cases.truth(cells)
    assert np.isnan(made.loss[:, -1]).all() and np.isfinite(made.loss[:, :20]).all()
    assert np.quantile(np.abs(made.loss / truth - 1)[:, :20], 0.95) < 0.05


def test_a_room_that_is_too_small_ends_the_walk_with_a_reason():
    cells, cases = grid(1.0, 51, 2), Cases(steep=6.0)
    made = run(cells, cases, tolerance=1e-5, limit=2 * node_bytes(cases.shapes) * 70)
    assert "room" in made.reason and len(made.samples) <= 110
    assert not made.certificate.reached and "not reached" in made.certificate.sentence


@pytest.mark.slow
def test_a_loss_of_its_own_is_interpolated_on_its_scale_and_stays_above_its_bound():
    cells, cases = grid(1.0, 41, 2), Cases()
    scorer = Losses(0.0, 1e-9, ("accuracy",))

    def read(coords):
        outputs = cases.read(coords)
        scored = [cases.score(b, out) for b, out in enumerate(outputs)]
        losses = sum(one[0] for one in scored) / cases.examples
        return scorer.outputs(losses, {"accuracy": sum(one[2]["accuracy"] for one in scored) / 2})

    made = run(cells, scorer, read)
    truth = cases.truth(cells)
    assert (made.loss >= 0).all() and len(made.samples) < cells.cells / 5
    assert np.quantile(np.abs(made.loss / truth - 1), 0.95) < 0.05 and made.extras["accuracy"].shape == (41, 41)
    signed = Losses(None, 2.0)
    values = torch.tensor([-3.0, 0.0, 40.0])
    assert torch.allclose(signed.score(0, signed.outputs(values, {})[0])[0], values.double())


def test_errors_are_relative_unless_losses_cross_zero():
    positive = Metric.of(np.array([0.01, 1.0, 100.0]))
    assert positive.name == "relative"
    assert positive.error(np.array([1.1]), np.array([1.0]))[0] == pytest.approx(0.1, rel=1e-5)
    assert positive.step == pytest.approx(10 ** (4 / 12) - 1, rel=1e-3)
    signed = Metric.of(np.array([-1.0, 11.0]))
    assert signed.error(np.array([3.0]), np.array([2.0]))[0] == pytest.approx(1.0)
    holes = signed.error(np.array([np.nan, 1.0]), np.array([np.inf, np.nan]))
    assert holes[0] == 0 and holes[1] == np.inf
    assert np.allclose(positive.back(positive.forth(np.array([0.01, 7.0]))), [0.01, 7.0])


@pytest.mark.slow
def test_the_certificate_covers_the_truth_in_nine_of_ten_draws():
    rng = np.random.default_rng(0)
    expected = np.exp(rng.normal(size=2500))
    close = np.arange(2500) < 300
    covered = []
    for _ in range(60):
        errors = expected * np.abs(rng.normal(size=2500)) * 0.01
        held = np.concatenate([rng.choice(300, 16, False), 300 + rng.choice(2200, 16, False)])
        known = np.isin(np.arange(2500), held)
        near_row, whole, scaled = certify(expected, close, known, held, errors[held], expected[held])
        for row, mask in ((near_row, close & ~known), (whole, ~known)):
            low, high = row.p95_interval
            covered.append(low <= np.quantile(errors[mask], 0.95) <= high)
        assert 0.004 < np.median(scaled[~known] / expected[~known]) < 0.02 and (scaled[known] == 0).all()
    assert np.mean(covered) > 0.9
    # And the intervals say something: they are less than a factor 3.5 wide to either side.
    assert high / whole.p95 < 3.5
    assert Certified(near_row, whole, "relative", 10.0, {}).reached


def test_a_chart_of_very_many_cells_fills_few_of_them():
    cells, filled = grid(1.0, 201, 2), []

    def fill(numbers):
        filled.append(len(numbers))
        a, b = cells.coords(numbers).T
        return 0.01 + a**2 + 3 * b**2, {"accuracy": 1 - a**2 / 2}

    made = fill_all(cells, fill, Metric.of(np.array([0.01, 4.0])), (0.005, 0.005), lowest)
    loss, extras = made.loss, made.extras
    a, b = cells.coords().T
    assert np.quantile(np.abs(loss / (0.01 + a**2 + 3 * b**2) - 1), 0.95) < 0.005
    assert np.abs(extras["accuracy"] - 1 + a**2 / 2).max() < 0.01
    assert made.filled <= sum(filled) < cells.cells / 8 and made.near <= 0.005


def test_a_store_keeps_rounds_in_order_and_memory_is_forecast():
    store = Store()
    rounds = [torch.randn(n, 4, 3) for n in (25, 12, 32)]
    for part in rounds:
        store.add([part])
    assert torch.equal(store.outputs[0], torch.cat(rounds)) and finite(store.outputs).all()
    assert node_bytes([(4, 3), (2, 3)]) == 72
    assert nodes_within([(4, 3)], limit=9600) == 100


@pytest.mark.slow
def test_a_coarse_lattice_changes_a_chart_by_little_and_the_certificate_counts_it():
    cells = grid(1.0, 51, 2)
    fine, coarse = run(cells, Cases(), lattice=51), run(cells, Cases())
    assert np.array_equal(fine.samples, coarse.samples)
    off = np.abs(coarse.loss / fine.loss - 1)
    low = fine.loss <= np.quantile(fine.loss, 0.1)
    near_allowed, allowed = max(0.3 * fine.certificate.near.p95, 0.001), max(0.3 * fine.certificate.whole.p95, 0.0025)
    assert 0 < np.quantile(off, 0.95) <= 1.5 * allowed and off.max() < 10 * allowed
    assert np.quantile(off[low], 0.95) <= 1.5 * near_allowed
    assert coarse.certificate.whole.p95 > fine.certificate.whole.p95
    assert np.abs(coarse.extras["accuracy"] - fine.extras["accuracy"]).max() < 0.05


def test_cells_where_a_lattice_predicts_wrongly_are_filled_in():
    cells, filled = grid(1.0, 101, 2), []

    def fill(numbers):
        filled.append(numbers)
        a, b = cells.coords(numbers).T
        # A narrow valley along a diagonal beside a smooth slope.
        return 1 + a + np.minimum(50 * np.abs(a - b - 0.8), 10), {}

    made = fill_all(cells, fill, Metric.of(np.array([0.01, 10.0])), (0.005, 0.005), lowest)
    truth = fill(np.arange(cells.cells))[0]
    spent = np.concatenate(filled[:-1])
    assert len(np.unique(spent)) == len(spent) < cells.cells / 2
    assert np.quantile(np.abs(made.loss / truth - 1), 0.95) < 0.005
    a, b = cells.coords(spent).T
    assert np.median(np.abs(a - b - 0.8)) < 0.4


def test_stored_differences_give_the_outputs_back():
    rng = torch.Generator().manual_seed(0)
    for cases in (Cases(), Cases(fused="mse")):
        outputs = [torch.randn(4, *shape, generator=rng) for shape in cases.shapes]
        filler = Filler(cases)
        prepared = filler.prepare(outputs)
        assert node_bytes(cases.shapes) * 4 == sum(4 * part.numel() for part in prepared)
        for part, again in zip(outputs, filler.restore(prepared), strict=True):
            assert torch.allclose(part, again, atol=1e-5)


@pytest.mark.parametrize("threads", [1, 2])
def test_a_fill_has_the_same_bits_on_any_number_of_threads(threads):
    rng = torch.Generator().manual_seed(0)
    cases = Cases(batches=1)
    cases.targets, cases.shapes, cases.examples = [torch.randint(0, 3, (700,), generator=rng)], [(700, 3)], 700
    outputs, weights = torch.randn(20, 700, 3, generator=rng), np.random.default_rng(0).normal(size=(300, 20))
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        loss, _ = filled(cases, weights, [outputs])
        assert torch.get_num_threads() == threads
        torch.set_num_threads(3)
        assert np.array_equal(loss, filled(cases, weights, [outputs])[0])
    finally:
        torch.set_num_threads(before)


@pytest.mark.slow
def test_a_users_metric_is_a_channel_with_an_error_of_its_own():
    import lossatlas as la

    torch.manual_seed(0)
    x, y = torch.randn(200, 4), torch.randint(0, 3, (200,))
    model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3))
    surface = la.NetworkSurface(model, "cross_entropy", (x, y))
    right = {"right": lambda output, target: (output.argmax(1) == target).float().mean()}
    chart = la.chart(surface, la.Plane.random(surface, seed=0), points=21, metrics=right, progress=False)
    assert np.abs(chart.extras["right"] - chart.accuracy).max() < 0.02
    assert 0 <= chart.certificate.extras["right"] < 0.05
    with pytest.raises(la.InputError, match="one number"):
        la.chart(surface, la.Plane.random(surface), points=21, metrics={"rows": lambda o, t: o.sum(1)}, progress=False)


class _Overflows(torch.nn.Module):
    """Finite at its own weights and as far from them as a limit; one output in three is finite everywhere."""

    def __init__(self, limit):
        super().__init__()
        self.layer, self.limit = torch.nn.Linear(4, 3), limit
        self.home = self.layer.weight.detach().clone()

    def forward(self, x):
        z = self.layer(x)
        inside = ((self.layer.weight - self.home).abs().sum() < self.limit).to(z.dtype)
        return torch.cat([z[:, :1], z[:, 1:] / inside], 1)


@pytest.mark.parametrize("make", [la.Plane, la.Line])
def test_a_chart_whose_first_nodes_all_overflow_says_so(make):
    torch.manual_seed(0)
    surface = la.NetworkSurface(_Overflows(1e-9), "cross_entropy", (torch.randn(40, 4), torch.arange(40) % 3))
    frame = make.random(surface, seed=0)
    with pytest.raises(LossError, match=r"have finite outputs and a finite loss; expected more than .* smaller span"):
        la.chart(surface, frame, points=201 if make is la.Line else 21, progress=False)


@pytest.mark.filterwarnings("error")
def test_few_finite_nodes_give_a_chart_with_holes_and_no_warning():
    torch.manual_seed(0)
    surface = la.NetworkSurface(_Overflows(1.5), "cross_entropy", (torch.randn(40, 4), torch.arange(40) % 3))
    made = la.chart(surface, la.Plane.random(surface, seed=0), points=21, progress=False)
    assert 0 < made.holes < made.loss.size
    assert np.isfinite(made.loss[10, 10]) and not np.isfinite(made.loss[0, 0])
