"""Whom the broker refuses and when, and what our client makes of it."""

from __future__ import annotations

import socket
from collections.abc import Callable
from datetime import datetime
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from optrade.calendar import IST
from resources.kite.broker import KiteBroker
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
from tests.resources.kite.conftest import (
    DAY,
    NIFTY,
    SPOT,
    Brokers,
    Clients,
    StoppedClock,
    free_port,
    refused,
)


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
    exchange.faults.switch_on("server_error")
    refused(kite, "GeneralException", 500, client.profile)

    def mend(_: float) -> None:
        exchange.faults.clear()

    assert brokers(mend).profile()
    exchange.faults.switch_on("server_error")
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
    session = Session(USER_ID, "simulated", SecretStr("token"), clock.now(), clock.now())
    nowhere = settings.model_copy(update={"simulator": SimulatorSettings(port=free_port())})
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
