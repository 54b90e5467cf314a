"""Parts of a date: what of it is held, and what replacing some of them changes.

Belongs here: reading parts off the names of live files, and planning a commit of parts. Does not
belong here: the commit itself (see `lake`), names and checks of slices (see `lake_slices`).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from optrade.tables import IST, Table
from resources.lake_slices import (
    CATALOG,
    EncodedSlice,
    Plan,
    Slice,
    content_hash,
    part_of,
    same_content,
    slug,
)

if TYPE_CHECKING:  # `lake` stands above this module at run time.
    from resources.lake import Lake

_ZONE = ZoneInfo(IST)


def held_minutes(lake: Lake, table: Table, day: date) -> set[datetime]:
    """The minutes of which a table has rows on a day.

    Read off the names of its files; rows are looked at only where a file holds the whole day.
    """
    files = lake.live_files(table, [day]).get(day, [])
    slugs = [part_of(path) for path in files]
    if None in slugs:
        rows = lake.sql(
            f"SELECT DISTINCT {table.part} FROM {CATALOG}.{table.full_name} WHERE trade_date = ?",
            [day],
        )
        return set(rows.to_series())
    return {
        datetime.combine(day, datetime.strptime(name, "%H%M%S").time(), tzinfo=_ZONE)  # noqa: DTZ007
        for name in slugs
        if name
    }


def plan_of_parts(part: Slice, encoded: Sequence[EncodedSlice], live: Sequence[str]) -> Plan:
    """What replacing parts of a date changes, given the date's live files.

    A part is the same when one file of its own holds it with the same content and no file of the
    whole date, which may hold rows of it too, is there.
    """
    whole = [path for path in live if part_of(path) is None]
    held: dict[str, list[str]] = {}
    for path in live:
        held.setdefault(part_of(path) or "", []).append(path)
    same = {
        e.part
        for e in encoded
        if e.part is not None
        and not whole
        and len(files := held.get(slug(e.part), [])) == 1
        and same_content(files[0], e)
    }
    have = {e.part for e in encoded}
    asked = {slug(value) for value in part.parts or ()}
    return Plan(
        table=part.table,
        kept=[e for e in encoded if e.part in same],
        new=[e for e in encoded if e.part not in same],
        gone=[],
        dates=part.dates,
        parts=part.parts,
        emptied=[v for v in part.parts or () if v not in have and (whole or slug(v) in held)],
        others=[content_hash(path) for path in live if part_of(path) not in asked],
    )
