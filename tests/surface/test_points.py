from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optrade.pricing import black76
from optrade.surface.points import at_delta, between, of_slices, read
from optrade.surface.svi import Slices, slices, total_variance

WIDE = np.array([-2.0]), np.array([2.0])


def test_a_flat_smile_by_hand() -> None:
    # 20 % for a quarter: total 0.1; d1 = -k / 0.1 + 0.05 = -+0.67449.
    found = read(of_slices(slices(0.01, 0, 0, 0, 1)), np.array([0.25]), *WIDE)
    for name in ("atm_iv", "put_25_iv", "call_25_iv"):
        assert found[name][0] == pytest.approx(0.2)
    assert found["call_25_log_moneyness"][0] == pytest.approx(0.1 * (0.05 + 0.6744897501960817))
    assert found["put_25_log_moneyness"][0] == pytest.approx(0.1 * (0.05 - 0.6744897501960817))
    assert found["risk_reversal_25"][0] == pytest.approx(0)
    assert found["butterfly_25"][0] == pytest.approx(0)


@settings(deadline=None, max_examples=60)
@given(st.floats(0.001, 0.2), st.floats(0, 0.5), st.floats(-0.9, 0.9), st.floats(0.02, 2))
def test_the_options_found_have_those_deltas(
    level: float, steep: float, rho: float, years: float
) -> None:
    width = np.sqrt(level)
    one = slices(level, steep * width, rho, 0.1 * width, width)
    found = read(of_slices(one), np.array([years]), *WIDE)
    for side, delta in (("put", -0.25), ("call", 0.25)):
        strike = 100 * np.exp(found[f"{side}_25_log_moneyness"])
        iv = found[f"{side}_25_iv"]
        greeks = black76.greeks(100.0, strike, years, iv, side == "call")
        assert greeks.delta[0] == pytest.approx(delta, abs=1e-9)


def test_nothing_is_read_beyond_the_quotes() -> None:
    smile, years = of_slices(slices(0.01, 0, 0, 0, 1)), np.array([0.25])
    names = ("put_25_iv", "atm_iv", "call_25_iv")

    def known(low: float, high: float) -> list[bool]:
        found = read(smile, years, np.array([low]), np.array([high]))
        return [bool(np.isfinite(found[name][0])) for name in names]

    assert known(-0.07, 0.08) == [True, True, True]
    assert known(-0.06, 0.08) == [False, True, True]
    assert known(-0.07, 0.07) == [True, True, False]
    assert known(0.01, 0.5) == [False, False, False]
    assert known(-0.5, -0.01) == [False, False, False]


def test_no_variance_no_point() -> None:
    found = read(of_slices(slices(-0.01, 0, 0, 0, 1)), np.array([0.25]), *WIDE)
    assert np.isnan(found["atm_iv"][0])
    assert np.isnan(at_delta(of_slices(slices(-0.01, 0, 0, 0, 1)), 0.67, WIDE[1])[0])


def test_between_two_slices_variance_is_linear_at_fixed_moneyness() -> None:
    near, far = slices(0.01, 0.05, -0.3, 0, 0.1), slices(0.03, 0.06, -0.2, 0, 0.2)
    k = np.array([0.07])
    w = [float(total_variance(one, k[None])[0, 0]) for one in (near, far)]
    found = between(near, far, np.array([0.25]))(k)
    assert found[0] == pytest.approx(0.75 * w[0] + 0.25 * w[1])


@given(st.floats(0, 1))
def test_between_slices_without_calendars_there_is_none(share: float) -> None:
    near, far = slices(0.01, 0.05, -0.3, 0, 0.1), slices(0.03, 0.06, -0.2, 0, 0.2)
    k = np.linspace(-0.5, 0.5, 31)
    many = [Slices(*(np.repeat(v, 31) for v in one)) for one in (near, far)]
    w = between(*many, np.full(31, share))(k)
    assert (w >= total_variance(near, k[None])[0] - 1e-15).all()
    assert (w <= total_variance(far, k[None])[0] + 1e-15).all()
