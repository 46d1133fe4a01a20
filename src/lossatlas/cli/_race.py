"""`lossatlas race`: optimizers on a landscape."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.console import Console

    from lossatlas.optimize import Optimizer
    from lossatlas.race import BasinMap, Race
    from lossatlas.surface import Surface


@click.command("race", short_help="Race optimizers on a landscape, every query billed.")
@click.argument("landscape", required=False)
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
@click.option("--tune", "trials", type=int, help="Tune every racer blindly first: this many billed trials each.")
@click.option(
    "--map", "map_points", type=int, metavar="POINTS", help="Also map the basins: where each of POINTS² starts ends."
)
@click.option(
    "--why", is_flag=True, help="For every racer with a rate that is stuck: the smallest fix that gets it out."
)
@click.option(
    "--bbob", metavar="fK", help="A BBOB function, f1 to f24, in place of LANDSCAPE (extra: lossatlas[bbob])."
)
@click.option("--dim", type=int, default=2, show_default=True, help="Dimension of the BBOB function.")
@click.option("--instance", type=int, default=1, show_default=True, help="Instance of the BBOB function.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for arrays, record and pictures.")
@click.option(
    "--json", "json_file", type=click.Path(path_type=Path), help="Write everything a program needs into this file."
)
def command(
    landscape: str | None,
    optimizers: str,
    start: str | None,
    steps: int,
    budget: int | None,
    runs: int,
    seed: int,
    trials: int | None,
    map_points: int | None,
    why: bool,
    bbob: str | None,
    dim: int,
    instance: int,
    out: Path | None,
    json_file: Path | None,
) -> None:
    """Race optimizers on a LANDSCAPE, side by side, every query billed.

    Landscapes: four-wells, deep-wells, regression, quadratic, rosenbrock, himmelblau, beale, rastrigin, ackley,
    monkey-saddle, plateau; or --bbob f1 … f24.

    Optimizers: gd, sgd, momentum, nesterov, rmsprop, adam, adamw, lion, sophia, shampoo, muon, lbfgs, hill-climbing,
    annealing, beam, genetic, evolution, de, cma, bayes, random, center; around another one: restart, best-so-far,
    gradient-noise, finite-differences, as in restart(inner=adam).

    \b
      lossatlas race four-wells --optimizers gd,momentum,annealing,restart --start -3.8,-3.5 \\
          --steps 300 --runs 1000 --seed 0 --json race.json --out DIR
      lossatlas race himmelblau --optimizers 'adam(rate=0.1),gd(rate=0.01)' --tune 25
      lossatlas race four-wells --optimizers adam --map 200 --why --out DIR
      lossatlas race --bbob f8 --dim 5 --optimizers cma,de,adam --budget 5000 --steps 5000

    The verdict names the well in whose basin a run ended, and how: at rest in a minimum, cycling at its own step
    length, on a plateau … For methods that wander that is the best point they asked about, for the others the last. A
    restarted method gets the steps for each of its descents. On BBOB, which has no gradients, racers that want some
    pay for finite differences.

    \b
    DIR then holds
      race.json, race.safetensors   records and trajectories (lossatlas.load)
      paths.png, losses.png         and with --map basins-NAME.png, with bayes surrogate.png
    """
    from rich.console import Console

    from lossatlas import archive
    from lossatlas._errors import InputError
    from lossatlas.cli._user import numbers, prepare
    from lossatlas.race import race, tune
    from lossatlas.surface import landscapes

    if (landscape is None) == (bbob is None):
        raise InputError(
            f"got LANDSCAPE {landscape!r} and --bbob {bbob!r}; expected exactly one of them, for example four-wells."
        )
    surface: Surface = landscapes.landscape(landscape) if landscape is not None else _bbob(str(bbob), dim, instance)
    chosen = {}
    for spec in _split(optimizers):
        one = _optimizer(spec)
        label, k = one.name, 2
        while label in chosen:
            label, k = f"{one.name}-{k}", k + 1
        chosen[label] = one if surface.gradients_known else _valued(one)
    point = numbers(start, "--start") if start is not None else None
    prepare(out, json_file)
    console = Console(width=None if Console().is_terminal else 170)
    record: dict[str, Any] = {}
    if trials is not None:
        for label, one in chosen.items():
            if not _searched(one):
                continue
            found = tune(one, surface, trials=trials, steps=steps, start=point, seed=seed)
            chosen[label] = found.best
            console.print(found.table())
            record.setdefault("tuning", {})[label] = {"best": found.best.settings(), "meter": found.meter.record()}
    result = race(surface, chosen, start=point, steps=steps, budget=budget, runs=runs, seed=seed)
    console.print(result.table())
    console.print(result.accounting())
    for verdict in result.verdicts.values():
        click.echo(f"- {verdict.sentence}")
    if why:
        record["why"] = _why(result, console, seed)
    maps = {}
    for label, one in chosen.items():
        if map_points is None:
            break
        if not one.batched:
            click.echo(f"- no map of {label}: it thinks run by run, and {map_points**2:,} starts would take hours")
            continue
        maps[label] = _map(surface, one, map_points, steps, seed, console)
    if maps:
        record["maps"] = {label: made.record() for label, made in maps.items()}
    if out is not None:
        result.save(out)
        if surface.dimension == 2:
            result.plot().save(out / "paths.png")
            for label, track in result.tracks.items():
                if track.optimizer.name == "bayes" and track.positions.shape[1] > 5:
                    result.plot_surrogate(label).save(out / "surrogate.png")
        result.plot_losses().save(out / "losses.png")
        for label, made in maps.items():
            made.save(out / f"basins-{label}")
            made.plot().save(out / f"basins-{label}.png")
        click.echo(f"written: {out}")
    if json_file is not None:
        archive.write_json(json_file, {**result.record(), **record})


def _bbob(name: str, dim: int, instance: int) -> Surface:
    from lossatlas._errors import InputError
    from lossatlas.surface import landscapes

    number = name.lower().removeprefix("f")
    if not number.isdigit():
        raise InputError(f"got --bbob {name!r}; expected f1 to f24, for example --bbob f8 --dim 5.")
    return landscapes.Bbob(int(number), dim, instance)


def _valued(one: Optimizer) -> Optimizer:
    """The racer as it can run without gradients."""
    from lossatlas.optimize import FiniteDifferences, Restart

    if isinstance(one, FiniteDifferences) or ("gradient" not in one.asks and not isinstance(one, Restart)):
        return one
    return FiniteDifferences(one)


def _searched(one: Optimizer) -> bool:
    from lossatlas.race import searched

    return bool(searched(one))


def _why(result: Race, console: Console, seed: int) -> dict[str, Any]:
    from lossatlas.race import counterfactual

    found = {}
    for label, track in result.tracks.items():
        if hasattr(track.optimizer, "rate") and result.verdicts[label].wells[0] != "global" and result.surface.wells:
            answer = counterfactual(result, label, seed=seed)
            console.print(answer.table())
            click.echo(f"- {answer.sentence}")
            found[label] = answer.record()
    return found


def _map(surface: Surface, one: Optimizer, points: int, steps: int, seed: int, console: Console) -> BasinMap:
    from lossatlas.race import basin_map

    made = basin_map(surface, one, points=points, steps=steps, seed=seed)
    console.print(made.table())
    return made


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
    from dataclasses import fields

    from lossatlas._errors import InputError
    from lossatlas.optimize import catalog, optimizer

    name, bracket, rest = spec.partition("(")
    if bracket and not rest.endswith(")"):
        raise InputError(f"got the optimizer {spec!r}; expected name or name(setting=number, …).")
    settings: dict[str, Any] = {}
    for item in _split(rest.removesuffix(")")):
        key, equals, value = (part.strip() for part in item.partition("="))
        if not equals:
            raise InputError(f"got the setting {item!r} in {spec!r}; expected setting=number.")
        if key == "inner":
            settings[key] = _optimizer(value)
            continue
        known = {f.name: f.default for f in fields(catalog[name.strip()])} if name.strip() in catalog else {}
        if isinstance(known.get(key), str):
            settings[key] = value
            continue
        try:
            number = float(value)
        except ValueError as error:
            raise InputError(f"got the setting {item!r} in {spec!r}; expected setting=number.") from error
        settings[key] = int(number) if value.lstrip("-").isdigit() else number
    return optimizer(name.strip(), **settings)
