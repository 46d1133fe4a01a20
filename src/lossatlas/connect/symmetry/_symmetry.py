"""Copies of a network that are the same function: how many there are, and any number of them drawn at random."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from lossatlas import _checks, archive
from lossatlas._errors import InputError, ModelError, NotApplicableError
from lossatlas.connect._endpoints import end
from lossatlas.connect.symmetry._align import specified
from lossatlas.connect.symmetry._specification import Given, Specification
from lossatlas.connect.symmetry._verify import Check, compare
from lossatlas.probe import Meter, Probe, Values
from lossatlas.surface import NetworkSurface, PointLike, StateSurface, Surface, need_surface


@dataclass(frozen=True)
class Copies(archive.Result):
    """How many permuted copies of a network have the same loss.

    Attributes:
        groups: name to number of units h of every group that is permuted together.
        left: which hidden units are not permuted, how many and why, in words.
    """

    KIND: ClassVar[str] = "copies"

    SAYS: ClassVar[tuple[str, ...]] = ("log10", "digits")

    groups: dict[str, int]
    left: str = ""

    @property
    def factors(self) -> dict[str, int]:
        """Name to h!."""
        return {name: math.factorial(units) for name, units in self.groups.items()}

    @property
    def total(self) -> int:
        """Their product, exact."""
        return math.prod(self.factors.values())

    @property
    def log10(self) -> float:
        """Of the total."""
        return sum(math.lgamma(units + 1) for units in self.groups.values()) / math.log(10)

    @property
    def digits(self) -> str:
        """The total as text: it is larger than numbers in files may be, and than those that Python writes by itself."""
        return _digits(self.total)

    @property
    def sentence(self) -> str:
        """The count in words."""
        times = Counter(self.groups.values())
        parts = " · ".join(f"({units}!)^{n}" if n > 2 else " · ".join([f"{units}!"] * n) for units, n in times.items())
        exact = f" = {self.total:,}" if self.log10 < 15 else ""
        return (
            f"at least {parts}{exact} ≈ 10^{self.log10:.1f} points of parameter space are this same network, "
            f"as long as no two of its units are equal{'; ' * bool(self.left)}{self.left}"
        )


@dataclass(frozen=True, eq=False)
class Copy(archive.Result):
    """Another point of parameter space that is the same function.

    Attributes:
        state: its state dict, running statistics included.
        theta: its parameters (N,).
        distance: |θ′ − θ|.
        loss: at the copy.
        original: loss at the network it was made of.
        check: outputs of both on the data.
        permuted: names of the groups that were permuted.
        rescaled: names of the groups that were rescaled.
        why_not: why nothing was rescaled, or None.
        meter: what was evaluated for it.
    """

    KIND: ClassVar[str] = "copy"

    state: dict[str, Tensor]
    theta: Tensor
    distance: float
    loss: float
    original: float
    check: Check
    permuted: tuple[str, ...]
    rescaled: tuple[str, ...]
    why_not: str | None
    meter: Meter

    @property
    def sentence(self) -> str:
        """How far away it is, and how much else its loss is."""
        return f"a copy at a distance of {self.distance:.4g}: loss {self.loss:.6g}, {self.original:.6g} at the original"


def copies(surface: Surface, *, spec: Given | None = None) -> Copies:
    """Count the permuted copies of a network: h! for each group of h hidden units that are permuted together.

    Args:
        surface: of the network.
        spec: permutations by hand; by default they are found, see `align`.

    Returns:
        The count. It is a lower bound: there may be permutations that are not looked for, and rescaling adds a continuum
        of copies (`random_copy`).

    Raises:
        ModelError: if no units can be permuted.
        NotApplicableError: for a surface that is not a network's.

    Source:
        Hecht-Nielsen: On the algebraic structure of feedforward network weight spaces, 1990.

    Example:
        >>> import lossatlas as la
        >>> from lossatlas.demo import digits, digits_mlp
        >>> surface = la.NetworkSurface(digits_mlp((4, 3)), "cross_entropy", digits("test"))
        >>> la.copies(surface).total
        144
    """
    states = _states(surface, "copies")
    specification = specified(states, spec)
    specification.require_groups("permuted", surface.name)
    return Copies({group.name: group.units for group in specification.groups}, specification.left)


def random_copy(
    surface: Surface,
    point: PointLike | None = None,
    *,
    permute: bool = True,
    rescale: bool = True,
    spread: float = 0.5,
    spec: Given | None = None,
    examples: int = 1024,
    seed: int = 0,
) -> Copy:
    """A random copy of a network: units permuted, and rescaled where that leaves the function as it is.

    A hidden unit that only passes through positively homogeneous functions (ReLU, max pooling, …) can be made s times
    larger if all that reads it divides by s.

    Args:
        surface: of the network.
        point: the network; the model's own parameters by default.
        permute: put the units of every group in a random order.
        rescale: multiply every unit by exp(spread · z), z normal, where that is possible.
        spread: of the logarithms of the scales.
        spec: permutations by hand.
        examples: at most so many are looked at to check that the function is the same.
        seed: of both.

    Raises:
        ModelError: if nothing can be permuted or rescaled, or the copy turns out not to be the same function.
        NotApplicableError: for a surface that is not a network's.
        InputError: if neither is wanted.

    Source:
        Dinh, Pascanu, Bengio and Bengio: Sharp minima can generalize for deep nets, ICML 2017, section 3 (rescaling).
    """
    permute, rescale = _checks.flag("permute", permute), _checks.flag("rescale", rescale)
    spread = _checks.number("spread", spread, least=0)
    examples, seed = _checks.whole("examples", examples), _checks.seed(seed)
    if not (permute or rescale):
        raise InputError("got permute=False and rescale=False; expected at least one of them to make another copy.")
    states = _states(surface, "random_copy")
    assert isinstance(surface, NetworkSurface)
    given = end(surface, surface.theta if point is None else point, "the network")
    tensors, generator = states.split(given.state), torch.Generator().manual_seed(seed)
    permuted: tuple[str, ...] = ()
    rescaled: tuple[str, ...] = ()
    why_not: str | None = None
    if permute:
        specification = specified(states, spec)
        specification.require_groups("permuted", surface.name)
        tensors = specification.permuted(tensors, specification.random(generator))
        permuted = tuple(group.name for group in specification.groups)
    if rescale:
        scaling = Specification.traced(states, scaling=True)
        if not scaling.groups:
            try:
                scaling.require_groups("rescaled", surface.name)
            except ModelError as reason:
                why_not = str(reason)
                if not permute:
                    raise
        scales = {
            g.name: torch.exp(spread * torch.randn(g.units, generator=generator, dtype=torch.float64))
            for g in scaling.groups
        }
        tensors = scaling.scaled(tensors, scales)
        rescaled = tuple(group.name for group in scaling.groups)
    state = states.join(tensors)
    outputs, losses = Probe(StateSurface(surface, outputs=True, limit=examples)), Probe(states)
    check = compare(outputs, given.state, state)
    if not check.holds:
        raise ModelError(
            f"the copy is not the same function: outputs differ by up to {check.gap:.3g} where rounding explains "
            f"{check.tolerance:.1g}. Expected equal outputs; give the permutations with spec=…, or a smaller spread."
        )
    original, loss = losses.evaluate(Values(torch.stack([given.state, state]))).values.tolist()
    theta = state[: states.parameters]
    distance = float((theta.double() - given.theta.double()).norm())
    return Copy(
        states.split(state), theta, distance, loss, original, check, permuted, rescaled, why_not,
        outputs.meter + losses.meter,
    )  # fmt: skip


def _states(surface: Surface, where: str) -> StateSurface:
    need_surface(surface, where)
    if not isinstance(surface, NetworkSurface):
        raise NotApplicableError(f"{surface.name} has no hidden units; expected a NetworkSurface.")
    return StateSurface(surface)


def _digits(number: int) -> str:
    """Decimal digits of any number; Python writes only the shorter ones."""
    if number < 10**4000:
        return str(number)
    places = int(number.bit_length() * math.log10(2)) // 2
    high, low = divmod(number, 10**places)
    return _digits(high) + _digits(low).rjust(places, "0")
