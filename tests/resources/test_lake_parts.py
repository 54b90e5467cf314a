"""Parts of a date: replaced one by one, the rest of the date untouched, compacted at last."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from optrade.tables import IST, TABLES
from resources.lake import Lake, LakeLocation, Slice, SliceRefused
from resources.lake_upkeep import compact

MINUTES, TICKS, OI = (
    TABLES[name] for name in ("snapshots.index_minute", "raw.ticks", "raw.participant_oi")
)
DAY = date(2026, 1, 1)
OPEN = datetime(2026, 1, 1, 9, 15, tzinfo=ZoneInfo(IST))


def at(minute: int) -> datetime:
    return OPEN + timedelta(minutes=minute)


def of_minutes(rows, generations: dict[int, int], count: int = 2) -> pl.DataFrame:
    """`count` rows in each minute, marked by generation."""
    if not generations:
        return MINUTES.empty()
    parts = [
        rows(MINUTES, [DAY], count, generation).with_columns(
            pl.lit(at(minute)).cast(MINUTES.schema["minute"]).alias("minute"),
            instrument_token=pl.int_range(count, dtype=pl.Int64),
        )
        for minute, generation in generations.items()
    ]
    return pl.concat(parts)


def put(lake: Lake, frame: pl.DataFrame, minutes) -> object:
    part = Slice(MINUTES, (DAY,), frame, parts=tuple(at(m) for m in minutes))
    return lake.commit([part], author="test", provenance={}).slices


def held(lake: Lake) -> dict[int, set[int]]:
    frame = lake.sql("SELECT minute, ticks FROM snapshots.index_minute")
    return {
        int((minute - OPEN).total_seconds() // 60): set(part["ticks"])
        for (minute,), part in frame.group_by("minute")
    }


def test_only_the_given_parts_are_replaced(lake, rows):
    put(lake, of_minutes(rows, {0: 1, 1: 1}), [0, 1])
    put(lake, of_minutes(rows, {1: 2, 2: 2}), [1, 2])
    assert held(lake) == {0: {1}, 1: {2}, 2: {2}}
    assert len(lake.live_files(MINUTES)[DAY]) == 3  # one each, no file of deletions
    assert lake.read(MINUTES, [DAY]).height == 6


def test_the_same_parts_again_make_no_snapshot(lake, rows):
    first = put(lake, of_minutes(rows, {0: 1, 1: 1}), [0, 1])
    snapshots = lake.sql("SELECT count(*) FROM ducklake_snapshots('lake')").item()
    again = put(lake, of_minutes(rows, {1: 1}), [1])
    assert lake.sql("SELECT count(*) FROM ducklake_snapshots('lake')").item() == snapshots
    assert not again["snapshots.index_minute"][DAY].changed
    # the hash is of the whole date, whichever parts were written last
    whole = first["snapshots.index_minute"][DAY].sha256
    assert again["snapshots.index_minute"][DAY].sha256 == whole
    assert put(lake, of_minutes(rows, {1: 5}), [1])["snapshots.index_minute"][DAY].sha256 != whole


def test_a_part_can_be_emptied(lake, rows):
    put(lake, of_minutes(rows, {0: 1, 1: 1}), [0, 1])
    put(lake, MINUTES.empty(), [1])
    assert held(lake) == {0: {1}}


def test_text_parts_with_quotes_in_them(lake, rows):
    frame = rows(TICKS, [DAY], 2, 3).with_columns(segment=pl.lit("it's-1"), mode=pl.lit("full"))
    frame = frame.with_columns(sequence=pl.int_range(2, dtype=pl.Int64))
    part = Slice(TICKS, (DAY,), frame, parts=("it's-1",))
    lake.commit([part], author="test", provenance={})
    lake.commit([part], author="test", provenance={})
    assert lake.read(TICKS, [DAY]).equals(TICKS.conform(frame))


def test_a_late_part_after_compaction_replaces_its_rows_only(lake, rows):
    put(lake, of_minutes(rows, {0: 1, 1: 1, 2: 1}), [0, 1, 2])
    before = lake.read(MINUTES, [DAY])
    assert compact(lake, MINUTES, DAY).files_after == 1
    assert lake.read(MINUTES, [DAY]).equals(before)
    put(lake, of_minutes(rows, {1: 9}), [1])
    assert held(lake) == {0: {1}, 1: {9}, 2: {1}}
    # the whole date written at once is what compaction would have made of it
    compact(lake, MINUTES, DAY)
    whole = lake.read(MINUTES, [DAY])
    result = lake.commit([Slice(MINUTES, (DAY,), whole)], author="test", provenance={})
    assert not result.changed


@pytest.mark.parametrize(
    ("table", "dates", "parts", "told"),
    [
        (OI, (DAY,), (at(0),), "expected them for one date of a table that has a part column"),
        (MINUTES, (DAY, date(2026, 1, 2)), (at(0),), "expected them for one date"),
        (MINUTES, (DAY,), (at(1),), "expected only the slice's parts"),
    ],
)
def test_parts_that_make_no_sense_are_refused(lake, rows, table, dates, parts, told):
    frame = of_minutes(rows, {0: 1}) if table is MINUTES else rows(OI, [DAY])
    with pytest.raises(SliceRefused, match=told):
        lake.commit([Slice(table, dates, frame, parts=parts)], author="test", provenance={})


@settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.sets(st.integers(0, 3), min_size=1), min_size=1, max_size=5), st.booleans())
def test_any_course_of_parts_leaves_the_last_of_each(tmp_path_factory, rows, course, compacted):
    location = LakeLocation(tmp_path_factory.mktemp("parts") / "lake", "simulated")
    expected: dict[int, set[int]] = {}
    with Lake.open(location) as lake:
        for generation, minutes in enumerate(course):
            put(lake, of_minutes(rows, dict.fromkeys(minutes, generation)), minutes)
            expected |= {minute: {generation} for minute in minutes}
            if compacted:
                compact(lake, MINUTES, DAY)
        assert held(lake) == expected


def test_a_large_day_becomes_one_file_an_underlying(lake, rows):
    frame = rows(TICKS, [DAY], 6, 3).with_columns(
        segment=pl.Series(["a-1", "a-1", "a-1", "b-1", "b-1", "b-1"]),
        sequence=pl.Series([0, 1, 2] * 2, dtype=pl.Int64),
        underlying=pl.Series(["NIFTY", "SENSEX", None] * 2, dtype=pl.String),
        mode=pl.lit("full"),
    )
    for name in ("a-1", "b-1"):
        part = Slice(TICKS, (DAY,), TICKS.conform(frame.filter(segment=name)), parts=(name,))
        lake.commit([part], author="test", provenance={})
    before = lake.read(TICKS, [DAY])
    done = compact(lake, TICKS, DAY, most_rows=3)
    assert (done.files_before, done.files_after, done.rows) == (2, 3, 6)
    assert lake.read(TICKS, [DAY]).equals(before)
    assert not compact(lake, TICKS, DAY, most_rows=3).changed
    late = TICKS.conform(frame.filter(segment="b-1").with_columns(volume_units=99))
    lake.commit([Slice(TICKS, (DAY,), late, parts=("b-1",))], author="test", provenance={})
    read = lake.read(TICKS, [DAY])
    assert read.height == 6
    assert set(read.filter(segment="b-1")["volume_units"]) == {99}
