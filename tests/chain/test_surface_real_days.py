"""The surface of the real days of January 2025 and 2026."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime

import polars as pl
import pytest

from optrade.chain.greeks import greeks_close
from optrade.chain.metrics import chain_metrics_close
from optrade.chain.snapshot import chain_close
from optrade.surface.frames import surface_close, surface_points_close
from optrade.tables import TABLES

Frame = pl.DataFrame


@pytest.fixture(scope="module")
def frames(
    real_bhavcopy: Frame, close_of: Callable[[Frame], dict[date, datetime]]
) -> dict[str, Frame]:
    chain = chain_close(real_bhavcopy, TABLES["raw.index_close"].empty(), close_of(real_bhavcopy))
    greeks = greeks_close(chain)
    return {"chain": chain, "greeks": greeks, "surface": surface_close(chain, greeks)}


def test_slices_are_close_and_without_arbitrage(frames: dict[str, Frame]) -> None:
    surface = frames["surface"]
    TABLES["analytics.surface_close"].pandera.validate(surface)
    slices = surface.filter(pl.col("a").is_not_null())
    assert slices.height > 100
    assert (surface["a"].is_null() == surface["reason"].is_not_null()).all()
    assert slices["butterfly_violations"].sum() == slices["calendar_violations"].sum() == 0
    assert slices["min_g"].min() >= 0
    nifty = slices.filter(underlying="NIFTY")
    assert nifty["fit_rmse"].median() < 0.003
    assert slices.select((pl.col("rmse") - pl.col("fit_rmse")).max()).item() < 0.002


def test_at_the_money_it_agrees_with_the_quotes_beside_the_forward(
    frames: dict[str, Frame],
) -> None:
    key = ["trade_date", "underlying", "expiry"]
    metrics = chain_metrics_close(frames["chain"], frames["greeks"])
    quoted = metrics.select(*key, quoted_iv="atm_iv")
    both = frames["surface"].join(quoted, on=key).filter(pl.col("years_to_expiry") > 2 / 365)
    apart = both.select((pl.col("atm_iv") - pl.col("quoted_iv")).abs().drop_nulls()).to_series()
    assert apart.median() < 0.002
    assert apart.quantile(0.9) < 0.006


def test_thirty_days_lie_between_their_expiries(frames: dict[str, Frame]) -> None:
    points = surface_points_close(frames["surface"])
    thirty = points.filter(underlying="NIFTY", maturity_days=30)
    assert thirty.height == points["trade_date"].n_unique()
    assert set(thirty["reason"]) <= {None, "outside_quotes"}
    assert thirty["atm_iv"].is_between(0.05, 0.4).all()
    assert (thirty["risk_reversal_25"] < 0).mean() > 0.8
