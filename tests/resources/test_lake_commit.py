"""The commit protocol: whole or not at all, refused with reasons, told in the snapshot."""

from __future__ import annotations

import errno
import itertools
import json
import random
import subprocess
import sys
import threading
from datetime import date
from pathlib import Path

import duckdb
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from optrade.tables import IST, TABLES
from resources import lake_files
from resources.lake import Lake, LakeError, LakeLocation, Slice, SliceRefused
from resources.lake_slices import ParquetFormat, canonical, encode

OI, CLOSES, CHAIN = (
    TABLES[name] for name in ("raw.participant_oi", "raw.index_close", "snapshots.chain_close")
)
D1, D2, D3 = date(2026, 1, 1), date(2026, 1, 2), date(2026, 1, 5)


def commit(lake: Lake, *slices: Slice, run: str = "r1"):
    return lake.commit(list(slices), author=f"dagster run {run}", provenance={"run_id": run})


def generations(lake: Lake, table=OI, column="long_contracts") -> dict[date, set[int]]:
    frame = lake.sql(f"SELECT trade_date, {column} AS g FROM {table.full_name}")
    return {day: set(part["g"]) for (day,), part in frame.group_by("trade_date")}


def data_files(lake: Lake) -> list[Path]:
    return sorted(lake.location.data.rglob("*-*.parquet"))


def test_what_is_committed_is_read_back_sorted_and_typed(lake, rows):
    frame = rows(CHAIN, [D1, D2], 5, 7)
    result = commit(lake, Slice(CHAIN, (D1, D2), frame.reverse()))
    assert result.changed
    assert {day: r.rows for day, r in result.slices[CHAIN.full_name].items()} == {D1: 5, D2: 5}
    read = lake.read(CHAIN, [D1, D2])
    assert read.schema == pl.Schema(CHAIN.schema)
    assert read.equals(canonical(CHAIN, frame))
    some = lake.read(CHAIN, [D2], columns=["trade_date", "underlying"], where="underlying < 'v'")
    assert some.columns == ["trade_date", "underlying"]
    assert set(some["trade_date"]) == {D2}
    with pytest.raises(KeyError, match="no column 'nope'"):
        lake.read(CHAIN, [D1], columns=["nope"])


def test_a_slice_replaces_exactly_its_dates(lake, rows):
    commit(lake, Slice(OI, (D1, D2), rows(OI, [D1, D2], 4, 1)))
    commit(lake, Slice(OI, (D2, D3), rows(OI, [D2, D3], 2, 2)))
    assert generations(lake) == {D1: {1}, D2: {2}, D3: {2}}
    assert {day: len(files) for day, files in lake.live_files(OI).items()} == {D1: 1, D2: 1, D3: 1}
    assert lake.read(OI, [D2]).height == 2


def test_several_tables_are_one_snapshot(lake, rows):
    before = lake.sql("SELECT max(snapshot_id) FROM ducklake_snapshots('lake')").item()
    commit(lake, Slice(OI, (D1,), rows(OI, [D1])), Slice(CLOSES, (D1,), rows(CLOSES, [D1])))
    assert lake.sql("SELECT max(snapshot_id) FROM ducklake_snapshots('lake')").item() == before + 1


def test_same_content_makes_no_snapshot_and_no_file(lake, rows):
    first = commit(lake, Slice(OI, (D1, D2), rows(OI, [D1, D2])))
    files = data_files(lake)
    snapshots = lake.sql("SELECT count(*) FROM ducklake_snapshots('lake')").item()
    again = commit(lake, Slice(OI, (D1, D2), rows(OI, [D2, D1]).reverse()))
    assert not again.changed
    assert data_files(lake) == files
    assert lake.sql("SELECT count(*) FROM ducklake_snapshots('lake')").item() == snapshots
    name = OI.full_name
    assert [r.sha256 for r in again.slices[name].values()] == [
        r.sha256 for r in first.slices[name].values()
    ]
    one = pl.concat([rows(OI, [D1]), rows(OI, [D2], 4, 9)])
    changed = commit(lake, Slice(OI, (D1, D2), one)).slices[name]
    assert [changed[day].changed for day in (D1, D2)] == [False, True]


def test_the_snapshot_tells_who_why_and_what(lake, rows):
    result = lake.commit(
        [Slice(OI, (D1,), rows(OI, [D1]))],
        author="dagster run abc",
        provenance={"run_id": "abc", "code_versions": {"raw.participant_oi": "3"}},
    )
    told = lake.sql(
        "SELECT author, commit_message, commit_extra_info FROM ducklake_snapshots('lake') "
        "ORDER BY snapshot_id DESC LIMIT 1"
    ).row(0, named=True)
    assert told["author"] == "dagster run abc"
    assert told["commit_message"] == "replace raw.participant_oi"
    assert json.loads(told["commit_extra_info"]) == {
        "run_id": "abc",
        "code_versions": {"raw.participant_oi": "3"},
        "slices": {
            "raw.participant_oi": {
                "2026-01-01": {"rows": 4, "sha256": result.slices["raw.participant_oi"][D1].sha256}
            }
        },
    }


def test_emptying_a_date_must_be_meant(lake, rows):
    commit(lake, Slice(OI, (D1, D2), rows(OI, [D1, D2])))
    with pytest.raises(SliceRefused, match="found no rows for 2026-01-02; expected some"):
        commit(lake, Slice(OI, (D1, D2), rows(OI, [D1])))
    result = commit(lake, Slice(OI, (D2, D3), OI.empty(), empties_dates=True))
    assert list(generations(lake)) == [D1]
    assert result.slices[OI.full_name][D2].rows == 0
    assert D3 not in result.slices[OI.full_name]  # it had no rows to lose


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: f.drop("segment"), r"\['segment'\] missing"),
        (lambda f: f.with_columns(x=1), r"\{'x': 'Int32'\} that are not declared"),
        (lambda f: f.cast({"long_contracts": pl.Int32}), r"'long_contracts': 'Int32'"),
        (lambda f: f.with_columns(trade_date=pl.lit(D2)), "found rows of 2026-01-02"),
        (lambda f: f.with_columns(trade_date=pl.lit(None, pl.Date)), "found rows of None"),
        (lambda f: pl.concat([f, f.head(1)]), "found 2 rows that share a key, such as"),
        (lambda f: f.with_columns(source=pl.lit("exchange")), r"source is \['exchange'\]; a sim"),
        (lambda f: f.with_columns(source=pl.lit(None, pl.String)), r"source is \['None'\]"),
    ],
)
def test_a_bad_frame_is_refused_and_nothing_changes(lake, rows, spoil, message):
    commit(lake, Slice(OI, (D1,), rows(OI, [D1], 4, 1)))
    files = data_files(lake)
    good = Slice(CLOSES, (D1,), rows(CLOSES, [D1]))
    with pytest.raises(SliceRefused, match=message):
        commit(lake, good, Slice(OI, (D1,), spoil(rows(OI, [D1], 4, 2))))
    assert generations(lake) == {D1: {1}}
    assert lake.read(CLOSES, [D1]).is_empty()
    assert data_files(lake) == files


def test_two_slices_of_one_date_are_refused(lake, rows):
    with pytest.raises(SliceRefused, match="a date in more than one slice"):
        commit(lake, Slice(OI, (D1, D2), rows(OI, [D1, D2])), Slice(OI, (D2,), rows(OI, [D2])))
    commit(lake, Slice(OI, (D1,), rows(OI, [D1])), Slice(OI, (D2,), rows(OI, [D2])))
    assert lake.read(OI, [D1, D2]).height == rows(OI, [D1, D2]).height


def test_columns_in_another_order_are_put_in_order(lake, rows):
    frame = rows(OI, [D1])
    commit(lake, Slice(OI, (D1,), frame))
    assert not commit(lake, Slice(OI, (D1,), frame.select(reversed(frame.columns)))).changed


def test_a_failing_disk_leaves_the_old_rows_and_no_new_file(lake, rows, monkeypatch):
    commit(lake, Slice(OI, (D1, D2), rows(OI, [D1, D2], 4, 1)))
    files = data_files(lake)
    real, calls = lake_files.write_durably, []

    def second_fails(path, content):
        calls.append(path)
        if len(calls) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(path, content)

    monkeypatch.setattr(lake_files, "write_durably", second_fails)
    with pytest.raises(LakeError, match=r"No space left.*old rows stand.*free.some space"):
        commit(lake, Slice(OI, (D1, D2), rows(OI, [D1, D2], 4, 2)))
    assert generations(lake) == {D1: {1}, D2: {1}}
    assert data_files(lake) == files
    commit(lake, Slice(OI, (D1, D2), rows(OI, [D1, D2], 4, 2)))
    assert generations(lake) == {D1: {2}, D2: {2}}


def test_a_failing_transaction_leaves_the_old_rows_and_no_new_file(lake, rows, monkeypatch):
    commit(lake, Slice(OI, (D1,), rows(OI, [D1], 4, 1)))
    files = data_files(lake)

    def vanish(path, content):  # the file never arrives, so the catalog refuses it
        assert content

    with monkeypatch.context() as patch:
        patch.setattr(lake_files, "write_durably", vanish)
        with pytest.raises(LakeError, match=r"could not store this .*old rows stand"):
            commit(lake, Slice(OI, (D1,), rows(OI, [D1], 4, 2)))
    assert generations(lake) == {D1: {1}}
    assert data_files(lake) == files
    commit(lake, Slice(OI, (D1,), rows(OI, [D1], 4, 3)))
    assert generations(lake) == {D1: {3}}


FULL_DISK = """
import resource, sys
from datetime import date
from pathlib import Path
import polars as pl
from optrade.tables import TABLES
from resources.lake import Lake, LakeError, LakeLocation, Slice

table, limit = TABLES["raw.participant_oi"], 40_000
frame = pl.read_parquet(sys.argv[2])
with Lake.open(LakeLocation(Path(sys.argv[1]), "simulated")) as lake:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        lake.commit([Slice(table, (date(2026, 1, 1),), frame)], author="a", provenance={})
    except LakeError as error:
        print("LakeError", error)
"""


@pytest.mark.parametrize("limit", ["data", "catalog"])
def test_a_real_limit_on_file_size_leaves_the_old_rows(location, rows, tmp_path, limit):
    with Lake.open(location) as lake:
        commit(lake, Slice(OI, (D1,), rows(OI, [D1], 4, 1)))
        files = data_files(lake)
    wanted = tmp_path / "wanted.parquet"
    new = rows(OI, [D1], 4_000 if limit == "data" else 4, 2)
    if limit == "data":  # What does not compress does not fit; else the catalog's log does not.
        noise = pl.Series("source_sha256", [random.randbytes(16).hex() for _ in range(4_000)])
        new = new.with_columns(noise)
    new.write_parquet(wanted)
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(location.root), str(wanted)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.stdout.startswith("LakeError"), done.stdout + done.stderr
    assert "run again" in done.stdout
    with Lake.open(location) as lake:
        assert generations(lake) == {D1: {1}}
        if limit == "data":
            assert data_files(lake) == files
        commit(lake, Slice(OI, (D1,), rows(OI, [D1], 4, 2)))
        assert generations(lake) == {D1: {2}}


def test_a_second_writer_waits_and_then_says_who_to_look_for(location, rows):
    with Lake.open(location) as lake, Lake.open(location, lock_timeout_seconds=0.2) as other:
        with lake.writer_lock(), pytest.raises(LakeError, match=r"Another writer held .*hanging"):
            commit(other, Slice(OI, (D1,), rows(OI, [D1])))
        assert commit(other, Slice(OI, (D1,), rows(OI, [D1]))).changed


def test_queries_cannot_write_past_the_protocol(lake, location, rows):
    commit(lake, Slice(OI, (D1,), rows(OI, [D1])))
    with pytest.raises(LakeError, match="Found DELETE in a query"):
        lake.sql("DELETE FROM raw.participant_oi")
    with pytest.raises(LakeError, match="Found DROP in a query"):
        lake.sql("SELECT 1; DROP TABLE raw.participant_oi")
    with Lake.open(location, read_only=True) as reader, pytest.raises(duckdb.Error):
        reader.sql("DELETE FROM raw.participant_oi")
    assert lake.read(OI, [D1]).height == 4


def test_every_query_reads_the_clock_of_india(lake):
    assert lake.sql("SELECT current_setting('TimeZone')").item() == IST
    assert lake.sql("SELECT TIMESTAMPTZ '2026-01-01 20:00:00+00' ::DATE").item() == D2


def test_threads_read_whole_generations_while_one_writes(lake, rows):
    commit(lake, Slice(OI, (D1, D2), rows(OI, [D1, D2], 50, 0)))
    stop, errors = threading.Event(), []

    def look():
        while not stop.is_set():
            try:
                seen = set(lake.read(OI, [D1, D2])["long_contracts"])
                if len(seen) != 1:
                    errors.append(seen)
            except Exception as error:  # noqa: BLE001 (the test shows it)
                errors.append(error)

    readers = [threading.Thread(target=look) for _ in range(2)]
    for reader in readers:
        reader.start()
    for generation in range(1, 8):
        commit(lake, Slice(OI, (D1, D2), rows(OI, [D1, D2], 50, generation)))
    stop.set()
    for reader in readers:
        reader.join()
    assert errors == []


@given(
    order=st.permutations(range(12)),
    cuts=st.lists(st.integers(1, 11), max_size=3, unique=True),
)
def test_the_same_rows_give_the_same_bytes(rows, order, cuts):
    for table in (OI, TABLES["raw.fo_bhavcopy"]):
        frame = rows(table, [D1], 12, 3)
        mixed = frame[list(order)]
        bounds = [0, *sorted(cuts), 12]
        pieces = pl.concat([mixed[a:b] for a, b in itertools.pairwise(bounds)], rechunk=False)
        style = ParquetFormat()
        expected = encode(table, D1, canonical(table, frame), style).sha256
        assert encode(table, D1, canonical(table, pieces), style).sha256 == expected


@settings(
    max_examples=3, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    steps=st.lists(
        st.tuples(st.sets(st.sampled_from([D1, D2, D3]), min_size=1), st.integers(1, 3)),
        min_size=1,
        max_size=5,
    )
)
def test_the_lake_is_what_a_dictionary_would_be(tmp_path_factory, rows, steps):
    expected: dict[date, set[int]] = {}
    place = LakeLocation(tmp_path_factory.mktemp("model") / "lake", "simulated")
    with Lake.open(place) as lake:
        for days, generation in steps:
            commit(lake, Slice(OI, tuple(days), rows(OI, sorted(days), 2, generation)))
            expected |= {day: {generation} for day in days}
            assert generations(lake) == expected
            assert lake.live_files(OI).keys() == expected.keys()
