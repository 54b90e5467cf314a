from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optrade.pricing.forward import MIN_PAIRS, RATE, forwards, parity_forwards

DAY = date(2025, 1, 1)
KEY = ["trade_date", "underlying", "expiry"]


def expiry_frame(days: int = 30, spot: float | None = 24000.0) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "trade_date": [DAY],
            "underlying": ["NIFTY"],
            "expiry": [DAY + timedelta(days)],
            "years": [days / 365],
            "spot": [spot],
        },
        schema_overrides={"spot": pl.Float64},
    )


def quotes(
    forward: float,
    discount: float,
    strikes: np.ndarray,
    days: int = 30,
    noise: np.ndarray | float = 0.0,
    volume: int = 10,
) -> pl.DataFrame:
    """Calls and puts that obey parity, but for `noise` on the calls."""
    value = 40.0
    call = discount * (np.maximum(forward - strikes, 0) + value) + noise
    put = discount * (np.maximum(strikes - forward, 0) + value)
    side = {"trade_date": DAY, "underlying": "NIFTY", "expiry": DAY + timedelta(days)}
    return pl.concat(
        pl.DataFrame(
            side | {"strike": strikes, "option_type": kind, "price": price, "volume": volume}
        )
        for kind, price in (("CE", call), ("PE", put))
    )


def no_futures() -> pl.DataFrame:
    return future(1.0, volume=0)


def future(price: float, days: int = 30, volume: int = 5) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "trade_date": [DAY],
            "underlying": ["NIFTY"],
            "expiry": [DAY + timedelta(days)],
            "price": [price],
            "volume": [volume],
        }
    )


STRIKES = np.arange(23500.0, 24700.0, 50.0)


@settings(deadline=None, max_examples=60)
@given(st.floats(23800, 24400), st.integers(0, 400), st.floats(0.05, 0.08))
def test_exact_quotes_give_the_forward(forward: float, days: int, rate: float) -> None:
    discount = float(np.exp(-rate * days / 365))
    found = parity_forwards(quotes(forward, discount, STRIKES, days), expiry_frame(days))
    assert found["parity"].item() == pytest.approx(forward, rel=1e-5)
    assert found["parity_pairs"].item() == 16


def test_far_out_the_quotes_pin_the_discount() -> None:
    wide = np.arange(22000.0, 27000.0, 500.0)
    exact = np.exp(-0.075 * 2)
    found = parity_forwards(quotes(24500, exact, wide, 730), expiry_frame(730))
    assert found["parity_discount"].item() == pytest.approx(exact, rel=1e-6)


def test_near_expiry_the_configured_rate_does() -> None:
    noise = np.random.default_rng(1).normal(0, 1, STRIKES.size)
    found = parity_forwards(quotes(24050, 0.9, STRIKES, 7, noise), expiry_frame(7))
    least, most = np.exp(-np.array([RATE + 0.03, RATE - 0.03]) * 7 / 365)
    assert least <= found["parity_discount"].item() <= most


def test_a_stale_pair_is_rejected() -> None:
    noise = np.zeros(STRIKES.size)
    noise[[8, 12]] = 90.0, -150.0
    found = parity_forwards(quotes(24050, 0.995, STRIKES, 30, noise), expiry_frame())
    assert found["parity"].item() == pytest.approx(24050, abs=0.5)
    assert found["parity_pairs"].item() == 14


def test_only_pairs_that_traded_count() -> None:
    book = quotes(24050, 0.995, STRIKES).with_columns(
        volume=pl.when(pl.col("strike").is_in([23950.0, 24000.0, 24050.0])).then(3).otherwise(0),
        price=pl.when(pl.col("strike") == 24100).then(None).otherwise("price"),
    )
    assert parity_forwards(book, expiry_frame())["parity_pairs"].item() == MIN_PAIRS
    one_leg = book.filter((pl.col("strike") != 24000) | (pl.col("option_type") == "CE"))
    assert parity_forwards(one_leg, expiry_frame()).is_empty()


def test_scattered_pairs_are_too_thin() -> None:
    scatter = np.array([0.0, 900.0, -1500.0])
    book = quotes(24050, 0.995, STRIKES[8:11], 30, scatter)
    found = forwards(book, future(24100.0), expiry_frame())
    assert found.select("forward", "forward_basis").row(0) == (24100.0, "future")


def test_order_of_bases() -> None:
    book, thin = quotes(24050, 0.995, STRIKES), quotes(24050, 0.995, STRIKES[10:12])
    carried = 24000 * np.exp(RATE * 30 / 365)
    flat = np.exp(-RATE * 30 / 365)
    cases = [
        (book, future(24100.0), expiry_frame(), 24050, "parity", 16),
        (thin, future(24100.0), expiry_frame(), 24100.0, "future", None),
        (thin, future(24100.0, volume=0), expiry_frame(), carried, "carry", None),
        (thin, future(24100.0, days=37), expiry_frame(), carried, "carry", None),
    ]
    for options, futures, expiries, forward, basis, pairs in cases:
        row = forwards(options, futures, expiries).row(0, named=True)
        assert row["forward"] == pytest.approx(forward, rel=1e-6)
        assert (row["forward_basis"], row["parity_pairs"]) == (basis, pairs)
        assert row["discount_factor"] == pytest.approx(flat, rel=1e-3)


def test_nothing_pins_it() -> None:
    row = forwards(quotes(1, 1, STRIKES).clear(), no_futures(), expiry_frame(spot=None)).row(0)
    assert row[3:] == (None, None, None, None)


def test_rate_is_an_argument() -> None:
    found = forwards(quotes(1, 1, STRIKES).clear(), no_futures(), expiry_frame(365), rate=0.10)
    assert found["forward"].item() == pytest.approx(24000 * np.exp(0.10))
    assert found["discount_factor"].item() == pytest.approx(np.exp(-0.10))
