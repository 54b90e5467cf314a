"""Where everything stands in a packet of Kite's websocket feed.

Belongs here: the words of each kind of packet under their names in `raw.ticks`, and what a price
is divided by. Does not belong here: reading packets (`kite_frames`), writing them
(`optrade.simulation.kite_packets`), frames and sockets.

A packet is a row of 4-byte big-endian words, and its length alone tells its kind. Prices are
signed, counts are not, stamps are unix seconds; the orders of a depth level fill the upper half
of their word. The last byte of an instrument's token is its segment.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from optrade.tables import TIMESTAMP
from optrade.tables.raw_live import DEPTH_LEVELS, TICKS

WORD = 4
INDICES = 9
"""The segment of what can't be traded."""
_DIVISORS = np.full(256, 100.0)
_DIVISORS[[3, 6, 12]] = 1e7, 1e4, 1e4  # CDS, BCD, NCO


class Level(NamedTuple):
    """The columns of one depth level, in the order of its words."""

    units: str
    price: str
    orders: str


class Layout(NamedTuple):
    """One kind of packet: `words` are columns of `raw.ticks`."""

    mode: str
    words: tuple[str, ...]

    @property
    def length(self) -> int:
        """Bytes of the packet."""
        return WORD * len(self.words)


LEVELS = tuple(
    Level(f"{place}_units", place, f"{place}_orders")
    for side in ("bid", "ask")
    for place in (side, *(f"{side}_{level}" for level in range(2, DEPTH_LEVELS + 1)))
)
INDEX = (
    *("instrument_token", "last_price", "high", "low", "open", "close"),
    *("change", "exchange_at"),
)
_QUOTE = (
    *("instrument_token", "last_price", "last_units", "average_price", "volume_units"),
    *("buy_units", "sell_units", "open", "high", "low", "close"),
)
FULL = (
    *_QUOTE,
    *("last_trade_at", "oi_units", "oi_high_units", "oi_low_units", "exchange_at"),
    *(column for level in LEVELS for column in level),
)
LAYOUTS = (
    Layout("ltp", FULL[:2]),
    Layout("index_quote", INDEX[:-1]),
    Layout("index_full", INDEX),
    Layout("quote", _QUOTE),
    Layout("full", FULL),
)
LAYOUT_OF = {layout.mode: layout for layout in LAYOUTS}

WORDS = (*FULL, "change")
"""Every word any packet has: those of a full packet, then the one only indices have."""
PRICES = tuple(word for word in WORDS if TICKS.schema[word].is_float())
STAMPS = tuple(word for word in WORDS if TICKS.schema[word] == TIMESTAMP)
COUNTS = tuple(word for word in WORDS if TICKS.schema[word].is_integer())
ORDERS = tuple(level.orders for level in LEVELS)


def divisors(tokens: npt.NDArray[np.integer]) -> npt.NDArray[np.float64]:
    """What a price of each instrument is divided by to be rupees (or points), by segment."""
    by: npt.NDArray[np.float64] = _DIVISORS[tokens & 0xFF]
    return by
