"""The simulated broker as a command: it serves the files' market, shares its clock, and ends."""

from __future__ import annotations

import threading
import time as real
from datetime import date, time
from io import StringIO
from pathlib import Path

import httpx
import pytest
from rich.console import Console

from optrade.calendar import load_calendar
from optrade_dagster.simulate import run_simulate
from resources.clock import ScaledClock, SystemClock, read_clock
from resources.settings import Settings
from resources.simulator import read_marker, write_exchange

FIRST, LAST, DAY = date(2026, 1, 20), date(2026, 1, 22), date(2026, 1, 23)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path, market="simulated")


def test_a_day_is_served_and_then_published(settings: Settings) -> None:
    write_exchange(settings.exchange_root, load_calendar().sessions(FIRST, LAST), 7)
    printed = StringIO()
    console = Console(file=printed, width=200)
    path = settings.clock_file
    running = threading.Thread(
        target=run_simulate, args=(settings, console, DAY, 150.0, 0, time(15, 28)), daemon=True
    )
    running.start()
    seen: set[type] = set()
    answered = 0
    while running.is_alive():
        seen.add(type(read_clock(path)))
        if not answered and "SIMULATED" in printed.getvalue():
            root = next(w for w in printed.getvalue().split() if w.startswith("http"))
            answered = httpx.get(f"{root}/simulate/faults").status_code
        real.sleep(0.02)
    assert seen == {SystemClock, ScaledClock}
    assert answered == 200
    assert not path.exists()
    assert "The session of 2026-01-23 is over." in printed.getvalue()
    marker = read_marker(settings.exchange_root)
    assert marker is not None
    assert (marker["first"], marker["last"]) == (FIRST.isoformat(), DAY.isoformat())


def test_without_files_nothing_is_published(settings: Settings) -> None:
    run_simulate(settings, Console(file=StringIO()), DAY, 1000.0, 0, time(15, 30))
    assert not settings.exchange_root.exists()


@pytest.mark.parametrize(
    ("market", "day", "speed", "message"),
    [
        ("real", DAY, 1.0, "Set it to simulated"),
        ("simulated", date(2026, 1, 24), 1.0, "no session"),
        ("simulated", DAY, 0.0, "speed of 0"),
    ],
)
def test_what_cannot_be_simulated_is_said_first(
    tmp_path: Path, market: str, day: date, speed: float, message: str
) -> None:
    settings = Settings(home=tmp_path, market=market)
    with pytest.raises(ValueError, match=message):
        run_simulate(settings, Console(file=StringIO()), day, speed, 0)
    assert list(tmp_path.iterdir()) == []
