"""Declared schemas of what the live feed leaves: the day's instruments, segments and ticks.

Belongs here: the broker's daily instrument dump and what its websocket sent, packet by packet.
Does not belong here: the exchange's daily files (see `raw`), anything computed from ticks.
"""

from __future__ import annotations

from dataclasses import replace

import polars as pl

from optrade.tables.common import (
    SOURCE,
    SOURCE_SHA256,
    TRADE_DATE,
    count,
    price,
    real,
    stamp,
    word,
)
from optrade.tables.schema import Column, Table

DEPTH_LEVELS = 5
TICK_MODES = ("ltp", "quote", "full", "index_quote", "index_full")
"""What a packet says: price only; with the day's figures; with open interest and depth; indices."""

INSTRUMENTS = Table(
    group="raw",
    name="instruments",
    row="one instrument of the broker's dump of one trading day",
    method="Kite's `/instruments`, kept for ever: Kite forgets a contract when it expires.",
    columns=(
        TRADE_DATE,
        count("instrument_token", "Kite's token; its last byte is the segment", "id"),
        count("exchange_token", "The exchange's id of the contract", "id"),
        word("tradingsymbol", "Kite's symbol"),
        word("name", "Symbol of the underlying, or the company's name", nullable=True),
        word("underlying", "Known index it belongs to, as the exchange spells it", nullable=True),
        price("last_price", "As the dump has it: mostly 0"),
        Column(
            "expiry", pl.Date(), "Expiry date; null for what never expires", "date", nullable=True
        ),
        price("strike", "Strike price; null for what has none"),
        price("tick_rupees", "Smallest price step"),
        count("lot_size", "Units in a lot", "units", nullable=True),
        word("instrument_type", "EQ, FUT, CE, PE"),
        word("segment", "Kite's segment, such as NFO-OPT or INDICES"),
        word("exchange", "NSE, NFO, BSE, BFO, ..."),
        SOURCE,
        SOURCE_SHA256,
    ),
    key=("trade_date", "instrument_token"),
)

TICK_SEGMENTS = Table(
    group="raw",
    name="tick_segments",
    row="one sealed segment of the collector's spool",
    method=(
        "The collector appends every frame as it arrived, with its time of arrival, and seals a "
        "segment each minute. The file is kept for ever; every tick names the segment it is from."
    ),
    columns=(
        TRADE_DATE,
        word("segment", "Name of the segment, unique: minute of arrival and collector session"),
        word("session", "The collector's session"),
        stamp("first_received_at", "Arrival of the first frame", nullable=True),
        stamp("last_received_at", "Arrival of the last frame", nullable=True),
        count("frames", "Binary frames with packets", "frames"),
        count("heartbeats", "One-byte frames", "frames"),
        count("texts", "Text messages (errors, postbacks, news of the broker)", "frames"),
        count("ticks", "Packets decoded: rows of `raw.ticks`", "packets"),
        count("unknown_packets", "Packets of a length nobody knows: kept, not decoded", "packets"),
        count(
            "implausible_packets",
            "Packets with a figure beyond what `raw.ticks` declares: kept in the file alone; null "
            "in segments stored before they were counted",
            "packets",
            nullable=True,
        ),
        count("broken_frames", "Frames that end inside a packet", "frames"),
        count("bytes", "Size of the segment file as sealed", "bytes"),
        count("lost_bytes", "Bytes of a torn record cut off after a kill", "bytes"),
        word("refusal", "Why none of it is in `raw.ticks`; null where it is", nullable=True),
        word(
            "stored_as",
            "Path of the sealed file inside the market's home; `.zst` follows once it is archived",
        ),
        SOURCE_SHA256,
        SOURCE,
    ),
    key=("trade_date", "segment"),
)


def _paise(name: str, description: str, *, nullable: bool = True, ge: float | None = 0) -> Column:
    """A price that the feed tells in whole paise."""
    return replace(price(name, description, nullable=nullable, ge=ge), decimals=2)


def _depth() -> tuple[Column, ...]:
    columns: list[Column] = []
    for side, word_ in (("bid", "buyers"), ("ask", "sellers")):
        for level in range(1, DEPTH_LEVELS + 1):
            tail = "" if level == 1 else f"_{level}"
            place = "Best" if level == 1 else f"Level {level}"
            columns += [
                _paise(f"{side}{tail}", f"{place} price of {word_}; null where nobody stands"),
                count(f"{side}{tail}_units", f"{place}: units wanted", "units", nullable=True),
                count(f"{side}{tail}_orders", f"{place}: orders", "orders", nullable=True),
            ]
    return tuple(columns)


TICKS = Table(
    group="raw",
    name="ticks",
    row="one packet of the broker's feed: what it said of one instrument at one moment",
    method=(
        "Kite websocket packets, decoded. Prices are signed and over the segment's divisor. "
        "They have two decimals at most: what is quoted finer (currencies) is refused. "
        "Null is what the packet's kind does not carry; `exchange_at` has whole seconds."
    ),
    columns=(
        TRADE_DATE,
        count("instrument_token", "Kite's token", "id"),
        word("underlying", "Known index it belongs to; null for other instruments", nullable=True),
        stamp("exchange_at", "The exchange's stamp; null in ltp and quote packets", nullable=True),
        stamp("received_at", "Arrival of its frame at the collector"),
        word("mode", "Kind of packet", *TICK_MODES),
        _paise("last_price", "Last trade (index: value in points)", ge=None, nullable=False),
        count("last_units", "Units of the last trade", "units", nullable=True),
        _paise("average_price", "The exchange's VWAP of the day so far"),
        count("volume_units", "Traded today so far", "units", nullable=True),
        count("buy_units", "Units wanted by buyers, whole book", "units", nullable=True),
        count("sell_units", "Units offered by sellers, whole book", "units", nullable=True),
        _paise("open", "First trade of the day", ge=None),
        _paise("high", "Highest trade of the day", ge=None),
        _paise("low", "Lowest trade of the day", ge=None),
        _paise("close", "Closing price of the day before", ge=None),
        real("change", "Index packets: change since the day before", "points"),
        stamp("last_trade_at", "The exchange's stamp of the last trade", nullable=True),
        count("oi_units", "Open interest", "units", nullable=True),
        count("oi_high_units", "Highest open interest of the day", "units", nullable=True),
        count("oi_low_units", "Lowest open interest of the day", "units", nullable=True),
        *_depth(),
        word("segment", "Segment of the spool it was read from"),
        count("sequence", "Place of the packet in its segment, from 0", "packets"),
        SOURCE,
    ),
    key=("trade_date", "segment", "sequence"),
    sort=("instrument_token", "exchange_at", "received_at", "segment", "sequence"),
    part="segment",
    compact=True,
)

TABLES = (INSTRUMENTS, TICK_SEGMENTS, TICKS)
