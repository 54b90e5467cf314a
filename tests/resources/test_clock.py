"""Clocks tell one time in every process, at any speed, and refuse what cannot be one."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optrade.calendar import IST
from resources.clock import ClockError, ScaledClock, SystemClock, read_clock, write_clock

OPEN = datetime(2026, 1, 23, 9, 15, tzinfo=IST)


def test_the_system_clock_is_this_machines() -> None:
    before, shown, after = datetime.now(UTC), SystemClock().now(), datetime.now(UTC)
    assert before <= shown <= after
    assert shown.utcoffset() == timedelta(hours=5, minutes=30)
    assert SystemClock().speed == 1


@given(speed=st.floats(0.01, 1000), ago=st.floats(-3600, 3600))
def test_a_scaled_clock_runs_at_its_speed(speed: float, ago: float) -> None:
    start = datetime.now(UTC) - timedelta(seconds=ago)
    clock = ScaledClock(OPEN, start, speed)
    before = datetime.now(UTC)
    shown = clock.now()
    after = datetime.now(UTC)
    passed = (shown - OPEN).total_seconds() / speed
    slack = 1e-5 + 1e-5 / speed
    assert (before - start).total_seconds() - slack <= passed
    assert passed <= (after - start).total_seconds() + slack
    assert shown.utcoffset() == timedelta(hours=5, minutes=30)


def test_sleep_is_in_market_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    clock = ScaledClock(OPEN, datetime.now(UTC), 60)
    clock.sleep(30)
    clock.sleep(-1)
    SystemClock().sleep(0.25)
    SystemClock().sleep(-1)
    assert slept == [0.5, 0.0, 0.25, 0.0]


def test_processes_share_a_clock_by_its_file(tmp_path: Path) -> None:
    path = tmp_path / "simulated" / "clock.json"
    assert read_clock(path) == SystemClock()
    clock = ScaledClock(OPEN, datetime.now(UTC), 37.5)
    write_clock(path, clock)
    assert read_clock(path) == clock
    assert [p.name for p in path.parent.iterdir()] == ["clock.json"]
    write_clock(path, SystemClock())
    assert read_clock(path) == SystemClock()
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\x00",
        "[]",
        "{}",
        '{"market_start": "today", "real_start": "now", "speed": 1}',
        '{"market_start": "2026-01-23T09:15", "real_start": "2026-01-23T09:15", "speed": 1}',
    ],
)
def test_a_damaged_file_is_told(tmp_path: Path, text: str) -> None:
    path = tmp_path / "clock.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ClockError, match=r"clock\.json is no clock.*remove the file"):
        read_clock(path)


@pytest.mark.parametrize("speed", [0.0, -1.0, float("nan"), float("inf")])
def test_an_impossible_speed_is_refused(speed: float) -> None:
    with pytest.raises(ClockError, match="impossible"):
        ScaledClock(OPEN, OPEN, speed)


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(ClockError, match=r"market_start .* has no time zone"):
        ScaledClock(datetime(2026, 1, 23, 9, 15), OPEN, 1)  # noqa: DTZ001
