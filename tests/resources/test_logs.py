"""Logs say who, when and in which trace, keep every byte, never a secret, and never tear a line.

The children are this file, run as a script.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
import structlog

from optrade.calendar import IST
from resources import log_masking, logs
from resources.log_masking import MASK
from resources.settings import Settings

SECRET = "Zq7-kite/secret 'of' ours"
DAY = date(2026, 1, 23)
PAGE = Path(__file__).parents[2] / "docs" / "logs.md"


def settings_of(home: Path, **logging_: str) -> Settings:
    kite = {"api_key": "key", "api_secret": SECRET}
    return Settings(home=home, market="simulated", kite=kite, logging=logging_)  # type: ignore[arg-type]


def lines_of(home: Path, component: str = "collect") -> list[dict[str, object]]:
    root = settings_of(home).log_root
    texts = [p.read_text(encoding="utf-8") for p in sorted(root.glob(f"{component}-*.jsonl"))]
    return [json.loads(line) for text in texts for line in text.splitlines()]


@pytest.fixture(autouse=True)
def _as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Leave the process's logging as it was found."""
    root = logging.getLogger()
    handlers, level, factory = list(root.handlers), root.level, logging.getLogRecordFactory()
    monkeypatch.setenv(logs.CONTEXT_VARIABLE, "")
    monkeypatch.setattr(logs, "_process", {})
    monkeypatch.setattr(log_masking, "_hidden", set())
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.setLogRecordFactory(factory)
    structlog.reset_defaults()


def run_child(home: Path, *words: object, **more: str) -> subprocess.CompletedProcess[str]:
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("OPTRADE_")}
    return subprocess.run(
        [sys.executable, __file__, str(home), *map(str, words)],
        env=inherited | more, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_a_line_says_who_when_and_in_which_trace(tmp_path: Path) -> None:
    before = datetime.now(IST)
    logs.configure_logging(settings_of(tmp_path), "collect")
    with logs.bound(session="091500-ab", instrument=256265, asset=None):
        logs.get_logger("optrade.spool").info("sealed %s", "x", frames=3, took=np.float32(0.5))
    logging.getLogger("dagster.daemon").warning("late by %d s", 4)
    logging.getLogger("any").debug("too fine")
    ours, foreign = lines_of(tmp_path)
    assert tuple(ours)[: len(logs.FACTS)] == logs.FACTS
    at = datetime.fromisoformat(str(ours.pop("at")))
    assert before <= at <= datetime.now(IST)
    assert at.utcoffset() == timedelta(hours=5, minutes=30)
    trace = ours.pop("trace_id")
    assert re.fullmatch(r"[0-9a-f]{16}", str(trace))
    assert ours == {
        "level": "info", "component": "collect", "pid": os.getpid(), "logger": "optrade.spool",
        "event": "sealed x", "session": "091500-ab", "instrument": "256265", "frames": 3,
        "took": 0.5,
    }  # fmt: skip
    assert foreign["trace_id"] == trace
    assert (foreign["logger"], foreign["event"]) == ("dagster.daemon", "late by 4 s")
    assert "session" not in foreign


def test_the_page_names_the_fields_the_code_writes() -> None:
    page = PAGE.read_text(encoding="utf-8")
    named = re.findall(r"^\| `(\w+)` \|", page, flags=re.MULTILINE)
    assert tuple(named) == (*logs.FACTS, *logs.FIELDS, "exception")
    for word in (logs.CONTEXT_VARIABLE, logs.TRACE_TAG, MASK, ".jsonl.gz", ".out"):
        assert word in page, word


@pytest.mark.parametrize(("style", "terminal"), [("auto", True), ("json", True), ("json", False)])
def test_elsewhere_than_on_a_terminal_lines_are_json(tmp_path, capsys, style, terminal) -> None:
    logs.configure_logging(settings_of(tmp_path, format=style), "collect", terminal=terminal)
    log = logs.get_logger("x")
    log.error("lost")
    log.critical("ended")
    shown = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert shown == lines_of(tmp_path)[0 if terminal else 1 :]


def test_pretty_is_for_people(tmp_path, capsys) -> None:
    logs.configure_logging(settings_of(tmp_path, format="pretty"), "collect")
    hidden_here = "local " + SECRET
    try:
        {}[f"no {SECRET}"]
    except KeyError:
        logs.get_logger("x").exception("went wrong", length=len(hidden_here))
    shown = capsys.readouterr().err
    assert re.match(r"\d\d:\d\d:\d\d\.\d{3} \[error", shown)
    assert "Traceback" in shown
    assert f"no {MASK}" in shown
    assert SECRET not in shown
    assert "Traceback" in str(lines_of(tmp_path)[0]["exception"])


def test_the_level_is_kept_and_setting_up_again_replaces(tmp_path: Path) -> None:
    logging.getLogger("uvicorn.access").addHandler(logging.NullHandler())
    logging.getLogger("uvicorn.access").propagate = False
    for level in ("DEBUG", "WARNING"):
        logs.configure_logging(settings_of(tmp_path, level=level), "collect")
        logging.getLogger("uvicorn.access").info('"%s" %d', "GET /?access_token=abc", 200)
        logs.get_logger("optrade.x").info("once")
    access, once = lines_of(tmp_path)
    assert access["event"] == f'"GET /?access_token={MASK}" 200'
    assert once["event"] == "once"
    assert len({line["trace_id"] for line in (access, once)}) == 1


@pytest.mark.parametrize("component", ["", "Collect", "a/b", "../x", "a-b"])
def test_a_component_is_part_of_a_file_name(tmp_path: Path, component: str) -> None:
    with pytest.raises(logs.LogError, match="expected a-z"):
        logs.configure_logging(settings_of(tmp_path), component)
    assert not settings_of(tmp_path).log_root.exists()


def test_secrets_of_settings_and_those_learnt_later_stay_out_of_every_line(tmp_path, capsys):
    logs.configure_logging(settings_of(tmp_path), "collect")
    logs.hide("learnt-later")
    log = logs.get_logger("x")
    log.info("told %s", SECRET, found={"deep": [SECRET]}, settings=settings_of(tmp_path))
    logging.getLogger("dagster").error("bad url ?q=%s learnt-later", "Zq7-kite%2Fsecret%20%27of")
    logging.getLogger("y").error("wss://h/?x=Zq7-kite%2Fsecret+%27of%27+ours&y=1")
    everything = capsys.readouterr().err + json.dumps(lines_of(tmp_path))
    assert len(lines_of(tmp_path)) == 3
    assert "Zq7-kite/" not in everything
    assert "learnt-later" not in everything
    assert "Zq7-kite%2Fsecret+" not in everything


def test_a_process_that_lives_on_changes_files_at_midnight_in_india(tmp_path: Path) -> None:
    logs.configure_logging(settings_of(tmp_path), "collect", terminal=False)
    now = [datetime(2026, 1, 23, 23, 59, 59, 999_000, IST)]

    def dated(*args: object, **more: object) -> logging.LogRecord:
        record = logging.LogRecord(*args, **more)  # type: ignore[arg-type]
        record.created = now[0].timestamp()
        return record

    logging.setLogRecordFactory(dated)
    for step in (0, 1, 3600 * 24 * 40, -3600 * 24 * 40):
        now[0] += timedelta(seconds=step)
        logs.get_logger("x").info("step", step=step)
    held = {
        path.name: [json.loads(line)["at"] for line in path.read_text().splitlines()]
        for path in settings_of(tmp_path).log_root.iterdir()
    }
    assert held == {
        "collect-2026-01-23.jsonl": ["2026-01-23T23:59:59.999000+05:30"],
        "collect-2026-01-24.jsonl": ["2026-01-24T00:00:00.999000+05:30"] * 2,
        "collect-2026-03-05.jsonl": ["2026-03-05T00:00:00.999000+05:30"],
    }


def test_a_line_torn_by_a_crash_stays_alone(tmp_path: Path) -> None:
    logs.configure_logging(settings_of(tmp_path), "collect", terminal=False)
    logs.get_logger("x").info("first")
    (path,) = settings_of(tmp_path).log_root.iterdir()
    path.write_bytes(path.read_bytes() + b'{"at": "20')
    logs.configure_logging(settings_of(tmp_path), "collect", terminal=False)
    logs.get_logger("x").info("next \udc80 \u2028 \n")
    logs.get_logger("x").info("last")
    assert [line[:10] for line in path.read_bytes().split(b"\n")] == [
        b'{"at": "20', b'{"at": "20', b'{"at": "20', b'{"at": "20', b"",
    ]  # fmt: skip
    whole = [json.loads(line) for i, line in enumerate(path.read_text().split("\n")[:-1]) if i != 1]
    assert [line["event"] for line in whole] == ["first", "next \udc80 \u2028 \n", "last"]


def test_what_cannot_be_written_is_told_and_does_not_stop_anyone(tmp_path, capsys) -> None:
    root = settings_of(tmp_path).log_root
    root.parent.mkdir(parents=True)
    root.write_text("a file where the folder should be")
    logs.configure_logging(settings_of(tmp_path), "collect", terminal=False)
    logs.get_logger("x").info("lost")
    told = capsys.readouterr().err
    assert "--- Logging error ---" in told
    assert "FileExistsError" in told


def test_processes_writing_to_one_file_never_mix(tmp_path: Path) -> None:
    writers, lines = 3, 100
    with contextlib.ExitStack() as stack:
        children = [
            stack.enter_context(
                subprocess.Popen([sys.executable, __file__, str(tmp_path), "write", str(lines)])
            )
            for _ in range(writers)
        ]
        assert [child.wait(60) for child in children] == [0] * writers
    found = lines_of(tmp_path)
    assert len(found) == writers * lines
    for pid in {line["pid"] for line in found}:
        own = [line for line in found if line["pid"] == pid]
        assert [line["n"] for line in own] == list(range(lines))
        assert all(line["text"] == "é" * (int(str(line["n"])) ** 2) for line in own)


def test_one_trace_goes_through_processes_threads_and_runs(tmp_path: Path) -> None:
    logs.configure_logging(settings_of(tmp_path), "cli", terminal=False)
    logs.bind(session="s1")
    trace = logs.context()["trace_id"]
    with logs.bound(run_id="r1", partition=DAY.isoformat()):
        assert run_child(tmp_path, "tell", **logs.child_environment()).returncode == 0
        tags = logs.trace_tags()
    assert run_child(tmp_path, "tell", "twice").returncode == 0  # Any child, by the environment.
    thread = threading.Thread(target=lambda: logs.get_logger("x").info("thread"))
    thread.start()
    thread.join()
    with logs.bound(trace_id="of-another-run"):
        other = logs.trace_tags()
    with logs.bound(trace_id=logs.trace_of(other)):
        logs.get_logger("x").info("other")
    with logs.bound(trace_id=logs.trace_of({})):
        logs.get_logger("x").info("same")
    assert tags == {logs.TRACE_TAG: trace}
    told = lines_of(tmp_path, "child")
    assert {line["trace_id"] for line in told} == {trace}
    assert {line["session"] for line in told} == {"s1"}
    assert [line.get("run_id") for line in told] == ["r1", None, None]
    assert [line.get("partition") for line in told] == ["2026-01-23", None, None]
    assert len({line["pid"] for line in told}) == 3
    own = {line["event"]: line["trace_id"] for line in lines_of(tmp_path, "cli")}
    assert own == {"thread": trace, "other": "of-another-run", "same": trace}


@pytest.mark.parametrize("found", ["{", "7", "[]", '{"trace_id": "two words"}', '{"trace_id": ""}'])
def test_a_context_that_is_none_begins_a_new_trace_and_is_told(tmp_path, monkeypatch, found):
    monkeypatch.setenv(logs.CONTEXT_VARIABLE, found)
    logs.configure_logging(settings_of(tmp_path), "collect", terminal=False)
    (line,) = lines_of(tmp_path)
    assert "no context of ours" in str(line["event"])
    assert line["found"] == found
    assert re.fullmatch(r"[0-9a-f]{16}", str(line["trace_id"]))


def test_only_declared_fields_are_context() -> None:
    for give in (logs.bind, lambda **more: logs.bound(**more).__enter__()):
        with pytest.raises(logs.LogError, match="found socket; the context has trace_id"):
            give(socket=1)
    assert logs.trace_tags() == {}


def test_what_nobody_caught_is_logged_without_secrets(tmp_path: Path) -> None:
    done = run_child(tmp_path, "crash")
    assert done.returncode == 1
    lines = lines_of(tmp_path, "child")
    assert [line["level"] for line in lines] == ["critical"] * 2
    assert "in a thread" in str(lines[0]["exception"])
    assert f"RuntimeError: {MASK}" in str(lines[1]["exception"])
    assert "RuntimeError" in done.stderr
    assert "kite/secret" not in done.stderr + json.dumps(lines)


def test_twisted_is_routed_without_its_reactor(tmp_path: Path) -> None:
    done = run_child(tmp_path, "twisted")
    assert done.returncode == 0, done.stderr
    (line,) = lines_of(tmp_path, "child")
    assert (line["logger"], line["event"]) == ("twisted", f"opened wss://h/?access_token={MASK}")


def test_without_setting_up_warnings_still_reach_someone() -> None:
    program = (
        "from resources.logs import get_logger as get\n"
        "get('x').info('quiet'); get('x').warning('heard', n=1)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == ""
    assert "heard" in done.stderr
    assert "quiet" not in done.stderr


def child(home: Path, role: str, *words: str) -> None:
    component = "collect" if role == "write" else "child"
    logs.configure_logging(settings_of(home), component, terminal=False)
    log = logs.get_logger("child")
    if role == "write":
        for n in range(int(words[0])):
            log.info("n", n=n, text="é" * n**2)
    elif role == "tell":
        log.info("told")
        if words:
            time.sleep(0.01)
            assert run_child(home, "tell").returncode == 0
    elif role == "twisted":
        logs.route_twisted()
        from twisted.python import log as twisted_log  # noqa: PLC0415

        twisted_log.msg("opened wss://h/?access_token=abc")
        assert not [name for name in sys.modules if name.startswith("twisted.internet")]
    else:
        thread = threading.Thread(target=lambda: 1 / len("in a thread"[99:]), name="in a thread")
        thread.start()
        thread.join()
        raise RuntimeError(SECRET)


if __name__ == "__main__":
    child(Path(sys.argv[1]), *sys.argv[2:])
