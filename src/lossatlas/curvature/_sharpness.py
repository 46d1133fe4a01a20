"""Sharpness by its several definitions, none without its radius, norm, scaling, sub-batch and data."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypedDict, Unpack, cast, overload

import numpy as np

from lossatlas import _checks, _statistics, archive
from lossatlas._errors import InputError
from lossatlas._progress import Show
from lossatlas.curvature._hessian import Hessian
from lossatlas.curvature._operator import How
from lossatlas.curvature._worst import Found, average, keskar, scale, worst
from lossatlas.probe import Meter, Probe
from lossatlas.surface import NetworkSurface, PointLike, Surface, need_surface

if TYPE_CHECKING:
    from lossatlas.curvature._sharpness_table import SharpnessTable

Kind = Literal["lambda-max", "trace", "keskar", "sam", "asam", "average"]
KINDS: dict[str, str] = {
    "lambda-max": "λmax of D H D",
    "trace": "tr D H D",
    "keskar": "100 (max L(θ + z) − L(θ)) / (1 + L(θ)) over |zᵢ| ≤ ρ (|θᵢ| + 1)",
    "sam": "L(θ + e) − L(θ) at e = ρ g/‖g‖",
    "asam": "L(θ + e) − L(θ) at e = ρ D²g/‖Dg‖, D = |θ| + η",
    "average": "E L(θ + ρ D z) − L(θ) over z ~ N(0, I)",
}
ASCENTS = {
    "sam": "max L(θ + e) − L(θ) over ‖e‖ ≤ ρ",
    "asam": "max L(θ + e) − L(θ) over ‖D⁻¹e‖ ≤ ρ, D = |θ| + η",
}
SOURCES = {
    "lambda-max": "Cohen et al., Gradient descent on neural networks typically occurs at the edge of stability, ICLR 2021",
    "trace": "Yao et al., PyHessian, IEEE Big Data 2020",
    "keskar": "Keskar et al., On large-batch training for deep learning, ICLR 2017, eq. 4",
    "sam": "Foret et al., Sharpness-aware minimization, ICLR 2021",
    "asam": "Kwon et al., ASAM, ICML 2021",
    "average": "Andriushchenko et al., A modern look at the relationship between sharpness and generalization, ICML 2023",
}
RADII = {"keskar": 1e-3, "sam": 0.05, "asam": 0.5, "average": 0.1}
# Half samples behind an error over the data, whose own relative error is then 1/√(2 (HALVES − 1)): a quarter.
HALVES = 9
OWN_SCALING = {"lambda-max": "none", "trace": "none", "keskar": "none", "sam": "none", "asam": "elementwise",
               "average": "elementwise"}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Sharpness(archive.Result):
    """One measure of sharpness with everything that defines it.

    Attributes:
        kind: which one.
        value: what it came to.
        interval: of the value: Student's where it is a mean, the residual where it is an eigenvalue, upward open where it is
            a lower bound, one point where it is exact.
        definition: formula, ρ, norm, scaling, biases, η, m, sub-batches, steps and examples, plain JSON values.
        draws: (n,) the single values behind a mean; empty otherwise.
        loss: L at the point, NaN where it was not computed.
        meter: what was evaluated for it.
        provenance: surface, point and versions, plain JSON values.
        status: how the value was come by.
    """

    KIND: ClassVar[str] = "sharpness"

    kind: str
    value: float
    interval: tuple[float, float]
    definition: dict[str, Any]
    draws: np.ndarray
    loss: float
    meter: Meter
    provenance: dict[str, Any]
    status: str

    @property
    def sentence(self) -> str:
        """The measure in words, with its definition."""
        low, high = self.interval
        how = f"{self.value:.4g}"
        if math.isinf(high):
            how = f"at least {how}"
        elif high > low:
            how += f" [{low:.4g}, {high:.4g}]"
        d = self.definition
        parts = [f"ρ = {d['rho']:g} in the {d['norm']}-norm"] if d["rho"] is not None else []
        parts += [f"scaling {d['scaling']}"] if d["scaling"] != "none" else []
        parts += [f"biases {d['biases']}"] if d["scaling"] == "elementwise" else []
        parts += [f"m = {d['m']:,} in {d['sub_batches']} sub-batches"] if d["m"] is not None else []
        inside = f" ({', '.join(parts)})" if parts else ""
        return f"{self.kind}{inside}: {how}; {self.status}"


class Settings(TypedDict, total=False):
    """What `sharpness` takes beside surfaces and the kind."""

    rho: float | None
    point: PointLike | None
    scaling: Literal["none", "filter", "elementwise"] | None
    biases: Literal["normalized", "plain"]
    eta: float
    m: int | None
    batches: int | None
    steps: int
    samples: int
    subspace: int | None
    restarts: int
    relative: float
    confidence: float
    seed: int
    how: How
    probe: Probe | None
    progress: Show


@overload
def sharpness(surface: Surface, kind: Kind = "lambda-max", **settings: Unpack[Settings]) -> Sharpness: ...
@overload
def sharpness(
    surface: Sequence[Surface] | Mapping[str, Surface],
    kind: Kind = "lambda-max",
    *,
    halves: int = HALVES,
    **settings: Unpack[Settings],
) -> SharpnessTable: ...
def sharpness(
    surface: Surface | Sequence[Surface] | Mapping[str, Surface],
    kind: Kind = "lambda-max",
    *,
    halves: int = HALVES,
    rho: float | None = None,
    point: PointLike | None = None,
    scaling: Literal["none", "filter", "elementwise"] | None = None,
    biases: Literal["normalized", "plain"] = "normalized",
    eta: float = 0.0,
    m: int | None = None,
    batches: int | None = None,
    steps: int = 1,
    samples: int = 64,
    subspace: int | None = None,
    restarts: int = 0,
    relative: float = 0.05,
    confidence: float = 0.95,
    seed: int = 0,
    how: How = "auto",
    probe: Probe | None = None,
    progress: Show = True,
) -> Sharpness | SharpnessTable:
    """How sharp a surface is at a point, or several surfaces each at its own, by one of six definitions.

    ==============  ==========================================================================================
    ``lambda-max``  the largest eigenvalue of D H D
    ``trace``       tr D H D
    ``keskar``      100 (max L(θ + z) − L(θ)) / (1 + L(θ)) over the box |zᵢ| ≤ ρ (|θᵢ| + 1), by ten steps of L-BFGS-B
    ``sam``         the worst case L(θ + e) − L(θ) over ‖e‖ ≤ ρ, as one step of ascent e = ρ g/‖g‖ has it
    ``asam``        the same over ‖D⁻¹e‖ ≤ ρ with D = |θ| + η, e = ρ D²g/‖Dg‖
    ``average``     E L(θ + ρ D z) − L(θ), z ~ N(0, I)
    ==============  ==========================================================================================

    No number means anything without its definition: it is kept in `definition`. With D = 1 every one of them can be made
    as large or small as one likes by rescaling a ReLU network that stays the same function (Dinh et al. 2017); with
    ``elementwise`` scaling of all parameters (biases ``normalized``, η = 0) it cannot. See `sharpness_invariance`. Small
    is not good: whether a measure goes along with the test error is another question, the one of lesson D3.

    Two errors belong to such a number: that of the estimate, and that of the data, which are one draw of many. Of several
    networks both are measured, the second from the spread over random halves of the data (n examples without replacement have
    the variance of their mean halved, which is that of a mean over twice as many).

    Args:
        surface: any surface that knows gradients; or several, in a list or by name, for a table.
        kind: which definition.
        halves: of several networks: random halves of the data that each is measured on again, for the error over the data; 0
            for none.
        rho: the radius; 0.05 for ``sam``, 0.5 for ``asam``, 0.1 for ``average``, and 0.001 (Keskar's ε) for ``keskar``.
        point: where, whatever describes a point (a vector, state dict, module or file); the surface's own by default.
        scaling: D: ``none`` is 1, ``elementwise`` |θ|, ``filter`` ‖w_j‖/√n_j on filter j and 0 on biases. For
            ``lambda-max`` and ``trace`` (default none) and ``average`` (default elementwise); the others have their own.
        biases: with elementwise scaling, whether blocks of one axis are ``normalized`` like weights or ``plain`` (D = 1). Published
            values of ρ for ASAM differ by a factor of four between the two.
        eta: η, added to |θ|; the ASAM paper has 0.01, with which the measure is no longer quite invariant.
        m: for ``sam`` and ``asam``: sub-batches of m examples, the worst case taken on each alone and averaged. All
            examples together by default. Smaller m, larger value.
        batches: how many sub-batches, drawn at random; by default as many as make up the data, from 8 to 64.
        steps: of ascent, for ``sam`` and ``asam``: one as the papers have it, or more for a better lower bound of the worst
            case in the ball; the highest loss met counts.
        samples: pairs of opposite random steps for ``average``.
        subspace: for ``keskar``: that many random directions in place of all parameters.
        restarts: for ``keskar``: further ascents from random points in the box.
        relative: how narrow the interval of the trace is to be.
        confidence: of intervals.
        seed: random seed.
        how: as of `Hessian`, for ``lambda-max`` and ``trace``: ``exact``, ``differences`` or ``auto``.
        probe: what evaluates and counts; a new one by default.
        progress: True for a bar on the error stream of a terminal, False for silence, or a function of (done, total), of
            the products behind ``lambda-max`` and ``trace``.

    Returns:
        The `Sharpness`; of several surfaces the `SharpnessTable`.

    Raises:
        UnknownNameError: for another kind, scaling or treatment of biases.
        InputError: for settings that do not fit, or that the kind does not have.
        LossError: if a loss nearby is not finite.

    Example:
        >>> import lossatlas as la
        >>> bowl = la.landscapes.quadratic(condition=9.0)
        >>> round(sharpness(bowl, "lambda-max").value, 6)
        9.0
    """
    _checks.one_of("kind of sharpness", kind, KINDS)
    if isinstance(surface, Mapping | list | tuple):
        from lossatlas.curvature._sharpness_table import tabulate

        settings = {
            "rho": rho, "point": point, "scaling": scaling, "biases": biases, "eta": eta, "m": m, "batches": batches,
            "steps": steps, "samples": samples, "subspace": subspace, "restarts": restarts, "relative": relative,
            "confidence": confidence, "seed": seed, "how": how, "probe": probe, "progress": progress,
        }  # fmt: skip
        return tabulate(surface, kind, halves, settings)
    need_surface(surface, "sharpness")
    surface = cast(Surface, surface)
    eta = _checks.number("eta", eta, least=0)
    rho = _checked(surface, kind, rho, scaling, eta, m, batches, steps, samples, restarts, subspace)
    relative = _checks.number("relative", relative, above=0, do="It is a share of the trace, such as 0.05.")
    confidence = _checks.number("confidence", confidence, above=0, below=1, do="It is a probability, such as 0.95.")
    steps, samples, restarts, seed = int(steps), int(samples), int(restarts), _checks.seed(seed)
    m, batches = (None if count is None else int(count) for count in (m, batches))
    own = OWN_SCALING[kind] if scaling is None else scaling
    operator = Hessian(surface, point, how=how, probe=probe)
    theta = operator.point.double()
    d = scale(theta, surface.layout, own, biases, eta)
    probe = operator.probe
    count = _batches(surface, m, batches)
    found = Found(np.empty(0), math.nan, "")
    if kind == "lambda-max":
        ends = operator.scaled(d).extremes(1, seed=seed, progress=progress)
        value, residual = float(ends.largest.values[0]), float(ends.largest.residuals[0])
        span, status = (value - residual, value + residual), ends.status
    elif kind == "trace":
        guess = operator.scaled(d).trace(seed=seed, relative=relative, confidence=confidence, progress=progress)
        value, span, status, found = guess.value, guess.interval, guess.status, Found(guess.draws, math.nan, "")
    else:
        assert rho is not None
        if kind == "keskar":
            found = keskar(surface, probe, theta, rho, subspace, restarts, seed)
        elif kind == "average":
            found = average(surface, probe, theta, d, rho, samples, seed)
        else:
            found = worst(surface, probe, theta, d, rho, steps, m, count, seed)
        value, span, status = float(found.draws.mean()), _span(kind, found, steps, confidence), found.status
    treated = {"elementwise": biases, "filter": "left out"}.get(own, "as they are")
    norm = {"keskar": "max"}.get(kind, "2") if rho is not None else None
    definition = {
        "formula": KINDS[kind] if steps == 1 else ASCENTS.get(kind, KINDS[kind]),
        "rho": rho,
        "norm": norm,
        "scaling": own,
        "biases": treated,
        "eta": eta,
        "m": m,
        "sub_batches": count if m is not None else None,
        "examples": surface.examples,
        "steps": steps if kind in ("sam", "asam") else None,
        "samples": samples if kind == "average" else None,
        "subspace": subspace,
        "restarts": restarts if kind == "keskar" else None,
        "confidence": confidence,
        "source": SOURCES[kind],
    }
    draws = found.draws if len(found.draws) > 1 else np.empty(0)
    return Sharpness(
        kind, value, span, definition, draws, found.loss, operator.spent(), operator.provenance(seed=seed), status
    )


def _span(kind: str, found: Found, steps: int, confidence: float) -> tuple[float, float]:
    value = float(found.draws.mean())
    if len(found.draws) > 1:
        return _statistics.mean_interval(found.draws, confidence)
    exact = kind in ("sam", "asam") and steps == 1
    return (value, value) if exact else (value, math.inf)


def _batches(surface: Surface, m: int | None, batches: int | None) -> int:
    if m is None:
        return 1
    return batches or min(64, max(8, -(-surface.examples // m)))


def _checked(
    surface: Surface, kind: str, rho: float | None, scaling: str | None, eta: float, m: int | None, batches: int | None,
    steps: int, samples: int, restarts: int, subspace: int | None,
) -> float | None:  # fmt: skip
    if kind not in RADII:
        if rho is not None:
            raise InputError(f"got rho={rho} for {kind}; expected none: the curvature at a point has no radius.")
    else:
        rho = RADII[kind] if rho is None else rho
        rho = _checks.number("rho", rho, above=0)
    _checks.optional(_checks.text, "scaling", scaling, where="sharpness")
    if scaling is not None and kind in ("keskar", "sam", "asam") and scaling != OWN_SCALING[kind]:
        raise InputError(
            f"got scaling={scaling!r} for {kind}; its own is {OWN_SCALING[kind]!r}. Use sam or asam, or leave it."
        )
    if m is not None and (kind not in ("sam", "asam") or not isinstance(surface, NetworkSurface)):
        raise InputError(
            f"got m={m} for {kind} on {surface.name}; expected none. Sub-batches make sense for sam and asam, on a network."
        )
    if m is not None:
        _checks.whole("m", m, 1, surface.examples, do="These are examples of a sub-batch.")
    _checks.optional(_checks.whole, "batches", batches, 2)
    for name, count, low in (("steps", steps, 1), ("samples", samples, 2), ("restarts", restarts, 0)):
        _checks.work("sharpness", {name: _checks.whole(name, count, low)})
    foreign = {
        "steps": (steps, steps == 1 or kind in ASCENTS, "sam and asam"),
        "restarts": (restarts, restarts == 0 or kind == "keskar", "keskar"),
        "subspace": (subspace, subspace is None or kind == "keskar", "keskar"),
        "batches": (batches, batches is None or m is not None, "sam and asam with sub-batches of m examples"),
    }
    for name, (number, fits, whose) in foreign.items():
        if not fits:
            raise InputError(f"got {name}={number} for {kind}; expected none: it is a setting of {whose}.")
    return rho
