"""Bytes of what a chart leaves on disk, from the layout of its files; pictures by what they took in the mean."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lossatlas.chart._kept_outputs import COORDS
from lossatlas.chart.planes._identity import unrepeatable
from lossatlas.chart.sampling._grid import Grid

# An empty ledger with its manifest; a row, and each further channel in it (SQLite's pages are filled to about nine tenths).
LEDGER, ROW, CHANNEL = 16384 + 1070, 67, 23
# A blob's header, and the coordinates of a node.
HEADER, COORDINATE = 240, 8
# The record of an exact chart; what a certificate of bisected cells or of outputs adds; what a line leaves out; what a
# card adds.
RECORD, OF_BISECTION, OF_OUTPUTS, LINE_LESS, CARD_RECORD = 4_600, 500, 1_850, 250, 10_500
# The header of the arrays, and of each further channel.
ARRAYS, FURTHER = 470, 85
# PNG files of the command line: networks of the digits, at the default size.
CONTOUR, LOG, RELIEF, SAMPLES, TOPOLOGY, ACCURACY, PROFILE, CARD = (
    134_000,
    115_000,
    268_000,
    150_000,
    137_000,
    128_000,
    60_000,
    327_000,
)
# What drawing the pictures of a plane, of a line, and of a card takes, in profiles of a line.
PLANE_PICTURES, LINE_PICTURES, CARD_PICTURE, ACCURACY_PICTURE, SAMPLES_PICTURE = 17.0, 1.0, 4.6, 4.2, 4.0
# Exact values per axis where a subset resolves the shape of the field.
ANCHORS = 5


def ledger(plane: Any, rows: int, channels: int, nodes: int) -> int:
    """A ledger: rows of losses with further channels, the plane if no seed makes it again, coordinates of nodes.

    Args:
        plane: what it is of.
        rows: losses.
        channels: beside each loss.
        nodes: whose outputs are kept; the outputs themselves are not counted.
    """
    parts = unrepeatable(plane)
    kept = sum(part.numel() * part.element_size() for part in parts.values()) + (HEADER if parts else 0)
    rounds = -(-nodes // 12)
    rowed, placed = rows * (ROW + CHANNEL * channels), nodes * COORDINATE * int(plane.frame.dimension)
    return LEDGER + rowed + kept + placed + rounds * HEADER


def saved(cells: Grid, channels: int, samples: int, *, data: bool, interpolated: bool) -> int:
    """`chart.json` and `chart.safetensors`.

    Args:
        cells: the grid.
        channels: beside the loss.
        samples: points that were evaluated.
        data: whether the loss is one of data.
        interpolated: whether there is a certificate to tell of.
    """
    # Loss, error and channels as float64, and a truth value for each cell.
    arrays = cells.cells * (8 * (2 + channels) + 1) + 8 * (sum(cells.shape) + samples * cells.dimension)
    record = RECORD - LINE_LESS * (cells.dimension == 1)
    if interpolated:
        record += OF_OUTPUTS if data else OF_BISECTION
    return arrays + ARRAYS + FURTHER * channels + record


def drawing(dimension: int, channels: Sequence[str], *, exact: bool, card: bool) -> float:
    """What drawing the pictures takes, in profiles of a line."""
    accuracy, carded = "accuracy" in channels, CARD_PICTURE * card
    if dimension == 1:
        return LINE_PICTURES * (1 + accuracy) + carded
    return PLANE_PICTURES + ACCURACY_PICTURE * accuracy + SAMPLES_PICTURE * (not exact) + carded


def pictures(dimension: int, channels: Sequence[str], *, exact: bool) -> int:
    """The pictures that the command line writes, the card's aside."""
    accuracy = ACCURACY if "accuracy" in channels else 0
    if dimension == 1:
        return PROFILE + (PROFILE if accuracy else 0)
    return CONTOUR + LOG + RELIEF + TOPOLOGY + accuracy + (0 if exact else SAMPLES)


def known(folder: Path) -> int:
    """How many points a ledger knows, read without touching it; 0 where there is none that can be read."""
    path, count = folder / "ledger.sqlite", 0
    if not path.is_file():
        return 0
    with (
        contextlib.suppress(sqlite3.Error),
        contextlib.closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro&immutable=1", uri=True)) as connection,
    ):
        count += int(
            connection.execute(
                "SELECT count(*) FROM points WHERE channel = 'exact' OR channel LIKE 'exact @ %'"
            ).fetchone()[0]
        )
    for blob in (folder / "blobs").glob("*.safetensors"):
        with contextlib.suppress(OSError, ValueError, KeyError, struct.error), blob.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(min(length, 2**20)))
            count += header[COORDS]["shape"][0] if COORDS in header else 0
    return count
