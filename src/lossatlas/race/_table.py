"""The tables of races are those of the display room."""

from lossatlas.draw._table import Table as Table
