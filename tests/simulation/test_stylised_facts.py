"""What any index market shows, the simulated one shows too."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest

from optrade.simulation import Variance
from optrade.simulation.parameters import BANKNIFTY
from optrade.simulation.paths import asset_path, generator, initial_state, step_market

Tables = Mapping[str, pl.DataFrame]


@pytest.fixture(scope="module")
def history() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Twelve years of market returns, BANKNIFTY returns and variance at the closes."""
    model, first = Variance(), date(2024, 7, 8)
    state = initial_state(generator(3, first, "first"), model)
    returns, bank, variance = [], [], []
    for i in range(3000):
        rng = generator(3, first + timedelta(days=i), "market")
        path, state = step_market(rng, state, model)
        returns.append(path.log_return[-1])
        variance.append(state.variance)
        bank.append(np.log(asset_path(rng, BANKNIFTY.asset, 1e6, path)[-1] / 1e6))
    return np.array(returns), np.array(bank), np.array(variance)


def test_volatility_clusters(history: tuple[np.ndarray, ...]) -> None:
    size = np.abs(history[0])
    lags = [np.corrcoef(size[:-lag], size[lag:])[0, 1] for lag in range(1, 21)]
    assert min(lags[:5]) > 0.05
    assert np.mean(lags[:5]) > np.mean(lags[15:])
    returns = history[0]
    assert abs(np.corrcoef(returns[:-1], returns[1:])[0, 1]) < 0.08


def test_falling_markets_are_nervous(history: tuple[np.ndarray, ...]) -> None:
    returns, _, variance = history
    assert np.corrcoef(returns[1:], np.diff(variance))[0, 1] < -0.4


def test_tails_are_fat_and_volatility_is_an_indexs(history: tuple[np.ndarray, ...]) -> None:
    returns = history[0]
    score = (returns - returns.mean()) / returns.std()
    assert (score**4).mean() > 3.5
    assert (score**3).mean() < 0
    assert 0.09 < returns.std() * np.sqrt(252) < 0.20


def test_banks_move_with_the_market_and_more(history: tuple[np.ndarray, ...]) -> None:
    returns, bank, _ = history
    assert 0.85 < np.corrcoef(returns, bank)[0, 1] < 0.97
    assert 1.05 < bank.std() / returns.std() < 1.35


def test_interest_and_volume_gather_round_the_money(tables: Tables) -> None:
    options = tables["fo_bhavcopy"].filter(
        (pl.col("underlying") == "NIFTY") & (pl.col("instrument_type") != "FUT")
    )
    days = (pl.col("expiry") - pl.col("trade_date")).dt.total_days()
    near = options.filter(days <= 7)
    volume = pl.col("volume_lots")
    assert near["volume_lots"].sum() > 0.8 * options["volume_lots"].sum()
    width = (pl.col("strike") / pl.col("underlying_price")).log().abs()
    core = near.filter(width < 0.04)
    assert core["volume_lots"].sum() > 0.8 * near["volume_lots"].sum()
    assert core["oi_units"].sum() > 0.6 * near["oi_units"].sum()
    hundreds = near.group_by(pl.col("strike") % 100 == 0).agg(volume.mean()).sort("strike")
    assert hundreds["volume_lots"][1] > 1.5 * hundreds["volume_lots"][0]
    assert (options["volume_lots"] == 0).mean() > 0.1


def test_foreigners_are_short_futures_and_clients_long(tables: Tables) -> None:
    futures = tables["participant_oi"].filter(pl.col("segment") == "index_future")
    net = futures.with_columns(net=pl.col("long_contracts") - pl.col("short_contracts"))
    mean = dict(net.group_by("participant").agg(pl.col("net").mean()).iter_rows())
    assert mean["FII"] < 0 < mean["CLIENT"]
    assert net.filter(pl.col("participant") == "FII")["net"].n_unique() > 30
