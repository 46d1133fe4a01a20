"""The tour: a network trained, charted, algorithms raced, and one page that shows what came out."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lossatlas import _checks, archive
from lossatlas.chart import Chart, Plane, chart
from lossatlas.demo import accuracy, digits, digits_cnn, fit
from lossatlas.draw import Table
from lossatlas.lessons import lesson
from lossatlas.page._make_page import page as explorer
from lossatlas.page._page import Page
from lossatlas.race import BasinMap, Race, basin_map, basins, named, race
from lossatlas.surface import NetworkSurface, count, landscapes, standard_dimension

EPOCHS = 15
STEPS = 300
STARTS = 120
# Those that take a few seconds together.
LESSONS = ("A2", "B1", "C1", "C2", "C4", "D2")


def tour(
    out: Path, *, points: int = 51, runs: int = 1000, seed: int = 0, say: Callable[[str], None] = print
) -> dict[str, Any]:
    """Train, chart, race, and write a folder with ``atlas.html``, the page to explore, and ``index.html``, the page to read.

    Args:
        out: the folder.
        points: cells per axis of the chart.
        runs: seeds for annealing and restarts.
        seed: random seed.
        say: takes a line of progress.

    Returns:
        Everything that the page says, as plain JSON values.

    Raises:
        InputError: for fewer than 2 points, no runs, or what is no seed; nothing is then written.
    """
    check(points, runs, seed)
    begin = time.perf_counter()
    out = archive.prepare(out)
    page = Page("An atlas of two loss surfaces")
    page.text(
        "A loss surface is the graph of L(θ). A model, a loss and data define it. "
        "Everything below was found by evaluating values and gradients at points, and every evaluation was counted."
    )
    results: list[Any] = []
    network = _network(page, out, points, seed, say, results)
    wells = _wells(page, out, runs, seed, say, results)
    _explorer(out, results, say)
    _dimensions(page)
    seconds = time.perf_counter() - begin
    page.heading("How this page was made")
    page.text(
        f"lossatlas tour --seed {seed} --points {points} --runs {runs}, in {seconds:.0f} seconds. The numbers behind the "
        "pictures lie beside this page: chart/, races/ and basins/ hold arrays as safetensors and records as JSON, and "
        "lossatlas.load reads each of them back."
    )
    page.write(out / "index.html")
    record = {"kind": "tour", "seconds": seconds, "seed": seed, "network": network, "wells": wells}
    archive.write_json(out / "tour.json", record)
    return record


def check(points: int, runs: int, seed: int) -> None:
    """Refuse what no tour can be made with.

    Raises:
        InputError: for fewer than 2 points, no runs, or what is no seed.
    """
    _checks.whole("points", points, 2, where="tour")
    _checks.whole("runs", runs, where="tour")
    _checks.seed(seed, where="tour")


def _explorer(out: Path, results: list[Any], say: Callable[[str], None]) -> None:
    """The page to explore: what was measured, lessons that take no time, and landscapes to race on."""
    say("testing claims …")
    evidence = [lesson(name).run() for name in LESSONS]
    places = [landscapes.deep_wells(), landscapes.rosenbrock(), landscapes.quadratic(), landscapes.plateau()]
    explorer(*results, *places, *evidence, path=out / "atlas.html", title="An atlas of loss surfaces")


def _network(
    page: Page, out: Path, points: int, seed: int, say: Callable[[str], None], results: list[Any]
) -> dict[str, Any]:
    train, test = digits("train", images=True), digits("test", images=True)
    model = digits_cnn(seed=seed)
    say(f"training a small CNN on {len(train[1]):,} digits, {EPOCHS} epochs …")
    fit(model, train, epochs=EPOCHS, seed=seed)
    seen, unseen = accuracy(model, train), accuracy(model, test)
    say(f"accuracy: {seen:.1%} on training digits, {unseen:.1%} on {len(test[1])} unseen ones")
    surface = NetworkSurface(model, "cross_entropy", train, name="digits CNN, training loss")
    made = chart(surface, Plane.random(surface, seed=seed), points=points)
    for sentence in made.reading():
        say(f"- {sentence}")
    results.append(made)
    made.save(out / "chart")
    made.plot().save(out / "chart.png")
    made.plot_relief().save(out / "chart-relief.png")
    made.plot(channel="accuracy").save(out / "chart-accuracy.png")

    page.heading("A real network: its loss on a plane")
    page.text(
        f"A convolutional network with {surface.dimension:,} parameters was trained on scikit-learn's digits: "
        f"{seen:.1%} of the training digits and {unseen:.1%} of {len(test[1])} unseen ones are classified correctly. Its loss "
        f"surface lives in {surface.dimension + 1:,} dimensions. The pictures show it on one plane: two random "
        "directions, each scaled filter by filter to the network's weights (Li et al. 2018)."
    )
    page.pictures(
        (
            "chart.png",
            "Loss on the plane; the cross is the trained network. One unit moves every filter by its own norm.",
        ),
        ("chart-relief.png", "The same plane as a relief."),
    )
    page.pictures(("chart-accuracy.png", "Share of training digits classified correctly, over the same plane."))
    page.text("What to see:")
    page.items(made.reading())
    page.table(*_costs(made))
    return {"train_accuracy": seen, "test_accuracy": unseen, "chart": made.record()}


def _costs(made: Chart) -> tuple[list[str], list[list[str]], str]:
    cells = made.loss.size
    fields = {
        "exact": "exact, on all examples",
        "cheap": "approximate, on a subset: they give the shape, never the height",
    }
    parts = [(fields.get(kind, kind), part) for kind, part in made.meters.items()]
    rows = [
        [name, f"{part.values:,}", f"{part.examples:,}", f"{part.surface_seconds:.2f}"]
        for name, part in [*parts, ("together", made.meter)]
    ]
    title = f"Cost of this chart of {cells:,} cells (forecast: {made.forecast_seconds or 0:.1f} s)"
    return ["losses", "how many", "examples read", "seconds"], rows, title


def _wells(
    page: Page, out: Path, runs: int, seed: int, say: Callable[[str], None], results: list[Any]
) -> dict[str, Any]:
    surface = landscapes.four_wells()
    racers = ["gd", "momentum", "annealing", "restart"]
    say(f"racing {', '.join(racers)} on the four wells …")
    one = race(surface, racers, steps=STEPS, seed=seed)
    many = race(surface, ["annealing", "restart"], steps=STEPS, runs=runs, seed=seed)
    one.save(out / "races" / "one")
    # A thousand ways there would be most of the folder; what is told of them are their ends.
    many.only_ends().save(out / "races" / "many")
    one.plot().save(out / "paths.png")
    one.plot_losses().save(out / "losses.png")
    many.plot_rates("global").save(out / "rates.png")
    plain, heavy = (basin_map(surface, name, points=STARTS, steps=STEPS, seed=seed) for name in ("gd", "momentum"))
    results += [one, many, plain, heavy]
    for made, name in ((plain, "gd"), (heavy, "momentum")):
        made.save(out / "basins" / name)
        made.plot().save(out / f"basins-{name}.png")
    for verdict in [*one.verdicts.values(), *many.verdicts.values()]:
        say(f"- {verdict.sentence}")

    page.heading("A surface with known truth: four wells")
    page.text(
        "Two parameters, so this picture is the surface itself. All optimizers start in the south-west, beside the trap A; "
        "the deepest well is global. Each sees only what it evaluates."
    )
    page.pictures(("paths.png", f"One run each, {STEPS} steps per descent, seed {seed}."))
    page.text("What to see, from the record of these runs:")
    page.items([verdict.sentence for verdict in one.verdicts.values()])
    page.text(
        "The basin of a well is the set of points from which steepest descent leads to it. The global minimum is known "
        "here, but not to the algorithms. Methods that may move uphill are judged by the best point they evaluated, the "
        "others by their last point."
    )
    page.table(*_parts(one.table()))
    page.table(*_parts(one.accounting()))
    page.pictures(
        ("losses.png", "Loss against queries; for methods that may move uphill, the best so far."),
        ("rates.png", f"Share of {runs:,} runs that found the global well, with 95 % intervals."),
    )
    page.items([verdict.sentence for verdict in many.verdicts.values()])
    page.table(*_parts(many.table()))
    page.text(
        f"And from other starts? Each cell of these maps is one of {plain.ends.size:,} starts, its color the well where the "
        f"descent from there ends. {_stays(plain)} of gradient descent's starts end in the basin that they lie in, and "
        f"{_stays(heavy)} of momentum's."
    )
    page.pictures(
        ("basins-gd.png", "Where gradient descent ends, start by start."),
        ("basins-momentum.png", "Where momentum ends, from the same starts."),
    )
    page.table(*_shares(plain, heavy))
    return {"one": one.record(), "many": _short(many), "basins": {"gd": plain.record(), "momentum": heavy.record()}}


def _stays(made: BasinMap) -> str:
    """Share of starts that end in the basin that they lie in."""
    starts = torch.tensor(np.stack(np.meshgrid(made.x, made.y), -1).reshape(-1, 2))
    own, _ = basins(made.surface, starts)
    ended = [made.names[k] if k >= 0 else None for k in made.ends.reshape(-1)]
    return f"{sum(a == b for a, b in zip(own, ended, strict=True)) / len(own):.1%}"


def _shares(*maps: BasinMap) -> tuple[list[str], list[list[str]], str]:
    rows = [
        [made.optimizer.name, *(f"{made.share(well):.1%}" for well in made.names), f"{made.boundary:.1f}"]
        for made in maps
    ]
    heads = ["optimizer", *(f"ends in {named(well)}" for well in maps[0].names), "length of the boundaries"]
    return heads, rows, f"Shares of {maps[0].ends.size:,} starts"


def _parts(table: Table) -> tuple[list[str], list[list[str]], str]:
    return table.columns, table.rows, table.title


def _short(result: Race) -> dict[str, Any]:
    return {
        label: {
            "rate": result.rate(label, "global"),
            "interval": result.interval(label, "global"),
            "sentence": verdict.sentence,
        }
        for label, verdict in result.verdicts.items()
    }


def _dimensions(page: Page) -> None:
    page.heading("Why the first picture is only a slice")
    page.text(
        "The surface over N parameters is a graph in N + 1 dimensions. Only that of the four wells can be drawn whole."
    )
    found = [count(digits_cnn()), *(standard_dimension(name) for name in ("regression", "mlp-100", "resnet50", "gpt3"))]
    rows = [[d.name, f"{d.parameters:,}", f"{d.surface:,}", d.note] for d in found]
    rows[0][0] = "the digits CNN above"
    page.table(["model", "parameters N", "dimensions N + 1", "note"], rows, "Dimensions of loss surfaces")
