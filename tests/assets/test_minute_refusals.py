"""What the minute lane may not store: it is named, the rest goes on, and the raw file stays."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import dagster as dg
import polars as pl
import pytest

from assets import minute_work
from optrade.simulation.kite_packets import frame, packet
from tests.assets.spooled_market import DAY, NIFTY, OPEN, OPTIONS, Market, record, whole_day

OPTION = next(iter(OPTIONS))
MADE_FROM_CHAIN = ("greeks", "chain_metrics", "open_interest", "premium")


def verdict(result: dg.ExecuteInProcessResult, table: str, check: str) -> dg.AssetCheckEvaluation:
    (found,) = [
        event
        for event in result.get_asset_check_evaluations()
        if event.asset_key.path[-1] == table and event.check_name == check
    ]
    return found


def said_at(second: int, figures: dict[str, Any]) -> bytes:
    """A frame with one packet of an option that arrives `second` seconds after the open."""
    at = OPEN + timedelta(seconds=second)
    return record(at, frame([packet("full", OPTION, figures | {"exchange_at": at})]))


def test_a_file_that_is_no_segment_takes_no_other_with_it_and_is_not_tried_for_ever(
    market: Market, reading
):
    for minute in (0, 2):
        market.seal(minute, whole_day(minute))
    market.seal(1, b"<html>no segment at all</html>")
    result = market.run()
    assert not result.success
    assert "091600-s1.seg: found b'<html>no segment" in reading.failure_text(result)
    assert "restore it from a backup" in reading.failure_text(result)
    segments = market.read("raw.tick_segments")
    assert segments["refusal"].is_null().to_list() == [True, False, True]
    assert segments.row(1, named=True)["bytes"] == 30
    assert set(market.read("raw.ticks")["segment"]) == {"091500-s1", "091700-s1"}
    assert market.read("snapshots.chain_minute")["minute"].max() == OPEN + timedelta(minutes=2)

    market.seal(3, whole_day(3))
    later = market.run()
    assert later.success, "a segment known as refused is not tried again by every run"
    check = verdict(later, "tick_segments", "consistent")
    assert not check.passed
    assert "091600-s1" in (check.description or "")

    market.seal(1, whole_day(1))
    assert market.run(again=True).success
    assert market.read("raw.tick_segments")["refusal"].null_count() == 4
    whole = market.everything()
    other = Market(market.home.parent / "other", market.instance)
    other.begin()
    for minute in range(4):
        other.seal(minute, whole_day(minute))
    assert other.run().success
    for name, rows in other.everything().items():
        assert whole[name].equals(rows), name


def test_a_packet_beyond_its_bounds_is_left_out_alone_and_counted(market: Market):
    bad = [said_at(30, {"last_price": 60.0, "bid": -1.0, "bid_units": 65, "bid_orders": 1})]
    bad += [record(OPEN, frame([packet("ltp", (9 << 8) | 3, {"last_price": 83.1234567})]))]
    market.seal(0, whole_day(0) + b"".join(bad))
    result = market.run()
    assert result.success, "the rest of the segment is as good as ever"
    row = market.read("raw.tick_segments").row(0, named=True)
    assert (row["ticks"], row["implausible_packets"], row["refusal"]) == (59 * 9, 2, None)
    assert market.read("raw.ticks").height == 59 * 9
    check = verdict(result, "tick_segments", "ordinary")
    assert not check.passed
    assert "packets_plausible" in (check.description or "")


def test_a_segment_of_another_day_is_refused_and_the_others_of_its_batch_are_not(
    market: Market, reading
):
    yesterday = OPEN - timedelta(days=1)
    stray = packet("full", OPTION, {"last_price": 60.0, "exchange_at": yesterday})
    market.seal(0, whole_day(0))
    market.seal(1, whole_day(1) + record(yesterday, frame([stray])))
    market.seal(2, whole_day(2))
    result = market.run()
    assert not result.success
    assert "rule inside_date found" in reading.failure_text(result)
    segments = market.read("raw.tick_segments")
    assert segments["refusal"].is_null().to_list() == [True, False, True]
    assert set(market.read("raw.ticks")["segment"]) == {"091500-s1", "091700-s1"}


def test_a_segment_that_was_held_and_is_refused_in_a_replay_keeps_what_was_held(market: Market):
    for minute in range(2):
        market.seal(minute, whole_day(minute))
    assert market.run().success
    before = market.everything()
    market.seal(1, b"overwritten by some accident")
    assert not market.run(again=True).success
    after = market.everything()
    for name in ("raw.ticks", "raw.tick_segments"):
        assert after[name].equals(before[name]), name


def test_a_minute_that_breaks_a_rule_is_held_back_with_all_that_is_made_from_it(
    market: Market, reading, monkeypatch: pytest.MonkeyPatch
):
    bad = OPEN + timedelta(minutes=1)
    compute = minute_work.chain_minute

    def wrong(*arguments: Any, **options: Any) -> pl.DataFrame:
        rows = compute(*arguments, **options)
        spoilt = pl.when(pl.col("minute") == bad).then(-1).otherwise(pl.col("oi_units"))
        return rows.with_columns(oi_units=spoilt.cast(rows.schema["oi_units"]))

    monkeypatch.setattr(minute_work, "chain_minute", wrong)
    for minute in range(4):
        market.seal(minute, whole_day(minute))
    result = market.run()
    assert not result.success
    text = reading.failure_text(result)
    assert f"snapshots.chain_minute {DAY}: rule declared found" in text
    assert not verdict(result, "chain_minute", "contract").passed
    good = {OPEN + timedelta(minutes=minute) for minute in (0, 2, 3)}
    assert set(market.read("snapshots.chain_minute")["minute"]) == good
    for name in MADE_FROM_CHAIN:
        assert set(market.read(f"analytics.{name}_minute")["minute"]) == good, name
    assert market.read("snapshots.index_minute")["minute"].n_unique() == 4
    assert market.read("raw.ticks").filter(instrument_token=NIFTY).height == 239

    monkeypatch.undo()
    assert market.run(again=True).success
    assert bad in set(market.read("analytics.greeks_minute")["minute"])


def test_without_its_segments_row_nothing_of_a_batch_is_stored(
    market: Market, monkeypatch: pytest.MonkeyPatch
):
    row = minute_work.DayWork._segment_row

    def wrong(*arguments: Any) -> dict[str, Any]:
        return row(*arguments) | {"bytes": -1}

    monkeypatch.setattr(minute_work.DayWork, "_segment_row", wrong)
    market.seal(0, whole_day(0))
    assert not market.run().success
    assert all(rows.is_empty() for rows in market.everything().values())
    monkeypatch.undo()
    assert market.run().success
    assert market.read("raw.ticks").height == 59 * 9
