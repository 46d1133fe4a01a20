"""The sharpness of several networks side by side: beside the error of each estimate the error that the data leave."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from lossatlas import _checks, _said, archive
from lossatlas._errors import InputError
from lossatlas.curvature._sharpness import Sharpness, sharpness
from lossatlas.draw import Table
from lossatlas.probe import Meter
from lossatlas.surface import NetworkSurface, Surface, need_surface

if TYPE_CHECKING:
    from lossatlas.draw import BarsDisplay

_COLUMNS = ("network", "sharpness", "interval of the estimate", "standard error over the data", "loss", "examples")


@dataclass(frozen=True, eq=False)
class SharpnessTable(archive.Result):
    """One measure of sharpness of several networks.

    Attributes:
        names: of the networks.
        rows: the measure of each, on all of its data.
        halves: (n, r) the measure on r halves of the data, the same halves for networks of the same number of examples; NaN
            where a surface cannot be evaluated on a part of its data.
        data_errors: (n,) standard error over the data: how far the value would move with other examples of the same kind; NaN
            where it is not known.
        meter: what was evaluated for all.
        status: whether every error over the data is known.
    """

    KIND: ClassVar[str] = "sharpness-table"
    SAYS: ClassVar[tuple[str, ...]] = ("values",)

    names: tuple[str, ...]
    rows: tuple[Sharpness, ...]
    halves: np.ndarray
    data_errors: np.ndarray
    meter: Meter
    status: str

    @property
    def values(self) -> np.ndarray:
        """(n,) the sharpness of each."""
        return np.array([row.value for row in self.rows])

    @property
    def sentence(self) -> str:
        """The sharpest and the flattest, in words."""
        high, low = int(np.nanargmax(self.values)), int(np.nanargmin(self.values))
        return (
            f"{self.rows[0].kind} of {_said.several(len(self.names), 'network')}: from {self._with_error(low)} ({self.names[low]}) to "
            f"{self._with_error(high)} ({self.names[high]}), ± standard error over the data; {self.status}"
        )

    def difference(self, a: str, b: str) -> tuple[float, float]:
        """The sharpness of one network less that of another, and the standard error of that over the data.

        Networks that are measured on the same data share much of the luck of the draw: the error of their difference is often
        much smaller than both of their own.

        Args:
            a: name of a network.
            b: name of another one.
        """
        i, j = (self.names.index(_checks.one_of("network", name, self.names)) for name in (a, b))
        shared = self.rows[i].definition["examples"] == self.rows[j].definition["examples"]
        value = float(self.values[i] - self.values[j])
        if not shared:
            return value, float(np.hypot(self.data_errors[i], self.data_errors[j]))
        return value, _spread(self.halves[i] - self.halves[j], self.rows[i].definition["examples"])

    def table(self) -> Table:
        """One row per network."""
        return Table(self._title(), list(_COLUMNS), [[str(cell) for cell in row] for row in self._cells()])

    def to_dataframe(self) -> Any:
        """One row per network, as a pandas data frame.

        Raises:
            InputError: if pandas is not installed.
        """
        return archive.data_frame(
            [
                {
                    "network": name, "kind": row.kind, "rho": row.definition["rho"], "scaling": row.definition["scaling"],
                    "sharpness": row.value, "low": row.interval[0], "high": row.interval[1], "data_error": float(error),
                    "loss": row.loss, "examples": row.definition["examples"], "status": row.status,
                }
                for name, row, error in zip(self.names, self.rows, self.data_errors, strict=True)
            ]
        )  # fmt: skip

    def to_latex(self) -> str:
        """The table in LaTeX, with the rules of booktabs and the definition as its caption."""
        lines = [" & ".join(_escaped(cell) for cell in row) + r" \\" for row in (_COLUMNS, *self._cells())]
        body = [
            r"\begin{tabular}{lrrrrr}",
            r"\toprule",
            lines[0],
            r"\midrule",
            *lines[1:],
            r"\bottomrule",
            r"\end{tabular}",
        ]
        return "\n".join([r"\begin{table}", rf"\caption{{{_escaped(self._title())}}}", *body, r"\end{table}"]) + "\n"

    def plot(self, ax: Any = None) -> BarsDisplay:
        """One row per network, with its standard error over the data where it is known.

        Args:
            ax: matplotlib axes, or None for a new figure.
        """
        from lossatlas.draw import BarsDisplay

        off = np.nan_to_num(self.data_errors)
        note = "Bars: ± one standard error over the data" if off.any() else ""
        return BarsDisplay(
            list(self.names),
            self.values,
            self.values - off,
            self.values + off,
            xlabel=self._title(),
            note=note,
            rates=False,
        ).plot(ax)

    def _title(self) -> str:
        row = self.rows[0]
        rho, m = row.definition["rho"], row.definition["m"]
        inside = [f"ρ = {rho:g}"] if rho is not None else []
        inside += [f"scaling {row.definition['scaling']}"] if row.definition["scaling"] != "none" else []
        inside += [f"m = {m:,}"] if m is not None else []
        return f"Sharpness {row.kind}" + (f" ({', '.join(inside)})" if inside else "")

    def _with_error(self, k: int) -> str:
        error = self.data_errors[k]
        return f"{self.values[k]:.4g}" + (f" ± {error:.2g}" if math.isfinite(error) else "")

    def _cells(self) -> list[list[str]]:
        cells = []
        for name, row, error in zip(self.names, self.rows, self.data_errors, strict=True):
            low, high = row.interval
            if math.isinf(high):
                span = "a lower bound"
            else:
                ends = f"{low:.4g}", f"{high:.4g}"
                span = (
                    " to ".join(ends) if ends[0] != ends[1] else f"± {(high - low) / 2:.1g}" if high > low else "exact"
                )
            known = f"{error:.2g}" if math.isfinite(error) else "not known"
            loss = f"{row.loss:.4g}" if math.isfinite(row.loss) else ""
            cells.append([name, f"{row.value:.4g}", span, known, loss, f"{row.definition['examples']:,}"])
        return cells


def tabulate(
    surfaces: Sequence[Surface] | Mapping[str, Surface], kind: Any, halves: int, settings: dict[str, Any]
) -> SharpnessTable:
    """See `sharpness`.

    Raises:
        InputError: for no networks, or what is no surface.
    """
    named = dict(surfaces) if isinstance(surfaces, Mapping) else {}
    if not isinstance(surfaces, Mapping):
        names = [getattr(one, "name", "") for one in surfaces]
        names = names if len(set(names)) == len(names) else [f"{k + 1}: {name}" for k, name in enumerate(names)]
        named = dict(zip(names, surfaces, strict=True))
    if not named:
        raise InputError("got no networks; expected at least one surface, in a list or by name.")
    if settings["point"] is not None or settings["probe"] is not None:
        raise InputError(
            "got point or probe with several networks; expected neither: each is measured at its own point."
        )
    halves = _checks.whole("halves", halves, 0)
    if halves == 1:
        raise InputError("got halves=1; expected at least 2, or 0 for no error over the data: one half has no spread.")
    for one in named.values():
        need_surface(one, "sharpness")
    rows = [sharpness(one, kind, **settings) for one in named.values()]
    meter = sum((row.meter for row in rows), Meter())
    parts = np.full((len(rows), halves), np.nan)
    for k, one in enumerate(named.values()):
        for r in range(halves):
            half = one.part(one.examples // 2, seed=r) if isinstance(one, NetworkSurface) and one.examples > 1 else None
            fits = settings["m"] is None or (half is not None and settings["m"] <= half.examples)
            if half is None or not fits:
                break
            found = sharpness(half, kind, **settings)
            parts[k, r], meter = found.value, meter + found.meter
    errors = np.array([_spread(part, row.definition["examples"]) for part, row in zip(parts, rows, strict=True)])
    unknown = int(np.isnan(errors).sum())
    status = (
        "complete" if not unknown else f"the error over the data is not known of {_said.several(unknown, 'network')}"
    )
    return SharpnessTable(tuple(named), tuple(rows), parts, errors, meter, status)


def _spread(halves: np.ndarray, examples: int) -> float:
    """The standard error over n examples from values on halves of b of them: their deviation times √((b/n) / (1 − b/n)).

    A mean over b of n examples, drawn without replacement, has the variance (1 − b/n) σ²/b, one over all n has σ²/n.
    """
    if len(halves) < 2 or np.isnan(halves).any():
        return math.nan
    share = (examples // 2) / examples
    return float(np.std(halves, ddof=1) * math.sqrt(share / (1 - share)))


def _escaped(text: str) -> str:
    special = {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "ρ": r"$\rho$",
        "λ": r"$\lambda$",
    }
    return "".join(special.get(one, f"\\{one}" if one in "&%$#_{}" else one) for one in text)
