"""What a shortcut to the reference is, and how far it may be off."""

from __future__ import annotations

import abc
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar

import torch
from torch import Tensor

from lossatlas.surface.network._data import Batch
from lossatlas.surface.network._reference import Reference

VALUES, GRADIENTS, PRODUCTS = "values", "gradients", "products"
# Rows of the small batch that proofs are made on.
SMALL = 16
# Units of rounding by which a shortcut may differ, and the largest relative difference that this may come to.
ROUNDINGS = {VALUES: (256.0, 0.02), GRADIENTS: (8192.0, 0.1), PRODUCTS: (65536.0, 0.2)}


class Shortcut(abc.ABC):
    """A faster evaluation that has to equal the reference.

    Attributes:
        name: for notes, a noun phrase.
        queries: the kinds of query that it answers.
        remark: a sentence for the record that the proof may leave, of what it found beside.
    """

    name: ClassVar[str]
    queries: ClassVar[frozenset[str]]
    remark: str = ""

    def serves(self, query: str) -> bool:
        """Whether it answers a kind of query at all."""
        return query in self.queries

    @abc.abstractmethod
    def proves(self, reference: Reference, query: str, small: tuple[Batch, ...]) -> str:
        """Hold it against the reference, at θ and at a point where every parameter has another value.

        Args:
            reference: defines what is right.
            query: the kind of query.
            small: one small batch.

        Returns:
            What differs, as the end of a sentence; empty where nothing does.
        """


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
