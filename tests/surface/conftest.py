"""Chains whose volatilities lie on known slices."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest

from optrade.pricing import black76
from optrade.surface.svi import Slices, slices, total_variance
from optrade.tables import TABLES

Frame = pl.DataFrame
DAY = date(2026, 1, 5)
TRUE = {
    7: (0.0002, 0.010, -0.3, 0.004, 0.02),
    28: (0.0008, 0.022, -0.35, 0.008, 0.05),
    91: (0.0030, 0.045, -0.4, 0.015, 0.09),
}
"""Arbitrage-free raw parameters by days to expiry."""


@pytest.fixture(scope="session")
def vogt() -> Slices:
    """A. Vogt's slice with a butterfly, from Gatheral and Jacquier (2014), section 3.1."""
    return slices(-0.0410, 0.1331, 0.3060, 0.3586, 0.4153)


@pytest.fixture(scope="session")
def true_slices() -> dict[int, tuple[float, ...]]:
    return TRUE


def chain_of(
    days: Sequence[date] = (DAY,),
    smiles: dict[int, tuple[float, ...]] | None = None,
    underlying: str = "NIFTY",
    noise: float = 0.0,
    forward: float = 25_000.0,
) -> Frame:
    """Rows of snapshots.chain_close, every option traded at its slice's price."""
    schema = TABLES["snapshots.chain_close"].schema
    random = np.random.default_rng(1)
    frames = []
    for day in days:
        for ahead, parameters in (TRUE if smiles is None else smiles).items():
            years = ahead / 365
            reach = 3.5 * np.sqrt(total_variance(slices(*parameters), np.zeros((1, 1)))[0, 0])
            strikes = forward * np.exp(np.linspace(-reach, reach, 41))
            w = total_variance(slices(*parameters), np.log(strikes / forward)[None])[0]
            iv = np.sqrt(w / years) * (1 + noise * random.standard_normal(len(w)))
            for side in ("CE", "PE"):
                price = black76.price(forward, strikes, years, iv, side == "CE")
                frames.append(
                    pl.DataFrame({"strike": strikes, "close_price": price}).with_columns(
                        trade_date=pl.lit(day),
                        underlying=pl.lit(underlying),
                        expiry=pl.lit(day + timedelta(ahead)),
                        option_type=pl.lit(side),
                        forward=pl.lit(forward),
                        discount_factor=pl.lit(1.0),
                        years_to_expiry=pl.lit(years),
                        bucket_alias=pl.lit(value=False),
                        source=pl.lit("simulated"),
                    )
                )
    frame = pl.concat(frames)
    absent = [pl.lit(None, t).alias(n) for n, t in schema.items() if n not in frame.columns]
    return frame.with_columns(absent).select(*schema)


@pytest.fixture(scope="session")
def smile_chain() -> Callable[..., Frame]:
    return chain_of
