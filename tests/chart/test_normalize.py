"""Normalizations against their formulas, filter by filter in plain loops, and the policy that says what a filter is."""

import itertools
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import lossatlas as la
from lossatlas._errors import ModelError, UnknownNameError
from lossatlas.chart import normalize
from lossatlas.chart.planes._policy import LI, NORMALIZATIONS, OWN

X = torch.randn(6, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
Y = torch.tensor([0, 1, 0, 1, 1, 0])


class Conv1D(nn.Module):
    """Stored (in, out), as the transformers package has it."""

    def __init__(self, out, inputs):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(inputs, out)), nn.Parameter(torch.randn(out))


Conv1D.__module__ = "transformers.pytorch_utils"


class Zoo(nn.Module):
    """A block of every kind; only the head is used."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(5)
        self.conv = nn.Conv2d(2, 4, (3, 2))
        self.grouped = nn.Conv1d(4, 6, 3, groups=2)
        self.up = nn.ConvTranspose2d(3, 5, 2)
        self.grouped_up = nn.ConvTranspose1d(6, 4, 3, groups=2)
        self.batch, self.layer = nn.BatchNorm2d(4), nn.LayerNorm((3, 2))
        self.tokens, self.read = nn.Embedding(7, 4, padding_idx=0), nn.Linear(4, 7, bias=False)
        self.read.weight = self.tokens.weight
        self.attention = nn.MultiheadAttention(4, 2)
        self.memory = nn.LSTM(3, 2)
        self.projected = Conv1D(6, 4)
        self.positions, self.cls = nn.Parameter(torch.randn(1, 5, 4)), nn.Parameter(torch.randn(1, 1, 4))
        self.loose, self.temperature = nn.Parameter(torch.randn(3, 4, 2)), nn.Parameter(torch.tensor(0.7))
        self.scale = nn.Parameter(torch.randn(4))
        self.normed = nn.utils.parametrizations.weight_norm(nn.Linear(3, 5))
        self.frozen = nn.Linear(3, 3)
        self.frozen.requires_grad_(False)
        self.head = nn.Linear(3, 2)
        with torch.no_grad():
            for parameter in self.parameters():
                if parameter.ndim < 2:
                    parameter.add_(torch.randn_like(parameter))
            self.head.weight[1].zero_()

    def forward(self, x):
        return self.head(x) + 0 * self.normed(x)[:, :2]


def filters(name, shape):
    """The filters of a block as index tuples, written out."""
    full = slice(None)
    if name in ("up.weight",):
        return [(full, o) for o in range(shape[1])]
    if name == "grouped_up.weight":  # (6, 2, 3): two groups of three inputs and two outputs each
        return [(slice(0, 3), 0), (slice(0, 3), 1), (slice(3, 6), 0), (slice(3, 6), 1)]
    if name == "projected.weight":
        return [(full, o) for o in range(shape[1])]
    if name in ("positions", "cls"):
        return [(0, t) for t in range(shape[1])]
    return [(o,) for o in range(shape[0])]


def layers(name, shape):
    full = [(...,)]
    thirds = {"attention.in_proj_weight": 3, "memory.weight_ih_l0": 4, "memory.weight_hh_l0": 4}
    if name not in thirds:
        return full
    rows = shape[0] // thirds[name]
    return [(slice(k * rows, (k + 1) * rows),) for k in range(thirds[name])]


NORMS = {"batch.weight", "batch.bias", "layer.weight", "layer.bias", "normed.parametrizations.weight.original0"}


def slowly(d, w, name, normalization, ignore):
    """One block of a direction, by the definition of its normalization."""
    d = d.clone()
    vector = w.ndim <= 1 or name in NORMS
    if vector and ignore == "biasbn":
        return torch.zeros_like(d)
    if normalization == "none":
        return d
    if normalization == "weight":
        return d * w
    places = [(...,)] if vector else (filters if "filter" in normalization else layers)(name, tuple(w.shape))
    for place in places:
        size, wanted = d[place].norm(), 1.0 if normalization.startswith("d") else w[place].norm()
        d[place] = d[place] * (wanted / size)
    return d


def li_slowly(d, w, norm, ignore):
    """Li et al.'s definition: filters are slices of the first axis, vectors are zero or the weights themselves."""
    d = d.clone()
    if w.ndim <= 1:
        return torch.zeros_like(d) if ignore == "biasbn" else w.clone()
    if norm in ("filter", "dfilter"):
        for j in range(len(d)):
            wanted = w[j].norm() if norm == "filter" else 1.0
            d[j] = d[j] * wanted / (d[j].norm() + 1e-10)
        return d
    if norm == "weight":
        return d * w
    return d * w.norm() / d.norm() if norm == "layer" else d / d.norm()


@pytest.fixture(scope="module")
def zoo():
    return la.NetworkSurface(Zoo().double().eval(), "cross_entropy", (X, Y))


@pytest.mark.parametrize(("normalization", "ignore"), list(itertools.product(OWN, ["biasbn", "nothing"])))
def test_every_normalization_is_its_formula_on_every_kind_of_block(zoo, normalization, ignore):
    plane = la.Plane.random(zoo, seed=3, normalization=normalization, ignore=ignore)
    generator = torch.Generator().manual_seed(3)
    weights = zoo.layout.split(zoo.theta)
    for row in plane.frame.directions:
        found = zoo.layout.split(row)
        for name, w in weights.items():
            raw = torch.randn(w.numel(), generator=generator, dtype=torch.float64).view(w.shape)
            expected = slowly(raw, w, name, normalization, ignore)
            torch.testing.assert_close(found[name], expected, rtol=1e-12, atol=1e-14, msg=f"{name} differs")
    assert plane.how["normalization"] == normalization and plane.how["ignore"] == ignore


@pytest.mark.parametrize(("normalization", "ignore"), list(itertools.product(LI, ["biasbn", "nothing"])))
def test_li2018_is_li_et_al_to_the_letter(normalization, ignore):
    """Their program seeds torch, draws one float32 tensor per parameter for x, then for y, and normalizes them."""
    surface = la.NetworkSurface(Zoo().eval(), "cross_entropy", (X.float(), Y))
    weights = surface.layout.split(surface.theta)
    plane = la.Plane.random(surface, seed=123, normalization=normalization, ignore=ignore)
    with torch.random.fork_rng():
        torch.manual_seed(123)
        drawn = [[torch.randn(w.size()) for w in weights.values()] for _ in range(2)]
    norm = normalization.partition("-")[2] or "filter"
    for row, raw in zip(plane.frame.directions, drawn, strict=True):
        expected = [li_slowly(d, w, norm, ignore).flatten() for d, w in zip(raw, weights.values(), strict=True)]
        torch.testing.assert_close(row, torch.cat(expected), rtol=3e-6, atol=1e-7)


def test_li2018_and_our_own_part_where_the_paper_is_silent(zoo):
    ours, theirs = (
        zoo.layout.split(la.Plane.random(zoo, normalization=n).frame.directions[0]) for n in ("filter", "li2018")
    )
    weights = zoo.layout.split(zoo.theta)
    for name, axis in (("up.weight", 1), ("projected.weight", 1)):
        sizes = [d[name].movedim(axis, 0).flatten(1).norm(dim=1) for d in (ours, theirs, weights)]
        torch.testing.assert_close(sizes[0], sizes[2])
        assert not torch.allclose(sizes[1], sizes[2], rtol=0.05), name


def test_filters_that_are_zero_stay_and_the_rest_have_their_weights_norm(zoo):
    (row,) = la.Line.random(zoo, seed=1).frame.directions
    head = zoo.layout.split(row)["head.weight"]
    assert not bool(head[1].any())
    assert float(head[0].norm()) == pytest.approx(
        float(zoo.layout.split(zoo.theta)["head.weight"][0].norm()), rel=1e-12
    )


def test_normalize_leaves_what_it_is_given_and_knows_its_names(zoo):
    direction = torch.randn(zoo.dimension, dtype=torch.float64)
    kept = direction.clone()
    moved = normalize(direction, zoo.theta, zoo.layout, "layer")
    assert torch.equal(direction, kept) and not torch.equal(moved, kept)
    with pytest.raises(UnknownNameError, match="Did you mean 'dfilter'"):
        la.Plane.random(zoo, normalization="dfilters")
    with pytest.raises(la.InputError, match="biasbn"):
        la.Plane.random(zoo, ignore="bias")
    assert set(OWN) | set(LI) == set(NORMALIZATIONS)


# -- invariances ------------------------------------------------------------------------------------------------------


def relu_net():
    torch.manual_seed(2)
    return nn.Sequential(nn.Linear(3, 6), nn.ReLU(), nn.Linear(6, 2)).double()


def rescaled(model, factors):
    """The same function with hidden unit i scaled up by a_i and its outgoing column down."""
    scaled = relu_net()
    scaled.load_state_dict(model.state_dict())
    with torch.no_grad():
        scaled[0].weight *= factors[:, None]
        scaled[0].bias *= factors
        scaled[2].weight /= factors
    return scaled


@pytest.mark.slow
@pytest.mark.parametrize(
    ("normalization", "layerwise", "neuronwise"),
    [
        ("filter", True, False),
        ("layer", True, False),
        ("weight", True, True),
        ("none", False, False),
        ("dfilter", False, False),
    ],
)
def test_what_a_picture_is_invariant_to(normalization, layerwise, neuronwise):
    """Filter normalization fails where units are rescaled one by one; element-wise directions do not (Dinh et al.)."""
    uneven = torch.tensor([0.2, 5.0, 1.0, 0.5, 3.0, 0.25], dtype=torch.float64)
    for factors, same in ((torch.full((6,), 5.0, dtype=torch.float64), layerwise), (uneven, neuronwise)):
        curves = []
        for model in (relu_net(), rescaled(relu_net(), factors)):
            surface = la.NetworkSurface(model, "cross_entropy", (X, Y))
            line = la.Line.random(surface, seed=4, normalization=normalization)
            curves.append(la.chart(surface, line, points=(9, 1), exact=True, progress=False).loss[0])
        assert np.allclose(*curves, rtol=1e-9) == same, (normalization, factors.tolist())


@pytest.mark.slow
def test_a_filter_before_batch_norm_may_be_rescaled():
    """Its scale does not enter the function, and must not enter the picture; without normalization it does."""

    def net(factor):
        torch.manual_seed(3)
        model = nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5, eps=1e-15), nn.ReLU(), nn.Linear(5, 2)).double().eval()
        with torch.no_grad():
            model[0].weight[2] *= factor
            model[0].bias[2] *= factor
        return model

    same = {}
    for normalization in ("filter", "none"):
        curves = []
        for factor in (1.0, 7.0):
            surface = la.NetworkSurface(net(factor), "cross_entropy", (X, Y), batchnorm="recompute")
            line = la.Line.random(surface, seed=0, normalization=normalization)
            curves.append(la.chart(surface, line, points=(9, 1), exact=True, progress=False).loss[0])
        same[normalization] = np.allclose(*curves, rtol=1e-9)
    assert same == {"filter": True, "none": False}


def test_a_tied_weight_is_moved_once_and_everywhere():
    model = Zoo().double().eval()
    surface = la.NetworkSurface(model, "cross_entropy", (X, Y))
    names = [block.name for block in surface.layout.blocks]
    assert "tokens.weight" in names and "read.weight" not in names
    (block,) = [b for b in surface.layout.blocks if b.name == "tokens.weight"]
    assert block.aliases == ("read.weight",)

    class Loop(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.embed = nn.Embedding(5, 3)
            self.head = nn.Linear(3, 5, bias=False)
            self.head.weight = self.embed.weight

        def forward(self, tokens):
            return self.head(self.embed(tokens).mean(1))

    tokens, labels = torch.tensor([[0, 1], [2, 3], [4, 1]]), torch.tensor([2, 0, 1])
    tied = Loop().double()
    surface = la.NetworkSurface(tied, "cross_entropy", (tokens, labels))
    line = la.Line.random(surface, seed=0)
    weight, direction = tied.embed.weight.detach(), line.frame.directions[0].view(5, 3)
    chart = la.chart(surface, line, points=(5, 1), exact=True, progress=False)
    for t, loss in zip(chart.alpha, chart.loss[0], strict=True):
        moved = weight + t * direction
        assert loss == pytest.approx(float(F.cross_entropy(F.embedding(tokens, moved).mean(1) @ moved.T, labels)))


# -- the policy that is printed ---------------------------------------------------------------------------------------


def test_the_policy_names_every_block_and_what_is_done_with_it(zoo):
    table = la.policy(zoo)
    rows = {row[0]: row for row in table.table().rows}
    kinds = {
        "conv.weight": ("conv", "output channel (axis 0)", "4"),
        "grouped.weight": ("conv, 2 groups", "output channel (axis 0)", "6"),
        "up.weight": ("conv-transpose", "output channel (axis 1)", "5"),
        "grouped_up.weight": ("conv-transpose, 2 groups", "output channel (axis 1, in each of 2 groups)", "4"),
        "tokens.weight = read.weight": ("embedding", "row, one token", "7"),
        "attention.in_proj_weight": ("fused", "row, one output of one of 3 weights", "12"),
        "memory.weight_ih_l0": ("fused", "row, one output of one of 4 weights", "8"),
        "projected.weight": ("linear-transposed", "column, one output (axis 1)", "6"),
        "positions": ("token", "vector of one token (last axis)", "5"),
        "cls": ("token", "vector of one token (last axis)", "1"),
        "loose": ("other", "slice along axis 0", "3"),
        "normed.parametrizations.weight.original1": ("linear", "row, one output (axis 0)", "5"),
        "head.weight": ("linear", "row, one output (axis 0)", "2"),
    }
    for name, (kind, what, count) in kinds.items():
        assert rows[name][1] == kind and rows[name][3] == what and rows[name][4] == count, rows[name]
        assert rows[name][6].startswith("yes")
    assert rows["head.weight"][6] == "yes, 1 zero filters stay" and "1 zero" in rows["tokens.weight = read.weight"][6]
    for name in (*NORMS, "head.bias", "temperature", "scale"):
        assert rows[name][6] == "no" and "biasbn" in rows[name][3], rows[name]
    assert rows["temperature"][1] == "scalar" and rows["scale"][1] == "gain" and rows["temperature"][2] == "()"
    assert rows["frozen.weight"][3] == "frozen: not part of θ" and "frozen.weight" not in zoo.layout.split(zoo.theta)
    directions = la.Plane.random(zoo).frame.directions
    held = sum(b.size for b in zoo.layout.blocks if not bool(directions[0][b.span].any()))
    assert table.moved == pytest.approx(1 - held / zoo.dimension)
    assert la.Plane.random(zoo).how["moved"] == table.moved
    assert "2 frozen tensors with 12 entries" in table.sentence


def test_the_policy_renders_in_terminal_notebook_and_as_text(zoo):
    import io

    from rich.console import Console

    table = la.policy(zoo, "li2018", ignore="nothing")
    buffer = io.StringIO()
    Console(file=buffer, width=200).print(table)
    for text in (buffer.getvalue(), str(table), table._repr_html_()):
        assert "grouped_up.weight" in text and "the weights themselves, in every direction" in text
    assert table.moved == 1.0 and table.record()["ignore"] == "nothing"
    assert "a landscape's own coordinates" in str(la.policy(la.landscapes.beale()))


def test_complex_weights_are_refused():
    class Complex(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.randn(3, 2, dtype=torch.complex64))

        def forward(self, x):
            return (x.to(self.w) @ self.w).abs()

    with pytest.raises(ModelError, match="complex64"):
        la.NetworkSurface(Complex(), "cross_entropy", (X.float(), Y))


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_large_blocks_are_scaled_some_rows_at_a_time(zoo, normalization, monkeypatch):
    whole = la.Plane.random(zoo, normalization=normalization).frame.directions
    monkeypatch.setattr(sys.modules["lossatlas.chart.planes._normalize"], "CHUNK", 5)
    parts = la.Plane.random(zoo, normalization=normalization).frame.directions
    torch.testing.assert_close(parts, whole, rtol=1e-13, atol=0)
