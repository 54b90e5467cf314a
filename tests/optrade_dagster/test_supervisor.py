"""Parts are started, restarted, given up and ended, and nothing they started is left behind.

The supervisor of each test is this file, run as a script: `<folder> <settings as JSON>`.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

import pytest
from rich.console import Console

from optrade.calendar import IST
from optrade_dagster import supervisor
from optrade_dagster.supervisor import MOST_CRASHES, Backoff, Part, Patience, answers, run_parts

pytestmark = pytest.mark.skipif(os.name == "nt", reason="sends POSIX signals")

STAY = "import pathlib, time; pathlib.Path('{mark}').write_text(''); time.sleep(600)"
"""Notes that it runs, then does nothing for long."""
FAMILY = """
import os, pathlib, signal, subprocess, sys, time
here, deaf, sort = pathlib.Path(sys.argv[1]), sys.argv[2] == "deaf", sys.argv[3:]
first_life = not list(here.glob("*.alive"))
signal.signal(signal.SIGINT, signal.SIG_IGN if deaf or sort == ["alone"] else signal.SIG_DFL)
if deaf:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if sort != ["alone"]:
    run = [sys.executable, __file__, str(here), sys.argv[2]]
    subprocess.Popen([*run, "alone"])
    subprocess.Popen([*run, "alone"], start_new_session=True)
    if sort != ["middle"]:
        subprocess.Popen([*run, "middle"], process_group=0)
(here / f"{os.getpid()}.alive").write_text("")
if sort == ["crash"] and first_life:
    while len(list(here.glob("*.alive"))) < 6:
        time.sleep(0.02)
    sys.exit(5)
time.sleep(600)
"""
"""A process, two children (one in a session of its own), and a middle one with two more: 6."""


def until(done: Callable[[], object], seconds: float = 40.0) -> None:
    limit = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < limit, "waited too long"
        time.sleep(0.02)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    if sys.platform != "linux":
        return True
    try:  # What nobody waits for any more is dead all the same.
        facts = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return facts[0] != "Z"


class Stage:
    """A folder with parts, and the supervisor that runs them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.family = folder / "family.py"
        self.family.write_text(FAMILY)
        self.process: subprocess.Popen[str] | None = None

    def part(self, name: str, *command: str, **more: object) -> dict[str, object]:
        words = ["-c", *command] if len(command) == 1 else command
        command = (sys.executable, *words)
        return {"name": name, "command": command, "log": str(self.folder / f"{name}.out"), **more}

    def kin(self, name: str, manner: str = "kind", *sort: str, **more: object) -> dict[str, object]:
        return self.part(name, str(self.family), str(self.folder), manner, *sort, **more)

    def start(self, *parts: dict[str, object], **told: object) -> None:
        orders = json.dumps({"parts": parts, **told})
        self.process = subprocess.Popen(
            [sys.executable, __file__, orders],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
            env={k: v for k, v in os.environ.items() if not k.startswith("OPTRADE_")},
            start_new_session=True,
        )  # fmt: skip

    def pids(self) -> list[int]:
        return [int(path.stem) for path in self.folder.glob("*.alive")]

    def signal(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def end(self, number: int | None = None) -> tuple[int, str]:
        """Its exit code and output, after a signal where one is given."""
        assert self.process is not None
        if number is not None:
            self.signal(number)
        output, _ = self.process.communicate(timeout=60)
        return self.process.returncode, output


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(tmp_path)
    yield stage
    if stage.process is not None and not stage.process.stdout.closed:
        stage.process.kill()
        stage.process.communicate(timeout=60)
    for pid in filter(alive, stage.pids()):
        os.kill(pid, signal.SIGKILL)


def test_a_crashed_part_is_started_again_the_others_run_on(stage: Stage) -> None:
    mark, once = stage.folder / "again", stage.folder / "once"
    program = f"import os, pathlib\nif not os.path.exists('{once}'):\n"
    program += f"    pathlib.Path('{once}').write_text('')\n    print('why'); os._exit(3)\n"
    other = stage.folder / "other-runs"
    stage.start(
        stage.part("collector", program + STAY.format(mark=mark)),
        stage.part("other", STAY.format(mark=other)),
    )
    until(lambda: mark.exists() and other.exists())
    code, output = stage.end(signal.SIGTERM)
    assert code == 0, output
    assert "collector crashed with exit code 3; starts again in 0 s" in output
    assert output.count("collector started (pid ") == 2
    assert output.count("other started (pid ") == 1
    assert "  collector: exit code 130 (SIGINT), restarted 1 time\n" in output
    assert "  other: exit code 130 (SIGINT)\n" in output
    assert (stage.folder / "collector.out").read_text().startswith("why\n")


def test_a_part_that_keeps_crashing_is_given_up(stage: Stage) -> None:
    stage.start(
        stage.part("collector", "import sys; print('no token', flush=True); sys.exit(2)"),
        {"name": "lost", "command": ["/no/such"], "log": str(stage.folder / "lost.out")},
    )
    code, output = stage.end()
    assert code == 1
    log = stage.folder / "collector.out"
    assert log.read_text() == "no token\n" * MOST_CRASHES
    assert output.count("crashed with exit code 2; starts again") == MOST_CRASHES - 1
    said = (
        "collector given up: 5 crashes within 60 s, the last with exit code 2. Its output says why"
    )
    assert f"{said}: {log}\n" in output
    assert f"  collector: given up, exit code 2, restarted 4 times; see {log}\n" in output
    assert "  lost: given up, exit code 127" in output
    assert "/no/such cannot be started: [Errno 2]" in (stage.folder / "lost.out").read_text()


def test_ctrl_c_ends_children_of_children_wherever_they_went(stage: Stage) -> None:
    stage.start(stage.kin("kind"), stage.kin("deaf", "deaf"), interrupt=0.5, terminate=0.5)
    until(lambda: len(stage.pids()) == 12)
    assert all(map(alive, stage.pids()))
    code, output = stage.end(signal.SIGINT)
    assert code == 0, output
    assert [pid for pid in stage.pids() if alive(pid)] == []
    assert "  kind: exit code 130 (SIGINT)\n" in output
    assert "  deaf: exit code 137 (SIGKILL)\n" in output


def test_a_second_ctrl_c_does_not_wait(stage: Stage) -> None:
    stage.start(stage.kin("deaf", "deaf"), interrupt=500, terminate=500)
    until(lambda: len(stage.pids()) == 6)
    stage.signal(signal.SIGINT)
    assert stage.process is not None
    assert stage.process.stdout is not None
    for line in stage.process.stdout:
        if "Ctrl-C now kills" in line:
            break
    code, output = stage.end(signal.SIGINT)
    assert code == 0, output
    assert [pid for pid in stage.pids() if alive(pid)] == []
    assert "  deaf: exit code 137 (SIGKILL)\n" in output


def test_a_killed_supervisor_leaves_nothing_behind(stage: Stage) -> None:
    stage.start(stage.kin("kind"), stage.kin("deaf", "deaf"), interrupt=0.3, terminate=0.3)
    until(lambda: len(stage.pids()) == 12)
    stage.signal(signal.SIGKILL)
    until(lambda: not any(map(alive, stage.pids())))


def test_what_a_crashed_part_left_is_gone_before_it_starts_again(stage: Stage) -> None:
    stage.start(stage.kin("kind", "kind", "crash"), interrupt=0.3, terminate=0.3)
    until(lambda: len(stage.pids()) == 12)  # Two lives; the first one's six are gone.
    assert sum(map(alive, stage.pids())) <= 6
    stage.end(signal.SIGTERM)
    assert [pid for pid in stage.pids() if alive(pid)] == []


@pytest.mark.skipif(sys.platform != "linux", reason="finds the guard by /proc")
def test_a_killed_guard_is_a_crash_of_its_part(stage: Stage) -> None:
    mark = stage.folder / "1.mark"
    stage.start(stage.part("collector", STAY.format(mark=mark)))
    until(mark.exists)
    assert stage.process is not None
    folder = Path(f"/proc/{stage.process.pid}/task/{stage.process.pid}")
    (guard,) = map(int, (folder / "children").read_text().split())
    (part,) = map(int, Path(f"/proc/{guard}/task/{guard}/children").read_text().split())
    mark.unlink()
    os.kill(guard, signal.SIGKILL)
    until(mark.exists)
    assert not alive(part)
    code, output = stage.end(signal.SIGTERM)
    assert code == 0, output
    assert "crashed with exit code 137 (SIGKILL); starts again" in output


def test_parts_that_finish_are_left_finished(stage: Stage) -> None:
    stage.start(
        stage.part("done", "pass", restart=False),
        stage.part("over", "raise SystemExit(4)", finished=[4]),
        stage.part("bad", "raise SystemExit(6)", restart=False),
    )
    code, output = stage.end()
    assert code == 1
    assert "done finished (exit code 0)" in output
    assert "over finished (exit code 4)" in output
    assert f"bad failed with exit code 6; see {stage.folder / 'bad.out'}" in output
    assert "again" not in output


def test_ready_context_and_yesterdays_output(stage: Stage) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    assert not answers(port)()
    out = stage.folder / "serve.out"
    out.write_text("yesterday\n")
    noon = datetime(2026, 1, 20, 12, 0, tzinfo=IST).timestamp()
    os.utime(out, (noon, noon))
    program = (
        "import os, socket, time\n"
        "print(os.environ['LOG_CONTEXT'], os.environ['MORE'], flush=True)\n"
        f"s = socket.create_server(('127.0.0.1', {port})); time.sleep(600)"
    )
    part = stage.part("serve", program, env={"MORE": "yes"}, ready=port)
    stage.start(part, bind={"trace_id": "abc"})
    assert stage.process is not None
    assert stage.process.stdout is not None
    for line in stage.process.stdout:
        if "serve ready after " in line:
            break
    code, _ = stage.end(signal.SIGHUP)
    assert code == 0
    assert json.loads(out.read_text().split(" yes")[0]) == {"trace_id": "abc"}
    assert (stage.folder / "serve-2026-01-20.out").read_text() == "yesterday\n"


def test_it_ends_when_enough_was_done(tmp_path: Path) -> None:
    looks: list[int] = []
    part = Part("sleeper", (sys.executable, "-c", "import time; time.sleep(600)"), tmp_path / "o")
    before = signal.getsignal(signal.SIGINT)
    with (tmp_path / "shown").open("w") as shown:
        code = run_parts(
            [part],
            Console(file=shown, width=200),
            patience=Patience(5, 5),
            until=lambda: looks.append(1) or len(looks) > 2,  # type: ignore[func-returns-value]
        )
    assert code == 0
    assert "ended (exit code 130 (SIGINT))" in (tmp_path / "shown").read_text()
    assert signal.getsignal(signal.SIGINT) is before


def test_before_every_start_and_busy_to_the_end(tmp_path: Path) -> None:
    calls: list[str] = []
    work, once = tmp_path / "work", tmp_path / "once"
    sleeper = "import time; time.sleep(600)"
    crashes = f"import os\nif not os.path.exists('{once}'):\n    open('{once}', 'w'); os._exit(3)\n"
    worker = f"try: {sleeper}\nexcept KeyboardInterrupt: open('{work}', 'w')"
    worker = f"import time\ntry: time.sleep(600)\nexcept KeyboardInterrupt: open('{work}', 'w')"

    def busy() -> bool:
        calls.append("busy")
        assert work.exists(), "asked before the others have ended"
        return calls.count("busy") < 2

    keeper = Part(
        "keeper",
        (sys.executable, "-c", crashes + sleeper),
        tmp_path / "keeper.out",
        before=lambda: calls.append("start"),
        busy=busy,
        before_end=lambda: calls.append("end"),
    )
    other = Part("other", (sys.executable, "-c", worker), tmp_path / "other.out")
    with (tmp_path / "shown").open("w") as shown:
        code = run_parts(
            [keeper, other],
            Console(file=shown, width=200),
            patience=Patience(5, 5),
            until=lambda: calls.count("start") == 2,
        )
    shown_text = (tmp_path / "shown").read_text()
    assert code == 0, shown_text
    assert calls == ["start", "start", "busy", "busy", "end"]
    assert shown_text.count("keeper is busy and gets up to 60 s") == 1
    assert shown_text.index("other ended") < shown_text.index("keeper ended")


def test_what_goes_wrong_while_starting_ends_the_others(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    fine = Part("fine", (sys.executable, "-c", "import time; time.sleep(600)"), tmp_path / "o")
    bad = Part("bad", ("x",), tmp_path / "file" / "o")
    shown = tmp_path / "shown"
    with shown.open("w") as file, pytest.raises(OSError, match="file"):
        run_parts([fine, bad], Console(file=file, width=200), patience=Patience(5, 5))
    pid = int(shown.read_text().partition("(pid ")[2].partition(")")[0])
    assert not alive(pid)
    with pytest.raises(ValueError, match="different names"):
        run_parts([fine, fine], Console())


def test_the_wait_doubles_until_health_and_five_in_a_minute_are_too_many() -> None:
    slow = Backoff()
    assert [slow.after_crash(at * 100.0, 20.0) for at in range(8)] == [1, 2, 4, 8, 16, 30, 30, 30]
    assert [slow.after_crash(1000.0, 60.0), slow.after_crash(1100.0, 59.0)] == [1, 2]
    fast = Backoff()
    assert [fast.after_crash(at * 15.0, 1.0) for at in range(5)] == [1, 2, 4, 8, None]
    late = Backoff()
    assert [late.after_crash(at * 15.1, 1.0) for at in range(5)] == [1, 2, 4, 8, 16]


def test_the_page_tells_the_true_waits() -> None:
    page = (Path(__file__).parents[2] / "docs" / "logs.md").read_text(encoding="utf-8")
    patience = Patience()
    for words in (
        f"1, 2, 4 … {supervisor._LONGEST_WAIT:.0f} s; after {supervisor.HEALTHY_SECONDS:.0f} s of",
        (
            f"after {patience.interrupt:.0f} s what is left gets SIGTERM, after "
            f"{patience.terminate:.0f} more SIGKILL"
        ),
        f"in the lake, after {supervisor.BUSY_SECONDS:.0f} s at the latest",
    ):
        assert words in page, words


def supervise(orders: dict[str, object]) -> int:
    from resources import logs  # noqa: PLC0415

    logs.bind(**orders.get("bind", {}))  # type: ignore[arg-type]
    supervisor._FIRST_WAIT = 0.02
    patience = Patience(orders.get("interrupt", 10.0), orders.get("terminate", 5.0))  # type: ignore[arg-type]
    parts = [
        Part(
            **one
            | {
                "log": Path(one["log"]),
                "finished": frozenset(one.get("finished", ())),
                "ready": answers(one["ready"]) if "ready" in one else None,
            }
        )
        for one in orders["parts"]  # type: ignore[attr-defined]
    ]
    return run_parts(parts, Console(width=300), patience=patience)


if __name__ == "__main__":
    sys.exit(supervise(json.loads(sys.argv[1])))
