"""The volatility index formula: a strip of option prices, its variance, and 30 days.

Belongs here: what follows from the prices of one or two expiries. Does not belong here: which
expiries and quotes those are (`vix_replica`).

Sources: Cboe, *VIX* white paper (2003), and NSE, *India VIX* white paper, which takes the month's
future as the forward and fills strikes without an adequate quote by a natural cubic spline.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.interpolate import CubicSpline

Array = npt.NDArray[np.float64]

MINUTES_A_YEAR: Final = 365 * 24 * 60
MINUTES_OF_INDEX: Final = 30 * 24 * 60
ENOUGH_STRIKES: Final = 3
"""On either side of the money."""


@dataclass(frozen=True)
class Strip:
    """Out-of-the-money prices of one expiry, by rising strike, in rupees a unit.

    At `atm_strike`, the highest one at or below the forward, the price is the mean of call and
    put. `splined` says how many prices came from the spline.
    """

    strikes: Array
    prices: Array
    atm_strike: float
    splined: int


def strip(strikes: Array, calls: Array, puts: Array, forward: float) -> Strip | None:
    """The strip of one expiry; None where it has too few adequate quotes.

    `strikes` are all listed ones, rising; `calls` and `puts` their prices, NaN where there is no
    adequate quote. From the money out to the last adequate quote of each side every listed strike
    is used; between adequate quotes a natural cubic spline gives the price.
    """
    money = int(np.searchsorted(strikes, forward, side="right")) - 1
    call, put = _filled(strikes, calls), _filled(strikes, puts)
    if money < 0 or not np.isfinite(call[money] + put[money]):
        return None
    prices = np.concatenate([put[:money], [(call[money] + put[money]) / 2], call[money + 1 :]])
    quoted = np.concatenate([puts[:money], [calls[money] + puts[money]], calls[money + 1 :]])
    used = np.isfinite(prices)
    if min(used[:money].sum(), used[money + 1 :].sum()) < ENOUGH_STRIKES:
        return None
    return Strip(
        strikes=strikes[used],
        prices=prices[used],
        atm_strike=float(strikes[money]),
        splined=int((used & ~np.isfinite(quoted)).sum()),
    )


def _filled(strikes: Array, prices: Array) -> Array:
    """Prices of one option type, gaps between its quotes filled; what is below zero counts as 0."""
    known = np.isfinite(prices)
    if known.sum() < ENOUGH_STRIKES:
        return np.full_like(prices, np.nan)
    spline = CubicSpline(strikes[known], prices[known], bc_type="natural", extrapolate=False)
    return np.where(known, prices, np.maximum(spline(strikes), 0.0))


def variance(quotes: Strip, forward: float, years: float, rate: float) -> float:
    """Variance a year to one expiry.

    2/T sum(dK / K^2 e^(RT) Q(K)) - (F/K0 - 1)^2 / T, with dK half the distance between the
    neighbours of a strike, at the ends the distance to the only one.
    """
    strikes, prices = quotes.strikes, quotes.prices
    steps = np.diff(strikes)
    widths = (np.append(steps, steps[-1]) + np.insert(steps, 0, steps[0])) / 2
    total = float(np.sum(widths / strikes**2 * prices)) * np.exp(rate * years)
    return float((2 * total - (forward / quotes.atm_strike - 1) ** 2) / years)


def near_weight(near_minutes: float, next_minutes: float) -> float:
    """The near expiry's weight when total variance is taken to 30 days along a line."""
    return (next_minutes - MINUTES_OF_INDEX) / (next_minutes - near_minutes)


def index_points(
    near_variance: float, near_minutes: float, next_variance: float, next_minutes: float
) -> float:
    """The index, in points, from the variances a year to two expiries; NaN if there is none."""
    weight = near_weight(near_minutes, next_minutes)
    total = weight * near_variance * near_minutes + (1 - weight) * next_variance * next_minutes
    return 100.0 * float(np.sqrt(total / MINUTES_OF_INDEX)) if total > 0 else float("nan")
