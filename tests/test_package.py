"""The public face."""

import ast
import importlib.util
import inspect
import subprocess
import sys
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import lossatlas as la

ROOT = Path(__file__).parents[1]
# Their classes derive from those of a library that is an extra.
OF_EXTRAS = {"HuggingFaceRecorder", "LightningRecorder"}


def test_every_public_name_is_there_and_documented():
    for name in la.__all__:
        thing = getattr(la, name)
        assert (thing.__doc__ or "").strip(), name
    with pytest.raises(AttributeError, match="nothing"):
        _ = la.nothing


def test_completion_shows_public_names_and_nothing_else():
    _ = [getattr(la, name) for name in la.__all__]
    assert [name for name in dir(la) if not name.startswith("__")] == la.__all__


def _returned(function: Any) -> Iterator[type]:
    """The package's own classes in the return annotation of a function."""
    module = inspect.getmodule(function)
    names = dict(vars(module))
    for node in ast.parse(inspect.getsource(module)).body:
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            exec(compile(ast.Module(node.body, []), str(module), "exec"), names)
    hints = [typing.get_type_hints(function, names).get("return")]
    while hints:
        hint = hints.pop()
        hints += typing.get_args(hint)
        if isinstance(hint, type) and hint.__module__.startswith("lossatlas.") and not typing.get_args(hint):
            yield hint


@pytest.mark.slow
def test_every_type_that_a_public_function_returns_is_public():
    functions = [getattr(la, name) for name in la.__all__ if inspect.isfunction(getattr(la, name))]
    functions += [one for one in vars(la.landscapes).values() if inspect.isfunction(one)]
    found = {kind for function in functions for kind in _returned(function)}
    assert {la.Chart, la.Sweep, la.Copies, la.FieldIndices} <= found
    hidden = {kind.__name__ for kind in found if getattr(la, kind.__name__, None) is not kind}
    assert hidden == OF_EXTRAS


def test_types_are_for_users_too():
    """That a user's program passes is among the checks: tests/typed."""
    assert (Path(la.__file__).parent / "py.typed").is_file()


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


def _imported(tree: ast.Module) -> Iterator[str]:
    """Every module, or name in one, that some code imports."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _of_other_rooms(code: str, room: str) -> list[str]:
    """The imports that lead into an underscored module of another room; those of the ground floor are everybody's."""
    found = []
    for name in _imported(ast.parse(code)):
        package, *parts = name.split(".")
        if package == "lossatlas" and parts and not parts[0].startswith("_") and parts[0] != room:
            found += [name] * any(part.startswith("_") for part in parts[1:])
    return found


@pytest.mark.slow
def test_no_room_imports_an_underscored_module_of_another():
    source = Path(la.__file__).parent
    for path in sorted(source.rglob("*.py")):
        room = path.relative_to(source).parts[0].removesuffix(".py")
        assert _of_other_rooms(path.read_text(encoding="utf-8"), room) == [], path


@pytest.mark.parametrize(
    ("code", "room", "refused"),
    [
        ("from lossatlas.race._verdict import basins", "page", True),
        ("from lossatlas.race import _verdict", "page", True),
        ("def f():\n    import lossatlas.race._verdict", "page", True),
        ("from lossatlas.surface.network._loss import LossFunction", "curvature", True),
        ("from lossatlas.surface.network._loss import LossFunction", "surface", False),
        ("from lossatlas.race import basins", "page", False),
        ("from lossatlas._checks import whole", "page", False),
        ("from lossatlas import _checks", "page", False),
    ],
)
def test_what_counts_as_an_underscored_module_of_another_room(code, room, refused):
    assert bool(_of_other_rooms(code, room)) == refused


def test_errors_are_value_errors_of_one_tree():
    from lossatlas import _errors

    for name, kind in vars(_errors).items():
        if isinstance(kind, type) and issubclass(kind, Exception):
            assert issubclass(kind, la.LossAtlasError), name
            assert (kind.__doc__ or "").strip()
    assert issubclass(la.InputError, ValueError)


@pytest.mark.slow
def test_citation_is_bibtex_of_what_ran():
    race = la.race(la.landscapes.regression(), ["adam", "gd"], steps=3)
    text = la.citation(race)
    assert text.count("@") == 2 and "kingma2015" in text


def test_the_reference_shows_every_public_name_and_every_landscape_and_optimizer():
    spec = importlib.util.spec_from_file_location("reference", ROOT / "docs" / "_build_hooks" / "reference.py")
    pages = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(pages)
    listed = [path for page in pages.PAGES for path in pages.names(page)]
    for path in listed:
        room, _, name = path.rpartition(".")
        assert hasattr(importlib.import_module(room), name), path
    assert len(listed) == len(set(listed))
    told = {path.rpartition(".")[2] for path in listed}
    assert {name for name in la.__all__ if not inspect.ismodule(getattr(la, name))} <= told
    assert {"four_wells", "himmelblau", "Bbob", "AdamW", "Muon", "roughness"} <= told
    navigation = (ROOT / "mkdocs.yml").read_text()
    for page in pages.PAGES:
        assert f"reference/{page}.md" in navigation


@pytest.mark.slow
def test_what_is_imported_on_the_way_leaves_pythons_random_state_alone():
    program = """
import random, torch, lossatlas as la
state = random.getstate()
from lossatlas import demo; demo.digits()
la.race(la.landscapes.four_wells(), ["bayes"], steps=4)
la.advise(la.landscapes.four_wells(), budget=100, progress=False)
assert random.getstate() == state
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=300)
