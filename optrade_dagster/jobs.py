"""Jobs: named selections of assets that schedules, sensors and people launch.

Belongs here: selections and their tags. Does not belong here: when they run.
"""

from datetime import date

import dagster as dg
import polars as pl
from dagster._core.definitions.unresolved_asset_job_definition import (
    UnresolvedAssetJobDefinition,
)

from assets.building import HEALTH, Graph
from assets.minute_day import judge_day
from assets.minutes import MINUTE_TABLES
from assets.quality import news, record
from optrade.tables.candles import CANDLES
from optrade.tables.quality import CHECK_RESULTS
from resources.lake_io import LakeResource
from resources.lake_upkeep import compact
from resources.logs import bound, compress_old
from resources.settings import Settings

CLOSE_LANE, MINUTE_LANE, DAY_CLOSED = "close_lane", "minute_lane", "minute_day_closed"
LOGS_PACKED, HEAL_MINUTES = "logs_packed", "heal_minutes"
FAILED_PARTITIONS = dg.AssetCheckKey(HEALTH, "no_partition_left_failed")
LAKE_INTACT = dg.AssetCheckKey(HEALTH, "lake_intact")
"""The checks that look at all dates once a day (see `partitions_watch`, `lake_watch`)."""
ON_TIME = dg.AssetCheckKey(HEALTH, "session_on_time")
"""The check that looks at the session that is going on (see `freshness_watch`)."""
WATCHES = (FAILED_PARTITIONS, LAKE_INTACT, ON_TIME)
"""Checks that look at more than a run's dates and are no part of a lane."""
AssetJob = UnresolvedAssetJobDefinition


def minute_assets() -> dg.AssetSelection:
    """What is made from the broker's feed."""
    return dg.AssetSelection.assets(*(dg.AssetKey(table.asset_path) for table in MINUTE_TABLES))


def candle_assets() -> dg.AssetSelection:
    """What the broker is asked for when its feed was not heard."""
    return dg.AssetSelection.assets(dg.AssetKey(CANDLES.asset_path))


def close_assets() -> dg.AssetSelection:
    """What is made from the exchange's daily files."""
    watches = dg.AssetSelection.checks(*WATCHES)
    return dg.AssetSelection.all() - minute_assets() - candle_assets() - watches


def close_lane(graph: Graph) -> AssetJob:
    """Everything that follows from the exchange's daily files, for one trading day or many."""
    return dg.define_asset_job(
        CLOSE_LANE,
        selection=close_assets(),
        description="Fetch the exchange's daily files of a trading day and derive every table "
        "from them, with all checks.",
        executor_def=dg.in_process_executor,
        tags={"optrade/lane": "close", "optrade/market": graph.market},
    )


def minute_lane(graph: Graph) -> AssetJob:
    """Everything that follows from sealed segments of one trading day."""
    return dg.define_asset_job(
        MINUTE_LANE,
        selection=minute_assets(),
        description="Bring a trading day's sealed segments into the lake: ticks, gaps, chains and "
        "analytics of the minutes they touch.",
        executor_def=dg.in_process_executor,
        tags={"optrade/lane": "minute", "optrade/market": graph.market},
    )


def heal_minutes(graph: Graph) -> AssetJob:
    """Candles for the holes of one trading day, and the minutes they fill."""
    return dg.define_asset_job(
        HEAL_MINUTES,
        selection=candle_assets() | minute_assets(),
        description="Ask the broker for minute candles of a trading day's holes, store them, and "
        "do the minutes they fill again. Best after the close and before the day's expiry is "
        "forgotten: 3 instruments a second, and the lane waits meanwhile.",
        executor_def=dg.in_process_executor,
        tags={"optrade/lane": "minute", "optrade/market": graph.market},
    )


class DayConfig(dg.Config):
    """Which trading day (YYYY-MM-DD)."""

    day: str


@dg.op(required_resource_keys={"lake"})
def compact_day(context: dg.OpExecutionContext, config: DayConfig) -> None:
    """Make one sorted file of each table's minutes; the rows stay the same, verified by hash."""
    lake: LakeResource = context.resources.lake
    day = date.fromisoformat(config.day)
    for table in (*MINUTE_TABLES, CHECK_RESULTS):
        if table.part is not None:
            with bound(partition=config.day):
                done = compact(lake.lake, table, day)
            context.log.info(
                "%s %s: %d files became %d",
                done.table,
                done.day,
                done.files_before,
                done.files_after,
            )
    results = judge_day(lake, MINUTE_TABLES, day, context.run_id)
    with bound(partition=config.day):
        for event in news(lake, record(lake, results, [day], context.run_id)):
            context.log_event(event)
    failed = results.filter(~pl.col("passed"))
    context.log.info("%d rules judged, %d failed", results.height, failed.height)


@dg.job(name=DAY_CLOSED, executor_def=dg.in_process_executor)
def day_closed() -> None:
    """After the close: compact what the day brought minute by minute, and judge it as a whole."""
    compact_day()


def logs_packed(settings: Settings) -> dg.JobDefinition:
    """Compress the log files of past days, as `optrade up` does when it starts."""

    @dg.op
    def pack_logs(context: dg.OpExecutionContext) -> None:
        """Compress each file; one that can't be stays as it is and fails the run."""
        packed = compress_old(settings.log_root, settings.logging.compress_after_days)
        context.log.info("packed %d: %s", len(packed), ", ".join(path.name for path in packed))

    @dg.job(name=LOGS_PACKED, executor_def=dg.in_process_executor)
    def job() -> None:
        """Once a day: compress what was logged on past days."""
        pack_logs()

    return job
