from __future__ import annotations

import doctest
import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optrade.pricing import black76
from optrade.pricing.black76 import (
    REASONS,
    greeks,
    implied_volatility,
    implied_volatility_and_greeks,
    price,
    reasons,
)
from optrade.pricing.normalised import ACCURACY

# forward, strike, years, volatility, call, price; prices from 60-digit arithmetic, rounded once.
PRECISE = [
    (24000, 24000, 0.019178082191780823, 0.12, True, 159.11097756618946),
    (24000, 24500, 0.019178082191780823, 0.12, True, 20.780775398150208),
    (24000, 23000, 0.0821917808219178, 0.14, False, 69.93341329493306),
    (24000, 24000.05, 1.902587519025875e-06, 0.1, True, 1.295819932203826),
    (24000, 24050, 9.512937595129375e-06, 0.15, True, 7.776815774226709e-06),
    (24000, 24000, 1.902587519025875e-06, 0.05, False, 0.6603339608144964),
    (24000, 30000, 0.005479452054794521, 0.35, True, 2.8027160406810907e-16),
    (24000, 12000, 0.0027397260273972603, 0.9, False, 1.4116571648851403e-47),
    (24000, 18000, 0.25, 0.12, False, 0.00019643658091583613),
    (24000, 60000, 1.0, 0.15000000000000002, True, 4.4479883068787943e-07),
    (24000, 48000, 5.0, 0.2, True, 389.436776377406),
    (24000, 23000, 0.0821917808219178, 0.14, True, 1069.933413294933),
    (24000, 26000, 0.5, 0.2, False, 2628.6777691047887),
    (24000, 24000, 1, 2.5, True, 18928.810863990948),
    (24000, 24000, 1, 8.0, True, 23998.479780392012),
    (24000, 20000, 4, 3.0, False, 19940.873620038932),
    (100, 1, 1, 1.0, False, 3.676019519780435e-06),
    (1, 100, 1, 0.6, True, 5.982130408172163e-15),
    (100, 100.000001, 1, 0.0001, True, 0.003988922842247558),
    (24000, 23999.95, 1.902587519025875e-06, 0.01, True, 0.15857018584203167),
    (24000, 24010, 1e-06, 0.3, True, 0.27076617543772086),
    (50000, 52000, 0.02, 0.11, True, 1.4883194719574027),
    (100, 14000, 1, 5.0, True, 90.06677375416307),
    (100, 100, 1, 2e-05, True, 0.0007978845607895674),
]


@pytest.mark.parametrize(("f", "k", "t", "v", "call", "exact"), PRECISE)
def test_price_and_volatility_against_60_digits(
    f: float, k: float, t: float, v: float, call: bool, exact: float
) -> None:
    assert float(price(f, k, t, v, call)) == pytest.approx(exact, rel=2e-13)
    due = 1e-14 + 5 * conditioned(f, k, t, v, exact)
    assert float(implied_volatility(exact, f, k, t, call)) == pytest.approx(v, rel=due)


def test_hull_futures_put() -> None:
    # Hull, Options, Futures and Other Derivatives, Black's model on a crude oil future.
    discount = math.exp(-0.09 * 4 / 12)
    assert discount * float(price(20, 20, 4 / 12, 0.25, False)) == pytest.approx(1.12, abs=0.005)


def test_haug_brent_options() -> None:
    # Haug, The Complete Guide to Option Pricing Formulas, 1.1.2 (Black-76): 1.7011 each.
    both = np.exp(-0.10 * 0.75) * price(19, 19, 0.75, 0.28, [True, False])
    assert both == pytest.approx([1.7011, 1.7011], abs=5e-5)


def test_hull_stock_option_through_its_forward() -> None:
    # Hull's Black-Scholes example: S=42, K=40, r=0.10, vol=0.20, six months: 4.76 and 0.81.
    grown = math.exp(0.05)
    both = price(42 * grown, 40, 0.5, 0.2, [True, False]) / grown
    assert both == pytest.approx([4.76, 0.81], abs=0.005)


def test_hull_greeks_through_the_forward() -> None:
    # Hull's greeks example: S=49, K=50, r=0.05, vol=0.20, T=0.3846: delta 0.522, gamma 0.066,
    # vega 12.1 a unit of vol. With F = S exp(rT): dV/dS = delta_F exp(rT), and so on.
    t = 0.3846
    grown = math.exp(0.05 * t)
    g = greeks(49 * grown, 50, t, 0.2, True, 1 / grown)
    assert float(g.delta) * grown == pytest.approx(0.522, abs=5e-4)
    assert float(g.gamma) * grown**2 == pytest.approx(0.066, abs=5e-4)
    assert float(g.vega) == pytest.approx(12.1, abs=0.05)


def test_docstring_examples() -> None:
    assert doctest.testmod(black76).failed == 0


nan, inf = math.nan, math.inf
BAD = [
    # price, forward, strike, years, call, reason
    (5.0, 100, 100, 0.0, True, "expired"),
    (nan, nan, 100, -1.0, True, "expired"),
    (nan, 100, 100, 0.1, True, "no_trade"),
    (nan, nan, 100, 0.1, False, "no_trade"),
    (5.0, nan, 100, 0.1, True, "no_forward"),
    (0.0, 100, 110, 0.1, True, "below_intrinsic"),  # no time value
    (-1.0, 100, 110, 0.1, True, "below_intrinsic"),
    (9.9, 110, 100, 0.1, True, "below_intrinsic"),
    (10.0, 110, 100, 0.1, True, "below_intrinsic"),
    (9.95, 90, 100, 0.1, False, "below_intrinsic"),
    (100.0, 100, 110, 0.1, True, "above_max"),  # at the forward
    (110.0, 100, 110, 0.1, False, "above_max"),  # at the strike
    (inf, 100, 100, 0.1, True, "above_max"),
    (5.0, 0.0, 100, 0.1, True, "above_max"),
    (5.0, -100, 100, 0.1, True, "above_max"),
    (5.0, 100, 0.0, 0.1, False, "above_max"),
    (5.0, 100, nan, 0.1, True, "out_of_domain"),
    (5.0, 100, 100, nan, True, "out_of_domain"),
    (5.0, 100, 100, inf, True, "out_of_domain"),
    (10000 + 1e-11, 30000, 20000, 0.1, True, "out_of_domain"),  # time value is rounding noise
    (1e-9, 1.0, 200.0, 1.0, True, "out_of_domain"),  # further than e^5
    (1e-305, 100, 110, 0.1, True, "out_of_domain"),
    (100 * (1 - 1e-13), 100, 100, 1.0, True, "out_of_domain"),  # too close to the ceiling
]


@pytest.mark.parametrize("compiled", [False, True])
def test_every_bad_quote_has_no_volatility_and_a_reason(compiled: bool) -> None:
    *columns, expected = zip(*BAD, strict=True)
    found, derived = implied_volatility_and_greeks(*columns, 0.99, compiled=compiled)
    assert np.isnan(found).all()
    assert all(np.isnan(part).all() for part in derived)
    assert np.isnan(implied_volatility(*columns, compiled=compiled)).all()
    assert reasons(*columns, found).tolist() == list(expected)
    assert set(expected) == set(REASONS)


def test_a_good_quote_has_no_reason() -> None:
    quotes = ([5.0, 5.0], 100, 100, [0.1, 0.0], True)
    found = implied_volatility(*quotes)
    assert reasons(*quotes, found).tolist() == [None, "expired"]
    assert reasons(5.0, 100, 100, 0.1, True, found[0]).shape == ()


def test_prices_outside_the_domain() -> None:
    assert np.isnan(
        price([0, -1, 100, 100], [100, 100, 0, 100], 1, [0.2, 0.2, 0.2, -1], True)
    ).all()
    assert price([110, 90], 100, [0, 1], [0.2, 0], True).tolist() == [10, 0]
    assert all(np.isnan(part).all() for part in greeks(100, 100, [0, 1], [0.2, 0], True))


def test_shapes_broadcast() -> None:
    assert implied_volatility(5.0, 100, [[90.0], [110.0]], [0.1, 0.2, 0.3], True).shape == (2, 3)
    assert implied_volatility([], [], [], [], []).shape == (0,)
    assert float(implied_volatility(price(100, 100, 1, 0.3, True), 100, 100, 1, True)) > 0


def conditioned(f: float, k: float, t: float, v: float, p: float) -> float:
    """Relative change of the volatility for a relative change of 1e-16 of the price."""
    vega = float(greeks(f, k, t, v, True).vega)
    return 1e-16 * p / (vega * v) if vega > 0 else np.inf


strikes = st.floats(24000 * math.exp(-4.9), 24000 * math.exp(4.9))
times = st.floats(1 / 525600, 5)
volatilities = st.floats(0.01, 3)


@settings(deadline=None, max_examples=400)
@given(strikes, times, volatilities, st.booleans())
def test_round_trip(k: float, t: float, v: float, call: bool) -> None:
    p = float(price(24000, k, t, v, call))
    found = float(implied_volatility(p, 24000, k, t, call))
    if math.isnan(found):
        intrinsic = max(24000 - k if call else k - 24000, 0)
        assert p - intrinsic < 1e-290 or conditioned(24000, k, t, v, p) > 1e-10
    else:
        assert found == pytest.approx(v, rel=ACCURACY)


@settings(deadline=None, max_examples=200)
@given(strikes, times, volatilities, st.booleans())
def test_a_call_is_the_put_with_forward_and_strike_exchanged(
    k: float, t: float, v: float, call: bool
) -> None:
    p = float(price(24000, k, t, v, call))
    assert float(price(k, 24000, t, v, not call)) == p
    one, other = implied_volatility(p, [24000, k], [k, 24000], t, [call, not call])
    assert one == other or (math.isnan(one) and math.isnan(other))


@settings(deadline=None, max_examples=200)
@given(strikes, times, volatilities, st.booleans(), st.integers(-12, 12))
def test_the_unit_of_money_does_not_matter(
    k: float, t: float, v: float, call: bool, power: int
) -> None:
    unit = 2.0**power
    p = float(price(24000, k, t, v, call))
    one = implied_volatility(p, 24000, k, t, call)
    other = implied_volatility(p * unit, 24000 * unit, k * unit, t, call)
    assert np.array_equal(one, other, equal_nan=True)


@settings(deadline=None, max_examples=200)
@given(st.floats(12000, 48000), st.floats(1e-4, 3), st.floats(0.05, 1.5), st.booleans())
def test_volatility_rises_with_the_price(k: float, t: float, v: float, call: bool) -> None:
    p = float(price(24000, k, t, v, call))
    found = implied_volatility([p, p + 1e-7 * v * 24000], 24000, k, t, call)
    assert not found[1] < found[0]


@settings(deadline=None, max_examples=200)
@given(strikes, times, volatilities)
def test_put_call_parity(k: float, t: float, v: float) -> None:
    call, put = price(24000, k, t, v, [True, False])
    assert call - put == pytest.approx(24000 - k, abs=1e-10 * max(24000, k))


@settings(deadline=None, max_examples=200)
@given(st.floats(12000, 48000), st.floats(1e-4, 3), st.floats(0.05, 1.5))
def test_price_is_monotonic(k: float, t: float, v: float) -> None:
    p = price(24000, k, t, [v, v * 1.01, v], True)
    assert p[1] >= p[0]
    assert price(24000, k, t * 1.01, v, True) >= p[0]
    assert price(24000, k * 1.001, t, v, True) <= p[0]
    assert price(24000, k * 1.001, t, v, False) >= price(24000, k, t, v, False)
    assert max(24000 - k, 0) <= p[0] <= 24000


@settings(deadline=None, max_examples=200)
@given(st.floats(16000, 36000), st.floats(0.01, 3), st.floats(0.08, 1.0), st.booleans())
def test_greeks_are_the_derivatives(k: float, t: float, v: float, call: bool) -> None:
    f, r = 24000.0, 0.065

    def value(f: float = f, t: float = t, v: float = v, r: float = r) -> float:
        return math.exp(-r * t) * float(price(f, k, t, v, call))

    g = greeks(f, k, t, v, call, math.exp(-r * t))
    h, s = 1e-3 * f * v * math.sqrt(t), 1e-4
    delta = (value(f + h) - value(f - h)) / (2 * h)
    assert float(g.delta) == pytest.approx(delta, abs=1e-5)
    gamma = (value(f + h) - 2 * value() + value(f - h)) / h**2
    assert float(g.gamma) == pytest.approx(gamma, rel=1e-3, abs=1e-8)
    vega = (value(v=v * (1 + s)) - value(v=v * (1 - s))) / (2 * s * v)
    assert float(g.vega) == pytest.approx(vega, rel=1e-4, abs=1e-2)
    theta = -(value(t=t * (1 + s)) - value(t=t * (1 - s))) / (2 * s * t) / 365
    assert float(g.theta) == pytest.approx(theta, rel=1e-4, abs=1e-3)
    rho = (value(r=r + 1e-5) - value(r=r - 1e-5)) / 2e-5
    assert float(g.rho) == pytest.approx(rho, rel=1e-5, abs=1e-3)


def test_greeks_of_quotes_are_the_greeks_at_their_volatilities() -> None:
    rng = np.random.default_rng(3)
    n = 1000
    f, k, t = rng.uniform(2e4, 3e4, n), rng.uniform(2e4, 3e4, n), 10 ** rng.uniform(-3, 0.5, n)
    call, v = rng.random(n) < 0.5, rng.uniform(0.05, 3, n)
    discount = np.exp(-0.065 * t)
    found, derived = implied_volatility_and_greeks(price(f, k, t, v, call), f, k, t, call, discount)
    known = ~np.isnan(found)
    assert known.sum() > 900
    at = greeks(f, k, t, found, call, discount)
    for one, other in zip(derived, at, strict=True):
        assert one[known] == pytest.approx(other[known], rel=1e-8, abs=1e-9)


@pytest.mark.parametrize("spread", [(-12, -3), (-3, -1), (-1, 0.69)])
@pytest.mark.parametrize("total", [(-9, -5), (-5, -2), (-2, 0), (0, 1.2)])
def test_round_trip_over_the_whole_domain(
    spread: tuple[float, float], total: tuple[float, float]
) -> None:
    rng = np.random.default_rng(7)
    n = 20_000
    x = 10 ** rng.uniform(*spread, n) * rng.choice([-1, 1], n)
    s, call = 10 ** rng.uniform(*total, n), rng.random(n) < 0.5
    f, k = 24000 * np.exp(-x / 2), 24000 * np.exp(x / 2)
    p = price(f, k, 1.0, s, call)
    found = implied_volatility(p, f, k, 1.0, call)
    known = ~np.isnan(found)
    assert np.abs(found[known] / s[known] - 1).max(initial=0) <= ACCURACY
    with np.errstate(all="ignore"):
        uncertainty = 2.3e-16 * p / (greeks(f, k, 1.0, s, call).vega * s)
    value = p - np.maximum(np.where(call, f - k, k - f), 0)
    due = (uncertainty < ACCURACY / 3) & (value > 1e-290) & (np.abs(x) < 4.99)
    assert known[due].all()
    outside = known & (call == (f <= k)) & (s < 3)
    assert np.abs(found[outside] / s[outside] - 1).max(initial=0) <= 2e-14


def test_a_row_does_not_depend_on_its_neighbours() -> None:
    rng = np.random.default_rng(5)
    n = 20_001
    f, k, t = rng.uniform(1e4, 3e4, n), rng.uniform(1e4, 3e4, n), 10 ** rng.uniform(-4, 0.5, n)
    call = rng.random(n) < 0.5
    p = price(f, k, t, rng.uniform(0.05, 1, n), call)
    whole = implied_volatility(p, f, k, t, call)
    cuts = [0, 1, 3, 10, 5000, n]
    parts = [
        implied_volatility(p[a:b], f[a:b], k[a:b], t[a:b], call[a:b]) for a, b in pairwise(cuts)
    ]
    assert np.array_equal(whole, np.concatenate(parts), equal_nan=True)
