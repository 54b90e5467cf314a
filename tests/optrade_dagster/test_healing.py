"""Healing end to end: a refused file is an incident, tried again elsewhere, closed or not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import pytest

from optrade_dagster.definitions import build_defs, build_graph
from optrade_dagster.heal_sensor import HEAL_TAG, incidents_healed
from optrade_dagster.jobs import (
    FAILED_PARTITIONS,
    LAKE_INTACT,
    close_lane,
    heal_minutes,
    minute_lane,
)
from optrade_dagster.partitions_watch import failed_partitions

SOON = timedelta(minutes=2)


@pytest.fixture
def hurt(lanes, exchange, own_exchange, sessions):
    """A market whose archive has a cut-off bhavcopy of one day; a fallback has the whole one."""
    nse = {"base_url": str(own_exchange), "fallback_urls": (str(exchange),)}
    lane = lanes(own_exchange, nse=nse)
    day = sessions[1]
    damaged = lane.file("fo_bhavcopy", day)
    damaged.write_bytes(damaged.read_bytes()[:-1000])
    return lane, day


def look(lane: Any, later: timedelta) -> Any:
    """An evaluation of the healing sensor, so much later than now."""
    defs, graph = build_defs(lane.settings), build_graph(lane.settings)
    sensor = incidents_healed(
        lane.settings,
        graph,
        [close_lane(graph), minute_lane(graph), heal_minutes(graph)],
        clock=lambda: datetime.now(UTC) + later,
    )
    with dg.build_sensor_context(
        instance=lane.instance,
        definitions=defs,
        sensor_name="incidents_healed",
        resources={"lake": defs.resources["lake"]},
    ) as context:
        return sensor.evaluate_tick(context)


def carry_out(lane: Any, request: dg.RunRequest) -> dg.ExecuteInProcessResult:
    return lane.job.execute_in_process(
        instance=lane.instance,
        partition_key=request.partition_key,
        run_config=request.run_config,
        tags=request.tags,
        raise_on_error=False,
    )


def test_a_refused_file_is_tried_again_elsewhere_and_its_incident_closed(hurt, reading):
    lane, day = hurt
    assert not lane.run(day).success

    incidents = {row["table_name"]: row for row in lane.read("quality.incidents", day)}
    found = incidents["raw.fo_bhavcopy"]
    assert (found["subject"], found["cause"]) == ("accepted", "file_unreadable")
    assert (found["status"], found["handling"], found["action"]) == ("open", "automatic", "refetch")
    assert "zip cut off" in found["evidence"]
    judged = {
        (row["table_name"], row["rule"]): row["passed"]
        for row in lane.read("quality.check_results", day)
    }
    assert judged["raw.fo_bhavcopy", "accepted"] is False
    assert judged["raw.index_close", "accepted"] is True
    failed = failed_partitions(lane.instance, build_graph(lane.settings))
    assert failed["raw.fo_bhavcopy"] == [str(day)]
    assert "raw.index_close" not in failed

    assert look(lane, timedelta(0)).run_requests == []
    (request,) = look(lane, SOON).run_requests
    assert request.tags["optrade/tried-with"] == str(lane.exchange)
    assert not carry_out(lane, request).success
    (tried,) = [
        r for r in lane.read("quality.recoveries", day) if r["incident_id"] == found["incident_id"]
    ]
    assert (tried["attempt"], tried["outcome"]) == (1, "not_healed")
    assert look(lane, SOON).run_requests == []

    (request,) = look(lane, timedelta(minutes=11)).run_requests
    elsewhere = lane.settings.nse.fallback_urls[0]
    assert request.tags["optrade/tried-with"] == elsewhere
    healed = carry_out(lane, request)
    assert healed.success, reading.failure_text(healed)
    after = {row["incident_id"]: row for row in lane.read("quality.incidents", day)}
    closed = after[found["incident_id"]]
    assert (closed["status"], closed["found_before"], closed["found_after"]) == ("closed", 1.0, 0.0)
    last = lane.read("quality.recoveries", day)[-1]
    assert (last["attempt"], last["outcome"], last["tried_with"]) == (2, "healed", elsewhere)
    assert lane.read("snapshots.chain_close", day)
    assert failed_partitions(lane.instance, build_graph(lane.settings)) == {}
    assert look(lane, timedelta(days=1)).run_requests == []


def test_a_run_that_broke_down_counts_as_an_attempt_and_three_are_enough(hurt):
    lane, day = hurt
    lane.run(day, only=["raw.source_files", "raw.fo_bhavcopy"])
    for number in (1, 2, 3):
        (request,) = look(lane, timedelta(hours=2)).run_requests
        assert request.tags["optrade/attempt"] == str(number)
        run = lane.instance.create_run_for_job(lane.job, tags=request.tags)
        assert look(lane, timedelta(hours=2)).run_requests == []  # it is under way
        lane.instance.report_run_failed(run, "killed")
        assert look(lane, timedelta(hours=2)).run_requests == []  # noted now
    for incident in lane.read("quality.incidents", day):
        assert (incident["status"], incident["attempts"]) == ("escalated", 3)
    outcomes = {(r["attempt"], r["outcome"]) for r in lane.read("quality.recoveries", day)}
    assert outcomes == {(1, "failed"), (2, "failed"), (3, "failed")}
    assert look(lane, timedelta(days=9)).run_requests == []
    assert len(lane.instance.get_runs(dg.RunsFilter(tags={HEAL_TAG: f"{day} refetch close"}))) == 3


def test_a_partition_left_failed_is_told_daily_and_is_an_incident(hurt):
    lane, day = hurt
    lane.run(day, only=["raw.source_files", "raw.fo_bhavcopy"])
    job = build_defs(lane.settings).resolve_job_def("partitions_watched")
    result = job.execute_in_process(instance=lane.instance)
    evaluations = {e.asset_check_key: e for e in result.get_asset_check_evaluations()}
    assert evaluations[LAKE_INTACT].passed
    told = evaluations[FAILED_PARTITIONS]
    assert not told.passed
    assert f"raw.fo_bhavcopy {day}" in told.description
    assert "optrade backfill" in told.description
    rows = {row["subject"]: row for row in lane.read("quality.incidents", day)}
    assert (rows["partition"]["cause"], rows["partition"]["component"]) == ("run_failed", "runs")
    whole = lane.exchange / lane.file("fo_bhavcopy", day).relative_to(lane.exchange)
    fallback = lane.settings.nse.fallback_urls[0]
    whole.write_bytes((type(whole)(fallback) / whole.relative_to(lane.exchange)).read_bytes())
    lane.run(day, only=["raw.source_files", "raw.fo_bhavcopy"])
    result = job.execute_in_process(instance=lane.instance)
    assert [e.passed for e in result.get_asset_check_evaluations()] == [True, True]
    rows = {row["subject"]: row["status"] for row in lane.read("quality.incidents", day)}
    assert rows == dict.fromkeys(("accepted", "not_turned_away", "partition"), "closed")
