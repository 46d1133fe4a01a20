"""What all displays share: a figure of their own or the caller's axes, and a file written whole or not at all.

A figure made here never passes through pyplot, so none is left open, no backend is chosen and no window appears.
"""

from __future__ import annotations

import io
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lossatlas import _checks, _drafts
from lossatlas._errors import InputError, OutputError
from lossatlas.draw._legible import make_legible
from lossatlas.draw._style import KINDS, PAGE, Figures, dots, now, shade

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = NDArray[np.float64]

# Of its height, what a figure keeps however narrow it gets.
FLATTER = 0.35
DPI = 150.0

# A date in the file would make two saves of the same picture differ.
_UNDATED: dict[str, dict[str, Any]] = {"png": {}, "pdf": {"CreationDate": None}, "svg": {"Date": None}}


@dataclass(eq=False)
class Display(ABC):
    """Arrays that can be drawn, as often and in as many styles as wanted.

    Attributes:
        ax_: the axes last drawn on; there after ``plot``.
        figure_: the figure they belong to.
    """

    ax_: Axes = field(init=False, repr=False)
    figure_: Figure = field(init=False, repr=False)

    @abstractmethod
    def plot(self, ax: Axes | None = None) -> Self:
        """Draw on ``ax``, or on a new figure when there is none; never shows it."""

    def render(self, kind: str = "png", *, dpi: float | None = None) -> bytes:
        """The picture as the bytes of a file; drawn first if it was not yet.

        Args:
            kind: ``"png"``, ``"pdf"`` or ``"svg"``.
            dpi: dots per inch, for the parts that are made of dots; 150 if neither this nor `figures` says otherwise.

        Returns:
            The content of the file.

        Raises:
            OutputError: a kind of file that is not among the three.
            InputError: for dots per inch outside of 30 to 2,400.
        """
        import matplotlib as mpl

        if not _checks.is_word(kind, *_UNDATED):
            raise OutputError(
                f"a picture cannot be written as {_checks.shown(kind)}; use one of {', '.join(_UNDATED)}."
            )
        across = dots(dpi, DPI)
        if not hasattr(self, "figure_"):
            self.plot()
        buffer = io.BytesIO()
        with mpl.rc_context({"svg.hashsalt": "lossatlas", "pdf.fonttype": 42}):
            make_legible(self.figure_)
            self.figure_.savefig(buffer, format=kind, dpi=across, metadata=_UNDATED[kind] | _made(kind, now()))
        return buffer.getvalue()

    def save(self, path: str | Path, dpi: float | None = None) -> Path:
        """Write the picture to a file, complete or not at all; folders on the way are made.

        Args:
            path: where to; its ending (png, pdf or svg) decides the kind, unless `figures` names kinds: then each is written.
            dpi: dots per inch, as in `render`.

        Returns:
            The path written, of several the first.

        Raises:
            OutputError: another ending, or a place that cannot be written.
        """
        path = _checks.path("path", path, error=OutputError)
        stem = path.with_suffix("") if path.suffix.lower().removeprefix(".") in KINDS else path
        targets = [stem.with_name(f"{stem.name}.{kind}") for kind in now().formats] or [path]
        for target in targets:
            self._write(target, dpi)
        return targets[0]

    def _write(self, target: Path, dpi: float | None) -> None:
        content = self.render(target.suffix.lower().removeprefix("."), dpi=dpi)
        try:
            if _checks.is_stream(target):
                target.write_bytes(content)
                return
            target.parent.mkdir(parents=True, exist_ok=True)
            with _drafts.draft(target) as (draft, _):
                draft.write_bytes(content)
                draft.replace(target)
        except OSError as error:
            raise OutputError(
                f"the picture cannot be written to {str(target)!r}: {error.strerror or error}. "
                "Give a path in a folder that can be written."
            ) from error

    def _repr_png_(self) -> bytes:
        return self.render("png", dpi=110)

    def _open(self, ax: Axes | None, height: float, *, projection: str | None = None, rigid: bool = False) -> Axes:
        """Remember the axes to draw on; a new figure when none are given, lower where it is narrow unless `rigid`."""
        need_axes(ax)
        if ax is None:
            from matplotlib.backends.backend_agg import FigureCanvasAgg
            from matplotlib.figure import Figure

            width = now().width
            height = height if rigid else height * min(1.0, FLATTER + (1 - FLATTER) * width / PAGE)
            figure = Figure(figsize=(width, height), layout="constrained", facecolor=shade(1.0))
            FigureCanvasAgg(figure)
            figure.get_layout_engine().set(w_pad=0.08, h_pad=0.08)  # type: ignore[union-attr, call-arg]
            ax = figure.add_subplot(projection=projection)
        self.ax_ = ax
        self.figure_ = ax.figure.figure
        return ax


def need_axes(ax: Any) -> None:
    """Refuse what is nowhere to draw.

    Raises:
        InputError: unless it is a matplotlib axes, or None.
    """
    if ax is not None:
        from matplotlib.axes import Axes

        _checks.instance("ax", ax, Axes, "matplotlib axes, or None for a new figure")


def _made(kind: str, by: Figures) -> dict[str, str]:
    """The command that made a picture, where each kind of file has a place for it."""
    if by.command is None:
        return {}
    return {{"png": "Description", "pdf": "Subject", "svg": "Description"}[kind]: by.command}


def array(name: str, values: ArrayLike, ndim: int = 1, shape: tuple[int, ...] | None = None) -> Array:
    """The values as float64 of the given rank or shape, or an InputError that names them."""
    try:
        result = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise InputError(f"{name} is not an array of numbers: {error}. Give a plain numeric array.") from error
    if shape is not None and result.shape != shape:
        raise InputError(f"{name} has shape {result.shape}, expected {shape}.")
    if result.ndim != ndim:
        raise InputError(f"{name} has {result.ndim} axes (shape {result.shape}), expected {ndim}.")
    return result
