"""A simulated broker whose clock stands still, the broker's own client, and ours."""

from __future__ import annotations

import socket
import warnings
from collections.abc import Callable, Iterator
from datetime import date, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from pydantic import SecretStr

from optrade.calendar import IST, load_calendar
from optrade.simulation.intraday import IntradayMarket
from resources.kite.access import token_dies_at
from resources.kite.broker import KiteBroker
from resources.kite.session import Session
from resources.kite_exchange.server import RunningExchange
from resources.kite_exchange.state import USER_ID
from resources.settings import Settings

DAY = date(2026, 1, 23)
START = datetime(2026, 1, 23, 10, 15, tzinfo=IST)
"""An hour after the market opened."""
NIFTY, VIX = 256265, 264969
SPOT = "NSE:NIFTY 50"

Clients = Callable[..., Any]
Brokers = Callable[..., KiteBroker]


class StoppedClock:
    """Shows the time it is told."""

    speed = 1.0

    def __init__(self) -> None:
        self.at = START

    def now(self) -> datetime:
        return self.at

    def sleep(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def market_of(seed: int) -> IntradayMarket:
    return IntradayMarket(DAY, seed, date(2026, 1, 20), load_calendar())


def visit(url: str, **query: str) -> httpx.Response:
    """What a browser gets that follows redirects."""
    with httpx.Client(trust_env=False, follow_redirects=True) as browser:
        return browser.get(url, params=query or None)


def changed(settings: Settings, **kite: Any) -> Settings:
    return settings.model_copy(update={"kite": settings.kite.model_copy(update=kite)})


def refused(kite: Any, name: str, code: int, call: Callable[[], object]) -> str:
    """What the official client says when it raises the exception of this name and code."""
    with pytest.raises(getattr(kite.exceptions, name)) as caught:
        call()
    assert type(caught.value).__name__ == name
    assert caught.value.code == code
    return str(caught.value)


@pytest.fixture(scope="session")
def kite() -> Any:
    """The official client's package."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import kiteconnect  # noqa: PLC0415 (Twisted's own warnings come with it)
    return kiteconnect


@pytest.fixture(scope="session")
def market() -> IntradayMarket:
    return market_of(7)


@pytest.fixture(scope="session")
def tokens(market: IntradayMarket) -> list[int]:
    """The two hundred busiest contracts, the index and India VIX."""
    final = market.moment(market.seconds, np.arange(len(market.tokens)))
    busiest = np.argsort(-final.volume_units, kind="stable")[:200]
    return [*market.tokens[busiest].tolist(), NIFTY, VIX]


@pytest.fixture(scope="session")
def only_clock() -> StoppedClock:
    return StoppedClock()


@pytest.fixture
def clock(only_clock: StoppedClock) -> StoppedClock:
    """The broker's clock, at 10:15."""
    only_clock.at = START
    return only_clock


@pytest.fixture(scope="session")
def running(market: IntradayMarket, only_clock: StoppedClock) -> Iterator[RunningExchange]:
    with RunningExchange(market, only_clock) as exchange:
        yield exchange


@pytest.fixture
def exchange(running: RunningExchange, clock: StoppedClock) -> RunningExchange:
    """A broker without a past, for which each request comes a second after the one before."""
    running.faults._all = ()
    running.state.__init__(
        clock,
        running.faults,
        running.state._dumps,
        redirect_url=f"http://127.0.0.1:{free_port()}/",
        now=count(step=1.0).__next__,
    )
    return running


@pytest.fixture
def settings(exchange: RunningExchange, tmp_path: Path) -> Settings:
    """Of a simulated market."""
    return Settings(home=tmp_path, market="simulated", simulator={"port": exchange.port})


@pytest.fixture
def clients(exchange: RunningExchange, kite: Any) -> Clients:
    """Makes official clients, logged in unless told otherwise."""

    def make(token: str | None = None, api_key: str = "simulated") -> Any:
        return kite.KiteConnect(
            api_key, token or exchange.state.log_in(), root=exchange.root_url, timeout=10
        )

    return make


@pytest.fixture
def brokers(exchange: RunningExchange, clock: StoppedClock, settings: Settings) -> Brokers:
    """Makes our clients, logged in, with their own way to wait."""

    def make(sleep: Callable[[float], None] = lambda _: None) -> KiteBroker:
        token, now = SecretStr(exchange.state.log_in()), clock.now()
        session = Session(USER_ID, "simulated", token, now, token_dies_at(now))
        return KiteBroker(settings, session, clock, sleep=sleep)

    return make
