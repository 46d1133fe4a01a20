"""Planted permutations come back, unit for unit, in every kind of network: recurrent, attention, norms, activations."""

import math

import pytest
import torch
from torch import nn

import lossatlas as la
from lossatlas.connect.symmetry._equivariance import Equivariance
from lossatlas.connect.symmetry._specification import Specification
from lossatlas.demo import digits, digits_cnn, digits_mlp, fit
from lossatlas.surface import StateSurface


def drawn(model, seed=0):
    """Every parameter and running statistic at random: at ones and zeros many wrong permutations change nothing."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.4 + (parameter.ndim == 1))
        for name, buffer in model.named_buffers():
            if name.endswith(("running_mean", "running_var")):
                buffer.copy_(torch.rand(buffer.shape, generator=generator) + 0.5)
    return model.eval()


class Recurrent(nn.Module):
    """Reads the last output, or what `take` makes of all outputs."""

    def __init__(self, layer, width, take=None):
        super().__init__()
        self.layer, self.head, self.take = layer, nn.Linear(width, 3), take

    def forward(self, x):
        y = self.layer(x)[0]
        return self.head(y[:, -1] if self.take is None else self.take(y))


class Cell(nn.Module):
    def __init__(self, cell):
        super().__init__()
        self.cell, self.head = cell, nn.Linear(6, 3)

    def forward(self, x):
        state = None
        for t in range(x.shape[1]):
            state = self.cell(x[:, t], state)
        return self.head(state[0] if isinstance(state, tuple) else state)


class Packed(nn.Module):
    """Sequences of unequal lengths."""

    def __init__(self):
        super().__init__()
        self.layer, self.head = nn.LSTM(4, 6, batch_first=True), nn.Linear(6, 3)

    def forward(self, x):
        lengths = torch.full((len(x),), 5)
        packed = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        y, _ = nn.utils.rnn.pad_packed_sequence(self.layer(packed)[0], batch_first=True)
        return self.head(y.max(1)[0])


class Bilinear(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.two, self.both = nn.Linear(20, 5), nn.Linear(20, 6), nn.Bilinear(5, 6, 7)
        self.head = nn.Linear(7, 3)

    def forward(self, x):
        x = x.flatten(1)
        return self.head(torch.tanh(self.both(torch.tanh(self.one(x)), torch.tanh(self.two(x)))))


class Attending(nn.Module):
    """A translator: reads both directions through attention, whose layers transpose in place."""

    def __init__(self):
        super().__init__()
        self.read, self.bridge = nn.GRU(4, 6, bidirectional=True, batch_first=True), nn.Linear(12, 7)
        self.query, self.key, self.score = nn.Linear(7, 3), nn.Linear(12, 3), nn.Linear(3, 1)
        self.write, self.head = nn.GRUCell(12, 7), nn.Linear(19, 3)

    def forward(self, x):
        seen, _ = self.read(x)
        state = torch.tanh(self.bridge(seen[:, -1]))
        for _ in range(2):
            share = torch.softmax(self.score(torch.tanh(self.query(state)[:, None] + self.key(seen))), 1)
            state = self.write((share * seen).sum(1), state)
        return self.head(torch.cat([state, (share * seen).sum(1)], 1))


class Unread(nn.Module):
    """Weights that nobody uses, and a head whose output nobody reads."""

    def __init__(self):
        super().__init__()
        self.body, self.head, self.aside = nn.Linear(20, 6), nn.Linear(6, 3), nn.Linear(6, 9)
        self.mask, self.spare = nn.Parameter(torch.zeros(1, 8)), nn.Linear(6, 5)

    def forward(self, x):
        x = torch.relu(self.body(x.flatten(1)))
        self.aside(x)
        return self.head(x)


class Shaped(nn.Module):
    """Picks a unit out, of which only the shape is looked at."""

    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Linear(20, 6), nn.Linear(6, 3)

    def forward(self, x):
        x = torch.relu(self.body(x.flatten(1)))
        return self.head(x + torch.zeros(x[:, -1].shape)[:, None])


class Between(nn.Module):
    """A function between two hidden layers."""

    def __init__(self, function):
        super().__init__()
        self.one, self.two, self.head, self.function = nn.Linear(20, 6), nn.Linear(6, 7), nn.Linear(7, 3), function

    def forward(self, x):
        return self.head(self.function(torch.relu(self.two(torch.relu(self.one(x.flatten(1)))))))


class Features(nn.Module):
    """Gives features beside the logits; the loss reads the logits only."""

    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Linear(20, 6), nn.Linear(6, 3)

    def forward(self, x):
        features = torch.relu(self.body(x.flatten(1)))
        return self.head(features), features


def picture(*layers, width):
    return nn.Sequential(nn.Unflatten(1, (1, 5)), *layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 3))


def mobile():
    """An inverted residual: hardswish, squeeze and excitation."""

    class Squeeze(nn.Module):
        def __init__(self):
            super().__init__()
            self.down, self.up = nn.Conv2d(16, 4, 1), nn.Conv2d(4, 16, 1)

        def forward(self, x):
            scale = self.up(torch.relu(self.down(nn.functional.adaptive_avg_pool2d(x, 1))))
            return x * nn.functional.hardsigmoid(scale)

    class Residual(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Sequential(
                nn.Conv2d(8, 16, 1), nn.BatchNorm2d(16), nn.Hardswish(),
                nn.Conv2d(16, 16, 3, padding=1, groups=16), nn.BatchNorm2d(16), Squeeze(), nn.Hardswish(),
                nn.Conv2d(16, 8, 1), nn.BatchNorm2d(8),
            )  # fmt: skip

        def forward(self, x):
            return x + self.body(x)

    return picture(nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.Hardswish(inplace=True), Residual(), width=8)


def normalized(layer):
    return nn.utils.parametrizations.weight_norm(layer)


first = {"batch_first": True}
CASES = {
    "rnn": (lambda: Recurrent(nn.RNN(4, 6, **first), 6), [6]),
    "lstm": (lambda: Recurrent(nn.LSTM(4, 6, **first), 6), [6]),
    "gru": (lambda: Recurrent(nn.GRU(4, 6, **first), 6), [6]),
    "lstm, two layers, both directions": (
        lambda: Recurrent(nn.LSTM(4, 6, 2, bidirectional=True, **first), 12), [6, 6, 6, 6]),
    "gru, both directions, largest over time": (
        lambda: Recurrent(nn.GRU(4, 5, bidirectional=True, **first), 10, lambda y: y.max(1)[0]), [5, 5]),
    "lstm cell": (lambda: Cell(nn.LSTMCell(4, 6)), [6]),
    "gru cell": (lambda: Cell(nn.GRUCell(4, 6)), [6]),
    "packed": (Packed, [6]),
    "translator with attention": (Attending, [6, 6, 7, 3]),
    "shape of a unit": (Shaped, [6]),
    "norm of everything": (lambda: Between(lambda h: h / h.norm(keepdim=True)), [6, 7]),
    "bilinear": (Bilinear, [5, 6, 7]),
    "activations": (
        lambda: nn.Sequential(
            nn.Flatten(), nn.Linear(20, 6), nn.LogSigmoid(), nn.Linear(6, 7), nn.RReLU(), nn.Linear(7, 8),
            nn.Hardswish(), nn.Linear(8, 9), nn.Softplus(), nn.Linear(9, 3)),
        [6, 7, 8, 9]),
    "weight norm": (
        lambda: nn.Sequential(
            nn.Flatten(), normalized(nn.Linear(20, 6)), nn.ReLU(), normalized(nn.Linear(6, 7)), nn.ReLU(),
            nn.Linear(7, 3)),
        [6, 7]),
    "instance norm and bicubic": (
        lambda: picture(
            nn.Conv2d(1, 6, 3, padding=1), nn.InstanceNorm2d(6, affine=True, track_running_stats=True), nn.ReLU(),
            nn.Conv2d(6, 5, 3, padding=1), nn.InstanceNorm2d(5), nn.Upsample(scale_factor=2, mode="bicubic"),
            nn.ReLU(), nn.Conv2d(5, 7, 3), nn.InstanceNorm2d(7, affine=True), nn.ReLU(), width=7),
        [6, 5, 7]),
    "mobile": (mobile, [8, 16, 4]),
}  # fmt: skip


def recovered(surface, seed=1, restarts=3):
    """Whether a copy with every group permuted at random is put back exactly; the groups; both losses."""
    states = StateSurface(surface)
    found = Specification.traced(states)
    own = states.split(states.start)
    moved = states.join(found.permuted(own, found.random(torch.Generator().manual_seed(seed))))
    assert not torch.equal(moved, states.start)
    aligned = la.align(surface, own, states.split(moved), restarts=restarts, progress=False)
    losses = states.read(torch.stack([states.start, moved])).values
    assert float(losses[1]) == pytest.approx(float(losses[0]), rel=1e-5)
    return all(torch.equal(aligned.permuted[name], value) for name, value in own.items()), found


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_planted_permutations_are_recovered_unit_for_unit(name):
    make, units = CASES[name]
    torch.manual_seed(0)
    data = torch.randn(12, 5, 4), torch.randint(0, 3, (12,))
    exact, found = recovered(la.NetworkSurface(drawn(make()), "cross_entropy", data))
    assert exact and sorted(group.units for group in found.groups) == sorted(units)
    assert found.left == "no group of hidden units is left out"


def test_only_what_the_loss_reads_counts_as_output():
    torch.manual_seed(0)
    data = torch.randn(12, 5, 4), torch.randint(0, 3, (12,))
    loss = lambda output, target: nn.functional.cross_entropy(output[0], target)  # noqa: E731
    exact, found = recovered(la.NetworkSurface(drawn(Features()), loss, data))
    assert exact and [group.units for group in found.groups] == [6]


def series(model):
    torch.manual_seed(0)
    data = torch.randn(12, 5, 4), torch.randint(0, 3, (12,))
    return la.NetworkSurface(drawn(model), "cross_entropy", data)


def test_weights_that_the_loss_does_not_depend_on_hold_no_hidden_units():
    surface = series(Unread())
    found = la.copies(surface)
    assert found.groups == {"body": 6} and found.total == math.factorial(6)
    # mask: 8; spare: 5 of its weight, 6 of what it would read, 5 of its bias; aside: 9
    said = "not permuted: 33 units of mask, aside.weight, spare.weight and 1 more (the loss does not depend on them)"
    assert found.left == said
    assert la.random_copy(surface).rescaled == ("body",)


@pytest.mark.parametrize(
    "function",
    [
        lambda h: h + torch.ones(7),
        lambda h: torch.maximum(h, torch.ones_like(h)),
        lambda h: torch.minimum(h, torch.full((7,), 0.5)),
    ],
)
def test_units_that_meet_a_constant_are_not_rescaled(function):
    copy = la.random_copy(series(Between(function)), permute=False)
    assert copy.rescaled == ("one",) and copy.check.holds
    zeros = la.random_copy(series(Between(lambda h: h + torch.zeros(7))), permute=False)
    assert zeros.rescaled == ("one", "two")


def language(name, **more):
    transformers = pytest.importorskip("transformers")
    common = {"vocab_size": 20, "bos_token_id": 0, "eos_token_id": 1, **more}
    if name == "gpt2":
        config = transformers.GPT2Config(n_layer=1, n_head=2, n_embd=8, n_positions=16, **common)
        model = transformers.GPT2LMHeadModel(config)
    else:
        sizes = {"hidden_size": 16, "intermediate_size": 12, "num_hidden_layers": 1, "max_position_embeddings": 16}
        if name == "llama":
            config = transformers.LlamaConfig(num_attention_heads=4, num_key_value_heads=2, **sizes, **common)
            model = transformers.LlamaForCausalLM(config)
        else:
            config = transformers.GPTNeoXConfig(num_attention_heads=2, **sizes, **common)
            model = transformers.GPTNeoXForCausalLM(config)
    ids = torch.randint(0, 20, (6, 8), generator=torch.Generator().manual_seed(0))
    return la.NetworkSurface(drawn(model), "model", [{"input_ids": ids, "labels": ids}])


@pytest.mark.slow
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize(
    "name, units",
    [
        ("gpt2", [8, 2, 4, 4, 4, 4, 32]),  # residual, heads, in each head what it compares and what it passes on
        ("llama", [16, 2, 2, 2, 4, 4, 12]),  # residual, key-value heads, queries in each, values in each
        ("neox", [16, 2, 6, 6, 8, 8, 12]),  # six of eight compared units are not rotated
    ],
)
def test_heads_are_permuted_and_what_is_in_each_by_itself(name, units, attention):
    for cache in (True, False):
        exact, found = recovered(language(name, attn_implementation=attention, use_cache=cache))
        assert exact and sorted(group.units for group in found.groups) == sorted(units)
        said = "no group of hidden units is left out"
        if name == "llama":  # all that is compared is rotated there, and may not change places
            said = "not permuted: 4 units of model.layers.0.self_attn.q_proj.weight (model.rotary_emb.inv_freq is held constant)"
        assert found.left == said


def test_what_is_not_permuted_is_said_with_names_and_numbers():
    class Sorted(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c = nn.Linear(64, 6), nn.Linear(6, 5), nn.Linear(5, 10)

        def forward(self, x):
            return self.c(torch.relu(self.b(torch.cumsum(self.a(x), 1))))

    x, y = digits("test")
    copies = la.copies(la.NetworkSurface(Sorted().eval(), "cross_entropy", (x[:20], y[:20])))
    assert copies.total == math.factorial(5)
    assert copies.sentence.endswith("not permuted: 6 units of a.weight (the operation cumsum)")


@pytest.mark.parametrize(
    "function, given, kept, scales",
    [
        (torch.ops.aten.hardswish.default, [torch.randn(2, 3)], {((0, 0),), ((0, 1),)}, False),
        (torch.ops.aten.relu.default, [torch.randn(2, 3)], {((0, 0),), ((0, 1),)}, True),
        (torch.ops.aten.hardtanh.default, [torch.randn(2, 3) / 100], {((0, 0),), ((0, 1),)}, False),
        (torch.ops.aten.cumsum.default, [torch.randn(2, 3), 1], {((0, 0),)}, True),
        (torch.ops.aten.add.Tensor, [torch.randn(2, 3), torch.randn(3)], {((0, 0),), ((0, 1), (1, 0))}, None),
        (torch.ops.aten.flip.default, [torch.randn(4, 3), [0]], {((0, 1),)}, True),
        (torch.ops.aten.bernoulli.default, [torch.rand(4, 3)], set(), None),
    ],
)
def test_an_operation_is_tried_axis_by_axis(function, given, kept, scales):
    torch.manual_seed(0)
    found = Equivariance(function, given, {}).kept()
    assert {one.places for one in found} == kept
    assert scales is None or {one.scales for one in found} == {scales}


def test_a_maximum_keeps_its_units_as_long_as_nothing_reads_its_positions():
    (values, positions) = Equivariance(torch.ops.aten.max.dim, [torch.randn(3, 4), 0], {}).kept()
    assert values.out == (None, -1) and positions.out == (0, 0)


@pytest.mark.slow
def test_three_networks_are_put_into_one_order_and_averaged():
    data = digits("test")
    surface = la.NetworkSurface(digits_mlp((12, 9)), "cross_entropy", data)
    states = StateSurface(surface)
    found, own = Specification.traced(states), states.split(states.start)
    copies = [found.permuted(own, found.random(torch.Generator().manual_seed(k))) for k in range(2)]
    merged = la.merge(surface, [own, *copies], progress=False)
    assert [row.name for row in merged.rows] == [
        "a", "b", "c", "naive", "permuted", "permuted + REPAIR", "greedy soup", "permuted + greedy soup"
    ]  # fmt: skip
    assert all(torch.allclose(merged.states["permuted"][name], value, atol=1e-6) for name, value in own.items())
    assert merged["permuted"].loss["train"] == pytest.approx(merged["a"].loss["train"], rel=1e-5)
    mean = {name: sum(one[name] for one in (own, *copies)) / 3 for name in own}
    assert all(torch.allclose(merged.states["naive"][name], value, atol=1e-6) for name, value in mean.items())
    with pytest.raises(la.InputError, match="for two networks only"):
        la.merge(surface, [own, *copies], t=0.3, progress=False)
    with pytest.raises(la.InputError, match="a list of at least two"):
        la.merge(surface, [own], progress=False)


@pytest.mark.slow
def test_a_greedy_soup_is_never_worse_than_its_best_network():
    data = tuple(part[:200] for part in digits("train"))
    models = [digits_mlp((16,), seed=0) for _ in range(3)]
    for seed, model in enumerate(models):  # from one start, on other orders of the data: their average is good
        fit(model, data, epochs=3, batch_size=32, lr=1e-2, seed=seed)
    surface = la.NetworkSurface(models[0], "cross_entropy", data)
    merged = la.merge(surface, models, progress=False)
    best = min(merged[name].loss["train"] for name in "abc")
    assert merged["greedy soup"].loss["train"] <= best and merged["permuted + greedy soup"].loss["train"] <= best
    # by hand: the networks in the order of their loss, each kept if the average does not get worse
    states = StateSurface(surface)
    points = {name: states.join(merged.states[name]) for name in "abc"}
    taken, lowest = [], float("inf")
    for name in sorted("abc", key=lambda n: merged[n].loss["train"]):
        mean = torch.stack([points[n].double() for n in (*taken, name)]).mean(0).to(points[name])
        loss = float(states.read(mean[None]).values)
        if loss <= lowest:
            taken, lowest = [*taken, name], loss
    assert f"greedy soup: {', '.join(sorted(taken))}" in merged.notes
    assert merged["greedy soup"].loss["train"] == pytest.approx(lowest, rel=1e-6)


@pytest.mark.slow
def test_many_networks_with_batch_norm_are_merged():
    images = tuple(part[:100] for part in digits("test", images=True))
    models = [drawn(digits_cnn(), seed=seed) for seed in range(3)]
    merged = la.merge(la.NetworkSurface(models[0], "cross_entropy", images), models, progress=False)
    assert "permuted + reset" in [row.name for row in merged.rows] and len(merged.shares) == 3
    assert "3 networks" in str(merged)
