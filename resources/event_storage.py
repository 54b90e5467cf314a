"""Dagster's SQLite event log with the asset events of a step stored in one transaction.

Belongs here: batching writes of the event log, nothing else. Does not belong here: what events
say, and any other part of the instance.

A range run over a year reports thousands of materializations and check evaluations. Dagster's
SQLite storage opens and commits several connections for each. Here consecutive asset events
wait in memory and are stored together before anything else touches the log. A step never ends
without another event, so what a finished step reported is on disk when the step is.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

from dagster import DagsterEventType, EventLogEntry
from dagster._core.storage.event_log import SqliteEventLogStorage
from dagster._core.storage.event_log.sqlite.sqlite_event_log import INDEX_SHARD_NAME
from sqlalchemy.engine import Connection

_BATCHED = frozenset(
    {DagsterEventType.ASSET_MATERIALIZATION, DagsterEventType.ASSET_CHECK_EVALUATION}
)
_MOST = 1_000


class BatchingSqliteEventLogStorage(SqliteEventLogStorage):
    """`SqliteEventLogStorage` that stores consecutive asset events in one transaction."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._waiting: list[EventLogEntry] = []
        self._open: Mapping[str, Connection] = {}
        self._guard = threading.RLock()
        super().__init__(*args, **kwargs)
        self._db_lock = threading.RLock()  # A batch holds two shards open at once.

    @classmethod
    def from_config_value(
        cls, inst_data: Any, config_value: Any
    ) -> BatchingSqliteEventLogStorage:
        """Make the storage that `dagster.yaml` asks for."""
        return cls(inst_data=inst_data, **config_value)

    def store_event(self, event: EventLogEntry) -> None:
        """Store an event; an asset event waits for company."""
        if not (event.is_dagster_event and event.dagster_event_type in _BATCHED):
            super().store_event(event)
            return
        with self._guard:
            self._waiting.append(event)
            if len(self._waiting) >= _MOST:
                self._store_waiting()

    def _store_waiting(self) -> None:
        waiting, self._waiting = self._waiting, []
        shards = sorted({INDEX_SHARD_NAME, *(event.run_id for event in waiting)})
        with ExitStack() as stack:
            self._open = {
                shard: stack.enter_context(super(BatchingSqliteEventLogStorage, self)._connect(shard))
                for shard in shards
            }
            try:
                for event in waiting:
                    super().store_event(event)
            finally:
                self._open = {}

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

    def dispose(self) -> None:
        """Store what waits, then close."""
        with self._guard:
            if self._waiting:
                self._store_waiting()
        super().dispose()
