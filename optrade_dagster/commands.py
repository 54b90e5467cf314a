"""The steps behind `optrade backfill`: choose the days, watch the backfill, report.

Belongs here: the course of the command. Does not belong here: typing (see `cli`), Dagster's
part (see `backfill`), the table's making (see `report`).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import dagster as dg
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from assets.checks import REFUSED
from assets.partitions import dates_of
from optrade.calendar import TradingCalendar
from optrade.tables import IST
from optrade_dagster.backfill import WAITING, Outcome, failure_messages, run_backfill
from optrade_dagster.backfill import Progress as BackfillProgress
from optrade_dagster.definitions import build_graph, build_resources
from optrade_dagster.home import open_instance, open_lake
from optrade_dagster.report import DayReport, closing_table, gather
from resources.settings import Settings


def trading_days_between(settings: Settings, first: date, last: date) -> list[date]:
    """The calendar's trading days of a range, none in the future.

    Raises `ValueError` when there are none, saying why.
    """
    if first > last:
        raise ValueError(f"--from {first} is after --to {last}; swap them.")
    graph = build_graph(settings)
    today = datetime.now(ZoneInfo(IST)).date()
    keys = [key for key in graph.partitions.get_partition_keys() if key <= today.isoformat()]
    days = [day for day in dates_of(keys) if first <= day <= last]
    if not days:
        span = f"from {keys[0]} to {keys[-1]}" if keys else "none"
        raise ValueError(
            f"{first} to {last} has no trading day ({_why(graph.calendar, first)}); this "
            f"market's are {span}."
        )
    return days


def _why(calendar: TradingCalendar, day: date) -> str:
    known = calendar.first <= day <= calendar.last
    return f"{day}: {calendar.explain(day) if known else 'outside the calendar'}"


def backfill_days(
    settings: Settings, console: Console, first: date, last: date, select: str | None
) -> bool:
    """Backfill a range, show progress and the closing table; whether all of it succeeded."""
    days = trading_days_between(settings, first, last)
    console.print(
        f"{len(days)} trading day{'s' * (len(days) != 1)}, {days[0]} to {days[-1]}, "
        f"from {escape(settings.archive_url)}"
    )
    if select is None:
        with build_resources(settings)["archive"].open(settings.market):
            pass  # An archive of the other market is refused before anything is made.
    with open_instance(settings) as instance:
        with open_lake(settings, read_only=False):
            pass  # A lake of the other market is refused here, before anything is asked for.
        outcome = _watched(settings, instance, console, days, select)
        with open_lake(settings, read_only=True) as lake:
            reports = gather(instance, lake, outcome.run_ids, days)
        _print_report(console, reports)
        _print_failures(console, instance, outcome)
    return outcome.succeeded


def _watched(
    settings: Settings,
    instance: dg.DagsterInstance,
    console: Console,
    days: Sequence[date],
    select: str | None,
) -> Outcome:
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TimeElapsedColumn(),
    )
    log = settings.dagster_home / "logs" / "code_server.log"
    with (
        _children_write_to(log, console),
        Progress(*columns, console=console, transient=True) as bar,
    ):
        task = bar.add_task("starting Dagster's code server", total=None)

        def watch(progress: BackfillProgress) -> None:
            if progress.status == WAITING:
                bar.update(task, description="waiting for another backfill of this market")
                return
            if progress.runs == 0:
                bar.update(task, description="Dagster is planning the first run")
                return
            bar.update(
                task,
                description=f"run {progress.runs_finished + 1} of at least {progress.runs}, "
                f"step {progress.steps_finished} of {progress.steps}",
                total=progress.steps or None,
                completed=progress.steps_finished,
            )

        return run_backfill(instance, settings, days, select, watch)


@contextmanager
def _children_write_to(log: Path, console: Console) -> Iterator[None]:
    """Let started processes write to a file while this one keeps writing to the terminal.

    The code server and its runs inherit this process's output; their logs would tear the
    progress bar, and what they say stands in Dagster's event log anyway.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    console.file.flush()
    saved = {fd: os.dup(fd) for fd in (1, 2)}
    terminal, before = open(saved[1], "w", closefd=False, encoding="utf-8"), console.file  # noqa: SIM115
    try:
        with log.open("a", encoding="utf-8") as sink:
            for fd in saved:
                os.dup2(sink.fileno(), fd)
        console.file = terminal
        yield
    finally:
        terminal.flush()
        console.file = before
        for fd, copy in saved.items():
            os.dup2(copy, fd)
            os.close(copy)


_MOST_DAYS = 60


def _print_report(console: Console, reports: Sequence[DayReport]) -> None:
    shown = list(reports)
    if len(shown) > _MOST_DAYS:
        shown = [r for r in shown if r.missing or r.problems or not r.tables]
        console.print(
            f"{len(reports) - len(shown)} of {len(reports)} days are complete and quiet; "
            "the others:"
        )
    console.print(closing_table(shown))
    if any(report.missing for report in shown):
        console.print(
            "What is missing stays unmaterialized; Dagster's backfill page counts it as failed. "
            "Run the same command again when it is there.",
            style="dim",
        )
    for report in shown:
        for problem in report.told_once():
            console.print(f"[yellow]{report.day}[/] {escape(problem)}", highlight=False)


def _print_failures(console: Console, instance: dg.DagsterInstance, outcome: Outcome) -> None:
    for run_id in outcome.failed_run_ids:
        for message in failure_messages(instance, run_id, skip=REFUSED):
            console.print(f"[red]failed[/] {escape(message)}", highlight=False)
    runs, failed = len(outcome.run_ids), len(outcome.failed_run_ids)
    word = "[green]done[/]" if outcome.succeeded else "[red]not all of it is done[/]"
    console.print(
        f"Backfill {outcome.backfill_id}: {word}, {runs} run{'s' * (runs != 1)}, {failed} failed. "
        "It stands under Runs > Backfills in the UI (`optrade up`)."
    )
