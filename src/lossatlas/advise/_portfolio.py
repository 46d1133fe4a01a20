"""What the tree can name: optimizers of the catalog with settings that depend on nothing but dimension and scale."""

from __future__ import annotations

from dataclasses import dataclass

from lossatlas import archive
from lossatlas.optimize import Optimizer, optimizer


@dataclass(frozen=True)
class Candidate(archive.Result):
    """One optimizer of the short-list.

    Attributes:
        label: in the race.
        optimizer: with its settings.
        kind: ``descent`` goes down from a point and settles, ``population`` needs room, ``surrogate`` models what it has evaluated.
        why: the leaf that named it, or that it is the hedge.
    """

    label: str
    optimizer: Optimizer
    kind: str = "descent"
    why: str = ""


def candidate(label: str, why: str, lr: float) -> Candidate:
    """An entry by its label.

    Args:
        label: as leaves have it.
        why: it is on the list.
        lr: the learning rate of methods that need one.
    """
    lbfgs = optimizer("lbfgs")
    makers = {
        "lbfgs": (lbfgs, "descent"),
        "gd": (optimizer("gd", lr=lr), "descent"),
        "momentum": (optimizer("momentum", lr=lr), "descent"),
        "lbfgs-differences": (optimizer("finite-differences", inner=lbfgs), "descent"),
        "nelder-mead": (optimizer("nelder-mead", restarts=0), "descent"),
        "bayes": (optimizer("bayes"), "surrogate"),
        "cma": (optimizer("cma"), "population"),
        "de": (optimizer("de"), "population"),
    }
    one, kind = makers[label]
    return Candidate(label, one, kind, why)
