"""Losses: weights, ignored labels, reductions, penalties that read the model; and what a loss must refuse."""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import nn

from ._kind import Kind, LossRow, Refusal, kind, noise, objective_kind, refused, seeded, whole_numbers

X, Y = noise(24, 4), whole_numbers(3, 24).sort().values
WEIGHTS = torch.tensor([1.0, 10.0, 100.0], dtype=torch.float64)
IGNORED = Y.masked_fill(torch.arange(24) % 3 == 1, -100)
REAL, ONES = noise(24, 3, seed=3), (noise(24, 3, seed=4) > 0).double()
COLUMN = noise(24, 1, seed=5)


def linear(outputs=3):
    return seeded(lambda: nn.Linear(4, outputs))


def mlp():
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))


def squares(model):
    return sum(p.pow(2).sum() for p in model.parameters())


def weighted_closure(output, target):
    return F.cross_entropy(output, target, weight=WEIGHTS)


def rmse(output, target):
    return F.mse_loss(output, target).sqrt()


def in_double(output, target):
    return F.cross_entropy(output.double(), target)


def soft_labels(output, target):
    return -(target * output.log_softmax(-1)).sum(1).mean()


def focal(output, target):
    logs = output.log_softmax(-1).gather(1, target[:, None])[:, 0]
    return (-((1 - logs.exp()) ** 2) * logs).mean()


def dice(output, target):
    """Of the whole batch, as segmentation has it: a ratio of sums."""
    shares = output.sigmoid()
    return 1 - (2 * (shares * target).sum() + 1) / (shares.sum() + target.sum() + 1)


def mean_over_kept(output, target):
    kept = target != -100
    return F.cross_entropy(output[kept], target[kept])


def with_weight(output, target):
    """Gives its loss and its weight."""
    kept = (target != -100).sum()
    return F.cross_entropy(output, target), kept


class Learned(nn.Module):
    """A loss with a parameter of its own, which is no coordinate of the surface."""

    def __init__(self):
        super().__init__()
        self.temperature = nn.Parameter(torch.tensor(0.7, dtype=torch.float64))

    def forward(self, output, target):
        return F.cross_entropy(output / self.temperature, target)


def normalized(output, target):
    """Divides by what the whole batch adds up to, so it is no mean."""
    return ((output - target) ** 2).sum() / (target**2).sum()


def weighted(model):
    """Σ w ℓ / Σ w by hand."""
    logs = model(X).log_softmax(-1).gather(1, Y[:, None])[:, 0]
    return -(WEIGHTS[Y] * logs).sum() / WEIGHTS[Y].sum()


def ignored(model):
    logs = model(X).log_softmax(-1)
    picked = [logs[i, y] for i, y in enumerate(IGNORED.tolist()) if y != -100]
    return -torch.stack(picked).mean()


def given(name, loss, whole, data=(X, Y), make=None, **rest):
    settings = rest.pop("settings", {})
    return Kind(
        name,
        make or linear(),
        lambda model: {"loss": loss(model) if isinstance(loss, Closure) else loss, "data": data, **settings},
        whole,
        **rest,
    )


class Closure:
    """A loss that is made for one model, which it closes over."""

    def __init__(self, make):
        self.make = make

    def __call__(self, model):
        return self.make(model)


def penalty(coefficient):
    return Closure(lambda model: lambda o, t: F.cross_entropy(o, t) + coefficient * squares(model))


def penalized(coefficient):
    return lambda model: F.cross_entropy(model(X), Y) + coefficient * squares(model)


def to_anchor(model, fisher):
    """The distance to an anchor: EWC with a Fisher matrix, proximal with ones."""
    anchors = [noise(*p.shape, seed=20 + k) for k, p in enumerate(model.parameters())]
    factors = [noise(*p.shape, seed=40 + k) ** 2 if fisher else 1.0 for k, p in enumerate(model.parameters())]
    return sum((f * (p - a) ** 2).sum() for p, a, f in zip(model.parameters(), anchors, factors, strict=True))


def anchored(fisher):
    return Closure(lambda model: lambda o, t: F.cross_entropy(o, t) + 0.05 * to_anchor(model, fisher))


def distilled(model):
    """A student that is compared with what its own first layer gives the teacher."""
    return lambda o, t: F.cross_entropy(o, t) + 0.1 * model(X[:3]).pow(2).mean()


def lasso_objective(model, batch):
    return F.cross_entropy(model(batch[0]), batch[1]) + 0.01 * sum(p.abs().sum() for p in model.parameters())


SPLIT = [(X[r], Y[r]) for r in (slice(0, 5), slice(5, 16), slice(16, 24))]
KEPT_SPLIT = [(X[r], IGNORED[r]) for r in (slice(0, 5), slice(5, 16), slice(16, 24))]
CLOSES = {"breaks": ("private copy", "functional and vmap", "layer chain")}


def by_count(model, batch):
    return F.cross_entropy(model(batch[0]), batch[1]), (batch[1] != -100).sum()


CUT = {"settings": {"batch_size": 5}, "breaks": ("cuts",)}

KINDS = [
    given("L2 penalty that closes over the model", penalty(0.1), penalized(0.1), make=seeded(mlp), **CLOSES),
    given("tiny penalty that closes over the model", penalty(1e-6), penalized(1e-6), make=seeded(mlp), **CLOSES),
    given(
        "penalty that closes over the model, in batches",
        penalty(0.1),
        penalized(0.1),
        make=seeded(mlp),
        settings={"batch_size": 7},
        **CLOSES,
    ),
    *[
        given(
            name,
            anchored(fisher),
            lambda model, fisher=fisher: F.cross_entropy(model(X), Y) + 0.05 * to_anchor(model, fisher),
            make=seeded(mlp),
            **CLOSES,
        )
        for name, fisher in (("EWC", True), ("proximal penalty", False))
    ],
    given(
        "loss that runs the model again",
        Closure(distilled),
        lambda model: F.cross_entropy(model(X), Y) + 0.1 * model(X[:3]).pow(2).mean(),
        make=seeded(mlp),
        **CLOSES,
    ),
    objective_kind("objective with a lasso", seeded(mlp), lasso_objective, SPLIT),
    objective_kind("objective that gives its weight", linear(), by_count, KEPT_SPLIT),
    given("class weights, module", nn.CrossEntropyLoss(weight=WEIGHTS), weighted),
    given("class weights, module, in batches", nn.CrossEntropyLoss(weight=WEIGHTS), weighted, **CUT),
    given(
        "class weights, batch by batch",
        nn.CrossEntropyLoss(weight=WEIGHTS),
        weighted,
        data=SPLIT,
        breaks=("joined batches",),
    ),
    given("class weights, partial", partial(F.cross_entropy, weight=WEIGHTS), weighted),
    given("class weights, partial, in batches", partial(F.cross_entropy, weight=WEIGHTS), weighted, **CUT),
    given("class weights, closure", weighted_closure, weighted),
    given("ignored labels by name", "cross_entropy", ignored, data=(X, IGNORED)),
    given("ignored labels by name, in batches", "cross_entropy", ignored, data=(X, IGNORED), **CUT),
    given(
        "a batch whose labels are all ignored",
        "cross_entropy",
        lambda model: F.cross_entropy(model(X[6:]), Y[6:]),
        data=(X, Y.index_fill(0, torch.arange(6), -100)),
        settings={"batch_size": 6},
        breaks=("cuts",),
    ),
    given("ignored labels by a mask", mean_over_kept, ignored, data=(X, IGNORED)),
    given("loss that gives its weight", with_weight, ignored, data=(X, IGNORED), **CUT),
    kind(
        "label smoothing with class weights",
        linear(),
        nn.CrossEntropyLoss(weight=WEIGHTS, label_smoothing=0.1),
        (X, Y),
        split=False,
        **CUT,
    ),
    kind("label smoothing", linear(), nn.CrossEntropyLoss(label_smoothing=0.1), (X, Y)),
    kind("soft labels", linear(), soft_labels, (X, REAL.softmax(-1))),
    kind("soft labels by name", linear(), "cross_entropy", (X, REAL.softmax(-1))),
    given(
        "sum by partial",
        partial(F.cross_entropy, reduction="sum"),
        lambda model: F.cross_entropy(model(X), Y, reduction="sum"),
        breaks=("cuts",),
    ),
    given(
        "sum by module",
        nn.CrossEntropyLoss(reduction="sum"),
        lambda model: F.cross_entropy(model(X), Y, reduction="sum"),
        refusal=Refusal("LossError", "reduction"),
        or_right=True,
        breaks=("cuts",),
    ),
    refused("no reduction", linear(), nn.CrossEntropyLoss(reduction="none"), (X, Y), "LossError", "reduction|number"),
    refused(
        "loss that gives one number per example",
        linear(),
        partial(F.cross_entropy, reduction="none"),
        (X, Y),
        "LossError",
        "one number|reduction|scalar",
    ),
    given("root of the mean square", rmse, lambda model: rmse(model(X), REAL), data=(X, REAL), breaks=("cuts",)),
    Kind(
        "root of the mean square in the user's batches",
        linear(),
        lambda model: {"loss": rmse, "data": [(X[:5], REAL[:5]), (X[5:], REAL[5:])]},
        lambda model: (5 * rmse(model(X[:5]), REAL[:5]) + 19 * rmse(model(X[5:]), REAL[5:])) / 24,
        notes=("batch",),
        breaks=("joined batches",),
    ),
    given("dice of the whole batch", dice, lambda model: dice(model(X), ONES), data=(X, ONES), breaks=("cuts",)),
    given(
        "divided by the sum of targets",
        normalized,
        lambda model: normalized(model(X), REAL),
        data=(X, REAL),
        breaks=("cuts",),
    ),
    kind("focal loss", linear(), focal, (X, Y)),
    kind("BCE with positive weights", linear(), nn.BCEWithLogitsLoss(pos_weight=WEIGHTS), (X, ONES)),
    kind("BCE by name", linear(), "bce_with_logits", (X, ONES)),
    kind("NLL of log-probabilities", seeded(lambda: nn.Sequential(nn.Linear(4, 3), nn.LogSoftmax(-1))), "nll", (X, Y)),
    kind("mse by name", linear(), "mse", (X, REAL)),
    kind("l1 by name", linear(), "l1", (X, REAL)),
    kind("huber by name", linear(), "huber", (X, REAL)),
    kind("loss with a parameter of its own", linear(), Learned(), (X, Y)),
    kind("triplets", linear(), lambda o, t: F.triplet_margin_loss(o, t, t.flip(1)), (X, REAL)),
    Kind(
        "float64 loss of a float32 model",
        seeded(mlp, dtype=torch.float32),
        lambda model: {"loss": in_double, "data": (X.float(), Y)},
        lambda model: in_double(model(X.float()), Y),
        tolerance=1e-5,
        product_tolerance=1e-3,
        smooth=False,
    ),
    refused("labels of −1", linear(), "cross_entropy", (X, Y - 1), "DataError", "-1|−1"),
    refused("labels out of range", linear(), "cross_entropy", (X, Y + 1), "DataError", "class|bounds|range|3"),
    refused("labels of int32", linear(), "cross_entropy", (X, Y.int()), "DataError", "int32|int64|long|integer"),
    refused("labels of bool", linear(2), "cross_entropy", (X, Y > 0), "DataError", "bool|int64|long|integer"),
    kind("labels of uint8", linear(), "cross_entropy", (X, Y.to(torch.uint8))),
    refused("columns against rows", linear(1), "mse", (X, COLUMN[:, 0]), "DataError|LossError", "shape|broadcast"),
    refused(
        "labels with a column too many", linear(), "cross_entropy", (X, Y[:, None]), "DataError|LossError", "shape"
    ),
    refused("fewer labels than inputs", linear(), "cross_entropy", (X, Y[:-1]), "DataError", "24|23|number"),
    refused("loss of another name", linear(), "cross_entrophy", (X, Y), "UnknownNameError", "cross_entropy"),
    refused(
        "loss that is NaN", linear(), lambda o, t: F.cross_entropy(o, t) * float("nan"), (X, Y), "LossError", "nan"
    ),
    kind(
        "loss of shape (1,)",
        linear(),
        lambda o, t: F.cross_entropy(o, t)[None],
        (X, Y),
        refusal=Refusal("LossError", "one number|shape"),
        or_right=True,
    ),
    refused(
        "loss that is complex", linear(), lambda o, t: F.cross_entropy(o, t) + 0j, (X, Y), "LossError", "complex|real"
    ),
    refused(
        "loss that is infinite", linear(), lambda o, t: F.cross_entropy(o, t) / 0, (X, Y), "LossError", "inf|finite"
    ),
    refused(
        "inputs of another type", linear(), "cross_entropy", (X.float(), Y), "DataError", "float|double|dtype|type"
    ),
    refused("inputs of another shape", linear(), "cross_entropy", (X[:, :3], Y), "DataError", "shape"),
    refused("data that hold NaN", linear(), "mse", (X, REAL * float("nan")), "LossError", "nan"),
    refused("no data", linear(), "mse", (X[:0], REAL[:0]), "DataError", "0 examples|no examples|empty"),
    refused("loss that is a number", linear(), lambda o, t: 1.0, (X, Y), "LossError", "tensor|float"),
    refused("loss that is None", linear(), lambda o, t: None, (X, Y), "LossError", "None"),
]


def mean_over(weight):
    """Σ w ℓ / Σ w over examples of cross-entropy."""

    def plain(output, target, model):
        logs = output.log_softmax(-1).gather(1, target.clamp(min=0)[:, None])[:, 0]
        w = weight(target)
        return -(w * logs).sum() / w.sum()

    return plain


def plainly(function):
    return lambda output, target, model: function(output, target)


def same(loss):
    return lambda model: loss


EVERY = lambda t: torch.ones(len(t), dtype=torch.float64)  # noqa: E731
KEPT = lambda t: (t != -100).double()  # noqa: E731
UNUSUAL = torch.where(Y == 2, 7, Y)

LOSSES = [
    LossRow("cross-entropy", same("cross_entropy"), Y, mean_over(EVERY)),
    LossRow("cross-entropy, module", same(nn.CrossEntropyLoss()), Y, mean_over(EVERY)),
    LossRow("cross-entropy, ignored", same("cross_entropy"), IGNORED, mean_over(KEPT)),
    LossRow("cross-entropy, ignored, function", same(F.cross_entropy), IGNORED, mean_over(KEPT)),
    LossRow("cross-entropy, ignored, lambda", same(lambda o, t: F.cross_entropy(o, t)), IGNORED, mean_over(KEPT)),
    LossRow("cross-entropy, ignored, mask", same(mean_over_kept), IGNORED, mean_over(KEPT)),
    LossRow("cross-entropy, weighted", same(nn.CrossEntropyLoss(weight=WEIGHTS)), Y, mean_over(lambda t: WEIGHTS[t])),
    LossRow(
        "cross-entropy, weighted, partial",
        same(partial(F.cross_entropy, weight=WEIGHTS)),
        Y,
        mean_over(lambda t: WEIGHTS[t]),
    ),
    LossRow("cross-entropy, weighted, closure", same(weighted_closure), Y, mean_over(lambda t: WEIGHTS[t])),
    LossRow(
        "cross-entropy, weighted and ignored",
        same(nn.CrossEntropyLoss(weight=WEIGHTS)),
        IGNORED,
        mean_over(lambda t: WEIGHTS[t.clamp(min=0)] * KEPT(t)),
    ),
    LossRow(
        "cross-entropy, another number ignored",
        same(nn.CrossEntropyLoss(ignore_index=7)),
        UNUSUAL,
        lambda o, t, m: mean_over(EVERY)(o[t != 7], t[t != 7], m),
    ),
    LossRow(
        "label smoothing",
        same(nn.CrossEntropyLoss(label_smoothing=0.2)),
        Y,
        lambda o, t, m: 0.8 * mean_over(EVERY)(o, t, m) - 0.2 * o.log_softmax(-1).mean(),
    ),
    LossRow(
        "label smoothing, weighted",
        same(nn.CrossEntropyLoss(weight=WEIGHTS, label_smoothing=0.2)),
        Y,
        lambda o, t, m: (
            0.8 * mean_over(lambda u: WEIGHTS[u])(o, t, m)
            - 0.2 * (o.log_softmax(-1) * WEIGHTS).sum() / 3 / WEIGHTS[t].sum()
        ),
    ),
    LossRow(
        "sum, partial",
        same(partial(F.cross_entropy, reduction="sum")),
        Y,
        lambda o, t, m: 24 * mean_over(EVERY)(o, t, m),
    ),
    LossRow(
        "sum, module", same(nn.CrossEntropyLoss(reduction="sum")), Y, lambda o, t, m: 24 * mean_over(EVERY)(o, t, m)
    ),
    LossRow("mean square", same("mse"), REAL, plainly(lambda o, t: ((o - t) ** 2).mean())),
    LossRow("mean square, module", same(nn.MSELoss()), REAL, plainly(lambda o, t: ((o - t) ** 2).mean())),
    LossRow("sum of squares", same(nn.MSELoss(reduction="sum")), REAL, plainly(lambda o, t: ((o - t) ** 2).sum())),
    LossRow("root mean square", same(rmse), REAL, plainly(lambda o, t: ((o - t) ** 2).mean().sqrt())),
    LossRow("l1", same("l1"), REAL, plainly(lambda o, t: (o - t).abs().mean())),
    LossRow("huber", same("huber"), REAL, plainly(lambda o, t: F.huber_loss(o, t, reduction="none").mean())),
    LossRow("smooth l1", same(nn.SmoothL1Loss(beta=0.5)), REAL, plainly(partial(F.smooth_l1_loss, beta=0.5))),
    LossRow(
        "BCE",
        same("bce_with_logits"),
        ONES,
        plainly(lambda o, t: -(t * F.logsigmoid(o) + (1 - t) * F.logsigmoid(-o)).mean()),
    ),
    LossRow(
        "BCE, positive weights",
        same(nn.BCEWithLogitsLoss(pos_weight=WEIGHTS)),
        ONES,
        plainly(lambda o, t: -(WEIGHTS * t * F.logsigmoid(o) + (1 - t) * F.logsigmoid(-o)).mean()),
    ),
    LossRow("NLL", same("nll"), Y, plainly(lambda o, t: -o.gather(1, t[:, None]).mean())),
    LossRow("NLL, ignored", same(nn.NLLLoss()), IGNORED, plainly(lambda o, t: F.nll_loss(o, t))),
    LossRow(
        "NLL, weighted", same(nn.NLLLoss(weight=WEIGHTS)), Y, plainly(lambda o, t: F.nll_loss(o, t, weight=WEIGHTS))
    ),
    LossRow(
        "KL divergence, mean over the batch",
        same(nn.KLDivLoss(reduction="batchmean")),
        REAL.softmax(-1),
        plainly(lambda o, t: (t * (t.log() - o)).sum() / 24),
    ),
    LossRow("several margins", same(nn.MultiMarginLoss()), Y, plainly(F.multi_margin_loss)),
    LossRow(
        "several margins, weighted",
        same(nn.MultiMarginLoss(weight=WEIGHTS)),
        Y,
        plainly(partial(F.multi_margin_loss, weight=WEIGHTS)),
    ),
    LossRow("Poisson", same(nn.PoissonNLLLoss()), REAL.abs(), plainly(F.poisson_nll_loss)),
    LossRow("focal", same(focal), Y, plainly(focal)),
    LossRow("dice", same(dice), ONES, plainly(dice)),
    LossRow("divided by the sum of targets", same(normalized), REAL, plainly(normalized)),
    LossRow(
        "centered in the batch",
        same(lambda o, t: ((o - o.mean(0)) ** 2).mean()),
        REAL,
        plainly(lambda o, t: o.var(0, correction=0).mean()),
    ),
    LossRow("largest error", same(lambda o, t: (o - t).abs().max()), REAL, plainly(lambda o, t: (o - t).abs().max())),
    LossRow(
        "median error", same(lambda o, t: (o - t).abs().median()), REAL, plainly(lambda o, t: (o - t).abs().median())
    ),
    LossRow(
        "logarithm of the mean",
        same(lambda o, t: F.mse_loss(o, t).log()),
        REAL,
        plainly(lambda o, t: F.mse_loss(o, t).log()),
    ),
    LossRow(
        "tiny part that is no mean",
        same(lambda o, t: F.mse_loss(o, t) + 1e-7 * rmse(o, t)),
        REAL,
        plainly(lambda o, t: F.mse_loss(o, t) + 1e-7 * rmse(o, t)),
    ),
    LossRow(
        "mean where the first examples are alike",
        same(rmse),
        torch.cat([torch.zeros(12, 3, dtype=torch.float64), REAL[12:]]),
        plainly(rmse),
        inputs=torch.cat([torch.ones(12, 4, dtype=torch.float64), noise(12, 4, seed=9)]),
    ),
    LossRow(
        "L2 penalty",
        lambda model: lambda o, t: F.cross_entropy(o, t) + 0.1 * squares(model),
        Y,
        lambda o, t, m: mean_over(EVERY)(o, t, m) + 0.1 * squares(m),
    ),
    LossRow(
        "objective",
        lambda model: lambda m, batch: F.cross_entropy(m(batch[0]), batch[1]),
        Y,
        mean_over(EVERY),
        objective=True,
    ),
    LossRow(
        "objective that is no mean",
        lambda model: lambda m, batch: rmse(m(batch[0]), batch[1]),
        REAL,
        plainly(rmse),
        objective=True,
    ),
    LossRow(
        "objective with its weight",
        lambda model: lambda m, batch: (F.cross_entropy(m(batch[0]), batch[1]), (batch[1] != -100).sum()),
        IGNORED,
        mean_over(KEPT),
        objective=True,
    ),
]
