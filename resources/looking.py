"""Looking without touching: a lake's catalog, its files and rows, as they lie on the disk.

Belongs here: reading SQLite databases and a lake without a write, a lock or a new file, whoever
else is at work. Does not belong here: reading for work (see `lake`), judging what is found.

Opening a lake or a Dagster instance as usual makes files beside its databases, so what only looks
goes by the catalog's own tables.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import polars as pl

from optrade.tables import Table
from resources.lake_files import LakeLocation

LOOK_SECONDS: Final = 3.0
"""Longest time that is spent on proving a database whole."""
_STEPS: Final = 10_000
_FILES: Final = """
SELECT s.schema_name || '.' || t.table_name, s.path, s.path_is_relative, t.path,
       t.path_is_relative, f.path, f.path_is_relative, f.file_size_bytes, f.end_snapshot IS NULL
FROM {files} f
JOIN (SELECT table_id, schema_id, table_name, path, path_is_relative, max(begin_snapshot)
      FROM ducklake_table GROUP BY table_id) t USING (table_id)
JOIN (SELECT schema_id, schema_name, path, path_is_relative, max(begin_snapshot)
      FROM ducklake_schema GROUP BY schema_id) s USING (schema_id)
"""


@dataclass(frozen=True)
class StoredFile:
    """A Parquet file that the catalog knows; `live` where the newest state needs it."""

    table: str
    path: Path
    size_bytes: int
    live: bool


@contextmanager
def look_into(path: Path) -> Iterator[sqlite3.Connection]:
    """The SQLite database at `path`, for reading, leaving every file beside it as it is.

    A database in use has a log (`-wal`) and its index (`-shm`), which are read along; one without
    them is read as the single file it is. Raises `sqlite3.Error` for what is no database, and
    `FileNotFoundError` where there is none.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: found no such file; expected a database.")
    log, index = (path.with_name(path.name + suffix) for suffix in ("-wal", "-shm"))
    how = "immutable=1"
    if log.exists() and index.exists():
        how = "mode=ro&readonly_shm=1"
    elif log.exists() and log.stat().st_size:
        raise sqlite3.OperationalError(
            f"{log} holds changes and its index {index.name} is gone; any command that writes "
            "takes them in"
        )
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?{how}", uri=True)) as connection:
        yield connection


def fault_of(connection: sqlite3.Connection, seconds: float = LOOK_SECONDS) -> str | None:
    """What SQLite's own check finds first; None when it finds nothing within `seconds`."""
    limit = time.monotonic() + seconds
    connection.set_progress_handler(lambda: time.monotonic() > limit, _STEPS)
    try:
        (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.OperationalError as error:
        if getattr(error, "sqlite_errorname", "") != "SQLITE_INTERRUPT":
            raise
        return None
    finally:
        connection.set_progress_handler(None, _STEPS)
    return None if found == "ok" else str(found)


def stored_files(
    catalog: sqlite3.Connection, location: LakeLocation, kind: str = "data"
) -> list[StoredFile]:
    """The `data` or `delete` files of every snapshot, past or present."""
    found = []
    for table, *steps, size, live in catalog.execute(_FILES.format(files=f"ducklake_{kind}_file")):
        path = location.data
        for step, relative in zip(steps[::2], steps[1::2], strict=True):
            path = path / step if relative else Path(step)
        found.append(StoredFile(table, path, size, bool(live)))
    return found


def birth(catalog: sqlite3.Connection, location: LakeLocation) -> tuple[str, int] | None:
    """The market a lake was born in and its layout; None when it is half made.

    Raises `OSError` when the file that says so is gone.
    """
    if not catalog.execute("SELECT 1 FROM sqlite_master WHERE name = 'ducklake_table'").fetchone():
        return None
    marks = [file for file in stored_files(catalog, location) if file.table == "optrade.birth"]
    if not marks:
        return None
    rows = pl.read_parquet(marks[0].path, columns=["market", "layout"], use_statistics=False)
    market, layout = rows.row(0)
    return str(market), int(layout)


def stored_rows(
    catalog: sqlite3.Connection, location: LakeLocation, table: Table, columns: Sequence[str]
) -> pl.DataFrame:
    """The rows a table holds now. Raises `OSError` for a file that is gone or unreadable.

    A column that a file is too old for is null in its rows.
    """
    name = table.full_name
    if any(file.live and file.table == name for file in stored_files(catalog, location, "delete")):
        raise OSError(f"{name}: found rows deleted inside a file, which only a lake can read")
    types = {column: table.schema[column] for column in columns}
    frames = [pl.DataFrame(schema=types)]
    for file in stored_files(catalog, location):
        if file.live and file.table == name:
            have = pl.read_parquet_schema(file.path)
            rows = pl.read_parquet(file.path, columns=[c for c in columns if c in have])
            frames.append(
                rows.with_columns(
                    pl.lit(None, dtype).alias(c) for c, dtype in types.items() if c not in have
                ).select(pl.col(c).cast(dtype) for c, dtype in types.items())
            )
    return pl.concat(frames)
