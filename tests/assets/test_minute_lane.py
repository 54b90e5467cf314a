"""The minute lane end to end: from a spool on disk to minutes in the lake, once and only once."""

from __future__ import annotations

import json
import math
from datetime import timedelta

import dagster as dg
import pytest

from assets import minute_work
from optrade.tables import TABLES
from optrade_dagster.home import open_lake
from resources.lake_upkeep import compact
from tests.assets.spooled_market import (
    DATA_SNAPSHOTS,
    DAY,
    MINUTE_COUNT,
    OPEN,
    OPTIONS,
    Market,
    whole_day,
)


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
        snapshots = lake.sql(DATA_SNAPSHOTS).item()
    assert market.run().success
    assert market.run(again=True).success
    with open_lake(market.settings, read_only=True) as lake:
        assert lake.sql(DATA_SNAPSHOTS).item() == snapshots
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


def test_the_holes_of_a_day_without_any_segment_stand_in_the_lake(market):
    (market.folder / "subscription.json").unlink()  # Nobody was logged in: it never came so far.
    entry = {"at": (OPEN + timedelta(minutes=5)).isoformat(), "session": "s1",
             "event": "session_started", "opens": OPEN.isoformat(),
             "closes": (OPEN + timedelta(hours=6)).isoformat()}  # fmt: skip
    (market.folder / "journal.jsonl").write_text(json.dumps(entry) + "\n", encoding="utf-8")
    assert market.run().success
    (row,) = market.read("quality.tick_gaps").to_dicts()
    assert (row["cause"], row["started_at"], row["ended_at"]) == ("not_started", OPEN, None)


def test_without_the_subscription_the_run_says_what_is_missing(market, reading):
    market.seal(0, whole_day(0))
    (market.folder / "subscription.json").unlink()
    result = market.run()
    assert not result.success
    assert "found no such file; expected the day's subscription" in reading.failure_text(result)
    with open_lake(market.settings, read_only=True) as lake:
        assert lake.read(TABLES["raw.ticks"], [DAY]).is_empty()
