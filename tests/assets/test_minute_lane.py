"""The minute lane end to end: from a spool on disk to minutes in the lake, once and only once."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import dagster as dg
import polars as pl
import pytest

from assets import minute_work
from optrade.simulation.kite_packets import HEARTBEAT, frame, packet
from optrade.subscription import SCHEMA, Subscription
from optrade.tables import IST, TABLES
from optrade_dagster.definitions import build_defs
from optrade_dagster.home import open_lake
from resources.lake_upkeep import compact
from resources.settings import Settings
from resources.spool_segments import HEADER, microseconds, record_head

DAY, EXPIRY = date(2026, 2, 2), date(2026, 2, 3)
OPEN = datetime(2026, 2, 2, 9, 15, tzinfo=ZoneInfo(IST))
NIFTY, VIX, FUTURE = 256265, 264969, (500 << 8) | 2
STRIKES = (24950.0, 25000.0, 25050.0)
OPTIONS = {
    ((600 + 2 * place + (side == "PE")) << 8) | 2: (strike, side)
    for place, strike in enumerate(STRIKES)
    for side in ("CE", "PE")
}
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
MINUTE_COUNT = 4


def subscription() -> Subscription:
    none = {"expiry": None, "strike": None, "option_type": None, "lot_size": None}
    shared = {"expiry_bucket": None, "bucket_alias": False, "exchange": "NSE"}
    rows = [
        {"instrument_token": NIFTY, "kind": "index", "underlying": "NIFTY", **none, **shared},
        {"instrument_token": VIX, "kind": "vix", "underlying": "INDIAVIX", **none, **shared},
        {"instrument_token": FUTURE, "kind": "future", "underlying": "NIFTY", **none, **shared}
        | {"expiry": date(2026, 2, 24), "lot_size": 65},
    ]
    rows += [
        {"instrument_token": token, "kind": "option", "underlying": "NIFTY", **shared}
        | {"expiry": EXPIRY, "strike": strike, "option_type": side, "lot_size": 65}
        | {"expiry_bucket": "this_week"}
        for token, (strike, side) in OPTIONS.items()
    ]
    frame_ = pl.DataFrame(
        [{"tradingsymbol": str(row["instrument_token"]), **row} for row in rows],
        schema_overrides=SCHEMA,
    )
    return Subscription(frame_.select(*SCHEMA))


def packets_at(second: int) -> list[bytes]:
    """What the broker says `second` seconds after the open."""
    at = OPEN + timedelta(seconds=second)
    spot = 25000.0 + 10 * math.sin(second / 30)
    said = [
        packet("index_full", NIFTY, {"last_price": spot, "close": 24900.0, "exchange_at": at}),
        packet("index_full", VIX, {"last_price": 13.5, "close": 13.0, "exchange_at": at}),
    ]
    for token in (FUTURE, *OPTIONS):
        strike, side = OPTIONS.get(token, (0.0, "FUT"))
        value = (
            spot + 20
            if side == "FUT"
            else 60
            + max((spot - strike) * (1 if side == "CE" else -1), 0.0)
            - abs(spot - strike) / 4
        )
        value = round(value / 0.05) * 0.05
        figures = {
            "last_price": value, "last_units": 65, "average_price": value,
            "volume_units": 65 * (second + 1), "open": value, "high": value + 1,
            "low": value - 1, "close": 50.0, "oi_units": 6500 + 65 * second,
            "exchange_at": at, "last_trade_at": at,
            "bid": value - 0.05, "bid_units": 130, "bid_orders": 2,
            "ask": value + 0.05, "ask_units": 65, "ask_orders": 1,
        }  # fmt: skip
        said.append(packet("full", token, figures))
    return said


def record(at: datetime, payload: bytes, kind: int = 0) -> bytes:
    received = microseconds(at)
    return record_head(received, kind, 0, payload) + payload


def segment(minute: int, seconds: Sequence[int], late: float = 0.4) -> bytes:
    """A sealed segment of frames, one a second, each arriving `late` seconds after its stamp."""
    body = b"".join(
        record(OPEN + timedelta(seconds=s + late), frame(packets_at(s))) for s in seconds
    )
    return HEADER + record(OPEN + timedelta(minutes=minute), HEARTBEAT) + body


@dataclass
class Market:
    """A simulated market whose collector has left a spool."""

    home: Path
    instance: dg.DagsterInstance
    names: list[str] = field(default_factory=list)

    @property
    def settings(self) -> Settings:
        return Settings(home=self.home, market="simulated")

    @property
    def folder(self) -> Path:
        return self.settings.spool_root / DAY.isoformat()

    def begin(self) -> None:
        self.folder.mkdir(parents=True)
        (self.folder / "subscription.json").write_text(subscription().to_json(), encoding="utf-8")

    def seal(self, minute: int, content: bytes, session: str = "s1") -> str:
        name = f"{OPEN + timedelta(minutes=minute):%H%M%S}-{session}"
        (self.folder / f"{name}.seg").write_bytes(content)
        return name

    def run(self, *, again: bool = False) -> dg.ExecuteInProcessResult:
        job = build_defs(self.settings).resolve_job_def("minute_lane")
        config = {"ops": {"minutes": {"config": {"again": again}}}}
        return job.execute_in_process(
            instance=self.instance,
            partition_key=DAY.isoformat(),
            run_config=QUIET | config,
            raise_on_error=False,
        )

    def read(self, table: str) -> pl.DataFrame:
        with open_lake(self.settings, read_only=True) as lake:
            return lake.read(TABLES[table], [DAY])

    def everything(self) -> dict[str, pl.DataFrame]:
        return {
            name: self.read(name)
            for name, table in TABLES.items()
            if table.part or name in ("raw.tick_segments", "quality.tick_gaps")
        }


@pytest.fixture
def market(tmp_path: Path) -> Iterator[Market]:
    with dg.DagsterInstance.ephemeral() as instance:
        made = Market(tmp_path / "home", instance)
        made.begin()
        yield made


def whole_day(minute: int) -> bytes:
    """A minute's segment; the last second's frame arrives after the seal, with the next one."""
    first = 60 * minute - 1 if minute else 0
    return segment(minute, range(first, 60 * minute + 59), late=0.4 if minute else 0.0)


def test_minutes_appear_as_segments_are_sealed_and_the_last_state_is_that_of_one_run(
    market, tmp_path_factory, reading
):
    for minute in range(MINUTE_COUNT):
        market.seal(minute, whole_day(minute))
        result = market.run()
        assert result.success, reading.failure_text(result)
        index = market.read("snapshots.index_minute")
        assert index["minute"].max() == OPEN + timedelta(minutes=minute)
    grown = market.everything()
    with dg.DagsterInstance.ephemeral() as instance:
        other = Market(tmp_path_factory.mktemp("other"), instance)
        other.begin()
        for minute in range(MINUTE_COUNT):
            other.seal(minute, whole_day(minute))
        assert other.run().success
        at_once = other.everything()
    for name, rows in grown.items():
        assert rows.equals(at_once[name]), name
    assert grown["raw.ticks"].height == 9 * (60 * MINUTE_COUNT - 1)


def test_a_day_that_is_caught_up_in_batches_is_the_same(tmp_path_factory, monkeypatch):
    states = []
    for size in (10, 1):
        monkeypatch.setattr(minute_work, "BATCH_SEGMENTS", size)
        with dg.DagsterInstance.ephemeral() as instance:
            other = Market(tmp_path_factory.mktemp("batches"), instance)
            other.begin()
            for minute in range(MINUTE_COUNT):
                other.seal(minute, whole_day(minute))
            assert other.run().success
            states.append(other.everything())
    for name, rows in states[0].items():
        assert rows.equals(states[1][name]), name


def test_the_numbers_are_those_of_the_feed(market, reading):
    for minute in range(2):
        market.seal(minute, whole_day(minute))
    result = market.run()
    assert result.success, reading.failure_text(result)
    chain = market.read("snapshots.chain_minute")
    assert chain.height == 2 * len(OPTIONS)
    first = chain.filter(minute=OPEN, strike=25000.0, option_type="CE").row(0, named=True)
    values = [
        round((60 + max(x, 0.0) - abs(x) / 4) / 0.05) * 0.05
        for x in (10 * math.sin(s / 30) for s in range(60))
    ]
    assert first["last_price"] == pytest.approx(values[59])
    assert first["twap"] == pytest.approx(sum(values) / 60)  # one price a second, each held for one
    assert first["twap_seconds"] == 60
    assert first["volume_units"] == 65 * 60
    assert first["volume_lots"] == 60
    assert first["ticks"] == 60
    assert first["mid_price"] == pytest.approx(values[59])
    assert first["bid_units"] == 130
    assert first["oi_units"] == 6500 + 65 * 59
    assert first["oi_change_units"] is None  # yesterday's chain is not held
    assert first["spot"] == pytest.approx(25000 + 10 * math.sin(59 / 30), abs=0.01)
    assert first["strike_offset"] == 0
    greeks = market.read("analytics.greeks_minute")
    assert greeks.height == chain.height
    assert greeks.filter(strike=25000.0)["iv"].null_count() == 0
    premium = market.read("analytics.premium_minute").filter(
        kind="straddle", strike_offset=0, expiry_bucket="this_week"
    )
    assert premium.height == 2
    metrics = market.read("analytics.chain_metrics_minute")
    assert metrics["pcr_oi"].to_list() == [1.0, 1.0]
    segments = market.read("raw.tick_segments").row(0, named=True)
    assert (segments["frames"], segments["heartbeats"], segments["ticks"]) == (59, 1, 59 * 9)
    assert segments["stored_as"] == f"spool/{DAY}/091500-s1.seg"


def test_a_second_run_changes_nothing_and_a_replay_is_identical(market):
    for minute in range(2):
        market.seal(minute, whole_day(minute))
    assert market.run().success
    before = market.everything()
    with open_lake(market.settings, read_only=True) as lake:
        snapshots = lake.sql("SELECT count(*) FROM ducklake_snapshots('lake')").item()
    assert market.run().success
    assert market.run(again=True).success
    with open_lake(market.settings, read_only=True) as lake:
        assert lake.sql("SELECT count(*) FROM ducklake_snapshots('lake')").item() == snapshots
    with open_lake(market.settings, read_only=False) as lake:
        for name in ("raw.ticks", "snapshots.chain_minute"):
            assert compact(lake, TABLES[name], DAY).files_after == 1
    assert market.run(again=True).success
    for name, rows in market.everything().items():
        assert rows.equals(before[name]), name


def test_a_late_segment_restates_its_minutes_and_those_after(market, tmp_path_factory):
    for minute in (0, 2, 3):
        market.seal(minute, whole_day(minute))
        assert market.run().success
    hole = market.read("snapshots.chain_minute").filter(minute=OPEN + timedelta(minutes=1))
    assert set(hole["ticks"]) == {1}  # the second that arrived with minute 2
    market.seal(1, whole_day(1))
    assert market.run().success
    with dg.DagsterInstance.ephemeral() as instance:
        other = Market(tmp_path_factory.mktemp("other"), instance)
        other.begin()
        for minute in range(MINUTE_COUNT):
            other.seal(minute, whole_day(minute))
        assert other.run().success
        for name, rows in other.everything().items():
            assert market.everything()[name].equals(rows), name


def test_a_torn_segment_gives_what_is_whole_and_says_what_is_lost(market):
    content = whole_day(0)
    market.seal(0, content[:-100])
    (market.folder / "091500-s1.torn").write_bytes(b"x" * 7)
    assert market.run().success
    row = market.read("raw.tick_segments").row(0, named=True)
    assert row["ticks"] == 58 * 9
    assert row["lost_bytes"] > 7
    assert market.read("raw.ticks").height == 58 * 9


def test_gaps_of_the_journal_stand_in_the_lake(market):
    market.seal(0, whole_day(0))
    entries = [
        {"at": OPEN.isoformat(), "session": "s1", "event": "session_started",
         "opens": OPEN.isoformat(), "closes": (OPEN + timedelta(hours=6)).isoformat()},
        {"at": (OPEN + timedelta(seconds=70)).isoformat(), "session": "s1",
         "event": "gap_opened", "gap": "s1-1",
         "started_at": (OPEN + timedelta(seconds=60)).isoformat(),
         "cause": "mute_socket", "instruments": 9, "instrument_tokens": None, "detail": "socket 0"},
    ]  # fmt: skip
    lines = "".join(json.dumps(entry) + "\n" for entry in entries)
    (market.folder / "journal.jsonl").write_text(lines, encoding="utf-8")
    assert market.run().success
    (row,) = market.read("quality.tick_gaps").filter(cause="mute_socket").to_dicts()
    assert row["started_at"] == OPEN + timedelta(seconds=60)
    assert row["ended_at"] is None


def test_without_the_subscription_the_run_says_what_is_missing(market, reading):
    market.seal(0, whole_day(0))
    (market.folder / "subscription.json").unlink()
    result = market.run()
    assert not result.success
    assert "found no such file; expected the day's subscription" in reading.failure_text(result)
    with open_lake(market.settings, read_only=True) as lake:
        assert lake.read(TABLES["raw.ticks"], [DAY]).is_empty()
