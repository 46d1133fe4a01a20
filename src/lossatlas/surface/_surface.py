"""What a loss surface is: a fixed function L(θ) that can be probed for values, gradients and Hessian products.

A slice of a surface is a surface: everything that works on two parameters works on a plane through a network.
"""

from __future__ import annotations

import abc
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, ClassVar

import torch
from torch import Tensor

from lossatlas import _checks, _said
from lossatlas._errors import InputError, PlaneError
from lossatlas._layout import Layout, Sample
from lossatlas.surface import _code, _library, _points
from lossatlas.surface._frame import Frame, Framed, Moving, inner
from lossatlas.surface._points import PointLike
from lossatlas.surface._threads import steadily

# Points θ of a slice that are held at once.
THETA_BYTES = 2**28
# Named, not imported: a surface knows no display, and the room that draws it lies on a higher floor.
_DRAWN_BY = "lossatlas.chart._whole"


@dataclass(frozen=True)
class Well:
    """A known minimum. For verdicts and tests; no algorithm ever sees it.

    Attributes:
        name: ``"global"`` for the deepest, else a name of its own.
        center: the declared center, shape (N,).
        depth: the declared depth below the surrounding ground, or the depth below zero where none is declared.
        minimum: the exact minimizer near the center, shape (N,).
        value: L at that minimizer.
    """

    name: str
    center: Tensor
    depth: float
    minimum: Tensor
    value: float


@dataclass(frozen=True)
class Reading:
    """What a surface says of some points: losses, and further channels that fell out of the same pass.

    Attributes:
        values: shape (B,), float64; L at each point. Non-finite entries are data.
        extras: further channels of shape (B,), for example ``accuracy``.
    """

    values: Tensor
    extras: dict[str, Tensor] = field(default_factory=dict)


class Surface(abc.ABC):
    """A loss surface: fixed, pure, and only ever probed.

    The graph of L over N parameters lives in N + 1 dimensions. Same θ, same answer.

    Attributes:
        name: for tables and pictures.
        layout: the blocks of θ, and its box if it has one.
        wells: the known minima, or an empty tuple.
        start: a declared starting point of shape (N,), or None.
        dtype: of θ; values come in float64 whatever it is.
        device: where θ is expected.
        examples: examples behind one full value; 0 where there are no data behind the surface.
        passes: how often they are read for it.
        gradients_known: whether the surface can answer `gradients`.
        steady: whether the bits of a reading depend on its coordinates alone: see `reader`.
        rows_alone: whether a row of a batch always has the bits of that row alone, however many cores there are.
        notes: what must be known of it, in sentences.
        proof_examples: examples read so far to prove that shortcuts equal the surface.
        made_by: how another process makes it again: steps of a `Recipe`; none where it is sent as it is.
    """

    name: str
    layout: Layout
    wells: tuple[Well, ...] = ()
    start: Tensor | None = None
    dtype: torch.dtype = torch.float64
    device: torch.device = torch.device("cpu")
    examples: int = 0
    passes: int = 1
    gradients_known: ClassVar[bool] = True
    steady: bool = False
    rows_alone: ClassVar[bool] = False
    notes: tuple[str, ...] = ()
    proof_examples: int = 0
    made_by: tuple[Mapping[str, Any], ...] = ()

    @property
    def dimension(self) -> int:
        """N, the number of parameters; the graph lives in N + 1 dimensions."""
        return self.layout.dimension

    @property
    def sentence(self) -> str:
        """What it is, in words."""
        examples = f", {self.examples:,} examples" if self.examples else ""
        wells = f", {len(self.wells)} known minima" if self.wells else ""
        return f"{self.name}, {self.dimension:,} parameters{examples}{wells}"

    def __str__(self) -> str:
        return "\n".join([self.sentence, *self.notes])

    def __repr__(self) -> str:
        return _said.line(self, self.sentence)

    def _repr_html_(self) -> str:
        return _said.block(str(self).splitlines())

    @property
    def captions(self) -> tuple[str, ...]:
        """Those of the notes that belong under its pictures, since they change what is seen there."""
        return self.notes

    @property
    def computed_in(self) -> torch.dtype:
        """The coarsest type that a value is computed in."""
        return self.dtype

    @property
    def rounding(self) -> float:
        """The spacing of numbers at 1 in that type."""
        return torch.finfo(self.computed_in).eps

    def moving(self, frame: Frame, most: int) -> Sequence[Moving]:
        """An even share of the parameters that move along a frame, in parts: what their rounding can be seen by.

        Args:
            frame: of this surface.
            most: how many, about.
        """
        stride = max(1, frame.origin.numel() // most)
        return [Moving(frame.origin[::stride], frame.directions[:, ::stride], self.computed_in)]

    @property
    def box(self) -> Tensor | None:
        """Bounds of shape (N, 2), or None."""
        return self.layout.box

    @property
    def own_point(self) -> Tensor | None:
        """The point that the surface came with, (N,): a network's own parameters, a landscape's start; or None."""
        return self.start

    def vector(self, given: PointLike) -> Tensor:
        """A point of this surface from what describes one.

        Args:
            given: a tensor, an array or a list of N numbers, or a result that was found at one point.

        Returns:
            (N,), in the surface's type and on its device.

        Raises:
            InputError: for another length, or something that is no point.
        """
        numbers = _points.numbers_of(given)
        if numbers is None:
            raise InputError(
                f"got a point of type {type(given).__name__} on {self.name}, whose coordinates have no names; expected a "
                f"vector of {self.dimension} numbers: a tensor, an array or a list."
            )
        return _points.sized(numbers, self.dimension, self.name).to(self.device, self.dtype)

    @abc.abstractmethod
    def read(self, points: Tensor) -> Reading:
        """Losses and further channels at points of shape (B, N)."""

    @abc.abstractmethod
    def gradients(self, points: Tensor, sample: Sample | None = None) -> tuple[Tensor, Tensor]:
        """Losses (B,) and gradients (B, N) at points (B, N), of the whole data or of a mini-batch."""

    @abc.abstractmethod
    def products(self, point: Tensor, vectors: Tensor) -> Tensor:
        """Hessian at one point (N,) times each of K vectors (K, N), shape (K, N)."""

    def exact_products(self, point: Tensor, vectors: Tensor) -> Tensor:
        """The same by second derivatives alone; `products` may fall back on differences of gradients.

        Raises:
            NotApplicableError: where there are no second derivatives.
        """
        return self.products(point, vectors)

    def sampled_products(self, point: Tensor, vectors: Tensor, sample: Sample) -> Tensor:
        """The same with the Hessian of one mini-batch, shape (K, N); of all there is where no data stand behind the surface.

        Args:
            point: (N,).
            vectors: (K, N).
            sample: with one seed.
        """
        return self.products(point, vectors)

    def reader(self, frame: Frame, *, steady: bool = False) -> Callable[[Tensor], Reading]:
        """How to read this surface at coordinates (B, k) on a frame; a surface may know a faster way than `read`.

        No more points θ are held at once than fill `THETA_BYTES`, one of them at least.

        Args:
            frame: where the coordinates are.
            steady: whether the bits of a reading must depend on its coordinates alone: not on the points that are
                read along with it, nor on the number of cores, nor on what was found to be faster.
        """
        if steady and not self.rows_alone:
            return lambda coords: joined(
                steadily(lambda _, one: self.read(frame.points(one)), torch.split(coords, 1), 1)
            )
        limit = max(1, THETA_BYTES // max(1, frame.origin.numel() * frame.origin.element_size()))
        return lambda coords: joined([self.read(frame.points(part)) for part in torch.split(coords, limit)])

    def cheaper(self, examples: int | None = None) -> Surface | None:
        """A surface close to this one that costs a small part of it, or None where there is none; never exact.

        Args:
            examples: how many examples it is to read; chosen by the surface if None.
        """
        return None

    def outputs(self, frame: Frame) -> Any:
        """What lies between the parameters and the loss on a frame, such as a network's outputs; None where nothing does."""
        return None

    def along(self, frame: Frame) -> tuple[Surface, Frame]:
        """What is really read along a frame: another surface where more than θ moves with the coordinates."""
        return self, frame

    def values(self, points: Tensor) -> Tensor:
        """Losses at points of shape (B, N), shape (B,), float64."""
        return self.read(points).values

    def plot(self, ax: Any = None, **settings: Any) -> Any:
        """Contours of a surface of two parameters, drawn as itself: axes w₁ and w₂, its known minima marked.

        Args:
            ax: matplotlib axes, or None for a new figure.
            settings: ``path``, (T, 2) iterates to draw on it or several by name; ``box``, ((left, right), (bottom, top)),
                the surface's own when left out; ``points`` per axis; ``scale`` of the levels, as in `Chart.plot`; and
                what ``FieldDisplay.plot`` takes.

        Returns:
            The display, drawn.

        Raises:
            InputError: for another number of parameters: a slice can be drawn, with `lossatlas.chart`.

        Example:
            >>> import lossatlas as la
            >>> la.landscapes.himmelblau().plot(points=31).ax_.get_xlabel()
            'w₁'
        """
        return import_module(_DRAWN_BY).plot_surface(self, ax, **settings)

    def plot_relief(self, ax: Any = None, **settings: Any) -> Any:
        """The same surface in three dimensions.

        Args:
            ax: matplotlib axes with ``projection="3d"``, or None for a new figure.
            settings: as in `plot`; and what ``ReliefDisplay.plot`` takes, for example ``clip=0.95``.

        Returns:
            The display, drawn.

        Raises:
            InputError: as `plot`.
        """
        return import_module(_DRAWN_BY).relief_of_surface(self, ax, **settings)

    def fingerprint(self) -> dict[str, Any]:
        """What identifies this surface in a result's provenance: plain JSON values.

        Of a class that is not part of this package the code of its methods enters, and what they read.
        """
        told: dict[str, Any] = {"surface": self.name, "dimension": self.dimension, "dtype": str(self.dtype)}
        if not _library.holds(type(self)):
            told["code"] = _code.read_code(self, entries=("read", "values", "gradients", "products")).digest
        return told

    def on(self, framed: Framed, *, steady: bool = False) -> Slice:
        """The slice of this surface on a frame, line, plane or space: a surface of as many dimensions.

        Args:
            framed: a `Frame`, or anything with a `frame` (a `Line`, `Plane` or `Space`).
            steady: whether the bits of a reading must depend on its coordinates alone: see `reader`.

        Returns:
            A `Slice` s with s(c) = L(origin + Σ cₖ dₖ), its gradients by the chain rule.

        Raises:
            PlaneError: if the frame was made on another architecture; its keys are named where they are known.
        """
        frame, layout = getattr(framed, "frame", None), getattr(framed, "layout", None)
        if not isinstance(frame, Frame):
            raise PlaneError(
                f"got {_checks.shown(framed)} as a frame of {self.name}; expected a Plane, a Line or a Frame. Make one with "
                "lossatlas.Plane.random(surface, seed=0)."
            )
        steady = _checks.flag("steady", steady)
        differs = layout.difference(self.layout) if isinstance(layout, Layout) else ""
        if differs or frame.origin.numel() != self.dimension:
            raise PlaneError(
                f"got a frame in {frame.origin.numel()} dimensions on {self.name} with {self.dimension}"
                + (f"; the frame's parameters (first) and the surface's (second) differ: {differs}" if differs else "")
                + ". Expected one made on this architecture; make it anew on this surface."
            )
        return Slice(self, frame, steady=steady)


class Slice(Surface):
    """L restricted to a frame: s(c) = L(θ₀ + Σ cₖ dₖ).

    Gradients are ∂s/∂cₖ = dₖ·∇L and Hessian products D H Dᵀv; coordinates are float64 whatever the base's dtype.

    Args:
        base: the surface that is sliced.
        frame: its origin and directions.
        steady: whether the bits of a reading must depend on its coordinates alone, as `Surface.reader` says it.
    """

    def __init__(self, base: Surface, frame: Frame, *, steady: bool = False) -> None:
        self.base = base
        origin, directions = (part.to(base.device, base.dtype) for part in (frame.origin, frame.directions))
        # A frame that is made is checked, which takes a while on a large one: not twice.
        fits = origin is frame.origin and directions is frame.directions
        self.frame = frame if fits else Frame(origin, directions, frame.statistics)
        self._under, self._lifted = base.along(self.frame)
        self.layout = Layout.vector(frame.dimension)
        kind = {1: "a line", 2: "a plane"}.get(frame.dimension, f"a space of {frame.dimension} directions")
        self.name = f"{kind} through {base.name}"
        self.start = torch.zeros(frame.dimension, dtype=torch.float64, device=base.device)
        self.device = base.device
        self.examples, self.passes = base.examples, base.passes
        self.steady = steady or base.rows_alone
        self._steady_reader = steady
        self._reader = self._base_reader(steady)

    def __getstate__(self) -> dict[str, Any]:
        # How a surface is read along a frame is found out again where the slice arrives: it may be any closure.
        return {name: part for name, part in vars(self).items() if name != "_reader"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._reader = self._base_reader(self._steady_reader)

    @property
    def notes(self) -> tuple[str, ...]:  # type: ignore[override]
        """Those of what is evaluated."""
        return self._under.notes

    @property
    def captions(self) -> tuple[str, ...]:
        """Those of what is evaluated."""
        return self._under.captions

    @property
    def proof_examples(self) -> int:  # type: ignore[override]
        """Those of what is evaluated."""
        return self._under.proof_examples

    def read(self, points: Tensor) -> Reading:
        """Losses and channels of the base surface at coordinates (B, k)."""
        return self._reader(self._check(points))

    def reader(self, frame: Frame, *, steady: bool = False) -> Callable[[Tensor], Reading]:
        """How to read a slice of this slice: through the base, which knows how to do that best."""
        read = self._base_reader(steady)
        return lambda coords: read(frame.points(coords))

    def _base_reader(self, steady: bool) -> Callable[[Tensor], Reading]:
        # A surface with a reader of its own need not know the word as long as nobody uses it.
        return self._under.reader(self._lifted, steady=True) if steady else self._under.reader(self._lifted)

    def own_outputs(self) -> Any:
        """What lies between coordinates and the loss, such as a network's outputs; None where nothing does."""
        return self._under.outputs(self._lifted)

    def gradients(self, points: Tensor, sample: Sample | None = None) -> tuple[Tensor, Tensor]:
        """Losses (B,) and gradients (B, k) by the chain rule."""
        values, gradients = self._under.gradients(self._lifted.points(self._check(points)), sample)
        return values, inner(gradients, self._lifted.directions)

    def products(self, point: Tensor, vectors: Tensor) -> Tensor:
        """D H Dᵀ times each of K vectors (K, k)."""
        directions = self._lifted.directions
        full = self._under.products(self._lifted.points(point[None])[0], vectors.to(directions.dtype) @ directions)
        return inner(full, directions)

    def exact_products(self, point: Tensor, vectors: Tensor) -> Tensor:
        """The same by second derivatives of the base surface alone."""
        directions = self._lifted.directions
        full = self._under.exact_products(
            self._lifted.points(point[None])[0], vectors.to(directions.dtype) @ directions
        )
        return inner(full, directions)

    def sampled_products(self, point: Tensor, vectors: Tensor, sample: Sample) -> Tensor:
        """D H Dᵀ of a mini-batch's Hessian times each of K vectors (K, k)."""
        directions = self._lifted.directions
        lifted, full = self._lifted.points(point[None])[0], vectors.to(directions.dtype) @ directions
        return inner(self._under.sampled_products(lifted, full, sample), directions)

    def _check(self, points: Tensor) -> Tensor:
        if points.ndim != 2 or points.shape[1] != self.dimension:
            raise InputError(
                f"got points of shape {tuple(points.shape)} on {self.name}; expected (B, {self.dimension}), one row of "
                "coordinates per point."
            )
        return points

    @property
    def computed_in(self) -> torch.dtype:
        """The base's."""
        return self.base.computed_in

    def moving(self, frame: Frame, most: int) -> Sequence[Moving]:
        """Those of the base that move along the frame."""
        some = self.base.moving(self.frame, most)
        found = []
        for one in some:
            rows, directions = one.directions.double(), frame.directions.to(one.directions.device, torch.float64)
            origin = one.origin.double() + frame.origin.to(directions) @ rows
            found.append(Moving(origin, directions @ rows, one.dtype))
        return found

    def fingerprint(self) -> dict[str, Any]:
        """The base's fingerprint, and which slice of it this is, to the bit."""
        told = {"surface": self.name, "dimension": self.dimension, "base": self.base.fingerprint()}
        return told | {"frame": self._frame_digests}

    @functools.cached_property
    def _frame_digests(self) -> dict[str, str]:
        return self.frame.digests()


def joined(readings: Sequence[Reading]) -> Reading:
    """One reading of several, in order."""
    if len(readings) == 1:
        return readings[0]
    extras = {name: torch.cat([reading.extras[name] for reading in readings]) for name in readings[0].extras}
    return Reading(torch.cat([reading.values for reading in readings]), extras)


def refined(surface: Surface, point: Tensor, *, tolerance: float = 1e-12, steps: int = 20) -> Tensor:
    """A minimum (N,) from a point near it: Newton's method, as long as the gradient shrinks."""
    gradient = surface.gradients(point[None])[1][0]
    for _ in range(steps):
        if float(gradient.norm()) <= tolerance:
            break
        hessian = surface.products(point, torch.eye(surface.dimension, dtype=torch.float64))
        step, singular = torch.linalg.solve_ex(hessian, gradient)
        trial = point - step
        if int(singular) or not bool(torch.isfinite(trial).all()):
            break
        new = surface.gradients(trial[None])[1][0]
        if not float(new.norm()) < float(gradient.norm()):
            break
        point, gradient = trial, new
    return point
