"""D5: permuting hidden units changes nothing, so every minimum has h! copies; aligned, two minima are almost one."""

from __future__ import annotations

import numpy as np

from lossatlas._statistics import mean_interval
from lossatlas.connect import Barriers, Merge, Path, align, barriers, connect, copies, merge, random_copy
from lossatlas.lessons._lesson import Check, Lesson, Part, spent
from lossatlas.lessons._trained_networks import Trained, trained_cnns, trained_mlps
from lossatlas.probe import Meter
from lossatlas.race import wilson

CLAIM = (
    "Permuting hidden units leaves the loss identical, so minima repeat: a layer of h units gives h! copies. With the units "
    "of one network put in the order of another's, most of the barrier between them is gone, the more so the wider they are."
)
WIDTHS, COPIES, PLANTED = (16, 64, 256), 10, 20
# Fixed before the first run: equal to float32 rounding, and what counts as most of a barrier from this width on.
ROUNDING, MOST, WIDE = 1e-5, 1 / 3, 64
WAYS = ("naive", "permuted", "permuted + reset", "permuted + REPAIR")


def experiment(runs: int, seed: int, widths: tuple[int, ...] | None = None) -> Part:
    """Copies, planted permutations, and barriers before and after alignment against width, on digits."""
    widths = widths or WIDTHS
    meters: list[Meter] = []
    first = trained_mlps(widths[0], 2 * runs, seed)
    made = [random_copy(first.train, first.states[0], seed=seed + k) for k in range(COPIES)]
    gaps = [abs(copy.loss - copy.original) / copy.original for copy in made]
    moved = connect(first.train, first.states[0], made[0].state, test=first.test, resamples=0, progress=False)
    planted = [
        _recovered(nets, seed + k, meters)
        for width in widths
        for nets in [trained_mlps(width, 2 * runs, seed)]
        for k in range(PLANTED)
    ]
    found = wilson(sum(planted), len(planted))
    counts = {width: copies(trained_mlps(width, 2 * runs, seed).train) for width in widths}
    ladder = {width: _rung(trained_mlps(width, 2 * runs, seed), meters) for width in widths}
    merges = _merges(trained_cnns(2 * runs, seed), meters)
    checks = [
        Check(
            "permuted and rescaled copies have the same loss, to rounding",
            f"{COPIES} copies of width {widths[0]}: relative difference at most {max(gaps):.1e}, at distances around "
            f"{np.mean([copy.distance for copy in made]):.3g}; straight line to one of them: barrier {moved.barrier:.3g}",
            max(gaps) < ROUNDING,
        ),
        Check(
            "there are h! of them per layer",
            "; ".join(f"width {width}: 10^{count.log10:,.1f}" for width, count in counts.items()),
            all(len(count.groups) == 2 and set(count.groups.values()) == {width} for width, count in counts.items()),
        ),
        Check(
            "a planted permutation is recovered, and the barrier to the copy is then 0 (at least 95 %)",
            f"{sum(planted)} of {len(planted)} (95 % interval {found[0]:.1%} to {found[1]:.1%})",
            sum(planted) >= 0.95 * len(planted),
        ),
    ]
    for width, (naive, matched) in ladder.items():
        ratio = mean_interval(matched.values / naive.values)
        # What the claim promises from some width on need only be a gain below it.
        most = MOST if width >= WIDE else 1.0
        checks.append(
            Check(
                f"width {width}: aligned, less {'than a third ' if width >= WIDE else ''}of the barrier is left (interval)",
                f"{naive.mean:.3g} ({naive.interval[0]:.3g} to {naive.interval[1]:.3g}) before, {matched.mean:.3g} "
                f"({matched.interval[0]:.3g} to {matched.interval[1]:.3g}) after: {np.mean(matched.values / naive.values):.1%} "
                f"({ratio[0]:.1%} to {ratio[1]:.1%})",
                ratio[1] < most,
            )
        )
    checks += _normed_checks(merges)
    return Part(
        f"Digits MLPs of width {', '.join(map(str, widths))} in {runs} disjoint pairs, matched by weights; CNNs with batch norm, "
        "matched by activations, averaged with statistics interpolated, re-estimated and repaired.",
        tuple(checks),
        spent(*meters, *(copy.meter for copy in made), moved.meter),
        caveats=(
            "matching finds a local optimum: what is left of a barrier may be the matching's fault",
            "intervals are Student's over pairs; training the networks is not in the cost",
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
        found.append(merge(nets.train, one, two, test=nets.test, method="activations", seed=nets.seeds[a]))
        meters += [found[-1].meter, found[-1].alignment.meter]
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
            "with batch norm, aligned averages lie lower with re-estimated statistics (interval of the factor above 1)",
            f"test errors: {said} (ends {ends:.1f} %); train loss {np.mean(losses['permuted'] / losses['permuted + reset']):.2f} "
            f"times as high without ({stale[0]:.2f} to {stale[1]:.2f})",
            stale[0] > 1,
        ),
        Check(
            "and with REPAIR (interval of the factor above 1)",
            f"train loss {np.mean(losses['permuted'] / losses['permuted + REPAIR']):.2f} times as high without "
            f"({repaired[0]:.2f} to {repaired[1]:.2f})",
            repaired[0] > 1,
        ),
    ]


LESSON = Lesson("D5", CLAIM, experiment, runs=5)
