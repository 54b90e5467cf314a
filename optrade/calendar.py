"""Trading days of the NSE futures and options segment, and why each day is one or is not.

Belongs here: which days have a session, its kind and its hours (Asia/Kolkata), read from the
dated exceptions in `calendar.csv` and from files of the same shape that a user adds.
Does not belong here: which contracts expire on a day (`optrade.expiries`), clocks, partitions.

A day outside the calendar is an error, never a guess. Sources: `docs/calendar.md`.
"""

from __future__ import annotations

import csv
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, time, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Literal, get_args
from zoneinfo import ZoneInfo

from optrade.errors import InputRefused

IST = ZoneInfo("Asia/Kolkata")
SHIPPED = Path(__file__).with_name("calendar.csv")
COLUMNS = ("date", "kind", "session_open", "session_close", "description", "source")

SessionKind = Literal["normal", "special", "muhurat"]
RowKind = Literal["holiday", "special", "muhurat", "session", "hours", "complete"]
_KINDS: tuple[RowKind, ...] = get_args(RowKind)
_NO_TIMES = ("holiday", "complete")
_MANUAL = "docs/calendar.md tells how to write the file"
_SATURDAY = 5


class CalendarError(InputRefused):
    """A calendar row that cannot be read, or a day that the calendar does not know."""


@dataclass(frozen=True, slots=True)
class Session:
    """One trading session; `open` and `close` are None where no source gives the times."""

    date: date
    open: datetime | None
    close: datetime | None
    kind: SessionKind
    description: str


@dataclass(frozen=True, slots=True)
class CalendarRow:
    """One line of a calendar file. `complete` closes the span that the exchange's lists cover."""

    date: date
    kind: RowKind
    open: time | None
    close: time | None
    description: str
    source: str

    @property
    def has_session(self) -> bool:
        """Whether the day trades because of this row."""
        return self.kind in ("special", "muhurat", "session")


@dataclass(frozen=True)
class TradingCalendar:
    """Sessions from `first` to `last`, both included; look-ups cost O(log n) or less.

    Every method raises `CalendarError` for a day outside that span.

    >>> calendar = load_calendar()
    >>> calendar.is_session(date(2024, 11, 1)), calendar.explain(date(2025, 8, 15))
    (True, 'holiday: Independence Day (fo-2025)')
    """

    first: date
    last: date
    provisional_from: date | None
    """First day for which the exchange's list is not in the calendar; None when all are."""
    _exceptions: Mapping[date, CalendarRow] = field(repr=False)
    _hours: tuple[CalendarRow, ...] = field(repr=False)
    _days: tuple[date, ...] = field(repr=False)

    def sessions(self, start: date, end: date) -> list[date]:
        """Session days from `start` to `end`, both included; empty when `end` comes first."""
        self._known(start, end)
        return list(self._days[bisect_left(self._days, start) : bisect_right(self._days, end)])

    def closed_days(self, start: date, end: date) -> list[date]:
        """Every day from `start` to `end`, both included, without a session."""
        trading = set(self.sessions(start, end))
        return [day for day in _each_day(start, end) if day not in trading]

    def is_session(self, day: date) -> bool:
        """Whether the day has any session, the Muhurat hour included."""
        self._known(day)
        return _trades(day, self._exceptions.get(day))

    def previous(self, day: date) -> date:
        """Last session before `day`, which itself need not be one."""
        self._known(day)
        position = bisect_left(self._days, day)
        if position == 0:
            raise self._outside(f"a session before {day}")
        return self._days[position - 1]

    def next(self, day: date) -> date:
        """First session after `day`, which itself need not be one."""
        self._known(day)
        position = bisect_right(self._days, day)
        if position == len(self._days):
            raise self._outside(f"a session after {day}")
        return self._days[position]

    def sessions_between(self, a: date, b: date) -> int:
        """Count the sessions after `a` up to and including `b`; negative when `b` is before `a`."""
        self._known(a, b)
        return bisect_right(self._days, b) - bisect_right(self._days, a)

    def session(self, day: date) -> Session:
        """Kind and hours of the day's session; `CalendarError` on a day that has none."""
        if not self.is_session(day):
            raise CalendarError(
                file="trading calendar",
                found=f"{day}, {self.explain(day)}",
                expected="a day with a session",
                remedy="Ask is_session() first, or next() and previous() for its neighbours.",
            )
        row = self._exceptions.get(day)
        normal = self._hours[bisect_right(self._hours, day, key=lambda hours: hours.date) - 1]
        kind: SessionKind = "normal"
        if row is not None and row.kind in ("special", "muhurat"):
            kind = "muhurat" if row.kind == "muhurat" else "special"
        elif row is None or row.open is None:
            row = replace(normal, description=row.description if row else normal.description)
        opens, closes = (
            None if clock is None else datetime.combine(day, clock, IST)
            for clock in (row.open, row.close)
        )
        return Session(day, opens, closes, kind, row.description)

    def explain(self, day: date) -> str:
        """Say why a day is or is not a session, with the source of the fact."""
        self._known(day)
        row = self._exceptions.get(day)
        if row is None:
            text = "session: normal hours" if day.weekday() < _SATURDAY else "weekend"
        else:
            word = row.kind if row.kind in ("holiday", "session") else f"{row.kind} session"
            text = f"{word}: {row.description} ({row.source})"
        if self.provisional_from is None or day < self.provisional_from:
            return text
        return f"{text}; provisional: the exchange's list for {day.year} is not in the calendar"

    def _known(self, *days: date) -> None:
        for day in days:
            if not self.first <= day <= self.last:
                raise self._outside(str(day))

    def _outside(self, found: str) -> CalendarError:
        return CalendarError(
            file="trading calendar",
            found=found,
            expected=f"days from {self.first} to {self.last}",
            remedy=f"Add the year as a file; {_MANUAL}.",
        )


def load_calendar(extra: Sequence[Path] = ()) -> TradingCalendar:
    """Read the shipped calendar, then `extra` files or folders of `*.csv`, in that order.

    A later row for the same date replaces an earlier one; kind `session` cancels a holiday.
    Without extras the result is cached. Raises `CalendarError` naming file, line and field.
    """
    return _build((SHIPPED, *extra)) if extra else _shipped()


@lru_cache(maxsize=1)
def _shipped() -> TradingCalendar:
    return _build((SHIPPED,))


def _build(paths: Iterable[Path]) -> TradingCalendar:
    exceptions: dict[date, CalendarRow] = {}
    hours: dict[date, CalendarRow] = {}
    complete: list[date] = []
    for path in _files(paths):
        for row in read_calendar_rows(path):
            if row.kind == "complete":
                complete.append(row.date)
            else:
                (hours if row.kind == "hours" else exceptions)[row.date] = row
    first = min(hours)
    last = date(max(day.year for day in (*exceptions, *hours, *complete)), 12, 31)
    listed = max(complete, default=first)
    return TradingCalendar(
        first=first,
        last=last,
        provisional_from=listed + timedelta(days=1) if listed < last else None,
        _exceptions=exceptions,
        _hours=tuple(hours[day] for day in sorted(hours)),
        _days=tuple(day for day in _each_day(first, last) if _trades(day, exceptions.get(day))),
    )


def _files(paths: Iterable[Path]) -> Iterator[Path]:
    for path in paths:
        if path.is_dir():
            yield from sorted(path.glob("*.csv"))
        elif path.is_file():
            yield path
        else:
            raise CalendarError(
                file=str(path),
                found="no such file or folder",
                expected="a calendar CSV file, or a folder of them",
                remedy="Correct the path, or drop it from the settings.",
            )


def read_calendar_rows(path: Path) -> list[CalendarRow]:
    """Read one calendar file; `CalendarError` names the line and field of the first fault."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise _refuse(path, None, None, "bytes that are not UTF-8", "UTF-8 text") from error
    reader = csv.reader(text.splitlines())
    header = next(reader, [])
    if tuple(header) != COLUMNS:
        raise _refuse(path, 1, None, f"header {','.join(header)!r}", ",".join(COLUMNS))
    seen: set[tuple[date, bool]] = set()
    rows = []
    for cells in reader:
        if not any(cells):
            continue
        row = _row(path, reader.line_num, cells)
        key = (row.date, row.kind in ("hours", "complete"))
        if key in seen:
            raise _refuse(path, reader.line_num, "date", f"{row.date} again", "a date once a file")
        seen.add(key)
        rows.append(row)
    return rows


def _row(path: Path, line: int, cells: list[str]) -> CalendarRow:
    if len(cells) != len(COLUMNS):
        found = f"{len(cells)} fields"
        raise _refuse(path, line, None, found, f"{len(COLUMNS)} fields (quote a comma in a text)")
    values = dict(zip(COLUMNS, (cell.strip() for cell in cells), strict=True))
    try:
        day = date.fromisoformat(values["date"])
    except ValueError as error:
        raise _refuse(path, line, "date", repr(values["date"]), "YYYY-MM-DD") from error
    kind = next((name for name in _KINDS if name == values["kind"]), None)
    if kind is None:
        raise _refuse(path, line, "kind", repr(values["kind"]), f"one of {', '.join(_KINDS)}")
    opens = _clock(path, line, "session_open", values["session_open"])
    closes = _clock(path, line, "session_close", values["session_close"])
    _check_times(path, line, kind, opens, closes)
    for name in ("description", "source"):
        if not values[name]:
            raise _refuse(path, line, name, "nothing", "a word (why, or where it was read)")
    return CalendarRow(day, kind, opens, closes, values["description"], values["source"])


def _clock(path: Path, line: int, name: str, text: str) -> time | None:
    if not text:
        return None
    try:
        return datetime.strptime(text, "%H:%M").replace(tzinfo=IST).time()
    except ValueError as error:
        raise _refuse(path, line, name, repr(text), "HH:MM in India, or nothing") from error


def _check_times(
    path: Path, line: int, kind: RowKind, opens: time | None, closes: time | None
) -> None:
    if opens is None or closes is None:
        if opens is not closes or kind == "hours":
            found = f"open {opens}, close {closes}"
            raise _refuse(path, line, "session_close", found, "both times (or none if unknown)")
    elif kind in _NO_TIMES:
        raise _refuse(path, line, "session_open", f"{opens:%H:%M}", f"no times for a {kind}")
    elif opens >= closes:
        found = f"{opens:%H:%M}-{closes:%H:%M}"
        raise _refuse(path, line, "session_close", found, "a close after the open")


def _refuse(
    path: Path, line: int | None, name: str | None, found: str, expected: str
) -> CalendarError:
    return CalendarError(
        file=str(path),
        line=line,
        field=name,
        found=found,
        expected=expected,
        remedy=f"Correct that line; {_MANUAL}.",
    )


def _trades(day: date, row: CalendarRow | None) -> bool:
    return day.weekday() < _SATURDAY if row is None else row.has_session


def _each_day(start: date, end: date) -> Iterator[date]:
    return (start + timedelta(days=n) for n in range((end - start).days + 1))
