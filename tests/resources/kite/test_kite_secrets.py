"""What a login learns is masked in logs from that moment, and does not show in what holds it."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from optrade_dagster.collect import enter
from optrade_dagster.login import run_login
from resources import log_masking
from resources.collector import Access
from resources.kite.login import request_token_of
from resources.kite.session import TokenStore
from resources.kite_exchange.server import RunningExchange
from resources.log_files import DailyFile
from resources.log_masking import MASK
from resources.logs import _formatter
from resources.settings import Settings
from tests.resources.kite.conftest import StoppedClock


@pytest.fixture
def logged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Writes a line to a log that knows no secret yet, and reads what it says."""
    monkeypatch.setattr(log_masking, "_hidden", set())
    handler = DailyFile(tmp_path / "lines", "login")
    handler.setFormatter(_formatter("login", pretty=False))

    def write(text: str) -> str:
        handler.handle(logging.makeLogRecord({"name": "x", "msg": text}))
        (path,) = (tmp_path / "lines").iterdir()
        return str(json.loads(path.read_text(encoding="utf-8").splitlines()[-1])["event"])

    return write


def test_a_request_token_is_masked_as_soon_as_it_came_back(logged: Callable[[str], str]) -> None:
    assert logged("brought 0a1b2c3d4e") == "brought 0a1b2c3d4e"
    request_token_of("http://127.0.0.1:5010/?request_token=0a1b2c3d4e&status=success")
    assert logged("brought 0a1b2c3d4e") == f"brought {MASK}"


def test_a_login_masks_what_it_brought(
    logged: Callable[[str], str], settings: Settings, exchange: RunningExchange
) -> None:
    session = run_login(settings, Console(file=io.StringIO()))
    token = session.access_token.get_secret_value()
    assert exchange.state.accepts("simulated", token)
    assert logged(f"heard {token!r}") == f"heard '{MASK}'"


def test_whoever_reads_the_kept_session_masks_it(
    logged: Callable[[str], str], settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = run_login(settings, Console(file=io.StringIO()))
    monkeypatch.setattr(log_masking, "_hidden", set())  # As in another process.
    TokenStore(settings.market_home).load()
    assert logged(f"with {session.access_token.get_secret_value()}") == f"with {MASK}"


def test_the_collector_s_token_is_masked(
    logged: Callable[[str], str],
    settings: Settings,
    exchange: RunningExchange,
    clock: StoppedClock,
) -> None:
    assert exchange.running
    token = enter(settings, clock).access.access_token
    assert logged(f"dials with {token}") == f"dials with {MASK}"


def test_an_access_does_not_show_its_keys() -> None:
    access = Access("wss://ws.kite.trade", "key-of-app", "very-secret")
    for shown in (repr(access), str(access), f"{access}", repr([access])):
        assert "wss://ws.kite.trade" in shown
        assert "very-secret" not in shown
        assert "key-of-app" not in shown
