"""When each rule of the catalog was first published, its idea in one line, and where it is used.

A year is that of the first publication, preprints and reports included; the publication that an implementation follows is its
``source``. A rule that has no known origin has no year.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class History:
    """What a history book says of one optimizer.

    Attributes:
        year: of its first publication, or None where none is known.
        idea: in one line.
        used: where it is used.
    """

    year: int | None
    idea: str
    used: str


UNKNOWN = History(None, "not said", "not said")

history: dict[str, History] = {
    "gd": History(1847, "step against the gradient", "smooth problems with few parameters; the baseline of all others"),
    "sgd": History(1951, "step against the gradient on a random mini-batch", "the basis of training by mini-batches"),
    "momentum": History(1964, "add up gradients in a velocity, as a heavy ball does", "image networks such as ResNets"),
    "nesterov": History(
        1983, "take the gradient one step ahead of the velocity", "convex problems; some recipes for image networks"
    ),
    "rmsprop": History(
        2012,
        "divide each coordinate by the running root mean square of its gradients",
        "recurrent networks and deep Q-learning; elsewhere replaced by Adam",
    ),
    "adam": History(
        2014,
        "RMSprop's scaling, momentum, and a correction of both for their start at zero",
        "most deep learning since 2015",
    ),
    "adamw": History(
        2017,
        "Adam, with weight decay applied to the weights and not to the gradient",
        "transformers: BERT, GPT, ViT, LLaMA",
    ),
    "lion": History(
        2023, "step by the sign of a momentum, found by program search", "some image, diffusion and language models"
    ),
    "sophia": History(
        2023, "divide momentum by an estimate of the Hessian's diagonal, and clip", "studies of language models"
    ),
    "shampoo": History(
        2018,
        "scale both sides of each weight matrix by a root of its gradient statistics",
        "large models, in its distributed form",
    ),
    "muon": History(
        2024,
        "make the momentum of each weight matrix orthogonal by Newton–Schulz iterations",
        "language models: nanoGPT speed records, Kimi K2",
    ),
    "lbfgs": History(
        1980,
        "build Newton's step from the last few steps and changes of the gradient",
        "smooth problems without noise: statistics, physics-informed networks",
    ),
    "hill-climbing": History(
        None, "look at the neighbors and move to the best one", "discrete search; courses on search algorithms"
    ),
    "annealing": History(
        1983,
        "move to a random neighbor, uphill with a probability that falls as it cools",
        "layout, routing and scheduling",
    ),
    "beam": History(
        1976, "keep the k best of all neighbors of k states", "decoding of speech and text (there along a sequence)"
    ),
    "genetic": History(
        1975, "select, cross and mutate a population", "combinatorial design; rugged problems without gradients"
    ),
    "evolution": History(
        2008,
        "climb the mean reward of random perturbations (a policy gradient)",
        "reinforcement learning on many machines",
    ),
    "de": History(
        1995,
        "move each member by the difference of two others",
        "engineering design; SciPy's differential_evolution",
    ),
    "cma": History(
        1996,
        "sample from a Gaussian and adapt its covariance to what succeeded",
        "up to some hundred parameters without gradients",
    ),
    "nelder-mead": History(
        1965,
        "move a simplex of N + 1 points: reflect, expand, contract or shrink it",
        "a few parameters without gradients; MATLAB's fminsearch",
    ),
    "bayes": History(
        1975,
        "fit a model of the surface to all observations and evaluate where it promises most",
        "expensive evaluations: hyper-parameters, experiments",
    ),
    "random": History(
        1958, "evaluate points drawn at random, keep the best", "hyper-parameters; the baseline of every search"
    ),
    "center": History(
        None, "evaluate the center of the box and stop", "a check that a benchmark is not solved by its center"
    ),
    "restart": History(
        None,
        "begin again from random points, keep the best end",
        "many local minima and cheap descents; it runs in parallel",
    ),
    "best-so-far": History(None, "report the best point met, not the last", "any method that may move uphill"),
    "gradient-noise": History(2015, "add Gaussian noise to each gradient", "studies of how noise leaves a basin"),
    "mini-batches": History(1951, "take each gradient on a random mini-batch", "any gradient method on large data"),
    "finite-differences": History(
        None, "replace the gradient by differences of losses", "gradient methods where no gradient is known"
    ),
}
