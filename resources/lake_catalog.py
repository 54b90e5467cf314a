"""The catalog read as what it is, an SQLite database of DuckLake's tables.

Belongs here: copying it under its writers, which files and snapshots it knows, proving that its
history did not change, going back to an earlier snapshot, giving up a file that is lost. Does not
belong here: rows (see `lake`), the files themselves (see `backup`, `recovery`).

DuckLake's tables say of each row from which snapshot it holds (`begin_snapshot`) and until which
(`end_snapshot`), so the catalog of an earlier moment is today's without the rows that began
later, and without ends that came later. Ids are given out in order (`next_file_id`,
`next_catalog_id` of a snapshot), which dates the rows that name no snapshot.
https://ducklake.select/docs/stable/specification/tables/overview
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import Any, Final

from resources.lake_slices import day_of

_COUNTED: Final[Mapping[str, str]] = {
    "mapping_id": "next_file_id",
    "partition_id": "next_catalog_id",
    "sort_id": "next_catalog_id",
    "macro_id": "next_catalog_id",
}
"""Ids of rows that name no snapshot, and the counter of a snapshot they are below."""
_SUMS: Final = frozenset(
    {"ducklake_table_stats", "ducklake_table_column_stats", "ducklake_inlined_data_tables"}
)
"""What DuckLake keeps of a table as it is now, without history."""
_SHOWN = 3
_AUTHOR = "optrade recover"


@dataclass(frozen=True)
class Snapshot:
    """One commit: its id and its moment (timezone-aware)."""

    id: int
    at: datetime


@dataclass(frozen=True)
class CatalogFile:
    """A data file, or a file of deleted rows, that some snapshot references.

    `data_id` is the id of the data file, also of a file that says which of its rows were deleted.
    `path` is relative to the data folder; `ended_at` the snapshot that replaced it, None while it
    is live.
    """

    data_id: int
    kind: str
    table: str
    path: str
    rows: int
    bytes: int
    ended_at: int | None


@dataclass(frozen=True)
class Statement:
    """What the last commit message about a date of a table says of it."""

    rows: int
    sha256: str | None
    parts: bool


@contextmanager
def opened(path: Path, *, write: bool = False) -> Iterator[sqlite3.Connection]:
    """The database at `path`, which must exist; read-only unless `write`."""
    mode = "rw" if write else "ro"
    address = f"{path.absolute().as_uri()}?mode={mode}"
    with closing(sqlite3.connect(address, uri=True, isolation_level=None)) as connection:
        yield connection


def copy_database(source: Path, target: Path) -> None:
    """Copy a database whole while others may write to it (SQLite's online backup).

    The copy is one file without a journal: `put_to_use` before a lake is opened on it. Raises
    `sqlite3.Error` as SQLite gives it.
    """
    with opened(source) as origin, closing(sqlite3.connect(target)) as copy:
        origin.backup(copy)
        copy.execute("PRAGMA journal_mode=DELETE")


def put_to_use(path: Path) -> None:
    """Make a copy a catalog that readers and a writer share (SQLite's write-ahead log)."""
    with opened(path, write=True) as connection:
        connection.execute("PRAGMA journal_mode=WAL")


def damage(path: Path) -> str | None:
    """What SQLite finds wrong in a database; None when it is whole."""
    try:
        with opened(path) as connection:
            found = [row[0] for row in connection.execute("PRAGMA integrity_check")]
    except sqlite3.Error as error:
        return str(error)
    return None if found == ["ok"] else "; ".join(found[:_SHOWN])


def snapshots(path: Path) -> list[Snapshot]:
    """Every snapshot, oldest first."""
    with opened(path) as connection:
        rows = connection.execute(
            "SELECT snapshot_id, snapshot_time FROM ducklake_snapshot ORDER BY 1"
        ).fetchall()
    return [Snapshot(number, datetime.fromisoformat(at)) for number, at in rows]


def catalog_files(path: Path) -> list[CatalogFile]:
    """Every file of every snapshot, also of what was replaced since."""
    found = []
    with opened(path) as connection:
        for kind, rows in (("data", "record_count"), ("delete", "delete_count")):
            for ident, schema, table, folders, count, size, end in connection.execute(
                "SELECT f.data_file_id, s.schema_name, t.table_name, "
                "json_array(s.path, t.path, f.path), "
                f"f.{rows}, f.file_size_bytes, f.end_snapshot FROM ducklake_{kind}_file f "
                "JOIN (SELECT DISTINCT table_id, schema_id, table_name, path FROM ducklake_table) "
                "t USING (table_id) "
                "JOIN (SELECT DISTINCT schema_id, schema_name, path FROM ducklake_schema) "
                "s USING (schema_id) ORDER BY 1"
            ):
                place = PurePosixPath(*json.loads(folders)).as_posix()
                found.append(CatalogFile(ident, kind, f"{schema}.{table}", place, count, size, end))
    return found


def statements(path: Path) -> dict[tuple[str, str], Statement]:
    """By table and date, what the newest commit message about it states."""
    stated: dict[tuple[str, str], Statement] = {}
    with opened(path) as connection:
        for message, extra in connection.execute(
            "SELECT commit_message, commit_extra_info FROM ducklake_snapshot_changes "
            "WHERE commit_extra_info IS NOT NULL ORDER BY snapshot_id"
        ):
            compacted = message.startswith("compact ")
            for table, days in json.loads(extra).get("slices", {}).items():
                for day, said in days.items():
                    parts = compacted or "parts" in said
                    stated[table, day] = Statement(said["rows"], said["sha256"], parts)
    return stated


def given_up(path: Path) -> set[str]:
    """Paths of files that were given up as lost (see `give_up`)."""
    with opened(path) as connection:
        rows = connection.execute(
            "SELECT commit_extra_info FROM ducklake_snapshot_changes WHERE author = ?", [_AUTHOR]
        ).fetchall()
    return {lost for (extra,) in rows for lost in json.loads(extra)["lost"]}


def changed_history(path: Path, earlier: Path) -> str | None:
    """Where a catalog tells another past than an `earlier` copy of it; None when it does not.

    A commit only adds rows and ends, so all the earlier copy holds must still be there.
    """
    with opened(path) as connection:
        connection.execute("ATTACH ? AS earlier", [f"{earlier.absolute().as_uri()}?mode=ro"])
        (last,) = connection.execute(
            "SELECT max(snapshot_id) FROM earlier.ducklake_snapshot"
        ).fetchone()
        tables, before = _tables(connection, "main"), _tables(connection, "earlier")
        for table, columns in tables.items():
            known = _known_at(columns, "main")
            if known is None or table in _SUMS or columns != before.get(table):
                continue
            picked = ", ".join(
                f"iif({name} > :at, NULL, {name})" if name == "end_snapshot" else f'"{name}"'
                for name in columns
            )
            now = f"SELECT {picked} FROM main.{table} WHERE {known}"
            then = f"SELECT * FROM earlier.{table}"
            for one, other in ((now, then), (then, now)):
                odd = connection.execute(
                    f"SELECT * FROM ({one}) EXCEPT SELECT * FROM ({other}) LIMIT 1", {"at": last}
                ).fetchone()
                if odd is not None:
                    return f"{table} differs from the backup's of snapshot {last}: {odd}"[:300]
    return None


def rewind(path: Path, snapshot: int) -> None:
    """Make the catalog at `path` that of an earlier snapshot; files are not touched.

    Sums over a table (`ducklake_table_stats`, bounds of a column) have no history: they stay as
    wide as they were, which misleads nobody, for bounds only ever exclude.
    """
    with opened(path, write=True) as connection:
        connection.execute("BEGIN IMMEDIATE")
        for table, columns in _tables(connection, "main").items():
            if (known := _known_at(columns, "main")) is not None:
                connection.execute(f"DELETE FROM {table} WHERE NOT ({known})", {"at": snapshot})
            if "end_snapshot" in columns:
                connection.execute(
                    f"UPDATE {table} SET end_snapshot = NULL WHERE end_snapshot > ?", [snapshot]
                )
        connection.execute("COMMIT")


def give_up(path: Path, lost: Sequence[CatalogFile], message: str) -> None:
    """End files that are lost for ever in a snapshot of its own, which says so.

    Their dates then read as not held, instead of failing every query, and a run makes them anew.
    The caller holds the writer lock and no lake of this process is open.
    """
    data = sorted({file.data_id for file in lost})
    marks = ", ".join("?" * len(data))
    slices: dict[str, dict[str, Any]] = {}
    for file in lost:
        gone = {"rows": 0, "sha256": None, "parts": [file.path]}
        slices.setdefault(file.table, {})[day_of(f"/{file.path}").isoformat()] = gone
    with opened(path, write=True) as connection:
        connection.execute("BEGIN IMMEDIATE")
        (last,) = connection.execute("SELECT max(snapshot_id) FROM ducklake_snapshot").fetchone()
        touched = connection.execute(
            f"SELECT DISTINCT table_id FROM ducklake_data_file WHERE data_file_id IN ({marks})",
            data,
        ).fetchall()
        connection.execute(
            "INSERT INTO ducklake_snapshot SELECT snapshot_id + 1, ?, schema_version, "
            "next_catalog_id, next_file_id FROM ducklake_snapshot WHERE snapshot_id = ?",
            [datetime.now().astimezone().isoformat(sep=" "), last],
        )
        changes = ",".join(f"deleted_from_table:{number}" for (number,) in touched)
        extra = json.dumps({"lost": [file.path for file in lost], "slices": slices})
        connection.execute(
            "INSERT INTO ducklake_snapshot_changes VALUES (?, ?, ?, ?, ?)",
            [last + 1, changes, _AUTHOR, message, extra],
        )
        for kind in ("data", "delete"):
            connection.execute(
                f"UPDATE ducklake_{kind}_file SET end_snapshot = ? "
                f"WHERE end_snapshot IS NULL AND data_file_id IN ({marks})",
                [last + 1, *data],
            )
        connection.execute("COMMIT")


def _tables(connection: sqlite3.Connection, schema: str) -> dict[str, list[str]]:
    """Columns of each of DuckLake's tables."""
    found: Iterable[Sequence[Any]] = connection.execute(
        f"SELECT m.name, c.name FROM {schema}.sqlite_master m "
        f"JOIN pragma_table_info(m.name, '{schema}') c "
        "WHERE m.type = 'table' AND m.name LIKE 'ducklake_%' ORDER BY m.name, c.cid"
    ).fetchall()
    return {
        table: [name for _, name in rows] for table, rows in groupby(found, lambda row: str(row[0]))
    }


def _known_at(columns: Sequence[str], schema: str) -> str | None:
    """The condition of rows that were there at snapshot `:at`; None where all always were."""
    have = set(columns)
    for name in ("begin_snapshot", "snapshot_id"):
        if name in have:
            return f"{name} <= :at"
    if "data_file_id" in have:
        return (
            f"data_file_id IN (SELECT data_file_id FROM {schema}.ducklake_data_file "
            "WHERE begin_snapshot <= :at)"
        )
    for name, counter in _COUNTED.items():
        if name in have:
            return (
                f"{name} < (SELECT {counter} FROM {schema}.ducklake_snapshot "
                "WHERE snapshot_id = :at)"
            )
    if "table_id" not in have:
        return None
    owner, key = ("column", "table_id, column_id") if "column_id" in have else ("table", "table_id")
    return f"({key}) IN (SELECT {key} FROM {schema}.ducklake_{owner} WHERE begin_snapshot <= :at)"
