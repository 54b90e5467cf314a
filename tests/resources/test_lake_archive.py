"""The archive tier changes no row: not when it works, is killed, has a full disk or is wrong."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import signal
import subprocess
import sys
from datetime import date, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import polars as pl
import pytest

from optrade.tables import IST, TABLES
from resources import lake_files, lake_upkeep
from resources.lake import Lake, LakeError, LakeLocation, Slice
from resources.lake_archive import archive_day, archive_old
from resources.lake_slices import ParquetFormat, content_hash, is_archived, part_of

TICKS, OI = TABLES["raw.ticks"], TABLES["raw.participant_oi"]
D1, D2 = date(2026, 1, 1), date(2026, 1, 2)
STYLE = ParquetFormat(9, 1_000_000)
WHOLE = "SELECT count(*), sum(hash(*COLUMNS(*))::HUGEINT)::VARCHAR FROM raw.ticks"


def commit(lake: Lake, table, frame, **more):
    days = tuple(sorted(frame["trade_date"].unique()))
    return lake.commit([Slice(table, days, frame, **more)], author="test", provenance={})


def files(lake: Lake) -> list[str]:
    return [path for day in lake.live_files(TICKS).values() for path in day]


def archived(lake: Lake, style: ParquetFormat = STYLE):
    return list(archive_old(lake, style, D2, smallest_bytes=0))


@pytest.fixture
def ticks(rows):
    frame = rows(TICKS, [D1, D2], 300, 5)
    return frame.with_columns(sequence=pl.int_range(pl.len()).over("trade_date"))


@pytest.fixture
def held(lake, ticks) -> Lake:
    """Two days, of which the older lies in two parts."""
    commit(lake, TICKS, ticks.filter(trade_date=D2))
    first = ticks.filter(trade_date=D1).with_row_index()
    for name in ("091500-a", "091600-a"):
        half = first.filter((pl.col("index") < 150) == (name == "091500-a")).drop("index")
        half = half.with_columns(segment=pl.lit(name))
        commit(lake, TICKS, half, parts=(name,))
    return lake


@pytest.mark.parametrize("style", [STYLE, ParquetFormat(5, 2_000, "brotli")])
def test_the_same_rows_now_and_then_and_a_second_run_does_nothing(held, style):
    before, moment = held.sql(WHOLE).rows(), datetime.now(ZoneInfo(IST))
    old = set(held.location.data.rglob("*.parquet"))
    (done,) = archived(held, style)
    assert (done.table, done.day, done.files_before, done.rows) == ("raw.ticks", D1, 2, 300)
    assert done.refusal is None
    assert held.sql(WHOLE).rows() == before
    (path,) = held.live_files(TICKS)[D1]
    assert is_archived(path)
    assert part_of(path) is None
    assert done.bytes_after == Path(path).stat().st_size
    assert not any(map(is_archived, held.live_files(TICKS)[D2]))
    assert old < set(held.location.data.rglob("*.parquet"))
    with Lake.open(held.location, as_known_at=moment) as then:
        assert then.sql(WHOLE).rows() == before
        assert len(then.live_files(TICKS)[D1]) == 2
    assert archived(held, style) == []
    assert archive_day(held, TICKS, D1, style) is None
    assert archive_day(held, TICKS, date(2020, 1, 1), style) is None


def test_its_name_tells_its_bytes_and_the_rows_it_was_written_from(held):
    archived(held)
    (path,) = held.live_files(TICKS)[D1]
    own = re.search(r"\.([0-9a-f]{32})\.parquet$", path)
    assert own is not None
    assert hashlib.sha256(Path(path).read_bytes()).hexdigest().startswith(own[1])
    rows = lake_upkeep.encode(TICKS, D1, held.read(TICKS, [D1]), held.style)
    assert content_hash(path) == rows.sha256[:32]


def test_running_an_archived_date_again_changes_nothing(lake, rows):
    frame = rows(OI, [D1])
    commit(lake, OI, frame)
    archived(lake)
    assert is_archived(lake.live_files(OI)[D1][0])
    assert not commit(lake, OI, frame).changed


def test_a_day_that_grew_is_archived_again(held, ticks):
    archived(held)
    late = ticks.filter(trade_date=D1).head(3).with_columns(segment=pl.lit("091700-b"))
    commit(held, TICKS, late, parts=("091700-b",))
    before = held.sql(WHOLE).rows()
    (done,) = archived(held)
    assert (done.files_before, done.rows) == (2, 303)
    assert held.sql(WHOLE).rows() == before


def test_a_large_day_is_a_file_an_underlying(held, ticks):
    mixed = ticks.filter(trade_date=D1).with_columns(
        segment=pl.lit("x"),
        underlying=pl.when(pl.col("sequence") % 2 == 0).then(pl.lit("NIFTY")),
    )
    commit(held, TICKS, mixed)
    before = held.sql(WHOLE).rows()
    done = archive_day(held, TICKS, D1, STYLE, most_rows=100)
    assert done is not None
    assert held.sql(WHOLE).rows() == before
    assert {part_of(path) for path in held.live_files(TICKS)[D1]} == {"NIFTY", "other"}
    assert archived(held) == []


def test_small_and_young_days_are_left_alone(held):
    assert list(archive_old(held, STYLE, D2)) == []
    assert list(archive_old(held, STYLE, D1, smallest_bytes=0)) == []


def test_a_file_that_holds_other_rows_is_not_swapped_in(held, monkeypatch):
    before, old, there = held.sql(WHOLE).rows(), files(held), set(held.location.data.rglob("*"))
    real = lake_upkeep.encode

    def loses_a_row(table, day, frame, style, part=None):
        return real(table, day, frame.head(7) if style == STYLE else frame, style, part)

    monkeypatch.setattr(lake_upkeep, "encode", loses_a_row)
    (done,) = archived(held)
    assert "archive raw.ticks 2026-01-01: found rows with hash" in str(done.refusal)
    assert held.sql(WHOLE).rows() == before
    assert files(held) == old
    assert set(held.location.data.rglob("*")) == there


def test_a_full_disk_leaves_the_old_files(held, monkeypatch):
    before, old = held.sql(WHOLE).rows(), files(held)

    def full(_handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(lake_files.os, "fsync", full)
    with pytest.raises(LakeError, match=r"No space left.*The old rows stand.*free some space"):
        archive_day(held, TICKS, D1, STYLE)
    (done,) = archived(held)
    assert "No space left" in str(done.refusal)
    monkeypatch.undo()
    assert (held.sql(WHOLE).rows(), files(held)) == (before, old)
    assert not list(held.location.data.rglob("*.part"))
    assert archived(held)[0].refusal is None


def child(root: str) -> None:
    """Archive, and be killed once the new files are written and swapped in, before the commit."""
    real = Lake.publish

    def dies(self, *given, verify, **named):
        def killed():
            verify()
            os.kill(os.getpid(), signal.SIGKILL)

        real(self, *given, verify=killed, **named)

    Lake.publish = dies  # type: ignore[method-assign]
    with Lake.open(LakeLocation(Path(root), "simulated")) as lake:
        archive_day(lake, TICKS, D1, STYLE)


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
def test_killed_in_mid_archive_leaves_the_old_whole(location, rows):
    with Lake.open(location) as lake:
        commit(lake, TICKS, rows(TICKS, [D1], 1, 3))
        before, old = lake.sql(WHOLE).rows(), files(lake)
    done = subprocess.run([sys.executable, __file__, str(location.root)], check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL
    with Lake.open(location) as lake:
        assert (lake.sql(WHOLE).rows(), files(lake)) == (before, old)
        assert len(list((location.data / "raw").rglob("*.parquet"))) == 2  # the orphan, harmless
        assert len(archived(lake)) == 1
        assert lake.sql(WHOLE).rows() == before


if __name__ == "__main__":
    child(sys.argv[1])
