"""Gamma exposure: worked by hand, under every assumption, whatever days are in the frame."""

from __future__ import annotations

import math
from datetime import date

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from optrade.chain.exposure import (
    REACH,
    dealer_weights,
    flips,
    gamma_curves,
    gamma_exposure_close,
)
from optrade.pricing import black76

DAY, EXPIRY = date(2026, 1, 5), date(2026, 1, 20)
SPOT, FORWARD, YEARS, IV = 99.0, 100.0, 0.04, 0.2
PAIR = [("CE", 105.0, 1000), ("PE", 95.0, 1000)]


def book(options, day=DAY, iv=IV, spot=SPOT):
    """Chain and greeks of options given as (side, strike, open interest)."""
    rows = [
        {
            "trade_date": day, "underlying": "NIFTY", "expiry": EXPIRY, "strike": strike,
            "option_type": side, "oi_units": oi, "spot": spot, "forward": FORWARD, "iv": iv,
            "years_to_expiry": YEARS, "discount_factor": 0.99, "source": "exchange",
        }
        for side, strike, oi in options
    ]  # fmt: skip
    frame = pl.DataFrame(rows, schema_overrides={"iv": pl.Float64(), "spot": pl.Float64()})
    return frame.drop("forward", "iv"), frame.drop("oi_units", "spot")


def weights(call=None, put=None, day=DAY):
    rows = [] if call is None else [{"trade_date": day, "call_weight": call, "put_weight": put}]
    schema = {"trade_date": pl.Date(), "call_weight": pl.Float64(), "put_weight": pl.Float64()}
    return pl.DataFrame(rows, schema=schema)


def of(rows, assumption):
    return rows.filter(assumption=assumption).row(0, named=True)


def test_one_call_and_one_put_by_hand():
    """Equal gammas where |d1| is equal: at F' = sqrt(K1 K2) exp(-v^2 / 2) with v = 0.2 x 0.2."""
    rows = gamma_exposure_close(*book(PAIR), weights())
    long = of(rows, "calls_long")
    total = 0.04
    d1 = math.log(FORWARD / 105) / total + total / 2
    density = math.exp(-d1 * d1 / 2) / math.sqrt(2 * math.pi)
    gamma = 0.99 * density / (FORWARD * total)
    assert long["call_gamma_rupees"] == pytest.approx(1000 * gamma * FORWARD**2 / 100, rel=1e-14)
    library = black76.greeks(FORWARD, 105, YEARS, IV, True, 0.99).gamma
    assert gamma == pytest.approx(float(library), rel=1e-12)
    assert long["exposure_rupees"] == long["call_gamma_rupees"] - long["put_gamma_rupees"]
    flip = math.sqrt(105 * 95) * math.exp(-(total**2) / 2) / FORWARD * SPOT
    assert long["flip_level"] == pytest.approx(flip, rel=1e-6)
    assert long["label"] == "above_flip"
    short = of(rows, "calls_short")
    assert short["exposure_rupees"] == -long["exposure_rupees"]
    assert short["flip_level"] == long["flip_level"]
    unknown = of(rows, "participants")
    assert (unknown["exposure_rupees"], unknown["reason"]) == (None, "no_positions")


def test_the_label_needs_agreement():
    chain, greeks = book(PAIR)
    agree = gamma_exposure_close(chain, greeks, weights(0.1, -0.1))
    assert set(agree["label"]) == {"above_flip"}
    both_short = gamma_exposure_close(chain, greeks, weights(-0.1, -0.2))
    assert set(both_short["label"]) == {"indeterminate"}
    assert of(both_short, "participants")["reason"] == "no_flip"
    apart = gamma_exposure_close(chain, greeks, weights(0.02, -0.2))
    assert set(apart["label"]) == {"indeterminate"}
    assert (
        abs(of(apart, "participants")["flip_level"] - of(apart, "calls_long")["flip_level"]) > 0.5
    )


def test_what_is_not_known_is_null_with_a_reason():
    chain, greeks = book(PAIR, iv=None)
    bare = of(gamma_exposure_close(chain, greeks, weights(0.1, -0.1)), "calls_long")
    assert (bare["exposure_rupees"], bare["label"], bare["reason"]) == (None, None, "no_volatility")
    assert bare["oi_share"] == 0.0
    chain, greeks = book(PAIR, spot=None)
    spotless = of(gamma_exposure_close(chain, greeks, weights()), "calls_long")
    assert spotless["exposure_rupees"] > 0
    assert (spotless["flip_level"], spotless["reason"]) == (None, "no_spot")
    chain, greeks = book(PAIR)
    half = pl.when(option_type="CE").then("iv")
    partly = of(gamma_exposure_close(chain, greeks.with_columns(iv=half), weights()), "calls_long")
    assert (partly["options"], partly["oi_share"]) == (1, 0.5)


def test_a_day_is_the_same_alone_and_among_others():
    other = date(2026, 1, 6)
    one, two = book(PAIR), book([("CE", 101.0, 7), ("PE", 99.0, 9), ("PE", 90.0, 65)], other)
    both = (pl.concat([one[0], two[0]]), pl.concat([one[1], two[1]]))
    used = pl.concat([weights(0.1, -0.3), weights(-0.2, -0.1, other)])
    together = gamma_exposure_close(*both, used)
    for part in (one, two):
        day = part[0]["trade_date"][0]
        alone = gamma_exposure_close(*part, used.filter(trade_date=day))
        assert alone.equals(together.filter(trade_date=day))


def test_what_pro_holds_gives_the_weights():
    positions = pl.DataFrame(
        {
            "trade_date": [DAY] * 3,
            "participant": ["PRO", "PRO", "FII"],
            "segment": ["index_call", "index_put", "index_call"],
            "long_contracts": [30, 50, 999],
            "short_contracts": [70, 50, 1],
            "net_contracts": [-40, 0, 998],
        }
    )
    assert dealer_weights(positions).row(0) == (DAY, -0.4, 0.0)


@given(
    levels=st.lists(
        st.floats(-1, 1).filter(lambda x: x == 0 or abs(x) > 1e-6), min_size=2, max_size=9
    )
)
def test_a_flip_lies_between_values_of_opposite_signs_and_none_is_nearer(levels):
    moves = np.linspace(-REACH, REACH, len(levels))
    grid = np.linspace(-REACH, REACH, 81)
    curve = np.interp(grid, moves, levels)
    (found,) = flips(curve[None, :])
    changes = [
        (a, b)
        for a, b, left, right in zip(grid, grid[1:], curve, curve[1:], strict=False)
        if (left < 0) != (right < 0)
    ]
    if not changes:
        assert np.isnan(found)
        return
    assert any(a - 1e-12 <= found <= b + 1e-12 for a, b in changes)
    assert all(max(abs(a), abs(b)) >= abs(found) - 1e-12 for a, b in changes)


def test_curves_are_those_of_each_book_alone():
    chain, greeks = book([("CE", 100.0 + k, 10 * k + 1) for k in range(9)])
    key = ["trade_date", "underlying", "expiry", "strike", "option_type"]
    options = chain.join(greeks.select(*key, "iv", "forward"), on=key)
    numbered = options.with_columns(book=pl.int_range(pl.len()))
    calls, puts = gamma_curves(numbered, 9)
    whole, none = gamma_curves(options.with_columns(book=pl.lit(0)), 1)
    assert np.allclose(calls.sum(0), whole[0], rtol=1e-14)
    assert not puts.any()
    assert not none.any()
