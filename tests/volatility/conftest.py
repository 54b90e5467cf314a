"""A made-up NIFTY chain whose every option is priced by Black's model at one volatility."""

from __future__ import annotations

import os
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from optrade.pricing.black76 import price

RATE = 0.065


def flat_chain(
    day: date,
    expiries: dict[date, float],
    spot: float = 24_000.0,
    step: int = 50,
    reach: int = 100,
) -> pl.DataFrame:
    """What the replica reads of `snapshots.chain_close`; `expiries` with their volatility."""
    frames = []
    for expiry, volatility in expiries.items():
        years = (expiry - day).days / 365
        forward = spot * np.exp(RATE * years)
        strikes = np.arange(spot - reach * step, spot + (reach + 1) * step, step, dtype=np.float64)
        for side, call in (("CE", True), ("PE", False)):
            prices = np.exp(-RATE * years) * price(forward, strikes, years, volatility, call)
            frames.append(
                pl.DataFrame(
                    {
                        "trade_date": day,
                        "underlying": "NIFTY",
                        "expiry": expiry,
                        "strike": strikes,
                        "option_type": side,
                        "close_price": prices,
                        "trades": 1_000,
                        "forward": forward,
                        "forward_basis": "parity",
                        "years_to_expiry": years,
                        "source": "exchange",
                    }
                )
            )
    return pl.concat(frames)


def futures_of(chain: pl.DataFrame) -> pl.DataFrame:
    """The futures of a chain's expiries, at its forwards."""
    one = chain.group_by("trade_date", "underlying", "expiry").agg(close=pl.col("forward").first())
    return one.with_columns(instrument_type=pl.lit("FUT"), volume_lots=pl.lit(100))


def published(closes: dict[date, float]) -> pl.DataFrame:
    """India VIX as `raw.index_close` has it."""
    days = {"trade_date": list(closes), "close": list(closes.values())}
    schema = {"trade_date": pl.Date, "close": pl.Float64}
    return pl.DataFrame(days, schema=schema).with_columns(index_name=pl.lit("India VIX"))


def weekdays(first: date, n: int) -> list[date]:
    """The first `n` weekdays from a day on."""
    days = (first + timedelta(days=i) for i in range(n * 2 + 2))
    return [day for day in days if day.weekday() < 5][:n]


@pytest.fixture(scope="session")
def nse() -> Path:
    """The folder of real exchange files."""
    shared = Path(os.environ.get("MARKET_FILES", Path(__file__).parents[3] / "shared"))
    folder = shared / "data" / "nse"
    if not folder.is_dir():
        pytest.skip(f"no real files: {folder} is absent (set MARKET_FILES)")
    return folder
