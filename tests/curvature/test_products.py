"""Hessian products: equal to the dense Hessian, counted, and refused where they would mean nothing."""

import copy
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import lossatlas as la
from lossatlas._errors import LossError, ModelError, NotApplicableError, StartError, UnknownNameError
from lossatlas.curvature import Hessian
from lossatlas.surface import Sample, Surface

NETS = ["MLP", "CNN with batch norm", "transformer, tied", "regression", "frozen and unused"]
X = torch.randn(23, 6, generator=torch.Generator().manual_seed(0))
Y = torch.randint(3, (23,), generator=torch.Generator().manual_seed(1))


def mlp(dtype=torch.float32):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3)).to(dtype)


@pytest.mark.slow
@pytest.mark.parametrize("name", NETS)
def test_products_are_those_of_the_dense_hessian(oracles, name):
    oracle = oracles(name)
    assert len({batch.size for batch in oracle.surface._settled.batches}) == 2, "the last batch must be smaller"
    vectors = torch.randn(40, oracle.surface.dimension, dtype=torch.float64)
    operator = Hessian(oracle.surface)
    for block in (vectors[:1], vectors):  # one by one, and as many as the sweep likes
        found, expected = operator.apply(block), block @ oracle.matrix
        assert float((found - expected).abs().max()) < 1e-10
    assert float((la.hessian(oracle.surface) - oracle.matrix).abs().max()) < 1e-10


@pytest.mark.slow
@pytest.mark.parametrize("name", ["MLP", "transformer, tied"])
def test_products_are_derivatives_of_the_gradient(oracles, name):
    """The slow obvious oracle, that no second derivative enters: central differences, to the fourth power of the step."""
    surface = oracles(name).surface
    vector = torch.randn(surface.dimension, dtype=torch.float64)
    step = 1e-5 * vector / vector.norm()  # short, to stay between the kinks of the ReLUs
    ends = [surface.gradients((surface.theta + k * step)[None])[1][0] for k in (-2, -1, 1, 2)]
    slope = (ends[0] - 8 * ends[1] + 8 * ends[2] - ends[3]) / 12e-5 * float(vector.norm())
    assert torch.allclose(Hessian(surface).apply(vector[None])[0], slope, atol=1e-6 * float(slope.norm()))


@pytest.mark.slow
def test_frozen_unused_and_tied_parameters(oracles):
    partly, tied = oracles("frozen and unused"), oracles("transformer, tied")
    names = [block.name for block in partly.surface.layout.blocks]
    assert "first.weight" not in names and "idle.weight" in names
    idle = torch.cat(
        [torch.arange(b.span.start, b.span.stop) for b in partly.surface.layout.blocks if "idle" in b.name]
    )
    matrix = la.hessian(partly.surface)
    assert not matrix[idle].any() and not matrix[:, idle].any()
    assert sum("head.weight" in block.aliases for block in tied.surface.layout.blocks) == 1


@pytest.mark.slow
def test_blocks_and_scaling_are_those_of_the_matrix(oracles):
    oracle = oracles("MLP")
    scale = torch.rand(oracle.surface.dimension, dtype=torch.float64) + 0.5
    scaled = scale[:, None] * oracle.matrix * scale
    assert torch.allclose(la.hessian(oracle.surface, scaling=scale), scaled, atol=1e-12)
    block = oracle.surface.layout.blocks[2].span
    assert torch.allclose(la.hessian(oracle.surface, blocks="2.weight"), oracle.matrix[block, block], atol=1e-12)
    module = slice(oracle.surface.layout.blocks[2].span.start, oracle.surface.layout.blocks[3].span.stop)
    assert torch.allclose(la.hessian(oracle.surface, blocks="2", scaling=scale), scaled[module, module], atol=1e-12), (
        "a module's name stands for all its blocks"
    )
    with pytest.raises(UnknownNameError, match="weight"):
        Hessian(oracle.surface, blocks="2.wieght")


def test_every_product_is_counted():
    surface = la.NetworkSurface(mlp(), "cross_entropy", (X, Y), batch_size=10)
    operator = Hessian(surface)
    checks = operator.spent().products
    assert checks == 3
    operator.apply(torch.randn(7, surface.dimension))
    spent = operator.spent()
    assert (spent.products, spent.examples) == (checks + 7, (checks + 7) * 23)
    assert operator.applied == 7
    shared = la.Probe(surface)
    Hessian(surface, probe=shared).apply(torch.randn(2, surface.dimension))
    again = Hessian(surface, probe=shared)
    assert again.spent().products == checks and shared.meter.products == 2 * checks + 2


@pytest.mark.slow
def test_several_vectors_at_once_and_one_batch_graph_at_a_time(monkeypatch):
    """Whatever width is chosen the products are the same; a graph is held for single batches only."""
    vectors = torch.randn(64, 53)
    one, many = (la.NetworkSurface(mlp(), "cross_entropy", (X, Y), batch_size=size) for size in (None, 10))
    expected = torch.cat([many.products(many.theta, v[None]) for v in vectors])
    assert torch.allclose(one.products(one.theta, vectors), expected, atol=1e-6)
    assert one._evaluation.products.choice == 32, "a graph of kilobytes"
    for width in (1, 8, 32):
        monkeypatch.setattr(one._evaluation.products, "_width", width)
        assert torch.allclose(one.products(one.theta, vectors), expected, atol=1e-6)
    assert one._evaluation.products._held is not None and many._evaluation.products._held is None
    moved = one.theta + 0.1
    fresh = la.NetworkSurface(mlp(), "cross_entropy", (X, Y))
    assert torch.allclose(one.products(moved, vectors), fresh.products(moved, vectors), atol=1e-6), "a stale graph"
    assert not torch.allclose(one.products(moved, vectors), expected, atol=1e-3)
    copy.deepcopy(one)  # a held graph is no obstacle


@pytest.mark.slow
def test_a_sweep_that_says_something_else_is_not_used(monkeypatch):
    surface = la.NetworkSurface(mlp(), "cross_entropy", (X, Y))
    vectors = torch.randn(64, surface.dimension)
    from lossatlas.surface.network import _products

    whole = _products.Gradient.turn

    def wrong(self, parts, *, many=False):
        return [None if part is None else part * (1.0 + 0.1 * many) for part in whole(self, parts, many=many)]

    monkeypatch.setattr(_products.Gradient, "turn", wrong)
    found = surface.products(surface.theta, vectors)
    assert surface._evaluation.products.choice == 1
    monkeypatch.undo()
    assert torch.allclose(found, surface.products(surface.theta, vectors), atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_central_differences_stand_in_and_say_so(dtype):
    surface = la.NetworkSurface(mlp(dtype), "cross_entropy", (X.to(dtype), Y))
    exact, differences = Hessian(surface), Hessian(surface, how="differences")
    vectors = torch.randn(3, surface.dimension, dtype=torch.float64) * torch.tensor([[1e-3], [1.0], [1e3]])
    expected = exact.apply(vectors)
    found = differences.apply(vectors)
    error = (found - expected).norm(dim=1) / expected.norm(dim=1)
    assert float(error.max()) < {torch.float64: 1e-7, torch.float32: 1e-2}[dtype], "and whatever the length of v"
    assert differences.spent().products == 0 and differences.spent().gradients == 2 * (3 + 6 + 3)
    assert differences.provenance()["products"] == "central differences of gradients"
    assert exact.provenance()["products"] == "second derivatives"
    assert "central differences" in la.extremes(surface, 2, how="differences").status


class Once(torch.autograd.Function):
    """A kernel without double backward, as fused attention is."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.sin()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, slope):
        return slope * ctx.saved_tensors[0].cos()


class Kernel(nn.Module):
    def __init__(self, kernel):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.kernel, self.second = nn.Linear(6, 5), kernel, nn.Linear(5, 3)

    def forward(self, x):
        return self.second(self.kernel(self.first(x)))


@pytest.mark.slow
def test_a_kernel_without_double_backward_falls_back_to_differences():
    data = (X.double(), Y)
    once = la.NetworkSurface(Kernel(Once.apply).double(), "cross_entropy", data)
    twice = la.NetworkSurface(Kernel(torch.sin).double(), "cross_entropy", data)
    with pytest.raises(NotApplicableError, match="cannot be differentiated twice"):
        once.exact_products(once.theta, once.theta[None])
    assert torch.allclose(
        once.products(once.theta, once.theta[None]), twice.products(twice.theta, twice.theta[None]), atol=1e-6
    )
    with pytest.raises(NotApplicableError):
        Hessian(once, how="exact")
    operator = Hessian(once)
    assert operator.method == "central differences of gradients" and "differentiated twice" in operator.reason
    assert torch.allclose(la.hessian(once), la.hessian(twice), atol=1e-6)
    assert "central differences" in la.trace(once).status


class Straight(torch.autograd.Function):
    """A step with a backward pass of its own: the gradient of x², and a second derivative that autograd never sees."""

    @staticmethod
    def forward(ctx, x):
        ctx.slope = 2 * x.detach()
        return x.square()

    @staticmethod
    def backward(ctx, slope):
        return slope * ctx.slope


@pytest.mark.slow
def test_a_backward_pass_that_hides_curvature_is_noticed():
    data = (X.double(), Y.double()[:, None])
    hidden = la.NetworkSurface(nn.Linear(6, 1).double(), lambda out, y: Straight.apply(out - y).mean(), data)
    plain = la.NetworkSurface(nn.Linear(6, 1).double(), "mse", data)
    found = la.trace(hidden)
    assert "it differs from differences of gradients" in found.status and "central differences" in found.status
    assert found.value == pytest.approx(float(la.hessian(plain).trace()), abs=1e-5)
    assert torch.allclose(Hessian(hidden, how="differences").apply(torch.eye(7).double()), la.hessian(plain), atol=1e-6)


@pytest.mark.slow
def test_fused_attention_runs_on_the_math_kernel(oracles):
    """The same call without the math kernel fails on this torch: the fallback is never needed."""
    query = torch.randn(2, 2, 5, 4, requires_grad=True)
    fused = F.scaled_dot_product_attention(query, query, query).square().sum()
    (slope,) = torch.autograd.grad(fused, query, create_graph=True)
    with pytest.raises(RuntimeError, match="not implemented"):
        torch.autograd.grad(slope.sum(), query)
    assert Hessian(oracles("transformer, tied").surface, how="exact").method == "second derivatives"


def test_a_loss_without_derivatives_is_refused():
    surface = la.NetworkSurface(mlp(), lambda out, y: (out.argmax(1) != y).float().mean(), (X, Y))
    for ask in (
        lambda: la.extremes(surface),
        lambda: la.extremes(surface, 1, how="differences"),
        lambda: la.critical_points(surface, starts=1),
        lambda: surface.gradients(surface.theta[None]),
        lambda: la.race(surface, ["gd"], steps=2),
    ):
        with pytest.raises(LossError, match="argmax"):
            ask()


@pytest.mark.slow
def test_a_linear_loss_has_no_curvature_and_nothing_divides_by_zero():
    model = nn.Linear(80, 1)
    surface = la.NetworkSurface(model, lambda out, y: (out * y).mean(), (torch.randn(9, 80), torch.randn(9, 1)))
    found, traced, density = la.extremes(surface, 3), la.trace(surface), la.spectrum(surface, dense=False, steps=5)
    assert not found.largest.values.any() and not found.smallest.residuals.any()
    assert "vanishes" in found.status and found.norm == 0.0
    assert (traced.value, traced.interval, traced.frobenius.value) == (0.0, (0.0, 0.0), 0.0)
    assert density.ends == (0.0, 0.0) and density.trace.value == 0.0 and np.isfinite(density.density()[1]).all()
    assert la.p_saddle(density).value == 0.0 and la.p_saddle(density).gaussian == 0.0
    assert not la.diagonal(surface).values.any()
    for result in (found, traced, density):
        assert result._repr_html_()
    density.plot(), traced.plot(), found.plot()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_refused(dtype):
    surface = la.NetworkSurface(mlp(dtype), "cross_entropy", (X.to(dtype), Y))
    with pytest.raises(ModelError, match=r"model\.float\(\)"):
        la.trace(surface)
    with pytest.raises(ModelError, match=r"model\.float\(\)"):
        la.extremes(surface, 2, how="differences")


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("dense", [True, False])
def test_eigenvalues_by_differences_lie_within_what_they_state(dtype, dense):
    """Against the dense Hessian in float64: bending (the step's own error) and rounding are both in the error."""
    torch.manual_seed(2)
    model = nn.Sequential(nn.Linear(3, 6 if dense else 14), nn.Tanh(), nn.Linear(6 if dense else 14, 2)).double()
    x, y = 3 * torch.randn(20, 3).double(), torch.randint(0, 2, (20,))
    surface = la.NetworkSurface(copy.deepcopy(model).to(dtype), "cross_entropy", (x.to(dtype), y))
    truth = torch.linalg.eigvalsh(la.hessian(la.NetworkSurface(model, "cross_entropy", (x, y)))).numpy()
    found = la.extremes(surface, 3, how="differences")
    for pairs in (found.largest, found.smallest):
        for value, residual in zip(pairs.values, pairs.residuals, strict=True):
            assert np.abs(truth - value).min() <= residual < 0.05 * truth[-1]


@pytest.mark.slow
def test_a_gradient_that_is_not_a_number_is_an_error_that_says_which():
    def rooted(out, y):  # finite, with a slope of 0/0 at zero outputs
        return (out * 0).square().sum().sqrt() + out.square().mean()

    surface = la.NetworkSurface(mlp(), rooted, (X, Y))
    with pytest.raises(LossError, match=r"entries of the gradient there are not finite"):
        la.extremes(surface)

    def bent(out, y):  # a slope of 0, and an infinite second derivative: |u|^1.5 at 0
        return (out - out.detach()).abs().pow(1.5).sum()

    with pytest.raises(LossError, match="is not finite"):
        la.trace(la.NetworkSurface(mlp(), bent, (X, Y)))


class Restless(Surface):
    """A surface whose products change from call to call, or lean to one side."""

    def __init__(self, base, fault):
        self.base, self.fault, self.name, self.layout, self.start = base, fault, "restless", base.layout, base.start
        self.calls = 0

    def read(self, points):
        return self.base.read(points)

    def gradients(self, points, sample: Sample | None = None):
        return self.base.gradients(points, sample)

    def products(self, point, vectors):
        self.calls += 1
        found = self.base.products(point, vectors)
        return found * (1 + 0.01 * self.calls) if self.fault == "moves" else found + 0.1 * vectors.roll(1, 1)


@pytest.mark.parametrize(("fault", "words"), [("moves", "evaluated twice"), ("leans", "not symmetric")])
def test_an_operator_that_is_no_fixed_hessian_is_refused(fault, words):
    surface = Restless(la.landscapes.quadratic(condition=10.0, dimension=80), fault)
    with pytest.raises(ModelError, match=words):
        la.extremes(surface)


def test_what_does_not_fit_is_refused():
    surface = la.landscapes.himmelblau()
    with pytest.raises(StartError, match=r"\(2,\)"):
        Hessian(surface, torch.zeros(3))
    with pytest.raises(StartError, match="finite"):
        Hessian(surface, torch.tensor([math.nan, 0.0]))
    with pytest.raises(la.InputError, match="scaling"):
        Hessian(surface, scaling=torch.ones(3))
    with pytest.raises(UnknownNameError, match="exact"):
        Hessian(surface, how="exakt")
    with pytest.raises(la.InputError, match=r"\(K, 2\)"):
        Hessian(surface).apply(torch.zeros(2))
    with pytest.raises(la.InputError, match=r"5,000"):
        la.hessian(la.NetworkSurface(nn.Linear(5000, 1), "mse", (torch.zeros(2, 5000), torch.zeros(2, 1))))


def test_slices_and_landscapes_have_curvature_too():
    surface = la.NetworkSurface(mlp(torch.float64), "cross_entropy", (X.double(), Y))
    plane = la.Plane.random(surface, seed=0)
    directions = plane.frame.directions
    whole = la.hessian(surface)
    assert torch.allclose(la.hessian(surface.on(plane)), directions @ whole @ directions.T, atol=1e-10)


@pytest.mark.slow
def test_the_model_and_the_world_are_left_as_they_were():
    model = mlp()
    before = copy.deepcopy(model.state_dict())
    state, mode = torch.get_rng_state(), torch.is_grad_enabled()
    surface = la.NetworkSurface(model, "cross_entropy", (X, Y))
    la.extremes(surface, 2), la.trace(surface), la.spectrum(surface), la.diagonal(surface)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.equal(state, torch.get_rng_state()) and torch.is_grad_enabled() == mode
    with torch.no_grad():
        assert la.hessian(surface).any(), "products do not depend on the caller's grad mode"


def test_few_vectors_have_the_same_bits_whatever_was_asked_before():
    def surface():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3))
        return la.NetworkSurface(model, "cross_entropy", (torch.randn(24, 4), torch.arange(24) % 3))

    first, later = surface(), surface()
    vectors = torch.randn(3, first.dimension, generator=torch.Generator().manual_seed(1))
    block = torch.randn(40, first.dimension, generator=torch.Generator().manual_seed(2))
    alike = later.products(later.theta, block)
    assert torch.equal(first.products(first.theta, vectors), later.products(later.theta, vectors))
    assert torch.equal(first.products(first.theta, block), alike), "and no clock decides about a block"
