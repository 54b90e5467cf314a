"""The lake: DuckLake tables over immutable Parquet, committed whole or not at all.

Belongs here: opening a lake, its birth mark, the commit protocol, reading, time travel.
Does not belong here: Dagster (see `lake_io`), upkeep (see `lake_upkeep`), encoding
(see `lake_files`).

Commit protocol: every slice is checked and written to new Parquet files first; then, under the
one writer lock, a single transaction deletes the old slices, adds the new files and states who
did it and why. Readers keep the snapshot they began with and never wait.
"""

from __future__ import annotations

import importlib.resources
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import Any, Literal

import duckdb
import filelock
import polars as pl

from optrade.tables import IST, TABLES, Table
from resources.lake_files import (
    EncodedSlice,
    ParquetFormat,
    encode,
    same_content,
    slice_path,
    write_durably,
)

Market = Literal["real", "simulated"]
CATALOG = "lake"
LAYOUT = 1
_BIRTH = f"{CATALOG}.optrade.birth"
_SOURCES: Mapping[Market, frozenset[str]] = {
    "real": frozenset({"exchange", "kite"}),
    "simulated": frozenset({"simulated"}),
}
DUCKDB_CONFIG: Mapping[str, str] = {
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
}


class LakeError(RuntimeError):
    """The lake cannot do what was asked; the message says what to do next."""


class SliceRefused(ValueError):
    """A frame that must not be committed: the lake is untouched."""


@dataclass(frozen=True)
class Slice:
    """What the rows of `dates` of one table shall be from now on.

    `frame` holds the rows of all those dates. A date without rows is refused unless
    `empties_dates` says that emptying it is meant.
    """

    table: Table
    dates: tuple[date, ...]
    frame: pl.DataFrame
    empties_dates: bool = False


@dataclass(frozen=True)
class SliceResult:
    """What a commit did to one date of one table."""

    rows: int
    sha256: str | None
    changed: bool


@dataclass(frozen=True)
class CommitResult:
    """What a commit did; not `changed` when all content was already there."""

    slices: Mapping[str, Mapping[date, SliceResult]]
    changed: bool


def extension_path(name: str) -> str:
    """Path of a DuckDB extension shipped as a Python package (no network at run time)."""
    package = importlib.resources.files(f"duckdb_extension_{name}")
    return str(package / "extensions" / f"v{duckdb.__version__}" / f"{name}.duckdb_extension")


Connect = Callable[[], AbstractContextManager[duckdb.DuckDBPyConnection]]


@contextmanager
def plain_connection() -> Iterator[duckdb.DuckDBPyConnection]:
    """An in-memory DuckDB that installs and loads nothing by itself."""
    connection = duckdb.connect(config=dict(DUCKDB_CONFIG))
    try:
        yield connection
    finally:
        connection.close()


@dataclass(frozen=True)
class LakeLocation:
    """Where a lake lives: its root folder; the catalog and data follow from it."""

    root: Path
    market: Market

    @property
    def catalog(self) -> Path:
        """The SQLite catalog."""
        return self.root / "catalog.sqlite"

    @property
    def data(self) -> Path:
        """Folder of the Parquet files."""
        return self.root / "data"

    @property
    def lock(self) -> Path:
        """The one writer lock."""
        return self.root / ".write.lock"

    def attach(self, *, read_only: bool, as_known_at: datetime | None = None) -> str:
        """The statement that attaches this lake as `lake`, now or as it was known once."""
        options = [
            f"DATA_PATH '{_quoted(self.data)}/'",
            "DATA_INLINING_ROW_LIMIT 0",
            "META_JOURNAL_MODE 'WAL'",
            "META_BUSY_TIMEOUT 10000",
            *(["READ_ONLY"] if read_only else []),
            *([f"SNAPSHOT_TIME '{as_known_at.isoformat()}'"] if as_known_at else []),
        ]
        return (
            f"ATTACH 'ducklake:sqlite:{_quoted(self.catalog)}' AS {CATALOG} ({', '.join(options)})"
        )


def _quoted(path: Path) -> str:
    return path.as_posix().replace("'", "''")


class Lake:
    """An open lake. Use `Lake.open(...)` as a context manager.

    One DuckDB instance serves all calls; each call takes its own cursor, so readers in other
    threads do not disturb one another.
    """

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        location: LakeLocation,
        style: ParquetFormat,
        lock_timeout_seconds: float,
    ) -> None:
        self._connection = connection
        self.location = location
        self._style = style
        self._lock_timeout_seconds = lock_timeout_seconds

    @classmethod
    @contextmanager
    def open(
        cls,
        location: LakeLocation,
        *,
        read_only: bool = False,
        as_known_at: datetime | None = None,
        connect: Connect = plain_connection,
        style: ParquetFormat | None = None,
        lock_timeout_seconds: float = 120.0,
    ) -> Iterator[Lake]:
        """Open the lake at `location`, creating it (and missing tables) unless `read_only`.

        `as_known_at` (timezone-aware, implies `read_only`) shows the rows of that moment.

        Raises `LakeError` when there is none to read, or when it was born in the other market.
        """
        read_only = read_only or as_known_at is not None
        if read_only and not location.catalog.exists():
            raise LakeError(
                f"There is no {location.market} lake at {location.root}. Fill one first: "
                "`optrade demo` (simulated) or `optrade backfill --from D --to D` (real)."
            )
        location.data.mkdir(parents=True, exist_ok=True)
        with connect() as connection:
            for name in ("ducklake", "sqlite_scanner"):
                path = extension_path(name).replace("'", "''")
                connection.execute(f"LOAD '{path}'")
            lake = cls(connection, location, style or ParquetFormat(), lock_timeout_seconds)
            if read_only:
                lake._attach_existing(as_known_at)
            else:
                lake._attach_or_create()
            connection.execute(f"SET TimeZone='{IST}'")
            lake._check_birth()
            yield lake

    def _attach_existing(self, as_known_at: datetime | None) -> None:
        try:
            self._connection.execute(self.location.attach(read_only=True, as_known_at=as_known_at))
        except duckdb.Error as error:
            if as_known_at is None or "snapshot" not in str(error).lower():
                raise
            raise LakeError(
                f"Nothing was known yet at {as_known_at.isoformat()}: the lake at "
                f"{self.location.root} is younger. Ask for a later moment."
            ) from error

    def _attach_or_create(self) -> None:
        with self.writer_lock():
            self._connection.execute(self.location.attach(read_only=False))
            have = {
                f"{schema}.{name}"
                for schema, name in self._connection.execute(
                    "SELECT table_schema, table_name FROM information_schema.tables "
                    f"WHERE table_catalog = '{CATALOG}'"
                ).fetchall()
            }
            statements = [
                statement
                for table in TABLES.values()
                if table.full_name not in have
                for statement in table.ddl(CATALOG)
            ]
            if "optrade.birth" not in have:
                statements += [
                    f"CREATE SCHEMA IF NOT EXISTS {CATALOG}.optrade",
                    f"CREATE TABLE {_BIRTH}(market VARCHAR, born_at TIMESTAMPTZ, layout INTEGER)",
                    f"INSERT INTO {_BIRTH} VALUES ('{self.location.market}', now(), {LAYOUT})",
                ]
            if statements:
                with self._transaction(self._connection):
                    for statement in statements:
                        self._connection.execute(statement)

    def _check_birth(self) -> None:
        born = self.sql(f"SELECT market, layout FROM {_BIRTH}").rows()
        if born != [(self.location.market, LAYOUT)]:
            raise LakeError(
                f"The lake at {self.location.root} was born {born}, and a lake refuses any other "
                f"kind; asked for {(self.location.market, LAYOUT)}. Choose another "
                "OPTRADE_HOME, or set OPTRADE_MARKET to the market this lake was born in."
            )

    @contextmanager
    def writer_lock(self) -> Iterator[None]:
        """Hold the one writer lock; the operating system frees it when a process dies.

        Raises `LakeError` when another writer keeps it longer than the configured wait.
        """
        lock = filelock.FileLock(self.location.lock, timeout=self._lock_timeout_seconds)
        try:
            lock.acquire()
        except filelock.Timeout as error:
            raise LakeError(
                f"Another writer held {self.location.lock} for over "
                f"{self._lock_timeout_seconds:.0f} s. Look for a hanging run in the UI, then retry."
            ) from error
        try:
            yield
        finally:
            lock.release()

    @contextmanager
    def _transaction(self, cursor: duckdb.DuckDBPyConnection) -> Iterator[None]:
        cursor.execute("BEGIN")
        try:
            yield
            cursor.execute("COMMIT")
        except BaseException:
            self._rollback(cursor)
            raise

    @staticmethod
    def _rollback(cursor: duckdb.DuckDBPyConnection) -> None:
        try:
            cursor.execute("ROLLBACK")
        except duckdb.TransactionException:
            return  # A failed COMMIT has already ended the transaction.

    def commit(
        self, slices: Sequence[Slice], *, author: str, provenance: Mapping[str, Any]
    ) -> CommitResult:
        """Replace all given slices in one transaction, or none of them.

        Dates whose content is already there, byte for byte, are left alone; when nothing
        changes no snapshot is made. `provenance` (run id, code versions, ...) is kept with the
        snapshot together with each slice's row count and hash.

        Raises `SliceRefused` for a frame that breaks its table's contract, `LakeError` when the
        writer lock cannot be had, `OSError` when the disk refuses: the old rows then stand.
        """
        encoded = [(s, self._encode(s)) for s in slices]
        with self.writer_lock():
            cursor = self._connection.cursor()
            plans = [self._plan(cursor, s, parts) for s, parts in encoded]
            changes = [plan for plan in plans if plan.new or plan.gone]
            if changes:
                self._write_files(changes)
                self._commit_files(cursor, changes, author, provenance)
        return CommitResult(
            {p.slice.table.full_name: p.results() for p in plans}, changed=bool(changes)
        )

    def _encode(self, part: Slice) -> list[EncodedSlice]:
        frame = checked(part, self.location.market)
        by_day = frame.partition_by("trade_date", as_dict=True, maintain_order=True)
        return [
            encode(day, rows, self._style)
            for (day,), rows in by_day.items()  # type: ignore[misc]
        ]

    def _plan(
        self, cursor: duckdb.DuckDBPyConnection, part: Slice, encoded: list[EncodedSlice]
    ) -> _Plan:
        live = self.live_files(part.table, part.dates, cursor=cursor)
        same = {
            e.day
            for e in encoded
            if len(files := live.get(e.day, [])) == 1 and same_content(files[0], e)
        }
        have = {e.day for e in encoded}
        return _Plan(
            slice=part,
            kept=[e for e in encoded if e.day in same],
            new=[e for e in encoded if e.day not in same],
            gone=[d for d in part.dates if d not in have and d in live],
        )

    def _write_files(self, plans: Sequence[_Plan]) -> None:
        """Write all new files; on failure none stays (a crash leaves orphans: see upkeep)."""
        try:
            for plan in plans:
                for part in plan.new:
                    path = slice_path(self.location.data, plan.slice.table, part)
                    write_durably(path, part.content)
                    plan.paths.append(path)
        except BaseException:
            for path in [path for plan in plans for path in plan.paths]:
                path.unlink(missing_ok=True)
            raise

    def _commit_files(
        self,
        cursor: duckdb.DuckDBPyConnection,
        plans: Sequence[_Plan],
        author: str,
        provenance: Mapping[str, Any],
    ) -> None:
        names = ", ".join(plan.slice.table.full_name for plan in plans)
        extra = {**provenance, "slices": {p.slice.table.full_name: p.story() for p in plans}}
        with self._transaction(cursor):
            for plan in plans:
                table = plan.slice.table
                dates = [e.day for e in plan.new] + plan.gone
                cursor.execute(
                    f"DELETE FROM {CATALOG}.{table.full_name} WHERE trade_date IN "
                    f"(SELECT unnest(?::DATE[]))",
                    [dates],
                )
                if plan.paths:
                    cursor.execute(
                        f"CALL ducklake_add_data_files('{CATALOG}', '{table.name}', ?, "
                        f"schema => '{table.group}', hive_partitioning => true)",
                        [[path.as_posix() for path in plan.paths]],
                    )
            cursor.execute(
                f"CALL {CATALOG}.set_commit_message(?, ?, extra_info => ?)",
                [author, f"replace {names}", json.dumps(extra, default=str)],
            )

    def live_files(
        self,
        table: Table,
        dates: Iterable[date] | None = None,
        *,
        cursor: duckdb.DuckDBPyConnection | None = None,
    ) -> dict[date, list[str]]:
        """The data files that hold each date's rows now (all dates when none are given)."""
        rows = (
            (cursor or self._connection.cursor())
            .execute(
                f"SELECT data_file FROM ducklake_list_files('{CATALOG}', ?, schema => ?)",
                [table.name, table.group],
            )
            .fetchall()
        )
        wanted = None if dates is None else set(dates)
        files: dict[date, list[str]] = {}
        for (path,) in rows:
            marker = next(part for part in Path(path).parts if part.startswith("trade_date="))
            day = date.fromisoformat(marker.removeprefix("trade_date="))
            if wanted is None or day in wanted:
                files.setdefault(day, []).append(path)
        return files

    def read(
        self,
        table: Table,
        dates: Sequence[date],
        *,
        columns: Sequence[str] | None = None,
        where: str | None = None,
    ) -> pl.DataFrame:
        """The rows of those dates (and a condition in SQL), sorted as the table declares."""
        names = list(columns or table.schema)
        picked = ", ".join(f'"{name}"' for name in names)
        frame = self.sql(
            f"SELECT {picked} FROM {CATALOG}.{table.full_name} "
            "WHERE trade_date IN (SELECT unnest(?::DATE[]))" + (f" AND ({where})" if where else ""),
            [list(dates)],
        )
        frame = frame.cast({name: table.schema[name] for name in names})  # type: ignore[arg-type]
        order = [name for name in table.order if name in names]
        return frame.sort(order, maintain_order=True)

    def sql(self, query: str, parameters: Sequence[Any] = ()) -> pl.DataFrame:
        """Run a query; tables are named `<group>.<table>`."""
        cursor = self._connection.cursor()
        cursor.execute(f"USE {CATALOG}")
        return cursor.execute(query, list(parameters)).pl()


@dataclass
class _Plan:
    """One slice's commit: what stays, what is new, which dates empty, which files were written."""

    slice: Slice
    kept: list[EncodedSlice]
    new: list[EncodedSlice]
    gone: list[date]
    paths: list[Path] = field(default_factory=list)

    def results(self) -> dict[date, SliceResult]:
        results = {e.day: SliceResult(e.rows, e.sha256, changed=False) for e in self.kept}
        results |= {e.day: SliceResult(e.rows, e.sha256, changed=True) for e in self.new}
        results |= {day: SliceResult(0, None, changed=True) for day in self.gone}
        return dict(sorted(results.items()))

    def story(self) -> dict[str, dict[str, Any]]:
        return {
            str(day): {"rows": result.rows, "sha256": result.sha256}
            for day, result in self.results().items()
            if result.changed
        }


def checked(part: Slice, market: Market) -> pl.DataFrame:
    """The slice's rows in their table's order, or `SliceRefused` saying what is wrong.

    Checks what the catalog does not: columns by name and type, rows inside the dates, no empty
    date unless meant, no duplicate key, and sources that belong to this market.
    """
    table, frame = part.table, part.frame
    where = (
        f"{table.full_name} {part.dates[0]}..{part.dates[-1]}" if part.dates else table.full_name
    )
    if dict(frame.schema) != table.schema:
        found = {n: t for n, t in frame.schema.items() if table.schema.get(n) != t}
        missing = [n for n in table.schema if n not in frame.schema]
        raise SliceRefused(
            f"{where}: found columns {found or 'in another order'}, missing {missing}; expected "
            "exactly the table's columns, types and order. Use Table.conform()."
        )
    days = set(frame["trade_date"].unique())
    if outside := sorted(days - set(part.dates)):
        raise SliceRefused(
            f"{where}: found rows of {outside[:3]}; expected only the slice's dates."
        )
    if (missing_days := sorted(set(part.dates) - days)) and not part.empties_dates:
        raise SliceRefused(
            f"{where}: found no rows for {missing_days[:3]}; expected some. Leave the date out, or "
            "say that emptying it is meant."
        )
    doubled = frame.filter(frame.select(table.key).is_duplicated())
    if doubled.height:
        sample = doubled.select(table.key).row(0)
        raise SliceRefused(
            f"{where}: found {doubled.height} rows that share a key, such as {sample}; expected "
            f"one row per {', '.join(table.key)}."
        )
    if "source" in table.schema:
        foreign = sorted(set(frame["source"].unique()) - _SOURCES[market])
        if foreign:
            raise SliceRefused(
                f"{where}: found rows whose source is {foreign}; a {market} lake accepts only "
                f"{sorted(_SOURCES[market])}. Real and simulated data never share a lake."
            )
    return frame.sort(table.order, maintain_order=True)
