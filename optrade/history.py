"""How unusual a figure is against its own past.

Belongs here: standardising a figure by its earlier values, for every table that does so. Does
not belong here: what the figure means (see the rooms that use it).
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import date

import polars as pl

from optrade.division import quotient

HISTORY_SESSIONS = 60
"""How many previous trading days a figure is measured against."""
HISTORY_MINIMUM = 20
"""How many of them must be held for it to be measured at all."""


def against_past(
    values: pl.DataFrame,
    dates: Collection[date],
    sessions: Collection[date],
    by: Collection[str] = (),
) -> pl.DataFrame:
    """Measure a figure of each of the `dates` in standard deviations from its own past mean.

    `values` is frame[trade_date, *by, value], of the dates and of their history, one series for
    each combination of `by`; `sessions` are the calendar's trading days over the same span. The
    past of a date are the values held among its previous `HISTORY_SESSIONS` trading days: their
    mean, and their standard deviation with n - 1. Neither the date itself nor what follows
    enters.

    Returns the rows of `dates` with `history_n`, `standardised` and `reason`: why that is null,
    `no_value`, `too_few_days` (under `HISTORY_MINIMUM`) or `no_variation`.

    Raises `ValueError` when one of the dates has a row and is not one of the `sessions`.
    """
    wanted = values.filter(pl.col("trade_date").is_in(list(dates)))
    order = pl.DataFrame(
        {"trade_date": sorted(set(sessions))}, schema={"trade_date": pl.Date()}
    ).with_row_index("ordinal")
    if strays := set(wanted["trade_date"]) - set(order["trade_date"]):
        raise ValueError(
            f"values on {min(strays)}, which is not one of the sessions given; "
            "pass the calendar's trading days over the whole span"
        )
    value, n = pl.col("value"), pl.col("history_n")
    return (
        wanted.join(_past(wanted, values, order, tuple(by)), on=["trade_date", *by], how="left")
        .with_columns(n.fill_null(0))
        .with_columns(
            reason=pl.when(value.is_null())
            .then(pl.lit("no_value"))
            .when(n < HISTORY_MINIMUM)
            .then(pl.lit("too_few_days"))
            .when(~pl.col("varied"))
            .then(pl.lit("no_variation"))
        )
        .with_columns(
            standardised=pl.when(pl.col("reason").is_null()).then(
                quotient(value - pl.col("mean"), pl.col("std"))
            )
        )
        .drop("mean", "std", "varied")
    )


def _past(
    wanted: pl.DataFrame, values: pl.DataFrame, order: pl.DataFrame, by: tuple[str, ...]
) -> pl.DataFrame:
    """Mean, deviation and number of the values before each wanted row.

    Joined and grouped rather than rolled: a rolling sum carries rounding over from whichever
    rows went before, and then a date's figure would depend on the dates asked for with it.
    """
    ordinal = pl.col("ordinal").cast(pl.Int64())
    held = (
        values.join(order, on="trade_date")
        .select(*by, "value", ordinal=ordinal)
        .drop_nulls("value")
    )
    value = pl.col("value")
    return (
        wanted.join(order, on="trade_date")
        .select("trade_date", *by, ordinal=ordinal - pl.int_ranges(1, HISTORY_SESSIONS + 1))
        .explode("ordinal")
        .join(held, on=["ordinal", *by])
        .sort("trade_date", *by, "ordinal")
        .group_by("trade_date", *by, maintain_order=True)
        .agg(
            history_n=pl.len().cast(pl.Int64()),
            mean=value.mean(),
            std=value.std(ddof=1),
            varied=value.min() < value.max(),
        )
    )
