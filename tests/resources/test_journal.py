"""The journal keeps what happened, says where it is torn, and yields each hole of a day once."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterable
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optrade.tables.quality import GAP_CAUSES, TICK_GAPS
from resources import journal
from resources.clock import SystemClock
from resources.journal import TORN_LINE, Journal, JournalError, read_journal, tick_gaps

DAY = date(2026, 1, 23)
OPENS, CLOSES = "2026-01-23T09:15:00+05:30", "2026-01-23T15:30:00+05:30"


def at(clock: str) -> datetime:
    return datetime.fromisoformat(f"2026-01-23T{clock}+05:30")


def entry(session: str, clock: str, event: str, **details: Any) -> dict[str, Any]:
    return {"at": at(clock).isoformat(), "session": session, "event": event, **details}


def started(session: str, clock: str) -> dict[str, Any]:
    return entry(session, clock, "session_started", opens=OPENS, closes=CLOSES)


def heard(session: str, first: str, last: str, by: str | None = None) -> dict[str, Any]:
    event = "segment_recovered" if by else "segment_sealed"
    return entry(
        by or session,
        last,
        event,
        segment=f"{first.replace(':', '')[:6]}-{session}",
        first_received_at=at(first).isoformat(),
        last_received_at=at(last).isoformat(),
    )


def opened(session: str, gap: str, clock: str, cause: str, **details: Any) -> dict[str, Any]:
    chosen = {"instruments": 2, "instrument_tokens": None, "detail": None, **details}
    return entry(
        session,
        clock,
        "gap_opened",
        gap=gap,
        cause=cause,
        started_at=at(clock).isoformat(),
        **chosen,
    )


def closed(session: str, gap: str, clock: str) -> dict[str, Any]:
    return entry(session, clock, "gap_closed", gap=gap, ended_at=at(clock).isoformat())


def holes(entries: Iterable[dict[str, Any]]) -> list[tuple[Any, ...]]:
    """(cause, from, to) of each gap, in order of time."""
    frame = tick_gaps(entries, DAY, "simulated").sort("started_at")
    assert frame.schema == TICK_GAPS.schema
    assert frame["gap"].is_unique().all()
    return [
        (cause, f"{start:%H:%M:%S}", end and f"{end:%H:%M:%S}")
        for cause, start, end in frame.select("cause", "started_at", "ended_at").iter_rows()
    ]


GOOD = [
    started("a", "09:00:00"),
    entry("a", "09:00:01", "subscribed", instruments=900),
    heard("a", "09:00:02", "12:00:00"),
]


def test_entries_come_back_in_order(tmp_path: Path) -> None:
    path = tmp_path / "day" / "journal.jsonl"
    wrote = [Journal(path, "a", SystemClock()).write("text", message=f"₹ {n}\n") for n in range(3)]
    assert read_journal(path) == wrote
    assert wrote[0]["session"] == "a"
    assert datetime.fromisoformat(wrote[0]["at"]).utcoffset() == timedelta(hours=5.5)


@settings(max_examples=50)
@given(cut=st.integers(0, 300), more=st.booleans())
def test_a_torn_line_is_told_and_costs_no_other(
    tmp_path_factory: pytest.TempPathFactory, cut: int, more: bool
) -> None:
    path = tmp_path_factory.mktemp("day") / "journal.jsonl"
    wrote = [entry("a", "09:15:00", "text", message=message) for message in ("one", "two", "three")]
    content = b"".join(json.dumps(line).encode() + b"\n" for line in wrote)
    path.write_bytes(content[:cut])
    if more:
        wrote_last = Journal(path, "b", SystemClock()).write("session_started")
    lines = content[:cut].split(b"\n")
    ends = [len(b"\n".join(content.split(b"\n")[: n + 1])) for n in range(3)]
    whole = sum(end <= cut for end in ends)
    torn = [TORN_LINE] if lines[-1] and len(lines) > whole else []
    found = read_journal(path)
    assert found[:whole] == wrote[:whole]
    assert [e["event"] for e in found[whole:]] == torn + ["session_started"] * more
    if more:
        assert found[-1] == wrote_last
    if torn:
        assert found[whole]["line"] == whole + 1
        assert lines[-1].decode().startswith(found[whole]["text"])


@pytest.mark.parametrize("line", ["[]", "3", '{"event": "x"}', "\0\0\0", "{"])
def test_a_line_that_is_no_entry_is_told(tmp_path: Path, line: str) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_text(line + "\n")
    assert read_journal(path) == [{"event": TORN_LINE, "line": 1, "text": line}]
    assert holes(read_journal(path)) == []


def test_a_refused_entry_is_written_with_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    writer = Journal(tmp_path / "journal.jsonl", "a", SystemClock())
    writer.write("one")
    with monkeypatch.context() as patch:
        patch.setattr(journal.os, "fsync", refuse)
        with pytest.raises(JournalError, match="refused the entry 'two'"):
            writer.write("two")
    assert [e["event"] for e in read_journal(tmp_path / "journal.jsonl")] == ["one"]
    writer.write("three")
    found = [e["event"] for e in read_journal(tmp_path / "journal.jsonl")]
    assert found == ["one", "two", "three"]


def test_a_whole_day_has_no_hole() -> None:
    last = heard("a", "12:00:01", "15:30:20")
    assert holes([*GOOD, last, entry("a", "15:35:00", "session_ended", reason="closed")]) == []
    assert holes(GOOD) == []
    assert holes([]) == []


def test_what_the_collector_noticed_is_a_row() -> None:
    frame = tick_gaps(
        [
            *GOOD,
            opened(
                "a", "a-1", "10:00:00", "mute_socket", instrument_tokens=[7, 9], detail="silence"
            ),
            closed("a", "a-1", "10:00:30"),
            opened("a", "a-2", "11:00:00", "connection_lost"),
        ],
        DAY,
        "kite",
    )
    assert frame.drop(
        "healed_from", "healed_at", "filled_minutes", "unfilled_minutes"
    ).to_dicts() == [
        {
            "trade_date": DAY,
            "gap": "a-1",
            "started_at": at("10:00:00"),
            "ended_at": at("10:00:30"),
            "cause": "mute_socket",
            "instruments": 2,
            "instrument_tokens": "7,9",
            "session": "a",
            "detail": "silence",
            "source": "kite",
        },
        {
            "trade_date": DAY,
            "gap": "a-2",
            "started_at": at("11:00:00"),
            "ended_at": None,
            "cause": "connection_lost",
            "instruments": 2,
            "instrument_tokens": None,
            "session": "a",
            "detail": None,
            "source": "kite",
        },
    ]


def test_a_killed_session_leaves_a_hole_until_the_next_hears() -> None:
    restart = [started("b", "12:03:00"), heard("a", "12:00:01", "12:01:07", by="b")]
    assert holes([*GOOD, *restart]) == [("killed", "12:01:07", None)]
    again = [*GOOD, *restart, heard("b", "12:03:02", "12:04:00")]
    assert holes(again) == [("killed", "12:01:07", "12:03:02")]
    frame = tick_gaps(again, DAY, "kite")
    assert frame["instruments"].to_list() == [900]
    assert frame["detail"].to_list() == ["heard last at 12:01:07"]


def test_a_gap_left_open_by_a_killed_session_ends_with_the_killed_one() -> None:
    entries = [
        *GOOD,
        opened("a", "a-1", "11:59:00", "connection_lost"),
        started("b", "12:03:00"),
        heard("b", "12:03:02", "12:04:00"),
    ]
    assert holes(entries) == [
        ("connection_lost", "11:59:00", "12:03:02"),
        ("killed", "12:00:00", "12:03:02"),
    ]


def test_a_stopped_session_leaves_a_hole() -> None:
    stop = entry("a", "12:00:05", "session_ended", reason="stopped")
    assert holes([*GOOD, stop]) == [("stopped", "12:00:00", None)]
    again = [started("b", "13:00:00"), heard("b", "13:00:01", "13:01:00")]
    assert holes([*GOOD, stop, *again]) == [("stopped", "12:00:00", "13:00:01")]


def test_a_session_found_dead_after_the_close_was_killed_until_the_close() -> None:
    dead = entry("a", "19:00:00", "session_ended", reason="killed")
    assert holes([*GOOD, dead]) == [("killed", "12:00:00", "15:30:00")]


def test_what_ends_after_the_close_is_no_hole() -> None:
    late = heard("a", "12:00:01", "15:31:00")
    for reason in ("killed", "stopped"):
        assert holes([*GOOD, late, entry("a", "15:31:01", "session_ended", reason=reason)]) == []


def test_a_late_start_is_a_hole_from_the_open() -> None:
    begin = started("a", "09:40:00")
    assert holes([begin]) == [("not_started", "09:15:00", None)]
    entries = [begin, started("b", "09:50:00"), heard("b", "09:50:02", "10:00:00")]
    assert holes(entries) == [("not_started", "09:15:00", "09:50:02")]
    assert holes([started("a", "09:15:00"), heard("a", "09:15:01", "10:00:00")]) == []


def test_killed_before_the_open_counts_from_the_open() -> None:
    entries = [started("a", "09:00:00"), started("b", "09:20:00")]
    assert holes(entries) == [("killed", "09:15:00", None)]


def test_unknown_hours_make_no_late_start() -> None:
    begin = started("a", "18:40:00") | {"opens": None, "closes": None}
    assert holes([begin, heard("a", "18:41:00", "18:50:00")]) == []
    assert holes([begin, heard("a", "18:41:00", "18:50:00"), started("b", "19:00:00")]) == [
        ("killed", "18:50:00", None)
    ]


MINUTES = st.integers(0, 374).map(lambda n: f"{9 + (15 + n) // 60:02}:{(15 + n) % 60:02}:00")
STORY = st.lists(
    st.tuples(st.booleans(), st.booleans(), st.sampled_from(GAP_CAUSES)), min_size=1, max_size=5
)


@given(clocks=st.lists(MINUTES, min_size=25, max_size=25, unique=True).map(sorted), story=STORY)
def test_any_story_makes_rows_of_the_table(
    clocks: list[str], story: list[tuple[bool, bool, str]]
) -> None:
    time = iter(clocks)
    entries: list[dict[str, Any]] = []
    for place, (hears, closes, cause) in enumerate(story):
        name = f"s{place}"
        entries.append(started(name, next(time)))
        if hears:
            entries.append(heard(name, next(time), next(time)))
        entries.append(opened(name, f"{name}-1", next(time), cause))
        if closes:
            entries.append(closed(name, f"{name}-1", next(time)[:-1] + "1"))
    frame = tick_gaps(entries, DAY, "simulated")
    assert frame.schema == TICK_GAPS.schema
    assert frame["gap"].is_unique().all()
    assert frame.filter(pl.col("ended_at") < pl.col("started_at")).is_empty()
    assert set(frame["cause"]) <= set(GAP_CAUSES)


def test_what_the_collector_noticed_outside_the_hours_is_no_hole() -> None:
    outside = [
        opened("a", "a-1", "09:01:00", "connection_lost"),
        closed("a", "a-1", "09:01:02"),
        opened("a", "a-2", "15:32:00", "connection_lost"),
        opened("a", "a-3", "09:14:00", "mute_socket"),
        closed("a", "a-3", "09:16:00"),
    ]
    assert holes([*GOOD, *outside]) == [("mute_socket", "09:14:00", "09:16:00")]
    assert len(holes(outside)) == 3  # Nothing tells the hours.
