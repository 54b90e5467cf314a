"""One session of the simulated market as a broker's feed sees it, at any moment.

Belongs here: the instruments of the day, their state at a moment with the book of orders, when
each of them has news, minute candles. Does not belong here: the broker's bytes
(`kite_packets`), how trades are spread over the day (`prints`), indices (`levels`).

The state of an instrument changes when it has news: up to `rate` times a second for the busiest
contracts, twice a minute for those nobody trades. It depends on the seed, the first day of the
market, the day and the moment alone, and ends at what the day's files say.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Any, Final

import numpy as np
import polars as pl

from optrade.calendar import TradingCalendar
from optrade.contracts import UNDERLYINGS as KNOWN
from optrade.formats.kite_instruments import COLUMNS, INDEX_SEGMENT, KITE_INDICES
from optrade.formats.kite_instruments import VIX as KITE_VIX
from optrade.simulation.book import FUTURE, Bools
from optrade.simulation.levels import hashed, replay, uniform
from optrade.simulation.market import SimulationError
from optrade.simulation.moments import Depth, Moment, kite_quote
from optrade.simulation.parameters import TICK_RUPEES, UNDERLYINGS, Underlying
from optrade.simulation.paths import Floats, Ints
from optrade.simulation.prints import MINUTE, PAISE_PER_TICK, Prints, read_contracts
from optrade.simulation.reports import VIX
from optrade.tables import TIMESTAMP

CANDLE: Final = ("at", "open", "high", "low", "close", "volume_units", "oi_units")
_KITE_INDEX = {
    VIX: KITE_INDICES[KITE_VIX],
    **{
        known.index_name: KITE_INDICES[symbol]
        for symbol, known in KNOWN.items()
        if known.index_name is not None
    },
}
"""Kite's symbol and permanent token of each index, by its name in the exchange's files."""
_NFO = 2
_BLINK = 1e-6
"""Seconds; more than rounding can move a trade."""
_KINDS = ("FUT", "CE", "PE")
_INDEX_RATE = 1.0
_QUIET_RATE = 0.03
_RARE_TRADES = 0.25
"""A contract with fewer trades a second has news at each of them."""


class IntradayMarket:
    """A day of the market that began on `first_day`: its index contracts, indices and India VIX.

    `instruments` has one row per instrument in the broker's words; a row number here is a row
    number there. Moments are seconds since the open: before 0 the state is what yesterday left,
    from `seconds` on what the day's files say.

    `seed`, `first_day`, `calendar` and `underlyings` are those the files were made with. Raises
    `SimulationError` or `CalendarError` for a day that this market has no session on.
    """

    def __init__(
        self,
        day: date,
        seed: int,
        first_day: date,
        calendar: TradingCalendar,
        underlyings: Sequence[Underlying] = UNDERLYINGS,
        *,
        rate: float = 2.0,
    ) -> None:
        market, self._levels = replay(day, seed, first_day, calendar, underlyings)
        frame = market.contracts.filter(pl.col("underlying").is_in(list(KNOWN)))
        if frame.is_empty():
            names = [u.symbol for u in underlyings]
            raise SimulationError(f"none of {names} is an index with options: add one")
        self.day = day
        self.opens, self.seconds = self._levels.opens, self._levels.seconds
        self.closes = self.opens + timedelta(seconds=self.seconds)
        self._c = read_contracts(day, frame, underlyings, self._levels)
        self.instruments = _instruments(frame, self._levels.names)
        self.tokens = self.instruments["instrument_token"].to_numpy()
        self._row_of = {token: row for row, token in enumerate(self.tokens.tolist())}
        salt = np.array([seed, day.toordinal()], dtype=np.uint64)
        self._keys = hashed(hashed(salt[:1], salt[1]), self.tokens)
        self._prints = Prints(self._c, self._levels, self._keys[: len(self._c)], underlyings)
        busy = np.minimum(_QUIET_RATE + 2 * np.sqrt(self._c.trades / self.seconds), rate)
        self._rate = np.append(busy, np.full(len(self._levels.names), min(_INDEX_RATE, rate)))
        self._phase = uniform(hashed(self._keys, 0))
        never = np.zeros(len(self._levels.names), dtype=np.bool_)
        self._rare = np.append(self._c.trades < _RARE_TRADES * self.seconds, never)
        self._epoch = int(self.opens.timestamp())
        yesterday = datetime.combine(calendar.previous(day), self.closes.timetz())
        self._stale = int(yesterday.timestamp())

    def listed(self, tokens: Iterable[int]) -> list[int]:
        """Those of the tokens that are listed today, in their order."""
        return [token for token in tokens if token in self._row_of]

    def rows(self, tokens: Iterable[int]) -> Ints:
        """Rows of the listed ones of the tokens, in their order."""
        return np.array([self._row_of[token] for token in self.listed(tokens)], dtype=np.int64)

    def elapsed(self, at: datetime) -> float:
        """Seconds from the open to `at`, negative before it."""
        return (at - self.opens).total_seconds()

    def due(self, rows: Ints, after: float, until: float) -> Bools:
        """Which of the rows have news later than `after`, up to `until`.

        All of them have when the session opens and when it closes, none outside it.
        """
        if until < 0 or after >= self.seconds:
            return np.zeros(len(rows), dtype=np.bool_)
        if after < 0 or until >= self.seconds:
            return np.ones(len(rows), dtype=np.bool_)
        news = self._number(rows, until) > self._number(rows, after)
        rare = np.flatnonzero(self._rare[rows] & ~news)
        few = rows[rare]
        news[rare] = self._prints.count(few, until) > self._prints.count(few, after)
        return news

    def moment(self, seconds: float, rows: Ints) -> Moment:
        """The state of the rows after so many seconds, as of the last news of each."""
        is_index = rows >= len(self._c)
        places = np.concatenate([np.flatnonzero(~is_index), np.flatnonzero(is_index)])
        parts = self._tradable(seconds, rows[~is_index]), self._indices(seconds, rows[is_index])
        return Moment.join(parts).select(np.argsort(places))

    def quote(self, tokens: Iterable[int], at: datetime) -> dict[int, dict[str, Any]]:
        """Kite's full quote of each listed token at a time; prices in rupees, stamps as text."""
        rows = self.rows(tokens)
        state = self.moment(self.elapsed(at), rows)
        return {int(self.tokens[row]): kite_quote(state, i) for i, row in enumerate(rows)}

    def candles(self, token: int, start: datetime, end: datetime) -> pl.DataFrame:
        """Minute candles that begin from `start` to `end`, the last one as far as `end` goes.

        Columns: at (Asia/Kolkata), open, high, low, close in rupees, volume_units and oi_units,
        null for an index. Minutes without a trade repeat the close before them, from the first
        trade on. Raises `SimulationError` for a token that is not listed.
        """
        rows = self.rows([token])
        if not len(rows):
            raise SimulationError(f"token {token} is not listed on {self.day}")
        until = min(self.elapsed(end), self.seconds)
        begun = int(np.ceil(min(until, self.seconds - 1) / MINUTE + 1e-9))
        minutes = np.arange(max(begun, 0), dtype=np.float64)
        ends = np.minimum((minutes + 1) * MINUTE, until)
        none = pl.Series([None] * len(minutes), dtype=pl.Int64)
        bars = {"volume_units": none, "oi_units": none}
        bars |= self._bars(int(rows[0]), minutes * MINUTE, ends)
        at = [self.opens + timedelta(seconds=MINUTE * minute) for minute in minutes.tolist()]
        frame = pl.DataFrame({"at": pl.Series(at, dtype=TIMESTAMP), **bars})
        return frame.select(CANDLE).filter((pl.col("at") >= start) & (pl.col("open") > 0))

    def instruments_csv(self) -> bytes:
        """The day's dump of instruments as Kite spells it."""
        rows = self.instruments.with_columns(name=pl.format('"{}"', "name"), last_price=pl.lit(0))
        return rows.select(COLUMNS).write_csv(quote_style="never").encode()

    def _number(self, rows: Ints, seconds: float) -> Ints:
        """How many news apart from trades each row has had."""
        return np.floor(seconds * self._rate[rows] + self._phase[rows]).astype(np.int64)

    def _news(self, seconds: float, rows: Ints) -> tuple[Ints, Floats]:
        """The number of each row's last news, and when it was."""
        number = self._number(rows, min(max(seconds, 0.0), self.seconds))
        at = np.maximum((number - self._phase[rows]) / self._rate[rows], 0.0)
        return number, at if seconds < self.seconds else np.full(len(rows), self.seconds)

    def _tradable(self, seconds: float, rows: Ints) -> Moment:
        c, prints = self._c, self._prints
        if seconds < 0:
            return self._before_open(rows)
        number, at = self._news(seconds, rows)
        rare = self._rare[rows]
        count = prints.count(rows, np.where(rare, min(seconds, self.seconds), at))
        traded, traded_at = count > 0, prints.time(rows, np.maximum(count, 1))
        at = np.where(rare & traded, np.maximum(at, traded_at), at)
        value, lot = prints.value(rows, at), c.lot[rows]
        bits = hashed(self._keys[rows], number)
        depth = Depth.round(value, prints.spread(rows, value), lot, hashed(bits, count))
        volume = prints.volume(rows, count) * lot
        last_lots = 1 + (hashed(self._keys[rows], -count) % np.uint64(8)).astype(np.int64)
        oi, before = self._oi(rows, at), c.oi_before[rows] * lot
        high, low = prints.range(rows, np.minimum(at + _BLINK, self.seconds))
        return replace(
            Moment.blank(self.tokens[rows]),
            exchange_at=self._epoch + np.floor(at).astype(np.int64),
            last_price=prints.price(rows, count) * PAISE_PER_TICK,
            last_units=np.minimum(last_lots * lot, volume),
            average_price=np.where(traded, prints.average(rows, at), 0),
            volume_units=volume,
            buy_units=depth.buy_units,
            sell_units=depth.sell_units,
            open=np.where(traded, c.open[rows], 0) * PAISE_PER_TICK,
            high=np.where(traded, high, 0) * PAISE_PER_TICK,
            low=np.where(traded, low, 0) * PAISE_PER_TICK,
            close=c.previous_close[rows] * PAISE_PER_TICK,
            last_trade_at=np.where(traded, self._epoch + np.floor(traded_at).astype(np.int64), 0),
            oi_units=oi,
            oi_high_units=np.maximum(oi, before),
            oi_low_units=np.minimum(oi, before),
            bid=depth.bid * PAISE_PER_TICK,
            bid_units=depth.bid_units,
            bid_orders=depth.bid_orders,
            ask=depth.ask * PAISE_PER_TICK,
            ask_units=depth.ask_units,
            ask_orders=depth.ask_orders,
        )

    def _before_open(self, rows: Ints) -> Moment:
        oi = self._c.oi_before[rows] * self._c.lot[rows]
        return replace(
            Moment.blank(self.tokens[rows]),
            exchange_at=np.full(len(rows), self._stale),
            last_price=self._prints.price(rows, np.zeros_like(rows)) * PAISE_PER_TICK,
            close=self._c.previous_close[rows] * PAISE_PER_TICK,
            oi_units=oi,
            oi_high_units=oi,
            oi_low_units=oi,
        )

    def _indices(self, seconds: float, rows: Ints) -> Moment:
        levels, index = self._levels, rows - len(self._c)
        previous = np.rint(levels.previous[index] * 100).astype(np.int64)
        blank = replace(
            Moment.blank(self.tokens[rows]),
            exchange_at=np.full(len(rows), self._stale),
            last_price=previous,
            close=previous,
        )
        if seconds < 0:
            return blank
        _, at = self._news(seconds, rows)
        paise = {
            name: np.rint(points[index, levels.at(at)] * 100).astype(np.int64)
            for name, points in (
                ("last_price", levels.points),
                ("high", levels.high),
                ("low", levels.low),
            )
        }
        opened = np.rint(levels.points[index, 0] * 100).astype(np.int64)
        return replace(
            blank, exchange_at=self._epoch + np.floor(at).astype(np.int64), open=opened, **paise
        )

    def _oi(self, rows: Ints, at: Floats) -> Ints:
        """Open interest in units; it moves at whole minutes and at the close."""
        c = self._c
        told = np.where(at >= self.seconds, at, np.floor(at / MINUTE) * MINUTE)
        change = (c.oi - c.oi_before)[rows] * self._prints.activity(told)
        return np.asarray((c.oi_before[rows] + np.rint(change).astype(np.int64)) * c.lot[rows])

    def _bars(self, row: int, starts: Floats, ends: Floats) -> dict[str, Any]:
        """Minutes of one instrument, in rupees and units; 0 before its first trade."""
        at = np.minimum(starts[:, None] + np.arange(1, MINUTE + 1), ends[:, None])
        if row >= len(self._c):
            half_seconds = np.stack([at - 0.5, at], axis=2).reshape(len(at), 2 * at.shape[1])
            points = self._levels.points[row - len(self._c)]
            inside = points[self._levels.at(np.minimum(half_seconds, ends[:, None]))]
            opened = points[self._levels.at(starts)]
            values = {
                "open": opened,
                "high": np.maximum(inside.max(axis=1), opened),
                "low": np.minimum(inside.min(axis=1), opened),
                "close": inside[:, -1],
            }
            return {name: np.rint(value * 100) / 100 for name, value in values.items()}
        c, prints = self._c, self._prints
        rows, column = np.full(at.shape, row), np.full(len(at), row)
        count = prints.count(rows, at)
        before = np.append(0, count[:-1, -1])
        done, price = count[:, -1], prints.price(rows, count)
        first = prints.price(column, np.minimum(before + 1, done))
        fresh = count > before[:, None]
        high, low = prints.range(column, ends)
        high_before, low_before = np.append(0, high[:-1]), np.append(0, low[:-1])
        seen = np.column_stack([first, np.where(fresh, price, first[:, None])])
        volume = prints.volume(column, done)
        ticks = {
            "open": np.where(done > before, first, price[:, -1]),
            "high": np.where(high > high_before, high, seen.max(axis=1)),
            "low": np.where((low < low_before) | (low_before == 0), low, seen.min(axis=1)),
            "close": price[:, -1],
        }
        return {
            **{
                name: np.where(done > 0, value, 0) * PAISE_PER_TICK / 100
                for name, value in ticks.items()
            },
            "volume_units": np.diff(volume, prepend=0) * c.lot[row],
            "oi_units": self._oi(column, ends),
        }


def _instruments(frame: pl.DataFrame, indices: Sequence[str]) -> pl.DataFrame:
    """The broker's rows: contracts in the order of the frame, then the indices."""
    derivative = pl.when(pl.col("kind") == FUTURE).then(pl.lit("NFO-FUT"))
    contracts = frame.select(
        instrument_token=pl.col("contract_id") * 256 + _NFO,
        exchange_token="contract_id",  # noqa: S106
        tradingsymbol=pl.col("contract_name").cast(pl.String),
        name="underlying",
        expiry="expiry",
        strike=pl.col("strike").fill_null(0),
        tick_size=pl.lit(TICK_RUPEES),
        lot_size="lot_size",
        instrument_type=pl.col("kind").replace_strict(
            dict(enumerate(_KINDS)), return_dtype=pl.String
        ),
        segment=derivative.otherwise(pl.lit("NFO-OPT")),
        exchange=pl.lit("NFO"),
    )
    known = [_KITE_INDEX[name] for name in indices]
    spots = pl.DataFrame(
        {
            "instrument_token": [index.token for index in known],
            "exchange_token": [index.token >> 8 for index in known],
            "tradingsymbol": [index.tradingsymbol for index in known],
            "name": [index.tradingsymbol for index in known],
        }
    ).with_columns(
        expiry=pl.lit(None, dtype=pl.Date),
        strike=pl.lit(0, dtype=pl.Int64),
        tick_size=pl.lit(0.0),
        lot_size=pl.lit(0, dtype=pl.Int64),
        instrument_type=pl.lit("EQ"),
        segment=pl.lit(INDEX_SEGMENT),
        exchange=pl.lit("NSE"),
    )
    return pl.concat([contracts, spots])
