"""The sensor that heals: ordinary runs of ordinary jobs, asked for by incidents that stand.

Belongs here: asking for the attempts that are due, and noting those whose run broke down. Does
not belong here: which are due (`optrade.quality.healing`), what a run does, judging whether it
helped: the record at the run's end does that, by the tags that name its incidents.
"""

from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime, timedelta

import dagster as dg
import polars as pl

from assets.building import Graph
from assets.candles import session_hours
from assets.quality import ACTION_TAG, ATTEMPT_TAG, HEALS_TAG, TRIED_TAG, Attempt, news, record
from optrade.quality.healing import Due, due, source_of
from optrade.tables.quality import CHECK_RESULTS, INCIDENTS, RECOVERIES
from optrade_dagster.jobs import CLOSE_LANE, HEAL_MINUTES, MINUTE_LANE, AssetJob
from optrade_dagster.lane_runs import DAY_TAG
from resources.lake import CommitResult
from resources.lake_io import LakeResource
from resources.logs import trace_tags
from resources.settings import Settings

HEAL_TAG = "optrade/heal"
LOOK_BACK = timedelta(days=400)
_UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


def now() -> datetime:
    """The present."""
    return datetime.now(UTC)


def incidents_healed(
    settings: Settings,
    graph: Graph,
    jobs: Sequence[AssetJob],
    clock: Callable[[], datetime] = now,
) -> dg.SensorDefinition:
    """Ask for a run for each attempt that is due.

    `jobs` are those it may ask for: both lanes, and the one that fills holes from candles. That
    one keeps its day's lane waiting, so it is asked for when the session is over. On a simulated
    market the sensor is off: its broker is gone when its session is.
    """
    simulated = settings.market == "simulated"

    @dg.sensor(
        name="incidents_healed",
        jobs=list(jobs),
        minimum_interval_seconds=30,
        required_resource_keys={"lake"},
        description="Takes open automatic incidents and asks for the run that may heal them: the "
        "exchange's files again from the next source, the day's tables again, its segments "
        "again, or candles. Three attempts, then a person is needed.",
        default_status=(
            dg.DefaultSensorStatus.STOPPED if simulated else dg.DefaultSensorStatus.RUNNING
        ),
    )
    def sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        lake: LakeResource = context.resources.lake
        if not lake.exists():
            return dg.SensorResult(skip_reason="there is no lake yet")
        requests: list[dg.RunRequest] = []
        noted: list[dg.AssetMaterialization] = []
        incidents, recoveries = _standing(lake, clock())
        recorded = set(recoveries["run_id"])
        for one in due(incidents, recoveries, clock()):
            if one.action == "candles" and clock() < session_hours(graph.calendar, one.day)[1]:
                continue
            runs = context.instance.get_runs(dg.RunsFilter(tags={HEAL_TAG: one.name}))
            if any(run.status in _UNFINISHED for run in runs):
                continue
            if broken := [run for run in runs if _unrecorded(run, one, recorded)]:
                noted += news(lake, _note_breakdown(lake, broken[0]))
                continue
            last = runs[0].run_id if runs else "none"  # The newest comes first.
            requests.append(_request(settings, one, last))
        reason = None if requests else "no attempt is due"
        return dg.SensorResult(run_requests=requests, skip_reason=reason, asset_events=noted)

    return sensor


def _standing(lake: LakeResource, at: datetime) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Open incidents and their recoveries."""
    since = f"trade_date >= DATE '{(at - LOOK_BACK).date()}'"
    rows = lake.lake.sql(
        f"SELECT DISTINCT trade_date FROM {INCIDENTS.full_name} WHERE status = 'open' AND {since}"
    )
    days = sorted(rows["trade_date"])
    return lake.read(INCIDENTS, days), lake.read(RECOVERIES, days)


def _attempt_of(run: dg.DagsterRun) -> Attempt:
    attempt = Attempt.of_run(run)
    if attempt is None:
        raise ValueError(f"run {run.run_id} has {HEAL_TAG} and no {HEALS_TAG}")
    return attempt


def _unrecorded(run: dg.DagsterRun, one: Due, recorded: Collection[str]) -> bool:
    """Whether a run that is over tried what is due and did not record itself."""
    tried = set(_attempt_of(run).incidents)
    return run.run_id not in recorded and not tried.isdisjoint(one.incidents)


def _note_breakdown(lake: LakeResource, run: dg.DagsterRun) -> CommitResult:
    """Record the attempt of a run that ended without recording it itself."""
    attempt = _attempt_of(run)
    day = datetime.fromisoformat(run.tags[HEAL_TAG].split(" ")[0]).date()
    status = run.status.value.lower()
    return record(
        lake,
        CHECK_RESULTS.empty(),
        [day],
        attempt.run_id,
        attempt.broken(f"the run ended as {status} before it could judge anything"),
    )


def _request(settings: Settings, one: Due, after: str) -> dg.RunRequest:
    day = one.day.isoformat()
    tried = {"recompute": "the tables it is made of", "replay": "its segments", "candles": "broker"}
    config: dict[str, object] = {}
    if one.action == "refetch":
        source = source_of(one.attempt, [settings.archive_url, *settings.nse.fallback_urls])
        tried["refetch"] = source
        config = {"ops": {"exchange_files": {"config": {"base_url": source}}}}
    elif one.action in ("recompute", "replay") and one.lane == "minute":
        config = {"ops": {"minutes": {"config": {"again": True}}}}
    lane = MINUTE_LANE if one.lane == "minute" else CLOSE_LANE
    return dg.RunRequest(
        job_name=HEAL_MINUTES if one.action == "candles" else lane,
        run_key=f"{one.name} after {after}",
        partition_key=day,
        run_config=config,
        tags={
            HEAL_TAG: one.name,
            HEALS_TAG: ",".join(one.incidents),
            ATTEMPT_TAG: str(one.attempt),
            ACTION_TAG: one.action,
            TRIED_TAG: tried[one.action],
            **({DAY_TAG: day} if one.lane == "minute" else {}),
            **trace_tags(),
        },
    )
