"""Optimizers as they are written on the command line: name, or name(setting=value, …)."""

from __future__ import annotations

import inspect
import re
from typing import TYPE_CHECKING, Any

from lossatlas import _said
from lossatlas._errors import InputError
from lossatlas.cli._user import named

if TYPE_CHECKING:
    from lossatlas.draw import Table
    from lossatlas.optimize import Optimizer

_TRUTH = {"true": True, "yes": True, "false": False, "no": False}


def optimizers(text: str) -> dict[str, Optimizer]:
    """The optimizers of a list, by label; one that comes again gets a number.

    Raises:
        InputError: for what cannot be read, or an optimizer or setting that there is not.
    """
    from lossatlas.optimize import labeled

    return labeled([parse(spec) for spec in split(text)])


def split(text: str) -> list[str]:
    """Parts between commas, but not those within parentheses."""
    parts, depth, current = [], 0, ""
    for letter in text:
        depth += (letter == "(") - (letter == ")")
        if letter == "," and depth == 0:
            parts.append(current.strip())
            current = ""
        else:
            current += letter
    return [part for part in [*parts, current.strip()] if part]


def parse(spec: str) -> Optimizer:
    """One optimizer: ``adam``, ``adam(lr=0.1, betas=0.9:0.99)``, ``restart(inner=adam(lr=0.1))``, ``my.py:Mine(lr=0.1)``."""
    from lossatlas.optimize import catalog, optimizer

    name, bracket, rest = spec.partition("(")
    name = name.strip()
    if bracket and not rest.endswith(")"):
        raise InputError(f"got the optimizer {spec!r}; expected name or name(setting=value, …).")
    given = named(name, "--optimizers") if ":" in name else catalog.get(name.lower().replace("_", "-"))
    known = _parameters(given)
    settings: dict[str, Any] = {}
    for item in split(rest.removesuffix(")")):
        key, equals, value = (part.strip() for part in item.partition("="))
        if not equals or not key:
            raise InputError(f"got the setting {item!r} in {spec!r}; expected setting=value.")
        if key in settings:
            raise InputError(f"got the setting {key!r} twice in {spec!r}; expected it once. Leave one out.")
        settings[key] = _value(key, value, *known.get(key, (None, {"_empty"})), item, spec)
    return _own(given, settings, spec) if ":" in name else optimizer(name, **settings)


def _own(given: Any, settings: dict[str, Any], spec: str) -> Optimizer:
    """An optimizer of the user's: a class, what a function returns, or an optimizer itself."""
    import torch

    from lossatlas.optimize import Optimizer, TorchOptimizer

    try:
        if isinstance(given, type) and issubclass(given, torch.optim.Optimizer):
            return TorchOptimizer(given, **settings)
        if inspect.isfunction(given) and len(_missing(given, settings)) == 1:
            return TorchOptimizer(given, **settings)  # a function of the parameters that returns a torch optimizer
        made = given(**settings) if callable(given) and not isinstance(given, Optimizer) else given
    except InputError:
        raise
    except Exception as error:
        raise InputError(
            f"got the optimizer {spec!r}, which could not be made: {_said.exception(error, __file__)} Expected settings that it "
            "takes."
        ) from error
    if not isinstance(made, Optimizer) or (made is given and settings):
        kind = "an optimizer with settings already" if isinstance(made, Optimizer) else f"a {type(made).__name__}"
        raise InputError(
            f"got the optimizer {spec!r}, which is {kind}; expected a subclass of lossatlas.Optimizer or of "
            "torch.optim.Optimizer, a function that returns one, also of a list of parameters, or one without settings here."
        )
    return made


def _missing(given: Any, settings: dict[str, Any]) -> list[str]:
    """The arguments that a function needs and the settings do not give."""
    return [
        name
        for name, one in inspect.signature(given).parameters.items()
        if one.default is one.empty and one.kind <= one.POSITIONAL_OR_KEYWORD and name not in settings
    ]


def _parameters(given: Any) -> dict[str, tuple[Any, set[str]]]:
    """The settings that a class or function takes: the default of each, and the words of its annotation."""
    try:
        parameters = inspect.signature(given).parameters
    except (TypeError, ValueError):
        return {}
    return {
        name: (one.default, set(re.findall(r"\w+", getattr(one.annotation, "__name__", "") + str(one.annotation))))
        for name, one in parameters.items()
    }


def _value(key: str, text: str, default: Any, words: set[str], item: str, spec: str) -> Any:
    if key == "inner":
        return parse(text)
    if text.lower() == "none" and ("None" in words or not (isinstance(default, str) or "str" in words)):
        return None
    if isinstance(default, str) or "str" in words:
        return text
    truth = isinstance(default, bool) or "bool" in words
    if truth and text.lower() in _TRUTH:
        return _TRUTH[text.lower()]
    try:
        numbers = [_number(part) for part in text.split(":")]
    except ValueError as error:
        if "_empty" in words and not isinstance(default, int | float | tuple):
            return text  # nothing says that it is to be a number: what takes it will say
        kind = "true or false" if truth else "a number"
        raise InputError(f"got the setting {item!r} in {spec!r}; expected {kind} after the =.") from error
    if truth and numbers in ([0], [1]):
        return bool(numbers[0])
    return numbers[0] if len(numbers) == 1 else tuple(numbers)


def _number(text: str) -> float | int:
    number = float(text)
    return int(number) if text.strip().lstrip("+-").isdigit() else number


def past() -> Table:
    """The optimizers of the catalog by year: the idea of each in one line, where it is used, and its source."""
    from lossatlas.draw import Table
    from lossatlas.optimize import by_year

    rows = [[str(one.year or "—"), one.name, one.idea, one.used, one.source] for one in by_year()]
    return Table(
        "Optimizers by year of first publication", ["year", "name", "idea", "where it is used", "source"], rows
    )


def table() -> Table:
    """Every optimizer of the catalog: what it evaluates and remembers, and its settings with their defaults."""
    from lossatlas.draw import Table
    from lossatlas.optimize import by_year

    rows = []
    for entry in by_year():
        settings = ", ".join(f"{key}={_shown(value)}" for key, value in entry.settings.items())
        rows.append([entry.name, entry.evaluates, entry.remembers, settings, entry.becomes or ""])
    heads = [
        "name",
        "evaluates at each step",
        "remembers",
        "settings and their defaults",
        "becomes, on two coordinates",
    ]
    return Table("What each evaluates, remembers and can be set to", heads, rows)


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return str(value["optimizer"])
    return ":".join(f"{v:g}" for v in value) if isinstance(value, tuple) else f"{value}"
