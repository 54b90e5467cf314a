"""The sensors of the minute lane: a run as soon as a segment is sealed, compaction after the close.

Belongs here: waiting for sealed segments and asking for runs. Does not belong here: what a run
does (see `assets.minutes`), writing segments (`resources.collector`).

An evaluation waits inside itself for the next segment (a long poll): Dagster's daemon looks again
only after seconds, and a sensor may take a minute. One run of a day at a time; what is sealed
meanwhile is for the next one, which does all of it.
"""

import json
from collections.abc import Callable, Iterator
from time import monotonic, sleep

import dagster as dg

from optrade.tables.raw_live import TICK_SEGMENTS
from optrade_dagster.jobs import DAY_CLOSED, MINUTE_LANE
from resources.lake_io import LakeResource
from resources.recordings import RecordedDay, Recordings

LOOK_SECONDS = 40.0
"""How long one evaluation waits; Dagster ends it after 60 seconds."""
_POLL_SECONDS = 0.05
_DAYS = 3
_UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
DAY_TAG = "optrade/day"


def tick_segments_sealed(
    look_seconds: float = LOOK_SECONDS, wait: Callable[[float], None] = sleep
) -> dg.SensorDefinition:
    """Ask for a run of the minute lane when segments are sealed that the lake does not hold."""

    @dg.sensor(
        name="tick_segments_sealed",
        job_name=MINUTE_LANE,
        minimum_interval_seconds=1,
        required_resource_keys={"lake", "recordings"},
        description="Waits for the collector's next sealed segment and asks for a run at once.",
        default_status=dg.DefaultSensorStatus.RUNNING,
    )
    def sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        asked: dict[str, str] = json.loads(context.cursor) if context.cursor else {}
        recordings: Recordings = context.resources.recordings
        end = monotonic() + look_seconds
        while True:
            days = recordings.days()[-_DAYS:]
            asked = {str(day): asked[str(day)] for day in days if str(day) in asked}
            for day in days:
                recorded = recordings.day(day)
                if request := _request(context, recorded, asked):
                    return dg.SensorResult(run_requests=[request], cursor=json.dumps(asked))
            if monotonic() > end:
                reason = "no new segment was sealed" if days else "nothing was ever collected"
                return dg.SensorResult(skip_reason=reason, cursor=json.dumps(asked))
            wait(_POLL_SECONDS)

    return sensor


def minute_day_ended() -> dg.SensorDefinition:
    """Ask for a day's compaction once its session has ended and all of it is in the lake."""

    @dg.sensor(
        name="minute_day_ended",
        job_name=DAY_CLOSED,
        minimum_interval_seconds=30,
        required_resource_keys={"lake", "recordings"},
        description="After the session's end and its last run, asks for the day's compaction.",
        default_status=dg.DefaultSensorStatus.RUNNING,
    )
    def sensor(context: dg.SensorEvaluationContext) -> Iterator[dg.RunRequest | dg.SkipReason]:
        recordings: Recordings = context.resources.recordings
        for day in recordings.days()[-_DAYS:]:
            recorded = recordings.day(day)
            sealed = recorded.sealed()
            if not sealed or not _ended(recorded) or _unfinished(context.instance, str(day)):
                yield dg.SkipReason(f"{day} is still going on")
            elif missing := _unheld(context.resources.lake, recorded, sealed):
                yield dg.SkipReason(f"{day}: {len(missing)} segments are not in the lake yet")
            else:
                yield dg.RunRequest(
                    run_key=f"closed {day} {sealed[-1]}",
                    run_config={"ops": {"compact_day": {"config": {"day": str(day)}}}},
                    tags={DAY_TAG: str(day)},
                )

    return sensor


def _request(
    context: dg.SensorEvaluationContext, recorded: RecordedDay, asked: dict[str, str]
) -> dg.RunRequest | None:
    """The run a day needs now, if any; one of a day at a time."""
    day, sealed = str(recorded.day), recorded.sealed()
    if not sealed or asked.get(day) == sealed[-1] or _unfinished(context.instance, day):
        return None
    asked[day] = sealed[-1]
    if not _unheld(context.resources.lake, recorded, sealed):
        return None
    return dg.RunRequest(run_key=f"{day} {sealed[-1]}", partition_key=day, tags={DAY_TAG: day})


def _unfinished(instance: dg.DagsterInstance, day: str) -> bool:
    filters = dg.RunsFilter(statuses=_UNFINISHED, tags={DAY_TAG: day})
    return instance.get_runs_count(filters) > 0


def _unheld(lake: LakeResource, recorded: RecordedDay, sealed: list[str]) -> set[str]:
    held = lake.lake.read(TICK_SEGMENTS, [recorded.day], columns=["segment"])
    return set(sealed) - set(held["segment"])


def _ended(recorded: RecordedDay) -> bool:
    """Whether the collector's last word of the day is that the session closed."""
    journal = recorded.journal()
    last = journal[-1] if journal else {}
    return last.get("event") == "session_ended" and last.get("reason") == "closed"
