"""The course of `optrade login`.

Belongs here: what a person sees and does until there is a session. Does not belong here: typing
(see `cli`), the login itself (`resources.kite.login`).
"""

from __future__ import annotations

import secrets
import webbrowser

from rich.console import Console

from resources.clock import read_clock
from resources.kite.access import broker_settings
from resources.kite.errors import LoginRefused
from resources.kite.login import (
    complete_login,
    login_url,
    request_token_of,
    simulated_redirect,
    wait_for_redirect,
)
from resources.kite.session import Session, SessionJournal, TokenStore
from resources.settings import Settings

PATIENCE_SECONDS = 300.0
"""How long the login page may take a person."""


def run_login(
    settings: Settings,
    console: Console,
    *,
    paste: str | None = None,
    open_browser: bool = True,
    patience_seconds: float = PATIENCE_SECONDS,
) -> Session:
    """Log in at the broker and keep the session; a simulated market logs in by itself.

    `paste` is the request token or the address that the browser was sent to, for where the
    redirect does not reach this machine. Raises `BrokerError`.
    """
    clock = read_clock(settings.clock_file)
    kite, state = broker_settings(settings), secrets.token_urlsafe(16)
    url = login_url(kite, state)

    def show() -> None:
        console.print(f"Log in to Kite here:\n  {url}", soft_wrap=True, highlight=False)
        console.print(
            f"Then the browser is sent to http://127.0.0.1:{kite.redirect_port}/. If it cannot "
            "reach that, copy the address it shows and run, within two minutes:\n"
            "  optrade login --paste '<that address>'",
            soft_wrap=True,
            highlight=False,
            markup=False,
        )
        if open_browser:
            webbrowser.open(url)

    try:
        if paste is not None:
            token = request_token_of(paste)
        elif settings.market == "simulated":
            token = request_token_of(simulated_redirect(settings, state))
        else:
            token = wait_for_redirect(kite.redirect_port, patience_seconds, state, show)
    except LoginRefused as error:
        SessionJournal(settings.market_home, clock).write("refused", "", str(error))
        raise
    session = complete_login(settings, token, clock)
    console.print(
        f"[green]Logged in to Kite[/] as {session.user_id} until "
        f"{session.expires_at:%Y-%m-%d %H:%M} (India). The session is kept in "
        f"{TokenStore(settings.market_home).path}, readable by you only.",
        soft_wrap=True,
        highlight=False,
    )
    return session
