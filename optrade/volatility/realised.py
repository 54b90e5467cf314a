"""Realised volatility from daily bars.

Belongs here: estimators over one series of sessions. Does not belong here: what was implied.

A series has one entry for each session of the calendar, NaN where it is not held. A window with
anything unknown in it has no volatility: returns are never taken across a gap.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import nan, sqrt
from typing import Final

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

SESSIONS_A_YEAR: Final = 252
"""What a session's variance is multiplied by."""


@dataclass(frozen=True)
class Bars:
    """Log prices of an index by session: at the open, highest, lowest and at the close."""

    open: Array
    high: Array
    low: Array
    close: Array


def close_to_close(bars: Bars, first: int, last: int) -> float:
    """Volatility a year of the returns from the close of `first` to that of `last`.

    The root of the mean squared log return, without taking off the mean, as variance swaps are
    settled. NaN for an unknown close or an empty span.
    """
    if not 0 <= first < last:
        return nan
    returns = np.diff(bars.close[first : last + 1])
    return sqrt(float(np.mean(returns * returns)) * SESSIONS_A_YEAR)


def yang_zhang(bars: Bars, first: int, last: int) -> float:
    """Volatility a year over the sessions after `first` up to `last`; NaN where a price is unknown.

    Yang and Zhang, *Journal of Business* 73 (2000): the variance of the overnight moves, plus k
    times that of open to close, plus 1 - k times Rogers and Satchell's; unbiased whatever the
    drift and the gap at the open. k = 0.34 / (1.34 + (n + 1) / (n - 1)).
    """
    n = last - first
    if first < 0 or n < 2:
        return nan
    span = slice(first + 1, last + 1)
    opened = bars.open[span]
    high, low, close = (prices[span] - opened for prices in (bars.high, bars.low, bars.close))
    overnight = opened - bars.close[first:last]
    k = 0.34 / (1.34 + (n + 1) / (n - 1))
    rogers_satchell = float(np.mean(high * (high - close) + low * (low - close)))
    total = _variance(overnight) + k * _variance(close) + (1 - k) * rogers_satchell
    return sqrt(total * SESSIONS_A_YEAR)


def _variance(moves: Array) -> float:
    return float(np.var(moves, ddof=1))


def unbroken(bars: Bars, last: int, most: int) -> int:
    """Returns known without a gap up to the close of `last`, at most `most` of them."""
    known = 0
    while known < most and known < last and np.isfinite(bars.close[last - known - 1]):
        known += 1
    return known if np.isfinite(bars.close[last]) else 0
