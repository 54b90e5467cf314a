"""The participant classes held against each other.

Belongs here: ratios and leans over classes, and how unusual a gap is against its own past.
Does not belong here: one class's own figures (`activity`), or what a reading was worth later.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import date

import polars as pl

from optrade.history import against_past
from optrade.participants.positions import INDEX_SEGMENTS, ratio
from optrade.tables.participants import CROSS


def cross(
    positions: pl.DataFrame, dates: Collection[date], sessions: Collection[date]
) -> pl.DataFrame:
    """Return the `participants.cross` rows of those `dates` that have positions.

    `positions` holds `participants.positions` rows of the dates and of their history;
    `sessions` the calendar's trading days over the same span. The divergence of a date is its
    gap `against_past`.

    Raises `ValueError` when a date that has positions is not one of the `sessions`.
    """
    days = _leans(positions)
    gaps = days.select("trade_date", value="crowd_vs_smart_gap")
    measured = against_past(gaps, dates, sessions).drop("value")
    rows = days.join(measured, on="trade_date").with_columns(
        pl.col("reason").replace("no_value", "no_positions"),
        crowd_vs_smart_divergence="standardised",
    )
    return CROSS.conform(rows)


def _leans(positions: pl.DataFrame) -> pl.DataFrame:
    """One row per day: contracts held and leans, over the index segments."""
    gross = pl.col("long_contracts") + pl.col("short_contracts")
    # A put held long gains when the index falls, so its net counts the other way.
    directed = (
        pl.when(pl.col("segment") == "index_put")
        .then(-pl.col("net_contracts"))
        .otherwise("net_contracts")
    )

    def held(*names: str) -> pl.Expr:
        return gross.filter(pl.col("participant").is_in(names)).sum()

    def lean(*names: str) -> pl.Expr:
        return ratio(directed.filter(pl.col("participant").is_in(names)).sum(), held(*names))

    return (
        positions.filter(pl.col("segment").is_in(INDEX_SEGMENTS))
        .group_by("trade_date")
        .agg(
            pl.col("source").first(),
            institutional_vs_retail_ratio=ratio(held("FII", "DII"), held("CLIENT")),
            foreign_vs_domestic_ratio=ratio(held("FII"), held("CLIENT", "DII", "PRO")),
            fii_lean=lean("FII"),
            client_lean=lean("CLIENT"),
            smart_money_direction_with_pro=lean("FII", "PRO"),
        )
        .with_columns(
            smart_money_direction=pl.col("fii_lean"),
            crowd_vs_smart_gap=pl.col("client_lean") - pl.col("fii_lean"),
        )
    )
