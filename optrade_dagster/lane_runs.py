"""The minute lane's runs of a day: which are unfinished, which broke down, which are dead.

Belongs here: what Dagster knows of runs tagged with their day. Does not belong here: when one is
asked for (see `minute_sensor`), what it does (see `assets.minutes`).
"""

import dagster as dg

DAY_TAG = "optrade/day"
MOST_BREAKDOWNS = 10
_STATUS = dg.DagsterRunStatus
_TAKEN = [_STATUS.STARTING, _STATUS.STARTED]
_UNFINISHED = [*_TAKEN, _STATUS.QUEUED, _STATUS.NOT_STARTED, _STATUS.CANCELING]
_REFUSED: dict[str, bool] = {}
"""What failed runs said, which never changes."""


def unfinished(instance: dg.DagsterInstance, day: str) -> bool:
    """Whether a run of the day has not ended yet."""
    return instance.get_runs_count(dg.RunsFilter(statuses=_UNFINISHED, tags={DAY_TAG: day})) > 0


def breakdowns(instance: dg.DagsterInstance, job_name: str, day: str) -> int:
    """How many runs of the day failed without having refused anything, at most `MOST_BREAKDOWNS`.

    Such a run was killed, interrupted, or met a full disk: another one may do better.
    """
    failed = dg.RunsFilter(job_name=job_name, statuses=[_STATUS.FAILURE], tags={DAY_TAG: day})
    run_ids = instance.get_run_ids(failed)
    return min(sum(not _refused(instance, run_id) for run_id in run_ids), MOST_BREAKDOWNS)


def _refused(instance: dg.DagsterInstance, run_id: str) -> bool:
    """Whether a failed run said itself what it could not accept."""
    if run_id not in _REFUSED:
        failures = instance.get_records_for_run(run_id, of_type=dg.DagsterEventType.STEP_FAILURE)
        events = [record.event_log_entry.dagster_event for record in failures.records]
        _REFUSED[run_id] = any(
            event.step_failure_data.user_failure_data is not None
            for event in events
            if event is not None
        )
    return _REFUSED[run_id]


def end_dead_runs(instance: dg.DagsterInstance) -> None:
    """Fail the runs that a daemon had in hand when it was killed; they would hold up their day.

    For a moment when no daemon lives: then neither does any run that one has launched. Dagster
    itself would wait for minutes, or for ever where another process has got the id of a dead one.
    """
    for run in instance.get_runs(dg.RunsFilter(statuses=_TAKEN)):
        if DAY_TAG in run.tags and run.remote_job_origin is not None:
            instance.report_run_failed(run, "The daemon that had launched this run was killed.")
