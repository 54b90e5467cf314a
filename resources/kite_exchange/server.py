"""The simulated broker as one server on a loopback port.

Belongs here: putting requests, websocket and faults together, running them in a thread. Does not
belong here: what any of them does, the command that starts it (`optrade_dagster.simulate`).
"""

from __future__ import annotations

import socket
import time
from pathlib import Path
from threading import Thread
from types import TracebackType
from typing import Self

import uvicorn
from starlette.applications import Starlette

from optrade.simulation.intraday import IntradayMarket
from resources.clock import Clock
from resources.kite_exchange.faults import Faults
from resources.kite_exchange.rest import routes
from resources.kite_exchange.state import BrokerState
from resources.kite_exchange.stream import MOST_PACKETS, Sent, Stream

_HOST = "127.0.0.1"
_START_SECONDS = 15.0
_STOP_SECONDS = 5


class ExchangeError(ValueError):
    """The simulated broker could not be started; says why and what to do."""


def build_app(state: BrokerState, market: IntradayMarket, stream: Stream) -> Starlette:
    """Every route of the broker: requests, `/stream`, `/simulate/faults`."""
    return Starlette(
        routes=[*routes(state, market), stream.route(), *state.faults.routes()],
    )


class RunningExchange:
    """A simulated broker that answers as long as the context lasts.

    `port` 0 takes a free one. `log` is a file that every frame sent is noted in as a JSON line.
    Raises `ExchangeError` when the port is taken or the server does not come up.
    """

    def __init__(
        self,
        market: IntradayMarket,
        clock: Clock,
        *,
        port: int = 0,
        most_packets: int = MOST_PACKETS,
        log: Path | None = None,
    ) -> None:
        self.faults = Faults(clock)
        self.state = BrokerState(clock, self.faults, {market.day: market.instruments_csv()})
        self.stream = Stream(
            self.state, market, clock, self.faults, most_packets=most_packets, log=log
        )
        self._socket = _bind(port)
        self.port = int(self._socket.getsockname()[1])
        config = uvicorn.Config(
            build_app(self.state, market, self.stream),
            loop="asyncio",
            lifespan="off",
            log_config=None,
            log_level="warning",
            access_log=False,
            ws="websockets-sansio",
            ws_ping_interval=None,
            ws_per_message_deflate=False,
            timeout_graceful_shutdown=_STOP_SECONDS,
        )
        self._server = uvicorn.Server(config)
        self._thread = Thread(
            target=self._server.run, args=([self._socket],), name="kite-exchange", daemon=True
        )

    @property
    def root_url(self) -> str:
        """Address of the REST API, Kite's `root`."""
        return f"http://{_HOST}:{self.port}"

    @property
    def stream_url(self) -> str:
        """Address of the websocket, the ticker's `root`."""
        return f"ws://{_HOST}:{self.port}/stream"

    @property
    def sent(self) -> list[Sent]:
        """Every frame sent so far, in order."""
        return self.stream.sent

    @property
    def running(self) -> bool:
        """Whether the server answers."""
        return self._thread.is_alive()

    def __enter__(self) -> Self:
        self._thread.start()
        until = time.monotonic() + _START_SECONDS
        while not self._server.started:
            if not self._thread.is_alive() or time.monotonic() > until:
                self.stop()
                raise ExchangeError(
                    f"the simulated broker did not come up on port {self.port} within "
                    f"{_START_SECONDS:g} seconds: look at the log, then start it again"
                )
            time.sleep(0.01)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Close every connection and stop answering; once is enough, twice is no harm."""
        self._server.should_exit = True
        self._thread.join(2 * _STOP_SECONDS)
        self._socket.close()
        self.stream.close()


def _bind(port: int) -> socket.socket:
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((_HOST, port))
    except OSError as error:
        bound.close()
        raise ExchangeError(
            f"port {port} of {_HOST} is taken ({error.strerror}): stop what listens there, or "
            "choose another one with OPTRADE_SIMULATOR__PORT"
        ) from error
    return bound
