"""Probes of the lake and of Dagster's own state: each damage made for real and found."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import dagster as dg
import pytest
from dagster._core.events import EngineEventData

from optrade_dagster.doctor import examine
from optrade_dagster.home import open_instance
from resources.duckdb_connection import extension_path, plain_connection
from resources.lake import LakeLocation
from resources.settings import Settings
from tests.optrade_dagster.doctor.looks import look, run_of, sight, stamps

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells who holds a lock")


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


class Dagster(BaseHTTPRequestHandler):
    """A web UI that says which home it is over."""

    home = ""

    def do_POST(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.home.encode())

    def log_message(self, *_: object) -> None:
        """Nothing."""


def test_a_web_ui_whose_daemon_is_silent(home, monkeypatch):
    settings = Settings(home=home, market="simulated")
    runs = settings.dagster_home / "history" / "runs.db"
    monkeypatch.setattr(Dagster, "home", str(settings.dagster_home))
    server = ThreadingHTTPServer(("127.0.0.1", 0), Dagster)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        number = server.server_address[1]
        seen = {one.probe: one for one in examine(sight(home, number, simulator={"port": 1024}))}
        assert seen["ports"].found == f"{number} ours, 1024 free"
        assert seen["dagster daemon"].verdict == "trouble"
        for age, verdict in ((600, "trouble"), (1, "ok")):
            heard = (datetime.now(UTC) - timedelta(seconds=age)).replace(tzinfo=None)
            with sqlite3.connect(runs) as database:
                database.execute(
                    "REPLACE INTO daemon_heartbeats (daemon_type, timestamp) VALUES ('SENSOR', ?)",
                    [str(heard)],
                )
            database.close()
            seen = {one.probe: one for one in examine(sight(home, number))}
            assert seen["dagster daemon"].verdict == verdict
    finally:
        server.shutdown()
        server.server_close()


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
