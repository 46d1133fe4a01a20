"""The note on loss surfaces as one page: prose, and beside every statement the experiment that tests it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from lossatlas import _checks, archive
from lossatlas._errors import LossAtlasError, OutputError
from lossatlas.advise import advise
from lossatlas.chart import Chart, Plane, Trajectory, chart, trajectory
from lossatlas.demo import digits, digits_mlp, fit
from lossatlas.lessons import LECTURE, Check, Evidence, Section, claims, durations, lesson
from lossatlas.page._images import of_file
from lossatlas.page._lecture import Lecture
from lossatlas.page._make_page import page
from lossatlas.page._make_scene import scene
from lossatlas.page._scene import Scene
from lossatlas.race import Race, race
from lossatlas.surface import NetworkSurface, landscapes

TITLE = "Loss surfaces: a lecture with experiments"
# The network of the three ways to look: stated once, small enough for a minute on two cores.
WIDTHS, EPOCHS, RATE = (32,), 15, 3e-3
POINTS, PATH_POINTS = 51, 31
STEPS, FEW, RUNS, BUDGET = 300, 40, 1000, 500
# Seconds that the short form of a lesson may take, for one whose time was not measured.
MOST = 20.0


def lecture(
    path: str | Path = "lecture.html",
    *,
    source: str | Path | None = None,
    seed: int = 0,
    say: Callable[[str], None] = print,
) -> Path:
    """Write the lecture on loss surfaces: one page, offline, in which every statement stands beside its experiment.

    The page shows one statement at a time: its prose, a prediction to make, something to watch, and then what the lesson
    measured, for or against the statement. Landscapes are raced on in the page itself; a network is shown on a random
    plane and on the plane of its training run.

    The short form of each lesson is run, and its evidence kept in a folder beside the page that is named after it. A lesson
    that is there is not run again, so that a lecture that was interrupted goes on with the next lesson.

    Args:
        path: the file.
        source: a folder of finished lessons (``lossatlas lessons --out``); none is run then, and statements whose lesson is not
            there say so.
        seed: of the lessons, the races and the network.
        say: takes a line of progress.

    Returns:
        The file's path.

    Raises:
        InputError: for what is no seed.
        OutputError: if the file or the folder cannot be written, or the source holds no lesson.

    Example:
        >>> import lossatlas as la
        >>> la.lecture("lecture.html")  # doctest: +SKIP
        PosixPath('lecture.html')
    """
    path = archive.prepare_file(path)
    seed = _checks.seed(seed, where="lecture")
    if source is None:
        folder = archive.prepare(path.with_name(f"{path.stem}-lessons"))
        run = [name for name in needed(LECTURE) if (made := kept(folder, name)) is None or made.seed != seed]
        say(forecast(run, folder))
        for k, name in enumerate(run, start=1):
            _run(name, f"{k} of {len(run)}", folder, seed, say)
    else:
        folder = _checks.path("source", source, where="lecture", error=OutputError)
    found = {name: made for name in needed(LECTURE) if (made := kept(folder, name)) is not None}
    if not found:
        raise OutputError(
            f"{str(folder)!r} holds no evidence of lessons; expected what `lossatlas lessons --out` wrote there. Leave the source "
            "out, and the lessons are run."
        )
    say("Racing on the landscapes, and charting a network …")
    made_scene = assemble(LECTURE, found, races(seed), views(seed), pictures(seed), folder)
    return page(made_scene, path=path)


def needed(sections: Iterable[Section]) -> list[str]:
    """The lessons that the statements refer to and that are there, in the order of the catalog."""
    wanted = {one.lesson for section in sections for one in section.statements}
    return [name for name in claims() if name in wanted]


def kept(folder: Path, name: str) -> Evidence | None:
    """What a lesson brought out in a folder before, if it came to its end and is of the claim that is made today."""
    file = folder / f"lesson-{name}.json"
    try:
        found = Evidence.load(file) if file.is_file() else None
    except LossAtlasError:
        return None
    return found if found is not None and found.complete and found.claim == claims()[name] else None


def forecast(run: list[str], folder: Path) -> str:
    """What will be done, before it is."""
    if not run:
        return f"All lessons are in {folder}."
    took = durations()
    minutes = math.ceil(sum(took.get(name, {}).get("quick", MOST) for name in run) / 60)
    return (
        f"{len(run)} lesson{'s' * (len(run) > 1)} to run in the short form, about {minutes} minute{'s' * (minutes > 1)} on one core: "
        f"{', '.join(run)}. Each is kept in {folder}."
    )


def _run(name: str, place: str, folder: Path, seed: int, say: Callable[[str], None]) -> None:
    """Run a lesson, say each row as it comes, and keep what it brought out."""
    one = lesson(name)
    say(f"{place}: {name}  {one.claim}")
    for row, so_far in one.stream(seed=seed, quick=True):
        made = so_far
        if isinstance(row, Check):
            say(f"  {row.sentence}")
    made.save(folder)
    say(f"  {made.verdict} {made.cost_sentence}")


def races(seed: int) -> list[Race]:
    """Runs that the page plays back, and the shares of a thousand of them."""
    four, deep = landscapes.four_wells(), landscapes.deep_wells()
    found = [
        race(one, ["annealing", "restart"], steps=STEPS, runs=RUNS, seed=seed, progress=False) for one in (four, deep)
    ]
    for one, names in ((four, ["bayes"]), (deep, ["genetic", "beam"])):
        found.append(race(one, names, steps=FEW, seed=seed, progress=False))
    return found


def views(seed: int) -> dict[str, Chart | Trajectory]:
    """A network of digits on a random plane, with its card, and on the plane of its training run."""
    data, model = digits("train"), digits_mlp(WIDTHS, seed=seed)
    states = [_state(model)]
    fit(model, data, epochs=EPOCHS, lr=RATE, seed=seed, progress=lambda *_: states.append(_state(model)))
    surface = NetworkSurface(model, "cross_entropy", data, name="digits network")
    random = chart(surface, Plane.random(surface, seed=seed), points=POINTS, progress=False)
    random.card()
    path = trajectory(surface, Plane.pca(surface, states), {"training run": states}, points=PATH_POINTS, progress=False)
    return {"random": random, "path": path}


def pictures(seed: int) -> dict[str, tuple[str, Any]]:
    """The decision tree, with the way that it takes on the four wells."""
    made = advise(landscapes.four_wells(), budget=BUDGET, seed=seed, progress=False)
    return {"tree": (made.reading()[0], made.plot().figure_)}


def _state(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def assemble(
    sections: tuple[Section, ...],
    found: Mapping[str, Evidence],
    raced: list[Race],
    seen: Mapping[str, Chart | Trajectory],
    drawn: Mapping[str, tuple[str, Any]],
    folder: Path | None = None,
) -> Scene:
    """The scene of a lecture.

    Args:
        sections: prose and statements.
        found: evidence by number of the lesson.
        raced: races that predictions and landscapes refer to.
        seen: charts of a network.
        drawn: figures with their captions.
        folder: where pictures of the lessons lie.
    """
    made = scene(*raced, *found.values(), Lecture(sections, seen, drawn), title=TITLE)
    for entry in made.head["lessons"]:
        files = sorted(folder.glob(f"lesson-{entry['id']}-*.png")) if folder is not None else []
        entry["figures"] = _figures(entry, files)
    return made


def _figures(entry: Mapping[str, Any], files: list[Path]) -> list[dict[str, str]]:
    prefix = f"lesson-{entry['id']}-"
    return [
        {"name": file.stem.removeprefix(prefix).replace("-", " "), "image": of_file(file)} for file in files
    ] or entry["figures"]
