"""The time of an evaluation that several asked for together."""

import pytest
import torch

import lossatlas as la
from lossatlas.probe import Meter, Probe, Request, Values


def test_joined_requests_share_the_time_by_their_points():
    probe, meters = Probe(la.landscapes.four_wells()), [Meter(), Meter()]
    points = torch.zeros(40, 2, dtype=torch.float64)
    probe.answer([Request(Values(points[:10]), meters[0]), Request(Values(points[10:]), meters[1])])
    assert (meters[0].values, meters[1].values) == (10, 30)
    assert 0 < meters[0].surface_seconds == pytest.approx(meters[1].surface_seconds / 3)
