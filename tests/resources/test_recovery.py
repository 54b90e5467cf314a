"""A home damaged in every way: what is found, what is mended, what is named as lost."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from datetime import date
from pathlib import Path

import polars as pl
import pytest

from optrade.tables import TABLES
from optrade.tables.quality import INCIDENTS
from resources.backup import take_backup
from resources.backup_store import BackupError, BackupStore
from resources.kept_archive import lay_out_kept_files
from resources.lake import Lake, LakeLocation, Slice
from resources.lake_files import keep_raw
from resources.nse import Archive
from resources.recovery import recover
from resources.recovery_findings import Found
from resources.settings_files import NseSettings
from resources.spool_segments import HEADER, record_head

OI, SOURCES = TABLES["raw.participant_oi"], TABLES["raw.source_files"]
DAYS = [date(2026, 1, 12), date(2026, 1, 13)]
COUNTS = "SELECT trade_date, sum(long_contracts), count(*) FROM raw.participant_oi GROUP BY 1"
SEGMENT = "spool/2026-01-12/091500-1.seg"
JOURNAL = "spool/2026-01-12/journal.jsonl"


def location_of(home: Path) -> LakeLocation:
    return LakeLocation(home / "lake", "simulated")


@pytest.fixture(scope="module")
def commit(rows):
    def committed(home: Path, generation: int) -> None:
        slices = [Slice(OI, tuple(DAYS), rows(OI, DAYS, generation=generation))]
        with Lake.open(location_of(home)) as lake:
            lake.commit(slices, author="test", provenance={"run_id": str(generation)})

    return committed


@pytest.fixture(scope="module")
def template(tmp_path_factory, commit, rows):
    """A home with a raw file that the lake speaks of, two generations of a table, a segment."""
    folder = tmp_path_factory.mktemp("template") / "simulated"
    commit(folder, 1)
    commit(folder, 2)
    stored, sha256 = keep_raw(folder / "lake", "index_close", DAYS[0], "i.csv", b"as fetched")
    row = rows(SOURCES, DAYS[:1], 1).with_columns(
        status=pl.lit("held"), stored_as=pl.lit(stored), sha256=pl.lit(sha256)
    )
    with Lake.open(location_of(folder)) as lake:
        lake.commit([Slice(SOURCES, (DAYS[0],), row)], author="test", provenance={})
    (folder / SEGMENT).parent.mkdir(parents=True)
    frame = record_head(1, 0, 0, b"frame") + b"frame"
    (folder / SEGMENT).write_bytes(HEADER + frame * 3)
    (folder / JOURNAL).write_bytes(b'{"event": 1}\n')
    (folder / "dagster").mkdir()
    with closing(sqlite3.connect(folder / "dagster" / "runs.db")) as database:
        database.executescript("CREATE TABLE t(x); INSERT INTO t VALUES(7)")
    return folder


@pytest.fixture
def home(template, tmp_path):
    """A copy of it, to be harmed."""
    return shutil.copytree(template, tmp_path / "home" / "simulated")


@pytest.fixture
def store(tmp_path):
    return BackupStore(tmp_path / "store", "simulated")


def rows_of(home: Path) -> list[tuple[object, ...]]:
    with Lake.open(location_of(home), read_only=True) as lake:
        return sorted(lake.sql(COUNTS).rows())


def flip(path: Path, place: int = -10) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def mend(home: Path, store: BackupStore | None, **options: bool) -> Found:
    return recover(home, store, location_of(home), **options)


def live_file(home: Path) -> Path:
    with Lake.open(location_of(home), read_only=True) as lake:
        return Path(lake.live_files(OI)[DAYS[0]][0])


def test_a_whole_home_has_nothing_to_mend(home, store):
    take_backup(home, store)
    found = mend(home, store)
    assert (found.findings, found.again, found.aside) == ([], {}, None)
    assert mend(home, None).findings == []


def old_file(home: Path) -> Path:
    with Lake.open(location_of(home), read_only=True) as lake:
        live = {Path(path) for paths in lake.live_files(OI).values() for path in paths}
    return next(
        p for p in (home / "lake/data/raw/participant_oi").rglob("*.parquet") if p not in live
    )


DAMAGE = {
    "a live file is gone": lambda home: live_file(home).unlink(),
    "a live file has a flipped byte": lambda home: flip(live_file(home), 50),
    "an old file is gone": lambda home: old_file(home).unlink(),
    "the birth mark is gone": lambda home: next(
        (home / "lake/data/optrade").rglob("*.parquet")
    ).unlink(),
    "a raw file is gone": lambda home: next((home / "lake/files").rglob("*i.csv")).unlink(),
    "a raw file has a flipped byte": lambda home: flip(next((home / "lake/files").rglob("*.csv"))),
    "a segment is gone": lambda home: (home / SEGMENT).unlink(),
    "a segment has a flipped byte": lambda home: flip(home / SEGMENT, -1),
    "a journal changed": lambda home: flip(home / JOURNAL, 3),
    "the catalog is gone": lambda home: (home / "lake/catalog.sqlite").unlink(),
    "the catalog has a flipped byte": lambda home: flip(home / "lake/catalog.sqlite", 100),
    "the catalog is cut short": lambda home: (home / "lake/catalog.sqlite").write_bytes(
        (home / "lake/catalog.sqlite").read_bytes()[:60_000]
    ),
    "Dagster's database is garbage": lambda home: (home / "dagster/runs.db").write_bytes(b"x" * 99),
}


@pytest.mark.parametrize("harm", DAMAGE.values(), ids=DAMAGE)
def test_what_a_backup_has_is_mended(home, store, harm):
    before = rows_of(home)
    take_backup(home, store)
    harm(home)
    damaged = sorted((p, p.stat().st_mtime_ns) for p in home.rglob("*") if p.is_file())
    told = mend(home, store, dry_run=True)
    here = sorted((p, p.stat().st_mtime_ns) for p in home.rglob("*") if p.is_file())
    assert [pair for pair in here if pair[0].suffix not in {".sqlite-shm", ".sqlite-wal"}] == [
        pair for pair in damaged if pair[0].suffix not in {".sqlite-shm", ".sqlite-wal"}
    ]
    assert [finding.state for finding in told.findings] == ["mended"]
    done = mend(home, store)
    assert [finding.state for finding in done.findings] == ["mended"]
    assert rows_of(home) == before
    assert (home / SEGMENT).read_bytes().endswith(b"frame")
    assert (home / JOURNAL).read_bytes() == b'{"event": 1}\n'
    assert mend(home, store).findings == []


def test_what_was_damaged_is_moved_aside(home, store):
    take_backup(home, store)
    path = live_file(home)
    flip(path, 50)
    content = path.read_bytes()
    found = mend(home, store)
    assert found.aside is not None
    assert (found.aside / path.relative_to(home)).read_bytes() == content


def test_every_kind_of_flipped_page_of_the_catalog_is_seen(home, store):
    """SQLite itself sees few of them: the backup's history tells the others."""
    take_backup(home, store)
    catalog = home / "lake" / "catalog.sqlite"
    whole = catalog.read_bytes()
    changes = {
        "path": "UPDATE ducklake_data_file SET path = replace(path, 'a', 'b')",
        "end": "UPDATE ducklake_data_file SET end_snapshot = NULL",
        "bounds": "UPDATE ducklake_file_column_stats SET min_value = '9'",
        "message": "UPDATE ducklake_snapshot_changes SET author = 'x'",
        "column": "UPDATE ducklake_column SET column_type = 'varchar' WHERE column_id = 3",
    }
    for change in changes.values():
        with closing(sqlite3.connect(catalog)) as database:
            database.execute(change)
            database.commit()
        found = mend(home, store, dry_run=True)
        assert found.findings[0].path == "lake/catalog.sqlite"
        assert "differs from the backup's" in found.findings[0].found
        catalog.write_bytes(whole)
    assert mend(home, store).findings == []


def test_what_was_committed_after_the_backup_is_named(home, store, commit):
    take_backup(home, store)
    before = rows_of(home)
    commit(home, 3)
    (home / "lake" / "catalog.sqlite").unlink()
    found = mend(home, store)
    assert [finding.state for finding in found.findings] == ["mended", "again", "again"]
    assert found.again == {OI.full_name: set(DAYS)}
    assert rows_of(home) == before
    commit(home, 3)
    assert {total for _, total, _ in rows_of(home)} == {3 * 4}


def test_live_rows_that_no_backup_has_are_given_up_and_can_be_made_anew(home, store, commit):
    path = live_file(home)
    flip(path, 50)
    told = mend(home, None, dry_run=True)
    assert path.exists()
    found = mend(home, None)
    assert [f.state for f in found.findings] == [f.state for f in told.findings] == ["again"]
    assert found.again == {OI.full_name: {DAYS[0]}}
    assert [day for day, *_ in rows_of(home)] == DAYS[1:]
    assert mend(home, None).findings == []
    commit(home, 2)  # The very same content, which is not taken for held.
    assert [(day, total) for day, total, _ in rows_of(home)] == [(day, 2 * 4) for day in DAYS]
    assert list(take_backup(home, store).manifest.lost) == [path.relative_to(home).as_posix()]
    assert mend(home, store).findings == []


def test_what_was_judged_at_its_time_is_lost_and_nothing_is_asked_to_make_it(home, rows):
    with Lake.open(location_of(home)) as lake:
        told = Slice(INCIDENTS, (DAYS[0],), rows(INCIDENTS, DAYS[:1], 1))
        lake.commit([told], author="test", provenance={})
        Path(lake.live_files(INCIDENTS)[DAYS[0]][0]).unlink()
    found = mend(home, None)
    assert [(f.state, f.found) for f in found.findings] == [("lost", "it is not there")]
    assert found.again == {}
    assert mend(home, None).findings == []


def test_an_old_file_that_no_backup_has_is_lost_and_said_so(home):
    old = old_file(home)
    before = rows_of(home)
    old.unlink()
    found = mend(home, None)
    assert [(f.state, f.path) for f in found.findings] == [
        ("lost", old.relative_to(home).as_posix())
    ]
    assert "--as-known-at" in found.findings[0].done
    assert rows_of(home) == before


def test_without_catalog_and_backup_all_that_is_kept_is_named(home):
    (home / "lake" / "catalog.sqlite").unlink()
    found = mend(home, None)
    assert [finding.state for finding in found.findings] == ["lost"]
    assert found.again == {"raw.source_files": {DAYS[0]}, "raw.tick_segments": {DAYS[0]}}
    assert found.aside is not None
    assert len(list((found.aside / "lake" / "data").rglob("*.parquet"))) == 6
    assert list((home / "lake" / "files").rglob("*i.csv"))
    with Lake.open(location_of(home)) as lake:
        assert lake.live_files(OI) == {}


def test_a_raw_file_that_no_backup_has_is_fetched_again(home):
    next((home / "lake/files").rglob("*i.csv")).unlink()
    found = mend(home, None)
    assert [finding.state for finding in found.findings] == ["again"]
    assert found.again == {"raw.source_files": {DAYS[0]}}


def test_no_home_at_all_is_for_a_restore(tmp_path):
    with pytest.raises(BackupError, match="optrade restore"):
        mend(tmp_path / "nothing", None)


@pytest.mark.parametrize("market", ["real", "simulated"])
def test_kept_files_answer_like_the_archive(tmp_path, market):
    lake, archive = tmp_path / "lake", tmp_path / "archive"
    day, name = date(2026, 1, 12), "ind_close_all_12012026.csv"
    keep_raw(lake, "index_close", day, name, b"first version")
    keep_raw(lake, "index_close", day, name, b"corrected")
    assert lay_out_kept_files(lake, archive, market) == 1
    with Archive.open(NseSettings(), str(archive)) as opened:
        assert opened.is_simulated() == (market == "simulated")
        assert opened.fetch("index_close", day).content == b"corrected"
        assert opened.fetch("participant_oi", day).status == "not_published"
