"""All holes of a recorded day: those its journal tells of, and segments that the disk lost.

Belongs here: holding the journal against the segments that are there. Does not belong here: what
the collector noticed itself (see `journal`), filling holes (see `assets.candles`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, Final

import polars as pl

from optrade.tables.quality import TICK_GAPS
from resources.journal import SEALED_EVENTS, Entry, tick_gaps
from resources.recordings import RecordedDay

HELD: Final = ("segment", "frames", "last_received_at")
"""The columns of `raw.tick_segments` that the journal is held against."""
_CAUSE: Final = "segment_lost"


def day_gaps(recorded: RecordedDay, held: pl.DataFrame, source: str) -> pl.DataFrame:
    """The holes of a day in the shape of `quality.tick_gaps`, by name.

    `held`: rows of `raw.tick_segments` of the day, at least `HELD`. A segment of the journal that
    is neither on the disk nor held is a hole from its first frame to its last; one of which fewer
    frames are held than were sealed, from the last one held.
    """
    journal = recorded.journal()
    told = tick_gaps(journal, recorded.day, source)
    shared = {"trade_date": recorded.day, "source": source}
    lost = [shared | row for row in _lost(journal, set(recorded.sealed()), held)]
    return pl.concat([told, pl.DataFrame(lost, dict(TICK_GAPS.schema))]).sort("gap")


def _lost(
    journal: Sequence[Entry], on_disk: set[str], held: pl.DataFrame
) -> Iterator[dict[str, Any]]:
    known = {row["segment"]: row for row in held.select(HELD).iter_rows(named=True)}
    chosen = [entry["instruments"] for entry in journal if entry["event"] == "subscribed"]
    for entry in journal:
        name, row = entry.get("segment", ""), known.get(entry.get("segment", ""))
        if entry["event"] not in SEALED_EVENTS or not entry["frames"]:
            continue
        if row is None and name in on_disk:
            continue  # The next run reads it.
        if row is not None and row["frames"] >= entry["frames"]:
            continue
        first, last = (
            datetime.fromisoformat(entry[f"{which}_received_at"]) for which in ("first", "last")
        )
        start = (row and row["last_received_at"]) or first
        frames = row["frames"] if row else 0
        yield {
            "gap": f"{name}-lost",
            "started_at": min(start, last),
            "ended_at": last,
            "cause": _CAUSE,
            "instruments": chosen[-1] if chosen else 0,
            "session": name.split("-", 1)[1],
            "detail": f"{frames} of {entry['frames']} frames of the sealed segment are left",
        }
