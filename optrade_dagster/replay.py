"""A day's segments fed through the minute lane again, and the proof that nothing differs.

Belongs here: the course of `optrade replay`. Does not belong here: the lane (see
`assets.minutes`), the spool.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import dagster as dg
from rich.console import Console
from rich.table import Table as Grid

from assets.minutes import MINUTE_TABLES
from optrade.tables import Table
from optrade_dagster.definitions import build_defs
from optrade_dagster.home import open_instance, open_lake
from optrade_dagster.jobs import MINUTE_LANE
from optrade_dagster.lane_runs import DAY_TAG
from resources.lake import Lake
from resources.logs import trace_tags
from resources.recordings import RecordedDay
from resources.settings import Settings


@dataclass(frozen=True)
class Fingerprint:
    """How many rows a table has of a day, and a hash of them whatever their order or files."""

    rows: int
    sha: str


def fingerprint(lake: Lake, table: Table, day: date) -> Fingerprint:
    """The fingerprint of a day of a table, read as a stream."""
    found = lake.sql(
        "SELECT count(*) AS rows, coalesce(sum(hash(*COLUMNS(*))::HUGEINT), 0)::VARCHAR AS total, "
        f"coalesce(bit_xor(hash(*COLUMNS(*))), 0)::VARCHAR AS mixed FROM {table.full_name} "
        "WHERE trade_date = ?",
        [day],
    ).row(0, named=True)
    return Fingerprint(found["rows"], f"{int(found['total']):x}.{int(found['mixed']):x}")


def replay_day(settings: Settings, console: Console, day: date) -> bool:
    """Do a day of the minute lane again; whether every table came out the same.

    What was sealed and is not in the lake yet is loaded first.

    Raises `ValueError` when nothing was collected on that day.
    """
    recorded = RecordedDay(settings.market_home, settings.spool_root / day.isoformat(), day)
    if not recorded.sealed():
        raise ValueError(
            f"{recorded.folder}: found no sealed segment; expected those of {day}. Collect that "
            "day first, or restore its folder from a backup."
        )
    with open_instance(settings) as instance:
        job = build_defs(settings).resolve_job_def(MINUTE_LANE)
        result = run_lane(job, instance, day, again=False)  # What was sealed and not loaded yet.
        before = _all(settings, day)
        if result.success:
            result = run_lane(job, instance, day, again=True)
        after = _all(settings, day)
    _print(console, day, len(recorded.sealed()), before, after)
    if not result.success:
        _print_failures(console, result)
    return bool(result.success) and before == after


def run_lane(
    job: dg.JobDefinition, instance: dg.DagsterInstance, day: date, *, again: bool
) -> dg.ExecuteInProcessResult:
    """Run the minute lane in this process over what is new of a day, or over all of it again."""
    return job.execute_in_process(
        instance=instance,
        partition_key=day.isoformat(),
        run_config={"ops": {"minutes": {"config": {"again": again}}}},
        tags={DAY_TAG: day.isoformat(), **trace_tags()},
        raise_on_error=False,
    )


def _all(settings: Settings, day: date) -> dict[str, Fingerprint]:
    with open_lake(settings, read_only=False) as lake:
        return {table.full_name: fingerprint(lake, table, day) for table in MINUTE_TABLES}


def _print(
    console: Console,
    day: date,
    segments: int,
    before: dict[str, Fingerprint],
    after: dict[str, Fingerprint],
) -> None:
    grid = Grid(title=f"{day}: {segments} segments fed through again")
    for heading in ("table", "rows before", "rows after", "result"):
        grid.add_column(heading, justify="right" if heading.startswith("rows") else "left")
    for name, then in after.items():
        was = before[name]
        word = "identical" if was == then else "[bold red]DIFFERENT[/]"
        grid.add_row(name, f"{was.rows:,}", f"{then.rows:,}", word)
    console.print(grid)


def _print_failures(console: Console, result: dg.ExecuteInProcessResult) -> None:
    for event in result.all_events:
        if event.is_step_failure and event.step_failure_data.error is not None:
            console.print(f"[red]failed[/] {event.step_failure_data.error.message}", markup=True)
