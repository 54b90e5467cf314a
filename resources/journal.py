"""The collector's journal: what happened while it listened, and the holes that follow from it.

Belongs here: writing and reading the journal of a day, and turning it into gaps. Does not belong
here: frames (see `spool`), noticing that something is wrong (see `collector`).

One JSON object a line: `at` (ISO time), `session`, `event`, and what belongs to that event.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any, Final

import polars as pl

from optrade.calendar import IST
from optrade.tables.quality import TICK_GAPS
from resources.clock import Clock

TORN_LINE: Final = "torn_line"
"""Event that stands for a line that is no entry: where a writer died, or the file was damaged."""
Entry = dict[str, Any]
_SHOWN = 200
_EARLY = ("killed", "stopped")
SEALED_EVENTS: Final = ("segment_sealed", "segment_recovered")


class JournalError(ValueError):
    """A journal that cannot be written; says why and what to do."""


class Journal:
    """Appends to a day's journal; safe to use from several threads.

    Every entry is on the disk when `write` returns. One that the disk refused is kept and written
    before the next one.
    """

    def __init__(self, path: Path, session: str, clock: Clock) -> None:
        self._path, self._session, self._clock = path, session, clock
        self._unwritten = b"" if _ends_whole(path) else b"\n"
        self._lock = threading.Lock()

    def write(self, event: str, **details: Any) -> Entry:
        """Append an entry and return it. Raises `JournalError` when the disk refuses."""
        at = self._clock.now().isoformat()
        entry = {"at": at, "session": self._session, "event": event, **details}
        with self._lock:
            self._unwritten += json.dumps(entry, ensure_ascii=False).encode() + b"\n"
            try:
                self._append()
            except OSError as error:
                raise JournalError(
                    f"{self._path}: the disk refused the entry {event!r} "
                    f"({error.strerror or error}). Make room: it is written with the next one."
                ) from error
        return entry

    def _append(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("ab", buffering=0) as handle:
            before = handle.seek(0, os.SEEK_END)
            try:
                done = 0
                while done < len(self._unwritten):
                    done += handle.write(self._unwritten[done:])
                os.fsync(handle.fileno())
            except OSError:
                handle.truncate(before)
                raise
        self._unwritten = b""


def _ends_whole(path: Path) -> bool:
    if not path.exists():
        return True
    with path.open("rb") as handle:
        if handle.seek(0, os.SEEK_END) == 0:
            return True
        handle.seek(-1, os.SEEK_END)
        return handle.read(1) == b"\n"


def read_journal(path: Path) -> list[Entry]:
    """The entries of a journal, oldest first.

    A line that is no entry is given as `{"event": "torn_line", "line": number, "text": start of
    it}`. Raises `OSError` as the disk gives it.
    """
    lines = path.read_bytes().split(b"\n")
    return [_entry(number, line) for number, line in enumerate(lines, 1) if line.strip()]


def _entry(number: int, line: bytes) -> Entry:
    try:
        found = json.loads(line)
        if isinstance(found, dict) and {"at", "session", "event"} <= found.keys():
            return found
    except ValueError:
        found = None
    return {"event": TORN_LINE, "line": number, "text": line[:_SHOWN].decode("utf-8", "replace")}


@dataclass
class _Session:
    """One collector session as the journal tells it."""

    name: str
    started_at: datetime
    opens: datetime | None
    closes: datetime | None
    instruments: int = 0
    first_heard: datetime | None = None
    last_heard: datetime | None = None
    ended_at: datetime | None = None
    ended: str | None = None

    def hear(self, entry: Mapping[str, Any]) -> None:
        """Take in a segment of this session."""
        first, last = _maybe(entry["first_received_at"]), _maybe(entry["last_received_at"])
        self.first_heard = min(filter(None, (self.first_heard, first)), default=None)
        self.last_heard = max(filter(None, (self.last_heard, last)), default=None)


def tick_gaps(entries: Iterable[Mapping[str, Any]], day: date, source: str) -> pl.DataFrame:
    """The holes of a day in the shape of `quality.tick_gaps`, by name.

    - each gap the collector opened, unless outside the trading hours; one left open by a session
      that is over ends where the next session was heard first
    - `not_started`: from the open to the first frame, when the first session began after the open
    - `killed`, `stopped`: from the last frame of a session that was over before the close to the
      first frame of the next one, or to the close when the day was known to be over

    `ended_at` is null while nothing was heard again.
    """
    told = [entry for entry in entries if entry["event"] != TORN_LINE]
    sessions = _sessions(told)
    rows = [*_noticed(told, sessions), *_not_started(sessions), *_seams(sessions)]
    frame = pl.DataFrame(
        [{"trade_date": day, "source": source, **row} for row in rows], dict(TICK_GAPS.schema)
    )
    return frame.sort("gap")


def _sessions(entries: Sequence[Mapping[str, Any]]) -> list[_Session]:
    """The day's sessions in order, each with what it heard and how it ended."""
    found: dict[str, _Session] = {}
    for entry in entries:
        name, event, at = entry["session"], entry["event"], _time(entry["at"])
        if event == "session_started":
            opens, closes = _maybe(entry["opens"]), _maybe(entry["closes"])
            found[name] = _Session(name, at, opens, closes)
        elif event in SEALED_EVENTS:
            wrote = entry["segment"].split("-", 1)[1]
            if wrote in found:
                found[wrote].hear(entry)
        elif name in found and event == "subscribed":
            found[name].instruments = entry["instruments"]
        elif name in found and event == "session_ended":
            found[name].ended_at, found[name].ended = at, entry["reason"]
    return list(found.values())


def _noticed(
    entries: Sequence[Mapping[str, Any]], sessions: Sequence[_Session]
) -> Iterable[dict[str, Any]]:
    closed = {
        entry["gap"]: _time(entry["ended_at"])
        for entry in entries
        if entry["event"] == "gap_closed"
    }
    order = {session.name: place for place, session in enumerate(sessions)}
    for entry in entries:
        if entry["event"] != "gap_opened":
            continue
        place = order.get(entry["session"], len(sessions))
        started = _time(entry["started_at"])
        ended = closed.get(entry["gap"]) or _heard_again(sessions[place + 1 :])
        if any(_outside(session, started, ended) for session in sessions[place : place + 1]):
            continue
        tokens = entry["instrument_tokens"]
        yield {
            "gap": entry["gap"],
            "started_at": started,
            "ended_at": max(started, ended) if ended else None,
            "cause": entry["cause"],
            "instruments": entry["instruments"],
            "instrument_tokens": ",".join(map(str, tokens)) if tokens else None,
            "session": entry["session"],
            "detail": entry.get("detail"),
        }


def _outside(session: _Session, started: datetime, ended: datetime | None) -> bool:
    """Whether a gap lies before the open or after the close."""
    late = session.closes is not None and started >= session.closes
    return late or (session.opens is not None and ended is not None and ended <= session.opens)


def _not_started(sessions: Sequence[_Session]) -> Iterable[dict[str, Any]]:
    for first in sessions[:1]:
        if first.opens and first.started_at > first.opens:
            detail = f"the collector was started at {first.started_at:%H:%M:%S}"
            yield _whole(first, "not_started", first.opens, _heard_again(sessions), detail)


def _seams(sessions: Sequence[_Session]) -> Iterable[dict[str, Any]]:
    """Holes behind sessions that were over before the close.

    One that began after the open and heard nothing lies inside the hole before it.
    """
    for place, session in enumerate(sessions):
        later = sessions[place + 1 :]
        reason = session.ended or ("killed" if later else None)
        opens, closes, last = session.opens, session.closes, session.last_heard
        start = max(filter(None, (last or session.started_at, opens)))
        over_before = last is None and opens is not None and session.started_at > opens
        if reason not in _EARLY or over_before or (closes and start >= closes):
            continue
        end = _heard_again(later)
        if end is None and closes and session.ended_at and session.ended_at >= closes:
            end = closes
        detail = f"heard last at {last:%H:%M:%S}" if last else "heard nothing"
        yield _whole(session, reason, start, end, detail)


def _heard_again(later: Iterable[_Session]) -> datetime | None:
    return min((session.first_heard for session in later if session.first_heard), default=None)


def _whole(
    session: _Session, cause: str, start: datetime, end: datetime | None, detail: str
) -> dict[str, Any]:
    """A gap of the whole subscription."""
    return {
        "gap": f"{session.name}-{cause}",
        "started_at": start,
        "ended_at": max(start, end) if end else None,
        "cause": cause,
        "instruments": session.instruments,
        "instrument_tokens": None,
        "session": session.name,
        "detail": detail,
    }


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(IST)


def _maybe(text: str | None) -> datetime | None:
    return None if text is None else _time(text)
