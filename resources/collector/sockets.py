"""The websockets of a session: connecting, connecting anew, and what silence means.

Belongs here: when to dial, when a socket is lost or mute, which gap that is. Does not belong
here: how a connection is made (see `ticker`), what is done with frames.
"""

from __future__ import annotations

import json
import queue
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from resources.clock import Clock
from resources.collector.boundary import Access
from resources.collector.gaps import Gaps, Note
from resources.spool import BINARY, TEXT, microseconds, moment

if TYPE_CHECKING:
    from resources.collector.ticker import Line

Take = Callable[[int, int, int, bytes], None]
"""Keeps a frame: kind, number of the socket, time of arrival, payload. Must not raise."""
FIRST_WAIT: Final = 0.25
"""Seconds before a lost connection is dialled again; doubles with each failure."""
_MUTE_FLOOR: Final = 3.0
_FORBIDDEN = 403
_STATUS = re.compile(r"upgrade failed \((\d{3})")


class _News(NamedTuple):
    """Something that happened on a line, told by the reactor's thread."""

    what: Literal["opened", "first", "text", "over"]
    line: Line
    at: int
    code: int | None = None
    text: str = ""


@dataclass
class _Socket:
    """One websocket, whichever connection it has just now; times in real seconds but `heard_at`."""

    number: int
    tokens: list[int]
    line: Line | None = None
    hearing: bool = False
    heard_at: int | None = None
    busy_at: float = 0.0
    due_at: float = 0.0
    wait: float = FIRST_WAIT

    @property
    def name(self) -> str:
        """Subject of its gaps."""
        return f"socket {self.number}"


class Sockets:
    """Up to three websockets; `step` is called again and again by one thread.

    Frames go to `take` from the reactor's thread as they come. `forbidden` tells why the broker
    no longer accepts the access token; who gives `step` another access resets it.
    """

    def __init__(
        self,
        deal: Sequence[Sequence[int]],
        take: Take,
        gaps: Gaps,
        note: Note,
        clock: Clock,
        *,
        timeout_seconds: float,
        mute_seconds: float,
        longest_wait: float,
        on_change: Callable[[bool, Sequence[int], int], None],
    ) -> None:
        self._sockets = [_Socket(number, list(tokens)) for number, tokens in enumerate(deal)]
        self._take, self._gaps, self._note, self._clock = take, gaps, note, clock
        self._timeout, self._longest_wait = timeout_seconds, longest_wait
        # Heartbeats come each real second, however fast the market's clock runs.
        self._mute = max(mute_seconds / clock.speed, min(mute_seconds, _MUTE_FLOOR))
        self._news: queue.SimpleQueue[_News] = queue.SimpleQueue()
        self._on_change = on_change
        self.forbidden: str | None = None

    def opened(self, line: Line) -> None:
        """See `ticker.Listener`."""
        self._tell(_News("opened", line, self._now()))

    def heard(self, line: Line, payload: bytes, is_binary: bool) -> None:
        """See `ticker.Listener`. The hot path: every frame passes here."""
        socket = self._sockets[line.number]
        if socket.line is not line:
            return
        at = self._now()
        self._take(BINARY if is_binary else TEXT, line.number, at, payload)
        socket.heard_at, socket.busy_at = at, time.monotonic()
        if not socket.hearing:
            socket.hearing = True
            self._tell(_News("first", line, at))
        if not is_binary:
            self._tell(_News("text", line, at, text=payload.decode("utf-8", "replace")))

    def over(self, line: Line, code: int | None, reason: str) -> None:
        """See `ticker.Listener`."""
        self._tell(_News("over", line, self._now(), code, reason))

    def step(self, access: Access | None) -> None:
        """Take in the news, end mute lines, dial what is due. None as `access`: do not dial."""
        while not self._news.empty():
            news = self._news.get()
            socket = self._sockets[news.line.number]
            if socket.line is news.line:
                self._learn(socket, news)
        for socket in self._sockets:
            now = time.monotonic()
            if socket.line is not None and now - socket.busy_at > self._mute + self._grace(socket):
                self._give_up(socket, now)
            elif socket.line is None and access is not None and now >= socket.due_at:
                self._dial(socket, access, now)

    def hang_up(self) -> None:
        """End every connection, politely; what still comes is not kept."""
        for socket in self._sockets:
            line, socket.line = socket.line, None
            if line is not None:
                line.hang_up(politely=True)

    def retry(self) -> None:
        """Dial at the next step whatever is down: there is a new access."""
        self.forbidden = None
        for socket in self._sockets:
            socket.due_at = 0.0

    def _tell(self, news: _News) -> None:
        self._news.put(news)

    def _now(self) -> int:
        return microseconds(self._clock.now())

    def _grace(self, socket: _Socket) -> float:
        """A line that never spoke may still be in the making."""
        return 0.0 if socket.hearing else self._timeout

    def _dial(self, socket: _Socket, access: Access, now: float) -> None:
        from resources.collector.ticker import Line  # noqa: PLC0415 (loads Twisted)

        socket.hearing, socket.busy_at = False, now
        socket.line = Line(socket.number, socket.tokens, access, self, self._timeout)
        socket.line.dial()

    def _learn(self, socket: _Socket, news: _News) -> None:
        if news.what == "opened":
            self._note("connected", socket=socket.number, instruments=len(socket.tokens))
        elif news.what == "first":
            socket.wait = FIRST_WAIT
            self._gaps.close(socket.name, moment(news.at))
            self._on_change(True, socket.tokens, news.at)
        elif news.what == "text":
            self._read(socket, news.text)
        else:
            self._lost(socket, news.code, news.text)

    def _read(self, socket: _Socket, text: str) -> None:
        """A message of the broker: an order, its news, or an error."""
        self._note("text", socket=socket.number, message=text)
        try:
            message = json.loads(text)
        except ValueError:
            return
        if isinstance(message, dict) and message.get("type") == "error":
            data = str(message.get("data"))
            if "token" in data.lower():
                self.forbidden = data

    def _lost(self, socket: _Socket, code: int | None, reason: str) -> None:
        status = _STATUS.search(reason)
        refused = int(status[1]) if status else None
        if refused is not None:
            socket.wait = self._longest_wait
            if self._gaps.cause(socket.name) not in ("refused", "token_expired"):
                self._note("refused", socket=socket.number, status=refused, reason=reason)
        elif socket.hearing:
            self._note("connection_lost", socket=socket.number, code=code, reason=reason)
        if refused == _FORBIDDEN:
            self.forbidden = reason
        cause = "connection_lost" if refused is None else "refused"
        self._down(socket, "token_expired" if self.forbidden else cause, reason)

    def _give_up(self, socket: _Socket, now: float) -> None:
        """The line is open, and nothing comes: dial anew."""
        if socket.line is not None:
            socket.line.hang_up()
        detail = f"no frame, not even a heartbeat, for {now - socket.busy_at:.1f} s"
        self._down(socket, "mute_socket", detail)

    def _down(self, socket: _Socket, cause: str, detail: str) -> None:
        """There is a hole from the last frame on, or from now on if there is one already."""
        socket.line = None
        socket.due_at = time.monotonic() + socket.wait
        socket.wait = min(2 * socket.wait, self._longest_wait)
        before = self._gaps.cause(socket.name)
        known = before is not None and cause == "connection_lost"
        if not known:
            last = None if before is not None else socket.heard_at
            start = self._clock.now() if last is None else moment(last)
            tokens = None if len(self._sockets) == 1 else socket.tokens
            self._gaps.open(socket.name, cause, start, len(socket.tokens), tokens, detail)
        self._on_change(False, socket.tokens, self._now())
