"""The move expected to the nearest expiry, and how often past ones were kept.

Belongs here: the record of moves stated before past expiries. Does not belong here: the moves
themselves (`optrade.chain.levels`).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Final

import polars as pl

from optrade.division import quotient

STATED_SESSIONS: Final = 5
"""Sessions before an expiry whose stated move is held against what came."""
ENOUGH_EXPIRIES: Final = 10
"""Fewer give no share."""
_KEY: Final = ("trade_date", "underlying")
_MOVES: Final = ("straddle", "iv")


def expected_moves(metrics: pl.DataFrame) -> pl.DataFrame:
    """The moves to the nearest expiry that is not over, one row for each day and underlying.

    Columns: trade_date, underlying, nearest_expiry, expected_move_straddle, expected_move_iv.
    """
    return (
        metrics.filter(pl.col("years_to_expiry") > 0)
        .sort(*_KEY, "expiry")
        .group_by(_KEY, maintain_order=True)
        .agg(
            pl.col("expected_move_straddle", "expected_move_iv").first(),
            nearest_expiry=pl.col("expiry").first(),
        )
    )


def inside_records(
    metrics: pl.DataFrame, wanted: pl.DataFrame, sessions: Sequence[date], lookback: int
) -> pl.DataFrame:
    """How often expiries ended inside the move stated `STATED_SESSIONS` sessions before.

    `metrics` are rows of `analytics.chain_metrics_close`, `wanted` has trade_date and underlying,
    `sessions` are the calendar's in order. An expiry counts on its own day and later, as long as
    the session that stated its move is among the last `lookback`. It ended inside when its day's
    spot was no further from the forward stated than the move.

    Columns: trade_date, underlying, and for `straddle` and `iv` inside_*_n and inside_*_share
    (null under `ENOUGH_EXPIRIES`); one row per row of `wanted`.
    """
    order = pl.DataFrame({"day": sessions}, schema={"day": pl.Date}).with_columns(
        ordinal=pl.int_range(pl.len(), dtype=pl.Int64)
    )
    ended = _ended(metrics, order)
    age = pl.col("ordinal") - pl.col("end")
    records = (
        wanted.join(order, left_on="trade_date", right_on="day")
        .join(ended, on="underlying")
        .filter(age >= 0, age <= lookback - STATED_SESSIONS)
        .group_by(_KEY)
        .agg(
            *(pl.col(move).count().alias(f"inside_{move}_n") for move in _MOVES),
            *(pl.col(move).sum().alias(move) for move in _MOVES),
        )
    )
    filled = wanted.join(records, on=_KEY, how="left").with_columns(
        pl.col(f"inside_{move}_n").fill_null(0) for move in _MOVES
    )
    return filled.select(
        *_KEY,
        *(f"inside_{move}_n" for move in _MOVES),
        *(_share(move).alias(f"inside_{move}_share") for move in _MOVES),
    )


def _share(move: str) -> pl.Expr:
    n = pl.col(f"inside_{move}_n")
    return pl.when(n >= ENOUGH_EXPIRIES).then(quotient(pl.col(move), n))


def _ended(metrics: pl.DataFrame, order: pl.DataFrame) -> pl.DataFrame:
    """Past expiries: underlying, `end` (ordinal), and whether spot was inside each move."""
    ends = (
        metrics.filter(pl.col("trade_date") == pl.col("expiry"))
        .drop_nulls("spot")
        .join(order.rename({"ordinal": "end"}), left_on="expiry", right_on="day")
        .select("underlying", "expiry", "end", "spot", stated=pl.col("end") - STATED_SESSIONS)
    )
    stated = metrics.join(
        order.rename({"ordinal": "stated"}), left_on="trade_date", right_on="day"
    ).select(
        "underlying",
        "expiry",
        "stated",
        "forward",
        straddle="expected_move_straddle",
        iv="expected_move_iv",
    )
    off = (pl.col("spot") - pl.col("forward")).abs()
    return ends.join(stated, on=["underlying", "expiry", "stated"]).select(
        "underlying", "end", *((off <= pl.col(move)).alias(move) for move in _MOVES)
    )
