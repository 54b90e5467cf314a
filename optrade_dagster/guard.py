"""Stands between the supervisor and one part: nothing the part started outlives the guard's word.

Belongs here: starting one command and ending all that came of it, when told, when the supervisor
is gone, and when the command ends by itself. Does not belong here: when to start it again, what
is shown (see `supervisor`).

A script of its own, run as `python -I -S guard.py <interrupt> <terminate> <command> …` with the
standard library only, since one stays beside each part. Its words come on standard input: `stop`
ends the part gently, `kill` at once, and the end of input, which also comes when the supervisor
was killed, means `stop`. It writes the command's process id to standard output; the command's
own output goes to the guard's standard error.

Ending is gentle first: an interrupt as by Ctrl-C at a terminal, to the command's process group;
after `<interrupt>` seconds, or when the command has ended, a termination signal to all that is
left; after `<terminate>` more seconds a kill. On Linux the guard adopts what its descendants
leave behind, so that "all" is exact; elsewhere it is the command's process group (macOS) or tree
(Windows).
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from queue import Empty, SimpleQueue

NOT_STARTED = 127
_WINDOWS, _LINUX = os.name == "nt", sys.platform == "linux"
_INTERRUPT = getattr(signal, "CTRL_BREAK_EVENT", signal.SIGINT)
_KILL = getattr(signal, "SIGKILL", signal.SIGTERM)
_ADOPT_ORPHANS = 36
"""PR_SET_CHILD_SUBREAPER of Linux."""
_LAST_SECONDS = 10.0
"""How long the kernel may take to carry out a kill."""
_LOOK_SECONDS = 0.05


class Guarded:
    """A started command, its end, and all that descends from it."""

    def __init__(self, command: list[str]) -> None:
        self.words: SimpleQueue[str] = SimpleQueue()
        self.code: int | None = None
        for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK"):
            if number := getattr(signal, name, None):
                signal.signal(number, lambda *_: self.words.put("stop"))
        self.child = subprocess.Popen(  # noqa: S603 (the supervisor's own words)
            command,
            stdin=subprocess.DEVNULL,
            stdout=sys.stderr,
            process_group=None if _WINDOWS else 0,
            creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
        )
        threading.Thread(target=self._listen, daemon=True).start()
        threading.Thread(target=self._reap, daemon=True).start()

    def _listen(self) -> None:
        while heard := os.read(0, 64):
            for word in heard.decode().split():
                self.words.put(word)
        self.words.put("stop")

    def _reap(self) -> None:
        """Wait for the command, and on POSIX for every process adopted from it."""
        if _WINDOWS:
            self.code = self.child.wait()
            self.words.put("ended")
            return
        with contextlib.suppress(ChildProcessError):  # Raised when none is left.
            while True:
                pid, status = os.wait()
                if pid == self.child.pid:
                    code = os.waitstatus_to_exitcode(status)
                    self.code = self.child.returncode = code
                    self.words.put("ended")

    def wait(self, seconds: float | None = None) -> str:
        """The next word, or "" after so many seconds."""
        try:
            return self.words.get(timeout=seconds)
        except Empty:
            return ""

    def end(self, interrupt: float, terminate: float, *, at_once: bool) -> None:
        """End the command and all that came of it, gently first unless `at_once`."""
        if not at_once and self.code is None:
            self._ask()
            at_once = self._until(lambda: self.code is not None, interrupt)
        if not at_once and self._send_all(signal.SIGTERM):
            at_once = self._until(lambda: not self.descendants(), terminate)
        give_up = time.monotonic() + _LAST_SECONDS
        while self._send_all(_KILL):
            if time.monotonic() > give_up:
                _say(f"{self.descendants()} cannot be killed")
                return
            time.sleep(_LOOK_SECONDS)
        self._until(lambda: self.code is not None, _LAST_SECONDS)

    def _until(self, done: Callable[[], bool], seconds: float) -> bool:
        """Wait until something holds; whether `kill` was said meanwhile."""
        limit = time.monotonic() + seconds
        while not done() and time.monotonic() < limit:
            if self.wait(_LOOK_SECONDS) == "kill":
                return True
        return False

    def _ask(self) -> None:
        with contextlib.suppress(OSError):  # It has just ended.
            if _WINDOWS:
                os.kill(self.child.pid, _INTERRUPT)
            else:
                os.killpg(self.child.pid, _INTERRUPT)

    def _send_all(self, number: int) -> list[int]:
        """Signal all that is left; gives their ids (on Windows only once, by `taskkill`)."""
        left = self.descendants()
        for pid in left:
            if _WINDOWS:
                words = ["taskkill", "/T", "/F", "/PID", str(pid)]
                subprocess.run(words, check=False, stdout=sys.stderr)  # noqa: S603
            else:
                with contextlib.suppress(ProcessLookupError):  # Ended since it was listed.
                    os.kill(pid, number)
        return left

    def descendants(self) -> list[int]:
        """What is left of the command: process ids, or the group's (negative) outside Linux."""
        if _LINUX:
            return _descendants(os.getpid())
        if _WINDOWS:
            return [] if self.code is not None else [self.child.pid]
        try:
            os.killpg(self.child.pid, 0)
        except ProcessLookupError:
            return []
        return [-self.child.pid]


def _descendants(root: int) -> list[int]:
    """Living descendants of a process, by `/proc`."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # It has ended.
                # "pid (name) state parent …"; the name may hold anything, a bracket too.
                facts = (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()
                if facts[0] not in {"Z", "X"}:
                    children.setdefault(int(facts[1]), []).append(int(folder.name))
    found, new = [], [root]
    while new:
        new = [child for parent in new for child in children.get(parent, ())]
        found += new
    return found


def main() -> int:
    """Run until the command and all that came of it has ended; gives its exit code."""
    interrupt, terminate, command = float(sys.argv[1]), float(sys.argv[2]), sys.argv[3:]
    if _LINUX and ctypes.CDLL(None).prctl(_ADOPT_ORPHANS, 1, 0, 0, 0):
        _say("this kernel lets no process adopt orphans: some may be left behind")
    try:
        guarded = Guarded(command)
    except OSError as error:
        _say(f"{command[0]} cannot be started: {error}")
        return NOT_STARTED
    word = ""
    try:
        with contextlib.suppress(BrokenPipeError):  # Nobody listens: "stop" is on its way.
            os.write(1, b"%d\n" % guarded.child.pid)
        while word not in {"stop", "kill", "ended"}:
            word = guarded.wait()
    finally:
        guarded.end(interrupt, terminate, at_once=word == "kill")
    code = guarded.code
    return 128 + _KILL if code is None else 128 - code if code < 0 else code


def _say(text: str) -> None:
    sys.stderr.write(f"guard: {text}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
