"""The sensors of the minute lane: a run as soon as a segment is sealed, compaction after the close.

Belongs here: waiting for sealed segments and asking for runs. Does not belong here: what a run
does (see `assets.minutes`), writing segments (`resources.collector`).

An evaluation waits inside itself for the next segment (a long poll): Dagster's daemon looks again
only after seconds, and a sensor may take a minute. One run of a day at a time; what is sealed
meanwhile is for the next one, which does all of it. When a run broke down, as one that was killed,
another one is asked for, a few times a day; one that refused something would refuse it again.
"""

import json
from collections.abc import Callable
from time import monotonic, sleep

import dagster as dg

from optrade.tables.quality import TICK_GAPS
from optrade.tables.raw_live import TICK_SEGMENTS
from optrade_dagster.jobs import DAY_CLOSED, MINUTE_LANE
from optrade_dagster.lane_runs import DAY_TAG, breakdowns, unfinished
from resources.lake import Lake
from resources.logs import trace_tags
from resources.recordings import RecordedDay, Recordings
from resources.tick_holes import HELD, day_gaps

LOOK_SECONDS = 40.0
"""How long one evaluation waits; Dagster ends it after 60 seconds."""
_POLL_SECONDS = 0.05
_DAYS = 3
_NOT_TOLD = ("source", "healed_from", "healed_at", "filled_minutes", "unfilled_minutes")
_BROKEN_SECONDS = 2.0
"""How often it is looked whether a run broke down."""


def tick_segments_sealed(
    look_seconds: float = LOOK_SECONDS, wait: Callable[[float], None] = sleep
) -> dg.SensorDefinition:
    """Ask for a run of the minute lane when segments are sealed that the lake does not hold."""

    @dg.sensor(
        name="tick_segments_sealed",
        job_name=MINUTE_LANE,
        minimum_interval_seconds=1,
        required_resource_keys={"lake", "recordings"},
        description="Waits for the collector's next sealed segment, or for a hole in what it "
        "hears, and asks for a run at once.",
        default_status=dg.DefaultSensorStatus.RUNNING,
    )
    def sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        asked: dict[str, str] = json.loads(context.cursor) if context.cursor else {}
        recordings: Recordings = context.resources.recordings
        end, next_look = monotonic() + look_seconds, 0.0
        while True:
            days = recordings.days()[-_DAYS:]
            if monotonic() >= next_look:
                next_look = monotonic() + _BROKEN_SECONDS
                broken = {d: breakdowns(context.instance, MINUTE_LANE, str(d)) for d in days}
            asked = {str(day): asked[str(day)] for day in days if str(day) in asked}
            for day in days:
                recorded = recordings.day(day)
                if request := _request(context, recorded, asked, broken.get(day, 0)):
                    return dg.SensorResult(run_requests=[request], cursor=json.dumps(asked))
            if monotonic() > end or recordings.ending.exists():
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
    def sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        recordings: Recordings = context.resources.recordings
        requests, waiting = [], ["nothing was ever collected"]
        for day in recordings.days()[-_DAYS:]:
            recorded = recordings.day(day)
            sealed = recorded.sealed()
            if not sealed or not _ended(recorded) or unfinished(context.instance, str(day)):
                waiting.append(f"{day} is still going on")
            elif missing := _unheld(context.resources.lake.lake, recorded):
                waiting.append(f"{day}: {len(missing)} segments are not in the lake yet")
            else:
                requests.append(_compaction(context.instance, str(day), sealed[-1]))
        reason = None if requests else "; ".join(waiting[1:] or waiting)
        return dg.SensorResult(run_requests=requests, skip_reason=reason)

    return sensor


def _compaction(instance: dg.DagsterInstance, day: str, last_segment: str) -> dg.RunRequest:
    broken = breakdowns(instance, DAY_CLOSED, day)
    return dg.RunRequest(
        run_key=_key(f"closed {day} {last_segment}", broken),
        run_config={"ops": {"compact_day": {"config": {"day": day}}}},
        tags={DAY_TAG: day, **trace_tags()},
    )


def _request(
    context: dg.SensorEvaluationContext, recorded: RecordedDay, asked: dict[str, str], broken: int
) -> dg.RunRequest | None:
    """The run a day needs now, if any; one of a day at a time.

    Segments call for one, and so do holes that the journal tells of: without a segment nothing
    else would.
    """
    day, sealed = str(recorded.day), recorded.sealed()
    key = _key(f"{day} {sealed[-1] if sealed else '-'} {recorded.journal_bytes()}", broken)
    if asked.get(day) == key or unfinished(context.instance, day):
        return None
    asked[day] = key
    if not undone(context.resources.lake.lake, recorded):
        return None
    return dg.RunRequest(run_key=key, partition_key=day, tags={DAY_TAG: day, **trace_tags()})


def _key(what: str, broken: int) -> str:
    """A run's key: the same is asked for once, and once more for each run that broke down."""
    return f"{what} after {broken} breakdowns" if broken else what


def undone(lake: Lake, recorded: RecordedDay) -> bool:
    """Whether the lake lacks a sealed segment of the day, or a hole that the journal tells of."""
    return bool(_unheld(lake, recorded)) or _holes_untold(lake, recorded)


def _unheld(lake: Lake, recorded: RecordedDay) -> set[str]:
    held = lake.read(TICK_SEGMENTS, [recorded.day], columns=["segment"])
    return set(recorded.sealed()) - set(held["segment"])


def _holes_untold(lake: Lake, recorded: RecordedDay) -> bool:
    """Whether journal and disk say other than the lake; what candles fill is not its business."""
    held = lake.read(TICK_GAPS, [recorded.day])
    segments = lake.read(TICK_SEGMENTS, [recorded.day], columns=HELD)
    told = TICK_GAPS.conform(day_gaps(recorded, segments, ""))
    return not held.drop(_NOT_TOLD).equals(told.drop(_NOT_TOLD))


def _ended(recorded: RecordedDay) -> bool:
    """Whether the collector's last word of the day is that the session closed."""
    journal = recorded.journal()
    last = journal[-1] if journal else {}
    return last.get("event") == "session_ended" and last.get("reason") == "closed"
