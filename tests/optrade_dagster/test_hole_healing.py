"""Holes of a day healed by the sensor's runs: each in its turn, beside other runs, in sight."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest
from filelock import FileLock, Timeout

from assets.minute_work import DayWork
from optrade_dagster.definitions import build_defs, build_graph
from optrade_dagster.explain import explain
from optrade_dagster.heal_sensor import HEAL_TAG, incidents_healed
from optrade_dagster.jobs import close_lane, heal_minutes, minute_lane
from resources.lake_history import equals
from tests.assets.candle_broker import MINUTE, Broker, heal
from tests.assets.spooled_market import DAY, OPEN, OPTIONS, Market, segment

FORGOTTEN = min(OPTIONS)
CHAIN, GAPS = "snapshots.chain_minute", "quality.tick_gaps"
FIRST_CUT, SECOND_CUT = (2, 9), (10, 12)


@pytest.fixture(autouse=True)
def no_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resources.kite.candles.PACE_SECONDS", 0.0)


def play(market: Market, minutes: range) -> None:
    for minute in minutes:
        market.seal(minute, segment(minute, range(60 * minute, 60 * minute + 60)))


def tell(market: Market, number: int, cut: tuple[int, int]) -> None:
    """A cut of the feed from one minute to another, in the journal."""
    begin, end = ((OPEN + n * MINUTE).isoformat() for n in cut)
    entry = {"at": OPEN.isoformat(), "session": "s1", "instruments": 9, "instrument_tokens": None}
    gap = {"gap": f"s1-{number}", "cause": "connection_lost", "started_at": begin, "detail": "cut"}
    entries = [
        entry | {"event": "session_started", "opens": OPEN.isoformat(), "closes": None},
        entry | gap | {"event": "gap_opened"},
        entry | {"event": "gap_closed", "gap": f"s1-{number}", "ended_at": end},
    ]
    with (market.folder / "journal.jsonl").open("a", encoding="utf-8") as journal:
        journal.writelines(json.dumps(entry) + "\n" for entry in entries[number > 1 :])


@pytest.fixture
def cut(tmp_path: Path) -> Iterator[Market]:
    """A day whose feed was cut for seven minutes."""
    with dg.DagsterInstance.ephemeral() as instance:
        market = Market(tmp_path / "home", instance)
        market.begin()
        play(market, range(FIRST_CUT[0]))
        play(market, range(FIRST_CUT[1], SECOND_CUT[0]))
        tell(market, 1, FIRST_CUT)
        assert market.run().success
        yield market


def look(market: Market, later: timedelta = timedelta(0)) -> list[dg.RunRequest]:
    """What the healing sensor asks for, so much later than now."""
    defs, graph = build_defs(market.settings), build_graph(market.settings)
    jobs = [close_lane(graph), minute_lane(graph), heal_minutes(graph)]
    sensor = incidents_healed(market.settings, graph, jobs, clock=lambda: datetime.now(UTC) + later)
    with dg.build_sensor_context(
        instance=market.instance,
        definitions=defs,
        sensor_name="incidents_healed",
        resources={"lake": defs.resources["lake"]},
    ) as context:
        return list(sensor.evaluate_tick(context).run_requests or [])


def shown(market: Market, table: str) -> dict[str, Any]:
    """What Dagster's UI shows of the day: the metadata of its newest materialization."""
    key = dg.AssetKey(table.split("."))
    records = market.instance.fetch_materializations(
        dg.AssetRecordsFilter(key, asset_partitions=[DAY.isoformat()]), limit=1
    ).records
    metadata = records[0].asset_materialization.metadata
    return {name: value.value for name, value in metadata.items()} | {
        name: [record.data for record in value.records]
        for name, value in metadata.items()
        if isinstance(value, dg.TableMetadataValue)
    }


def outcomes(market: Market) -> dict[tuple[str, int], str]:
    """How each attempt on each hole ended."""
    names = market.read("quality.incidents").select("incident_id", "subject")
    rows = market.read("quality.recoveries").join(names, on="incident_id")
    return {(row["subject"], row["attempt"]): row["outcome"] for row in rows.to_dicts()}


def test_what_the_broker_forgot_stays_labelled_and_a_later_hole_gets_its_own_attempts(
    cut: Market, reading: Any
) -> None:
    forgetful = Broker(knows=lambda token: token != FORGOTTEN)
    (request,) = look(cut)
    result = heal(cut, forgetful, **request.tags)
    assert result.success, reading.failure_text(result)
    assert outcomes(cut) == {("s1-1", 1): "not_healed"}
    holes = shown(cut, GAPS)
    assert (holes["holes"], holes["filled_minutes"], holes["unfilled_minutes"]) == (1, 56, 7)
    (hole,) = holes["what_was_not_heard"]
    assert (hole["started_at"], hole["cause"], hole["healed_from"]) == (
        "09:17:00", "connection_lost", "candles",
    )  # fmt: skip
    wrong = [row for row in shown(cut, "quality.incidents")["what_is_wrong"]
             if row["subject"] == "s1-1"]  # fmt: skip
    assert [row["status"] for row in wrong] == ["open"]
    assert "instrument-minutes filled 56, not filled 7" in wrong[0]["evidence"]
    (tried,) = shown(cut, "quality.recoveries")["what_was_tried"]
    assert (tried["tried_with"], tried["outcome"]) == ("broker", "not_healed")
    chain = shown(cut, CHAIN)
    options = len(OPTIONS)
    assert (chain["rows_from_candles"], chain["minutes_with_candles"]) == (7 * (options - 1), 7)

    play(cut, range(SECOND_CUT[1], SECOND_CUT[1] + 1))
    tell(cut, 2, SECOND_CUT)
    assert cut.run().success
    assert shown(cut, CHAIN)["minutes_with_candles"] == 7  # Of the day, not of the run.
    (request,) = look(cut)
    assert (request.tags["optrade/attempt"], request.tags[HEAL_TAG]) == (
        "1", f"{DAY} candles minute",
    )  # fmt: skip
    assert heal(cut, Broker(), **request.tags).success
    assert outcomes(cut) == {("s1-1", 1): "not_healed", ("s1-2", 1): "healed"}
    incidents = cut.read("quality.incidents").filter(pl.col("cause") == "feed_cut")
    assert set(incidents["status"]) == {"closed"}
    assert look(cut, timedelta(days=1)) == []
    row = {"trade_date": DAY, "minute": OPEN + 5 * MINUTE, "instrument_token": FORGOTTEN}
    for table, key in ((CHAIN, row), (GAPS, {"trade_date": DAY, "gap": "s1-1"})):
        column = "last_price" if table == CHAIN else "filled_minutes"
        proved = explain(
            cut.settings, table, equals(key), column, instance=cut.instance, verify=True
        )
        assert proved.first_difference is None, table
        assert any(v.table == "raw.candles" and v.identical for v in proved.verified)


def test_a_run_that_was_killed_counts_for_its_own_incidents_alone(cut: Market) -> None:
    (request,) = look(cut)
    run = cut.instance.create_run_for_job(
        build_defs(cut.settings).resolve_job_def("heal_minutes"), tags=request.tags
    )
    assert look(cut) == []  # it is under way
    cut.instance.report_run_failed(run, "killed")
    tell(cut, 2, SECOND_CUT)
    play(cut, range(SECOND_CUT[1], SECOND_CUT[1] + 1))
    assert cut.run().success
    assert look(cut) == []  # noted now
    assert outcomes(cut) == {("s1-1", 1): "failed"}
    (request,) = look(cut)
    heals = request.tags["optrade/heals"].split(",")
    assert request.tags["optrade/attempt"] == "1"
    assert heal(cut, Broker(), **request.tags).success
    assert len(heals) == 1
    assert outcomes(cut) == {("s1-1", 1): "failed", ("s1-2", 1): "healed"}


def test_healing_beside_the_days_runs_and_another_healing_loses_and_doubles_nothing(
    cut: Market, monkeypatch: pytest.MonkeyPatch
) -> None:
    new_segments, locked = DayWork.new_segments, []

    def looked(work: DayWork, *, again: bool) -> list[str]:
        lock = FileLock(work.lake.lake.location.root / ".minutes.lock")
        with pytest.raises(Timeout):  # Nobody else may read the day and commit what follows.
            lock.acquire(timeout=0)
        locked.append(True)
        return new_segments(work, again=again)

    monkeypatch.setattr(DayWork, "new_segments", looked)
    other = Broker(knows=lambda token: token == FORGOTTEN)

    def meanwhile() -> None:
        play(cut, range(10, 13))
        assert cut.run().success
        assert heal(cut, other).success

    assert heal(cut, Broker(knows=lambda token: token != FORGOTTEN, meanwhile=meanwhile)).success
    assert len(locked) == 3
    candles, chain = cut.read("raw.candles"), cut.read(CHAIN)
    key = ["instrument_token", "minute"]
    assert (candles.height, candles.select(key).is_duplicated().sum()) == (63, 0)
    assert (chain.height, chain.select(key).is_duplicated().sum()) == (13 * len(OPTIONS), 0)
    assert chain.drop_nulls("filled_from").height == 7 * len(OPTIONS)
    assert heal(cut, broker := Broker()).success
    assert broker.asked == []
    assert cut.read(CHAIN).equals(chain)
