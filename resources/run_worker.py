"""A process that carries out Dagster runs one after the other, so that none waits for imports.

Belongs here: taking runs from the launcher and carrying them out. Does not belong here: which
runs (see `run_launcher`), what they do.

Run ids come on standard input, one a line; each is repeated on standard output when it is taken.
What else is written there goes to standard error. The process ends when nobody can send more,
when it has been idle for long, after many runs, in case something in them keeps memory, and
before a run when a source file of its code has changed.
"""

from __future__ import annotations

import os
import sys
import sysconfig
import time
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Event, Thread

import dagster as dg
from dagster._core.errors import DagsterExecutionInterruptedError
from dagster._core.events import EngineEventData
from dagster._grpc.impl import core_execute_run
from dagster._utils import send_interrupt
from dagster._utils.hosted_user_process import recon_job_from_origin
from dagster._utils.interrupts import capture_interrupts

IDLE_SECONDS = 900.0
MOST_RUNS = 500
_LOOK_SECONDS = 2.0


def main() -> None:
    """Take and carry out runs until there are no more."""
    words: SimpleQueue[str] = SimpleQueue()
    Thread(target=_listen, args=(words,), daemon=True).start()
    with (
        os.fdopen(os.dup(1), "w", encoding="utf-8") as answers,
        dg.DagsterInstance.get() as instance,
    ):
        os.dup2(2, 1)
        sources: dict[str, float] = {}
        began = time.time()
        for _ in range(MOST_RUNS):
            run_id = _next(words)
            if not run_id or changed(sources, began):
                return
            answers.write(f"{run_id}\n")
            answers.flush()
            carry_out(instance, run_id)
            if changed(sources, began):  # Also notes what was imported for this run.
                return


def _listen(words: SimpleQueue[str]) -> None:
    for line in sys.stdin:
        words.put(line.strip())
    words.put("")


def _next(words: SimpleQueue[str]) -> str:
    """The next run; "" when none will come, none came for long, or Ctrl-C came in its place."""
    try:
        return words.get(timeout=IDLE_SECONDS)
    except (Empty, KeyboardInterrupt):
        return ""


def changed(sources: dict[str, float], began: float) -> bool:
    """Whether a source file outside the installed packages changed since it was imported.

    `sources` keeps the time of each; files of modules that were imported since are added. One seen
    for the first time counts as changed when it is younger than this process, which `began` then:
    whether it was written before or after its import is not known.
    """
    installed = sysconfig.get_path("purelib")
    files = {str(getattr(module, "__file__", None) or "") for module in list(sys.modules.values())}
    times = {
        path: Path(path).stat().st_mtime
        for path in files
        if path.endswith(".py") and not path.startswith(installed)
    }
    found = any(sources[p] != at if p in sources else at > began for p, at in times.items())
    sources.update(times)
    return found


def carry_out(instance: dg.DagsterInstance, run_id: str) -> None:
    """Carry out one run; how it went is in its events.

    Raises `LookupError` where there is no such run, and what keeps a run from being carried out
    at all, after it was reported as failed.
    """
    run = instance.get_run_by_id(run_id)
    if run is None or run.job_code_origin is None:
        raise LookupError(f"found no run {run_id} with code of its own; expected one to carry out")
    pid, ended = os.getpid(), Event()
    with capture_interrupts():
        Thread(target=_watch, args=(instance, run_id, ended), daemon=True).start()
        process = EngineEventData.in_process(pid)
        instance.report_engine_event(f"Started in worker process {pid}.", run, process)
        try:
            job = recon_job_from_origin(run.job_code_origin)
            for _ in core_execute_run(job, run, instance, inject_env_vars=False):
                continue
        except DagsterExecutionInterruptedError:
            return  # It was cancelled, and has said so.
        finally:
            ended.set()


def _watch(instance: dg.DagsterInstance, run_id: str, ended: Event) -> None:
    """Interrupt a run that is to be cancelled."""
    while not ended.wait(_LOOK_SECONDS):
        run = instance.get_run_by_id(run_id)
        if run is not None and run.status == dg.DagsterRunStatus.CANCELING:
            send_interrupt()
            return


if __name__ == "__main__":
    main()
