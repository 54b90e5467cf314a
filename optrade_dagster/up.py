"""The parts of a running market: which processes `optrade up` and the live demo keep alive.

Belongs here: the parts and when they are enough. Does not belong here: keeping them alive (see
`supervisor`), what they do.
"""

from __future__ import annotations

import sys
import time as real_time
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from functools import partial

from rich.console import Console

from optrade.calendar import load_calendar
from optrade_dagster.home import ensure_home, open_instance, open_lake, workspace_file
from optrade_dagster.lane_runs import end_dead_runs, unfinished
from optrade_dagster.minute_sensor import undone
from optrade_dagster.printing import print_frame
from optrade_dagster.supervisor import Part, answers, run_parts
from resources.lake import LakeLocation
from resources.logs import compress_old, configure_logging
from resources.recordings import Recordings
from resources.settings import Settings
from resources.simulator import next_session

HOST = "127.0.0.1"
USUAL_OPEN = time(9, 15)
_BEFORE, _MINUTE = timedelta(seconds=30), timedelta(minutes=1)
_CLI = (sys.executable, "-c", "from optrade_dagster.cli import main; main()")
_LOOK_SECONDS = 2.0
_MOST_SECONDS = 240.0

LIVE_SUMMARY = """
SELECT strftime(m.minute, '%H:%M') AS minute, m.expiry, round(m.spot, 2) AS spot,
       round(m.forward, 2) AS forward, round(100 * m.atm_iv, 2) AS atm_iv_pct,
       round(m.pcr_oi, 3) AS pcr_oi, round(p.mid_premium, 2) AS straddle_rupees,
       round(p.twap_premium, 2) AS straddle_twap_rupees
FROM analytics.chain_metrics_minute m
LEFT JOIN analytics.premium_minute p USING (trade_date, minute, underlying, expiry)
WHERE m.trade_date = ? AND m.underlying = 'NIFTY' AND m.expiry_bucket = 'this_week'
  AND p.kind = 'straddle' AND p.strike_offset = 0 AND p.expiry_bucket = 'this_week'
ORDER BY m.minute
"""


@dataclass(frozen=True)
class Session:
    """A simulated session to be played: which day, from when, how fast."""

    day: date
    start: time
    speed: float


def next_simulated(settings: Settings, speed: float, otherwise: date) -> Session:
    """The session after the last published one, from just before the open.

    One that was begun goes on after the last minute that was collected of it.
    """
    calendar = load_calendar(settings.calendar.extra_csv)
    day = next_session(settings.exchange_root, calendar, otherwise)
    opens = calendar.session(day).open or datetime.combine(day, USUAL_OPEN)
    start = (opens - _BEFORE).time()
    if sealed := _recordings(settings).day(day).sealed():
        last = datetime.strptime(sealed[-1].partition("-")[0], "%H%M%S")  # noqa: DTZ007 (a name)
        start = max(start, (last + _MINUTE).time())
    return Session(day, start, speed)


def market_parts(settings: Settings, port: int | None, session: Session | None) -> list[Part]:
    """Dagster (its daemon alone where no port is given), the collector, and the simulated broker.

    The collector of a real market is among them once there is a key to log in with.
    """
    parts = [_dagster(settings, port)]
    if session is not None:
        parts.append(_exchange(settings, session))
    if session is not None or settings.kite.api_key:
        log = settings.log_root / "collector.out"
        parts.append(Part("collector", (*_CLI, "collect"), log=log))
    return parts


def _dagster(settings: Settings, port: int | None) -> Part:
    home = ensure_home(settings)
    command: tuple[str, ...] = ("dagster._daemon", "run")
    if port is not None:
        command = ("dagster", "dev", "--host", HOST, "--port", str(port))
    return Part(
        "dagster",
        (sys.executable, "-m", *command, "--workspace", str(workspace_file(settings))),
        log=settings.log_root / "dagster.out",
        folder=home,
        ready=None if port is None else answers(port),
        before=partial(_end_dead_runs, settings),
        busy=partial(_on_their_way, settings),
        before_end=_recordings(settings).ending.touch,
    )


def _recordings(settings: Settings) -> Recordings:
    return Recordings(home=str(settings.market_home), root=str(settings.spool_root))


def _end_dead_runs(settings: Settings) -> None:
    _recordings(settings).ending.unlink(missing_ok=True)
    with open_instance(settings) as instance:
        end_dead_runs(instance)


def _on_their_way(settings: Settings) -> bool:
    """Whether the last day's minutes are still on their way from the spool into the lake."""
    recordings = _recordings(settings)
    days = recordings.days()
    if not days or not LakeLocation(settings.lake_root, settings.market).exists():
        return False
    with open_instance(settings) as instance, open_lake(settings, read_only=True) as lake:
        return unfinished(instance, str(days[-1])) or undone(lake, recordings.day(days[-1]))


def _exchange(settings: Settings, session: Session) -> Part:
    options = ("--day", session.day.isoformat(), "--speed", f"{session.speed:g}")
    command = (*_CLI, "simulate", *options, "--start", f"{session.start:%H:%M:%S}")
    return Part(
        "exchange",
        command,
        log=settings.log_root / "exchange.out",
        restart=False,
        ready=answers(settings.simulator.port),
    )


def refuse_taken_ports(settings: Settings, port: int | None, *, broker: bool) -> None:
    """Raise `ValueError` where a part would find its port taken, naming what to do.

    A stranger's broker on the port would otherwise be collected from as if it were ours.
    """
    needed = [] if port is None else [(port, "the web UI", "--port")]
    if broker:
        needed.append((settings.simulator.port, "the broker", "OPTRADE_SIMULATOR__PORT"))
    for number, user, other in needed:
        if answers(number)():
            raise ValueError(
                f"port {number} of {HOST}, meant for {user}, is taken: stop what listens there "
                f"(another `optrade up`?), or choose another one with {other}."
            )


def run_up(settings: Settings, console: Console, port: int, session: Session | None) -> int:
    """Keep a market running until Ctrl-C; the exit code.

    Raises `ValueError` when a port it needs is taken, before anything is started.
    """
    refuse_taken_ports(settings, port, broker=session is not None)
    console.print(f"Dagster's web UI: [bold]http://{HOST}:{port}[/] (Ctrl-C stops everything)")
    if session is not None:
        console.print(
            f"The simulated session of {session.day} begins, {session.speed:g} times real time."
        )
    elif not settings.kite.api_key:
        console.print(
            "No OPTRADE_KITE__API_KEY is set: nothing is collected live, the exchange's files are."
        )
    _begin_logs(settings)
    return run_parts(market_parts(settings, port, session), console)


def _begin_logs(settings: Settings) -> None:
    """This command's log, with a trace id that its parts inherit; old logs are packed."""
    configure_logging(settings, "up", terminal=False)
    compress_old(settings.log_root, settings.logging.compress_after_days)


def run_live_demo(settings: Settings, console: Console, session: Session, minutes: int) -> bool:
    """Play a session until so many minutes are in the lake; whether they came in time."""
    _begin_logs(settings)
    seen = _Seen(settings, session.day, minutes)
    console.print(
        f"\n[bold]Live:[/] the simulated session of {session.day}, {session.speed:g} times real "
        f"time, until {minutes} minutes are in the lake"
    )
    code = run_parts(market_parts(settings, None, session), console, until=seen.enough)
    with open_lake(settings, read_only=True) as lake:
        print_frame(console, lake.sql(LIVE_SUMMARY, [session.day]), "table")
    if seen.count < minutes:
        console.print(
            f"[red]Only {seen.count} of {minutes} minutes arrived.[/] {settings.log_root} says why."
        )
    return code == 0 and seen.count >= minutes


class _Seen:
    """Counts the minutes of a day in the lake, now and then."""

    def __init__(self, settings: Settings, day: date, wanted: int) -> None:
        self._settings, self._day, self._wanted = settings, day, wanted
        self._begun = self._looked = real_time.monotonic()
        self.count = 0

    def enough(self) -> bool:
        """Whether there are enough and the broker plays, or it takes too long."""
        now = real_time.monotonic()
        if now - self._looked < _LOOK_SECONDS:
            return False
        self._looked = now
        query = "SELECT count(DISTINCT minute) FROM analytics.premium_minute WHERE trade_date = ?"
        with open_lake(self._settings, read_only=True) as lake:
            self.count = lake.sql(query, [self._day]).item()
        plays = answers(self._settings.simulator.port)
        return (self.count >= self._wanted and plays()) or now - self._begun > _MOST_SECONDS
