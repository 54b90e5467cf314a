"""Logging in at a broker, keeping the session, and knowing when it is over."""

from __future__ import annotations

import io
import json
import logging
import os
import socket
import webbrowser
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from pydantic import SecretStr
from rich.console import Console

from optrade.calendar import IST, load_calendar
from optrade.simulation import UNDERLYINGS
from optrade.simulation.intraday import IntradayMarket
from optrade_dagster import login as command
from optrade_dagster.login import run_login
from resources.kite.access import SIMULATED_KEY, SIMULATED_SECRET, broker_settings
from resources.kite.broker import KiteBroker
from resources.kite.errors import (
    BrokerDown,
    LoginRefused,
    NotConfigured,
    SessionUnreadable,
    TokenExpired,
)
from resources.kite.login import (
    complete_login,
    login_url,
    request_token_of,
    simulated_redirect,
    wait_for_redirect,
)
from resources.kite.session import (
    Session,
    SessionJournal,
    TokenStore,
    expires_in,
    remind,
    renewal_due,
    require_session,
    session_events,
)
from resources.kite_exchange.server import RunningExchange
from resources.settings import Settings

DAY = date(2026, 1, 23)
OPENS = datetime(2026, 1, 23, 9, 15, tzinfo=IST)
ON_POSIX = pytest.mark.skipif(os.name != "posix", reason="modes of files are POSIX's")


class StoppedClock:
    """Shows the time it is told."""

    speed = 1.0

    def __init__(self) -> None:
        self.at = datetime(2026, 1, 23, 8, 55, tzinfo=IST)

    def now(self) -> datetime:
        return self.at

    def sleep(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)


@pytest.fixture(scope="module")
def running() -> Iterator[RunningExchange]:
    market = IntradayMarket(DAY, 7, date(2026, 1, 22), load_calendar(), UNDERLYINGS[:1])
    with RunningExchange(market, StoppedClock()) as exchange:
        yield exchange


@pytest.fixture
def clock(running: RunningExchange) -> StoppedClock:
    """The broker's clock, at 8:55."""
    clock = running.state.clock
    assert isinstance(clock, StoppedClock)
    clock.at = StoppedClock().at
    return clock


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


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


@pytest.fixture
def simulated(exchange: RunningExchange, tmp_path: Path) -> Settings:
    return Settings(home=tmp_path, market="simulated", simulator={"port": exchange.port})


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


def visit(url: str, **query: str) -> httpx.Response:
    """What a browser gets that follows redirects."""
    with httpx.Client(trust_env=False, follow_redirects=True) as browser:
        return browser.get(url, params=query or None)


def changed(settings: Settings, **kite: Any) -> Settings:
    return settings.model_copy(update={"kite": settings.kite.model_copy(update=kite)})


def session_of(settings: Settings, at: datetime) -> Session:
    expires = datetime(2026, 1, 24, 6, tzinfo=IST)
    api_key = broker_settings(settings).api_key
    return Session("AB1234", api_key, SecretStr("very-secret"), at, expires)


# --- the whole way ------------------------------------------------------------------------------


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
    assert expires_in(session, clock) == timedelta(hours=21, minutes=5)
    broker = KiteBroker.enter(real, clock)
    assert broker.access == (real.kite.stream_url, SIMULATED_KEY, token)
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
    simulated: Settings, console: Console, exchange: RunningExchange, clock: StoppedClock
) -> None:
    session = run_login(simulated, console)
    assert session == TokenStore(simulated.market_home).load()
    assert exchange.state.accepts(SIMULATED_KEY, session.access_token.get_secret_value())
    assert "Log in to Kite here" not in told(console)
    again = run_login(simulated, console)
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


# --- refusals -----------------------------------------------------------------------------------

ADVICE = (
    " A request token is good once and for two minutes; a checksum is refused when "
    "OPTRADE_KITE__API_SECRET is not the secret of the app. Run `optrade login` again."
)


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
    simulated: Settings, real: Settings, console: Console, exchange: RunningExchange
) -> None:
    port = free_port()
    nowhere = Settings(home=simulated.home, market="simulated", simulator={"port": port})
    with pytest.raises(BrokerDown) as caught:
        run_login(nowhere, console)
    assert str(caught.value) == (
        f"Found no simulated broker at http://127.0.0.1:{port} (ConnectError). Start it with "
        "`optrade simulate`, or set OPTRADE_SIMULATOR__PORT to its port."
    )
    exchange.state.failing = True
    with pytest.raises(LoginRefused, match="found HTTP 500; expected a redirect"):
        run_login(simulated, console)
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


# --- the redirect -------------------------------------------------------------------------------


def test_only_the_redirect_of_this_login_is_taken() -> None:
    port = free_port()
    here = f"http://127.0.0.1:{port}/"
    answers: list[httpx.Response] = []

    def browse() -> None:
        with socket.create_connection(("127.0.0.1", port)):  # Opened ahead and never used.
            answers.extend(
                visit(address)
                for address in (
                    f"{here}favicon.ico",
                    here,
                    f"{here}other?request_token=stolen123&status=success&state=mine",
                    f"{here}?request_token=stolen123&status=success",
                    f"{here}?request_token=stolen123&status=success&state=theirs",
                    f"{here}?request_token=rightful1&status=success&action=login&state=mine",
                )
            )

    assert wait_for_redirect(port, 20, "mine", browse) == "rightful1"
    assert [answer.status_code for answer in answers] == [404, 404, 404, 403, 403, 200]
    assert all("stolen123" not in answer.text for answer in answers)
    assert wait_for_redirect(port, 20, "", lambda: visit(here, request_token="again1234"))


def test_a_login_that_failed_is_heard(capfd: pytest.CaptureFixture[str]) -> None:
    port = free_port()
    here = f"http://127.0.0.1:{port}/"
    with pytest.raises(LoginRefused, match=r"did not let you in: found status 'cancelled'\. Run"):
        wait_for_redirect(port, 20, ready=lambda: visit(here, status="cancelled"))
    assert capfd.readouterr() == ("", "")


def test_nobody_comes() -> None:
    port = free_port()
    with pytest.raises(LoginRefused) as caught:
        wait_for_redirect(port, 0.01)
    assert str(caught.value) == (
        "Nobody came back from Kite's login page within 0.01 seconds; expected a redirect to "
        f"http://127.0.0.1:{port}/. Register that address as the redirect URL of your Kite "
        "Connect app and run `optrade login` again."
    )


def test_a_port_in_use() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(LoginRefused, match=r"found it taken .*optrade login --paste"),
    ):
        wait_for_redirect(taken.getsockname()[1], 1)


@pytest.mark.parametrize("text", ["", "no token here", "http://127.0.0.1/?action=login", "x" * 200])
def test_a_paste_without_a_token(text: str) -> None:
    with pytest.raises(LoginRefused, match=f"^Found {len(text)} characters without") as caught:
        request_token_of(text)
    assert not text or text not in str(caught.value)


def test_the_login_page_is_asked_for_the_state_back(real: Settings) -> None:
    query = parse_qs(urlsplit(login_url(real.kite, "a b&c")).query)
    assert query["v"] == ["3"]
    assert query["api_key"] == [SIMULATED_KEY]
    assert parse_qs(query["redirect_params"][0]) == {"state": ["a b&c"]}
    assert "redirect_params" not in login_url(real.kite)


# --- the kept session ---------------------------------------------------------------------------


@ON_POSIX
def test_the_file_is_its_owner_s_from_the_start(
    real: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, session = TokenStore(real.market_home), session_of(real, OPENS)
    modes: list[int] = []
    rename = Path.replace

    def looked_at(self: Path, target: Path) -> Path:
        modes.append(self.stat().st_mode & 0o777)
        return rename(self, target)

    monkeypatch.setattr(Path, "replace", looked_at)
    before = os.umask(0)
    try:
        store.save(session)
        store.path.chmod(0o644)
        store.save(session)
    finally:
        os.umask(before)
    assert modes == [0o600, 0o600]
    assert store.path.stat().st_mode & 0o777 == 0o600
    assert store.path.parent.stat().st_mode & 0o777 == 0o700
    assert [path.name for path in store.path.parent.iterdir()] == ["session.json"]
    assert store.load() == session


@ON_POSIX
@pytest.mark.parametrize("mode", [0o644, 0o640, 0o602])
def test_a_file_open_to_others_is_refused(real: Settings, mode: int) -> None:
    store = TokenStore(real.market_home)
    store.save(session_of(real, OPENS))
    store.path.chmod(mode)
    with pytest.raises(SessionUnreadable) as caught:
        store.load()
    assert str(caught.value) == (
        f"{store.path}: found mode {mode:04o}, so others on this machine may have read the access "
        "token; expected 0600. Run `optrade login`. It makes a new token and file."
    )


def test_a_failed_save_leaves_the_session_before(
    real: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, session = TokenStore(real.market_home), session_of(real, OPENS)
    store.save(session)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        store.save(replace(session, user_id="XY9999"))
    assert store.load() == session
    assert [path.name for path in store.path.parent.iterdir()] == ["session.json"]


@pytest.mark.parametrize("damage", ["", "{}", "[1]", '{"access_token": "very-secret"'])
def test_a_damaged_file_is_refused_untold(real: Settings, damage: str) -> None:
    store = TokenStore(real.market_home)
    store.save(session_of(real, OPENS))
    store.path.write_text(damage, encoding="utf-8")
    with pytest.raises(SessionUnreadable, match=r"are no session; .*`optrade login`") as caught:
        store.load()
    assert "very-secret" not in str(caught.value)
    assert caught.value.__suppress_context__


def test_a_session_is_demanded(real: Settings, clock: StoppedClock) -> None:
    store = TokenStore(real.market_home)
    with pytest.raises(TokenExpired) as caught:
        require_session(real, clock)
    assert str(caught.value) == (
        f"Nobody is logged in to Kite: found no {store.path}. Run `optrade login`."
    )
    store.save(session_of(real, clock.now()))
    with pytest.raises(TokenExpired, match=r"another Kite Connect app, of AB1234; .*API_KEY\. Run"):
        require_session(changed(real, api_key="other"), clock)
    clock.at = datetime(2026, 1, 24, 5, 59, 59, tzinfo=IST)
    assert require_session(real, clock).user_id == "AB1234"
    assert session_events(real.market_home) == []
    clock.sleep(1)
    for _ in range(3):
        with pytest.raises(TokenExpired) as caught:
            require_session(real, clock)
        assert str(caught.value) == (
            "The Kite session of AB1234 ended at 2026-01-24 06:00: Kite ends every session at "
            "06:00 (India). Run `optrade login`."
        )
    (event,) = session_events(real.market_home)
    assert (event.event, event.user_id, event.detail) == (
        "expired",
        "AB1234",
        "at 2026-01-24 06:00",
    )


def test_a_session_the_broker_forgot_is_not_entered(
    simulated: Settings, console: Console, exchange: RunningExchange, clock: StoppedClock
) -> None:
    run_login(simulated, console)
    exchange.faults.switch_on("expire_token")
    with pytest.raises(TokenExpired, match="Kite answered 403 TokenException"):
        KiteBroker.enter(simulated, clock)
    clock.sleep(1)
    run_login(simulated, console)
    assert KiteBroker.enter(simulated, clock).profile()["user_id"] == "SIM001"
    events = [event.event for event in session_events(simulated.market_home)]
    assert events == ["login", "refused", "login"]


# --- in time ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("now", "logged_in", "due"),
    [
        ("2026-01-22 16:00", "2026-01-22 08:55", False),  # A login now would die at 06:00 too.
        ("2026-01-23 05:59", "2026-01-22 08:55", False),
        ("2026-01-23 06:00", "2026-01-22 08:55", True),
        ("2026-01-23 06:00", None, True),
        ("2026-01-23 05:59", None, False),
        ("2026-01-23 06:30", "2026-01-23 06:20", False),
        ("2026-01-23 06:30", "2026-01-23 05:50", True),
        ("2026-01-23 12:00", "2026-01-22 08:55", True),
        ("2026-01-23 12:00", "2026-01-23 08:55", False),
    ],
)
def test_a_login_is_due_when_it_helps(
    clock: StoppedClock, now: str, logged_in: str | None, due: bool
) -> None:
    clock.at = datetime.fromisoformat(now).replace(tzinfo=IST)
    session = None
    if logged_in is not None:
        at = datetime.fromisoformat(logged_in).replace(tzinfo=IST)
        six = at.replace(hour=6, minute=0)
        expires = six if at < six else six + timedelta(days=1)
        session = Session("AB1234", "key", SecretStr("token"), at, expires)
    assert renewal_due(session, OPENS, clock) is due


def test_a_person_is_reminded_and_it_is_journalled_once(
    real: Settings, clock: StoppedClock
) -> None:
    for _ in range(2):
        assert remind(real, OPENS, clock) == (
            "A login to Kite is due for the session that opens at 2026-01-23 09:15. "
            "Run `optrade login`."
        )
    (event,) = session_events(real.market_home)
    assert (event.event, event.user_id) == ("renewal_due", "")
    TokenStore(real.market_home).save(session_of(real, clock.now()))
    assert remind(real, OPENS, clock) is None


def test_the_journal_tells_what_is_new(real: Settings, clock: StoppedClock) -> None:
    assert session_events(real.market_home) == []
    journal = SessionJournal(real.market_home, clock)
    for user in ("A", "B", "C"):
        journal.write("login", user, "until six")
        clock.sleep(1)
    path = real.market_home / "kite" / "sessions.jsonl"
    with path.open("ab") as file:
        file.write(b'{"at": "2026-')  # A writer died here.
    journal.write("login", "D", "until six")
    users = [event.user_id for event in session_events(real.market_home)]
    assert users == ["A", "B", "C", "D"]
    second = session_events(real.market_home)[1].at
    assert [event.user_id for event in session_events(real.market_home, second)] == ["C", "D"]
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.endswith("}")]
    assert {"at", "event", "user_id", "detail"} <= json.loads(lines[0]).keys()
