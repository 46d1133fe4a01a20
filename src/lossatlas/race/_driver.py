"""The lockstep driver: at every step the queries of all racers are answered in one batch."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence

from lossatlas._errors import NotApplicableError
from lossatlas._progress import Progress, Show
from lossatlas.optimize import Optimizer, labeled
from lossatlas.probe import Budget, Gradients, Probe, Products, Request, Values
from lossatlas.race._inputs import check, starts
from lossatlas.race._judge import judge
from lossatlas.race._race import Race
from lossatlas.race._racer import Racer
from lossatlas.surface import PointLike, Surface

# Seconds between two reports of progress.
REPORT = 0.1


def race(
    surface: Surface,
    optimizers: Iterable[str | Optimizer] | Mapping[str, str | Optimizer],
    *,
    start: PointLike | Sequence[PointLike] | None = None,
    steps: int = 300,
    budget: int | Budget | None = None,
    runs: int = 1,
    seed: int = 0,
    progress: Show = True,
) -> Race:
    """Let optimizers walk on one surface, side by side, each query counted.

    Args:
        surface: any surface, a slice of a network included.
        optimizers: names, optimizers, or a mapping of labels to either.
        start: whatever describes a point (a vector, state dict, module or file), or rows (runs, N) or as many points for a
            start per run; the surface's own start by default.
        steps: per descent and run. A restarted method gets as many for each of its descents.
        budget: queries per run and racer, checked before answering: never one over.
        runs: how often each racer runs, all at once; run b uses the random stream (seed, racer, b), so that it is
            the same run alone or beside others.
        seed: random seed.
        progress: True for a bar on the error stream of a terminal, False for silence, or a function of (answers so far,
            answers at most), called a few times a second.

    Returns:
        A `Race`: trajectories, losses, a meter and a verdict per racer. A racer whose queries the surface cannot
        answer, that lacks a library, that meets a loss that is not finite, or that fails ends with that status, and with
        its own sentence in its track and verdict, while the others go on.

    Raises:
        StartError: if the start has another dimension, is not finite, or lies outside the box.
        UnknownNameError: for an optimizer that is not in the catalog.
        InputError: for steps, runs or a budget below one.
        Exception: what a racer raised, if every racer failed.

    Example:
        >>> import lossatlas as la
        >>> surface = la.landscapes.regression()
        >>> la.race(surface, ["gd"], steps=200).verdicts["gd"].wells
        ('global',)
    """
    steps, runs, seed = check("race", surface, seed, steps=steps, runs=runs)
    limit = budget if isinstance(budget, Budget) else Budget(budget)
    begin = starts(surface, start, runs)
    racers = [Racer(label, one, surface, begin, steps, seed) for label, one in labeled(optimizers).items()]
    probe, live = Probe(surface), [racer for racer in racers if not racer.done]
    _answered(probe, racers, live, limit, progress)
    failures = [racer.failure for racer in racers if racer.failure is not None]
    if len(failures) == len(racers):
        raise failures[0]
    referee = Probe(surface)
    tracks = {racer.label: racer.track(referee) for racer in racers}
    return Race(surface, tracks, judge(surface, referee, tracks), steps, seed, referee.meter, limit.queries)


def _answered(probe: Probe, racers: list[Racer], live: list[Racer], limit: Budget, progress: Show) -> None:
    """Answer the queries of all racers, step by step, until there are no more."""
    with Progress(sum(racer.length for racer in racers), progress, "racing") as bar:
        said = time.perf_counter()
        while live:
            requests = [Request(racer.next_query(), racer.meter, limit) for racer in live]
            try:
                answers = probe.answer(requests)
            except NotApplicableError:
                live = _drop_unanswerable(live, probe.surface)
                continue
            for racer, answer in zip(live, answers, strict=True):
                racer.hear(answer)
            live = [racer for racer in live if not racer.done]
            if time.perf_counter() - said > REPORT:
                said = time.perf_counter()
                bar.advance(sum(racer.answered for racer in racers) - bar.done)
        # Racers may have stopped early.
        answered = sum(racer.answered for racer in racers)
        bar.grow(answered)
        bar.advance(answered - bar.done)


def _drop_unanswerable(live: list[Racer], surface: Surface) -> list[Racer]:
    for racer in live:
        if not isinstance(racer.query, Values):
            kind = {Gradients: "gradients", Products: "Hessian products"}[type(racer.query)]
            racer.refuse(f"it needs {kind}, which {surface.name} does not provide.")
    return [racer for racer in live if not racer.done]
