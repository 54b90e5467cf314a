"""The one partition scheme: trading days of the exchange, in India's time.

Belongs here: the partitions definition and turning a run's partition keys into dates. Does not
belong here: the calendar itself (see `optrade.calendar`).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import dagster as dg

from optrade.calendar import TradingCalendar
from optrade.tables import IST

FORMAT = "%Y-%m-%d"


def trading_days(calendar: TradingCalendar) -> dg.TimeWindowPartitionsDefinition:
    """One partition per trading day, today's included from midnight on.

    Non-trading days are excluded one by one, by date, because a cron string could not leave a
    weekend's special session in.
    """
    zone = ZoneInfo(IST)
    closed = calendar.closed_days(calendar.first, calendar.last)
    return dg.TimeWindowPartitionsDefinition(
        start=calendar.first.isoformat(),
        end=(calendar.last + timedelta(days=1)).isoformat(),
        fmt=FORMAT,
        cron_schedule="0 0 * * *",
        timezone=IST,
        end_offset=1,
        exclusions=[datetime(d.year, d.month, d.day, tzinfo=zone) for d in closed],
    )


def dates_of(keys: Sequence[str]) -> tuple[date, ...]:
    """The trading days of partition keys, in order."""
    return tuple(sorted(date.fromisoformat(key) for key in keys))
