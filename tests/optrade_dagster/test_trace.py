"""Every run that something of ours asks for carries the trace id of who asked."""

from __future__ import annotations

import json
from contextlib import nullcontext
from datetime import date, datetime
from types import SimpleNamespace

import dagster as dg
import polars as pl
import pytest

from optrade.calendar import IST
from optrade_dagster.definitions import build_defs
from optrade_dagster.home import open_instance
from optrade_dagster.lane_runs import DAY_TAG
from optrade_dagster.sensors import REQUIRED_KINDS, Look, run_request
from resources.logs import TRACE_TAG, bound
from resources.recordings import Recordings
from resources.settings import Settings

DAY = date(2026, 1, 23)
SEGMENTS = ["091500-a", "091600-a"]


@pytest.fixture
def market(tmp_path):
    """A real market's settings, and a day whose session has ended."""
    settings = Settings(home=tmp_path, market="real")
    folder = settings.spool_root / str(DAY)
    folder.mkdir(parents=True)
    for name in SEGMENTS:
        (folder / f"{name}.seg").touch()
    ended = {"at": f"{DAY}T15:30:10+05:30", "session": "a", "event": "session_ended"}
    (folder / "journal.jsonl").write_text(json.dumps(ended | {"reason": "closed"}) + "\n")
    return settings


def evaluated(settings, name, held):
    """What a sensor of the minute lane asks for when the lake holds these segments."""
    reads = SimpleNamespace(read=lambda *_, **__: pl.DataFrame({"segment": held}))
    resources = {
        "lake": SimpleNamespace(lake=reads),
        "recordings": Recordings(home=str(settings.market_home), root=str(settings.spool_root)),
    }
    defs = build_defs(settings)
    with (
        dg.DagsterInstance.ephemeral() as instance,
        dg.build_sensor_context(
            instance, definitions=defs, sensor_name=name, resources=resources
        ) as context,
    ):
        return defs.resolve_sensor_def(name).evaluate_tick(context).run_requests


def ticked(settings, name):
    """What a schedule asks for on the morning after the day."""
    defs = build_defs(settings)
    with (
        dg.DagsterInstance.ephemeral() as instance,
        dg.build_schedule_context(
            instance,
            scheduled_execution_time=datetime(2026, 1, 24, 6, tzinfo=IST),
            repository_def=defs.get_repository_def(),
        ) as context,
    ):
        return defs.resolve_schedule_def(name).evaluate_tick(context).run_requests


ASKED = {
    "a sealed segment": lambda m: evaluated(m, "tick_segments_sealed", SEGMENTS[:1]),
    "the end of a day": lambda m: evaluated(m, "minute_day_ended", SEGMENTS),
    "published files": lambda _: [run_request(Look(DAY, frozenset(REQUIRED_KINDS), ()))],
    "dawn": lambda m: ticked(m, "close_lane_at_dawn"),
    "old logs": lambda m: ticked(m, "logs_packed_daily"),
}


@pytest.mark.parametrize("what", ASKED)
@pytest.mark.parametrize("trace", ["4f1c", None])
def test_what_asks_for_a_run_hands_on_its_trace(market, what, trace):
    with bound(trace_id=trace) if trace else nullcontext():
        (request,) = ASKED[what](market)
    assert request.tags.get(TRACE_TAG) == trace
    if what in ("a sealed segment", "the end of a day"):
        assert request.tags[DAY_TAG] == str(DAY)


@pytest.fixture
def runs(demo, monkeypatch):
    """The runs of a whole demo: a backfill, then minutes of a live session; others may follow."""
    assert demo.code == 0, demo.output
    for name in ("DAGSTER_HOME", "OPTRADE_HOME", "OPTRADE_MARKET"):  # Opening sets these.
        monkeypatch.setenv(name, "")
    with open_instance(Settings(home=demo.optrade.home, market="simulated")) as instance:
        return {run.run_id: run for run in instance.get_runs()}


@pytest.fixture
def lines(demo):
    """What its processes logged."""
    root = Settings(home=demo.optrade.home, market="simulated").log_root
    return [
        json.loads(line)
        for path in sorted(root.glob("*.jsonl"))
        for line in path.read_text(encoding="utf-8").splitlines()
    ]


def test_one_command_is_one_trace_through_all_its_runs_and_processes(runs, lines):
    (trace,) = {line["trace_id"] for line in lines if line["component"] == "up"}
    assert all(TRACE_TAG in run.tags for run in runs.values())
    of_demo = [run for run in runs.values() if run.tags[TRACE_TAG] == trace]
    assert {run.job_name for run in of_demo} == {"__ASSET_JOB", "minute_lane"}
    components = {line["component"] for line in lines if line["trace_id"] == trace}
    assert components >= {"up", "collect", "dagster"}
    for line in lines:
        if "run_id" in line:
            assert line["trace_id"] == runs[line["run_id"]].tags[TRACE_TAG]


def test_the_lines_of_real_runs_say_which_run_step_and_day_they_are_of(runs, lines):
    committed = [line for line in lines if line["event"] == "committed"]
    backfilled = {run_id for run_id, run in runs.items() if run.job_name == "__ASSET_JOB"}
    assert backfilled <= {line["run_id"] for line in committed} <= set(runs)
    steps = {line["step"] for line in committed}
    assert steps >= {"exchange_files", "minutes", "participants__activity"}
    for line in committed:
        tags = runs[line["run_id"]].tags
        first = tags.get("dagster/asset_partition_range_start", tags.get("dagster/partition"))
        assert line["partition"].startswith(first)
        if line["step"] == "participants__activity":
            assert line["asset"] == "participants.activity"
