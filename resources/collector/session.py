"""One session: everything between the collector's start and the close of its trading day.

Belongs here: bringing spool, journal, sockets and watch together, and the login they wait for.
Does not belong here: what each of them does, which day it is (see `collector`).
"""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final
from uuid import uuid4

from optrade.errors import InputRefused
from resources.clock import Clock
from resources.collector.boundary import Access, Broker
from resources.collector.gaps import Gaps
from resources.collector.prepare import JOURNAL, bury, deal, prepare, told
from resources.collector.sockets import Sockets
from resources.collector.watch import Seen, Watch
from resources.journal import Entry, Journal, JournalError
from resources.kite.errors import BrokerError, SessionUnreadable, TokenExpired
from resources.settings import Settings
from resources.spool import SpoolError, SpoolWriter, microseconds, moment

PAUSE_SECONDS: Final = 0.1
_LOGIN = "login"
_SPOOL = "spool"


@dataclass(frozen=True)
class Hours:
    """When a day's session is; `opens` and `closes` are None where no source gives them."""

    day: date
    starts: datetime
    opens: datetime | None
    closes: datetime | None
    ends: datetime


def name_session(clock: Clock) -> str:
    """A name that sorts by the time it was given."""
    return f"{clock.now():%H%M%S}{uuid4().hex[:4]}"


class Session:
    """Collects one trading day until its end or until `stop` is set; for one use.

    `enter` gives the broker with a valid session, or raises `TokenExpired` or another
    `BrokerError`: it is asked again at intervals. `report` is told every entry of the journal.
    """

    def __init__(
        self,
        settings: Settings,
        hours: Hours,
        clock: Clock,
        enter: Callable[[], Broker],
        report: Callable[[Entry], None],
        stop: threading.Event,
    ) -> None:
        self._settings, self._hours, self._clock = settings, hours, clock
        self._enter, self._report, self._stop = enter, report, stop
        self._source = "kite" if settings.market == "real" else "simulated"
        self._folder = settings.spool_root / hours.day.isoformat()
        self._name = name_session(clock)
        self._journal = Journal(self._folder / JOURNAL, self._name, clock)
        self._gaps = Gaps(self._name, self._note)
        self._access: Access | None = None
        self._next_login = 0.0
        self._told_dead = False
        self._sockets: Sockets | None = None
        self._watch: Watch | None = None
        self._symbols: dict[int, str] = {}
        self._looks: deque[Future[Seen]] = deque()
        self._skewed = False
        self._trouble = False
        self._refusing = False
        self._refusals: queue.SimpleQueue[tuple[bool, int, str]] = queue.SimpleQueue()

    def run(self) -> str:
        """Collect; `closed` when the day was over, `stopped` when it was told to stop.

        Raises `SpoolError` when another collector is at work on that day.
        """
        spool = self._settings.spool
        self._spool = SpoolWriter(
            self._folder,
            self._name,
            flush_seconds=spool.flush_seconds,
            fsync_seconds=spool.fsync_seconds,
            seal_seconds=spool.seal_seconds,
        )
        self._looker = ThreadPoolExecutor(1, "collector-watch")
        reason = "stopped"
        try:
            self._begin()
            while not self._stop.is_set() and self._clock.now() < self._hours.ends:
                self._step()
                self._stop.wait(PAUSE_SECONDS)
            if self._clock.now() >= (self._hours.closes or self._hours.ends):
                reason = "closed"
        finally:
            self._end(reason)
        return reason

    def _begin(self) -> None:
        for entry in bury(self._folder, self._spool.recovered, self._journal, self._clock):
            self._report(entry)
        hours = self._hours
        self._started = self._clock.now()
        self._note(
            "session_started",
            opens=hours.opens and hours.opens.isoformat(),
            closes=hours.closes and hours.closes.isoformat(),
            source=self._source,
        )

    def _step(self) -> None:
        if self._sockets is not None and self._sockets.forbidden and self._access is not None:
            self._access = None
            self._dead(self._sockets.forbidden)
        if self._access is None:
            self._log_in()
        if self._sockets is not None:
            self._sockets.step(self._access)
        with suppress(SpoolError):  # `_check_spool` tells.
            self._spool.seal(microseconds(self._clock.now()))
        self._check_spool()
        self._take_sealed()
        while self._looks and self._looks[0].done():
            self._learn(self._looks.popleft())

    def _end(self, reason: str) -> None:
        if self._sockets is not None:
            self._sockets.hang_up()
        with suppress(SpoolError):  # `_check_spool` tells.
            self._spool.close()
        self._check_spool()
        self._take_sealed()
        while self._looks:
            self._learn(self._looks.popleft())
        self._looker.shutdown()
        now = self._clock.now()
        if reason == "closed":
            self._gaps.close_all(min(now, self._hours.closes or now))
        self._note("session_ended", reason=reason)

    def _note(self, event: str, **details: Any) -> None:
        """Write a journal entry and tell it; one the disk refuses is kept for the next."""
        try:
            self._report(self._journal.write(event, **details))
        except JournalError as error:
            self._report({"event": "journal_failed", "detail": str(error)})

    # --- the login and what follows from it

    def _log_in(self) -> None:
        now = time.monotonic()
        if now < self._next_login:
            return
        retry = self._settings.collector.login_retry_seconds
        self._next_login = now + max(retry / self._clock.speed, min(retry, 1.0))
        try:
            broker = self._enter()
            if self._sockets is None:
                self._subscribe(broker)
            self._access = broker.access
        except (TokenExpired, SessionUnreadable) as error:
            self._dead(str(error))
            self._without("token_expired", str(error))
        except (BrokerError, InputRefused) as error:
            self._without("refused", str(error))
        else:
            if self._sockets is not None:
                self._sockets.retry()

    def _dead(self, detail: str) -> None:
        """Say once that somebody has to log in."""
        if not self._told_dead:
            self._told_dead = True
            self._note("token_expired", detail=detail)

    def _without(self, cause: str, detail: str) -> None:
        """Before the first connection the whole day is missing, once the session has opened."""
        now, begins = self._clock.now(), max(self._hours.opens or self._started, self._started)
        if self._sockets is None and now >= begins:
            started = begins if self._gaps.cause(_LOGIN) is None else now
            self._gaps.open(_LOGIN, cause, started, 0, None, detail)

    def _subscribe(self, broker: Broker) -> None:
        settings = self._settings.collector
        prepared = prepare(self._folder, self._hours.day, self._source, broker, settings)
        frame, dealt = prepared.subscription.frame, deal(prepared, settings)
        self._symbols = dict(frame.select("instrument_token", "tradingsymbol").rows())
        self._watch = Watch(frame, self._hours.day, settings.silent_seconds)
        self._sockets = Sockets(
            dealt,
            self._take,
            self._gaps,
            self._note,
            self._clock,
            timeout_seconds=self._settings.kite.timeout_seconds,
            mute_seconds=settings.mute_seconds,
            longest_wait=settings.reconnect_seconds,
            on_change=self._changed,
        )
        self._note(
            "subscribed",
            instruments=frame.height,
            sockets=[len(tokens) for tokens in dealt],
            again=prepared.again,
            asked=prepared.asked,
            left_out=[
                {"underlying": out.underlying, "contracts": out.contracts, "why": out.why}
                for out in prepared.subscription.left_out
            ],
        )

    # --- frames

    def _take(self, kind: int, socket: int, at: int, payload: bytes) -> None:
        """Keep a frame; in the reactor's thread."""
        try:
            self._spool.append(kind, socket, at, payload)
        except SpoolError as error:
            if not self._refusing:
                self._refusing = True
                self._refusals.put((True, at, str(error)))
        else:
            if self._refusing:
                self._refusing = False
                self._refusals.put((False, at, ""))

    def _changed(self, up: bool, tokens: Sequence[int], at: int) -> None:
        """A socket is heard again, or down."""
        if up:
            self._told_dead = False
            self._gaps.close(_LOGIN, moment(at))
        if self._watch is not None and up:
            self._looker.submit(self._watch.release, tokens, at)
        elif self._watch is not None:
            self._looker.submit(self._watch.hold, tokens)

    def _check_spool(self) -> None:
        while not self._refusals.empty():
            refused, at, detail = self._refusals.get()
            if refused:
                count = len(self._symbols)
                self._gaps.open(_SPOOL, "spool_failed", moment(at), count, None, detail)
            else:
                self._gaps.close(_SPOOL, moment(at))
        trouble = self._spool.trouble
        if (trouble is not None) != self._trouble:
            self._trouble = trouble is not None
            event = "spool_well" if trouble is None else "spool_failed"
            self._note(event, detail=str(trouble or "the disk takes frames again"))

    def _take_sealed(self) -> None:
        while not self._spool.sealed.empty():
            sealed = self._spool.sealed.get()
            self._note("segment_sealed", **told(sealed))
            if self._watch is not None and sealed.path is not None:
                self._looks.append(self._looker.submit(self._watch.look, sealed.path))

    def _learn(self, look: Future[Seen]) -> None:
        """Take in what a sealed segment told."""
        try:
            seen = look.result()
        except (SpoolError, OSError) as error:
            self._note("segment_unreadable", detail=str(error))
            return
        for token, at in seen.moved:
            self._gaps.close(f"token {token}", moment(at))
        for token, since in seen.silent:
            detail = f"{self._symbols[token]} stands still while others move"
            subject = f"token {token}"
            self._gaps.open(subject, "silent_instrument", moment(since), 1, [token], detail)
        if seen.ahead_seconds is not None:
            self._compare_clocks(seen.ahead_seconds)

    def _compare_clocks(self, ahead: float) -> None:
        """Say when the clocks part and when they agree again.

        With a fast clock a frame on its way for a moment is late by seconds.
        """
        limit = self._settings.collector.clock_skew_seconds + 2 * (self._clock.speed - 1)
        skewed = abs(ahead) > limit
        if skewed != self._skewed:
            self._skewed = skewed
            found = {"seconds": round(ahead, 1), "limit": limit, "skewed": skewed}
            side = "ahead of" if ahead > 0 else "behind"
            advice = (
                f"This machine's clock is {abs(ahead):.0f} s {side} the exchange's: set it by NTP. "
                "Every tick keeps both times, and minutes follow the exchange's."
            )
            self._note("clock_skew", **found, **({"advice": advice} if skewed else {}))
