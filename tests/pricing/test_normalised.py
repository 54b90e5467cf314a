"""The arithmetic against 40 digits: nothing here needs another library of volatilities."""

from __future__ import annotations

import runpy
from collections.abc import Iterator
from pathlib import Path

import mpmath
import numpy as np
import pytest
from mpmath import mpf

from optrade.pricing import black76, normalised
from optrade.pricing.normalised import ERFCX_FROM, REACH

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "pricing_coefficients.py"


@pytest.fixture(autouse=True)
def _digits() -> Iterator[None]:
    with mpmath.workdps(40):
        yield


def off(found: np.ndarray, exact: list[mpf]) -> float:
    """The largest relative error."""
    pairs = zip(found.tolist(), exact, strict=True)
    return max(float(abs(mpf(one) / other - 1)) for one, other in pairs)


def erfcx(y: float | mpf) -> mpf:
    return mpmath.exp(mpf(y) ** 2) * mpmath.erfc(y)


def test_the_coefficients_are_the_scripts() -> None:
    found = runpy.run_path(str(SCRIPT))["coefficients"]()
    assert set(found) >= {"ERFCX", "LOG", "NORMAL_TOP", "NORMAL_BOTTOM"}
    for name, values in found.items():
        assert getattr(normalised, name).tolist() == list(values), name


def test_log_ratio() -> None:
    rng = np.random.default_rng(1)
    b = 10 ** rng.uniform(-100, 100, 400)
    a = b * np.concatenate([1 + 10 ** rng.uniform(-15, 0, 200), 10 ** rng.uniform(-90, 90, 200)])
    exact = [mpmath.log(mpf(x) / mpf(y)) for x, y in zip(a.tolist(), b.tolist(), strict=True)]
    assert off(normalised.log_ratio(a, b), exact) < 6e-16
    assert normalised.log_ratio(b, b).tolist() == [0] * b.size


def test_bell() -> None:
    u = np.concatenate([np.linspace(0, 50, 301), np.linspace(50, 700, 50)])
    assert off(normalised.bell(u), [mpmath.exp(-mpf(x)) for x in u.tolist()]) < 4e-16
    beyond = normalised.bell(np.array([701.0, 1e300, np.inf, np.nan]))
    assert beyond[:3].max() < 1e-303
    assert np.isnan(beyond[3])


def test_erfcx() -> None:
    y = np.concatenate([np.linspace(ERFCX_FROM, 6, 300), np.geomspace(6, 25, 60)])
    assert off(normalised.erfcx(y), [erfcx(x) for x in y.tolist()]) < 6e-15


@pytest.mark.parametrize("gap", [1e-12, 1e-6, 1e-2, 0.3, 2.0])
def test_erfcx_does_not_cancel(gap: float) -> None:
    y = np.concatenate([np.linspace(ERFCX_FROM, 3, 150), np.linspace(3, 20, 60)])
    z = y + gap
    pairs = list(zip(y.tolist(), z.tolist(), strict=True))
    exact = [(erfcx(a) - erfcx(b)) / (mpf(b) - mpf(a)) for a, b in pairs]
    found = normalised.erfcx_fall(y, z)
    assert off(found[:150], exact[:150]) < 4e-15
    assert off(found[150:], exact[150:]) < 1.2e-14  # counts a tenth or less of itself in s


def test_the_seed_of_a_market_quote() -> None:
    rng = np.random.default_rng(2)
    distance, total = rng.uniform(0, 0.7, 20_000), 10 ** rng.uniform(-4, 0.4, 20_000)
    f = 24000 * np.exp(-distance)
    p = black76.price(f, 24000, 1.0, total, True)
    worth = p >= 0.05
    _, _, seed, _ = normalised.prepare(p[worth], f[worth], 24000.0, 1.0, 1.0)
    miss, low = np.abs(seed / total[worth] - 1), total[worth] < 1
    assert worth.sum() > 5000
    assert miss.max() < 1e-4
    assert miss[low].max() < 3e-5


def exact_volatility(p: float, f: float, k: float, t: float, call: bool, near: float) -> mpf:
    price, forward, strike, years = mpf(p), mpf(f), mpf(k), mpf(t)
    value = price - max(0, forward - strike if call else strike - forward)
    x, root = abs(mpmath.log(forward / strike)), mpmath.sqrt(forward * strike)
    s = mpf(near) * mpmath.sqrt(years)
    for _ in range(4):
        h, half = x / s, s / 2
        near_tail = mpmath.erfc((h - half) / mpmath.sqrt(2)) * mpmath.exp(-x / 2)
        far_tail = mpmath.erfc((h + half) / mpmath.sqrt(2)) * mpmath.exp(x / 2)
        slope = mpmath.exp(-(h * h + half * half) / 2) / mpmath.sqrt(2 * mpmath.pi)
        s -= ((near_tail - far_tail) / 2 - value / root) / slope
    return s / mpmath.sqrt(years)


def quotes(count: int) -> tuple[np.ndarray, ...]:
    """Price, forward, strike, years, call: strikes of 0.5 to 1.7 forwards, minutes to 400 days,
    3 % to 300 %, a tick of time value or more."""
    rng = np.random.default_rng(4)
    n = 6 * count
    f, k = np.full(n, 24000.0), 24000 * rng.uniform(0.5, 1.7, n)
    t = np.exp(rng.uniform(np.log(2 / 525_600), np.log(400 / 365), n))
    v, call = np.exp(rng.uniform(np.log(0.03), np.log(3), n)), rng.random(n) < 0.5
    worth = black76.price(f, k, t, v, k >= f) >= 0.05
    p = black76.price(f, k, t, v, call)
    return tuple(column[worth][:count] for column in (p, f, k, t, call))


def test_volatilities_of_the_market_to_the_last_digits() -> None:
    columns = quotes(400)
    assert columns[0].size == 400
    found = black76.implied_volatility(*columns)
    rows = zip(*(column.tolist() for column in columns), found.tolist(), strict=True)
    exact = [exact_volatility(*row) for row in rows]
    pairs = zip(found.tolist(), exact, strict=True)
    assert max(float(abs(mpf(one) - other)) for one, other in pairs) < 1.5e-14
    assert off(found, exact) < 6e-15


def test_far_volatilities() -> None:
    # total volatility beyond `REACH`: by the other objective
    f, k = 24000.0, np.array([24000, 20000, 60000, 3000.0])
    for total in (2.2 * REACH, 6.0, 7.5):
        p = black76.price(f, k, 1.0, total, True)
        assert black76.implied_volatility(p, f, k, 1.0, True) == pytest.approx(total, rel=1e-9)


def model(f: mpf, k: mpf, t: mpf, v: mpf, r: mpf, call: bool) -> mpf:
    s = v * mpmath.sqrt(t)
    one = mpmath.log(f / k) / s + s / 2
    sign = 1 if call else -1
    inside = f * mpmath.ncdf(sign * one) - k * mpmath.ncdf(sign * (one - s))
    return mpmath.exp(-r * t) * sign * inside


@pytest.mark.parametrize("call", [True, False])
@pytest.mark.parametrize("k", [15000, 23000, 24000, 24500, 40000])
@pytest.mark.parametrize(("t", "v"), [(0.0005, 0.15), (0.08, 0.12), (0.5, 0.9), (4.0, 2.5)])
def test_greeks_are_the_derivatives_of_the_exact_price(
    call: bool, k: float, t: float, v: float
) -> None:
    f, r = mpf(24000), mpf("0.065")
    discount = mpmath.exp(-r * t)
    values = [mpf(k), mpf(t), mpf(v)]
    found = black76.greeks(24000, k, t, v, call, float(discount))

    def of(**change: mpf) -> mpf:
        at = {"f": f, "k": values[0], "t": values[1], "v": values[2], "r": r} | change
        return model(**at, call=call)

    exact = {
        "delta": mpmath.diff(lambda x: of(f=x), f),
        "gamma": mpmath.diff(lambda x: of(f=x), f, 2),
        "vega": mpmath.diff(lambda x: of(v=x), values[2]),
        "theta": -mpmath.diff(lambda x: of(t=x), values[1]) / 365,
        "rho": mpmath.diff(lambda x: of(r=x), r),
    }
    for name, value in exact.items():
        if abs(value) > mpf(10) ** -250:
            assert float(getattr(found, name)) == pytest.approx(float(value), rel=2e-12), name
