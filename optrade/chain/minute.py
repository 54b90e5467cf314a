"""The option chain and the indices minute by minute, from ticks.

Belongs here: turning the bars of subscribed instruments into `snapshots.index_minute` and
`snapshots.chain_minute`. Does not belong here: ticks and what is carried from minute to minute
(`bars`), the close of the day (`snapshot`), anything solved from the chain.

A minute is the same, bit for bit, whether the day is computed in one call, minute by minute from
the state the last one left, or in any other split: as long as no minute between is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

import polars as pl

from optrade.chain.bars import MAX_GAP_SECONDS, MINUTE, checked_day, minutes_of, used
from optrade.chain.candles import bars_with_candles
from optrade.chain.grain import MINUTE as GRAIN
from optrade.chain.money import with_forwards, with_offsets, years_to_expiry
from optrade.pricing.forward import RATE
from optrade.tables import TABLES

__all__ = ["chain_minute", "index_minute", "minutes_of", "used"]

_CHAIN: Final = TABLES["snapshots.chain_minute"]
_INDEX: Final = TABLES["snapshots.index_minute"]
_TOKEN_BITS: Final = 8
"""The low byte of Kite's token is the segment, the rest is the exchange's id of the contract."""
NO_CANDLES: Final = TABLES["raw.candles"].empty().with_columns(from_open=pl.lit(None, pl.Boolean))
_CONTRACT: Final = ("underlying", "expiry", "strike", "option_type")


def index_minute(
    ticks: pl.DataFrame,
    subscription: pl.DataFrame,
    state: pl.DataFrame,
    minutes: Sequence[datetime],
    *,
    session_open: datetime,
    session_close: datetime,
    max_gap_seconds: float = MAX_GAP_SECONDS,
    candles: pl.DataFrame = NO_CANDLES,
) -> pl.DataFrame:
    """`snapshots.index_minute` of consecutive minutes of one day: indices, India VIX, futures.

    - `ticks`: rows of `raw.ticks`; those of other instruments and minutes are ignored
    - `subscription`: instrument_token, kind (index, vix, future, option), underlying, expiry
    - `state`: rows of this table of the last minute before `minutes`; empty at the start
    - `minutes`: their starts; a price is held for `max_gap_seconds` after its packet
    - `candles`: rows of `optrade.chain.candles.candles_in_holes`, which fill their minutes

    Of a future that did not trade today no price is known. Raises `ValueError` for minutes with
    a hole, of several days, or not after the state.
    """
    if not minutes:
        return _INDEX.empty()
    day = checked_day(minutes)
    chosen = subscription.filter(pl.col("kind") != "option")
    held = state.with_columns(
        *(pl.lit(None, pl.Float64).alias(n) for n in ("open", "high", "low", "average_price")),
        *(pl.lit(None, pl.Int64).alias(n) for n in ("bid_units", "ask_units")),
        close="previous_close",
    )
    bars = bars_with_candles(
        ticks,
        chosen.select("instrument_token", counts_trades=pl.col("kind") == "future"),
        held,
        minutes,
        candles,
        session_open=session_open,
        session_close=session_close,
        max_gap_seconds=max_gap_seconds,
    )
    rows = bars.join(
        chosen.select("instrument_token", "kind", "underlying", "expiry"), on="instrument_token"
    )
    return _INDEX.conform(
        rows.with_columns(
            trade_date=pl.lit(day),
            snapshot_at=pl.col("minute") + MINUTE,
            open="first_price",
            high="high_price",
            low="low_price",
            previous_close=_above_zero("close"),
            source=_source(ticks, state, candles),
        )
    )


def chain_minute(
    ticks: pl.DataFrame,
    subscription: pl.DataFrame,
    state: pl.DataFrame,
    minutes: Sequence[datetime],
    index: pl.DataFrame,
    previous_chain: pl.DataFrame,
    *,
    rate: float = RATE,
    session_open: datetime,
    session_close: datetime,
    max_gap_seconds: float = MAX_GAP_SECONDS,
    candles: pl.DataFrame = NO_CANDLES,
) -> pl.DataFrame:
    """`snapshots.chain_minute` of consecutive minutes of one day.

    - `ticks`, `minutes`, `max_gap_seconds`, `candles`: as in `index_minute`
    - `subscription`: instrument_token, kind, underlying, expiry, strike, option_type, lot_size,
      expiry_bucket, bucket_alias; its options' strikes are the ladder
    - `state`: rows of this table of the last minute before `minutes`; empty at the start
    - `index`: rows of `snapshots.index_minute` of the same minutes: spot and futures
    - `previous_chain`: rows of `snapshots.chain_close` of the session before; maybe none
    - `rate`: a year, continuously compounded

    The forward is by put-call parity on the middle of bid and ask, on the last trade where not
    both stand. Raises `ValueError` as `index_minute` does.
    """
    if not minutes:
        return _CHAIN.empty()
    day = checked_day(minutes)
    chosen = subscription.filter(pl.col("kind") == "option")
    bars = bars_with_candles(
        ticks,
        chosen.select("instrument_token", counts_trades=pl.lit(value=True)),
        state.with_columns(close="previous_close"),
        minutes,
        candles,
        session_open=session_open,
        session_close=session_close,
        max_gap_seconds=max_gap_seconds,
    )
    spots = index.filter(pl.col("kind") == "index").select(
        "minute", "underlying", spot="last_price"
    )
    options = (
        bars.join(chosen.drop("kind"), on="instrument_token")
        .join(spots, on=["minute", "underlying"], how="left")
        .join(_held(previous_chain), on=_CONTRACT, how="left", nulls_equal=False)
        .with_columns(
            trade_date=pl.lit(day),
            snapshot_at=pl.col("minute") + MINUTE,
            source=_source(ticks, state, candles),
        )
        .with_columns(years_to_expiry(), *_meanings())
    )
    return _CHAIN.conform(_placed(options, chosen, index, rate))


def _held(previous_chain: pl.DataFrame) -> pl.DataFrame:
    """The open interest of each contract at the close of the session before."""
    return previous_chain.select(*_CONTRACT, held_oi="oi_units")


def _meanings() -> tuple[pl.Expr, ...]:
    """What the bars of an option mean; null where nothing traded today or is not known."""
    units, lot = pl.col("volume_units"), pl.col("lot_size")
    traded = units > 0
    bid, ask = pl.col("bid"), pl.col("ask")
    nothing = {
        "settlement": pl.Float64(),
        "turnover_rupees": pl.Float64(),
        "trades": pl.Int64(),
    }
    return (
        *(pl.when(traded).then(_above_zero(n)).alias(n) for n in ("open", "high", "low")),
        pl.when(traded).then(_above_zero("average_price")).alias("average_price"),
        pl.col("last_price").alias("close_price"),
        _above_zero("close").alias("previous_close"),
        (pl.col("oi_units") - pl.col("held_oi")).alias("oi_change_units"),
        pl.when(units % lot == 0).then(units // lot).alias("volume_lots"),
        pl.when(lot.is_not_null()).then(pl.lit("published")).alias("lot_size_basis"),
        pl.when(pl.col("spot").is_not_null()).then(pl.lit("index")).alias("spot_basis"),
        pl.when(bid <= ask).then((bid + ask) / 2).alias("mid_price"),
        (pl.col("instrument_token") // 2**_TOKEN_BITS).alias("contract_id"),
        *(pl.lit(None, dtype).alias(name) for name, dtype in nothing.items()),
    )


def _placed(
    options: pl.DataFrame, chosen: pl.DataFrame, index: pl.DataFrame, rate: float
) -> pl.DataFrame:
    """The options with forward, money and offsets, on the ladder of all subscribed strikes."""
    quoted = pl.col("mid_price").is_not_null()
    traded = pl.col("volume_units").fill_null(0)
    quotes = options.select(
        *GRAIN.expiry,
        "strike",
        "option_type",
        price=pl.coalesce("mid_price", "last_price"),
        volume=pl.when(quoted).then(traded.clip(lower_bound=1)).otherwise(traded),
    )
    futures = index.filter(pl.col("kind") == "future").select(
        *GRAIN.expiry, price="last_price", volume="volume_units"
    )
    options = with_forwards(options, quotes, futures, rate, GRAIN)
    references = options.group_by(GRAIN.expiry).agg(pl.col("reference").first())
    strikes = chosen.select("underlying", "expiry", "strike").unique()
    return with_offsets(options, references.join(strikes, on=["underlying", "expiry"]), GRAIN)


def _above_zero(name: str) -> pl.Expr:
    """A price as the feed has it, where 0 stands for none."""
    return pl.when(pl.col(name) > 0).then(name)


def _source(*frames: pl.DataFrame) -> pl.Expr:
    """Who says so: one feed for the whole day."""
    said = [frame["source"][0] for frame in frames if frame.height]
    return pl.lit(said[0] if said else None, pl.String)
