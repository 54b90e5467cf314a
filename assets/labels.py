"""What Dagster's UI says of a date's holes, incidents and attempts: counts, and a table to read.

Belongs here: metadata of materializations made from rows of the `quality` group. Does not belong
here: the rows (see `candles` and `quality`), what the columns mean (`optrade.tables.quality`).
"""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any, Final

import dagster as dg
import polars as pl

from optrade.tables.quality import INCIDENTS, RECOVERIES

MOST_ROWS: Final = 100
"""Rows of a table in the UI; the counts beside it are of all."""
_HOLE: Final = (
    "started_at", "ended_at", "cause", "instruments", "filled_minutes", "unfilled_minutes",
    "healed_from", "detail",
)  # fmt: skip
_INCIDENT: Final = ("status", "cause", "subject", "attempts", "evidence", "suggestion")
_ATTEMPT: Final = ("incident_id", "attempt", "action", "tried_with", "outcome", "detail")
_ORDER: Final = ("escalated", "open", "closed")
Labels = dict[str, Any]


def of_holes(gaps: pl.DataFrame) -> Labels:
    """Of one date's rows of `quality.tick_gaps`: what is missing, and what fills it."""
    if gaps.is_empty():
        return {"holes": 0}
    counts = {name: gaps[name].sum() for name in ("filled_minutes", "unfilled_minutes")}
    return {"holes": gaps.height} | counts | {"what_was_not_heard": _table(gaps, _HOLE)}


def of_record(table_name: str, rows: pl.DataFrame) -> Mapping[date, Labels]:
    """By date, of rows of `quality.incidents` or `quality.recoveries`; nothing of other tables."""
    labels = {INCIDENTS.full_name: _of_incidents, RECOVERIES.full_name: _of_attempts}
    if table_name not in labels:
        return {}
    days = rows.partition_by("trade_date", as_dict=True)
    return {
        day: labels[table_name](of_day) for (day,), of_day in days.items() if isinstance(day, date)
    }


def _of_incidents(rows: pl.DataFrame) -> Labels:
    ordered = rows.sort(pl.col("status").cast(pl.Enum(_ORDER)), maintain_order=True)
    standing = (rows["status"] != "closed").sum()
    return {
        "incidents": rows.height,
        "standing": standing,
        "what_is_wrong": _table(ordered, _INCIDENT),
    }


def _of_attempts(rows: pl.DataFrame) -> Labels:
    healed = (rows["outcome"] == "healed").sum()
    return {
        "attempts": rows.height,
        "healed": healed,
        "what_was_tried": _table(rows.sort("ended_at", descending=True), _ATTEMPT),
    }


def _table(rows: pl.DataFrame, columns: Sequence[str]) -> dg.TableMetadataValue:
    """The first rows as the UI shows them, times of day to the second."""
    shown = rows.head(MOST_ROWS).select(
        pl.col(name).dt.strftime("%H:%M:%S") if rows.schema[name].is_temporal() else pl.col(name)
        for name in columns
    )
    return dg.MetadataValue.table(
        [dg.TableRecord(row) for row in shown.iter_rows(named=True)],
        dg.TableSchema([dg.TableColumn(name, str(dtype)) for name, dtype in shown.schema.items()]),
    )
