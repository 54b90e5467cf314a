"""Black (1976): prices of European options on a forward, and the volatility behind a price.

Belongs here: one model on numpy arrays, all arguments elementwise (scalars broadcast), prices
undiscounted rupees a unit, times in years, volatilities a fraction a year; which rows have no
volatility, and why. Does not belong here: where a forward or a discount comes from (`forward`),
frames and quotes (`optrade.chain.greeks`), the arithmetic (`normalised`).

Rows are solved by numpy or by the same formulas compiled (`kernel`), some ten times as fast,
once half a second is spent on importing numba. Both give the same bits. Only prices far beyond
any market (`_solve_above`) are left to numpy and scipy.

Sources: F. Black, "The pricing of commodity contracts", J. Financial Economics 3 (1976);
P. Jaeckel, "Let's be rational" (2015), for the normalised form, the out-of-the-money side and
the objectives ln(price) and ln(ceiling - price).
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import erfcx, ndtr, ndtri

from optrade.pricing import normalised
from optrade.pricing.normalised import ACCURACY, LEFT, MOST_STEPS, REACH, SETTLED, Array, Flags

Rows = npt.NDArray[np.intp]

COMPILED_FROM: Final = 500_000
"""Rows from which the compiled loop is imported; once it is, it takes all."""
_KERNEL: Final = "optrade.pricing.kernel"
_CHUNK: Final = 8192  # rows that stay in a core's cache
_MOST_STEPS_ABOVE: Final = 40
_ROOT_HALF: Final = float(np.sqrt(0.5))
_ROOT_2_OVER_PI: Final = float(np.sqrt(2 / np.pi))
_ROOT_2_PI: Final = float(np.sqrt(2 * np.pi))

REASONS: Final = (
    "expired",
    "no_trade",
    "no_forward",
    "below_intrinsic",
    "above_max",
    "out_of_domain",
)
"""Why there is no volatility: the first that holds; see `reasons`."""


class Greeks(NamedTuple):
    """Derivatives of V = discount_factor x undiscounted price; see `greeks`."""

    delta: Array
    gamma: Array
    vega: Array
    theta: Array
    rho: Array


def price(
    forward: npt.ArrayLike,
    strike: npt.ArrayLike,
    years: npt.ArrayLike,
    volatility: npt.ArrayLike,
    is_call: npt.ArrayLike,
) -> Array:
    """The undiscounted price: intrinsic value plus time value.

    Arguments broadcast against each other. NaN where forward or strike is not positive or
    years or volatility is negative. Time values far below one unit in the last place of the
    intrinsic value are kept on the out-of-the-money side, down to about 1e-300.

    >>> round(float(price(20, 20, 4 / 12, 0.25, False)), 4)
    1.1506
    """
    f, k, t, v = _floats(forward, strike, years, volatility)
    with np.errstate(all="ignore"):
        total = v * np.sqrt(t)
        value = _intrinsic(f, k, np.asarray(is_call, bool)) + _time_value(f, k, total)
        return np.where((f > 0) & (k > 0) & (t >= 0) & (v >= 0), value, np.nan)


def implied_volatility(
    price: npt.ArrayLike,
    forward: npt.ArrayLike,
    strike: npt.ArrayLike,
    years: npt.ArrayLike,
    is_call: npt.ArrayLike,
    *,
    compiled: bool | None = None,
) -> Array:
    """The volatility at which `price()` gives this undiscounted price.

    Solved on the out-of-the-money side: a price in the money is first turned by put-call
    parity into its out-of-the-money twin (its time value). A quote of a market comes out to
    some units in the last place, as far as its price tells. `compiled` says whether by numba;
    by default that depends on the number of rows.

    NaN where there is no answer or a double cannot hold the price finely enough to give the
    volatility to `ACCURACY`: a quote deep in the money whose time value is rounding noise, a
    total volatility above about 11, a strike more than e^5 times away from the forward.
    `reasons` says which.
    """
    (*quotes, call), shape = _columns((price, forward, strike, years), is_call)
    volatility, none = np.empty(call.size), np.empty(0)
    if loop := _loop(call.size, compiled):
        loop((*quotes, none), call, (volatility, *[none] * 5))
    else:
        (volatility,) = _in_chunks(_solve, 1, (*quotes, call))
    _solve_left(volatility, (*quotes, call))
    return volatility.reshape(shape)


def implied_volatility_and_greeks(
    price: npt.ArrayLike,
    forward: npt.ArrayLike,
    strike: npt.ArrayLike,
    years: npt.ArrayLike,
    is_call: npt.ArrayLike,
    discount_factor: npt.ArrayLike = 1.0,
    *,
    compiled: bool | None = None,
) -> tuple[Array, Greeks]:
    """`implied_volatility` and the `greeks` at it, for little more than the volatility alone.

    The price is undiscounted here too. The greeks are NaN where the volatility is, or where the
    discount factor is not positive.
    """
    (*quotes, d, call), shape = _columns((price, forward, strike, years, discount_factor), is_call)
    p, f, k, t = quotes
    found = np.empty((6, call.size))
    volatility, derivatives = found[0], found[1:]
    rows: slice | Rows = slice(None)
    if loop := _loop(call.size, compiled):
        loop((p, f, k, t, d), call, tuple(found))
        rows = _solve_left(volatility, (p, f, k, t, call))
    else:
        volatility[:] = implied_volatility(p, f, k, t, call, compiled=False)
    columns = (p, f, k, t, volatility, d, call)
    derivatives[:, rows] = _in_chunks(_derivatives, 5, [column[rows] for column in columns])
    return volatility.reshape(shape), Greeks(*(part.reshape(shape) for part in derivatives))


def greeks(
    forward: npt.ArrayLike,
    strike: npt.ArrayLike,
    years: npt.ArrayLike,
    volatility: npt.ArrayLike,
    is_call: npt.ArrayLike,
    discount_factor: npt.ArrayLike = 1.0,
) -> Greeks:
    """Derivatives of the discounted price V = D B(F, K, T, vol), D = exp(-r T).

    - delta: dV/dF, rupees per rupee of forward, D and the rest held
    - gamma: d2V/dF2, per rupee of forward
    - vega: dV/dvol, rupees per 1.00 of volatility
    - theta: -(dV/dT) / 365 with F, vol and r held: rupees per calendar day that passes
    - rho: dV/dr with F and vol held, that is -T V: rupees per 1.00 of rate

    r is -ln(D)/T. NaN where forward, strike, years or volatility is not positive.
    """
    numbers = (forward, strike, years, volatility, discount_factor)
    columns, shape = _columns(numbers, is_call)
    found = _in_chunks(_greeks, 5, columns)
    return Greeks(*(part.reshape(shape) for part in found))


def reasons(
    price: npt.ArrayLike,
    forward: npt.ArrayLike,
    strike: npt.ArrayLike,
    years: npt.ArrayLike,
    is_call: npt.ArrayLike,
    volatility: npt.ArrayLike,
) -> npt.NDArray[np.object_]:
    """Why `implied_volatility` gave NaN; None where it did not.

    The first of `REASONS` that holds: no time left; the price, the forward unknown (NaN); the
    price not above intrinsic value, or not below the forward (a call) or strike (a put);
    anything else that `implied_volatility` refuses.
    """
    columns, shape = _columns((price, forward, strike, years, volatility), is_call)
    rows = np.flatnonzero(np.isnan(columns[4]))
    p, f, k, t, _, call = (column[rows] for column in columns)
    holds = (
        t <= 0,
        np.isnan(p),
        np.isnan(f),
        p <= _intrinsic(f, k, call),
        p >= np.where(call, f, k),
    )
    found = np.full(columns[0].size, None, dtype=object)
    found[rows] = np.select(holds, REASONS[:-1], REASONS[-1])
    return found.reshape(shape)


def _columns(
    numbers: Sequence[npt.ArrayLike], is_call: npt.ArrayLike
) -> tuple[list[Any], tuple[int, ...]]:
    """Doubles and flags, broadcast, flat and contiguous; and the shape of the result."""
    broad = np.broadcast_arrays(*_floats(*numbers), np.asarray(is_call, bool))
    return [np.ascontiguousarray(values).reshape(-1) for values in broad], broad[0].shape


def _floats(*values: npt.ArrayLike) -> list[Array]:
    return [np.asarray(value, np.float64) for value in values]


def _in_chunks(rows: Callable[..., Sequence[Array]], count: int, columns: Sequence[Any]) -> Array:
    """What a function of rows gives, piece by piece; `count` rows of results."""
    found = np.empty((count, columns[0].size))
    with np.errstate(all="ignore"):
        for start in range(0, columns[0].size, _CHUNK):
            part = slice(start, start + _CHUNK)
            for target, values in zip(found, rows(*(c[part] for c in columns)), strict=True):
                target[part] = values
    return found


def _loop(rows: int, compiled: bool | None) -> Callable[..., None] | None:
    """The compiled loop, if that is wanted, or else quicker."""
    loaded = getattr(sys.modules.get(_KERNEL), "solve", None)
    if compiled is False or (compiled is None and loaded is None and rows < COMPILED_FROM):
        return None
    found: Callable[..., None] = loaded or importlib.import_module(_KERNEL).solve
    return found


def _signed(call: Flags) -> Array:
    return np.where(call, 1.0, -1.0)


def _intrinsic(forward: Array, strike: Array, call: Flags) -> Array:
    return np.maximum(np.where(call, forward - strike, strike - forward), 0.0)


def _distance(forward: Array, strike: Array) -> Array:
    upper, lower = np.maximum(forward, strike), np.minimum(forward, strike)
    return np.asarray(normalised.log_ratio(upper, lower))


def _time_value(forward: Array, strike: Array, total: Array) -> Array:
    """The out-of-the-money price at a total volatility (vol x sqrt(years))."""
    h, t = _distance(forward, strike) / total, total / 2
    root = np.sqrt(forward) * np.sqrt(strike)
    fall = normalised.erfcx_fall((h - t) * _ROOT_HALF, (h + t) * _ROOT_HALF)
    small = root * np.exp(-0.5 * (h * h + t * t)) * fall * total * 0.125**0.5
    lower, upper = np.minimum(forward, strike), np.maximum(forward, strike)
    large = lower * ndtr(t - h) - upper * ndtr(-h - t)
    return np.where(total > 0, np.where(t - h > REACH, large, small), 0.0)


def _greeks(f: Array, k: Array, years: Array, v: Array, d: Array, call: Flags) -> Sequence[Array]:
    p = _intrinsic(f, k, call) + _time_value(f, k, v * np.sqrt(years))
    return _derivatives(p, f, k, years, v, d, call)


def _derivatives(
    p: Array, f: Array, k: Array, years: Array, v: Array, d: Array, call: Flags
) -> Sequence[Array]:
    good = (f > 0) & (k > 0) & (years > 0) & (v > 0) & (d > 0)
    v, value = np.where(good, v, np.nan), np.where(good, d * p, np.nan)
    x, sign = _distance(f, k), _signed(call)
    delta, *others = normalised.derivatives(f, k, years, sign, d, value, v, x, np.sqrt(f * k))
    total = v * np.sqrt(years)
    h, t = x / total, total / 2
    high = (f < k) & (t - h > REACH + 0.01)  # what `kernel` has solved is below it
    return [np.where(high, d * sign * ndtr(sign * (t - h)), delta), *others]


def _solve(p: Array, f: Array, k: Array, years: Array, call: Flags) -> Sequence[Array]:
    """What the loops of `normalised` give."""
    distance, inverse, total, root = normalised.prepare(p, f, k, years, _signed(call))
    total, far, fall = normalised.step(total, distance, inverse)
    for _ in range(MOST_STEPS):
        rows = np.flatnonzero(far > SETTLED)
        if not rows.size:
            break
        further = normalised.step(total[rows], distance[rows], inverse[rows])
        total[rows], far[rows], fall[rows] = further
    return [normalised.settle(total, far, fall, distance, inverse, p, root, years)]


def _solve_left(volatility: Array, columns: Sequence[Any]) -> Rows:
    """Solve the rows that are `LEFT`, and say which they were."""
    rows = np.flatnonzero(volatility == LEFT)
    if rows.size:
        (volatility[rows],) = _in_chunks(_solve_above, 1, [column[rows] for column in columns])
    return rows


def _solve_above(p: Array, f: Array, k: Array, years: Array, call: Flags) -> Sequence[Array]:
    """Step on ln(ceiling - b) until settled: prices in the upper half of their range.

    It starts where the ceiling's share of the price alone would put the total volatility.
    """
    x, inverse, _, root = normalised.prepare(p, f, k, years, _signed(call))
    lack = np.minimum(f, k) / root - 1 / inverse
    goal = np.log(lack)
    total = -2 * ndtri(lack / (2 * np.cosh(x / 2)))
    found = np.full(p.size, np.nan)
    rows = np.arange(p.size)
    for _ in range(_MOST_STEPS_ABOVE):
        total[rows], far = _step_above(total[rows], x[rows], goal[rows])
        found[rows[far <= SETTLED]] = total[rows[far <= SETTLED]]
        rows = rows[far > SETTLED]
        if not rows.size:
            break
    h, t = x / found, found / 2
    slope = root * np.exp(-0.5 * (h * h + t * t)) / _ROOT_2_PI * found
    held = 2 * np.finfo(np.float64).eps * p <= ACCURACY * slope
    return [np.where(held, found / np.sqrt(years), np.nan)]


def _step_above(total: Array, distance: Array, goal: Array) -> tuple[Array, Array]:
    """One Householder step as `normalised.step`, on ln(ceiling - b)."""
    h, t = distance / total, 0.5 * total
    rest = erfcx((t - h) * _ROOT_HALF) + erfcx((t + h) * _ROOT_HALF)
    miss = np.log(0.5 * rest) - 0.5 * (h * h + t * t) - goal
    newton = miss * rest / (_ROOT_2_OVER_PI * total)
    move, far = normalised.householder(miss, newton, h * h, t * t)
    return total + total * move, far
