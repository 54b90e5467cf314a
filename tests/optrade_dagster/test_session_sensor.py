"""What happened to the broker's session is observed once each, whatever market time it had."""

from __future__ import annotations

from datetime import datetime, timedelta

import dagster as dg
import pytest

from assets.minutes import KITE_SESSION
from optrade.calendar import IST
from optrade_dagster.session_sensor import kite_session_watched
from resources.kite.session import SessionJournal
from resources.recordings import Recordings


class Clock:
    speed = 1.0
    at = datetime(2026, 1, 23, 8, 55, tzinfo=IST)

    def now(self):
        return self.at


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def journal(tmp_path, clock):
    return SessionJournal(tmp_path, clock)


@pytest.fixture
def look(tmp_path):
    """Evaluates the sensor with the cursor it left: the details it tells, in order."""
    sensor, left = kite_session_watched(), [None]
    recordings = Recordings(home=str(tmp_path), root=str(tmp_path / "spool"))

    def evaluate(cursor=None):
        with (
            dg.DagsterInstance.ephemeral() as instance,
            dg.build_sensor_context(
                instance, cursor=cursor or left[0], resources={"recordings": recordings}
            ) as context,
        ):
            tick = sensor.evaluate_tick(context)
        left[0] = tick.cursor
        assert {event.asset_key for event in tick.asset_events} <= {KITE_SESSION}
        assert bool(tick.asset_events) != (tick.skip_message == "nothing new")
        return [event.description for event in tick.asset_events]

    return evaluate


def test_each_event_is_told_once(look, journal):
    assert look() == []
    journal.write("login", "A", "one")
    journal.write("refused", "A", "two")  # At the same market time.
    assert look() == ["one", "two"]
    assert look() == []
    journal.write("login", "A", "three")
    assert look() == ["three"]
    assert look() == []


def test_an_earlier_day_that_is_played_later_is_told_too(look, journal, clock):
    journal.write("login", "A", "on Friday")
    assert look() == ["on Friday"]
    clock.at -= timedelta(days=8)
    journal.write("login", "A", "on Thursday of the week before")
    assert look() == ["on Thursday of the week before"]
    clock.at += timedelta(days=8)
    journal.write("expired", "A", "on Friday again")
    assert look() == ["on Friday again"]
    assert look() == []


def test_a_torn_line_is_no_event_and_one_still_being_written_is_told_when_whole(
    look, journal, tmp_path
):
    journal.write("login", "A", "one")
    path = tmp_path / "kite" / "sessions.jsonl"
    whole = path.read_bytes()
    begun = whole.replace(b"one", b"two")[:-1]
    path.write_bytes(whole + begun[:20])
    assert look() == ["one"]
    path.write_bytes(whole + begun + b"\n" + begun[:20])  # Its writer has died.
    assert look() == ["two"]
    journal.write("login", "A", "three")
    assert look() == ["three"]
    assert look() == []


def test_a_journal_that_began_anew_is_told_from_its_start(look, journal, tmp_path):
    for detail in ("one", "two"):
        journal.write("login", "A", detail)
    assert look() == ["one", "two"]
    (tmp_path / "kite" / "sessions.jsonl").unlink()
    journal.write("login", "A", "first")
    assert look() == ["first"]
    assert look() == []


def test_a_time_left_by_an_older_version_is_no_place(look, journal):
    journal.write("login", "A", "one")
    assert look("2026-01-23T08:55:00+05:30") == ["one"]
    assert look() == []
