"""What the broker would send on one websocket, frame by frame, with every fault."""

from __future__ import annotations

import struct
from collections.abc import Callable

import numpy as np
import pytest

from optrade.simulation.intraday import IntradayMarket
from resources.kite_exchange.faults import Faults
from resources.kite_exchange.feed import Feed, error_text
from tests.resources.kite.conftest import NIFTY, VIX, StoppedClock, market_of


@pytest.fixture
def faults(clock: StoppedClock) -> Faults:
    return Faults(clock)


Feeds = Callable[..., Feed]


@pytest.fixture
def feeds(market: IntradayMarket, faults: Faults, tokens: list[int]) -> Feeds:
    """Makes feeds connected at 10:15 that told all of the tokens in mode full."""

    def make(
        only: list[int] | None = None, place: int = 0, market: IntradayMarket = market
    ) -> Feed:
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


def test_frames_repeat_byte_for_byte_in_any_company(feeds: Feeds, tokens: list[int]) -> None:
    one, same, few = feeds(), feeds(), feeds([tokens[3], NIFTY])
    again = feeds(place=2, market=market_of(7))
    packets: list[bytes] = []
    for moment in (3600 + i / 4 for i in range(40)):
        frames = one.frames(moment)
        assert frames == same.frames(moment) == again.frames(moment)
        packets += [packet for frame in frames for packet in split(frame)]
        mine = [packet for frame in few.frames(moment) for packet in split(frame)]
        theirs = [p for f in frames for p in split(f) if token_of(p) in (tokens[3], NIFTY)]
        assert mine == theirs
    assert len(set(packets)) > 0.99 * len(packets)
    other = feeds([NIFTY], market=market_of(8))
    assert other.frames(3600.0) != feeds([NIFTY]).frames(3600.0)


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
