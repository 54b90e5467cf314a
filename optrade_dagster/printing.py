"""Frames on a terminal, as CSV or as JSON.

Belongs here: printing query results. Does not belong here: querying.
"""

from __future__ import annotations

import sys
from typing import Any

import polars as pl
from rich.console import Console
from rich.table import Table

_MOST_ROWS = 200


def print_frame(console: Console, frame: pl.DataFrame, style: str) -> None:
    """Print a frame as `table` (at most 200 rows, saying so), `csv` or `json` (all rows)."""
    frame = _plain_numbers(frame)
    if style == "csv":
        sys.stdout.write(frame.write_csv(datetime_format="%Y-%m-%dT%H:%M:%S%z"))
    elif style == "json":
        sys.stdout.write(_textual(frame).write_json() + "\n")
    else:
        console.print(_as_table(frame))
        shown = min(frame.height, _MOST_ROWS)
        rest = f" of {frame.height:,}" if shown < frame.height else ""
        console.print(f"{shown:,}{rest} row{'s' * (frame.height != 1)}", style="dim")


def _plain_numbers(frame: pl.DataFrame) -> pl.DataFrame:
    """DuckDB sums whole numbers into 128 bits, which JSON would show as text."""
    whole = [name for name, dtype in frame.schema.items() if dtype == pl.Int128()]
    fits = [
        name
        for name in whole
        if frame[name].cast(pl.Int64(), strict=False).null_count() == frame[name].null_count()
    ]
    return frame.with_columns(
        pl.col(fits).cast(pl.Int64()), pl.selectors.decimal().cast(pl.Float64())
    )


def _textual(frame: pl.DataFrame) -> pl.DataFrame:
    """Dates and times as ISO text."""
    return frame.with_columns(
        pl.col(pl.Date).dt.to_string("iso"),
        pl.selectors.datetime().dt.to_string("iso"),
    )


def _as_table(frame: pl.DataFrame) -> Table:
    table = Table(header_style="bold")
    for name, dtype in frame.schema.items():
        table.add_column(name, justify="right" if dtype.is_numeric() else "left")
    for row in frame.head(_MOST_ROWS).iter_rows():
        table.add_row(*(_cell(value) for value in row))
    return table


def _cell(value: Any) -> str:
    if value is None:
        return "[dim]null[/]"
    if isinstance(value, float):
        return f"{value:.10g}"
    return str(value)
