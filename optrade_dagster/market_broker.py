"""The broker that a market's runs ask, and its time.

Belongs here: which broker and which clock belong to a market. Does not belong here: what is asked
of it (see `assets.candles`), the collector's own connection (see `collect`).
"""

from __future__ import annotations

from datetime import datetime

from resources.clock import Clock, SystemClock, read_clock
from resources.kite.candles import CandleBroker
from resources.settings import Settings


class MarketBroker:
    """The broker of a market, entered when something is to be asked."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def enter(self) -> CandleBroker:
        """The broker with a session it accepts. Raises `TokenExpired` or another `BrokerError`."""
        from optrade_dagster.collect import enter  # noqa: PLC0415 (Twisted loads slowly)

        return enter(self._settings, self._clock())

    def now(self) -> datetime:
        """The market's time."""
        return self._clock().now()

    def _clock(self) -> Clock:
        if self._settings.market == "real":
            return SystemClock()
        return read_clock(self._settings.clock_file)
