"""Declared schemas of the `snapshots` group: the option chain at one moment.

Belongs here: one shape for every grain of chain. Does not belong here: greeks and metrics
(see `analytics`).
"""

from __future__ import annotations

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
from optrade.tables.schema import Table

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

TABLES = (CHAIN_CLOSE,)
