"""What a loss surface is: a fixed function L(θ) that can be probed for values, gradients and Hessian products."""

from __future__ import annotations

import abc
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from lossatlas._errors import InputError, PlaneError
from lossatlas._layout import Layout, Sample
from lossatlas.surface import _code, _library, _points
from lossatlas.surface._points import PointLike
from lossatlas.surface._threads import steadily

if TYPE_CHECKING:
    from lossatlas.surface._frame import Frame, Framed
    from lossatlas.surface._slice import Slice

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

    @property
    def dimension(self) -> int:
        """N, the number of parameters; the graph lives in N + 1 dimensions."""
        return self.layout.dimension

    @property
    def captions(self) -> tuple[str, ...]:
        """Those of the notes that belong under its pictures, since they change what is seen there."""
        return self.notes

    @property
    def rounding(self) -> float:
        """The spacing of numbers at 1 in the coarsest type that a value is computed in."""
        return torch.finfo(self.dtype).eps

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
        """The slice of this surface on a frame, line or plane: a surface of dimension 1 or 2.

        Args:
            framed: a `Frame`, or anything with a `frame` (a `Line` or `Plane`).
            steady: whether the bits of a reading must depend on its coordinates alone: see `reader`.

        Returns:
            A `Slice` s with s(c) = L(origin + c₁d₁ + c₂d₂), its gradients by the chain rule.

        Raises:
            PlaneError: if the frame was made on another architecture; its keys are named where they are known.
        """
        from lossatlas.surface._slice import Slice

        frame, layout = framed.frame, getattr(framed, "layout", None)
        differs = layout.difference(self.layout) if isinstance(layout, Layout) else ""
        if differs or frame.origin.numel() != self.dimension:
            raise PlaneError(
                f"got a frame in {frame.origin.numel()} dimensions on {self.name} with {self.dimension}"
                + (f"; the frame's parameters (first) and the surface's (second) differ: {differs}" if differs else "")
                + ". Expected one made on this architecture; make it anew on this surface."
            )
        return Slice(self, frame, steady=steady)


def joined(readings: Sequence[Reading]) -> Reading:
    """One reading of several, in order."""
    if len(readings) == 1:
        return readings[0]
    extras = {name: torch.cat([reading.extras[name] for reading in readings]) for name in readings[0].extras}
    return Reading(torch.cat([reading.values for reading in readings]), extras)
