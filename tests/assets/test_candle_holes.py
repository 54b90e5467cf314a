"""A hole of seven minutes filled from candles: marked, true where a candle can tell, once."""

from __future__ import annotations

import json
from datetime import timedelta

import dagster as dg
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from optrade.tables import TABLES
from optrade_dagster.home import open_lake
from resources.lake_files import read_raw
from tests.assets.candle_broker import Broker, heal
from tests.assets.spooled_market import (
    DATA_SNAPSHOTS,
    NIFTY,
    OPEN,
    OPTIONS,
    Market,
    segment,
)

MINUTE = timedelta(minutes=1)
FIRST, AFTER, COUNT = 2, 9, 10
"""The cut: minutes 2 to 8 of 10."""
CHAIN, INDEX = "snapshots.chain_minute", "snapshots.index_minute"
REFUSED = min(OPTIONS)


@pytest.fixture(autouse=True)
def no_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resources.kite.candles.PACE_SECONDS", 0.0)


@pytest.fixture
def cut(market: Market) -> Market:
    """The market with a hole, in the lake."""
    for minute in (*range(FIRST), *range(AFTER, COUNT)):
        market.seal(minute, segment(minute, range(60 * minute, 60 * minute + 60)))
    entry = {"at": OPEN.isoformat(), "session": "s1", "instruments": 9, "instrument_tokens": None}
    begin, end = ((OPEN + n * MINUTE).isoformat() for n in (FIRST, AFTER))
    gap = entry | {"gap": "s1-1", "cause": "connection_lost", "started_at": begin, "detail": "cut"}
    entries = [
        entry | {"event": "session_started", "opens": OPEN.isoformat(), "closes": None},
        gap | {"event": "gap_opened"},
        entry | {"event": "gap_closed", "gap": "s1-1", "ended_at": end},
    ]
    text = "".join(json.dumps(entry) + "\n" for entry in entries)
    (market.folder / "journal.jsonl").write_text(text, encoding="utf-8")
    assert market.run().success
    return market


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, pl.DataFrame]:
    """What the lane makes of the day without a hole."""
    with dg.DagsterInstance.ephemeral() as instance:
        market = Market(tmp_path_factory.mktemp("whole"), instance)
        market.begin()
        for minute in range(COUNT):
            market.seal(minute, segment(minute, range(60 * minute, 60 * minute + 60)))
        assert market.run().success
        return market.everything()


def snapshots(market: Market) -> int:
    with open_lake(market.settings, read_only=True) as lake:
        return int(lake.sql(DATA_SNAPSHOTS).item())


def test_a_healed_hole_says_what_candles_can_tell_and_nothing_else(
    cut: Market, whole: dict[str, pl.DataFrame], reading
) -> None:
    holes = cut.read(CHAIN).filter(
        pl.col("minute").is_between(OPEN + 2 * MINUTE, OPEN + 8 * MINUTE)
    )
    assert set(holes["ticks"]) == {0}
    assert holes["filled_from"].null_count() == holes.height
    broker = Broker()
    result = heal(cut, broker)
    assert result.success, reading.failure_text(result)
    assert sorted(broker.asked) == sorted(set(broker.asked))
    assert len(broker.asked) == 9
    after = cut.everything()
    key = ["minute", "instrument_token"]
    told = ["last_price", "oi_units", "volume_units", "volume_minute_units"]
    inside = pl.col("minute").is_between(OPEN + FIRST * MINUTE, OPEN + (AFTER - 1) * MINUTE)
    for name, more in ((CHAIN, ["spot", "volume_lots", "strike_offset"]),
                       (INDEX, ["open", "high", "low"])):  # fmt: skip
        rows, true = after[name].sort(key), whole[name].sort(key)
        filled = rows.filter(inside)
        assert set(filled["filled_from"]) == {"candles"}
        columns = [*key, *told, *more]
        assert_frame_equal(filled.select(columns), true.filter(inside).select(columns))
        assert filled.select(pl.col("twap", "bid", "ask").is_null().all()).row(0) == (True,) * 3
        assert_frame_equal(rows.filter(~inside), true.filter(~inside))
    assert after[CHAIN].filter(inside)["average_price"].null_count() == 7 * len(OPTIONS)
    greeks = after["analytics.greeks_minute"].filter(inside, strike=25000.0)
    assert greeks["iv"].null_count() == 0
    (gap,) = cut.read("quality.tick_gaps").to_dicts()
    assert (gap["healed_from"], gap["filled_minutes"], gap["unfilled_minutes"]) == (
        "candles",
        63,
        0,
    )
    assert gap["healed_at"] == broker.now()
    failed = [e for e in result.get_asset_check_evaluations() if not e.passed]
    assert [(e.asset_key.path, e.check_name, e.description) for e in failed] == []


def test_answers_are_kept_and_a_second_run_and_a_replay_change_nothing(cut: Market) -> None:
    assert heal(cut, Broker()).success
    before, count, again = cut.everything(), snapshots(cut), Broker()
    candles = cut.read("raw.candles")
    with open_lake(cut.settings, read_only=True) as lake:
        for row in candles.unique("instrument_token").iter_rows(named=True):
            kept = json.loads(read_raw(lake.location.root, row["stored_as"], row["source_sha256"]))
            assert len(kept) == AFTER - FIRST
    assert heal(cut, again).success
    assert again.asked == []
    assert cut.run().success
    assert cut.run(again=True).success
    assert snapshots(cut) == count
    assert cut.read("raw.candles").equals(candles)
    for name, rows in cut.everything().items():
        assert rows.equals(before[name]), name


def test_a_late_segment_takes_the_place_of_candles(
    cut: Market, whole: dict[str, pl.DataFrame]
) -> None:
    assert heal(cut, Broker()).success
    for minute in range(FIRST, AFTER):
        cut.seal(minute, segment(minute, range(60 * minute, 60 * minute + 60)))
    assert cut.run().success
    for name in (CHAIN, INDEX, "analytics.greeks_minute"):
        assert cut.read(name).equals(whole[name]), name


def test_a_refused_instrument_stays_missing(cut: Market) -> None:
    assert heal(cut, Broker(refuses=REFUSED)).success
    chain = cut.read(CHAIN).filter(pl.col("minute") == OPEN + 5 * MINUTE)
    assert set(chain.filter(instrument_token=REFUSED)["filled_from"]) == {None}
    assert chain.filter(instrument_token=REFUSED)["ticks"].item() == 0
    assert chain["filled_from"].null_count() == 1
    (gap,) = cut.read("quality.tick_gaps").to_dicts()
    assert (gap["filled_minutes"], gap["unfilled_minutes"]) == (56, 7)


def test_without_a_session_nothing_changes_and_the_error_says_what_to_do(
    cut: Market, reading
) -> None:
    before, count = cut.everything(), snapshots(cut)
    result = heal(cut, Broker(logged_in=False))
    assert not result.success
    assert "nothing was changed. Nobody is logged in" in reading.failure_text(result)
    assert "optrade login" in reading.failure_text(result)
    assert snapshots(cut) == count
    assert all(rows.equals(before[name]) for name, rows in cut.everything().items())


def test_a_session_that_dies_on_the_way_leaves_what_was_answered(cut: Market, reading) -> None:
    result = heal(cut, Broker(expires_after=4))
    assert not result.success
    assert "28 candles were stored" in reading.failure_text(result)
    assert cut.read("raw.candles")["instrument_token"].n_unique() == 4
    broker = Broker()
    assert heal(cut, broker).success
    assert len(broker.asked) == 5
    assert (
        cut.read(CHAIN).filter(pl.col("minute") == OPEN + 5 * MINUTE)["filled_from"].null_count()
        == 0
    )
    assert cut.read(INDEX).filter(instrument_token=NIFTY)["filled_from"].drop_nulls().len() == 7
    assert TABLES["raw.candles"].pandera.validate(cut.read("raw.candles")) is not None
