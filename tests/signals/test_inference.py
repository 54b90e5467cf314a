"""The scorecard's tests: against scipy, by hand, and their size under persistent noise."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from optrade.signals.inference import binomial, disjoint, holm, mean_difference


@given(st.integers(1, 200), st.data())
def test_binomial_is_scipy_s(n, data) -> None:
    hits = data.draw(st.integers(0, n))
    rate = data.draw(st.floats(0.05, 0.95))
    assert binomial(hits, n, rate) == pytest.approx(binomtest(hits, n, rate).pvalue, abs=1e-9)


def test_binomial_at_the_edges() -> None:
    assert binomial(5, 5, 1.0) == 1
    assert binomial(0, 5, 0.0) == 1
    assert binomial(1, 2, 0.5) == 1
    assert binomial(0, 10, 0.5) == pytest.approx(2 / 1024)


def test_holm_by_hand() -> None:
    assert holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])
    assert holm([0.5, 0.6]) == [1.0, 1.0]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), max_size=30))
def test_holm_only_ever_raises_and_keeps_the_order(p_values) -> None:
    adjusted = holm(p_values)
    assert all(p <= a <= 1 for p, a in zip(p_values, adjusted, strict=True))
    ordered = [a for _, a in sorted(zip(p_values, adjusted, strict=True))]
    assert ordered == sorted(ordered)


def test_disjoint_by_hand() -> None:
    days = np.array([0, 1, 4, 5, 6, 11, 20])
    assert disjoint(days, 5).tolist() == [0, 5, 11, 20]
    assert disjoint(days, 1).tolist() == days.tolist()
    assert disjoint(days[:0], 5).tolist() == []


def forward(returns: np.ndarray, lag: int, horizon: int) -> np.ndarray:
    n = len(returns) - lag - horizon
    return np.array([returns[i + lag + 1 : i + lag + 1 + horizon].sum() for i in range(n)])


def test_mean_difference_by_hand() -> None:
    """Four labels, the first and last mine: x is 1/2, -1/2, -1/2, 1/2."""
    returns = np.array([np.nan, 9.0, 1.0, 2.0, -1.0, 3.0])
    ahead = forward(returns, 1, 1)
    mine = np.array([True, False, False, True])
    t, p = mean_difference(mine, np.ones(4, bool), ahead, returns, 1, 1)
    mean = (9 + 1 + 2 - 1 + 3) / 5
    variance = sum((r - mean) ** 2 / 4 for r in (1.0, 2.0, -1.0, 3.0))
    assert t == pytest.approx((1 - 2 + 1 + 3) / 2 / math.sqrt(variance))
    assert p == pytest.approx(math.erfc(abs(t) / math.sqrt(2)))


def test_nothing_to_compare_is_no_finding() -> None:
    returns = np.array([np.nan, 1.0, 2.0, 3.0])
    every = np.ones(2, bool)
    assert mean_difference(every, every, forward(returns, 1, 1), returns, 1, 1) == (0.0, 1.0)


def persistent(rng: np.random.Generator, n: int, stay: float) -> np.ndarray:
    """A label that lasts: each session keeps the last one's with probability `stay`."""
    change = rng.random(n) > stay
    draws = rng.random(n) < 0.4
    return draws[np.maximum.accumulate(np.where(change, np.arange(n), 0))]


def clustered(rng: np.random.Generator, n: int) -> np.ndarray:
    """Returns that nobody can foresee, of clustered volatility and fat tails."""
    level = np.zeros(n)
    for i in range(1, n):
        level[i] = 0.95 * level[i - 1] + 0.25 * rng.standard_normal()
    return 0.01 * np.exp(level / 2) * rng.standard_t(5, n)


@pytest.mark.parametrize("horizon", [1, 5])
@pytest.mark.parametrize("stay", [0.0, 0.9])
def test_size_under_noise(horizon: int, stay: float) -> None:
    """Labels that last, overlapping returns, clustered volatility: 5 % are found, about."""
    rng = np.random.default_rng(horizon * 10 + int(stay * 10))
    p_values = []
    for _ in range(600):
        returns = clustered(rng, 400)
        mine = persistent(rng, 400 - 1 - horizon, stay)
        if 0 < mine.sum() < len(mine):
            ahead = forward(returns, 1, horizon)
            valid = np.ones(len(mine), bool)
            p_values.append(mean_difference(mine, valid, ahead, returns, 1, horizon)[1])
    share = np.mean(np.array(p_values) < 0.05)
    assert 0.02 <= share <= 0.085
    assert np.mean(np.array(p_values) < 0.001) <= 0.005
