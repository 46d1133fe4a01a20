"""The two networks that are to be connected: read, matched to the surface by name, and refused where they do not fit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias, cast, final

import torch
from torch import Tensor

from lossatlas import _checks
from lossatlas._errors import CheckpointError, InputError
from lossatlas.surface import (
    NetworkSurface,
    PointLike,
    StateSurface,
    Surface,
    as_vector,
    need_surface,
    numbers_of,
    read_checkpoint,
    tensors_of,
)

Names: TypeAlias = Mapping[str, str] | Literal["guess"] | None


@final
@dataclass(frozen=True, eq=False)
class End:
    """One point to connect.

    Attributes:
        theta: (N,).
        statistics: (S,) its running statistics of batch norm; empty where there are none.
        sentence: what was done to make its names fit; empty for nothing.
    """

    theta: Tensor
    statistics: Tensor
    sentence: str = ""

    @property
    def state(self) -> Tensor:
        """Both, as a point of a `StateSurface`."""
        return torch.cat([self.theta, self.statistics])


def end(surface: Surface, given: PointLike, who: str, names: Names = None) -> End:
    """A point from a vector, a state dict, a module or a checkpoint file.

    Args:
        surface: what the point lies on.
        given: the point.
        who: ``a`` or ``b``, for messages.
        names: how the entries of a state dict are called, as the model's name to theirs; ``guess`` pairs them
            by a common prefix or by their order. Used on a only if it needs to be.

    Raises:
        InputError: for another architecture, other names, or numbers that are not finite.
    """
    need_surface(surface)
    _check_names(names)
    if not isinstance(surface, NetworkSurface):
        theta = as_vector(surface, given, who)
        return _finite(End(theta, theta[:0]), who)
    states = StateSurface(surface)
    assert states.start is not None
    if numbers_of(given, who) is not None:
        theta = as_vector(surface, given, who)
        return _finite(End(theta, states.start[states.parameters :]), who)
    named, sentence = _named(states, given, who, names)
    point = states.join(named)
    said = f"{who}: {sentence}" if sentence else ""
    return _finite(End(point[: states.parameters], point[states.parameters :], said), who)


def two_ends(surface: Surface, a: PointLike, b: PointLike, names: Names = None) -> tuple[End, End]:
    """Both ends, told to be different points.

    Raises:
        InputError: as `end`; or if both are the same point.
    """
    first, second = end(surface, a, "a", names), end(surface, b, "b", names)
    if torch.equal(first.state, second.state):
        raise InputError(
            "a and b are the same point: nothing lies between them. Expected two different networks; check that the "
            "second checkpoint is not a copy of the first."
        )
    return first, second


def _check_names(names: Names) -> None:
    pairs = names.items() if isinstance(names, Mapping) else ()
    plain = names is None or _checks.is_word(names, "guess")
    if not (plain if not isinstance(names, Mapping) else all(_is_text(*pair) for pair in pairs)):
        raise InputError(
            f"got names={_checks.shown(names)}; expected the model's names to those of b, as {{'0.weight': 'fc1.weight'}}, "
            "'guess' to pair them by a common prefix or by their order, or None."
        )


def _is_text(*given: object) -> bool:
    return all(isinstance(one, str) for one in given)


def _named(states: StateSurface, given: PointLike, who: str, names: Names) -> tuple[Mapping[str, Tensor], str]:
    """Tensors under the model's names, and what was done to find them."""
    assert states.start is not None
    own = states.split(states.start)
    mapped = isinstance(names, Mapping) and who == "b"
    try:
        found = None if mapped else states.base.fitted(given)
    except CheckpointError as error:
        refusal, found = error, None
    if found is not None:
        tensors, sentence = found.tensors, found.sentence
    else:
        raw = read_checkpoint(given) if isinstance(given, str | Path) else tensors_of(cast(Any, given))
        if names is None:
            raise _unlike(own, raw, who, refusal) from None
        tensors, sentence = _paired(own, raw, who, names), ""
    _refuse_other(states, own, tensors, who)
    return tensors, sentence


def _paired(
    own: Mapping[str, Tensor], given: Mapping[str, Tensor], who: str, names: Mapping[str, str] | str
) -> dict[str, Tensor]:
    pairs = _pairing(own, given) if isinstance(names, str) else dict(names)
    lost = [theirs for theirs in (pairs or {}).values() if theirs not in given]
    if pairs is None or lost:
        reason = f"it has no entry {lost[0]!r}" if lost else "its tensors have other shapes in any order that was tried"
        raise InputError(
            f"the mapping of names does not fit {who}: {reason}; expected the model's names to those of {who}, {len(own)} in "
            "all."
        )
    kept = {name: value for name, value in given.items() if name in own}
    return {**kept, **{ours: given[theirs] for ours, theirs in pairs.items()}}


def _unlike(own: Mapping[str, Tensor], given: Mapping[str, Tensor], who: str, refusal: CheckpointError) -> InputError:
    """Why an end does not fit, and whether pairing its tensors by their shapes would make it fit."""
    pairs = _pairing(own, given)
    moved = [f"{ours!r}: {theirs!r}" for ours, theirs in (pairs or {}).items() if ours != theirs]
    if not moved:
        return InputError(f"{who} is another architecture: {refusal} Connect networks of one architecture.")
    more = f", … {len(moved) - 3} more" if len(moved) > 3 else ""
    return InputError(
        f"{who} names its tensors differently, but tensors of the same shapes can be paired: {{{', '.join(moved[:3])}{more}}}. "
        "If they belong together like that, pass names='guess' (on the command line --guess-names), else names={the model's "
        "name: theirs}."
    )


def _refuse_other(states: StateSurface, own: Mapping[str, Tensor], given: Mapping[str, Tensor], who: str) -> None:
    known = {n for block in states.layout.blocks for n in (block.name, *block.aliases)}
    shapes = [
        f"{n} {tuple(given[n].shape)} instead of {tuple(own[n].shape)}"
        for n in own
        if n in given and given[n].shape != own[n].shape
    ]
    if shapes:
        raise InputError(
            f"{who} is another architecture: {', '.join(shapes[:3])}{', …' if len(shapes) > 3 else ''}. Connect "
            "networks of one architecture."
        )
    apart = [name for name in states.base.departures(given) if name not in known]
    if apart:
        raise InputError(
            f"{who} differs from the surface in {apart[0]!r}, which is no trainable parameter and is held constant on the "
            "way. Expected networks that share all that is frozen; unfreeze it in the model, or build the surface from a "
            "model that holds the same."
        )


def _pairing(own: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> dict[str, str] | None:
    """The model's names to the given ones, if tensors of equal shapes come in the same order.

    Tried are a common prefix, the order as it is, and the order of the sorted names, which is that of safetensors files.
    """
    if len(own) != len(given):
        return None
    ours, theirs = list(own), list(given)
    found = [dict(zip(ours, theirs, strict=True)), dict(zip(sorted(ours), sorted(theirs), strict=True))]
    for longer, shorter in ((theirs, ours), (ours, theirs)):
        cut = min(map(len, longer)) - min(map(len, shorter))
        stripped = {name[cut:]: name for name in longer} if cut > 0 else {}
        if stripped.keys() == set(shorter):
            pairs = {n: stripped[n] for n in ours} if shorter is ours else {stripped[m]: m for m in theirs}
            found.insert(0, pairs)
    for pairs in found:
        if all(own[n].shape == given[m].shape for n, m in pairs.items()):
            return pairs
    return None


def _finite(point: End, who: str) -> End:
    if not bool(point.state.isfinite().all()):
        raise InputError(
            f"{who} holds {int((~point.state.isfinite()).sum())} numbers that are not finite; expected finite weights. "
            "Check how it was trained and saved."
        )
    return point
