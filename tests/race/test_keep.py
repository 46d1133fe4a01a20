"""Races and basin maps in folders, and back: what they say, draw and hold is the same afterwards."""

import json

import numpy as np
import pytest
import torch
from torch import nn

import lossatlas as la
from lossatlas._errors import InputError, OutputError
from lossatlas.optimize import catalog, revived

WELLS = la.landscapes.four_wells().moved(shift=(0.1, -0.2), rotation=0.3, noise=0.5)


def same(a, b):
    assert str(a.table()) == str(b.table()) and str(a.accounting()) == str(b.accounting())
    assert repr(a.record()) == repr(b.record())  # NaN is not NaN, but its text is
    for label, track in a.tracks.items():
        other = b.tracks[label]
        for name in ("start", "positions", "losses", "last", "final", "loss", "seen"):
            assert torch.equal(torch.nan_to_num(getattr(track, name)), torch.nan_to_num(getattr(other, name))), name
        assert np.array_equal(track.queries, other.queries) and track.memory == other.memory
        assert track.optimizer == other.optimizer and track.growth == other.growth
        assert torch.equal(track.meter.per_run, other.meter.per_run) and track.meter.record() == other.meter.record()
        assert a.verdicts[label].sentence == b.verdicts[label].sentence
        assert a.costs(label, 0.0).tolist() == b.costs(label, 0.0).tolist()


@pytest.mark.slow
def test_a_race_comes_back_whole_with_its_landscape(tmp_path):
    inner = la.optimizer("gradient-noise", inner=la.optimizer("momentum", lr=0.01))
    racers = {"a/b": "sgd", "de": "de", "noisy": inner, "again": la.optimizer("restart", restarts=2), "bad": "bayes"}
    race = la.race(WELLS, racers, steps=6, runs=2, seed=4, budget=70)
    race.save(tmp_path / "race")
    back = la.load(tmp_path / "race")
    same(race, back)
    assert back.surface.fingerprint() == WELLS.fingerprint() and back.budget == 70 and "5 " not in repr(back)
    assert back.plot(points=9).save(tmp_path / "p.png").stat().st_size > 5000
    assert la.citation(back) == la.citation(race) and "polyak1964" in la.citation(race)


def test_every_optimizer_is_revived_from_its_record():
    for name in catalog:
        one = la.optimizer(name)
        record = json.loads(json.dumps(one.record()))
        assert revived(record) == one
    nested = la.optimizer("restart", inner=la.optimizer("finite-differences", inner=la.optimizer("adam", lr=0.3)))
    assert revived(json.loads(json.dumps(nested.record()))) == nested
    with pytest.raises(InputError, match="no optimizer"):
        revived({"optimizer": "future", "settings": {}})
    with pytest.raises(InputError, match="no optimizer"):
        revived({"name": "future"})


@pytest.mark.slow
def test_a_class_of_torch_comes_back_as_its_record(tmp_path):
    mine = la.TorchOptimizer(torch.optim.Adam, lr=0.1)
    race = la.race(WELLS, {"mine": mine}, steps=5)
    race.save(tmp_path)
    back = la.load(tmp_path)
    assert back.tracks["mine"].optimizer.settings() == mine.settings()
    assert str(back.table()) == str(race.table())
    with pytest.raises(InputError, match="the class itself"):
        la.race(WELLS, {"mine": back.tracks["mine"].optimizer}, steps=5)


@pytest.mark.slow
@pytest.mark.parametrize("surface", [la.landscapes.quadratic(condition=50.0, dimension=3), la.landscapes.Bbob(8, 2, 3)])
def test_other_landscapes_are_built_again(tmp_path, surface):
    race = la.race(surface, ["random", "gd"], steps=6)
    race.save(tmp_path)
    back = la.load(tmp_path)
    assert back.surface.fingerprint() == surface.fingerprint() and type(back.surface) is type(surface)
    assert repr(back.record()) == repr(race.record())


@pytest.mark.slow
def test_of_a_network_the_record_is_left_and_the_surface_can_be_given(tmp_path):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    surface = la.NetworkSurface(model, "cross_entropy", (torch.randn(12, 3), torch.arange(12) % 2))
    race = la.race(surface, ["muon", "adam"], start=surface.theta, steps=6)
    race.save(tmp_path / "whole")
    back = la.load(tmp_path / "whole")
    # What Muon becomes is told by the shapes of the weights: they are remembered.
    assert str(back.accounting()) == str(race.accounting()) and str(back.table()) == str(race.table())
    slice_ = surface.on(la.Plane.random(surface, seed=0))
    race = la.race(slice_, ["gd"], start=[0.3, 0.4], steps=6)
    race.save(tmp_path / "slice")
    back = la.load(tmp_path / "slice")
    assert back.verdicts["gd"].sentence == race.verdicts["gd"].sentence and back.plot_losses()
    with pytest.raises(la.NotApplicableError, match="surface="):
        back.plot()
    whole = la.load(tmp_path / "slice", surface=slice_)
    assert whole.plot(points=7).save(tmp_path / "p.png").stat().st_size > 5000
    with pytest.raises(InputError, match="the one that the result was made on"):
        la.load(tmp_path / "slice", surface=WELLS)


@pytest.mark.slow
def test_a_basin_map_comes_back_whole(tmp_path):
    made = la.basin_map(WELLS, "adam", points=(6, 5), steps=40, seed=2)
    made.save(tmp_path)
    back = la.load(tmp_path)
    assert (
        str(back.table()) == str(made.table())
        and repr(back.record()) == repr(made.record())
        and repr(back) == repr(made)
    )
    for name in ("x", "y", "ends", "final", "loss", "cost"):
        assert np.array_equal(getattr(back, name), getattr(made, name), equal_nan=True)
    assert back.plot().save(tmp_path / "m.png").stat().st_size > 3000
    assert "kingma2015" in la.citation(made) and "kingma2015" in la.citation(la.optimizer("adam"))
    with pytest.raises(InputError, match="a race, a basin map"):
        la.citation(3)


def test_a_record_of_another_version_is_refused_in_words(tmp_path):
    la.race(WELLS, ["gd"], steps=3).save(tmp_path)
    path = tmp_path / "race.json"
    told = json.loads(path.read_text())
    del told["record"]["surface"]
    path.write_text(json.dumps(told))
    with pytest.raises(OutputError, match="another version"):
        la.load(tmp_path)
