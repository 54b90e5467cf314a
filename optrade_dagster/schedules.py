"""Schedules: the safety net under the sensors, and what is done every day.

Belongs here: cron times and the trading-day guard. Does not belong here: what a run does.
"""

from datetime import timedelta

import dagster as dg

from assets.building import Graph
from optrade.tables import IST
from optrade_dagster.jobs import CLOSE_LANE, LOGS_PACKED, AssetJob
from resources.logs import trace_tags
from resources.settings import Settings


def close_lane_schedule(job: AssetJob, graph: Graph, settings: Settings) -> dg.ScheduleDefinition:
    """Run the last trading day at dawn, in case the evening's sensor could not.

    A day after a holiday or a weekend is skipped with the reason: its files were run the
    morning after its last session. A rerun of a complete day changes nothing.
    """
    simulated = settings.market == "simulated"

    @dg.schedule(
        name=f"{CLOSE_LANE}_at_dawn",
        job=job,
        cron_schedule="0 6 * * *",
        execution_timezone=IST,
        description="Safety net: the previous day's close lane at 06:00 IST, if it traded.",
        default_status=(
            dg.DefaultScheduleStatus.STOPPED if simulated else dg.DefaultScheduleStatus.RUNNING
        ),
    )
    def at_dawn(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        yesterday = context.scheduled_execution_time.date() - timedelta(days=1)
        if not graph.calendar.is_session(yesterday):
            return dg.SkipReason(
                f"{yesterday} was no trading day: {graph.calendar.explain(yesterday)}"
            )
        day = yesterday.isoformat()
        return dg.RunRequest(run_key=f"{day} dawn", partition_key=day, tags=trace_tags())

    return at_dawn


def logs_packed_schedule(job: dg.JobDefinition) -> dg.ScheduleDefinition:
    """Compress old logs every day, in either market: `optrade up` may run for months."""

    @dg.schedule(
        name=f"{LOGS_PACKED}_daily",
        job=job,
        cron_schedule="30 0 * * *",
        execution_timezone=IST,
        description="Compresses the log files of past days at 00:30 IST.",
        default_status=dg.DefaultScheduleStatus.RUNNING,
    )
    def daily(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
        return dg.RunRequest(
            run_key=f"{context.scheduled_execution_time:%Y-%m-%d} logs", tags=trace_tags()
        )

    return daily
