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
        descends: whether it goes down from a point, and settles; else it moves a population.
        why: the leaf that named it, or that it is the hedge.
    """

    label: str
    optimizer: Optimizer
    descends: bool = True
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
        "lbfgs": (lbfgs, True),
        "gd": (optimizer("gd", lr=lr), True),
        "momentum": (optimizer("momentum", lr=lr), True),
        "lbfgs-differences": (optimizer("finite-differences", inner=lbfgs), True),
        "nelder-mead": (optimizer("nelder-mead", restarts=0), True),
        "bayes": (optimizer("bayes"), False),
        "cma": (optimizer("cma"), False),
        "de": (optimizer("de"), False),
    }
    one, descends = makers[label]
    return Candidate(label, one, descends, why)
