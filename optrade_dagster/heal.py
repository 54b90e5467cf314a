"""A day's holes filled from the broker's candles: the course of `optrade heal`.

Belongs here: running the job, what is printed. Does not belong here: whose broker is asked (see
`market_broker`), what is missing and how it is filled (see `assets.candles`).
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from datetime import date

from rich.console import Console
from rich.markup import escape
from rich.table import Table as Grid

from optrade.tables.quality import TICK_GAPS
from optrade_dagster.definitions import build_defs
from optrade_dagster.home import open_instance, open_lake
from optrade_dagster.jobs import HEAL_MINUTES
from optrade_dagster.lane_runs import DAY_TAG
from resources.logs import trace_tags
from resources.recordings import RecordedDay
from resources.settings import Settings


def heal_day(settings: Settings, console: Console, day: date) -> bool:
    """Fill a collected day's holes and do their minutes again; whether all of it succeeded.

    What stays missing is told, and is no failure: the broker may know no more. Raises
    `ValueError` when nothing was collected on that day.
    """
    recorded = RecordedDay(settings.market_home, settings.spool_root / day.isoformat(), day)
    if not recorded.journal():
        raise ValueError(
            f"{recorded.folder}: found no journal; expected that of {day}, which states the holes. "
            "Collect that day first, or restore its folder from a backup."
        )
    with open_instance(settings) as instance, _broker_there(settings, day):
        result = (
            build_defs(settings)
            .resolve_job_def(HEAL_MINUTES)
            .execute_in_process(
                instance=instance,
                partition_key=day.isoformat(),
                tags={DAY_TAG: day.isoformat(), **trace_tags()},
                raise_on_error=False,
            )
        )
    _print(settings, console, day)
    for event in result.all_events:
        if event.is_step_failure and event.step_failure_data.error is not None:
            failure = event.step_failure_data
            told = failure.user_failure_data.description if failure.user_failure_data else None
            text = told or (failure.error.message if failure.error else "")
            console.print(f"[red]failed[/] {escape(text)}", highlight=False, soft_wrap=True)
    return bool(result.success)


def _broker_there(settings: Settings, day: date) -> AbstractContextManager[None]:
    """A simulated broker is gone when its session is; for the asking it comes back."""
    if settings.market == "real":
        return nullcontext()
    from optrade_dagster.simulate import broker_of_past  # noqa: PLC0415 (numpy's market)

    return broker_of_past(settings, day)


def _print(settings: Settings, console: Console, day: date) -> None:
    grid = Grid(title=f"{day}: holes of the ticks, and what candles fill")
    for heading in ("from", "to", "cause", "instruments", "minutes filled", "not filled"):
        grid.add_column(heading, justify="left" if heading in ("from", "to", "cause") else "right")
    with open_lake(settings, read_only=True) as lake:
        for gap in lake.read(TICK_GAPS, [day]).sort("started_at").iter_rows(named=True):
            ended, counts = gap["ended_at"], (gap["filled_minutes"], gap["unfilled_minutes"])
            grid.add_row(
                f"{gap['started_at']:%H:%M:%S}",
                f"{ended:%H:%M:%S}" if ended else "open",
                gap["cause"],
                f"{gap['instruments']:,}",
                *("" if count is None else f"{count:,}" for count in counts),
            )
    console.print(grid)
