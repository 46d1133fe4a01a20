"""Classes that may lie beside the weights in a torch file: plain data, which can be made again without running anything.

torch's restricted unpickler builds nothing but tensors and containers unless it is told of more. What is listed here is
registered while one file is read and at no other time. Classes of other packages are never imported for it: where they
only hold settings (Lightning's ``AttributeDict``, OmegaConf), an empty stand-in takes their place.
"""

from __future__ import annotations

import argparse
import collections
import datetime
import decimal
import fractions
import pathlib
import types
import uuid
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

Allowed = list[type | Callable[..., Any] | tuple[Any, str]]

_PLAIN: tuple[Any, ...] = (
    argparse.Namespace,
    types.SimpleNamespace,
    collections.deque,
    collections.Counter,
    datetime.date,
    datetime.datetime,
    datetime.time,
    datetime.timedelta,
    datetime.timezone,
    decimal.Decimal,
    fractions.Fraction,
    uuid.UUID,
    torch.torch_version.TorchVersion,
    *(dict, list, set, frozenset, tuple, int, float, complex, bool, str, bytes, bytearray, range, slice),
)


class Inert:
    """Stands in for an object of a package that is not imported; what it held is dropped."""

    def __new__(cls, *_: Any, **__: Any) -> Inert:
        """Take any arguments."""
        return object.__new__(cls)

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __setstate__(self, _: Any) -> None:
        pass


class InertDict:
    """Stands in for dictionaries that are more than that: what is made is a plain one, as torch's reader wants it."""

    def __new__(cls, *_: Any) -> Any:
        """Take any arguments, such as the factory of a ``defaultdict``, which is never called."""
        return {}


_DICTS = (
    "collections.defaultdict",
    "lightning.fabric.utilities.data.AttributeDict",
    "lightning.fabric.utilities.types.AttributeDict",
    "lightning_fabric.utilities.data.AttributeDict",
    "lightning.pytorch.utilities.parsing.AttributeDict",
    "pytorch_lightning.utilities.parsing.AttributeDict",
)
_SETTINGS = (
    "typing.Any",
    "omegaconf.base.ContainerMetadata",
    "omegaconf.base.Metadata",
    "omegaconf.dictconfig.DictConfig",
    "omegaconf.listconfig.ListConfig",
    *(f"omegaconf.nodes.{kind}Node" for kind in ("Any", "Boolean", "Bytes", "Float", "Integer", "Path", "String")),
)


def harmless() -> Allowed:
    """For `torch.serialization.safe_globals`: what may be built, and under which names files may name it."""
    return [*_PLAIN, *_numpy(), *_paths(), *((InertDict, n) for n in _DICTS), *((Inert, n) for n in _SETTINGS)]


def _numpy() -> Allowed:
    from numpy._core import multiarray

    kinds = {type(np.dtype(code)) for code in "?bBhHiIlLqQefdgFDGSUMmOV"}
    rebuilt = [
        (getattr(multiarray, name), f"numpy.{core}.multiarray.{name}")
        for core in ("core", "_core")
        for name in ("_reconstruct", "scalar")
    ]
    return [np.ndarray, np.dtype, *kinds, *rebuilt]


def _paths() -> Allowed:
    """Paths of either system, as pure ones: they can be written on one system and read on the other."""
    twins: dict[str, Any] = {
        "PosixPath": pathlib.PurePosixPath,
        "PurePosixPath": pathlib.PurePosixPath,
        "WindowsPath": pathlib.PureWindowsPath,
        "PureWindowsPath": pathlib.PureWindowsPath,
    }
    return [(pure, f"{home}.{name}") for name, pure in twins.items() for home in ("pathlib", "pathlib._local")]
