"""A feed that was cut: healed from candles as far as the broker has them, labelled beyond."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import dagster as dg
import polars as pl
import pytest

from tests.assets.candle_broker import Broker
from tests.assets.spooled_market import DAY, OPEN, OPTIONS, Market, segment
from tests.faults.hospital import LATER, SOON, carry_out, hole, incidents, journal, look, recoveries
from tests.faults.schema import Fault

FAMILY = "Live feed"
GAPS, ANSWERS = "quality.tick_gaps", ("raw.candles", "answers")
CUT, SILENT, FORGOT = "s1-cut", "s1-silent", "s1-forgot"
FORGOTTEN, ODD, *_, STILL = OPTIONS
HOLES = {CUT: range(2, 9), FORGOT: range(11, 13)}
FAULTS = (
    Fault(
        "feed_cut",
        FAMILY,
        "the connection is lost for seven minutes",
        "collector; `quality.tick_gaps`",
        "feed_cut",
        "healed",
        "from the broker's candles; each filled row says `filled_from`, the hole `healed_from`",
    ),
    Fault(
        "feed_cut_without_candles",
        FAMILY,
        "the same, and the broker has no candles of one instrument",
        "collector; `quality.tick_gaps`",
        "feed_cut",
        "labelled",
        "`unfilled_minutes` counts what stays missing: `ticks` = 0, `filled_from` null",
    ),
    Fault(
        "instrument_silent",
        FAMILY,
        "one instrument stands still for two minutes while the others move",
        "collector; `quality.tick_gaps`",
        "instrument_silent",
        "healed",
        "from candles, for that instrument alone",
    ),
    Fault(
        "candles_odd",
        FAMILY,
        "the broker's candles of one instrument have a high below their low",
        "`raw.candles`: `prices_ordered`, before they are stored",
        "candles_odd",
        "healed",
        "nothing of the answer is stored; asked for again",
    ),
)


def still(second: int, said: dict[int, dict[str, object]]) -> None:
    """Nothing is sent of one instrument in minutes 9 and 10."""
    if second // 60 in (9, 10):
        del said[STILL]


@pytest.fixture(scope="module")
def cut(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Market]:
    """Fourteen minutes with three holes, in the lake; two attempts to heal them."""
    with dg.DagsterInstance.ephemeral() as instance, pytest.MonkeyPatch.context() as patch:
        patch.setattr("resources.kite.candles.PACE_SECONDS", 0.0)
        market = Market(tmp_path_factory.mktemp("cut"), instance)
        market.begin()
        silent = {"instruments": 1, "instrument_tokens": [STILL]}
        journal(
            market,
            [
                *hole(CUT, "connection_lost", 2, 9),
                *hole(SILENT, "silent_instrument", 9, 11, **silent),
                *hole(FORGOT, "connection_lost", 11, 13),
            ],
        )
        for minute in {*range(14)} - {*HOLES[CUT], *HOLES[FORGOT]}:
            market.seal(minute, segment(minute, range(60 * minute, 60 * minute + 60), change=still))
        assert market.run().success
        yield market


@pytest.fixture(scope="module")
def attempts(cut: Market) -> list[dict[tuple[str, str], dict[str, object]]]:
    """The day's incidents before, after the first attempt, after the second."""
    seen = [incidents(cut.settings)]
    forgot = [(FORGOTTEN, minute) for minute in HOLES[FORGOT]]
    for later, broker in (
        (SOON, Broker(forgot=forgot, contradicts=ODD)),
        (LATER, Broker(forgot=forgot)),
    ):
        (request,) = look(cut.settings, cut.instance, later)
        assert carry_out(cut, request, broker).success
        seen.append(incidents(cut.settings))
    return seen


def test_a_cut_is_an_incident_and_healed_from_candles(cut: Market, attempts) -> None:
    found, _, healed = (seen[GAPS, CUT] for seen in attempts)
    assert (found["cause"], found["component"], found["trade_date"]) == (
        "feed_cut",
        "live_feed",
        DAY,
    )
    assert (found["status"], found["handling"], found["found_before"]) == ("open", "automatic", 420)
    told = "09:17:00 to 09:24:00, 9 instruments: connection_lost: planted"
    assert found["evidence"] == f"{told}; instrument-minutes filled 0, not filled 63"
    assert (healed["status"], healed["incident_id"]) == ("closed", found["incident_id"])
    assert recoveries(cut.settings, healed)[-1] == (2, "candles", "healed")
    (gap,) = cut.read(GAPS).filter(gap=CUT).to_dicts()
    assert (gap["healed_from"], gap["filled_minutes"], gap["unfilled_minutes"]) == (
        "candles",
        63,
        0,
    )
    minutes = pl.col("minute").is_between(OPEN + timedelta(minutes=2), OPEN + timedelta(minutes=8))
    assert set(cut.read("snapshots.chain_minute").filter(minutes)["filled_from"]) == {"candles"}


def test_what_the_broker_has_no_candle_of_stays_a_labelled_hole(cut: Market, attempts) -> None:
    found, _, after = (seen[GAPS, FORGOT] for seen in attempts)
    assert (found["cause"], after["status"], after["attempts"]) == ("feed_cut", "open", 2)
    assert {outcome for *_, outcome in recoveries(cut.settings, after)} == {"not_healed"}
    (gap,) = cut.read(GAPS).filter(gap=FORGOT).to_dicts()
    assert (gap["filled_minutes"], gap["unfilled_minutes"]) == (16, 2)
    hole = cut.read("snapshots.chain_minute").filter(minute=OPEN + timedelta(minutes=12))
    missing = hole.filter(pl.col("filled_from").is_null())
    assert missing.select("instrument_token", "ticks").rows() == [(FORGOTTEN, 0)]


def test_an_instrument_that_stood_still_is_healed_alone(cut: Market, attempts) -> None:
    found, healed, _ = (seen[GAPS, SILENT] for seen in attempts)
    assert (found["cause"], found["instruments"]) == ("instrument_silent", str(STILL))
    assert healed["status"] == "closed"
    assert recoveries(cut.settings, healed) == [(1, "candles", "healed")]
    minutes = pl.col("minute").is_between(OPEN + timedelta(minutes=9), OPEN + timedelta(minutes=10))
    filled = cut.read("snapshots.chain_minute").filter(minutes, filled_from="candles")
    assert set(filled["instrument_token"]) == {STILL}
    assert filled.height == 2


def test_candles_that_contradict_themselves_are_kept_out_and_asked_for_again(
    cut: Market, attempts
) -> None:
    before, found, healed = attempts
    assert ANSWERS not in before
    assert (found[ANSWERS]["cause"], found[ANSWERS]["status"]) == ("candles_odd", "open")
    assert (found[ANSWERS]["component"], found[ANSWERS]["found_before"]) == ("live_feed", 1.0)
    assert "prices_ordered" in str(found[ANSWERS]["evidence"])
    assert (healed[ANSWERS]["status"], healed[ANSWERS]["found_after"]) == ("closed", 0.0)
    assert recoveries(cut.settings, healed[ANSWERS]) == [(1, "candles", "healed")]
    rows = cut.read("raw.candles").filter(instrument_token=ODD)
    assert rows.height == 9
    assert rows.filter(pl.col("high") < pl.col("low")).is_empty()
