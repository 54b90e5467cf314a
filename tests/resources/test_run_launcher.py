"""Express runs go from one warm process to the next run; a killed one is found and replaced."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import dagster as dg
import pytest
import yaml
from dagster._core.launcher.base import WorkerStatus
from dagster._core.test_utils import create_run_for_test
from dagster._core.workspace.context import WorkspaceProcessContext, WorkspaceRequestContext
from dagster._core.workspace.load_target import PythonFileTarget

from resources import run_launcher
from resources.run_coordinator import EXPRESS
from resources.run_launcher import LaneRunLauncher

JOBS = """
import os, time
from pathlib import Path
import dagster as dg

HERE = Path(__file__).parent

@dg.op
def note_process(context):
    (HERE / context.run_id).write_text(str(os.getpid()))

@dg.op
def fail():
    raise ValueError("it is broken")

@dg.op
def wait(context):
    (HERE / context.run_id).write_text(str(os.getpid()))
    time.sleep(120)

@dg.job(executor_def=dg.in_process_executor)
def quick():
    note_process()

@dg.job(executor_def=dg.in_process_executor)
def broken():
    fail()

@dg.job(executor_def=dg.in_process_executor)
def slow():
    wait()

defs = dg.Definitions(jobs=[quick, broken, slow])
"""
ENDED = (dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)
LIMIT_SECONDS = 60.0
T = TypeVar("T")


@dataclass(frozen=True)
class Place:
    """An instance with our coordinator and launcher, and a code location with three jobs."""

    instance: dg.DagsterInstance
    request: WorkspaceRequestContext
    folder: Path

    @property
    def launcher(self) -> LaneRunLauncher:
        launcher = self.instance.run_launcher
        assert isinstance(launcher, LaneRunLauncher)
        return launcher

    def submit(self, job_name: str, *, express: bool = True) -> str:
        (location,) = self.request.code_locations
        job = location.get_repository("__repository__").get_full_job(job_name)
        run = create_run_for_test(
            self.instance,
            job_name=job_name,
            remote_job_origin=job.get_remote_origin(),
            job_code_origin=job.get_python_origin(),
            tags=dict([EXPRESS]) if express else {},
        )
        if express:
            self.instance.submit_run(run.run_id, self.request)
        else:
            self.instance.launch_run(run.run_id, self.request)
        return run.run_id

    def status(self, run_id: str) -> dg.DagsterRunStatus:
        run = self.instance.get_run_by_id(run_id)
        assert run is not None
        return run.status

    def end(self, run_id: str) -> dg.DagsterRunStatus:
        return until(lambda: self.status(run_id) in ENDED and self.status(run_id))

    def process(self, run_id: str) -> int:
        path = self.folder / run_id
        return until(lambda: path.exists() and int(path.read_text() or 0))


def until(found: Callable[[], T | bool]) -> T:
    limit = time.monotonic() + LIMIT_SECONDS
    while not (value := found()):
        assert time.monotonic() < limit
        time.sleep(0.02)
    assert value is not True
    return value


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("express")
    (folder / "jobs.py").write_text(JOBS, encoding="utf-8")
    home = folder / "home"
    home.mkdir()
    parts = {
        "run_coordinator": {"module": "resources.run_coordinator", "class": "LaneRunCoordinator"},
        "run_launcher": {"module": "resources.run_launcher", "class": "LaneRunLauncher"},
        "telemetry": {"enabled": False},
    }
    (home / "dagster.yaml").write_text(yaml.safe_dump(parts), encoding="utf-8")
    target = PythonFileTarget(str(folder / "jobs.py"), None, str(folder), "jobs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DAGSTER_HOME", str(home))
        with (
            dg.DagsterInstance.get() as instance,
            WorkspaceProcessContext(instance, target) as all_,
        ):
            yield Place(instance, all_.create_request_context(), folder)


def test_express_runs_share_a_process_and_others_have_their_own(place: Place):
    first = place.submit("quick")
    assert place.end(first) == dg.DagsterRunStatus.SUCCESS
    second = place.submit("quick")
    assert place.end(second) == dg.DagsterRunStatus.SUCCESS
    other = place.submit("quick", express=False)
    assert place.end(other) == dg.DagsterRunStatus.SUCCESS
    assert place.process(first) == place.process(second)
    assert place.process(other) not in (place.process(first), os.getpid())


def test_a_failing_run_is_told_and_the_process_goes_on(place: Place):
    before = place.submit("quick")
    assert place.end(before) == dg.DagsterRunStatus.SUCCESS
    failed = place.submit("broken")
    assert place.end(failed) == dg.DagsterRunStatus.FAILURE
    after = place.submit("quick")
    assert place.end(after) == dg.DagsterRunStatus.SUCCESS
    assert place.process(after) == place.process(before)


def test_changed_code_is_read_anew(place: Place):
    before = place.submit("quick")
    assert place.end(before) == dg.DagsterRunStatus.SUCCESS
    path = place.folder / "jobs.py"
    path.write_text(JOBS.replace("str(os.getpid())", "str(-os.getpid())"), encoding="utf-8")
    after = place.submit("quick")
    assert place.end(after) == dg.DagsterRunStatus.SUCCESS
    assert place.process(after) < 0
    path.write_text(JOBS, encoding="utf-8")
    again = place.submit("quick")
    assert place.end(again) == dg.DagsterRunStatus.SUCCESS
    assert place.process(again) > 0


def test_a_run_beside_a_busy_process_gets_another_and_a_cancelled_one_ends(place: Place):
    long = place.submit("slow")
    busy = place.process(long)
    beside = place.submit("quick")
    assert place.end(beside) == dg.DagsterRunStatus.SUCCESS
    assert place.process(beside) != busy
    assert place.launcher.terminate(long)
    assert place.end(long) == dg.DagsterRunStatus.CANCELED


def test_where_no_worker_can_start_a_run_gets_a_process_of_its_own(
    place: Place, monkeypatch: pytest.MonkeyPatch
):
    started: list[str] = []

    class Stillborn(run_launcher.Worker):
        def take(self, run_id: str) -> bool:
            started.append(run_id)
            return False

    place.launcher.dispose()
    monkeypatch.setattr(run_launcher, "Worker", Stillborn)
    run = place.submit("quick")
    assert place.end(run) == dg.DagsterRunStatus.SUCCESS
    assert started == [run], "it is tried once, not for ever"


@pytest.mark.skipif(os.name == "nt", reason="there is no SIGKILL on Windows")
def test_a_killed_process_is_found_and_the_next_run_gets_a_new_one(place: Place):
    long = place.submit("slow")
    killed = place.process(long)
    run = place.instance.get_run_by_id(long)
    assert run is not None
    assert place.launcher.check_run_worker_health(run).status == WorkerStatus.RUNNING
    os.kill(killed, signal.SIGKILL)
    assert place.end(long) == dg.DagsterRunStatus.FAILURE
    other = LaneRunLauncher()
    other.register_instance(place.instance)
    found = other.check_run_worker_health(run)
    assert found.status == WorkerStatus.FAILED, (
        "a launcher that never knew the process finds it too"
    )
    assert str(killed) in str(found)
    after = place.submit("quick")
    assert place.end(after) == dg.DagsterRunStatus.SUCCESS
    assert place.process(after) != killed
