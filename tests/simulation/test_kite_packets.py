"""What the encoder writes, our decoder and the official client read back."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kiteconnect import KiteTicker

from optrade.formats.kite_frames import decode_frames
from optrade.simulation.kite_packets import HEARTBEAT, frame, full_packets, packet, packets
from optrade.tables import IST
from optrade.tables.raw_live import TICK_MODES, TICKS

Official = Callable[[bytes], list[dict[str, Any]]]
Row = dict[str, Any]

AT = 1_767_600_000_000_000
NFO, CDS, BCD, NIFTY = 12_345_602, 1_027, 1_030, 256_265
LENGTHS = {"ltp": 8, "index_quote": 28, "index_full": 32, "quote": 44, "full": 184}
BESIDE = ("trade_date", "underlying", "segment", "source", "received_at", "sequence", "mode")
COLUMNS = [name for name in TICKS.schema if name not in (*BESIDE, "instrument_token")]

counts = st.one_of(st.none(), st.integers(0, 2**32 - 1))
stamps = st.one_of(
    st.none(),
    st.integers(1, 2**32 - 1).map(lambda s: datetime.fromtimestamp(s, ZoneInfo(IST))),
)


@st.composite
def fields(draw: st.DrawFn, divisor: float) -> Row:
    """A row of the table as the wire can say it, with nothing known here and there."""
    prices = st.one_of(
        st.none(), st.integers(-(2**31), 2**31 - 1).map(lambda paise: paise / divisor)
    )
    row: Row = {}
    for name in COLUMNS:
        if name.endswith("_orders"):
            row[name] = draw(st.one_of(st.none(), st.integers(0, 2**16 - 1)))
        elif name.endswith("_at"):
            row[name] = draw(stamps)
        else:
            row[name] = draw(counts if name.endswith("_units") else prices)
    return row


@pytest.fixture(scope="module")
def official() -> Official:
    """What the official client makes of a frame."""
    parse: Official = KiteTicker("key", "token")._parse_binary
    return parse


def read(*some: bytes) -> list[Row]:
    return decode_frames([(AT, frame(some))]).ticks.to_dicts()


def expected(mode: str, token: int, row: Row, read_back: Row) -> Row:
    """What may come back: nothing where the kind has no word, 0 where nothing was given."""
    said: Row = {}
    for name in COLUMNS:
        sent = row[name] if row[name] is not None else 0
        level = name.removesuffix("_units").removesuffix("_orders")
        if read_back[name] is None:
            nobody = level.startswith(("bid", "ask")) and not (row[level] or row[f"{level}_units"])
            assert mode != "full" or name == "change" or not sent or nobody, name
            said[name] = None
        else:
            said[name] = sent
    return said


@settings(max_examples=40, deadline=None)
@given(data=st.data(), mode=st.sampled_from(TICK_MODES))
@pytest.mark.parametrize(("token", "divisor"), [(NFO, 100), (CDS, 1e7), (BCD, 1e4)])
def test_a_row_comes_back(token: int, divisor: float, mode: str, data: st.DataObject) -> None:
    row = data.draw(fields(divisor))
    sent = packet(mode, token, row)
    assert len(sent) == LENGTHS[mode]
    (back,) = read(sent)
    assert (back["mode"], back["instrument_token"]) == (mode, token)
    assert {name: back[name] for name in COLUMNS} == expected(mode, token, row, back)
    again = packet(mode, token, back)
    assert read(again) == [back]


def test_each_mode_carries_its_columns() -> None:
    stamp = datetime(2026, 1, 5, 9, 15, tzinfo=ZoneInfo(IST))
    row = {name: stamp if name.endswith("_at") else 1 for name in COLUMNS}
    for mode in TICK_MODES:
        (back,) = read(packet(mode, NIFTY if mode.startswith("index") else NFO, row))
        carried = {name for name in COLUMNS if back[name] is not None}
        assert len(carried) == LENGTHS[mode] // 4 - 1
        assert all(back[name] == row[name] for name in carried)


def many(n: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(11)
    columns: dict[str, np.ndarray] = {}
    for name in COLUMNS:
        if name.endswith("_at"):
            columns[name] = AT // 1_000_000 + random.integers(0, 60, n)
        elif name.endswith("_orders"):
            columns[name] = random.integers(1, 2**16, n)
        elif name.endswith("_units"):
            columns[name] = random.integers(1, 2**31, n)
        else:
            columns[name] = random.integers(1, 2_000_000, n) / 100
    columns["instrument_token"] = random.integers(1, 5_000, n) << 8 | 2
    return columns


def test_many_packets_are_each_packet() -> None:
    columns = many(50)
    sent = full_packets(columns)
    assert (sent.shape, sent.dtype) == ((50, 184), np.uint8)
    for i, row in enumerate(pl.DataFrame(columns).to_dicts()):
        assert sent[i].tobytes() == packet("full", row["instrument_token"], row)
    (frame_,) = {frame(sent), frame([one.tobytes() for one in sent])}
    ticks = decode_frames([(AT, frame_)]).ticks
    for name, values in columns.items():
        if name == "change":
            assert ticks[name].null_count() == 50
        elif name.endswith("_at"):
            assert ticks[name].dt.epoch("s").to_list() == values.tolist()
        else:
            assert ticks[name].to_list() == values.tolist()


def test_the_official_client_reads_it(official: Official) -> None:
    columns = many(30)
    for tick, row in zip(
        official(frame(full_packets(columns))), pl.DataFrame(columns).to_dicts(), strict=True
    ):
        assert tick["mode"] == "full"
        assert tick["last_price"] == row["last_price"]
        assert tick["volume_traded"] == row["volume_units"]
        assert tick["oi_day_low"] == row["oi_low_units"]
        assert tick["ohlc"] == {name: row[name] for name in ("open", "high", "low", "close")}
        assert tick["exchange_timestamp"].timestamp() == row["exchange_at"]
        assert tick["depth"]["sell"][4] == {
            "price": row["ask_5"],
            "quantity": row["ask_5_units"],
            "orders": row["ask_5_orders"],
        }
    index = packet("index_full", NIFTY, {"last_price": 25_000.05, "high": 25_100, "close": 24_900})
    (tick,) = official(frame([index]))
    assert (tick["mode"], tick["last_price"], tick["tradable"]) == ("full", 25_000.05, False)
    assert tick["ohlc"] == {"high": 25_100, "low": 0, "open": 0, "close": 24_900}


def test_prices_round_to_what_the_wire_can_say() -> None:
    (row,) = read(packet("ltp", NFO, {"last_price": 100.004}))
    assert row["last_price"] == 100.0
    (row,) = read(packet("ltp", CDS, {"last_price": 83.1234567}))
    assert row["last_price"] == 83.1234567


def test_nothing_known_is_sent_as_zero() -> None:
    columns = {"instrument_token": [NFO], "last_price": [np.nan]}
    assert packets("full", columns).tobytes() == packet("full", NFO, {"bid": None})


@pytest.mark.parametrize(
    ("field", "value", "holds"),
    [
        ("last_price", 21_474_836.48, "-2147483648 to 2147483647"),
        ("volume_units", -1, "0 to 4294967295"),
        ("volume_units", 2**32, "0 to 4294967295"),
        ("bid_3_orders", 65_536, "0 to 65535"),
        ("exchange_at", datetime(1969, 12, 31, tzinfo=ZoneInfo("UTC")), "0 to 4294967295"),
    ],
)
def test_what_a_word_can_t_hold_is_refused(field: str, value: object, holds: str) -> None:
    with pytest.raises(ValueError, match=f"{field}: .* holds {holds}"):
        packet("full", NFO, {field: value})


def test_frames_count_to_65535() -> None:
    one = packet("ltp", NFO, {"last_price": 1})
    most = frame([one] * 65_535)
    assert decode_frames([(AT, most)]).counts["ticks"] == 65_535
    with pytest.raises(ValueError, match="65,536 packets for one frame"):
        frame([one] * 65_536)


def test_no_packets_and_heartbeats() -> None:
    assert frame([]) == frame(np.empty((0, 184), np.uint8)) == b"\x00\x00"
    later = AT + timedelta(seconds=1) // timedelta(microseconds=1)
    found = decode_frames([(AT, HEARTBEAT), (later, frame([]))]).counts
    assert (found["heartbeats"], found["frames"], found["broken_frames"]) == (1, 1, 0)
