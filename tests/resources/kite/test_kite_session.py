"""The kept session: its file, its end at six, who is reminded in time, and its journal."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr

from optrade.calendar import IST
from resources.kite.access import token_dies_at
from resources.kite.errors import SessionUnreadable, TokenExpired
from resources.kite.session import (
    Session,
    SessionJournal,
    TokenStore,
    remind,
    renewal_due,
    require_session,
    session_events,
)
from resources.settings import Settings
from tests.resources.kite.conftest import StoppedClock, changed

OPENS = datetime(2026, 1, 23, 9, 15, tzinfo=IST)
ON_POSIX = pytest.mark.skipif(os.name != "posix", reason="modes of files are POSIX's")


@pytest.fixture
def real(tmp_path: Path) -> Settings:
    """Of a real market."""
    kite = {"api_key": "key", "api_secret": "secret"}
    return Settings(home=tmp_path, market="real", kite=kite)


def session_of(settings: Settings, at: datetime) -> Session:
    expires = datetime(2026, 1, 24, 6, tzinfo=IST)
    return Session("AB1234", settings.kite.api_key, SecretStr("very-secret"), at, expires)


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


def test_a_token_of_the_night_dies_the_same_morning() -> None:
    six = datetime(2026, 1, 24, 6, tzinfo=IST)
    for issued in (
        "2026-01-23T06:00:00+05:30",
        "2026-01-24T05:59:59+05:30",
        "2026-01-23T00:30:00Z",
    ):
        assert token_dies_at(datetime.fromisoformat(issued)) == six


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
    clock.at = OPENS - timedelta(minutes=20)
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
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.endswith("}")]
    assert {"at", "event", "user_id", "detail"} <= json.loads(lines[0]).keys()
