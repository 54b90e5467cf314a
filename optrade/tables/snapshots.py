"""Declared schemas of the `snapshots` group: the option chain at one moment.

Belongs here: one shape for every grain of chain. Does not belong here: greeks and metrics
(see `analytics`).
"""

from __future__ import annotations

from dataclasses import replace

import polars as pl

from optrade.tables.common import (
    BUCKET_ALIAS,
    EXPIRY,
    EXPIRY_BUCKET,
    OPTION_TYPE,
    SOURCE,
    SOURCE_SHA256,
    STRIKE,
    TRADE_DATE,
    UNDERLYING,
    count,
    price,
    real,
    stamp,
    word,
)
from optrade.tables.schema import Column, Table

CHAIN_CLOSE = Table(
    group="snapshots",
    name="chain_close",
    row="one listed index option at the close of one trading day",
    method=(
        "The day's index options of the bhavcopy, with spot, forward by put-call parity, "
        "time to expiry, the ladder offset from the money and the expiry bucket."
    ),
    columns=(
        TRADE_DATE,
        stamp("snapshot_at", "The close of that day's session"),
        UNDERLYING,
        EXPIRY,
        STRIKE,
        OPTION_TYPE,
        count(
            "contract_id", "Exchange's instrument id; the old format has none", "id", nullable=True
        ),
        price("open", "First trade of the day; null when it did not trade"),
        price("high", "Highest trade of the day; null when it did not trade"),
        price("low", "Lowest trade of the day; null when it did not trade"),
        price(
            "last_price",
            "Last trade of the day; null when it did not trade that day, and in "
            "the old format, which does not publish it",
        ),
        price("close_price", "Exchange's closing price of the day; null when it did not trade"),
        price(
            "average_price",
            "The day's VWAP: turnover / units - strike, or premium turnover / "
            "units where published, kept inside the day's low and high (the old format cuts "
            "turnover off to thousands); null when it did not trade or the lot is unknown",
        ),
        price("previous_close", "The day before's closing price as published; null where not"),
        price(
            "settlement",
            "Exchange's settlement price, theoretical when untraded; on expiry day, when the "
            "exchange prints the underlying's close there, the payoff that follows from it",
            nullable=False,
        ),
        count("oi_units", "Open interest", "units"),
        count("oi_change_units", "Change since the previous close", "units", ge=None),
        count("volume_lots", "Traded", "lots"),
        count(
            "volume_units",
            "Traded; null when it traded and the lot size is unknown",
            "units",
            nullable=True,
        ),
        real("turnover_rupees", "Notional turnover", "rupees", ge=0, nullable=False),
        count("trades", "Trades; null where not published", "trades", nullable=True),
        count("lot_size", "Units in a lot; null when unknown", "units", nullable=True, ge=1),
        word(
            "lot_size_basis",
            "Where the lot size is from: published in the file, or the only "
            "whole number its turnovers allow",
            "published",
            "turnover",
            nullable=True,
        ),
        price("spot", "The underlying's close; null when no held file has it"),
        word("spot_basis", "Which file gave the spot", "bhavcopy", "index_close", nullable=True),
        price("forward", "Forward price for this expiry; null when nothing pins it"),
        word(
            "forward_basis",
            "put-call parity, the listed future, or spot carried at the configured rate",
            "parity",
            "future",
            "carry",
            nullable=True,
        ),
        real(
            "discount_factor", "Discount to the expiry that goes with the forward", "fraction", ge=0
        ),
        count(
            "parity_pairs",
            "Call-put pairs the parity regression kept; null for another basis",
            "pairs",
            nullable=True,
        ),
        real(
            "years_to_expiry",
            "Calendar time to 15:30 of the expiry day, over 365 days",
            "years",
            ge=0,
            nullable=False,
        ),
        price("atm_strike", "Listed strike of this expiry nearest to spot, ties down"),
        word(
            "atm_basis",
            "What the money is measured from: spot, or the forward where no held file has the spot",
            "spot",
            "forward",
            nullable=True,
        ),
        count(
            "strike_offset",
            "Steps from the money on the listed ladder",
            "steps",
            nullable=True,
            ge=None,
        ),
        EXPIRY_BUCKET,
        BUCKET_ALIAS,
        SOURCE,
        SOURCE_SHA256,
    ),
    key=("trade_date", "underlying", "expiry", "strike", "option_type"),
)

_MINUTE_WORDS = {
    "snapshot_at": "End of the minute",
    "open": "First trade of the day so far; null when it did not trade",
    "high": "Highest trade of the day so far; null when it did not trade",
    "low": "Lowest trade of the day so far; null when it did not trade",
    "last_price": "Last trade up to the end of the minute; null when it did not trade today",
    "close_price": "The same as last_price: what would be the close if trading stopped here",
    "average_price": "The exchange's VWAP of the day so far; never called TWAP",
    "previous_close": "The day before's closing price as the feed says",
    "settlement": "Null: the exchange settles at the close",
    "oi_change_units": "Open interest less yesterday's at the close, as held; null where not held",
    "turnover_rupees": "Null: the feed does not say",
    "trades": "Null: the feed does not say",
    "lot_size_basis": "published: in the broker's instrument dump",
    "spot": "The index at the end of the minute; null when it was not heard of",
    "spot_basis": "index: the index's own ticks",
}
_MINUTE_NULLS = frozenset(
    {"settlement", "oi_units", "oi_change_units", "volume_lots", "turnover_rupees", "source_sha256"}
)


def _of_minute(column: Column) -> Column:
    column = replace(column, description=_MINUTE_WORDS.get(column.name, column.description))
    if column.name == "spot_basis":
        column = replace(column, isin=("index",))
    return replace(column, nullable=column.nullable or column.name in _MINUTE_NULLS)


LAST_TICK_AT = stamp(
    "last_tick_at",
    "Exchange time of the last packet up to here; where none came yet, the first minute that a "
    "candle fills",
)
FILLED_FROM = word(
    "filled_from",
    "What the figures are from where ticks are missing: the broker's candle; null: ticks",
    "candles",
    nullable=True,
)

CHAIN_MINUTE = Table(
    group="snapshots",
    name="chain_minute",
    row="one subscribed index option at the end of one minute",
    method=(
        "From ticks, windowed by exchange time (by arrival where a packet has no stamp). A "
        "contract has a row in every minute from its first tick on; `ticks` is 0 and "
        "`last_tick_at` says since when, where a minute brought nothing. In a hole of "
        "`quality.tick_gaps` the broker's candle gives price, volume and open interest where it "
        "was asked for, and `filled_from` says so; what a candle cannot tell is null."
    ),
    columns=(
        TRADE_DATE,
        stamp("minute", "Start of the minute"),
        *(
            _of_minute(c)
            for c in CHAIN_CLOSE.columns
            if c.name not in {"trade_date", "source", "source_sha256"}
        ),
        count("instrument_token", "Kite's token", "id"),
        price(
            "twap",
            "Time-weighted last price of the minute: the integral of the last price "
            "over the time it is known (a price is held at most `max_gap`), over that time",
        ),
        real(
            "twap_seconds",
            "Seconds of the minute in which a price was known; 0 from a candle",
            "seconds",
            ge=0,
            le=60,
        ),
        price("vwap", "Volume-weighted price of the minute's trades; null when none"),
        price("bid", "Best bid at the end of the minute; null where nobody stands"),
        price("ask", "Best offer at the end of the minute; null where nobody stands"),
        count("bid_units", "Units at the best bid", "units", nullable=True),
        count("ask_units", "Units at the best offer", "units", nullable=True),
        price("mid_price", "(bid + ask) / 2; null unless both stand and do not cross"),
        count(
            "volume_minute_units",
            "Traded in the minute; null when not known",
            "units",
            nullable=True,
        ),
        count("ticks", "Packets in the minute", "packets"),
        LAST_TICK_AT,
        FILLED_FROM,
        SOURCE,
    ),
    key=("trade_date", "minute", "underlying", "expiry", "strike", "option_type"),
    part="minute",
)

INDEX_MINUTE = Table(
    group="snapshots",
    name="index_minute",
    row="one index, India VIX or index future in one minute",
    method="From ticks, windowed as `chain_minute`.",
    columns=(
        TRADE_DATE,
        stamp("minute", "Start of the minute"),
        count("instrument_token", "Kite's token", "id"),
        word("kind", "What it is", "index", "vix", "future"),
        word("underlying", "Index it is, or is a future on; INDIAVIX for India VIX"),
        Column("expiry", pl.Date(), "Expiry of a future", "date", nullable=True),
        stamp("snapshot_at", "End of the minute"),
        price("open", "First price of the minute; null without ticks"),
        price("high", "Highest price of the minute"),
        price("low", "Lowest price of the minute"),
        price(
            "last_price",
            "Last price up to the end of the minute; null for a future that did not trade today",
        ),
        price("twap", "Time-weighted price of the minute"),
        real("twap_seconds", "Seconds in which a price was known", "seconds", ge=0, le=60),
        price("previous_close", "Close of the day before as the feed says"),
        price("bid", "Best bid (futures)"),
        price("ask", "Best offer (futures)"),
        count("oi_units", "Open interest (futures)", "units", nullable=True),
        count("volume_units", "Traded today so far (futures)", "units", nullable=True),
        count("volume_minute_units", "Traded in the minute (futures)", "units", nullable=True),
        count("ticks", "Packets in the minute", "packets"),
        LAST_TICK_AT,
        FILLED_FROM,
        SOURCE,
    ),
    key=("trade_date", "minute", "instrument_token"),
    part="minute",
)

TABLES = (CHAIN_CLOSE, CHAIN_MINUTE, INDEX_MINUTE)
