"""Where a recorder's numbers and figures go besides its folder: TensorBoard, W&B, MLflow, a trainer's logger, a function."""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, final

from lossatlas import _checks
from lossatlas._errors import InputError

PREFIX = "lossatlas/"
Values = Mapping[str, float]


@final
@dataclass(frozen=True)
class Target:
    """One place.

    Attributes:
        name: for messages.
        numbers: takes the step and numbers by name.
        figure: takes the step, a name and a matplotlib figure; None where figures have no place.
    """

    name: str
    numbers: Callable[[int, dict[str, float]], object]
    figure: Callable[[int, str, Any], object] | None


@final
class Logs:
    """Sends numbers and figures on. A place that raises gets nothing more, and the training goes on.

    Args:
        given: a writer, run, module, trainer's logger or function, or several in a list; None for none.

    Attributes:
        problems: why a place gets nothing more, a sentence each.

    Raises:
        InputError: for anything else.
    """

    def __init__(self, given: Any = None) -> None:
        several = given if isinstance(given, list | tuple) else [] if given is None else [given]
        self._targets = [target(one) for one in several]
        self.problems: list[str] = []

    def __bool__(self) -> bool:
        return bool(self._targets)

    def numbers(self, step: int, values: Values) -> None:
        """Send numbers of a step."""
        named = {PREFIX + name: float(value) for name, value in values.items()}
        self._each(lambda one: one.numbers(step, named))

    def figure(self, step: int, name: str, figure: Any) -> None:
        """Send a matplotlib figure."""
        self._each(lambda one: one.figure(step, PREFIX + name, figure) if one.figure else None)

    def _each(self, send: Callable[[Target], object]) -> None:
        for one in list(self._targets):
            try:
                send(one)
            except Exception as error:  # it is the user's or another package's: the run must not end by it
                self._targets.remove(one)
                self.problems.append(f"{one.name} raised {type(error).__name__}: {error}, and gets nothing more")


def target(given: Any) -> Target:
    """What numbers and figures are sent to, recognized by what it can do.

    Raises:
        InputError: if it is nothing of the kind.
    """
    if isinstance(given, Target):
        return given
    kind = given.__name__ if isinstance(given, types.ModuleType) else type(given).__name__
    if _has(given, "add_scalar", "add_figure"):
        return Target(kind, lambda step, values: _scalars(given, step, values), _added(given))
    if isinstance(given, types.ModuleType) and _has(given, "log_metrics", "log_figure"):
        return Target(
            kind, lambda step, values: given.log_metrics(values, step=step),
            lambda step, name, figure: given.log_figure(figure, f"{name}-{step}.png"),
        )  # fmt: skip
    if (isinstance(given, types.ModuleType) or type(given).__module__.startswith("wandb")) and _has(given, "log"):
        return Target(kind, lambda step, values: given.log({**values, f"{PREFIX}step": step}), _image(given))
    if _has(given, "log_metrics", "log_hyperparams"):
        return Target(kind, lambda step, values: given.log_metrics(values, step=step), _of_trainer(given))
    if callable(given):
        return Target(
            getattr(given, "__name__", kind), lambda step, values: given(step, values),
            lambda step, name, figure: given(step, {name: figure}),
        )  # fmt: skip
    raise InputError(
        f"got log={_checks.shown(given)}; expected a TensorBoard SummaryWriter, a W&B run, the module mlflow, a Lightning "
        "logger, or a function of a step and a dictionary of numbers; or several of them in a list."
    )


def _has(given: Any, *names: str) -> bool:
    return all(callable(getattr(given, name, None)) for name in names)


def _scalars(writer: Any, step: int, values: Mapping[str, float]) -> None:
    for name, value in values.items():
        writer.add_scalar(name, value, step)


def _added(writer: Any) -> Callable[[int, str, Any], object]:
    return lambda step, name, figure: writer.add_figure(name, figure, step, close=False)


def _image(run: Any) -> Callable[[int, str, Any], object]:
    def log(step: int, name: str, figure: Any) -> object:
        import wandb

        return run.log({name: wandb.Image(figure), f"{PREFIX}step": step})

    return log


def _of_trainer(logger: Any) -> Callable[[int, str, Any], object] | None:
    """Figures go to what a Lightning logger writes with, where that takes any."""

    def log(step: int, name: str, figure: Any) -> object:
        inner = getattr(logger, "experiment", None)
        if _has(inner, "add_figure"):
            return _added(inner)(step, name, figure)
        if _has(inner, "log_figure") and hasattr(logger, "run_id"):
            return inner.log_figure(logger.run_id, figure, f"{name}-{step}.png")  # type: ignore[union-attr]
        if type(inner).__module__.startswith("wandb"):
            return _image(inner)(step, name, figure)
        return None

    return log
