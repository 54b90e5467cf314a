"""What a collector finds that another one left: a subscription, a torn segment, a day, a lock."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import date
from pathlib import Path

import polars as pl
import pytest

from optrade.simulation.kite_packets import HEARTBEAT
from resources.clock import ScaledClock
from resources.collector.prepare import bury_older
from resources.journal import read_journal, tick_gaps
from resources.spool import SpoolError, SpoolWriter, read_records
from tests.resources.collector.conftest import Open
from tests.resources.collector.desk import DAY, OPENS, Desk, clock_at


def test_a_restart_goes_on_with_the_same_subscription(desk: Open) -> None:
    first = desk()
    first.wait_for("connected")
    first.hear_more()
    first.finish()
    before = (first.folder / "subscription.json").read_bytes()
    second = desk(market=first.market)
    second.wait_for("connected")
    second.hear_more()
    second.finish()
    assert [entry["again"] for entry in second.events("subscribed")] == [True]
    other = desk(market=first.market, strike_width_pct=0.1)
    other.wait_for("connected")
    other.finish()
    (subscribed,) = other.events("subscribed")
    assert (subscribed["again"], subscribed["instruments"]) == (False, 5)
    kept = [path.read_bytes() for path in first.folder.glob("subscription-*.json")]
    assert kept == [before]
    causes = first.gaps()["cause"].to_list()
    assert causes.count("stopped") == 3
    assert first.gaps().filter(pl.col("ended_at").is_null()).height == 1


KILLED = """
import sys
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from resources.clock import ScaledClock
from tests.resources.collector.desk import OPENS, Desk
home, port, real_start = sys.argv[1:]
clock = ScaledClock(OPENS, datetime.fromisoformat(real_start), 1.0)
Desk(Path(home), clock, SimpleNamespace(port=port), seal_seconds=600)._run()
"""


def flushed(folder: Path) -> int:
    """How many whole records the open segment holds on disk."""
    return sum(
        1 for path in folder.glob("*.open") for _ in read_records(path.read_bytes(), path.name)
    )


def test_kill_9_loses_what_was_not_flushed_and_the_restart_states_the_hole(
    desk: Open, tmp_path: Path
) -> None:
    at = desk(begin=False)
    assert isinstance(at.clock, ScaledClock)
    arguments = [str(tmp_path), str(at.market.port), at.clock.real_start.isoformat()]
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, *arguments], cwd=Path(__file__).parents[3]
    ) as process:
        try:
            at.wait(lambda: flushed(at.folder) > 50)
            before = flushed(at.folder)
        finally:
            process.kill()
    sent = at.market.connections[0].sent
    at.thread.start()
    at.wait_for("segment_recovered")
    at.wait_for("segment_sealed")
    at.finish()
    kept = at.kept()
    again = at.market.connections[1].sent
    beats = next(place for place, frame in enumerate(again) if frame != HEARTBEAT)
    first = kept.index(again[beats]) - beats
    assert kept[:first] == sent[:first]
    assert first >= before
    assert kept[first:] == again[: len(kept) - first]
    (gap,) = at.gaps().filter(pl.col("cause") == "killed").to_dicts()
    (recovered,) = at.events("segment_recovered")
    assert gap["started_at"].isoformat() == recovered["last_received_at"]
    assert gap["started_at"] < gap["ended_at"]
    ended = [e for e in read_journal(at.folder / "journal.jsonl") if e["event"] == "session_ended"]
    assert [entry["reason"] for entry in ended] == ["killed", "stopped"]


def test_a_second_collector_is_refused(desk: Open) -> None:
    at = desk()
    at.wait_for("connected")
    other = Desk(at.settings.home, at.clock, at.market)
    with pytest.raises(SpoolError, match="another collector"):
        other._run()
    assert not other.entries


def test_a_day_left_by_a_dead_collector_is_put_in_order(tmp_path: Path) -> None:
    folder = tmp_path / "2026-01-22"
    with SpoolWriter(folder, "dead", flush_seconds=0) as writer:
        writer.append(0, 0, 1_769_056_200_000_000, b"frame")
        (left,) = folder.glob("*.open")
        content = left.read_bytes()
    left.with_suffix(".seg").unlink()
    left.write_bytes(content + b"torn")
    started = {"at": "2026-01-22T09:00:00+05:30", "session": "dead", "event": "session_started"}
    hours = {"opens": "2026-01-22T09:15:00+05:30", "closes": "2026-01-22T15:30:00+05:30"}
    (folder / "journal.jsonl").write_text(json.dumps(started | hours) + "\n")
    for _ in range(2):
        bury_older(tmp_path, DAY, "next", clock_at(OPENS))
    entries = read_journal(folder / "journal.jsonl")
    assert [e["event"] for e in entries] == [
        "session_started",
        "segment_recovered",
        "session_ended",
    ]
    assert (entries[1]["lost_bytes"], entries[1]["frames"]) == (4, 1)
    (gap,) = tick_gaps(entries, date(2026, 1, 22), "simulated").to_dicts()
    assert (gap["cause"], f"{gap['ended_at']:%H:%M}") == ("killed", "15:30")
