"""The soft limit reaches DuckDB, the kept frames, backfill runs and batches."""

from __future__ import annotations

import os

import pytest

from optrade_dagster.definitions import build_graph, build_resources
from optrade_dagster.home import open_lake
from resources.memory import Budget, MemoryWatch, bytes_of, resident_bytes
from resources.settings import Settings


def settings(tmp_path, limit: str, **more) -> Settings:
    return Settings(home=tmp_path, market="simulated", memory={"soft_limit": limit}, **more)


@pytest.mark.parametrize(
    ("size", "found"),
    [("4GB", 4 * 10**9), ("1.5 GiB", 3 * 2**29), ("512MB", 512 * 10**6), ("64 MiB", 2**26)],
)
def test_sizes(size, found):
    assert bytes_of(size) == found


def test_the_default_is_what_the_parts_may_take_anyway(tmp_path):
    budget = Budget.of(Settings(home=tmp_path))
    assert (budget.duckdb_limit, budget.days_per_run, budget.cache_mb) == ("4000MB", 128, 2000)
    assert MemoryWatch(budget.soft_limit_bytes).segments(10) == 10


def test_a_lower_limit_reaches_every_part(tmp_path):
    small = settings(tmp_path, "600MB")
    resources = build_resources(small)
    assert resources["lake"].duckdb.connection_config["memory_limit"] == "300MB"
    assert resources["lake"].cache_mb == 150
    assert resources["lake"].memory.segments(10) == 1
    graph = build_graph(small)
    assert graph.days_per_run == 10
    assert graph.backfill_policy.max_partitions_per_run == 10
    with open_lake(small, read_only=False) as lake:
        (found,) = lake.sql("SELECT current_setting('memory_limit')").row(0)
    assert found == "286.1 MiB"  # 300 MB


def test_a_parts_own_setting_is_a_further_bound(tmp_path):
    tight = settings(tmp_path, "8GB", lake={"memory_limit": "1GB"}, backfill={"days_per_run": 5})
    budget = Budget.of(tight)
    assert (budget.duckdb_limit, budget.days_per_run) == ("1000MB", 5)


def test_each_pass_halves_the_batches_and_is_told(caplog):
    held = iter([3 * 10**9, 5 * 10**9, 2 * 10**9, 5 * 10**9])
    watch = MemoryWatch(4 * 10**9, measure=lambda: next(held))
    sizes = []
    for _ in range(4):
        watch.look("a commit")
        sizes.append(watch.segments(10))
    assert sizes == [10, 5, 5, 2]
    assert watch.told() == {"memory_limit_passes": 2, "resident_mb": 5000}
    watch.passes = 99
    assert watch.segments(10) == 1


def test_where_the_system_does_not_tell_nothing_is_made_up():
    watch = MemoryWatch(1, measure=lambda: None)
    assert not watch.look("a commit")
    assert watch.told() == {"memory_limit_passes": 0}


@pytest.mark.skipif(os.name == "nt", reason="Windows does not tell")
def test_this_process_takes_some_memory():
    assert 10**7 < (resident_bytes() or 0) < 10**11
