"""Rows of results for pandas, which is an extra."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lossatlas._errors import InputError


def data_frame(rows: Sequence[Mapping[str, Any]], columns: Sequence[str] | None = None) -> Any:
    """A pandas data frame.

    Args:
        rows: values by column.
        columns: their order; that of the first row by default.

    Raises:
        InputError: if pandas is not installed.
    """
    try:
        import pandas
    except ImportError as error:
        raise InputError("to_dataframe needs pandas, which is not installed: pip install pandas.") from error
    return pandas.DataFrame(rows, columns=columns)
