"""Dagster's SQLite event log with the asset events of a step stored together.

Belongs here: batching writes of the event log, nothing else. Does not belong here: what events
say, and any other part of the instance.

A range run over a year reports thousands of materializations and check evaluations. Dagster's
SQLite storage opens and commits several connections for each. Here consecutive asset events
wait in memory and are stored in one transaction, table by table, before anything else touches
the log, or once the first has waited a second. A step never ends without another event, so what
a finished step reported is on disk when the step is. Events of no run have nothing coming after
them and never wait.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Any

import sqlalchemy as db
from dagster import DagsterEventType, DagsterInvariantViolationError, EventLogEntry
from dagster._core.events import ASSET_EVENTS
from dagster._core.instance import RUNLESS_RUN_ID
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus
from dagster._core.storage.event_log import SqliteEventLogStorage
from dagster._core.storage.event_log.schema import (
    AssetCheckExecutionsTable,
    SqlEventLogStorageTable,
)
from dagster._core.storage.event_log.sqlite.sqlite_event_log import INDEX_SHARD_NAME
from dagster_shared.serdes import serialize_value
from sqlalchemy.engine import Connection

_BATCHED = frozenset(
    {
        DagsterEventType.ASSET_MATERIALIZATION,
        DagsterEventType.ASSET_MATERIALIZATION_PLANNED,
        DagsterEventType.ASSET_CHECK_EVALUATION,
        DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED,
    }
)
_MOST = 1_000
_APART_SECONDS = 0.001
"""The UI shows events of one millisecond as one."""
_LONGEST_SECONDS = 1.0


_IDENTITY = ("asset_key", "check_name", "run_id", "partition")
_AT = "at_"
_STATUS = AssetCheckExecutionRecordStatus
Row = dict[str, Any]


def _note(committed: list[str], shard: str, kind: object, *_: object) -> None:
    """Note, when a shard's connection was left without error, that it is committed."""
    if kind is None:
        committed.append(shard)


def _naive_utc(timestamp: float) -> datetime:
    """A moment as Dagster's tables keep it: in UTC, without saying so."""
    return datetime.fromtimestamp(timestamp, UTC).replace(tzinfo=None)


def _latest(stored: Sequence[tuple[EventLogEntry, int]]) -> list[tuple[EventLogEntry, int]]:
    """The last event of each kind and asset: an asset's own row keeps nothing of earlier ones."""
    last: dict[Any, tuple[EventLogEntry, int]] = {}
    for event, event_id in stored:
        kind = (event.get_dagster_event().asset_key, event.dagster_event_type)
        last.pop(kind, None)
        last[kind] = (event, event_id)
    return list(last.values())


def _store_evaluations(index: Connection, rows: Sequence[Row]) -> None:
    """Complete what was planned, add what was not.

    Raises `DagsterInvariantViolationError` when a check was planned twice in a run.
    """
    table = AssetCheckExecutionsTable.c
    known = index.execute(
        db.select(*(table[name] for name in _IDENTITY)).where(
            table.run_id == rows[0]["run_id"],
            table.check_name.in_({row["check_name"] for row in rows}),
            table.asset_key.in_({row["asset_key"] for row in rows}),
        )
    )
    have = {tuple(row) for row in known}
    added: list[Row] = []
    completed: list[Row] = []
    for row in rows:
        identity = tuple(row[name] for name in _IDENTITY)
        if identity in have:
            completed.append({_AT + k if k in _IDENTITY else k: v for k, v in row.items()})
        else:
            added.append(row)
            have.add(identity)
    if added:
        index.execute(AssetCheckExecutionsTable.insert(), added)
    if completed:
        done = index.execute(
            AssetCheckExecutionsTable.update().where(
                *(table[name].op("IS")(db.bindparam(_AT + name)) for name in _IDENTITY)
            ),
            completed,
        )
        if done.rowcount != len(completed):
            raise DagsterInvariantViolationError(
                f"{done.rowcount} rows belong to {len(completed)} check evaluations of run "
                f"{rows[0]['run_id']}; expected one each. A check was planned twice."
            )


class BatchingSqliteEventLogStorage(SqliteEventLogStorage):
    """`SqliteEventLogStorage` that stores consecutive asset events in one transaction."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._waiting: list[EventLogEntry] = []
        self._waiting_since = 0.0
        self._open: dict[str, Connection] = {}
        self._tables: set[str] = set()
        self._last_stamp = 0.0
        self._guard = threading.RLock()
        super().__init__(*args, **kwargs)
        # A batch holds two shards open at once.
        self._db_lock = threading.RLock()  # type: ignore[assignment]

    @classmethod
    def from_config_value(cls, inst_data: Any, config_value: Any) -> BatchingSqliteEventLogStorage:
        """Make the storage that `dagster.yaml` asks for."""
        return cls(inst_data=inst_data, **config_value)

    def has_table(self, table_name: str) -> bool:
        """Whether the cross-run log has a table; a yes is final and asked for once."""
        if table_name not in self._tables and super().has_table(table_name):
            self._tables.add(table_name)
        return table_name in self._tables

    def store_event(self, event: EventLogEntry) -> None:
        """Store an event; a run's asset event waits for company."""
        if event.run_id == RUNLESS_RUN_ID or not (
            event.is_dagster_event and event.dagster_event_type in _BATCHED
        ):
            super().store_event(event)
            return
        with self._guard:
            self._last_stamp = max(event.timestamp, self._last_stamp + _APART_SECONDS)
            event = event._replace(timestamp=self._last_stamp)
            if self._waiting and self._waiting[0].run_id != event.run_id:
                self._store_waiting()  # One run to a batch: shards never wait for one another.
            now = time.monotonic()
            if not self._waiting:
                self._waiting_since = now
            self._waiting.append(event)
            if len(self._waiting) >= _MOST or now - self._waiting_since >= _LONGEST_SECONDS:
                self._store_waiting()

    def _store_waiting(self) -> None:
        """Store what waits in one transaction; if that is refused, one by one as Dagster does.

        Raises the first error of an event that could not be stored even alone.
        """
        waiting, self._waiting = self._waiting, []
        committed: list[str] = []
        try:
            self._store_together(waiting, committed)
        except Exception as together:
            if committed:  # A shard has these events already: storing again would double them.
                raise
            errors = [error for event in waiting if (error := self._store_alone(event))]
            if errors:
                raise errors[0] from together

    def _store_together(self, waiting: Sequence[EventLogEntry], committed: list[str]) -> None:
        with ExitStack() as stack:
            # Left in reverse order: the run is committed before the index, as Dagster does it.
            try:
                for shard in (INDEX_SHARD_NAME, waiting[0].run_id):
                    stack.push(partial(_note, committed, shard))
                    self._open[shard] = stack.enter_context(super()._connect(shard))
                self._store_rows(waiting)
            finally:
                self._open = {}

    def _store_rows(self, waiting: Sequence[EventLogEntry]) -> None:
        """What `store_event` does for each event, with each table written once."""
        index, run = self._open[INDEX_SHARD_NAME], self._open[waiting[0].run_id]
        rows = [self._event_to_row(event) for event in waiting]
        run.execute(SqlEventLogStorageTable.insert(), rows)
        # The first insert takes the write lock, so the ids that follow it are this batch's.
        first = index.execute(SqlEventLogStorageTable.insert().values(**rows[0]))
        start = first.lastrowid
        numbered = [{**row, "id": start + place} for place, row in enumerate(rows)]
        if numbered[1:]:
            index.execute(SqlEventLogStorageTable.insert(), numbered[1:])
        stored = [(event, start + place) for place, event in enumerate(waiting)]
        of_assets = [at for at in stored if at[0].dagster_event_type in ASSET_EVENTS]
        if of_assets:
            self._store_asset_event_tags(index, *zip(*of_assets, strict=True))
        for event, event_id in _latest(of_assets):
            self._store_asset_event(index, event, event_id)
        for event, event_id in stored:
            if event.dagster_event_type == DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED:
                self._store_asset_check_evaluation_planned(event, event_id)
        evaluations = [
            self._evaluation_row(event, event_id)
            for event, event_id in stored
            if event.dagster_event_type == DagsterEventType.ASSET_CHECK_EVALUATION
        ]
        if evaluations:
            _store_evaluations(index, evaluations)

    def _evaluation_row(self, event: EventLogEntry, event_id: int) -> Row:
        evaluation = event.get_dagster_event().asset_check_evaluation_data
        status = _STATUS.SUCCEEDED if evaluation.passed else _STATUS.FAILED
        target = evaluation.target_materialization_data
        return {
            "asset_key": evaluation.asset_key.to_string(),
            "check_name": evaluation.check_name,
            "run_id": event.run_id,
            "partition": evaluation.partition,
            "execution_status": status.value,
            "evaluation_event": serialize_value(event),
            "evaluation_event_timestamp": _naive_utc(event.timestamp),
            "evaluation_event_storage_id": event_id,
            "materialization_event_storage_id": target.storage_id if target else None,
        }

    def _store_asset_check_evaluation_planned(
        self, event: EventLogEntry, event_id: int | None
    ) -> None:
        """Store that a check is planned; Dagster serializes the event anew for each partition."""
        planned = event.get_dagster_event().asset_check_planned_data
        subset = planned.partitions_subset
        row = {
            "asset_key": planned.asset_key.to_string(),
            "check_name": planned.check_name,
            "run_id": event.run_id,
            "execution_status": _STATUS.PLANNED.value,
            "evaluation_event": serialize_value(event),
            "evaluation_event_timestamp": _naive_utc(event.timestamp),
            "evaluation_event_storage_id": event_id,
        }
        keys = subset.get_partition_keys() if subset else [None]
        with self.index_connection() as connection:
            connection.execute(
                AssetCheckExecutionsTable.insert(), [{**row, "partition": key} for key in keys]
            )

    def _store_alone(self, event: EventLogEntry) -> Exception | None:
        try:
            super().store_event(event)
        except Exception as error:  # noqa: BLE001 (the caller raises it after the other events)
            return error
        return None

    @contextmanager
    def _connect(self, shard: str) -> Iterator[Connection]:
        """Connect to a shard: the batch's own inside a batch, else after what waits is stored."""
        with self._guard:
            if shard in self._open:
                yield self._open[shard]
                return
            if self._waiting:
                self._store_waiting()
            with super()._connect(shard) as connection:
                yield connection

    def wipe(self) -> None:
        """Forget everything, also what waits."""
        with self._guard:
            self._waiting = []
            super().wipe()

    def dispose(self) -> None:
        """Store what waits, then close."""
        with self._guard:
            if self._waiting:
                self._store_waiting()
        super().dispose()
