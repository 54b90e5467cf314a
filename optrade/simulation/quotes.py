"""Theoretical prices of every live contract through one session.

Belongs here: the grid of moments and the prices on it. Does not belong here: who trades.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np

from optrade.simulation.book import CALL, FUTURE, Book, Dates
from optrade.simulation.parameters import (
    BARS,
    DIVIDEND_YIELD,
    OVERNIGHT_SHARE,
    RATE,
    SESSIONS_PER_YEAR,
    TICKS_PER_RUPEE,
    Underlying,
    Variance,
)
from optrade.simulation.paths import Floats, Ints
from optrade.simulation.smile import atm_total_variance, black, total_variance

MOMENTS = np.concatenate([[0], np.arange(1, BARS + 2, 3)])
"""Of a path: yesterday's close, the open, and every quarter of an hour to the close."""
_LEFT_OF_DAY = np.concatenate([[1.0], 1.0 - np.arange(0, BARS + 1, 3) / BARS])
_SESSIONS_LEFT = np.where(np.arange(len(MOMENTS)) == 0, 1.0, (1.0 - OVERNIGHT_SHARE) * _LEFT_OF_DAY)
_SESSION_DAYS = 6.25 / 24
_CALENDAR_DAYS_LEFT = np.where(np.arange(len(MOMENTS)) == 0, 1.0, _SESSION_DAYS * _LEFT_OF_DAY)
_DAYS_PER_YEAR = 365.0


@dataclass(frozen=True, slots=True)
class Quotes:
    """Prices at the `MOMENTS`: `ticks` (m, n) at least 1; `deviation` (n,) at the open.

    `deviation` is the square root of the total variance to expiry, the ruler of moneyness.
    `forward` (n,) is the close's.
    """

    ticks: Ints
    deviation: Floats
    forward: Floats


def sessions_to(day: date, expiry: Dates) -> Ints:
    """Count the weekdays after `day` up to each expiry: 0 on expiry day, at least 1 before it.

    Holidays count, as nobody's calendar is asked; a session at a weekend does not.
    """
    today, one = np.datetime64(day, "D"), np.timedelta64(1, "D")
    weekdays = np.busday_count(today + one, expiry + one)
    return np.asarray(np.maximum(weekdays, expiry > today), dtype=np.int64)


def years_left(day: date, expiry: Dates) -> tuple[Floats, Floats]:
    """Years to expiry at the moments: by sessions, and by the calendar; shape (m, n)."""
    days = np.asarray((expiry - np.datetime64(day, "D")).astype(np.float64))
    by_session = (_SESSIONS_LEFT[:, None] + sessions_to(day, expiry)) / SESSIONS_PER_YEAR
    return by_session, (_CALENDAR_DAYS_LEFT[:, None] + days) / _DAYS_PER_YEAR


def price(
    day: date,
    book: Book,
    underlyings: Sequence[Underlying],
    spots: Floats,
    variance: Floats,
    model: Variance,
) -> Quotes:
    """Quote the book at the moments: `spots` (m, underlyings), market `variance` (m,)."""
    by_session, by_calendar = years_left(day, book.expiry)
    forward = spots[:, book.underlying] * np.exp((RATE - DIVIDEND_YIELD) * by_calendar)
    value = forward.copy()
    deviation = np.ones(len(book))
    for position, underlying in enumerate(underlyings):
        mine = np.flatnonzero(book.underlying == position)
        theta = atm_total_variance(
            variance[:, None], by_session[:, mine], model, underlying.asset.variance_ratio
        )
        deviation[mine] = np.sqrt(theta[1])
        options = book.kind[mine] != FUTURE
        mine, theta = mine[options], theta[:, options]
        strike = book.strike[mine].astype(np.float64)
        total = total_variance(np.log(strike / forward[:, mine]), theta, underlying.smile)
        undiscounted = black(forward[:, mine], strike, total, book.kind[mine] == CALL)
        value[:, mine] = undiscounted * np.exp(-RATE * by_calendar[:, mine])
    ticks = np.maximum(np.rint(value * TICKS_PER_RUPEE), 1).astype(np.int64)
    return Quotes(ticks, deviation, forward[-1])
