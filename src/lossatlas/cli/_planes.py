"""Lines and planes from what was typed on the command line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lossatlas._errors import InputError

if TYPE_CHECKING:
    from lossatlas.chart import Line, Plane
    from lossatlas.record import Recording
    from lossatlas.surface import NetworkSurface

KINDS = ("random", "between", "pca", "hessian", "gradient", "worst")
NORMALIZATIONS = ("filter", "layer", "weight", "dfilter", "dlayer", "none", "li2018")


@dataclass(frozen=True)
class Wanted:
    """What was asked for.

    Attributes:
        kind: one of `KINDS`.
        line: a line instead of a plane.
        normalization: one of `NORMALIZATIONS`, or None for the kind's own.
        ignore: ``biasbn``, ``nothing``, or None for what the normalization says.
        seed: of random directions.
        through: further checkpoints, in order.
        centering: of principal components.
    """

    kind: str
    line: bool
    normalization: str | None
    ignore: str | None
    seed: int
    through: tuple[Path, ...]
    centering: str


def made(surface: NetworkSurface, wanted: Wanted) -> Plane | Line:
    """The line or plane.

    Raises:
        InputError: if the checkpoints are too few or too many for it.
    """
    from lossatlas.chart import Line, Plane

    chosen: dict[str, Any] = {"ignore": wanted.ignore}
    if wanted.normalization is not None:
        chosen["normalization"] = wanted.normalization
    _refuse_unused(wanted)
    frame: Any = Line if wanted.line else Plane
    match wanted.kind:
        case "random":
            return _framed(frame.random(surface, seed=wanted.seed, **chosen))
        case "between":
            others = _needed(wanted, [1] if wanted.line else [2], "b" if wanted.line else "b and c")
            return _framed(frame.between(surface, surface.theta, *others))
        case "pca":
            if wanted.line:
                raise InputError("got --plane pca with --line; expected a plane. Leave --line out.")
            if runs := recorded(wanted.kind, wanted.through):
                first = next(iter(runs.values()))
                return Plane.pca(surface, first, centering=wanted.centering, ignore=wanted.ignore)  # type: ignore[arg-type]
            iterates = [*_needed(wanted, range(2, 10_000), "the path, oldest first"), surface.theta]
            return Plane.pca(surface, iterates, centering=wanted.centering, ignore=wanted.ignore)  # type: ignore[arg-type]
        case "hessian":
            return _framed(frame.hessian(surface, seed=wanted.seed))
        case "gradient":
            return _framed(frame.gradient(surface, **_seeded(wanted, chosen)))
        case _:
            return _framed(frame.worst(surface, **chosen, seed=wanted.seed))


def _refuse_unused(wanted: Wanted) -> None:
    """Refuse options that this kind of plane would leave aside."""
    for option, given, kinds in (
        ("--through", wanted.through, ("between", "pca")),
        ("--ignore", wanted.ignore, ("random", "gradient", "worst", "pca")),
    ):
        if given and wanted.kind not in kinds:
            raise InputError(
                f"got {option} with --plane {wanted.kind}, on which it has no effect; expected it with --plane "
                f"{', '.join(kinds)} only. Leave it out."
            )


def recorded(kind: str, through: tuple[Path, ...]) -> dict[str, Recording]:
    """The recordings among what was typed, by the name of their folder; none where checkpoints were.

    Raises:
        InputError: for recordings and checkpoints together.
    """
    from lossatlas.record import Recording

    folders = [path for path in through if _is_recording(path)] if kind == "pca" else []
    if folders and len(folders) < len(through):
        raise InputError(
            f"got recordings and checkpoint files together for --through: {', '.join(map(str, through[:4]))}; expected "
            "folders of recorded runs, or checkpoints of one run."
        )
    names = [path.name if [other.name for other in folders].count(path.name) == 1 else str(path) for path in folders]
    return {name: Recording.load(path) for name, path in zip(names, folders, strict=True)}


def _is_recording(path: Path) -> bool:
    from lossatlas.record import Recording

    try:
        return Recording.is_in(path)
    except (OSError, ValueError):
        return False  # no name of a file: said where checkpoints are read


def _framed(found: Any) -> Plane | Line:
    result: Plane | Line = found
    return result


def _seeded(wanted: Wanted, chosen: dict[str, Any]) -> dict[str, Any]:
    return chosen if wanted.line else chosen | {"seed": wanted.seed}


def _needed(wanted: Wanted, counts: Sequence[int], what: str) -> list[Path]:
    if len(wanted.through) not in counts:
        least = counts[0]
        raise InputError(
            f"got {len(wanted.through)} --through for --plane {wanted.kind}{' --line' if wanted.line else ''}; expected "
            f"{'at least ' if len(counts) > 1 else ''}{least}: checkpoint files of {what}. The model's own weights "
            "(--checkpoint) are the first point of 'between', and the last of 'pca'."
        )
    return list(wanted.through)
