"""What the fuzzer found once, each with the sentence that is now said."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import lossatlas as la

FLAT = torch.nn.functional.cross_entropy


@pytest.fixture(scope="module")
def surface():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).eval()
    return la.NetworkSurface(model, FLAT, (torch.randn(12, 4), torch.randint(3, (12,))))


def refused(said, call, *args, **settings):
    with pytest.raises(la.LossAtlasError, match=re.escape(said)):
        call(*args, **settings)


def test_names_in_tensors_and_nested_tensors_are_no_lists_of_names(surface):
    refused("got heads", la.network_race, surface, ["sgd"], steps=2, heads=torch.zeros(3, 2), batch_size=6)
    refused("got heads=3.0", la.network_race, surface, ["sgd"], steps=2, heads=torch.tensor(3.0), batch_size=6)
    nested = torch.nested.nested_tensor([torch.zeros(2), torch.zeros(3)], layout=torch.jagged)
    refused("got points=NestedTensor", la.compare_traces, surface, surface, points=nested)
    refused("got layers=NestedTensor", la.similarity, surface, {"a": surface.start, "b": surface.start}, layers=nested)


@pytest.mark.parametrize("dpi", [1, 1e-300, 1e6, float("nan"), "many"])
def test_dots_per_inch_have_one_range_in_every_picture(surface, tmp_path, dpi):
    race = la.race(la.landscapes.four_wells(), ["gd"], steps=3)
    refused("got dpi=", la.animate, race, tmp_path / "race.gif", frames=2, dpi=dpi)
    refused("got dpi=", race.plot().save, tmp_path / "race.png", dpi=dpi)
    assert not list(tmp_path.iterdir())


def test_a_part_in_tensors_without_numbers_is_none(surface, tmp_path):
    plane = la.Plane.random(surface)
    for part in (torch.zeros(2, device="meta"), torch.zeros(43, device="meta"), [float("inf"), 2]):
        refused("got the part", la.chart_part, surface, plane, ledger=tmp_path / "part", part=part, span=1.0)


def test_coordinates_beyond_the_type_of_the_weights_are_infinite(surface):
    plane = la.Plane.random(surface)
    sliced = surface.on(plane, steady=True)
    values = sliced.values(torch.tensor([[1e300, 0.0], [0.0, -1e300], [0.0, 0.0]], dtype=torch.float64))
    assert values.isfinite().tolist() == [False, False, True]


def test_a_step_that_is_zero_in_double_precision_is_all_rounding(surface):
    made = la.compare({"one": surface, "other": surface}, span=1e-300, points=5, progress=False)
    assert "is mostly rounding of float32" in str(made.charts["one"][0].provenance)


def test_a_module_is_no_sampler(surface):
    refused(
        "is no generator function", la.chart, surface, la.Plane.random(surface), span=1.0, sampler=nn.Linear(2, 2),
        progress=False,
    )  # fmt: skip


def test_points_of_a_path_are_asked_for_in_a_row(surface):
    path = la.connect(surface, surface.start, surface.start + 0.1, progress=False)
    for odd in (torch.zeros(3, 2), 10**400, [float("inf")]):
        refused("expected numbers in a row", path.points, odd)
        refused("expected numbers in a row", path.profile, odd)


def test_there_is_something_to_compare_on(surface):
    refused("an empty list of planes", la.compare, {"a": surface, "b": surface}, planes=[])


def test_a_rate_of_a_curve_fits_into_its_parameters(surface):
    refused("got lr=", la.connect, surface, surface.start, surface.start + 0.1, kind="bezier", lr=1e300, progress=False)


def test_a_loss_that_draws_is_refused_and_its_draws_are_given_back():
    def noisy(output, target):
        return FLAT(output, target) + torch.rand(()) * 1e-3

    data = (torch.ones(6, 4), torch.arange(6) % 3)
    model = nn.Linear(4, 3).eval()
    before = torch.get_rng_state()
    refused("expected a fixed function", la.StreamedSurface, model, noisy, data)
    assert torch.equal(before, torch.get_rng_state())


def test_a_sketch_has_a_largest_size(tmp_path):
    model = nn.Linear(2, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    refused("whole number from 64 to 16,777,216", la.Recorder, model, optimizer, tmp_path / "run", sketch=10**9)


@pytest.mark.parametrize("rows", [0, 12])
def test_reading_a_loader_draws_from_nobodys_generator(rows):
    model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).eval()
    data = TensorDataset(torch.randn(rows, 4), torch.randint(3, (rows,)))
    loader = DataLoader(data, batch_size=5, shuffle=rows > 0)
    before = torch.get_rng_state()
    if rows:
        first, second = (la.StreamedSurface(model, FLAT, loader) for _ in range(2))
        assert first.fingerprint() == second.fingerprint()
    else:
        refused("got no batches", la.StreamedSurface, model, FLAT, loader)
    assert torch.equal(before, torch.get_rng_state())


def test_nested_tensors_are_no_answers():
    nested = torch.nested.nested_tensor([torch.zeros(2), torch.zeros(3)], layout=torch.jagged)
    steps = la.steps("gd", la.landscapes.four_wells(), steps=3)
    refused("got a NestedTensor", steps.tell, nested)


@pytest.mark.parametrize("cmap", [torch.zeros(3), [], 3, "no such map", {}])
def test_what_names_no_color_map_is_none(surface, cmap):
    chart = la.chart(surface, la.Plane.random(surface), span=1.0, points=5, exact=True, progress=False)
    volume = la.volume(surface, la.Space.random(surface), points=2, progress=False)
    for plot in (chart.display().plot, chart.topology().plot, volume.plot):
        refused("there is no color map", plot, cmap=cmap)


def test_names_without_an_encoding_race_and_are_drawn(tmp_path):
    race = la.race(la.landscapes.four_wells(), {"\ud800": "annealing"}, steps=3)
    refused("the arrays", race.save, tmp_path)  # safetensors has no such names
    race.plot().save(tmp_path / "race.png")
    la.steps("annealing", la.landscapes.four_wells(), steps=3, label="\ud800")


@pytest.mark.parametrize("odd", [torch.zeros(3), "yes", 1.0, []])
def test_whether_is_yes_or_no_in_pictures(surface, odd):
    chart = la.chart(surface, la.Plane.random(surface), span=1.0, points=5, exact=True, progress=False)
    for plot in (chart.display().plot, chart.topology().plot, chart.morse_smale().plot):
        refused("equal=", plot, equal=odd)
    for plot in (chart.display().plot, chart.topology().plot):
        refused("numbers=", plot, numbers=odd)


@pytest.mark.parametrize("odd", [np.array(0.9), np.ones((2, 2)), torch.tensor(0.9), 0.9])
def test_averaging_factors_are_a_pair(odd):
    refused("expected two numbers in [0, 1)", la.optimizer, "adam", betas=odd)


def test_a_point_with_a_gradient_is_laid_on_a_plane(surface):
    frame = la.Plane.random(surface).frame
    theta = (surface.start + 0.1).requires_grad_()
    coords, missing = frame.project(theta)
    assert torch.equal(coords, frame.project(theta.detach())[0]) and not coords.requires_grad and 0 < missing < 1
