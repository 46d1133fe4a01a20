"""The result of connecting: a profile of losses along a path, its heights with intervals, and what it cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from lossatlas import _checks, archive
from lossatlas._errors import InputError
from lossatlas.archive import Status
from lossatlas.connect._barrier import DEFINITIONS, Barrier, Interval
from lossatlas.connect._curve import Curve
from lossatlas.connect._path_plane import chart_over, over_plane, plane_of
from lossatlas.connect._profile import Profile
from lossatlas.probe import Meter

if TYPE_CHECKING:
    from lossatlas.chart import Chart, Plane
    from lossatlas.draw import BarrierDisplay, PathsDisplay
    from lossatlas.surface import Surface

Array = NDArray[np.float64]

NAMES = {"line": "straight line", "bezier": "Bézier curve", "chain": "chain", "band": "elastic band"}
CRITIQUE = (
    "a straight line from the start can hide what training met: losses may stay high until close to the end (Frankle "
    "2020), monotone lines can be broken on purpose (Lucas et al. 2021), and their shape says little about test error "
    "(Vlaar & Frankle 2022)"
)


@dataclass(frozen=True, eq=False)
class Side(archive.Result):
    """What was read along a path on one set of data.

    Attributes:
        loss: (n,) at each t.
        error: (n,) share of examples that are wrong, or None where the loss is not a classification loss.
        low: (n,) lower end of the 95 % band of the loss over examples, or None. Paired: it is the uncertainty of the
            height above the ends' chord, and zero wide at the ends.
        high: (n,) upper end of it.
        barriers: the height by each definition.
        rise: largest rise of the loss from an earlier to a later t; 0 if it never rises.
        rise_interval: 95 % interval of it over examples, or None.
    """

    loss: Array
    error: Array | None
    low: Array | None
    high: Array | None
    barriers: dict[str, Barrier]
    rise: float
    rise_interval: Interval | None


@dataclass(frozen=True, eq=False)
class Path(archive.Result):
    """Losses along a path from a (t = 0) to b (t = 1).

    Attributes:
        curve: the path itself; ``curve.controls`` are its control points, the ends first and last.
        t: (n,) where it was read, increasing from 0 to 1.
        train: what was read on the surface's own data.
        test: the same on the test data, or None.
        definition: which definition of a barrier `barrier` and the picture use.
        slopes: (n,) dL/dt where they were requested, else None.
        profile_error: how far the filled-in profile may be off between the evaluated points.
        title: the surface's name.
        notes: what a reader must know, in sentences.
        history: of the training of a curve: ``step`` and ``loss`` (mini-batch losses, averaged over stretches).
        status: ``complete``, or ``not finite`` where a loss on the way or of the training was not; `notes` says where.
        meter: what was evaluated for it.
        provenance: surface, ends, settings and versions, plain JSON values.
    """

    KIND: ClassVar[str] = "path"
    SAYS: ClassVar[tuple[str, ...]] = ("kind", "barrier", "interval", "barriers", "length", "monotone")

    curve: Curve
    t: Array
    train: Side
    test: Side | None
    definition: str
    slopes: Array | None
    profile_error: float
    title: str
    notes: tuple[str, ...]
    history: dict[str, Array]
    status: Status
    meter: Meter
    provenance: dict[str, Any]
    breaks: Array = field(default_factory=lambda: np.array([0.0, 1.0]))

    @property
    def kind(self) -> str:
        """``line``, ``bezier``, ``chain`` or ``band``."""
        return self.curve.kind

    @property
    def name(self) -> str:
        """The kind in words, for pictures."""
        return NAMES[self.kind]

    @property
    def loss(self) -> Array:
        """(n,) training loss at each t."""
        return self.train.loss

    @property
    def error(self) -> Array | None:
        """(n,) training error at each t, or None where the loss is not a classification loss."""
        return self.train.error

    @property
    def barrier(self) -> float:
        """Height of the path on the training data by `definition`; infinite if a loss on the way is not finite."""
        return self.train.barriers[self.definition].value

    @property
    def interval(self) -> Interval | None:
        """95 % interval of it over examples, or None (see `notes` for the reason)."""
        return self.train.barriers[self.definition].interval

    @property
    def barriers(self) -> dict[str, dict[str, Barrier]]:
        """Every definition, for ``train`` and where there is one for ``test``."""
        return {name: side.barriers for name, side in self._sides().items()}

    @property
    def monotone(self) -> bool:
        """Whether the training loss never rises from one point that was read to the next."""
        return self.train.rise == 0.0

    @property
    def length(self) -> float:
        """Length of the path in units of θ."""
        return self.curve.length

    @property
    def arc(self) -> Array:
        """(n,) length from a to each t."""
        return self.curve.arc(self.t)

    def points(self, t: float | Array) -> Tensor:
        """Parameters on the path, (B, N) for t (B,)."""
        return self.curve.points(np.atleast_1d(_numbers(t)))

    def profile(self, t: Array, data: str = "train") -> Array:
        """The loss at any t, filled in between the points that were read.

        Args:
            t: from 0 to 1.
            data: ``train`` or ``test``.
        """
        slopes = self.slopes if _checks.text("data", data) == "train" else None
        return Profile(self.t, self._side(data).loss, slopes, self.breaks)(_numbers(t))

    def reading(self) -> list[str]:
        """What the record says of the path, in sentences."""
        says = []
        for name, side in self._sides().items():
            top = side.barriers[self.definition]
            span = f", 95 % interval {top.interval[0]:.4g} to {top.interval[1]:.4g}" if top.interval else ""
            says.append(
                f"{name}: loss {side.loss[0]:.4g} at a, {side.loss[-1]:.4g} at b; barrier {top.value:.4g} at t = "
                f"{top.t:.3g} ({self.definition}{span})"
            )
            if side.error is not None:
                says.append(
                    f"{name}: error {side.error[0]:.1%} at a, {side.error[-1]:.1%} at b, at most {side.error.max():.1%}"
                )
        if self.kind == "line":
            rise = self.train
            span = f" ({rise.rise_interval[0]:.4g} to {rise.rise_interval[1]:.4g})" if rise.rise_interval else ""
            says.append(
                "the training loss never rises from a to b"
                if self.monotone
                else f"the training loss rises by up to {rise.rise:.4g}{span} on the way from a to b"
            )
        else:
            straight = Curve("line", self.curve.controls[[0, -1]]).length
            says.append(f"length {self.length:.4g}, {self.length / straight:.3f} times the straight line")
        return [*says, f"barrier: {DEFINITIONS[self.definition]}", *self.notes]

    def caption(self) -> str:
        """The sentences for under a picture of the line from a start to its end, with what is held against it."""
        verdict = "never rises" if self.monotone else f"rises by up to {self.train.rise:.3g}"
        return f"The training loss {verdict} along the line; {CRITIQUE}"

    def plot(
        self,
        ax: Any = None,
        *,
        quantity: str = "loss",
        also: Mapping[str, Path] | None = None,
        label: str | None = None,
        arc: bool = False,
        note: str | None = None,
    ) -> BarrierDisplay:
        """The profile, with the band over examples and the barrier marked.

        Args:
            ax: matplotlib axes, or None for a new figure.
            quantity: ``loss`` or ``error``.
            also: further paths between the same ends, by name, in the same picture.
            label: of this path; its `name` by default.
            arc: draw over the share of the path's length instead of t.
            note: a sentence of small print.
        """
        from lossatlas.draw import BarrierDisplay

        _checks.one_of("quantity", quantity, ("loss", "error"))
        expected = "further paths by name, as {'aligned': path}"
        also = _checks.instance("also", {} if also is None else also, Mapping, expected)
        for path in also.values():
            _checks.instance("also", path, Path, expected)
        for what, text in (("label", label), ("note", note)):
            _checks.optional(_checks.instance, what, text, str, "a text")
        arc = _checks.flag("arc", arc)
        profiles = {}
        for name, path in {label or self.name: self, **also}.items():
            for data, side in path._sides().items():
                profiles[f"{name}, {data}"] = path._drawn(side, quantity, arc)
        # An error has its own definition, and a loss none of the error.
        own = self.definition if self.definition != "frankle" else "entezari"
        rows = self.train.barriers["frankle" if quantity == "error" else own]
        short = DEFINITIONS[rows.definition].rsplit("(", 1)[1].rstrip(")")
        mark = (f"{label or self.name}, train", rows.t, rows.value, f"barrier {rows.value:.3g}\n({short})")
        return BarrierDisplay(
            profiles,
            # Over the length of a curve the ends' chord is no straight line: the height is then not drawn.
            barrier=None if arc and self.kind != "line" else mark,
            chord=rows.definition == "entezari",
            xlabel="share of the path's length from a to b" if arc else "t, from a (0) to b (1)",
            ylabel=quantity,
            title=self.title,
            note=" · ".join([*([note] if note else []), f"barrier: {DEFINITIONS[rows.definition]}", *self.notes]),
        ).plot(ax)

    def plane(self, surface: Surface) -> Plane:
        """The plane through both ends and the control point that lies farthest from the line between them.

        Its first axis runs from a (0) to b (1), the second is perpendicular and as long.

        Args:
            surface: what the path lies on.

        Raises:
            InputError: for a straight line, which spans no plane.
        """
        return plane_of(self.curve, surface)

    def chart(self, surface: Surface, *, points: int = 31, margin: float = 0.25) -> Chart:
        """The `plane` of the path charted, large enough to hold it; ``.card()`` says what it can and cannot show.

        Where the path was read with re-estimated batch-norm statistics, so is the chart.

        Args:
            surface: what the path lies on.
            points: cells per axis.
            margin: how far to go beyond the path, as a share of its extent.
        """
        return chart_over(self.curve, surface, self.provenance.get("statistics"), points=points, margin=margin)[1]

    def plot_plane(self, surface: Surface, ax: Any = None, *, points: int = 31, margin: float = 0.25) -> PathsDisplay:
        """The path over its `plane`, which is charted for it; with the residual of what does not lie in it.

        Args:
            surface: what the path lies on.
            ax: matplotlib axes, or None for a new figure.
            points: cells per axis of the chart.
            margin: how far to go beyond the path, as a share of its extent.
        """
        return over_plane(
            self.curve,
            surface,
            self.provenance.get("statistics"),
            title=self.title,
            name=self.name,
            points=points,
            margin=margin,
        ).plot(ax)

    def _sides(self) -> dict[str, Side]:
        return {"train": self.train, **({} if self.test is None else {"test": self.test})}

    def _side(self, data: str) -> Side:
        sides = self._sides()
        if data not in sides:
            raise InputError(f"got data={data!r}; this path has {', '.join(sides)}. Pass test=… to connect for both.")
        return sides[data]

    def _drawn(self, side: Side, quantity: str, arc: bool) -> dict[str, Array]:
        y = side.loss if quantity == "loss" else side.error
        if y is None:
            raise InputError("this path has no error: its loss is not a known classification loss on class numbers.")
        fine = np.unique(np.concatenate([np.linspace(0, 1, 401), self.t]))
        slopes = self.slopes if quantity == "loss" and side is self.train else None
        # An error counts examples and jumps: it is joined by straight lines.
        filled = np.interp(fine, self.t, y) if quantity == "error" else Profile(self.t, y, slopes, self.breaks)(fine)
        found = {"t": fine, "y": filled, "evaluated": self.t, "read": y}
        if quantity == "loss" and side.low is not None and side.high is not None:
            for name, edge in (("low", side.low), ("high", side.high)):
                found[name] = filled + np.interp(fine, self.t, edge - y)
        if arc:
            found["t"], found["evaluated"] = (self.curve.arc(found[k]) / self.length for k in ("t", "evaluated"))
        return found


def _numbers(t: Any) -> Array:
    try:
        found = np.asarray(t.detach().cpu() if isinstance(t, Tensor) else t, dtype=np.float64)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        found = np.array(np.nan)
    if found.ndim > 1 or not np.isfinite(found).all():
        raise InputError(f"got t={_checks.shown(t)}; expected numbers in a row, 0 for a and 1 for b.")
    return found
