"""The real collector against a broker, a login and a disk that fail: holes, incidents, candles."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from resources.clock import ScaledClock
from resources.kite.errors import TokenExpired
from resources.spool import SpoolError, SpoolWriter, read_records
from tests.assets.candle_broker import Broker
from tests.assets.spooled_market import Market
from tests.faults.hospital import SOON, Row, carry_out, incidents, look, recoveries
from tests.faults.schema import Fault
from tests.resources.collector import desk
from tests.resources.collector.desk import DAY, OPENS, OPTIONS, Desk

SPEED = 60.0
"""A second is a minute of the market: holes of whole minutes take seconds."""
GAPS, CHAIN = "quality.tick_gaps", "snapshots.chain_minute"
HEALED = "from the broker's candles when somebody is logged in and the session is over"
HOLES = {
    "collector_late": ("not_started", "feed_cut", "the collector is started after the open"),
    "collector_killed": ("killed", "feed_cut", "the collector is killed (kill -9)"),
    "disk_full": ("spool_failed", "disk_refused", "the disk refuses frames"),
    "token_expired": (
        "token_expired", "token_expired", "the broker's session dies in mid-session",
    ),
}  # fmt: skip
FAULTS = (
    *(
        Fault(name, "Collector", planted, f"collector; `{GAPS}`: `{gap}`", cause, "healed", HEALED)
        for name, (gap, cause, planted) in HOLES.items()
    ),
    Fault(
        "nobody_logged_in",
        "Collector",
        "nobody has logged in before the open",
        f"collector; `{GAPS}`: `token_expired`",
        "token_expired",
        "labelled",
        "an open hole from the open on, until somebody logs in",
    ),
)
KILLED = """
import sys
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from resources.clock import ScaledClock
from tests.resources.collector.desk import Desk
home, port, start, real_start, speed = sys.argv[1:]
times = datetime.fromisoformat(start), datetime.fromisoformat(real_start)
clock = ScaledClock(*times, float(speed))
Desk(Path(home), clock, SimpleNamespace(port=port), seal_seconds=60)._run()
"""


@dataclass
class Plain(Broker):
    """Every candle is the same, and there is none after `until`."""

    until: datetime = OPENS

    def day_candles(self, token: int, start: datetime, end: datetime) -> tuple[pl.DataFrame, bytes]:
        candles, content = super().day_candles(token, start, end)
        return candles.filter(pl.col("at") < self.until), content

    def _bars(self, token: int, minute: int) -> tuple[float, float, float, float, int, int]:
        return 100.0, 101.0, 99.0, 100.0, 65, 650


def kill_one(home: Path, market: desk.Market, clock: ScaledClock) -> None:
    """Let a collector of its own process hear the market, and kill it."""
    times = [clock.market_start.isoformat(), clock.real_start.isoformat(), str(SPEED)]
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, str(home), str(market.port), *times],
        cwd=Path(__file__).parents[2],
    ) as process:
        try:
            limit = time.monotonic() + 60
            while not flushed(home) > 20:
                assert time.monotonic() < limit
                time.sleep(0.02)
        finally:
            process.kill()


def flushed(home: Path) -> int:
    """Whole records that an open or sealed segment holds."""
    paths = [p for end in ("open", "seg") for p in home.rglob(f"*.{end}")]
    return sum(1 for p in paths for _ in read_records(p.read_bytes(), p.name))


def suffer(at: Desk) -> None:
    """A disk that refuses, an instrument that stands still, a session that dies; each mended."""
    at.thread.start()
    at.wait_for("connected")
    at.hear_more()
    at.market.stale = {OPTIONS[4]}
    at.wait(lambda: any(OPTIONS[4] in (e["instrument_tokens"] or ()) for e in opened(at)))
    at.market.stale = set()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SpoolWriter, "append", refuse)
        time.sleep(2.5)
    at.wait(lambda: any(e["cause"] == "spool_failed" for e in opened(at)))
    at.hear_more(100)
    at.market.good_token, at.trouble = "new", TokenExpired("log in again: `optrade login`")
    at.market.cut()
    at.wait_for("token_expired")
    time.sleep(2.5)
    at.access, at.trouble = desk.Access(at.access.stream_url, "key", "new"), None
    at.wait(lambda: at.market.connections[-1].token == "new")
    at.hear_more(100)
    at.finish()


def opened(at: Desk) -> list[Row]:
    return at.events("gap_opened")


def refuse(*_: object) -> None:
    raise SpoolError("no space left on the device")


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Market]:
    """What the collector left of such a day, in the lake."""
    home = tmp_path_factory.mktemp("collected")
    clock = ScaledClock(OPENS + timedelta(minutes=2), datetime.now(UTC), SPEED)
    broker = desk.Market(clock)
    changes = {"seal_seconds": 60, "silent_seconds": 60, "mute_seconds": 300}
    at = Desk(home, clock, broker, **changes)
    try:
        kill_one(home, broker, clock)
        time.sleep(1.5)
        suffer(at)
    finally:
        at.stop.set()
        broker.stop()
    with dg.DagsterInstance.ephemeral() as instance, pytest.MonkeyPatch.context() as patch:
        patch.setattr("resources.kite.candles.PACE_SECONDS", 0.0)
        market = Market(home, instance, DAY)
        assert market.run().success
        yield market


def holes(market: Market) -> dict[str, Row]:
    """Each hole's incident, by the hole's own cause."""
    gaps = dict(market.read(GAPS).select("gap", "cause").rows())
    told = incidents(market.settings, DAY)
    return {gaps[name]: row for (table, name), row in told.items() if table == GAPS}


def test_each_hole_is_an_incident_of_its_cause_and_healed_from_candles(day: Market) -> None:
    before = holes(day)
    for name, (gap, cause, _) in HOLES.items():
        assert (before[gap]["cause"], before[gap]["action"]) == (cause, "candles"), name
        assert (before[gap]["status"], before[gap]["trade_date"]) == ("open", DAY), name
        assert f"instruments: {gap}: " in before[gap]["evidence"]
    assert before["token_expired"]["component"] == "broker_session"
    assert before["spool_failed"]["component"] == "storage"
    assert "no space left on the device" in before["spool_failed"]["evidence"]
    heard = day.read("raw.ticks")["received_at"].max()
    assert isinstance(heard, datetime)
    (request,) = look(day.settings, day.instance, SOON)
    assert carry_out(day, request, Plain(until=heard)).success
    after = holes(day)
    for name, (gap, *_) in HOLES.items():
        assert after[gap]["status"] == "closed", name
        assert recoveries(day.settings, before[gap]) == [(1, "candles", "healed")]
    healed = day.read(GAPS).filter(pl.col("cause").is_in([gap for gap, *_ in HOLES.values()]))
    assert set(healed["healed_from"]) == {"candles"}
    assert day.read(CHAIN).filter(filled_from="candles").height > 0


def test_the_collector_notices_an_instrument_that_stands_still(day: Market) -> None:
    (gap,) = (
        day.read(GAPS)
        .filter(cause="silent_instrument", instrument_tokens=str(OPTIONS[4]))
        .to_dicts()
    )
    assert "stands still while others move" in gap["detail"]


def test_without_a_login_the_hole_is_an_open_incident(tmp_path: Path) -> None:
    clock = ScaledClock(OPENS - timedelta(seconds=20), datetime.now(UTC), SPEED)
    at = Desk(tmp_path, clock, broker := desk.Market(clock))
    at.trouble = TokenExpired("nobody is logged in: `optrade login`")
    at.thread.start()
    try:
        at.wait_for("gap_opened")
        at.finish()
    finally:
        broker.stop()
    with dg.DagsterInstance.ephemeral() as instance:
        market = Market(tmp_path, instance, DAY)
        assert market.run().success
        found = holes(market)["token_expired"]
        assert (found["cause"], found["component"]) == ("token_expired", "broker_session")
        assert (found["status"], found["opened_at"]) == ("open", OPENS)
        assert "optrade login" in found["evidence"]
        assert "optrade login" in found["suggestion"]
        assert look(market.settings, instance, SOON) == []  # Nothing to fill while it is open.
