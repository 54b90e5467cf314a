"""Before listening: the day's instrument dump, the subscription, and what dead sessions left.

Belongs here: what is settled and written down before the first connection. Does not belong here:
choosing instruments (`optrade.subscription`), reading the dump (`optrade.formats`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl

from optrade.errors import InputRefused
from optrade.formats.kite_instruments import parse_instruments
from optrade.subscription import Subscription, choose
from resources.clock import Clock
from resources.collector.boundary import Broker
from resources.journal import Entry, Journal, read_journal
from resources.lake_files import write_durably
from resources.settings_live import CollectorSettings
from resources.spool import Sealed, moment, recover

INSTRUMENTS = "instruments.csv"
SUBSCRIPTION = "subscription.json"
JOURNAL = "journal.jsonl"


@dataclass(frozen=True)
class Prepared:
    """What to listen to; `asked` is what it was chosen by."""

    subscription: Subscription
    asked: dict[str, Any]
    again: bool


def prepare(
    folder: Path, day: date, source: str, broker: Broker, settings: CollectorSettings
) -> Prepared:
    """The day's dump and subscription, kept in `folder`.

    Both are settled once a day: a restart takes what is there, so that the same tokens go on.
    Only when the settings ask for something else is it chosen anew; the choice before is kept
    beside it. Raises `BrokerError`, or `InputRefused` for a dump or a choice
    that cannot be.
    """
    limit = settings.sockets * settings.instruments_per_socket
    asked: dict[str, Any] = {
        "underlyings": list(settings.underlyings),
        "expiry_buckets": list(settings.expiry_buckets),
        "strike_width_pct": settings.strike_width_pct,
        "limit": limit,
    }
    path = folder / SUBSCRIPTION
    before = _last(_entries(folder), "subscribed")
    if before and before["asked"] == asked and path.exists():
        return Prepared(Subscription.from_json(path.read_text(encoding="utf-8")), asked, again=True)
    subscription = choose(
        _instruments(folder / INSTRUMENTS, day, source, broker),
        broker.spots(settings.underlyings),
        underlyings=settings.underlyings,
        buckets=settings.expiry_buckets,
        width_pct=settings.strike_width_pct,
        limit=limit,
    )
    if before and path.exists():
        path.replace(folder / f"subscription-{before['session']}.json")
    write_durably(path, subscription.to_json().encode())
    return Prepared(subscription, asked, again=False)


def _instruments(path: Path, day: date, source: str, broker: Broker) -> pl.DataFrame:
    """The kept dump, or today's from the broker; one that cannot be read is not kept."""
    content = path.read_bytes() if path.exists() else broker.instruments()
    sha256 = hashlib.sha256(content).hexdigest()
    found = parse_instruments(INSTRUMENTS, content, day, source=source, sha256=sha256)
    if not path.exists():
        write_durably(path, content)
    return found


def deal(prepared: Prepared, settings: CollectorSettings) -> list[list[int]]:
    """The tokens of each websocket; no more websockets than needed."""
    room = settings.instruments_per_socket
    count = -(-prepared.subscription.frame.height // room)
    try:
        return prepared.subscription.sockets(min(count, settings.sockets), room)
    except ValueError as error:
        raise InputRefused(
            file=SUBSCRIPTION,
            found=str(error),
            expected="no more instruments than the sockets take",
            remedy="Raise the number of sockets or of instruments on each.",
            rule="limit",
        ) from error


def bury(folder: Path, recovered: Iterable[Sealed], journal: Journal, clock: Clock) -> list[Entry]:
    """Write down what dead sessions left in a day's folder, and that they were killed."""
    dead = _unended(_entries(folder))
    wrote = [journal.write("segment_recovered", **told(sealed)) for sealed in recovered]
    ends = [Journal(folder / JOURNAL, session, clock) for session in dead]
    return wrote + [end.write("session_ended", reason="killed") for end in ends]


def bury_older(root: Path, today: date, session: str, clock: Clock) -> None:
    """Recover what collectors that died left on days before `today`.

    Raises `SpoolError` when another collector is at work on such a day.
    """
    for folder in sorted(root.glob("????-??-??")):
        left = any(folder.glob("*.open")) or bool(_unended(_entries(folder)))
        if folder.name < today.isoformat() and left:
            bury(folder, recover(folder), Journal(folder / JOURNAL, session, clock), clock)


def told(sealed: Sealed) -> dict[str, Any]:
    """A segment as the journal tells it."""

    def at(microseconds: int | None) -> str | None:
        return None if microseconds is None else moment(microseconds).isoformat()

    return {
        "segment": sealed.name,
        "frames": sealed.frames,
        "heartbeats": sealed.heartbeats,
        "texts": sealed.texts,
        "first_received_at": at(sealed.first_received_at),
        "last_received_at": at(sealed.last_received_at),
        "bytes": sealed.bytes,
        "lost_bytes": sealed.lost_bytes,
    }


def _entries(folder: Path) -> list[Entry]:
    path = folder / JOURNAL
    return read_journal(path) if path.exists() else []


def _last(entries: Iterable[Entry], event: str) -> Mapping[str, Any] | None:
    return next((entry for entry in reversed([*entries]) if entry["event"] == event), None)


def _unended(entries: Iterable[Entry]) -> list[str]:
    """Sessions that began and never said that they ended, oldest first."""
    open_: dict[str, None] = {}
    for entry in entries:
        if entry["event"] == "session_started":
            open_[entry["session"]] = None
        elif entry["event"] == "session_ended":
            open_.pop(entry["session"], None)
    return list(open_)
