"""`lossatlas race`: optimizers on a landscape."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from lossatlas.cli._animate import option as animate_option
from lossatlas.cli._landscape import landscape_of, landscape_options
from lossatlas.cli._log import message
from lossatlas.cli._network import Network, network_options
from lossatlas.cli._pictures import figure_options
from lossatlas.cli._programs import program_options, told
from lossatlas.cli._say import say, screen
from lossatlas.cli._workers import engine_options

if TYPE_CHECKING:
    from rich.console import Console

    from lossatlas.optimize import Optimizer
    from lossatlas.race import BasinMap, Race, Sweep
    from lossatlas.surface import Surface


OPTIMIZERS = "gd,momentum,annealing,restart"
# On deep wells five gradient methods end in one trap: the point of that landscape.
LINEUPS = {"deep-wells": "gd,rmsprop,nesterov,adam,adamw,annealing,restart"}
# Enough to tell how a random method usually ends, and a second or two.
RUNS = 100


class _Listing(click.Command):
    """A command whose help names what the catalogs hold."""

    @property
    def help(self) -> str | None:
        """The text, with the names of landscapes and optimizers."""
        if self._text is None or "{landscapes}" not in self._text:
            return self._text
        from lossatlas.optimize import Wrapper, catalog
        from lossatlas.surface import landscapes

        around = [name for name, kind in catalog.items() if issubclass(kind, Wrapper)]
        return (
            self._text.replace("{landscapes}", ", ".join(landscapes.catalog))
            .replace("{optimizers}", ", ".join(name for name in catalog if name not in around))
            .replace("{wrappers}", ", ".join(around))
        )

    @help.setter
    def help(self, text: str | None) -> None:
        self._text = text


@click.command("race", cls=_Listing, short_help="Race optimizers on a landscape, every query counted.")
@click.argument("landscape", required=False)
@click.option(
    "--optimizers",
    default=OPTIMIZERS,
    show_default=True,
    help="Names separated by commas; settings as name(lr=0.01); your own as my.py:Mine(lr=0.01). On deep-wells the default "
    f"is {LINEUPS['deep-wells']}.",
)
@click.option(
    "--catalog",
    is_flag=True,
    help="List all optimizers by year, with the idea, use, source and settings of each, and stop.",
)
@click.option("--start", help="Coordinates separated by commas; the landscape's own start by default.")
@click.option("--steps", type=int, default=300, show_default=True, help="Steps per run.")
@click.option("--budget", type=int, help="Queries per run, never exceeded.")
@click.option(
    "--runs",
    type=int,
    help="Runs of each optimizer, all at once; pictures show a typical one. By default 100 on a landscape of the package whose "
    "racers are all vectorized over runs, else 1.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Random seed.")
@click.option("--tune", "trials", type=int, help="Tune every racer blindly first: this many counted trials each.")
@click.option(
    "--sweep",
    "swept",
    metavar="[SETTING=]LOW:HIGH:COUNT",
    help="Also race every racer at so many log-spaced values of a setting (lr by default).",
)
@click.option(
    "--map",
    "map_points",
    type=int,
    metavar="POINTS",
    help="Also map the basins: run from a grid of POINTS² starts and color each by where it ends.",
)
@click.option("--why", is_flag=True, help="For each optimizer that gets stuck, find the smallest change that frees it.")
@landscape_options
@network_options(test="for the test error")
@click.option(
    "--batch-size",
    default="64",
    show_default=True,
    metavar="SIZE | all",
    help="On a network: number of examples per gradient.",
)
@click.option(
    "--relief", is_flag=True, help="Also draw the landscape in three dimensions with the paths on it, relief.png."
)
@click.option("--out", type=click.Path(path_type=Path), help="Folder for the arrays, the record and the pictures.")
@program_options
@animate_option
@figure_options
@engine_options
def command(
    landscape: str | None,
    optimizers: str,
    catalog: bool,
    start: str | None,
    steps: int,
    budget: int | None,
    runs: int | None,
    seed: int,
    trials: int | None,
    swept: str | None,
    map_points: int | None,
    why: bool,
    bbob: str | None,
    dim: int,
    instance: int,
    given: str | None,
    box: str | None,
    own: Network,
    batch_size: str,
    relief: bool,
    animated: str | None,
    out: Path | None,
) -> None:
    """Race optimizers on a LANDSCAPE, or on your own network, every query counted.

    Landscapes: {landscapes}; or --bbob f1 … f24.

    Optimizers: {optimizers}; around another one: {wrappers}, as in restart(inner=adam). Their settings: lossatlas race
    --catalog. Your own: FILE.py:CLASS, as in my.py:Mine(lr=0.1).

    \b
      lossatlas race four-wells --optimizers gd,momentum,annealing,restart --start -3.8,-3.5 \\
          --steps 300 --runs 1000 --seed 0 --json race.json --out DIR
      lossatlas race himmelblau --optimizers 'adam(lr=0.1),gd(lr=0.01)' --tune 25
      lossatlas race deep-wells --optimizers gd,adam --sweep 0.01:0.1:15 --why
      lossatlas race four-wells --optimizers adam --map 200 --out DIR
      lossatlas race --bbob f8 --dim 5 --optimizers cma,de,adam --budget 5000 --steps 5000
      lossatlas race --function my.py:f --box -2:2,-1:3     # or a Landscape of your own: lossatlas race my.py:landscape
      lossatlas race --model my.py:make_model --data my.py:make_data --test my.py:make_test \\
          --optimizers momentum,adam,muon --tune 10 --runs 8 --steps 300 --out DIR

    On a network every optimizer trains on the same mini-batches until it has cost as much as --steps gradients on a
    mini-batch; run b starts from what --model returns after torch.manual_seed(seed + b).

    The verdict names the well in whose basin a run ended, and how: at rest in a minimum, cycling at its own step
    length, on a plateau … For methods that may move uphill this is the best point evaluated; otherwise the last. A
    restarted method gets the steps for each of its descents. On BBOB, which has no gradients, racers that need some
    use finite differences.

    \b
    DIR then holds
      race.json, race.safetensors   records and trajectories: lossatlas.load("DIR")
      paths.png, losses.png, ecdf.png, memory.png; for several runs rates.png, for bayes surrogate.png
      relief.png                    with --relief, on two parameters
      race.gif, basins-NAME.gif     with --animate, on two parameters
      basins-NAME, sweep-NAME       with --map and --sweep: a folder each, and a picture
      on a network: network-race.*, loss-*.png, test-error-*.png (against queries, examples, seconds), ends.png
    """
    from lossatlas._errors import InputError, UnknownNameError
    from lossatlas.cli import _optimizers
    from lossatlas.cli._race_network import OPTIMIZERS as NETWORK_OPTIMIZERS
    from lossatlas.cli._race_network import race_network
    from lossatlas.cli._unused import refuse
    from lossatlas.cli._user import numbers, prepare
    from lossatlas.probe import Budget
    from lossatlas.race import check, numbers_of, race, starts
    from lossatlas.surface import landscapes
    from lossatlas.surface.landscapes import Landscape

    console = screen(170)
    if catalog:
        console.print(_optimizers.past())
        console.print(_optimizers.table())
        return
    source = click.get_current_context().get_parameter_source
    if own.given:
        refuse("dim", "instance", "relief", "animated", where="with --model")
        race_network(
            own=own,
            batch_size=batch_size,
            optimizers=NETWORK_OPTIMIZERS if source("optimizers") is ParameterSource.DEFAULT else optimizers,
            steps=steps,
            runs=1 if runs is None else runs,
            seed=seed,
            trials=trials,
            out=out,
            unused=[
                *_unused(landscape, bbob, start, budget, swept, map_points, why),
                *(["--function"] if given else []),
                *(["--box"] if box and not given else []),
            ],
        )
        return
    refuse("batch_size", where="on a landscape")
    surface = landscape_of(landscape, bbob, dim, instance, given, box)
    if source("optimizers") is ParameterSource.DEFAULT:
        optimizers = LINEUPS.get(surface.name, optimizers)
    chosen = {
        label: one if surface.gradients_known else _valued(one)
        for label, one in _optimizers.optimizers(optimizers).items()
    }
    point = numbers(start, "--start") if start is not None else None
    swept_runs = 1 if runs is None else runs
    if runs is None:
        of_ours = bbob is None and isinstance(surface, Landscape) and surface.name in landscapes.catalog
        runs = RUNS if of_ours and all(one.batched for one in chosen.values()) else 1
    # All that can be refused is refused before anything runs or is written.
    check("race", surface, seed, steps=steps, runs=runs)
    starts(surface, point, runs)
    Budget(budget)
    over = _range(swept) if swept is not None else None
    if over is not None and not any(over[0] in numbers_of(one) for one in chosen.values()):
        known = list(dict.fromkeys(name for one in chosen.values() for name in numbers_of(one)))
        raise UnknownNameError(f"setting that is a number of {', '.join(chosen)}", over[0], known)
    _check_extras(surface, trials, map_points, why, over)
    if relief and surface.dimension != 2:
        raise InputError(f"got --relief on {surface.name}, which has {surface.dimension:,} parameters; expected two.")
    if relief and out is None:
        raise InputError("got --relief without a folder to draw it in; expected --out DIR.")
    if animated and surface.dimension != 2:
        raise InputError(f"got --animate on {surface.name}, which has {surface.dimension:,} parameters; expected two.")
    if animated and out is None:
        raise InputError("got --animate without a folder for the animation; expected --out DIR.")
    prepare(out)
    record: dict[str, Any] = {}
    if trials is not None:
        record["tuning"] = _tune(chosen, surface, trials, steps, point, seed, console)
    result = race(surface, chosen, start=point, steps=steps, budget=budget, runs=runs, seed=seed)
    # What is printed is kept by then: who stops the command loses nothing that was seen.
    if out is not None:
        result.save(out)
    console.print(result.table())
    console.print(result.accounting())
    for verdict in result.verdicts.values():
        say(f"- {verdict.sentence}")
    if why:
        record["why"] = _why(result, console, seed)
    sweeps = {} if over is None else _sweeps(chosen, surface, *over, point, steps, swept_runs, seed, console, out)
    maps = {} if map_points is None else _maps(chosen, surface, map_points, steps, seed, console, out)
    record |= {"sweeps": {label: one.record() for label, one in sweeps.items()}} if sweeps else {}
    record |= {"maps": {label: one.record() for label, one in maps.items()}} if maps else {}
    if out is not None:
        _write(result, sweeps, maps, out, relief)
        if animated:
            from lossatlas.draw import animate

            animate(result, out / f"race.{animated}")
            for label, one in maps.items():
                animate(one, out / f"basins-{label}.{animated}")
        message(f"written: {out}")
    else:
        message("no pictures were drawn, since there is no folder for them: --out DIR")
    told(lambda: {**result.record(), **record})


def _unused(
    landscape: str | None,
    bbob: str | None,
    start: str | None,
    budget: int | None,
    swept: str | None,
    map_points: int | None,
    why: bool,
) -> list[str]:
    """What was given that a race on a network has no use for."""
    given = {"LANDSCAPE": landscape, "--bbob": bbob, "--start": start, "--budget": budget, "--sweep": swept}
    given |= {"--map": map_points, "--why": why or None}
    return [name for name, value in given.items() if value is not None]


def _check_extras(
    surface: Surface, trials: int | None, map_points: int | None, why: bool, over: tuple[str, list[float]] | None
) -> None:
    from lossatlas import _checks
    from lossatlas._errors import InputError

    if trials is not None:
        _checks.whole("trials", trials, where="--tune")
    if map_points is not None:
        _checks.whole("points", map_points, 2, where="--map")
    wanted = [name for name, given in (("--why", why), ("--map", map_points), ("--sweep", over)) if given]
    if wanted and not (surface.wells and surface.gradients_known):
        raise InputError(
            f"got {' and '.join(wanted)} on {surface.name}, whose basins are not known; expected a landscape with known "
            "wells and gradients, for example four-wells, deep-wells or himmelblau."
        )
    if map_points is not None and (surface.dimension != 2 or surface.box is None):
        raise InputError(f"got --map on {surface.name}; expected a landscape of two parameters in a box.")


def _range(text: str) -> tuple[str, list[float]]:
    """The setting and its values."""
    import numpy as np

    from lossatlas._errors import InputError

    setting, equals, numbers = text.rpartition("=")
    parts = numbers.split(":")
    try:
        low, high, count = float(parts[0]), float(parts[1]), int(parts[2])
        if len(parts) != 3 or not 0 < low < high or count < 2:
            raise ValueError
    except (ValueError, IndexError) as error:
        raise InputError(
            f"got --sweep {text!r}; expected LOW:HIGH:COUNT with 0 < LOW < HIGH and a COUNT of at least 2, for example "
            "0.01:0.1:15 or temperature=0.1:10:9."
        ) from error
    return (setting.strip() if equals else "lr"), np.geomspace(low, high, count).tolist()


def _valued(one: Optimizer) -> Optimizer:
    """The racer as it can run without gradients."""
    from lossatlas.optimize import FiniteDifferences
    from lossatlas.probe import Gradients

    return FiniteDifferences(one) if Gradients in one.queries else one


def _tune(
    chosen: dict[str, Optimizer],
    surface: Surface,
    trials: int,
    steps: int,
    point: list[float] | None,
    seed: int,
    console: Console,
) -> dict[str, Any]:
    """Put the best of its trials in the place of every racer that has settings to search."""
    from lossatlas.race import searched, tune

    record = {}
    for label, one in chosen.items():
        if not searched(one):
            say(f"- {label} is not tuned: it has no setting that is searched")
            continue
        found = tune(one, surface, trials=trials, steps=steps, start=point, seed=seed)
        chosen[label] = found.best
        console.print(found.table())
        record[label] = {"best": found.best.settings(), "meter": found.meter.record()}
    return record


def _why(result: Race, console: Console, seed: int) -> dict[str, Any]:
    from lossatlas.race import counterfactual

    found = {}
    for label, track in result.tracks.items():
        if track.stopped[0] == "not applicable" or result.rate(label, "global") >= 0.5:
            continue
        answer = counterfactual(result, label, seed=seed)
        console.print(answer.table())
        say(f"- {answer.sentence}")
        found[label] = answer.record()
    if not found:
        say("- no optimizer is stuck: at least half of every racer's runs ended in the basin of the global well")
    return found


def _sweeps(
    chosen: Mapping[str, Optimizer],
    surface: Surface,
    setting: str,
    values: list[float],
    point: list[float] | None,
    steps: int,
    runs: int,
    seed: int,
    console: Console,
    out: Path | None,
) -> dict[str, Sweep]:
    from lossatlas.race import numbers_of, sweep

    made = {}
    for label, one in chosen.items():
        if setting not in numbers_of(one):
            say(f"- no sweep of {label}: it has no {setting}")
            continue
        made[label] = sweep(surface, one, values, setting=setting, start=point, steps=steps, runs=runs, seed=seed)
        if out is not None:
            made[label].save(out / f"sweep-{label}")
        console.print(made[label].table())
    return made


def _maps(
    chosen: Mapping[str, Optimizer],
    surface: Surface,
    points: int,
    steps: int,
    seed: int,
    console: Console,
    out: Path | None,
) -> dict[str, BasinMap]:
    from lossatlas.race import basin_map

    made = {}
    for label, one in chosen.items():
        if not one.batched:
            say(f"- skipped {label}: it is not vectorized over runs; {points**2:,} starts would take hours")
            continue
        made[label] = basin_map(surface, one, points=points, steps=steps, seed=seed)
        if out is not None:
            made[label].save(out / f"basins-{label}")
        console.print(made[label].table())
    return made


def _write(result: Race, sweeps: Mapping[str, Sweep], maps: Mapping[str, BasinMap], out: Path, relief: bool) -> None:
    if result.surface.dimension == 2:
        result.plot().save(out / "paths.png")
        if relief:
            result.plot_relief().save(out / "relief.png")
        for label, track in result.tracks.items():
            if track.optimizer.name == "bayes" and track.positions.shape[1] > 5:
                result.plot_surrogate(label).save(out / "surrogate.png")
    result.plot_losses().save(out / "losses.png")
    result.plot_memory().save(out / "memory.png")
    if result.surface.wells:
        result.plot_ecdf().save(out / "ecdf.png")
    if result.runs > 1 and result.surface.gradients_known and result.surface.wells:
        result.plot_rates("global").save(out / "rates.png")
    for label, swept in sweeps.items():
        swept.plot().save(out / f"sweep-{label}.png")
    for label, made in maps.items():
        made.plot().save(out / f"basins-{label}.png")
