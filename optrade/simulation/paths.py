"""Prices of the market and of everything in it, one session at a time.

Belongs here: the variance process, jumps, the returns of each asset and the sentiment that
moves the participants. Does not belong here: options, contracts and files.

The market's log price follows Heston (1993) with normal jumps (Bates 1996), stepped by full
truncation (Lord, Koekkoek & van Dijk 2010): an overnight step, then `BARS` intraday ones.
Negative correlation between return and variance gives the leverage effect; the slow variance
gives volatility clustering.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from zlib import crc32

import numpy as np
import numpy.typing as npt

from optrade.simulation.parameters import (
    BARS,
    OVERNIGHT_SHARE,
    SESSIONS_PER_YEAR,
    TICKS_PER_RUPEE,
    Asset,
    Variance,
)

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_STEPS = np.full(BARS + 1, (1 - OVERNIGHT_SHARE) / SESSIONS_PER_YEAR / BARS)
_STEPS[0] = OVERNIGHT_SHARE / SESSIONS_PER_YEAR
_SENTIMENT_MEMORY = 0.92
_LEAST_VARIANCE = 0.0025
"""What options are still priced at when the process is lower: 5 % a year."""


@dataclass(frozen=True, slots=True)
class MarketState:
    """What tomorrow needs to know: variance (a year) and the foreign investors' mood."""

    variance: float
    sentiment: float = 0.0


@dataclass(frozen=True, slots=True)
class MarketPath:
    """One session at `BARS` + 2 moments: yesterday's close, the open, then every bar's end.

    `log_return` is cumulative since yesterday's close; `variance` is a year's.
    """

    log_return: Floats
    variance: Floats


def generator(seed: int, day: date, stream: str) -> np.random.Generator:
    """Random numbers of one purpose on one day, the same whatever else is simulated."""
    return np.random.default_rng([seed, day.toordinal(), crc32(stream.encode())])


def initial_state(rng: np.random.Generator, model: Variance) -> MarketState:
    """Draw a state from the process' long-run (gamma) distribution."""
    shape = 2 * model.reversion * model.mean / model.volatility**2
    return MarketState(max(float(rng.gamma(shape, model.mean / shape)), _LEAST_VARIANCE))


def step_market(
    rng: np.random.Generator, state: MarketState, model: Variance
) -> tuple[MarketPath, MarketState]:
    """Walk one session on; returns its path and the state at its close."""
    own, common = rng.standard_normal((2, BARS + 1))
    shock = model.leverage * common + np.sqrt(1 - model.leverage**2) * own
    variance = np.empty(BARS + 2)
    variance[0] = state.variance
    for i, dt in enumerate(_STEPS):
        held = max(variance[i], 0.0)
        pull = model.reversion * (model.mean - held) * dt
        variance[i + 1] = variance[i] + pull + model.volatility * np.sqrt(held * dt) * shock[i]
    variance = np.maximum(variance, 0.0)
    moves = (model.drift - variance[:-1] / 2) * _STEPS + np.sqrt(variance[:-1] * _STEPS) * common
    count = rng.poisson(model.jumps * _STEPS)
    moves += count * model.jump_mean + np.sqrt(count) * model.jump_sd * rng.standard_normal(
        BARS + 1
    )
    path = MarketPath(np.append(0.0, np.cumsum(moves)), np.maximum(variance, _LEAST_VARIANCE))
    score = path.log_return[-1] / np.sqrt(path.variance[0] / SESSIONS_PER_YEAR)
    fresh = 0.15 * score + 0.20 * rng.standard_normal()
    sentiment = _SENTIMENT_MEMORY * state.sentiment + fresh
    return path, MarketState(float(variance[-1]), float(np.clip(sentiment, -2.0, 2.0)))


def asset_path(rng: np.random.Generator, asset: Asset, close: float, market: MarketPath) -> Floats:
    """Prices of an asset at the path's moments, from yesterday's `close`, on the tick grid."""
    noise = rng.standard_normal(BARS + 1) * np.sqrt(market.variance[:-1] * _STEPS)
    own = np.append(0.0, np.cumsum(asset.idio * noise - asset.idio**2 * noise**2 / 2))
    prices = close * np.exp(asset.beta * market.log_return + own)
    return np.asarray(np.round(prices * TICKS_PER_RUPEE) / TICKS_PER_RUPEE, dtype=np.float64)
