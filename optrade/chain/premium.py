"""Straddles and strangles by expiry bucket and offset from the money.

Belongs here: sums of two legs' prices. Does not belong here: which strike is the money
(`optrade.contracts`), premium's history and overlays.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import polars as pl

from optrade.contracts import fill_buckets
from optrade.division import quotient
from optrade.tables import TABLES

OFFSETS: Final = (-2, -1, 0, 1, 2)

_EXPIRY: Final = ("trade_date", "underlying", "expiry")
_LEG: Final = ("strike", "last_price", "close_price", "average_price", "settlement", "oi_units")


def premium_close(chain: pl.DataFrame, offsets: Sequence[int] = OFFSETS) -> pl.DataFrame:
    """`analytics.premium_close` of rows of `snapshots.chain_close`, any number of days.

    One row per bucket an expiry fills and combination of which both legs are listed: a straddle
    at each of `offsets`, a strangle of each width from 1 to the largest offset. A premium is
    null where a leg's price is; `reason` is `no_trade` if a leg did not trade, else
    `not_published` if the last trades or the lot size (and so the VWAP) are not known.
    """
    call, put = (
        chain.filter(pl.col("option_type") == side).select(
            *_EXPIRY,
            pl.col("strike_offset").alias(f"{name}_offset"),
            *(pl.col(column).alias(f"{name}_{column}") for column in _LEG),
        )
        for side, name in (("CE", "call"), ("PE", "put"))
    )
    shared = chain.group_by(_EXPIRY).agg(pl.col("spot", "source").first())
    frame = (
        fill_buckets(chain)
        .join(shared, on=_EXPIRY)
        .join(_combinations(offsets), how="cross")
        .join(call, on=[*_EXPIRY, "call_offset"])
        .join(put, on=[*_EXPIRY, "put_offset"])
        .with_columns(
            last_premium=pl.col("call_last_price") + pl.col("put_last_price"),
            close_premium=pl.col("call_close_price") + pl.col("put_close_price"),
            vwap_premium=pl.col("call_average_price") + pl.col("put_average_price"),
            settlement_premium=pl.col("call_settlement") + pl.col("put_settlement"),
            oi_units=pl.col("call_oi_units") + pl.col("put_oi_units"),
        )
        .with_columns(
            close_premium_pct=quotient(pl.col("close_premium"), pl.col("spot")) * 100,
            reason=_reason(),
        )
    )
    return TABLES["analytics.premium_close"].conform(frame)


def _combinations(offsets: Sequence[int]) -> pl.DataFrame:
    """kind, strike_offset and the offset of each leg."""
    straddles = [("straddle", n, n, n) for n in sorted(set(offsets))]
    strangles = [("strangle", n, n, -n) for n in range(1, max(offsets, default=0) + 1)]
    names = ("kind", "strike_offset", "call_offset", "put_offset")
    schema = dict(zip(names, (pl.String, pl.Int64, pl.Int64, pl.Int64), strict=True))
    return pl.DataFrame(straddles + strangles, schema=schema, orient="row")


def _reason() -> pl.Expr:
    return (
        pl.when(pl.col("close_premium").is_null())
        .then(pl.lit("no_trade"))
        .when(pl.col("last_premium").is_null() | pl.col("vwap_premium").is_null())
        .then(pl.lit("not_published"))
    )
