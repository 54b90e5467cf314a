"""The daily look for partitions that a run left failed: no day may stay half made unnoticed.

Belongs here: asking Dagster which partitions are failed, the check that says so, and the incidents
that follow. Does not belong here: making them again (see `heal_sensor`).
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any

import dagster as dg
import polars as pl
from dagster._core.storage.partition_status_cache import AssetPartitionStatus

from assets.building import Graph
from assets.quality import record
from optrade.quality.incidents import JUDGED, PARTITION, of_partitions
from optrade.tables import IST, TABLES, Table
from optrade.tables.quality import CHECK_RESULTS, INCIDENTS, RECORD
from optrade_dagster.jobs import FAILED_PARTITIONS, LAKE_INTACT
from resources.lake_io import LakeResource
from resources.logs import trace_tags

_SHOWN = 10
_REMEDY = "Run `optrade backfill` for the date (`optrade replay` for minutes), then look again."
WATCHED = tuple(table for table in TABLES.values() if table not in RECORD)


def failed_partitions(
    instance: dg.DagsterInstance, graph: Graph, tables: Sequence[Table] = WATCHED
) -> dict[str, list[str]]:
    """The dates of each table whose last run failed before it made them."""
    keys = graph.partitions.get_partition_keys()
    found = {}
    for table in tables:
        statuses = instance.get_status_by_partition(
            dg.AssetKey(table.asset_path), keys, graph.partitions
        )
        failed = [k for k, v in (statuses or {}).items() if v == AssetPartitionStatus.FAILED]
        if failed:
            found[table.full_name] = sorted(failed)
    return found


def judged(failed: Mapping[str, Sequence[str]], incidents: pl.DataFrame) -> pl.DataFrame:
    """Failed partitions, and those of standing incidents that are no longer: frame[JUDGED]."""
    now_failed = {(date.fromisoformat(day), name) for name, days in failed.items() for day in days}
    stood = incidents.filter(pl.col("subject") == PARTITION, pl.col("status") != "closed")
    known = set(stood.select("trade_date", "table_name").iter_rows())
    return pl.concat(
        [
            pl.DataFrame(schema=JUDGED),
            *(of_partitions(day, failed=[name]) for day, name in sorted(now_failed)),
            *(of_partitions(day, made=[name]) for day, name in sorted(known - now_failed)),
        ]
    )


def no_partition_left_failed(graph: Graph) -> dg.AssetChecksDefinition:
    """The check, on `quality/health`: count, sample and what to do."""

    @dg.asset_check(
        asset=FAILED_PARTITIONS.asset_key,
        name=FAILED_PARTITIONS.name,
        description="No trading day of any table was left failed by its last run. *Remedy:* "
        + _REMEDY,
        required_resource_keys={"lake"},
    )
    def check(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        lake: LakeResource = context.resources.lake
        failed = failed_partitions(context.instance, graph)
        stood = lake.lake.sql(
            f"SELECT * FROM {INCIDENTS.full_name} WHERE subject = ? AND status <> 'closed'",
            [PARTITION],
        )
        record(lake, CHECK_RESULTS.empty(), [], context.run.run_id, more=judged(failed, stood))
        sample = [f"{name} {day}" for name, days in failed.items() for day in days][:_SHOWN]
        count = sum(map(len, failed.values()))
        return dg.AssetCheckResult(
            passed=not failed,
            severity=dg.AssetCheckSeverity.ERROR,
            description=f"{count} partitions left failed: {', '.join(sample)}. {_REMEDY}"
            if failed
            else "No partition is left failed.",
            metadata={"failed_partitions": count, "tables": len(failed), "threshold": 0},
        )

    return check


def partitions_watched(graph: Graph) -> tuple[Any, dg.ScheduleDefinition]:
    """The job of the daily checks, this one and `lake_intact`, and its schedule."""
    job = dg.define_asset_job(
        "partitions_watched",
        selection=dg.AssetSelection.checks(FAILED_PARTITIONS, LAKE_INTACT),
        description="Looks for partitions that a run left failed and for damaged files; each is "
        "an incident.",
        executor_def=dg.in_process_executor,
        tags={"optrade/market": graph.market},
    )

    @dg.schedule(
        name="partitions_watched_daily",
        job=job,
        cron_schedule="45 6 * * *",
        execution_timezone=IST,
        description="Looks for failed partitions and damaged files at 06:45 IST, after the dawn "
        "run.",
        default_status=dg.DefaultScheduleStatus.RUNNING,
    )
    def daily(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
        day = context.scheduled_execution_time.astimezone(UTC)
        return dg.RunRequest(run_key=f"{datetime.date(day)} partitions", tags=trace_tags())

    return job, daily
