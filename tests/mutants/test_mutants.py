"""The list of planted mistakes: every entry still applies. `make mutants` plants them."""

import importlib.util
from collections import Counter
from pathlib import Path

import lossatlas

SPEC = importlib.util.spec_from_file_location("plant", Path(__file__).with_name("plant.py"))
ROOMS = "surface probe chart curvature connect race optimize record draw page advise lessons serve demo statistics"


def test_every_mistake_can_be_planted_and_every_room_has_some(monkeypatch):
    plant = importlib.util.module_from_spec(SPEC)
    monkeypatch.setitem(__import__("sys").modules, "plant", plant)
    SPEC.loader.exec_module(plant)
    mutants = plant.listed()
    assert not [problem for mutant in mutants if (problem := mutant.problem())]
    assert len(mutants) >= 60 and set(ROOMS.split()) <= {mutant.room for mutant in mutants}
    twice = [what for what, count in Counter((m.file, m.old, m.new) for m in mutants).items() if count > 1]
    assert not twice and Path(lossatlas.__file__).parent.name == plant.PACKAGE.name
