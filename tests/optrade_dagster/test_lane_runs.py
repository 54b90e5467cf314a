"""A run that broke down holds up its day no longer than it takes to see it, and is made up for."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import polars as pl
import pytest
from dagster._core.remote_origin import (
    InProcessCodeLocationOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.test_utils import create_run_for_test
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin

from optrade.tables import Table
from optrade.tables.quality import TICK_GAPS
from optrade_dagster.definitions import build_defs
from optrade_dagster.jobs import DAY_CLOSED, MINUTE_LANE
from optrade_dagster.lane_runs import (
    DAY_TAG,
    MOST_BREAKDOWNS,
    breakdowns,
    end_dead_runs,
    unfinished,
)
from optrade_dagster.minute_sensor import minute_day_ended, tick_segments_sealed
from resources.journal import read_journal, tick_gaps
from resources.recordings import Recordings
from resources.settings import Settings

DAY, SEGMENT = "2026-01-23", "091500-a"
STATUS = dg.DagsterRunStatus
PLACE = InProcessCodeLocationOrigin(LoadableTargetOrigin(module_name="optrade_dagster.definitions"))
LAUNCHED = RemoteJobOrigin(RemoteRepositoryOrigin(PLACE, "__repository__"), MINUTE_LANE)


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def started(
    instance: dg.DagsterInstance, status: dg.DagsterRunStatus = STATUS.STARTED, **more: Any
) -> str:
    details = {"job_name": MINUTE_LANE, "tags": {DAY_TAG: DAY}, "remote_job_origin": LAUNCHED}
    return create_run_for_test(instance, status=status, **details | more).run_id


def status(instance: dg.DagsterInstance, run_id: str) -> dg.DagsterRunStatus:
    run = instance.get_run_by_id(run_id)
    assert run is not None
    return run.status


def kill(instance: dg.DagsterInstance) -> None:
    """A run that is found to have been killed."""
    run = instance.get_run_by_id(started(instance))
    assert run is not None
    instance.report_run_failed(run, "its process is gone")


def fail(instance: dg.DagsterInstance, error: Exception) -> None:
    """A run whose step fails."""

    @dg.op
    def minutes() -> None:
        raise error

    @dg.job(name=MINUTE_LANE)
    def lane() -> None:
        minutes()

    lane.execute_in_process(instance=instance, tags={DAY_TAG: DAY}, raise_on_error=False)


def refuse(instance: dg.DagsterInstance) -> None:
    """A run that says what it can't accept."""
    fail(instance, dg.Failure("the segment is unreadable"))


def test_a_breakdown_is_told_from_a_refusal(instance: dg.DagsterInstance) -> None:
    started(instance, STATUS.SUCCESS)
    refuse(instance)
    assert breakdowns(instance, MINUTE_LANE, DAY) == 0
    kill(instance)
    assert breakdowns(instance, MINUTE_LANE, DAY) == 1
    fail(instance, OSError("no space left on device"))
    assert breakdowns(instance, MINUTE_LANE, DAY) == 2
    assert breakdowns(instance, DAY_CLOSED, DAY) == 0
    assert breakdowns(instance, MINUTE_LANE, "2026-01-22") == 0


def test_runs_of_a_daemon_that_was_killed_end_and_no_others(instance: dg.DagsterInstance) -> None:
    dead = [started(instance, taken) for taken in (STATUS.STARTING, STATUS.STARTED)]
    compacting = started(instance, job_name=DAY_CLOSED)
    others = [
        started(instance, tags={}),
        started(instance, remote_job_origin=None),
        started(instance, STATUS.NOT_STARTED),
        started(instance, STATUS.QUEUED),
    ]
    before = [status(instance, run_id) for run_id in others]
    end_dead_runs(instance)
    assert {status(instance, run_id) for run_id in [*dead, compacting]} == {STATUS.FAILURE}
    assert [status(instance, run_id) for run_id in others] == before
    assert unfinished(instance, DAY)
    assert breakdowns(instance, MINUTE_LANE, DAY) == 2


def _no_waiting(_: float) -> None:
    raise AssertionError("the sensor waits")


class Watch:
    """The sensor over a day with one sealed segment that the lake lacks, and its cursor."""

    def __init__(self, home: Path, instance: dg.DagsterInstance) -> None:
        self.settings = Settings(home=home, market="real")
        folder = self.settings.spool_root / DAY
        folder.mkdir(parents=True)
        (folder / f"{SEGMENT}.seg").touch()
        self.instance, self.held, self.cursor = instance, list[str](), ""
        self.folder, self.holes = folder, TICK_GAPS.empty()
        self.seconds = 0.0

    def read(self, table: Table, *_: object, **__: object) -> pl.DataFrame:
        """What the lake holds of the day."""
        rows = pl.DataFrame({"segment": self.held, "frames": 60, "last_received_at": None})
        return self.holes if table is TICK_GAPS else rows

    def journal(self) -> list[dict[str, Any]]:
        """A journal whose collector came late, as entries."""
        opens = datetime.fromisoformat(f"{DAY}T09:15:00+05:30")
        shared = {"session": "a", "opens": opens, "closes": opens + timedelta(hours=6)}
        late = {"at": opens + timedelta(minutes=5), "event": "session_started"}
        heard = {"at": opens + timedelta(minutes=6), "event": "connected", "session": "a"}
        told = [shared | late, heard]
        lines = (json.dumps(entry, default=datetime.isoformat) + "\n" for entry in told)
        (self.folder / "journal.jsonl").write_text("".join(lines), encoding="utf-8")
        return read_journal(self.folder / "journal.jsonl")

    def look(self) -> list[str | None]:
        """Keys of the runs that it asks for."""
        tick = self.evaluate(tick_segments_sealed(self.seconds, _no_waiting))
        self.cursor = tick.cursor
        return [request.run_key for request in tick.run_requests]

    def evaluate(self, sensor: dg.SensorDefinition) -> Any:
        """What a sensor says."""
        lake = SimpleNamespace(read=self.read)
        spool = Recordings(home=str(self.settings.market_home), root=str(self.settings.spool_root))
        with dg.build_sensor_context(
            self.instance,
            cursor=self.cursor,
            definitions=build_defs(self.settings),
            resources={"lake": SimpleNamespace(lake=lake), "recordings": spool},
        ) as context:
            return sensor.evaluate_tick(context)


@pytest.fixture
def watch(tmp_path: Path, instance: dg.DagsterInstance) -> Watch:
    return Watch(tmp_path, instance)


def test_a_killed_run_is_asked_for_again_even_when_nothing_new_is_sealed(watch: Watch) -> None:
    first = watch.look()
    run = watch.instance.get_run_by_id(started(watch.instance))
    assert run is not None
    assert watch.look() == []  # It is still at work.
    watch.instance.report_run_failed(run, "its process is gone")
    again = watch.look()
    assert len(first) == len(again) == 1
    assert again != first
    assert watch.look() == []


def test_a_run_that_refused_is_not_asked_for_again(watch: Watch) -> None:
    assert len(watch.look()) == 1
    refuse(watch.instance)
    assert watch.look() == []


def test_a_run_killed_after_its_commit_needs_no_other(watch: Watch) -> None:
    watch.look()
    kill(watch.instance)
    watch.held = [SEGMENT]
    assert watch.look() == []


def test_nobody_waits_for_more_once_the_market_is_being_stopped(watch: Watch) -> None:
    watch.held = [SEGMENT]
    watch.seconds = 60.0
    (watch.settings.market_home / "ending").touch()
    assert watch.look() == []  # At once: the clock of this test never moves.


def test_a_day_that_is_over_is_closed_while_the_next_one_is_collected(watch: Watch) -> None:
    watch.held = [SEGMENT]
    tick = watch.evaluate(minute_day_ended())
    assert (tick.run_requests, tick.skip_message) == ([], f"{DAY} is still going on")
    before = watch.folder.with_name("2026-01-22")
    before.mkdir()
    (before / f"{SEGMENT}.seg").touch()
    ended = {"at": "2026-01-22T15:30:10+05:30", "session": "a", "event": "session_ended"}
    (before / "journal.jsonl").write_text(json.dumps(ended | {"reason": "closed"}) + "\n")
    (request,) = watch.evaluate(minute_day_ended()).run_requests
    assert request.tags[DAY_TAG] == "2026-01-22"


def test_a_hole_is_told_though_nothing_was_ever_heard(watch: Watch) -> None:
    (watch.folder / f"{SEGMENT}.seg").unlink()
    assert watch.look() == []
    told = watch.journal()
    assert len(watch.look()) == 1
    assert watch.look() == [], "it is asked for once"
    watch.holes = tick_gaps(told, date.fromisoformat(DAY), "kite")
    assert watch.holes["cause"].to_list() == ["not_started"]
    with (watch.folder / "journal.jsonl").open("a", encoding="utf-8") as journal:
        journal.write("\n")
    assert watch.look() == [], "the journal grew, but tells of no other hole"
    watch.holes = watch.holes.clear()
    with (watch.folder / "journal.jsonl").open("a", encoding="utf-8") as journal:
        journal.write("\n")
    assert len(watch.look()) == 1


def test_a_day_whose_runs_are_always_killed_is_given_up(watch: Watch) -> None:
    asked = 0
    while watch.look():
        asked += 1
        assert asked < 2 * MOST_BREAKDOWNS
        kill(watch.instance)
    assert asked == MOST_BREAKDOWNS + 1
