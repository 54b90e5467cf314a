"""Healing: which incidents are due for which attempt, and what it is tried with.

Belongs here: choosing and grouping attempts, pure. Does not belong here: running them (see
`optrade_dagster.heal_sensor`), judging whether they helped (see `incidents`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final

import polars as pl

from optrade.quality.incidents import MOST_ATTEMPTS

WAITS: Final = (timedelta(minutes=1), timedelta(minutes=10), timedelta(hours=1))
"""How long after an incident's beginning, or the attempt before, each attempt is made."""
_LIVE: Final = ("raw.ticks", "raw.tick_segments", "raw.instruments", "raw.candles")


@dataclass(frozen=True)
class Due:
    """One attempt for all incidents of a day that the same run may heal."""

    day: date
    action: str
    lane: str
    """`close` or `minute`: which lane makes the tables anew."""
    attempt: int
    incidents: tuple[str, ...]

    @property
    def name(self) -> str:
        """What tells attempts on different things apart, whatever their number."""
        return f"{self.day} {self.action} {self.lane}"


def lane_of(table: str) -> str:
    """The lane that makes a table."""
    live = table in _LIVE or table.endswith("_minute") or table.startswith("quality.")
    return "minute" if live else "close"


def due(incidents: pl.DataFrame, recoveries: pl.DataFrame, now: datetime) -> list[Due]:
    """The attempts that are due, oldest day first.

    - `incidents`: rows of `quality.incidents`; only automatic ones that are open count
    - `recoveries`: rows of `quality.recoveries` of the same dates

    What belongs to one day, action and lane is tried by one run; its number is that of the
    incident tried least. Never more than `MOST_ATTEMPTS` of each incident. A hole that is still
    open (its length is not known) is not filled yet.
    """
    last = recoveries.group_by("incident_id").agg(pl.col("ended_at").max())
    waiting = incidents.filter(
        pl.col("status") == "open",
        pl.col("handling") == "automatic",
        pl.col("attempts") < MOST_ATTEMPTS,
        (pl.col("action") != "candles") | pl.col("found_before").is_not_null(),
    ).join(last, on="incident_id", how="left")
    groups: dict[tuple[date, str, str], list[tuple[int, str]]] = {}
    for row in waiting.iter_rows(named=True):
        since = row["ended_at"] or row["opened_at"]
        if now >= since + WAITS[row["attempts"]]:
            at = (row["trade_date"], row["action"], lane_of(row["table_name"]))
            groups.setdefault(at, []).append((row["attempts"], row["incident_id"]))
    return [
        Due(*at, attempt=min(n for n, _ in found) + 1, incidents=tuple(sorted(i for _, i in found)))
        for at, found in sorted(groups.items())
    ]


def source_of(attempt: int, sources: Sequence[str]) -> str:
    """Where the attempt asks for the data: each of the ranked sources in turn."""
    return sources[(attempt - 1) % len(sources)]
