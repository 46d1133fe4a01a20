"""Any result as a card: its table or its numbers, what it says of itself, and its picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lossatlas._errors import LossAtlasError
from lossatlas.draw import Table
from lossatlas.page._building import Building
from lossatlas.page._images import drawn

MOST_ROWS = 200
# Results whose plot needs arguments or evaluates something have no picture on their card.
_NO_PICTURE = frozenset({"tuning"})


def add_card(building: Building, made: Any, *, title: str | None = None, tables: Sequence[Table] = ()) -> None:
    """A card of a result, with the first of its tables; further tables get cards of their own."""
    kind = getattr(type(made), "KIND", "") or type(made).__name__.lower()
    found = list(tables) or _tables(made)
    heading = title or _title(made, kind)
    rows = _rows(found[0]) if found else [list(row) for row in _numbers(made)]
    building.parts["cards"].append({
        "id": building.id(heading),
        "title": heading,
        "kind": kind,
        "columns": found[0].columns if found else [],
        "rows": rows[:MOST_ROWS],
        "sentences": _sentences(made) + ([found[0].title] if found else []),
        "figure": None if kind in _NO_PICTURE else drawn(made),
    })  # fmt: skip
    if len(rows) > MOST_ROWS:
        building.notes.append(f"{heading}: {MOST_ROWS} of {len(rows):,} rows are shown")
    for table in found[1:]:
        add_table(building, table, kind)


def add_table(building: Building, table: Table, kind: str = "table") -> None:
    """A table by itself."""
    building.parts["cards"].append({
        "id": building.id(table.title),
        "title": table.title,
        "kind": kind,
        "columns": table.columns,
        "rows": _rows(table)[:MOST_ROWS],
        "sentences": [],
        "figure": None,
    })  # fmt: skip


def _tables(made: Any) -> list[Table]:
    table = getattr(made, "table", None)
    try:
        found = table() if callable(table) else table
    except (LossAtlasError, TypeError):
        return []
    return [found] if isinstance(found, Table) else []


def _rows(table: Table) -> list[list[str]]:
    return [[str(cell) for cell in row] for row in table.rows]


def _title(made: Any, kind: str) -> str:
    said = getattr(made, "title", "")
    name = kind.replace("-", " ")
    return f"{name}: {said}" if isinstance(said, str) and said else name


def _sentences(made: Any) -> list[str]:
    reading = getattr(made, "reading", None)
    try:
        return [str(sentence) for sentence in reading()] if callable(reading) else [str(made)]
    except LossAtlasError as error:
        return [str(error)]


def _numbers(made: Any, most: int = 60) -> list[tuple[str, str]]:
    """The numbers and short texts of a record, by their place in it."""
    record = made.record() if hasattr(made, "record") else {}
    found: list[tuple[str, str]] = []

    def walk(value: Any, place: str) -> None:
        if len(found) >= most:
            return
        if isinstance(value, Mapping):
            for key, one in value.items():
                if key not in ("provenance", "reading", "sentence"):
                    walk(one, f"{place} {key}".strip())
        elif isinstance(value, bool | int | float | str) and str(value):
            found.append((place.replace("_", " "), f"{value:.6g}" if isinstance(value, float) else str(value)))

    walk(record, "")
    return found
