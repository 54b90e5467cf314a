"""The raw files of a chain: the exchange's kept files, the spool's segments, the broker's dump.

Belongs here: which files rows come from, where they lie, and whether they are still what was
fetched. Does not belong here: parsing them (see `recompute`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path

from optrade.explanation import RawFile
from optrade.tables import Table
from optrade.tables.candles import CANDLES
from optrade.tables.quality import TICK_GAPS
from optrade.tables.raw import FILE_KINDS, SOURCE_FILES
from optrade.tables.raw_live import INSTRUMENTS, TICK_SEGMENTS, TICKS
from optrade_dagster.lineage import KINDS, Lineage
from resources.lake import Lake
from resources.lake_history import source
from resources.lake_slices import on_dates
from resources.recordings import INSTRUMENTS as DUMP
from resources.recordings import JOURNAL, SUBSCRIPTION
from resources.settings import Settings

_MOMENT = "coalesce(exchange_at, received_at)"
_MINUTE = timedelta(minutes=1)


_BESIDE: Mapping[str, str] = {
    INSTRUMENTS.full_name: DUMP,
    TICKS.full_name: SUBSCRIPTION,
    TICK_GAPS.full_name: JOURNAL,
}
"""The file of a day's folder that a table is read from, beside segments."""


@dataclass(frozen=True)
class RawBytes:
    """The raw files of one market."""

    settings: Settings
    lake: Lake
    lineage: Lineage

    def of_rows(
        self, table: Table, day: date, snapshot: int, where: str, kind: str | None
    ) -> tuple[RawFile, ...]:
        """The files that rows of a table on a day were read from themselves, if from files.

        `where` (SQL) narrows the rows, `kind` the answers of the archive.
        """
        if table is SOURCE_FILES:
            return self.kept((kind,) if kind else FILE_KINDS, [day], snapshot)
        if table.full_name in KINDS:
            return self.kept(KINDS[table.full_name], [day], snapshot)
        if table is TICK_SEGMENTS:
            return self._segments(day, snapshot, where)
        if table is CANDLES:
            return self._answers(day, snapshot, where)
        if table.full_name not in _BESIDE:
            return ()
        file = self.settings.spool_root / day.isoformat() / _BESIDE[table.full_name]
        if not file.exists() and table is not INSTRUMENTS:
            return ()
        sha256 = self._dump_sha256(day, snapshot) if table is INSTRUMENTS else None
        stored_as = file.relative_to(self.settings.market_home).as_posix()
        return (RawFile(day, file.stem, file.name, sha256, None, stored_as, "market"),)

    def kept(
        self, kinds: Collection[str], dates: Collection[date], snapshot: int
    ) -> tuple[RawFile, ...]:
        """The exchange's files held for those dates as of a snapshot."""
        listed = ", ".join(f"'{kind}'" for kind in kinds)
        found = self.lake.sql(
            "SELECT trade_date, kind, url, sha256, bytes, fetched_at, stored_as "
            f"FROM {source(SOURCE_FILES, snapshot)} WHERE {on_dates(dates)} "
            f"AND kind IN ({listed}) AND stored_as IS NOT NULL ORDER BY trade_date, kind"
        )
        return tuple(
            RawFile(name=row["url"].rsplit("/", 1)[-1], home="lake", **row)
            for row in found.iter_rows(named=True)
        )

    def _segments(self, day: date, snapshot: int, where: str) -> tuple[RawFile, ...]:
        found = self.lake.sql(
            "SELECT trade_date, segment AS name, source_sha256 AS sha256, bytes, stored_as, "
            f"last_received_at AS fetched_at FROM {source(TICK_SEGMENTS, snapshot)} "
            f"WHERE {on_dates([day])} AND ({where}) ORDER BY segment"
        )
        return tuple(
            RawFile(kind="tick_segment", home="market", **row)
            for row in found.iter_rows(named=True)
        )

    def _answers(self, day: date, snapshot: int, where: str) -> tuple[RawFile, ...]:
        found = self.lake.sql(
            "SELECT DISTINCT trade_date, stored_as, source_sha256 AS sha256, request AS url, "
            f"fetched_at FROM {source(CANDLES, snapshot)} WHERE {on_dates([day])} AND ({where}) "
            "ORDER BY stored_as"
        )
        return tuple(
            RawFile(
                kind="candles", name=Path(row["stored_as"]).name, bytes=None, home="lake", **row
            )
            for row in found.iter_rows(named=True)
        )

    def _dump_sha256(self, day: date, snapshot: int) -> str:
        found = self.lake.sql(
            f"SELECT DISTINCT source_sha256 FROM {source(INSTRUMENTS, snapshot)} "
            f"WHERE {on_dates([day])}"
        )
        return str(found.item())


def of_minute(lake: Lake, table: Table, minute: datetime, snapshot: int) -> str:
    """The SQL condition of a minute's ticks, or of the segments they came in."""
    until = minute + _MINUTE
    inside = f"{_MOMENT} >= TIMESTAMPTZ '{minute}' AND {_MOMENT} < TIMESTAMPTZ '{until}'"
    if table is TICKS:
        return inside
    found = lake.sql(
        f"SELECT DISTINCT segment FROM {source(TICKS, snapshot)} "
        f"WHERE {on_dates([minute.date()])} AND {inside} ORDER BY segment"
    )
    return f"segment IN ({', '.join(repr(name) for name in found['segment']) or 'NULL'})"


def path_of(settings: Settings, file: RawFile) -> Path:
    """Where a raw file lies."""
    return (settings.lake_root if file.home == "lake" else settings.market_home) / file.stored_as


def damage(settings: Settings, file: RawFile) -> str | None:
    """What is wrong with a raw file's bytes; None where they are those that came."""
    path = path_of(settings, file)
    if not path.exists():
        return f"{path}: found no such file; expected the kept one. Restore it from a backup."
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if file.sha256 is None or found == file.sha256:
        return None
    return (
        f"{path}: found SHA-256 {found}; expected {file.sha256} as when it came. The file changed "
        "on disk: restore it from a backup."
    )
