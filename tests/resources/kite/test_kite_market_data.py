"""Instruments, quotes and candles, asked by the official client and by ours."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import polars as pl
import pytest

from optrade.calendar import IST
from optrade.formats.kite_instruments import VIX
from optrade.simulation.intraday import IntradayMarket
from resources.kite.broker import CANDLE, _spans
from resources.kite_exchange.state import USER_ID
from tests.resources.kite.conftest import DAY, NIFTY, SPOT, Brokers, Clients, StoppedClock, refused


def test_the_profile_has_what_the_broker_publishes(clients: Clients) -> None:
    profile = clients().profile()
    assert profile["user_id"] == USER_ID
    assert set(profile) == {
        *("user_id", "user_type", "email", "user_name", "user_shortname", "broker", "exchanges"),
        *("products", "order_types", "avatar_url", "meta"),
    }


def test_instruments_are_those_of_the_market(
    clients: Clients, market: IntradayMarket, kite: Any, clock: StoppedClock
) -> None:
    client = clients()
    everything = client.instruments()
    assert [row["instrument_token"] for row in everything] == market.tokens.tolist()
    by_exchange = [client.instruments(exchange) for exchange in ("NFO", "NSE")]
    assert [*by_exchange[0], *by_exchange[1]] == everything
    assert {row["exchange"] for row in by_exchange[1]} == {"NSE"}
    assert "exchange" in refused(kite, "InputException", 400, lambda: client.instruments("XYZ"))
    clock.sleep(-86_400)
    client = clients()
    assert "2026-01-22" in refused(kite, "NetworkException", 503, client.instruments)


def test_the_dump_is_kept_as_it_was_sent(brokers: Brokers, market: IntradayMarket) -> None:
    broker, dump = brokers(), market.instruments_csv()
    assert broker.instruments() == dump
    lines = dump.splitlines(keepends=True)
    assert broker.instruments("NSE") == b"".join(
        line for line in lines if line.endswith((b",NSE\n", b",exchange\n"))
    )


def test_quotes_are_the_market_s(
    clients: Clients, brokers: Brokers, market: IntradayMarket, clock: StoppedClock, kite: Any
) -> None:
    option = int(market.tokens[1])
    name = "NFO:" + market.instruments["tradingsymbol"][1]
    asked = [name, SPOT, str(option), "NSE:NOBODY"]
    expected = market.quote([option, NIFTY], clock.now())
    client = clients()
    for path, fields in (
        (client.ohlc, {"instrument_token", "last_price", "ohlc"}),
        (client.ltp, {"instrument_token", "last_price"}),
    ):
        found = path(asked)
        assert list(found) == asked[:3]
        for key, token in zip(asked, (option, NIFTY, option), strict=False):
            assert found[key] == {field: expected[token][field] for field in fields}
    assert client.quote(asked).keys() == set(asked[:3])
    assert "`i`" in refused(kite, "InputException", 400, client.quote)
    many = [f"NSE:S{i}" for i in range(501)]
    assert "500" in refused(kite, "InputException", 400, lambda: client.quote(many))

    quote = brokers().quote([*many, SPOT, name])
    assert list(quote) == [SPOT, name]
    stamp = expected[option]["timestamp"]
    assert quote[name]["timestamp"] == datetime.fromisoformat(stamp).replace(tzinfo=IST)
    assert quote[SPOT]["last_trade_time"] is None
    assert quote[name]["depth"] == expected[option]["depth"]


def test_spots_are_by_our_names(
    brokers: Brokers, market: IntradayMarket, clock: StoppedClock
) -> None:
    spots = brokers().spots(["NIFTY", "SENSEX", VIX])
    level = market.quote([NIFTY], clock.now())[NIFTY]["last_price"]
    assert spots.keys() == {"NIFTY", VIX}
    assert spots["NIFTY"] == level > 20_000
    assert brokers().spots([]) == {}


def test_candles_with_open_interest(
    brokers: Brokers, market: IntradayMarket, clock: StoppedClock
) -> None:
    future = int(market.tokens[0])
    found = brokers().candles(future, market.opens, market.closes)
    assert dict(found.schema) == dict(CANDLE)
    assert found["at"].to_list() == [market.opens + timedelta(minutes=i) for i in range(61)]
    known = market.candles(future, market.opens, clock.now())
    assert found.equals(known.cast({"volume_units": pl.Int64, "oi_units": pl.Int64}))
    assert found["oi_units"].min() > 0
    clock.sleep(86_400)
    index = brokers().candles(NIFTY, market.opens, market.closes)
    assert len(index) == 375
    assert index["volume_units"].to_list() == index["oi_units"].to_list() == [0] * 375
    last = market.closes - timedelta(minutes=1)
    assert brokers().candles(NIFTY, last, market.closes)["at"].to_list() == [last]


def test_an_answer_is_kept_as_it_was_sent(brokers: Brokers, market: IntradayMarket) -> None:
    broker, future = brokers(), int(market.tokens[0])
    last = market.opens + timedelta(minutes=6)
    found, content = broker.day_candles(future, market.opens, last)
    assert found.equals(broker.candles(future, market.opens, last))
    rows = json.loads(content)["data"]["candles"]
    assert [row[4] for row in rows] == found["close"].to_list()
    assert len(rows) == 7


def test_longer_candles_are_made_of_minutes(clients: Clients, market: IntradayMarket) -> None:
    client = clients()
    span = (int(market.tokens[0]), f"{DAY} 09:15:00", f"{DAY} 10:14:00")
    minutes = client.historical_data(*span, "minute", oi=True)
    assert len(minutes) == 60
    assert "oi" not in client.historical_data(*span, "minute")[0]
    for interval, length in (("5minute", 5), ("10minute", 10), ("60minute", 60), ("day", 60)):
        longer = client.historical_data(*span, interval, oi=True)
        parts = [minutes[at : at + length] for at in range(0, 60, length)]
        first = [part[0]["date"] for part in parts]
        if interval == "day":
            first = [at.replace(hour=0, minute=0) for at in first]
        assert longer == [
            {
                "date": at,
                "open": part[0]["open"],
                "high": max(row["high"] for row in part),
                "low": min(row["low"] for row in part),
                "close": part[-1]["close"],
                "volume": sum(row["volume"] for row in part),
                "oi": part[-1]["oi"],
            }
            for at, part in zip(first, parts, strict=True)
        ]


@pytest.mark.parametrize(
    ("token", "start", "end", "interval", "said"),
    [
        (12345, "2026-01-23", "2026-01-24", "minute", "token"),
        ("NIFTY", "2026-01-23", "2026-01-24", "minute", "token"),
        (NIFTY, "2026-01-23", "2026-01-24", "2minute", "interval"),
        (NIFTY, "yesterday", "2026-01-24", "minute", "from date"),
        (NIFTY, "2026-01-23", None, "minute", "to date"),
        (NIFTY, "2026-01-24", "2026-01-23", "minute", "less than"),
        (NIFTY, "2025-11-01", "2026-01-23", "minute", "60 days"),
    ],
)
def test_candles_that_cannot_be_had(
    clients: Clients, kite: Any, token: Any, start: Any, end: Any, interval: str, said: str
) -> None:
    client = clients()
    call = lambda: client.historical_data(token, start, end, interval)  # noqa: E731
    assert said in refused(kite, "InputException", 400, call)


def test_long_spans_are_asked_in_parts() -> None:
    start = datetime(2025, 1, 1, tzinfo=IST)
    for days in (0, 1, 60, 61, 200):
        spans = list(_spans(start, start + timedelta(days=days)))
        assert (spans[0][0], spans[-1][1]) == (start, start + timedelta(days=days))
        assert all(last - first <= timedelta(days=60) for first, last in spans)
        gaps = {after[0] - before[1] for before, after in pairwise(spans)}
        assert gaps <= {timedelta(seconds=1)}
