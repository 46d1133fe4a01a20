"""Races on real networks: optimizers train on mini-batches, several seeds in one batch, each at the same cost."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from lossatlas import _checks, _said
from lossatlas._errors import InputError
from lossatlas._progress import Progress, Show
from lossatlas.optimize import GD, SGD, MiniBatches, Optimizer, Streams, Walk, begun, labeled, planned
from lossatlas.probe import (
    Answer,
    Budget,
    Exchange,
    Gradients,
    Meter,
    Probe,
    Products,
    Query,
    Request,
    Values,
    count,
    standing,
)
from lossatlas.race._inputs import check
from lossatlas.race._inputs import starts as starts_of
from lossatlas.race._network_ends import ends_of
from lossatlas.race._network_result import NetworkRace, Runner
from lossatlas.race._queries import nothing, valid
from lossatlas.race._settings import changed, numbers_of
from lossatlas.race._tune import KEPT, LOGARITHMIC, Tuning, drawn_settings
from lossatlas.surface import Layout, NetworkSurface, PointLike

# Blind tuning searches the learning rate of what Muon leaves to AdamW as well.
SPACE = {**LOGARITHMIC, "lr_others": (1e-4, 1e-1)}
# Run numbers of tuning, far from those of the race: no mini-batch of one is seen in the other.
TUNING_RUNS = 10**6
T = TypeVar("T")


@dataclass(frozen=True)
class Ground:
    """What a race is run on.

    Attributes:
        surface: the training loss.
        test: the test loss over the same parameters, or None.
        layout: the blocks as the optimizers see them.
        starts: (runs, N).
        batch_size: examples of a mini-batch, or None for all data.
        steps: the cost in gradients.
        allowance: what one run may cost: gradients of so many examples, in units of one value of one example.
    """

    surface: NetworkSurface
    test: NetworkSurface | None
    layout: Layout
    starts: Tensor
    batch_size: int | None
    steps: int
    allowance: float


def network_race(
    surface: NetworkSurface,
    optimizers: Iterable[str | Optimizer] | Mapping[str, str | Optimizer],
    *,
    test: NetworkSurface | None = None,
    batch_size: int | None = 64,
    steps: int = 300,
    runs: int = 4,
    first_run: int = 0,
    starts: PointLike | Sequence[PointLike] | None = None,
    trials: int = 0,
    heads: Sequence[str] | None = None,
    checks: int = 12,
    ends: int = 1,
    seed: int = 0,
    progress: Show = True,
) -> NetworkRace:
    """Let optimizers train a network, all of them at the same cost.

    Every run costs its queries times the examples they read, a gradient as three values and a Hessian product as
    six; it ends when the next query would exceed the cost of ``steps`` gradients of a mini-batch. Run b sees the same
    mini-batches whatever the optimizer is, and all runs of an optimizer are evaluated in one pass. Mini-batches are drawn
    independently of each other, not in epochs. What is measured on the way (loss over all data, test error) is the
    referee's cost.

    Muon steps the hidden matrices and leaves the head, embeddings, norms and biases to AdamW without decay; Shampoo
    preconditions every tensor, as their papers have it. SGD takes the mini-batches of the race like all others.

    Args:
        surface: the network's training loss.
        optimizers: names, optimizers, or a mapping of labels to either; those that query gradients.
        test: the same network over test data, for the test error.
        batch_size: examples of a mini-batch, or None for all data at every step.
        steps: the cost in gradients of a mini-batch: updates of every rule that queries one gradient for each.
        runs: how many runs each.
        first_run: number of the first: run b is the same run alone or beside others.
        starts: whatever describes a point, or rows (runs, N) or as many points for a start per run; the network's own point
            by default.
        trials: blind tuning first, with so many settings each, the given ones among them; 0 for none. Every trial is a
            race of two runs at the cost of the race itself, scored by the loss over the training data at its end.
        heads: names of the weights that Muon leaves to AdamW as the network's head; the last linear one by default.
        checks: how often loss and test error are measured, the start and the end besides.
        ends: runs of each optimizer whose ends are compared: sharpness, and the barriers between all of them; 0 for none.
        seed: random seed of mini-batches, tuning and everything else.
        progress: True for a bar on the error stream of a terminal and a line per optimizer, False for silence, or a function
            of (optimizers done, optimizers in all).

    Returns:
        The `NetworkRace`. An optimizer that fails ends alone; its sentence is in ``provenance["failed"]``.

    Raises:
        InputError: for an optimizer that queries no gradients, or settings that do not fit.
        StartError: for starts of another shape.

    Source:
        Common mini-batches and equal costs: Schmidt, Schneider and Hennig, Descending through a crowded valley, ICML 2021,
        tune all contestants alike.

    Example:
        >>> import lossatlas as la
        >>> from lossatlas.demo import digits, digits_mlp
        >>> surface = la.NetworkSurface(digits_mlp((8,)), "cross_entropy", digits("test"))
        >>> race = la.network_race(surface, ["adam"], steps=5, runs=2, ends=0, progress=False)
        >>> race.runners["adam"].meter.gradients
        10
    """
    steps, runs, checks, seed = check("network_race", surface, seed, steps=steps, runs=runs, checks=checks)
    numbers = [_checks.whole("first_run", first_run, 0) + b for b in range(runs)]
    trials, ends = _checks.whole("trials", trials, 0), _checks.whole("ends", ends, 0)
    _checks.work("network_race", {"steps": steps, "trials": max(trials, 1)})
    batch_size = _checks.optional(_checks.whole, "batch_size", batch_size, do="None takes all data.")
    size = surface.examples if batch_size is None else batch_size
    _fits(surface, test, size, trials, ends)
    first = starts_of(surface, starts, len(numbers))
    layout = with_heads(surface.layout, heads)
    ground = Ground(surface, test, layout, first, batch_size, steps, Exchange().gradient * steps * size)
    referee, on_test = Probe(surface), None if test is None else Probe(test)
    runners: dict[str, Runner] = {}
    failures: dict[str, _Failed] = {}
    raced = labeled(optimizers)
    for label, one in raced.items():
        if Gradients not in one.queries:
            raise InputError(
                f"{label} queries no gradients; expected rules that do. Race it with lossatlas.race, or leave it out."
            )
    with Progress(len(raced), progress, "training") as report:
        for label, one in raced.items():
            one = replace(one, batch_size=batch_size) if isinstance(one, SGD) and batch_size is not None else one
            begin = time.perf_counter()
            try:
                found = None if trials == 0 else _tuned(one, ground, trials, seed)
                chosen = one if found is None else found.best
                runners[label] = _run(chosen, ground, numbers, seed, checks, referee, on_test, found)
                sentence = runners[label].sentence
            except _Failed as failure:
                failures[label] = failure
                sentence = f"it failed: {failure}"
            report.advance(1)
            report.say(f"{label}: {sentence} ({time.perf_counter() - begin:.1f} s)")
    if not runners:
        raise next(iter(failures.values())).error
    settings = {
        "batch_size": batch_size, "steps": steps, "runs": len(numbers), "first_run": numbers[0], "trials": trials, "seed": seed,
        "allowance": ground.allowance,
        "heads": [block.name for block in layout.blocks if block.kind == "head"],
        "failed": {label: str(failure) for label, failure in failures.items()},
        "surface": surface.fingerprint(), "test": None if test is None else test.fingerprint(),
    }  # fmt: skip
    compared = ends_of(surface, referee, runners, min(ends, len(numbers)), seed) if ends else None
    tested = Meter() if on_test is None else on_test.meter
    return NetworkRace(surface.name, runners, compared, referee.meter, tested, settings)


def with_heads(layout: Layout, heads: Sequence[str] | None = None) -> Layout:
    """The layout in which weights of a network's head are of the kind ``head``, which no rule takes for a hidden matrix.

    Args:
        layout: of the network.
        heads: their names; the last linear weight by default.

    Raises:
        InputError: for a name that is none of its blocks.
    """
    names = [block.name for block in layout.blocks]
    if heads is None:
        heads = [block.name for block in layout.blocks if block.kind == "linear"][-1:]
    heads = _checks.listed("heads", heads, f"names in a list, for example {names[-1:]}")
    unknown = [_checks.shown(name) for name in heads if not _checks.is_word(name, *names)]
    if unknown:
        raise InputError(
            f"got heads {', '.join(unknown)}; expected names of parameters of the network, as {', '.join(names[-4:])}."
        )
    blocks = tuple(replace(block, kind="head") if block.name in heads else block for block in layout.blocks)
    return replace(layout, blocks=blocks)


def _run(
    one: Optimizer,
    ground: Ground,
    numbers: Sequence[int],
    seed: int,
    checks: int,
    referee: Probe,
    on_test: Probe | None,
    tuning: Tuning | None,
) -> Runner:
    """All runs of one optimizer, with what is measured on the way."""
    probe, meter, surface = Probe(ground.surface), Meter(runs=len(numbers)), ground.surface
    walk = _guarded(lambda: _walk(one, ground, numbers, seed))
    marks = list(np.linspace(0, ground.allowance, checks + 1))
    noisy: list[Tensor] = []
    rows: list[tuple[float, ...]] = []
    losses: list[Tensor] = []
    tested: list[tuple[Tensor, Tensor]] = []
    query = _next(walk, one.name, ground.starts)
    if not isinstance(query, Gradients):
        error = InputError(
            f"{one.name} queries no gradients first; expected a rule that does. Race it with lossatlas.race."
        )
        raise _Failed(error)
    spent, stands = 0.0, ground.starts
    while True:
        # A rule may stop by itself, as L-BFGS does in a minimum: it is measured where it stood last.
        price = 0.0 if query is None else _price(query, surface.examples)
        over = query is None or spent + price > ground.allowance * (1 + 1e-12)
        if query is not None:
            stands = standing(query)
        while marks and (spent >= marks[0] or over):
            marks.pop(0)
            if rows and rows[-1][0] == len(noisy):
                continue
            rows.append((len(noisy), meter.queries / len(numbers), meter.examples / len(numbers), meter.seconds))
            losses.append(referee.evaluate(Values(stands)).values)
            if on_test is not None:
                reading = on_test.evaluate(Values(stands))
                tested.append(
                    (reading.values, 1 - reading.extras.get("accuracy", torch.full_like(reading.values, torch.nan)))
                )
        if query is None or over:
            break
        (answer,) = probe.answer([Request(query, meter, Budget())])
        answer = nothing(query) if answer is None else answer
        spent += price
        if isinstance(query, Gradients):
            noisy.append(answer.values)
        begin = time.perf_counter()
        query = _next(walk, one.name, ground.starts, answer)
        meter.algorithm_seconds += time.perf_counter() - begin
    columns = np.array(rows, dtype=np.float64).T
    met = torch.stack(noisy, 1) if noisy else torch.empty(len(numbers), 0, dtype=torch.float64)
    untested = np.empty((len(numbers), 0))
    return Runner(
        optimizer=one,
        steps=columns[0],
        queries=columns[1],
        examples=columns[2],
        seconds=columns[3],
        loss=torch.stack(losses, 1).cpu().numpy(),
        test_loss=torch.stack([a for a, _ in tested], 1).cpu().numpy() if tested else untested,
        test_error=torch.stack([b for _, b in tested], 1).cpu().numpy() if tested else untested,
        noisy=met.cpu().numpy(),
        final=stands.detach().clone(),
        meter=meter,
        tuning=tuning,
    )


class _Failed(Exception):
    """What an optimizer raised, which ends it alone."""

    def __init__(self, error: Exception) -> None:
        super().__init__(_said.exception(error))
        self.error = error


def _guarded(job: Callable[[], T]) -> T:
    """What an optimizer's own code returns."""
    try:
        return job()
    except Exception as error:
        raise _Failed(error) from error


def _next(walk: Walk, label: str, start: Tensor, answer: Answer | None = None) -> Query | None:
    """The next query, or None where the optimizer has stopped by itself."""

    def step() -> Query | None:
        try:
            return valid(next(walk) if answer is None else walk.send(answer), label, start)
        except StopIteration:
            return None

    return _guarded(step)


def _walk(one: Optimizer, ground: Ground, numbers: Sequence[int], seed: int) -> Walk:
    # SGD is gradient descent on mini-batches: on those of the race.
    own = GD(one.lr) if isinstance(one, SGD) and ground.batch_size is not None else one
    whole, _ = planned(own, ground.steps)
    whole = whole if ground.batch_size is None else MiniBatches(whole, ground.batch_size)
    # The same streams for every optimizer: all of them see the same mini-batches.
    return begun(whole, ground.starts.clone(), ground.layout, Streams(seed, list(numbers)))


def _price(query: Query, examples: int) -> float:
    """Of one run's query: values, gradients and products of examples in units of one value of one example."""
    rates = Exchange()
    sample = None if isinstance(query, Values) else query.sample
    weight = {Values: rates.value, Gradients: rates.gradient, Products: rates.product}[type(query)]
    return weight * count(query) * (examples if sample is None else sample.size)


def _tuned(one: Optimizer, ground: Ground, trials: int, seed: int) -> Tuning:
    """Settings drawn at random, each at the cost of the race, scored by the training loss alone."""
    names = [name for name in numbers_of(one) if name in SPACE or name in KEPT]
    drawn = drawn_settings(one, names, SPACE, trials, np.random.default_rng((seed, 7)))
    numbers = [TUNING_RUNS, TUNING_RUNS + 1]
    small = replace(ground, test=None, starts=ground.starts[[0, -1]])
    meters, scored, made = [], [], []
    for settings in drawn:
        made.append(changed(one, settings))
        scorer = Probe(ground.surface)
        runner = _run(made[-1], small, numbers, seed, 1, scorer, None, None)
        worst = np.where(np.isfinite(runner.loss[:, -1]), runner.loss[:, -1], np.inf)
        scored.append((settings, float(np.quantile(worst, 0.5, method="higher"))))
        meters += [runner.meter, scorer.meter]
    best = min(range(trials), key=lambda k: scored[k][1])
    return Tuning(made[best], tuple(scored), sum(meters, Meter()), seed)


def _fits(surface: NetworkSurface, test: NetworkSurface | None, size: int, trials: int, ends: int) -> None:
    if not isinstance(surface, NetworkSurface):
        raise InputError(
            f"network_race got a surface of type {type(surface).__name__}; expected a NetworkSurface. Race on landscapes and "
            "planes with lossatlas.race."
        )
    if not isinstance(test, NetworkSurface | None):
        raise InputError(
            f"network_race got test={_checks.shown(test)}; expected a NetworkSurface of the same model over test data, or None."
        )
    if not 1 <= size <= surface.examples:
        raise InputError(f"got batch_size={size}; expected 1 to {surface.examples}, or None for all data.")
    if test is not None and (differs := surface.layout.difference(test.layout)):
        raise InputError(
            f"the test surface is of another network; the parameters (training first) differ: {differs}. Make it of the same "
            "model over other data."
        )
