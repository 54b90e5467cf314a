"""The collector's days: when a session begins, waiting for it, collecting it, the next one.

Belongs here: the calendar's part in collecting. Does not belong here: the session (see
`session`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from typing import Final

from optrade.calendar import IST, TradingCalendar
from resources.clock import Clock
from resources.collector.boundary import Broker
from resources.collector.prepare import bury_older
from resources.collector.session import Hours, Session, name_session
from resources.journal import Entry
from resources.settings import Settings

UNKNOWN_HOURS: Final = (time(9, 0, tzinfo=IST), time(20, 0, tzinfo=IST))
"""Of a session whose times no source gives, such as Muhurat's before its circular."""
_LONGEST_WAIT = 1.0


class Collector:
    """Collects sessions of the calendar, one after the other, into the spool of one market.

    `enter` gives a broker with a valid session or raises `TokenExpired` or another `BrokerError`.
    `report` is told every journal entry, and `waiting` (with `until`) between sessions.
    """

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        calendar: TradingCalendar,
        enter: Callable[[], Broker],
        report: Callable[[Entry], None],
    ) -> None:
        self._settings, self._clock, self._calendar = settings, clock, calendar
        self._enter, self._report = enter, report
        self._stop = threading.Event()

    def stop(self) -> None:
        """End as soon as all is on the disk; from any thread or signal handler."""
        self._stop.set()

    def run_session(self) -> str:
        """Collect the session that is on, or the next one; `closed` or `stopped`.

        Raises `SpoolError` when another collector is at work, `CalendarError` when the calendar
        ends before the next session.
        """
        hours = self.next_hours()
        bury_older(self._settings.spool_root, hours.day, name_session(self._clock), self._clock)
        self._wait(hours)
        if self._stop.is_set():
            return "stopped"
        session = Session(self._settings, hours, self._clock, self._enter, self._report, self._stop)
        return session.run()

    def run_for_ever(self) -> None:
        """Collect session after session until `stop`. Raises as `run_session`."""
        while not self._stop.is_set():
            self.run_session()

    def next_hours(self) -> Hours:
        """Of the session that is on, or of the next one."""
        now = self._clock.now()
        today = now.date()
        if self._calendar.is_session(today):
            hours = self._hours(today)
            if now < hours.ends:
                return hours
        return self._hours(self._calendar.next(today))

    def _hours(self, day: date) -> Hours:
        session = self._calendar.session(day)
        first, last = (datetime.combine(day, at) for at in UNKNOWN_HOURS)
        settings = self._settings.collector
        return Hours(
            day=day,
            starts=(session.open or first) - timedelta(seconds=settings.before_open_seconds),
            opens=session.open,
            closes=session.close,
            ends=(session.close or last) + timedelta(seconds=settings.after_close_seconds),
        )

    def _wait(self, hours: Hours) -> None:
        """Until the session begins; looks often, for a machine that slept or a clock set."""
        if self._clock.now() < hours.starts:
            self._report({"event": "waiting", "until": hours.starts.isoformat()})
        while not self._stop.is_set() and self._clock.now() < hours.starts:
            left = (hours.starts - self._clock.now()).total_seconds() / self._clock.speed
            self._stop.wait(min(max(left, 0.0), _LONGEST_WAIT))
