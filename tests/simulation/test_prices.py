"""Prices obey parity, carry the model's smile and give the published India VIX back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optrade.pricing.black76 import implied_volatility
from optrade.simulation import MarketDay, Variance
from optrade.simulation.book import CALL, Book
from optrade.simulation.listing import Expiry
from optrade.simulation.parameters import DIVIDEND_YIELD, NIFTY, RATE, UNDERLYINGS
from optrade.simulation.quotes import MOMENTS, price, sessions_to
from optrade.simulation.smile import (
    atm_total_variance,
    fair_variance,
    total_variance,
    volatility_index,
)

Tables = Mapping[str, pl.DataFrame]


def _pairs(market: Sequence[MarketDay], least_trades: int) -> pl.DataFrame:
    """Calls beside puts that both traded often: strike, years, forward, discount, C and P."""
    frames = []
    for one in market:
        rows = one.contracts.filter(
            pl.col("is_index")
            & (pl.col("trades") >= least_trades)
            & (pl.col("expiry") > one.day)
            & (pl.col("kind") > 0)
        )
        key = ["underlying", "expiry", "strike", "underlying_price"]
        calls, puts = (rows.filter(pl.col("kind") == kind) for kind in (1, 2))
        both = calls.select(*key, call="close").join(puts.select(*key, put="close"), on=key)
        years = (pl.col("expiry") - one.day).dt.total_days() / 365
        frames.append(both.with_columns(years=years, day=pl.lit(one.day)))
    return pl.concat(frames).with_columns(
        forward=pl.col("underlying_price") * ((RATE - DIVIDEND_YIELD) * pl.col("years")).exp(),
        discount=(-RATE * pl.col("years")).exp(),
    )


def test_put_call_parity_holds_to_the_tick(market: Sequence[MarketDay]) -> None:
    pairs = _pairs(market, 50).filter(pl.min_horizontal("call", "put") > 0.05)
    gap = (
        pl.col("call") - pl.col("put") - pl.col("discount") * (pl.col("forward") - pl.col("strike"))
    )
    assert len(pairs) > 3000
    assert pairs.select(gap.abs().max()).item() <= 0.05 + 1e-9


def test_a_strike_has_one_volatility_and_puts_are_dearer(market: Sequence[MarketDay]) -> None:
    pairs = _pairs(market, 50).filter(pl.min_horizontal("call", "put") > 20)
    f, k, t, d = (pairs[name].to_numpy() for name in ("forward", "strike", "years", "discount"))
    call = implied_volatility(pairs["call"].to_numpy() / d, f, k, t, is_call=True)
    put = implied_volatility(pairs["put"].to_numpy() / d, f, k, t, is_call=False)
    assert np.nanmax(np.abs(call - put)) < 0.002
    assert not np.isnan(call).any()
    down = pairs.with_columns(iv=call, k=np.log(k / f) / np.sqrt(t)).filter(pl.col("k") < -0.05)
    money = pairs.with_columns(iv=call, k=np.log(k / f) / np.sqrt(t)).filter(
        pl.col("k").abs() < 0.02
    )
    group = ["day", "underlying", "expiry"]
    both = (
        down.group_by(group)
        .agg(pl.col("iv").max())
        .join(money.group_by(group).agg(pl.col("iv").mean()), on=group, suffix="_atm")
    )
    assert len(both) > 100
    assert (both["iv"] > both["iv_atm"]).all()


def test_the_smile_is_recovered_from_the_prices() -> None:
    day, model = date(2026, 1, 5), Variance()
    expiry = Expiry(date(2026, 2, 24), date(2026, 2, 24), monthly=True)
    ladder = np.arange(22_000, 28_001, 50, dtype=np.int64)
    book = Book.list_contracts(0, NIFTY, expiry, ladder, future=False, first=1)
    spots = np.full((len(MOMENTS), 1), 25_000.0)
    variance = np.full(len(MOMENTS), 0.02)
    quotes = price(day, book, (NIFTY,), spots, variance, model)
    years, sessions = (expiry.day - day).days / 365, np.busday_count(day, expiry.day) / 252
    forward = 25_000.0 * np.exp((RATE - DIVIDEND_YIELD) * years)
    theta = atm_total_variance(0.02, sessions, model, 1.0)
    k = np.log(book.strike / forward)
    expected = np.sqrt(total_variance(k, np.broadcast_to(theta, k.shape), NIFTY.smile) / years)
    got = implied_volatility(
        quotes.ticks[-1] / 20 * np.exp(RATE * years), forward, book.strike, years, book.kind == CALL
    )
    out = (book.kind == CALL) == (book.strike > forward)
    assert np.abs(got - expected)[out].max() < 1e-3
    assert np.allclose(quotes.forward, forward)


@given(variance=st.floats(0.0025, 0.25), sessions=st.floats(0.5, 600))
@settings(max_examples=60, deadline=None)
@pytest.mark.parametrize("underlying", UNDERLYINGS, ids=lambda u: u.symbol)
def test_the_surface_has_no_arbitrage(underlying: object, variance: float, sessions: float) -> None:
    smile, ratio = underlying.smile, underlying.asset.variance_ratio  # type: ignore[attr-defined]
    model = Variance()
    theta = atm_total_variance(variance, np.array([sessions, sessions + 1]) / 252, model, ratio)
    k = np.linspace(-1, 1, 801) * max(6 * float(np.sqrt(theta[0])), 0.05)
    near = total_variance(k, np.full_like(k, theta[0]), smile)
    later = total_variance(k, np.full_like(k, theta[1]), smile)
    assert (later >= near).all()
    step = k[1] - k[0]
    first, second = np.gradient(near, step), np.gradient(np.gradient(near, step), step)
    durrleman = (1 - k * first / (2 * near)) ** 2 - first**2 / 4 * (1 / near + 0.25) + second / 2
    assert durrleman[2:-2].min() > -1e-3


def test_a_weekend_session_leaves_time_to_mondays_expiry() -> None:
    expiries = np.array(["2026-11-06", "2026-11-08", "2026-11-09", "2026-11-17"], "datetime64[D]")
    assert sessions_to(date(2026, 11, 6), expiries).tolist() == [0, 1, 1, 7]
    assert sessions_to(date(2026, 11, 8), expiries[1:]).tolist() == [0, 1, 7]


def test_fair_variance_of_a_flat_smile_is_itself() -> None:
    flat = type(NIFTY.smile)(rho=0.0, eta=1e-9)
    assert np.allclose(fair_variance(np.array([0.001, 0.04]), flat), [0.001, 0.04], rtol=1e-6)
    vix = volatility_index(np.array(0.01), np.array(0.02), np.array([20.0, 50.0]))
    assert vix == pytest.approx(100 * np.sqrt((0.01 + 0.01 / 3) * 365 / 30))


def test_india_vix_follows_from_the_option_prices(tables: Tables, days: Sequence[date]) -> None:
    published = tables["index_close"].filter(pl.col("index_name") == "India VIX")
    for day in days[::5]:
        rows = tables["fo_bhavcopy"].filter(
            (pl.col("trade_date") == day) & (pl.col("underlying") == "NIFTY")
        )
        futures = rows.filter(pl.col("instrument_type") == "FUT").sort("expiry")
        months = [e for e in futures["expiry"] if (e - day).days >= 2][:2]
        if len(months) < 2:
            continue
        strips = np.array([_strip(rows, day, expiry) for expiry in months])
        ages = np.array([float((expiry - day).days) for expiry in months])
        got = float(volatility_index(strips[0], strips[1], ages))
        close = published.filter(pl.col("trade_date") == day)["close"][0]
        assert abs(got - close) < 0.35, (day, got, close)


def _strip(rows: pl.DataFrame, day: date, expiry: date) -> float:
    """Total variance of one expiry by CBOE's sum over the options that traded."""
    mine = rows.filter((pl.col("expiry") == expiry) & (pl.col("volume_lots") > 0))
    forward = mine.filter(pl.col("instrument_type") == "FUT")["close"][0]
    out = mine.filter(
        ((pl.col("instrument_type") == "CE") & (pl.col("strike") > forward))
        | ((pl.col("instrument_type") == "PE") & (pl.col("strike") <= forward))
    ).sort("strike")
    k, q = out["strike"].to_numpy(), out["close"].to_numpy()
    years = (expiry - day).days / 365
    at = k[k <= forward].max()
    total = 2 * np.exp(RATE * years) * (np.gradient(k) / k**2 * q).sum()
    return float(total - (forward / at - 1) ** 2)
