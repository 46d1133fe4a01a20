"""A Gaussian process over what was observed: mean, uncertainty, and the logarithm of the expected improvement."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import erfcx

from lossatlas._imports import imported

Array = NDArray[np.float64]


@dataclass(eq=False)
class Posterior:
    """The posterior of a Gaussian process with a Matérn-5/2 kernel, one length per coordinate.

    Inputs are scaled to the unit cube of the box, values to zero mean and unit deviation; lengths are fitted by
    maximum likelihood (scikit-learn). A loss that is not finite counts as the worst finite one; losses of any size are
    measured in their largest.

    Args:
        points: (n, N).
        values: (n,).
        box: (N, 2).
        kernel: a fitted kernel to keep, or None to fit.
    """

    points: Array
    values: Array
    box: Array
    kernel: Any = None

    def __post_init__(self) -> None:
        imported("sklearn.gaussian_process")
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.gaussian_process import GaussianProcessRegressor
        from sklearn.gaussian_process.kernels import ConstantKernel, Matern

        finite = self.values[np.isfinite(self.values)]
        worst = float(finite.max()) if finite.size else 0.0
        clean = np.where(np.isfinite(self.values), self.values, worst)
        # In a power of two, which changes no bit of the result, squares neither overflow nor vanish.
        unit = 2.0 ** float(np.clip(np.frexp(np.abs(clean).max(initial=0.0))[1], -1000, 1000))
        self.lowest = float(clean.min())
        self.middle, self.scale = unit * float((clean / unit).mean()), unit * float((clean / unit).std()) or 1.0
        fitted = self.kernel is not None
        kernel = self.kernel or ConstantKernel(1.0, (1e-2, 1e3)) * Matern(
            np.full(self.points.shape[1], 0.3), (1e-2, 1e1), nu=2.5
        )
        self._process = GaussianProcessRegressor(kernel, alpha=1e-8, optimizer=None if fitted else "fmin_l_bfgs_b")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            self._process.fit(self.unit(self.points), (clean - self.middle) / self.scale)
        self.kernel = self._process.kernel_

    def unit(self, points: Array) -> Array:
        """Points (…, N) of the box in the unit cube."""
        low, high = self.box[:, 0], self.box[:, 1]
        return (points - low) / (high - low)

    def predict(self, points: Array) -> tuple[Array, Array]:
        """Mean and standard deviation of the loss at points (m, N), each (m,), in units of the loss."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # variances below zero by rounding are set to zero, as is right
            mean, deviation = self._process.predict(self.unit(points), return_std=True)
        return self.middle + self.scale * mean, self.scale * deviation

    def log_improvement(self, points: Array, best: float) -> Array:
        """Log of the expected improvement below `best` at points (m, N), shape (m,).

        log EI = log σ + log h(z), h(z) = φ(z) + zΦ(z), z = (best − μ)/σ, by the scaled complementary error function so
        that it stays finite where EI underflows (Ament et al. 2023).
        """
        mean, deviation = self.predict(points)
        deviation = np.maximum(deviation, 1e-12 * self.scale)
        return np.asarray(np.log(deviation) + log_h((best - mean) / deviation))


def log_h(z: Array) -> Array:
    """log(φ(z) + zΦ(z)), stable for any z."""
    z = np.asarray(z, dtype=np.float64)
    density = -0.5 * z * z - 0.5 * np.log(2 * np.pi)
    near = np.clip(z, -1e4, 8.0)
    inner = near * np.sqrt(np.pi / 2) * erfcx(-near / np.sqrt(2))
    far_left = -2 * np.log(np.maximum(np.abs(z), 1.0))
    left = density + np.where(z < -1e4, far_left, np.log1p(np.maximum(inner, -1 + 1e-16)))
    return np.where(z > 8.0, np.log(np.maximum(z, 1.0)), left)
