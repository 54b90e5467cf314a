"""Probes of the live feed and of incidents: each trouble made for real and found."""

from __future__ import annotations

import json
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
from pydantic import SecretStr

from optrade.tables.quality import INCIDENTS
from optrade_dagster.doctor import examine
from resources.clock import SystemClock
from resources.journal import Journal
from resources.kite.session import Session, TokenStore
from resources.lake import Lake, LakeLocation, Slice
from tests.optrade_dagster.doctor.looks import DAY, EVENING, NOW, look, sight, stamps


def real(home: Path, port: int, **changes: Any) -> dict[str, tuple[str, str, str]]:
    kite = {"api_key": "key", "redirect_port": port}
    return look(home, port, market="real", kite=kite, nse={"base_url": str(home)}, **changes)


def log_in(home: Path, ends: datetime, api_key: str = "key") -> Path:
    store = TokenStore(home / "real")
    began = ends - timedelta(hours=12)
    store.save(Session("AB1234", api_key, SecretStr("secret"), began, ends))
    return store.path


def test_the_kite_session(tmp_path, port):
    assert real(tmp_path, port)["kite session"][::2] == ("warning", "login")
    log_in(tmp_path, EVENING + timedelta(days=1))
    assert "kite session" not in real(tmp_path, port)
    path = log_in(tmp_path, EVENING - timedelta(hours=1))
    before = stamps(tmp_path)
    assert real(tmp_path, port)["kite session"][::2] == ("trouble", "login")
    assert stamps(tmp_path) == before
    log_in(tmp_path, EVENING + timedelta(days=1), api_key="another")
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
    told = {"market_start": start, "real_start": datetime.now(UTC).isoformat(), "speed": 1}
    clock.write_text(json.dumps(told))
    with socket.create_server(("127.0.0.1", 0)) as broker:
        number = broker.getsockname()[1]
        changes = {"simulator": {"port": number}}
        assert look(tmp_path, 1, **changes)["spool"][::2] == ("trouble", "no_segments")
        day = tmp_path / "simulated" / "spool" / "2026-01-23"
        day.mkdir(parents=True)
        (day / "092000-x.seg").touch()
        assert "1 segments today, none for 9 min" in look(tmp_path, 1, **changes)["spool"][1]
        (day / "092900-x.seg").touch()
        assert "spool" not in look(tmp_path, 1, **changes)


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
