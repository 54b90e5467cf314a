"""The collector knows the next session, waits for it and can be stopped."""

from __future__ import annotations

import threading
from datetime import datetime, timedelta
from pathlib import Path
from queue import Queue

import pytest

from optrade.calendar import load_calendar
from resources.collector import Collector
from resources.journal import Entry
from tests.resources.collector.desk import CLOSES, clock_at, settings_of


@pytest.mark.parametrize(
    ("now", "starts", "ends"),
    [
        ("2026-01-23T08:00", "2026-01-23T09:00", "2026-01-23T15:35"),
        ("2026-01-23T15:34", "2026-01-23T09:00", "2026-01-23T15:35"),
        ("2026-01-23T15:35", "2026-01-27T09:00", "2026-01-27T15:35"),
        ("2026-01-24T12:00", "2026-01-27T09:00", "2026-01-27T15:35"),
        ("2026-02-01T10:00", "2026-02-01T09:00", "2026-02-01T15:35"),
        ("2026-11-08T10:00", "2026-11-08T08:45", "2026-11-08T20:05"),
    ],
)
def test_the_next_session_is_found(tmp_path: Path, now: str, starts: str, ends: str) -> None:
    at = clock_at(datetime.fromisoformat(now + "+05:30"))
    hours = Collector(
        settings_of(tmp_path), at, load_calendar(), lambda: pytest.fail("asked"), print
    ).next_hours()
    assert (f"{hours.starts:%Y-%m-%dT%H:%M}", f"{hours.ends:%Y-%m-%dT%H:%M}") == (starts, ends)


def test_it_waits_for_the_next_session_and_can_be_stopped(tmp_path: Path) -> None:
    told = Queue[Entry]()
    settings = settings_of(tmp_path)
    collector = Collector(
        settings, clock_at(CLOSES + timedelta(hours=1)), load_calendar(), pytest.fail, told.put
    )
    thread = threading.Thread(target=collector.run_for_ever)
    thread.start()
    waiting = told.get(timeout=20)
    collector.stop()
    thread.join(20)
    assert not thread.is_alive()
    assert waiting == {"event": "waiting", "until": "2026-01-27T09:00:00+05:30"}
    assert told.empty()
    assert not settings.spool_root.exists()
