"""A recipe makes the same surface again: of a file, of objects, sliced, cut down, with its outputs."""

import importlib.util
import sys

import numpy as np
import pytest
import torch

from lossatlas.chart import Plane
from lossatlas.chart.sampling._margins import Margins
from lossatlas.probe import _manifest
from lossatlas.probe._recipe import Recipe, identity_of, recipe_of
from lossatlas.surface import Function, StateSurface

COORDS = torch.tensor([[0.1, -0.3], [0.7, 0.2]], dtype=torch.float64)


def same(one, other):
    assert list(_manifest.differing(identity_of(one), identity_of(other))) == []


@pytest.mark.parametrize("name", ["an MLP on digits", "a CNN with batch norm", "the user's file"])
def test_a_slice_comes_back_with_its_identity_and_its_bits(grounds, name):
    sliced = grounds[name].on(Plane.random(grounds[name], seed=1), steady=True)
    recipe = recipe_of(sliced)
    made, source = recipe.build()
    same(sliced, made)
    assert source is None and made.steady and torch.equal(made.values(COORDS), sliced.values(COORDS))
    assert bool(recipe.pickled) == (name != "the user's file")


def test_outputs_and_what_is_kept_of_them_come_back_with_their_bits(grounds):
    sliced = grounds["an MLP on digits"].on(Plane.random(grounds["an MLP on digits"], seed=1), steady=True)
    outputs = sliced.own_outputs()
    for source in (outputs, Margins(outputs, 2**20)):
        _, made = recipe_of(sliced, source).build()
        assert type(made) is type(source)
        for one, other in zip(source.read(COORDS.numpy()), made.read(COORDS.numpy()), strict=True):
            assert torch.equal(one, other)


@pytest.mark.parametrize(
    "derived",
    [
        lambda surface: surface.cheaper(40),
        lambda surface: surface.with_batchnorm("batch"),
        lambda surface: StateSurface(surface),
        lambda surface: StateSurface(surface, examples=True, limit=20),
    ],
)
def test_what_is_made_of_the_users_file_is_made_of_it_again(own_surface, derived):
    surface = derived(own_surface())
    recipe = recipe_of(surface)
    made, _ = recipe.build()
    assert not recipe.pickled and made.name == surface.name
    point = surface.own_point[None]
    assert torch.equal(made.values(point), surface.values(point))


def test_weights_that_no_file_holds_travel_and_others_do_not(own_surface, tmp_path):
    drawn = own_surface()
    assert len(recipe_of(drawn).tensors) == 4
    torch.save(drawn.model.state_dict(), tmp_path / "w.pt")
    loaded = own_surface(checkpoint=tmp_path / "w.pt")
    recipe = recipe_of(loaded)
    assert recipe.tensors == {}
    same(loaded, recipe.build()[0])


def test_digests_tell_recipes_apart(grounds):
    surface = grounds["an MLP on digits"]
    planes = [Plane.random(surface, seed=seed) for seed in (1, 1, 2)]
    first, again, other = (recipe_of(surface.on(plane, steady=True)).digest for plane in planes)
    assert first == again != other
    assert Recipe(({"call": "a"},)).digest != Recipe(outputs=({"call": "a"},)).digest


def test_a_module_that_was_named_by_its_path_is_found_again(tmp_path):
    path = tmp_path / "far_away.py"
    path.write_text("def bowl(point):\n    return float((point**2).sum())\n")
    spec = importlib.util.spec_from_file_location("far_away", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["far_away"] = module
    spec.loader.exec_module(module)
    recipe = recipe_of(Function(module.bowl, box=[(-1, 1), (-1, 1)]))
    assert recipe.files == {"far_away": str(path.resolve())}
    del sys.modules["far_away"]
    made, _ = recipe.build()
    assert made.function is not module.bowl and np.allclose(made.values(COORDS), [0.1, 0.53])
    del sys.modules["far_away"]
