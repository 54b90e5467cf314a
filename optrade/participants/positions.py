"""Open positions by participant class and segment.

Belongs here: `raw.participant_oi` to `participants.positions`, and the small expressions the
room shares. Does not belong here: sums over segments (`activity`) or over classes (`cross`).
"""

from __future__ import annotations

import polars as pl

from optrade.division import quotient
from optrade.tables.participants import POSITIONS

INDEX_SEGMENTS = ("index_future", "index_call", "index_put")
"""The segments of index derivatives."""


def ratio(numerator: pl.Expr, denominator: pl.Expr) -> pl.Expr:
    """`numerator / denominator` as a float; null where the denominator is 0 or null."""
    return pl.when(denominator != 0).then(quotient(numerator, denominator))


def classes(frame: pl.DataFrame) -> pl.DataFrame:
    """Keep the rows of the participant classes: the exchange's own TOTAL line goes."""
    return frame.filter(pl.col("participant") != "TOTAL")


def positions(participant_oi: pl.DataFrame) -> pl.DataFrame:
    """Return the `participants.positions` rows of every day in `raw.participant_oi` rows.

    A share is of the four classes' sum, not of the exchange's TOTAL (which rounds), so that
    shares add up to one; it is null in a segment nobody holds.
    """
    segment = ("trade_date", "segment")
    long, short = pl.col("long_contracts"), pl.col("short_contracts")
    rows = classes(participant_oi).with_columns(
        net_contracts=long - short,
        long_share=ratio(long, long.sum().over(segment)),
        short_share=ratio(short, short.sum().over(segment)),
    )
    return POSITIONS.conform(rows)
