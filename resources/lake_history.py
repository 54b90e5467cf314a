"""The lake's memory: which commit put rows there, from which files, and when others followed.

Belongs here: asking the catalog about snapshots and files, and rows as of a snapshot. Does not
belong here: commits (see `lake`), what the answers explain.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

import polars as pl

from optrade.explanation import Commit
from optrade.tables import Table
from resources.lake import CATALOG, Lake
from resources.lake_slices import on_dates
from resources.lake_upkeep import UPKEEP

_METADATA = f"__ducklake_metadata_{CATALOG}"
_SAMPLE = 3
_FROM_FILES = (
    f"FROM {_METADATA}.ducklake_data_file f "
    f"JOIN {_METADATA}.ducklake_table t USING (table_id) "
    f"JOIN {_METADATA}.ducklake_schema s USING (schema_id) "
)


@dataclass(frozen=True)
class FoundRows:
    """Rows of some dates as of a snapshot.

    `count` of the `slice_rows` meet a condition; `files`, `snapshots` and `sample` (a key of each
    file) are of those. `dates` have rows at all.
    """

    count: int
    slice_rows: int
    files: tuple[str, ...]
    snapshots: tuple[int, ...]
    dates: tuple[date, ...]
    sample: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True)
class PastLake:
    """An open lake where a run's lake is expected: what it reads is of the lake's snapshot."""

    lake: Lake

    @property
    def root(self) -> str:
        """Where the lake is."""
        return str(self.lake.location.root)

    def read(
        self,
        table: Table,
        dates: Sequence[date],
        *,
        columns: Sequence[str] | None = None,
        where: str | None = None,
    ) -> pl.DataFrame:
        """The rows of those dates, as `Lake.read`."""
        return self.lake.read(table, dates, columns=columns, where=where)


def newest_snapshot(lake: Lake) -> int:
    """The snapshot that the open lake shows: its newest, or that of the moment asked for."""
    return int(lake.sql(f"SELECT id FROM {CATALOG}.current_snapshot()").item())


def equals(values: Mapping[str, Any]) -> str:
    """The SQL condition that columns have those values; `true` for none."""
    return " AND ".join(f'"{name}" = {_literal(v)}' for name, v in values.items()) or "true"


def _literal(value: Any) -> str:
    if isinstance(value, datetime):
        return f"TIMESTAMPTZ '{value.isoformat()}'"
    if isinstance(value, date):
        return f"DATE '{value.isoformat()}'"
    if isinstance(value, bool | int | float):
        return repr(value)
    return "'" + str(value).replace("'", "''") + "'"


def source(table: Table, snapshot: int) -> str:
    """A table as of a snapshot, to be selected from."""
    return f"{CATALOG}.{table.full_name} AT (VERSION => {snapshot})"


@dataclass(frozen=True)
class History:
    """What an open lake tells of its past; what was asked once is remembered."""

    lake: Lake
    _changes: dict[tuple[str, tuple[date, ...]], list[int]] = field(default_factory=dict)
    _rows: dict[tuple[Any, ...], FoundRows] = field(default_factory=dict)
    _commits: dict[tuple[str, int], Commit] = field(default_factory=dict)

    def changes(self, read: Mapping[str, Collection[date]]) -> list[int]:
        """The snapshots in which a data file came or went; `read` are dates by table."""
        found: set[int] = set()
        for name, dates in read.items():
            key = (name, tuple(sorted(dates)))
            if key not in self._changes:
                self._changes[key] = self._changes_of(*key)
            found.update(self._changes[key])
        return sorted(found)

    def _changes_of(self, name: str, dates: Sequence[date]) -> list[int]:
        group, table = name.split(".")
        rows = self.lake.sql(
            "SELECT DISTINCT unnest([f.begin_snapshot, f.end_snapshot, d.begin_snapshot]) AS at "
            f"{_FROM_FILES} "
            f"LEFT JOIN {_METADATA}.ducklake_delete_file d USING (data_file_id) "
            "WHERE t.table_name = ? AND s.schema_name = ? AND "
            "regexp_extract(f.path, 'trade_date=([0-9-]+)', 1) IN (SELECT unnest(?))",
            [table, group, [day.isoformat() for day in dates]],
        )
        return [at for at in rows["at"].to_list() if at is not None]

    def find(
        self,
        table: Table,
        dates: Sequence[date],
        snapshot: int,
        where: str = "true",
        narrowed: str = "true",
    ) -> FoundRows:
        """The rows of some dates and a condition as of a snapshot, and those `narrowed` to."""
        past = [at for at in self.changes({table.full_name: dates}) if at <= snapshot]
        key = (table.full_name, tuple(dates), max(past, default=0), where, narrowed)
        if key not in self._rows:
            self._rows[key] = self._find(table, dates, snapshot, where, narrowed)
        return self._rows[key]

    def _find(
        self, table: Table, dates: Sequence[date], snapshot: int, where: str, narrowed: str
    ) -> FoundRows:
        sample = ", ".join(f"{name} := {name}" for name in table.key)
        rows = self.lake.sql(
            "SELECT filename, snapshot_id, trade_date, count(*) AS all_rows, "
            f"count(*) FILTER ({narrowed}) AS n, "
            f"min(struct_pack({sample})) FILTER ({narrowed}) AS sample "
            f"FROM {source(table, snapshot)} WHERE {on_dates(dates)} AND ({where}) "
            "GROUP BY ALL ORDER BY ALL"
        )
        of = rows.filter(pl.col("n") > 0)
        return FoundRows(
            count=int(of["n"].sum()),
            slice_rows=int(rows["all_rows"].sum()),
            files=tuple(of["filename"]),
            snapshots=tuple(sorted(set(of["snapshot_id"].to_list()))),
            dates=tuple(sorted(set(rows["trade_date"].to_list()))),
            sample=tuple(of["sample"].head(_SAMPLE).to_list()),
        )

    def commit(self, snapshot: int, table: Table, current: str | None) -> Commit:
        """A snapshot's story, as far as a table goes; `current` is its code version now."""
        key = (table.full_name, snapshot)
        if key not in self._commits:
            self._commits[key] = read_commit(self.lake, snapshot, table, current)
        return self._commits[key]


def read_commit(lake: Lake, snapshot: int, table: Table, current: str | None) -> Commit:
    """A snapshot's story, as far as a table goes; `current` is its code version now."""
    row = lake.sql(
        "SELECT snapshot_time::TIMESTAMPTZ AS at, author, commit_message, commit_extra_info "
        f"FROM {_METADATA}.ducklake_snapshot JOIN {_METADATA}.ducklake_snapshot_changes "
        "USING (snapshot_id) WHERE snapshot_id = ?",
        [snapshot],
    ).row(0, named=True)
    extra = json.loads(row["commit_extra_info"] or "{}")
    return Commit(
        snapshot,
        row["at"],
        row["author"] or "",
        row["commit_message"] or "",
        extra.get("run_id"),
        extra.get("code_versions", {}).get(table.full_name),
        current,
    )


def is_upkeep(commit: Commit) -> bool:
    """Whether a commit changed no row: the same ones in other files."""
    return commit.author == UPKEEP


def before_in_run(lake: Lake, commit: Commit) -> int:
    """The last snapshot that the same author made before a commit; that before it where none."""
    found = lake.sql(
        f"SELECT max(snapshot_id) FROM {_METADATA}.ducklake_snapshot_changes "
        "WHERE author = ? AND snapshot_id < ?",
        [commit.author, commit.snapshot],
    ).item()
    return commit.snapshot - 1 if found is None or commit.run_id is None else int(found)
