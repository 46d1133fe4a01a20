"""What a batch weighs: the loss of uneven batches is torch's own over all examples at once."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import lossatlas as la
from lossatlas.probe import Probe, Request, Values
from lossatlas.surface import Sample
from lossatlas.surface.network._loss import quick_cross_entropy


@pytest.mark.parametrize("kind", ["class weights", "ignored labels", "both"])
def test_uneven_batches_have_the_loss_of_all_examples_at_once(kind):
    torch.manual_seed(0)
    inputs, labels = torch.randn(12, 4, dtype=torch.float64), torch.tensor([0, 0, 0, 0, 0, 1, 2, 2, 1, 2, 2, 2])
    weight = None if kind == "ignored labels" else torch.tensor([1.0, 10.0, 100.0], dtype=torch.float64)
    if kind != "class weights":
        labels[2:4] = -100
    model = nn.Linear(4, 3).double()
    batches = [(inputs[:5], labels[:5]), (inputs[5:], labels[5:])]
    surface = la.NetworkSurface(model, nn.CrossEntropyLoss(weight=weight), batches)
    whole = F.cross_entropy(model(inputs), labels, weight=weight).detach()
    assert surface.loss_at_theta == pytest.approx(float(whole), rel=1e-12)
    even = sum(F.cross_entropy(model(x), y, weight=weight) * len(y) for x, y in batches) / len(labels)
    assert surface.loss_at_theta != pytest.approx(float(even.detach()), rel=1e-3)


class Averaged(nn.Module):
    """Sequences of any length, averaged."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        return self.head(x.mean(1))


def test_a_mini_batch_of_batches_that_cannot_be_joined_is_the_mean_over_its_examples():
    torch.manual_seed(1)
    batches = [(torch.randn(n, length, 4).double(), torch.randint(0, 3, (n,))) for n, length in ((9, 3), (4, 6))]
    model = Averaged().double()
    surface = la.NetworkSurface(model, "cross_entropy", batches)
    rows = torch.randperm(13, generator=torch.Generator().manual_seed(5))[:7].tolist()
    examples = [(x[None], y[None]) for inputs, labels in batches for x, y in zip(inputs, labels, strict=True)]
    assert 0 < sum(row < 9 for row in rows) < 7 != 2 * sum(row < 9 for row in rows)
    loss = sum(F.cross_entropy(model(examples[row][0]), examples[row][1]) for row in rows) / 7
    loss.backward()
    values, gradients = surface.gradients(surface.theta[None], Sample(7, torch.tensor([5])))
    assert float(values[0]) == pytest.approx(float(loss.detach()), rel=1e-12)
    expected = torch.cat([p.grad.reshape(-1) for p in model.parameters()])
    torch.testing.assert_close(gradients[0], expected, rtol=0, atol=1e-13)


def test_a_mode_that_reads_the_data_twice_is_counted_so():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Linear(5, 3)).eval()
    data = (torch.randn(10, 4), torch.randint(0, 3, (10,)))
    for mode, passes in (("frozen", 1), ("recompute", 2)):
        probe = Probe(la.NetworkSurface(model, "cross_entropy", data, batchnorm=mode))
        (answer,) = probe.answer([Request(Values(probe.surface.theta.repeat(3, 1)), probe.meter)])
        assert len(answer.values) == 3
        assert (probe.meter.values, probe.meter.examples) == (3, 3 * 10 * passes)


def test_the_quick_cross_entropy_leaves_out_what_is_ignored():
    torch.manual_seed(0)
    outputs, labels = torch.randn(9, 4, dtype=torch.float64), torch.randint(0, 4, (9,))
    labels[::4] = -100
    torch.testing.assert_close(
        quick_cross_entropy(outputs, labels), F.cross_entropy(outputs, labels), rtol=1e-14, atol=0
    )
