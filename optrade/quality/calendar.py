"""Every day held is a trading day.

Belongs here: dates of rows against the calendar's sessions. Does not belong here: the calendar
itself, or whether a file is late.
"""

from __future__ import annotations

from functools import partial

import polars as pl

from optrade.quality import remedies
from optrade.quality.rules import DAY, Inputs, Rule, counted, words

TABLES = (
    "raw.fo_bhavcopy",
    "raw.participant_oi",
    "raw.participant_volume",
    "raw.fii_stats",
    "raw.index_close",
    "snapshots.chain_close",
)


def _outside_sessions(inputs: Inputs, table: str) -> pl.DataFrame:
    rows = inputs.frame(table).select(DAY)
    return counted(
        rows,
        ~pl.col(DAY).is_in(list(inputs.sessions)),
        words("{} is a {}", DAY, pl.col(DAY).dt.to_string("%A")),
    )


RULES = tuple(
    Rule(
        name="is_session",
        table=table,
        severity="ERROR",
        blocking=True,
        description="The date is one of the calendar's trading days.",
        remedy=remedies.CHECK_CALENDAR,
        threshold=0,
        unit="rows on a day without a session",
        measure=partial(_outside_sessions, table=table),
    )
    for table in TABLES
)
