"""The broker's websocket over a real line, heard by the broker's own client."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from zlib import crc32

import httpx
import pytest

from optrade.calendar import IST
from optrade.simulation.intraday import IntradayMarket
from resources.clock import ScaledClock
from resources.kite_exchange.faults import KINDS
from resources.kite_exchange.feed import error_text
from resources.kite_exchange.server import ExchangeError, RunningExchange
from resources.kite_exchange.stream import MOST_SOCKETS
from tests.resources.kite.conftest import DAY, NIFTY

PATIENCE = 20.0


@dataclass
class Heard:
    """What the broker's own client received on one websocket."""

    ticker: Any
    binary: list[bytes] = field(default_factory=list)
    texts: list[bytes] = field(default_factory=list)
    ticks: list[dict[str, Any]] = field(default_factory=list)
    opened: int = 0
    closed: list[str] = field(default_factory=list)

    def message(self, _: Any, payload: bytes, is_binary: bool) -> None:
        (self.binary if is_binary else self.texts).append(payload)

    def until(self, true: Callable[[], bool]) -> None:
        """Wait until it is true; fails after a while."""
        end = time.monotonic() + PATIENCE
        while not true():
            assert time.monotonic() < end, (len(self.binary), self.texts, self.closed)
            time.sleep(0.01)


Tickers = Callable[..., Heard]


@pytest.fixture
def tickers(kite: Any) -> Iterator[Tickers]:
    """Connects the official client; with `parse` it makes ticks of the frames as well."""
    from resources.collector.ticker import run_reactor  # noqa: PLC0415 (it loads Twisted)

    run_reactor()  # The collector's: a process can run Twisted's loop only once.
    made: list[Heard] = []
    logins: dict[str, str] = {}

    def connect(
        exchange: RunningExchange,
        wanted: list[int],
        token: str | None = None,
        *,
        parse: bool = True,
    ) -> Heard:
        if token is None and exchange.root_url not in logins:
            logins[exchange.root_url] = exchange.state.log_in()
        token = token or logins[exchange.root_url]
        ticker = kite.ticker.KiteTicker("simulated", token, root=exchange.stream_url)
        heard = Heard(ticker)
        made.append(heard)
        ticker.on_message = heard.message
        if parse:
            ticker.on_ticks = lambda _, ticks: heard.ticks.extend(ticks)
        ticker.on_close = lambda _, code, reason: heard.closed.append(f"{code} {reason}")

        def subscribe(ws: Any) -> None:
            heard.opened += 1
            ws.subscribe(wanted)
            ws.set_mode("full", wanted)

        ticker.on_open = subscribe
        kite.ticker.reactor.callFromThread(ticker.connect)
        return heard

    yield connect
    for heard in made:
        kite.ticker.reactor.callFromThread(heard.ticker.close)


Exchanges = Callable[..., RunningExchange]


@pytest.fixture
def exchanges(market: IntradayMarket) -> Iterator[Exchanges]:
    """Starts exchanges at a time of the day, at a speed."""
    with ExitStack() as running:

        def start(hour: int = 10, speed: float = 20.0, **options: Any) -> RunningExchange:
            at = datetime(DAY.year, DAY.month, DAY.day, hour, tzinfo=IST)
            clock = ScaledClock(at, datetime.now(UTC), speed)
            return running.enter_context(RunningExchange(market, clock, **options))

        yield start


def test_the_official_client_understands_every_frame(
    exchanges: Exchanges,
    tickers: Tickers,
    market: IntradayMarket,
    tokens: list[int],
    tmp_path: Path,
) -> None:
    exchange = exchanges(log=tmp_path / "frames.jsonl")
    heard = tickers(exchange, tokens)
    heard.until(lambda: len({tick["instrument_token"] for tick in heard.ticks}) == len(tokens))
    heard.until(lambda: len(heard.ticks) > 1000)
    full = [tick for tick in heard.ticks if tick["tradable"] and tick["mode"] == "full"]
    lots = dict(market.instruments.select("instrument_token", "lot_size").iter_rows())
    for tick in full:
        ohlc, buy, sell = tick["ohlc"], tick["depth"]["buy"], tick["depth"]["sell"]
        assert ohlc["low"] <= tick["last_price"] <= ohlc["high"]
        assert ohlc["low"] <= tick["average_traded_price"] <= ohlc["high"]
        assert buy[0]["price"] < sell[0]["price"]
        assert sorted(buy, key=lambda level: -level["price"]) == buy
        assert sorted(sell, key=lambda level: level["price"]) == sell
        assert tick["volume_traded"] % lots[tick["instrument_token"]] == 0
        assert tick["oi_day_low"] <= tick["oi"] <= tick["oi_day_high"]
        assert tick["last_trade_time"] <= tick["exchange_timestamp"]
    spots = [tick for tick in heard.ticks if tick["instrument_token"] == NIFTY]
    assert len({tick["last_price"] for tick in spots}) > 1
    assert all(24_000 < tick["ohlc"]["low"] <= tick["last_price"] for tick in spots)
    exchange.stop()
    binary = [sent for sent in exchange.sent if sent.kind == "binary"]
    assert [sent.crc for sent in binary][: len(heard.binary)] == list(map(crc32, heard.binary))
    lines = (tmp_path / "frames.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(lines) == len(exchange.sent)


def test_outside_the_session_there_are_heartbeats(
    exchanges: Exchanges, tickers: Tickers, market: IntradayMarket, tokens: list[int]
) -> None:
    exchange = exchanges(hour=8)
    heard = tickers(exchange, tokens)
    heard.until(lambda: heard.binary[-2:] == [b"\x00", b"\x00"])
    told = {tick["instrument_token"]: tick for tick in heard.ticks}
    assert set(told) == set(tokens)
    assert {tick["exchange_timestamp"].date() for tick in told.values()} <= {date(2026, 1, 22)}
    assert len(heard.ticks) <= 2 * len(tokens)
    assert [sent.kind for sent in exchange.sent][-2:] == ["heartbeat", "heartbeat"]


def test_who_may_not_connect_is_told_as_the_broker_tells(
    exchanges: Exchanges, tickers: Tickers
) -> None:
    exchange = exchanges()
    stranger = tickers(exchange, [NIFTY], token="stolen")
    stranger.until(lambda: bool(stranger.closed))
    assert "403" in stranger.closed[0]
    first = [tickers(exchange, [NIFTY]) for _ in range(MOST_SOCKETS)]
    for one in first:
        one.until(lambda one=one: bool(one.binary))
    fourth = tickers(exchange, [NIFTY])
    fourth.until(lambda: bool(fourth.closed))
    assert "429" in fourth.closed[0]


def test_a_mute_socket_stays_open_and_speaks_again(
    exchanges: Exchanges, tickers: Tickers, tokens: list[int]
) -> None:
    exchange = exchanges()
    mute, other = tickers(exchange, tokens), None
    mute.until(lambda: len(mute.binary) > 3)
    other = tickers(exchange, tokens)
    other.until(lambda: len(other.binary) > 3)
    exchange.faults.switch_on("mute_socket", socket=0, duration=30)
    since = len(other.binary)
    other.until(lambda: len(other.binary) > since + 2)
    silent = len(mute.binary)
    other.until(lambda: len(other.binary) > since + 5)
    assert len(mute.binary) == silent
    mute.until(lambda: len(mute.binary) > silent)
    assert (mute.opened, mute.closed) == (1, [])


def test_a_dropped_connection_is_unclean_and_taken_up_again(
    exchanges: Exchanges, tickers: Tickers, tokens: list[int]
) -> None:
    exchange = exchanges()
    heard = tickers(exchange, tokens)
    heard.until(lambda: len(heard.binary) > 2)
    exchange.faults.switch_on("drop_connection")
    heard.until(lambda: bool(heard.closed))
    assert heard.closed[0].startswith("1006")
    heard.until(lambda: heard.opened == 2)
    heard.until(lambda: exchange.sent[-1].connection == 2)


def test_an_expired_token_ends_sockets_and_handshakes(
    exchanges: Exchanges, tickers: Tickers, tokens: list[int]
) -> None:
    exchange = exchanges()
    heard = tickers(exchange, tokens)
    heard.until(lambda: len(heard.binary) > 2)
    exchange.faults.switch_on("expire_token")
    heard.until(lambda: len(heard.closed) >= 2)
    assert heard.closed[0].startswith("1006")
    assert "403" in heard.closed[1]


def test_faults_are_ordered_over_http(
    exchanges: Exchanges, tickers: Tickers, tokens: list[int]
) -> None:
    exchange = exchanges()
    heard = tickers(exchange, tokens, parse=False)
    heard.until(lambda: len(heard.binary) > 2)
    address = f"{exchange.root_url}/simulate/faults"
    for order in ({"kind": "text_error", "message": "as ordered"}, {"kind": "garbage"}):
        assert httpx.post(address, json=order).status_code == 200
    heard.until(lambda: bool(heard.texts))
    assert heard.texts == [error_text("as ordered").encode()]
    listed = httpx.get(address).json()
    assert [fault["kind"] for fault in listed["on"]] == ["garbage"]
    assert listed["kinds"] == dict(KINDS)
    refused = httpx.post(address, json={"kind": "fire", "socket": -1})
    assert refused.status_code == 400
    assert {part for wrong in refused.json()["wrong"] for part in wrong["loc"]} == {
        "kind",
        "socket",
    }
    assert httpx.delete(address, params={"kind": "fire"}).status_code == 400
    assert httpx.delete(address, params={"kind": "garbage"}).json()["on"] == []


def test_too_many_packets_wait_and_the_line_stays_alive(
    exchanges: Exchanges, tickers: Tickers, tokens: list[int]
) -> None:
    heard = tickers(exchanges(most_packets=10), tokens)
    heard.until(lambda: any(len(frame) > 1 for frame in heard.binary))
    first = next(i for i, frame in enumerate(heard.binary) if len(frame) > 1)
    heard.until(lambda: len(heard.binary) > first + 1)
    assert heard.binary[first + 1] == b"\x00"


def test_a_taken_port_is_told(exchanges: Exchanges, market: IntradayMarket) -> None:
    exchange = exchanges()
    with pytest.raises(ExchangeError, match=rf"port {exchange.port} .* is taken"):
        exchanges(port=exchange.port)
