"""What describes a point or a direction of a surface, made a vector: whatever a function returns, others accept."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn

from lossatlas import _checks
from lossatlas._errors import CheckpointError, InputError
from lossatlas._layout import Layout
from lossatlas.surface.network._checkpoint import fit_checkpoint
from lossatlas.surface.network._files import open_weights
from lossatlas.surface.network._names import Expected, Fitted, Shape, fit

if TYPE_CHECKING:
    from lossatlas.surface._surface import Surface


@runtime_checkable
class HasPoint(Protocol):
    """A result that was found at one point, as `CriticalPoint` is."""

    @property
    def point(self) -> Tensor:
        """Where, (N,)."""
        ...


@runtime_checkable
class HasVectors(Protocol):
    """A result with directions, as `Eigenpairs` is."""

    @property
    def vectors(self) -> np.ndarray:
        """Rows (k, N)."""
        ...


PointLike: TypeAlias = (
    Tensor | np.ndarray | Sequence[float] | Mapping[str, Tensor] | nn.Module | str | Path | HasPoint | HasVectors
)
FORMS = "a vector (tensor, array or list), a state dict, a module, or the path of a checkpoint"


def numbers_of(given: object, what: str = "a point") -> Tensor | None:
    """A vector from tensors, arrays, lists of numbers and results that hold one; None for what has names.

    Raises:
        InputError: for something that is no point at all.
    """
    if isinstance(given, nn.Module | Mapping | str | Path):
        return None
    if isinstance(given, Tensor):
        return _plain(given, what)
    if isinstance(given, np.ndarray | np.generic):
        return _plain(_from_array(np.asarray(given), what), what)
    if isinstance(given, HasPoint):
        return _plain(given.point, what)
    if isinstance(given, HasVectors):
        rows = np.asarray(given.vectors)
        if len(rows) != 1:
            raise InputError(
                f"got {what} as {type(given).__name__} with {len(rows)} vectors; expected one. Give one row of its "
                "vectors, for example .vectors[0]."
            )
        return _plain(_from_array(rows[0], what), what)
    if isinstance(given, Sequence | range):
        try:
            return _plain(_from_array(np.asarray([_single(entry) for entry in given], dtype=np.float64), what), what)
        except (TypeError, ValueError):
            kinds = sorted({type(entry).__name__ for entry in given})
            raise InputError(
                f"got {what} as a {type(given).__name__} of {', '.join(kinds[:3])}; expected {FORMS}."
            ) from None
    raise InputError(f"got {what} of type {type(given).__name__}; expected {FORMS}.")


def fitted(
    given: PointLike, layout: Layout, known: Collection[str] | Mapping[str, Shape | None], name: str
) -> Fitted | None:
    """The tensors of what describes a point under a network's own names; None for a bare vector.

    Args:
        given: the point.
        layout: of θ.
        known: all names that a state dict may hold, with shapes where they are known.
        name: the surface's, for messages.

    Raises:
        CheckpointError: naming the keys that are missing, unexpected or of another shape.
    """
    if isinstance(given, str | Path):
        return fit_checkpoint(given, Expected.of_layout(layout, known, name))
    if isinstance(given, nn.Module | Mapping):
        source = f"the module {type(given).__name__}" if isinstance(given, nn.Module) else "the state dict"
        return fit(tensors_of(given), Expected.of_layout(layout, known, name), source)
    numbers_of(given)
    return None


def point_of(
    given: PointLike, layout: Layout, known: Collection[str] | Mapping[str, Shape | None], name: str
) -> Tensor:
    """The vector θ (N,) of what describes a point, which must be of this architecture and no other.

    Args:
        given: the point.
        layout: of θ.
        known: all names that a state dict may hold, with shapes where they are known.
        name: the surface's, for messages.

    Raises:
        CheckpointError: naming the keys that are missing, unexpected or of another shape.
        InputError: for a vector of another length, or something that is no point.
    """
    vector = numbers_of(given)
    if vector is None:
        found = fitted(given, layout, known, name)
        assert found is not None
        return layout.join(found.tensors).detach()
    return sized(vector, layout.dimension, name)


def vector_in(layout: Layout, given: PointLike, name: str) -> Tensor:
    """A point (N,) of a layout from what describes one, without the surface: what else it holds is left aside.

    Args:
        layout: of θ, with the names of its blocks.
        given: the point.
        name: of what it is read for, for messages.

    Raises:
        CheckpointError: naming the keys that are missing or of another shape.
        InputError: for a vector of another length, or something that is no point.
    """
    known: Collection[str] = ()
    if isinstance(given, str | Path):
        known = {name for part in open_weights(given).parts.values() for name in part}
    elif isinstance(given, nn.Module | Mapping):
        known = tensors_of(given)
    return point_of(given, layout, list(known), name)


def sized(vector: Tensor, dimension: int, name: str, what: str = "a vector") -> Tensor:
    """A vector (N,), also from one row (1, N).

    Raises:
        InputError: for another shape.
    """
    if vector.ndim == 2 and len(vector) == 1:
        vector = vector[0]
    if vector.shape != (dimension,):
        raise InputError(
            f"got {what} of shape {tuple(vector.shape)}; expected ({dimension},) numbers, one per parameter of {name}."
        )
    return vector.detach()


def tensors_of(given: nn.Module | Mapping[str, Any]) -> dict[str, Tensor]:
    """Tensors by name of a module or a state dict.

    Raises:
        CheckpointError: for names that are none, or a module that has not been run yet.
    """
    if isinstance(given, nn.Module):
        found = {**dict(given.named_parameters(remove_duplicate=False)), **dict(given.named_buffers())}
        lazy = [name for name, value in found.items() if nn.parameter.is_lazy(value)]
        if lazy:
            raise CheckpointError(
                f"the module {type(given).__name__} has parameters without a shape, among them {lazy[0]!r}; expected one "
                "that was run once, so that its lazy layers are made. Call it on one batch."
            )
        return found
    wrong = [name for name in given if not isinstance(name, str)]
    if wrong:
        raise CheckpointError(
            f"the state dict has a key of type {type(wrong[0]).__name__}; expected names of parameters. Give "
            "model.state_dict()."
        )
    tensors = {
        name: value if isinstance(value, Tensor) else torch.from_numpy(value)
        for name, value in given.items()
        if isinstance(value, Tensor) or (isinstance(value, np.ndarray) and value.dtype.kind in "fiub")
    }
    if not tensors:
        keys = ", ".join(map(repr, list(given)[:4]))
        raise CheckpointError(
            f"the state dict holds no tensors by name ({keys or 'it is empty'}); expected names to tensors. Give "
            "model.state_dict()."
        )
    return tensors


def factor(number: float, dtype: torch.dtype) -> float:
    """A number to multiply a tensor by: infinite if it is beyond the tensor's type, as in an array of that type."""
    return number if abs(number) <= torch.finfo(dtype).max else math.copysign(math.inf, number)


def need_surface(given: object, where: str = "") -> None:
    """Refuse what is no surface, with the way from what was given to one.

    Args:
        given: what stands in a surface's place.
        where: the function that was called, for the message.

    Raises:
        InputError: if it is none.
    """
    if hasattr(given, "own_point") and not isinstance(given, type):
        return
    name = getattr(given, "__name__", type(given).__name__).replace("<lambda>", "f")
    way = (
        "A module becomes one with a loss and data: lossatlas.NetworkSurface(model, loss, data)."
        if isinstance(given, nn.Module)
        else f"A Python function of a vector becomes one: lossatlas.Function({name}, box=[(-2, 2), (-1, 3)])."
        if callable(given) and not isinstance(given, type)
        else "A checkpoint is a point on one: load it into the model, and make lossatlas.NetworkSurface(model, loss, data)."
        if isinstance(given, str | Path | Mapping)
        else "For example lossatlas.landscapes.four_wells() or lossatlas.NetworkSurface(model, loss, data)."
    )
    what = (
        f"the function {name} as a surface"
        if "lossatlas.Function" in way
        else f"a surface of type {type(given).__name__}"
    )
    raise InputError(f"{where + ' ' if where else ''}got {what}; expected a Surface. {way}")


def as_point(
    surface: Surface, given: PointLike | None, what: str = "a point", *, error: type[InputError] = InputError
) -> Tensor:
    """A finite point (N,) of any surface, in its type and on its device; None for the surface's own.

    Args:
        surface: what it lies on.
        given: the point.
        what: it is called in messages.
        error: the class of the refusal of numbers that are not finite, and of vectors of another length.

    Raises:
        InputError: if it is none, is not finite, or the surface has no point of its own.
        CheckpointError: for names that do not fit.
    """
    need_surface(surface)
    if given is None:
        own = surface.own_point
        if own is None:
            raise error(
                f"{surface.name} declares no point of its own; expected {what} of {surface.dimension} numbers. Give one."
            )
        return own.detach().to(surface.device, surface.dtype)
    return finite(as_vector(surface, given, what, error=error), what, error=error)


def as_vector(surface: Surface, given: PointLike, what: str, *, error: type[InputError] = InputError) -> Tensor:
    """A point (N,) of any surface, finite or not, in its type and on its device."""
    need_surface(surface)
    try:
        numbers = numbers_of(given, what)
        if numbers is None:
            return surface.vector(given)
        return sized(numbers, surface.dimension, surface.name, what).to(surface.device, surface.dtype)
    except CheckpointError:
        raise
    except InputError as refusal:
        raise error(str(refusal)) from None


def as_direction(surface: Surface, given: PointLike, what: str = "a direction", *, zero: bool = False) -> Tensor:
    """A finite direction (N,) that is not zero, in float64 on the surface's device.

    Args:
        surface: what it lies in.
        given: what points describe points: a direction lies in the same space.
        what: it is called in messages.
        zero: whether it may be zero, as scalings may.

    Raises:
        InputError: if it is none, zero, or not finite.
        CheckpointError: for names that do not fit.
    """
    if given is None:
        raise InputError(f"got None as {what}; expected {FORMS}, with an entry per parameter of {surface.name}.")
    numbers = numbers_of(given, what)
    if numbers is None:
        numbers = surface.vector(given)
    found = finite(sized(numbers, surface.dimension, surface.name, what), what)
    if not zero and not bool(found.any()):
        raise InputError(f"got {what} that is zero; expected one that leads somewhere, along {surface.dimension} axes.")
    return found.to(surface.device, torch.float64)


def as_points(surface: Surface, given: object, what: str = "points", *, error: type[InputError] = InputError) -> Tensor:
    """Several points (B, N) of any surface, finite or not: rows of a tensor or an array, or a sequence of points.

    Raises:
        InputError: if there are none, or one of them does not fit.
    """
    need_surface(surface)
    if isinstance(given, Tensor | np.ndarray) and given.ndim == 2:
        rows = numbers_of(given, what)
        assert rows is not None
        if rows.shape[1] != surface.dimension or not len(rows):
            raise error(
                f"got {what} of shape {tuple(rows.shape)}; expected (B, {surface.dimension}) with at least one row, one "
                f"point of {surface.name} each."
            )
        return rows.to(surface.device, surface.dtype)
    single = isinstance(given, Tensor | np.ndarray | nn.Module | Mapping | str | Path | HasPoint | HasVectors)
    if single or (isinstance(given, Sequence) and given and _is_number(given[0])):
        return as_vector(surface, given, what, error=error)[None]  # type: ignore[arg-type]
    try:
        listed: list[Any] = list(given)  # type: ignore[call-overload]
    except TypeError:
        raise error(
            f"got {what} of type {type(given).__name__}; expected points, each {FORMS}: {surface.dimension} numbers."
        ) from None
    if not listed:
        raise error(f"got no {what}; expected at least one: {FORMS}.")
    return torch.stack(
        [as_vector(surface, one, f"{what}, number {k + 1},", error=error) for k, one in enumerate(listed)]
    )


def finite(found: Tensor, what: str, *, error: type[InputError] = InputError) -> Tensor:
    """The same, if all of its numbers are finite.

    Raises:
        InputError: if some are not.
    """
    bad = int((~torch.isfinite(found)).sum())
    if bad:
        raise error(
            f"got {what} with {bad:,} of {found.numel():,} numbers that are not finite; expected finite ones. Check where it "
            "comes from: a run may have diverged."
        )
    return found


def bounds_of(name: str, box: Any, *, fixed: bool = False) -> Tensor:
    """Lowest and highest value of each coordinate, (N, 2).

    Args:
        name: of the argument, for messages.
        box: (low, high) of each.
        fixed: whether both may be the same.

    Raises:
        InputError: if it is none.
    """
    try:
        bounds = torch.as_tensor(np.asarray(box, dtype=np.float64))
    except (TypeError, ValueError, OverflowError, RuntimeError):
        bounds = torch.zeros(0)
    if bounds.ndim != 2 or bounds.shape[1:] != (2,) or not len(bounds) or not bool(bounds.isfinite().all()):
        raise InputError(
            f"got {name}={_checks.shown(box)}; expected (low, high) of each coordinate, as in [(-2, 2), (-1, 3)]."
        )
    right = bounds[:, 0] <= bounds[:, 1] if fixed else bounds[:, 0] < bounds[:, 1]
    if not bool(right.all()):
        raise InputError(
            f"got {name}={_checks.shown(box)}; expected low {'≤' if fixed else '<'} high for each coordinate."
        )
    return bounds


def differing(given: Mapping[str, Tensor], ours: Mapping[str, Tensor]) -> tuple[str, ...]:
    """Names under which both hold real numbers, but not the same."""
    return tuple(
        name
        for name, value in ours.items()
        if name in given
        and value.is_floating_point()
        and not torch.equal(given[name].detach().to(value.device, value.dtype), value)
    )


def _plain(given: Tensor, what: str) -> Tensor:
    kind = (
        "a meta tensor, without numbers" if given.is_meta
        else "a quantized tensor" if given.is_quantized
        else "a nested tensor" if given.is_nested
        else f"a sparse tensor ({given.layout})" if given.layout is not torch.strided
        else f"a tensor of type {given.dtype}" if given.dtype == torch.bool or given.is_complex()
        else ""
    )  # fmt: skip
    if kind:
        raise InputError(f"got {what} as {kind}; expected real numbers, one per parameter.")
    found = given.detach()
    return found if found.is_floating_point() else found.double()


def _from_array(given: np.ndarray, what: str) -> Tensor:
    if given.dtype.kind not in "fiu":
        raise InputError(
            f"got {what} as an array of type {given.dtype}; expected an array of real numbers, one per parameter."
        )
    plain = given.dtype in (np.float32, np.float64, np.float16)
    return torch.from_numpy(np.array(given, dtype=given.dtype.newbyteorder("=") if plain else np.float64))


def _single(entry: Any) -> float:
    if not _is_number(entry):
        raise TypeError
    return float(entry)


def _is_number(entry: Any) -> bool:
    if isinstance(entry, bool | np.bool_ | str):
        return False
    return isinstance(entry, int | float | np.number) or (
        isinstance(entry, Tensor | np.ndarray) and entry.ndim == 0 and not str(entry.dtype).endswith("bool")
    )
