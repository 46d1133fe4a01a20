"""Volumes in the formats of other programs: ParaView's .vti, CSV, xarray."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lossatlas import _checks, archive
from lossatlas._errors import InputError, OutputError
from lossatlas.chart.exchange import _vtk

if TYPE_CHECKING:
    from lossatlas.chart._volume import Volume

_NAMES = ("alpha", "beta", "gamma", "delta", "epsilon", "zeta", "kappa", "lambda")


def export_volume(volume: Volume, path: str | Path) -> Path:
    """Write a volume for another program, complete or not at all.

    Args:
        volume: of any number of directions; of three for ParaView.
        path: its ending decides: ``.vti``, an image of points for ParaView, or ``.csv``, one row per cell with every digit.

    Returns:
        The path written.

    Raises:
        OutputError: for another ending, or a place that cannot be written.
        InputError: for ``.vti`` of more than three directions.
    """
    path = _checks.path("path", path, error=OutputError)
    suffix = path.suffix.lower()
    if suffix == ".csv":
        return archive.write_bytes(path, _csv_bytes(volume))
    if suffix != ".vti":
        raise OutputError(f"a volume cannot be exported as {suffix or 'a file without ending'!r}; expected .vti, .csv.")
    if volume.dimension != 3:
        raise InputError(
            f"got a volume of {volume.dimension} directions for {path.name}; expected 3, since ParaView has no more. Export a "
            "slice of it, or write .csv."
        )
    fields: dict[str, NDArray[Any]] = {"loss": volume.loss, **volume.extras, **_vtk.hidden(volume.loss)}
    return archive.write_bytes(path, _vtk.image(volume.axes, fields))


def volume_to_xarray(volume: Volume) -> Any:
    """An `xarray.Dataset` with ``loss`` and each further channel over ``gamma``, ``beta`` and ``alpha``, the last first.

    Raises:
        InputError: if xarray is not installed.
    """
    try:
        import xarray
    except ImportError as error:
        raise InputError(
            "to_xarray needs xarray, which is not installed. Install the extra: pip install 'lossatlas[xarray]'."
        ) from error
    names = _NAMES[: volume.dimension]
    labeled = zip(names, volume.axes, volume.labels, strict=True)
    coords = {name: (name, axis, {"long_name": label}) for name, axis, label in labeled}
    channels = {"loss": volume.loss, **volume.extras}
    variables = {name: (names[::-1], channel) for name, channel in channels.items()}
    attributes = {
        "title": volume.title,
        "status": volume.status,
        "record": archive.dump(volume.record()).decode(),
    }
    return xarray.Dataset(variables, coords=coords, attrs=attributes)


def _csv_bytes(volume: Volume) -> bytes:
    """A column per coordinate, then the loss and each further channel; alpha runs fastest, every digit kept."""
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n")
    channels = {"loss": volume.loss, **volume.extras}
    writer.writerow([*_NAMES[: volume.dimension], *channels])
    grids = np.meshgrid(*reversed(volume.axes), indexing="ij")
    columns = [*(grid.ravel() for grid in reversed(grids)), *(channel.ravel() for channel in channels.values())]
    for row in zip(*(column.tolist() for column in columns), strict=True):
        writer.writerow([repr(value) for value in row])
    return buffer.getvalue().encode()
