"""Charts of models that return their own loss, and of losses over so many classes that outputs do not fit into memory."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import lossatlas as la
from lossatlas.chart.sampling._margins import margins
from lossatlas.surface import refuse_other

transformers = pytest.importorskip("transformers")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_margins_give_torchs_cross_entropy_and_argmax_ties_included(dtype):
    gen = torch.Generator().manual_seed(0)
    scores = torch.randn(400, 7, dtype=dtype, generator=gen) * 5
    scores[:100] = scores[:100].round()
    scores[100:120] = 0.0
    scores[120:140] *= 1e3
    labels = torch.randint(7, (400,), generator=gen)
    found = margins(scores, labels)
    loss = torch.logaddexp(-found[:, 0], torch.zeros(len(found), dtype=dtype))
    expected = F.cross_entropy(scores.double(), labels, reduction="none").to(dtype)
    assert torch.allclose(loss, expected, rtol=100 * torch.finfo(dtype).eps, atol=100 * torch.finfo(dtype).eps)
    assert torch.equal(found[:, 1] > 0, scores.argmax(1) == labels)


def _language_model(seed=0):
    """A GPT-2 of two layers, trained to continue counting in steps."""
    torch.manual_seed(seed)
    config = transformers.GPT2Config(
        vocab_size=96, n_positions=16, n_embd=24, n_layer=2, n_head=2, resid_pdrop=0, embd_pdrop=0, attn_pdrop=0
    )
    model = transformers.GPT2LMHeadModel(config)
    gen = torch.Generator().manual_seed(seed)
    begin, step = torch.randint(96, (48, 1), generator=gen), torch.randint(1, 4, (48, 1), generator=gen)
    ids = (begin + step * torch.arange(12)) % 96
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(60):
        optimizer.zero_grad()
        model(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
    return model.eval(), ids


def _plain(surface, model, loss, chart, cells):
    """Losses by a loop that writes θ into the model and calls the user's code."""
    frame, parameters = chart.source[1].frame, list(model.parameters())
    own, found = [p.detach().clone() for p in parameters], []
    for j, i in cells:
        theta = (
            frame.origin.double()
            + chart.alpha[i] * frame.directions[0].double()
            + chart.beta[j] * frame.directions[1].double()
        )
        with torch.no_grad():
            nn.utils.vector_to_parameters(theta.to(parameters[0].dtype), parameters)
            found.append(float(loss()))
    with torch.no_grad():
        for p, value in zip(parameters, own, strict=True):
            p.copy_(value)
    return np.array(found)


def _off(surface, model, loss, chart, count=60):
    """Worst relative error of cells near the center, and 95th percentile of any."""
    rng, n = np.random.default_rng(3), len(chart.alpha)
    middle = n // 2
    near = [(middle + a, middle + b) for a in range(-2, 3) for b in range(-2, 3)]
    anywhere = [tuple(rng.integers(n, size=2)) for _ in range(count)]
    true = _plain(surface, model, loss, chart, near + anywhere)
    made = np.array([chart.loss[cell] for cell in near + anywhere])
    off = np.abs(made - true) / true
    return off[: len(near)].max(), np.quantile(off[len(near) :], 0.95)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("memory", "how"), [(2**28, "outputs interpolated"), (2**20, "margins of labels interpolated")]
)
def test_a_causal_language_models_own_loss_is_charted_by_what_it_is_made_of(memory, how):
    model, ids = _language_model()
    surface = la.NetworkSurface(model, "model", {"input_ids": ids, "labels": ids})
    plane = la.Plane.random(surface, seed=1, normalization="filter")
    chart = la.chart(surface, plane, points=31, memory=memory, progress=False)
    assert chart.provenance["sampler"].startswith(how)
    assert any("margins" in note for note in chart.provenance["notes"]) == ("margins" in how)
    assert set(chart.extras) == set(), "the exact surface has no accuracy either"
    worst, p95 = _off(surface, model, lambda: model(input_ids=ids, labels=ids).loss, chart)
    assert worst <= 0.05
    assert p95 <= 0.06
    assert (chart.loss > 0).all()


@pytest.mark.slow
def test_labels_that_are_left_out_and_several_batches_count_as_in_the_models_loss():
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=50,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=24,
        max_position_embeddings=16,
        hidden_dropout_prob=0,
        attention_probs_dropout_prob=0,
    )
    model = transformers.BertForMaskedLM(config).double().eval()
    gen = torch.Generator().manual_seed(0)
    ids = torch.randint(50, (20, 10), generator=gen)
    labels = torch.where(torch.rand(20, 10, generator=gen) < 0.3, ids, -100)
    batches = [{"input_ids": ids[:7], "labels": labels[:7]}, {"input_ids": ids[7:], "labels": labels[7:]}]
    surface = la.NetworkSurface(model, "model", batches)
    plane = la.Plane.random(surface, seed=0, normalization="filter")
    source = surface.on(plane).own_outputs()
    assert source.fused == "cross_entropy"
    coords = np.array([[0.0, 0.0], [0.3, -0.2]])
    outputs = source.read(coords)
    assert [part.shape[1] for part in outputs] == [int((b["labels"] != -100).sum()) for b in batches]
    kept = [part.shape[1] for part in outputs]
    losses = sum(source.score(b, part)[0] for b, part in enumerate(outputs))
    expected = surface.values(plane.frame.points(torch.from_numpy(coords)))
    assert torch.allclose(losses, expected, rtol=1e-12)
    with torch.no_grad():
        whole = model(input_ids=ids, labels=labels).loss
    assert float(losses[0]) == pytest.approx(float(whole), rel=1e-12)
    assert sum(kept) == int((labels != -100).sum())


def test_a_models_own_loss_that_is_no_cross_entropy_is_interpolated_itself():
    class Penalized(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(6, 4)

        def forward(self, x, labels):
            logits = self.layer(x)
            return {"loss": F.cross_entropy(logits, labels) + 0.1 * self.layer.weight.square().sum(), "logits": logits}

    torch.manual_seed(0)
    x, labels = torch.randn(30, 6), torch.randint(4, (30,))
    surface = la.NetworkSurface(Penalized(), "model", {"x": x, "labels": labels})
    plane = la.Plane.random(surface, seed=0)
    assert surface.on(plane).own_outputs() is None
    chart = la.chart(surface, plane, points=15, progress=False)
    assert chart.provenance["sampler"].startswith("losses interpolated")


@pytest.mark.slow
@pytest.mark.parametrize("shifted", [False, True])
def test_the_users_own_cross_entropy_over_many_classes_is_charted_from_margins(shifted):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(64, 12), nn.Linear(12, 24), nn.Tanh(), nn.Linear(24, 64)).double()
    ids = torch.randint(64, (16, 9))
    target = ids if shifted else (ids + 1) % 64

    def loss(out, y):
        if shifted:
            return F.cross_entropy(out[:, :-1].flatten(0, 1), y[:, 1:].flatten())
        return F.cross_entropy(out.flatten(0, 1), y.flatten())

    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(40):
        optimizer.zero_grad()
        loss(model(ids), target).backward()
        optimizer.step()
    surface = la.NetworkSurface(model, loss, (ids, target))
    plane = la.Plane.random(surface, seed=0, normalization="filter")
    chart = la.chart(surface, plane, points=31, memory=2**20, progress=False)
    assert chart.provenance["sampler"].startswith("margins of labels interpolated")
    worst, p95 = _off(surface, model, lambda: loss(model(ids), target), chart)
    assert worst <= 0.05
    assert p95 <= 0.06


@pytest.mark.slow
def test_accuracy_comes_from_margins_as_well():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 16), nn.Tanh(), nn.Linear(16, 300))
    x, y = torch.randn(80, 5), torch.randint(300, (80,))
    surface = la.NetworkSurface(model, "cross_entropy", [(x[:50], y[:50]), (x[50:], y[50:])])
    plane = la.Plane.random(surface, seed=0, normalization="filter")
    chart = la.chart(surface, plane, points=21, memory=2**20, progress=False)
    assert chart.provenance["sampler"].startswith("margins")
    exact = la.chart(surface, plane, points=21, exact=True, progress=False)
    seen = ~np.isnan(chart.extras["accuracy"]) & (chart.error == 0)
    assert seen.sum() > 20
    np.testing.assert_allclose(chart.extras["accuracy"][seen], exact.extras["accuracy"][seen], atol=1e-6)
    assert np.abs(chart.extras["accuracy"] - exact.extras["accuracy"]).mean() < 0.02


def test_metrics_on_outputs_that_are_too_large_are_refused_with_the_memory_that_would_do():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 16), nn.Tanh(), nn.Linear(16, 300))
    x, y = torch.randn(80, 5), torch.randint(300, (80,))
    surface = la.NetworkSurface(model, "cross_entropy", (x, y))
    plane = la.Plane.random(surface, seed=0, normalization="filter")
    metrics = {"top 5": lambda out, y: float((out.topk(5).indices == y[:, None]).any(1).float().mean())}
    with pytest.raises(la.InputError, match=r"whole outputs.*memory=\d+ would do, and so would exact=True"):
        la.chart(surface, plane, points=21, memory=2**20, metrics=metrics, progress=False)
    chart = la.chart(surface, plane, points=5, exact=True, memory=2**20, metrics=metrics, progress=False)
    assert float(chart.extras["top 5"][2, 2]) == pytest.approx(metrics["top 5"](model(x), y))


@pytest.mark.slow
def test_metrics_of_a_model_with_its_own_loss_get_scores_and_labels():
    model, ids = _language_model()
    surface = la.NetworkSurface(model, "model", {"input_ids": ids, "labels": ids})
    plane = la.Plane.random(surface, seed=1, normalization="filter")

    def accuracy(scores, labels):
        return float((scores.argmax(1) == labels).float().mean())

    chart = la.chart(surface, plane, points=5, metrics={"next token": accuracy}, progress=False)
    with torch.no_grad():
        logits = model(input_ids=ids).logits
    true = float((logits[:, :-1].argmax(-1) == ids[:, 1:]).float().mean())
    assert float(chart.extras["next token"][2, 2]) == pytest.approx(true)


class Own(nn.Module):
    """A classifier that returns its own loss of its scores."""

    def __init__(self, classes, loss):
        super().__init__()
        self.layer, self.loss = nn.Linear(5, classes), loss

    def forward(self, x, labels):
        scores = self.layer(x)
        return {"loss": self.loss(scores, labels), "logits": scores}


# Each is a plain cross-entropy where proofs look (16 examples of the first class, two points), and nowhere else.
ELSEWHERE = {
    "class weights": lambda out, t: F.cross_entropy(out, t, weight=torch.linspace(1, 4, out.shape[1], dtype=out.dtype)),
    "a limit": lambda out, t: F.cross_entropy(out, t).clamp(max=9.0),
    "a term for one class": lambda out, t: F.cross_entropy(out, t) + 0.1 * (t == 3).to(out.dtype).mean(),
    "a term far out": lambda out, t: F.cross_entropy(out, t) + F.relu(out.abs().mean() - 2.0),
}


@pytest.mark.slow
@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize("name", ELSEWHERE)
def test_a_loss_that_is_a_plain_cross_entropy_only_where_proofs_look_is_found_out(name, own):
    torch.manual_seed(0)
    loss, classes = ELSEWHERE[name], 300
    model = Own(classes, loss)
    x, y = torch.randn(60, 5), torch.cat([torch.zeros(20).long(), torch.randint(classes, (40,))])
    y[40:44] = 3
    surface = la.NetworkSurface(model, "model", {"x": x, "labels": y})
    if not own:
        surface = la.NetworkSurface(model.layer, loss, (x, y))
    plane = la.Plane.random(surface, seed=0)
    for memory in (2**20, 2**29):
        chart = la.chart(surface, plane, span=8.0, points=21, memory=memory, progress=False)
        how = chart.provenance["sampler"]
        assert how.startswith("outputs interpolated" if memory > 2**20 and not own else ("losses", "full grid"))
        cells = [tuple(cell) for cell in np.argwhere(chart.exactly)]
        true = _plain(surface, model, lambda: model(x, y)["loss"], chart, cells)
        np.testing.assert_allclose([chart.loss[cell] for cell in cells], true, rtol=1e-4)
    if own:
        metrics = {"f": lambda out, t: 0.0}
        with pytest.raises(la.InputError, match="metrics f"):
            la.chart(surface, plane, span=8.0, points=21, metrics=metrics, progress=False)
    assert la.forecast(surface, plane, span=8.0, points=21, memory=2**20).evaluations > 0


@pytest.mark.slow
@pytest.mark.parametrize("mask", [-1e9, torch.finfo(torch.float32).min, -torch.inf])
def test_a_masked_class_hides_no_other_loss(mask):
    def loss(out, t):
        return F.cross_entropy(torch.cat([out[:, :-1], out[:, -1:] * 0 + mask], 1), t) + F.relu(out.abs().mean() - 2.0)

    class Masked(Own):
        def forward(self, x, labels):
            scores = self.layer(x)
            return {"loss": self.loss(scores, labels), "logits": scores.index_fill(1, torch.tensor([5]), mask)}

    torch.manual_seed(0)
    model, x, y = Masked(6, loss), torch.randn(60, 5), torch.randint(5, (60,))
    surface = la.NetworkSurface(model, "model", {"x": x, "labels": y})
    plane = la.Plane.random(surface, seed=0)
    chart = la.chart(surface, plane, span=8.0, points=21, progress=False)
    true = la.chart(surface, plane, span=8.0, points=21, exact=True, progress=False).loss
    assert chart.provenance["sampler"].startswith(("losses", "full grid"))
    assert np.quantile(np.abs(chart.loss / true - 1), 0.95) < 0.1
    assert la.forecast(surface, plane, span=8.0, points=21).evaluations > 0


@pytest.mark.slow
def test_scores_that_are_minus_infinity_leave_the_loss_to_be_interpolated():
    class Masked(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(5, 6)

        def forward(self, x):
            return self.layer(x).index_fill(1, torch.tensor([5]), -torch.inf)

    torch.manual_seed(0)
    surface = la.NetworkSurface(Masked(), "cross_entropy", (torch.randn(60, 5), torch.randint(5, (60,))))
    plane = la.Plane.random(surface, seed=0)
    chart = la.chart(surface, plane, points=21, progress=False)
    true = la.chart(surface, plane, points=21, exact=True, progress=False).loss
    assert any("have finite outputs" in note for note in chart.provenance["notes"])
    assert np.quantile(np.abs(chart.loss / true - 1), 0.95) < 0.05
    assert la.forecast(surface, plane, points=21).evaluations > 0


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e4])
@pytest.mark.parametrize("right", [0.3, 1.0])
def test_rounding_alone_is_no_other_loss(scale, right):
    gen = torch.Generator().manual_seed(0)
    scores = torch.randn(50_000, 10, generator=gen) * scale
    labels = torch.where(
        torch.rand(50_000, generator=gen) < right, scores.argmax(1), torch.randint(10, (50_000,), generator=gen)
    )
    for given in (scores, scores.log_softmax(1), scores + 1e3):
        found = F.cross_entropy(given, labels)
        picked = given.gather(1, labels[:, None])[:, 0]
        for own in (
            (given.logsumexp(1) - picked).mean(),
            -given.log_softmax(1).gather(1, labels[:, None]).mean(),
            sum(F.cross_entropy(a, b) * len(b) for a, b in zip(given.split(7_000), labels.split(7_000), strict=True))
            / len(labels),
        ):
            refuse_other(found, own, given)


def test_in_half_precision_a_small_term_cannot_hide_in_the_rounding():
    def loss(out, t):
        return F.cross_entropy(out, t) + 1e-3 * out.logsumexp(1).square().mean()

    torch.manual_seed(0)
    model = Own(20, loss).bfloat16()
    x, y = torch.randn(60, 5).bfloat16(), torch.randint(20, (60,))
    surface = la.NetworkSurface(model, "model", {"x": x, "labels": y})
    assert surface.on(la.Plane.random(surface, seed=0)).own_outputs() is None


@pytest.mark.slow
@pytest.mark.parametrize("order", [(2**28, 2**20), (2**20, 2**28)])
def test_a_ledger_holds_outputs_and_margins_beside_one_another(order, tmp_path):
    torch.manual_seed(0)
    model = nn.Linear(5, 300).double()
    x, y = torch.randn(60, 5).double(), torch.randint(300, (60,))
    surface = la.NetworkSurface(model, "cross_entropy", (x, y))
    plane = la.Plane.random(surface, seed=0)
    settings = {"points": 21, "ledger": tmp_path, "progress": False}
    charts = [la.chart(surface, plane, memory=memory, **settings) for memory in order]
    assert {chart.provenance["sampler"].split()[0] for chart in charts} == {"outputs", "margins"}
    again = [la.chart(surface, plane, memory=memory, **settings) for memory in order]
    for one, two in zip(charts, again, strict=True):
        assert np.array_equal(one.loss, two.loss) and two.meter.values == 0
    # In float64, cells that were evaluated are right to its rounding, whatever was stored.
    for chart in charts:
        cells = [tuple(cell) for cell in np.argwhere(chart.exactly)]
        true = _plain(surface, model, lambda: F.cross_entropy(model(x), y), chart, cells)
        np.testing.assert_allclose([chart.loss[cell] for cell in cells], true, rtol=1e-12)


@pytest.mark.slow
def test_labels_that_are_ignored_have_no_margins():
    torch.manual_seed(0)
    model = nn.Linear(5, 300)
    x, y = torch.randn(60, 5), torch.randint(300, (60,))
    y[::3] = -100
    surface = la.NetworkSurface(model, "cross_entropy", [(x[:40], y[:40]), (x[40:], y[40:])])
    plane = la.Plane.random(surface, seed=0)
    chart = la.chart(surface, plane, points=21, memory=2**20, progress=False)
    assert chart.provenance["sampler"].startswith("margins")
    worst, p95 = _off(surface, model, lambda: F.cross_entropy(model(x), y), chart)
    assert max(worst, p95) <= 0.02
