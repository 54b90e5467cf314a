"""Realised volatility by hand, without drift and gaps, and as Yang and Zhang claim of theirs."""

from __future__ import annotations

from math import isnan, log, nan, sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from optrade.volatility.realised import Bars, close_to_close, unbroken, yang_zhang


def bars(*rows: tuple[float, float, float, float]) -> Bars:
    """Log prices of sessions given as open, high, low, close."""
    return Bars(*(np.log(np.array(prices)) for prices in zip(*rows, strict=True)))


def closes(*values: float) -> Bars:
    return bars(*((value,) * 4 for value in values))


def test_close_to_close_by_hand() -> None:
    """100, 110, 99: log returns of ln 1.1 and ln 0.9, their mean square a session, 252 of them."""
    found = close_to_close(closes(100, 110, 99), 0, 2)
    assert found == pytest.approx(sqrt(252 * (log(1.1) ** 2 + log(0.9) ** 2) / 2))
    assert close_to_close(closes(100, 101, 102.01), 0, 2) == pytest.approx(log(1.01) * sqrt(252))
    assert close_to_close(closes(7, 7, 7), 0, 2) == 0


def test_yang_zhang_by_hand() -> None:
    """Two sessions after the first; k = 0.34 / (1.34 + 3)."""
    made = bars((100, 100, 100, 100), (102, 104, 101, 103), (101, 105, 100, 104))
    overnight = [log(1.02), log(101 / 103)]
    inside = [log(103 / 102), log(104 / 101)]
    satchell = [
        log(104 / 102) * log(104 / 103) + log(101 / 102) * log(101 / 103),
        log(105 / 101) * log(105 / 104) + log(100 / 101) * log(100 / 104),
    ]
    k = 0.34 / 4.34
    half = (overnight[0] - overnight[1]) ** 2 / 2, (inside[0] - inside[1]) ** 2 / 2
    by_hand = half[0] + k * half[1] + (1 - k) * sum(satchell) / 2
    assert yang_zhang(made, 0, 2) == pytest.approx(sqrt(by_hand * 252))


def test_yang_zhang_finds_the_volatility_whatever_the_drift_and_the_gap() -> None:
    """A year of half-minute steps at 16 % a year, with a drift and a jump at every open."""
    rng = np.random.default_rng(5)
    days, steps, sigma = 252, 750, 0.16 / sqrt(252)
    overnight = rng.normal(0.002, 0.4 * sigma, days)
    moves = rng.normal(0.003 / steps, sqrt(1 - 0.4**2) * sigma / sqrt(steps), (days, steps))
    path = np.cumsum(moves, axis=1)
    starts = np.cumsum(overnight + np.append(0, path[:-1, -1]))
    high, low = (starts + edge(path, axis=1) for edge in (np.max, np.min))
    made = Bars(starts, np.maximum(high, starts), np.minimum(low, starts), starts + path[:, -1])
    assert yang_zhang(made, 0, days - 1) == pytest.approx(0.16, rel=0.05)
    assert close_to_close(made, 0, days - 1) > 0.17  # the drift is in it


@given(
    levels=st.lists(st.floats(1, 1e5), min_size=3, max_size=12),
    scale=st.floats(0.01, 100),
)
def test_the_level_of_the_index_does_not_matter(levels: list[float], scale: float) -> None:
    last = len(levels) - 1
    for estimator in (close_to_close, yang_zhang):
        plain = estimator(closes(*levels), 0, last)
        scaled = estimator(closes(*(level * scale for level in levels)), 0, last)
        assert scaled == pytest.approx(plain, abs=1e-6)


@pytest.mark.parametrize("estimator", [close_to_close, yang_zhang])
def test_nothing_is_known_across_a_gap(estimator) -> None:
    broken = closes(100, 101, nan, 103, 104, 105)
    assert isnan(estimator(broken, 0, 4))
    assert isnan(estimator(broken, 2, 5))
    assert not isnan(estimator(broken, 3, 5))
    assert isnan(estimator(broken, -1, 1))
    assert isnan(estimator(broken, 5, 5))


def test_returns_are_counted_back_to_the_first_gap() -> None:
    broken = closes(100, 101, nan, 103, 104, 105)
    assert [unbroken(broken, last, 30) for last in range(6)] == [0, 1, 0, 0, 1, 2]
    assert unbroken(closes(*range(1, 40)), 38, 30) == 30
