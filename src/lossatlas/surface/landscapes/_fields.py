"""Random Gaussian fields of any dimension: the landscapes for which the statistics of critical points are known."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from lossatlas import _checks
from lossatlas.surface.landscapes._landscape import Formula, Landscape

REACH = 3.0
WAVES_PER_ENTRY = 16
FEWEST_WAVES = 256
CHUNK = 4096


@dataclass(frozen=True)
class RandomWaves(Formula):
    """F = m^(−1/2) Σⱼ aⱼ cos(kⱼ·u) + bⱼ sin(kⱼ·u), with aⱼ, bⱼ ~ N(0, 1) and kⱼ ~ N(0, I/ℓ²).

    Attributes:
        dimension: N.
        seed: of the waves.
        waves: m.
        length: ℓ.
    """

    dimension: int
    seed: int
    waves: int
    length: float

    @cached_property
    def _parts(self) -> tuple[Tensor, Tensor, Tensor]:
        """Wave vectors (N, m, 1) and the two amplitudes (m, 1), m^(−1/2) included."""
        generator = torch.Generator().manual_seed(self.seed)
        drawn = torch.randn(self.dimension + 2, self.waves, 1, generator=generator, dtype=torch.float64)
        return drawn[2:] / self.length, drawn[0] / math.sqrt(self.waves), drawn[1] / math.sqrt(self.waves)

    def drawn(self) -> dict[str, object]:
        """The waves that the seed gives: wave vectors, and both amplitudes with m^(−1/2) in them."""
        k, a, b = self._parts
        return {"k": k[:, :, 0].tolist(), "a": a[:, 0].tolist(), "b": b[:, 0].tolist()}

    def value(self, u: Tensor) -> Tensor:
        """The formula above."""
        _, a, b = self._parts
        phase = self._along(u)
        return fold(a * torch.cos(phase) + b * torch.sin(phase))

    def gradient(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """Values and m^(−1/2) Σⱼ (bⱼ cos(kⱼ·u) − aⱼ sin(kⱼ·u)) kⱼ."""
        _, a, b = self._parts
        phase = self._along(u)
        cosine, sine = torch.cos(phase), torch.sin(phase)
        return fold(a * cosine + b * sine), self._gather(b * cosine - a * sine)

    def curve(self, u: Tensor, v: Tensor) -> Tensor:
        """−m^(−1/2) Σⱼ (aⱼ cos(kⱼ·u) + bⱼ sin(kⱼ·u)) (kⱼ·v) kⱼ."""
        _, a, b = self._parts
        phase = self._along(u)
        return self._gather(-(a * torch.cos(phase) + b * torch.sin(phase)) * self._along(v))

    def _along(self, u: Tensor) -> Tensor:
        """kⱼ·u for every wave, shape (m, B)."""
        return fold(self._parts[0] * u[:, None, :])

    def _gather(self, weights: Tensor) -> Tensor:
        """Σⱼ wⱼ kⱼ for weights (m, B), shape (N, B)."""
        return fold((weights * self._parts[0]).transpose(0, 1))


def fold(terms: Tensor) -> Tensor:
    """Sum over the first axis by halves, elementwise and in an order that depends on the length alone.

    What `total` does for a few terms, for many: a row's bits do not depend on its neighbors.
    """
    count = terms.shape[0]
    while count > 1:
        half, odd = divmod(count, 2)
        paired = terms[:half] + terms[half : 2 * half]
        terms = torch.cat([paired, terms[2 * half :]]) if odd else paired
        count = half + odd
    return terms[0]


def random_field(
    dimension: int = 2,
    seed: int = 0,
    *,
    waves: int | None = None,
    length: float = 1.0,
) -> Landscape:
    """A stationary isotropic Gaussian random field with covariance E[L(x) L(y)] = exp(−|x − y|² / (2ℓ²)).

    L(u) = m^(−1/2) Σⱼ aⱼ cos(kⱼ·u) + bⱼ sin(kⱼ·u), a sum of m random waves with aⱼ, bⱼ ~ N(0, 1), kⱼ ~ N(0, I/ℓ²).
    Given its wave vectors the field is exactly Gaussian and stationary with covariance (1/m) Σⱼ cos(kⱼ·(x − y)),
    which is the one above up to O(m^(−1/2)); over the draw of the waves, entries of the Hessian have an excess
    kurtosis of about 30/m. Mean 0, variance 1, mean square slope N/ℓ².

    At a point of height h the Hessian is (M − h I)/ℓ² with M from the Gaussian orthogonal ensemble (variance 1 off the
    diagonal, 2 on it): its spectrum is a semicircle of radius 2√N that moves down as the height grows. That
    makes this field the ground for claims on saddles: see `field_indices`. The box is [−3ℓ, 3ℓ]ᴺ, the start its center.
    No wells are listed.

    Args:
        dimension: N, at least 1.
        seed: of the waves.
        waves: m; by default 16 for each entry of a Hessian, at least 256, rounded up to a power of two.
        length: ℓ, over which the field is correlated.

    Returns:
        The landscape.

    Raises:
        InputError: for a dimension, seed, number of waves or length that cannot be.

    Source:
        Random waves: Rahimi and Recht, Random features for large-scale kernel machines, NeurIPS 2007. Critical points
        of Gaussian fields: Bray and Dean, Phys. Rev. Lett. 98, 150201 (2007); Fyodorov, Phys. Rev. Lett. 92, 240601
        (2004).

    Example:
        >>> surface = random_field(dimension=5, seed=1)
        >>> surface.dimension, tuple(surface.box[0].tolist())
        (5, (-3.0, 3.0))
    """
    dimension = _checks.whole("dimension", dimension, 1, _checks.MOST_DIMENSIONS)
    if waves is None:
        waves = max(FEWEST_WAVES, 2 ** math.ceil(math.log2(WAVES_PER_ENTRY * dimension * (dimension + 1) // 2)))
    waves = _checks.whole("waves", waves, 1, max(1, _checks.MOST_HELD // dimension))
    seed, length = _checks.seed(seed), _checks.number("length", length, above=0)
    return Landscape(
        "random-field",
        RandomWaves(dimension, seed, waves, length),
        bounds=[(-REACH * length, REACH * length)] * dimension,
        start=(0.0,) * dimension,
        wells_complete=False,
    )


@dataclass(frozen=True, eq=False)
class FieldIndices:
    """What is known of the critical points of a random field, without looking for any.

    Attributes:
        shares: (N + 1,) share of the critical points that have index 0, 1, …, N.
        errors: (N + 1,) standard errors of these shares.
        heights: (N + 1,) mean height of the critical points of each index.
        samples: matrices drawn.
    """

    shares: Tensor
    errors: Tensor
    heights: Tensor
    samples: int


def field_indices(dimension: int, *, samples: int = 20_000, seed: int = 0) -> FieldIndices:
    """How the critical points of a `random_field` are shared among the indices, by the Kac–Rice formula.

    The density of critical points of height h and index k is proportional to φ(h) E[|det(M − h I)| 1{index = k}], φ the
    standard normal density and M as in `random_field`. Eigenvalues of M and h together have the density of the N + 1
    eigenvalues λ₀ ≤ … ≤ λ_N of one more row and column, times exp(−h²/4). So share k is E[exp(−λ_k²/4)] up to
    normalization, and its height λ_k: what is drawn are matrices of N + 1 rows, no determinants.

    Args:
        dimension: N.
        samples: matrices to draw.
        seed: of the draw.

    Returns:
        Shares with standard errors, and heights. In two dimensions the shares are exactly 1/4, 1/2, 1/4.

    Raises:
        InputError: for a dimension below 1 or fewer than 100 samples.

    Source:
        Rice, Bell Syst. Tech. J. 24 (1945); Fyodorov (2004) for the extra row; the shares in two dimensions are those
        of Longuet-Higgins, Phil. Trans. R. Soc. A 249 (1957), in three those of Bardeen, Bond, Kaiser and Szalay,
        Astrophys. J. 304 (1986), eq. 4.11.

    Example:
        >>> [round(float(share), 2) for share in field_indices(2).shares]
        [0.25, 0.5, 0.25]
    """
    dimension = _checks.whole("dimension", dimension, 1, _checks.MOST_DIMENSIONS)
    samples, seed = (
        _checks.whole("samples", samples, 100, max(100, _checks.MOST_HELD // dimension**2)),
        _checks.seed(seed),
    )
    generator = torch.Generator().manual_seed(seed)
    drawn = []
    for first in range(0, samples, CHUNK):
        size = min(CHUNK, samples - first)
        raw = torch.randn(size, dimension + 1, dimension + 1, generator=generator, dtype=torch.float64)
        drawn.append(torch.linalg.eigvalsh((raw + raw.mT) / math.sqrt(2)))
    eigenvalues = torch.cat(drawn)
    weights = torch.exp(-(eigenvalues**2) / 4)
    # The mirror image −M is as likely as M: index k at height h comes with index N − k at −h.
    moments = (weights * eigenvalues).mean(0)
    weights = (weights + weights.flip(1)) / 2
    whole = float(weights.sum(1).mean())
    shares = weights.mean(0) / whole
    errors = (weights - shares * weights.sum(1, keepdim=True)).std(0) / whole / math.sqrt(samples)
    heights = (moments - moments.flip(0)) / 2 / weights.mean(0)
    return FieldIndices(shares, errors, heights, samples)
