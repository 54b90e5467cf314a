"""The one partition scheme: trading days of the exchange.

Belongs here: the partitions definition and turning a run's partition keys into dates. Does not
belong here: the calendar itself (see `optrade.calendar`).

The days are listed one by one. Cron-based daily partitions could not leave a weekend's special
session in without naming every closed day as an exclusion, and Dagster copies that list of
thousands into every event it plans. The list ends a little after today, because Dagster's
plots look at the last partitions only.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import dagster as dg

from optrade.calendar import TradingCalendar

SESSIONS_AHEAD = 40
"""How long a code location can stay loaded before it must be loaded again, in trading days."""


def trading_days(
    calendar: TradingCalendar, first: date, last: date
) -> dg.StaticPartitionsDefinition:
    """One partition per trading day from `first` to `last`, named by its ISO date."""
    return dg.StaticPartitionsDefinition([d.isoformat() for d in calendar.sessions(first, last)])


def horizon(calendar: TradingCalendar, today: date) -> date:
    """The last day that gets a partition when the code location is loaded `today`."""
    ahead = calendar.sessions(today, calendar.last)[:SESSIONS_AHEAD]
    return ahead[-1] if ahead else calendar.last


def dates_of(keys: Sequence[str]) -> tuple[date, ...]:
    """The trading days of partition keys, in order."""
    return tuple(sorted(date.fromisoformat(key) for key in keys))
