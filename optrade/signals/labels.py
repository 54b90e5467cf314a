"""Every label in one shape, each with the moment from which it could be known.

Belongs here: turning the tables' readings into BULLISH, BEARISH or NEUTRAL, and the guard
against looking ahead. Does not belong here: the rules with a version of their own (they stand in
the tables), or the returns (`scorecard`).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, time
from typing import Final
from zoneinfo import ZoneInfo

import polars as pl

from optrade.tables import IST, TIMESTAMP

PUBLISHED: Final = time(20, 30, tzinfo=ZoneInfo(IST))
"""The exchange's participant files of a day appear between about 19:30 and 20:30."""
SIGN_RULE: Final = "sign-1"
DIVERGENCE_RULE: Final = "divergence-1"
UNUSUAL: Final = 1.0
"""Standard deviations from which a divergence says anything: an unusually bullish crowd is
bearish."""
SCHEMA: Final = {
    "trade_date": pl.Date(),
    "signal": pl.String(),
    "rule": pl.String(),
    "label": pl.String(),
    "available_from": TIMESTAMP,
    "source": pl.String(),
}


class LookAhead(ValueError):
    """A label that could only be known after the return it is judged by had begun."""


def labels(activity: pl.DataFrame, cross: pl.DataFrame, sentiment: pl.DataFrame) -> pl.DataFrame:
    """Return frame[trade_date, signal, rule, label, available_from, source], nulls left out.

    Takes rows of `participants.activity`, `participants.cross` and `analytics.sentiment`, which
    need no other files than those of their own `trade_date` and before.
    """
    lean, divergence = pl.col("smart_money_direction"), pl.col("crowd_vs_smart_divergence")
    parts = [
        activity.select(
            "trade_date",
            "source",
            signal=pl.lit("positioning_") + pl.col("participant").str.to_lowercase(),
            rule="positioning_rule",
            label="positioning",
        ),
        cross.select(
            "trade_date",
            "source",
            signal=pl.lit("smart_money_direction"),
            rule=pl.lit(SIGN_RULE),
            label=_side(lean > 0, lean < 0, lean),
        ),
        cross.select(
            "trade_date",
            "source",
            signal=pl.lit("crowd_vs_smart_divergence"),
            rule=pl.lit(DIVERGENCE_RULE),
            label=_side(divergence <= -UNUSUAL, divergence >= UNUSUAL, divergence),
        ),
        sentiment.select("trade_date", "source", "rule", "label", signal=pl.lit("sentiment")),
    ]
    rows = pl.concat(
        [part.select(name for name in SCHEMA if name in part.columns) for part in parts]
    )
    return (
        rows.drop_nulls("label")
        .with_columns(available_from=available_from())
        .select(pl.col(name).cast(dtype) for name, dtype in SCHEMA.items())
        .sort("trade_date", "signal", "rule")
    )


def _side(up: pl.Expr, down: pl.Expr, of: pl.Expr) -> pl.Expr:
    return (
        pl.when(up)
        .then(pl.lit("BULLISH"))
        .when(down)
        .then(pl.lit("BEARISH"))
        .when(of.is_not_null())
        .then(pl.lit("NEUTRAL"))
    )


def available_from() -> pl.Expr:
    """When what is made from the files of `trade_date` can first be known."""
    clock = pl.lit(PUBLISHED.replace(tzinfo=None))
    return pl.col("trade_date").dt.combine(clock).dt.replace_time_zone(IST).cast(TIMESTAMP)


def with_entries(
    labels: pl.DataFrame, following: Mapping[date, date], closes: Mapping[date, datetime]
) -> pl.DataFrame:
    """Add `lead_hours`: from a label's being known to the close at which its return begins.

    `following` maps a session to the next one, `closes` a session to the moment it closed. The
    return of a label begins at the close of the session after its `trade_date`; where that is
    not in `following`, there is none yet, and `lead_hours` is null.

    Raises `LookAhead` when a label is available only after its entry.
    """
    entries = pl.DataFrame(
        {
            "trade_date": pl.Series(list(following), dtype=pl.Date),
            "entry_at": pl.Series(
                [closes[day].astimezone(ZoneInfo(IST)) for day in following.values()],
                dtype=TIMESTAMP,
            ),
        }
    )
    lead = (pl.col("entry_at") - pl.col("available_from")).dt.total_seconds() / 3600
    rows = labels.join(entries, on="trade_date", how="left").with_columns(lead_hours=lead)
    late = rows.filter(pl.col("lead_hours") <= 0)
    if not late.is_empty():
        row = late.row(0, named=True)
        raise LookAhead(
            f"{row['signal']} of {row['trade_date']} is available from "
            f"{row['available_from']:%Y-%m-%d %H:%M}, after the entry of its return at "
            f"{row['entry_at']:%Y-%m-%d %H:%M} ({late.height} labels like it); date a label by "
            "the newest file it is made from"
        )
    return rows.drop("entry_at")
