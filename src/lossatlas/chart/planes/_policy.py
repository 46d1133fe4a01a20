"""The written policy: what a filter is in every kind of block, and which blocks a direction moves at all.

`normalize` follows these rules and no others, so that the table that is printed is what is done.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from lossatlas import _checks, archive
from lossatlas._errors import InputError
from lossatlas.draw import Table
from lossatlas.surface import Block, Layout, Surface, need_surface

Ignore = Literal["biasbn", "nothing"]
OWN = ("filter", "layer", "weight", "dfilter", "dlayer", "none")
LI = ("li2018", "li2018-layer", "li2018-weight", "li2018-dfilter", "li2018-dlayer")
NORMALIZATIONS = (*OWN, *LI)
_VECTORS = ("norm", "bias", "gain", "scalar")


@dataclass(frozen=True)
class Rule(archive.Result):
    """What happens to one block of a direction.

    Attributes:
        block: the block.
        action: ``scaled`` to the weights, ``drawn`` (left as it is), ``held`` (zero), or ``weights`` (the weights
            themselves, as Li et al. do with vectors).
        view: the shape in which filters lie along axes of their own.
        kept: these axes; none where the whole tensor is one filter.
        unit: what one filter is, in words.
        why: for blocks that are not scaled, in words.
    """

    block: Block
    action: Literal["scaled", "drawn", "held", "weights"]
    view: tuple[int, ...] = ()
    kept: tuple[int, ...] = ()
    unit: str = ""
    why: str = ""

    @property
    def filters(self) -> int:
        """How many filters the block holds."""
        return math.prod(self.view[axis] for axis in self.kept)

    @property
    def summed(self) -> tuple[int, ...]:
        """The axes inside a filter."""
        return tuple(axis for axis in range(len(self.view)) if axis not in self.kept)


def rule(block: Block, normalization: str, ignore: Ignore | None = None) -> Rule:
    """The rule for one block.

    Args:
        block: of the layout.
        normalization: one of `NORMALIZATIONS`.
        ignore: ``biasbn`` to hold everything that is no weight (vectors, scalars, gains and shifts of norms),
            ``nothing`` to move it too; by default ``biasbn``, but ``nothing`` for the normalization ``none``.
    """
    ignore = resolved(normalization, ignore)
    if block.kind == "vector":
        return Rule(block, "drawn", why="a landscape's own coordinates")
    if block.kind == "statistic":
        return Rule(block, "held", why="running statistics are no weights")
    li = normalization in LI
    vector = len(block.shape) <= 1 or (block.kind in _VECTORS and not li)
    if vector and ignore == "biasbn":
        return Rule(block, "held", why=f"{_article(block.kind)}: held (biasbn)")
    if vector and li:
        return Rule(block, "weights", why="the weights themselves, in every direction")
    if normalization == "none":
        return Rule(block, "drawn", why="as drawn")
    if vector:
        return Rule(block, "scaled", block.shape, (), "the whole vector")
    if normalization.endswith("weight"):
        return Rule(block, "scaled", block.shape, tuple(range(len(block.shape))), "each entry")
    if normalization.endswith("layer"):
        return _whole(block, li)
    if li:
        return Rule(block, "scaled", block.shape, (0,), "slice along axis 0")
    return _filters(block)


def resolved(normalization: str, ignore: Ignore | None) -> Ignore:
    """What is ignored, and whether both names are known.

    Raises:
        UnknownNameError: for a name that is not there.
    """
    _checks.one_of("normalization", normalization, NORMALIZATIONS)
    if ignore is not None and not _checks.is_word(ignore, "biasbn", "nothing"):
        raise InputError(f"got ignore={_checks.shown(ignore)}; expected 'biasbn', 'nothing', or None for the usual.")
    return ignore or ("nothing" if normalization == "none" else "biasbn")


def _whole(block: Block, li: bool) -> Rule:
    if block.parts > 1 and not li:
        shape = (block.parts, block.shape[0] // block.parts, *block.shape[1:])
        return Rule(block, "scaled", shape, (0,), f"each of {block.parts} weights in one tensor")
    return Rule(block, "scaled", block.shape, (), "the whole tensor")


def _filters(block: Block) -> Rule:
    shape = block.shape
    match block.kind:
        case "conv-transpose":
            groups, inside = block.groups, shape[0] // block.groups
            unit = "output channel (axis 1" + (f", in each of {groups} groups)" if groups > 1 else ")")
            return Rule(block, "scaled", (groups, inside, *shape[1:]), (0, 2), unit)
        case "conv":
            return Rule(block, "scaled", shape, (0,), "output channel (axis 0)")
        case "linear":
            return Rule(block, "scaled", shape, (0,), "row, one output (axis 0)")
        case "linear-transposed":
            return Rule(block, "scaled", shape, (1,), "column, one output (axis 1)")
        case "fused":
            return Rule(block, "scaled", shape, (0,), f"row, one output of one of {block.parts} weights")
        case "embedding":
            return Rule(block, "scaled", shape, (0,), "row, one token")
        case "token":
            return Rule(block, "scaled", shape, tuple(range(len(shape) - 1)), "vector of one token (last axis)")
    return Rule(block, "scaled", shape, (0,), "slice along axis 0")


def _article(kind: str) -> str:
    return {"norm": "gain or shift of a norm", "gain": "a vector", "scalar": "a scalar"}.get(kind, "a bias")


@dataclass(frozen=True)
class Policy(archive.Result):
    """What a normalization does with every block of a network, as a table.

    Attributes:
        name: the surface's.
        normalization: one of `NORMALIZATIONS`.
        ignore: ``biasbn`` or ``nothing``.
        rules: one per block of θ.
        zeros: per block, how many of its filters are zero and therefore stay where they are.
        frozen: parameters that are not part of θ.
    """

    KIND: ClassVar[str] = "policy"
    SAYS: ClassVar[tuple[str, ...]] = ("moved",)

    name: str
    normalization: str
    ignore: str
    rules: tuple[Rule, ...]
    zeros: tuple[int, ...]
    frozen: tuple[Block, ...]

    @property
    def moved(self) -> float:
        """Share of θ's entries that a direction moves, filters that are zero aside."""
        return moved(self.rules)

    @property
    def sentence(self) -> str:
        """The table in one line."""
        total = sum(rule.block.size for rule in self.rules)
        text = f"{self.normalization}: {self.moved:.2%} of {total:,} parameters are moved, {1 - self.moved:.2%} held"
        if self.frozen:
            entries = sum(block.size for block in self.frozen)
            text += f"; {len(self.frozen)} frozen tensors with {entries:,} entries are not part of θ"
        return text

    def table(self) -> Table:
        """One row per block: kind, shape, what a filter is, filters, share of θ, whether it is moved."""
        total = sum(rule.block.size for rule in self.rules)
        found = []
        for one, zeros in zip(self.rules, self.zeros, strict=True):
            block = one.block
            names = block.name + "".join(f" = {alias}" for alias in block.aliases)
            shape = "×".join(map(str, block.shape)) or "()"
            moved = "no" if one.action == "held" else f"yes, {zeros} zero filters stay" if zeros else "yes"
            count = f"{one.filters:,}" if one.action == "scaled" else ""
            kind = f"{block.kind}, {block.groups} groups" if block.groups > 1 else block.kind
            found.append([names, kind, shape, one.unit or one.why, count, f"{block.size / total:.2%}", moved])
        for block in self.frozen:
            shape = "×".join(map(str, block.shape)) or "()"
            found.append([block.name, block.kind, shape, "frozen: not part of θ", "", "", "no"])
        return Table(self.name, list(_COLUMNS), found)

    def __rich__(self) -> Any:
        from rich.console import Group
        from rich.text import Text

        return Group(self.table().__rich__(), Text(self.sentence))

    def __str__(self) -> str:
        return f"{self.table()}\n{self.sentence}"


_COLUMNS = ("block of θ", "kind", "shape", "what a filter is", "filters", "share of θ", "moved")


def policy(surface: Surface, normalization: str = "filter", *, ignore: Ignore | None = None) -> Policy:
    """What a normalization does with every block of a surface: a table to print before believing a picture.

    Args:
        surface: a network's, or a landscape.
        normalization: ``filter``, ``layer``, ``weight``, ``dfilter``, ``dlayer``, ``none``; or as Li et al. 2018 have
            it, ``li2018``, ``li2018-layer``, ``li2018-weight``, ``li2018-dfilter``, ``li2018-dlayer``.
        ignore: ``biasbn`` to hold vectors, scalars and norms, ``nothing`` to move them too; by default ``biasbn``, but
            ``nothing`` for the normalization ``none``.

    Returns:
        A table that renders itself: `print` it, or leave it to rich or a notebook.

    Raises:
        UnknownNameError: for a normalization that is not there.

    Example:
        >>> import torch, lossatlas as la
        >>> model = torch.nn.Linear(3, 2)
        >>> surface = la.NetworkSurface(model, "mse", (torch.ones(5, 3), torch.zeros(5, 2)))
        >>> print(la.policy(surface))  # doctest: +NORMALIZE_WHITESPACE
        Linear with mse
        block of θ  kind    shape  what a filter is          filters  share of θ  moved
        weight      linear  2×3    row, one output (axis 0)  2        75.00%      yes
        bias        bias    2      a bias: held (biasbn)              25.00%      no
        filter: 75.00% of 8 parameters are moved, 25.00% held
    """
    need_surface(surface, "policy")
    rules = rules_of(surface.layout, normalization, ignore)
    theta = surface.own_point
    zeros = []
    for one in rules:
        count = 0
        if theta is not None and one.action == "scaled" and not normalization.endswith(("dfilter", "dlayer", "weight")):
            weight = theta[one.block.span].detach().cpu().double().numpy().reshape(one.view)
            count = int((~np.any(weight != 0, axis=one.summed)).sum()) if one.summed else 0
        zeros.append(count)
    return Policy(
        surface.name,
        normalization,
        resolved(normalization, ignore),
        rules,
        tuple(zeros),
        surface.layout.frozen,
    )


def moved(rules: tuple[Rule, ...]) -> float:
    """Share of θ's entries that are moved by these rules."""
    return sum(rule.block.size for rule in rules if rule.action != "held") / sum(rule.block.size for rule in rules)


def rules_of(layout: Layout, normalization: str, ignore: Ignore | None = None) -> tuple[Rule, ...]:
    """One rule per block."""
    return tuple(rule(block, normalization, ignore) for block in layout.blocks)
