"""Several processes on one lake: kills in the middle of commits, writers beside readers.

The children are this file, run as a script. `OPTRADE_STRESS=1` kills 50 times instead of 12.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import duckdb
import polars as pl
import pytest

from optrade.tables import TABLES, Table
from resources.lake import Lake, LakeError, LakeLocation, Slice
from resources.lake_upkeep import remove_orphans

OI, CLOSES = TABLES["raw.participant_oi"], TABLES["raw.index_close"]
DAYS = (date(2026, 1, 1), date(2026, 1, 2))
SHARED = date(2026, 2, 1)
ROWS = 200
KILLS = 50 if os.environ.get("OPTRADE_STRESS") == "1" else 12
WRITERS, COMMITS = 4, 3


def generation_rows(table: Table, days: tuple[date, ...], generation: int) -> pl.DataFrame:
    """`ROWS` rows a day, every number of which is the generation."""
    base = pl.DataFrame({"trade_date": days}).join(pl.DataFrame({"i": range(ROWS)}), how="cross")
    text = pl.format("{}", pl.col("i"))
    return base.select(
        pl.col("trade_date")
        if column.name == "trade_date"
        else (
            pl.lit("simulated") if column.name == "source" else text
            if column.dtype == pl.String() else pl.lit(generation)
        ).cast(column.dtype).alias(column.name)
        for column in table.columns
    )  # fmt: skip


def commit_generation(lake: Lake, days: tuple[date, ...], generation: int) -> None:
    lake.commit(
        [Slice(table, days, generation_rows(table, days, generation)) for table in (OI, CLOSES)],
        author="test",
        provenance={"run_id": f"run {generation}"},
    )


WHOLE = f"""
SELECT trade_date, min(g), max(g), count(*) = {2 * ROWS}, count(DISTINCT who) = {ROWS} FROM (
    SELECT trade_date, long_contracts AS g, segment AS who FROM raw.participant_oi
    UNION ALL SELECT trade_date, close::BIGINT, index_name FROM raw.index_close
) GROUP BY 1 ORDER BY 1"""


def torn(found: list[tuple[object, ...]], together: tuple[date, ...] = ()) -> bool:
    """Whether a read saw anything but whole generations, the same on days committed together."""
    same = {low for day, low, *_ in found if day in together}
    return len(same) > 1 or any(low != high or not (a and b) for _, low, high, a, b in found)


def child_killed(place: LakeLocation) -> None:
    """Commit one generation after the other until killed."""
    print("warm", flush=True)  # noqa: T201
    sys.stdin.readline()
    with Lake.open(place) as lake:
        print("open", flush=True)  # noqa: T201
        while True:
            start = time.monotonic()
            commit_generation(lake, DAYS, time.time_ns() // 1_000)
            print(time.monotonic() - start, flush=True)  # noqa: T201


def child_writer(place: LakeLocation, number: int) -> None:
    """Replace a day of one's own and one that all share, telling what was committed."""
    own = date(2026, 1, 1) + timedelta(days=number)
    with Lake.open(place) as lake:
        for k in range(1, COMMITS + 1):
            commit_generation(lake, (own,), number * 1_000 + k)
            commit_generation(lake, (SHARED,), number * 1_000 + k)
    print(json.dumps({"writer": number, "own": own.isoformat(), "last": number * 1_000 + COMMITS}))  # noqa: T201


def child_reader(place: LakeLocation, *together: str) -> None:
    """Read until told to stop; count reads, torn reads and errors."""
    seen: Counter[str] = Counter()
    days = tuple(map(date.fromisoformat, together))
    stop = place.root.parent / "stop"
    while not stop.exists():
        try:
            with Lake.open(place, read_only=True) as lake:
                while not stop.exists():
                    found = lake.sql(WHOLE).rows()
                    seen["reads"] += 1
                    seen["reads with rows"] += bool(found)
                    seen["torn"] += torn(found, days)
                    time.sleep(0.002)
        except LakeError as error:  # Right only while there is no lake yet.
            seen["too early" if "no simulated lake" in str(error) else f"error: {error}"] += 1
            time.sleep(0.02)
        except duckdb.Error as error:
            seen[f"error: {error}"] += 1
    print(json.dumps(seen))  # noqa: T201


@contextlib.contextmanager
def started(place: LakeLocation, *words: object) -> Iterator[subprocess.Popen[str]]:
    child = subprocess.Popen(
        [sys.executable, __file__, str(place.root), *map(str, words)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    with child:
        try:
            yield child
        finally:
            child.kill()


def answer(child: subprocess.Popen[str]) -> dict[str, object]:
    out, err = child.communicate(timeout=90)
    assert child.returncode == 0, err
    return json.loads(out)


def kill_in_turn(place: LakeLocation, kills: int, dice: random.Random) -> int:
    """Kill children at random moments, the next one warmed up meanwhile; gives kills made."""
    made, taken = 0, 0.3
    with contextlib.ExitStack() as stack:
        waiting = [stack.enter_context(started(place, "killed")) for _ in range(2)]
        for turn in range(kills):
            child = waiting.pop(0)
            if turn + 2 < kills:
                waiting.append(stack.enter_context(started(place, "killed")))
            assert child.stdin is not None
            assert child.stdout is not None
            assert child.stdout.readline() == "warm\n"
            child.stdin.write("go\n")
            child.stdin.flush()
            if turn % 4:  # One in four dies while it opens (at first: makes) the lake.
                assert child.stdout.readline() == "open\n"
                for _ in range(turn % 3):  # Others after a commit or two, in the next one.
                    taken = float(child.stdout.readline())
            time.sleep(dice.uniform(0.0, 1.3 * taken))
            assert child.poll() is None, child.communicate()[1]
            child.send_signal(signal.SIGKILL)
            child.wait(10)
            made += 1
    return made


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_killed_in_the_middle_of_commits_the_lake_stays_whole(location):
    location.root.parent.mkdir(exist_ok=True)
    with Lake.open(location):
        pass  # Born before the first kill: of one killed at birth a reader rightly says so.
    with started(location, "reader", *DAYS) as reader:
        made = kill_in_turn(location, KILLS, random.Random(7))
        (location.root.parent / "stop").touch()
        seen = answer(reader)
    assert made == KILLS
    with Lake.open(location, lock_timeout_seconds=5) as lake:  # the lock died with its holder
        found = lake.sql(WHOLE).rows()
        commits = lake.sql("SELECT count(*) FROM ducklake_snapshots('lake') WHERE author='test'")
        for path in location.data.rglob("*"):
            os.utime(path, (0, 0))
        orphans = len(remove_orphans(lake).files)
        assert not torn(found, DAYS)
        assert len(found) == len(DAYS)
        assert lake.sql(WHOLE).rows() == found
        commit_generation(lake, DAYS, 1)
        assert {row[1] for row in lake.sql(WHOLE).rows()} == {1}
    print(f"\n{made} kills, {commits.item()} commits, {orphans} orphans, reader {seen}")  # noqa: T201
    assert commits.item() >= KILLS // 3
    assert seen["torn"] == 0
    assert seen["reads with rows"] > 10
    assert [key for key in seen if key.startswith("error")] == []


def test_four_writers_beside_two_readers_lose_nothing(location):
    location.root.parent.mkdir(exist_ok=True)
    with contextlib.ExitStack() as stack:
        readers = [stack.enter_context(started(location, "reader")) for _ in range(2)]
        writers = [stack.enter_context(started(location, "writer", n)) for n in range(WRITERS)]
        told = [answer(writer) for writer in writers]
        (location.root.parent / "stop").touch()
        seen = [answer(reader) for reader in readers]
    with Lake.open(location, read_only=True) as lake:
        found = lake.sql(WHOLE).rows()
        commits = lake.sql("SELECT count(*) FROM ducklake_snapshots('lake') WHERE author='test'")
    print(f"\n{commits.item()} commits, readers {seen}")  # noqa: T201
    assert commits.item() == WRITERS * COMMITS * 2
    assert not torn(found)
    last = {str(day): low for day, low, *_ in found}
    assert last.pop(str(SHARED)) in {writer["last"] for writer in told}
    assert last == {writer["own"]: writer["last"] for writer in told}
    for reader in seen:
        assert reader["torn"] == 0
        assert reader["reads"] > 0
        assert [key for key in reader if key.startswith("error")] == []


if __name__ == "__main__":
    root, role, *words = sys.argv[1:]
    at = LakeLocation(Path(root), "simulated")
    if role == "killed":
        child_killed(at)
    elif role == "writer":
        child_writer(at, int(words[0]))
    else:
        child_reader(at, *words)
