"""Dagster's run launcher with warm workers for the express lane.

Belongs here: which process a run goes to, and whether that process still lives. Does not belong
here: when a run may start (see `run_coordinator`), what a worker does (see `run_worker`).

Dagster starts a process for every run, which imports everything anew: seconds of a minute that
people wait for, and most of its CPU. A worker carries out one express run after the other
instead. Other runs get a process of their own, as always.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from threading import Lock, Thread
from typing import IO, cast

from dagster import DagsterEventType, DagsterRun
from dagster._core.launcher.base import CheckRunHealthResult, LaunchRunContext, WorkerStatus
from dagster._core.launcher.default_run_launcher import DefaultRunLauncher
from dagster._serdes import ConfigurableClassData

from resources.processes import lives
from resources.run_coordinator import is_express

_LEAVE_SECONDS = 5.0
"""How long to wait for a worker that was told to leave; one in a run stays to end it."""


class Worker:
    """A process of `resources.run_worker`, and the run it was last given.

    `on_end` is called, in another thread, when the process has ended.
    """

    def __init__(self, on_end: Callable[[Worker], None]) -> None:
        self.run_id = ""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "resources.run_worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._words = cast("IO[str]", self._process.stdin)
        self._answers = cast("IO[str]", self._process.stdout)
        Thread(target=self._wait, args=(on_end,), daemon=True).start()

    def _wait(self, on_end: Callable[[Worker], None]) -> None:
        self._process.wait()
        on_end(self)

    @property
    def alive(self) -> bool:
        """Whether the process is there."""
        return self._process.poll() is None

    def take(self, run_id: str) -> bool:
        """Hand over a run; False when the process has ended or would not take it."""
        try:
            self._words.write(f"{run_id}\n")
            self._words.flush()
        except OSError:
            return False
        if self._answers.readline().strip() != run_id:
            return False
        self.run_id = run_id
        return True

    def leave(self) -> None:
        """Let the process end, after its run if it has one."""
        for pipe in (self._words, self._answers):
            try:
                pipe.close()
            except OSError:  # Words that a dead process never took.
                continue
        try:
            self._process.wait(_LEAVE_SECONDS)
        except subprocess.TimeoutExpired:
            return


class LaneRunLauncher(DefaultRunLauncher):
    """`DefaultRunLauncher` that hands express runs to workers, and knows which runs are dead."""

    def __init__(self, inst_data: ConfigurableClassData | None = None) -> None:
        super().__init__(inst_data)
        self._workers: list[Worker] = []
        self._lock = Lock()

    def launch_run(self, context: LaunchRunContext) -> None:
        """Start a run: an express run in a worker, any other in a process of its own."""
        run = context.dagster_run
        if not is_express(run):
            super().launch_run(context)
            return
        if not self._handed_over(run.run_id):
            super().launch_run(context)  # A process of its own tells what keeps it from starting.

    def _handed_over(self, run_id: str) -> bool:
        """Give the run to a worker; False when not even a new one would take it."""
        with self._lock:
            while True:
                worker = self._idle()
                fresh = not worker.run_id
                if worker.take(run_id):
                    return True
                self._workers.remove(worker)
                worker.leave()
                if fresh:
                    return False

    def _idle(self) -> Worker:
        """A worker that has nothing to do; a new one where there is none."""
        for worker in self._workers:
            if not worker.alive or self._unfinished(worker) is None:
                return worker
        self._workers.append(Worker(self._ended))
        return self._workers[-1]

    def _unfinished(self, worker: Worker) -> DagsterRun | None:
        """The run that a worker has in hand."""
        run = self._instance.get_run_by_id(worker.run_id) if worker.run_id else None
        return None if run is None or run.is_finished else run

    def _ended(self, worker: Worker) -> None:
        """Fail the run in whose midst a worker was killed; it would hold up its lane."""
        with self._lock:  # Until a worker has taken a run, another one may get it.
            if run := self._unfinished(worker):
                self._instance.report_run_failed(run, "The process of this run was killed.")

    def terminate(self, run_id: str) -> bool:
        """End a run: a worker looks whether its run is to be cancelled."""
        run = self._instance.get_run_by_id(run_id)
        if run is None or run.is_finished or not is_express(run):
            return bool(super().terminate(run_id))  # type: ignore[no-untyped-call]
        self._instance.report_run_canceling(run)
        return True

    def dispose(self) -> None:
        """Let the workers leave."""
        with self._lock:
            leaving, self._workers = self._workers, []
            for worker in leaving:
                worker.run_id = ""  # Whatever becomes of it is told by itself.
        for worker in leaving:
            worker.leave()

    @property
    def supports_check_run_worker_health(self) -> bool:
        """Dagster's monitoring ends runs whose process is gone: they would hold up their lane."""
        return True

    def check_run_worker_health(self, run: DagsterRun) -> CheckRunHealthResult:
        """Whether the process of a started run still lives, by what the run said of itself."""
        events = self._instance.all_logs(run.run_id, of_type=DagsterEventType.ENGINE_EVENT)
        said = [event.dagster_event for event in events if event.dagster_event is not None]
        pids = [event.engine_event_data.metadata.get("pid") for event in said]
        known = [int(str(pid.value)) for pid in pids if pid is not None]
        if known and not lives(known[-1]):
            return CheckRunHealthResult(WorkerStatus.FAILED, f"process {known[-1]} is gone")
        return CheckRunHealthResult(WorkerStatus.RUNNING)
