"""Lines and planes from what was typed on the command line."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import click

from lossatlas._errors import InputError, UnknownNameError
from lossatlas.cli._optimizers import split

if TYPE_CHECKING:
    from lossatlas.chart import Line, Plane
    from lossatlas.chart.directions import Direction
    from lossatlas.record import Checkpoints, Recording
    from lossatlas.surface import NetworkSurface

KINDS = ("random", "between", "pca", "hessian", "gradient", "worst")
NORMALIZATIONS = ("filter", "layer", "weight", "dfilter", "dlayer", "none", "li2018")


@final
class PlaneType(click.Choice[str]):
    """One of `KINDS`, or directions to mix: ``gradient,eigenvector(which=smallest)``, ``FILE.py:CLASS``."""

    def __init__(self) -> None:
        super().__init__(KINDS)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The text; what it names is looked up when the surface is there."""
        text = str(value).strip()
        return text if set(text) & set(",(:") else str(super().convert(text, param, ctx))


@dataclass(frozen=True)
class Wanted:
    """What was typed.

    Attributes:
        kind: one of `KINDS`, or directions to mix.
        line: a line instead of a plane.
        normalization: one of `NORMALIZATIONS`, or None for the kind's own.
        ignore: ``biasbn``, ``nothing``, or None for what the normalization says.
        seed: of random directions.
        through: further checkpoints, in order.
        centering: of principal components, or None for the last point.
    """

    kind: str
    line: bool
    normalization: str | None
    ignore: str | None
    seed: int
    through: tuple[Path, ...]
    centering: str | None


def made(
    surface: NetworkSurface, wanted: Wanted, runs: Mapping[str, Recording | Checkpoints] | None = None
) -> Plane | Line:
    """The line or plane.

    Args:
        surface: what it lies in.
        wanted: what was typed.
        runs: for ``pca``: those of `runs_of`, of which the first makes the plane.

    Raises:
        InputError: if the checkpoints are too few or too many for it.
    """
    from lossatlas.chart import Line, Plane

    _refuse_unused(wanted)
    frame: type[Line] | type[Plane] = Line if wanted.line else Plane
    chosen: Any = {"seed": wanted.seed, "ignore": wanted.ignore}
    if wanted.normalization is not None:
        chosen["normalization"] = wanted.normalization
    match wanted.kind:
        case "random":
            return frame.random(surface, **chosen)
        case "between":
            others = _needed(wanted, [1] if wanted.line else [2], "b" if wanted.line else "b and c")
            return frame.between(surface, surface.theta, *others)
        case "pca":
            first = next(iter(runs.values())) if runs else None
            if first is None:
                _needed(wanted, range(1, 10_000), "the path, oldest first")
            return frame.pca(surface, first, centering=wanted.centering or "final", ignore=wanted.ignore)  # type: ignore[arg-type]
        case "hessian":
            return frame.hessian(surface, seed=wanted.seed)
        case "gradient":
            return frame.gradient(surface, **chosen)
        case "worst":
            return frame.worst(surface, **chosen)
        case _:
            return frame(surface, *(direction(spec, wanted.seed) for spec in split(wanted.kind)))


def drawn_kinds(line: bool) -> tuple[str, ...]:
    """The kinds that are drawn or searched in normalized directions."""
    return ("random", "worst") if line else ("random", "worst", "gradient")


def _refuse_unused(wanted: Wanted) -> None:
    """Refuse options that this kind of plane would leave aside."""
    for option, given, kinds in (
        ("--through", wanted.through, ("between", "pca")),
        ("--ignore", wanted.ignore, (*drawn_kinds(wanted.line), "pca")),
        ("--normalization", wanted.normalization, drawn_kinds(wanted.line)),
        ("--centering", wanted.centering, ("pca",)),
    ):
        if given and wanted.kind not in kinds:
            line = " --line" if wanted.line else ""
            raise InputError(
                f"got {option} with --plane {wanted.kind}{line}, on which it has no effect; expected it only with --plane "
                f"{', '.join(kinds)}. Leave it out."
            )


def direction(spec: str, seed: int, option: str = "--plane") -> Direction:
    """One direction: ``gradient``, ``random(seed=3)``, ``eigenvector(which=smallest)``, ``mine.py:Mine(index=2)``."""
    from lossatlas.chart.directions import Direction, catalog
    from lossatlas.cli._user import function

    name, bracket, rest = spec.partition("(")
    if bracket and not rest.endswith(")"):
        raise InputError(f"got {option} {spec!r}; expected name or name(setting=value, …). Close the bracket.")
    if ":" in name:
        kind: Any = function(name, option)
        if not (isinstance(kind, type) and issubclass(kind, Direction)):
            raise InputError(
                f"got {option} {name!r}; expected a class of the file that is a lossatlas.directions.Direction."
            )
    elif name in catalog:
        kind = catalog[name]
    else:
        raise UnknownNameError("direction", name, catalog)
    known = {f.name for f in fields(kind)} if is_dataclass(kind) else set()
    settings: dict[str, Any] = {"seed": seed} if "seed" in known else {}
    for item in split(rest.removesuffix(")")):
        key, equals, text = (part.strip() for part in item.partition("="))
        if not equals or key not in known:
            raise InputError(
                f"got {item!r} in {option} {spec!r}; expected setting=value, the settings of {name} being "
                f"{', '.join(sorted(known)) or 'none'}."
            )
        try:
            settings[key] = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            settings[key] = text
    try:
        made: Direction = kind(**settings)
        return made
    except TypeError as error:
        raise InputError(f"got {option} {spec!r}; expected all settings of {name} that it needs: {error}.") from error


def runs_of(kind: str, through: tuple[Path, ...], checkpoint: Path | None) -> dict[str, Recording | Checkpoints]:
    """The training runs among what was typed, by name; none for another kind of plane.

    A folder with several numbered checkpoints is a run, and so is a recording. Files, and folders of one checkpoint, are
    together one run, in the order in which they were typed, with the model's own checkpoint as its last point.

    Args:
        kind: of the plane.
        through: what was typed.
        checkpoint: of the model, if one was given.

    Raises:
        InputError: for runs and single checkpoints together.
    """
    from lossatlas.record import Checkpoints, Recording

    if kind != "pca" or not through:
        return {}
    found = {path: Recording.load(path) if _is_recording(path) else Checkpoints.load(path) for path in through}
    runs = {path: run for path, run in found.items() if isinstance(run, Recording) or len(run) > 1}
    if runs and len(runs) < len(found):
        raise InputError(
            f"got runs and single checkpoints together for --through: {', '.join(map(str, through[:4]))}; expected folders "
            "of runs (recorded, or with numbered checkpoints), or the checkpoints of one run."
        )
    if not runs:
        ends = (checkpoint,) if checkpoint is not None and not _same(checkpoint, through[-1]) else ()
        return {"checkpoints": Checkpoints.of([*through, *ends])}
    names = [path.name for path in runs]
    return {path.name if names.count(path.name) == 1 else str(path): run for path, run in runs.items()}


def at_the_end(model: Any, run: Recording | Checkpoints) -> str:
    """Give a model the weights and buffers of the last point of a run.

    Returns:
        What was done to make them fit; empty where nothing had to be done.
    """
    from lossatlas.record import Checkpoints
    from lossatlas.surface import load_checkpoint

    if isinstance(run, Checkpoints):
        return load_checkpoint(model, run.iterates[-1])
    run.check(model)
    run.require(len(run.kept))
    model.load_state_dict(run.state(run.rows[run.kept[-1]].step), strict=False)
    return ""


def _same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except (OSError, ValueError):
        return False


def _is_recording(path: Path) -> bool:
    from lossatlas.record import Recording

    try:
        return Recording.is_in(path)
    except (OSError, ValueError):
        return False  # no name of a file: said where checkpoints are read


def _needed(wanted: Wanted, counts: Sequence[int], what: str) -> list[Path]:
    if len(wanted.through) not in counts:
        least = counts[0]
        raise InputError(
            f"got {len(wanted.through)} --through for --plane {wanted.kind}{' --line' if wanted.line else ''}; expected "
            f"{'at least ' if len(counts) > 1 else ''}{least}: checkpoint files of {what}. The model's own weights "
            "(--checkpoint) are the first point of 'between', and the last of 'pca'."
        )
    return list(wanted.through)
