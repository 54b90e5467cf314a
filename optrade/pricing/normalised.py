"""Black's formula normalised by sqrt(FK): the arithmetic behind `black76`, written once.

Belongs here: formulas that numpy runs on arrays and `kernel` compiles row by row, their
coefficients, and the loops around them that only `kernel` runs. Both give the same bits: every
operation is rounded correctly, and none is fused or reordered. Does not belong here: shapes,
refusals and reasons (`black76`), how to compile (`kernel`).

With the distance x = |ln(F/K)|, total volatility s = vol sqrt(years), h = x/s and t = s/2, the
time value over sqrt(FK) is b = exp(-(h^2 + t^2)/2) D/2, D = erfcx((h-t)/sqrt 2) -
erfcx((h+t)/sqrt 2). What makes it quick and exact:

- D/s is a divided difference of one polynomial: nothing cancels, however small s is.
- The seed is within 3e-5 for a quote of a market. The normal model's volatility is a function
  of time value / |F-K| alone; Black's at the money is a function of the normal one alone; what
  a distance changes is, to leading order, x^2 times one more such function.
- From there one Householder step of fourth order on ln(b) is exact, without a branch. Rows that
  were further off are gathered, and step on alone.

Sources: P. Jaeckel, "Let's be rational" (2015), for the normalised form and the objective;
A. S. Householder, The Numerical Treatment of a Single Nonlinear Equation (1970), for the step.
The coefficients are printed by `benchmarks/pricing_coefficients.py`.
"""

from __future__ import annotations

from math import factorial
from typing import Any, Final

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Number = Any
"""An array of doubles under numpy, one double when compiled."""

ACCURACY: Final = 1e-9
"""Relative accuracy that the price itself must allow, else there is no volatility."""
FARTHEST: Final = float(np.exp(5.0))
"""Strike over forward, or the other way round, at most."""
REACH: Final = 1.96
"""The formulas hold for t - h below it: up to a total volatility of 3.9 at the money."""
SETTLED: Final = 3e-4
"""A step that found the price so close leaves less than 1e-15 of the volatility."""
LEFT: Final = -1.0
"""Instead of a volatility, for a good quote that has not settled or is out of reach."""
BLOCK: Final = 2048
"""Rows that go through all stages together: their scratch stays in a core's cache."""
MOST_STEPS: Final = 4
"""More than one; no price below half of its ceiling needs them all."""
_LANES: Final = 16

ERFCX_FROM: Final = -1.4
ERFCX_SHIFT: Final = 4.5
# fmt: off
ERFCX: Final = np.array([
    2.1749777951399463e-07, 1.1464365560359186e-07, -2.289022323176134e-06,
    -1.3871244348070815e-06, 1.3287418681254549e-05, 8.935761235202467e-06,
    -6.198380679478402e-05, -3.976449114543384e-05, 0.0002813294436041703, 0.00010583381437696104,
    -0.0013294763780520528, 0.0003173463132927331, 0.006150060689365385, -0.008224743863701605,
    -0.020587391497863938, 0.079577392250578, -0.05149174844039647, -0.34046688122110835,
    1.4090614371666148, -3.2243542083242405, 5.395009312247992, -7.1606104323391,
    7.805846415029416, -7.09972236085221, 5.413754593490696, -3.4473564667252874,
    1.8083124418671295,
])
"""erfcx(y) (y + shift) by t = 1 - slope / (y + shift), highest power first; so all below."""
LOG: Final = np.array([
    0.06814555360930634, 0.06603540041034682, 0.07694501062582865, 0.09090867123200161,
    0.1111111154582057, 0.1428571428350731, 0.20000000000004262, 0.3333333333333333,
])
"""(artanh(s)/s - 1) / s^2 by s^2."""
NORMAL_TOP: Final = np.array([
    7.988653134496855e-06, 0.0005682841562544093, 0.004450809245558259, 0.08553488073684938,
    0.1461917244905558, 2.5066283759816765,
])
NORMAL_BOTTOM: Final = np.array([
    3.8444663072260824e-07, 0.00013111467635770966, 0.0020481709243300233, 0.02162063339803439,
    0.1428522481835726, 0.5583237232987651, 1.0,
])
"""Normal total volatility over (|F-K| / sqrt(FK) + b), by ln(1 + |F-K| / time value)."""
AT_THE_MONEY: Final = np.array([
    2.091120325139393e-06, -3.293410226993301e-05, 0.0002193658140340413, -0.0007534905809764392,
    0.0015116554306254574, -0.001136037011804559, 0.00442523188515577, 0.04151702710948134,
    1.0000046399234728,
])
"""Black's total volatility over the normal model's, by the square of the latter."""
OFF_THE_MONEY: Final = np.array([
    -3.498198595533545e-05, 0.00021535453875151712, -0.0005463827598321484,
    -1.5823894301313038e-05, -3.3671149975525525e-05,
])
"""What adds to it, over x^2, likewise."""
# fmt: on
_EXP: Final = np.array([1 / factorial(power) for power in range(12, -1, -1)])

_SLOPE: Final = 2 * (ERFCX_FROM + ERFCX_SHIFT)
_SMALLEST: Final = 1e-300
_ROOT_HALF: Final = 0.5**0.5
_PHI_0: Final = 1 / float(np.sqrt(2 * np.pi))
_HALF_ROOT_PI: Final = float(np.sqrt(np.pi)) / 2
_GRAIN: Final = 2 * 2.0**-52 * _HALF_ROOT_PI / ACCURACY
_LN_2: Final = 0.6931471805599453
_LOG2_E: Final = 1 / _LN_2
_LN_2_HIGH: Final = 6.93147180369123816490e-01
_LN_2_LOW: Final = 1.90821492927058770002e-10
_MANTISSA: Final = np.uint64(52)
_ONE: Final = np.uint64(1023 << 52)
_NEAREST: Final = np.uint64((1023 << 52) + (1 << 51))
_POWER: Final = np.uint64(2047 << 52)
_INTEGER: Final = np.uint64(1075 << 52)
_UNBIAS: Final = 2.0**52 + 1023
_ROUNDER: Final = 1.5 * 2.0**52


def bits(x: Number) -> Number:
    """The 64 bits of a double."""
    return np.asarray(x).view(np.uint64)


def double(pattern: Number) -> Number:
    """The double of 64 bits."""
    return np.asarray(pattern).view(np.float64)


def select(condition: Number, yes: Number, no: Number) -> Number:
    """`yes` where the condition holds, else `no`."""
    return np.where(condition, yes, no)


def log_ratio(a: Number, b: Number) -> Number:
    """ln(a/b) of positive normal doubles, relatively exact near 1 too.

    With b scaled by the power of 2 nearest to a/b, it is that power's ln plus 2 artanh(s),
    s = (a - b)/(a + b), in which a - b is exact.
    """
    pattern = bits(a) - bits(b) + _NEAREST
    b = b * double(pattern & _POWER)
    s = (a - b) / (a + b)
    z = s * s
    shape = z * LOG[0] + LOG[1]
    for i in range(2, len(LOG)):
        shape = shape * z + LOG[i]
    power = double((pattern >> _MANTISSA) | _INTEGER) - _UNBIAS
    return power * _LN_2 + (2 * s + 2 * s * z * shape)


def bell(u: Number) -> Number:
    """exp(-u) of u from 0 to 700; its value at 700 beyond."""
    u = select(u > 700.0, 700.0, u)
    shifted = _ROUNDER - u * _LOG2_E
    power = shifted - _ROUNDER
    rest = (-u - power * _LN_2_HIGH) - power * _LN_2_LOW
    shape = rest * _EXP[0] + _EXP[1]
    for i in range(2, len(_EXP)):
        shape = shape * rest + _EXP[i]
    return shape * double((bits(shifted) << _MANTISSA) + _ONE)


def erfcx(y: Number) -> Number:
    """exp(y^2) erfc(y) of y from `ERFCX_FROM`."""
    q = 1 / (y + ERFCX_SHIFT)
    t = 1 - _SLOPE * q
    square = t * t
    even = square * ERFCX[0] + ERFCX[2]
    odd = square * ERFCX[1] + ERFCX[3]
    for i in range(4, len(ERFCX) - 1, 2):
        even = even * square + ERFCX[i]
        odd = odd * square + ERFCX[i + 1]
    return (even * square + ERFCX[len(ERFCX) - 1] + t * odd) * q


def erfcx_fall(y: Number, z: Number) -> Number:
    """(erfcx(y) - erfcx(z)) / (z - y), also where z is y.

    With q = 1/(y + shift) and P(t) the polynomial, it is q(y) q(z) (P(u) - slope q(z) P[u, v]),
    u and v being the t of y and z: both terms are positive. Horner's rule gives the divided
    differences of the even and the odd part of P along with the parts.
    """
    y = y + ERFCX_SHIFT
    z = z + ERFCX_SHIFT
    both = 1 / (y * z)
    scale = _SLOPE * (y * both)
    u, v = 1 - _SLOPE * (z * both), 1 - scale
    uu, vv = u * u, v * v
    even = uu * ERFCX[0] + ERFCX[2]
    odd = uu * ERFCX[1] + ERFCX[3]
    even_slope = vv * 0 + ERFCX[0]
    odd_slope = vv * 0 + ERFCX[1]
    for i in range(4, len(ERFCX) - 1, 2):
        even_slope = even_slope * vv + even
        even = even * uu + ERFCX[i]
        odd_slope = odd_slope * vv + odd
        odd = odd * uu + ERFCX[i + 1]
    even_slope = even_slope * vv + even
    even = even * uu + ERFCX[len(ERFCX) - 1]
    slope = (u + v) * (even_slope + v * odd_slope) + odd
    return both * (even + u * odd - scale * slope)


def prepare(
    price: Number, forward: Number, strike: Number, years: Number, sign: Number
) -> tuple[Number, Number, Number, Number]:
    """Distance, 1/b, the seed and sqrt(FK); 1/b is NaN where there is nothing to solve.

    `sign` is 1 for a call, -1 for a put. A price in the money gives up its intrinsic value,
    with what rounds off F - K.
    """
    gap = forward - strike
    off = gap - forward
    off = (forward - (gap - off)) - (strike + off)
    value = select(sign * gap > 0, (price - sign * gap) - sign * off, price)
    lower = select(gap < 0, forward, strike)
    upper = select(gap < 0, strike, forward)
    root = np.sqrt(forward * strike)
    known = (value > _SMALLEST * root) & (value < lower) & (years > 0) & (years < np.inf)
    known = known & (lower > 0) & (upper <= FARTHEST * lower)
    inverse = select(known, root / value, np.nan)
    distance = log_ratio(upper, lower)
    return distance, inverse, seed(distance, (abs(gap) + value) / root, inverse), root


def seed(distance: Number, reach: Number, inverse: Number) -> Number:
    """The total volatility, nearly; `reach` is |F-K| / sqrt(FK) + b."""
    level = log_ratio(reach * inverse, 1.0)
    top = level * NORMAL_TOP[0] + NORMAL_TOP[1]
    for i in range(2, len(NORMAL_TOP)):
        top = top * level + NORMAL_TOP[i]
    bottom = level * NORMAL_BOTTOM[0] + NORMAL_BOTTOM[1]
    for i in range(2, len(NORMAL_BOTTOM)):
        bottom = bottom * level + NORMAL_BOTTOM[i]
    square = distance * distance
    width = ((square * (1 / 322560) + 1 / 1920) * square + 1 / 24) * square + 1  # 2 sinh(x/2)/x
    normal = reach * top / (bottom * width)
    z = normal * normal
    at = z * AT_THE_MONEY[0] + AT_THE_MONEY[1]
    for i in range(2, len(AT_THE_MONEY)):
        at = at * z + AT_THE_MONEY[i]
    change = z * OFF_THE_MONEY[0] + OFF_THE_MONEY[1]
    for i in range(2, len(OFF_THE_MONEY)):
        change = change * z + OFF_THE_MONEY[i]
    return normal * (at + square * change)


def step(total: Number, distance: Number, inverse: Number) -> tuple[Number, Number, Number]:
    """A better total volatility, how far off the old one was, and its D sqrt(2) / s.

    One Householder step of fourth order on ln(b), all of it relative to s.
    """
    h, t = distance / total, 0.5 * total
    fall = erfcx_fall((h - t) * _ROOT_HALF, (h + t) * _ROOT_HALF)
    h, t = h * h, t * t
    miss = log_ratio(fall * total * (inverse * 0.125**0.5), 1.0) - 0.5 * (h + t)
    move, far = householder(miss, -miss * fall * _HALF_ROOT_PI, h, t)
    return total + total * move, far, fall


def householder(miss: Number, newton: Number, h: Number, t: Number) -> tuple[Number, Number]:
    """The change of s in units of s from Newton's, h^2 and t^2, and how far off s was.

    `miss` is what ln(b), or ln of what b lacks to its ceiling, has too much.
    """
    second = (h - t) * newton + miss
    third = second * (second + miss) - (3 * h + t) * newton * newton
    move = newton * (1 + 0.5 * second) / (1 + second + third * (1 / 6))
    move = select(move > -0.5, move, -0.5)
    move = select(move < 1.0, move, 1.0)
    miss, far = abs(miss), 3 * abs(move)
    return move, select(far > miss, far, miss)  # NaN if `miss` is


def settle(
    total: Number,
    far: Number,
    fall: Number,
    distance: Number,
    inverse: Number,
    price: Number,
    root: Number,
    years: Number,
) -> Number:
    """The volatility, `LEFT`, or NaN: there is none, or the price is too coarse to tell."""
    good = (far <= SETTLED) & (0.5 * total * total - distance <= REACH * total)
    fine = price * inverse * fall * _GRAIN <= root
    found = select(fine, total / np.sqrt(years), np.nan)
    return select(good, found, select(inverse > 0, LEFT, np.nan))


def derivatives(
    forward: Number,
    strike: Number,
    years: Number,
    sign: Number,
    discount: Number,
    value: Number,
    volatility: Number,
    distance: Number,
    root: Number,
) -> tuple[Number, Number, Number, Number, Number]:
    """Delta, gamma, vega, theta and rho as `black76.greeks` defines them.

    `value` is the discounted price, `root` sqrt(FK). Delta holds within `REACH`.
    """
    time = np.sqrt(years)
    total = volatility * time
    h, t = distance / total, 0.5 * total
    peak = bell(0.5 * (h * h + t * t))
    nearest = select(forward < strike, h - t, h + t) * _ROOT_HALF
    tail = 0.5 * peak * (root / forward) * erfcx(nearest)  # Phi(d1), or Phi(-d1) of a put
    inside = (forward < strike) == (sign < 0)
    delta = discount * sign * select(inside, 1 - tail, tail)
    density = discount * root * peak * _PHI_0  # D F phi(d1)
    gamma = density / (forward * forward * total)
    decay = log_ratio(discount, 1.0) * value + 0.5 * density * total
    return delta, gamma, density * time, decay / years * (-1 / 365), -years * value


def solve(numbers: tuple[Array, ...], is_call: Flags, results: tuple[Array, ...]) -> None:
    """Fill `results`: what `settle` gives, then the derivatives there, NaN where it is `LEFT`.

    Columns: price, forward, strike, years, discount factor; no derivatives where these results
    and the discount factor are empty. Only to be compiled.
    """
    work = np.empty((11, BLOCK))
    for start in range(0, is_call.size, BLOCK):
        rows = slice(start, min(start + BLOCK, is_call.size))
        quotes = (numbers[0][rows], numbers[1][rows], numbers[2][rows], numbers[3][rows])
        calls, volatility = is_call[rows], results[0][rows]
        solve_block(quotes, calls, volatility, work)
        if results[1].size:
            delta, gamma, vega = results[1][rows], results[2][rows], results[3][rows]
            parts = (delta, gamma, vega, results[4][rows], results[5][rows])
            derive_block(quotes, numbers[4][rows], calls, volatility, parts, work)


def solve_block(quotes: tuple[Array, ...], is_call: Flags, volatility: Array, work: Array) -> None:
    """Fill `volatility`; leave the distance and sqrt(FK) in `work`."""
    price, forward, strike, years = quotes
    distance, inverse, total, root = work[0], work[1], work[2], work[3]
    far, fall = work[4], work[5]
    rows = is_call.size
    for i in range(rows):
        sign = 1.0 if is_call[i] else -1.0
        distance[i], inverse[i], total[i], root[i] = prepare(
            price[i], forward[i], strike[i], years[i], sign
        )
    lanes = -(-rows // _LANES) * _LANES
    inverse[rows:lanes] = np.nan
    unsettled = 0
    for i in range(lanes):
        total[i], far[i], fall[i] = step(total[i], distance[i], inverse[i])
        unsettled += 1 if far[i] > SETTLED else 0
    if unsettled:
        settle_rest(rows, work)
    for i in range(rows):
        volatility[i] = settle(
            total[i], far[i], fall[i], distance[i], inverse[i], price[i], root[i], years[i]
        )


def settle_rest(rows: int, work: Array) -> None:
    """Step on with the rows that have not settled, gathered at the front of spare columns."""
    distance, inverse, total, far, fall = work[0], work[1], work[2], work[4], work[5]
    x, b, s, off, slope = work[6], work[7], work[8], work[9], work[10]
    going, count = np.empty(BLOCK + 1, np.int64), 0
    for i in range(rows):
        going[count] = i
        count += 1 if far[i] > SETTLED else 0
    for _ in range(MOST_STEPS):
        for j in range(count):
            x[j], b[j], s[j] = distance[going[j]], inverse[going[j]], total[going[j]]
        for j in range(-(-count // _LANES) * _LANES):
            s[j], off[j], slope[j] = step(s[j], x[j], b[j])
        kept = 0
        for j in range(count):
            i = going[j]
            total[i], far[i], fall[i] = s[j], off[j], slope[j]
            going[kept] = i
            kept += 1 if off[j] > SETTLED else 0
        count = kept


def derive_block(
    quotes: tuple[Array, ...],
    discount: Array,
    is_call: Flags,
    volatility: Array,
    results: tuple[Array, ...],
    work: Array,
) -> None:
    """Fill `results` with the derivatives, going by what `solve_block` left in `work`."""
    price, forward, strike, years = quotes
    delta, gamma, vega, theta, rho = results
    distance, root = work[0], work[3]
    for i in range(is_call.size):
        v = select((volatility[i] > 0) & (discount[i] > 0), volatility[i], np.nan)
        value = select(v > 0, discount[i] * price[i], np.nan)
        sign = 1.0 if is_call[i] else -1.0
        delta[i], gamma[i], vega[i], theta[i], rho[i] = derivatives(
            forward[i], strike[i], years[i], sign, discount[i], value, v, distance[i], root[i]
        )
