"""Dagster's SQLite event log with the asset events of a step stored in one transaction.

Belongs here: batching writes of the event log, nothing else. Does not belong here: what events
say, and any other part of the instance.

A range run over a year reports thousands of materializations and check evaluations. Dagster's
SQLite storage opens and commits several connections for each. Here consecutive asset events
wait in memory and are stored together before anything else touches the log, or once the first
has waited a second. A step never ends without another event, so what a finished step reported
is on disk when the step is. Events of no run have nothing coming after them and never wait.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

from dagster import DagsterEventType, EventLogEntry
from dagster._core.instance import RUNLESS_RUN_ID
from dagster._core.storage.event_log import SqliteEventLogStorage
from dagster._core.storage.event_log.sqlite.sqlite_event_log import INDEX_SHARD_NAME
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


def _note(committed: list[str], shard: str, kind: object, *_: object) -> None:
    """Note, when a shard's connection was left without error, that it is committed."""
    if kind is None:
        committed.append(shard)


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
                for event in waiting:
                    super().store_event(event)
            finally:
                self._open = {}

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
