"""The participant classes held against each other.

Belongs here: ratios and leans over classes, and how unusual a gap is against its own past.
Does not belong here: one class's own figures (`activity`), or what a reading was worth later.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import date

import polars as pl

from optrade.division import quotient
from optrade.participants.positions import INDEX_SEGMENTS, ratio
from optrade.tables.participants import CROSS

HISTORY_SESSIONS = 60
"""How many previous trading days the divergence looks back over."""
HISTORY_MINIMUM = 20
"""How many of them must be held for the divergence to be given."""


def cross(
    positions: pl.DataFrame, dates: Collection[date], sessions: Collection[date]
) -> pl.DataFrame:
    """Return the `participants.cross` rows of those `dates` that have positions.

    `positions` holds `participants.positions` rows of the dates and of their history;
    `sessions` the calendar's trading days over the same span. The divergence of a date is
    measured against the earlier dates held among its previous `HISTORY_SESSIONS` trading days
    (mean, and standard deviation with n - 1) and never looks at the date itself or beyond.

    Raises `ValueError` when a date that has positions is not one of the `sessions`.
    """
    days = _leans(positions)
    wanted = days.filter(pl.col("trade_date").is_in(list(dates)))
    order = pl.DataFrame(
        {"trade_date": sorted(set(sessions))}, schema={"trade_date": pl.Date()}
    ).with_row_index("ordinal")
    if strays := set(wanted["trade_date"]) - set(order["trade_date"]):
        raise ValueError(
            f"positions on {min(strays)}, which is not one of the sessions given; "
            "pass the calendar's trading days over the whole span"
        )
    past = _history(wanted, days, order)
    gap, n = pl.col("crowd_vs_smart_gap"), pl.col("history_n")
    reason = (
        pl.when(gap.is_null())
        .then(pl.lit("no_positions"))
        .when(n < HISTORY_MINIMUM)
        .then(pl.lit("too_few_days"))
        .when(~pl.col("varied"))
        .then(pl.lit("no_variation"))
    )
    rows = (
        wanted.join(past, on="trade_date", how="left")
        .with_columns(n.fill_null(0))
        .with_columns(reason=reason)
        .with_columns(
            crowd_vs_smart_divergence=pl.when(pl.col("reason").is_null()).then(
                quotient(gap - pl.col("mean"), pl.col("std"))
            )
        )
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


def _history(wanted: pl.DataFrame, days: pl.DataFrame, order: pl.DataFrame) -> pl.DataFrame:
    """Mean, deviation and number of the gaps before each wanted date.

    Joined and grouped rather than rolled: a rolling sum carries rounding over from whichever
    rows went before, and then a date's figure would depend on the dates asked for with it.
    """
    ordinal = pl.col("ordinal").cast(pl.Int64())
    gaps = (
        days.join(order, on="trade_date")
        .select(ordinal, gap="crowd_vs_smart_gap")
        .drop_nulls("gap")
    )
    gap = pl.col("gap")
    return (
        wanted.join(order, on="trade_date")
        .select("trade_date", ordinal=ordinal - pl.int_ranges(1, HISTORY_SESSIONS + 1))
        .explode("ordinal")
        .join(gaps, on="ordinal")
        .sort("trade_date", "ordinal")
        .group_by("trade_date", maintain_order=True)
        .agg(
            history_n=pl.len().cast(pl.Int64()),
            mean=gap.mean(),
            std=gap.std(ddof=1),
            varied=gap.min() < gap.max(),
        )
    )
