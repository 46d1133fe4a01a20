"""Aligning: planted permutations come back, a permuted copy has no barrier, what is not the same function is refused."""

import copy
import importlib.util
import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import lossatlas as la
from lossatlas._statistics import mean_interval
from lossatlas.connect._pairs import over_networks
from lossatlas.connect.symmetry._match import Weights, by_weights
from lossatlas.connect.symmetry._repair import Repair, sites
from lossatlas.connect.symmetry._specification import Specification
from lossatlas.demo import digits, digits_mlp, fit
from lossatlas.surface import StateSurface

EXAMPLES = Path(__file__).parents[2] / "examples"


def example(name):
    found = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def planted(surface, seed):
    """The surface's own network, its units permuted at random."""
    states = StateSurface(surface)
    found = Specification.traced(states)
    return found.permuted(states.split(states.start), found.random(torch.Generator().manual_seed(seed)))


@pytest.mark.slow
@pytest.mark.parametrize(
    "method, trials",
    [
        ("weights", 8),
        ("activations", 8),
        ("both", 8),
        pytest.param("weights", 100, marks=pytest.mark.slow),
    ],
)
def test_planted_permutations_of_mlps_are_recovered(method, trials):
    """At least 95 % of them; in fact none is lost."""
    data = tuple(part[:200] for part in digits("test"))
    recovered = 0
    for seed in range(trials):
        widths = [(12, 12), (32, 16), (24,), (16, 16, 16)][seed % 4]
        surface = la.NetworkSurface(digits_mlp(widths, seed=seed), "cross_entropy", data)
        found = la.align(surface, surface.theta, planted(surface, seed), method=method, restarts=1, seed=seed)
        recovered += torch.equal(surface.vector(found.permuted), surface.theta)
    assert recovered >= 0.95 * trials


@pytest.mark.slow
@pytest.mark.parametrize("name", ["residual_cnn", "transformer"])
def test_planted_permutations_of_other_networks_are_recovered(name):
    """The published matching recovers few of a residual network's; growing from the fixed axes, and five starts, all ten."""
    module = example(name)
    x, y = module.make_test()
    recovered = 0
    for seed in range(10):
        surface = la.NetworkSurface(module.make_model(seed), "cross_entropy", (x[:60], y[:60]))
        found = la.align(surface, surface.theta, planted(surface, seed), restarts=5, seed=seed)
        recovered += torch.equal(surface.vector(found.permuted), surface.theta)
    assert recovered == 10


@pytest.mark.slow
def test_a_permuted_copy_has_a_barrier_and_none_after_matching(mlps):
    (one, _), surface, test = mlps
    other = planted(surface, 3)
    before = la.connect(surface, one, other, test=test, resamples=0, progress=False)
    found = la.align(surface, one, other)
    assert before.barrier > 0.3 and found.moved > 0.8 and found.cosine == pytest.approx(1.0)
    assert torch.equal(surface.vector(found.permuted), surface.vector(one))
    with pytest.raises(la.InputError, match="same point"):  # it is the same network again
        la.connect(surface, one, found.permuted, progress=False)
    noisy = {n: v + 1e-6 * torch.randn_like(v) for n, v in found.permuted.items()}
    assert la.connect(surface, one, noisy, resamples=0, progress=False).barrier < 1e-5


def test_matching_is_the_best_of_all_permutations_of_a_small_layer():
    data = tuple(part[:50] for part in digits("test"))
    surface = la.NetworkSurface(digits_mlp((5,), seed=0), "cross_entropy", data)
    other = digits_mlp((5,), seed=1)
    found = la.align(surface, surface.theta, other)
    one, two = StateSurface(surface).split(surface.theta), other.state_dict()
    best = max(
        sum(
            float((a.double() * b.double()).sum())
            for a, b in (
                (one["0.weight"], two["0.weight"][list(order)]),
                (one["0.bias"], two["0.bias"][list(order)]),
                (one["2.weight"], two["2.weight"][:, list(order)]),
            )
        )
        for order in itertools.permutations(range(5))
    )
    assert found.objective == pytest.approx(best, rel=1e-9) and found.objective >= found.before


@pytest.mark.slow
def test_matched_networks_are_closer_and_lower(mlps):
    (one, two), surface, _ = mlps
    naive = la.connect(surface, one, two, resamples=0, progress=False)
    for method in ("weights", "activations", "both"):
        found = la.align(surface, one, two, method=method, restarts=4, seed=1)
        path = la.connect(surface, one, found.permuted, resamples=0, progress=False)
        assert path.barrier < naive.barrier / 2, method
        assert path.length < naive.length and found.objective > found.before
        assert found.spread == (min(found.objectives), max(found.objectives)) and found.check.holds
        assert len(found.objectives) == {"weights": 4, "activations": 1, "both": 4}[method]
    assert la.connect(surface, one, found.permuted, resamples=0, progress=False).loss[-1] == pytest.approx(
        naive.loss[-1], rel=1e-5
    )


def test_coordinate_descent_never_loses_and_ends_where_no_group_gains(mlps):
    (one, two), surface, _ = mlps
    states = StateSurface(surface)
    found = Specification.traced(states)
    weights = Weights(found, one.state_dict(), two.state_dict(), {b.name for b in surface.layout.blocks})
    generator = torch.Generator().manual_seed(0)
    start = found.random(generator)
    before = weights.inner(found.permuted(weights.b, start))
    match = by_weights(weights, start, generator)
    assert match.objective > before
    assert match.objective == pytest.approx(weights.inner(found.permuted(weights.b, match.permutations)), rel=1e-12)
    again = by_weights(weights, match.permutations, generator)
    assert again.objective == match.objective and again.sweeps == 1


@pytest.mark.slow
def test_running_statistics_go_with_their_units(cnns):
    (one, two), surface, _ = cnns
    found = la.align(surface, one, two)
    model = copy.deepcopy(two)
    model.load_state_dict(found.permuted)
    x = digits("test", images=True)[0][:50]
    with torch.no_grad():
        assert torch.allclose(model(x), two(x), atol=1e-4)
    order = next(order for name, order in found.permutations.items() if name == "0")
    assert torch.equal(found.permuted["1.running_var"], two[1].running_var[order])
    assert torch.equal(
        found.permuted["3.weight"].sum((0, 2, 3)),
        two[3].weight[:, order].detach()[found.permutations["3"]].sum((0, 2, 3)),
    )


@pytest.mark.slow
def test_merging_holds_all_ways_side_by_side(cnns, tmp_path):
    (one, two), surface, test = cnns
    made = la.merge(surface, one, two, test=test, restarts=1)
    names = ["a", "b", "naive", "permuted", "permuted + reset", "permuted + REPAIR"]
    assert [row.name for row in made.rows] == names
    for name in names:
        model = copy.deepcopy(one)
        model.load_state_dict(made.states[name])
        x, y = (part[:120] for part in digits("test", images=True))
        with torch.no_grad():
            output = model(x)
        assert made[name].loss["test"] == pytest.approx(float(nn.functional.cross_entropy(output, y)), rel=1e-3)
        assert made[name].error["test"] == pytest.approx(float((output.argmax(1) != y).double().mean()), abs=1e-6)
        low, high = made[name].intervals["loss"]["test"]
        assert low <= made[name].loss["test"] <= high
    assert made["permuted + reset"].loss["train"] < made["permuted"].loss["train"] < made["naive"].loss["train"] * 1.2
    text = str(made)
    assert text.count("\n") == 7 and "permuted + REPAIR" in text and made._repr_html_().count("<tr>") == 7
    made.plot().render()
    made.save(tmp_path)
    assert (tmp_path / "merged.safetensors").exists() and (tmp_path / "merge.json").exists()
    with pytest.raises(la.InputError, match="no row 'best'"):
        made["best"]
    with pytest.raises(la.InputError, match="share of b"):
        la.merge(surface, one, two, t=2.0)


def test_repair_gives_units_the_moments_of_the_ends(mlps):
    (one, two), surface, _ = mlps
    found = la.align(surface, one, two, restarts=1)
    made = la.merge(surface, one, two, alignment=found)
    names = ["0", "2"]
    states = StateSurface(surface, taps=names)
    points = torch.stack([states.join(s) for s in (one.state_dict(), found.permuted, made.states["permuted + REPAIR"])])
    extras = states.read(points).extras
    for name in names:
        outputs = extras[f"tap/{name}"].double()
        for moment in (outputs.mean(1), outputs.std(1, correction=0)):
            assert torch.allclose(moment[2], (moment[0] + moment[1]) / 2, rtol=2e-3, atol=2e-3)
    assert "permuted + reset" not in made.states  # no batch norm, nothing to reset
    assert made["permuted + REPAIR"].loss["train"] < made["permuted"].loss["train"]
    line = la.connect(surface, one, found.permuted, statistics="repair", points=3, tolerance=None, progress=False)
    assert line.loss[1] == pytest.approx(made["permuted + REPAIR"].loss["train"], rel=1e-5)
    assert "REPAIR" in " ".join(line.notes)


@pytest.mark.slow
def test_repair_corrects_batch_norms_where_there_are_any(cnns):
    (one, two), surface, _ = cnns
    states = StateSurface(surface)
    found = Specification.traced(states)
    assert [site.name for site in sites(states, found)] == ["1", "4"]
    from lossatlas.connect._endpoints import end

    ends = (end(surface, one, "a"), end(surface, two, "b"))
    state = Repair(surface, ends, found).at((0.5, 0.5), torch.lerp(ends[0].state, ends[1].state, 0.5))
    told = (
        StateSurface(surface, taps=["1"])
        .read(torch.stack([ends[0].state, ends[1].state, state]))
        .extras["tap/1"]
        .double()
    )
    mean, deviation = told.mean((1, 3, 4)), told.std((1, 3, 4), correction=0)
    # statistics are re-estimated batch by batch, as torch does it: the moments are met to a few per cent
    assert torch.allclose(deviation[2], (deviation[0] + deviation[1]) / 2, rtol=0.05)
    assert torch.allclose(mean[2], (mean[0] + mean[1]) / 2, atol=0.05)
    no_shift = nn.Sequential(nn.Linear(64, 6, bias=False), nn.ReLU(), nn.Linear(6, 10)).eval()
    bare = la.NetworkSurface(no_shift, "cross_entropy", digits("test"))
    made = la.merge(bare, bare.theta, bare.theta + 0.1)
    assert "no REPAIR" in " ".join(made.notes)


def test_an_alignment_is_saved_with_its_weights(mlps, tmp_path):
    (one, two), surface, _ = mlps
    found = la.align(surface, one, two)
    found.save(tmp_path)
    assert torch.equal(surface.vector(tmp_path / "permuted.safetensors"), surface.vector(found.permuted))
    assert found.record()["moved"] == found.moved and len(found.reading()) == 5


@pytest.mark.parametrize(
    "settings, message",
    [({"method": "nonsense"}, "no method"), ({"restarts": 0}, "from 1 to"), ({"examples": 0}, "at least 1")],
)
def test_settings_of_an_alignment_that_cannot_be_are_refused(mlps, settings, message):
    (one, two), surface, _ = mlps
    with pytest.raises(la.InputError, match=message):
        la.align(surface, one, two, **settings)
    with pytest.raises(la.NotApplicableError, match="NetworkSurface"):
        la.align(la.landscapes.himmelblau(), torch.zeros(2), torch.ones(2))


@pytest.mark.slow
def test_barriers_over_pairs_have_an_interval_over_networks():
    data = tuple(part[:150] for part in digits("train"))
    models = [digits_mlp((8,), seed=seed) for seed in range(4)]
    for seed, model in enumerate(models):
        fit(model, data, epochs=5, lr=1e-2, seed=seed)
    surface = la.NetworkSurface(models[0], "cross_entropy", data)

    def path(i, j):
        return la.connect(surface, models[i], models[j], points=5, resamples=0, progress=False)

    apart = la.barriers([path(0, 1), path(2, 3)])
    values = [path(0, 1).barrier, path(2, 3).barrier]
    assert apart.values.tolist() == values and apart.mean == pytest.approx(np.mean(values)) and apart.networks == 4
    half = 12.706204736 * np.std(values, ddof=1) / np.sqrt(2)  # Student's t with one degree of freedom
    assert apart.interval == pytest.approx((np.mean(values) - half, np.mean(values) + half))
    every = la.barriers([path(i, j) for i, j in itertools.combinations(range(4), 2)])
    assert every.method == "jackknife over networks" and every.interval[0] < every.mean < every.interval[1]
    assert "4 networks" in every.sentence
    with pytest.raises(la.InputError, match="at least two"):
        la.barriers([path(0, 1)])
    named = dict(zip("abcd", models, strict=True))
    told = la.barriers(surface, named, points=5, resamples=0, progress=False)
    assert told.values.tolist() == every.values.tolist() and told.interval == pytest.approx(every.interval)
    assert told.labels == ("a – b", "a – c", "a – d", "b – c", "b – d", "c – d") and told.networks == 4
    assert told.plot().labels == list(told.labels)
    for use, says in (
        (lambda: la.barriers(surface, {"a": models[0], "b": models[1]}), "at least three"),
        (lambda: la.barriers(surface, models), "names to points"),
        (lambda: la.barriers(surface), "connect returned"),
        (lambda: la.barriers(models[0], named), "expected a Surface"),
        (lambda: la.barriers([path(0, 1)] * 2, resamples=3), "without points"),
    ):
        with pytest.raises(la.InputError, match=says):
            use()
    assert mean_interval(np.array([1.0, np.inf])) == (-np.inf, np.inf)


def test_the_interval_over_networks_covers_when_pairs_share_them():
    """Barriers that are sums of two networks' own numbers, all pairs of 12 networks, 300 times.

    A 95 % interval covers fewer than 276 of 300 with probability 0.01; numbers are normal, so Student's t is exact.
    Taken as independent, the 66 pairs would cover about two thirds.
    """
    rng = np.random.default_rng(0)
    pairs = np.array(list(itertools.combinations(range(12), 2)))
    covered, naive = 0, 0
    for _ in range(300):
        values = rng.normal(1.0, 1.0, 12)[pairs].sum(1)
        covered += np.prod(np.array(over_networks(values, pairs, 12)) - 2.0) <= 0
        naive += np.prod(np.array(mean_interval(values)) - 2.0) <= 0
    assert covered >= 276 and naive < 250


def test_a_wide_match_takes_seconds():
    torch.manual_seed(0)
    data = tuple(part[:20] for part in digits("test"))
    surface = la.NetworkSurface(digits_mlp((128, 128), seed=0), "cross_entropy", data)
    found = la.align(surface, surface.theta, digits_mlp((128, 128), seed=1), restarts=2)
    assert max(found.provenance["sweeps"]) < 50


@pytest.mark.slow
def test_networks_of_any_architecture_are_connected_through_their_ends():
    for name in ("residual_cnn", "transformer"):
        module = example(name)
        x, y = (part[:100] for part in module.make_data())
        models = [module.make_model(seed) for seed in (0, 1)]
        surface = la.NetworkSurface(models[0], "cross_entropy", (x, y))
        found = la.align(surface, *models, method="both", restarts=1)
        path = la.connect(
            surface,
            models[0],
            found.permuted,
            kind="chain",
            controls=2,
            steps=5,
            points=5,
            resamples=50,
            progress=False,
        )
        assert torch.equal(path.points(1.0)[0], surface.vector(found.permuted)) and np.isfinite(path.loss).all()
        assert path.curve.degree == 3 and path.interval is not None
