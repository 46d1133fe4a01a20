"""The optimizers of a scene: names, defaults, ranges, queries and memory, all from the catalog. The page owns no number."""

from __future__ import annotations

import functools
import math
import re
from dataclasses import fields, replace
from typing import Any

from lossatlas._errors import LossAtlasError
from lossatlas.optimize import Optimizer, catalog
from lossatlas.page._building import Building
from lossatlas.race import race
from lossatlas.surface import landscapes

# Rules that the page walks itself, held to ours by tests/golden; all others are played back from their record.
TWINS = (
    "gd", "sgd", "momentum", "nesterov", "rmsprop", "adam", "adamw", "lion", "sophia", "hill-climbing", "annealing",
    "evolution", "random", "center", "restart",
)  # fmt: skip
RANDOM = frozenset({
    "sgd", "sophia", "hill-climbing", "nelder-mead", "annealing", "beam", "genetic", "evolution", "de", "cma", "bayes", "random",
    "restart", "gradient-noise", "mini-batches",
})  # fmt: skip
# Reach of sliders: factors of the default where a setting is drawn on a logarithmic scale, bounds where it is not.
_LOGARITHMIC = {
    "lr",
    "eps",
    "temperature",
    "step",
    "sigma",
    "spread",
    "scale",
    "lr_others",
    "gamma",
    "collapsed",
    "floor",
}
_SHARES = {"momentum", "alpha", "crossover", "mutation"}
_FACTORS = {"cooling": (0.9, 1.0), "fading": (0.0, 2.0), "weight_decay": (0.0, 0.5)}


def add_optimizers(building: Building, names: list[str]) -> None:
    """The catalog's entries of these names."""
    have = {one["name"] for one in building.parts["optimizers"]}
    for name in catalog:
        if name in names and name not in have:
            building.parts["optimizers"].append(entry(name))


@functools.cache
def entry(name: str) -> dict[str, Any]:
    """What the page knows of an optimizer of the catalog."""
    one = catalog[name]()
    return {
        "name": name,
        "title": one.title,
        "twin": name in TWINS,
        "random": name in RANDOM,
        "queries": _per_step(one),
        "memory": _memory(one.remembers),
        # The fog stays lifted for a method that keeps every observation.
        "remembers": one.remembers.startswith("every observation"),
        "settings": [setting for field in fields(one) for setting in _settings(one, field.name)],
        "evaluates": one.evaluates,
        "keeps": one.remembers,
        "source": one.source,
        "wanders": bool(one.wanders),
    }


def _per_step(one: Optimizer, steps: int = 20) -> dict[str, float]:
    """What a step costs, measured over a short race in two dimensions."""
    try:
        meter = race(_ground(), [one], steps=steps, progress=False).meter[one.name]
    except LossAtlasError:
        return {"losses": 0, "gradients": 0, "products": 0}
    return {
        "losses": round(meter.values / steps, 2),
        "gradients": round(meter.gradients / steps, 2),
        "products": round(meter.products / steps, 2),
    }


@functools.cache
def _ground() -> landscapes.Landscape:
    """Where the costs of a step are measured."""
    return landscapes.four_wells()


def _memory(words: str) -> int | None:
    """Numbers held per parameter, from the catalog's words: nothing, (N), (2N)."""
    if words == "nothing":
        return 0
    found = re.search(r"\((\d*)N\)", words)
    return int(found[1] or 1) if found else None


def _settings(one: Optimizer, name: str) -> list[dict[str, Any]]:
    value = getattr(one, name)
    said: dict[str, Any] = {"name": name, "lower": None, "upper": None, "log": False, "choices": None, "default": value}
    if isinstance(value, Optimizer):
        return [{**said, "kind": "choice", "default": value.name, "choices": [value.name]}]
    if isinstance(value, bool | str):
        return [{**said, "kind": "choice", "choices": [value] if isinstance(value, str) else [False, True]}]
    if value is None:
        return [{**said, "kind": "integer"}]
    if isinstance(value, tuple):
        return [{**said, "kind": "pair", "default": list(value), "lower": 0.0, "upper": 0.9999}]
    if isinstance(value, int):
        return [{**said, "kind": "integer", "lower": _allowed(one, name, [1, 0]), "upper": max(4 * value, 10)}]
    if name in _SHARES:
        return [{**said, "kind": "number", "lower": 0.0, "upper": 0.999}]
    if name in _FACTORS:
        low, high = _FACTORS[name]
        return [{**said, "kind": "number", "lower": low, "upper": high}]
    if name in _LOGARITHMIC and value > 0:
        # Whole decades: two below the default and one and a half above it.
        decade = math.floor(math.log10(value))
        return [{**said, "kind": "number", "lower": 10.0 ** (decade - 2), "upper": 10.0 ** (decade + 2), "log": True}]
    return [{**said, "kind": "number"}]


def _allowed(one: Optimizer, name: str, values: list[int]) -> int | None:
    """The first of some values that the optimizer takes."""
    for value in reversed(values):
        try:
            replace(one, **{name: value})
        except LossAtlasError:
            continue
        return value
    return None
