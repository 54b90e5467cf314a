"""A feed that says what can't be, and segments that the disk spoilt: one day, a fault a minute."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import dagster as dg
import pytest

from optrade.simulation.kite_packets import frame
from tests.assets.candle_broker import Broker
from tests.assets.spooled_market import (
    NIFTY,
    OPEN,
    OPTIONS,
    Market,
    Said,
    packets_at,
    record,
    segment,
)
from tests.faults.hospital import (
    LATER,
    SOON,
    Row,
    carry_out,
    close_day,
    incidents,
    journal,
    look,
    recoveries,
)
from tests.faults.schema import Fault

FAMILY, SPOOL = "Live feed", "Spool"
CALL = min(OPTIONS)
PUT = CALL + 256
CHAIN, TICKS, SEGMENTS = "snapshots.chain_minute", "raw.ticks", "raw.tick_segments"
GAPS = "quality.tick_gaps"
CROSSED, ZERO, JUMP, NEGATIVE, BACK, WILD, TWICE, COPIED = range(1, 9)
GARBAGE, TORN, FLIPPED, GONE, COUNT = range(9, 14)
SECOND = "s2"
"""The session of which a copied segment says it is."""
LABELLED = {
    "crossed_book": (
        CROSSED, (CHAIN, "books_not_crossed"), "feed_odd",
        "the best bid of an option is above its best offer for a minute",
        "`mid_price` is null, so nothing is computed from it",
    ),
    "spot_zero": (
        ZERO, (CHAIN, "spot_known"), "feed_odd",
        "the index packets of a minute say 0",
        "the spot is null, and what needs it is null with a reason",
    ),
    "price_jump": (
        JUMP, (CHAIN, "inside_day_range"), "market_odd",
        "the last price of an option is a hundred times what it was",
        "the packet's own low and high contradict it; greeks follow the middle of the book",
    ),
    "price_negative": (
        NEGATIVE, (TICKS, "prices_not_negative"), "feed_odd",
        "the last price of an option is below zero for a minute",
        "the packets stay in `raw.ticks` and enter no minute as a price",
    ),
    "volume_backwards": (
        BACK, (TICKS, "volume_never_falls"), "feed_odd",
        "the day's volume of an option falls with every packet",
        "a fall counts as no trade",
    ),
    "stamps_wild": (
        WILD, (TICKS, "stamps_near_arrival"), "feed_odd",
        "the exchange's stamps of one option are of the day before, of another of the next",
        "such packets enter no minute: `ticks` = 0",
    ),
    "frames_twice": (
        TWICE, (TICKS, "packets_differ"), "feed_odd",
        "every frame of a segment is there twice",
        "figures of the minute are the same; `ticks` counts both",
    ),
    "segment_copied": (
        COPIED, (SEGMENTS, "segments_differ"), "feed_odd",
        "a segment is there again under another name",
        "figures of the minute are the same; `ticks` counts both",
    ),
}  # fmt: skip
LOST = {
    "segment_torn": (TORN, "a segment lost its second half", "30 of 60"),
    "segment_flipped": (FLIPPED, "a byte in the middle of a sealed segment is flipped", "of 60"),
    "segment_deleted": (GONE, "a sealed segment is deleted before it was read", "0 of 60"),
}
FAULTS = (
    *(
        Fault(
            name,
            SPOOL if name == "segment_copied" else FAMILY,
            planted,
            f"`{table}`: `{rule}`",
            cause,
            "labelled",
            outcome,
        )
        for name, (_, (table, rule), cause, planted, outcome) in LABELLED.items()
    ),
    *(
        Fault(
            name,
            SPOOL,
            planted,
            "journal against segments; `quality.tick_gaps`",
            "disk_refused",
            "healed",
            "what was lost is a hole, filled from candles and marked so",
        )
        for name, (_, planted, _) in LOST.items()
    ),
    Fault(
        "segment_garbage",
        SPOOL,
        "a sealed segment does not begin like one",
        f"`{SEGMENTS}`: `segments_accepted`",
        "segment_refused",
        "healed",
        "replayed when the file is whole again",
    ),
)


def spoil(second: int, said: Said) -> None:
    """Let the broker say what can't be, in the minute of each fault."""
    minute = second // 60
    if minute == CROSSED:
        said[CALL]["bid"] = said[CALL]["ask"] + 5
    elif minute == ZERO:
        said[NIFTY]["last_price"] = 0.0
    elif minute == JUMP:
        said[CALL]["last_price"] *= 100
    elif minute == NEGATIVE:
        said[CALL]["last_price"] = -60.0
    elif minute == BACK:
        said[CALL]["volume_units"] = 65 * (600 - second)
    elif minute == WILD:
        said[CALL]["exchange_at"] -= timedelta(days=1)
        said[PUT]["exchange_at"] += timedelta(days=1)


def frames_twice(seconds: range) -> bytes:
    """A minute's records, each there twice."""
    arrivals = [(OPEN + timedelta(seconds=s + 0.4), frame(packets_at(s))) for s in seconds]
    return segment(TWICE, ()) + b"".join(record(at, said) * 2 for at, said in arrivals)


@pytest.fixture(scope="module")
def spoilt(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Market]:
    """Fourteen minutes in the lake, as the disk gave them; judged as a day."""
    with dg.DagsterInstance.ephemeral() as instance, pytest.MonkeyPatch.context() as patch:
        patch.setattr("resources.kite.candles.PACE_SECONDS", 0.0)
        market = Market(tmp_path_factory.mktemp("spoilt"), instance)
        market.begin()
        told = []
        for minute in range(COUNT + 1):
            seconds = range(60 * minute, 60 * minute + 60)
            whole = segment(minute, seconds, change=spoil)
            name = market.seal(minute, whole)
            told.append(sealed(name, seconds))
            harm(market, minute, seconds, whole)
        journal(market, told)
        assert not market.run().success  # One segment is refused.
        assert market.run().success  # What was lost is stated by the run after.
        close_day(market)
        yield market


def harm(market: Market, minute: int, seconds: range, whole: bytes) -> None:
    """Do to a sealed segment what its minute is for."""
    if minute == TWICE:
        market.seal(minute, frames_twice(seconds))
    elif minute == COPIED:
        market.seal(minute, whole, session=SECOND)
    elif minute == GARBAGE:
        market.seal(minute, b"<html>" + whole[6:])
    elif minute == TORN:
        market.seal(minute, segment(minute, seconds[:30]) + whole[-40:])
    elif minute == FLIPPED:
        place = len(whole) // 2
        market.seal(minute, whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
    elif minute == GONE:
        (market.folder / f"{market.seal(minute, whole)}.seg").unlink()


def sealed(name: str, seconds: range) -> Row:
    """What the collector's journal tells of a segment."""
    first, last = (
        (OPEN + timedelta(seconds=s + 0.4)).isoformat() for s in (seconds[0], seconds[-1])
    )
    counts = {"frames": 60, "heartbeats": 1, "first_received_at": first, "last_received_at": last}
    return {"event": "segment_sealed", "segment": name, **counts}


@pytest.fixture(scope="module")
def found(spoilt: Market) -> dict[tuple[str, str], Row]:
    """The day's incidents."""
    return incidents(spoilt.settings)


def at(market: Market, minute: int, token: int = CALL) -> Row:
    """The row of an option in a minute."""
    moment = OPEN + timedelta(minutes=minute)
    rows = market.read(CHAIN).filter(minute=moment, instrument_token=token)
    return rows.row(0, named=True)


@pytest.mark.parametrize("name", LABELLED)
def test_it_is_an_incident_that_stands(found: dict[tuple[str, str], Row], name: str) -> None:
    minute, subject, cause, *_ = LABELLED[name]
    incident = found[subject]
    assert (incident["cause"], incident["status"], incident["handling"]) == (
        cause,
        "open",
        "manual",
    )
    moment = OPEN + timedelta(minutes=minute)
    assert f"{moment:%H:%M}" in incident["evidence"] or f"{moment:%H%M}" in incident["evidence"]
    component = "chain" if subject[0] == CHAIN else "live_feed"
    assert incident["component"] == component


def test_what_is_odd_is_kept_out_of_what_is_computed(spoilt: Market) -> None:
    assert at(spoilt, CROSSED)["mid_price"] is None
    assert at(spoilt, ZERO)["spot"] is None
    jump = at(spoilt, JUMP)
    assert jump["low"] < jump["mid_price"] < jump["high"] < jump["last_price"]
    assert at(spoilt, NEGATIVE)["last_price"] is None
    assert at(spoilt, BACK)["volume_minute_units"] == 0
    assert [at(spoilt, WILD, token)["ticks"] for token in (CALL, PUT)] == [0, 0]
    for minute in (TWICE, COPIED):
        row, other = at(spoilt, minute, max(OPTIONS)), at(spoilt, 0)
        assert (row["ticks"], other["ticks"]) == (120, 60)
        assert row["volume_minute_units"] == 65 * 60
        assert row["twap_seconds"] == 60


def test_lost_segments_are_holes_filled_from_candles_and_garbage_is_replayed(
    spoilt: Market, found: dict[tuple[str, str], Row]
) -> None:
    names = {name: f"{OPEN + timedelta(minutes=m):%H%M%S}-s1" for name, (m, *_) in LOST.items()}
    holes = {name: found[GAPS, f"{segment_}-lost"] for name, segment_ in names.items()}
    for name, hole in holes.items():
        assert (hole["cause"], hole["component"]) == ("disk_refused", "storage")
        assert (hole["status"], hole["action"]) == ("open", "candles")
        assert f"{LOST[name][2]} frames of the sealed segment" in hole["evidence"]
    refused = found[SEGMENTS, "segments_accepted"]
    assert (refused["cause"], refused["action"]) == ("segment_refused", "replay")
    assert "<html>" in refused["evidence"]

    seconds = range(60 * GARBAGE, 60 * GARBAGE + 60)
    spoilt.seal(GARBAGE, segment(GARBAGE, seconds, change=spoil))
    requests = look(spoilt.settings, spoilt.instance, SOON)
    assert {request.tags["optrade/action"] for request in requests} == {"candles", "replay"}
    for request in sorted(requests, key=lambda r: r.tags["optrade/action"], reverse=True):
        carry_out(spoilt, request, Broker())
    after = incidents(spoilt.settings)
    assert after[SEGMENTS, "segments_accepted"]["status"] == "closed"
    assert recoveries(spoilt.settings, refused) == [(1, "replay", "healed")]
    filled = spoilt.read(CHAIN).filter(filled_from="candles")
    for name, hole in holes.items():
        assert after[GAPS, hole["subject"]]["status"] == "closed", name
        assert recoveries(spoilt.settings, hole) == [(1, "candles", "healed")]
        moment = OPEN + timedelta(minutes=LOST[name][0])
        assert moment in set(filled["minute"]), name
    garbage = f"{OPEN + timedelta(minutes=GARBAGE):%H%M%S}-s1-lost"
    assert after[GAPS, garbage]["status"] == "closed"  # Its segment is there again.
    assert look(spoilt.settings, spoilt.instance, LATER) == []
