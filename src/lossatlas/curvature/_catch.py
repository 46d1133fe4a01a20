"""What a search for critical points caught: points with their label, index and loss, and what it cost."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, final, overload

import numpy as np
from torch import Tensor

from lossatlas import _checks, archive
from lossatlas._errors import InputError
from lossatlas._said import several
from lossatlas.probe import Meter

if TYPE_CHECKING:
    from lossatlas.draw import IndexDisplay

Label = Literal["true", "gradient-flat", "unfinished"]
LABELS: tuple[Label, ...] = ("true", "gradient-flat", "unfinished")


@dataclass(frozen=True, eq=False)
class CriticalPoint(archive.Result):
    """One point, and whether it is critical.

    Attributes:
        point: θ, shape (N,), float64.
        loss: L(θ).
        label: ``true`` where ‖g‖ ≤ tolerance · ‖H‖ · max(1, ‖θ‖); else ``gradient-flat`` where the flatness is at most
            1e-3: the *norm* of the gradient is stationary, the loss is not; else ``unfinished``.
        gradient_norm: ‖g‖.
        hessian_norm: ‖H‖, the largest absolute eigenvalue.
        flatness: r = ‖Hg‖ / (‖H‖ ‖g‖): near 0 where the gradient lies in the kernel of the Hessian. 0 where H = 0.
        newton_residual: ‖Hp + g‖ / (‖H‖ ‖p‖ + ‖g‖) of the Newton step p that leaves out eigenvalues below 1e-3 ‖H‖: near 1
            where no Newton step makes the gradient smaller. NaN without the dense Hessian.
        index: how many eigenvalues lie below −epsilon; exact from the dense Hessian, else at least that many, and None without
            an epsilon.
        exact: whether the index comes from the dense Hessian.
        zeros: how many eigenvalues lie within epsilon of zero; None without the dense Hessian.
        epsilon: see index.
        eigenvalues: (N,) ascending, or None without the dense Hessian.
        start: which start the search came from.
        steps: of the search.
        status: why the search ended.
        queries: queries made by the search.
        certificate: queries made to label it.
    """

    KIND: ClassVar[str] = "critical-point"
    SAYS: ClassVar[tuple[str, ...]] = ("kind",)

    point: Tensor
    loss: float
    label: Label
    gradient_norm: float
    hessian_norm: float
    flatness: float
    newton_residual: float
    index: int | None
    exact: bool
    zeros: int | None
    epsilon: float | None
    eigenvalues: np.ndarray | None
    start: int = 0
    steps: int = 0
    status: str = "not searched for"
    queries: int = 0
    certificate: int = 0

    @property
    def share(self) -> float:
        """The index as a share of N; NaN where it is not exact."""
        return self.index / len(self.point) if self.exact and self.index is not None else math.nan

    @property
    def kind(self) -> str:
        """``minimum``, ``maximum``, ``saddle``, ``degenerate``, or ``unknown`` where the index is not exact."""
        if not self.exact or self.index is None:
            return "unknown"
        if self.zeros and self.index in (0, len(self.point) - self.zeros):
            return "degenerate"
        return {0: "minimum", len(self.point): "maximum"}.get(self.index, "saddle")

    @property
    def sentence(self) -> str:
        """What was found, in words."""
        n = len(self.point)
        numbers = f"loss {self.loss:.6g}, |g| = {self.gradient_norm:.2g}, r = {self.flatness:.2g}"
        what = {
            "true": "a critical point",
            "gradient-flat": "no critical point but a gradient-flat one",
            "unfinished": "no critical point",
        }[self.label]
        if self.exact:
            index = f"{self.index:,} of {n:,} eigenvalues below −{self.epsilon:.1e}"
            index += f", {self.zeros:,} too close to zero to have a sign" if self.zeros else ""
        elif self.index is not None:
            index = f"at least {self.index:,} of {n:,} eigenvalues below −{self.epsilon:.1e}"
        else:
            index = "index not computed"
        kind = f" ({self.kind})" if self.label == "true" and self.exact else ""
        return f"{what}{kind}: {numbers}; {index}"


@final
@dataclass(frozen=True, eq=False)
class CriticalPoints(archive.Result, Sequence[CriticalPoint]):
    """What a search for critical points caught, in the order of its starts.

    Attributes:
        points: one per start.
        starts: (B, N).
        meter: what was evaluated for it.
        provenance: surface, method, thresholds and versions, plain JSON values.
        status: ``complete``, or ``interrupted`` with the starts that were done.
    """

    KIND: ClassVar[str] = "critical-points"
    SAYS: ClassVar[tuple[str, ...]] = ("counts",)

    points: tuple[CriticalPoint, ...]
    starts: Tensor
    meter: Meter
    provenance: dict[str, Any]
    status: str = "complete"

    @overload
    def __getitem__(self, place: int) -> CriticalPoint: ...
    @overload
    def __getitem__(self, place: slice) -> tuple[CriticalPoint, ...]: ...
    def __getitem__(self, place: int | slice) -> CriticalPoint | tuple[CriticalPoint, ...]:
        return self.points[place]

    def __len__(self) -> int:
        return len(self.points)

    def __iter__(self) -> Iterator[CriticalPoint]:
        return iter(self.points)

    @property
    def counts(self) -> dict[str, int]:
        """How many catches have each label."""
        found = Counter(point.label for point in self.points)
        return {label: found[label] for label in LABELS}

    @property
    def true(self) -> tuple[CriticalPoint, ...]:
        """The catches that are critical points."""
        return tuple(point for point in self.points if point.label == "true")

    def distinct(self, distance: float = 1e-6) -> tuple[CriticalPoint, ...]:
        """The true critical points, each once.

        Args:
            distance: two catches closer than this times max(1, ‖θ‖) are one.

        Raises:
            InputError: for a distance below 0.
        """
        distance = _checks.number("distance", distance, least=0)
        kept: list[CriticalPoint] = []
        for one in self.true:
            near = distance * max(1.0, float(one.point.norm()))
            if all(float((one.point - other.point).norm()) > near for other in kept):
                kept.append(one)
        return tuple(kept)

    @property
    def sentence(self) -> str:
        """The catch in words."""
        counts = self.counts
        parts = ", ".join(f"{count} {label}" for label, count in counts.items())
        return f"{several(len(self), 'search', 'searches')}: {parts}; {several(len(self.distinct()), 'different true critical point')}"

    def reading(self) -> list[str]:
        """The catch, and the first points of it, in sentences."""
        return [self.sentence, *(point.sentence for point in self.points[:20])]

    def plot(self, ax: Any = None, *, labels: str | Sequence[str] = ("true",)) -> IndexDisplay:
        """Index against loss. Only true critical points are drawn unless further labels are requested.

        Args:
            ax: matplotlib axes, or None for a new figure.
            labels: which class or classes to draw; what is left out is counted in the small print.

        Raises:
            UnknownNameError: for another label.
            InputError: for something that is no name.
        """
        from lossatlas.draw import IndexDisplay

        labels = (labels,) if isinstance(labels, str) else labels
        if not isinstance(labels, Iterable):
            raise InputError(f"got labels={_checks.shown(labels)}; expected some of {', '.join(LABELS)}.")
        for label in (labels := tuple(labels)):
            _checks.one_of("label of critical points", label, LABELS)
        return IndexDisplay(
            np.array([p.loss for p in self]),
            np.array([p.share for p in self]),
            [p.label for p in self],
            shown=labels,
            title=str(self.provenance["surface"].get("surface", "")),
        ).plot(ax)
