"""Backups beside writers that never rest, and backups killed in the middle.

The children are this file, run as a script. `OPTRADE_STRESS=1` takes 20 backups beside four
writers instead of 3, and kills 20 backups instead of 4.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import polars as pl
import pytest

from optrade.tables import TABLES, Table
from resources.backup import take_backup
from resources.backup_store import BackupStore
from resources.lake import Lake, LakeLocation, Slice
from resources.restore import restore

STRESS = os.environ.get("OPTRADE_STRESS") == "1"
BACKUPS, WRITERS, KILLS = (20, 4, 20) if STRESS else (3, 4, 4)
OI, CLOSES = TABLES["raw.participant_oi"], TABLES["raw.index_close"]
SHARED = date(2026, 2, 1)
ROWS = 50
WHOLE = f"""
SELECT trade_date, min(g) = max(g) AND count(*) = {2 * ROWS} AS whole FROM (
    SELECT trade_date, long_contracts AS g FROM raw.participant_oi
    UNION ALL SELECT trade_date, close::BIGINT FROM raw.index_close
) GROUP BY 1 ORDER BY 1"""
PRINTS = """
SELECT trade_date, count(*), sum(hash(*COLUMNS(*))::HUGEINT)::VARCHAR, bit_xor(hash(*COLUMNS(*)))
FROM {} GROUP BY 1 ORDER BY 1"""


def generation_rows(table: Table, days: tuple[date, ...], generation: int) -> pl.DataFrame:
    base = pl.DataFrame({"trade_date": days}).join(pl.DataFrame({"i": range(ROWS)}), how="cross")
    return base.select(
        pl.col("trade_date")
        if column.name == "trade_date"
        else (
            pl.lit("simulated") if column.name == "source" else pl.format("{}", pl.col("i"))
            if column.dtype == pl.String() else pl.lit(generation)
        ).cast(column.dtype).alias(column.name)
        for column in table.columns
    )  # fmt: skip


def commit(lake: Lake, days: tuple[date, ...], generation: int) -> None:
    lake.commit(
        [Slice(table, days, generation_rows(table, days, generation)) for table in (OI, CLOSES)],
        author="test",
        provenance={"run_id": str(generation)},
    )


def child_writer(home: Path, number: int) -> None:
    """Commit to a day of one's own and to one that all share, without a rest."""
    own = date(2026, 1, 1) + timedelta(days=number)
    with Lake.open(LakeLocation(home / "lake", "simulated")) as lake:
        while True:
            commit(lake, (own, SHARED), time.time_ns() // 1_000)
            print("committed", flush=True)  # noqa: T201


def child_backup(home: Path, store: BackupStore) -> None:
    print("warm", flush=True)  # noqa: T201
    sys.stdin.readline()
    print("begun", flush=True)  # noqa: T201
    take_backup(home, store)


@contextlib.contextmanager
def started(*words: object) -> Iterator[subprocess.Popen[str]]:
    child = subprocess.Popen(
        [sys.executable, __file__, *map(str, words)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    with child:
        try:
            yield child
        finally:
            child.kill()


def prints(lake: Lake) -> list[list[tuple[object, ...]]]:
    return [lake.sql(PRINTS.format(table.full_name)).rows() for table in (OI, CLOSES)]


def hold_against(home: Path, store: BackupStore, name: str, place: Path) -> None:
    """Restore a backup; it must be, row for row, what the home was at its snapshot."""
    manifest = store.load(name)
    restored = restore(store, manifest, place)
    assert restored.lost == {}
    assert restored.snapshot_id == manifest.snapshot_id
    with Lake.open(LakeLocation(place / "lake", "simulated"), read_only=True) as lake:
        found, whole = prints(lake), lake.sql(WHOLE)["whole"]
    assert whole.all()
    location = LakeLocation(home / "lake", "simulated")
    with Lake.open(location, as_known_at=manifest.snapshot_at) as then:
        assert found == prints(then)


def test_backups_beside_four_writers_are_each_a_moment_of_the_lake(tmp_path):
    home, store = tmp_path / "home" / "simulated", BackupStore(tmp_path / "store", "simulated")
    with Lake.open(LakeLocation(home / "lake", "simulated")) as lake:
        commit(lake, (SHARED,), 1)
    took, copied, names = [], [], []
    with contextlib.ExitStack() as stack:
        writers = [stack.enter_context(started("writer", home, n)) for n in range(WRITERS)]
        for writer in writers:
            assert writer.stdout is not None
            assert writer.stdout.readline() == "committed\n"
        for _ in range(BACKUPS):
            began = time.monotonic()
            taken = take_backup(home, store)
            took.append(time.monotonic() - began)
            copied.append(taken.copied_files)
            names.append(taken.manifest.name)
            assert taken.manifest.lost == {}
        assert [writer.poll() for writer in writers] == [None] * WRITERS
    for number, name in enumerate(names):
        hold_against(home, store, name, tmp_path / f"new-{number}")
    ids = [store.load(name).snapshot_id or 0 for name in names]
    assert ids == sorted(ids)
    print(  # noqa: T201
        f"\n{BACKUPS} backups beside {WRITERS} writers: snapshots {ids[0]} to {ids[-1]}, "
        f"{statistics.median(took):.2f} s each (longest {max(took):.2f}), files copied {copied}, "
        f"{len(store.load(names[-1]).files)} files in the last; all restored and equal"
    )
    assert ids[-1] > ids[0]


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_a_killed_backup_is_absent_or_whole(tmp_path):
    home, store = tmp_path / "home" / "simulated", BackupStore(tmp_path / "store", "simulated")
    dice = random.Random(7)
    with Lake.open(LakeLocation(home / "lake", "simulated")) as lake:
        days = tuple(date(2026, 1, 1) + timedelta(days=n) for n in range(60))
        commit(lake, days, 1)
        began = time.monotonic()
        take_backup(home, store)
        taking = time.monotonic() - began
        absent = 0
        for kill in range(KILLS):
            commit(lake, days, kill + 2)
            known = len(store.names())
            with started("backup", home, store.root.parent) as child:
                assert child.stdout is not None
                assert child.stdin is not None
                assert child.stdout.readline() == "warm\n"
                child.stdin.write("go\n")
                child.stdin.flush()
                assert child.stdout.readline() == "begun\n"
                time.sleep(dice.uniform(0.1, 0.9) * taking)
                child.send_signal(signal.SIGKILL)
                child.wait(10)
            absent += len(store.names()) == known
    assert absent
    names = store.names()
    for name in {names[0], names[-1]}:
        hold_against(home, store, name, tmp_path / name)
    whole = take_backup(home, store)  # Its lock died with it, and what it left half written goes.
    assert not list((store.root / "objects").glob(".*"))
    hold_against(home, store, whole.manifest.name, tmp_path / "last")
    print(f"\n{KILLS} kills, {absent} backups absent, the others whole")  # noqa: T201


if __name__ == "__main__":
    role, at, word = sys.argv[1:]
    if role == "writer":
        child_writer(Path(at), int(word))
    else:
        child_backup(Path(at), BackupStore(Path(word), "simulated"))
