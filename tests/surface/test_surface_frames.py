from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
import pytest

from optrade.chain.greeks import greeks_close
from optrade.surface.frames import (
    MIN_QUOTES,
    smile_quotes,
    surface_close,
    surface_minute,
    surface_points_close,
    surface_points_minute,
)
from optrade.tables import TABLES

Frame = pl.DataFrame
DAY = date(2026, 1, 5)
DAYS = [DAY + timedelta(n) for n in range(4)]
PARAMETERS = ("a", "b", "rho", "m", "sigma")
ARBITRAGE = {
    7: (0.0009, 0.01, -0.3, 0.0, 0.03),
    28: (0.0007, 0.01, -0.3, 0.0, 0.03),
    91: (0.0010, 0.05, 0.7, 0.09, 0.03),
}
"""The second expiry lies below the first; the third has a butterfly in its right wing."""


@pytest.fixture(scope="module")
def chain(smile_chain: Callable[..., Frame]) -> Frame:
    return smile_chain()


@pytest.fixture(scope="module")
def surface(chain: Frame) -> Frame:
    return surface_close(chain, greeks_close(chain))


def test_the_surface_is_the_one_behind_the_prices(
    surface: Frame, true_slices: dict[int, tuple[float, ...]]
) -> None:
    TABLES["analytics.surface_close"].pandera.validate(surface)
    assert surface.height == len(true_slices)
    for row, (ahead, truth) in zip(surface.iter_rows(named=True), true_slices.items(), strict=True):
        assert row["expiry"] == DAY + timedelta(ahead)
        assert [row[name] for name in PARAMETERS] == pytest.approx(truth, rel=0.02, abs=1e-3)
        a, b, rho, m, sigma = truth
        atm = np.sqrt((a + b * (-rho * m + np.hypot(m, sigma))) / (ahead / 365))
        assert row["atm_iv"] == pytest.approx(atm, abs=2e-5)
        assert row["rmse"] < 1e-4
        assert row["quotes"] == 41
        reach = 3.5 * atm * np.sqrt(ahead / 365)
        ends = [row["low_log_moneyness"], row["high_log_moneyness"]]
        assert ends == pytest.approx([-reach, reach])
        assert row["risk_reversal_25"] < 0 < row["butterfly_25"]
        assert (row["butterfly_violations"], row["calendar_violations"]) == (0, 0)
        assert (row["repaired"], row["reason"], row["points_reason"]) == (False, None, None)
        assert row["fit_rmse"] == row["rmse"]
        assert row["fit_calendar_gap"] is None


def test_out_of_the_money_quotes_count_by_their_own_error(chain: Frame) -> None:
    quotes = smile_quotes(greeks_close(chain).filter(pl.col("expiry") == DAY + timedelta(28)))
    call = pl.col("option_type") == "CE"
    assert quotes.filter(call)["k"].min() > 0 >= quotes.filter(~call)["k"].max()
    assert quotes["strike"].is_unique().all()
    row = quotes.row(3, named=True)
    iv_weight = 1 / (row["iv_error"] ** 2 + (0.01 * row["iv"]) ** 2)
    assert row["w"] == pytest.approx(row["iv"] ** 2 * 28 / 365)
    assert row["weight"] == pytest.approx(iv_weight / (2 * row["iv"] * 28 / 365) ** 2)


def test_every_null_has_its_reason(smile_chain: Callable[..., Frame]) -> None:
    chain = smile_chain(smiles={n: (0.001 * n, 0.02, 0.0, 0.0, 0.1) for n in (7, 14, 21, 28, 35)})
    expiry = {n: pl.col("expiry") == DAY + timedelta(n) for n in (7, 14, 21, 28, 35)}
    rank = pl.col("strike").rank("dense").over("expiry")
    chain = chain.with_columns(
        years_to_expiry=pl.when(expiry[7]).then(0.0).otherwise("years_to_expiry"),
        forward=pl.when(~expiry[14]).then("forward"),
        close_price=pl.when(~(expiry[21] & (rank > MIN_QUOTES - 1))).then("close_price"),
    ).filter(~expiry[28] | (pl.col("strike") > 25_200))
    surface = surface_close(chain, greeks_close(chain))
    TABLES["analytics.surface_close"].pandera.validate(surface)
    assert surface["reason"].to_list() == ["expired", "no_forward", "few_quotes", None, None]
    assert surface["points_reason"].to_list() == [*["no_slice"] * 3, "outside_quotes", None]
    assert surface["quotes"].to_list() == [0, 0, MIN_QUOTES - 1, *surface["quotes"].to_list()[3:]]
    none = surface.head(3)
    for name in (*PARAMETERS, "rmse", "min_g", "butterfly_violations", "fit_rmse", "atm_iv"):
        assert none[name].null_count() == 3, name
    assert surface.row(3, named=True)["atm_iv"] is None
    assert surface["repaired"].to_list() == [False] * 5


def test_a_surface_without_any_slice(chain: Frame) -> None:
    dry = chain.with_columns(close_price=pl.lit(None, pl.Float64))
    surface = surface_close(dry, greeks_close(dry))
    assert set(surface["reason"]) == {"few_quotes"}
    points = surface_points_close(surface)
    assert set(points["reason"]) == {"no_slice"}
    assert surface_close(dry.clear(), greeks_close(dry.clear())).is_empty()
    assert surface_points_close(surface.clear()).is_empty()


def test_repair_is_asked_for_and_told(smile_chain: Callable[..., Frame]) -> None:
    chain = smile_chain(smiles=ARBITRAGE)
    greeks = greeks_close(chain)
    plain = surface_close(chain, greeks, repair=False)
    assert plain["repaired"].to_list() == [False] * 3
    assert plain["calendar_violations"].to_list()[1] == 1
    assert plain["butterfly_violations"].to_list()[2] >= 1
    assert plain["fit_calendar_gap"].to_list()[1] == pytest.approx(0.0002, rel=0.01)
    # The two slices differ by a constant, so the gap may be anywhere; g is least in the right wing.
    where = plain["fit_calendar_gap_log_moneyness"].to_list()[1]
    assert plain["low_log_moneyness"][1] <= where <= plain["high_log_moneyness"][1]
    assert 0 < plain["fit_min_g_log_moneyness"].to_list()[2] <= plain["high_log_moneyness"][2]
    new = surface_close(chain, greeks)
    assert new["repaired"].to_list() == [False, True, True]
    assert new["butterfly_violations"].sum() == new["calendar_violations"].sum() == 0
    assert new["min_g"].min() >= 0
    for name in ("rmse", "min_g", "butterfly_violations", "calendar_violations"):
        assert new[f"fit_{name}"].to_list() == plain[name].to_list()
    assert (new["rmse"] >= new["fit_rmse"]).all()
    assert new["rmse"].max() < 0.02


@pytest.mark.parametrize("smiles", [None, ARBITRAGE])
def test_days_alone_or_together_give_the_same_bits(
    smile_chain: Callable[..., Frame], smiles: dict[int, tuple[float, ...]] | None
) -> None:
    chain = pl.concat(
        smile_chain(DAYS, smiles=smiles, underlying=name, noise=0.003)
        for name in ("NIFTY", "BANKNIFTY")
    ).with_columns(close_price=pl.when(pl.int_range(pl.len()) % 5 > 0).then("close_price"))
    greeks = greeks_close(chain)
    together = surface_close(chain, greeks)
    assert together["a"].null_count() == 0
    assert together["repaired"].any() == (smiles is not None)
    apart = [
        surface_close(
            chain.filter(here).sample(fraction=1, shuffle=True, seed=1), greeks.filter(here)
        )
        for here in (pl.col("trade_date") == day for day in DAYS)
    ]
    assert together.equals(pl.concat(apart).sort(TABLES["analytics.surface_close"].order))
    points = surface_points_close(together)
    each = [surface_points_close(one) for one in apart]
    assert points.equals(pl.concat(each).sort(TABLES["analytics.surface_points_close"].order))


def test_constant_maturities(surface: Frame) -> None:
    points = surface_points_close(surface, (3, 7, 30, 91, 120))
    TABLES["analytics.surface_points_close"].pandera.validate(points)
    reasons = ["before_first_expiry", None, None, None, "after_last_expiry"]
    assert points["reason"].to_list() == reasons
    by_days = {row["maturity_days"]: row for row in points.iter_rows(named=True)}
    near, middle, far = surface.iter_rows(named=True)
    for days, row in ((7, near), (91, far)):
        for name in ("atm_iv", "put_25_iv", "call_25_log_moneyness"):
            assert by_days[days][name] == pytest.approx(row[name], rel=1e-12)
    ends = [row["atm_iv"] ** 2 * row["years_to_expiry"] for row in (middle, far)]
    w = ends[0] + (30 - 28) / (91 - 28) * (ends[1] - ends[0])
    assert by_days[30]["atm_iv"] == pytest.approx(np.sqrt(w / (30 / 365)))
    assert (by_days[30]["near_expiry"], by_days[30]["far_expiry"]) == (
        DAY + timedelta(28),
        DAY + timedelta(91),
    )


def test_the_minute_grain_is_the_same_code(chain: Frame, surface: Frame) -> None:
    minutes = [datetime(2026, 1, 5, 9, 15 + n, tzinfo=ZoneInfo("Asia/Kolkata")) for n in (0, 1)]
    stamp = TABLES["analytics.surface_minute"].schema["minute"]
    greeks = greeks_close(chain)
    by_minute = [
        pl.concat(frame.with_columns(minute=pl.lit(at).cast(stamp)) for at in minutes)
        for frame in (chain, greeks)
    ]
    found = surface_minute(*by_minute)
    TABLES["analytics.surface_minute"].pandera.validate(found)
    points = surface_points_minute(found)
    TABLES["analytics.surface_points_minute"].pandera.validate(points)
    for at in minutes:
        here = pl.col("minute") == at
        assert found.filter(here).drop("minute").equals(surface)
        assert points.filter(here).drop("minute").equals(surface_points_close(surface))
