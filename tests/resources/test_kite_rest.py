"""The simulated broker's requests, asked by the broker's own client and by ours."""

from __future__ import annotations

import socket
import warnings
from collections.abc import Callable, Iterator
from datetime import date, datetime, timedelta
from itertools import count, pairwise
from pathlib import Path
from typing import Any

import httpx
import polars as pl
import pytest
from pydantic import SecretStr

from optrade.calendar import IST, load_calendar
from optrade.formats.kite_instruments import VIX
from optrade.simulation import UNDERLYINGS
from optrade.simulation.intraday import IntradayMarket
from resources.kite.access import token_dies_at
from resources.kite.broker import CANDLE, KiteBroker, _spans
from resources.kite.client import Client, is_loopback
from resources.kite.errors import (
    BrokerDown,
    BrokerError,
    PermissionRefused,
    RateLimited,
    RequestRefused,
    TokenExpired,
)
from resources.kite.session import Session, session_events
from resources.kite_exchange.server import RunningExchange
from resources.kite_exchange.state import LIMITS, USER_ID
from resources.settings import Settings
from resources.settings_live import KiteSettings, SimulatorSettings

DAY = date(2026, 1, 23)
NIFTY = 256265
SPOT = "NSE:NIFTY 50"


class StoppedClock:
    """Shows the time it is told."""

    speed = 1.0

    def __init__(self, hour: int, minute: int) -> None:
        self.at = datetime(DAY.year, DAY.month, DAY.day, hour, minute, tzinfo=IST)

    def now(self) -> datetime:
        return self.at

    def sleep(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)


@pytest.fixture(scope="module")
def kite() -> Any:
    """The official client's package."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import kiteconnect  # noqa: PLC0415 (Twisted's own warnings come with it)
    return kiteconnect


@pytest.fixture(scope="module")
def market() -> IntradayMarket:
    return IntradayMarket(DAY, 7, date(2026, 1, 22), load_calendar(), UNDERLYINGS[:1])


@pytest.fixture(scope="module")
def running(market: IntradayMarket) -> Iterator[RunningExchange]:
    with RunningExchange(market, StoppedClock(10, 15)) as exchange:
        yield exchange


@pytest.fixture
def clock(running: RunningExchange) -> StoppedClock:
    """The broker's clock, at 10:15."""
    clock = running.state.clock
    assert isinstance(clock, StoppedClock)
    clock.at = StoppedClock(10, 15).at
    return clock


@pytest.fixture
def exchange(running: RunningExchange, clock: StoppedClock) -> RunningExchange:
    """A broker without a past, for which each request comes a second after the one before."""
    running.faults._all = ()
    running.state.__init__(
        clock, running.faults, running.state._dumps, now=count(step=1.0).__next__
    )
    return running


Clients = Callable[..., Any]


@pytest.fixture
def clients(exchange: RunningExchange, kite: Any) -> Clients:
    """Makes official clients, logged in unless told otherwise."""

    def make(token: str | None = None, api_key: str = "simulated") -> Any:
        return kite.KiteConnect(
            api_key, token or exchange.state.log_in(), root=exchange.root_url, timeout=10
        )

    return make


Brokers = Callable[..., KiteBroker]


@pytest.fixture
def settings(exchange: RunningExchange, tmp_path: Path) -> Settings:
    return Settings(home=tmp_path, market="simulated", simulator={"port": exchange.port})


@pytest.fixture
def brokers(exchange: RunningExchange, clock: StoppedClock, settings: Settings) -> Brokers:
    def make(sleep: Callable[[float], None] = lambda _: None) -> KiteBroker:
        token, now = SecretStr(exchange.state.log_in()), clock.now()
        session = Session(USER_ID, "simulated", token, now, token_dies_at(now))
        return KiteBroker(settings, session, clock, sleep=sleep)

    return make


def refused(kite: Any, name: str, code: int, call: Callable[[], object]) -> str:
    with pytest.raises(getattr(kite.exceptions, name)) as caught:
        call()
    assert type(caught.value).__name__ == name
    assert caught.value.code == code
    return str(caught.value)


# --- the account and its instruments ------------------------------------------------------------


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


# --- prices -------------------------------------------------------------------------------------


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


# --- who is let in ------------------------------------------------------------------------------


def test_only_the_last_token_counts_until_six(
    clients: Clients, exchange: RunningExchange, clock: StoppedClock, kite: Any
) -> None:
    old = clients()
    new = clients()
    strangers = (old, clients("stolen"), clients(new.access_token, api_key="other"))
    new = clients()
    for stranger in strangers:
        said = refused(kite, "TokenException", 403, stranger.profile)
        assert said == "Incorrect `api_key` or `access_token`."
    clock.at = datetime(2026, 1, 24, 5, 59, 59, tzinfo=IST)
    assert new.profile()["user_id"] == USER_ID
    clock.sleep(1)
    refused(kite, "TokenException", 403, new.profile)
    assert exchange.state.log[-1].path == "/user/profile"
    assert [asked.status for asked in exchange.state.log] == [403, 403, 403, 200, 403]
    early = clients()
    assert early.profile()
    early.invalidate_access_token()
    refused(kite, "TokenException", 403, early.profile)
    assert httpx.get(f"{exchange.root_url}/user/profile", trust_env=False).status_code == 403


def test_a_fault_ends_the_session(clients: Clients, exchange: RunningExchange, kite: Any) -> None:
    client = clients()
    exchange.faults.switch_on("expire_token")
    refused(kite, "TokenException", 403, client.profile)


def test_a_token_of_the_night_dies_the_same_morning() -> None:
    six = datetime(2026, 1, 24, 6, tzinfo=IST)
    for issued in (
        "2026-01-23T06:00:00+05:30",
        "2026-01-24T05:59:59+05:30",
        "2026-01-23T00:30:00Z",
    ):
        assert token_dies_at(datetime.fromisoformat(issued)) == six


# --- too much -----------------------------------------------------------------------------------


@pytest.mark.parametrize("family", LIMITS)
def test_each_family_has_its_limit_a_second(
    clients: Clients, exchange: RunningExchange, kite: Any, family: str
) -> None:
    client, wall = clients(), [100.0]
    exchange.state._now = lambda: wall[0]
    calls: dict[str, Callable[[], object]] = {
        "quote": lambda: client.ltp([SPOT]),
        "historical": lambda: client.historical_data(NIFTY, str(DAY), f"{DAY} 10:00:00", "minute"),
        "other": client.profile,
    }
    for _ in range(LIMITS[family]):
        calls[family]()
    wall[0] += 0.999
    said = refused(kite, "NetworkException", 429, calls[family])
    assert said == "Too many requests"
    for other in LIMITS.keys() - {family}:
        calls[other]()
    wall[0] += 0.001
    calls[family]()


def test_a_storm_is_waited_out(brokers: Brokers, exchange: RunningExchange) -> None:
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 3:
            exchange.faults.clear("rate_limit")

    broker = brokers(sleep)
    exchange.faults.switch_on("rate_limit")
    assert broker.spots(["NIFTY"])
    assert waits == [1, 2, 4]
    assert [asked.status for asked in exchange.state.log] == [429, 429, 429, 200]
    exchange.faults.switch_on("rate_limit")
    with pytest.raises(RateLimited) as caught:
        broker.profile()
    assert str(caught.value) == (
        "profile: Kite answered 429 NetworkException, 'Too many requests', after 5 tries. It "
        "allows 1 quote, 3 candle and 10 other requests a second to all programs of one app: end "
        "the others, or raise OPTRADE_KITE__BACKOFF_SECONDS."
    )
    assert waits[3:] == [1, 2, 4, 8]


def test_a_broker_in_trouble_is_asked_again(
    brokers: Brokers, clients: Clients, exchange: RunningExchange, kite: Any
) -> None:
    client = clients()
    exchange.state.failing = True
    refused(kite, "GeneralException", 500, client.profile)

    def mend(_: float) -> None:
        exchange.state.failing = False

    assert brokers(mend).profile()
    exchange.state.failing = True
    with pytest.raises(BrokerDown, match=r"500 GeneralException.* after 5 tries.*Wait"):
        brokers().profile()


def test_a_session_the_broker_ended_is_said_and_journalled_once(
    brokers: Brokers, exchange: RunningExchange, settings: Settings
) -> None:
    broker = brokers()
    exchange.state.log_out()
    for _ in range(2):
        with pytest.raises(TokenExpired) as caught:
            broker.profile()
        assert str(caught.value) == (
            "profile: Kite answered 403 TokenException, 'Incorrect `api_key` or `access_token`.'. "
            "Another login, a logout or 06:00 (India) ended the session. Run `optrade login`."
        )
    (event,) = session_events(settings.market_home)
    assert (event.event, event.user_id) == ("refused", USER_ID)
    assert len(exchange.state.log) == 2


# --- what the client makes of answers -----------------------------------------------------------


@pytest.fixture
def client(kite: Any) -> Client:
    settings = KiteSettings(api_key="key", api_secret="hidden-secret", attempts=2)
    return Client(settings, "hidden-token", sleep=lambda _: None)


@pytest.mark.parametrize(
    ("name", "code", "kind", "asked"),
    [
        ("TokenException", 403, TokenExpired, 1),
        ("PermissionException", 403, PermissionRefused, 1),
        ("InputException", 400, RequestRefused, 1),
        ("GeneralException", 404, RequestRefused, 1),
        ("NetworkException", 429, RateLimited, 2),
        ("NetworkException", 503, BrokerDown, 2),
        ("DataException", 502, BrokerDown, 2),
        ("GeneralException", 500, BrokerDown, 2),
    ],
)
def test_each_refusal_has_its_name_and_advice(
    client: Client, kite: Any, name: str, code: int, kind: type[BrokerError], asked: int
) -> None:
    questions = []

    def question(official: Any) -> None:
        questions.append(official)
        raise getattr(kite.exceptions, name)("no hidden-token, no hidden-secret", code=code)

    with pytest.raises(kind) as caught:
        client.ask("things", question)
    assert type(caught.value) is kind
    assert len(questions) == asked
    assert str(caught.value).startswith(f"things: Kite answered {code} {name}, ")
    assert "hidden" not in str(caught.value)
    assert len(str(caught.value)) > len(caught.value.found) > 0
    assert caught.value.__suppress_context__
    assert "hidden" not in repr(client)


@pytest.mark.parametrize("error", [KeyError("content-type"), TypeError(), ValueError("hidden")])
def test_an_answer_the_client_cannot_read(client: Client, error: Exception) -> None:
    def question(_: Any) -> None:
        raise error

    with pytest.raises(BrokerDown, match=r"an answer that is not Kite's .*2 tries") as caught:
        client.ask("things", question)
    assert "hidden" not in str(caught.value)


def test_nobody_there(settings: Settings, clock: StoppedClock) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    session = Session(USER_ID, "simulated", SecretStr("token"), clock.now(), clock.now())
    nowhere = settings.model_copy(update={"simulator": SimulatorSettings(port=port)})
    broker = KiteBroker(nowhere, session, clock, sleep=lambda _: None)
    with pytest.raises(BrokerDown, match=r"found no answer from http://127\.0\.0\.1:") as caught:
        broker.profile()
    assert "ConnectionError" in str(caught.value)
    assert "after 5 tries" in str(caught.value)


def test_an_answer_of_something_else(kite: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        other.settimeout(0.01)
        root = f"http://127.0.0.1:{other.getsockname()[1]}"
        settings = KiteSettings(root_url=root, timeout_seconds=0.1, attempts=1)
        with pytest.raises(BrokerDown, match=r"no answer .*ReadTimeout.*after 1 try"):
            Client(settings, "token").ask("profile", lambda official: official.profile())


@pytest.mark.parametrize(
    ("url", "here"),
    [
        ("http://127.0.0.1:8650", True),
        ("http://localhost/x", True),
        ("http://[::1]:1", True),
        ("https://api.kite.trade", False),
        ("http://127.0.0.1.example", False),
    ],
)
def test_this_machine_is_known(url: str, here: bool) -> None:
    assert is_loopback(url) is here
