"""Opening a lake: birth, market, moved folders, older and newer tables, time travel."""

from __future__ import annotations

import shutil
import sqlite3
import time
from dataclasses import replace
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import polars as pl
import pytest

from optrade.tables import IST, TABLES
from optrade.tables.common import real
from resources import lake as lake_module
from resources.lake import Lake, LakeError, LakeLocation, Slice

OI, CLOSES = TABLES["raw.participant_oi"], TABLES["raw.index_close"]
D1, D2 = date(2026, 1, 1), date(2026, 1, 2)
NEW = real("fresh", "A column declared later", "rupees")


def commit(lake: Lake, table, frame: pl.DataFrame):
    days = tuple(sorted(frame["trade_date"].unique()))
    return lake.commit([Slice(table, days, frame)], author="test", provenance={})


def now() -> datetime:
    time.sleep(0.01)
    moment = datetime.now(ZoneInfo(IST))
    time.sleep(0.01)
    return moment


def declare(monkeypatch, *tables) -> None:
    monkeypatch.setattr(lake_module, "TABLES", {t.full_name: t for t in tables})


def test_reading_where_there_is_none_says_how_to_fill_one(location):
    with (
        pytest.raises(LakeError, match=r"no simulated lake at .*optrade demo"),
        Lake.open(location, read_only=True),
    ):
        pass
    assert not location.root.exists()


def test_a_new_lake_has_every_table_and_its_birth_mark(lake, location):
    for table in TABLES.values():
        assert lake.read(table, [D1]).schema == pl.Schema(table.schema)
    born = lake.sql("SELECT market, layout, born_at < now() AS past FROM optrade.birth")
    assert born.rows() == [("simulated", 1, True)]


@pytest.mark.parametrize("read_only", [True, False])
def test_the_other_market_is_refused_before_anything_is_touched(location, monkeypatch, read_only):
    declare(monkeypatch, OI)
    with Lake.open(location):
        pass
    declare(monkeypatch, OI, CLOSES)
    other = replace(location, market="real")
    with (
        pytest.raises(LakeError, match=r"was born simulated; asked for real.*OPTRADE_MARKET"),
        Lake.open(other, read_only=read_only),
    ):
        pass
    with Lake.open(location, read_only=True) as lake:
        assert "index_close" not in lake.sql("SHOW ALL TABLES")["name"].to_list()


@pytest.mark.parametrize("kind", ["empty", "other", "garbage"])
def test_a_catalog_that_is_not_one_is_explained(location, kind):
    location.root.mkdir()
    if kind == "other":
        with sqlite3.connect(location.catalog) as other:
            other.execute("CREATE TABLE x(a)")
        other.close()
    else:
        location.catalog.write_bytes(b"" if kind == "empty" else b"garbage " * 1000)
    expected = "cannot be opened" if kind == "garbage" else "begun but never finished"
    with pytest.raises(LakeError, match=expected), Lake.open(location, read_only=True):
        pass
    if kind == "garbage":
        with pytest.raises(LakeError, match="restore them from a backup"), Lake.open(location):
            pass
        return
    with Lake.open(location) as lake:
        assert lake.read(OI, [D1]).is_empty()


def test_a_lake_may_be_moved_whole(location, rows, tmp_path):
    with Lake.open(location) as lake:
        commit(lake, OI, rows(OI, [D1]))
    moved = LakeLocation(tmp_path / "some where's else", "simulated")
    shutil.move(location.root, moved.root)
    with Lake.open(moved, read_only=True) as lake:
        assert lake.read(OI, [D1]).height == 4
    with Lake.open(moved) as lake:
        commit(lake, OI, rows(OI, [D1, D2], 2, 5))
        assert lake.read(OI, [D1, D2]).height == 4
    assert not location.root.exists()


def test_a_relative_root_is_the_same_lake(location, rows, monkeypatch):
    with Lake.open(location) as lake:
        commit(lake, OI, rows(OI, [D1]))
    monkeypatch.chdir(location.root.parent)
    with Lake.open(
        LakeLocation(location.root.relative_to(location.root.parent), "simulated")
    ) as it:
        assert it.read(OI, [D1]).height == 4


def test_a_folder_that_reads_as_a_pattern_is_refused(tmp_path):
    with pytest.raises(LakeError, match=r"found \[ \] in its path"):
        LakeLocation(tmp_path / "a[1]", "simulated")


def test_a_new_nullable_column_is_null_in_older_rows(location, rows, monkeypatch):
    wider = replace(OI, columns=(*OI.columns[:3], NEW, *OI.columns[3:]))
    declare(monkeypatch, OI)
    with Lake.open(location) as lake:
        commit(lake, OI, rows(OI, [D1, D2], 4, 1))
        before = now()
    declare(monkeypatch, wider)
    with Lake.open(location, read_only=True) as lake:  # nobody has widened the table yet
        older = lake.read(wider, [D1], where="fresh IS NULL AND segment <> '{}'")
        assert older.schema == pl.Schema(wider.schema)
        assert older["fresh"].null_count() == 4
    with Lake.open(location) as lake:
        filled = rows(wider, [D2], 3, 2)
        commit(lake, wider, filled)
        read = lake.read(wider, [D1, D2])
        assert read.filter(trade_date=D1)["fresh"].to_list() == [None] * 4
        assert read.filter(trade_date=D2).equals(filled)
    with Lake.open(location) as lake:  # opening again changes nothing
        assert lake.read(wider, [D1, D2]).equals(read)
    with Lake.open(location, as_known_at=before) as lake:
        assert lake.read(wider, [D2])["fresh"].null_count() == 4


@pytest.mark.parametrize(
    ("columns", "found"),
    [
        ((*OI.columns, replace(NEW, nullable=False)), "lacks the column fresh"),
        (OI.columns[:-1], "has a column source_sha256 that is not declared"),
        (
            tuple(
                replace(c, dtype=pl.Float64()) if c.dtype == pl.Int64() else c for c in OI.columns
            ),
            "has long_contracts as BIGINT, expected DOUBLE.*; raw.participant_oi has short_contr",
        ),
    ],
)
def test_other_columns_than_declared_are_named_and_refused(
    location, rows, monkeypatch, columns, found
):
    declare(monkeypatch, OI)
    with Lake.open(location) as lake:
        commit(lake, OI, rows(OI, [D1], 4, 1))
    declare(monkeypatch, replace(OI, columns=columns), CLOSES)
    with pytest.raises(LakeError, match=f"{found}.*backfill a new lake"), Lake.open(location):
        pass
    declare(monkeypatch, OI)
    with Lake.open(location) as lake:
        assert lake.read(OI, [D1]).height == 4
        tables = lake.sql("SHOW ALL TABLES")["name"].to_list()
        assert "index_close" not in tables  # the refused opening made nothing


def test_reading_a_column_that_must_not_be_null_but_is_missing_is_refused(location, monkeypatch):
    declare(monkeypatch, OI)
    with Lake.open(location):
        pass
    strict = replace(OI, columns=(*OI.columns, replace(NEW, nullable=False)))
    with (
        Lake.open(location, read_only=True) as lake,
        pytest.raises(LakeError, match="lacks fresh, which must not be null"),
    ):
        lake.read(strict, [D1])


def test_a_lake_older_than_a_table_has_no_rows_of_it(location, monkeypatch):
    declare(monkeypatch, OI)
    with Lake.open(location):
        pass
    with Lake.open(location, read_only=True) as lake:
        none = lake.read(CLOSES, [D1], columns=["trade_date", "close"])
        assert none.schema == pl.Schema({"trade_date": pl.Date, "close": pl.Float64})
        assert none.is_empty()


def test_as_known_at_gives_the_rows_of_before(location, rows):
    with Lake.open(location) as lake:
        moments = [now()]
        for generation in (1, 2, 3):
            commit(lake, OI, rows(OI, [D1, D2] if generation < 3 else [D1], generation, generation))
            moments.append(now())
    heights = []
    for moment in (*moments, moments[-1] + timedelta(days=365)):
        with Lake.open(location, as_known_at=moment) as lake:
            heights.append((lake.read(OI, [D1]).height, lake.read(OI, [D2]).height))
            assert lake.live_files(OI).keys() == ({D1, D2} if heights[-1][0] else set())
    assert heights == [(0, 0), (1, 1), (2, 2), (3, 2), (3, 2)]


def test_as_known_at_needs_a_timezone_and_a_lake_of_that_age(location):
    with Lake.open(location):
        pass
    with (
        pytest.raises(LakeError, match=r"without a timezone; expected .*\+05:30"),
        Lake.open(
            location,
            as_known_at=datetime(2026, 1, 1),  # noqa: DTZ001
        ),
    ):
        pass
    early = datetime(2020, 1, 1, tzinfo=ZoneInfo(IST))
    with (
        pytest.raises(LakeError, match=r"Nothing was known yet at 2020.*later moment"),
        Lake.open(location, as_known_at=early),
    ):
        pass


def test_a_reader_opened_before_sees_what_is_committed_after(location, rows):
    with Lake.open(location) as writer, Lake.open(location, read_only=True) as reader:
        assert reader.read(OI, [D1]).is_empty()
        commit(writer, OI, rows(OI, [D1]))
        assert reader.read(OI, [D1]).height == 4
