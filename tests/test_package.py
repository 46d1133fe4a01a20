"""The public face."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import lossatlas as la


def test_every_public_name_is_there_and_documented():
    for name in la.__all__:
        thing = getattr(la, name)
        assert (thing.__doc__ or "").strip(), name
    assert set(la.__all__) <= set(dir(la))
    with pytest.raises(AttributeError, match="nothing"):
        _ = la.nothing


@pytest.mark.slow
def test_chart_and_race_are_functions_though_rooms_have_their_names():
    code = (
        "import lossatlas.race, lossatlas.chart, lossatlas as la\n"
        "from lossatlas.chart import Plane\nfrom lossatlas.race import wilson\n"
        "assert callable(la.chart) and callable(la.race)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_importing_does_not_wait_for_torch():
    subprocess.run([sys.executable, "-c", "import lossatlas, sys; assert 'torch' not in sys.modules"], check=True)


def test_errors_are_value_errors_of_one_tree():
    from lossatlas import _errors

    for name, kind in vars(_errors).items():
        if isinstance(kind, type) and issubclass(kind, Exception):
            assert issubclass(kind, la.LossAtlasError), name
            assert (kind.__doc__ or "").strip()
    assert issubclass(la.InputError, ValueError)


def test_citation_is_bibtex_of_what_ran():
    race = la.race(la.landscapes.regression(), ["adam", "gd"], steps=3)
    text = la.citation(race)
    assert text.count("@") == 2 and "kingma2015" in text


def test_the_reference_lists_every_public_name_and_nothing_else():
    pages = Path(__file__).parents[1] / "docs" / "reference.md"
    listed = [line[4:] for line in pages.read_text().splitlines() if line.startswith("::: ")]
    for path in listed:
        room, _, name = path.rpartition(".")
        assert hasattr(importlib.import_module(room), name), path
    told = {path.rpartition(".")[2] for path in listed}
    assert {name for name in la.__all__ if hasattr(getattr(la, name), "__module__")} <= told
    assert len(listed) == len(set(listed))
