"""One session of trading: volumes, prices of the day, turnover and open interest.

Belongs here: what the exchange would print for each contract, in lots and ticks.
Does not belong here: theoretical prices (`quotes`), who traded (`flows`), file formats.

Sums that must hold hold in whole numbers: low <= open, close, last <= high; the premium turnover
in lot-ticks lies between lots x low and lots x high; |change of open interest| <= lots.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np

from optrade.simulation.book import CALL, FUTURE, Book, Bools
from optrade.simulation.parameters import Curve, Underlying
from optrade.simulation.paths import Floats, Ints
from optrade.simulation.quotes import Quotes, sessions_to

_LIQUID_TRADES = 50
"""From so many trades on, the closing price is the last half hour's, not the last trade's."""
_TRADES_EXPONENT = 0.9
"""Trades = lots to this power, as in the real files."""


@dataclass(frozen=True, slots=True)
class Tape:
    """The day of n contracts. Prices in ticks, 0 in `open`, `high`, `low` when untraded.

    `premium` is the sum of lots x ticks over the trades; `volume` is in lots.
    """

    volume: Ints
    trades: Ints
    open: Ints
    high: Ints
    low: Ints
    close: Ints
    last: Ints
    premium: Ints

    @property
    def traded(self) -> Bools:
        """Whether each contract traded."""
        return np.asarray(self.volume > 0)


@dataclass(frozen=True, slots=True)
class Sizes:
    """Lots expected to trade and to be open, per contract."""

    volume: Floats
    oi: Floats


def expected_sizes(
    day: date, book: Book, underlyings: Sequence[Underlying], quotes: Quotes
) -> Sizes:
    """Spread each expiry's activity over its strikes, most of it just out of the money."""
    keys = book.underlying * 10**6 + book.expiry.astype(np.int64)
    _, first, group = np.unique(keys, return_index=True, return_inverse=True)
    left = sessions_to(day, book.expiry)
    totals = np.zeros((len(first), 4))
    for i, row in enumerate(first):
        owner = underlyings[book.underlying[row]]
        activity = owner.activity if book.monthly[row] or owner.weekly is None else owner.weekly
        curves = (
            activity.option_volume, activity.option_oi, activity.future_volume, activity.future_oi,
        )  # fmt: skip
        totals[i] = [_lots(curve, left[row]) for curve in curves]
    volume, interest = _kernels(book, underlyings, quotes)
    return Sizes(
        _spread(book, group, volume, totals[:, 0], totals[:, 2]),
        _spread(book, group, interest, totals[:, 1], totals[:, 3]),
    )


def _spread(book: Book, group: Ints, kernel: Floats, options: Floats, futures: Floats) -> Floats:
    """Give each option its share of its expiry's total, each future the whole of its own."""
    future = book.kind == FUTURE
    weights = np.where(future, 0.0, kernel)
    whole = np.bincount(group, weights=weights)[group]
    share = weights / np.maximum(whole, np.finfo(np.float64).tiny)
    return np.where(future, futures[group], share * options[group])


def _lots(curve: Curve, sessions: int) -> float:
    if not curve:
        return 0.0
    knots = np.array(curve)
    return float(np.exp(np.interp(sessions, knots[:, 0], np.log(knots[:, 1]))))


def _kernels(
    book: Book, underlyings: Sequence[Underlying], quotes: Quotes
) -> tuple[Floats, Floats]:
    distance = np.log(np.maximum(book.strike, 1) / quotes.forward) / quotes.deviation
    out = np.where(book.kind == CALL, distance, -distance)
    deep = np.maximum(-out, 0.0)
    far = np.maximum(out, 0.0)
    step = np.array([u.near[0].step for u in underlyings])[book.underlying]
    roundness = np.select(
        [
            book.strike % (20 * step) == 0,
            book.strike % (10 * step) == 0,
            book.strike % (2 * step) == 0,
        ],
        [2.5, 2.0, 1.0],
        0.35,
    )
    volume = np.exp(-((far / 2.2) ** 2) / 2 - 4.5 * deep) + 0.02 * np.exp(-0.7 * far - 9 * deep)
    interest = np.exp(-((far / 2.5) ** 2) / 2 - 1.8 * deep) + 0.05 * np.exp(-0.5 * far - 2 * deep)
    return roundness * (volume + 3e-7), roundness * (interest + 2e-5)


def trade(rng: np.random.Generator, book: Book, quotes: Quotes, expected: Floats) -> Tape:
    """Trade the session: Poisson lots, at prices round the quotes at random moments."""
    n = len(book)
    rate = expected * np.exp(0.35 * rng.standard_normal(n) - 0.06)
    volume = rng.poisson(rate).astype(np.int64)
    trades = np.minimum(np.ceil(volume**_TRADES_EXPONENT).astype(np.int64), volume)
    prices, active = _prints(rng, quotes.ticks[1:], trades)
    order = np.arange(n)
    first = active.argmax(axis=0)
    final = len(active) - 1 - active[::-1].argmax(axis=0)
    opened, last = prices[first, order], prices[final, order]
    close = np.where(trades >= _LIQUID_TRADES, quotes.ticks[-1], last)
    high = np.maximum(np.where(active, prices, 0).max(axis=0), close)
    low = np.minimum(np.where(active, prices, np.iinfo(np.int64).max).min(axis=0), close)
    weight = active * rng.gamma(2.0, size=active.shape)
    average = (weight * prices).sum(axis=0) / np.maximum(weight.sum(axis=0), 1e-300)
    premium = np.clip(np.rint(average * volume).astype(np.int64), low * volume, high * volume)
    traded = volume > 0
    zero = np.int64(0)
    return Tape(
        volume=volume,
        trades=trades,
        open=np.where(traded, opened, zero),
        high=np.where(traded, high, zero),
        low=np.where(traded, low, zero),
        close=np.where(traded, close, book.close),
        last=np.where(traded, last, book.last),
        premium=np.where(traded, premium, zero),
    )


def _prints(rng: np.random.Generator, ticks: Ints, trades: Ints) -> tuple[Ints, Bools]:
    """Prices at the moments within a spread of the quotes, and at which ones a trade was done."""
    m, n = ticks.shape
    active = rng.random((m, n)) < -np.expm1(-trades / m)
    idle = ~active.any(axis=0)
    chosen = rng.integers(0, m, size=(n,))
    active[chosen[idle], np.flatnonzero(idle)] = True
    active[-1] |= trades >= _LIQUID_TRADES
    active &= np.cumsum(active[::-1], axis=0)[::-1] <= np.maximum(trades, 1)
    spread = np.ceil(ticks * np.where(trades >= _LIQUID_TRADES, 0.0005, 0.002)).astype(np.int64)
    return np.maximum(ticks + spread * rng.integers(-1, 2, (m, n)), 1), active


def change_of_oi(
    rng: np.random.Generator, oi: Ints, volume: Ints, target: Floats, *, expiring: Bools
) -> Ints:
    """Lots by which open interest moves: towards its target, never by more than was traded.

    It builds faster than it melts; on expiry day a third of it is closed.
    """
    gap = np.where(expiring, -0.3 * oi, target - oi)
    drift = np.where(gap > 0, 0.45, np.where(expiring, 1.0, 0.06)) * gap
    noise = 0.05 * np.minimum(volume, oi + 10) * rng.standard_normal(len(oi))
    change = np.rint(drift + noise).astype(np.int64)
    return np.asarray(np.clip(change, -np.minimum(volume, oi), volume), dtype=np.int64)
