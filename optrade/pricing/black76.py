"""Black (1976): prices of European options on a forward, and the volatility behind a price.

Belongs here: one model on numpy arrays, all arguments elementwise (scalars broadcast), prices
undiscounted rupees a unit, times in years, volatilities a fraction a year. Does not belong
here: where a forward or a discount comes from (`forward`), frames, quotes and reason codes
(`optrade.chain.greeks`).

Sources: F. Black, "The pricing of commodity contracts", J. Financial Economics 3 (1976);
P. Jaeckel, "Let's be rational" (2015) and "Implied normal volatility" (2017) for the normalised
form, the out-of-the-money side and the objectives ln(price) and ln(ceiling - price).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
from numpy.polynomial import Chebyshev, Polynomial
from scipy.special import erfcx, ndtr, ndtri

Array = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

ACCURACY: Final = 1e-9
"""Relative accuracy of every implied volatility that is not NaN."""
_SMALLEST_TOTAL_VOL: Final = 1e-5
_LARGEST_DISTANCE: Final = 5.0  # of ln(F/K), either way
_CHUNK: Final = 8192  # rows that stay in a core's cache
_MOST_STEPS: Final = 40
_ROOT_HALF: Final = float(np.sqrt(0.5))
_ROOT_2_OVER_PI: Final = float(np.sqrt(2 / np.pi))
_ROOT_2_PI: Final = float(np.sqrt(2 * np.pi))


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
) -> Array:
    """The volatility at which `price()` gives this undiscounted price.

    Solved on the out-of-the-money side: a price in the money is first turned by put-call
    parity into its out-of-the-money twin (its time value). Seeded by the normal model, then
    two fourth-order Householder steps on ln(time value); the few that have not settled, or lie
    in the upper half of the range, go on alone.

    NaN where there is no answer (not positive time value, at or above the forward for a call
    or the strike for a put, no time left, not finite), and where a double cannot hold the
    price finely enough to give the volatility to `ACCURACY`: a quote deep in the money whose
    time value is rounding noise, a total volatility under 1e-5 or above about 11, a strike
    more than e^5 times away from the forward.
    """
    return _in_chunks(_solve, 1, _floats(price, forward, strike, years), is_call)[0]


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
    numbers = _floats(forward, strike, years, volatility, discount_factor)
    return Greeks(*_in_chunks(_derivatives, 5, numbers, is_call))


def _derivatives(f: Array, k: Array, t: Array, v: Array, d: Array, call: Flags) -> list[Array]:
    root = np.sqrt(t)
    total = v * root
    d1 = _signed_log(f, k) / total + total / 2
    bell = d * f * np.exp(-0.5 * d1 * d1) / _ROOT_2_PI  # D F phi(d1)
    sign = np.where(call, 1.0, -1.0)
    value = d * (_intrinsic(f, k, call) + _time_value(f, k, total))
    good = (f > 0) & (k > 0) & (t > 0) & (v > 0) & (d > 0)
    results = (
        d * sign * ndtr(sign * d1),
        bell / (f * f * total),
        bell * root,
        (-np.log(d) / t * value - bell * v / (2 * root)) / 365,
        -t * value,
    )
    return [np.where(good, result, np.nan) for result in results]


def _in_chunks(
    rows: Callable[..., Sequence[Array]],
    count: int,
    numbers: Sequence[Array],
    is_call: npt.ArrayLike,
) -> list[Array]:
    """Broadcast, then work through pieces that stay in the cache; `count` results."""
    *broad, call = np.broadcast_arrays(*numbers, np.asarray(is_call, bool))
    results = [np.empty(call.shape) for _ in range(count)]
    flat, out = [np.ravel(a) for a in (*broad, call)], [a.reshape(-1) for a in results]
    with np.errstate(all="ignore"):
        for start in range(0, call.size, _CHUNK):
            part = slice(start, start + _CHUNK)
            for target, values in zip(out, rows(*(a[part] for a in flat)), strict=True):
                target[part] = values
    return results


def _floats(*values: npt.ArrayLike) -> list[Array]:
    return [np.asarray(value, np.float64) for value in values]


def _signed_log(forward: Array, strike: Array) -> Array:
    """ln(F/K), without losing digits near the money."""
    lower = np.minimum(forward, strike)
    gap = np.log1p(np.abs(forward - strike) / lower)
    return np.copysign(gap, forward - strike)


def _intrinsic(forward: Array, strike: Array, call: Flags) -> Array:
    return np.maximum(np.where(call, forward - strike, strike - forward), 0.0)


def _time_value(forward: Array, strike: Array, total: Array) -> Array:
    """The out-of-the-money price at a total volatility (vol x sqrt(years))."""
    distance = np.abs(_signed_log(forward, strike))
    h, t = distance / total, total / 2
    scaled = erfcx((h - t) * _ROOT_HALF) - erfcx((h + t) * _ROOT_HALF)
    small = 0.5 * np.sqrt(forward) * np.sqrt(strike) * np.exp(-0.5 * (h * h + t * t)) * scaled
    lower, upper = np.minimum(forward, strike), np.maximum(forward, strike)
    large = lower * ndtr(t - h) - upper * ndtr(-h - t)
    return np.where(total > 0, np.where(t - h > 5, large, small), 0.0)


def _solve(p: Array, f: Array, k: Array, years: Array, call: Flags) -> list[Array]:
    root = np.sqrt(f) * np.sqrt(k)
    lower = np.minimum(f, k)
    value = (p - _intrinsic(f, k, call)) / root
    ceiling = lower / root
    distance = np.log1p(np.abs(f - k) / lower)
    valid = (value > 1e-300) & (value < ceiling) & (years > 0) & (lower > 0)
    valid &= (distance <= _LARGEST_DISTANCE) & np.isfinite(years)
    value, ceiling = np.where(valid, value, 0.1), np.where(valid, ceiling, 1.0)
    distance = np.where(valid, distance, 0.0)
    width = np.where(valid, np.abs(f - k) / root, 0.0)

    total = _seed(value, distance, width)
    goal = np.log(value)
    _step(total, distance, goal, upper=False)
    settled = _step(total, distance, goal, upper=False)
    high = value > 0.5 * ceiling
    rest = np.flatnonzero((~settled | high) & valid)
    if rest.size:
        total[rest] = _solve_rest(value[rest], ceiling[rest], distance[rest], total[rest])

    h, t = distance / total, total / 2
    slope = root * np.exp(-0.5 * (h * h + t * t)) / _ROOT_2_PI * total
    held = 2 * np.finfo(np.float64).eps * p <= ACCURACY * slope
    known = valid & held & (total >= _SMALLEST_TOTAL_VOL)
    return [np.where(known, total / np.sqrt(years), np.nan)]


def _solve_rest(value: Array, ceiling: Array, distance: Array, start: Array) -> Array:
    """The slow rows: each half of the price range with its own objective, until settled."""
    result = np.full(value.size, np.nan)
    high = value > 0.5 * ceiling
    for upper in (False, True):
        rows = np.flatnonzero(high == upper)
        x = distance[rows]
        if upper:
            left = ceiling[rows] - value[rows]
            goal = np.log(left)
            total = -2 * ndtri(left / (2 * np.cosh(x / 2)))
        else:
            goal, total = np.log(value[rows]), start[rows].copy()
        for _ in range(_MOST_STEPS):
            if not rows.size:
                break
            settled = _step(total, x, goal, upper=upper)
            result[rows[settled]] = total[settled]
            going = ~settled
            rows, x, goal, total = rows[going], x[going], goal[going], total[going]
    return result


def _step(total: Array, distance: Array, goal: Array, *, upper: bool) -> Flags:
    """One Householder step of fourth order on ln(value) (or ln(ceiling - value)), in place.

    True where the step was so short that the next one would be below double precision.
    """
    h, t = distance / total, 0.5 * total
    far = erfcx((h + t) * _ROOT_HALF)
    near = erfcx((t - h if upper else h - t) * _ROOT_HALF)
    scaled = -(near + far) if upper else near - far
    miss = np.log(0.5 * np.abs(scaled)) - 0.5 * (h * h + t * t) - goal
    slope = _ROOT_2_OVER_PI / scaled
    pull = h * h / total
    second = pull - 0.25 * total - slope
    third = second * (second - slope) - 3 * pull / total - 0.25
    newton = -miss / slope
    move = newton * (1 + 0.5 * second * newton)
    move /= 1 + second * newton + third * newton * newton * (1 / 6)
    np.clip(move, -0.5 * total, total, out=move)
    total += move
    return np.asarray(np.abs(move) <= 1e-5 * total)


def _seed(value: Array, distance: Array, width: Array) -> Array:
    """Total volatility from the normal model: within 0.3 % while it is below 0.5.

    `distance` is |ln(F/K)|, `width` is |F - K| and `value` the time value, both over sqrt(FK);
    the normal model's total volatility times distance / width is Black's to leading order.
    """
    w = np.sqrt(np.log1p(width / value))
    u = (w - _SEED_SCALE) / (w + _SEED_SCALE)
    shape = np.full_like(u, _SEED_COEFFICIENTS[-1])
    for coefficient in _SEED_COEFFICIENTS[-2::-1]:
        shape *= u
        shape += coefficient
    normal = (width + value) * shape / (w + _SEED_SCALE)
    ratio = np.where(width > 0, distance / width, 1.0)
    return np.asarray(normal * ratio * (1 + normal * normal / 24))


def _fit_seed(points: int = 4000, degree: int = 11) -> list[float]:
    """Fit the inverse of the normal (Bachelier) model by one polynomial.

    With d = distance over normal total volatility and r = phi(d)/d - Phi(-d) the price over
    the distance, 1/((1 + r) d) is smooth in w = sqrt(ln(1 + 1/r)); fitted is that times
    (w + c), in u = (w - c)/(w + c), which keeps the limits at both ends.
    """
    d = np.geomspace(1e-9, 37.0, points)
    r = np.exp(-0.5 * d * d) * (1 / (d * _ROOT_2_PI) - 0.5 * erfcx(d * _ROOT_HALF))
    w = np.sqrt(np.log1p(1 / r))
    shape = (w + _SEED_SCALE) / ((1 + r) * d)
    u = (w - _SEED_SCALE) / (w + _SEED_SCALE)
    fit = Chebyshev.fit(u, shape, degree, w=1 / shape)
    return [float(c) for c in fit.convert(kind=Polynomial).coef]


_SEED_SCALE: Final = 1.5
_SEED_COEFFICIENTS: Final = _fit_seed()
