"""Declared schema of the broker's minute candles: what is known of a hole in the ticks.

Belongs here: candles as the broker answered them. Does not belong here: ticks (see `raw_live`),
the minutes that candles fill (see `snapshots`).
"""

from __future__ import annotations

from optrade.tables.common import (
    SOURCE,
    SOURCE_SHA256,
    TRADE_DATE,
    count,
    price,
    stamp,
    word,
)
from optrade.tables.schema import Table

CANDLES = Table(
    group="raw",
    name="candles",
    row="one minute candle of one instrument, asked for because its ticks have a hole there",
    method=(
        "Kite's historical candles with open interest, asked for by `optrade heal`; the answer is "
        "kept for ever as it came. Kite forgets a contract's candles when it expires. A minute "
        "that the answer leaves out has no row."
    ),
    columns=(
        TRADE_DATE,
        count("instrument_token", "Kite's token", "id"),
        word("underlying", "Index it is, or is a contract on; INDIAVIX for India VIX"),
        stamp("minute", "Start of the minute"),
        price("open", "First price of the minute; 0 before a first trade", nullable=False),
        price("high", "Highest price of the minute", nullable=False),
        price("low", "Lowest price of the minute", nullable=False),
        price("close", "Last price of the minute", nullable=False),
        count("volume_units", "Traded in the minute; 0 for an index", "units"),
        count("oi_units", "Open interest at its end; 0 for an index", "units", nullable=True),
        stamp("fetched_at", "When the broker's answer was asked for"),
        word("request", "What was asked: path and query"),
        word("stored_as", "Path of the kept answer inside the lake's folder"),
        SOURCE_SHA256,
        SOURCE,
    ),
    key=("trade_date", "instrument_token", "minute"),
)

TABLES = (CANDLES,)
