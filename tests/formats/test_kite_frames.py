"""Kite frames against the official client, packet by packet, and where the two differ."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kiteconnect import KiteTicker

from optrade.formats.kite_frames import decode_frames, raw_ticks
from optrade.tables import IST
from optrade.tables.raw_live import TICKS

Official = Callable[[bytes], list[dict[str, Any]]]
Row = dict[str, Any]

LENGTHS = (8, 28, 32, 44, 184)
MODES = ("ltp", "index_quote", "index_full", "quote", "full")
DIVISORS = {3: 1e7, 6: 1e4, 12: 1e4}
"""Segments whose prices are not in paise: CDS, BCD, NCO."""
INDEX_SEGMENT = 9
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NOW = 1_767_600_000_000_000
NFO, NIFTY = 12_345_602, 256_265

words = st.one_of(st.just(0), st.integers(0, 5_000), st.integers(0, 2**32 - 1))
tokens = st.builds(
    lambda id_, segment: id_ << 8 | segment,
    st.integers(1, 2**24 - 1),
    st.sampled_from([1, 2, 3, 4, 5, 6, 7, 9, 12]),
)


@st.composite
def packets(draw: st.DrawFn, lengths: Sequence[int] = LENGTHS) -> bytes:
    more = draw(st.sampled_from(lengths)) // 4 - 1
    values = [draw(tokens), *draw(st.lists(words, min_size=more, max_size=more))]
    return struct.pack(f">{len(values)}I", *values)


unknown_packets = st.binary(max_size=250).filter(lambda p: len(p) not in LENGTHS)


def frame_of(some: Sequence[bytes]) -> bytes:
    return struct.pack(">H", len(some)) + b"".join(struct.pack(">H", len(p)) + p for p in some)


def full(token: int = NFO, **at: int) -> bytes:
    """A full packet of zeros but for the words `w<place>`."""
    values = [token, *[0] * 45]
    for place, value in at.items():
        values[int(place[1:])] = value & 0xFFFF_FFFF
    return struct.pack(">46I", *values)


def rows_of(*payloads: bytes) -> list[Row]:
    return decode_frames(
        [(NOW + i, payload) for i, payload in enumerate(payloads)]
    ).ticks.to_dicts()


@pytest.fixture(scope="module")
def official() -> Official:
    """What the official client makes of a frame."""
    parse: Official = KiteTicker("key", "token")._parse_binary
    return parse


def in_our_words(tick: Row) -> Row:
    """The official client's tick as a row of ours, its faults made good."""
    token = tick["instrument_token"]
    by = DIVISORS.get(token & 0xFF, 100.0)

    def price(value: float) -> float:
        wire = round(value * by)  # it takes prices for unsigned
        return (wire - 2**32 if wire >= 2**31 else wire) / by

    def instant(value: datetime) -> datetime | None:
        aware = value.astimezone(ZoneInfo(IST))  # it gives the local time without a zone
        return None if aware == EPOCH else aware

    row: Row = dict.fromkeys(set(TICKS.schema) - NOT_DECODED - OURS_ALONE)
    row |= {"instrument_token": token, "last_price": price(tick["last_price"])}
    index = "ohlc" in tick and "volume_traded" not in tick
    row["mode"] = ("index_" if index else "") + tick["mode"]
    row |= {name: price(value) for name, value in tick.get("ohlc", {}).items()}
    if "exchange_timestamp" in tick:
        row["exchange_at"] = instant(tick["exchange_timestamp"])
    if not tick["tradable"]:
        return row
    if "volume_traded" in tick:
        row |= {"average_price": price(tick["average_traded_price"])}
        row |= {ours: tick[theirs] for ours, theirs in QUANTITIES.items()}
    if "depth" in tick:
        row |= {"last_trade_at": instant(tick["last_trade_time"]), "oi_units": tick["oi"]}
        row |= {"oi_high_units": tick["oi_day_high"], "oi_low_units": tick["oi_day_low"]}
        row |= depth_row(tick["depth"], price)
    return row


def depth_row(depth: Row, price: Callable[[float], float] = float) -> Row:
    row: Row = {}
    for side, theirs in (("bid", "buy"), ("ask", "sell")):
        for number, level in enumerate(depth[theirs], 1):
            name = side if number == 1 else f"{side}_{number}"
            if level["price"] or level["quantity"]:
                row[name] = price(level["price"])
                row[f"{name}_units"] = level["quantity"]
                row[f"{name}_orders"] = level["orders"]
    return row


NOT_DECODED = {"trade_date", "underlying", "segment", "source"}
OURS_ALONE = {"received_at", "sequence", "change"}
QUANTITIES = {
    "last_units": "last_traded_quantity",
    "volume_units": "volume_traded",
    "buy_units": "total_buy_quantity",
    "sell_units": "total_sell_quantity",
}


@settings(max_examples=60, deadline=None)
@given(frames=st.lists(st.lists(packets(), max_size=5), max_size=3))
def test_every_packet_reads_as_in_the_official_client(
    official: Official, frames: list[list[bytes]]
) -> None:
    payloads = [frame_of(some) for some in frames]
    theirs = [in_our_words(tick) for payload in payloads for tick in official(payload)]
    decoded = decode_frames([(NOW + i, payload) for i, payload in enumerate(payloads)])
    assert decoded.ticks.drop(*OURS_ALONE).to_dicts() == [
        {name: row[name] for name in decoded.ticks.columns if name in row} for row in theirs
    ]
    assert decoded.ticks["sequence"].to_list() == list(range(len(theirs)))
    assert decoded.ticks.schema == {n: t for n, t in TICKS.schema.items() if n not in NOT_DECODED}
    assert decoded.unknown == []


def test_prices_are_signed_which_the_official_client_misses(official: Official) -> None:
    payload = frame_of([full(w1=-5, w7=-2_005, w17=-15)])
    (row,) = rows_of(payload)
    assert (row["last_price"], row["open"], row["bid"]) == (-0.05, -20.05, -0.15)
    assert official(payload)[0]["last_price"] == (2**32 - 5) / 100


def test_stamps_have_a_zone_which_the_official_client_leaves_out(official: Official) -> None:
    payload = frame_of([full(w11=1_767_600_000, w15=1_767_600_061)])
    (row,) = rows_of(payload)
    assert row["last_trade_at"].isoformat() == "2026-01-05T13:30:00+05:30"
    assert row["exchange_at"].isoformat() == "2026-01-05T13:31:01+05:30"
    assert official(payload)[0]["exchange_timestamp"].tzinfo is None


def test_a_stamp_of_zero_is_null_which_the_official_client_dates_1970(official: Official) -> None:
    payload = frame_of([full(), struct.pack(">8I", NIFTY, *[0] * 7)])
    for row in rows_of(payload):
        assert row["exchange_at"] is None
        assert row["last_trade_at"] is None
    assert [t["exchange_timestamp"].timestamp() for t in official(payload)] == [0, 0]


@settings(max_examples=60, deadline=None)
@given(some=st.lists(st.one_of(packets(), unknown_packets), max_size=8))
def test_unknown_lengths_are_kept_which_the_official_client_drops(
    official: Official, some: list[bytes]
) -> None:
    decoded = decode_frames([(NOW, b"\x00"), (NOW, frame_of(some))])
    known = [place for place, packet in enumerate(some) if len(packet) in LENGTHS]
    assert decoded.unknown == [(1, packet) for packet in some if len(packet) not in LENGTHS]
    assert decoded.counts["unknown_packets"] == len(some) - len(known)
    assert decoded.ticks["sequence"].to_list() == known
    alone = decode_frames([(NOW, frame_of([some[place] for place in known]))])
    assert decoded.ticks.drop("sequence").equals(alone.ticks.drop("sequence"))
    if all(len(packet) >= 4 for packet in some):  # shorter ones make it raise
        assert len(official(frame_of(some))) == len(known)


@settings(max_examples=60, deadline=None)
@given(
    some=st.lists(st.one_of(packets((8, 32, 184)), unknown_packets), min_size=1, max_size=5),
    data=st.data(),
)
def test_a_cut_frame_gives_its_whole_packets(some: list[bytes], data: st.DataObject) -> None:
    payload = frame_of(some)
    cut = data.draw(st.integers(2, len(payload) - 1))
    whole = [p for i, p in enumerate(some) if len(frame_of(some[: i + 1])) <= cut]
    after = frame_of(some[:1])
    decoded = decode_frames([(NOW, payload[:cut]), (NOW, after)])
    expected = decode_frames([(NOW, frame_of(whole)), (NOW, after)])
    assert decoded.counts == expected.counts | {"broken_frames": 1}
    assert decoded.ticks.equals(expected.ticks)
    assert decoded.unknown == expected.unknown


def test_bytes_after_the_last_packet_break_a_frame() -> None:
    decoded = decode_frames([(NOW, frame_of([full(w1=100)]) + b"\x01")])
    assert decoded.counts["broken_frames"] == 1
    assert decoded.ticks["last_price"].to_list() == [1.0]


@given(payloads=st.lists(st.binary(max_size=60), max_size=6))
def test_garbage_is_counted_never_raised(payloads: list[bytes]) -> None:
    decoded = decode_frames([(NOW, payload) for payload in payloads])
    counts = decoded.counts
    assert counts["heartbeats"] == sum(len(payload) < 2 for payload in payloads)
    assert counts["frames"] + counts["heartbeats"] == len(payloads)
    assert counts["ticks"] == decoded.ticks.height
    for payload in payloads:
        one = decode_frames([(NOW, payload)])
        lengths = one.ticks["mode"].replace_strict(MODES, LENGTHS, return_dtype=pl.Int64).to_list()
        lengths += [len(packet) for _, packet in one.unknown]
        whole = len(payload) == 2 + sum(2 + n for n in lengths)
        whole &= len(lengths) == int.from_bytes(payload[:2])
        assert one.counts["broken_frames"] == (len(payload) > 1 and not whole)


def test_many_packets_read_as_frame_by_frame() -> None:
    """Long runs of one length, broken by others, over several batches."""
    random = np.random.default_rng(3)
    frames = []
    for number in range(60):
        lengths = np.repeat(random.choice([8, 32, 33, 184], 20), random.integers(1, 40, 20))
        if number % 7 == 0:
            lengths = np.full(600, 184)
        content = [struct.pack(">I", NFO) + random.bytes(int(size) - 4) for size in lengths]
        frames.append((NOW + number * 1_000, frame_of(content)))
        frames.append((NOW + number * 1_000, b"\x00"))
    together = decode_frames(frames)
    alone = [decode_frames([frame]) for frame in frames]
    assert together.counts == {
        name: sum(one.counts[name] for one in alone) for name in together.counts
    }
    assert together.counts["ticks"] > 3 * 4_096
    assert together.counts["unknown_packets"] > 0
    ticks = pl.concat([one.ticks for one in alone])
    assert together.ticks.drop("sequence").equals(ticks.drop("sequence"))
    unknown = [(i, packet) for i, one in enumerate(alone) for _, packet in one.unknown]
    assert together.unknown == unknown
    sequence = together.ticks["sequence"]
    assert sequence.is_sorted()
    assert sequence.n_unique() == len(sequence)
    assert sequence[-1] < len(sequence) + len(unknown)


def test_what_a_packet_does_not_carry_is_null() -> None:
    ltp, index = struct.pack(">2I", NFO, 10_005), struct.pack(">7I", NIFTY, *range(100, 700, 100))
    first, second, third = rows_of(frame_of([ltp, index, full(w1=100)]))
    carried = {"instrument_token", "received_at", "mode", "last_price", "sequence"}
    assert {name for name, value in first.items() if value is not None} == carried
    carried |= {"open", "high", "low", "close", "change"}
    assert {name for name, value in second.items() if value is not None} == carried
    assert [second[n] for n in ("high", "low", "open", "close", "change")] == [2, 3, 4, 5, 6]
    assert third["change"] is None
    assert third["volume_units"] == 0
    assert [third[n] for n in ("bid", "bid_units", "bid_orders", "ask_5")] == [None] * 4


def test_the_change_of_an_index_is_signed() -> None:
    packet = struct.pack(">IiiiiiiI", NIFTY, 2_500_000, 0, 0, 0, 2_510_050, -10_050, 1)
    (row,) = rows_of(frame_of([packet]))
    assert row["change"] == -100.5


def test_an_index_has_no_volume_in_any_packet() -> None:
    packet = full(NIFTY, w1=2_500_000, w4=7, w7=1, w12=5, w16=9, w17=9, w15=1)
    (row,) = rows_of(frame_of([packet]))
    assert (row["mode"], row["last_price"], row["open"]) == ("full", 25_000, 0.01)
    assert row["exchange_at"] is not None
    assert [row[n] for n in ("volume_units", "oi_units", "bid", "bid_units")] == [None] * 4


def test_a_level_with_units_alone_or_a_price_alone_stands() -> None:
    (row,) = rows_of(frame_of([full(w16=75, w20=500, w33=2 << 16)]))
    assert (row["bid"], row["bid_units"], row["bid_orders"]) == (0.0, 75, 0)
    assert (row["bid_2"], row["bid_2_units"], row["bid_2_orders"]) == (5.0, 0, 0)
    assert (row["ask"], row["ask_units"], row["ask_orders"]) == (None, None, None)


def test_arrival_is_to_the_microsecond() -> None:
    row = rows_of(b"\x00", frame_of([full()]))[0]
    assert row["received_at"].isoformat() == "2026-01-05T13:30:00.000001+05:30"


@pytest.mark.parametrize("frames", [[], [(NOW, b"\x00")], [(NOW, b"\x00\x00")]])
def test_no_packets_give_an_empty_table(frames: list[tuple[int, bytes]]) -> None:
    decoded = decode_frames(frames)
    assert decoded.ticks.height == decoded.counts["ticks"] == 0
    assert raw_ticks(decoded, date(2026, 1, 5), "s", "kite", {}).equals(TICKS.empty())


def test_rows_of_the_table() -> None:
    random = np.random.default_rng(5)
    second = NOW // 1_000_000
    content = [
        struct.pack(">I", token << 8 | segment)
        + b"".join(struct.pack(">I", int(v)) for v in random.integers(1, 9_000, 14))
        + struct.pack(">I", second - int(random.integers(0, 3)) if late else 0)
        + b"".join(struct.pack(">IIHH", *random.integers(1, 900, 3), 0) for _ in range(10))
        for token, segment, late in zip(
            random.integers(1, 5, 400),
            random.choice([2, 3, 9], 400),
            random.integers(0, 5, 400),
            strict=True,
        )
    ]
    frames = [(NOW - 7 * i, frame_of(content[i : i + 10])) for i in range(0, 400, 10)]
    decoded = decode_frames(frames)
    rows = raw_ticks(decoded, date(2026, 1, 5), "133000-a", "kite", {1 << 8 | 2: "NIFTY"})
    assert rows.schema == TICKS.schema
    assert rows.equals(TICKS.conform(rows))
    TICKS.pandera.validate(rows)
    assert rows.sort("sequence").select(decoded.ticks.columns).equals(decoded.ticks)
    known = rows.filter(pl.col("instrument_token") == (1 << 8 | 2))
    assert set(known["underlying"]) == {"NIFTY"}
    assert rows["underlying"].null_count() == rows.height - known.height
    for name, value in (("segment", "133000-a"), ("source", "kite"), ("trade_date", "2026-01-05")):
        assert [str(one) for one in rows[name].unique()] == [value]


def test_the_broker_s_own_sample(shared: Path, official: Official) -> None:
    folder = shared.parent / "kite" / "mocks"
    if not folder.is_dir():
        pytest.skip(f"no samples at {folder}; set MARKET_FILES")
    payload = frame_of([base64.b64decode((folder / "ticker_full.packet").read_bytes())])
    said = json.loads((folder / "ticker_full.json").read_text())
    (row,) = rows_of(payload)
    expected: Row = {
        "instrument_token": said["instrument_token"],
        "mode": said["mode"],
        "last_price": said["last_price"],
        "last_units": said["last_quantity"],
        "average_price": said["average_price"],
        "volume_units": said["volume"],
        "buy_units": said["buy_quantity"],
        "sell_units": said["sell_quantity"],
        **said["ohlc"],
        "last_trade_at": datetime.fromisoformat(said["last_trade_time"]),
        "exchange_at": datetime.fromisoformat(said["timestamp"]),
        "oi_units": said["oi"],
        "oi_high_units": said["oi_day_high"],
        "oi_low_units": said["oi_day_low"],
        **depth_row(said["depth"]),
    }
    assert {name: row[name] for name in row if name not in OURS_ALONE} == expected
    assert row["change"] is None
    assert in_our_words(official(payload)[0]) == expected
