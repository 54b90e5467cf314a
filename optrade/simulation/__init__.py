"""A simulated exchange: a market model that publishes files in the exchange's own formats.

Belongs here: the model, pure and seeded, and its file renderers. Does not belong here: writing
to disk (`resources.simulator`), reading files (`optrade.formats`), analytics.

The path depends on the seed and the first day alone, so more days continue the same path.
"""

from __future__ import annotations

from optrade.simulation.market import FIRST_DAY, SimulationError, market_days
from optrade.simulation.parameters import UNDERLYINGS, Underlying, Variance
from optrade.simulation.render import DayFiles, render, simulate
from optrade.simulation.reports import FiiLine, IndexLine, MarketDay

GENERATOR_VERSION = 1
"""Raised whenever the same seed and days would give other bytes than before."""

__all__ = [
    "FIRST_DAY",
    "GENERATOR_VERSION",
    "UNDERLYINGS",
    "DayFiles",
    "FiiLine",
    "IndexLine",
    "MarketDay",
    "SimulationError",
    "Underlying",
    "Variance",
    "market_days",
    "render",
    "simulate",
]
