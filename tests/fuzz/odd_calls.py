"""Which calls are made, in which order: all of one odd argument and some of two, shuffled by a seed."""

from __future__ import annotations

import contextlib
import random
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import odd_values as odd
import public_calls
import torch
from public_calls import Call, World
from watch import Outcome, Watch, quiet

PLACES = ("path", "folder", "out", "ledger", "source", "ledgers", "directions")
# What draws or writes pages takes a hundred times as long as what computes: fewer of those.
HEAVY = ("plot", "page", "_recorder", "card", "Lesson", "counterfactual")


def values_of(parameter: str, world: World) -> dict[str, odd.Make]:
    """The odd values that a parameter of this name is given."""
    found = odd.plain() | odd.tensors() | {
        "o surface": lambda _: world.network,
        "o landscape": lambda _: world.well,
        "o plane": lambda _: world.plane,
        "o line": lambda _: world.line,
        "o chart": lambda _: world.chart,
        "o race": lambda _: world.race,
        "o model": lambda _: world.model,
        "o names": lambda _: ["gd", "gd"],
    }  # fmt: skip
    if parameter in ("progress", "on_forecast", "say"):  # functions of the caller's own, whatever they do
        del found["o model"], found["print"], found["type"], found["touchy"]
    if parameter in PLACES or "folder" in parameter or "path" in parameter:
        return odd.paths() | found
    if parameter in ("model", "a", "b", "start", "trained", "point", "given", "ends"):
        found |= odd.models() | odd.paths()
    if parameter in ("loss", "objective", "function", "metrics"):
        found |= odd.losses()
    if parameter == "data":
        found |= odd.data()
    return found


def cases(calls: list[Call], world: World, seed: int) -> list[tuple[Call, tuple[tuple[str, str], ...]]]:
    """Each call with each parameter at each odd value, and as many with two, in the order of the seed."""
    order = random.Random(seed)
    single, double = [], []
    for call in calls:
        each = [(parameter, name) for parameter in call.parameters for name in values_of(parameter, world)]
        if any(word in call.name for word in HEAVY):
            each = order.sample(each, min(len(each), 12))
        single += [(call, (one,)) for one in each]
        if len(call.parameters) > 1:
            for _ in range(len(each) // 2):
                first, second = order.choice(each), order.choice(each)
                if first[0] != second[0]:
                    double.append((call, (first, second)))
    both = single + double
    order.shuffle(both)
    return both


def fuzz(
    folder: Path, count: int, seed: int, only: tuple[str, ...] = (), limit: float = 8.0, seconds: float = float("inf")
) -> Iterator[tuple[str, Outcome]]:
    """Make `count` calls and look at each, the first of the order that the seed says; fewer where the time is over."""
    world = World(folder)
    listed = [call for call in public_calls.calls() if not only or call.name.startswith(only)]
    models = {"the surface's model": world.model, "one end": world.ends[0], "other end": world.ends[1]}
    vectors = {"θ": world.network.theta, "the run": world.run, "the inputs": odd.X, "the targets": odd.Y}
    watch = Watch(folder, models, vectors, limit)
    end = time.monotonic() + seconds
    for k, (call, given) in enumerate(cases(listed, world, seed)[:count]):
        if time.monotonic() > end:
            return
        place = folder / f"call-{k}"
        (place / "own").mkdir(parents=True)
        (place / "odd").mkdir()
        with quiet(), kept():
            if call.owner:
                world.instance(call.owner)
            arguments = call.make(world, place / "own")
            for parameter, name in given:
                value = values_of(parameter, world)[name](place / "odd")
                arguments[parameter] = (value,) if parameter == "*" else value
        label = f"{call.name}({', '.join(f'{parameter}={name}' for parameter, name in given)})"
        yield label, watch(lambda call=call, arguments=arguments: call.run(world, arguments))
        shutil.rmtree(place, ignore_errors=True)


@contextlib.contextmanager
def kept() -> Iterator[None]:
    """Making an argument leaves torch's generator as it is."""
    with torch.random.fork_rng(devices=[]):
        yield
