"""A simulated session in which everything goes wrong: nothing flushed is lost, every hole is told.

The real collector and the real run of the minute lane, as processes of their own that are killed
without warning, against the simulated broker's every fault.
"""

from __future__ import annotations

import io
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zlib import crc32

import dagster as dg
import polars as pl
import pytest
from rich.console import Console

from assets.minutes import MINUTE_TABLES
from optrade.calendar import load_calendar
from optrade.formats.kite_frames import decode_frames
from optrade.simulation.intraday import IntradayMarket
from optrade.tables import TABLES
from optrade_dagster.definitions import build_defs
from optrade_dagster.home import open_lake
from optrade_dagster.replay import replay_day
from resources.clock import ScaledClock, write_clock
from resources.journal import read_journal
from resources.kite_exchange.server import RunningExchange
from resources.recordings import RecordedDay
from resources.settings import Settings

DAY, FIRST = date(2026, 1, 23), date(2026, 1, 20)
SPEED = 15.0
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
COMMAND = "from optrade_dagster.cli import main; main()"
RUN = """
import sys
from pathlib import Path
import dagster as dg
from optrade_dagster.definitions import build_defs
from optrade_dagster.home import open_instance
from resources.settings import load_settings
settings = load_settings()
job = build_defs(settings).resolve_job_def("minute_lane")
with dg.DagsterInstance.ephemeral() as instance:
    print(job.execute_in_process(instance=instance, partition_key=sys.argv[1]).success)
"""
EARLY = timedelta(seconds=1)


@contextmanager
def started(home: Path, port: int, code: str, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process of the market, killed at the end whatever happens."""
    environment = os.environ | {
        "OPTRADE_HOME": str(home),
        "OPTRADE_MARKET": "simulated",
        "OPTRADE_SIMULATOR__PORT": str(port),
        "OPTRADE_COLLECTOR__UNDERLYINGS": "NIFTY",
        "OPTRADE_COLLECTOR__STRIKE_WIDTH_PCT": "1",
        "OPTRADE_COLLECTOR__SILENT_SECONDS": "40",
    }
    with subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", code, *arguments],
        env=environment,
        cwd=home,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def free_port() -> int:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return int(bound.getsockname()[1])


def run(settings: Settings, *, again: bool = False) -> bool:
    job = build_defs(settings).resolve_job_def("minute_lane")
    with dg.DagsterInstance.ephemeral() as instance:
        return job.execute_in_process(
            instance=instance,
            partition_key=str(DAY),
            run_config=QUIET | {"ops": {"minutes": {"config": {"again": again}}}},
        ).success


def everything(settings: Settings) -> dict[str, pl.DataFrame]:
    with open_lake(settings, read_only=True) as lake:
        return {name: lake.read(t, [DAY]) for name, t in TABLES.items() if t.part}


def wait_until(clock: ScaledClock, moment: datetime) -> None:
    while clock.now() < moment:
        time.sleep(0.02)


def wait_for(settings: Settings, event: str, count: int) -> None:
    """Until the collector's journal has told an event so often."""
    path, limit = settings.spool_root / str(DAY) / "journal.jsonl", time.monotonic() + 90
    while not path.exists() or sum(e["event"] == event for e in read_journal(path)) < count:
        assert time.monotonic() < limit, f"{event} was not told {count} times in 90 s"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def chaos(tmp_path_factory: pytest.TempPathFactory):
    """The session, played: its settings and what the broker says it sent."""
    home = tmp_path_factory.mktemp("chaos")
    settings = Settings(home=home, market="simulated")
    market = IntradayMarket(DAY, 7, FIRST, load_calendar())
    clock = ScaledClock(market.opens - timedelta(minutes=2), datetime.now(UTC), SPEED)
    port = free_port()
    settings.market_home.mkdir(parents=True)
    (home / "simulated").mkdir(exist_ok=True)
    write_clock(settings.clock_file, clock)
    with RunningExchange(market, clock, port=port) as exchange:
        faults = exchange.faults
        with started(home, port, COMMAND, "collect") as collector:
            wait_for(settings, "connected", 1)
            begin = max(clock.now(), market.opens)

            def after(seconds: float) -> None:
                wait_until(clock, begin + timedelta(seconds=seconds))

            after(30)
            faults.switch_on("out_of_order", duration=20)
            after(60)
            faults.switch_on("unknown_packet", duration=15)
            faults.switch_on("garbage", duration=10)
            after(80)
            faults.switch_on("mute_socket", duration=75)
            after(170)
            faults.switch_on("drop_connection")
            faults.switch_on("rate_limit", duration=10)
            after(200)
            faults.switch_on("skew", duration=30, seconds=90)
            with started(home, port, RUN, str(DAY)) as killed:
                time.sleep(random.Random(7).uniform(2.5, 4.0))
                killed.send_signal(signal.SIGKILL)
            after(270)
            collector.send_signal(signal.SIGKILL)
            collector.wait()
        known = sum(e["event"] == "connected" for e in recorded(settings).journal())
        with started(home, port, COMMAND, "collect") as collector:
            wait_for(settings, "connected", known + 1)
            begin = clock.now()
            after(60)
            faults.switch_on("expire_token")
            faults.switch_on("text_error")
            wait_for(settings, "connected", known + 2)
            after(150)
            collector.send_signal(signal.SIGINT)
            collector.wait(timeout=60)
        sent = list(exchange.sent)
    assert run(settings)
    return settings, sent


def recorded(settings: Settings) -> RecordedDay:
    return RecordedDay(settings.market_home, settings.spool_root / str(DAY), DAY)


def test_each_frame_on_the_disk_was_sent_and_is_in_ticks_exactly_once(chaos):
    settings, sent = chaos
    said = Counter((s.size, s.crc) for s in sent if s.kind == "binary")
    ticks = everything(settings)["raw.ticks"]
    day, heard = recorded(settings), Counter()
    assert day.sealed()
    for name in day.sealed():
        frames = day.read(name).segment.frames
        heard.update((len(payload), crc32(payload)) for _, payload in frames if len(payload) > 1)
        decoded = decode_frames(frames)
        held = ticks.filter(segment=name)
        assert held.height == decoded.counts["ticks"], name
        assert held["sequence"].n_unique() == held.height
        assert set(held["sequence"]) == set(decoded.ticks["sequence"])
    assert heard
    assert not heard - said
    assert ticks["segment"].n_unique() > 5


def test_each_frame_that_is_not_there_lies_in_a_hole_with_a_cause(chaos):
    settings, sent = chaos
    day, heard = recorded(settings), Counter()
    for name in day.sealed():
        heard.update((len(p), crc32(p)) for _, p in day.read(name).segment.frames if len(p) > 1)
    with open_lake(settings, read_only=True) as lake:
        gaps = lake.read(TABLES["quality.tick_gaps"], [DAY]).to_dicts()
    end = max(s.at for s in sent)
    holes = [(g["started_at"] - 5 * EARLY, (g["ended_at"] or end) + 5 * EARLY) for g in gaps]
    lost = []
    for frame in sent:
        if frame.kind != "binary":
            continue
        if heard[frame.size, frame.crc]:
            heard[frame.size, frame.crc] -= 1
        elif not any(first <= frame.at <= last for first, last in holes):
            lost.append(frame)
    assert not lost, f"{len(lost)} frames are in no hole, the first {lost[:3]}; {gaps}"
    causes = {g["cause"] for g in gaps}
    assert {"mute_socket", "connection_lost", "killed"} <= causes
    assert all(g["detail"] for g in gaps)


def test_unknown_packets_and_garbage_are_counted_and_a_replay_is_the_same(chaos, monkeypatch):
    settings, _ = chaos
    for name in ("DAGSTER_HOME", "OPTRADE_HOME", "OPTRADE_MARKET"):
        monkeypatch.setenv(name, "")  # Put back afterwards: the command sets them.
    with open_lake(settings, read_only=True) as lake:
        segments = lake.read(TABLES["raw.tick_segments"], [DAY])
    assert segments["unknown_packets"].sum() > 0
    before = everything(settings)
    told = Console(file=io.StringIO(), width=120)
    assert replay_day(settings, told, DAY), told.file.getvalue()
    assert told.file.getvalue().count("identical") == len(MINUTE_TABLES)
    after = everything(settings)
    for name, rows in before.items():
        assert rows.equals(after[name]), name
    assert before["snapshots.chain_minute"]["minute"].n_unique() >= 6
