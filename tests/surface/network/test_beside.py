"""Modules that a loss reads and that are no part of the model: left as they were, held fixed, and named."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import lossatlas as la

G = torch.Generator().manual_seed(0)
X, Y = torch.randn(24, 4, generator=G), torch.randint(0, 3, (24,), generator=G)


def _model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))


class Centered(nn.Module):
    """Keeps a mean of what it sees, as the loss of DINO does, and what it was called with."""

    def __init__(self):
        super().__init__()
        self.register_buffer("center", torch.zeros(3))
        self.seen = []

    def forward(self, output, target):
        self.seen.append(len(target))
        if self.training:
            self.center.mul_(0.9).add_(0.1 * output.detach().mean(0))
        return F.cross_entropy(output - self.center, target)


class Warm(nn.Module):
    """A loss with a temperature of its own."""

    def __init__(self):
        super().__init__()
        self.warmth = nn.Parameter(torch.tensor(0.5))

    def forward(self, output, target):
        return F.cross_entropy(output / self.warmth.exp(), target)


def test_a_loss_that_remembers_is_refused_and_left_as_it_was():
    loss = Centered()
    with pytest.raises(la.ModelError, match="running it changes center of the Centered that the loss reads"):
        la.NetworkSurface(_model(), loss, (X, Y))
    assert loss.center.tolist() == [0.0] * 3 and loss.seen == []


def test_once_it_stands_still_it_is_a_surface_and_the_reference_leaves_nothing_in_it():
    loss = Centered().eval()
    surface = la.NetworkSurface(_model(), loss, (X, Y), shortcuts=False)
    surface.values(surface.theta[None] + 0.1)
    assert loss.seen == [] and surface.loss_at_theta == pytest.approx(F.cross_entropy(_model()(X), Y).item())


def test_a_teacher_in_training_mode_is_refused_and_left_as_it_was():
    teacher = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Linear(5, 3))

    def distilled(model, batch):
        with torch.no_grad():
            wanted = teacher(batch[0]).softmax(1)
        return F.kl_div(model(batch[0]).log_softmax(1), wanted, reduction="batchmean")

    with pytest.raises(la.ModelError, match=r"1\.running_mean of the Sequential that the loss reads"):
        la.NetworkSurface(_model(), objective=distilled, data=(X, Y))
    assert int(teacher[1].num_batches_tracked) == 0 and not teacher[1].running_mean.any()
    teacher.eval().requires_grad_(False)
    assert not la.NetworkSurface(_model(), objective=distilled, data=(X, Y)).notes


def test_trainable_parameters_of_a_loss_are_named_as_held_fixed():
    loss, model = Warm(), _model()
    surface = la.NetworkSurface(model, loss, (X, Y))
    assert (
        surface.dimension == 43
        and "1 trainable parameter that is no part of the model (Warm.warmth)" in surface.notes[0]
    )
    assert surface.loss_at_theta == pytest.approx(loss(model(X), Y).item())

    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.model, self.loss = model, loss

        def forward(self, x, y):
            return self.loss(self.model(x), y)

    assert la.NetworkSurface(Both(), objective=lambda both, batch: both(*batch), data=(X, Y)).dimension == 44
    # A penalty that closes over the model reads no parameters but its own.
    penalty = la.NetworkSurface(model, lambda o, t: F.cross_entropy(o, t) + model[0].weight.pow(2).sum(), (X, Y))
    assert not any("no part of the model" in note for note in penalty.notes)
