"""Expiry days by published rule, for the days on which no contract file is at hand.

Belongs here: the dated weekday rules of `expiry_rules.csv`, the move off a holiday, and which
participant segments lose contracts on a day by rule.
Does not belong here: the expiry of a contract. That comes from the contract itself, always;
contracts get re-dated in mid-life and a rule can only say where the exchange meant to go.
"""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Literal, get_args

import polars as pl

from optrade.calendar import CalendarError, Session, TradingCalendar

RULES = Path(__file__).with_name("expiry_rules.csv")
COLUMNS = (
    "exchange", "underlying", "cycle", "weekday", "valid_from", "valid_to", "description", "source",
)  # fmt: skip
STOCKS = "*STOCKS"

Cycle = Literal["weekly", "monthly"]
Exchange = Literal["NSE", "BSE"]

SCHEMA = {
    "expiry": pl.Date(),
    "underlying": pl.String(),
    "cycle": pl.String(),
    "source": pl.String(),
}
_WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday")
_OPTIONS = frozenset({"index_call", "index_put"})
_INDEX = _OPTIONS | {"index_future"}
_STOCK = frozenset({"stock_future", "stock_call", "stock_put"})
_LONGEST_MOVE = timedelta(days=14)
"""No run of closed days comes near this, so an expiry is never moved from further away."""
_FULL_SESSION = timedelta(hours=5)
"""2024-01-20 (full Saturday) took Monday's expiry; 2024-05-18 (two short windows) did not."""


@dataclass(frozen=True, slots=True)
class ExpiryRule:
    """One weekday rule for the nominal expiry dates from `valid_from` to `valid_to`."""

    exchange: Exchange
    underlying: str
    cycle: Cycle
    weekday: int
    """0 is Monday."""
    valid_from: date
    valid_to: date | None
    """Last nominal date, included; None while the rule is in force."""
    description: str
    source: str

    def nominal(self, start: date, end: date) -> Iterator[date]:
        """Weekday dates of the rule from `start` to `end`, before any move off a holiday."""
        day = max(start, self.valid_from)
        day += timedelta(days=(self.weekday - day.weekday()) % 7)
        stop = min(end, self.valid_to or end)
        while day <= stop:
            if self.cycle == "weekly" or (day + timedelta(days=7)).month != day.month:
                yield day
            day += timedelta(days=7)


def expected_expiries(
    calendar: TradingCalendar,
    start: date,
    end: date,
    underlyings: Collection[str] | None = None,
) -> pl.DataFrame:
    """Expiry days by rule from `start` to `end`, both included: a fallback, never a contract.

    A weekly series has no contract of its own in the week of the monthly one. An expiry on a
    closed or Muhurat day moves to the full session before it. Columns `expiry` (date), `underlying`
    (`*STOCKS` for all single stocks), `cycle` (`weekly`, `monthly`), `source` (code in
    `docs/calendar.md`). Raises `CalendarError` for days outside the calendar.
    """
    calendar.sessions(start, end)
    wanted = [
        rule for rule in load_rules() if underlyings is None or rule.underlying in underlyings
    ]
    frame = pl.DataFrame(list(_expiries(calendar, wanted, start, end)), schema=SCHEMA, orient="row")
    return frame.sort("expiry", "underlying", "cycle")


def segments_expiring(
    calendar: TradingCalendar, day: date, exchange: Exchange = "NSE"
) -> frozenset[str]:
    """Participant segments with something that expires on `day` by rule.

    Weekly: `index_call` and `index_put`. Monthly of an index: `index_future` too. Monthly of
    the stocks: `stock_future`, `stock_call`, `stock_put`. Empty on any other day.
    """
    calendar.sessions(day, day)
    rules = [rule for rule in load_rules() if rule.exchange == exchange]
    segments: frozenset[str] = frozenset()
    for _, underlying, cycle, _ in _expiries(calendar, rules, day, day):
        if underlying == STOCKS:
            segments |= _STOCK
        else:
            segments |= _OPTIONS if cycle == "weekly" else _INDEX
    return segments


def _expiries(
    calendar: TradingCalendar, rules: Collection[ExpiryRule], start: date, end: date
) -> Iterator[tuple[date, str, Cycle, str]]:
    horizon = min(end + _LONGEST_MOVE, calendar.last)
    monthly_weeks = {
        (rule.exchange, rule.underlying, _week(day))
        for rule in rules
        if rule.cycle == "monthly"
        for day in rule.nominal(start - _LONGEST_MOVE, horizon)
    }
    for rule in rules:
        for nominal in rule.nominal(start, horizon):
            key = (rule.exchange, rule.underlying, _week(nominal))
            if rule.cycle == "weekly" and key in monthly_weeks:
                continue
            expiry = _moved(calendar, nominal)
            if start <= expiry <= end:
                yield expiry, rule.underlying, rule.cycle, rule.source


def _moved(calendar: TradingCalendar, nominal: date) -> date:
    day = nominal
    while not (calendar.is_session(day) and _is_full(calendar.session(day))):
        day = calendar.previous(day)
    return day


def _is_full(session: Session) -> bool:
    """Whether contracts expire in the session: not in a Muhurat hour nor in a short drill."""
    if session.kind == "normal":
        return True
    if session.kind == "muhurat" or session.open is None or session.close is None:
        return False
    return session.close - session.open >= _FULL_SESSION


def _week(day: date) -> date:
    return day - timedelta(days=day.weekday())


@lru_cache(maxsize=1)
def load_rules(path: Path = RULES) -> tuple[ExpiryRule, ...]:
    """Read the rules; `CalendarError` names the line and field of a fault or an overlap."""
    with path.open(encoding="utf-8-sig", newline="") as text:
        reader = csv.reader(text)
        if tuple(next(reader, [])) != COLUMNS:
            raise _refuse(path, 1, None, "another header", ",".join(COLUMNS))
        rules = [_rule(path, reader.line_num, cells) for cells in reader if any(cells)]
    rules.sort(key=lambda rule: (rule.exchange, rule.underlying, rule.cycle, rule.valid_from))
    for earlier, later in pairwise(rules):
        series = (earlier.exchange, earlier.underlying, earlier.cycle)
        same = series == (later.exchange, later.underlying, later.cycle)
        if same and (earlier.valid_to is None or earlier.valid_to >= later.valid_from):
            found = f"{' '.join(series)} twice on {later.valid_from}"
            raise _refuse(path, None, "valid_to", found, "one rule for each day")
    return tuple(rules)


def _rule(path: Path, line: int, cells: list[str]) -> ExpiryRule:
    if len(cells) != len(COLUMNS):
        raise _refuse(path, line, None, f"{len(cells)} fields", f"{len(COLUMNS)} fields")
    values = dict(zip(COLUMNS, cells, strict=True))
    exchange = next((name for name in get_args(Exchange) if name == values["exchange"]), None)
    cycle = next((name for name in get_args(Cycle) if name == values["cycle"]), None)
    if exchange is None or cycle is None or values["weekday"] not in _WEEKDAYS:
        found = f"{values['exchange']} {values['cycle']} {values['weekday']}"
        raise _refuse(path, line, None, found, "NSE or BSE, weekly or monthly, Monday to Friday")
    return ExpiryRule(
        exchange=exchange,
        underlying=values["underlying"],
        cycle=cycle,
        weekday=_WEEKDAYS.index(values["weekday"]),
        valid_from=_date(path, line, "valid_from", values["valid_from"]),
        valid_to=_date(path, line, "valid_to", values["valid_to"]) if values["valid_to"] else None,
        description=values["description"],
        source=values["source"],
    )


def _date(path: Path, line: int, name: str, text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise _refuse(path, line, name, repr(text), "YYYY-MM-DD") from error


def _refuse(
    path: Path, line: int | None, name: str | None, found: str, expected: str
) -> CalendarError:
    remedy = "Correct that line of the expiry rules; docs/calendar.md lists their sources."
    return CalendarError(
        file=str(path), line=line, field=name, found=found, expected=expected, remedy=remedy
    )
