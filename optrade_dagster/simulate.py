"""The simulated broker as a command: a day of the simulated market, live on a loopback port.

Belongs here: the course of `optrade simulate`. Does not belong here: typing (see `cli`), the
broker itself (`resources.kite_exchange`), the market (`optrade.simulation`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any

from rich.console import Console

from optrade.calendar import TradingCalendar, load_calendar
from optrade.simulation import UNDERLYINGS, Underlying
from optrade.simulation.intraday import IntradayMarket
from resources.clock import ScaledClock, SystemClock, read_clock, write_clock
from resources.settings import Settings
from resources.simulator import read_marker, write_exchange

if TYPE_CHECKING:
    from resources.kite_exchange.server import RunningExchange

EARLY = timedelta(minutes=5)
"""How long before the open the market's clock begins, unless told otherwise."""
LATE_SECONDS = 120.0
"""Market seconds that the broker stays after the close."""
EVENING = timedelta(hours=1)
"""How long after the close the broker of a past day is asked."""
LOOK_SECONDS = 0.5
"""Real seconds between two looks at the clock."""


def run_simulate(
    settings: Settings,
    console: Console,
    day: date,
    speed: float,
    port: int,
    start: time | None = None,
) -> None:
    """Be the broker on `day`, from `start` (five minutes before the open) to after the close.

    The market is that of the simulated exchange's files, where there are any: same seed, first
    day and underlyings; after the close the exchange publishes the day, unless it has before.
    Without files it is one of `OPTRADE_SIMULATOR__SEED` that begins on `day`. Other processes
    follow its clock by `clock.json` in the market's folder, which is gone afterwards. Ctrl-C
    ends it.

    Raises `ValueError` (of which `SimulationError`, `CalendarError`, `ClockError` and
    `ExchangeError` are kinds) for what cannot be simulated, before anything is written.
    """
    if settings.market != "simulated":
        raise ValueError(
            f"The simulated broker serves the simulated market; OPTRADE_MARKET is "
            f"{settings.market}. Set it to simulated."
        )
    calendar = load_calendar(settings.calendar.extra_csv)
    try:
        with console.status(f"The market of {day} is laid out"):
            market = _market(settings, day, calendar)
    except KeyboardInterrupt:
        console.print(f"Stopped before the market of {day} began.")
        return
    begins = market.opens - EARLY
    if start is not None:
        begins = datetime.combine(day, start, market.opens.tzinfo)
    clock = ScaledClock(begins, datetime.now(UTC), speed)
    with _serving(settings, market, clock, port) as exchange:
        try:
            _announce(console, exchange, clock)
            while exchange.running and market.elapsed(clock.now()) < market.seconds + LATE_SECONDS:
                clock.sleep(LOOK_SECONDS * clock.speed)
        except KeyboardInterrupt:
            console.print(f"Stopped at {clock.now():%H:%M:%S} of {day}.")
            return
    console.print(f"The session of {day} is over.")
    _publish(settings, console, day, calendar)


@contextmanager
def broker_of_past(settings: Settings, day: date) -> Iterator[None]:
    """The broker again, an hour after a day's close: it answers for that day's candles.

    Nothing is started where one plays that day. Raises `ValueError` where it plays another day,
    of which alone it has candles, and as `run_simulate`.
    """
    playing = read_clock(settings.clock_file)
    if not isinstance(playing, SystemClock):
        if (other := playing.now().date()) != day:
            raise ValueError(
                f"The simulated broker plays {other} and has no candles of {day}. Stop "
                "`optrade up` or `optrade simulate` first; then it is asked about that day."
            )
        yield
        return
    market = _market(settings, day, load_calendar(settings.calendar.extra_csv))
    evening = market.opens + timedelta(seconds=market.seconds) + EVENING
    clock = ScaledClock(evening, datetime.now(UTC), 1.0)
    with _serving(settings, market, clock, settings.simulator.port):
        yield


@contextmanager
def _serving(
    settings: Settings, market: IntradayMarket, clock: ScaledClock, port: int
) -> Iterator[RunningExchange]:
    """The broker, and its clock for other processes."""
    from resources.kite_exchange.server import RunningExchange  # noqa: PLC0415 (a web server)

    with RunningExchange(market, clock, port=port) as exchange:
        write_clock(settings.clock_file, clock)
        try:
            yield exchange
        finally:
            write_clock(settings.clock_file, SystemClock())


def _market(settings: Settings, day: date, calendar: TradingCalendar) -> IntradayMarket:
    marker = read_marker(settings.exchange_root)
    if marker is None:
        return IntradayMarket(day, settings.simulator.seed, day, calendar)
    first = date.fromisoformat(marker["first"])
    return IntradayMarket(day, marker["seed"], first, calendar, _underlyings(marker))


def _underlyings(marker: Mapping[str, Any]) -> list[Underlying]:
    known = {underlying.symbol: underlying for underlying in UNDERLYINGS}
    return [known[symbol] for symbol in marker["underlyings"]]


def _announce(console: Console, exchange: RunningExchange, clock: ScaledClock) -> None:
    console.print(
        f"The simulated broker answers at {exchange.root_url} and {exchange.stream_url}, "
        f"[black on yellow] SIMULATED [/]\n"
        f"Market time {clock.now():%Y-%m-%d %H:%M:%S}, {clock.speed:g} times real time. "
        f"Ctrl-C ends it. To make something go wrong for a market minute:\n"
        f"  curl -X POST {exchange.root_url}/simulate/faults "
        f"""-d '{{"kind": "mute_socket", "socket": 0, "duration": 60}}'\n"""
        f"Every kind of fault and what is on: curl {exchange.root_url}/simulate/faults; all "
        f"off: curl -X DELETE {exchange.root_url}/simulate/faults",
        soft_wrap=True,
        highlight=False,
    )


def _publish(settings: Settings, console: Console, day: date, calendar: TradingCalendar) -> None:
    """Let the exchange publish the day's files, if it has published the days before."""
    marker = read_marker(settings.exchange_root)
    if marker is None or marker["last"] >= day.isoformat():
        return
    days = calendar.sessions(date.fromisoformat(marker["first"]), day)
    with console.status("The exchange publishes the day's files"):
        written = write_exchange(
            settings.exchange_root,
            days,
            marker["seed"],
            underlyings=_underlyings(marker),
            calendar=calendar,
        )
    console.print(f"The exchange has published {written.written} files, up to {day}.")
