"""A table that renders itself: with rich in a terminal, as HTML in a notebook or a page, as plain text elsewhere."""

from __future__ import annotations

import html
from dataclasses import dataclass
from typing import Any

from lossatlas._printable import printable


@dataclass(frozen=True)
class Table:
    """Rows of text under column heads.

    Attributes:
        title: above the table.
        columns: the heads.
        rows: one text per column.
    """

    title: str
    columns: list[str]
    rows: list[list[str]]

    def __rich__(self) -> Any:
        from rich.console import Group
        from rich.table import Table as RichTable
        from rich.text import Text

        table = RichTable()  # cells are texts: what looks like rich's markup is part of a name
        for k, column in enumerate(self.columns):
            cells = [row[k] for row in self.rows if row[k]]
            figures = k > 0 and bool(cells) and all(cell[0] in "0123456789-+–<>." for cell in cells)
            table.add_column(Text(printable(column)), justify="right" if figures else "left", overflow="fold")
        for row in self.rows:
            table.add_row(*(Text(printable(cell)) for cell in row))
        # A title of the table's own would be wrapped to the table's width.
        return Group(Text(printable(self.title), style="italic"), table)

    def __str__(self) -> str:
        rows = [[printable(cell) for cell in row] for row in [self.columns, *self.rows]]
        widths = [max(len(row[k]) for row in rows) for k in range(len(self.columns))]
        lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) for row in rows]
        return "\n".join([printable(self.title), *lines])

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{html.escape(printable(column))}</th>" for column in self.columns)
        body = "".join(
            "<tr>" + "".join(f"<td>{html.escape(printable(cell))}</td>" for cell in row) + "</tr>" for row in self.rows
        )
        return f"<table><caption>{html.escape(printable(self.title))}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
