"""One color and one marker for each optimizer, in every picture and on the page.

Methods that are raced together most often differ in color; where a color comes again its marker is another. The colors are
those of Okabe and Ito (2008) without yellow, and a purple and a brown.
"""

from __future__ import annotations

from collections.abc import Mapping

from lossatlas.draw import Stroke, apart, strokes
from lossatlas.optimize._optimizer import Optimizer

VERMILION, BLUE, GREEN, PURPLE, BROWN = "#D55E00", "#0072B2", "#009E73", "#8A3FFC", "#9C6B30"
SKY, PINK, ORANGE, BLACK = "#56B4E9", "#CC79A7", "#E69F00", "#000000"

# A name to its color and its marker, as matplotlib calls it. Stars and triangles that stand on a tip are wells.
looks: dict[str, tuple[str, str]] = {
    "gd": (VERMILION, "o"),
    "sgd": (BROWN, "h"),
    "momentum": (BLUE, "s"),
    "nesterov": (ORANGE, "P"),
    "rmsprop": (PINK, "d"),
    "adam": (GREEN, "X"),
    "adamw": (SKY, "p"),
    "lion": (PURPLE, "D"),
    "sophia": (VERMILION, ">"),
    "shampoo": (BLUE, "p"),
    "muon": (BLACK, "o"),
    "lbfgs": (GREEN, "8"),
    "hill-climbing": (VERMILION, "s"),
    "annealing": (PURPLE, "^"),
    "beam": (BLUE, "<"),
    "genetic": (GREEN, "D"),
    "evolution": (ORANGE, "^"),
    "de": (SKY, "h"),
    "cma": (PINK, "o"),
    "nelder-mead": (BLUE, "d"),
    "bayes": (BROWN, "X"),
    "random": (BLACK, "8"),
    "center": (SKY, ">"),
    "restart": (BLACK, "D"),
    "best-so-far": (BROWN, "s"),
    "gradient-noise": (ORANGE, "h"),
    "mini-batches": (BROWN, "p"),
    "finite-differences": (VERMILION, "d"),
}


def strokes_of(racers: Mapping[str, Optimizer]) -> dict[str, Stroke]:
    """How each racer of a picture is drawn.

    An optimizer of the catalog has its own color and marker; a second one of the same kind has the color and another marker.
    One of the user's gets a color by its name, and one that no other has while there are any. Lines of one color differ in
    their markers and their dashes.

    Args:
        racers: label to optimizer.
    """
    fixed: dict[str, Stroke] = {}
    for label, one in racers.items():
        name = label if label in looks else one.name if one.outside is None else ""
        if name not in looks:
            continue
        fixed[label] = apart(*looks[name], fixed.values())
    return strokes(racers, looks=fixed)
