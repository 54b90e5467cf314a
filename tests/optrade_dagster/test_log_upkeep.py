"""Old logs are compressed every day by a job of its own, in either market."""

from __future__ import annotations

import gzip
from datetime import datetime, timedelta

import dagster as dg
import pytest

from optrade.calendar import IST
from optrade_dagster.definitions import build_defs
from optrade_dagster.jobs import LOGS_PACKED
from resources.settings import Settings

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@pytest.fixture(params=["real", "simulated"])
def settings(request, tmp_path):
    return Settings(home=tmp_path, market=request.param, logging={"compress_after_days": 2})


@pytest.fixture
def files(settings):
    """Makes a log file of so many days ago; its text is its name."""
    settings.log_root.mkdir(parents=True)
    today = datetime.now(IST).date()

    def make(part, days, kind="jsonl"):
        path = settings.log_root / f"{part}-{today - timedelta(days=days)}.{kind}"
        path.write_text(path.name)
        return path

    return make


def pack(settings):
    job = build_defs(settings).resolve_job_def(LOGS_PACKED)
    return job.execute_in_process(run_config=QUIET, raise_on_error=False)


def test_what_is_old_is_compressed_and_nothing_is_lost(settings, files):
    old = [files("collect", 4), files("dagster", 5, "out")]
    young = [files("collect", 0), files("collect", 1), files("up", 0)]
    for _ in range(2):
        assert pack(settings).success
        assert sorted(settings.log_root.glob("*-*")) == sorted(
            [*young, *(path.with_name(f"{path.name}.gz") for path in old)]
        )
    for path in old:
        assert gzip.decompress(path.with_name(f"{path.name}.gz").read_bytes()) == path.name.encode()


def test_before_anything_is_logged_there_is_nothing_to_do(settings):
    assert pack(settings).success


def test_a_file_that_cannot_be_compressed_stays_and_fails_the_run(settings, files):
    damaged, other = files("collect", 4), files("up", 4)
    damaged.with_name(f"{damaged.name}.gz").write_bytes(b"no gzip")
    result = pack(settings)
    assert not result.success
    (event,) = [e for e in result.all_events if e.is_step_failure]
    assert f"{damaged} stays as it is" in event.step_failure_data.error.to_string()
    assert damaged.exists()
    assert not other.exists()


def test_it_runs_daily_by_itself(settings):
    schedule = build_defs(settings).resolve_schedule_def("logs_packed_daily")
    assert schedule.job_name == LOGS_PACKED
    assert schedule.default_status is dg.DefaultScheduleStatus.RUNNING
    assert (schedule.cron_schedule, schedule.execution_timezone) == ("30 0 * * *", "Asia/Kolkata")
