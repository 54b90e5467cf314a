"""The lake: DuckLake tables over immutable Parquet, committed whole or not at all.

Belongs here: opening a lake, its birth mark, the commit protocol, reading, time travel.
Does not belong here: Dagster (see `lake_io`), keeping tables and files in order (see
`lake_upkeep`), where files are and how they are encoded (see `lake_files`).

Commit protocol: every slice is checked and written to new Parquet files first; then, under the
one writer lock, a single transaction deletes the old slices, adds the new files and states who
did it and why. Readers keep the snapshot they began with and never wait.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from datetime import date, datetime
from typing import Any

import duckdb
import polars as pl

from optrade.tables import IST, TABLES, Table
from resources.duckdb_connection import (
    Connect,
    extension_path,
    plain_connection,
    transaction,
)
from resources.lake_files import LakeLocation
from resources.lake_parts import plan_of_parts
from resources.lake_slices import (
    CATALOG,
    CommitResult,
    EncodedSlice,
    LakeError,
    Market,
    ParquetFormat,
    Plan,
    Slice,
    SliceRefused,
    SliceResult,
    checked,
    day_of,
    encode,
    on_dates,
    same_content,
)
from resources.lake_upkeep import (
    attach_for_writing,
    attached_for_reading,
    birth_statements,
    older_table_as_declared,
    stored_columns,
    table_statements,
    unusable,
    was_born,
)

__all__ = [
    "CATALOG",
    "CommitResult",
    "Lake",
    "LakeError",
    "LakeLocation",
    "Market",
    "Plan",
    "Slice",
    "SliceRefused",
    "SliceResult",
    "checked",
]

_THREADS = 4
_READS = frozenset({duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN})


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
        self.style = style
        self._lock_timeout_seconds = lock_timeout_seconds
        self._read_only = False

    @classmethod
    @contextmanager
    def open(
        cls,
        location: LakeLocation,
        *,
        read_only: bool = False,
        as_known_at: datetime | int | None = None,
        connect: Connect = plain_connection,
        style: ParquetFormat | None = None,
        lock_timeout_seconds: float = 120.0,
    ) -> Iterator[Lake]:
        """Open the lake at `location`, creating it (and missing tables) unless `read_only`.

        `as_known_at` (timezone-aware, or a snapshot's id; implies `read_only`) shows the rows of
        that moment.

        Raises `LakeError` when there is none to read, when it was born in the other market, and
        when its tables are not as declared and cannot be brought there without losing rows.
        """
        read_only = read_only or as_known_at is not None
        if isinstance(as_known_at, datetime) and as_known_at.tzinfo is None:
            raise LakeError(
                f"as_known_at is {as_known_at.isoformat()}, found without a timezone; expected "
                f"one with it, such as {as_known_at.isoformat()}+05:30."
            )
        if read_only and not location.exists():
            raise LakeError(
                f"There is no {location.market} lake at {location.root}. Fill one first: "
                "`optrade demo` (simulated) or `optrade backfill --from D --to D` (real)."
            )
        with connect() as connection:
            for name in location.extensions:
                path = extension_path(name).replace("'", "''")
                connection.execute(f"LOAD '{path}'")
            # GLOBAL, because the cursors that run the queries inherit no session's settings.
            connection.execute(f"SET GLOBAL TimeZone='{IST}'")
            lake = cls(connection, location, style or ParquetFormat(), lock_timeout_seconds)
            if read_only:
                lake._attach_existing(as_known_at)
            else:
                lake._attach_or_create()
            yield lake

    def _attach_existing(self, as_known_at: datetime | int | None) -> None:
        self._read_only = True
        if attached_for_reading(self._connection, self.location, as_known_at):
            return
        with self.writer_lock():  # Its creator may be at work: wait, then look again.
            if attached_for_reading(self._connection, self.location, as_known_at):
                return
        raise LakeError(
            f"The lake at {self.location.root} was begun but never finished. Any run that "
            "writes finishes it: `optrade demo` (simulated) or `optrade backfill` (real)."
        )

    def _attach_or_create(self) -> None:
        self.location.prepare()
        with self.writer_lock():
            attach_for_writing(self._connection, self.location)
            with self.cursor() as cursor:
                born = was_born(cursor, self.location)
                statements = [] if born else birth_statements(self.location)
                statements += table_statements(stored_columns(cursor), TABLES, self.location.root)
                if statements:
                    with transaction(cursor):
                        for statement in statements:
                            cursor.execute(statement)

    @contextmanager
    def writer_lock(self) -> Iterator[None]:
        """Hold the one writer lock; the operating system frees it when a process dies.

        Not reentrant: `commit` takes it itself. Raises `LakeError` when another writer keeps it
        longer than the configured wait.
        """
        with self.location.writer_lock(self._lock_timeout_seconds):
            yield

    def commit(
        self, slices: Sequence[Slice], *, author: str, provenance: Mapping[str, Any]
    ) -> CommitResult:
        """Replace all given slices in one transaction, or none of them.

        Dates whose content is already there, byte for byte, are left alone; when nothing
        changes no snapshot is made. `provenance` (run id, code versions, ...) is kept with the
        snapshot together with each slice's row count and hash.

        Raises `SliceRefused` for a frame that breaks its table's contract, `LakeError` when the
        writer lock cannot be had or the disk refuses: the old rows then stand.
        """
        given = Counter((part.table.full_name, day) for part in slices for day in set(part.dates))
        if twice := sorted({name for (name, _), times in given.items() if times > 1}):
            raise SliceRefused(
                f"{', '.join(twice)}: found a date in more than one slice of a commit; expected "
                "one, whose frame holds all its rows. Join them."
            )
        parts = [(part, self._encode(part)) for part in slices]
        with self.writer_lock(), self.cursor() as cursor:
            plans = [self._plan(cursor, *part) for part in parts]
            if changes := [plan for plan in plans if plan.changes]:
                names = dict.fromkeys(plan.table.full_name for plan in changes)
                message = f"replace {', '.join(names)}"
                self.publish(cursor, changes, author, message, provenance)
        results: dict[str, dict[date, SliceResult]] = {}
        for plan in plans:
            results.setdefault(plan.table.full_name, {}).update(plan.results())
        return CommitResult(results, changed=bool(changes))

    @contextmanager
    def cursor(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A cursor of one's own on the open lake, for this package's modules."""
        with closing(self._connection.cursor()) as cursor:
            try:
                cursor.execute(f"USE {CATALOG}")
            except duckdb.Error as error:
                raise unusable(self.location, str(error)) from error
            yield cursor

    def _encode(self, part: Slice) -> list[EncodedSlice]:
        frame = checked(part, self.location.market)
        column = part.table.part if part.parts is not None else None
        keys = ["trade_date", column] if column else ["trade_date"]
        pieces = frame.partition_by(keys, as_dict=True, maintain_order=True)

        def encoded(piece: tuple[tuple[Any, ...], pl.DataFrame]) -> EncodedSlice:
            (day, *value), rows = piece
            return encode(part.table, day, rows, self.style, *value)

        with ThreadPoolExecutor(_THREADS) as pool:
            return list(pool.map(encoded, pieces.items()))

    def _plan(
        self, cursor: duckdb.DuckDBPyConnection, part: Slice, encoded: list[EncodedSlice]
    ) -> Plan:
        live = self.live_files(part.table, part.dates, cursor=cursor)
        if part.parts is not None:
            return plan_of_parts(part, encoded, live.get(part.dates[0], []))
        same = {
            e.day
            for e in encoded
            if len(files := live.get(e.day, [])) == 1 and same_content(files[0], e)
        }
        have = {e.day for e in encoded}
        return Plan(
            table=part.table,
            kept=[e for e in encoded if e.day in same],
            new=[e for e in encoded if e.day not in same],
            gone=[day for day in sorted(set(part.dates)) if day not in have and day in live],
        )

    def publish(
        self,
        cursor: duckdb.DuckDBPyConnection,
        plans: Sequence[Plan],
        author: str,
        message: str,
        provenance: Mapping[str, Any],
        verify: Callable[[], None] = lambda: None,
    ) -> None:
        """Write the plans' new files and swap them in, in one transaction.

        The caller holds the writer lock. `verify` runs just before the commit and stops it by
        raising. Files written for a commit that did not come about are removed; those a crash
        leaves are orphans (see `lake_upkeep`).
        """
        told: dict[str, dict[str, Any]] = {}
        for plan in plans:
            told.setdefault(plan.table.full_name, {}).update(plan.story())
        extra = {**provenance, "slices": told}
        closed = False
        try:
            self._put_all(plans)
            with transaction(cursor):
                for plan in plans:
                    _swap(cursor, plan)
                cursor.execute(
                    f"CALL {CATALOG}.set_commit_message(?, ?, extra_info => ?)",
                    [author, message, json.dumps(extra, default=str)],
                )
                verify()
                closed = True
        except BaseException as error:
            if not closed:
                self.location.discard(path for plan in plans for path in plan.paths)
            if not isinstance(error, OSError | duckdb.Error):
                raise
            raise LakeError(
                f"The lake at {self.location.root} could not store this ({message}): found "
                f"{str(error).splitlines()[0]}. The old rows stand. If the disk is full, free "
                "some space; then run again."
            ) from error

    def _put_all(self, plans: Sequence[Plan]) -> None:
        """Write the plans' new files, several at a time; raises after all have ended."""
        with ThreadPoolExecutor(_THREADS) as pool:
            puts = [
                (plan, pool.submit(self.location.put, plan.table, part))
                for plan in plans
                for part in plan.new
            ]
        for plan, put in puts:
            if put.exception() is None:
                plan.paths.append(put.result())
        for _, put in puts:
            put.result()

    def live_files(
        self,
        table: Table,
        dates: Iterable[date] | None = None,
        *,
        cursor: duckdb.DuckDBPyConnection | None = None,
    ) -> dict[date, list[str]]:
        """The files that hold each date's rows now (all dates when none are given).

        A file some of whose rows were deleted counts with the file that says which.
        """
        if cursor is None:
            with self.cursor() as own:
                return self.live_files(table, dates, cursor=own)
        rows = cursor.execute(
            f"SELECT data_file, delete_file FROM ducklake_list_files('{CATALOG}', ?, schema => ?)",
            [table.name, table.group],
        ).fetchall()
        wanted = None if dates is None else set(dates)
        files: dict[date, list[str]] = {}
        for path, deletions in rows:
            day = day_of(path)
            if wanted is None or day in wanted:
                files.setdefault(day, []).extend(name for name in (path, deletions) if name)
        return files

    def read(
        self,
        table: Table,
        dates: Sequence[date],
        *,
        columns: Sequence[str] | None = None,
        where: str | None = None,
        cursor: duckdb.DuckDBPyConnection | None = None,
    ) -> pl.DataFrame:
        """The rows of those dates (and a condition in SQL), sorted as the table declares.

        In a lake that is older than the table there are no rows; in one older than a nullable
        column it is null. With a `cursor` the read takes part in that cursor's transaction.
        """
        if cursor is None:
            with self.cursor() as own:
                return self.read(table, dates, columns=columns, where=where, cursor=own)
        types = {name: table.column(name).dtype for name in columns or table.schema}
        picked = ", ".join(f'"{name}"' for name in types)
        condition = f"WHERE {on_dates(dates)}" + (f" AND ({where})" if where else "")

        def rows_of(source: str) -> pl.DataFrame:
            return cursor.execute(f"SELECT {picked} FROM {source} {condition}").pl()

        try:
            frame = rows_of(f"{CATALOG}.{table.full_name}")
        except (duckdb.BinderException, duckdb.CatalogException):
            have = stored_columns(cursor)
            if table.full_name not in have:
                return pl.DataFrame(schema=types)
            source = older_table_as_declared(have, table, self.location.root)
            if source is None:
                raise
            frame = rows_of(source)
        frame = frame.cast(types)  # type: ignore[arg-type]
        order = [name for name in dict.fromkeys((*table.order, *table.key)) if name in types]
        return frame.sort(order, maintain_order=True) if order else frame

    def sql(self, query: str, parameters: Sequence[Any] = ()) -> pl.DataFrame:
        """Run a query; tables are named `<group>.<table>`.

        Raises `LakeError` for a statement that would write past the commit protocol.
        """
        with self.cursor() as cursor:
            if not self._read_only:
                kinds = {statement.type for statement in cursor.extract_statements(query)}
                if others := sorted(kind.name for kind in kinds - _READS):
                    raise LakeError(
                        f"Found {', '.join(others)} in a query on a lake open for writing; "
                        "expected SELECT only. Use Lake.commit(), or open it read_only."
                    )
            return cursor.execute(query, list(parameters)).pl()


def _swap(cursor: duckdb.DuckDBPyConnection, plan: Plan) -> None:
    """Replace the plan's dates or parts by its new files, inside the caller's transaction."""
    table = plan.table
    cursor.execute(f"DELETE FROM {CATALOG}.{table.full_name} WHERE {plan.replaced}")
    if plan.paths:
        cursor.execute(
            f"CALL ducklake_add_data_files('{CATALOG}', '{table.name}', ?, "
            f"schema => '{table.group}', hive_partitioning => true)",
            [plan.paths],
        )
