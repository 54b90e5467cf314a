"""The session with the broker: kept where only its owner can read it, and what became of it.

Belongs here: the kept session, whether it still holds, the journal of logins and refusals. Does
not belong here: getting a session (`login`), using one (`broker`).
"""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, Literal

from pydantic import SecretStr

from resources.clock import Clock
from resources.journal import TORN_LINE, Journal, read_journal
from resources.kite.access import broker_settings, token_dies_at
from resources.kite.errors import SessionUnreadable, TokenExpired
from resources.log_masking import hide
from resources.settings import Settings

OWNER_ONLY: Final = 0o600
Event = Literal["login", "refused", "expired", "renewal_due"]
_DO = "Run `optrade login`."
_FIELDS: Final = ("user_id", "api_key", "access_token", "login_at", "expires_at")


@dataclass(frozen=True, slots=True)
class Session:
    """One login; times are aware, Asia/Kolkata. Its keys show neither in `repr` nor in `str`."""

    user_id: str
    api_key: str = field(repr=False)
    access_token: SecretStr
    login_at: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class SessionEvent:
    """A line of the journal. `user_id` is empty where no user is known."""

    at: datetime
    event: str
    user_id: str
    detail: str


class TokenStore:
    """The file `kite/session.json` of a market's home."""

    def __init__(self, market_home: Path) -> None:
        self.path = market_home / "kite" / "session.json"

    def save(self, session: Session) -> None:
        """Keep a session in place of the one before; readable by its owner only at any time."""
        told = {name: getattr(session, name) for name in _FIELDS}
        told["access_token"] = session.access_token.get_secret_value()
        told |= {name: told[name].isoformat() for name in ("login_at", "expires_at")}
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        part = self.path.with_name(f".{self.path.name}.{secrets.token_hex(4)}.part")
        try:
            handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, OWNER_ONLY)
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(json.dumps(told, indent=2) + "\n")
                file.flush()
                os.fsync(file.fileno())
            part.replace(self.path)
        finally:
            part.unlink(missing_ok=True)

    def load(self) -> Session | None:
        """The kept session, None when there is none; this process's logs mask its token.

        Raises `SessionUnreadable` for a file that others may read or that is damaged.
        """
        try:
            with self.path.open(encoding="utf-8") as file:
                self._refuse_open_to_others(os.fstat(file.fileno()).st_mode)
                text = file.read()
        except FileNotFoundError:
            return None
        try:
            found = json.loads(text)
            hide(str(found["access_token"]))
            return Session(
                user_id=str(found["user_id"]),
                api_key=str(found["api_key"]),
                access_token=SecretStr(str(found["access_token"])),
                login_at=datetime.fromisoformat(found["login_at"]),
                expires_at=datetime.fromisoformat(found["expires_at"]),
            )
        except (ValueError, KeyError, TypeError):
            raise SessionUnreadable(
                f"{self.path}: found {len(text)} characters that are no session; expected JSON "
                f"with {', '.join(_FIELDS)}.",
                _DO,
            ) from None  # What was read may hold the token.

    def _refuse_open_to_others(self, mode: int) -> None:
        if os.name == "posix" and mode & 0o077:
            raise SessionUnreadable(
                f"{self.path}: found mode {mode & 0o777:04o}, so others on this machine may have "
                f"read the access token; expected {OWNER_ONLY:04o}.",
                f"{_DO} It makes a new token and file.",
            )


class SessionJournal:
    """The file `kite/sessions.jsonl` of a market's home: every login, refusal and expiry."""

    def __init__(self, market_home: Path, clock: Clock) -> None:
        self._path, self._clock = market_home / "kite" / "sessions.jsonl", clock

    def write(self, event: Event, user_id: str, detail: str) -> None:
        """Append an event. `detail` must not hold a secret."""
        Journal(self._path, "kite", self._clock).write(event, user_id=user_id, detail=detail)

    def write_once(self, event: Event, user_id: str, detail: str) -> None:
        """Append an event unless the last line already says just that."""
        last = [(e.event, e.user_id, e.detail) for e in session_events(self._path.parents[1])[-1:]]
        if last != [(event, user_id, detail)]:
            self.write(event, user_id, detail)


def session_events(market_home: Path) -> list[SessionEvent]:
    """What happened to the market's sessions, in the order it was told.

    A line torn by the death of its writer is passed over.
    """
    path = market_home / "kite" / "sessions.jsonl"
    return [
        SessionEvent(datetime.fromisoformat(e["at"]), e["event"], e["user_id"], e["detail"])
        for e in (read_journal(path) if path.exists() else [])
        if e["event"] != TORN_LINE
    ]


def require_session(settings: Settings, clock: Clock) -> Session:
    """The kept session, if the broker can still accept it.

    Raises `TokenExpired` when there is none, or it is over, or is of another API key; the first
    such finding is written to the journal. Raises `SessionUnreadable` for an unusable file.
    """
    store = TokenStore(settings.market_home)
    session = store.load()
    journal = SessionJournal(settings.market_home, clock)
    if session is None:
        raise TokenExpired(f"Nobody is logged in to Kite: found no {store.path}.")
    if session.api_key != broker_settings(settings).api_key:
        raise TokenExpired(
            f"{store.path}: found the session of another Kite Connect app, of {session.user_id}; "
            "expected one of the app of OPTRADE_KITE__API_KEY."
        )
    if session.expires_at <= clock.now():
        ended = f"{session.expires_at:%Y-%m-%d %H:%M}"
        journal.write_once("expired", session.user_id, f"at {ended}")
        raise TokenExpired(
            f"The Kite session of {session.user_id} ended at {ended}: Kite ends every session at "
            "06:00 (India)."
        )
    return session


def expires_in(session: Session, clock: Clock) -> timedelta:
    """How long the session still lives; negative when it is over."""
    return session.expires_at - clock.now()


def renewal_due(session: Session | None, opens: datetime, clock: Clock) -> bool:
    """Whether somebody should log in now for the trading session that opens at `opens`.

    True from the last 06:00 before it, when no kept session lives that long: a login any earlier
    would not either. A session that lives at the open lives at the close.
    """
    needed = max(opens, clock.now())
    covered = session is not None and session.expires_at > needed
    return not covered and token_dies_at(clock.now()) > needed


def remind(settings: Settings, opens: datetime, clock: Clock) -> str | None:
    """What to tell a person when a login is due for the session at `opens`; journalled once.

    Raises `SessionUnreadable` as `TokenStore.load` does.
    """
    session = TokenStore(settings.market_home).load()
    if not renewal_due(session, opens, clock):
        return None
    user_id = "" if session is None else session.user_id
    detail = f"for the session that opens at {opens:%Y-%m-%d %H:%M}"
    SessionJournal(settings.market_home, clock).write_once("renewal_due", user_id, detail)
    return f"A login to Kite is due {detail}. {_DO}"
