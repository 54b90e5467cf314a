"""Shared by the tests of resources: a lake in a temporary folder and rows to put in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
import pytest

from optrade.tables import IST, Table
from resources.lake import Lake, LakeLocation

Rows = Callable[..., pl.DataFrame]


def make_rows(
    table: Table, days: Sequence[date], count: int = 4, generation: int = 0
) -> pl.DataFrame:
    """`count` rows a day that differ by generation and keep every rule of a simulated lake."""

    def value(name: str, dtype: pl.DataType, day: date, i: int) -> Any:
        if name == "source":
            return "simulated"
        if dtype == pl.String():
            return f"{name}{i:05d}"
        if dtype == pl.Date():
            return day
        if dtype == pl.Boolean():
            return i % 2 == 0
        if isinstance(dtype, pl.Datetime):
            return datetime(day.year, day.month, day.day, 15, 30, tzinfo=ZoneInfo(IST))
        return generation

    return pl.DataFrame(
        [
            [value(c.name, c.dtype, day, i) for c in table.columns]
            for day in days
            for i in range(count)
        ],
        schema=table.schema,
        orient="row",
    )


@pytest.fixture(scope="session")
def rows() -> Rows:
    """Makes rows of a table."""
    return make_rows


@pytest.fixture
def location(tmp_path: Path) -> LakeLocation:
    """Where a simulated lake may be made."""
    return LakeLocation(tmp_path / "lake", "simulated")


@pytest.fixture
def lake(location: LakeLocation) -> Iterator[Lake]:
    """An open, empty, simulated lake."""
    with Lake.open(location, lock_timeout_seconds=5) as opened:
        yield opened
