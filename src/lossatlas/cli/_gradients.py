"""`lossatlas curvature --critical --noise-scale --fisher-diagonal`: what needs gradients and losses only."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lossatlas.cli._kept import Kept
from lossatlas.cli._log import message
from lossatlas.cli._programs import missed, tell, told
from lossatlas.cli._say import say

if TYPE_CHECKING:
    from torch import Tensor

    from lossatlas.surface import Surface

# Examples for the Fisher diagonal where nobody says otherwise; of a mini-batch for the noise scale.
SINGLE, BATCH = 1000, 64


def gradients(
    critical: bool, noise: bool, fisher: bool, relative: float, limit: int | None, batch_size: int | None, batches: int,
    seed: int, show: bool,
) -> dict[str, Any]:  # fmt: skip
    """What is wanted that needs no Hessian-vector products: functions of a surface, by the name in the record.

    Raises:
        InputError: if something else was typed beside, which would be left aside.
    """
    from lossatlas.cli._unused import refuse
    from lossatlas.curvature import critical_sharpness, fisher_diagonal, noise_scale

    only: dict[str, Any] = {}
    if critical:
        only["critical_sharpness"] = critical_sharpness
    if noise:

        def scale(surface: Any, **where: Any) -> Any:
            size = min(BATCH, max(1, surface.examples // 2)) if batch_size is None else batch_size
            return noise_scale(surface, batch_size=size, batches=batches, seed=seed, progress=show, **where)

        only["noise_scale"] = scale
    if fisher:
        most = SINGLE if limit is None else limit
        only["fisher_diagonal"] = partial(fisher_diagonal, relative=relative, limit=most, seed=seed, progress=show)
    if only:
        names = ("search", "along", "lr", "mapped", "k", "probes", "steps")
        typed = " and ".join(f"--{name.replace('_', '-').removesuffix('-sharpness')}" for name in only)
        refuse(
            *names, *(() if fisher else ("relative", "limit")), where=f"with {typed}, without Hessian-vector products"
        )
    return only


def measured_only(surface: Surface, point: Tensor | None, only: Mapping[str, Any], out: Path | None, seed: int) -> None:
    """Measure, print and write what needs no Hessian-vector products."""
    from lossatlas.cli._unused import refuse
    from lossatlas.probe import Probe
    from lossatlas.surface import as_point, tensor_digest

    refuse("kinds", where="without Hessian-vector products")
    probe = Probe(surface)
    settings = click.get_current_context().params
    of = {
        "surface": surface.fingerprint(),
        "point": tensor_digest(as_point(surface, point)),
        "how": settings["how"],
        "seed": seed,
    }
    kept = Kept(out, of, probe)
    told(kept.record)
    for name, measure in only.items():
        typed = {one: settings[one] for one in ("relative", "limit", "batch_size", "batches")}
        found = kept.one(name, typed, partial(measure, surface, point=point, probe=probe))
        tell(name.replace("_", " "), *found.reading())
    kept.finish()
    say(f"cost: {probe.meter.sentence}")
    if out is not None:
        for name, found in kept.done.items():
            found.plot().save(out / f"{name.partition('_')[0]}.png")
        message(f"written: {out}")
    diagonal = kept.done.get("fisher_diagonal")
    if diagonal is not None and diagonal.error > settings["relative"]:
        missed(
            f"the Fisher diagonal is known to {diagonal.error:.2g} of its length, not {settings['relative']:g}",
            "relative",
        )
    if list(only) == ["critical_sharpness"]:
        told(kept.done["critical_sharpness"].record)
