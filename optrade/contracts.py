"""The contracts: known index underlyings, expiry buckets, the money and the strike ladder.

Belongs here: what follows from the listed contracts alone (and a reference price). Does not
belong here: prices of options, trading days (`optrade.calendar`).

Frames are set-wise over any number of trading days; every output is sorted by its key and a
row depends only on rows of its own (trade_date, underlying).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import polars as pl

from optrade.tables.common import EXPIRY_BUCKETS

TICK: Final = 0.05
"""Tick of every index option, rupees a unit."""

NEXT_WEEK_DAYS: Final = 10
"""An expiry is `next_week` if it follows the nearest one within so many calendar days."""

_DAY: Final = ("trade_date", "underlying")
_EXPIRY: Final = (*_DAY, "expiry")


@dataclass(frozen=True)
class Underlying:
    """One index with listed options. `index_name` is its name in `raw.index_close`."""

    symbol: str
    exchange: str
    index_name: str | None
    tick: float = TICK


UNDERLYINGS: Mapping[str, Underlying] = MappingProxyType(
    {
        u.symbol: u
        for u in (
            Underlying("NIFTY", "NSE", "Nifty 50"),
            Underlying("BANKNIFTY", "NSE", "Nifty Bank"),
            Underlying("FINNIFTY", "NSE", "Nifty Financial Services"),
            Underlying("MIDCPNIFTY", "NSE", "Nifty Midcap Select"),
            Underlying("NIFTYNXT50", "NSE", "Nifty Next 50"),
            Underlying("SENSEX", "BSE", None),
            Underlying("BANKEX", "BSE", None),
        )
    }
)
"""Known underlyings by exchange symbol. BSE's indices stand in no NSE file of closes."""


def fill_buckets(expiries: pl.DataFrame) -> pl.DataFrame:
    """Which expiry fills which bucket: one row per (trade_date, underlying, expiry, bucket).

    `expiries` has trade_date, underlying and expiry (repeats and extra columns are ignored).
    An expiry on the trading day itself is still there; earlier ones fill nothing.

    - `this_week`: the nearest expiry
    - `next_week`: the one after, if it comes within `NEXT_WEEK_DAYS` days of the nearest
    - `this_month`: the last expiry of the nearest calendar month that has one left
    - `next_month`: the last expiry of the calendar month with expiries after that

    Columns: trade_date, underlying, expiry, expiry_bucket, bucket_alias. `bucket_alias` is
    true on the second bucket of the same expiry, in the order above, and only there.
    """
    live = expiries.select(_EXPIRY).unique().filter(pl.col("expiry") >= pl.col("trade_date"))
    expiry, month = pl.col("expiry"), pl.col("expiry").dt.truncate("1mo")
    nth = expiry.rank("dense").over(_DAY)
    days_after_nearest = (expiry - expiry.min().over(_DAY)).dt.total_days()
    nth_month = month.rank("dense").over(_DAY)
    last_of_month = expiry == expiry.max().over(*_DAY, month)
    rules = {
        "this_week": nth == 1,
        "next_week": (nth == 2) & (days_after_nearest <= NEXT_WEEK_DAYS),
        "this_month": (nth_month == 1) & last_of_month,
        "next_month": (nth_month == 2) & last_of_month,
    }
    flagged = live.with_columns(**rules)
    filled = [
        flagged.filter(pl.col(bucket)).select(*_EXPIRY, expiry_bucket=pl.lit(bucket), order=order)
        for order, bucket in enumerate(EXPIRY_BUCKETS)
    ]
    return (
        pl.concat(filled)
        .sort(*_EXPIRY, "order")
        .with_columns(bucket_alias=pl.col("order") > pl.col("order").min().over(_EXPIRY))
        .drop("order")
    )


def expiry_buckets(expiries: pl.DataFrame) -> pl.DataFrame:
    """One row per (trade_date, underlying, expiry): the first bucket it fills, null beyond.

    `bucket_alias` is true where the expiry fills a second bucket too. See `fill_buckets`.
    """
    first = (
        fill_buckets(expiries)
        .group_by(_EXPIRY, maintain_order=True)
        .agg(pl.col("expiry_bucket").first(), bucket_alias=pl.len() > 1)
    )
    return (
        expiries.select(_EXPIRY)
        .unique()
        .join(first, on=_EXPIRY, how="left")
        .with_columns(pl.col("bucket_alias").fill_null(value=False))
        .sort(_EXPIRY)
    )


def strike_ladder(contracts: pl.DataFrame, reference: str) -> pl.DataFrame:
    """The money and the steps from it: one row per listed strike of an expiry.

    `contracts` has trade_date, underlying, expiry, strike (calls and puts alike: the ladder is
    their union) and the column `reference`, one price per expiry, maybe null.

    Columns: trade_date, underlying, expiry, strike, atm_strike (the listed strike nearest to
    the reference, ties down; null without one) and strike_offset (steps from it, Int64).
    """
    strike = pl.col("strike")
    distance = (strike - pl.col(reference)).abs()
    rank = strike.rank("dense").over(_EXPIRY).cast(pl.Int64)
    return (
        contracts.group_by(*_EXPIRY, "strike")
        .agg(pl.col(reference).first())
        .sort(*_EXPIRY, "strike")
        .with_columns(
            atm_strike=strike.filter(distance == distance.min()).first().over(_EXPIRY),
            rank=rank,
        )
        .with_columns(
            strike_offset=pl.col("rank")
            - pl.col("rank").filter(strike == pl.col("atm_strike")).first().over(_EXPIRY)
        )
        .select(*_EXPIRY, "strike", "atm_strike", "strike_offset")
    )
