"""What the simulated broker can be told to do wrong, and for how long.

Belongs here: the kinds of faults, switching them on and off from Python and over HTTP. Does not
belong here: how a fault shows (`stream` for the websocket, `rest` for requests).
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import count
from threading import Lock
from types import MappingProxyType
from typing import Any, Final, Literal, cast

from pydantic import Field, ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from resources.clock import Clock
from resources.settings_base import Group

Kind = Literal[
    "mute_socket",
    "drop_connection",
    "expire_token",
    "stale_instrument",
    "out_of_order",
    "unknown_packet",
    "rate_limit",
    "server_error",
    "garbage",
    "skew",
    "text_error",
    "no_candles",
]
KINDS: Final = MappingProxyType(
    {
        "mute_socket": "no frame is sent, not even a heartbeat; the connection stays open",
        "drop_connection": "the connection is cut without a closing handshake",
        "expire_token": "sockets are cut, handshakes get 403, requests a TokenException",
        "stale_instrument": "nothing is sent of `tokens`",
        "out_of_order": "every other frame is stamped `seconds` back",
        "unknown_packet": "each frame has one more packet, of `length` bytes",
        "rate_limit": "every request is answered with 429",
        "server_error": "every request is answered with 500",
        "garbage": "a binary frame of random bytes follows each frame",
        "skew": "the exchange's stamps are `seconds` ahead (negative: behind)",
        "text_error": "a text frame with the error `message`",
        "no_candles": "the answer for candles of `tokens` holds none",
    }
)
"""Every kind of fault and how it shows."""
ONCE: Final = frozenset({"drop_connection", "expire_token", "text_error"})
"""Kinds that happen once unless given a duration; all others last until they are cleared."""


class Order(Group):
    """One fault as it is ordered. `socket` None means all; `duration` is in market seconds."""

    kind: Kind
    socket: int | None = Field(default=None, ge=0)
    duration: float | None = Field(default=None, gt=0)
    tokens: frozenset[int] = frozenset()
    seconds: int = Field(default=30, ge=-86_400, le=86_400)
    length: int = Field(default=12, ge=1, le=1_000)
    message: str = "The simulated broker was told to send an error."


class Fault(Order):
    """A fault that was switched on at `since`. `serial` numbers faults from 1."""

    serial: int
    since: datetime
    until: datetime | None

    @property
    def once(self) -> bool:
        """Whether it happened at `since` and was over."""
        return self.kind in ONCE and self.duration is None


class Faults:
    """The faults of one simulated broker; safe to use from several threads."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._all: tuple[Fault, ...] = ()
        self._serials = count(1)
        self._lock = Lock()

    def switch_on(self, kind: Kind, **details: Any) -> Fault:
        """Begin a fault now; `details` are the fields of `Order`.

        Raises pydantic's `ValidationError` (a `ValueError`) for an unknown kind or detail.
        """
        order = Order(kind=kind, **details)
        with self._lock:
            now = self._clock.now()
            until = None if order.duration is None else now + timedelta(seconds=order.duration)
            fault = Fault(**order.model_dump(), serial=next(self._serials), since=now, until=until)
            self._all = (*self._all, fault)
        return fault

    def clear(self, kind: Kind | None = None) -> None:
        """End every fault, or those of one kind. Tokens that expired stay expired."""
        with self._lock:
            now = self._clock.now()
            self._all = tuple(
                fault
                if fault.once or kind not in (None, fault.kind)
                else fault.model_copy(update={"until": min(fault.until or now, now)})
                for fault in self._all
            )

    def active(self, kind: Kind, socket: int | None = None) -> Fault | None:
        """The newest fault of the kind that is on now, for all sockets or this one."""
        return next((fault for fault in self._on() if _meets(fault, kind, socket)), None)

    def once(self, kind: Kind, socket: int, after: int) -> Fault | None:
        """The newest fault of the kind that happened once, after the fault of serial `after`."""
        for fault in reversed(self._all):
            if fault.once and fault.serial > after and _meets(fault, kind, socket):
                return fault
        return None

    def expired(self, issued_at: datetime) -> bool:
        """Whether a token issued then has been made to expire."""
        lasting = self.active("expire_token") is not None
        return lasting or any(
            fault.kind == "expire_token" and issued_at <= fault.since for fault in self._all
        )

    @property
    def serial(self) -> int:
        """Of the last fault switched on; 0 before the first."""
        return self._all[-1].serial if self._all else 0

    def routes(self) -> list[BaseRoute]:
        """`/simulate/faults`: GET lists what is on, POST switches on, DELETE (`?kind=`) off."""
        path = "/simulate/faults"
        return [
            Route(path, self._get, methods=["GET"]),
            Route(path, self._post, methods=["POST"]),
            Route(path, self._delete, methods=["DELETE"]),
        ]

    def _on(self) -> Iterator[Fault]:
        now = self._clock.now()
        for fault in reversed(self._all):
            if not fault.once and (fault.until is None or now < fault.until):
                yield fault

    async def _get(self, _: Request) -> Response:
        on = [fault.model_dump(mode="json") for fault in self._on()]
        return JSONResponse({"on": on, "kinds": dict(KINDS)})

    async def _post(self, request: Request) -> Response:
        try:
            order = Order.model_validate_json(await request.body())
        except ValidationError as error:
            wrong = error.errors(include_url=False, include_context=False, include_input=False)
            return JSONResponse({"wrong": wrong, "kinds": dict(KINDS)}, status_code=400)
        fault = self.switch_on(**order.model_dump())
        return JSONResponse(fault.model_dump(mode="json"))

    async def _delete(self, request: Request) -> Response:
        kind = request.query_params.get("kind")
        if kind is None:
            self.clear()
        elif kind in KINDS:
            self.clear(cast("Kind", kind))
        else:
            return JSONResponse({"wrong": f"no kind {kind}", "kinds": dict(KINDS)}, status_code=400)
        return await self._get(request)


def _meets(fault: Fault, kind: Kind, socket: int | None) -> bool:
    return fault.kind == kind and fault.socket in (None, socket)
