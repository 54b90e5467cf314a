"""The indices through one session, half second by half second.

Belongs here: the replay of a day's market between its five-minute bars, India VIX, and the
random numbers that need no order. Does not belong here: contracts (`prints`, `intraday`).

What happens between two bars is a Brownian bridge with the bars' own variance, shared by the
indices as far as their betas share it, folded so that it never leaves the day's range.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import numpy as np
import numpy.typing as npt

from optrade.calendar import TradingCalendar
from optrade.simulation.listing import schedule
from optrade.simulation.market import SimulationError, market_days
from optrade.simulation.parameters import (
    BARS,
    INDICES,
    NIFTY,
    OVERNIGHT_SHARE,
    SESSIONS_PER_YEAR,
    TICK_RUPEES,
    TICKS_PER_RUPEE,
    Asset,
    Underlying,
    Variance,
)
from optrade.simulation.paths import (
    Floats,
    Ints,
    MarketPath,
    asset_path,
    generator,
    initial_state,
    step_market,
)
from optrade.simulation.quotes import MOMENTS, years_left
from optrade.simulation.reports import VIX, MarketDay
from optrade.simulation.smile import atm_total_variance, fair_variance, volatility_index

Hashes = npt.NDArray[np.uint64]

_STEP_SECONDS = 0.5
_BAR_YEARS = (1 - OVERNIGHT_SHARE) / SESSIONS_PER_YEAR / BARS
_DAYS_PER_YEAR = 365.0
_LEAST_VIX_DAYS = 2


@dataclass(frozen=True, slots=True)
class Levels:
    """Indices at `len(variance)` moments, evenly from the open to `seconds` later, the close.

    `points` (indices, moments), `high` and `low` so far of the same shape; `previous`
    (indices,) is yesterday's close; `variance` (moments,) is the market's, a year's.
    """

    names: tuple[str, ...]
    opens: datetime
    seconds: float
    points: Floats
    high: Floats
    low: Floats
    previous: Floats
    variance: Floats

    def at(self, seconds: Any) -> Ints:
        """Which moment each number of seconds after the open falls to, held inside the session."""
        share = np.clip(np.asarray(seconds) / self.seconds, 0, 1)
        return np.asarray(np.floor(share * (len(self.variance) - 1)), dtype=np.int64)


def replay(
    day: date,
    seed: int,
    first_day: date,
    calendar: TradingCalendar,
    underlyings: Sequence[Underlying],
) -> tuple[MarketDay, Levels]:
    """The day of the market that began on `first_day`, as its files have it, and its indices.

    Raises `SimulationError` as `market_days` does, and for a day without a session or without
    known hours; `CalendarError` for a day outside the calendar.
    """
    if day < first_day or not calendar.is_session(day):
        raise SimulationError(
            f"{day} is no session of a market that begins on {first_day}: choose one from then on"
        )
    session = calendar.session(day)
    if session.open is None or session.close is None:
        raise SimulationError(
            f"the hours of {day} ({session.description}) are not known: choose another day, or "
            "add the hours to the calendar"
        )
    days = calendar.sessions(first_day, day)
    model = Variance()
    walk = market_days(days, seed, underlyings=underlyings, calendar=calendar, model=model)
    market = deque(walk, maxlen=1)[0]
    state = initial_state(generator(seed, days[0], "first variance"), model)
    for each in days:
        path, state = step_market(generator(seed, each, "market"), state, model)
    seconds = (session.close - session.open).total_seconds()
    vix = _vix(day, path, model, calendar)
    return market, _levels(market, seed, path, vix, (session.open, seconds))


def _levels(
    market: MarketDay, seed: int, path: MarketPath, vix: Floats, hours: tuple[datetime, float]
) -> Levels:
    opens, seconds = hours
    steps = max(round(seconds / BARS / _STEP_SECONDS), 1)
    bars = np.arange(BARS + 1) * steps
    moments = np.arange(BARS * steps + 1)
    previous = {line.name: line.previous for line in market.indices}
    variance = np.interp(moments, bars, path.variance[1:])
    common = _bridge(generator(seed, market.day, "intraday"), steps)
    points = []
    for row in INDICES:
        asset, rng = row.asset, generator(seed, market.day, row.asset.name)
        at_bars = asset_path(rng, asset, previous[asset.name], path)[1:]
        own = _bridge(generator(seed, market.day, f"intraday {asset.name}"), steps)
        points.append(_between(asset, at_bars, (common, own), variance))
    points.append(np.interp(moments, bars[MOMENTS[1:] - 1], vix).round(2))
    stacked = np.stack(points)
    return Levels(
        names=(*(row.asset.name for row in INDICES), VIX),
        opens=opens,
        seconds=seconds,
        points=stacked,
        high=np.maximum.accumulate(stacked, axis=1),
        low=np.minimum.accumulate(stacked, axis=1),
        previous=np.array([previous[row.asset.name] for row in INDICES] + [previous[VIX]]),
        variance=variance,
    )


def _bridge(rng: np.random.Generator, steps: int) -> Floats:
    """Noise of unit variance a bar that is 0 at every bar."""
    walk = np.append(0.0, np.cumsum(rng.standard_normal(BARS * steps))) / np.sqrt(steps)
    moments = np.arange(len(walk))
    return np.asarray(walk - np.interp(moments, moments[::steps], walk[::steps]))


def _between(
    asset: Asset, at_bars: Floats, noise: tuple[Floats, Floats], variance: Floats
) -> Floats:
    """Fill an index in between its bars, on the tick grid, inside the bars' range."""
    common, own = noise
    low, high = at_bars.min(), at_bars.max()
    moments = np.linspace(0, BARS, len(common))
    move = (asset.beta * common + asset.idio * own) * np.sqrt(variance * _BAR_YEARS)
    free = np.interp(moments, np.arange(BARS + 1), at_bars) * (1 + move)
    folded = np.where(free > high, 2 * high - free, np.where(free < low, 2 * low - free, free))
    inside = np.clip(folded, low, high)
    return np.asarray(np.rint(inside * TICKS_PER_RUPEE) / TICKS_PER_RUPEE, dtype=np.float64)


def _vix(day: date, path: MarketPath, model: Variance, calendar: TradingCalendar) -> Floats:
    """India VIX at the session's moments of `quotes`, as `reports.vix_line` has it."""
    months = [
        expiry.day
        for expiry in schedule(NIFTY, day, day, calendar)
        if expiry.monthly and (expiry.day - day).days >= _LEAST_VIX_DAYS
    ][:2]
    by_session, by_calendar = years_left(day, np.array(months, dtype="datetime64[D]"))
    ratio = NIFTY.asset.variance_ratio
    theta = atm_total_variance(path.variance[MOMENTS][:, None], by_session, model, ratio)
    fair = fair_variance(theta, NIFTY.smile)
    vix = volatility_index(fair[:, 0], fair[:, 1], by_calendar * _DAYS_PER_YEAR)
    return np.asarray(vix[1:].round(2), dtype=np.float64)


def hashed(keys: Hashes, counter: Any) -> Hashes:
    """Random bits of (key, counter), broadcast: the same in any order and any company.

    The finaliser of SplitMix64 (Steele, Lea & Flood 2014).
    """
    bits = keys + np.asarray(counter).astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(bits ^ (bits >> np.uint64(31)))


def uniform(bits: Hashes) -> Floats:
    """Numbers in [0, 1) from random bits."""
    return np.asarray((bits >> np.uint64(11)).astype(np.float64) * 2.0**-53)


def on_grid(prices: Any) -> Ints:
    """Prices in rupees as whole ticks."""
    return np.asarray(np.rint(np.asarray(prices) / TICK_RUPEES), dtype=np.int64)
