"""The verb: align one network's hidden units with another's, and refuse what is not the same function afterwards."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from lossatlas import _checks, archive
from lossatlas._errors import InputError, ModelError, NotApplicableError
from lossatlas._progress import Show, counted
from lossatlas.connect._endpoints import Names, end
from lossatlas.connect.symmetry._match import Match, Weights, by_activations, by_weights, correlations
from lossatlas.connect.symmetry._specification import Given, Permutations, Specification
from lossatlas.connect.symmetry._straight_through import Learned, learned
from lossatlas.connect.symmetry._verify import Check, compare, verify
from lossatlas.probe import Meter, Probe, Values
from lossatlas.surface import NetworkSurface, PointLike, StateSurface, Surface, need_surface

Method = Literal["weights", "activations", "both", "straight-through"]
METHODS = ("weights", "activations", "both", "straight-through")


@dataclass(frozen=True, eq=False)
class Alignment(archive.Result):
    """A network whose hidden units were put in the order of another's.

    Attributes:
        permuted: b's state dict with the permutations applied, running statistics included.
        permutations: by group; unit i of the permuted b is unit order[i] of b.
        method: ``weights``, ``activations``, ``both`` or ``straight-through``.
        objective: Σ ⟨a, π(b)⟩ over the weights that carry a permutation.
        before: the same for b as it was.
        cosine: the objective over |a||b|.
        objectives: of every restart of the matching; the best one was taken, or where the learning began.
        specification: of the permutations.
        specification_check: outputs of b with every group permuted at random, against b's.
        check: outputs of the permuted b against b's, on the data.
        meter: what was evaluated for it.
        provenance: settings, plain JSON values.
        midpoint: of ``straight-through``: the loss at ½ (a + π(b)) on all data, by ``weights`` and by ``straight-through``; batch
            norm re-estimated there.
        learning: of ``straight-through``, in a sentence.
    """

    KIND: ClassVar[str] = "alignment"
    SAYS: ClassVar[tuple[str, ...]] = ("moved",)

    permuted: dict[str, Tensor]
    permutations: Permutations
    method: str
    objective: float
    before: float
    cosine: float
    objectives: tuple[float, ...]
    specification: Specification
    specification_check: Check
    check: Check
    meter: Meter
    provenance: dict[str, Any]
    midpoint: dict[str, float] = field(default_factory=dict)
    learning: str = ""

    @property
    def spread(self) -> tuple[float, float]:
        """Lowest and highest objective over the restarts."""
        return min(self.objectives), max(self.objectives)

    @property
    def moved(self) -> float:
        """Share of the units that are in another place than before."""
        units = sum(len(order) for order in self.permutations.values())
        still = sum(int((order == torch.arange(len(order))).sum()) for order in self.permutations.values())
        return 1 - still / units

    def reading(self) -> list[str]:
        """What the record says, in sentences."""
        low, high = self.spread
        groups = self.specification.groups
        return [
            f"{len(groups)} group{'s' * (len(groups) != 1)} of {sum(g.units for g in groups):,} units, {self.moved:.0%} of them moved",
            self.specification.left,
            f"objective {self.before:.5g} before, {self.objective:.5g} after (cosine {self.cosine:.3f})",
            f"over {len(self.objectives)} starts from {low:.5g} to {high:.5g}",
            *([self.learning] if self.learning else []),
            f"same function: outputs differ by at most {self.check.gap:.1e}, rounding explains {self.check.tolerance:.1e}",
        ]

    def save(self, folder: archive.Location) -> Path:
        """Write it into a folder as any result, and the permuted weights as ``permuted.safetensors``.

        Raises:
            OutputError: if the folder cannot be written.
        """
        from safetensors.torch import save

        written = super().save(folder)
        archive.write_bytes(Path(folder) / "permuted.safetensors", save(untied(self.permuted)))
        return written

    def __rich__(self) -> Any:
        from rich.console import Group
        from rich.text import Text

        return Group(*(Text(sentence) for sentence in self.reading()))


def align(
    surface: Surface,
    a: PointLike,
    b: PointLike,
    *,
    method: Method = "weights",
    spec: Given | Specification | None = None,
    restarts: int = 3,
    examples: int = 1024,
    steps: int = 200,
    lr: float = 0.01,
    batch_size: int = 512,
    names: Names = None,
    seed: int = 0,
    progress: Show = True,
) -> Alignment:
    """Put the hidden units of b in the order of those of a, without changing b's function.

    Which axes of which weights carry which permutation is found by watching the network run once: MLPs, CNNs with
    batch norm, residual networks, transformers (MLP blocks, residual stream, attention heads). What is found, or given,
    is tested before it is used: with all groups permuted at random the outputs on the data must stay the same.

    Args:
        surface: of the network; its data are used for the checks and for ``activations``.
        a: the network that stays.
        b: the network that is permuted.
        method: ``weights`` maximizes Σ ⟨a, π(b)⟩ over the weights group by group; ``activations`` matches units that are
            correlated on the data, each group by itself; ``both`` begins with the second and goes on with the first;
            ``straight-through`` begins with the first and learns permutations by gradients of the loss at the midpoint of a and
            the permuted b. Of all that it tries it takes what is lowest there on all data, so it is never higher than ``weights``.
        spec: permutations by hand: names to lists of (parameter, axis), or of (parameter, axis, outer, inner) where
            units lie within an axis. Running statistics of batch norm carry permutations too.
        restarts: starts of the matching by weights: the first grows from the axes that are fixed, the others from
            random permutations. The best is taken.
        examples: at most so many are used for checks and activations.
        steps: of ``straight-through``: mini-batches, one gradient each.
        lr: of ``straight-through``: learning rate, of Adam.
        batch_size: of ``straight-through``: examples in each mini-batch, all if there are fewer.
        names: if b names its tensors differently: the model's names to those of b, or ``guess``.
        seed: of restarts, orders and checks.
        progress: True for a bar over the starts on the error stream of a terminal, False for silence, or a function of
            (done, total).

    Returns:
        The `Alignment`; ``.permuted`` is a state dict.

    Raises:
        ModelError: if no units can be permuted (the message says why), if the specification does not fit, or if the
            permuted network is not the same function.
        NotApplicableError: for a surface that is not a network's.
        InputError: for end points or settings that do not fit.

    Source:
        Ainsworth, Hayase and Srinivasa: Git Re-Basin, ICLR 2023, sections 3.1 to 3.3; Jordan et al.: REPAIR, ICLR 2023.
    """
    need_surface(surface, "align")
    if not isinstance(surface, NetworkSurface):
        raise NotApplicableError(f"{surface.name} has no hidden units; expected a NetworkSurface to align networks on.")
    _checks.one_of("method of alignment", method, METHODS)
    restarts, examples = _checks.whole("restarts", restarts, 1, 10_000), _checks.whole("examples", examples)
    steps, batch_size = _checks.whole("steps", steps, 1, 10_000_000), _checks.whole("batch_size", batch_size)
    lr, seed = _checks.number("lr", lr, above=0), _checks.seed(seed)
    first, second = end(surface, a, "a", names), end(surface, b, "b", names)
    states = StateSurface(surface)
    specification = specified(states, spec)
    specification.require_groups("permuted", surface.name)
    if method in ("activations", "both") and not any(group.taps for group in specification.groups):
        raise InputError(
            f"got method={method!r} with permutations that show in no module's output, as those given by hand do not say "
            "where; expected method='weights'."
        )
    outputs = Probe(StateSurface(surface, outputs=True, limit=examples))
    tested = verify(states, outputs, second.state, specification, seed)
    one, two = states.split(first.state), states.split(second.state)
    parameters = {block.name for block in surface.layout.blocks}
    weights = Weights(specification, one, two, parameters)
    meters = [outputs.meter]
    generator = torch.Generator().manual_seed(seed)
    matches: list[Match] = []
    begin: Permutations | None = None
    if method in ("activations", "both"):
        correlation, probes = _correlate(surface, specification, first.state, second.state, examples)
        meters += [probe.meter for probe in probes]
        matches.append(by_activations(weights, correlation, generator))
        begin = matches[0].permutations
    if method == "both":
        matches = [by_weights(weights, begin, generator)]
    if method != "activations":
        with counted("matching: starts", restarts, progress) as note:
            for k in range(len(matches), restarts):
                matches.append(by_weights(weights, None if k == 0 else specification.random(generator), generator))
                note(k + 1)
    best = max(matches, key=lambda match: match.objective)
    midpoint, learning, how = dict[str, float](), "", dict[str, Any]()
    if method == "straight-through":
        with counted("learning: steps", steps, progress) as note:
            learnt = learned(
                surface, (first, second), weights, best, generator, steps=steps, lr=lr, batch_size=batch_size, seed=seed,
                report=note,
            )  # fmt: skip
        best, midpoint = learnt.match, learnt.midpoint
        how = {
            "steps": steps,
            "lr": lr,
            "batch_size": batch_size,
            "step": learnt.step,
            "tried": learnt.tried,
            "status": learnt.status,
        }
        learning = _said_of(learnt)
        meters += learnt.meters
    moved = states.join(specification.permuted(two, best.permutations))
    permuted = states.split(moved)  # further names of tied weights follow
    check = compare(outputs, second.state, moved)
    if not check.holds:
        raise ModelError(
            f"the permuted network is not the same function: outputs differ by up to {check.gap:.3g} where rounding explains "
            f"{check.tolerance:.1g}. Expected equal outputs; the permutations do not fit this network. Give them with spec=…."
        )
    return Alignment(
        {name: tensor.contiguous() for name, tensor in permuted.items()},
        best.permutations,
        method,
        best.objective,
        weights.inner(weights.b),
        best.objective / weights.norms if weights.norms else math.nan,
        tuple(match.objective for match in matches),
        specification,
        tested,
        check,
        sum(meters, Meter()),
        {
            "surface": surface.fingerprint(),
            "method": method,
            "restarts": restarts,
            "examples": check.examples,
            "seed": seed,
            "sweeps": [match.sweeps for match in matches],
            **how,
        },
        midpoint,
        learning,
    )


def _said_of(learnt: Learned) -> str:
    """What the learning came to, in words."""
    before, after = learnt.midpoint["weights"], learnt.midpoint["straight-through"]
    says = f"loss at the midpoint {before:.4g} by weights, {after:.4g} by learning, {learnt.tried:,} permutations tried"
    says += f", taken from step {learnt.step:,}" if learnt.step else ": none was lower than where it began"
    return says + (f"; {learnt.status}" if learnt.status != "complete" else "")


def specified(states: StateSurface, spec: Given | Specification | None) -> Specification:
    """The permutations of a network: found, or given by hand."""
    if isinstance(spec, Specification):
        return spec
    return Specification.traced(states) if spec is None else Specification.given(states, spec)


def untied(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """A state dict as a safetensors file holds it: every tensor its own."""
    return {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}


def _correlate(
    surface: NetworkSurface, specification: Specification, one: Tensor, two: Tensor, examples: int
) -> tuple[dict[str, Tensor], list[Probe]]:
    probes: list[Probe] = []

    def read(modules: list[str]) -> dict[str, Tensor]:
        probes.append(Probe(StateSurface(surface, taps=modules, limit=examples)))
        extras = probes[-1].evaluate(Values(torch.stack([one, two]))).extras
        return {name: extras[f"tap/{name}"] for name in modules}

    count = StateSurface(surface, limit=examples).examples
    return correlations(specification, read, count), probes
