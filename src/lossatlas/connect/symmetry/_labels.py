"""Names for the axes of tensors, which turn out to be the same axis as one watches a network run.

Every axis of a tensor is a product of labels (a flattened image is channels × height × width). Labels are found to be
one (adding two tensors), to be a product of others (splitting heads) or others end to end (joining tensors, padding
with zeros), or to be fixed (the axis of an input, which nobody may permute). For rescaling a label also has a sign:
weights that read a unit are divided by what its producers are multiplied with.
"""

from __future__ import annotations

import itertools
import math
from typing import TypeAlias, final

import numpy as np
from numpy.typing import NDArray

Term: TypeAlias = tuple[int, int]
"""A label and its sign: 1, or −1 for the inverse scale."""

Dim: TypeAlias = tuple[Term, ...]
"""An axis: the product of its labels, the slowest first; empty for an axis of length 1."""

Places: TypeAlias = NDArray[np.int64]


@final
class Labels:
    """Labels in classes that only ever grow together, some of them fixed, with the reason.

    Args:
        signed: whether signs matter: a label that meets its own inverse is then fixed.
    """

    def __init__(self, signed: bool = False) -> None:
        self.signed = signed
        self._parent: list[int] = []
        self._sign: list[int] = []
        self._size: list[int] = []
        self._parts: list[Dim | None] = []
        self._pieces: list[tuple[Dim, ...] | None] = []
        self._fixed: list[str | None] = []

    def new(self, size: int, fixed: str | None = None) -> Dim:
        """An axis of a new label; of no label if its length is 1."""
        if size == 1:
            return ()
        self._parent.append(len(self._parent))
        self._sign.append(1)
        self._size.append(size)
        self._parts.append(None)
        self._pieces.append(None)
        self._fixed.append(fixed)
        return ((len(self._parent) - 1, 1),)

    def resolve(self, dim: Dim) -> Dim:
        """The axis in terms of the labels that stand for their classes and are no products of others."""
        found: list[Term] = []
        for term in dim:
            root, sign = self._root(term)
            parts = self._parts[root]
            found += [(root, sign)] if parts is None else self.resolve(_signed(parts, sign))
        return tuple(found)

    def size(self, dim: Dim) -> int:
        """Length of an axis."""
        return math.prod(self._size[label] for label, _ in dim)

    def fixed(self, label: int) -> str | None:
        """Why a label is fixed, or None."""
        return self._fixed[label]

    def fix(self, dim: Dim, reason: str) -> None:
        """Nobody may permute or rescale along this axis any more."""
        for root, _ in self.resolve(dim):
            self._fixed[root] = self._fixed[root] or reason
            for piece in self._pieces[root] or ():
                self.fix(piece, reason)

    def fixed_everywhere(self, dim: Dim) -> bool:
        """Whether an axis is made of fixed labels only."""
        return all(self._fixed[label] is not None for label in self.members(dim))

    def places(self, dim: Dim) -> list[tuple[Term, Places]]:
        """The labels of which an axis finally consists, each with the positions (units, …) of its units along it."""
        return self._places(self.resolve(dim), np.arange(self.size(dim)).reshape(-1, 1))

    def members(self, dim: Dim) -> set[int]:
        """The labels of which an axis finally consists."""
        found: set[int] = set()
        for label, _ in self.resolve(dim):
            pieces = self._pieces[label]
            found |= {label} if pieces is None else set().union(*(self.members(piece) for piece in pieces))
        return found

    def unite(self, one: Dim, two: Dim, *, inverse: bool = False) -> None:
        """Both axes are the same one; of inverse scale where they are contracted with each other.

        Labels of different sizes are split to fit; axes that cannot be split alike are fixed.
        """
        a, b = list(self.resolve(one)), list(self.resolve(two))
        while a and b:
            (x, sx), (y, sy) = a[0], b[0]
            p, q = self._size[x], self._size[y]
            if p == q:
                if not self._join(x, y, sx * sy * (-1 if inverse else 1)):
                    break
                a, b = a[1:], b[1:]
            elif not (p % q == 0 and self._split(x, q, p // q)) and not (q % p == 0 and self._split(y, p, q // p)):
                break
            a, b = list(self.resolve(tuple(a))), list(self.resolve(tuple(b)))
        if a or b:
            for dim in (one, two):
                self.fix(dim, f"axes of lengths {self.size(one)} and {self.size(two)} are laid out differently")

    def cut(self, dim: Dim, sizes: list[int]) -> list[Dim]:
        """An axis as a product of several of these lengths, the slowest first; fixed where its labels do not fit."""
        rest, found = list(self.resolve(dim)), list[Dim]()
        for place, size in enumerate(sizes):
            mine: list[Term] = []
            while self.size(tuple(mine)) < size and rest:
                label, sign = rest[0]
                wanted, own = size // self.size(tuple(mine)), self._size[label]
                if wanted % own == 0:
                    mine.append((label, sign))
                    rest = rest[1:]
                elif own % wanted == 0 and self._split(label, wanted, own // wanted):
                    rest = list(self.resolve(tuple(rest)))
                else:
                    break
            if self.size(tuple(mine)) != size:
                reason = f"an axis of length {self.size(dim)} is reshaped across its structure"
                self.fix(dim, reason)
                return [*found, *(self.new(n, reason) for n in sizes[place:])]
            found.append(tuple(mine))
        return found

    def pieces(self, dim: Dim, sizes: list[int]) -> list[Dim]:
        """An axis as pieces of these lengths end to end; fixed where its labels do not fall into them."""
        terms = self.resolve(dim)
        if len(sizes) == 1 or not terms:
            return [dim] * len(sizes)
        inner = self.size(terms[1:])
        if all(size % inner == 0 for size in sizes):
            segments = self._segments(terms[0], [size // inner for size in sizes])
            if segments is not None:
                return [(*segment, *terms[1:]) for segment in segments]
        reason = f"an axis of length {self.size(dim)} is taken apart across its structure"
        self.fix(dim, reason)
        return [self.new(size, reason) for size in sizes]

    def joined(self, dims: list[Dim], sizes: list[int]) -> Dim:
        """Several axes end to end, as one axis.

        Args:
            dims: the axes.
            sizes: their lengths; an axis of length 1 is made a label of its own, which is then the only unit there.
        """
        whole = self.new(sum(sizes))
        if len(dims) == 1 or not whole:
            return dims[0] if dims else ()
        self._pieces[whole[0][0]] = tuple(dims)
        return whole

    def _root(self, term: Term) -> Term:
        label, sign = term
        while self._parent[label] != label:
            sign *= self._sign[label]
            label = self._parent[label]
        return label, sign

    def _places(self, terms: Dim, within: Places) -> list[tuple[Term, Places]]:
        """Positions (length of the axis, …) shared out among the labels of a product."""
        found: list[tuple[Term, Places]] = []
        sizes = [self._size[label] for label, _ in terms]
        block = within.reshape(*sizes, -1)
        for k, (label, sign) in enumerate(terms):
            own = np.moveaxis(block, k, 0).reshape(sizes[k], -1)
            pieces = self._pieces[label]
            if pieces is None:
                found.append(((label, sign), own))
                continue
            begin = 0
            for piece in pieces:
                size = self.size(piece)
                found += self._places(self.resolve(_signed(piece, sign)), own[begin : begin + size])
                begin += size
        return found

    def _join(self, one: int, two: int, sign: int) -> bool:
        """Two labels of equal size are one; False where they are taken apart differently."""
        if one == two:
            if sign < 0 and self.signed:
                self.fix(((one, 1),), "its scale would meet its own inverse")
            return True
        if self._pieces[two] is not None and self._pieces[one] is None:
            one, two = two, one
        mine, theirs = self._pieces[one], self._pieces[two]
        reason = self._fixed[one] or self._fixed[two]
        if mine is not None and theirs is not None:
            lengths = _common([self.size(p) for p in mine], [self.size(p) for p in theirs])
            left, right = self._segments((one, 1), lengths), self._segments((two, sign), lengths)
            if left is None or right is None:
                return False
            for a, b in zip(left, right, strict=True):
                self.unite(a, b)
        self._parent[two], self._sign[two] = one, sign
        if reason is not None:
            self.fix(((one, 1),), reason)
        return True

    def _split(self, label: int, slow: int, fast: int) -> bool:
        """A label is a product; False for one that is made of pieces."""
        if self._pieces[label] is not None:
            return False
        reason = self._fixed[label]
        self._parts[label] = (*self.new(slow, reason), *self.new(fast, reason))
        return True

    def _segments(self, term: Term, sizes: list[int]) -> list[Dim] | None:
        """A label as pieces of these lengths, cut where it has to be; None where it cannot."""
        label, sign = term
        reason = self._fixed[label]
        if self._pieces[label] is None:
            self._pieces[label] = tuple(self.new(size, reason) for size in sizes)
            return [_signed(piece, sign) for piece in self._pieces[label] or ()]
        finer: list[Dim] = []
        own = list(self._pieces[label] or ())
        lengths = _common([self.size(piece) for piece in own], sizes)
        for piece in own:
            inside: list[int] = []
            while sum(inside) < self.size(piece):
                inside.append(lengths.pop(0))
            terms = self.resolve(piece)
            inner = self.size(terms[1:])
            if len(inside) == 1:
                finer.append(piece)
            elif any(size % inner for size in inside):
                return None
            else:
                cut = self._segments(terms[0], [size // inner for size in inside])
                if cut is None:
                    return None
                finer += [(*part, *terms[1:]) for part in cut]
        self._pieces[label] = tuple(finer)
        found: list[Dim] = []
        for size in sizes:
            group: list[Dim] = []
            while sum(self.size(piece) for piece in group) < size:
                group.append(_signed(finer.pop(0), sign))
            found.append(self.joined(group, [self.size(piece) for piece in group]))
        return found


def _signed(dim: Dim, sign: int) -> Dim:
    return tuple((label, own * sign) for label, own in dim)


def _common(one: list[int], two: list[int]) -> list[int]:
    """The lengths between the cuts of both."""
    cuts = sorted({0, *np.cumsum(one).tolist(), *np.cumsum(two).tolist()})
    return [b - a for a, b in itertools.pairwise(cuts)]
