"""Worked by hand: which tick counts where, the averages of a minute, what is carried on."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import polars as pl
import pytest

from optrade.chain.minute import chain_minute, index_minute, minutes_of
from optrade.tables import TABLES

Frame = pl.DataFrame
Tick = tuple[str, dict[str, object]]
At = Callable[[str], datetime]
Build = Callable[..., Frame]


@pytest.fixture
def bars(at: At, ticks: Build, subscription: Build) -> Callable[..., list[dict[str, object]]]:
    """The rows of one option over so many minutes."""

    def build(
        *rows: Tick, count: int = 1, first: str = "09:15", **options: object
    ) -> list[dict[str, object]]:
        chain = chain_minute(
            ticks(*rows),
            subscription({}),
            TABLES["snapshots.chain_minute"].empty(),
            [at(first) + timedelta(minutes=n) for n in range(count)],
            TABLES["snapshots.index_minute"].empty(),
            TABLES["snapshots.chain_close"].empty(),
            session_open=at("09:15"),
            session_close=at("15:30"),
            **options,
        )
        TABLES["snapshots.chain_minute"].pandera.validate(chain)
        return chain.to_dicts()

    return build


def traded(price: float, volume: int, **more: object) -> dict[str, object]:
    return {"last_price": price, "volume_units": volume} | more


def test_averages_by_hand(bars: Build, at: At) -> None:
    rows = bars(
        ("09:15:10", traded(100.0, 75)),
        ("09:15:40", traded(110.0, 225)),
        ("09:16:30", traded(120.0, 225)),
        count=4,
    )
    # 30 s at 100 and 20 s at 110; 75 units at 100 and 150 at 110
    assert (rows[0]["twap"], rows[0]["twap_seconds"]) == ((3000 + 2200) / 50, 50.0)
    assert rows[0]["vwap"] == pytest.approx((7500 + 16500) / 225, rel=1e-15)
    assert (rows[0]["volume_minute_units"], rows[0]["ticks"]) == (225, 2)
    # 30 s at the 110 from before, 30 s at 120
    assert (rows[1]["twap"], rows[1]["twap_seconds"]) == (115.0, 60.0)
    assert (rows[1]["volume_minute_units"], rows[1]["vwap"]) == (0, None)
    # 120 is held until 09:17:30, a minute after its packet, and unknown from then on
    assert (rows[2]["twap"], rows[2]["twap_seconds"], rows[2]["ticks"]) == (120.0, 30.0, 0)
    assert (rows[3]["twap"], rows[3]["twap_seconds"]) == (None, 0.0)
    assert (rows[3]["last_price"], rows[3]["last_tick_at"]) == (120.0, at("09:16:30"))
    assert [row["snapshot_at"] - row["minute"] for row in rows] == [timedelta(minutes=1)] * 4


def test_a_price_is_held_no_longer_than_the_gap(bars: Build) -> None:
    ticks = (("09:15:00", traded(100.0, 75)), ("09:15:30", traded(200.0, 150)))
    rows = bars(*ticks, count=4, max_gap_seconds=10.0)
    assert (rows[0]["twap"], rows[0]["twap_seconds"]) == (150.0, 20.0)
    assert rows[1]["twap_seconds"] == 0.0
    rows = bars(*ticks, count=4, max_gap_seconds=150.0)
    assert [row["twap_seconds"] for row in rows] == [60.0, 60.0, 60.0, 0.0]


def test_what_traded_before_the_first_packet(bars: Build) -> None:
    """It belongs to the session's first minute; later, nobody knows when it traded."""
    late = (("09:16:10", traded(100.0, 750)), ("09:16:20", traded(101.0, 825)))
    for first in ("09:15", "09:16"):
        row = bars(*late, first=first, count=2)[0 if first == "09:16" else -1]
        assert (row["volume_units"], row["volume_minute_units"], row["vwap"]) == (825, 75, 101.0)
    early = (("09:15:10", traded(100.0, 750)), ("09:15:20", traded(101.0, 825)))
    (row,) = bars(*early)
    assert row["volume_minute_units"] == 825
    assert row["vwap"] == pytest.approx((100.0 * 750 + 101.0 * 75) / 825)


def test_a_volume_that_falls_is_no_trade(bars: Build) -> None:
    rows = bars(
        ("09:15:10", traded(100.0, 750)),
        ("09:15:20", traded(90.0, 600)),
        ("09:15:30", traded(102.0, 825)),
        ("09:16:30", traded(103.0, 800)),
        count=2,
    )
    assert [row["volume_minute_units"] for row in rows] == [825, 0]
    assert [row["volume_units"] for row in rows] == [825, 825]
    assert rows[0]["vwap"] == pytest.approx((100.0 * 750 + 102.0 * 75) / 825)


def test_yesterdays_price_is_no_trade_of_today(bars: Build) -> None:
    rows = bars(
        ("09:15:10", traded(98.0, 0, average_price=0.0, open=0.0, high=0.0, low=0.0)),
        ("09:16:30", traded(97.0, 75)),
        count=2,
    )
    absent = ("last_price", "close_price", "open", "high", "low", "average_price", "twap", "vwap")
    assert [rows[0][name] for name in absent] == [None] * len(absent)
    assert (rows[0]["volume_units"], rows[0]["twap_seconds"]) == (0, 0.0)
    assert (rows[0]["mid_price"], rows[0]["previous_close"], rows[0]["oi_units"]) == (100, 98, 750)
    assert (rows[1]["last_price"], rows[1]["close_price"], rows[1]["high"]) == (97.0, 97.0, 101.0)
    assert (rows[1]["twap"], rows[1]["twap_seconds"]) == (97.0, 30.0)


@pytest.mark.parametrize(
    ("bid", "ask", "mid"), [(None, 100.0, None), (99.0, None, None), (101.0, 100.0, None)]
)
def test_no_middle_without_two_sides(bars: Build, bid: object, ask: object, mid: object) -> None:
    (row,) = bars(("09:15:10", {"bid": bid, "ask": ask}))
    assert (row["bid"], row["ask"], row["mid_price"]) == (bid, ask, mid)


def test_packets_that_say_less_leave_the_rest_standing(bars: Build, at: At) -> None:
    depth = dict.fromkeys(("oi_units", "bid", "ask", "bid_units", "ask_units", "exchange_at"))
    figures = dict.fromkeys(("average_price", "volume_units", "open", "high", "low", "close"))
    (row,) = bars(
        ("09:15:10", {"bid": None}),
        ("09:15:20", traded(101.0, 150, mode="quote", high=102.0) | depth),
        ("09:15:30", traded(103.0, 0, mode="ltp") | depth | figures),
    )
    assert (row["bid"], row["ask"], row["oi_units"]) == (None, 100.05, 750)
    assert (row["high"], row["volume_units"], row["last_price"]) == (102.0, 150, 103.0)
    # without a stamp, the time of arrival
    assert row["last_tick_at"] == at("09:15:30.2")
    assert row["ticks"] == 3


def test_stamps_that_cannot_be_and_other_hours_do_not_count(
    bars: Build, ticks: Build, at: At
) -> None:
    rows: tuple[Tick, ...] = (
        ("09:14:59", {}),
        ("09:15:10", {"received_at": at("09:20:10.001")}),
        ("09:16:00", {"received_at": at("09:20:59")}),
        ("15:29:59", {}),
        ("15:30:00", {}),
        ("09:17:10", {"received_at": at("09:11:00")}),
    )
    hours = (at("09:15"), at("15:30"))
    assert minutes_of(ticks(*rows), *hours) == [at("09:16"), at("15:29")]
    assert [row["ticks"] for row in bars(*rows, count=3)] == [1, 0]


def test_order_is_by_stamp_then_arrival_then_place(bars: Build, at: At) -> None:
    def second(price: float, arrival: str, segment: str, sequence: int) -> Tick:
        return (
            "09:15:30",
            traded(price, 75, received_at=at(arrival), segment=segment, sequence=sequence),
        )

    rows = [
        second(101.0, "09:15:30.1", "b", 1),
        second(102.0, "09:15:30.3", "a", 1),
        second(103.0, "09:15:30.3", "b", 1),
        second(104.0, "09:15:30.3", "b", 2),
        ("09:15:29", traded(100.0, 75, received_at=at("09:15:31"))),
    ]
    for order in (rows, rows[::-1], rows[2:] + rows[:2]):
        (row,) = bars(*order)
        assert (row["last_price"], row["twap"]) == (104.0, (100.0 + 104.0 * 30) / 31)


def test_an_index_by_hand(at: At, ticks: Build, subscription: Build) -> None:
    value = {"mode": "index_full", "instrument_token": 265, "volume_units": None, "close": 23_900.0}
    frame = ticks(
        ("09:15:00", value | {"last_price": 24_000.0}),
        ("09:15:15", value | {"last_price": 24_030.0}),
        ("09:15:30", value | {"last_price": 24_010.0}),
        ("09:15:01", {"last_price": 500.0, "volume_units": 0, "instrument_token": 514}),
    )
    nothing = {"strike": None, "option_type": None}
    chosen = subscription(
        {"kind": "index", "instrument_token": 265, "expiry": None} | nothing,
        {"kind": "future", "instrument_token": 514} | nothing,
    )
    table = TABLES["snapshots.index_minute"]
    made = index_minute(
        frame,
        chosen,
        table.empty(),
        [at("09:15"), at("09:16")],
        session_open=at("09:15"),
        session_close=at("15:30"),
    )
    table.pandera.validate(made)
    first, future, second, _ = made.sort("minute", "instrument_token").to_dicts()
    assert [first[n] for n in ("open", "high", "low", "last_price")] == [24e3, 24030, 24e3, 24010]
    assert (first["twap"], first["twap_seconds"]) == ((24_000 + 24_030 + 2 * 24_010) / 4, 60.0)
    assert (first["previous_close"], first["volume_units"]) == (23_900.0, None)
    assert (second["open"], second["last_price"], second["twap_seconds"]) == (None, 24_010.0, 30.0)
    # a future that did not trade today has no price, only a book
    assert (future["last_price"], future["volume_units"], future["bid"]) == (None, 0, 99.95)
