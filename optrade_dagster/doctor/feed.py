"""Probes of the live feed and of what was found in the data: session, spool, incidents.

Belongs here: whether the market is being heard, and what checks said of it. Does not belong here:
the lake as storage (see `storage`), Dagster (see `running`).
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Final

import polars as pl

from optrade.calendar import CalendarError
from optrade.tables.quality import INCIDENTS
from optrade.tables.raw_live import TICK_SEGMENTS
from optrade_dagster.doctor.probe import Probe, Seen, Sight, amount, bad, ok, since, warning
from optrade_dagster.doctor.storage import NO_LAKE
from optrade_dagster.supervisor import answers
from resources.journal import read_journal
from resources.kite.access import broker_settings
from resources.kite.errors import SessionUnreadable
from resources.kite.session import TokenStore, renewal_due
from resources.looking import birth, look_into, stored_rows
from resources.processes import LOCKS, lock_holder
from resources.recordings import heard_until
from resources.spool_segments import sealed_segments

JOURNAL: Final = "journal.jsonl"
RECENT_DAYS: Final = 10
SEALS_MISSED: Final = 3
"""So many seals without a segment are more than an unlucky moment."""


def _session(sight: Sight) -> Iterator[Seen]:
    settings, clock = sight.settings, sight.clock
    if settings.market == "simulated":
        yield ok("the simulated broker is logged in to by itself")
        return
    if not settings.kite.api_key:
        yield ok("not set up: no OPTRADE_KITE__API_KEY, so nothing is collected live")
        return
    try:
        session = TokenStore(settings.market_home).load()
    except SessionUnreadable as error:
        yield bad(error.found, "session_file")
        return
    if session is None:
        yield warning("nobody has logged in yet")
    elif session.api_key != broker_settings(settings).api_key:
        yield bad("it is of another Kite Connect app than OPTRADE_KITE__API_KEY", "session_file")
    elif session.expires_at <= clock.now():
        yield bad(f"{session.user_id}: ended at {session.expires_at:%Y-%m-%d %H:%M}")
    elif (opens := _opens(sight)) and renewal_due(session, opens, clock):
        yield warning(f"{session.user_id}: ends before the session of {opens:%Y-%m-%d %H:%M}")
    else:
        yield ok(f"{session.user_id}: until {session.expires_at:%Y-%m-%d %H:%M}")


def _opens(sight: Sight) -> datetime | None:
    """When today's session opens; None on other days."""
    hours = _hours(sight)
    return hours[0] if hours else None


def _hours(sight: Sight) -> tuple[datetime, datetime] | None:
    """Open and close of today's session; None on other days, and where they are not known."""
    today = sight.clock.now().date()
    try:
        session = sight.calendar.session(today)
    except CalendarError:  # The probe of the calendar tells of a day beyond it.
        return None
    return (session.open, session.close) if session.open and session.close else None


def _days(sight: Sight) -> list[Path]:
    """The newest day folders of the spool, oldest first."""
    return sorted(sight.settings.spool_root.glob("????-??-??"))[-RECENT_DAYS:]


def _clock(sight: Sight) -> Iterator[Seen]:
    journals = [day / JOURNAL for day in _days(sight) if (day / JOURNAL).exists()]
    if not journals:
        yield ok("nothing collected yet")
        return
    told = [entry for entry in read_journal(journals[-1]) if entry["event"] == "clock_skew"]
    if told and told[-1]["skewed"]:
        yield warning(f"{journals[-1].parent.name}: {told[-1]['seconds']} s from the exchange's")
    else:
        yield ok(f"{journals[-1].parent.name}: no difference told")


def _spool(sight: Sight) -> Iterator[Seen]:
    settings = sight.settings
    hours, now = _hours(sight), sight.clock.now()
    live = bool(settings.kite.api_key)
    if settings.market == "simulated":
        live = settings.clock_file.exists() and answers(settings.simulator.port)()
    if not live:
        yield ok("nothing is to be collected")
        return
    if hours is None or not hours[0] <= now <= hours[1]:
        yield ok("no session just now")
        return
    seal = settings.spool.seal_seconds
    segments = sealed_segments(settings.spool_root / now.date().isoformat())
    heard = heard_until([path.name for path in segments], now.date(), seal) or hours[0]
    waited = (now - max(heard, hours[0])).total_seconds()
    told = f"{len(segments):,} segments today, none for {since(waited)}"
    yield (bad(told) if waited > SEALS_MISSED * seal else ok(f"{len(segments):,} segments today"))


def _leftovers(sight: Sight) -> Iterator[Seen]:
    today = sight.clock.now().date().isoformat()
    days = _days(sight)
    left = [path for day in days for path in day.glob("*.open") if not _in_use(day, today)]
    torn = [path for day in days for path in day.glob("*.torn")]
    if left or torn:
        size = amount(sum(path.stat().st_size for path in torn))
        first = (left or torn)[0]
        yield warning(
            f"{len(left)} segments left open, {len(torn)} torn tails of {size} within "
            f"{RECENT_DAYS} days, such as {first.parent.name}/{first.name}"
        )
    else:
        yield ok("none")


def _in_use(day: Path, today: str) -> bool:
    """Whether a collector writes in a day's folder, as far as this system tells."""
    lock = day / ".write.lock"
    return lock_holder(lock) is not None if LOCKS.exists() and lock.exists() else day.name == today


def _rows(sight: Sight, what: str) -> pl.DataFrame | None:
    """Rows of incidents or segments; None where there is no finished lake."""
    table, columns = {
        "incidents": (INCIDENTS, ("trade_date", "cause", "status")),
        "segments": (TICK_SEGMENTS, ("trade_date", "segment", "refusal")),
    }[what]
    location = sight.location
    if not location.exists():
        return None
    with look_into(location.catalog) as catalog:
        born = birth(catalog, location) is not None
        return stored_rows(catalog, location, table, columns) if born else None


def _segments(sight: Sight) -> Iterator[Seen]:
    rows = _rows(sight, "segments")
    refused = None if rows is None else rows.drop_nulls("refusal").sort("trade_date", "segment")
    if rows is None or refused is None:
        yield ok(NO_LAKE)
    elif refused.is_empty():
        yield ok(f"none of {rows.height:,}")
    else:
        day, name, why = refused.row(-1)
        yield bad(f"{refused.height:,} of {rows.height:,}, the last {day} {name}: {why}")


def _incidents(sight: Sight) -> Iterator[Seen]:
    rows = _rows(sight, "incidents")
    if rows is None:
        yield ok(NO_LAKE)
        return
    standing = rows.filter(pl.col("status") != "closed")
    if standing.is_empty():
        yield ok(f"none open, {rows.height:,} closed")
    by_cause = standing.group_by("cause").agg(
        count=pl.len(), oldest=pl.col("trade_date").min(), given_up=pl.col("status") == "escalated"
    )
    for cause, count, oldest, given_up in by_cause.sort("oldest", "cause").iter_rows():
        told = f"{cause}: {count} open, the oldest of {oldest}"
        if any(given_up):
            yield bad(f"{told}; {sum(given_up)} wait for a person", cause)
        else:
            yield warning(told, cause)


def _channels(sight: Sight) -> Iterator[Seen]:
    if given := sight.settings.notify.model_fields_set:
        yield ok(f"set: {', '.join(sorted(given))}")
    elif sight.settings.market == "simulated":
        yield ok("none set; a simulated market needs none")
    else:
        yield warning("none is set")


PROBES: Final = (
    Probe("kite session", "login", _session),
    Probe("clock", "clock", _clock),
    Probe("spool", "no_segments", _spool),
    Probe("left in the spool", "left_open", _leftovers),
    Probe("refused segments", "refused_segments", _segments),
    Probe("incidents", "incidents", _incidents),
    Probe("notifications", "notify", _channels),
)
