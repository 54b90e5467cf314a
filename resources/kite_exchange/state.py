"""What the simulated broker remembers: its one account, tokens, dumps, and who asked how often.

Belongs here: who is let in, Kite's rate limits, what a request or a websocket may be refused
for. Does not belong here: HTTP (`rest`), the websocket (`stream`), the market.
"""

from __future__ import annotations

import secrets
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from hashlib import sha256
from threading import Lock
from types import MappingProxyType
from typing import Any, Final, NamedTuple, Protocol

import polars as pl

from resources.clock import Clock
from resources.kite.access import SIMULATED_KEY, SIMULATED_SECRET, token_dies_at
from resources.kite_exchange.faults import Faults

USER_ID: Final = "SIM001"
REQUEST_TOKEN_SECONDS: Final = 120
"""Real ones: it is a person who carries the token over."""
LIMITS: Final = MappingProxyType({"quote": 1, "historical": 3, "other": 10})
"""Most requests in a real second, by family of paths."""
_REMEMBERED = 10_000


class Market(Protocol):
    """What the broker asks the market; `IntradayMarket` is one."""

    def quote(self, tokens: Iterable[int], at: datetime) -> dict[int, dict[str, Any]]:
        """Kite's full quote of each listed token at a time."""

    def candles(self, token: int, start: datetime, end: datetime) -> pl.DataFrame:
        """Minute candles from `start`, the last one as far as `end` goes.

        Columns: at, open, high, low, close, volume_units, oi_units.
        """


class Refusal(Exception):
    """A request that the broker refuses: HTTP status, Kite's exception name, message."""

    def __init__(self, status: int, kind: str, message: str) -> None:
        super().__init__(message)
        self.status, self.kind, self.message = status, kind, message


class Asked(NamedTuple):
    """One request answered: market time, method, path, HTTP status."""

    at: datetime
    method: str
    path: str
    status: int


@dataclass(frozen=True, slots=True, repr=False)
class _Access:
    token: str
    issued_at: datetime


class BrokerState:
    """The broker's memory; safe to use from several threads.

    `dumps` are the instrument dumps by day; the newest one up to the clock's day is served.
    `now` counts real seconds.
    """

    def __init__(
        self,
        clock: Clock,
        faults: Faults,
        dumps: Mapping[date, bytes],
        *,
        redirect_url: str = "http://127.0.0.1:5010/",
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.clock, self.faults, self.redirect_url = clock, faults, redirect_url
        self.log: deque[Asked] = deque(maxlen=_REMEMBERED)
        self._dumps, self._now = dict(dumps), now
        self._asked: dict[str, deque[float]] = {family: deque() for family in LIMITS}
        self._requests: dict[str, float] = {}
        self._access: _Access | None = None
        self._lock = Lock()

    def accepts(self, api_key: str, access_token: str) -> bool:
        """Whether the pair is valid now: the last token issued, until 06:00 or a fault."""
        access = self._access
        return (
            access is not None
            and api_key == SIMULATED_KEY
            and access_token == access.token
            and self.clock.now() < token_dies_at(access.issued_at)
            and not self.faults.expired(access.issued_at)
        )

    def request_token(self) -> str:
        """What the login page hands out: good for one session and for two minutes."""
        token = secrets.token_hex(16)
        with self._lock:
            self._requests[token] = self._now()
        return token

    def log_in(self) -> str:
        """A new access token without the login page; the one before it is void."""
        self._access = _Access(secrets.token_hex(16), self.clock.now())
        return self._access.token

    def open_session(self, request_token: str, checksum: str) -> str:
        """The access token for a request token.

        Raises `Refusal` for a used, old or unknown one, and for a wrong checksum.
        """
        with self._lock:
            issued_at = self._requests.get(request_token)
            if issued_at is None or self._now() - issued_at > REQUEST_TOKEN_SECONDS:
                raise Refusal(403, "TokenException", "Token is invalid or has expired.")
            told = f"{SIMULATED_KEY}{request_token}{SIMULATED_SECRET}"
            if checksum != sha256(told.encode()).hexdigest():
                raise Refusal(403, "TokenException", "Invalid `checksum`.")
            del self._requests[request_token]
        return self.log_in()

    def log_out(self) -> None:
        """Make the access token void."""
        self._access = None

    def admit(self, family: str) -> None:
        """Count a request. Raises `Refusal` when it is one too many, or when a fault says so."""
        if self.faults.active("server_error"):
            raise Refusal(500, "GeneralException", "Something went wrong.")
        with self._lock:
            now, asked = self._now(), self._asked[family]
            while asked and now - asked[0] >= 1:
                asked.popleft()
            if len(asked) >= LIMITS[family] or self.faults.active("rate_limit"):
                raise Refusal(429, "NetworkException", "Too many requests")
            asked.append(now)

    def dump(self, exchange: str | None = None) -> bytes:
        """Today's instruments as CSV, all or those of one exchange.

        Raises `Refusal` when no day up to today has a dump, or the exchange no instruments.
        """
        today = self.clock.now().date()
        day = max((day for day in self._dumps if day <= today), default=None)
        if day is None:
            raise Refusal(503, "NetworkException", f"No instruments are known up to {today}.")
        content = self._dumps[day]
        if exchange is None:
            return content
        header, *lines = content.splitlines(keepends=True)
        mark = b"," + exchange.encode()
        chosen = [line for line in lines if line.rstrip().endswith(mark)]
        if not chosen:
            raise Refusal(400, "InputException", "Invalid `exchange`.")
        return b"".join([header, *chosen])
