"""What a backfill did, date by date: files, rows, checks, what is missing and why.

Belongs here: gathering it from the run's events and the lake, and laying it out. Does not
belong here: deciding anything.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import dagster as dg
from dagster._core.event_api import EventLogRecord
from rich.table import Table
from rich.text import Text

from optrade.tables.quality import RECORD
from optrade.tables.raw import FILE_KINDS, SOURCE_FILES
from resources.lake import Lake

_OPTIONAL_WHEN_ABSENT = "fo_market_activity"


@dataclass
class DayReport:
    """One trading day of a backfill."""

    day: date
    files: dict[str, str] = field(default_factory=dict)
    details: dict[str, str] = field(default_factory=dict)
    tables: int = 0
    rows: int = 0
    changed: int = 0
    checks: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)

    @property
    def missing(self) -> list[str]:
        """What is not held, and why, in words."""
        told = []
        for kind in FILE_KINDS:
            status = self.files.get(kind, "never asked for")
            optional = kind == _OPTIONAL_WHEN_ABSENT and status != "refused"
            if status != "held" and not optional:
                told.append(f"{kind}: {status.replace('_', ' ')}")
            elif status == "held" and kind in self.details:
                told.append(f"{kind}: {self.details[kind]}")
        return told

    def told_once(self) -> list[str]:
        """The problems, those left out that only repeat another one's words."""
        told: list[str] = []
        for problem in sorted(self.problems, key=len):
            said = problem.split(": ", 1)[-1]
            if not any(other.split(": ", 1)[-1] in said for other in told):
                told.append(problem)
        return told


def gather(
    instance: dg.DagsterInstance, lake: Lake, run_ids: Sequence[str], days: Sequence[date]
) -> list[DayReport]:
    """Read what the runs of a backfill reported of each day."""
    reports = {day: DayReport(day) for day in days}
    for row in lake.read(SOURCE_FILES, days).iter_rows(named=True):
        report = reports[row["trade_date"]]
        report.files[row["kind"]] = row["status"]
        if row["detail"]:
            report.details[row["kind"]] = row["detail"]
    for run_id in run_ids:
        for record in instance.get_records_for_run(run_id, of_type=_STORED).records:
            _count_rows(reports, record)
        for record in instance.get_records_for_run(run_id, of_type=_CHECKED).records:
            _count_checks(reports, record)
    return [reports[day] for day in days]


_REMEMBERED = frozenset(dg.AssetKey(table.asset_path) for table in RECORD)
"""What a run is remembered by; it is no news of the exchange's."""
_STORED = dg.DagsterEventType.ASSET_MATERIALIZATION
_CHECKED = dg.DagsterEventType.ASSET_CHECK_EVALUATION


def _count_rows(reports: dict[date, DayReport], record: EventLogRecord) -> None:
    materialization = record.asset_materialization
    if materialization is None or materialization.partition is None:
        return
    if materialization.asset_key in _REMEMBERED:
        return
    report = reports.get(date.fromisoformat(materialization.partition))
    if report is None:
        return
    metadata = materialization.metadata
    rows = int(_value(metadata, "dagster/partition_row_count") or 0)
    if rows == 0 and not _value(metadata, "changed"):
        return  # There was nothing to make.
    report.tables += 1
    report.rows += rows
    report.changed += bool(_value(metadata, "changed"))


def _count_checks(reports: dict[date, DayReport], record: EventLogRecord) -> None:
    event = record.event_log_entry.dagster_event
    if event is None:
        return
    evaluation: Any = event.event_specific_data
    day = date.fromisoformat(evaluation.partition) if evaluation.partition else None
    if day is None or day not in reports:
        return  # The summary over a range.
    warned = evaluation.severity is dg.AssetCheckSeverity.WARN
    word = "ok" if evaluation.passed else "warned" if warned else "failed"
    reports[day].checks[word] += 1
    if not evaluation.passed:
        name = f"{evaluation.asset_key.to_user_string()} {evaluation.check_name}"
        reports[day].problems.append(f"{name}: {evaluation.description}")


def _value(metadata: Any, name: str) -> Any:
    entry = metadata.get(name)
    return None if entry is None else entry.value


def closing_table(reports: Sequence[DayReport]) -> Table:
    """The table a backfill ends with."""
    table = Table(title="What this backfill stored", title_justify="left", expand=False)
    table.add_column("date", no_wrap=True)
    table.add_column("files", justify="right")
    table.add_column("tables", justify="right")
    table.add_column("rows", justify="right")
    table.add_column("new", justify="right")
    table.add_column("checks", no_wrap=True)
    table.add_column("missing, and why")
    for report in reports:
        held = sum(status == "held" for status in report.files.values())
        required = len(FILE_KINDS) - 1
        table.add_row(
            report.day.isoformat(),
            f"{held}/{required}" if held <= required else str(held),
            str(report.tables),
            f"{report.rows:,}",
            f"{report.changed}/{report.tables}",
            _checks(report),
            "; ".join(report.missing) or "nothing",
        )
    return table


def _checks(report: DayReport) -> Text:
    text = Text(f"{report.checks['ok']} ok", style="green")
    if report.checks["warned"]:
        text.append(f", {report.checks['warned']} warned", style="yellow")
    if report.checks["failed"]:
        text.append(f", {report.checks['failed']} failed", style="red")
    return text
