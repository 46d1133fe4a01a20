"""The 24 noiseless functions of BBOB as surfaces: known truth that nobody here wrote."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from lossatlas import _checks
from lossatlas._errors import InputError, NotApplicableError
from lossatlas._layout import Layout, Sample
from lossatlas.surface._surface import Reading, Surface, Well

FUNCTIONS = 24


class Bbob(Surface):
    """One instance of one BBOB function (Hansen et al. 2021), values only, on the box [−5, 5]^N.

    Values come from the library ioh (extra ``bbob``), whose instances are those of COCO to 1e-12; the optimum is known
    and shown to no algorithm. Gradients are not: race `finite-differences(…)` to count them as values.

    Args:
        function: 1 to 24.
        dimension: N, at least 2.
        instance: 1 and up; 1 to 5 are the usual ones.

    Raises:
        InputError: for another function, dimension or instance, or without the library.

    Example:
        >>> surface = Bbob(1, 2, 1)
        >>> [round(float(x), 4) for x in surface.wells[0].minimum], round(surface.wells[0].value, 2)
        ([0.2528, -1.1568], 79.48)
    """

    gradients_known = False

    def __init__(self, function: int, dimension: int = 2, instance: int = 1) -> None:
        function = _checks.whole("function", function, 1, FUNCTIONS, where="Bbob")
        dimension = _checks.whole("dimension", dimension, 2, 40, where="Bbob")
        instance = _checks.whole("instance", instance, where="Bbob")
        try:
            import ioh
        except ImportError as error:
            raise InputError(
                "BBOB needs the library ioh, which is not installed; pip install 'lossatlas[bbob]'."
            ) from error
        self._problem: Any = ioh.get_problem(function, instance, dimension, ioh.ProblemClass.BBOB)
        self.name = f"bbob f{function} in {dimension}-D, instance {instance}"
        self.function, self.instance = function, instance
        box = torch.tensor([[-5.0, 5.0]], dtype=torch.float64).repeat(dimension, 1)
        self.layout = Layout.vector(dimension, box)
        self.start = torch.zeros(dimension, dtype=torch.float64)
        self.optimum = float(self._problem.optimum.y)
        best = torch.tensor(np.array(self._problem.optimum.x), dtype=torch.float64)
        self.wells = (Well("global", best, -self.optimum, best, self.optimum),)

    def read(self, points: Tensor) -> Reading:
        """Losses at points (B, N), one call of the library each."""
        if points.ndim != 2 or points.shape[1] != self.dimension:
            raise InputError(
                f"got points of shape {tuple(points.shape)} on {self.name!r}; expected (B, {self.dimension})."
            )
        rows = points.detach().double().tolist()
        return Reading(torch.tensor([self._problem(row) for row in rows], dtype=torch.float64))

    def gradients(self, points: Tensor, sample: Sample | None = None) -> tuple[Tensor, Tensor]:
        """Not answered."""
        raise NotApplicableError(f"{self.name} answers values only.")

    def products(self, point: Tensor, vectors: Tensor) -> Tensor:
        """Not answered."""
        raise NotApplicableError(f"{self.name} answers values only.")

    def fingerprint(self) -> dict[str, Any]:
        """Function, dimension and instance."""
        return {**super().fingerprint(), "suite": "bbob", "function": self.function, "instance": self.instance}
