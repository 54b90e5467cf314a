"""Which contracts the simulated exchange lists on a day, and what they are called.

Belongs here: expiry dates moved off closed days, strike ladders, contract names.
Does not belong here: the published weekday rules themselves (`optrade.expiries`), prices.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np

from optrade.calendar import TradingCalendar
from optrade.expiries import load_rules
from optrade.formats.dates import MONTHS
from optrade.simulation.parameters import Ladder, Underlying
from optrade.simulation.paths import Ints

_HORIZON = timedelta(days=5 * 366)
_SATURDAY = 5
_QUARTER_MONTHS = 3
_HALF_YEAR_MONTHS = 6
_WEEKLY_MONTH = "123456789OND"


@dataclass(frozen=True, slots=True, order=True)
class Expiry:
    """One expiry day; `nominal` is where the rule put it before any move off a closed day."""

    day: date
    nominal: date
    monthly: bool

    @property
    def label(self) -> str:
        """Middle part of the contract's name: `26JAN` for a monthly, `26113` for a weekly."""
        if self.monthly:
            return f"{self.day:%y}{MONTHS[self.day.month - 1].upper()}"
        return f"{self.day:%y}{_WEEKLY_MONTH[self.day.month - 1]}{self.day:%d}"


def moved(calendar: TradingCalendar, nominal: date) -> date:
    """Return the last full session on or before `nominal`.

    Beyond the calendar's last day only weekends are known to be closed.
    """
    day = nominal
    while not _full_session(calendar, day):
        day -= timedelta(days=1)
    return day


def _full_session(calendar: TradingCalendar, day: date) -> bool:
    if day > calendar.last:
        return day.weekday() < _SATURDAY
    return calendar.is_session(day) and calendar.session(day).kind != "muhurat"


def schedule(
    underlying: Underlying, start: date, end: date, calendar: TradingCalendar
) -> Sequence[Expiry]:
    """Every expiry of the underlying from `start` to five years after `end`, in order.

    The week of a monthly expiry has no weekly of its own.
    """
    nominal: dict[date, bool] = {}
    for rule in load_rules():
        weekly = rule.cycle == "weekly"
        if rule.exchange != "NSE" or rule.underlying != underlying.rule:
            continue
        if weekly and not underlying.weeklies:
            continue
        for day in rule.nominal(start - timedelta(days=7), end + _HORIZON):
            nominal[day] = nominal.get(day, False) or not weekly
    months = {_week(day) for day, monthly in nominal.items() if monthly}
    return sorted(
        Expiry(moved(calendar, day), day, monthly)
        for day, monthly in nominal.items()
        if monthly or _week(day) not in months
    )


def _week(day: date) -> date:
    return day - timedelta(days=day.weekday())


def listed(
    underlying: Underlying, expiries: Sequence[Expiry], day: date
) -> list[tuple[Expiry, bool]]:
    """Expiries open for trading on `day`, with whether the near ladder applies to each.

    The next weeklies and monthlies are near; after them come quarter ends, then June and
    December.
    """
    alive = [expiry for expiry in expiries if expiry.day >= day]
    months = [expiry for expiry in alive if expiry.monthly]
    near = {*alive[: underlying.weeklies], *months[: underlying.monthlies]}
    later = months[underlying.monthlies :]
    quarters = [e for e in later if e.day.month % _QUARTER_MONTHS == 0][: underlying.quarterlies]
    after = quarters[-1].day if quarters else day
    halves = [e for e in later if e.day > after and e.day.month % _HALF_YEAR_MONTHS == 0]
    far = {*quarters, *halves[: underlying.half_years]}
    return [(expiry, expiry in near) for expiry in sorted(near | far)]


def strikes(ladders: Sequence[Ladder], reference: float) -> Ints:
    """Strikes to be listed round a reference price, in whole rupees, sorted."""
    rungs = [
        np.arange(
            int(np.ceil(reference * (1 - rung.width) / rung.step)),
            int(reference * (1 + rung.width) / rung.step) + 1,
            dtype=np.int64,
        )
        * rung.step
        for rung in ladders
    ]
    return np.unique(np.concatenate(rungs))
