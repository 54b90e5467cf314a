"""A session keeps every frame it is sent, and states what it could not keep or believe."""

from __future__ import annotations

from datetime import timedelta

import polars as pl
import pytest

from resources.journal import read_journal
from resources.spool import SpoolError, SpoolWriter, moment, sealed_segments
from tests.resources.collector.conftest import Open
from tests.resources.collector.desk import CLOSES, DUMP, OPENS, OPTIONS, TOKENS


def test_a_session_keeps_every_frame_and_ends_with_the_day(desk: Open) -> None:
    at = desk(CLOSES - timedelta(seconds=2.5))
    at.thread.join(20)
    assert at.result == "closed"
    (heard,) = at.market.connections
    subscribe, mode = heard.asked
    assert (subscribe["a"], set(subscribe["v"])) == ("subscribe", TOKENS)
    assert (mode["a"], mode["v"][0], set(mode["v"][1])) == ("mode", "full", TOKENS)
    kept = at.kept()
    assert len(kept) > 100
    assert kept == heard.sent[: len(kept)]
    assert len(heard.sent) - len(kept) < 30  # Sent after the close.
    names = [path.name[:6] for path in sealed_segments(at.folder)]
    assert len(names) >= 2
    assert names == sorted(set(names))
    for name, record in at.records():
        assert f"{moment(record.received_at):%H%M%S}" == name[:6]
    assert (at.folder / "instruments.csv").read_bytes() == DUMP
    entries = read_journal(at.folder / "journal.jsonl")
    assert entries == at.entries
    events = [entry["event"] for entry in entries if entry["event"] != "segment_sealed"]
    assert events == ["session_started", "subscribed", "connected", "session_ended"]
    assert sum(e["frames"] + e["heartbeats"] for e in at.events("segment_sealed")) == len(kept)
    (gap,) = at.gaps().to_dicts()
    assert (gap["cause"], gap["started_at"]) == ("not_started", OPENS)
    assert gap["ended_at"] > CLOSES - timedelta(seconds=2.5)


def test_stamps_that_stand_still_or_are_off_are_noticed(desk: Open) -> None:
    at = desk(silent_seconds=1)
    at.wait_for("connected")
    at.hear_more()
    at.market.stale, at.market.behind = {OPTIONS[4]}, timedelta(seconds=30)
    at.wait_for("clock_skew")
    at.market.behind = timedelta(0)
    at.wait(
        lambda: any(
            OPTIONS[4] in (e["instrument_tokens"] or ())
            for e in at.entries
            if e["event"] == "gap_opened"
        )
    )
    at.market.stale = set()
    at.wait_for("clock_skew", 2)
    at.wait(lambda: at.events("gap_closed"))
    at.finish()
    first, second = at.events("clock_skew")
    assert (first["skewed"], second["skewed"]) == (True, False)
    assert 29 < first["seconds"] < 32
    assert "s ahead of the exchange's: set it by NTP" in first["advice"]
    silent = pl.col("instrument_tokens") == str(OPTIONS[4])
    (gap,) = at.gaps().filter(silent).to_dicts()
    assert (gap["cause"], gap["instruments"]) == ("silent_instrument", 1)
    assert gap["detail"] == "NIFTY2612725000CE stands still while others move"
    assert gap["ended_at"] is not None


def test_frames_that_the_spool_refuses_are_a_hole(
    desk: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = desk()
    at.wait_for("connected")
    at.hear_more()

    def refuse(*_: object) -> None:
        raise SpoolError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr(SpoolWriter, "append", refuse)
        at.wait_for("gap_opened")
    at.wait_for("gap_closed")
    at.finish()
    (gap,) = at.gaps().filter(pl.col("cause") == "spool_failed").to_dicts()
    assert (gap["detail"], gap["instruments"]) == ("no space left", len(TOKENS))
    assert gap["started_at"] < gap["ended_at"]


def test_a_journal_that_cannot_be_written_stops_nothing(
    desk: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = desk(begin=False)
    (at.folder / "journal.jsonl").mkdir(parents=True)
    monkeypatch.setattr("resources.collector.prepare.read_journal", lambda _: [])
    monkeypatch.setattr("resources.journal._ends_whole", lambda _: True)
    at.thread.start()
    at.wait_for("journal_failed", 3)
    at.wait(lambda: at.market.connections)
    at.hear_more()
    at.finish()
    assert at.kept()
