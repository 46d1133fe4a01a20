"""Principal components of a path as directions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, final

from torch import Tensor

from lossatlas import _checks
from lossatlas.chart.directions._direction import EUCLIDEAN, Direction, Drawn
from lossatlas.chart.directions._principal import Centering, principal
from lossatlas.chart.planes._origin import point_of
from lossatlas.chart.planes._policy import Ignore, resolved
from lossatlas.chart.planes._walked import Walked, walked
from lossatlas.surface import PointLike, Surface

Iterates = Tensor | Sequence[PointLike] | Walked | str | Path


@final
@dataclass(frozen=True, eq=False)
class Pca(Direction):
    """A leading principal component of a path of iterates, of unit length (Li et al. 2018, section 7).

    A line or plane along it is centered at the last iterate unless it is given another origin. How much of the path it
    holds is on record, beside what a random walk would give: two components that hold 90 % of a path are no finding
    (Antognini and Sohl-Dickstein 2018).

    Args:
        iterates: shape (n, N), or a sequence of vectors, state dicts, modules or checkpoint files, in order; at least 3.
            Safetensors files are read a block at a time. Or the folder that holds them, by its numbered files or folders
            (``checkpoint-16``, ``checkpoint-32`` …); or a `Recording`, or its folder; of one with sketches, the components of
            the plane through its kept points that comes nearest to its own.
        component: 1 for the first, 2 for the second.
        centering: ``final`` takes components of θ_i − θ_n, as the paper defines it; ``mean`` of θ_i − mean, as its
            reference implementation does.
        ignore: ``biasbn`` to leave vectors, scalars and norms out.
    """

    iterates: Iterates
    component: int = 1
    centering: Centering = "final"
    ignore: Ignore | None = None

    kind: ClassVar[str] = "pca"

    def home(self, surface: Surface) -> Tensor:
        """The last iterate."""
        run = walked(self.iterates)
        if run is not None and run.sketched:
            run.check(surface)
            return run.directions(self.centering)[0].to(surface.device)
        expected = "points in order: rows of a tensor, a list of points, a recording or a folder of one"
        points = _checks.listed("iterates", self.iterates if run is None else run.iterates, expected)
        return point_of(surface, points[-1]) if points else point_of(surface, None)  # none are refused when drawn

    def draw(self, surface: Surface, origin: Tensor) -> Drawn:
        """The component."""
        (drawn,), record = _components([self], surface)
        return replace(drawn, record=record)

    @classmethod
    def together(
        cls, several: Sequence[Pca], surface: Surface, origin: Tensor
    ) -> tuple[list[Drawn], dict[str, Any]] | None:
        """Components of one path, out of one decomposition."""
        first = several[0]
        same = all(
            one.iterates is first.iterates and (one.centering, one.ignore) == (first.centering, first.ignore)
            for one in several
        )
        return _components(several, surface) if same else None


def _components(several: Sequence[Pca], surface: Surface) -> tuple[list[Drawn], dict[str, Any]]:
    first = several[0]
    which = [_checks.whole("component", one.component, 1, 2) - 1 for one in several]
    resolved("none", first.ignore)
    _, rows, record, notes = principal(surface, first.iterates, centering=first.centering, ignore=first.ignore)
    walk = {name: [shares[k] for k in which] for name, shares in record["random_walk"].items()}
    record |= {"random_walk": walk, "shares": [record["shares"][k] for k in which]}
    if which != [0, 1]:
        record["components"] = [k + 1 for k in which]
    labels = [f"component {k + 1} of the path, {share:.1%}" for k, share in zip(which, record["shares"], strict=True)]
    drawn = [
        Drawn(rows[k], {}, label, notes if n == 0 else (), EUCLIDEAN)
        for n, (k, label) in enumerate(zip(which, labels, strict=True))
    ]
    return drawn, record
