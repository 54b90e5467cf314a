"""Straddles and strangles by expiry bucket and offset from the money.

Belongs here: sums of two legs' prices, and what `analytics.premium_close` and `premium_minute`
are put together from. Does not belong here: which strike is the money (`optrade.contracts`), how
a premium moved in the session (`premium_path`), where it stands in its past (`premium_history`).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import date
from typing import Final

import polars as pl

from optrade.calendar import TradingCalendar, load_calendar
from optrade.chain.bars import MINUTE as ONE_MINUTE
from optrade.chain.grain import CLOSE, MINUTE, Grain
from optrade.chain.premium_history import with_percentiles, with_sessions
from optrade.chain.premium_path import with_path
from optrade.contracts import fill_buckets
from optrade.division import quotient
from optrade.tables import TABLES

OFFSETS: Final = (-2, -1, 0, 1, 2)

_CLOSE: Final = TABLES["analytics.premium_close"]
_MINUTE: Final = TABLES["analytics.premium_minute"]
_CHAIN_MINUTE: Final = TABLES["snapshots.chain_minute"]
_STRIKES: Final = ("call_strike", "put_strike")
_FIXED: Final = ("fixed_call_strike", "fixed_put_strike")
_SUMS: Final = {
    "last_premium": "last_price",
    "close_premium": "close_price",
    "vwap_premium": "average_price",
    "settlement_premium": "settlement",
    "oi_units": "oi_units",
    "mid_premium": "mid_price",
    "twap_premium": "twap",
}
"""Which figure of the two legs adds up to which premium; each grain has those its chain has."""


def premium_close(
    chain: pl.DataFrame,
    offsets: Sequence[int] = OFFSETS,
    dates: Collection[date] | None = None,
    calendar: TradingCalendar | None = None,
) -> pl.DataFrame:
    """`analytics.premium_close` of rows of `snapshots.chain_close`.

    One row per bucket an expiry fills and combination of which both legs are listed: a straddle
    at each of `offsets`, a strangle of each width from 1 to the largest offset. A premium is
    null where a leg's price is; `reason` is `no_trade` if a leg did not trade, else
    `not_published` if the last trades or the lot size (and so the VWAP) are not known.

    Rows are of those `dates` (all of the chain without any); earlier ones are their history, and
    the session before says which strikes are fixed. Sessions are those of `calendar` (the shipped
    one unless given).
    """
    calendar = calendar or load_calendar()
    every = _premiums(chain, fill_buckets(chain), offsets, CLOSE).drop_nulls(_STRIKES)
    every = with_sessions(every, calendar)
    rows = every if dates is None else every.filter(pl.col("trade_date").is_in(list(dates)))
    rows = _with_strikes_before(rows, every, calendar)
    rows = _with_pair(rows, chain, CLOSE, "close_price", _FIXED, "fixed_premium")
    nothing = ("day_twap_premium", "price_efficiency", "intraday_volatility")
    not_published = pl.lit("not_published")
    return _CLOSE.conform(
        with_percentiles(rows, every, calendar).with_columns(
            *(pl.lit(None, pl.Float64).alias(name) for name in nothing),
            efficiency_reason=not_published,
            volatility_reason=not_published,
        )
    )


def premium_minute(
    chain: pl.DataFrame,
    offsets: Sequence[int] = OFFSETS,
    listed: pl.DataFrame | None = None,
    *,
    state: pl.DataFrame | None = None,
    chain_before: pl.DataFrame | None = None,
    history: pl.DataFrame | None = None,
    calendar: TradingCalendar | None = None,
) -> pl.DataFrame:
    """`analytics.premium_minute` of rows of `snapshots.chain_minute` of minutes in a row.

    As `premium_close`, with the legs' middles of bid and ask, their time-weighted prices, and
    the path so far. A combination without both legs has a row without prices
    (`legs_not_heard`), so that it is there in every minute from the expiry's first on.

    - `listed` has trade_date, underlying and expiry of all options listed that day (rows of
      `raw.instruments` that are options, say), from which it follows which bucket an expiry
      fills; without it, those of `chain` count as all there are
    - `state`, `chain_before`: rows of this table and of the chain of the minute before; none at
      the start of the day
    - `history`: rows of this table of earlier days at the same times
    """
    if chain.is_empty():
        return _MINUTE.empty()
    calendar = calendar or load_calendar()
    state = _MINUTE.empty() if state is None else state
    before = _CHAIN_MINUTE.empty() if chain_before is None else chain_before
    buckets = fill_buckets(chain if listed is None else listed)
    rows = with_sessions(_premiums(chain, buckets, offsets, MINUTE), calendar)
    earlier = _a_minute_later(before, chain)
    rows = _with_pair(rows, earlier, MINUTE, "last_price", _STRIKES, "premium_before")
    rows = with_path(rows, state)
    rows = _with_pair(rows, chain, MINUTE, "last_price", _FIXED, "fixed_premium")
    past = _MINUTE.empty() if history is None else history
    return _MINUTE.conform(with_percentiles(rows, past, calendar))


def _premiums(
    chain: pl.DataFrame, buckets: pl.DataFrame, offsets: Sequence[int], grain: Grain
) -> pl.DataFrame:
    """Every combination of every expiry that fills a bucket; strikes are null without both legs."""
    key = grain.expiry
    sums = {figure: leg for figure, leg in _SUMS.items() if leg in chain.columns}
    legs = ("strike", *sums.values(), *(("twap_seconds",) if grain is MINUTE else ()))
    call, put = (
        chain.filter(pl.col("option_type") == side).select(
            *key,
            pl.col("strike_offset").alias(f"{name}_offset"),
            *(pl.col(column).alias(f"{name}_{column}") for column in legs),
        )
        for side, name in (("CE", "call"), ("PE", "put"))
    )
    shared = chain.group_by(key).agg(pl.col("spot", "source").first(), pl.col("lot_size").max())
    both = pl.all_horizontal(pl.col(_STRIKES).is_not_null())
    return (
        buckets.join(shared, on=CLOSE.expiry)
        .join(_combinations(offsets), how="cross")
        .join(call, on=[*key, "call_offset"], how="left")
        .join(put, on=[*key, "put_offset"], how="left")
        .with_columns(pl.when(both).then(pl.col(name)).alias(name) for name in _STRIKES)
        .with_columns(
            (pl.col(f"call_{leg}") + pl.col(f"put_{leg}")).alias(figure)
            for figure, leg in sums.items()
        )
        .with_columns(
            close_premium_pct=quotient(pl.col("close_premium"), pl.col("spot")) * 100,
            reason=_reason(),
        )
    )


def _combinations(offsets: Sequence[int]) -> pl.DataFrame:
    """kind, strike_offset and the offset of each leg."""
    straddles = [("straddle", n, n, n) for n in sorted(set(offsets))]
    strangles = [("strangle", n, n, -n) for n in range(1, max(offsets, default=0) + 1)]
    names = ("kind", "strike_offset", "call_offset", "put_offset")
    schema = dict(zip(names, (pl.String, pl.Int64, pl.Int64, pl.Int64), strict=True))
    return pl.DataFrame(straddles + strangles, schema=schema, orient="row")


def _reason() -> pl.Expr:
    return (
        pl.when(pl.col("call_strike").is_null())
        .then(pl.lit("legs_not_heard"))
        .when(pl.col("close_premium").is_null())
        .then(pl.lit("no_trade"))
        .when(pl.col("last_premium").is_null() | pl.col("vwap_premium").is_null())
        .then(pl.lit("not_published"))
    )


def _with_pair(
    rows: pl.DataFrame,
    chain: pl.DataFrame,
    grain: Grain,
    price: str,
    strikes: tuple[str, str],
    name: str,
) -> pl.DataFrame:
    """The rows with the sum of a price of the call and the put at two strikes, under `name`."""
    for side, strike in zip(("CE", "PE"), strikes, strict=True):
        legs = chain.filter(pl.col("option_type") == side).select(
            *grain.expiry, pl.col("strike").alias(strike), pl.col(price).alias(side)
        )
        rows = rows.join(legs, on=[*grain.expiry, strike], how="left")
    return rows.with_columns((pl.col("CE") + pl.col("PE")).alias(name)).drop("CE", "PE")


def _with_strikes_before(
    rows: pl.DataFrame, every: pl.DataFrame, calendar: TradingCalendar
) -> pl.DataFrame:
    """The rows with the strikes that their combination had at the close of the session before."""
    key = ("underlying", "expiry", "kind", "strike_offset")
    days = [day for day in rows["trade_date"].unique() if day > calendar.first]
    previous = pl.DataFrame(
        {"trade_date": days, "previous_date": [calendar.previous(day) for day in days]},
        schema={"trade_date": pl.Date, "previous_date": pl.Date},
    )
    strikes = every.select(
        pl.col("trade_date").alias("previous_date"),
        *key,
        *(pl.col(now).alias(fixed) for now, fixed in zip(_STRIKES, _FIXED, strict=True)),
    ).unique(["previous_date", *key])
    return rows.join(previous, on="trade_date", how="left").join(
        strikes, on=["previous_date", *key], how="left"
    )


def _a_minute_later(before: pl.DataFrame, chain: pl.DataFrame) -> pl.DataFrame:
    """The prices of each minute under the minute after it."""
    columns = (*MINUTE.expiry, "strike", "option_type", "last_price")
    first = chain["minute"].min()
    return pl.concat(
        [
            before.select(columns).with_columns(minute=pl.lit(first, before.schema["minute"])),
            chain.select(columns).with_columns(minute=pl.col("minute") + ONE_MINUTE),
        ]
    )
