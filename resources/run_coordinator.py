"""Dagster's run queue with an express lane: runs of the live minute start at once.

Belongs here: which runs wait in the queue. Does not belong here: the queue's limits (see
`optrade_dagster.home`) and what runs do.

The queue is looked at once a second, and backfills may fill it. A minute's run is one of its day
at a time (its sensor sees to it), short, and late when it waits, so it never queues.
"""

from __future__ import annotations

from dagster import DagsterRun, DagsterRunStatus
from dagster._core.run_coordinator import QueuedRunCoordinator, SubmitRunContext

EXPRESS = ("optrade/lane", "minute")
"""The tag of runs that do not wait."""


def is_express(run: DagsterRun) -> bool:
    """Whether a run does not wait."""
    name, value = EXPRESS
    return run.tags.get(name) == value


class LaneRunCoordinator(QueuedRunCoordinator):
    """`QueuedRunCoordinator` that launches runs tagged `EXPRESS` when they are submitted."""

    def submit_run(self, context: SubmitRunContext) -> DagsterRun:
        """Launch an express run, queue any other."""
        run = context.dagster_run
        if not is_express(run) or run.status != DagsterRunStatus.NOT_STARTED:
            return super().submit_run(context)
        return self._instance.launch_run(run.run_id, context.workspace)
