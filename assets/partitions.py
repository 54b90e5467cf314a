"""The one partition scheme: trading days of the exchange.

Belongs here: the partitions definition and turning a run's partition keys into dates. Does not
belong here: the calendar itself (see `optrade.calendar`).

The days are listed one by one. Cron-based daily partitions could not leave a weekend's special
session in without naming every closed day as an exclusion, and Dagster copies that list of
thousands into every event it plans.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import dagster as dg

from optrade.calendar import TradingCalendar


def trading_days(calendar: TradingCalendar) -> dg.StaticPartitionsDefinition:
    """One partition per trading day of the calendar, named by its ISO date."""
    days = calendar.sessions(calendar.first, calendar.last)
    return dg.StaticPartitionsDefinition([day.isoformat() for day in days])


def dates_of(keys: Sequence[str]) -> tuple[date, ...]:
    """The trading days of partition keys, in order."""
    return tuple(sorted(date.fromisoformat(key) for key in keys))
