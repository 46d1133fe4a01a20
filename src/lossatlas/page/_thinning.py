"""A scene too large to be mailed, made smaller: positions of runs first, then fields and maps; and it says so."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from lossatlas.page import _arrays, _schema
from lossatlas.page._arrays import Array
from lossatlas.page._scene import Scene

# Bytes that mail takes, and what of them the page's program and its tables need.
LARGEST, PROGRAM = 5_000_000, 1_200_000
_OF_RUNS = ("positions", "losses", "seen", "counts", "off")
_ON_NODES = ("loss", "status")


def thinned(scene: Scene, largest: int = LARGEST - PROGRAM) -> Scene:
    """The same scene if a page of it is small enough, else one with fewer positions, and if need be fewer nodes."""
    total = _size(scene.arrays)
    if total <= largest:
        return scene
    made = Scene(copy.deepcopy(scene.head), list(scene.arrays))
    runs = _size(
        [
            made.arrays[ref]
            for ref in {run[name] for run in made.head["runs"] for name in _OF_RUNS if run[name] is not None}
        ]
    )
    _runs(made, _factor(runs, largest - (total - runs)))
    made = pruned(made)
    if (left := _size(made.arrays)) > largest:
        _points(made)
        made = pruned(made)
        left = _size(made.arrays)
    if left > largest:
        _fields(made, math.ceil(math.sqrt(left / largest)))
        made = pruned(made)
    if _size(made.arrays) > largest:
        made.head["notes"].append("the page is larger than 5 MB: give fewer results")
    return made


def pruned(scene: Scene) -> Scene:
    """Without arrays that nothing refers to."""
    places = list(_schema.references(scene.head))
    order = {ref: k for k, ref in enumerate(sorted({holder[key] for _, holder, key in places}))}
    arrays = [scene.arrays[ref] for ref in order]
    for holder, key in {(id(holder), str(key)): (holder, key) for _, holder, key in places}.values():
        holder[key] = order[holder[key]]
    return Scene(scene.head, arrays)


def _size(arrays: list[Array]) -> int:
    """Bytes of arrays inside a page. Large ones are judged by a part of them: packing takes its time."""
    return sum(_bytes(array) for array in arrays)


def _bytes(array: Array, most: int = 2**20) -> int:
    part = array if array.nbytes <= most else array.reshape(-1)[: most // array.itemsize]
    share = len(_arrays.packed(part)[1]) / max(1, part.nbytes)
    return int(4 / 3 * share * array.nbytes) + 80


def _factor(have: int, room: int) -> int:
    """Every how many are kept, so that what is there fits into the room; never so many that nothing is left."""
    return min(512, math.ceil(have / max(room, have // 512, 1)))


def _put(scene: Scene, holder: dict[str, Any], name: str, how: Callable[[Array], Array]) -> None:
    if holder.get(name) is not None:
        scene.arrays.append(how(scene.arrays[holder[name]]))
        holder[name] = len(scene.arrays) - 1


def _every(k: int) -> Callable[[Array], Array]:
    def kept(array: Array) -> Array:
        index = np.arange(0, len(array), k)
        # The end of a run is what its verdict is about.
        return np.ascontiguousarray(
            array[index if len(array) == 0 or index[-1] == len(array) - 1 else [*index, len(array) - 1]]
        )

    return kept


def _runs(scene: Scene, k: int) -> None:
    if k < 2 or not scene.head["runs"]:
        return
    for run in scene.head["runs"]:
        for name in _OF_RUNS:
            _put(scene, run, name, _every(k))
        # Thinned, it no longer is what the run drew.
        run["tape"], run["every"] = None, int(run.get("every", 1)) * k
    scene.head["notes"].append(f"positions were thinned to every {_ordinal(k)}, since the page would exceed 5 MB")


def _first(most: int) -> Callable[[Array], Array]:
    return lambda array: np.ascontiguousarray(array[:most])


def _at_most(most: int) -> Callable[[Array], Array]:
    return lambda array: np.ascontiguousarray(array[:: max(1, -(-len(array) // most))])


def _at(*index: Array) -> Callable[[Array], Array]:
    return lambda array: np.ascontiguousarray(array[np.ix_(*index)])


def _points(scene: Scene, most: int = 5000) -> None:
    """Clouds of points, evenly thinned."""
    for many in scene.head["many"]:
        _put(scene, many, "ends", _first(most))
    for surface in scene.head["surfaces"]:
        for name in ("evaluated", "cheap", "held_out"):
            if surface["field"] is not None:
                _put(scene, surface["field"], name, _at_most(most))
    for one in scene.head["basins"]:
        one["cost"] = None
    scene.head["notes"].append(f"at most {most:,} points of a cloud are shown, since the page would exceed 5 MB")


def _fields(scene: Scene, k: int) -> None:
    thinner = False
    for surface in scene.head["surfaces"]:
        field = surface["field"]
        if field is None:
            continue
        alpha, beta = scene.arrays[field["alpha"]], scene.arrays[field["beta"]]
        if min(len(alpha), len(beta)) < 5 * k:
            continue
        thinner = True
        # The center stays a node.
        i, j = (field["center"]["i"], field["center"]["j"]) if field["center"] else (0, 0)
        columns, rows = np.arange(i % k, len(alpha), k), np.arange(j % k, len(beta), k)
        _put(scene, field, "alpha", _at(columns))
        _put(scene, field, "beta", _at(rows))
        for name in _ON_NODES:
            _put(scene, field, name, _at(rows, columns))
        for name in field["channels"]:
            _put(scene, field["channels"], name, _at(rows, columns))
        if field["error"] is not None:
            _put(scene, field["error"], "array", _at(rows, columns))
        if field["center"]:
            field["center"] |= {"i": int(i // k), "j": int(j // k)}
        surface["box"] = {
            "lower": [float(alpha[columns[0]]), float(beta[rows[0]])],
            "upper": [float(alpha[columns[-1]]), float(beta[rows[-1]])],
        }
    if thinner:
        scene.head["notes"].append(
            f"fields show every {_ordinal(k)} node along each axis, since the page would exceed 5 MB"
        )


def _ordinal(k: int) -> str:
    return f"{k}{ {1: 'st', 2: 'nd', 3: 'rd'}.get(k % 10 if k % 100 // 10 != 1 else 0, 'th') }"
