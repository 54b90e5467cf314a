"""Logging in at a broker: the whole way of a person and of a simulated market, and refusals."""

from __future__ import annotations

import io
import logging
import webbrowser
from datetime import datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from pydantic import SecretStr
from rich.console import Console

from optrade.calendar import IST
from optrade_dagster import login as command
from optrade_dagster.login import run_login
from resources.collector import Access
from resources.kite.access import SIMULATED_KEY, SIMULATED_SECRET, broker_settings
from resources.kite.broker import KiteBroker
from resources.kite.errors import BrokerDown, LoginRefused, NotConfigured, TokenExpired
from resources.kite.login import complete_login, login_url, simulated_redirect
from resources.kite.session import TokenStore, expires_in, require_session, session_events
from resources.kite_exchange.server import RunningExchange
from resources.settings import Settings
from tests.resources.kite.conftest import StoppedClock, changed, free_port, visit


@pytest.fixture
def real(exchange: RunningExchange, tmp_path: Path) -> Settings:
    """A real market whose broker happens to be on this machine."""
    return Settings(
        home=tmp_path,
        market="real",
        kite={
            "api_key": SIMULATED_KEY,
            "api_secret": SIMULATED_SECRET,
            "root_url": exchange.root_url,
            "login_url": f"{exchange.root_url}/connect/login",
            "redirect_port": urlsplit(exchange.state.redirect_url).port,
        },
    )


@pytest.fixture
def console() -> Console:
    return Console(file=io.StringIO(), width=200)


def told(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_person_logs_in_through_the_browser(
    real: Settings,
    console: Console,
    exchange: RunningExchange,
    clock: StoppedClock,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setattr(command, "read_clock", lambda _: clock)
    pages: list[httpx.Response] = []
    monkeypatch.setattr(webbrowser, "open", lambda url: pages.append(visit(url)))
    session = run_login(real, console, patience_seconds=20)
    (page,) = pages
    assert page.status_code == 200
    assert "Back from Kite" in page.text
    assert page.headers["cache-control"] == "no-store"
    brought = parse_qs(page.url.query.decode())
    assert {name: brought[name][0] for name in ("action", "status", "type")} == {
        "action": "login",
        "status": "success",
        "type": "login",
    }
    token = session.access_token.get_secret_value()
    assert exchange.state.accepts(SIMULATED_KEY, token)
    assert require_session(real, clock) == session
    assert session.expires_at == datetime(2026, 1, 24, 6, tzinfo=IST)
    assert expires_in(session, clock) == timedelta(hours=19, minutes=45)
    broker = KiteBroker.enter(real, clock)
    assert broker.access == Access(real.kite.stream_url, SIMULATED_KEY, token)
    (event,) = session_events(real.market_home)
    assert (event.event, event.user_id, event.at) == ("login", "SIM001", clock.now())

    journal = (real.market_home / "kite" / "sessions.jsonl").read_text(encoding="utf-8")
    shown = [told(console), *capfd.readouterr(), journal, repr(session), str(session)]
    shown += [repr(broker), repr(real), repr(broker_settings(real))]
    shown += [r.getMessage() for r in caplog.records if not r.name.startswith("http")]  # Browser.
    assert "GET /user/profile" in "".join(shown)
    for secret in (token, SIMULATED_SECRET, brought["request_token"][0]):
        assert all(secret not in text for text in shown)
    assert "Logged in to Kite as SIM001 until 2026-01-24 06:00 (India)." in told(console)


def test_a_simulated_market_logs_in_by_itself(
    settings: Settings, console: Console, exchange: RunningExchange, clock: StoppedClock
) -> None:
    session = run_login(settings, console)
    assert session == TokenStore(settings.market_home).load()
    assert exchange.state.accepts(SIMULATED_KEY, session.access_token.get_secret_value())
    assert "Log in to Kite here" not in told(console)
    again = run_login(settings, console)
    assert again.access_token != session.access_token
    assert not exchange.state.accepts(SIMULATED_KEY, session.access_token.get_secret_value())


def test_the_redirect_can_be_pasted(
    real: Settings, console: Console, exchange: RunningExchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    for whole in (True, False):
        token = exchange.state.request_token()
        address = f"http://127.0.0.1/?action=login&status=success&request_token={token}&state=x"
        session = run_login(real, console, paste=f" {address if whole else token}\n")
        assert exchange.state.accepts(SIMULATED_KEY, session.access_token.get_secret_value())
    with pytest.raises(LoginRefused):
        run_login(real, console, paste="http://127.0.0.1/?status=cancelled")
    assert [event.event for event in session_events(real.market_home)] == [
        *("login", "login", "refused")
    ]


ADVICE = (
    " A request token is good once and for two minutes; a checksum is refused when "
    "OPTRADE_KITE__API_SECRET is not the secret of the app. Run `optrade login` again."
)


def test_a_session_the_broker_forgot_is_not_entered(
    settings: Settings, console: Console, exchange: RunningExchange, clock: StoppedClock
) -> None:
    run_login(settings, console)
    exchange.faults.switch_on("expire_token")
    with pytest.raises(TokenExpired, match="Kite answered 403 TokenException"):
        KiteBroker.enter(settings, clock)
    clock.sleep(1)
    run_login(settings, console)
    assert KiteBroker.enter(settings, clock).profile()["user_id"] == "SIM001"
    events = [event.event for event in session_events(settings.market_home)]
    assert events == ["login", "refused", "login"]


def test_a_wrong_secret_makes_a_wrong_checksum(
    real: Settings, exchange: RunningExchange, clock: StoppedClock
) -> None:
    wrong = changed(real, api_secret=SecretStr("not-the-secret"))
    request_token = exchange.state.request_token()
    with pytest.raises(LoginRefused) as caught:
        complete_login(wrong, request_token, clock)
    assert str(caught.value) == (
        "login: Kite answered 403 TokenException, 'Invalid `checksum`.'." + ADVICE
    )
    assert caught.value.__suppress_context__
    assert TokenStore(real.market_home).load() is None
    (event,) = session_events(real.market_home)
    assert (event.event, event.detail) == ("refused", str(caught.value))
    assert request_token not in event.detail
    assert complete_login(real, request_token, clock)


def test_a_request_token_is_good_once_and_for_two_minutes(
    real: Settings, exchange: RunningExchange, clock: StoppedClock
) -> None:
    wall = [0.0]
    exchange.state._now = lambda: wall[0]
    old = exchange.state.request_token()
    wall[0] = 10.0
    used, young = exchange.state.request_token(), exchange.state.request_token()
    complete_login(real, used, clock)
    wall[0] = 130.0
    complete_login(real, young, clock)
    for token in (used, old, "never1ssued"):
        with pytest.raises(LoginRefused, match="Token is invalid or has expired"):
            complete_login(real, token, clock)
    assert require_session(real, clock)


def test_another_app_s_key_is_refused(
    real: Settings, exchange: RunningExchange, clock: StoppedClock
) -> None:
    stranger = changed(real, api_key="other")
    with pytest.raises(LoginRefused, match="Invalid `api_key`"):
        complete_login(stranger, exchange.state.request_token(), clock)
    assert visit(login_url(stranger.kite)).json()["error_type"] == "InputException"
    form = {"api_key": "simulated", "request_token": ""}
    url = f"{exchange.root_url}/session/token"
    answer = httpx.post(url, data=form, trust_env=False)
    assert (answer.status_code, answer.json()["error_type"]) == (400, "InputException")


def test_what_is_not_set_is_named(real: Settings, clock: StoppedClock) -> None:
    for field in ("api_key", "api_secret"):
        empty = changed(real, **{field: type(getattr(real.kite, field))("")})
        with pytest.raises(NotConfigured, match=f"OPTRADE_KITE__{field.upper()} is empty"):
            complete_login(empty, "token", clock)


def test_no_simulated_broker(
    settings: Settings, real: Settings, console: Console, exchange: RunningExchange
) -> None:
    port = free_port()
    nowhere = Settings(home=settings.home, market="simulated", simulator={"port": port})
    with pytest.raises(BrokerDown) as caught:
        run_login(nowhere, console)
    assert str(caught.value) == (
        f"Found no simulated broker at http://127.0.0.1:{port} (ConnectError). Start it with "
        "`optrade simulate`, or set OPTRADE_SIMULATOR__PORT to its port."
    )
    exchange.faults.switch_on("server_error")
    with pytest.raises(
        LoginRefused, match=r"found HTTP 500; expected a redirect.*busy or in trouble: wait"
    ):
        run_login(settings, console)
    with pytest.raises(LoginRefused, match="a person has to log in"):
        simulated_redirect(real)


def test_a_simulated_market_never_sees_real_keys(tmp_path: Path) -> None:
    settings = Settings(
        home=tmp_path,
        market="simulated",
        kite={"api_key": "real", "api_secret": "real", "root_url": "https://api.kite.trade"},
    )
    kite = broker_settings(settings)
    assert (kite.api_key, kite.api_secret.get_secret_value()) == ("simulated", "simulated-secret")
    assert {kite.root_url, kite.login_url, kite.stream_url} == {
        "http://127.0.0.1:8650",
        "http://127.0.0.1:8650/connect/login",
        "ws://127.0.0.1:8650/stream",
    }
