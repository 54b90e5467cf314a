"""Identities inside one day: every long has its short, and two files tell one story.

Belongs here: identities 1 and 3, as frames of what breaks them. Does not belong here: the
change from day to day (`ledger`), or what to do about a break (`optrade.quality`).
"""

from __future__ import annotations

import polars as pl

from optrade.participants.positions import classes

TOLERANCE = 1
"""Published figures are rounded: sums may miss each other by so many contracts."""

_OPTIONS = ("index_option", "stock_option")


def unbalanced(frame: pl.DataFrame) -> pl.DataFrame:
    """Where identity 1 breaks in `raw.participant_oi` or `raw.participant_volume` rows.

    Returns frame[trade_date, segment, what, left_contracts, right_contracts, difference], a
    row for each `what` that fails: `total_sides` (the exchange's TOTAL long and short, which
    are equal), `total_long` and `total_short` (the classes' sum and that TOTAL, which differ
    by at most `TOLERANCE`). A class or a TOTAL line that is absent counts as zero, and so
    shows up.
    """
    total = pl.col("participant") == "TOTAL"
    long, short = pl.col("long_contracts"), pl.col("short_contracts")
    sums = frame.group_by("trade_date", "segment").agg(
        long=long.filter(~total).sum(),
        short=short.filter(~total).sum(),
        total_long=long.filter(total).sum(),
        total_short=short.filter(total).sum(),
    )
    pairs = {
        "total_sides": ("total_long", "total_short", 0),
        "total_long": ("long", "total_long", TOLERANCE),
        "total_short": ("short", "total_short", TOLERANCE),
    }
    return _differing(
        [
            sums.select(
                "trade_date",
                "segment",
                what=pl.lit(what),
                left_contracts=left,
                right_contracts=right,
                tolerance=pl.lit(tolerance),
            )
            for what, (left, right, tolerance) in pairs.items()
        ]
    ).sort("trade_date", "segment", "what")


def fii_disagreements(
    fii_stats: pl.DataFrame, participant_oi: pl.DataFrame, participant_volume: pl.DataFrame
) -> pl.DataFrame:
    """Where identity 3 breaks: `raw.fii_stats` against FII in the two participant files.

    Returns frame[trade_date, product, what, left_contracts, right_contracts, difference], left
    being `fii_stats`; `what` is `open_interest` (long and short together), `bought` or `sold`.
    Futures must agree exactly, options within `TOLERANCE`. Only figures that both sides hold
    for a day are compared.
    """
    long, short = pl.col("long_contracts"), pl.col("short_contracts")
    held = _fii(participant_oi, {"open_interest": long + short})
    traded = _fii(participant_volume, {"bought": long, "sold": short})
    stated = (
        fii_stats.filter(pl.col("underlying") == "ALL")
        .select(
            "trade_date",
            "product",
            open_interest="oi_contracts",
            bought="buy_contracts",
            sold="sell_contracts",
        )
        .unpivot(index=["trade_date", "product"], variable_name="what", value_name="left_contracts")
    )
    tolerance = pl.when(pl.col("product").is_in(_OPTIONS)).then(TOLERANCE).otherwise(0)
    compared = stated.join(
        pl.concat([held, traded]), on=("trade_date", "product", "what")
    ).with_columns(tolerance=tolerance)
    return _differing([compared]).sort("trade_date", "product", "what")


def _fii(frame: pl.DataFrame, figures: dict[str, pl.Expr]) -> pl.DataFrame:
    """FII's figures by the products of `fii_stats`: calls and puts together."""
    product = pl.col("segment").str.replace("_call|_put", "_option")
    return (
        classes(frame)
        .filter(pl.col("participant") == "FII")
        .group_by("trade_date", product.alias("product"))
        .agg(expr.sum().alias(name) for name, expr in figures.items())
        .unpivot(
            index=["trade_date", "product"], variable_name="what", value_name="right_contracts"
        )
    )


def _differing(parts: list[pl.DataFrame]) -> pl.DataFrame:
    difference = pl.col("left_contracts") - pl.col("right_contracts")
    return (
        pl.concat(parts)
        .with_columns(difference=difference)
        .filter(pl.col("difference").abs() > pl.col("tolerance"))
        .drop("tolerance")
    )
