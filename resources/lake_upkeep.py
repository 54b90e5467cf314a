"""Keeping a lake in order: its birth mark and tables, one file a day, no stray files.

Belongs here: what the catalog must hold before a lake is used, following new declarations, and
the maintenance that never changes a row: compaction and the removal of orphans. Does not belong
here: changing rows (see `lake`) and deciding when upkeep runs. Nothing here expires anything:
every earlier state of the lake stays readable.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb

from optrade.tables import TABLES, Table
from resources.lake_files import LakeLocation
from resources.lake_slices import (
    CATALOG,
    EncodedSlice,
    LakeError,
    ParquetFormat,
    Plan,
    canonical,
    encode,
    part_of,
)

if TYPE_CHECKING:  # `lake` stands above this module at run time.
    from resources.lake import Lake

LAYOUT = 1
UPKEEP = "optrade upkeep"
"""The author of commits that change no row."""
MOST_ROWS = 2_000_000
"""Rows of a day that are compacted at once; some gigabytes of a wide table."""
SHORTEST_ORPHAN_AGE = timedelta(days=1)
_BIRTH = f"{CATALOG}.optrade.birth"
_METADATA = f"__ducklake_metadata_{CATALOG}"
_HALF_MADE = ("birth", "does not exist", "READ_ONLY", "readonly database")
_CATALOG_TYPES: Mapping[str, str] = {"TIMESTAMPTZ": "TIMESTAMP WITH TIME ZONE"}

Columns = Mapping[str, Mapping[str, str]]
"""Column types as the catalog spells them, by table and column."""
Pieces = Sequence[tuple[str | None, str | None]]
"""The files a day shall become: each one's part name, and the condition of its rows."""


class WrongMarket(LakeError):
    """A lake that was born in the other market."""


def stored_columns(cursor: duckdb.DuckDBPyConnection) -> Columns:
    """What the attached lake's catalog holds."""
    columns: dict[str, dict[str, str]] = {}
    for schema, table, column, kind in cursor.execute(
        "SELECT table_schema, table_name, column_name, data_type FROM information_schema.columns "
        f"WHERE table_catalog = '{CATALOG}'"
    ).fetchall():
        columns.setdefault(f"{schema}.{table}", {})[column] = kind
    return columns


def attach_for_writing(connection: duckdb.DuckDBPyConnection, location: LakeLocation) -> None:
    """Attach the lake, making its catalog if there is none; the caller holds the writer lock."""
    try:
        connection.execute(location.attach(read_only=False))
    except duckdb.Error as error:
        raise unusable(location, str(error)) from error


def attached_for_reading(
    connection: duckdb.DuckDBPyConnection,
    location: LakeLocation,
    as_known_at: datetime | int | None,
) -> bool:
    """Attach a lake of the right birth for reading; False when it is half made.

    Raises `LakeError` when it cannot be read, or is younger than `as_known_at`.
    """
    found = "no birth mark"
    try:
        connection.execute(location.attach(read_only=True, as_known_at=as_known_at))
        if was_born(connection, location):
            return True
        connection.execute(f"DETACH {CATALOG}")
    except duckdb.Error as error:
        found = str(error)
    if isinstance(as_known_at, datetime) and ("snapshot" in found.lower() or "birth" in found):
        raise LakeError(
            f"Nothing was known yet at {as_known_at.isoformat()}: the lake at {location.root} is "
            "younger. Ask for a later moment."
        )
    if any(sign in found for sign in _HALF_MADE):
        return False
    raise unusable(location, found)


def unusable(location: LakeLocation, found: str) -> LakeError:
    """What to say when the catalog cannot be used at all."""
    return LakeError(
        f"The lake at {location.root} cannot be opened: {found.splitlines()[0]}. Look for a full "
        "disk; if its files were damaged, restore them from a backup."
    )


def birth_statements(location: LakeLocation) -> list[str]:
    """The statements that mark a new lake with its market, for good."""
    return [
        f"CREATE SCHEMA IF NOT EXISTS {CATALOG}.optrade",
        f"CREATE TABLE {_BIRTH}(market VARCHAR, born_at TIMESTAMPTZ, layout INTEGER)",
        f"INSERT INTO {_BIRTH} VALUES ('{location.market}', now(), {LAYOUT})",
    ]


def was_born(cursor: duckdb.DuckDBPyConnection, location: LakeLocation) -> bool:
    """Whether the attached lake has a birth mark; `LakeError` when it is of another kind."""
    if "optrade.birth" not in stored_columns(cursor):
        return False
    born = cursor.execute(f"SELECT market, layout FROM {_BIRTH}").fetchall()
    if [market for market, _ in born] != [location.market]:
        found = ", ".join(market for market, _ in born) or "into no market"
        raise WrongMarket(
            f"The lake at {location.root} was born {found}; asked for {location.market}. Real "
            "and simulated data never share a lake: choose another OPTRADE_HOME, or set "
            "OPTRADE_MARKET to the market it was born in."
        )
    if born[0][1] != LAYOUT:
        raise LakeError(
            f"The lake at {location.root} has layout {born[0][1]}; this optrade reads layout "
            f"{LAYOUT}. Use the optrade that made it, or choose another OPTRADE_HOME."
        )
    return True


def table_statements(have: Columns, tables: Mapping[str, Table], root: Path) -> list[str]:
    """The statements that make the catalog's tables as declared.

    New tables are created and new nullable columns added (null in older rows). Raises `LakeError`
    naming every other difference: those cannot be made without touching stored rows.
    """
    statements: list[str] = []
    differences: list[str] = []
    for name, table in tables.items():
        if name not in have:
            statements.extend(table.ddl(CATALOG))
            continue
        differences.extend(f"{name} {found}" for found in _differences(have[name], table))
        statements.extend(
            f'ALTER TABLE {CATALOG}.{name} ADD COLUMN "{column.name}" {column.sql_type}'
            for column in table.columns
            if column.nullable and column.name not in have[name]
        )
    if differences:
        raise LakeError(
            f"The lake at {root} holds tables that are not as this optrade declares them. Found: "
            f"{'; '.join(differences)}. Use the optrade that made it, or move that folder away, "
            "keep its files/ folder, and backfill a new lake."
        )
    return statements


def _differences(have: Mapping[str, str], table: Table) -> list[str]:
    found = [
        f"has a column {name} that is not declared" for name in have if name not in table.schema
    ]
    for column in table.columns:
        expected = _catalog_type(column.sql_type)
        if column.name not in have:
            if not column.nullable:
                found.append(f"lacks the column {column.name}, which older rows cannot have null")
        elif have[column.name] != expected:
            found.append(f"has {column.name} as {have[column.name]}, expected {expected}")
    return found


def _catalog_type(sql_type: str) -> str:
    return _CATALOG_TYPES.get(sql_type, sql_type)


def older_table_as_declared(have: Columns, table: Table, root: Path) -> str | None:
    """A source with `table`'s newer nullable columns as null; None when it lacks none.

    Raises `LakeError` when a column is missing that must not be null.
    """
    lacking = [c for c in table.columns if c.name not in have[table.full_name]]
    if not lacking:
        return None
    if strict := [c.name for c in lacking if not c.nullable]:
        raise LakeError(
            f"{table.full_name} in the lake at {root} lacks {', '.join(strict)}, which must not "
            "be null. Use the optrade that made it, or backfill a new lake."
        )
    nulls = ", ".join(f'NULL::{c.sql_type} AS "{c.name}"' for c in lacking)
    return f"(SELECT *, {nulls} FROM {CATALOG}.{table.full_name})"


@dataclass(frozen=True)
class Compaction:
    """What compacting one day of one table did; unchanged when it was one file already."""

    table: str
    day: date
    files_before: int
    files_after: int
    rows: int
    sha256: str | None

    @property
    def changed(self) -> bool:
        """Whether files were replaced."""
        return self.files_before != self.files_after


def compact(lake: Lake, table: Table, day: date, *, most_rows: int = MOST_ROWS) -> Compaction:
    """Make one sorted file of a day's slice, holding the same rows, in one commit.

    A day of more than `most_rows` rows becomes one file an underlying, so that no more than one
    is in memory. Before it commits, the rows are read back from the new files and compared by
    hash with those read from the old ones. Earlier snapshots keep the old files. Raises
    `LakeError` when the rows differ or the disk refuses: the old files then stand.
    """
    with lake.writer_lock(), lake.cursor() as cursor:
        files = lake.live_files(table, [day], cursor=cursor).get(day, [])
        pieces = pieces_of(cursor, table, day, most_rows)
        if len(files) < 2:
            return Compaction(table.full_name, day, len(files), len(files), 0, None)
        if sorted(map(str, map(part_of, files))) == sorted(str(slug) for slug, _ in pieces):
            return Compaction(table.full_name, day, len(files), len(files), 0, None)
        new, whole = rewrite(lake, cursor, table, day, pieces, "compact", len(files))
        rows = sum(e.rows for e in new)
        return Compaction(table.full_name, day, len(files), len(new), rows, whole)


def rewrite(
    lake: Lake,
    cursor: duckdb.DuckDBPyConnection,
    table: Table,
    day: date,
    pieces: Pieces,
    doing: str,
    files_before: int,
    archive: ParquetFormat | None = None,
) -> tuple[list[EncodedSlice], str | None]:
    """Write a day's rows anew, a file a piece, and swap the files in once they read back equal.

    The caller holds the writer lock. With `archive` the files are of the archive tier, in that
    format. Returns the files and a hash over all rows (None of none). Raises `LakeError` when
    what is read from the new files differs or the disk refuses: the old files then stand.
    """
    new, hashes = [], []
    for slug, where in pieces:
        frame = canonical(table, lake.read(table, [day], where=where, cursor=cursor))
        plain = encode(table, day, frame, lake.style, slug)
        hashes.append(plain.sha256)
        if archive is not None:
            content = encode(table, day, frame, archive, slug).content
            plain = replace(plain, content=content, archived=True)
        new.append(plain)

    def verify() -> None:
        for (slug, where), before in zip(pieces, hashes, strict=True):
            rows = canonical(table, lake.read(table, [day], where=where, cursor=cursor))
            after = encode(table, day, rows, lake.style, slug).sha256
            if after != before:
                raise LakeError(
                    f"Trying to {doing} {table.full_name} {day}: found rows with hash "
                    f"{after[:16]}…; expected {before[:16]}… as before. Nothing was changed. "
                    "Please report this."
                )

    whole = hashlib.sha256("".join(hashes).encode()).hexdigest() if new else None
    whole = hashes[0] if len(hashes) == 1 else whole
    lake.publish(
        cursor,
        [Plan(table=table, kept=[], new=new, gone=[] if new else [day])],
        author=UPKEEP,
        message=f"{doing} {table.full_name} {day}",
        provenance={"files_before": files_before, "rows_sha256": whole},
        verify=verify,
    )
    return new, whole


def pieces_of(
    cursor: duckdb.DuckDBPyConnection, table: Table, day: date, most_rows: int
) -> list[tuple[str | None, str | None]]:
    """The files a day shall become: each one's part name, and the condition of its rows."""
    source = f"{CATALOG}.{table.full_name} WHERE trade_date = DATE '{day.isoformat()}'"
    total = cursor.execute(f"SELECT count(*) FROM {source}").fetchone()
    if total is None or total[0] == 0:
        return []
    if total[0] <= most_rows or table.part is None or "underlying" not in table.schema:
        return [(None, None)]
    found = cursor.execute(f"SELECT DISTINCT underlying FROM {source} ORDER BY 1").fetchall()
    return [
        (name, f"underlying = '{name}'") if name else ("other", "underlying IS NULL")
        for (name,) in found
    ]


def compact_all(lake: Lake, tables: Sequence[Table] | None = None) -> list[Compaction]:
    """Compact every day of the tables (all of them by default) that lies in several files.

    Each day is a commit of its own, so that writers get their turn in between.
    """
    done = []
    for table in TABLES.values() if tables is None else tables:
        for day, files in sorted(lake.live_files(table).items()):
            if len(files) > 1:
                done.append(compact(lake, table, day))
    return done


@dataclass(frozen=True)
class Orphans:
    """Files under the data folder that no snapshot knows: what was found, what was done."""

    files: tuple[Path, ...]
    bytes: int
    removed: bool
    kept_younger: int


def remove_orphans(
    lake: Lake, *, older_than: timedelta = SHORTEST_ORPHAN_AGE, dry_run: bool = False
) -> Orphans:
    """Remove data files that no snapshot, past or present, references.

    Writers killed between writing and committing leave such files. Only the data folder is
    looked at; kept raw files are never touched. Raises `LakeError` for an age below one day,
    and when the catalog references files that are not there (nothing is removed then).
    """
    if older_than < SHORTEST_ORPHAN_AGE:
        raise LakeError(
            f"older_than is {older_than}; expected at least {SHORTEST_ORPHAN_AGE}, because a "
            "younger file may belong to a commit under way. Ask for a day or more."
        )
    with lake.writer_lock(), lake.cursor() as cursor:
        known = _known_files(cursor, lake.location.data)
        if lost := sorted(path for path in known if not path.exists()):
            raise LakeError(
                f"The lake at {lake.location.root} references {len(lost)} files that are not "
                f"there, such as {lost[0]}. Nothing was removed: restore them from a backup first."
            )
        strays = sorted(
            path for path in lake.location.data.rglob("*") if path.is_file() and path not in known
        )
        limit = time.time() - older_than.total_seconds()
        stats = {path: path.stat() for path in strays}
        old = tuple(path for path in strays if stats[path].st_mtime < limit)
        if not dry_run:
            lake.location.discard(path.as_posix() for path in old)
        return Orphans(
            files=old,
            bytes=sum(stats[path].st_size for path in old),
            removed=not dry_run,
            kept_younger=len(strays) - len(old),
        )


def _known_files(cursor: duckdb.DuckDBPyConnection, data: Path) -> set[Path]:
    """Every data and delete file of every snapshot, also of tables that were dropped."""
    known: set[Path] = set()
    for kind in ("data", "delete"):
        rows: list[tuple[Any, ...]] = cursor.execute(
            "SELECT s.path, s.path_is_relative, t.path, t.path_is_relative, "
            "f.path, f.path_is_relative "
            f"FROM {_METADATA}.ducklake_{kind}_file f "
            f"JOIN (SELECT DISTINCT table_id, schema_id, path, path_is_relative "
            f"FROM {_METADATA}.ducklake_table) t USING (table_id) "
            f"JOIN (SELECT DISTINCT schema_id, path, path_is_relative "
            f"FROM {_METADATA}.ducklake_schema) s USING (schema_id)"
        ).fetchall()
        for row in rows:
            path = data
            for part, relative in zip(row[::2], row[1::2], strict=True):
                path = path / part if relative else Path(part)
            known.add(path)
    return known
