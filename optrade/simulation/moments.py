"""What a broker says of instruments at one moment: prices, sizes and the book of orders.

Belongs here: the shape of that state, the book round a price, Kite's JSON of it. Does not belong
here: which price it is (`prints`, `levels`), packets of the websocket (`kite_packets`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

import numpy as np

from optrade.calendar import IST
from optrade.formats.kite_layout import INDICES, PRICES
from optrade.simulation.book import Bools
from optrade.simulation.levels import Hashes, hashed
from optrade.simulation.paths import Floats, Ints
from optrade.tables.raw_live import DEPTH_LEVELS

_MOST_LOTS, _MOST_ORDERS, _MOST_TIMES = 40, 12, 9


@dataclass(frozen=True, slots=True)
class Moment:
    """The state of m instruments: whole numbers of paise, units and seconds since 1970 UTC.

    0 stands for what there is not: no trade yet, nobody on that level of the book, nothing but
    levels for an index. The six arrays of the book are (m, 5), best level first, the rest (m,).
    `exchange_at` is when the instrument last had news.
    """

    instrument_token: Ints
    exchange_at: Ints
    last_price: Ints
    last_units: Ints
    average_price: Ints
    volume_units: Ints
    buy_units: Ints
    sell_units: Ints
    open: Ints
    high: Ints
    low: Ints
    close: Ints
    last_trade_at: Ints
    oi_units: Ints
    oi_high_units: Ints
    oi_low_units: Ints
    bid: Ints
    bid_units: Ints
    bid_orders: Ints
    ask: Ints
    ask_units: Ints
    ask_orders: Ints

    def __len__(self) -> int:
        return len(self.instrument_token)

    @property
    def is_index(self) -> Bools:
        """Which of them are indices: a token's last byte is the segment."""
        return np.asarray(self.instrument_token & 0xFF == INDICES)

    @staticmethod
    def blank(tokens: Ints) -> Moment:
        """Instruments of which nothing is known: 0 everywhere."""
        book = np.zeros((len(tokens), DEPTH_LEVELS), dtype=np.int64)
        names = [field.name for field in fields(Moment)][1:]
        return Moment(
            tokens,
            **{name: book if name.startswith(("bid", "ask")) else book[:, 0] for name in names},
        )

    def ticks(self) -> dict[str, Floats | Ints]:
        """The same by the columns of `raw.ticks`: prices in rupees, stamps in unix seconds."""
        columns: dict[str, Floats | Ints] = {"change": (self.last_price - self.close) / 100}
        for name in (field.name for field in fields(Moment)):
            values = getattr(self, name)
            told = values / 100 if name in PRICES else values
            if values.ndim == 1:
                columns[name] = told
                continue
            side, _, what = name.partition("_")
            for level in range(DEPTH_LEVELS):
                place = side if level == 0 else f"{side}_{level + 1}"
                columns["_".join(filter(None, (place, what)))] = told[:, level]
        return columns

    def select(self, which: Any) -> Moment:
        """The instruments at these places, or of this mask."""
        return Moment(*(getattr(self, field.name)[which] for field in fields(Moment)))

    @staticmethod
    def join(parts: Sequence[Moment]) -> Moment:
        """Several moments' instruments, in order."""
        names = [field.name for field in fields(Moment)]
        return Moment(*(np.concatenate([getattr(p, name) for p in parts]) for name in names))


@dataclass(frozen=True, slots=True)
class Depth:
    """The book of m contracts: prices in ticks and units; 0 where nobody stands."""

    bid: Ints
    bid_units: Ints
    bid_orders: Ints
    ask: Ints
    ask_units: Ints
    ask_orders: Ints
    buy_units: Ints
    sell_units: Ints

    @staticmethod
    def round(value: Floats, spread: Ints, lot: Ints, bits: Hashes) -> Depth:
        """The book round a theoretical `value` in ticks, with random `bits` for the sizes."""
        level = np.arange(DEPTH_LEVELS)
        gap = np.maximum(spread // 2, 1)[:, None] * level
        bid = np.floor(value - spread / 2).astype(np.int64)[:, None] - gap
        ask = np.ceil(value + spread / 2).astype(np.int64)[:, None] + gap
        draw = hashed(bits[:, None], np.arange(4 * DEPTH_LEVELS + 2)).astype(np.int64) >> 8
        size = (1 + draw % _MOST_LOTS) * lot[:, None]
        orders = np.minimum(1 + draw % _MOST_ORDERS, size // lot[:, None])
        times = 1 + draw[:, -2:] % _MOST_TIMES
        there = bid > 0
        bids, asks = slice(0, DEPTH_LEVELS), slice(DEPTH_LEVELS, 2 * DEPTH_LEVELS)
        bid_units = np.where(there, size[:, bids], 0)
        return Depth(
            bid=np.where(there, bid, 0),
            bid_units=bid_units,
            bid_orders=np.where(there, orders[:, bids], 0),
            ask=ask,
            ask_units=size[:, asks],
            ask_orders=orders[:, asks],
            buy_units=bid_units.sum(axis=1) * times[:, 0],
            sell_units=size[:, asks].sum(axis=1) * times[:, 1],
        )


def kite_quote(state: Moment, i: int) -> dict[str, Any]:
    """Kite's full quote of instrument `i`: rupees, units, stamps as text (None before a trade)."""
    sides = {"buy": "bid", "sell": "ask"}
    depth = {
        word: [
            {
                "price": getattr(state, side)[i, level].item() / 100,
                "quantity": getattr(state, f"{side}_units")[i, level].item(),
                "orders": getattr(state, f"{side}_orders")[i, level].item(),
            }
            for level in range(DEPTH_LEVELS)
        ]
        for word, side in sides.items()
    }
    last, close = int(state.last_price[i]), int(state.close[i])
    return {
        "instrument_token": int(state.instrument_token[i]),
        "timestamp": _stamp(int(state.exchange_at[i])),
        "last_trade_time": _stamp(int(state.last_trade_at[i])),
        "last_price": last / 100,
        "last_quantity": int(state.last_units[i]),
        "buy_quantity": int(state.buy_units[i]),
        "sell_quantity": int(state.sell_units[i]),
        "volume": int(state.volume_units[i]),
        "average_price": int(state.average_price[i]) / 100,
        "oi": int(state.oi_units[i]),
        "oi_day_high": int(state.oi_high_units[i]),
        "oi_day_low": int(state.oi_low_units[i]),
        "net_change": (last - close) / 100,
        "ohlc": {
            name: int(getattr(state, name)[i]) / 100 for name in ("open", "high", "low", "close")
        },
        "depth": depth,
    }


def _stamp(epoch: int) -> str | None:
    return f"{datetime.fromtimestamp(epoch, IST):%Y-%m-%d %H:%M:%S}" if epoch else None
