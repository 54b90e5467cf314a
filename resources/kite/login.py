"""From a person's login at the broker to a kept session.

Belongs here: the login page's address, the redirect that comes back from it, the exchange of its
token for a session. Does not belong here: what is printed (`optrade_dagster.login`), how a
session is kept (`session`).
"""

from __future__ import annotations

import hmac
import os
import re
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from queue import Empty, SimpleQueue
from socketserver import ThreadingTCPServer
from threading import Thread
from typing import Any, Final
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
from pydantic import SecretStr

from optrade.calendar import IST
from resources.clock import Clock
from resources.kite.access import broker_settings, token_dies_at
from resources.kite.client import Client, is_loopback
from resources.kite.errors import (
    BrokerDown,
    LoginRefused,
    NotConfigured,
    RateLimited,
    RequestRefused,
    TokenExpired,
)
from resources.kite.session import Session, SessionJournal, TokenStore
from resources.log_masking import hide
from resources.settings import Settings
from resources.settings_live import KiteSettings

_TOKEN = re.compile(r"[A-Za-z0-9]{8,128}")
_LINE_SECONDS = 10
_TRY_LATER = (429, 500, 502, 503, 504)
_PAGE: Final = (
    '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>optrade</title></head>'
    '<body style="font: 1.2rem sans-serif; margin: 4rem"><h1>{title}</h1><p>{text}</p></body>'
    "</html>"
)


def login_url(kite: KiteSettings, state: str = "") -> str:
    """The address of the broker's login page; `state` comes back with its redirect."""
    query = {"v": "3", "api_key": kite.api_key}
    if state:
        query["redirect_params"] = urlencode({"state": state})
    return f"{kite.login_url}?{urlencode(query)}"


def request_token_of(text: str) -> str:
    """The request token in what a person pasted: the token, or the address they were sent to.

    It is masked in this process's logs from here on. Raises `LoginRefused` when the text is
    neither, or an address that says the login failed.
    """
    pasted = text.strip()
    query = parse_qs(urlsplit(pasted).query)
    status = query.get("status", ["success"])[0]
    if status != "success":
        raise LoginRefused(f"Kite did not let you in: found status {status[:40]!r}.")
    token = query.get("request_token", [pasted])[0]
    if not _TOKEN.fullmatch(token):
        raise LoginRefused(
            f"Found {len(pasted)} characters without a request token; expected the token, or the "
            "whole address that the browser was sent to after the login "
            "(http://127.0.0.1:…/?request_token=…&action=login&status=success)."
        )
    hide(token)
    return token


def wait_for_redirect(
    port: int,
    timeout_seconds: float,
    state: str = "",
    ready: Callable[[], object] = lambda: None,
) -> str:
    """The request token that the broker's redirect brings to http://127.0.0.1:<port>/.

    `ready` is called when the port listens: the moment to open the login page. A redirect with
    another `state` is turned away and waited past. Raises `LoginRefused` when the port is taken,
    the redirect says that the login failed, or none comes in time.
    """
    heard: SimpleQueue[str | LoginRefused] = SimpleQueue()
    try:
        server = _Server(("127.0.0.1", port), _handler(state, heard.put))
    except OSError as error:
        raise LoginRefused(
            f"Port {port} of 127.0.0.1: found it taken ({error.strerror}); expected to hear the "
            "login's redirect there.",
            "End what listens there, or run `optrade login --paste '<the address that the browser "
            "was sent to>'`.",
        ) from error
    with server:
        listening = Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        listening.start()
        try:
            ready()
            found = heard.get(timeout=timeout_seconds)
        except Empty:
            raise LoginRefused(
                f"Nobody came back from Kite's login page within {timeout_seconds:g} seconds; "
                f"expected a redirect to http://127.0.0.1:{port}/.",
                "Register that address as the redirect URL of your Kite Connect app and run "
                "`optrade login` again.",
            ) from None
        finally:
            server.shutdown()
            listening.join()
    if isinstance(found, LoginRefused):
        raise found
    return found


class _Server(ThreadingTCPServer):
    """A browser may open connections that it never uses: each has a thread, none is waited for."""

    daemon_threads = True
    allow_reuse_address = os.name == "posix"  # Elsewhere it would share a port in use.


def _handler(
    state: str, hear: Callable[[str | LoginRefused], None]
) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = _LINE_SECONDS

        def do_GET(self) -> None:
            place = urlsplit(self.path)
            query = parse_qs(place.query)
            if place.path != "/" or not {"request_token", "status"} & query.keys():
                return self._say(HTTPStatus.NOT_FOUND, "Not here", "This waits for Kite's redirect")
            if not hmac.compare_digest(query.get("state", [""])[0].encode(), state.encode()):
                return self._say(
                    HTTPStatus.FORBIDDEN, "Another login", "This belongs to a login begun elsewhere"
                )
            try:
                token = request_token_of(self.path)
            except LoginRefused as error:
                self._say(HTTPStatus.BAD_REQUEST, "Not logged in", "The terminal tells more")
                return hear(error)
            self._say(HTTPStatus.OK, "Back from Kite", "Close this page; the terminal goes on")
            return hear(token)

        def _say(self, status: HTTPStatus, title: str, text: str) -> None:
            body = _PAGE.format(title=title, text=text + ".").encode()
            self.send_response(status)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Cache-Control", "no-store")
            self.send_header("Referrer-Policy", "no-referrer")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Nothing: a request's line holds the token."""

    return Handler


def simulated_redirect(settings: Settings, state: str = "") -> str:
    """Log in at the simulated broker's page; the address it redirects to.

    Raises `BrokerDown` when no simulated broker answers, `LoginRefused` when it refuses.
    """
    kite = broker_settings(settings)
    if settings.market != "simulated" or not is_loopback(kite.login_url):
        raise LoginRefused(f"{kite.login_url} is a real login page: a person has to log in.")
    try:
        with httpx.Client(trust_env=False, timeout=kite.timeout_seconds) as client:
            page = client.get(login_url(kite, state))
    except httpx.HTTPError as error:
        raise BrokerDown(
            f"Found no simulated broker at {kite.root_url} ({type(error).__name__}).",
            "Start it with `optrade simulate`, or set OPTRADE_SIMULATOR__PORT to its port.",
        ) from None
    if page.has_redirect_location:
        return page.headers["location"]
    advice = "If another program listens there, set OPTRADE_SIMULATOR__PORT."
    if page.status_code in _TRY_LATER:
        advice = "The broker is busy or in trouble: wait a minute and run `optrade login` again."
    raise LoginRefused(
        f"{kite.login_url}: found HTTP {page.status_code}; expected a redirect.", advice
    )


def complete_login(settings: Settings, request_token: str, clock: Clock) -> Session:
    """Exchange a request token for a session and keep it in place of the one before.

    Raises `LoginRefused` when the broker refuses it, `NotConfigured` without an API secret, or
    another `BrokerError` when it cannot be asked. Refusals and logins are journalled.
    """
    kite, journal = broker_settings(settings), SessionJournal(settings.market_home, clock)
    secret = kite.api_secret.get_secret_value()
    if not secret:
        raise NotConfigured("OPTRADE_KITE__API_SECRET")

    def exchange(client: Any) -> tuple[str, str]:
        told = client.generate_session(request_token, secret)
        hide(str(told["access_token"]))
        return str(told["user_id"]), str(told["access_token"])

    try:  # Another error than too many requests may have used the token: not tried again.
        user_id, token = Client(kite).ask("login", exchange, again=(RateLimited,))
    except (TokenExpired, RequestRefused) as error:
        refusal = LoginRefused(
            error.found,
            "A request token is good once and for two minutes; a checksum is refused when "
            "OPTRADE_KITE__API_SECRET is not the secret of the app. Run `optrade login` again.",
        )
        journal.write("refused", "", str(refusal))
        raise refusal from None
    now = clock.now().astimezone(IST)
    session = Session(user_id, kite.api_key, SecretStr(token), now, token_dies_at(now))
    TokenStore(settings.market_home).save(session)
    journal.write("login", user_id, f"until {session.expires_at:%Y-%m-%d %H:%M}")
    return session
