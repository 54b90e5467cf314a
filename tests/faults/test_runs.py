"""Runs that are killed or break down: the day they leave is an incident and is made again."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from assets.minutes import MINUTE_TABLES
from optrade_dagster.definitions import build_defs
from optrade_dagster.jobs import FAILED_PARTITIONS
from tests.assets.spooled_market import DAY, QUIET, Market, whole_day
from tests.faults.hospital import SOON, Row, carry_out, incidents, look, recoveries
from tests.faults.schema import Fault

FAMILY, CHECK = "Runs", "`quality/health`: `no_partition_left_failed`"
HEALED = "the tables of the day are made again by the same lane"
FAULTS = (
    Fault(
        "run_killed",
        FAMILY,
        "a run is killed (kill -9) in the midst of its work",
        CHECK,
        "run_failed",
        "healed",
        HEALED,
    ),
    Fault(
        "run_broke_down",
        FAMILY,
        "a run fails because a file it needs is gone",
        CHECK,
        "run_failed",
        "healed",
        HEALED,
    ),
)
KILLED = """
import sys, time
from pathlib import Path
import dagster as dg
from assets.minute_work import DayWork
from tests.assets.spooled_market import Market
home, memory, mark = map(Path, sys.argv[1:])

def hang(*_):
    mark.touch()
    time.sleep(600)

DayWork.decoded = hang
with dg.DagsterInstance.local_temp(str(memory)) as instance:
    Market(home, instance).run()
"""
CHAIN = "snapshots.chain_minute"


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Market]:
    """A spool of a minute, in no lake yet, and an instance that other processes share."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "memory").mkdir()
    with dg.DagsterInstance.local_temp(str(folder / "memory")) as instance:
        made = Market(folder / "home", instance)
        made.begin()
        made.seal(0, whole_day(0))
        yield made


def watch(market: Market) -> dg.AssetCheckEvaluation:
    """The daily look for partitions left failed."""
    job = build_defs(market.settings).resolve_job_def("partitions_watched")
    result = job.execute_in_process(instance=market.instance, run_config=QUIET)
    told = {e.asset_check_key: e for e in result.get_asset_check_evaluations()}
    return told[FAILED_PARTITIONS]


def left_failed(market: Market) -> dict[str, Row]:
    """The newest incident of each table about a day left failed."""
    told = incidents(market.settings)
    return {table: row for (table, subject), row in told.items() if subject == "partition"}


def healed(market: Market, found: dict[str, Row]) -> None:
    """What the sensor asks for makes the day again and closes its incidents."""
    (request,) = look(market.settings, market.instance, SOON)
    assert request.tags["optrade/action"] == "recompute"
    assert carry_out(market, request).success
    after = left_failed(market)
    for table, row in found.items():
        assert after[table]["status"] == "closed", table
        assert recoveries(market.settings, row) == [(1, "recompute", "healed")], table
    told = watch(market)
    assert told.passed, told.description


def check(market: Market) -> dict[str, Row]:
    """The daily look finds the day, and each table of it is an incident."""
    told = watch(market)
    assert not told.passed
    assert str(DAY) in (told.description or "")
    found = left_failed(market)
    assert set(found) == {table.full_name for table in MINUTE_TABLES}
    for row in found.values():
        assert (row["cause"], row["component"], row["status"]) == ("run_failed", "runs", "open")
        assert str(DAY) in row["evidence"]
    return found


@pytest.mark.skipif(os.name == "nt", reason="there is no SIGKILL on Windows")
def test_a_killed_run_is_an_incident_and_its_day_is_made_again(market: Market) -> None:
    folder = market.home.parent
    mark = folder / "at work"
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, str(market.home), str(folder / "memory"), str(mark)],
        cwd=Path(__file__).parents[2],
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            limit = time.monotonic() + 120
            while not mark.exists():
                assert process.poll() is None
                assert time.monotonic() < limit
                time.sleep(0.05)
        finally:
            process.kill()
    (run,) = market.instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED]))
    market.instance.report_run_failed(run, "its process is gone")  # As Dagster's daemon does.
    found = check(market)
    healed(market, found)
    assert market.read(CHAIN).height == 6


def test_a_run_that_broke_down_is_an_incident_and_its_day_is_made_again(market: Market) -> None:
    file = market.folder / "subscription.json"
    content = file.read_bytes()
    file.unlink()
    market.seal(1, whole_day(1))
    assert not market.run().success
    found = check(market)
    file.write_bytes(content)
    healed(market, found)
    assert market.read(CHAIN).height == 12
