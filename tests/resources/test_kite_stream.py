"""The simulated broker's websocket, heard by the broker's own client, with every fault."""

from __future__ import annotations

import struct
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zlib import crc32

import httpx
import numpy as np
import pytest

from optrade.calendar import IST, load_calendar
from optrade.simulation.intraday import IntradayMarket
from resources.clock import ScaledClock
from resources.kite_exchange.faults import KINDS, Faults
from resources.kite_exchange.feed import Feed, error_text
from resources.kite_exchange.server import ExchangeError, RunningExchange
from resources.kite_exchange.stream import MOST_SOCKETS

DAY = date(2026, 1, 23)
FIRST = date(2026, 1, 20)
NIFTY, VIX = 256265, 264969
PATIENCE = 20.0


class StoppedClock:
    """Shows the time it is told."""

    speed = 1.0

    def __init__(self, at: datetime) -> None:
        self.at = at

    def now(self) -> datetime:
        return self.at

    def sleep(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)


@pytest.fixture(scope="session")
def market() -> IntradayMarket:
    return IntradayMarket(DAY, 7, FIRST, load_calendar())


@pytest.fixture(scope="session")
def tokens(market: IntradayMarket) -> list[int]:
    """The two hundred busiest contracts, the index and India VIX."""
    final = market.moment(market.seconds, np.arange(len(market.tokens)))
    busiest = np.argsort(-final.volume_units, kind="stable")[:200]
    return [*market.tokens[busiest].tolist(), NIFTY, VIX]


@pytest.fixture
def clock(market: IntradayMarket) -> StoppedClock:
    return StoppedClock(market.opens + timedelta(hours=1))


@pytest.fixture
def faults(clock: StoppedClock) -> Faults:
    return Faults(clock)


Feeds = Callable[..., Feed]


@pytest.fixture
def feeds(market: IntradayMarket, faults: Faults, tokens: list[int]) -> Feeds:
    """Makes feeds connected at 10:15 that told all of the tokens in mode full."""

    def make(only: list[int] | None = None, place: int = 0, faults: Faults = faults) -> Feed:
        feed = Feed(market, faults, place, 3600.0)
        wanted = tokens if only is None else only
        assert feed.hear(f'{{"a": "subscribe", "v": {wanted}}}') is None
        assert feed.hear(f'{{"a": "mode", "v": ["full", {wanted}]}}') is None
        return feed

    return make


def split(frame: bytes) -> list[bytes]:
    """The packets of a frame."""
    packets, at = [], 2
    for _ in range(struct.unpack(">H", frame[:2])[0]):
        (length,) = struct.unpack(">H", frame[at : at + 2])
        packets.append(frame[at + 2 : at + 2 + length])
        at += 2 + length
    assert at == len(frame)
    return packets


def token_of(packet: bytes) -> int:
    return int(struct.unpack(">I", packet[:4])[0])


def stamp_of(packet: bytes) -> int:
    """Exchange stamp of a packet of mode full."""
    at = 28 if len(packet) == 32 else 60
    return int(struct.unpack(">I", packet[at : at + 4])[0])


def test_a_subscription_is_answered_at_once_in_its_mode(
    market: IntradayMarket, faults: Faults, tokens: list[int]
) -> None:
    feed = Feed(market, faults, 0, 3600.0)
    lengths = []
    feed.hear(f'{{"a": "subscribe", "v": [{tokens[0]}, {NIFTY}, 12345]}}')
    for mode in ("quote", "full", "ltp"):
        feed.hear(f'{{"a": "mode", "v": ["{mode}", [{tokens[0]}, {NIFTY}, {VIX}]]}}')
        (frame,) = feed.frames(3600.0)
        packets = split(frame)
        assert [token_of(packet) for packet in packets] == [tokens[0], NIFTY]
        lengths.append([len(packet) for packet in packets])
    assert lengths == [[44, 28], [184, 32], [8, 8]]
    feed.hear(f'{{"a": "unsubscribe", "v": [{tokens[0]}, {NIFTY}]}}')
    assert feed.frames(3700.0) == []


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"a": "subscribe"}', '{"a": "mode", "v": ["best", [256265]]}',
             '{"a": "mode", "v": []}', '{"a": "subscribe", "v": ["NIFTY"]}',
             '{"a": "buy", "v": [1]}', '{"a": "subscribe", "v": 1}'],
)  # fmt: skip
def test_what_is_not_understood_is_said(feeds: Feeds, text: str) -> None:
    assert "Not understood" in (feeds().hear(text) or "")


def test_a_socket_takes_three_thousand(market: IntradayMarket, faults: Faults) -> None:
    feed = Feed(market, faults, 0, 3600.0)
    refusal = feed.hear(f'{{"a": "subscribe", "v": {market.tokens[:3100].tolist()}}}')
    assert refusal == error_text("100 instruments are beyond the 3000 of a websocket")
    assert len(split(feed.frames(3600.0)[0])) == 3000


def test_frames_repeat_byte_for_byte_in_any_company(
    feeds: Feeds, market: IntradayMarket, tokens: list[int]
) -> None:
    moments = [3600 + i / 4 for i in range(40)]
    one, same, few = feeds(), feeds(), feeds([tokens[3], NIFTY])
    again = Feed(IntradayMarket(DAY, 7, FIRST, load_calendar()), Faults(StoppedClock(
        market.opens)), 2, 3600.0)  # fmt: skip
    again.hear(f'{{"a": "subscribe", "v": {tokens}}}')
    again.hear(f'{{"a": "mode", "v": ["full", {tokens}]}}')
    packets: list[bytes] = []
    for moment in moments:
        frames = one.frames(moment)
        assert frames == same.frames(moment) == again.frames(moment)
        packets += [packet for frame in frames for packet in split(frame)]
        mine = [packet for frame in few.frames(moment) for packet in split(frame)]
        theirs = [p for f in frames for p in split(f) if token_of(p) in (tokens[3], NIFTY)]
        assert mine == theirs
    assert len(set(packets)) > 0.99 * len(packets)
    other = IntradayMarket(DAY, 8, FIRST, load_calendar())
    assert other.moment(3600.0, other.rows([NIFTY])).last_price != struct.unpack(
        ">I", next(p for p in packets if token_of(p) == NIFTY)[4:8]
    )


def test_nobody_is_told_more_than_twice_a_second_and_the_busy_are(
    feeds: Feeds, tokens: list[int]
) -> None:
    feed = feeds()
    feed.frames(3600.0)
    heard = [
        token_of(packet)
        for i in range(1, 81)
        for frame in feed.frames(3600 + i / 4)
        for packet in split(frame)
    ]
    times = np.array([heard.count(token) for token in tokens])
    assert times.max() <= 41
    assert np.median(times) > 10
    assert times[-2:].tolist() == [20, 20]


def test_news_stop_at_the_close_with_a_last_word_of_everyone(
    feeds: Feeds, market: IntradayMarket, tokens: list[int]
) -> None:
    feed = feeds()
    feed.frames(market.seconds - 1)
    (last,) = feed.frames(market.seconds + 3)
    assert sorted(map(token_of, split(last))) == sorted(tokens)
    assert {stamp_of(packet) for packet in split(last)} == {int(market.closes.timestamp())}
    assert feed.frames(market.seconds + 60) == []


def test_a_stale_instrument_is_not_heard(
    feeds: Feeds, faults: Faults, tokens: list[int], clock: StoppedClock
) -> None:
    feed, other = feeds(), feeds(place=1)
    faults.switch_on("stale_instrument", tokens=tokens[:3], socket=0, duration=10)
    frames = [feed.frames(3600.0 + i) for i in range(5)]
    heard = {token_of(packet) for made in frames for f in made for packet in split(f)}
    assert heard == set(tokens[3:])
    assert {token_of(p) for f in other.frames(3600.0) for p in split(f)} == set(tokens)
    clock.sleep(10)
    assert tokens[0] in {token_of(p) for f in feed.frames(3620.0) for p in split(f)}


def test_stamps_can_be_skewed_and_out_of_order(
    feeds: Feeds, faults: Faults, market: IntradayMarket
) -> None:
    straight, bent = feeds(), feeds(place=1)
    faults.switch_on("skew", socket=1, seconds=-7)
    faults.switch_on("out_of_order", socket=1, seconds=20)
    for i, shift in enumerate([-7, -27, -7, -27]):
        right, wrong = straight.frames(3600.0 + i), bent.frames(3600.0 + i)
        for good, bad in zip(split(right[0]), split(wrong[0]), strict=True):
            assert token_of(good) == token_of(bad)
            assert stamp_of(bad) - stamp_of(good) == shift
    faults.clear("skew")
    faults.clear("out_of_order")
    assert straight.frames(3610.0) == bent.frames(3610.0)


@pytest.mark.parametrize("length", [12, 100])
def test_an_unknown_packet_stands_among_the_others(
    feeds: Feeds, faults: Faults, length: int
) -> None:
    straight, odd = feeds(), feeds(place=1)
    faults.switch_on("unknown_packet", socket=1, length=length)
    right, wrong = split(straight.frames(3600.0)[0]), split(odd.frames(3600.0)[0])
    assert wrong[:-1] == right
    assert len(wrong[-1]) == length


def test_garbage_is_a_frame_of_its_own(feeds: Feeds, faults: Faults) -> None:
    straight, dirty = feeds(), feeds(place=1)
    faults.switch_on("garbage", socket=1)
    right, wrong = straight.frames(3600.0), dirty.frames(3600.0)
    assert wrong[:-1] == right
    assert len(wrong[-1]) == 64


def test_what_happens_once_happens_to_who_was_there(feeds: Feeds, faults: Faults) -> None:
    faults.switch_on("text_error", message="before")
    feed, other = feeds(), feeds(place=1)
    assert (feed.texts(), feed.cut) == ([], False)
    faults.switch_on("text_error", message="now")
    faults.switch_on("drop_connection", socket=0)
    assert feed.texts() == [error_text("now")]
    assert feed.texts() == []
    assert (feed.cut, other.cut) == (True, False)
    assert not feeds().cut


def test_tokens_expire_for_good_and_new_ones_are_issued(
    faults: Faults, clock: StoppedClock
) -> None:
    issued = clock.now()
    assert not faults.expired(issued)
    faults.switch_on("expire_token")
    clock.sleep(1)
    assert faults.expired(issued)
    assert not faults.expired(clock.now())
    faults.switch_on("expire_token", duration=5)
    clock.sleep(1)
    assert faults.expired(clock.now())
    faults.clear()
    assert faults.expired(issued)
    assert not faults.expired(clock.now())


# --- over a real line ---------------------------------------------------------------------------


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


@pytest.fixture(scope="session")
def kite() -> Any:
    """The official client's ticker module, with the one reactor a process may have running."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from kiteconnect import ticker  # noqa: PLC0415 (Twisted's reactor comes with it)

        from resources.collector.ticker import run_reactor  # noqa: PLC0415 (likewise)
    run_reactor()  # The collector's: a process can run Twisted's loop only once.
    return ticker


@pytest.fixture
def tickers(kite: Any) -> Iterator[Tickers]:
    """Connects the official client; with `parse` it makes ticks of the frames as well."""
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
        ticker = kite.KiteTicker("simulated", token, root=exchange.stream_url)
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
        kite.reactor.callFromThread(ticker.connect)
        return heard

    yield connect
    for heard in made:
        kite.reactor.callFromThread(heard.ticker.close)


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
