"""Kite's own websocket client in a thread, raw: no parsing, no reconnecting of its own.

Belongs here: the only code that knows kiteconnect's ticker, Twisted and TLS. Does not belong here:
when to connect and what silence means (see `sockets`). Import it only where a connection is made:
it loads Twisted.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol, cast

import certifi
from autobahn.twisted.websocket import connectWS  # type: ignore[import-untyped]
from kiteconnect import KiteTicker  # type: ignore[import-untyped]
from twisted.internet import reactor as _reactor
from twisted.internet import ssl

from resources.collector.boundary import Access

reactor = cast("Any", _reactor)
_END_OF_CERTIFICATE = b"-----END CERTIFICATE-----\n"
_starting = threading.Lock()


class Listener(Protocol):
    """Told of everything on a line, in the reactor's thread; must not raise."""

    def opened(self, line: Line) -> None:
        """It is connected and subscribed."""

    def heard(self, line: Line, payload: bytes, is_binary: bool) -> None:
        """A frame came."""

    def over(self, line: Line, code: int | None, reason: str) -> None:
        """It could not be connected or was lost; told once."""


class Line:
    """One connection of a websocket: dialled once, over once."""

    def __init__(
        self,
        number: int,
        tokens: Sequence[int],
        access: Access,
        listener: Listener,
        timeout_seconds: float,
    ) -> None:
        self.number = number
        self._tokens, self._listener = list(tokens), listener
        self._why: tuple[int | None, str] = (None, f"no connection to {access.stream_url}")
        self._ticker = ticker = _Ticker(access, timeout_seconds)
        ticker.on_open = self._opened
        ticker.on_message = self._heard
        ticker.on_close = self._closed
        ticker.on_noreconnect = self._over

    def dial(self) -> None:
        """Connect; the listener is told how it goes."""
        run_reactor()
        reactor.callFromThread(self._ticker.connect)

    def hang_up(self, *, politely: bool = False) -> None:
        """End it: cut, or with a closing handshake."""
        reactor.callFromThread(self._ticker.hang_up, politely)

    def _opened(self, ticker: _Ticker) -> None:
        ticker.subscribe(self._tokens)
        ticker.set_mode(ticker.MODE_FULL, self._tokens)
        self._listener.opened(self)

    def _heard(self, _: _Ticker, payload: bytes, is_binary: bool) -> None:
        self._listener.heard(self, payload, is_binary)

    def _closed(self, _: _Ticker, code: int | None, reason: object) -> None:
        self._why = (code, str(reason or "the broker closed it"))

    def _over(self, _: _Ticker) -> None:
        self._listener.over(self, *self._why)


class _Ticker(KiteTicker):  # type: ignore[misc]
    """Kite's client, which tries once, verifies the broker's certificate and parses nothing.

    The official one accepts any certificate and sends the access token to whoever shows one.
    """

    def __init__(self, access: Access, timeout_seconds: float) -> None:
        super().__init__(
            access.api_key,
            access.access_token,
            root=access.stream_url,
            reconnect_max_tries=0,
            connect_timeout=timeout_seconds,
        )
        self._connector: Any = None

    def connect(self) -> None:
        """Dial; in the reactor's thread."""
        headers = {"X-Kite-Version": "3"}
        self._create_connection(self.socket_url, useragent=self._user_agent(), headers=headers)
        self.factory.noisy = False
        host = self.factory.host
        context = ssl.optionsForClientTLS(host, _trusted()) if self.factory.isSecure else None
        self._connector = connectWS(self.factory, context, timeout=self.connect_timeout)

    def hang_up(self, politely: bool) -> None:
        """End the connection, made or in the making; in the reactor's thread."""
        if self.ws is None:
            self._connector.disconnect()
        elif politely:
            self.ws.sendClose(1000)
        else:
            self.ws.dropConnection(abort=True)

    def _on_message(self, _: object, payload: bytes, is_binary: bool) -> None:
        self.on_message(self, payload, is_binary)


@lru_cache(maxsize=1)
def _trusted() -> Any:
    """The certificate authorities that the REST client trusts."""
    bundle = Path(certifi.where()).read_bytes().replace(b"\r\n", b"\n")
    found = [part.rpartition(b"-----BEGIN")[2] for part in bundle.split(_END_OF_CERTIFICATE)[:-1]]
    authorities = [
        ssl.Certificate.loadPEM(b"-----BEGIN" + part + _END_OF_CERTIFICATE) for part in found
    ]
    return ssl.trustRootFromCertificates(authorities)  # type: ignore[no-untyped-call]


def run_reactor() -> None:
    """Run Twisted's loop in a thread of this process, once and for all."""
    with _starting:
        if reactor.running:
            return
        logging.getLogger("kiteconnect.ticker").setLevel(logging.CRITICAL)  # The journal tells.
        running = threading.Event()
        reactor.callWhenRunning(running.set)
        threading.Thread(
            target=reactor.run,
            kwargs={"installSignalHandlers": False},
            name="websockets",
            daemon=True,
        ).start()
        running.wait()
