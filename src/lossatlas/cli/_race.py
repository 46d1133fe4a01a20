"""`lossatlas race`: optimizers on a landscape."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from lossatlas.optimize import Optimizer


@click.command("race", short_help="Race optimizers on a landscape, every query billed.")
@click.argument("landscape")
@click.option(
    "--optimizers",
    default="gd,momentum,annealing,restart",
    show_default=True,
    help="Names separated by commas; settings as name(rate=0.01).",
)
@click.option("--start", help="Coordinates separated by commas; the landscape's own start by default.")
@click.option("--steps", type=int, default=300, show_default=True, help="Answers per descent and run.")
@click.option("--budget", type=int, help="Queries per run, never exceeded.")
@click.option("--runs", type=int, default=1, show_default=True, help="Runs of each optimizer, all at once.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of all randomness.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for arrays, record and pictures.")
@click.option(
    "--json", "json_file", type=click.Path(path_type=Path), help="Write everything a program needs into this file."
)
def command(
    landscape: str,
    optimizers: str,
    start: str | None,
    steps: int,
    budget: int | None,
    runs: int,
    seed: int,
    out: Path | None,
    json_file: Path | None,
) -> None:
    """Race optimizers on a LANDSCAPE, side by side, every query billed.

    Landscapes: four-wells, deep-wells, regression, quadratic, rosenbrock, himmelblau, beale, rastrigin, ackley,
    monkey-saddle, plateau. Optimizers: gd, momentum, nesterov, rmsprop, adam, adamw, annealing, restart.

    \b
      lossatlas race four-wells --optimizers gd,momentum,annealing,restart --start -3.8,-3.5 \\
          --steps 300 --runs 1000 --seed 0 --json race.json --out DIR
      lossatlas race himmelblau --optimizers 'adam(rate=0.1),gd(rate=0.01)'

    The verdict names the well in whose basin a run ended. For annealing and restarts that is the best point they
    asked about, for the others the last. A restarted method gets the steps for each of its descents.
    """
    from rich.console import Console

    from lossatlas import archive
    from lossatlas.cli._user import numbers, prepare
    from lossatlas.race import race
    from lossatlas.surface import landscapes

    surface = landscapes.landscape(landscape)
    chosen = [_optimizer(spec) for spec in _split(optimizers)]
    point = numbers(start, "--start") if start is not None else None
    prepare(out, json_file)
    result = race(surface, chosen, start=point, steps=steps, budget=budget, runs=runs, seed=seed)
    Console(width=None if Console().is_terminal else 140).print(result.table())
    for verdict in result.verdicts.values():
        click.echo(f"- {verdict.sentence}")
    if out is not None:
        result.save(out)
        if surface.dimension == 2:
            result.plot().save(out / "paths.png")
        result.plot_losses().save(out / "losses.png")
        click.echo(f"written: {out}")
    if json_file is not None:
        archive.write_json(json_file, result.record())


def _split(text: str) -> list[str]:
    """Names at the top level of parentheses."""
    parts, depth, current = [], 0, ""
    for letter in text:
        depth += (letter == "(") - (letter == ")")
        if letter == "," and depth == 0:
            parts.append(current.strip())
            current = ""
        else:
            current += letter
    return [part for part in [*parts, current.strip()] if part]


def _optimizer(spec: str) -> Optimizer:
    from lossatlas._errors import InputError
    from lossatlas.optimize import optimizer

    name, bracket, rest = spec.partition("(")
    if bracket and not rest.endswith(")"):
        raise InputError(f"got the optimizer {spec!r}; expected name or name(setting=number, …).")
    settings = {}
    for item in filter(None, (part.strip() for part in rest.removesuffix(")").split(","))):
        key, equals, value = item.partition("=")
        try:
            number = float(value)
        except ValueError as error:
            raise InputError(f"got the setting {item!r} in {spec!r}; expected setting=number.") from error
        if not equals:
            raise InputError(f"got the setting {item!r} in {spec!r}; expected setting=number.")
        settings[key.strip()] = int(number) if value.strip().lstrip("-").isdigit() else number
    return optimizer(name.strip(), **settings)
