"""D5: permuting hidden units changes nothing, so every minimum has h! copies; aligned, two minima are almost one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from lossatlas._statistics import mean_interval
from lossatlas.connect import Barriers, Merge, Path, align, barriers, connect, copies, merge, random_copy
from lossatlas.lessons._lesson import Check, Ending, Lesson, Row, spent
from lossatlas.lessons._trained_networks import CNN_EPOCHS, Trained, trained_cnns, trained_mlps
from lossatlas.probe import Meter
from lossatlas.race import wilson

CLAIM = (
    "Permuting hidden units leaves the loss identical, so minima repeat: a layer of h units gives h! copies. With the units "
    "of one network put in the order of another's, most of the barrier between them is gone, the more so the wider they are."
)
WIDTHS, COPIES, PLANTED = (16, 64, 256), 10, 20
QUICK_WIDTHS, QUICK_PLANTED, QUICK_EPOCHS = (16, 64), 4, 2
# Fixed before the first run: equal to float32 rounding, and what counts as most of a barrier from this width on.
ROUNDING, MOST, WIDE = 1e-5, 1 / 3, 64
WAYS = ("naive", "permuted", "permuted + reset", "permuted + REPAIR")


def experiment(runs: int, seed: int, widths: tuple[int, ...] | None = None, quick: bool = False) -> Iterator[Row]:
    """Copies, planted permutations, and barriers before and after alignment against width, on digits."""
    widths = widths or (QUICK_WIDTHS if quick else WIDTHS)
    planted_each, epochs = (QUICK_PLANTED, QUICK_EPOCHS) if quick else (PLANTED, CNN_EPOCHS)
    yield (
        f"Hidden units of digits MLPs of width {', '.join(map(str, widths))} are permuted and rescaled, and the permutations are looked "
        f"for again. {runs} pairs of networks from different seeds are put in the same order of units by their weights, and the "
        "barriers between them are compared before and after; CNNs with batch norm are matched by activations and averaged."
    )
    meters: list[Meter] = []
    first = trained_mlps(widths[0], 2 * runs, seed)
    made = [random_copy(first.train, first.states[0], seed=seed + k) for k in range(COPIES)]
    gaps = [abs(copy.loss - copy.original) / copy.original for copy in made]
    moved = connect(first.train, first.states[0], made[0].state, test=first.test, resamples=0, progress=False)
    yield Check(
        "copies with permuted and rescaled units have the same loss (to float32 rounding)",
        f"{COPIES} copies differ by {max(gaps):.0e} at most, though they lie {np.mean([copy.distance for copy in made]):.2g} away, and the "
        f"straight line to one of them has a barrier of {moved.barrier:.2g}",
        max(gaps) < ROUNDING,
    )
    counts = {width: copies(trained_mlps(width, 2 * runs, seed).train) for width in widths}
    yield Check(
        "every layer of h units has h! of them, so that every minimum repeats",
        ", ".join(f"10^{count.log10:,.0f} copies at width {width}" for width, count in counts.items()),
        all(len(count.groups) == 2 and set(count.groups.values()) == {width} for width, count in counts.items()),
    )
    planted = [
        _recovered(nets, seed + k, meters)
        for width in widths
        for nets in [trained_mlps(width, 2 * runs, seed)]
        for k in range(planted_each)
    ]
    found = wilson(sum(planted), len(planted))
    yield Check(
        "alignment finds a permutation again that was planted (in at least 95 % of cases)",
        f"in {sum(planted)} of {len(planted)} ({found[0]:.0%} to {found[1]:.0%})",
        sum(planted) >= 0.95 * len(planted),
    )
    ladder = {}
    for width in widths:
        naive, matched = ladder[width] = _rung(trained_mlps(width, 2 * runs, seed), meters)
        ratio = mean_interval(matched.values / naive.values)
        # What the claim promises from some width on need only be a gain below it.
        most = MOST if width >= WIDE else 1.0
        yield Check(
            f"at width {width}, once units are aligned, less {'than a third ' if width >= WIDE else ''}of the barrier is left (interval)",
            f"{np.mean(matched.values / naive.values):.0%} of it ({ratio[0]:.0%} to {ratio[1]:.0%}): {naive.mean:.2g} before and "
            f"{matched.mean:.2g} after",
            ratio[1] < most,
        )
    merges = _merges(trained_cnns(2 * runs, seed, epochs), meters)
    yield from _normed_checks(merges)
    yield Ending(
        spent(*meters, *(copy.meter for copy in made), moved.meter),
        caveats=(
            "Matching finds a local optimum: what is left of a barrier may be the matching's fault.",
            "Intervals are Student's over pairs; training the networks is not in the cost.",
        ),
        data={
            "ladder": {
                str(width): {"naive": naive.record(), "matched": matched.record()}
                for width, (naive, matched) in ladder.items()
            },
            "copies": {str(width): count.log10 for width, count in counts.items()},
            "merges": {
                way: [{"loss": row.loss, "error": row.error} for row in (made[way] for made in merges)] for way in WAYS
            },
        },
        pictures={"ladder": _picture(ladder)},
    )


def _picture(ladder: dict[int, tuple[Barriers, Barriers]]) -> Any:
    from lossatlas.draw import LadderDisplay

    series = {
        name: np.stack([rung[k].values for rung in ladder.values()])
        for k, name in enumerate(("as they were trained", "with their units aligned"))
    }
    return LadderDisplay(
        np.array(list(ladder), dtype=float),
        series,
        xlabel="width of the hidden layers",
        ylabel="barrier on the straight line",
        title="Between two networks: most of the barrier is the order of the units",
        note="Digits MLPs; circles are pairs of networks, the line is their mean",
    )


def _recovered(nets: Trained, seed: int, meters: list[Meter]) -> bool:
    """Whether aligning undoes a random permutation of the first network, to the bit."""
    base = nets.train.vector(nets.states[0])
    copy = random_copy(nets.train, base, rescale=False, seed=seed, examples=64)
    found = align(nets.train, base, copy.state, restarts=1, examples=64, seed=seed)
    meters += [copy.meter, found.meter]
    return bool((nets.train.vector(found.permuted) == base).all())


def _rung(nets: Trained, meters: list[Meter]) -> tuple[Barriers, Barriers]:
    """Barriers of the straight lines of all pairs, before and after alignment."""
    naive, matched = list[Path](), list[Path]()
    for a, b in nets.pairs:
        one, two = nets.states[a], nets.states[b]
        found = align(nets.train, one, two, seed=nets.seeds[a])
        for end, paths in ((two, naive), (found.permuted, matched)):
            paths.append(connect(nets.train, one, end, test=nets.test, resamples=0, progress=False))
            meters.append(paths[-1].meter)
        meters.append(found.meter)
    return barriers(naive), barriers(matched)


def _merges(nets: Trained, meters: list[Meter]) -> list[Merge]:
    found = []
    for a, b in nets.pairs:
        one, two = nets.states[a], nets.states[b]
        made = merge(nets.train, one, two, test=nets.test, method="activations", seed=nets.seeds[a])
        found.append(made)
        meters += [made.meter] + ([made.alignment.meter] if made.alignment is not None else [])
    return found


def _normed_checks(merges: list[Merge]) -> list[Check]:
    errors = {way: np.array([100 * made[way].error["test"] for made in merges]) for way in WAYS}
    said = ", ".join(f"{way} {values.mean():.1f} %" for way, values in errors.items())
    ends = np.mean([100 * (made["a"].error["test"] + made["b"].error["test"]) / 2 for made in merges])
    losses = {way: np.array([made[way].loss["train"] for made in merges]) for way in WAYS}
    stale = mean_interval(losses["permuted"] / losses["permuted + reset"])
    repaired = mean_interval(losses["permuted"] / losses["permuted + REPAIR"])
    return [
        Check(
            "with batch norm an average of aligned networks lies lower with re-estimated statistics (interval of the factor above 1)",
            f"without, its training loss is {np.mean(losses['permuted'] / losses['permuted + reset']):.2f} times as high "
            f"({stale[0]:.2f} to {stale[1]:.2f}); test errors are: {said}; of the ends {ends:.1f} %",
            stale[0] > 1,
        ),
        Check(
            "and with REPAIR (interval of the factor above 1)",
            f"without, its training loss is {np.mean(losses['permuted'] / losses['permuted + REPAIR']):.2f} times as high "
            f"({repaired[0]:.2f} to {repaired[1]:.2f})",
            repaired[0] > 1,
        ),
    ]


LESSON = Lesson(
    "D5",
    CLAIM,
    experiment,
    runs=5,
    quick=2,
    depends="the width, and on the matching, which finds a good order of the units and not always the best.",
)
