"""A backup of a small real lake: what it holds, what it skips, and what it refuses."""

from __future__ import annotations

import errno
import json
import shutil
import sqlite3
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from optrade.tables import TABLES
from resources import backup_store
from resources.backup import take_backup
from resources.backup_store import BackupError, BackupStore
from resources.lake import Lake, LakeLocation, Slice
from resources.lake_catalog import catalog_files, rewind, snapshots
from resources.lake_files import keep_raw
from resources.lake_upkeep import WrongMarket
from resources.restore import choose, restore

OI, CLOSES = TABLES["raw.participant_oi"], TABLES["raw.index_close"]
DAYS = [date(2026, 1, 12), date(2026, 1, 13)]
COUNTS = "SELECT trade_date, sum(long_contracts), count(*) FROM raw.participant_oi GROUP BY 1"


@pytest.fixture(scope="module")
def commit(rows):
    """Commits a generation of rows of both days."""

    def committed(lake: Lake, generation: int, tables=(OI, CLOSES)) -> None:
        slices = [Slice(t, tuple(DAYS), rows(t, DAYS, generation=generation)) for t in tables]
        lake.commit(slices, author="test", provenance={"run_id": str(generation)})

    return committed


def rows_of(home: Path) -> list[tuple[object, ...]]:
    with Lake.open(LakeLocation(home / "lake", "simulated"), read_only=True) as lake:
        return sorted(lake.sql(COUNTS).rows())


@pytest.fixture(scope="module")
def template(tmp_path_factory, commit):
    """A home with two commits, a raw file, a spool of one day and a database of Dagster's."""
    folder = tmp_path_factory.mktemp("template") / "simulated"
    with Lake.open(LakeLocation(folder / "lake", "simulated")) as lake:
        commit(lake, 1)
        commit(lake, 2)
    keep_raw(folder / "lake", "index_close", DAYS[0], "ind_close.csv", b"as fetched")
    spool = folder / "spool" / "2026-01-12"
    spool.mkdir(parents=True)
    (spool / "journal.jsonl").write_bytes(b'{"event": 1}\n{"event": 2}\n{"eve')
    (spool / "091500-1.seg").write_bytes(b"sealed")
    (spool / "091600-1.open").write_bytes(b"still written")
    (folder / "dagster" / "history").mkdir(parents=True)
    with closing(sqlite3.connect(folder / "dagster" / "history" / "runs.db")) as database:
        database.executescript(
            "PRAGMA journal_mode=WAL; CREATE TABLE t(x); INSERT INTO t VALUES(7)"
        )
    return folder


@pytest.fixture
def home(template, tmp_path):
    """A copy of it."""
    return shutil.copytree(template, tmp_path / "home" / "simulated")


@pytest.fixture
def store(tmp_path):
    return BackupStore(tmp_path / "store", "simulated")


def test_what_is_restored_is_what_was_there(commit, home, store, tmp_path):
    taken = take_backup(home, store)
    assert taken.manifest.lost == {}
    assert "spool/2026-01-12/091600-1.open" not in taken.manifest.files
    again = restore(store, choose(store, None), tmp_path / "new" / "simulated")
    assert (again.files, again.lost, again.rewound) == (len(taken.manifest.files), {}, False)
    assert rows_of(again.home) == rows_of(home)
    spool = again.home / "spool" / "2026-01-12"
    assert (spool / "091500-1.seg").read_bytes() == b"sealed"
    assert (spool / "journal.jsonl").read_bytes() == b'{"event": 1}\n{"event": 2}\n'
    with closing(sqlite3.connect(again.home / "dagster" / "history" / "runs.db")) as database:
        assert database.execute("SELECT x FROM t").fetchall() == [(7,)]
    with Lake.open(LakeLocation(again.home / "lake", "simulated")) as lake:
        commit(lake, 3)  # It is a lake to go on with.
    assert {total for _, total, _ in rows_of(again.home)} == {3 * 4}


def test_a_second_backup_copies_what_is_new(commit, home, store):
    first = take_backup(home, store)
    second = take_backup(home, store)
    assert (second.copied_files, second.copied_bytes) == (0, 0)
    with Lake.open(LakeLocation(home / "lake", "simulated")) as lake:
        commit(lake, 3, [OI])
    third = take_backup(home, store)
    new = set(third.manifest.files) - set(first.manifest.files)
    assert len(new) == len(DAYS)
    assert third.copied_files == len(DAYS) + 1  # And the catalog.
    assert third.manifest.snapshot_id == first.manifest.snapshot_id + 1


def test_every_earlier_moment_comes_back_from_any_later_backup(commit, home, store, tmp_path):
    told = []
    for generation in (3, 4, 3):
        with Lake.open(LakeLocation(home / "lake", "simulated")) as lake:
            commit(lake, generation)
        told.append((datetime.now(UTC), rows_of(home)))
    take_backup(home, store)
    for number, (moment, rows) in enumerate(told):
        manifest = choose(store, moment)
        place = tmp_path / str(number) / "simulated"
        found = restore(store, manifest, place, at=moment)
        assert rows_of(found.home) == rows
        assert found.rewound == (number < 2)
        assert (found.home / "dagster").exists() == (number == 2)
        with Lake.open(LakeLocation(place / "lake", "simulated")) as lake:
            commit(lake, 9)
        assert {total for _, total, _ in rows_of(place)} == {9 * 4}
    with pytest.raises(BackupError, match="Nothing was known yet"):
        restore(store, manifest, tmp_path / "x", at=told[0][0] - timedelta(days=9))
    with pytest.raises(BackupError, match="none taken since"):
        choose(store, datetime.now(UTC) + timedelta(days=1))


def test_a_table_younger_than_the_moment_is_gone_after_going_back(commit, home):
    """Also the ids that DuckLake gives out go back, and what hangs on them with them."""
    catalog = home / "lake" / "catalog.sqlite"
    known = snapshots(catalog)
    rewind(catalog, known[1].id)
    assert [file.table for file in catalog_files(catalog)] == ["optrade.birth"]
    with closing(sqlite3.connect(catalog)) as database:
        for table in ("ducklake_file_partition_value", "ducklake_column_mapping"):
            assert database.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)
    with Lake.open(LakeLocation(home / "lake", "simulated")) as lake:
        commit(lake, 5)
        assert {total for _, total, _ in lake.sql(COUNTS).rows()} == {5 * 4}


def flip(path: Path, place: int = -10) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def test_a_flipped_byte_in_the_store_is_refused_and_copied_anew(home, store, tmp_path):
    taken = take_backup(home, store)
    path, entry = next((p, e) for p, e in taken.manifest.files.items() if "participant_oi" in p)
    flip(store.object(entry.sha256))
    place = tmp_path / "new" / "simulated"
    with pytest.raises(BackupError, match=r"found .* bytes with SHA-256") as refused:
        restore(store, taken.manifest, place)
    assert Path(path).name in str(refused.value)
    assert not place.exists()
    assert list(place.parent.iterdir()) == []
    assert take_backup(home, store, verify=True).copied_files == 1
    assert restore(store, choose(store, None), place).lost == {}


def test_a_manifest_that_changed_is_refused(home, store):
    taken = take_backup(home, store)
    path = store.root / "manifests" / f"{taken.manifest.name}.json"
    path.write_text(path.read_text(encoding="utf-8").replace("index_close", "index_klose"))
    with pytest.raises(BackupError, match="its checksum is"):
        choose(store, None)


def test_a_home_that_is_not_empty_is_left_alone(home, store):
    taken = take_backup(home, store)
    with pytest.raises(BackupError, match="found files in it"):
        restore(store, taken.manifest, home)


def test_the_other_market_is_refused(home, store, tmp_path):
    with pytest.raises(WrongMarket, match="was born simulated; asked for real"):
        take_backup(home, BackupStore(tmp_path / "store", "real"))
    taken = take_backup(home, store)
    path = tmp_path / "store" / "real" / "manifests" / f"{taken.manifest.name}.json"
    path.write_text(taken.manifest.to_json())
    with pytest.raises(BackupError, match="a backup of the simulated market; expected real"):
        choose(BackupStore(tmp_path / "store", "real"), None)


def test_a_store_inside_the_home_is_refused(home):
    with pytest.raises(BackupError, match="inside"):
        take_backup(home, BackupStore(home / "backups", "simulated"))


def test_a_full_disk_leaves_earlier_backups_whole(commit, home, store, tmp_path, monkeypatch):
    take_backup(home, store)
    with Lake.open(LakeLocation(home / "lake", "simulated")) as lake:
        commit(lake, 3)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(backup_store, "_pour", full)
        with pytest.raises(BackupError, match=r"No space left .* Earlier backups stand"):
            take_backup(home, store)
    assert len(store.names()) == 1
    assert not list((store.root / "objects").glob(".*"))
    assert restore(store, choose(store, None), tmp_path / "n" / "simulated").lost == {}
    assert take_backup(home, store).manifest.lost == {}


def test_what_the_home_lost_comes_from_the_backup_before_or_is_named(home, store, tmp_path):
    taken = take_backup(home, store)
    data = sorted((home / "lake" / "data" / "raw" / "participant_oi").rglob("*.parquet"))
    data[0].unlink()
    assert take_backup(home, store).manifest.lost == {}
    other = BackupStore(tmp_path / "other", "simulated")
    flip(data[1])
    lost = take_backup(home, other).manifest.lost
    assert sorted(lost) == [path.relative_to(home).as_posix() for path in data[:2]]
    assert lost[data[0].relative_to(home).as_posix()] == "it is not there"
    found = restore(other, choose(other, None), tmp_path / "n" / "simulated")
    assert found.lost == lost
    assert taken.manifest.lost == {}


def test_a_damaged_catalog_is_never_backed_up(home, store):
    take_backup(home, store)
    with closing(sqlite3.connect(home / "lake" / "catalog.sqlite")) as database:
        database.execute("UPDATE ducklake_data_file SET record_count = 5")
        database.commit()
    with pytest.raises(BackupError, match="ducklake_data_file differs"):
        take_backup(home, store)
    assert len(store.names()) == 1


def test_a_manifest_lists_every_file_with_size_and_hash(home, store):
    taken = take_backup(home, store)
    path = store.root / "manifests" / f"{taken.manifest.name}.json"
    body = json.loads(path.read_text(encoding="utf-8"))["backup"]
    assert {"market", "taken_at", "optrade", "snapshot_id", "snapshot_at"} <= body.keys()
    assert "lake/catalog.sqlite" in body["files"]
    for size, sha256, _ in body["files"].values():
        assert store.object(sha256).stat().st_size == size
        assert backup_store.file_sha256(store.object(sha256)) == sha256
