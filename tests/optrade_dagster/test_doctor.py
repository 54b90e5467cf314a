"""`optrade doctor`: each trouble made for real and found; nothing written; the command itself."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest
from dagster._core.events import EngineEventData
from pydantic import SecretStr

from optrade.tables.quality import INCIDENTS
from optrade.troubles import TROUBLES
from optrade_dagster.doctor import Sight, examine, machine, storage
from optrade_dagster.home import open_instance, open_lake
from resources.clock import SystemClock
from resources.duckdb_connection import extension_path, plain_connection
from resources.journal import Journal
from resources.kite.session import Session, TokenStore
from resources.lake import Lake, LakeLocation, Slice
from resources.settings import Settings

DAY = date(2026, 1, 23)
NOW = datetime.now(UTC)
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells who holds a lock")


@pytest.fixture(scope="module")
def healthy(filled, tmp_path_factory) -> Path:
    """A simulated home with a filled lake and Dagster's own state; not to be changed."""
    lane, _ = filled
    home = tmp_path_factory.mktemp("healthy") / "home"
    shutil.copytree(lane.settings.lake_root, home / "simulated" / "lake")
    (home / "simulated" / "exchange").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        for name in ("DAGSTER_HOME", "OPTRADE_HOME", "OPTRADE_MARKET"):
            patch.setenv(name, "")
        with open_instance(Settings(home=home, market="simulated")) as instance:
            instance.add_run(run_of("success", dg.DagsterRunStatus.SUCCESS))
    return home


@pytest.fixture
def home(healthy: Path, tmp_path: Path) -> Path:
    """A copy of the healthy home that a test may damage."""
    return Path(shutil.copytree(healthy, tmp_path / "home"))


@pytest.fixture
def port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


@pytest.fixture(autouse=True)
def plenty(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine of the tests may be full: what the disk must have is little."""
    for name in ("LEAST_BYTES", "FEW_BYTES", "LEAST_FILES"):
        monkeypatch.setattr(machine, name, 1)
    monkeypatch.setattr(storage, "LOOK_SECONDS", 0.02)


def run_of(name: str, status: dg.DagsterRunStatus, **tags: str) -> dg.DagsterRun:
    run_id = f"{name:0<8}-0000-4000-8000-000000000000"
    return dg.DagsterRun("close_lane", run_id=run_id, status=status, tags=tags)


def sight(home: Path, port: int, **changes: Any) -> Sight:
    changes = {"market": "simulated", "simulator": {"port": port}} | changes
    return Sight(Settings(home=home, **changes), port)


def look(home: Path, port: int, **changes: Any) -> dict[str, tuple[str, str, str]]:
    """Verdict, what was found and section of each probe that is not content."""
    return {
        one.probe: (one.verdict, one.found, one.trouble)
        for one in examine(sight(home, port, **changes))
        if one.verdict != "ok"
    }


def stamps(home: Path) -> dict[str, tuple[int, int]]:
    """Every file and folder with its time of change and size."""
    paths = [home, *home.rglob("*")]
    return {str(p): (p.stat().st_mtime_ns, p.stat().st_size) for p in paths}


def real(home: Path, port: int, **changes: Any) -> dict[str, tuple[str, str, str]]:
    kite = {"api_key": "key", "redirect_port": port}
    return look(home, port, market="real", kite=kite, nse={"base_url": str(home)}, **changes)


def log_in(home: Path, ends: datetime, api_key: str = "key") -> Path:
    store = TokenStore(home / "real")
    began = ends - timedelta(hours=12)
    store.save(Session("AB1234", api_key, SecretStr("secret"), began, ends))
    return store.path


def test_a_healthy_simulated_home_is_all_ok_and_left_as_it_was(home, port):
    before = stamps(home)
    assert look(home, port) == {}
    assert stamps(home) == before


def test_a_home_in_use_is_read_and_left_as_it_was(home, port):
    settings = sight(home, port).settings
    with (
        open_lake(settings, read_only=False) as lake,
        sqlite3.connect(settings.dagster_home / "history" / "runs.db") as runs,
    ):
        lake.sql("SELECT count(*) FROM raw.source_files")
        runs.execute("UPDATE runs SET status = 'SUCCESS'")
        runs.commit()
        before = stamps(home)
        assert look(home, port) == {}
        assert stamps(home) == before
    runs.close()


def test_a_fresh_machine_is_all_ok_and_gets_nothing(tmp_path, port):
    assert look(tmp_path / "home", port) == {}
    assert look(tmp_path / "home", port, market="real") == {}
    assert list(tmp_path.iterdir()) == []


def test_a_home_that_is_a_file(tmp_path, port):
    (tmp_path / "home").write_text("")
    verdict, found, _ = look(tmp_path / "home", port)["home"]
    assert verdict == "trouble"
    assert "is a file; expected a folder" in found


def test_a_disk_that_is_full_or_nearly(tmp_path, port, monkeypatch):
    monkeypatch.setattr(machine, "FEW_BYTES", 10**18)
    assert look(tmp_path, port)["free space"][0] == "warning"
    monkeypatch.setattr(machine, "LEAST_BYTES", 10**18)
    monkeypatch.setattr(machine, "LEAST_FILES", 10**18)
    seen = look(tmp_path, port)
    assert seen["free space"][::2] == ("trouble", "disk")
    if os.statvfs(tmp_path).f_files:
        assert seen["inodes"][::2] == ("trouble", "inodes")


def test_packages_that_are_not_as_pinned(tmp_path, port, monkeypatch):
    pins = tmp_path / "constraints.txt"
    pins.write_text("# pins\npolars==0.0.1\nDuckDB==" + pl.__version__ + "\n", encoding="utf-8")
    monkeypatch.setattr(machine, "CONSTRAINTS", pins)
    verdict, found, _ = look(tmp_path / "home", port)["packages"]
    assert verdict == "warning"
    assert f"polars {pl.__version__} for 0.0.1" in found


def test_a_day_beyond_the_calendar_and_a_broken_calendar_file(tmp_path, port):
    extra = tmp_path / "extra.csv"
    extra.write_text("date,nothing\n", encoding="utf-8")
    seen = look(tmp_path / "home", port, calendar={"extra_csv": str(extra)})
    assert seen["calendar"][::2] == ("trouble", "calendar")
    clock = tmp_path / "home" / "simulated" / "clock.json"
    clock.parent.mkdir(parents=True)
    told = {"market_start": "2040-01-02T09:15:00+05:30", "real_start": NOW.isoformat(), "speed": 1}
    clock.write_text(json.dumps(told))
    assert "today is 2040-01-0" in look(tmp_path / "home", port)["calendar"][1]


def test_an_archive_that_is_not_there(tmp_path, port):
    folder = {"base_url": str(tmp_path / "gone")}
    assert look(tmp_path, port, nse=folder)["exchange archive"][::2] == ("trouble", "archive")
    url = {"base_url": f"http://127.0.0.1:{port}"}
    assert "exchange archive" not in look(tmp_path, port, nse=url)
    asked = Sight(sight(tmp_path, port, nse=url).settings, port, network=True)
    found = {one.probe: one for one in examine(asked)}["exchange archive"]
    assert found.verdict == "trouble"
    assert "no answer (ConnectError" in found.found


def test_a_port_that_somebody_else_took(tmp_path, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as listening:
        taken = listening.getsockname()[1]
        broker = examine(sight(tmp_path, 1, simulator={"port": taken}))
        monkeypatch.setattr(machine, "LOOPBACK_SECONDS", 0.2)
        ui = examine(Sight(sight(tmp_path, 1024).settings, taken))
    told = f"somebody else listens on {taken}, meant for"
    for found, user in ((broker, "the broker"), (ui, "the web UI")):
        ports = [one for one in found if one.probe == "ports"]
        assert [(one.verdict, one.found) for one in ports] == [("trouble", f"{told} {user}")]


def test_logs_that_are_large(home, port, monkeypatch):
    monkeypatch.setattr(machine, "MOST_LOG_BYTES", 10)
    (home / "simulated" / "logs").mkdir()
    (home / "simulated" / "logs" / "up.out").write_bytes(b"x" * 11)
    assert look(home, port)["logs"][::2] == ("warning", "logs")


def test_a_half_made_lake(tmp_path, port):
    location = LakeLocation(tmp_path / "simulated" / "lake", "simulated")
    location.prepare()
    location.catalog.touch()
    assert look(tmp_path, port)["lake"][::2] == ("trouble", "half_made")
    location.catalog.unlink()
    with plain_connection() as connection:  # As one that was killed before the birth mark.
        for name in location.extensions:
            connection.execute(f"LOAD '{extension_path(name)}'")
        connection.execute(location.attach(read_only=False))
    before = stamps(tmp_path)
    seen = look(tmp_path, port)
    assert seen["lake"][::2] == ("trouble", "half_made")
    assert {"catalog", "data files", "incidents"}.isdisjoint(seen)
    assert stamps(tmp_path) == before


def test_a_lake_of_the_other_market(home, port):
    shutil.copytree(home / "simulated", home / "real")
    seen = look(home, port, market="real")
    assert seen["lake"][::2] == ("trouble", "markets")


def test_a_lake_with_a_table_of_another_version(home, port):
    with sqlite3.connect(home / "simulated" / "lake" / "catalog.sqlite") as catalog:
        catalog.execute(
            "UPDATE ducklake_table SET table_name = 'odd' WHERE table_name = 'source_files'"
        )
    catalog.close()
    verdict, found, trouble = look(home, port)["lake"]
    assert (verdict, trouble) == ("trouble", "other_version")
    assert "raw.odd" in found


def test_a_catalog_that_is_gone_while_its_files_are_there(home, port):
    (home / "simulated" / "lake" / "catalog.sqlite").unlink()
    assert look(home, port)["lake"][::2] == ("trouble", "catalog")


def test_a_flipped_byte_in_the_catalog(home, port):
    path = home / "simulated" / "lake" / "catalog.sqlite"
    with sqlite3.connect(path) as catalog:
        (size,) = catalog.execute("PRAGMA page_size").fetchone()
        (page,) = catalog.execute(
            "SELECT rootpage FROM sqlite_master WHERE name = 'ducklake_snapshot_changes'"
        ).fetchone()
    catalog.close()
    content = bytearray(path.read_bytes())
    content[(page - 1) * size] ^= 0xFF
    path.write_bytes(content)
    before = stamps(home)
    assert look(home, port)["catalog"][::2] == ("trouble", "catalog")
    assert stamps(home) == before
    path.write_bytes(b"no database at all" * 400)
    seen = look(home, port)
    assert {"lake", "catalog", "data files", "incidents"} <= set(seen)
    assert "not a database" in seen["catalog"][1]


def test_data_files_that_are_gone_or_cut_off(home, port):
    files = sorted((home / "simulated" / "lake" / "data" / "raw").rglob("*.parquet"))
    files[0].unlink()
    files[-1].write_bytes(files[-1].read_bytes()[:-1])
    verdict, found, trouble = look(home, port)["data files"]
    assert (verdict, trouble) == ("trouble", "data_files")
    assert found.startswith("1 missing and 1 of another size, of ")


HOLDER = """
import filelock, sys
with filelock.FileLock(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


@LINUX
def test_a_writer_that_hangs_or_was_halted_with_the_lock(home, port):
    lock = LakeLocation(home / "simulated" / "lake", "simulated").lock
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(lock)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert holder.stdout is not None
        holder.stdout.readline()
        verdict, found, trouble = look(home, port)["writer lock"]
        assert (verdict, trouble) == ("warning", "lock")
        assert f"process {holder.pid} has held it" in found
        holder.send_signal(signal.SIGSTOP)
        os.waitpid(holder.pid, os.WUNTRACED)
        assert look(home, port)["writer lock"][0] == "trouble"
        holder.send_signal(signal.SIGCONT)
    finally:
        holder.kill()
        holder.communicate()
    assert "writer lock" not in look(home, port)


def test_stuck_and_failed_runs_and_a_database_that_is_damaged(home, port):
    settings = sight(home, port).settings
    status = dg.DagsterRunStatus
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    with pytest.MonkeyPatch.context() as patch:
        for name in ("DAGSTER_HOME", "OPTRADE_HOME", "OPTRADE_MARKET"):
            patch.setenv(name, "")
        with open_instance(settings) as instance:
            day = {"dagster/partition": "2026-01-23"}
            for name, ended in (("a", status.FAILURE), ("b", status.SUCCESS)):
                instance.add_run(run_of(name, ended, **day))
            instance.add_run(run_of("c", status.FAILURE, **{"dagster/partition": "2026-01-27"}))
            for name, pid in (("alive", os.getpid()), ("dead", gone.pid)):
                run = instance.add_run(run_of(name, status.STARTED))
                said = EngineEventData({"pid": dg.MetadataValue.text(str(pid))})
                instance.report_engine_event("Started", run, engine_event_data=said)
    before = stamps(home)
    seen = look(home, port)
    assert stamps(home) == before
    assert seen["stuck runs"][::2] == ("trouble", "stuck_run")
    assert seen["stuck runs"][1].startswith("1 of 2 runs under way: dead0000 of close_lane")
    assert seen["failed partitions"][::2] == ("warning", "failed_partitions")
    assert seen["failed partitions"][1].endswith("the newest close_lane 2026-01-27")
    (settings.dagster_home / "history" / "runs.db").write_bytes(b"no database")
    assert look(home, port)["dagster home"][::2] == ("trouble", "dagster_home")


def test_the_kite_session(tmp_path, port):
    assert real(tmp_path, port)["kite session"][::2] == ("warning", "login")
    log_in(tmp_path, NOW + timedelta(days=1))
    assert "kite session" not in real(tmp_path, port)
    path = log_in(tmp_path, NOW - timedelta(hours=1))
    before = stamps(tmp_path)
    assert real(tmp_path, port)["kite session"][::2] == ("trouble", "login")
    assert stamps(tmp_path) == before
    log_in(tmp_path, NOW + timedelta(days=1), api_key="another")
    assert real(tmp_path, port)["kite session"][::2] == ("trouble", "session_file")
    path.write_text("{}")
    assert real(tmp_path, port)["kite session"][::2] == ("trouble", "session_file")
    path.chmod(0o644)
    assert "0644" in real(tmp_path, port)["kite session"][1]


def test_a_session_of_which_nothing_arrives(tmp_path):
    """A simulated broker plays since a quarter of an hour, and no segment was sealed."""
    clock = tmp_path / "simulated" / "clock.json"
    clock.parent.mkdir(parents=True)
    start = "2026-01-23T09:30:00+05:30"
    told = {"market_start": start, "real_start": NOW.isoformat(), "speed": 1}
    clock.write_text(json.dumps(told))
    with socket.create_server(("127.0.0.1", 0)) as broker:
        number = broker.getsockname()[1]
        changes = {"simulator": {"port": number}}
        assert look(tmp_path, 1, **changes)["spool"][::2] == ("trouble", "no_segments")
        day = tmp_path / "simulated" / "spool" / "2026-01-23"
        day.mkdir(parents=True)
        segment = day / "093000-x.seg"
        segment.touch()
        assert "spool" not in look(tmp_path, 1, **changes)
        os.utime(segment, (time.time() - 600, time.time() - 600))
        assert "1 segments today, none for 10 min" in look(tmp_path, 1, **changes)["spool"][1]


def test_what_a_killed_collector_left_and_a_clock_that_was_off(home, port):
    day = home / "simulated" / "spool" / "2026-01-23"
    day.mkdir(parents=True)
    (day / "093000-x.open").write_bytes(b"12345")
    (day / "092900-x.torn").write_bytes(b"12345")
    journal = Journal(day / "journal.jsonl", "x", SystemClock())
    journal.write("clock_skew", seconds=9.5, limit=5.0, skewed=True)
    seen = look(home, port)
    assert seen["left in the spool"][1].startswith("1 segments left open, 1 torn tails of 5 bytes")
    assert seen["clock"] == ("warning", "2026-01-23: 9.5 s from the exchange's", "clock")
    journal.write("clock_skew", seconds=0.1, limit=5.0, skewed=False)
    assert "clock" not in look(home, port)


def incident(number: int, cause: str, status: str) -> dict[str, Any]:
    return dict.fromkeys(INCIDENTS.schema) | {
        "trade_date": DAY + timedelta(days=number), "incident_id": f"i{number}",
        "opened_at": NOW, "component": "live_feed", "severity": "ERROR", "cause": cause,
        "table_name": "raw.ticks", "subject": "gap", "evidence": "seen", "suggestion": "do",
        "handling": "manual", "attempts": 0, "status": status,
    }  # fmt: skip


def test_open_incidents_by_cause(tmp_path, port):
    rows = [incident(0, "feed_cut", "open"), incident(1, "feed_cut", "open"),
            incident(2, "own_work", "escalated"), incident(3, "clock_off", "closed")]  # fmt: skip
    frame = INCIDENTS.conform(pl.DataFrame(rows, INCIDENTS.schema))
    days = tuple(row["trade_date"] for row in rows)
    with Lake.open(LakeLocation(tmp_path / "simulated" / "lake", "simulated")) as lake:
        lake.commit([Slice(INCIDENTS, days, frame)], author="test", provenance={})
    found = [one for one in examine(sight(tmp_path, port)) if one.probe == "incidents"]
    assert [(one.verdict, one.trouble, one.found) for one in found] == [
        ("warning", "feed_cut", "feed_cut: 2 open, the oldest of 2026-01-23"),
        ("trouble", "own_work", "own_work: 1 open, the oldest of 2026-01-25; 1 wait for a person"),
    ]


def test_the_command_says_what_to_do_and_ends_accordingly(optrade):
    fresh = optrade("doctor", "--format", "json", "--port", "1")
    told = json.loads(fresh.stdout)
    assert {"settings", "lake", "kite session"} <= {one["probe"] for one in told}
    assert fresh.returncode == int(any(one["verdict"] == "trouble" for one in told))
    assert not optrade.home.exists()
    wrong = optrade("doctor", "--format", "json", MARKT="real")
    assert wrong.returncode == 1
    (one,) = json.loads(wrong.stdout)
    assert one["found"].startswith("OPTRADE_MARKT is not a setting. Did you mean OPTRADE_MARKET?")
    assert one["section"] == f"docs/troubleshooting.md#{TROUBLES['settings'].anchor}"
    assert one["do"] == list(TROUBLES["settings"].do)
    text = optrade("doctor", MARKT="real")
    assert text.returncode == 1
    assert "0 ok, 0 warning, 1 trouble" in text.stdout
