"""The index formula against Cboe's published example, Black's model, and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from optrade.pricing.black76 import price
from optrade.volatility.vix_formula import (
    MINUTES_A_YEAR,
    Strip,
    index_points,
    near_weight,
    strip,
    variance,
)

CBOE_RATE = 0.01162
CBOE_STRIKES = np.arange(775.0, 1_026.0, 25.0)
CBOE = {
    21_600: (  # 15 days: calls, then puts
        [125.48, 100.79, 76.70, 54.01, 34.05, 18.41, 8.07, 2.68, 0.62, 0.09, 0.01],
        [0.11, 0.41, 1.30, 3.60, 8.64, 17.98, 32.63, 52.23, 75.16, 99.61, 124.52],
    ),
    61_920: (  # 43 days
        [128.78, 105.85, 84.14, 64.13, 46.38, 31.40, 19.57, 11.00, 5.43, 2.28, 0.78],
        [2.72, 4.76, 8.01, 12.97, 20.18, 30.17, 43.31, 59.70, 79.10, 100.91, 124.38],
    ),
}
"""Middles of the example in Cboe's white paper of 2003, by minutes to expiry."""


def test_cboe_s_published_example() -> None:
    """Forwards by parity at 900: 900.43 and 901.23; variances 0.066478 and 0.063667; VIX 25.36."""
    found = {}
    for minutes, sides in CBOE.items():
        calls, puts = map(np.array, sides)
        years = minutes / MINUTES_A_YEAR
        forward = 900 + np.exp(CBOE_RATE * years) * (calls[5] - puts[5])
        quotes = strip(CBOE_STRIKES, calls, puts, forward)
        assert quotes is not None
        assert (quotes.atm_strike, quotes.splined, len(quotes.strikes)) == (900.0, 0, 11)
        assert quotes.prices[5] == pytest.approx((calls[5] + puts[5]) / 2)
        found[minutes] = (forward, variance(quotes, forward, years, CBOE_RATE))
    (near, near_variance), (following, next_variance) = found.values()
    assert [round(near, 2), round(following, 2)] == [900.43, 901.23]
    assert near_variance == pytest.approx(0.066478, abs=2e-6)
    assert next_variance == pytest.approx(0.063667, abs=2e-6)
    points = index_points(near_variance, 21_600, next_variance, 61_920)
    assert round(points, 2) == 25.36


def test_three_strikes_by_hand() -> None:
    """At strikes 90, 100, 110 with F = 100, T = 1 and R = 0 only the sum is left."""
    quotes = Strip(np.array([90.0, 100.0, 110.0]), np.array([1.0, 4.0, 1.0]), 100.0, 0)
    by_hand = 2 * (10 / 90**2 * 1 + 10 / 100**2 * 4 + 10 / 110**2 * 1)
    assert variance(quotes, 100.0, 1.0, 0.0) == pytest.approx(by_hand)
    assert variance(quotes, 101.0, 1.0, 0.0) == pytest.approx(by_hand - 0.01**2)
    assert variance(quotes, 100.0, 0.5, 0.04) == pytest.approx(2 * by_hand * np.exp(0.02))


@pytest.mark.parametrize("step", [25.0, 50.0, 100.0])
@pytest.mark.parametrize("volatility", [0.1, 0.15, 0.4])
def test_black_s_own_volatility_comes_back(step: float, volatility: float) -> None:
    """Up to the trapezoid's error at the kink, where the slope of Q jumps by e^(-RT).

    A kink on the grid adds step^2 / 12 x the jump of the slope to the integral of Q / K^2; the
    formula multiplies by 2 e^(RT) / T, which leaves step^2 / (6 T F^2).
    """
    forward, years, rate = 24_000.0, 30 / 365, 0.065
    strikes = np.arange(10_000.0, 60_000.0, step)
    discount = np.exp(-rate * years)
    calls, puts = (
        discount * price(forward, strikes, years, volatility, call) for call in (True, False)
    )
    quotes = strip(strikes, calls, puts, forward)
    assert quotes is not None
    kink = step**2 / (6 * years * forward**2)
    found = variance(quotes, forward, years, rate) - volatility**2
    assert found == pytest.approx(kink, rel=0.02, abs=1e-9)


def test_inadequate_quotes_are_filled_between_adequate_ones_only() -> None:
    strikes = np.arange(90.0, 111.0, 2.0)
    calls = np.where(strikes < 98, np.nan, 112 - strikes)
    puts = np.where(strikes > 102, np.nan, strikes - 88)
    missing_call, missing_put = np.array(calls), np.array(puts)
    missing_call[[8, 10]] = np.nan  # 106 inside, 110 at the end
    missing_put[2] = np.nan  # 94
    whole = strip(strikes, calls, puts, 101.0)
    filled = strip(strikes, missing_call, missing_put, 101.0)
    assert whole is not None
    assert filled is not None
    assert filled.strikes.tolist() == strikes[:-1].tolist()
    assert (filled.atm_strike, filled.splined, whole.splined) == (100.0, 2, 0)
    assert filled.prices == pytest.approx(whole.prices[:-1])  # a spline keeps straight lines


@pytest.mark.parametrize("forward", [89.0, 92.0, 109.0])
def test_too_few_strikes_on_one_side_give_none(forward: float) -> None:
    strikes = np.arange(90.0, 111.0, 2.0)
    assert strip(strikes, 112 - strikes, strikes - 88, forward) is None
    assert strip(strikes, np.full(11, np.nan), strikes - 88, 100.0) is None


@given(
    near=st.floats(0.001, 4),
    following=st.floats(0.001, 4),
    near_days=st.integers(2, 29),
    next_days=st.integers(31, 70),
)
def test_the_index_lies_between_its_two_terms(
    near: float, following: float, near_days: int, next_days: int
) -> None:
    points = index_points(near, near_days * 1_440, following, next_days * 1_440)
    least, most = sorted((near, following))
    assert 100 * least**0.5 - 1e-9 <= points <= 100 * most**0.5 + 1e-9
    assert 0 < near_weight(near_days * 1_440, next_days * 1_440) < 1
    assert index_points(near, 43_200, following, next_days * 1_440) == pytest.approx(
        100 * near**0.5
    )


@given(scale=st.floats(0.01, 100), rise=st.floats(0.01, 5), at=st.integers(0, 10))
def test_scale_does_not_matter_and_dearer_is_more(scale: float, rise: float, at: int) -> None:
    strikes = np.arange(75.0, 126.0, 5.0)
    prices = 6 * np.exp(-(((strikes - 100) / 15) ** 2))
    plain = variance(Strip(strikes, prices, 100.0, 0), 101.0, 0.1, 0.05)
    scaled = Strip(strikes * scale, prices * scale, 100.0 * scale, 0)
    assert variance(scaled, 101.0 * scale, 0.1, 0.05) == pytest.approx(plain)
    dearer = prices + rise * (np.arange(11) == at)
    assert variance(Strip(strikes, dearer, 100.0, 0), 101.0, 0.1, 0.05) > plain
