"""The course of `optrade collect`.

Belongs here: whose clock and login the collector goes by, what it logs, stopping it. Does not
belong here: typing (see `cli`), collecting (`resources.collector`).
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from types import MappingProxyType
from typing import Final

from rich.console import Console

from optrade.calendar import load_calendar
from resources.clock import Clock, SystemClock, read_clock
from resources.collector import Collector
from resources.journal import Entry
from resources.kite.access import broker_settings
from resources.kite.broker import KiteBroker
from resources.kite.errors import TokenExpired
from resources.kite.login import complete_login, request_token_of, simulated_redirect
from resources.logs import configure_logging, get_logger, route_twisted
from resources.settings import Settings

COMPONENT: Final = "collect"
LOOK_SECONDS: Final = 0.2
"""Real seconds between two looks at a simulated market's clock."""
LEVELS: Mapping[str, str] = MappingProxyType(
    {
        "segment_sealed": "debug",
        "gap_opened": "warning",
        "connection_lost": "warning",
        "refused": "warning",
        "segment_recovered": "warning",
        "clock_skew": "warning",
        "token_expired": "error",
        "spool_failed": "error",
        "journal_failed": "error",
        "segment_unreadable": "error",
    }
)
"""How severe an event of the journal is; others are `info`."""


def run_collect(settings: Settings, console: Console, *, once: bool = False) -> None:
    """Collect session after session, or only the one that is on or next, until asked to end.

    Ctrl-C and a termination signal end it when all it heard is on the disk. In a simulated market
    it goes by the simulated broker's clock, waits for that broker and logs in by itself.

    Raises `NotConfigured` without an API key in a real market, `SpoolError` when another collector
    is at work, `CalendarError` when the calendar ends before the next session.
    """
    broker_settings(settings)
    calendar = load_calendar(settings.calendar.extra_csv)
    configure_logging(settings, COMPONENT)
    route_twisted()
    console.print(f"Collecting into {settings.spool_root}; Ctrl-C ends it.", soft_wrap=True)
    over = threading.Event()
    with _ended_by_signals(over):
        while not over.is_set():
            clock = _market_clock(settings)
            if settings.market == "simulated" and isinstance(clock, SystemClock):
                over.wait(LOOK_SECONDS)
                continue
            collector = Collector(
                settings, clock, calendar, partial(enter, settings, clock), report
            )
            with _stopped_in_time(collector, settings, clock, over):
                collector.run_session()
            if once:
                return


def report(entry: Entry) -> None:
    """Log an entry of the collector's journal, with what to do where somebody has to."""
    event = entry["event"]
    told = {name: entry[name] for name in entry if name not in ("at", "event", "instrument_tokens")}
    level = LEVELS.get(event, "info")
    if event == "clock_skew" and not entry["skewed"]:
        level, told["advice"] = "info", "The clocks agree again."
    elif event == "token_expired":
        told["advice"] = "Run `optrade login`; the collector goes on by itself."
    getattr(get_logger(COMPONENT), level)(event.replace("_", " "), **told)


def enter(settings: Settings, clock: Clock) -> KiteBroker:
    """The broker with the kept session; a simulated one is logged in to when need be.

    Raises `TokenExpired` or another `BrokerError`.
    """
    try:
        return KiteBroker.enter(settings, clock)
    except TokenExpired:
        if settings.market == "real":
            raise
    complete_login(settings, request_token_of(simulated_redirect(settings)), clock)
    return KiteBroker.enter(settings, clock)


def _market_clock(settings: Settings) -> Clock:
    if settings.market == "real":
        return SystemClock()
    return read_clock(settings.clock_file)


@contextmanager
def _stopped_in_time(
    collector: Collector, settings: Settings, clock: Clock, over: threading.Event
) -> Iterator[None]:
    """Stop the collector when everything is over, or its clock is no longer the market's."""
    done = threading.Event()

    def look() -> None:
        while not done.wait(LOOK_SECONDS):
            if over.is_set() or _market_clock(settings) != clock:
                collector.stop()
                return

    looking = threading.Thread(target=look, name="collect-clock")
    looking.start()
    try:
        yield
    finally:
        done.set()
        looking.join()


@contextmanager
def _ended_by_signals(over: threading.Event) -> Iterator[None]:
    """Note what asks to end instead of being ended by it; ignored signals stay ignored."""
    numbers = [signal.SIGINT, signal.SIGTERM]
    before = {number: signal.getsignal(number) for number in numbers}
    for number, old in before.items():
        if old is not signal.SIG_IGN:
            signal.signal(number, lambda *_: over.set())
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)
