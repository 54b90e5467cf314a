"""Runs the parts of `optrade up` as processes: starts, watches, restarts and ends them.

Belongs here: the life of parts and the one-line events a person sees. Does not belong here:
which parts there are (see `cli`), ending a whole tree of processes (see `guard`).

Each part has a guard beside it, which ends the part and all it started when told to, and also
when this process is gone, killed or not: it reads the other end of a pipe that only this process
holds.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from resources.log_files import set_aside
from resources.logs import child_environment, get_logger

_GUARD = Path(__file__).with_name("guard.py")
_LOG = get_logger("optrade.supervisor")
_LOOK_SECONDS, _READY_SECONDS = 0.1, 1.0
_FIRST_WAIT, _LONGEST_WAIT, HEALTHY_SECONDS = 1.0, 30.0, 60.0
MOST_CRASHES, CRASH_SECONDS = 5, 60.0
BUSY_SECONDS = 60.0
_BEYOND_GUARD = 15.0
"""Seconds a guard gets beyond its own patience before it is killed itself."""


@dataclass(frozen=True)
class Part:
    """One process to keep running.

    `command`'s output is appended to `log` (that of an earlier day is put aside under its date).
    `env` is added to this process's environment, `folder` is where it runs. A part with
    `restart` is started again whenever it ends, except with an exit code of `finished`: then
    there is nothing more for it to do. `ready` says whether it does its work yet.

    `before` is called before every start, when nothing of an earlier life is left. A part with
    `busy` is asked to end last, once it is not, or after `BUSY_SECONDS`; `before_end` is called
    just before.
    """

    name: str
    command: Sequence[str]
    log: Path
    env: Mapping[str, str] = field(default_factory=dict)
    restart: bool = True
    folder: Path | None = None
    ready: Callable[[], bool] | None = None
    finished: frozenset[int] = frozenset()
    before: Callable[[], None] | None = None
    busy: Callable[[], bool] | None = None
    before_end: Callable[[], None] | None = None


@dataclass(frozen=True)
class Patience:
    """Seconds a part gets to end after an interrupt, then after a termination signal.

    Dagster's processes take a second or two, and many where others keep the processors busy; a
    run that is interrupted notes so meanwhile.
    """

    interrupt: float = 20.0
    terminate: float = 4.0


def answers(port: int) -> Callable[[], bool]:
    """A `ready` for parts that serve on a loopback port."""

    def connects() -> bool:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=0.5):
                return True
        except OSError:
            return False

    return connects


class Backoff:
    """How long to wait after a crash: 1, 2, 4 … 30 s; 1 s again after a minute of health."""

    def __init__(self) -> None:
        self._crashes: deque[float] = deque(maxlen=MOST_CRASHES)
        self._wait = _FIRST_WAIT

    def after_crash(self, at: float, ran: float) -> float | None:
        """Seconds to wait, None to give up: five crashes within a minute.

        `at` is the moment of the crash and `ran` how long the part had lived, in seconds.
        """
        self._crashes.append(at)
        if len(self._crashes) == MOST_CRASHES and at - self._crashes[0] <= CRASH_SECONDS:
            return None
        wait = _FIRST_WAIT if ran >= HEALTHY_SECONDS else self._wait
        self._wait = min(2 * wait, _LONGEST_WAIT)
        return wait


def run_parts(
    parts: Sequence[Part],
    console: Console,
    *,
    patience: Patience | None = None,
    until: Callable[[], bool] = lambda: False,
) -> int:
    """Keep the parts running until Ctrl-C (or SIGTERM, SIGHUP), `until`, or until none is left.

    A second Ctrl-C kills them at once. Returns 0 when all ended as asked or finished, 1 when a
    part was given up or failed. No process of any part is left behind. Call it from the main
    thread. Raises `ValueError` when two parts have the same name.
    """
    if len({part.name for part in parts}) < len(parts):
        raise ValueError(f"found {[part.name for part in parts]}; expected different names")
    watched = [_Watched(part, console, patience or Patience()) for part in parts]
    asked: list[int] = []
    with _noted_signals(asked):
        try:
            for one in watched:
                one.start()
            while any(one.alive for one in watched) and not asked and not until():
                time.sleep(_LOOK_SECONDS)
                for one in watched:
                    one.look()
        finally:
            _end_all(watched, asked, console)
    for one in watched:
        console.print(f"  {escape(one.part.name)}: {one.outcome}", highlight=False, soft_wrap=True)
    return int(any(one.failed for one in watched))


def _end_all(watched: Sequence[_Watched], asked: list[int], console: Console) -> None:
    heard = min(len(asked), 1)
    if any(one.process for one in watched):
        console.print("Ending all parts (Ctrl-C now kills them) …")
    limit = time.monotonic() + BUSY_SECONDS
    for one in watched:
        if not one.part.busy:
            one.ask("stop")
    while any(one.process for one in watched):
        time.sleep(_LOOK_SECONDS)
        if len(asked) > heard:
            heard = len(asked)
            for one in watched:
                one.ask("kill")
        others_ended = not any(one.process for one in watched if not one.part.busy)
        for one in watched:
            one.ask_if_idle(limit, others_ended=others_ended)
            one.look()


@contextmanager
def _noted_signals(asked: list[int]) -> Iterator[None]:
    """Note signals that ask to end instead of being ended by them; ignored ones stay ignored."""
    names = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    before = {number: signal.getsignal(number) for number in numbers}
    taken = {number: old for number, old in before.items() if old is not signal.SIG_IGN}

    def note(number: int, _: object) -> None:
        if number not in asked or number in {signal.SIGINT, signal.SIGTERM}:
            asked.append(number)  # A closing terminal may say so twice and means it once.

    for number in taken:
        signal.signal(number, note)
    try:
        yield
    finally:
        for number, old in taken.items():
            signal.signal(number, old)


class _Watched:
    """A part and what became of it."""

    def __init__(self, part: Part, console: Console, patience: Patience) -> None:
        self.part, self.console, self.patience = part, console, patience
        self.process: subprocess.Popen[bytes] | None = None
        self.outcome, self.failed = "never started", False
        self._backoff, self._restarts = Backoff(), 0
        self._pid = 0
        self._began = self._asked_at = self._next_ask = 0.0
        self._due: float | None = None
        self._look_ready: float | None = None
        self._said_busy = False

    @property
    def alive(self) -> bool:
        """Whether it runs or will be started again."""
        return self.process is not None or self._due is not None

    def start(self) -> None:
        """Start the part beside its guard."""
        part, self._due = self.part, None
        part.log.parent.mkdir(parents=True, exist_ok=True)
        set_aside(part.log)
        if part.before:
            part.before()
        patience = (str(self.patience.interrupt), str(self.patience.terminate))
        with part.log.open("ab") as log:
            self.process = subprocess.Popen(  # noqa: S603 (our own words)
                [sys.executable, "-I", "-S", str(_GUARD), *patience, *part.command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=part.folder,
                env={**os.environ, **child_environment(), **part.env},
                start_new_session=True,
                creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
            )
        assert self.process.stdout is not None  # noqa: S101 (for the type checker)
        self._pid = int(self.process.stdout.readline() or 0)
        self._began = time.monotonic()
        self._look_ready = self._began if part.ready else None
        if self._pid:
            self._tell(f"started (pid {self._pid}), output in {part.log}", pid=self._pid)

    def ask(self, word: str) -> None:
        """Tell the guard to `stop` or to `kill`; a part that waits is not started any more."""
        self._due = None
        self._asked_at = self._asked_at or time.monotonic()
        if self.process and self.process.stdin:
            with suppress(BrokenPipeError):  # It has just ended.
                self.process.stdin.write(f"{word}\n".encode())
                self.process.stdin.flush()

    def ask_if_idle(self, limit: float, *, others_ended: bool) -> None:
        """Tell a busy part to stop once it has done what the others left it to do, or too late."""
        now = time.monotonic()
        if self._asked_at or (now < limit and (not others_ended or now < self._next_ask)):
            return
        self._next_ask = now + _READY_SECONDS
        if now >= limit:
            self._warn(f"is still busy after {BUSY_SECONDS:.0f} s")
        elif self.part.busy and self.part.busy():
            self._say_busy()
            return
        if self.part.before_end:
            self.part.before_end()
        self.ask("stop")

    def _say_busy(self) -> None:
        if not self._said_busy:
            self._tell(f"is busy and gets up to {BUSY_SECONDS:.0f} s to finish")
        self._said_busy = True

    def look(self) -> None:
        """See whether the part is ready, has ended, or is to be started again."""
        now = time.monotonic()
        if self.process and self.process.poll() is not None:
            self._ended(self._closed(self.process), now)
        elif self.process and self._asked_at:
            if now > self._asked_at + sum(vars(self.patience).values()) + _BEYOND_GUARD:
                self.process.kill()
        elif self._look_ready and now >= self._look_ready:
            self._see_ready(now)
        elif self._due is not None and now >= self._due:
            self._restarts += 1
            self.start()

    def _see_ready(self, now: float) -> None:
        self._look_ready = now + _READY_SECONDS
        if self.part.ready and self.part.ready():
            self._look_ready = None
            self._tell(f"ready after {now - self._began:.1f} s")

    def _closed(self, process: subprocess.Popen[bytes]) -> int:
        """Close the pipes of a guard that ended; where it was killed, kill what it guarded."""
        self.process = self._look_ready = None
        for pipe in (process.stdin, process.stdout):
            if pipe:
                with suppress(BrokenPipeError):  # Words that nobody read any more.
                    pipe.close()
        if process.returncode < 0 and self._pid and os.name != "nt":
            with suppress(ProcessLookupError):  # It ended before its guard.
                os.killpg(self._pid, signal.SIGKILL)
        return 128 - process.returncode if process.returncode < 0 else process.returncode

    def _ended(self, code: int, now: float) -> None:
        part, how = self.part, _in_words(code)
        times = f", restarted {self._restarts} time{'s' * (self._restarts != 1)}"
        self.outcome = how + times * bool(self._restarts)
        if self._asked_at:
            self._tell(f"ended ({how})", exit_code=code)
        elif code in part.finished or (code == 0 and not part.restart):
            self._tell(f"finished ({how})", exit_code=code)
        elif not part.restart:
            self.failed = True
            self._warn(f"failed with {how}; see {part.log}", exit_code=code)
        elif (wait := self._backoff.after_crash(now, now - self._began)) is None:
            self.failed = True
            self.outcome = f"[bold red]given up[/], {self.outcome}; see {escape(str(part.log))}"
            self._warn(
                f"given up: {MOST_CRASHES} crashes within {CRASH_SECONDS:.0f} s, the last with "
                f"{how}. Its output says why: {part.log}",
                exit_code=code,
            )
        else:
            self._due = now + wait
            what = "crashed" if code else "ended by itself"
            self._warn(f"{what} with {how}; starts again in {wait:.0f} s", exit_code=code)

    def _tell(self, text: str, **facts: object) -> None:
        _LOG.info(text, part=self.part.name, **facts)
        self._show(text, "bold")

    def _warn(self, text: str, **facts: object) -> None:
        _LOG.warning(text, part=self.part.name, **facts)
        self._show(text, "bold yellow")

    def _show(self, text: str, style: str) -> None:
        name = f"[{style}]{escape(self.part.name)}[/]"
        self.console.print(f"{name} {escape(text)}", highlight=False, soft_wrap=True)


def _in_words(code: int) -> str:
    """An exit code, with the signal that it stands for."""
    names = {128 + number: f" ({number.name})" for number in signal.Signals}
    return f"exit code {code}{names.get(code, '')}"
