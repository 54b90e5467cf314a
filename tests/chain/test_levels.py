"""Walls and priced-in moves, worked by hand."""

from __future__ import annotations

import math
from datetime import date

import polars as pl
import pytest

from optrade.chain.grain import CLOSE
from optrade.chain.levels import moves, walls

DAY = date(2026, 1, 5)
EXPIRIES = [date(2026, 1, 6), date(2026, 1, 13), date(2026, 1, 27)]


def chain(rows, spot=100.0):
    """Options given as (side, strike, open interest, its change)."""
    return pl.DataFrame(
        [
            {
                "trade_date": DAY, "underlying": "NIFTY", "expiry": EXPIRIES[0], "spot": spot,
                "option_type": side, "strike": strike, "oi_units": oi, "oi_change_units": change,
            }
            for side, strike, oi, change in rows
        ]
    )  # fmt: skip


def test_walls_stand_where_open_interest_is_largest_and_rose_most():
    rows = [("CE", 100.0, 5, 4), ("CE", 105.0, 9, -3), ("CE", 110.0, 7, 6)]
    rows += [("PE", 90.0, 8, -1), ("PE", 95.0, 2, -2)]
    (found,) = walls(chain(rows), CLOSE).to_dicts()
    assert (found["call_wall_strike"], found["call_wall_oi_units"]) == (105.0, 9)
    assert (found["call_oi_rise_strike"], found["call_oi_rise_units"]) == (110.0, 6)
    assert (found["put_wall_strike"], found["put_wall_oi_units"]) == (90.0, 8)
    assert (found["put_oi_rise_strike"], found["put_oi_rise_units"]) == (None, None)


def test_of_equal_walls_the_nearest_to_spot_counts_then_the_lower():
    rows = [("CE", k, 5, 0) for k in (90.0, 104.0, 96.0, 120.0)] + [("PE", 95.0, 1, 0)]
    (found,) = walls(chain(rows), CLOSE).to_dicts()
    assert found["call_wall_strike"] == 96.0


@pytest.mark.parametrize("oi", [None, 0])
def test_no_wall_where_open_interest_is_unknown_or_none(oi):
    (found,) = walls(chain([("CE", 100.0, oi, None), ("PE", 100.0, 3, 1)]), CLOSE).to_dicts()
    assert found["call_wall_strike"] is None
    assert found["put_wall_strike"] == 100.0


def metrics(*terms):
    """Expiries given as (years, volatility)."""
    rows = [
        {
            "trade_date": DAY, "underlying": "NIFTY", "expiry": expiry, "forward": 100.0,
            "years_to_expiry": years, "atm_iv": iv, "atm_straddle": 2.5,
        }
        for expiry, (years, iv) in zip(EXPIRIES, terms, strict=False)
    ]  # fmt: skip
    return pl.DataFrame(rows, schema_overrides={"atm_iv": pl.Float64()})


def test_the_moves_and_the_volatility_between_expiries_by_hand():
    first, second = moves(metrics((0.01, 0.10), (0.04, 0.20)), CLOSE).to_dicts()
    assert first["expected_move_iv"] == pytest.approx(100 * 0.10 * 0.1)
    assert second["expected_move_iv"] == pytest.approx(100 * 0.20 * 0.2)
    assert first["expected_move_straddle"] == 2.5
    assert (first["forward_iv"], first["forward_iv_reason"]) == (None, "first_expiry")
    between = math.sqrt((0.04 * 0.04 - 0.01 * 0.01) / 0.03)
    assert second["forward_iv"] == pytest.approx(between, rel=1e-14)
    assert second["forward_iv_reason"] is None


def test_a_falling_variance_and_a_missing_volatility_are_told():
    rows = moves(metrics((0.01, 0.50), (0.04, 0.20), (0.08, None)), CLOSE).to_dicts()
    assert [row["forward_iv"] for row in rows] == [None] * 3
    reasons = [row["forward_iv_reason"] for row in rows]
    assert reasons == ["first_expiry", "variance_falls", "no_atm_iv"]
