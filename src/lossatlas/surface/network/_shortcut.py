"""Shortcuts to the reference, and the rule that governs them: what is not proven on the surface at hand is not used."""

from __future__ import annotations

import abc
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar, final

import torch
from torch import Tensor

from lossatlas._errors import LossAtlasError, NotApplicableError
from lossatlas.surface.network._data import Batch
from lossatlas.surface.network._reference import Reference

VALUES, GRADIENTS, PRODUCTS = "values", "gradients", "products"
# Rows of the small batch that proofs are made on.
SMALL = 16
# Units of rounding by which a shortcut may differ, and the largest relative difference that this may come to.
ROUNDINGS = {VALUES: (256.0, 0.02), GRADIENTS: (8192.0, 0.1), PRODUCTS: (65536.0, 0.2)}

# Shortcuts that are believed without a proof. Empty but in the tests that show what each proof is there for.
trusted: set[str] = set()


class Shortcut(abc.ABC):
    """A faster evaluation that has to equal the reference.

    Attributes:
        name: for notes, a noun phrase.
        queries: the kinds of query that it answers.
    """

    name: ClassVar[str]
    queries: ClassVar[frozenset[str]]

    def serves(self, query: str) -> bool:
        """Whether it answers a kind of query at all."""
        return query in self.queries

    @abc.abstractmethod
    def proves(self, reference: Reference, query: str, small: tuple[Batch, ...]) -> str:
        """Hold it against the reference, at θ and at a point where every parameter has another value.

        Args:
            reference: defines what is right.
            query: the kind that is asked for.
            small: one small batch.

        Returns:
            What differs, as the end of a sentence; empty where nothing does.
        """


@final
class Proofs:
    """What was proven on one surface, and what was dropped.

    Args:
        reference: defines what is right.
        small: the batch that proofs are made on.
        allowed: whether shortcuts may be used at all.

    Attributes:
        proven: names of shortcuts in use, with the kinds of query that they answer.
        dropped: a sentence for each that is not.
    """

    def __init__(self, reference: Reference, small: tuple[Batch, ...], *, allowed: bool = True) -> None:
        self._reference, self._small, self.allowed = reference, small, allowed
        self._held: dict[tuple[str, str], bool] = {}
        self.proven: dict[str, list[str]] = {}
        self.dropped: list[str] = []
        self.examples = 0

    def holds(self, shortcut: Shortcut, query: str) -> bool:
        """Whether a shortcut may answer a kind of query; proven when it is first asked for."""
        if not self.allowed:
            return False
        key = (shortcut.name, query)
        if key not in self._held:
            self._held[key] = shortcut.serves(query) and self._prove(shortcut, query)
        return self._held[key]

    def why(self, name: str) -> str:
        """The sentence on a shortcut that was dropped."""
        return next((sentence for sentence in self.dropped if sentence.startswith(name)), f"{name} is not used")

    def _prove(self, shortcut: Shortcut, query: str) -> bool:
        before = self._reference.evaluations
        reason = ""
        if shortcut.name not in trusted:
            try:
                reason = shortcut.proves(self._reference, query, self._small)
            except NotApplicableError as error:
                reason = str(error)
            except LossAtlasError as error:
                reason = _short(error.__cause__ or error)
            except Exception as error:  # whatever a user's code, or torch's transforms of it, may raise
                reason = _short(error)
        # The shortcut reads what the reference reads.
        self.examples += 2 * (self._reference.evaluations - before) * sum(batch.size for batch in self._small)
        if reason:
            self.dropped.append(f"{shortcut.name} is not used for {query}: {reason}")
        else:
            self.proven.setdefault(shortcut.name, []).append(query)
        return not reason


def compared(found: list[Tensor], expected: list[Tensor], query: str, dtype: torch.dtype) -> str:
    """How far a shortcut is off at the two points of a proof; empty if it is not."""
    factor, most = ROUNDINGS[query]
    allowed = min(factor * torch.finfo(dtype).eps, most)
    sizes = [_norm(one) for one in expected]
    scale = max((size for size in sizes if math.isfinite(size)), default=0.0)
    for place, one, two, size in zip(("there", "away from there"), found, expected, sizes, strict=False):
        off = _norm(one.double() - two.double())
        if not math.isfinite(off) and not math.isfinite(size) and math.isfinite(_norm(one)) == math.isfinite(size):
            continue
        if not off <= allowed * scale:
            where = "at the model's own parameters" if place == "there" else "away from the model's own parameters"
            return f"{where} it differs from the model itself by {_share(off, size)}"
    return ""


@contextmanager
def unpoisoned(flat: Tensor) -> Iterator[None]:
    """NaN in the vector that a copy is bound to, while it is evaluated at other tensors, and then what was in it."""
    own = flat.clone()
    flat.fill_(float("nan"))
    try:
        yield
    finally:
        flat.copy_(own)


def _share(off: float, size: float) -> str:
    if not math.isfinite(off):
        return "more than any number: it reads the model's own parameters"
    return f"{off / size:.2g} of it" if size > 0 else f"{off:.2g}"


def _norm(tensor: Tensor) -> float:
    return float(torch.linalg.vector_norm(tensor.detach().double()))


def _short(error: BaseException) -> str:
    said = " ".join(str(error).split())
    return f"{type(error).__name__}: {said[:157] + '…' if len(said) > 160 else said}".rstrip(".: ")
