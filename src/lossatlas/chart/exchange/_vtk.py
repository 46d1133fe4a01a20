"""ParaView's XML files, written here rather than by VTK: ``.vts`` for a field, ``.vtp`` for a field or a path, ``.vti`` for a volume.

Numbers are base64 of little-endian float64 behind their length, which is exact and, unlike text, may be NaN.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any, Literal
from xml.etree import ElementTree as ET

import numpy as np
from numpy.typing import NDArray

from lossatlas import _checks
from lossatlas._errors import InputError

Array = NDArray[np.float64]
Height = Literal["loss", "log", "flat"]
_TYPES = {"float64": "Float64", "int64": "Int64", "uint8": "UInt8"}
_HIDDEN = 2  # vtkDataSetAttributes::HIDDENPOINT


def heights(values: Array, height: Height, clamp: float | None, offset: float, factor: float) -> Array:
    """How high each point lies: its loss, ln(loss + offset), or 0; a loss above the clamp is put there first.

    A loss that is not finite has no height; it lies at the lowest one there is, and is hidden.
    """
    _checks.one_of("height", height, ("loss", "log", "flat"))
    z = values if clamp is None else np.where(values > clamp, clamp, values)
    if height == "flat":
        return np.zeros_like(z)
    if height == "log":
        low = float(np.min(z, initial=np.inf, where=np.isfinite(z)))
        if low + offset <= 0:
            raise InputError(
                f"got height='log' for losses down to {low:.4g} with offset={offset:g}; expected their sum above 0. Give "
                "a larger offset, or height='loss'."
            )
        z = np.log(z + offset)
    finite = np.isfinite(z)
    lowest = float(z[finite].min()) if finite.any() else 0.0
    return factor * np.where(finite, z, lowest)


def structured_grid(x: Array, y: Array, z: Array, fields: Mapping[str, NDArray[Any]]) -> bytes:
    """A surface z over a grid as a ``.vts`` file.

    Args:
        x: (nx,).
        y: (ny,).
        z: (ny, nx) heights.
        fields: point data (ny, nx) by name; the first one colors the surface.
    """
    extent = f"0 {len(x) - 1} 0 {len(y) - 1} 0 0"
    root = _root("StructuredGrid")
    grid = ET.SubElement(root, "StructuredGrid", WholeExtent=extent)
    piece = ET.SubElement(grid, "Piece", Extent=extent)
    _data(piece, fields)
    _points(piece, _grid_points(x, y, z))
    return _bytes(root)


def polygons(x: Array, y: Array, z: Array, fields: Mapping[str, NDArray[Any]]) -> bytes:
    """The same surface as quadrilaterals, a ``.vtp`` file."""
    corner = np.arange(len(x) * len(y), dtype=np.int64).reshape(len(y), len(x))
    cells = np.stack([corner[:-1, :-1], corner[:-1, 1:], corner[1:, 1:], corner[1:, :-1]], -1).reshape(-1, 4)
    return _poly(_grid_points(x, y, z), fields, "Polys", cells)


def polyline(points: Array, fields: Mapping[str, NDArray[Any]]) -> bytes:
    """A path (n, 3) as one line, a ``.vtp`` file."""
    return _poly(points, fields, "Lines", np.arange(len(points), dtype=np.int64)[None])


def image(axes: Sequence[Array], fields: Mapping[str, NDArray[Any]]) -> bytes:
    """A field of three coordinates at even distances as a ``.vti`` file.

    Args:
        axes: (nx,), (ny,) and (nz,) coordinates.
        fields: point data (nz, ny, nx) by name; the first one colors the volume.
    """
    extent = " ".join(f"0 {len(axis) - 1}" for axis in axes)
    origin = " ".join(repr(float(axis[0])) for axis in axes)
    spacing = " ".join(repr(float(axis[-1] - axis[0]) / (len(axis) - 1)) for axis in axes)
    root = _root("ImageData")
    grid = ET.SubElement(root, "ImageData", WholeExtent=extent, Origin=origin, Spacing=spacing)
    _data(ET.SubElement(grid, "Piece", Extent=extent), fields)
    return _bytes(root)


def hidden(values: Array) -> dict[str, NDArray[np.uint8]]:
    """The array by which ParaView leaves points out, where there are any to leave out."""
    holes = ~np.isfinite(values)
    return {"vtkGhostType": np.where(holes, _HIDDEN, 0).astype(np.uint8)} if holes.any() else {}


def _poly(points: Array, fields: Mapping[str, NDArray[Any]], kind: str, cells: NDArray[np.int64]) -> bytes:
    root = _root("PolyData")
    counts = {f"NumberOf{name}": "0" for name in ("Verts", "Lines", "Strips", "Polys")}
    counts |= {"NumberOfPoints": str(len(points)), f"NumberOf{kind}": str(len(cells))}
    piece = ET.SubElement(ET.SubElement(root, "PolyData"), "Piece", counts)
    _data(piece, fields)
    _points(piece, points)
    element = ET.SubElement(piece, kind)
    ends = np.arange(1, len(cells) + 1, dtype=np.int64) * cells.shape[1]
    _array(element, "connectivity", cells.reshape(-1))
    _array(element, "offsets", ends)
    return _bytes(root)


def _root(kind: str) -> ET.Element:
    return ET.Element("VTKFile", type=kind, version="1.0", byte_order="LittleEndian", header_type="UInt64")


def _grid_points(x: Array, y: Array, z: Array) -> Array:
    across, up = np.meshgrid(x, y)
    return np.stack([across, up, z], -1).reshape(-1, 3)


def _data(piece: ET.Element, fields: Mapping[str, NDArray[Any]]) -> None:
    element = ET.SubElement(piece, "PointData", Scalars=next(iter(fields), ""))
    for name, values in fields.items():
        _array(element, name, values.reshape(-1))


def _points(piece: ET.Element, points: Array) -> None:
    _array(ET.SubElement(piece, "Points"), "Points", points, components=3)


def _array(parent: ET.Element, name: str, values: NDArray[Any], components: int = 1) -> None:
    kind = _TYPES[values.dtype.name]
    element = ET.SubElement(
        parent, "DataArray", type=kind, Name=name, NumberOfComponents=str(components), format="binary"
    )
    raw = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<")).tobytes()
    element.text = base64.b64encode(len(raw).to_bytes(8, "little") + raw).decode("ascii")


def _bytes(root: ET.Element) -> bytes:
    ET.indent(root)
    return b'<?xml version="1.0"?>\n' + ET.tostring(root) + b"\n"
