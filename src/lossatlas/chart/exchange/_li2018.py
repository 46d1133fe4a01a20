"""Surface files of Li et al. 2018, ``.h5``, which most published loss surfaces are kept in.

Such a file holds ``xcoordinates`` (nx), ``ycoordinates`` (ny; none for a line), ``train_loss`` and ``train_acc``
(percent), perhaps ``test_loss`` and ``test_acc``. The two arrays are declared of shape (nx, ny), but their entries in
memory run over the grid with x fastest, as an (ny, nx) array's do: entry k belongs to x[k mod nx], y[k div nx]. For a
square grid both readings are the same; for any other only the order of the entries is right, so that is what is read
and written here. A cell that was not evaluated is −1 in loss and accuracy.
"""

from __future__ import annotations

import io
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lossatlas import _checks, archive
from lossatlas._errors import InputError, OutputError
from lossatlas.archive import Status
from lossatlas.chart._chart import Chart
from lossatlas.chart.planes._normalize import UNITS
from lossatlas.chart.sampling._certificate import Certificate, breadth
from lossatlas.probe import Meter

Array = NDArray[np.float64]
_LOSSES = {"loss": "train_loss", "test_loss": "test_loss"}
_SHARES = {"accuracy": "train_acc", "test_accuracy": "test_acc"}
UNKNOWN = -1.0


def read_li2018(path: str | Path) -> Chart:
    """The chart in a surface file of Li et al. 2018.

    Args:
        path: of the ``.h5`` file. See this module for the order of its axes.

    Returns:
        The chart: accuracies as shares, cells that were not evaluated NaN and counted in its status.

    Raises:
        InputError: if h5py is not installed.
        OutputError: if the file cannot be read, or holds no surface.
    """
    path = _checks.path("path", path, where="read_li2018", error=OutputError)
    h5py = _h5py()
    archive_bytes = _bytes(path)
    try:
        with h5py.File(io.BytesIO(archive_bytes), "r") as file:
            held = {name: item[()] for name, item in file.items() if isinstance(item, h5py.Dataset)}
    except (OSError, RuntimeError, KeyError) as error:
        raise OutputError(
            f"{str(path)!r} is not a readable HDF5 file ({error}); expected a surface file of Li et al. 2018. Check that it "
            "was copied whole."
        ) from error
    x, y = (_axis(held, name) for name in ("xcoordinates", "ycoordinates"))
    if x is None or "train_loss" not in held:
        raise OutputError(
            f"{str(path)!r} holds {', '.join(sorted(held)) or 'nothing'}; expected xcoordinates, perhaps ycoordinates, "
            "and train_loss. A file of directions or of a trajectory does not hold one."
        )
    shape = (1 if y is None else len(y), len(x))
    channels: dict[str, Array] = {}
    for ours, theirs in (_LOSSES | _SHARES).items():
        if theirs in held:
            channels[ours] = _field(path, theirs, np.asarray(held[theirs], dtype=np.float64), shape)
    missing = _missing(channels)
    for name, values in channels.items():
        values[missing] = np.nan
        if name in _SHARES:
            values /= 100
    loss = channels.pop("loss")
    directions = _text(held.get("dir_file"))
    lost = int(missing.sum())
    return Chart(
        alpha=x,
        beta=np.zeros(1) if y is None else y,
        loss=loss,
        extras=channels,
        labels=_labels(directions, y is not None),
        title=path.stem,
        certificate=Certificate(range=breadth(loss)),
        meter=Meter(),
        provenance={
            "source": {"file": path.name, "format": "Li et al. 2018", "directions": directions},
            "notes": [
                "read from a surface file of Li et al. 2018: its cells were evaluated there, not here",
                *([f"{lost:,} of {loss.size:,} cells were not evaluated"] if lost else []),
            ],
        },
        status=Status.INTERRUPTED if lost else Status.COMPLETE,
        exactly=~missing,
    )


def li2018_bytes(chart: Chart) -> bytes:
    """A chart as a surface file of Li et al. 2018; see this module for the order of its axes.

    Raises:
        InputError: if h5py is not installed.
    """
    h5py = _h5py()
    buffer = io.BytesIO()
    shape = (len(chart.alpha),) if chart.is_line else (len(chart.alpha), len(chart.beta))
    with h5py.File(buffer, "w") as file:
        file["dir_file"] = str(chart.provenance.get("source", {}).get("directions") or chart.title)
        file["xcoordinates"] = chart.alpha
        if not chart.is_line:
            file["ycoordinates"] = chart.beta
        for ours, theirs in (_LOSSES | _SHARES).items():
            values = chart.loss if ours == "loss" else chart.extras.get(ours)
            if values is not None:
                # x runs fastest in memory, whatever the declared shape.
                file[theirs] = (values * (100 if ours in _SHARES else 1)).reshape(shape)
    return buffer.getvalue()


def _missing(channels: dict[str, Array]) -> NDArray[np.bool_]:
    """Placeholders: −1 in the loss and, where there is one, in the accuracy."""
    found = channels["loss"] == UNKNOWN
    if "accuracy" in channels:
        found = found & (channels["accuracy"] == UNKNOWN)
    return np.asarray(found)


def _field(path: Path, name: str, values: Array, shape: tuple[int, int]) -> Array:
    if values.size != shape[0] * shape[1]:
        raise OutputError(
            f"{name} in {str(path)!r} has shape {values.shape}; expected {shape[1]}×{shape[0]} entries, one for each "
            "pair of coordinates. The file is damaged, or its coordinates belong to another surface."
        )
    return values.reshape(shape).copy()


def _axis(held: dict[str, Any], name: str) -> Array | None:
    return np.asarray(held[name], dtype=np.float64).reshape(-1) if name in held else None


def _text(value: Any) -> str | None:
    if value is None:
        return None
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _labels(directions: str | None, plane: bool) -> tuple[str, ...]:
    """Units are known only from the name of the file of directions, where their program notes them."""
    names = []
    for axis, letter in zip("xy" if plane else "x", "αβ" if plane else "t", strict=True):
        found = re.search(rf"{axis}norm=([a-z]+)", directions or "")
        unit = UNITS.get(found[1]) if found else None
        names.append(f"{letter}, {axis} direction ({f'{unit}, as Li et al. 2018' if unit else 'as in the file'})")
    return tuple(names)


def _bytes(path: Path) -> bytes:
    try:
        return archive.content_of(path)
    except OSError as error:
        raise OutputError(f"cannot read {str(path)!r}: {error}. Expected a surface file of Li et al. 2018.") from error


def _h5py() -> ModuleType:
    try:
        import h5py
    except ImportError as error:
        raise InputError(
            "reading and writing .h5 needs h5py, which is not installed. Install the extra: pip install 'lossatlas[h5]'."
        ) from error
    found: ModuleType = h5py
    return found
