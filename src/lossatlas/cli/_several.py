"""`lossatlas curvature A B …`: the sharpness of several networks side by side, and what the gradients of each tell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lossatlas._said import several
from lossatlas.cli._log import message
from lossatlas.cli._network import Network, network
from lossatlas.cli._programs import told
from lossatlas.cli._say import say

if TYPE_CHECKING:
    from lossatlas.surface import NetworkSurface


def _surfaces_of(own: Network, paths: Sequence[Path]) -> dict[str, NetworkSurface]:
    """One surface for each checkpoint, of the same data, by short names.

    Args:
        own: what was typed about the network.
        paths: of the checkpoints.

    Raises:
        InputError: if one is given twice, or does not fit.
    """
    from lossatlas.cli._user import names_of

    made = {}
    for name, path in zip(names_of(tuple(paths)), paths, strict=True):
        one = replace(own, checkpoint=path)
        one.__dict__["examples"] = own.examples  # read once
        made[name] = network(one, one.module())
    return made


def _compared(
    surfaces: Mapping[str, NetworkSurface],
    measures: Sequence[tuple[Any, float | None]],
    gradients: Mapping[str, Any],
    out: Path | None,
    **settings: Any,
) -> None:
    """Measure, print and write one table for each kind of sharpness, and what is measured of each network by itself.

    Args:
        surfaces: the networks by name.
        measures: kinds of sharpness with their radius.
        gradients: functions of a surface by name: of the noise scale, of the Fisher diagonal, where they are wanted.
        out: the folder, or None.
        settings: of `sharpness`.
    """
    from lossatlas.curvature import sharpness
    from lossatlas.probe import Meter

    tables: list[Any] = []
    found: dict[str, dict[str, Any]] = {name: {} for name in surfaces}
    status = "unfinished"

    def record() -> dict[str, Any]:
        each = {name: {key: one.record() for key, one in own.items()} for name, own in found.items()}
        return {"kind": "curvature", "status": status, "tables": [one.record() for one in tables], "networks": each}

    told(record)
    first = next(iter(surfaces.values()))
    say(
        f"{several(len(surfaces), 'network')}: {several(first.dimension, 'parameter')}, {several(first.examples, 'example')}"
    )
    for kind, rho in measures:
        table = sharpness(dict(surfaces), kind, rho=rho, **settings)
        tables.append(table)
        if out is not None:
            folder = out / f"sharpness-{len(tables)}"
            table.save(folder)
            table.plot().save(folder / "sharpness.png")
        say(str(table.table()))
        say(f"- {table.sentence}")
    for key, measure in gradients.items():
        say(key.replace("_", " "))
        for name, surface in surfaces.items():
            found[name][key] = measure(surface)
            if out is not None:
                found[name][key].save(out / key.replace("_", "-") / name)
            say(f"- {name}: {found[name][key].sentence}")
    status = "complete"
    cost = sum((one.meter for one in [*tables, *(one for own in found.values() for one in own.values())]), Meter())
    say(f"cost: {cost.sentence}")
    if out is not None:
        from lossatlas import archive

        archive.write_json(out / "curvature.json", archive.headed("curvature", record()))
        message(f"written: {out}")


def compare_checkpoints(
    first: str | None, others: tuple[Path, ...], own: Network, measures: list[tuple[Any, float | None]],
    only: dict[str, Any], halves: int, seed: int, how: Any, out: Path | None, show: bool,
) -> None:  # fmt: skip
    """Several checkpoints side by side.

    Raises:
        InputError: for what belongs to a single one.
    """
    from click.core import ParameterSource

    from lossatlas._errors import InputError
    from lossatlas.cli._unused import refuse
    from lossatlas.cli._user import prepare

    paths = (Path(str(first)), *others)
    where = f"with the {len(paths)} checkpoints {', '.join(map(str, paths[:3]))}{' …' * (len(paths) > 3)}"
    if own.model is None or own.data is None:
        raise InputError(
            f"got several words, {', '.join(map(str, paths[:3]))}; expected one LANDSCAPE, or checkpoints A B … with both --model and "
            "--data."
        )
    refuse("at", "checkpoint", "search", "along", "lr", "mapped", "k", "probes", "steps", where=where)
    if "fisher_diagonal" not in only:
        refuse("relative", "limit", where=f"{where} without --fisher-diagonal")
    chosen = click.get_current_context().get_parameter_source("kinds") is ParameterSource.COMMANDLINE
    surfaces = _surfaces_of(own, paths)
    prepare(out)
    _compared(
        surfaces, measures if chosen or not only else [], only, out, halves=halves, seed=seed, how=how, progress=show
    )
