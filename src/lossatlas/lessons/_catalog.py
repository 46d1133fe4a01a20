"""The lessons by their number, each imported when it is needed. A new one is a file and a line here."""

from __future__ import annotations

import ast
import importlib
import json
from functools import cache
from pathlib import Path

from lossatlas._errors import InputError, UnknownNameError
from lossatlas.lessons._lesson import Lesson

MODULES = {
    "A1": "_a1_surface_is_fixed",
    "A2": "_a2_one_dimension_more",
    "A3": "_a3_pictures_are_slices",
    "A4": "_a4_pictures_sample_grids",
    "A5": "_a5_slices_hide_saddles",
    "B1": "_b1_one_gradient_a_step",
    "B2": "_b2_what_searches_evaluate",
    "B3": "_b3_all_forget_but_bayes",
    "B4": "_b4_price_decides",
    "B5": "_b5_adamw_decays_apart",
    "B6": "_b6_lion_steps_by_sign",
    "B7": "_b7_sophia_shampoo_muon",
    "C1": "_c1_regression_is_convex",
    "C2": "_c2_four_wells",
    "C3": "_c3_descent_is_trapped",
    "C4": "_c4_deep_wells",
    "C5": "_c5_all_descents_end_in_a",
    "C6": "_c6_adaptive_pays_if_ill_conditioned",
    "C7": "_c7_four_ways_out",
    "D1": "_d1_saddles_dominate",
    "D2": "_d2_descent_crawls_on_plateaus",
    "D3": "_d3_flat_minima_generalize",
    "D4": "_d4_minima_are_connected",
    "D5": "_d5_permutations_leave_the_loss",
    "D6": "_d6_wider_is_easier",
    "D7": "_d7_noise_leaves_basins",
    "E1": "_e1_filter_normalization",
    "E2": "_e2_shortcuts_smooth",
    "E3": "_e3_components_show_the_path",
    "E4": "_e4_loss_falls_along_the_line",
    "E5": "_e5_slices_are_never_the_whole",
    "F1": "_f1_no_single_best",
    "F2": "_f2_stuck_in_the_neighborhood",
    "G1": "_g1_descent_builds_no_surface",
    "G2": "_g2_pictures_are_not_the_loss",
    "G3": "_g3_saddles_are_the_obstacle",
    "G4": "_g4_wider_has_fewer_bad_minima",
    "H1": "_h1_fitness_is_minus_loss",
    "H2": "_h2_populations_gather",
    "H3": "_h3_values_are_surfaces_too",
}
_registered: dict[str, Lesson] = {}


def lesson(name: str) -> Lesson:
    """A lesson by its number.

    Args:
        name: such as ``C3``, or the id of a lesson that was registered.

    Raises:
        UnknownNameError: if there is none of that number.

    Example:
        >>> import lossatlas as la
        >>> la.lesson("A2").run().outcome
        'supported'
    """
    key = str(name).upper()
    if key in _registered:
        return _registered[key]
    if key not in MODULES:
        raise UnknownNameError("lesson", name, [*MODULES, *_registered])
    found: Lesson = importlib.import_module(f"lossatlas.lessons.{MODULES[key]}").LESSON
    return found


def register(lesson: Lesson) -> Lesson:
    """Put a lesson of your own beside ours: `lesson` finds it and `claims` lists it, for as long as this program runs.

    Args:
        lesson: with an id that is not taken; the same lesson may be registered again.

    Returns:
        The lesson.

    Raises:
        InputError: for anything else.
    """
    if not isinstance(lesson, Lesson):
        raise InputError(
            f"got a {type(lesson).__name__}; expected a lossatlas.lessons.Lesson. Wrap the experiment in one."
        )
    key = lesson.id.upper()
    if key in MODULES or _registered.get(key, lesson) != lesson:
        raise InputError(f"there is a lesson {lesson.id} already; expected an id of its own. Choose another one.")
    _registered[key] = lesson
    return lesson


def claims() -> dict[str, str]:
    """The claim of every lesson by its number; our own are read from the files, which are not run for it."""
    own = {number: _claim(Path(__file__).with_name(f"{module}.py")) for number, module in MODULES.items()}
    return own | {one.id: one.claim for one in _registered.values()}


@cache
def durations() -> dict[str, dict[str, float]]:
    """Seconds that each of our lessons took where `bench/lessons.py` ran it last: ``full``, and in its short form ``quick``.

    Example:
        >>> durations()["A2"]["quick"] < 20
        True
    """
    found: dict[str, dict[str, float]] = json.loads(
        Path(__file__).with_name("durations.json").read_text(encoding="utf-8")
    )["seconds"]
    return found


def title(name: str) -> str:
    """A few words for a lesson: what its file is named by, or its number where it has none here.

    Example:
        >>> title("C2")
        'C2: Four wells'
    """
    words = MODULES.get(name, "").removeprefix("_").partition("_")[2].replace("_", " ")
    return f"{name}: {words[:1].upper()}{words[1:]}" if words else name


def _claim(file: Path) -> str:
    """The value of CLAIM in a file."""
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == "CLAIM":
            return str(ast.literal_eval(node.value))
    raise AssertionError(f"{file.name} states no claim")
