"""A landscape of the user's own is its formula: moved, raced, cited, saved and loaded like those of the catalog."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch

import lossatlas as la
from lossatlas.surface import Sample
from lossatlas.surface.landscapes import Formula, Landscape, Minimum, total


@dataclass(frozen=True)
class Camel(Formula):
    """The three-hump camel 2x² − 1.05x⁴ + x⁶/6 + xy + y², with nothing but its value."""

    sixth: float = 1 / 6

    def value(self, u):
        x, y = u.unbind(0)
        return 2 * x**2 - 1.05 * x**4 + self.sixth * x**6 + x * y + y**2


class Quartic(Formula):
    """A plain class without constants; its minimum has no curvature."""

    def value(self, u):
        return total(u**4)


def camel(sixth=1 / 6):
    minima = [Minimum("global", (0.0, 0.0)), Minimum("left", (-1.7476, 0.8738)), Minimum("right", (1.7476, -0.8738))]
    return Landscape("camel", Camel(sixth), bounds=[(-3, 3)] * 2, start=(-2.5, 2.0), minima=minima)


def test_without_a_gradient_of_its_own_a_formula_is_differentiated():
    points = torch.randn(9, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    values, gradients = camel().gradients(points)
    x, y = points.unbind(1)
    by_hand = torch.stack([4 * x - 4.2 * x**3 + x**5 + y, x + 2 * y], 1)
    assert torch.allclose(gradients, by_hand, rtol=1e-12, atol=1e-12)
    assert torch.equal(values, camel().values(points))
    (alone,) = camel().gradients(points[3:4])[1]
    assert torch.equal(alone, gradients[3])


def test_its_minima_are_polished_and_one_without_curvature_stays_where_it_was_declared():
    left = camel().wells[1]
    assert float(camel().gradients(left.minimum[None])[1].norm()) < 1e-12
    assert left.value == pytest.approx(0.298638442237, abs=1e-11)  # published: 0.2986 (Surjanovic & Bingham)
    flat = Landscape(
        "quartic", Quartic(), bounds=[(-1, 1)] * 2, start=(0.5, 0.5), minima=[Minimum("global", (0.0, 0.0))]
    )
    assert flat.wells[0].minimum.tolist() == [0.0, 0.0]


def test_moves_add_up():
    plain, once = camel(), camel().moved(shift=(1.0, -2.0), rotation=0.3, noise=0.2)
    twice = once.moved(shift=(0.5, 0.5), rotation=0.4)
    points = torch.randn(8, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)

    def turned(angle, rows):
        cosine, sine = torch.tensor(angle).cos(), torch.tensor(angle).sin()
        return rows @ torch.stack([torch.stack([cosine, -sine]), torch.stack([sine, cosine])]).double().T

    there = turned(0.3, points) + torch.tensor([1.0, -2.0])
    assert torch.allclose(once.values(there), plain.values(points), rtol=1e-6)
    assert torch.allclose(twice.values(turned(0.4, there) + torch.tensor([0.5, 0.5])), plain.values(points), rtol=1e-6)
    assert once.noise == twice.noise == 0.2 and twice.moved(noise=0.0).noise == 0.0
    assert plain.shift.tolist() == [0.0, 0.0] and plain.rotation == 0.0  # it stays where it is
    field = la.landscapes.random_field(4, 1).moved(rotation=0.2)
    assert field.moved(shift=[1.0] * 4).rotation == 0.2
    with pytest.raises(la.InputError, match="expected one rotation"):
        field.moved(rotation=0.1)


def test_noise_of_a_landscape_that_was_moved_is_drawn_as_declared():
    ground = camel().moved(noise=2.0)
    points, seeds = ground.start.repeat(3000, 1), torch.arange(3000)
    noise = ground.gradients(points, Sample(4, seeds))[1] - ground.gradients(points)[1]
    assert float(noise.std()) == pytest.approx(1.0, rel=0.05)


@pytest.mark.slow
def test_the_identity_covers_constants_and_code():
    @dataclass(frozen=True)
    class Other(Formula):
        sixth: float = 1 / 6

        def value(self, u):
            x, y = u.unbind(0)
            return 2 * x**2 - 1.06 * x**4 + self.sixth * x**6 + x * y + y**2

    Other.__name__ = "Camel"
    other = Landscape("camel", Other(), bounds=[(-3, 3)] * 2, start=(-2.5, 2.0))
    prints = [
        camel().fingerprint(),
        camel(0.2).fingerprint(),
        other.fingerprint(),
        camel().moved(noise=1).fingerprint(),
    ]
    assert all(one != two for k, one in enumerate(prints) for two in prints[:k])
    assert camel().fingerprint() == prints[0]


@pytest.mark.slow
def test_a_race_on_it_is_cited_saved_and_loaded(tmp_path):
    ground = camel().moved(shift=(0.2, 0.0))
    race = la.race(ground, ["gd", "adam"], steps=20)
    race.save(tmp_path)
    back = la.load(tmp_path)
    assert str(back.table()) == str(race.table()) and la.citation(back) == la.citation(race)
    assert [well.name for well in back.surface.wells] == ["global", "left", "right"]
    with pytest.raises(la.NotApplicableError, match="surface="):
        back.surface.values(ground.start[None])
    whole = la.load(tmp_path, surface=ground)
    assert whole.surface is ground
    with pytest.raises(la.InputError, match="camel"):
        la.load(tmp_path, surface=camel())


class ByArrays(Formula):
    """Its value is made by NumPy."""

    def value(self, u):
        x, y = u.numpy()
        return np.cos(x) + y**2


class HalfSeen(Formula):
    """Autograd sees one of its two terms."""

    def value(self, u):
        return u[0] ** 2 + torch.sin(u[1].detach())


class WrongGradient(Camel):
    """Its gradient is not that of its value."""

    def gradient(self, u):
        values, gradients = super().gradient(u)
        return values, 1.01 * gradients


def bowl(formula, **settings):
    given = {"bounds": [(-3, 3)] * 2, "start": (-2.5, 2.0), "minima": [Minimum("global", (0.0, 0.0))]}
    return Landscape("mine", formula, **given | settings)


@pytest.mark.parametrize(
    ("formula", "value"),
    [
        (ByArrays(), lambda x, y: np.cos(x) + y**2),
        (HalfSeen(), lambda x, y: x**2 + np.sin(y)),
        (WrongGradient(), lambda x, y: 2 * x**2 - 1.05 * x**4 + x**6 / 6 + x * y + y**2),
    ],
)
def test_a_formula_whose_gradient_is_not_that_of_its_values_has_values_only(formula, value):
    ground = bowl(formula).moved(shift=(0.5, 0.0))
    points = torch.randn(5, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x, y = points.numpy().T
    assert ground.values(points).numpy() == pytest.approx(value(x - 0.5, y), rel=1e-12)
    assert not ground.gradients_known and ground.notes[0].startswith("values only: the gradient of")
    assert ground.wells[0].minimum.tolist() == [0.5, 0.0]
    for use in (lambda: ground.gradients(points), lambda: ground.products(points[0], points)):
        with pytest.raises(la.NotApplicableError, match="values only"):
            use()
    assert la.race(ground, ["hill-climbing"], steps=3).final("hill-climbing").shape == (1, 2)


@pytest.mark.parametrize(
    ("make", "part"),
    [
        (lambda: bowl(Quartic(), bounds=3), "low, high"),
        (lambda: bowl(Quartic(), bounds=[(1, -1)] * 2), "low < high"),
        (lambda: bowl(Quartic(), start="a"), "a list of numbers"),
        (lambda: bowl(Quartic(), start=(0, float("nan"))), "not finite"),
        (lambda: bowl(Quartic(), minima=3), "a list of Minimum"),
        (lambda: bowl(Quartic(), minima=[(0, 0)]), "a Minimum"),
        (lambda: bowl(Quartic(), minima=[Minimum("global", "ab")]), "a list of numbers"),
        (lambda: bowl(Quartic(), wells_complete=3), "True or False"),
        (lambda: bowl(Quartic(), examples=-1), "at least 0"),
        (lambda: camel().moved(rotation="a"), "rotation='a'"),
        (lambda: camel().moved(rotation=None), "rotation=None"),
        (lambda: camel().moved(noise="a"), "noise='a'"),
        (lambda: camel().moved(noise=-1), "of at least 0"),
        (lambda: camel().moved(shift="a"), "a list of numbers"),
        (lambda: camel().moved(shift=["a", "b"]), "list of str"),
        (lambda: camel().moved(shift=[1, 2, 3]), r"shape \(3,\)"),
        (lambda: la.landscapes.ackley("a"), "dimension='a'"),
        (lambda: la.landscapes.rosenbrock(1), "from 2 to"),
        (lambda: la.landscapes.quadratic("a"), "condition='a'"),
        (lambda: la.landscapes.quadratic(0.5), "at least 1"),
        (lambda: la.landscapes.regression(examples=1), "no line"),
        (lambda: la.landscapes.random_field(length=None), "length=None"),
        (lambda: la.landscapes.field_indices(2, samples="a"), "samples='a'"),
        (lambda: la.landscapes.Bbob("a"), "function='a'"),
        (lambda: la.landscapes.landscape(3), "landscape"),
        (lambda: Landscape("f", lambda u: u[0], bounds=[(0, 1)], start=[0.5]), "lossatlas.Function"),
        (lambda: Landscape("f", Quartic(), bounds=[(0, 1)], start=[0.5, 0.5]), "1, 2 coordinates"),
    ],
)
def test_what_is_no_landscape_is_refused(make, part):
    with pytest.raises(la.InputError, match=part):
        make()
