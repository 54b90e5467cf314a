"""The archive tier of the lake: old days in the fewest bytes, behind the same tables.

Belongs here: which days are old and large enough, and rewriting them. Does not belong here: the
rewriting's proof (see `lake_upkeep.rewrite`), the spool's segments (see `spool_archive`), when
it is done.

An archived file holds the same rows under the same content hash, so that running its day again
changes nothing. Earlier snapshots keep the files they know: nothing is ever removed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date

from optrade.tables import TABLES, Table
from resources.lake import Lake
from resources.lake_slices import CATALOG, LakeError, ParquetFormat, day_of, is_archived
from resources.lake_upkeep import MOST_ROWS, pieces_of, rewrite

SMALLEST_BYTES = 1 << 20
"""Days of a table that take less are left alone: a rewrite gains a few disk blocks."""


@dataclass(frozen=True)
class ArchivedDay:
    """What archiving one day of one table did: files, bytes and rows; or why it could not."""

    table: str
    day: date
    bytes_before: int
    bytes_after: int
    files_before: int
    rows: int = 0
    sha256: str | None = None
    refusal: str | None = None


def archive_day(
    lake: Lake, table: Table, day: date, style: ParquetFormat, *, most_rows: int = MOST_ROWS
) -> ArchivedDay | None:
    """Rewrite a day's slice as an archive file, sorted, in one commit; None when it is one already.

    A day of more than `most_rows` rows becomes one file an underlying. Before it commits, the
    rows are read back from the new files and compared by hash with those of the old ones.
    Raises `LakeError` when they differ or the disk refuses: the old files then stand.
    """
    with lake.writer_lock(), lake.cursor() as cursor:
        files = lake.live_files(table, [day], cursor=cursor).get(day, [])
        if all(map(is_archived, files)):  # Also where there are none.
            return None
        before = _live_bytes(lake, table)[day]
        pieces = pieces_of(cursor, table, day, most_rows)
        new, sha256 = rewrite(lake, cursor, table, day, pieces, "archive", len(files), style)
        after, rows = sum(len(e.content) for e in new), sum(e.rows for e in new)
        return ArchivedDay(table.full_name, day, before, after, len(files), rows, sha256)


def archive_old(
    lake: Lake, style: ParquetFormat, before: date, *, smallest_bytes: int = SMALLEST_BYTES
) -> Iterator[ArchivedDay]:
    """Archive every table's days before a date, each in a commit of its own, ticks first.

    A day that can't be is told with its `refusal`; the others go on.
    """
    for table in sorted(TABLES.values(), key=lambda table: not table.compact):
        sizes = _live_bytes(lake, table)
        for day, files in sorted(lake.live_files(table).items()):
            if day >= before or all(map(is_archived, files)) or sizes[day] < smallest_bytes:
                continue
            try:
                done = archive_day(lake, table, day, style)
            except LakeError as error:
                size = sizes[day]
                done = ArchivedDay(table.full_name, day, size, size, len(files), refusal=str(error))
            if done is not None:
                yield done


def _live_bytes(lake: Lake, table: Table) -> dict[date, int]:
    """Bytes of the files that hold each day's rows now."""
    query = (
        "SELECT data_file, data_file_size_bytes + coalesce(delete_file_size_bytes, 0) "
        f"FROM ducklake_list_files('{CATALOG}', ?, schema => ?)"
    )
    sizes: dict[date, int] = {}
    for path, size in lake.sql(query, [table.name, table.group]).iter_rows():
        sizes[day_of(path)] = sizes.get(day_of(path), 0) + size
    return sizes
