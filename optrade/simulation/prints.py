"""Trades of the contracts inside one session, spread over it so that they add up to its files.

Belongs here: theoretical prices at any moment, when which trade happened and at which price,
the day's high, low and average so far. Does not belong here: the book of orders, what is sent
(`intraday`), indices (`levels`).

Nothing is stored trade by trade: trade k of a contract happens at a moment and at a price that
follow from k alone, so the state at any moment is computed without those before it. The first
trade is at the day's open, the last at its last price, two of them at its high and low, at
moments when the model's prices were there. High, low and average so far are kept by the minute.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import polars as pl

from optrade.simulation.book import CALL, FUTURE
from optrade.simulation.levels import Hashes, Levels, hashed, on_grid, uniform
from optrade.simulation.parameters import (
    BARS,
    DIVIDEND_YIELD,
    RATE,
    TICKS_PER_RUPEE,
    Underlying,
    Variance,
)
from optrade.simulation.paths import Floats, Ints
from optrade.simulation.quotes import MOMENTS, years_left
from optrade.simulation.smile import atm_total_variance, black, total_variance

MINUTE = 60.0
PAISE_PER_TICK = 100 // TICKS_PER_RUPEE
_LIQUID_TRADES = 50
_MINUTES_AT_ONCE = 16
_NEVER = np.int64(1) << 40


@dataclass(frozen=True, slots=True)
class Contracts:
    """n contracts of one day as its bhavcopy has them: prices in ticks, sizes in lots.

    `average` is the day's volume-weighted price in paise; open, high, low, last and average are 0
    where nothing traded, `last` then is the price carried from an earlier day. `underlying` and
    `index` point into the simulated underlyings and into `Levels.names`.
    """

    contract_id: Ints
    underlying: Ints
    index: Ints
    kind: Ints
    strike: Floats
    lot: Ints
    trades: Ints
    volume: Ints
    open: Ints
    high: Ints
    low: Ints
    last: Ints
    previous_close: Ints
    average: Ints
    oi: Ints
    oi_before: Ints
    years: tuple[Floats, Floats]
    """Years to expiry by sessions and by the calendar, at the open and at the close: (2, n)."""

    def __len__(self) -> int:
        return len(self.contract_id)


def read_contracts(
    day: date, frame: pl.DataFrame, underlyings: Sequence[Underlying], levels: Levels
) -> Contracts:
    """Take the arrays from the rows of a `MarketDay`; their underlyings are indices."""
    symbols = [u.symbol for u in underlyings]
    names = [u.asset.name for u in underlyings]
    underlying = np.array([symbols.index(symbol) for symbol in frame["underlying"]], dtype=np.int64)
    index_of = [levels.names.index(name) if name in levels.names else -1 for name in names]
    by_session, by_calendar = years_left(day, frame["expiry"].to_numpy())
    lot, volume = frame["lot_size"].to_numpy(), frame["volume_lots"].to_numpy()
    strike = frame["strike"].fill_null(0).to_numpy().astype(np.float64)
    paid = frame["turnover_rupees"].to_numpy() / np.maximum(volume * lot, 1) - strike
    oi = frame["oi_units"].to_numpy()
    return Contracts(
        contract_id=frame["contract_id"].to_numpy(),
        underlying=underlying,
        index=np.array(index_of, dtype=np.int64)[underlying],
        kind=frame["kind"].to_numpy(),
        strike=strike,
        lot=lot,
        trades=frame["trades"].to_numpy(),
        volume=volume,
        open=on_grid(frame["open"]),
        high=on_grid(frame["high"]),
        low=on_grid(frame["low"]),
        last=on_grid(frame["last"]),
        previous_close=on_grid(frame["previous_close"]),
        average=np.where(volume > 0, np.rint(paid * 100), 0).astype(np.int64),
        oi=oi // lot,
        oi_before=(oi - frame["oi_change_units"].to_numpy()) // lot,
        years=(by_session[[1, -1]], by_calendar[[1, -1]]),
    )


@dataclass(frozen=True, slots=True)
class _Marks:
    """Which trades are special, and where their contract's trades begin and end.

    `begin` and `end` bound the trades in shares of the day's activity; trade `high` sits at
    `high_place` (0 to 1) of its stratum, and so does `low`.
    """

    begin: Floats
    end: Floats
    high: Ints
    high_place: Floats
    low: Ints
    low_place: Floats


class Prints:
    """The trades of one day; moments are seconds after the open, prices ticks, sizes lots.

    Every method takes `rows` of the contracts and moments or numbers of trades that broadcast
    against them. Moments lie inside the session.
    """

    def __init__(
        self,
        contracts: Contracts,
        levels: Levels,
        keys: Hashes,
        underlyings: Sequence[Underlying],
    ) -> None:
        self.contracts = contracts
        self.levels = levels
        self._keys = keys
        self._model = Variance()
        self._ratio = np.array([u.asset.variance_ratio for u in underlyings])
        self._smiles = [u.smile for u in underlyings]
        self._clock = np.linspace(0, levels.seconds, 1501)
        share = self._clock / levels.seconds
        density = 1 + 2.2 * np.exp(-share / 0.05) + 1.3 * np.exp((share - 1) / 0.07)
        summed = np.append(0.0, np.cumsum((density[1:] + density[:-1]) / 2))
        self._activity = summed / summed[-1]
        self._marks = self._mark()
        self._high, self._low, self._average = self._by_minute()

    def value(self, rows: Ints, at: Any) -> Floats:
        """Theoretical price, in fractions of ticks, at least 1."""
        c = self.contracts
        share = np.asarray(at) / self.levels.seconds
        by_session, by_calendar = (
            years[0, rows] + (years[1, rows] - years[0, rows]) * share for years in c.years
        )
        moment = self.levels.at(at)
        spot, variance = self.levels.points[c.index[rows], moment], self.levels.variance[moment]
        forward = spot * np.exp((RATE - DIVIDEND_YIELD) * by_calendar)
        market = atm_total_variance(variance, by_session, self._model, 1.0)
        theta = self._ratio[c.underlying[rows]] * market
        strike = np.where(c.kind[rows] == FUTURE, forward, c.strike[rows])
        log_moneyness = np.log(strike / forward)
        total = np.zeros_like(forward)
        for smile in dict.fromkeys(self._smiles):
            same = np.array([other == smile for other in self._smiles])[c.underlying[rows]]
            total = np.where(same, total_variance(log_moneyness, theta, smile), total)
        option = black(forward, strike, total, c.kind[rows] == CALL) * np.exp(-RATE * by_calendar)
        rupees = np.where(c.kind[rows] == FUTURE, forward, option)
        return np.asarray(np.maximum(rupees * TICKS_PER_RUPEE, 1.0))

    def spread(self, rows: Ints, value: Floats) -> Ints:
        """Bid to ask in ticks, as the daily model has it."""
        wide = np.where(self.contracts.trades[rows] >= _LIQUID_TRADES, 0.0005, 0.002)
        return np.asarray(np.ceil(value * wide), dtype=np.int64)

    def activity(self, at: Any) -> Floats:
        """Share of the day's trading done: 0 at the open, 1 at the close."""
        return np.asarray(np.interp(at, self._clock, self._activity))

    def count(self, rows: Ints, at: Any) -> Ints:
        """How many trades were done by then."""
        marks, trades = self._marks, self.contracts.trades[rows]
        done = self.activity(at)
        begin, end = marks.begin[rows], marks.end[rows]
        share = np.clip((done - begin) / np.maximum(end - begin, 1e-12), 0.0, 1.0)
        share = np.where(done >= end, 1.0, share)
        whole = np.floor(share * trades).astype(np.int64)
        next_one = np.minimum(whole + 1, trades)
        count = np.where(self._place(rows, next_one) <= share, next_one, whole)
        return np.asarray(np.where(done >= begin, count, 0), dtype=np.int64)

    def time(self, rows: Ints, number: Ints) -> Floats:
        """When trade `number` (from 1) was done."""
        marks = self._marks
        place = self._place(rows, number)
        done = marks.begin[rows] + place * (marks.end[rows] - marks.begin[rows])
        return np.asarray(np.interp(done, self._activity, self._clock))

    def price(self, rows: Ints, number: Ints) -> Ints:
        """Price of trade `number`; for 0 what was paid before today."""
        c = self.contracts
        at = self.time(rows, np.maximum(number, 1))
        minute = np.minimum(np.ceil(at / MINUTE - 1e-9).astype(np.int64), len(self._high) - 1)
        plain = self._plain(rows, number, at)
        held = np.clip(plain, self._low[minute, rows], self._high[minute, rows])
        carried = np.where(c.volume[rows] > 0, c.previous_close[rows], c.last[rows])
        return np.where(number > 0, self._special(rows, number, held), carried)

    def volume(self, rows: Ints, count: Ints) -> Ints:
        """Lots traded in the first `count` trades."""
        c = self.contracts
        return np.asarray(c.volume[rows] * count // np.maximum(c.trades[rows], 1))

    def range(self, rows: Ints, at: Any) -> tuple[Ints, Ints]:
        """Day's high and low by the end of this minute; 0 before the first trade."""
        minute = np.ceil(np.asarray(at) / MINUTE).astype(np.int64)
        high = self._high[minute, rows]
        return high, np.where(high > 0, self._low[minute, rows], 0)

    def average(self, rows: Ints, at: Any) -> Ints:
        """Volume-weighted average price of the day so far, in paise."""
        minutes = np.asarray(at) / MINUTE
        after = np.ceil(minutes).astype(np.int64)
        before = np.maximum(after - 1, 0)
        late = self._average[after, rows]
        early = self._average[before, rows]
        # The last minute may be short; the whole of it has passed at the close.
        share = np.where(np.asarray(at) >= self.levels.seconds, 1.0, minutes - before)
        mixed = np.rint(early + (late - early) * share).astype(np.int64)
        return np.where(early > 0, mixed, late)

    def _place(self, rows: Ints, number: Ints) -> Floats:
        """Where trade `number` stands among the contract's trades, 0 to 1 of their activity."""
        marks, trades = self._marks, self.contracts.trades[rows]
        within = uniform(hashed(self._keys[rows], number))
        within = np.where(number == marks.low[rows], marks.low_place[rows], within)
        within = np.where(number == marks.high[rows], marks.high_place[rows], within)
        within = np.where(number >= trades, 1.0, within)
        within = np.where(number <= 1, 0.0, within)
        return np.asarray((number - 1 + within) / np.maximum(trades, 1))

    def _plain(self, rows: Ints, number: Ints, at: Floats) -> Ints:
        """Price of an ordinary trade: at the bid, in the middle or at the ask."""
        c = self.contracts
        value = self.value(rows, at)
        side = (hashed(self._keys[rows], number) % np.uint64(3)).astype(np.int64) - 1
        half = (self.spread(rows, value) + 1) // 2
        ticks = np.rint(value).astype(np.int64) + side * half
        return np.asarray(np.clip(ticks, c.low[rows], c.high[rows]))

    def _special(self, rows: Ints, number: Ints, price: Ints) -> Ints:
        """Put open, high, low and last where they belong."""
        c, marks = self.contracts, self._marks
        price = np.where(number == marks.low[rows], c.low[rows], price)
        price = np.where(number == marks.high[rows], c.high[rows], price)
        price = np.where(number == c.trades[rows], c.last[rows], price)
        return np.asarray(np.where(number == 1, c.open[rows], price))

    def _mark(self) -> _Marks:
        """Find moments at which the model's prices stood where the day's special prints were."""
        c = self.contracts
        rows = np.arange(len(c))
        at = (MOMENTS[1:, None] - 1) / BARS * self.levels.seconds
        value = self.value(rows, at)
        reach = self.spread(rows, value) + 1
        first = (np.abs(value - c.open) <= reach).argmax(axis=0)
        final = len(at) - 1 - (np.abs(value - c.last) <= reach)[::-1].argmax(axis=0)
        final = np.maximum(np.where(c.trades > 1, final, first), first)
        done = self.activity(at[:, 0])
        begin, end = done[first], done[final]
        moment = np.arange(len(at))[:, None]
        outside = (moment < first) | (moment > final)
        marks: list[tuple[Ints, Floats]] = []
        for target in (c.high, c.low):
            nearest = np.where(outside, np.inf, np.abs(value - target)).argmin(axis=0)
            share = (done[nearest] - begin) / np.maximum(end - begin, 1e-12) * c.trades
            number = np.floor(share).astype(np.int64) + 1
            inner = np.clip(number, 2, np.maximum(c.trades - 1, 2))
            place = np.where(inner == number, share - np.floor(share), 0.5)
            number = np.where(target == c.last, c.trades, inner)
            marks.append((np.where(target == c.open, 1, number), place))
        (high, high_place), (low, low_place) = marks
        clash = (high == low) & (c.high != c.low)
        room = np.where(low + 1 < c.trades, low + 1, low - 1)
        return _Marks(
            begin,
            end,
            high,
            high_place,
            np.where(clash, room, low),
            np.where(clash, 0.5, low_place),
        )

    def _by_minute(self) -> tuple[Ints, Ints, Ints]:
        """High, low and average of the day by the end of each minute, from its open on."""
        c, marks = self.contracts, self._marks
        rows = np.arange(len(c))
        ends = np.minimum(
            np.arange(np.ceil(self.levels.seconds / MINUTE) + 1) * MINUTE, self.levels.seconds
        )
        high = np.zeros((len(ends), len(c)), dtype=np.int64)
        low, average, volume = np.full_like(high, _NEVER), np.zeros_like(high), np.zeros_like(high)
        for start in range(0, len(ends), _MINUTES_AT_ONCE):
            part = slice(start, start + _MINUTES_AT_ONCE)
            count = self.count(rows, ends[part, None])
            at = self.time(rows, np.maximum(count, 1))
            price = self._special(rows, count, self._plain(rows, count, at))
            above = np.maximum(price, np.where(count >= marks.high, c.high, c.open))
            below = np.minimum(price, np.where(count >= marks.low, c.low, c.open))
            high[part] = np.where(count > 0, above, 0)
            low[part] = np.where(count > 0, below, _NEVER)
            average[part], volume[part] = price, self.volume(rows, count)
        high, low = np.maximum.accumulate(high), np.minimum.accumulate(low)
        paid = np.cumsum(np.diff(volume, axis=0, prepend=0) * average * PAISE_PER_TICK, axis=0)
        mean = paid / np.maximum(volume, 1)
        mean += (c.average - mean[-1]) * (volume / np.maximum(volume[-1], 1))
        bounds = low * np.int64(PAISE_PER_TICK), high * np.int64(PAISE_PER_TICK)
        mean = np.where(volume > 0, np.clip(np.rint(mean), *bounds), 0)
        return high, low, mean.astype(np.int64)
