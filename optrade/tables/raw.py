"""Declared schemas of the `raw` group: the exchange's files, retyped and nothing else.

Belongs here: tables whose rows are rows of a file (or of the fetch itself). Does not belong
here: anything computed. Figures stand as published, with the exchange's units in the names.
"""

from __future__ import annotations

from optrade.tables.common import (
    EXPIRY,
    PARTICIPANTS,
    SEGMENT,
    SOURCE,
    SOURCE_SHA256,
    TRADE_DATE,
    UNDERLYING,
    count,
    price,
    real,
    stamp,
    word,
)
from optrade.tables.schema import Table

FILE_KINDS = (
    "fo_bhavcopy",
    "fo_market_activity",
    "participant_oi",
    "participant_volume",
    "fii_stats",
    "index_close",
)
FILE_STATUSES = ("held", "not_published", "blocked", "refused")
_OI_NOTE = "; not always a multiple of the lot (old-lot remainders)"
_ZERO_PRICE = "; 0 as published when the contract never traded"

SOURCE_FILES = Table(
    group="raw",
    name="source_files",
    row="the latest answer of the archive for one kind of file of one trading day",
    method=(
        "Fetched from the archive's documented path; the bytes are kept for ever under "
        "`files/` by SHA-256, so every version ever seen can be read again; earlier answers "
        "are in the lake's history."
    ),
    columns=(
        TRADE_DATE,
        word("kind", "Which of the exchange's daily files", *FILE_KINDS),
        word("status", "What the archive's answer meant", *FILE_STATUSES),
        word("url", "Where it was asked for (the last place tried when not found)"),
        word("sha256", "SHA-256 of the bytes as fetched", nullable=True),
        count("bytes", "Size as fetched", "bytes", nullable=True),
        stamp(
            "fetched_at",
            "When these bytes were first received; null when there are none",
            nullable=True,
        ),
        word("stored_as", "Path of the kept bytes, relative to the lake's root", nullable=True),
        word("etag", "The host's ETag, used to ask for changes only", nullable=True),
        word("last_modified", "The host's Last-Modified, likewise", nullable=True),
        word("detail", "Why it is not held, in words", nullable=True),
        SOURCE,
    ),
    key=("trade_date", "kind"),
)

FO_BHAVCOPY = Table(
    group="raw",
    name="fo_bhavcopy",
    row="one listed futures or options contract on one trading day, as the exchange closed it",
    method="NSE F&O bhavcopy: UDiFF common format, or the older one up to 5 July 2024.",
    columns=(
        TRADE_DATE,
        UNDERLYING,
        word("underlying_class", "What the underlying is", "index", "stock", "volatility"),
        word("instrument_type", "FUT future, CE call, PE put", "FUT", "CE", "PE"),
        count(
            "contract_id", "Exchange's instrument id; the old format has none", "id", nullable=True
        ),
        word("contract_name", "Exchange's contract name; the old format has none", nullable=True),
        EXPIRY,
        real("strike", "Strike price; null for futures", "rupees a unit", ge=0),
        count(
            "lot_size", "Units in a lot; the old format does not say", "units", nullable=True, ge=1
        ),
        price("open", "First trade" + _ZERO_PRICE, nullable=False),
        price("high", "Highest trade" + _ZERO_PRICE, nullable=False),
        price("low", "Lowest trade" + _ZERO_PRICE, nullable=False),
        price("close", "Closing price; carried from an earlier day when untraded", nullable=False),
        price(
            "last",
            "Last trade, maybe of an earlier day; 0 when it never traded; the old format has none",
        ),
        price("previous_close", "Closing price of the day before; the old format has none"),
        price(
            "settlement", "Settlement price; on expiry day the underlying's close", nullable=False
        ),
        price("underlying_price", "The underlying's close; the old format has none"),
        count("oi_units", "Open interest at the end of the day" + _OI_NOTE, "units"),
        count("oi_change_units", "Change of open interest over the day", "units", ge=None),
        count("volume_lots", "Lots traded", "lots"),
        real(
            "turnover_rupees",
            "Notional turnover: (strike + price) x units",
            "rupees",
            ge=0,
            nullable=False,
        ),
        real(
            "premium_turnover_rupees",
            "Premium turnover, from the market activity report",
            "rupees",
            ge=0,
        ),
        count("trades", "Number of trades; the old format has none", "trades", nullable=True),
        SOURCE,
        SOURCE_SHA256,
    ),
    key=("trade_date", "underlying", "instrument_type", "expiry", "strike"),
    sort=("trade_date", "underlying", "expiry", "strike", "instrument_type"),
)


def _participant_table(name: str, row: str, long: str, short: str) -> Table:
    return Table(
        group="raw",
        name=name,
        row=row,
        method="NSE participant-wise file, whole market: no split by index, strike or expiry.",
        columns=(
            TRADE_DATE,
            word(
                "participant",
                "Participant class as published; TOTAL is the exchange's own sum",
                *PARTICIPANTS,
                "TOTAL",
            ),
            SEGMENT,
            count("long_contracts", long, "contracts"),
            count("short_contracts", short, "contracts"),
            SOURCE,
            SOURCE_SHA256,
        ),
        key=("trade_date", "participant", "segment"),
    )


PARTICIPANT_OI = _participant_table(
    "participant_oi",
    "the open positions of one participant class in one segment at the end of one day",
    "Contracts held long",
    "Contracts held short",
)
PARTICIPANT_VOLUME = _participant_table(
    "participant_volume",
    "what one participant class traded in one segment on one day",
    "Contracts bought",
    "Contracts sold",
)

FII_STATS = Table(
    group="raw",
    name="fii_stats",
    row="one line of the exchange's FII derivatives statistics: a product, or one index of it",
    method="NSE `fii_stats` sheet. Open interest counts long and short; option values are "
    "strike x quantity for trades and underlying close x quantity at the end of the day.",
    columns=(
        TRADE_DATE,
        word(
            "product",
            "Product group",
            "index_future",
            "index_option",
            "stock_future",
            "stock_option",
        ),
        word("underlying", "Index symbol, or ALL for the product's total line"),
        count("buy_contracts", "Contracts bought", "contracts"),
        real("buy_crore", "Value bought", "crore rupees", nullable=False),
        count("sell_contracts", "Contracts sold", "contracts"),
        real("sell_crore", "Value sold", "crore rupees", nullable=False),
        count("oi_contracts", "Open interest, long and short together", "contracts"),
        real("oi_crore", "Value of the open interest", "crore rupees", nullable=False),
        SOURCE,
        SOURCE_SHA256,
    ),
    key=("trade_date", "product", "underlying"),
)

INDEX_CLOSE = Table(
    group="raw",
    name="index_close",
    row="one index on one trading day (India VIX is one of them)",
    method="NSE `ind_close_all`.",
    columns=(
        TRADE_DATE,
        word("index_name", "The exchange's name of the index"),
        real("open", "Opening value; null where the exchange prints `-`", "points"),
        real("high", "Highest value", "points"),
        real("low", "Lowest value", "points"),
        real("close", "Closing value", "points", nullable=False),
        real("points_change", "Change over the day", "points"),
        real("change_pct", "Change over the day", "percent"),
        real("volume_units", "Shares traded in the constituents", "units", ge=0),
        real("turnover_crore", "Turnover of the constituents", "crore rupees", ge=0),
        real("pe_ratio", "Price to earnings", "ratio"),
        real("pb_ratio", "Price to book", "ratio"),
        real("dividend_yield_pct", "Dividend yield", "percent"),
        SOURCE,
        SOURCE_SHA256,
    ),
    key=("trade_date", "index_name"),
)

TABLES = (
    SOURCE_FILES,
    FO_BHAVCOPY,
    PARTICIPANT_OI,
    PARTICIPANT_VOLUME,
    FII_STATS,
    INDEX_CLOSE,
)
