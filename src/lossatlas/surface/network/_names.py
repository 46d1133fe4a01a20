"""One function that fits tensors by name to a model, whoever saved them, and says in one sentence what it did."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, final

import torch
from torch import Tensor, nn

from lossatlas._errors import CheckpointError
from lossatlas._layout import Layout, listed
from lossatlas.surface.network._files import Lazy
from lossatlas.surface.network._spelling import SPELLINGS, Prefix, adapted, is_adapted, prefixes

if TYPE_CHECKING:
    from lossatlas.surface.network._spelling import Spelling

Shape = tuple[int, ...]
# Counters of floating type, and buffers that are computed when a model is made: no weights, whatever their type.
_COUNTERS = {
    "n_averaged", "num_batches_tracked", "num_updates", "decay", "total_ops", "total_params", "inv_freq", "masked_bias",
    "initted", "step", "_extra_state",
}  # fmt: skip


@final
@dataclass(frozen=True)
class Expected:
    """The names that a model knows.

    Attributes:
        required: shapes of what must be there: its trainable parameters, tied ones under one name.
        aliases: further names of tied ones.
        optional: the rest, frozen parameters and buffers, with shapes where they are known.
        name: of the model, for messages.
    """

    required: Mapping[str, Shape]
    aliases: Mapping[str, list[str]] = field(default_factory=dict)
    optional: Mapping[str, Shape | None] = field(default_factory=dict)
    name: str = "the model"

    @classmethod
    def of_layout(cls, layout: Layout, known: Collection[str] | Mapping[str, Shape | None], name: str) -> Expected:
        """What a surface expects.

        Args:
            layout: of θ.
            known: all names that a state dict may hold, with shapes where they are known.
            name: the surface's.
        """
        required = {block.name: block.shape for block in layout.blocks}
        aliases = {block.name: list(block.aliases) for block in layout.blocks if block.aliases}
        own = {*required, *(alias for names in aliases.values() for alias in names)}
        shapes = known if isinstance(known, Mapping) else dict.fromkeys(known)
        return cls(required, aliases, {n: shapes[n] for n in shapes if n not in own}, name)

    @classmethod
    def of_module(cls, model: nn.Module) -> Expected:
        """What a module expects: its trainable parameters, or all of them where none is trainable."""
        state = model.state_dict(keep_vars=True)
        tensors = {name: value for name, value in state.items() if isinstance(value, Tensor)}
        parameters = {n: v for n, v in tensors.items() if isinstance(v, nn.Parameter)}
        trained = {n: v for n, v in parameters.items() if v.requires_grad} or parameters or tensors
        first: dict[int, str] = {}
        aliases: dict[str, list[str]] = {}
        for name, value in trained.items():
            if first.setdefault(id(value), name) != name:
                aliases.setdefault(first[id(value)], []).append(name)
        required = {name: tuple(trained[name].shape) for name in first.values()}
        optional = {n: tuple(v.shape) for n, v in tensors.items() if n not in trained}
        return cls(required, aliases, optional, f"the model {type(model).__name__}")


@final
@dataclass(frozen=True)
class Fitted:
    """Tensors under the model's names.

    Attributes:
        tensors: every required one, and what of the optional ones was given.
        sentence: what was done to make them fit, in one line; empty where nothing had to be done.
    """

    tensors: Mapping[str, Tensor]
    sentence: str


def fit(
    given: Mapping[str, Tensor], expected: Expected, source: str = "the state dict", *, part: bool = False
) -> Fitted:
    """Tensors by name, under the names of a model.

    Names may carry prefixes (``module.``, ``model.``, ``_orig_mod.``, any), the model's may; wrappers may stand inside
    them, and weight norm, spectral norm and adapters may be spelled as another version does. Counters and entries that
    are no weights are left aside. It is done only where all required parameters are then there, in their shapes.

    Args:
        given: by name.
        expected: of the model.
        source: where they come from, for the message.
        part: whether they are meant to be a part of the model, as adapters are: then only the model's adapters are required.

    Raises:
        CheckpointError: naming what is missing, unexpected or of another shape; or if they fit in several ways.
    """
    if part or adapted(given):
        own = {name: shape for name, shape in expected.required.items() if is_adapted(name)}
        rest = {name: shape for name, shape in expected.required.items() if name not in own}
        expected = Expected(own or expected.required, expected.aliases, {**expected.optional, **(rest if own else {})},
                            expected.name)  # fmt: skip
    shapes = {name: _shape(given, name) for name in given}
    idle = {name for name in given if _is_counter(name) or not _floating(given, name)}
    closest: _Match | None = None
    for spell, said in SPELLINGS:
        theirs, ours = spell(shapes), _respelled(expected, spell)
        if spell is not SPELLINGS[0][0] and list(theirs) == list(theirs.values()) and ours.same:
            continue
        matches = [_match(prefix, theirs, ours, shapes, idle) for prefix in _tried(theirs, ours, shapes)]
        fits = [one for one in matches if one.fits]
        if fits and not fits[0].prefix.sentence:
            return _fitted(fits[0], given, expected, said, source)
        # Beside a copy under a prefix, all names as they are may be a second copy: neither is more right.
        chosen = _distinct([*(one for one in matches[:1] if fits and one.complete), *fits], given)
        if len(chosen) > 1:
            ways = [repr(one.prefix.theirs or "no prefix") for one in chosen]
            raise CheckpointError(
                f"{source} fits {expected.name} in several ways, by its names with {', '.join(ways[:6])}; expected one set of "
                f"weights. Give one of them: their tensors differ. For a file, write which after two colons, for example "
                f"FILE::{chosen[-1].prefix.theirs.rstrip('.')}."
            )
        if chosen:
            return _fitted(fits[0], given, expected, said, source)
        closest = max([*([closest] if closest else []), *matches], key=lambda one: one.score)
    assert closest is not None
    raise _refusal(closest, expected, source, adapters=part or adapted(given))


@final
@dataclass(frozen=True)
class _Ours:
    """The model's names in one spelling, each with its own name."""

    required: dict[str, str]
    aliases: dict[str, list[str]]
    optional: dict[str, str]
    shapes: dict[str, Shape | None]
    same: bool


@final
@dataclass(frozen=True)
class _Match:
    """One way to read given names as the model's."""

    prefix: Prefix
    pairs: dict[str, str]  # the model's name to the given one
    missing: list[str]
    unexpected: list[str]
    shapes: list[str]
    aside: list[str]

    @property
    def fits(self) -> bool:
        return not (self.missing or self.unexpected or self.shapes)

    @property
    def complete(self) -> bool:
        return not (self.missing or self.shapes)

    @property
    def score(self) -> tuple[int, int]:
        return len(self.pairs) - len(self.missing), -len(self.unexpected)


def _respelled(expected: Expected, spell: Spelling) -> _Ours:
    shapes: dict[str, Shape | None] = {**expected.optional, **expected.required}
    shapes |= {
        a: expected.required[n] for n, names in expected.aliases.items() if n in expected.required for a in names
    }
    new = {old: fresh for fresh, old in spell(shapes).items()}
    aliases = {n: [new[a] for a in names] for n, names in expected.aliases.items() if n in expected.required}
    return _Ours(
        {name: new[name] for name in expected.required},
        aliases,
        {new[name]: name for name in expected.optional},
        shapes,
        all(old == fresh for old, fresh in new.items()),
    )


def _tried(theirs: Mapping[str, str], ours: _Ours, shapes: Mapping[str, Shape]) -> list[Prefix]:
    required = {ours.required[name]: shape for name in ours.required if (shape := ours.shapes[name]) is not None}
    aliases = {ours.required[name]: names for name, names in ours.aliases.items()}
    if not required:
        return [Prefix()]
    found = prefixes({new: shapes[old] for new, old in theirs.items()}, required, aliases)
    return list(dict.fromkeys([Prefix(), *found]))


def _match(
    prefix: Prefix, theirs: Mapping[str, str], ours: _Ours, shapes: Mapping[str, Shape], idle: set[str]
) -> _Match:
    read = {renamed: old for new, old in theirs.items() if (renamed := prefix(new)) is not None}
    pairs, missing, wrong = {}, [], []
    used: set[str] = set()
    for name, new in ours.required.items():
        present = [one for one in (new, *ours.aliases.get(name, [])) if one in read]
        used.update(present)
        if not present:
            missing.append(name)
        elif shapes[read[present[0]]] != ours.shapes[name]:
            wrong.append(f"{name} (file {shapes[read[present[0]]]}, model {ours.shapes[name]})")
        else:
            pairs[name] = read[present[0]]
    for new, name in ours.optional.items():
        if new in read:
            used.add(new)
            if ours.shapes[name] in (None, shapes[read[new]]):
                pairs[name] = read[new]
            elif read[new] not in idle:
                wrong.append(f"{name} (file {shapes[read[new]]}, model {ours.shapes[name]})")
    rest = [old for renamed, old in read.items() if renamed not in used and old not in idle]
    left = [old for renamed, old in read.items() if renamed not in used and old in idle]
    # Beside a prefix lie the other parts of whatever was saved together: another network, a loss with weights.
    beside = [old for new, old in theirs.items() if prefix(new) is None]
    return _Match(prefix, pairs, missing, rest, wrong, [*beside, *left])


def _distinct(fits: list[_Match], given: Mapping[str, Tensor]) -> list[_Match]:
    """Fits that give other numbers."""
    kept: list[_Match] = []
    for one in fits:
        if not any(_same(one, other, given) for other in kept):
            kept.append(one)
    return kept


def _same(one: _Match, other: _Match, given: Mapping[str, Tensor]) -> bool:
    return all(
        name in other.pairs and (other.pairs[name] == theirs or torch.equal(given[other.pairs[name]], given[theirs]))
        for name, theirs in one.pairs.items()
    )


def _fitted(match: _Match, given: Mapping[str, Tensor], expected: Expected, said: str, source: str) -> Fitted:
    for name, theirs in match.pairs.items():
        _refuse_unusable(name, given, theirs, name in expected.required)
    says = [part for part in (match.prefix.sentence, said) if part]
    aside = [name for name in match.aside if not _is_counter(name)]
    counters = len(match.aside) - len(aside)
    if aside:
        says.append(f"{listed(aside, 3)} {'were' if len(aside) > 1 else 'was'} left aside")
    elif counters:
        says.append(f"{listed(match.aside, 3)} {'were' if counters > 1 else 'was'} left aside")
    lost = [name for name in expected.optional if name not in match.pairs and not _is_counter(name)]
    if lost and any(expected.optional[name] is not None for name in lost):
        says.append(
            f"it holds nothing for {listed(lost, 3)}, which stay{'s' if len(lost) == 1 else ''} as the model has it"
        )
    return Fitted(_Renamed(given, match.pairs), f"{source}: {'; '.join(says)}" if says else "")


def _refuse_unusable(name: str, given: Mapping[str, Tensor], theirs: str, required: bool) -> None:
    if isinstance(given, Lazy):
        return  # such files hold nothing but plain tensors
    tensor = given[theirs]
    kind = (
        "a meta tensor, without numbers" if tensor.is_meta
        else "quantized" if tensor.is_quantized
        else f"sparse ({tensor.layout})" if tensor.layout is not torch.strided
        else f"of type {tensor.dtype}" if not tensor.is_floating_point()
        else ""
    )  # fmt: skip
    if kind and (required or tensor.is_meta):
        raise CheckpointError(
            f"the tensor {theirs!r} is {kind}; expected plain numbers of floating type for the parameter {name!r}. Save the "
            "weights of the model as it was trained, dense and before quantization."
        )


def _refusal(match: _Match, expected: Expected, source: str, *, adapters: bool) -> CheckpointError:
    if adapters and not any(is_adapted(name) for name in expected.required):
        return CheckpointError(
            f"{source} holds adapters, and {expected.name} has none that are trained; expected a model with the same "
            "adapters in it. Put them in first, for example with peft.get_peft_model."
        )
    found = (("missing", match.missing), ("unexpected", match.unexpected), ("of another shape", match.shapes))
    parts = "; ".join(f"{what}: {listed(names)}" for what, names in found if names)
    prefix = f" ({match.prefix.sentence})" if match.prefix.sentence else ""
    return CheckpointError(
        f"{source} does not fit {expected.name}{prefix}: {parts}. Expected its {len(expected.required)} parameters in their "
        "shapes, and nothing that it lacks. Give the weights of this architecture."
    )


def _is_counter(name: str) -> bool:
    return name.rpartition(".")[2] in _COUNTERS


def _floating(given: Mapping[str, Tensor], name: str) -> bool:
    if isinstance(given, Lazy):
        return given.floating(name)
    return given[name].is_floating_point() or given[name].is_complex()


def _shape(given: Mapping[str, Tensor], name: str) -> Shape:
    return given.shape(name) if isinstance(given, Lazy) else tuple(given[name].shape)


class _Renamed(Mapping[str, Tensor]):
    """Tensors under other names, each read when it is taken out."""

    def __init__(self, given: Mapping[str, Tensor], pairs: Mapping[str, str]) -> None:
        self._given, self._pairs = given, pairs

    def __getitem__(self, name: str) -> Tensor:
        return self._given[self._pairs[name]].detach()

    def __iter__(self) -> Iterator[str]:
        return iter(self._pairs)

    def __len__(self) -> int:
        return len(self._pairs)
