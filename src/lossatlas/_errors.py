"""Every error that lossatlas raises on purpose.

LossAtlasError
├── InputError (also a ValueError)   something that was given does not fit
│   ├── UnknownNameError             no optimizer, landscape, loss … of that name; the nearest is suggested
│   ├── ModelError                   the model cannot be probed as it is: not deterministic, no parameters, …
│   ├── DataError                    the data do not fit the model, or there are none
│   ├── LossError                    the loss is not one finite number
│   ├── CheckpointError              a weights file does not fit, or is not plain weights
│   ├── PlaneError                   a line or plane that is none: zero or parallel directions
│   ├── StartError                   a starting point outside the box or of another dimension
│   └── OutputError                  a folder or file that cannot be written or read
├── NotApplicableError               the surface cannot answer what the algorithm queries
├── WorkerError                      the workers of an engine ended, or give another surface
└── BudgetError                      the next answer would overrun the budget

A message is one paragraph: what was given, what was expected, what to do.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from lossatlas._printable import printable


class LossAtlasError(Exception):
    """Base of all errors of this package; the names in its message, as of tensors in a file, are shown and never obeyed."""

    def __str__(self) -> str:
        return printable(super().__str__())


class InputError(LossAtlasError, ValueError):
    """Something that was given does not fit; the message says what would."""


class UnknownNameError(InputError):
    """A name that is not in a catalog.

    Args:
        kind: what was looked up, for example ``"optimizer"``.
        name: what was given.
        known: the names there are.
    """

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        names = sorted(known)
        close = difflib.get_close_matches(str(name).lower(), names, n=1, cutoff=0.4)
        nearest = f" Did you mean {close[0]!r}?" if close else ""
        super().__init__(f"there is no {kind} named {name!r}.{nearest} Known: {', '.join(names)}.")


class ModelError(InputError):
    """The model cannot be probed as it is."""


class DataError(InputError):
    """The data do not fit the model, or there are none."""


class LossError(InputError):
    """The loss is not one number per batch, or not finite at the model's own parameters."""


class CheckpointError(InputError):
    """A weights file that does not fit the model, or is not plain weights."""


class PlaneError(InputError):
    """Directions that span no line or plane."""


class StartError(InputError):
    """A starting point outside the box, not finite, or of another dimension."""


class OutputError(InputError):
    """A folder or file that cannot be written or read."""


class NotApplicableError(LossAtlasError):
    """The surface does not provide what the algorithm queries."""


class WorkerError(LossAtlasError):
    """The workers that compute answers ended, keep ending, or make another surface than the driver."""


class BudgetError(LossAtlasError):
    """Answering would overrun the budget; nothing was evaluated."""
