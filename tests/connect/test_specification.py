"""Which axes carry which permutation: found by watching, held against probing, given by hand, and refused."""

import importlib.util
import math
from pathlib import Path

import pytest
import torch
from torch import nn

import lossatlas as la
from lossatlas.connect.symmetry._labels import Labels
from lossatlas.connect.symmetry._specification import Axis, Specification
from lossatlas.demo import digits, digits_cnn, digits_mlp
from lossatlas.surface import StateSurface

EXAMPLES = Path(__file__).parents[2] / "examples"


def example(name):
    found = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def unsettled(model, seed=0):
    """Random gains, shifts and statistics: at their defaults (ones and zeros) many wrong permutations change nothing."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.copy_(torch.rand_like(parameter) + 0.5)
        for name, buffer in model.named_buffers():
            if name.endswith(("running_mean", "running_var")):
                buffer.copy_(torch.rand_like(buffer) + 0.5)
    return model.eval()


class Gated(nn.Module):
    """A gated MLP whose halves come from one weight, a depthwise convolution, a group norm, an embedding of positions."""

    def __init__(self):
        super().__init__()
        self.lift = nn.Conv2d(1, 6, 3, padding=1)
        self.each = nn.Conv2d(6, 6, 3, padding=1, groups=6)
        self.pairs = nn.Conv2d(6, 8, 1, groups=2)
        self.norm = nn.GroupNorm(4, 8)
        self.gate = nn.Linear(8 * 16, 14)
        self.head = nn.Linear(7, 10)

    def forward(self, x):
        x = nn.functional.max_pool2d(torch.relu(self.each(torch.relu(self.lift(x)))), 2)
        x = nn.functional.silu(self.norm(self.pairs(x)))
        return self.head(nn.functional.glu(self.gate(x.flatten(1))))


class Joined(nn.Module):
    """Two branches that are joined end to end: each can be permuted by itself, and the layer behind them."""

    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Linear(64, 5), nn.Linear(64, 4)
        self.mix, self.head = nn.Linear(9, 6), nn.Linear(6, 10)

    def forward(self, x):
        return self.head(torch.tanh(self.mix(torch.cat([self.one(x), self.two(x)], 1))))


class Padded(nn.Module):
    """A shortcut that subsamples and pads its channels with zeros (He et al. 2016, option A)."""

    def __init__(self):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.one, self.two = nn.Conv2d(4, 3, 3, stride=2, padding=1), nn.Conv2d(3, 8, 3, padding=1)
        self.head = nn.Sequential(nn.Linear(8, 5), nn.ReLU(), nn.Linear(5, 10))

    def forward(self, x):
        x = torch.relu(self.norm(self.stem(x)))
        short = nn.functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 2, 2))
        return self.head(torch.relu(self.two(torch.relu(self.one(x))) + short).mean((2, 3)))


class Dense(nn.Module):
    """Every layer reads all before it."""

    def __init__(self):
        super().__init__()
        self.one = nn.Conv2d(1, 4, 3, padding=1)
        self.two, self.three = nn.Conv2d(4, 3, 3, padding=1), nn.Conv2d(7, 3, 3, padding=1)
        self.norm, self.head = nn.BatchNorm2d(10), nn.Linear(10 * 16, 10)

    def forward(self, x):
        x = torch.relu(self.one(x))
        x = torch.cat([x, torch.relu(self.two(x))], 1)
        x = torch.cat([x, torch.relu(self.three(x))], 1)
        return self.head(nn.functional.avg_pool2d(torch.relu(self.norm(x)), 2).flatten(1))


CASES = {
    "mlp": (lambda: digits_mlp((12, 9)), False, [12, 9]),
    "cnn": (digits_cnn, True, [16, 32]),
    "residual": (lambda: example("residual_cnn").make_model(), True, [12, 12, 12, 24, 24, 24]),
    "transformer": (lambda: example("transformer").make_model(), True, [24, *[3, *[8] * 6, 48] * 2]),
    "torch's encoder": (
        lambda: nn.Sequential(
            nn.Flatten(0, 1),
            nn.TransformerEncoderLayer(8, 2, 12, dropout=0.0, batch_first=True),
            nn.Flatten(),
            nn.Linear(64, 10),
        ),
        True,
        [2, 4, 12],
    ),
    "gated": (Gated, True, [2, 3, 7]),  # six channels are two groups of three for the grouped convolution
    "joined": (Joined, False, [5, 4, 6]),
    "padded shortcuts": (Padded, True, [4, 2, 2, 3, 5]),
    "dense": (Dense, True, [4, 3, 3]),
}


def surface_of(name):
    make, images, _ = CASES[name]
    x, y = digits("test", images=images)
    return la.NetworkSurface(unsettled(make()), "cross_entropy", (x[:40], y[:40]))


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_groups_are_found_and_each_leaves_the_function_as_it_is(name):
    surface = surface_of(name)
    states = StateSurface(surface, outputs=True)
    found = Specification.traced(states)
    sizes = sorted(group.units for group in found.groups)
    if name in ("gated", "torch's encoder"):
        assert set(CASES[name][2]) <= set(sizes)
    else:
        assert sizes == sorted(CASES[name][2])
    tensors, before = states.split(states.start), states.read(states.start[None]).extras["outputs"]
    generator = torch.Generator().manual_seed(0)
    for group in found.groups:
        order = torch.randperm(group.units, generator=generator)
        same = states.read(states.join(found.permuted(tensors, {group.name: order}))[None]).extras["outputs"]
        assert float((same - before).abs().max()) < 1e-5 * float(before.abs().max()), group.name
        # leaving any one of its axes out is noticed: nothing in the group is there by accident
        turned = torch.arange(group.units).roll(1)
        for axis in group.axes:
            others = {**found.permuted(tensors, {group.name: turned}), axis.name: tensors[axis.name]}
            off = states.read(states.join(others)[None]).extras["outputs"]
            assert float((off - before).abs().max()) > 1e-4 * float(before.abs().max()), (group.name, axis)


def test_probing_unit_by_unit_finds_the_same_as_watching():
    """The slow obvious way: swap two units of a weight's outputs, and try which inputs of which weights restore it."""
    surface = surface_of("mlp")
    states = StateSurface(surface, outputs=True)
    tensors, before = states.split(states.start), states.read(states.start[None]).extras["outputs"]
    found = {frozenset((a.name, a.axis) for a in g.axes) for g in Specification.traced(states).groups}

    def swapped(entries):
        moved = dict(tensors)
        for name, axis in entries:
            order = torch.arange(moved[name].shape[axis])
            order[:2] = torch.tensor([1, 0])
            moved[name] = moved[name].index_select(axis, order)
        off = states.read(states.join(moved)[None]).extras["outputs"] - before
        return float(off.abs().max()) < 1e-5

    probed = set()
    for layer in ("0", "2", "4"):
        made = [(f"{layer}.weight", 0), (f"{layer}.bias", 0)]
        for other in ("0", "2", "4"):
            if swapped([*made, (f"{other}.weight", 1)]) if tensors[f"{other}.weight"].shape[1] > 1 else False:
                probed.add(frozenset([*made, (f"{other}.weight", 1)]))
    assert probed == found


def test_axes_within_axes_are_permuted_as_blocks():
    tensor = torch.arange(24).reshape(2, 12)
    axis = Axis.block("w", 1, 2, 3, 2)
    order = torch.tensor([2, 0, 1])
    expected = tensor.reshape(2, 2, 3, 2)[:, :, order].reshape(2, 12)
    assert torch.equal(axis.permuted(tensor, order), expected)
    assert torch.equal(axis.rows(tensor), tensor.reshape(2, 2, 3, 2).permute(2, 1, 3, 0).reshape(3, -1))
    back = torch.argsort(order)
    assert torch.equal(axis.permuted(axis.permuted(tensor, order), back), tensor)


def test_labels_are_split_joined_and_fixed():
    labels = Labels()
    twelve, three, four = labels.new(12), labels.new(3), labels.new(4)
    labels.unite(twelve, (*three, *four))
    assert [labels.size((term,)) for term in labels.resolve(twelve)] == [3, 4]
    labels.fix(three, "why")
    assert [labels.fixed(label) for label, _ in labels.resolve(twelve)] == ["why", None]
    six = labels.new(6)
    labels.unite(six, labels.new(4))
    assert all("lengths" in labels.fixed(label) for label, _ in labels.resolve(six))
    assert labels.new(1) == () and [labels.size(d) for d in labels.cut(labels.new(8), [2, 1, 4])] == [2, 1, 4]
    seven = labels.joined([labels.new(3), labels.new(4)], [3, 4])
    first, rest = labels.pieces(seven, [2, 5])  # cut across what it was joined of
    assert [labels.size(d) for d in (first, rest)] == [2, 5]
    assert [p.ravel().tolist() for _, p in labels.places(seven)] == [[0, 1], [3, 4, 5, 6]]  # one alone is no label
    other = labels.joined([labels.new(5), labels.new(2)], [5, 2])
    labels.unite(seven, other)
    assert labels.places(seven)[1][0] == labels.places(other)[1][0] and len(labels.places(other)) == 3
    spread = (*labels.new(2), *labels.joined([labels.new(2), labels.new(3)], [2, 3]), *labels.new(2))
    assert [p.tolist() for _, p in labels.places(spread)][1] == [[0, 1, 10, 11], [2, 3, 12, 13]]
    signed = Labels(signed=True)
    own = signed.new(5)
    signed.unite(own, own, inverse=True)
    assert "inverse" in signed.fixed(own[0][0])


def test_a_network_of_which_nothing_can_be_permuted_says_why():
    x, y = digits("test")
    surface = la.NetworkSurface(nn.Linear(64, 10).eval(), "cross_entropy", (x, y))
    with pytest.raises(
        la.InputError, match=r"no units .* can be permuted.*an axis of the output.*an axis of the input"
    ):
        la.align(surface, surface.theta, surface.theta + 1)
    with pytest.raises(la.InputError, match="no units"):
        la.copies(surface)

    class Sorted(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(64, 6), nn.Linear(6, 10)

        def forward(self, x):
            return self.b(torch.cumsum(self.a(x), 1))

    surface = la.NetworkSurface(Sorted().eval(), "cross_entropy", (x, y))
    with pytest.raises(la.InputError, match="the operation cumsum"):
        la.copies(surface)


@pytest.mark.slow
def test_a_specification_by_hand(mlps):
    (one, two), surface, _ = mlps
    by_hand = {
        "first": [("0.weight", 0), ("0.bias", 0), ("2.weight", 1)],
        "second": [("2.weight", 0), ("2.bias", 0), ("4.weight", -1)],
    }
    found, given = la.align(surface, one, two), la.align(surface, one, two, spec=by_hand)
    assert given.objective == pytest.approx(found.objective) and given.specification.source == "given"
    with pytest.raises(la.InputError, match="given by hand do not say where"):
        la.align(surface, one, two, spec=by_hand, method="activations")
    flat = la.NetworkSurface(digits_cnn(), "cross_entropy", tuple(p[:20] for p in digits("test", images=True)))
    blocks = Specification.given(StateSurface(flat), {"p": [("3.weight", 0), ("8.weight", 1)]})
    assert [a.places.shape for a in blocks.groups[0].axes] == [(32, 1), (32, 16)]


@pytest.mark.parametrize(
    "spec, message",
    [
        ({"p": [("0.weight", 0), ("2.weight", 1)]}, r"does not fit.*permuting p \(off by .*Correct spec"),
        ({"p": [("0.weight", 0), ("0.bias", 0), ("2.weight", 1)], "q": [("4.weight", 0)]}, r"permuting q \(off"),
        ({"p": [("0.weight", 2)]}, "no axis of the network"),
        ({"p": [("nowhere", 0)]}, "no axis of the network"),
        ({"p": [("0.weight", 0), ("4.bias", 0)]}, "does not fit axis 0 of '0.weight'"),
        ({"p": []}, "acts on no axis"),
    ],
)
def test_a_specification_that_does_not_fit_is_refused(mlps, spec, message):
    (one, two), surface, _ = mlps
    with pytest.raises(la.InputError, match=message):
        la.align(surface, one, two, spec=spec)


def test_copies_are_counted_exactly():
    surface = surface_of("mlp")
    counted = la.copies(surface)
    assert counted.total == math.factorial(12) * math.factorial(9)
    assert counted.log10 == pytest.approx(math.log10(counted.total)) and f"{counted.total:,}" in counted.sentence
    wide = la.NetworkSurface(digits_mlp((512, 512, 512, 512)), "cross_entropy", tuple(p[:8] for p in digits("test")))
    many = la.copies(wide)
    assert many.total == math.factorial(512) ** 4 and many.log10 == pytest.approx(4 * math.log10(math.factorial(512)))
    assert len(many.record()["digits"]) == math.floor(many.log10) + 1  # more digits than Python prints by itself


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mlp", "cnn", "residual", "transformer", "padded shortcuts", "dense", "joined"])
def test_random_copies_have_the_same_loss_to_rounding(name):
    surface = surface_of(name)
    seen = set()
    for seed in range(3):
        copy = la.random_copy(surface, seed=seed, spread=0.7)
        assert copy.loss == pytest.approx(copy.original, rel=2e-6) and copy.check.holds
        assert copy.distance > 0.1 and copy.permuted and copy.rescaled
        again = surface.values(surface.vector(copy.state)[None])
        if name in (
            "mlp",
            "transformer",
            "joined",
        ):  # no running statistics: the parameters alone are the same function
            assert float(again[0]) == pytest.approx(copy.original, rel=2e-6)
        seen.add(round(copy.distance, 6))
    assert len(seen) == 3


def test_rescaling_is_the_relu_symmetry_and_is_refused_where_there_is_none():
    surface = surface_of("mlp")
    copy = la.random_copy(surface, permute=False, seed=1)
    scales = (
        copy.state["0.weight"]
        / dict(zip([b.name for b in surface.layout.blocks], surface.layout.split(surface.theta).values(), strict=True))[
            "0.weight"
        ]
    )
    assert torch.allclose(scales, scales[:, :1].expand_as(scales), rtol=1e-4) and float(scales.std()) > 0.1
    tanh = la.NetworkSurface(
        nn.Sequential(nn.Linear(64, 5), nn.Tanh(), nn.Linear(5, 10)).eval(), "cross_entropy", digits("test")
    )
    assert la.random_copy(tanh).rescaled == () and "the operation tanh" in la.random_copy(tanh).why_not
    with pytest.raises(la.InputError, match=r"can be rescaled.*tanh"):
        la.random_copy(tanh, permute=False)
    with pytest.raises(la.InputError, match="at least one of them"):
        la.random_copy(tanh, permute=False, rescale=False)
    with pytest.raises(la.NotApplicableError, match="no hidden units"):
        la.random_copy(la.landscapes.himmelblau())
