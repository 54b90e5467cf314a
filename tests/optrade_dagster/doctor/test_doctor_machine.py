"""Probes of the machine and of a whole home: trouble made for real and found, nothing written."""

from __future__ import annotations

import json
import os
import socket
import sqlite3

import polars as pl

from optrade.troubles import TROUBLES
from optrade_dagster.doctor import Sight, examine, machine
from optrade_dagster.home import open_lake
from tests.optrade_dagster.doctor.looks import NOW, look, sight, stamps


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


def test_a_fresh_machine_has_no_trouble_and_gets_nothing(tmp_path, port):
    assert look(tmp_path / "home", port) == {}
    real = look(tmp_path / "home", port, market="real")
    assert real == {"notifications": ("warning", "none is set", "notify")}
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
