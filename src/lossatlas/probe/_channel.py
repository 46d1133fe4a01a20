"""What is remembered of one field: recalled by the bits of its coordinates, kept before it is handed on."""

from __future__ import annotations

import json
import platform
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol, final, runtime_checkable

import torch
from torch import Tensor

from lossatlas._errors import InputError
from lossatlas.probe import _confirm, _store
from lossatlas.probe._confirm import Sampled
from lossatlas.probe._store import Row, Store
from lossatlas.surface import Reading

# Of a point in a space of more directions than a plane, the name of its channel holds the others: their bits as numbers.
PLANE, MOST, AT = 2, 8, " @ "
# Sessions in which something was evaluated.
ANSWERING = "id IN (SELECT session FROM events WHERE kind = 'answered')"


class Memory(Protocol):
    """What the probe looks up before it evaluates a surface, and where it keeps what is new before it hands it on."""

    def recall(self, points: Tensor) -> tuple[Tensor, Reading]:
        """Which of the points (B, k) are known, shape (B,), and the readings of those, in order, on the CPU."""
        ...

    def record(self, points: Tensor, reading: Reading, examples: int, seconds: float) -> None:
        """Keep what was just answered, all of it or none.

        Args:
            points: shape (B, k).
            reading: of these.
            examples: read for each.
            seconds: spent on all of them.
        """
        ...


@runtime_checkable
class Lasting(Protocol):
    """A memory that outlives the process, so that the surface may have changed since."""

    def sample(self, dimension: int) -> Sampled:
        """A few cells to be evaluated again before anything is recalled.

        Args:
            dimension: k.
        """
        ...

    def confirm(self, sampled: Sampled, now: Reading, rounding: float, *, steady: bool) -> None:
        """Hold what a surface gives now against what is remembered.

        Args:
            sampled: the cells.
            now: what was read at them.
            rounding: of the surface.
            steady: whether the surface gives the same bits every time.

        Raises:
            OutputError: if they differ: the memory is of another surface.
        """
        ...


@final
class Channel:
    """The memory of one field in a ledger.

    Args:
        store: of the ledger.
        name: of the channel.
        session: that answers are noted under.
    """

    def __init__(self, store: Store, name: str, session: int) -> None:
        self._store, self._name, self._session = store, name, session

    def recall(self, points: Tensor) -> tuple[Tensor, Reading]:
        """Which of the points (B, k) are known, shape (B,), and the readings of those, in order, on the CPU."""
        query = "SELECT status, value, extras FROM points WHERE channel = ? AND a = ? AND b = ?"
        execute = self._store.connection.execute
        try:
            rows = [execute(query, key).fetchone() for key in self._keys(points)]
        except sqlite3.Error as error:
            raise _store.damaged(self._store.path, str(error)) from error
        known = torch.tensor([row is not None for row in rows], dtype=torch.bool)
        return known, _reading([row for row in rows if row is not None])

    def sample(self, dimension: int) -> Sampled:
        """Up to three cells that are remembered: of the lowest loss, of the highest, and one in the middle."""
        layer = self._name if dimension <= PLANE else self._lowest_layer()
        rows = _confirm.chosen(self._store, layer)
        beyond = (
            [int(word, 16) for word in layer.removeprefix(f"{self._name}{AT}").split()]
            if dimension > PLANE and rows
            else []
        )
        here = (maker(self._store.details("id = ?", self._session)[0]), platform.node())
        makers = {(maker(detail), (detail or {}).get("machine")) for detail in self._store.details(ANSWERING)}
        keys = torch.tensor([(row[0], row[1], *beyond) for row in rows], dtype=torch.int64).reshape(-1, 2 + len(beyond))
        return Sampled(keys.view(torch.float64)[:, :dimension], _reading([row[2:] for row in rows]), makers == {here})

    def confirm(self, sampled: Sampled, now: Reading, rounding: float, *, steady: bool) -> None:
        """Hold what a surface gives now against what is remembered, and note that it was done.

        Raises:
            OutputError: if they differ.
        """
        exact = steady and sampled.alike and now.values.device.type == "cpu"
        _confirm.refuse_changed(self._store.path.parent, self._name, sampled, now, 0.0 if exact else rounding)
        self._store.note("confirmed", self._session, {"channel": self._name, "points": len(sampled.points)})

    def record(self, points: Tensor, reading: Reading, examples: int, seconds: float) -> None:
        """Keep what was just answered, in one transaction; what is known already stays as it is."""
        names, channels = list(reading.extras), list(reading.extras.values())
        table = torch.stack([reading.values, *channels], 1).detach().to("cpu", torch.float64) + 0.0
        each = seconds / max(1, len(points))
        rows = [
            Row.of(name, (a, b), value, dict(zip(names, extras, strict=True)), examples, each)
            for (name, a, b), (value, *extras) in zip(self._keys(points), table.tolist(), strict=True)
        ]
        self._store.insert(rows, self._session)

    def _keys(self, points: Tensor) -> Iterator[tuple[str, int, int]]:
        """Channel and bits of the first two coordinates of each point; a layer of a space has a channel of its own."""
        if points.ndim != 2 or not 1 <= points.shape[1] <= MOST:
            raise InputError(
                f"got points of shape {tuple(points.shape)} for a ledger; expected (B, 1) or (B, 2), coordinates on a line "
                f"or plane, or up to (B, {MOST}) in a space. Slice the surface first: surface.on(plane)."
            )
        bits = (points.detach().to("cpu", torch.float64) + 0.0).contiguous().view(torch.int64).tolist()
        for a, *rest in bits:
            b, beyond = (rest[0] if rest else 0), rest[1:]
            yield (f"{self._name}{AT}{' '.join(f'{one:x}' for one in beyond)}" if beyond else self._name), a, b

    def _lowest_layer(self) -> str:
        """The channel of the layer with the lowest loss that is finite, or of any; the own name where there is none."""
        lead = f"{self._name}{AT}"
        query = (
            "SELECT channel FROM points WHERE substr(channel, 1, ?) = ? ORDER BY status <> 'ok', value, a, b LIMIT 1"
        )
        return str(self._store.one(query, len(lead), lead) or self._name)


def _reading(rows: Sequence[tuple[str, float | None, str]]) -> Reading:
    """What rows of status, value and extras say."""
    extras = [json.loads(text) for _, _, text in rows]
    return Reading(
        torch.tensor([_store.loss(status, value) for status, value, _ in rows], dtype=torch.float64),
        {
            name: torch.tensor([float(each[name]) for each in extras], dtype=torch.float64)
            for name in (extras[0] if extras else {})
        },
    )


def maker(detail: Mapping[str, Any] | None) -> tuple[str, ...]:
    """The environment of a session, in words; nothing where it cannot be read."""
    told = (detail or {}).get("with")
    return tuple(f"{name} {value}" for name, value in told.items()) if isinstance(told, dict) else ()
