"""Names for the axes of tensors, which turn out to be the same axis as one watches a network run.

Every axis of a tensor is a product of labels (a flattened image is channels × height × width). Labels are found to be
one (adding two tensors), to consist of others (splitting heads), or to be fixed (the axis of an input, which nobody may
permute). For rescaling a label also has a sign: weights that read a unit are divided by what its producers are
multiplied with.
"""

from __future__ import annotations

import math
from typing import TypeAlias, final

Term: TypeAlias = tuple[int, int]
"""A label and its sign: 1, or −1 for the inverse scale."""

Dim: TypeAlias = tuple[Term, ...]
"""An axis: the product of its labels, the slowest first; empty for an axis of length 1."""


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
        self._fixed: list[str | None] = []

    def new(self, size: int, fixed: str | None = None) -> Dim:
        """An axis of a new label; of no label if its length is 1."""
        if size == 1:
            return ()
        self._parent.append(len(self._parent))
        self._sign.append(1)
        self._size.append(size)
        self._parts.append(None)
        self._fixed.append(fixed)
        return ((len(self._parent) - 1, 1),)

    def resolve(self, dim: Dim) -> Dim:
        """The axis in terms of the labels that stand for their classes and consist of no others."""
        found: list[Term] = []
        for term in dim:
            root, sign = self._root(term)
            parts = self._parts[root]
            found += [(root, sign)] if parts is None else self.resolve(tuple((p, s * sign) for p, s in parts))
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

    def unite(self, one: Dim, two: Dim, *, inverse: bool = False) -> None:
        """Both axes are the same one; of inverse scale where they are contracted with each other.

        Labels of different sizes are split to fit; axes that cannot be split alike are fixed.
        """
        a, b = list(self.resolve(one)), list(self.resolve(two))
        while a and b:
            (x, sx), (y, sy) = a[0], b[0]
            p, q = self._size[x], self._size[y]
            if p == q:
                self._join(x, y, sx * sy * (-1 if inverse else 1))
                a, b = a[1:], b[1:]
            elif p % q == 0:
                self._split(x, q, p // q)
            elif q % p == 0:
                self._split(y, p, q // p)
            else:
                for dim in (one, two):
                    self.fix(dim, f"axes of lengths {self.size(one)} and {self.size(two)} are laid out differently")
                return
            a, b = list(self.resolve(tuple(a))), list(self.resolve(tuple(b)))
        if a or b:
            for dim in (one, two):
                self.fix(dim, f"axes of lengths {self.size(one)} and {self.size(two)} meet")

    def cut(self, dim: Dim, sizes: list[int]) -> list[Dim]:
        """An axis as several of these lengths, the slowest first; fixed where its labels do not fall into them."""
        rest, found = list(self.resolve(dim)), list[Dim]()
        for place, size in enumerate(sizes):
            mine: list[Term] = []
            while self.size(tuple(mine)) < size and rest:
                label, sign = rest[0]
                wanted, own = size // self.size(tuple(mine)), self._size[label]
                if wanted % own == 0:
                    mine.append((label, sign))
                    rest = rest[1:]
                elif own % wanted == 0:
                    self._split(label, wanted, own // wanted)
                    rest = list(self.resolve(tuple(rest)))
                else:
                    break
            if self.size(tuple(mine)) != size:
                reason = f"an axis of length {self.size(dim)} is reshaped across its structure"
                self.fix(dim, reason)
                return [*found, *(self.new(n, reason) for n in sizes[place:])]
            found.append(tuple(mine))
        return found

    def _root(self, term: Term) -> Term:
        label, sign = term
        while self._parent[label] != label:
            sign *= self._sign[label]
            label = self._parent[label]
        return label, sign

    def _join(self, one: int, two: int, sign: int) -> None:
        if one == two:
            if sign < 0 and self.signed:
                self._fixed[one] = self._fixed[one] or "its scale would meet its own inverse"
            return
        self._parent[two], self._sign[two] = one, sign
        self._fixed[one] = self._fixed[one] or self._fixed[two]

    def _split(self, label: int, slow: int, fast: int) -> None:
        reason = self._fixed[label]
        self._parts[label] = (*self.new(slow, reason), *self.new(fast, reason))
