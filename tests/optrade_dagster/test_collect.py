"""`optrade collect` against the simulated broker: its clock, its login, an orderly end."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest

from optrade.calendar import load_calendar
from optrade.simulation.intraday import IntradayMarket
from optrade_dagster import collect
from optrade_dagster.collect import report
from resources.clock import ScaledClock, SystemClock, write_clock
from resources.journal import read_journal
from resources.kite.errors import NotConfigured
from resources.kite_exchange.server import RunningExchange
from resources.settings import load_settings
from resources.spool import read_records, sealed_segments
from tests.optrade_dagster.conftest import free_port

DAY, FIRST = date(2026, 1, 23), date(2026, 1, 20)
COMMAND = "from optrade_dagster.cli import main; main()"


@pytest.fixture(scope="module")
def market() -> IntradayMarket:
    return IntradayMarket(DAY, 7, FIRST, load_calendar())


@contextmanager
def collecting(home: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """The command in a process of its own."""
    environment = {
        "OPTRADE_HOME": str(home),
        "OPTRADE_MARKET": "simulated",
        "OPTRADE_SIMULATOR__PORT": str(port),
        "OPTRADE_COLLECTOR__AFTER_CLOSE_SECONDS": "5",
        "OPTRADE_COLLECTOR__UNDERLYINGS": "NIFTY",
        "OPTRADE_SPOOL__SEAL_SECONDS": "10",
        "PATH": "",
    }
    with subprocess.Popen(
        [sys.executable, "-c", COMMAND, "collect", "--once"],
        env=environment,
        cwd=home,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_for(what: Callable[[], Any]) -> None:
    limit = time.monotonic() + 60
    while not what():
        assert time.monotonic() < limit, "it did not happen in 60 s"
        time.sleep(0.02)


def test_a_session_is_collected_whole(market: IntradayMarket, tmp_path: Path) -> None:
    port, folder = free_port(), tmp_path / "simulated" / "spool" / str(DAY)
    with collecting(tmp_path, port) as process:
        assert process.stdout is not None
        assert b"Collecting" in process.stdout.readline()  # Now it waits for the clock.
        clock = ScaledClock(market.closes - timedelta(seconds=40), datetime.now(UTC), 10.0)
        with RunningExchange(market, clock, port=port) as exchange:
            write_clock(tmp_path / "simulated" / "clock.json", clock)
            _, errors = process.communicate(timeout=60)
            sent = [(frame.crc, frame.size) for frame in exchange.sent]
    assert process.returncode == 0, errors.decode()
    events = [entry["event"] for entry in read_journal(folder / "journal.jsonl")]
    assert events[:3] == ["session_started", "subscribed", "connected"]
    assert events[-1] == "session_ended"
    kept = [
        (crc32(record.payload), len(record.payload))
        for path in sealed_segments(folder)
        for _, record in read_records(path.read_bytes(), path.name)
    ]
    assert len(kept) > 10
    assert kept == sent[: len(kept)]
    assert len(sent) - len(kept) < 10
    logged = next((tmp_path / "simulated" / "logs").glob("collect-*.jsonl")).read_text()
    assert {"session started", "session ended"} <= {
        json.loads(line)["event"] for line in logged.splitlines()
    }
    session = json.loads((tmp_path / "simulated" / "kite" / "session.json").read_text())
    assert session["access_token"] not in logged


def test_an_interrupt_ends_it_in_order(market: IntradayMarket, tmp_path: Path) -> None:
    clock = ScaledClock(market.opens + timedelta(hours=1), datetime.now(UTC), 10.0)
    write_clock(tmp_path / "simulated" / "clock.json", clock)
    folder = tmp_path / "simulated" / "spool" / str(DAY)
    with RunningExchange(market, clock) as exchange, collecting(tmp_path, exchange.port) as process:
        wait_for(lambda: list(folder.glob("*.open")))
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
    assert sealed_segments(folder)
    assert not list(folder.glob("*.open"))
    last = read_journal(folder / "journal.jsonl")[-1]
    assert (last["event"], last["reason"]) == ("session_ended", "stopped")


def test_it_ends_with_its_clock(market: IntradayMarket, tmp_path: Path) -> None:
    clock = ScaledClock(market.opens + timedelta(hours=1), datetime.now(UTC), 10.0)
    write_clock(tmp_path / "simulated" / "clock.json", clock)
    folder = tmp_path / "simulated" / "spool" / str(DAY)
    with RunningExchange(market, clock) as exchange, collecting(tmp_path, exchange.port) as process:
        wait_for(lambda: list(folder.glob("*.open")))
        write_clock(tmp_path / "simulated" / "clock.json", SystemClock())
        assert process.wait(20) == 0


def test_a_real_market_needs_a_key(tmp_path: Path) -> None:
    settings = load_settings(home=tmp_path, market="real")
    with pytest.raises(NotConfigured, match="OPTRADE_KITE__API_KEY"):
        collect.run_collect(settings, None)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


class Lines:
    """A logger that remembers."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str, dict[str, Any]]] = []

    def __getattr__(self, level: str) -> Callable[..., None]:
        return lambda event, **facts: self.told.append((level, event, facts))


@pytest.mark.parametrize(
    ("entry", "level", "said"),
    [
        ({"event": "segment_sealed", "frames": 3}, "debug", "{'frames': 3}"),
        ({"event": "connected", "at": "x", "socket": 1}, "info", "{'socket': 1}"),
        ({"event": "gap_opened", "instrument_tokens": [1]}, "warning", "{}"),
        ({"event": "token_expired"}, "error", "Run `optrade login`"),
        ({"event": "clock_skew", "skewed": True, "advice": "7 s ahead"}, "warning", "7 s ahead"),
        ({"event": "clock_skew", "seconds": 0.4, "skewed": False}, "info", "agree again"),
    ],
)
def test_what_is_logged(
    monkeypatch: pytest.MonkeyPatch, entry: dict[str, Any], level: str, said: str
) -> None:
    lines = Lines()
    monkeypatch.setattr(collect, "get_logger", lambda _: lines)
    report(entry)
    ((found, event, facts),) = lines.told
    assert (found, event) == (level, entry["event"].replace("_", " "))
    assert said in str(facts)
