"""What it means to explain a number: the chain from a value to the bytes it came from.

Belongs here: the shape of an explanation, which rows of an upstream table share a row's keys,
comparing rows bit for bit. Does not belong here: reading the lake, printing.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from datetime import date, datetime
from typing import Any

import numpy as np
import polars as pl

from optrade.calendar import TradingCalendar
from optrade.tables import TABLES, Table

Key = Mapping[str, Any]


@dataclass(frozen=True)
class Upstream:
    """One input of a table: which rows of `table` the rows of a date are made from.

    `sessions_before` earlier trading days are read too; `own_day` is false where the date itself
    is not. `columns` and `where` as the function reads them.
    """

    table: Table
    columns: tuple[str, ...] | None = None
    where: str | None = None
    sessions_before: int = 0
    own_day: bool = True

    def dates(self, calendar: TradingCalendar, day: date) -> tuple[date, ...]:
        """The trading days that are read for `day`, in order."""
        if self.sessions_before == 0:
            return (day,)
        earlier = [d for d in calendar.sessions(calendar.first, day) if d < day]
        return (*earlier[-self.sessions_before :], *([day] if self.own_day else []))


@dataclass(frozen=True)
class Commit:
    """Who put rows into the lake, when and why.

    `made_with` is the table's code version then, `current` the one it has now.
    """

    snapshot: int
    committed_at: datetime
    author: str
    message: str
    run_id: str | None
    made_with: str | None
    current: str | None


@dataclass(frozen=True)
class Run:
    """A Dagster run; only its id where the event log has it no more."""

    run_id: str
    job: str | None = None
    status: str | None = None
    started_at: datetime | None = None
    tags: Mapping[str, str] | None = None


@dataclass(frozen=True)
class RawFile:
    """Bytes as they came: an exchange's file, a segment of the feed, the instrument dump.

    `stored_as` is the path inside `home`, the lake's folder or the market's.
    """

    trade_date: date
    kind: str
    name: str
    sha256: str | None
    bytes: int | None
    stored_as: str
    home: str
    url: str | None = None
    fetched_at: datetime | None = None


@dataclass(frozen=True)
class Rows:
    """Rows of a table on some dates, as of `snapshot`; those that share `shared` are counted.

    `sample` holds keys of a few of them, `slice_rows` counts all rows of the dates.
    """

    table: str
    first: date
    last: date
    dates: int
    snapshot: int
    shared: Key
    count: int
    slice_rows: int
    sample: tuple[Key, ...]


@dataclass(frozen=True)
class Step:
    """One table of the chain on one date: its rows, who committed them, what they are made of.

    `compacted_in` names the snapshot that rewrote the same rows into one file, if any did.
    """

    rows: Rows
    row_is: str
    method: str
    commits: tuple[Commit, ...]
    compacted_in: int | None
    data_files: tuple[str, ...]
    inputs: tuple[Rows, ...]
    raw_files: tuple[RawFile, ...]

    @property
    def table(self) -> str:
        """`group.name`."""
        return self.rows.table

    @property
    def day(self) -> date:
        """The trading day."""
        return self.rows.last

    @property
    def snapshot(self) -> int:
        """The snapshot in which the rows were committed; the last one where there are several."""
        return max(commit.snapshot for commit in self.commits)


@dataclass(frozen=True)
class Value:
    """The number asked about; `reason` says why it is null where the row has such a column."""

    table: str
    column: str
    key: Key
    value: Any
    unit: str
    description: str
    reason: str | None


@dataclass(frozen=True)
class Difference:
    """Where rows computed again are not those held: how many, and the first value that differs."""

    rows: int
    key: Key
    column: str
    held: Any
    recomputed: Any

    def __str__(self) -> str:
        where = ", ".join(f"{name} {value}" for name, value in self.key.items())
        return (
            f"{self.rows} rows differ; at {where}: found {self.column} = {self.held!r}, "
            f"expected {self.recomputed!r}"
        )


@dataclass(frozen=True)
class Verified:
    """One step computed again from its inputs; `problem` says why it could not be."""

    table: str
    day: date
    snapshot: int
    inputs_at: int | None
    rows: int
    difference: Difference | None = None
    problem: str | None = None

    @property
    def identical(self) -> bool:
        """Whether every bit is the same."""
        return self.difference is None and self.problem is None


@dataclass(frozen=True)
class Explanation:
    """A value and its chain: `steps` from the value's table down to what was fetched.

    `verified` are the steps computed again, raw first; empty where that was not asked for.
    """

    market: str
    snapshot: int
    value: Value
    steps: tuple[Step, ...]
    runs: tuple[Run, ...]
    verified: tuple[Verified, ...] = ()

    @property
    def raw_files(self) -> tuple[RawFile, ...]:
        """Every file of the chain once."""
        return tuple(dict.fromkeys(file for step in self.steps for file in step.raw_files))

    @property
    def first_difference(self) -> Verified | None:
        """The first step, from the raw bytes on, that is not the same again."""
        return next((step for step in self.verified if not step.identical), None)

    def to_json(self) -> str:
        """All of it; instants and dates in ISO."""
        first = self.first_difference
        whole = asdict(self) | {
            "identical": first is None if self.verified else None,
            "first_difference": asdict(first) if first else None,
        }
        return json.dumps(whole, default=_plain, ensure_ascii=False, indent=2)


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, date) else str(value)


def declared_table(name: str) -> Table:
    """The table called `group.name`; `ValueError` with the nearest name where there is none."""
    if name in TABLES:
        return TABLES[name]
    raise ValueError(f"found no table {name!r}; {_nearest(name, TABLES, 'group.table')}")


def declared_column(table: Table, name: str) -> None:
    """Raise `ValueError` with the nearest name unless the table has a column `name`."""
    if name not in table.schema:
        what = f"a column of {table.full_name}"
        raise ValueError(
            f"{table.full_name} has no column {name!r}; {_nearest(name, table.schema, what)}"
        )


def _nearest(name: str, names: Collection[str], what: str) -> str:
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    return f"did you mean {' or '.join(near)}?" if near else f"expected {what}, see docs/tables.md"


def reason_of(table: Table, column: str, row: Key) -> str | None:
    """Why `column` is null in a row: its own reason column, else the row's; None where neither.

    `<name>_reason` speaks of columns that begin with `<name>`; the longest such name counts.
    """
    own = [c for c in table.schema if c.endswith("_reason")]
    own = [c for c in own if column.startswith(c.removesuffix("_reason"))]
    named = [*sorted(own, key=len, reverse=True), "reason", "refusal", "detail"]
    return next((f"{c}: {row[c]}" for c in named if row.get(c) is not None), None)


def shared_key(row: Key, table: Table) -> dict[str, Any]:
    """The key columns of an upstream table that a row has too, beside the date, with its values.

    A segment is a product group in one table and a file of the feed in another: where only one
    of both has participants, it is not shared.
    """
    names = [n for n in table.key if n != "trade_date" and row.get(n) is not None]
    if ("participant" in row) != ("participant" in table.schema):
        names = [n for n in names if n != "segment"]
    return {name: row[name] for name in names}


def compare(table: Table, held: pl.DataFrame, recomputed: pl.DataFrame) -> Difference | None:
    """The first difference between two frames of `table`, bit for bit; None where there is none.

    Floats are compared by their bits, null equals null. Order does not count, keys do.
    """
    key, names = list(table.key), list(table.schema)
    left = held.select(names).sort(key, maintain_order=True)
    right = recomputed.select(names).sort(key, maintain_order=True)
    if not left.select(key).equals(right.select(key)):
        return _other_rows(table, left, right)
    same = pl.DataFrame({name: _same(left[name], right[name]) for name in names})
    differing = same.with_row_index("_row").filter(~pl.all_horizontal(names))
    if differing.is_empty():
        return None
    at = differing["_row"][0]
    column = next(name for name in names if not differing[name][0])
    row = left.row(at, named=True)
    return Difference(
        differing.height, {n: row[n] for n in key}, column, row[column], right[column][at]
    )


def _same(left: pl.Series, right: pl.Series) -> pl.Series:
    """Which values have the same bits; null is null."""
    if left.dtype != pl.Float64():
        return left.eq_missing(right)
    bits = [np.ascontiguousarray(v.fill_null(0.0).to_numpy()).view(np.int64) for v in (left, right)]
    return pl.Series(bits[0] == bits[1]) & (left.is_null() == right.is_null())


def _other_rows(table: Table, held: pl.DataFrame, recomputed: pl.DataFrame) -> Difference:
    """What to say of rows that one side has and the other has not."""
    key = list(table.key)
    lost = recomputed.join(held, on=key, how="anti", nulls_equal=True)
    extra = held.join(recomputed, on=key, how="anti", nulls_equal=True)
    if lost.is_empty() and extra.is_empty():
        return Difference(abs(held.height - recomputed.height), {}, "rows", held.height,
                          recomputed.height)  # fmt: skip
    where = (extra if lost.is_empty() else lost).select(key).row(0, named=True)
    words = ("a row", "no such row") if lost.is_empty() else ("no such row", "a row")
    return Difference(lost.height + extra.height, where, "row", *words)
