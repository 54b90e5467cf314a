"""Upkeep changes no row: compaction, orphans, and what both refuse."""

from __future__ import annotations

import os
import time
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import polars as pl
import pytest

from optrade.tables import IST, TABLES
from resources import lake_upkeep
from resources.lake import Lake, LakeError, Slice
from resources.lake_files import keep_raw
from resources.lake_upkeep import compact, compact_all, remove_orphans

OI, CLOSES = TABLES["raw.participant_oi"], TABLES["raw.index_close"]
D1, D2 = date(2026, 1, 1), date(2026, 1, 2)
DAY = timedelta(days=1)


def commit(lake: Lake, table, frame) -> None:
    days = tuple(sorted(frame["trade_date"].unique()))
    lake.commit([Slice(table, days, frame)], author="test", provenance={})


def scatter(lake: Lake, table, frame) -> None:
    """Put rows beside those there, as several files and with a file of deletions."""
    names = ", ".join(f'"{name}"' for name in table.schema)
    with lake.cursor() as cursor:
        cursor.register("extra", frame.to_arrow())
        for part in ("< 2", ">= 2"):
            cursor.execute(
                f"INSERT INTO {table.full_name} ({names}) SELECT {names} FROM extra "
                f"WHERE right({table.key[-1]}, 1)::INT {part}"
            )
        cursor.execute(f"DELETE FROM {table.full_name} WHERE right({table.key[-1]}, 1) = '0'")


def age(path, days: float) -> None:
    then = time.time() - days * 86_400
    os.utime(path, (then, then))


@pytest.fixture
def scattered(lake, rows) -> Lake:
    commit(lake, OI, rows(OI, [D1, D2], 3, 1))
    extra = rows(OI, [D1], 5, 2).with_columns(participant=pl.lit("another"))
    scatter(lake, OI, extra)
    return lake


def test_compaction_makes_one_sorted_file_of_the_same_rows(scattered):
    lake = scattered
    before, other = lake.read(OI, [D1]), lake.read(OI, [D2])
    assert before.height == 6
    moment = datetime.now(ZoneInfo(IST))
    done = compact(lake, OI, D1)
    assert (done.changed, done.files_after, done.rows) == (True, 1, 6)
    assert done.files_before == 5  # three files of rows, two of them with deletions
    assert len(lake.live_files(OI)[D1]) == 1
    assert lake.read(OI, [D1]).equals(before)
    assert lake.read(OI, [D2]).equals(other)
    told = lake.sql("SELECT * FROM ducklake_snapshots('lake') ORDER BY snapshot_id").row(
        -1, named=True
    )
    assert told["commit_message"] == "compact raw.participant_oi 2026-01-01"
    assert str(done.sha256) in told["commit_extra_info"]
    with Lake.open(lake.location, as_known_at=moment) as then:
        assert len(then.live_files(OI)[D1]) == 5
        assert then.read(OI, [D1]).equals(before)
    assert not compact(lake, OI, D1).changed
    assert not compact(lake, OI, date(2020, 1, 1)).changed


def test_a_compacted_day_is_known_by_its_content(scattered):
    compact(scattered, OI, D1)
    frame = scattered.read(OI, [D1])
    again = scattered.commit([Slice(OI, (D1,), frame)], author="t", provenance={})
    assert not again.changed


def test_compact_all_takes_every_scattered_day_and_only_those(scattered, rows):
    commit(scattered, CLOSES, rows(CLOSES, [D1], 3, 1))
    assert {(d.table, d.day) for d in compact_all(scattered)} == {
        ("raw.participant_oi", D1),
        ("raw.participant_oi", D2),  # its file had a deletion beside it
    }
    assert compact_all(scattered) == []


def test_compaction_that_would_change_a_row_is_stopped(scattered, monkeypatch):
    lake = scattered
    before, files = lake.read(OI, [D1]), set(lake.location.data.rglob("*"))
    real = lake_upkeep.encode
    calls = []

    def loses_a_row(table, day, frame, style, part=None):
        calls.append(day)
        return real(table, day, frame.head(2) if len(calls) == 2 else frame, style)

    monkeypatch.setattr(lake_upkeep, "encode", loses_a_row)
    with pytest.raises(LakeError, match=r"found rows with hash .*Nothing was changed"):
        compact(lake, OI, D1)
    monkeypatch.undo()
    assert lake.read(OI, [D1]).equals(before)
    assert set(lake.location.data.rglob("*")) == files
    assert compact(lake, OI, D1).changed


def test_orphans_are_removed_and_nothing_that_any_snapshot_knows(scattered, location, rows):
    lake = scattered
    moment = datetime.now(ZoneInfo(IST))
    before = lake.read(OI, [D1])
    compact_all(lake)
    commit(lake, OI, rows(OI, [D1], 3, 9))
    keep_raw(location.root, "fo_bhavcopy", D1, "f.csv", b"kept")
    folder = location.data / "raw" / "participant_oi" / "trade_date=2026-01-01"
    old, part, young = (folder / n for n in ("ab-cd.parquet", ".x.parquet.1.part", "ef-01.parquet"))
    for path in (old, part, young):
        path.write_bytes(b"12345")
    for path in location.root.rglob("*"):
        if path != young and path.is_file():
            age(path, 3)
    everything = {path for path in location.root.rglob("*") if path.is_file()}
    looked = remove_orphans(lake, older_than=2 * DAY, dry_run=True)
    assert looked.files == (part, old)
    assert (looked.bytes, looked.removed, looked.kept_younger) == (10, False, 1)
    assert {path for path in location.root.rglob("*") if path.is_file()} == everything
    done = remove_orphans(lake, older_than=2 * DAY)
    assert (done.files, done.removed) == ((part, old), True)
    now_there = {path for path in location.root.rglob("*") if path.is_file()}
    assert {p for p in everything - now_there if "catalog" not in p.name} == {old, part}
    with Lake.open(location, as_known_at=moment) as then:
        assert then.read(OI, [D1]).equals(before)
    assert remove_orphans(lake).files == ()


def test_dropped_tables_keep_their_files_while_snapshots_know_them(scattered):
    with scattered.cursor() as cursor:
        cursor.execute("DROP TABLE raw.participant_oi")
    for path in scattered.location.data.rglob("*.parquet"):
        age(path, 9)
    assert remove_orphans(scattered).files == ()


def test_younger_than_a_day_is_refused(lake):
    with pytest.raises(LakeError, match="expected at least 1 day"):
        remove_orphans(lake, older_than=timedelta(hours=23))


def test_nothing_is_removed_when_known_files_are_missing(scattered):
    lake = scattered
    stray = lake.location.data / "stray.parquet"
    stray.write_bytes(b"x")
    age(stray, 5)
    next(lake.location.data.rglob("*-*.parquet")).unlink()
    with pytest.raises(LakeError, match=r"references 1 files that are not there.*Nothing was rem"):
        remove_orphans(lake)
    assert stray.exists()


def test_upkeep_waits_for_the_writer(location, rows):
    with Lake.open(location) as writer, Lake.open(location, lock_timeout_seconds=0.2) as other:
        commit(writer, OI, rows(OI, [D1]))
        with writer.writer_lock():
            for work in (lambda: compact(other, OI, D1), lambda: remove_orphans(other)):
                with pytest.raises(LakeError, match="Another writer held"):
                    work()
