"""One Dagster backfill over trading days: requested, driven to its end, watched.

Belongs here: handing a backfill to the instance, running the daemon's part when no daemon
lives, and following progress. Does not belong here: what is printed (see `cli`, `report`).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

import dagster as dg
from dagster._core.definitions.assets.graph.base_asset_graph import BaseAssetGraph
from dagster._core.execution.backfill import (
    BulkActionsFilter,
    BulkActionStatus,
    PartitionBackfill,
)
from dagster._core.storage.tags import BACKFILL_ID_TAG
from dagster._core.utils import make_new_backfill_id
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import WorkspaceFileTarget
from dagster._daemon.backfill import execute_backfill_iteration
from dagster._daemon.run_coordinator import QueuedRunCoordinatorDaemon
from dagster_shared.error import SerializableErrorInfo
from filelock import FileLock, Timeout

from optrade_dagster.home import workspace_file
from optrade_dagster.jobs import close_assets
from resources.logs import trace_tags
from resources.settings import Settings

WAITING = "WAITING"
"""The status of a backfill that waits for another command's to end."""
_COMMAND_TAG = "optrade/command"
_POLL_SECONDS = 0.5
_REPLAN_SECONDS = 15.0
"""Planning weighs every partition again; between runs that end it is asked only this often."""
_HEARTBEAT_SECONDS = 50.0
_LOG = logging.getLogger("optrade.backfill")
_LOG.addHandler(logging.NullHandler())  # What matters is raised, or stands in the backfill's log.
_LOG.propagate = False


class BackfillError(ValueError):
    """The backfill could not be requested or carried out; the message says why."""


@dataclass(frozen=True)
class Progress:
    """How far a backfill is: runs it has begun and finished, and steps over all begun runs."""

    status: str
    runs: int
    runs_finished: int
    steps: int
    steps_finished: int


@dataclass(frozen=True)
class Outcome:
    """How a backfill ended."""

    backfill_id: str
    status: str
    run_ids: tuple[str, ...]
    failed_run_ids: tuple[str, ...]

    @property
    def succeeded(self) -> bool:
        """Whether every run succeeded.

        Dagster ends a backfill as `COMPLETED_FAILED` also when all runs succeeded but a date had
        nothing to materialize; a file that was never published is no failure here.
        """
        completed = self.status.startswith(BulkActionStatus.COMPLETED.value)
        return completed and bool(self.run_ids) and not self.failed_run_ids


def run_backfill(
    instance: dg.DagsterInstance,
    settings: Settings,
    days: Sequence[date],
    select: str | None,
    watch: Callable[[Progress], None],
) -> Outcome:
    """Materialize assets over trading days as one backfill, and stay until it ends.

    A living daemon (of `optrade up`) is left to do its work; without one this process does the
    daemon's part. Raises `BackfillError` when the code location does not load or the selection
    names nothing.
    """
    target = WorkspaceFileTarget([str(workspace_file(settings))])
    with (
        WorkspaceProcessContext(instance, target, code_server_log_level="WARNING") as workspace,
        _queue() as queue,
        ExitStack() as turns,
    ):
        turns.enter_context(_turn(instance, settings, watch))
        backfill_id = _request(instance, workspace, days, select)
        planner = _Planner(workspace)
        while True:
            backfill = instance.get_backfill(backfill_id)
            if backfill is None:
                raise BackfillError(f"Backfill {backfill_id} was deleted while it ran.")
            progress = _progress(instance, backfill)
            watch(progress)
            if backfill.status in _ENDED:
                return _outcome(instance, backfill)
            if not _daemon_lives(instance):
                planner.plan(progress)
                _raise_errors(queue.run_iteration(workspace))
            time.sleep(_POLL_SECONDS)


_ENDED = (
    BulkActionStatus.COMPLETED,
    BulkActionStatus.COMPLETED_SUCCESS,
    BulkActionStatus.COMPLETED_FAILED,
    BulkActionStatus.FAILED,
    BulkActionStatus.CANCELED,
)


_OPEN = (BulkActionStatus.REQUESTED, BulkActionStatus.CANCELING, BulkActionStatus.FAILING)


@contextmanager
def _queue() -> Iterator[QueuedRunCoordinatorDaemon]:
    with QueuedRunCoordinatorDaemon(interval_seconds=1) as queue:
        yield queue


def _request(
    instance: dg.DagsterInstance,
    workspace: WorkspaceProcessContext,
    days: Sequence[date],
    select: str | None,
) -> str:
    request = workspace.create_request_context()
    for entry in request.get_code_location_entries().values():
        if entry.load_error:
            raise BackfillError(f"The code location does not load:\n{entry.load_error}")
    graph = request.asset_graph
    keys = _selected(graph, select)
    first, last = days[0].isoformat(), days[-1].isoformat()
    backfill = PartitionBackfill.from_asset_partitions(
        backfill_id=make_new_backfill_id(),
        asset_graph=graph,
        partition_names=[day.isoformat() for day in days],
        asset_selection=keys,
        backfill_timestamp=datetime.now(UTC).timestamp(),
        tags={_COMMAND_TAG: "backfill", **trace_tags()},
        dynamic_partitions_store=instance,
        all_partitions=False,
        title=f"{first} to {last}",
        description=f"{len(days)} trading days, {len(keys)} assets",
        run_config=None,
    )
    instance.add_backfill(backfill)
    return backfill.backfill_id


def _selected(graph: BaseAssetGraph[Any], select: str | None) -> list[dg.AssetKey]:
    try:
        selection = dg.AssetSelection.from_string(select) if select else close_assets()
        keys = sorted(selection.resolve(graph))
    except dg.DagsterError:
        keys = []
    if not keys:
        raise BackfillError(
            f'--select {select!r} names no asset. Try `group:participants`, `key:"raw/*"` or '
            '`+key:"analytics/premium_close"`.'
        )
    return keys


def _daemon_lives(instance: dg.DagsterInstance) -> bool:
    beat = instance.get_daemon_heartbeats().get("BACKFILL")
    return beat is not None and time.time() - beat.timestamp < _HEARTBEAT_SECONDS


@contextmanager
def _turn(
    instance: dg.DagsterInstance, settings: Settings, watch: Callable[[Progress], None]
) -> Iterator[None]:
    """Wait until no other command of this market drives backfills.

    Dagster expects one daemon: two processes that plan the same backfill would run it twice.
    """
    lock = FileLock(settings.dagster_home / "backfill.lock", timeout=_POLL_SECONDS)
    while not _daemon_lives(instance):
        try:
            lock.acquire()
        except Timeout:
            watch(Progress(WAITING, 0, 0, 0, 0))
        else:
            break
    with ExitStack() as stack:
        if lock.is_locked:
            stack.callback(lock.release)
            _end_interrupted(instance)
        yield


def _end_interrupted(instance: dg.DagsterInstance) -> None:
    """End backfills of commands that were killed, whose runs would hold the queue for ever.

    The caller is the only one that drives, so nobody carries them on. What they had committed
    stands; the backfill that follows does the rest.
    """
    for backfill in instance.get_backfills(BulkActionsFilter(statuses=[*_OPEN])):
        if backfill.tags.get(_COMMAND_TAG) is None:
            continue
        for run in _runs(instance, backfill.backfill_id):
            if not run.is_finished:
                instance.report_run_failed(run, "The command that drove this run was killed.")
        ended = backfill.with_status(BulkActionStatus.CANCELED)  # type: ignore[no-untyped-call]
        instance.update_backfill(ended.with_end_timestamp(time.time()))


class _Planner:
    """The daemon's planning of runs, done when there may be something to plan."""

    def __init__(self, workspace: WorkspaceProcessContext) -> None:
        self._workspace = workspace
        self._seen: Progress | None = None
        self._planned_at = 0.0

    def plan(self, progress: Progress) -> None:
        """Plan the next runs: at first, whenever a run has ended, and now and then."""
        seen, self._seen = self._seen, progress
        waits = progress.runs > progress.runs_finished
        news = seen is None or seen.runs_finished != progress.runs_finished
        if waits and not news and time.monotonic() - self._planned_at < _REPLAN_SECONDS:
            return
        _raise_errors(execute_backfill_iteration(self._workspace, _LOG))
        self._planned_at = time.monotonic()


def _raise_errors(events: Iterable[object]) -> None:
    for event in events:
        if isinstance(event, SerializableErrorInfo):
            raise BackfillError(event.to_string())


def _runs(instance: dg.DagsterInstance, backfill_id: str) -> Sequence[dg.DagsterRun]:
    return instance.get_runs(dg.RunsFilter(tags={BACKFILL_ID_TAG: backfill_id}))


def _progress(instance: dg.DagsterInstance, backfill: PartitionBackfill) -> Progress:
    runs = _runs(instance, backfill.backfill_id)
    steps = finished = 0
    for run in runs:
        planned = len(run.step_keys_to_execute or ()) or _planned_steps(instance, run)
        steps += planned
        finished += planned if run.is_finished else _ended_steps(instance, run.run_id)
    done = sum(run.is_finished for run in runs)
    return Progress(backfill.status.value, len(runs), done, steps, finished)


def _ended_steps(instance: dg.DagsterInstance, run_id: str) -> int:
    """How many steps have ended; reads their last events only, not what they materialized."""
    ended = {dg.DagsterEventType.STEP_SUCCESS, dg.DagsterEventType.STEP_FAILURE}
    records = instance.get_records_for_run(run_id, of_type=ended).records
    return len({record.event_log_entry.step_key for record in records})


def _planned_steps(instance: dg.DagsterInstance, run: dg.DagsterRun) -> int:
    if run.execution_plan_snapshot_id is None:
        return 0
    plan = instance.get_execution_plan_snapshot(run.execution_plan_snapshot_id)
    return len(plan.step_keys_to_execute)


def _outcome(instance: dg.DagsterInstance, backfill: PartitionBackfill) -> Outcome:
    runs = _runs(instance, backfill.backfill_id)
    failed = [run.run_id for run in runs if run.status != dg.DagsterRunStatus.SUCCESS]
    return Outcome(
        backfill.backfill_id,
        backfill.status.value,
        tuple(run.run_id for run in runs),
        tuple(failed),
    )


def failure_messages(instance: dg.DagsterInstance, run_id: str, skip: str) -> Iterator[str]:
    """What the failed steps of a run said, down to the first cause.

    Messages that contain `skip` are left out.
    """
    failures = instance.get_records_for_run(run_id, of_type=dg.DagsterEventType.STEP_FAILURE)
    for record in failures.records:
        event = record.event_log_entry.dagster_event
        if event is None or event.step_failure_data.error is None:
            continue
        error = event.step_failure_data.error
        metadata = event.step_failure_data.user_failure_data
        while error.cause is not None:
            error = error.cause
        said = metadata.description if metadata is not None else None
        message = said or error.message.strip()
        if skip not in message:
            yield f"{event.step_key}: {message}"
