"""What is read off a smile: the volatility at the forward and at 25 delta.

Belongs here: solving for the strike of a delta on any smile, and interpolation between expiries.
Does not belong here: frames (`frames`), extrapolation, which nothing here does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from scipy.special import ndtri

from optrade.surface.svi import Array, Slices, total_variance

DELTA: Final = 0.25
"""The forward delta (undiscounted, N(d1) of a call) of the two points beside the money."""
_HALVINGS: Final = 60

Smile = Callable[[Array], Array]
"""Total variance of each of some smiles at one log-moneyness each: shape (n,) to (n,)."""


def of_slices(of: Slices) -> Smile:
    """The smiles of slices."""
    return lambda k: total_variance(of, k[:, None])[:, 0]


def between(near: Slices, far: Slices, share: Array) -> Smile:
    """Smiles `share` of the way from `near` to `far`, linear in total variance at fixed k."""
    first, second = of_slices(near), of_slices(far)

    def smile(k: Array) -> Array:
        start = first(k)
        return start + share * (second(k) - start)

    return smile


def read(smile: Smile, years: Array, low: Array, high: Array) -> dict[str, Array]:
    """The points of smiles that are known from `low` to `high`, arrays by column name.

    Volatilities are fractions a year, `years` the time to each smile's expiry. NaN where a point
    lies outside the known range, or where total variance is not positive.
    """
    inside = (low <= 0) & (high >= 0)
    put, call = (
        np.where(inside, at_delta(smile, distance, end), np.nan)
        for distance, end in ((-ndtri(DELTA), low), (ndtri(DELTA), high))
    )
    atm_iv, put_iv, call_iv = (
        _volatility(smile, k, years) for k in (np.where(inside, 0.0, np.nan), put, call)
    )
    return {
        "atm_iv": atm_iv,
        "put_25_iv": put_iv,
        "call_25_iv": call_iv,
        "put_25_log_moneyness": put,
        "call_25_log_moneyness": call,
        "risk_reversal_25": call_iv - put_iv,
        "butterfly_25": (call_iv + put_iv) / 2 - atm_iv,
    }


def _volatility(smile: Smile, k: Array, years: Array) -> Array:
    w = smile(k)
    return np.sqrt(np.where(w > 0, w, np.nan) / years)


def at_delta(smile: Smile, distance: float, end: Array) -> Array:
    """Log-moneyness between the forward and `end` where d1 is `distance`, on each smile.

    d1 = -k / sqrt(w) + sqrt(w) / 2 falls in k on a slice without arbitrage, so there is one such
    point at most; by halving. NaN where there is none up to `end`.
    """

    def excess(k: Array) -> Array:
        w = smile(k)
        total = np.sqrt(np.where(w > 0, w, np.nan))
        return np.asarray(-k / total + total / 2 - distance)

    inner, outer = np.zeros_like(end), end.copy()
    at_inner = excess(inner)
    found = at_inner * excess(outer) <= 0
    for _ in range(_HALVINGS):
        middle = (inner + outer) / 2
        within = at_inner * excess(middle) > 0
        inner, outer = np.where(within, middle, inner), np.where(within, outer, middle)
    return np.where(found, (inner + outer) / 2, np.nan)
