"""Worked by hand: which minutes are holes, what a candle tells, how it is carried on."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import polars as pl
import pytest

from optrade.chain.candles import candles_in_holes, healed, hole_minutes
from optrade.chain.minute import chain_minute
from optrade.tables import TABLES

Frame = pl.DataFrame
At = Callable[[str], datetime]
Build = Callable[..., Frame]
NO_STATE = TABLES["snapshots.chain_minute"].empty()


def gaps(*rows: tuple[str, datetime, datetime | None, str | None]) -> Frame:
    table = TABLES["quality.tick_gaps"]
    data = [
        {"gap": name, "started_at": start, "ended_at": end, "instrument_tokens": tokens}
        | {"trade_date": start.date(), "cause": "killed", "instruments": 1, "source": "kite"}
        for name, start, end, tokens in rows
    ]
    return pl.DataFrame(data, dict(table.schema))


def candle(at: At, minute: str, *figures: float, token: int) -> dict[str, object]:
    names = ("open", "high", "low", "close", "volume_units", "oi_units")
    return {
        "trade_date": at(minute).date(), "instrument_token": token, "underlying": "NIFTY",
        "minute": at(minute), "fetched_at": at("16:00"), "request": "r", "stored_as": "s",
        "source_sha256": "0", "source": "kite", **dict(zip(names, figures, strict=True)),
    }  # fmt: skip


def candles(*rows: dict[str, object]) -> Frame:
    return TABLES["raw.candles"].conform(
        pl.DataFrame(list(rows), dict(TABLES["raw.candles"].schema))
    )


def test_a_minute_is_a_hole_unless_a_packet_of_it_came_after_the_gap_began(
    at: At, ticks: Build, subscription: Build
) -> None:
    hours = {"session_open": at("09:15"), "session_close": at("15:30")}
    (token,) = subscription({})["instrument_token"]
    heard = ticks(("10:00:05", {}), ("10:02:40", {}))
    gap = gaps(("g", at("10:00:10"), at("10:02:30"), None))
    found = hole_minutes(gap, [token, 7], heard, **hours)
    holes = {(row["instrument_token"], f"{row['minute']:%H:%M}") for row in found.to_dicts()}
    assert holes == {
        (token, "10:00"), (token, "10:01"), (7, "10:00"), (7, "10:01"), (7, "10:02"),
    }  # fmt: skip
    named = hole_minutes(gaps(("g", at("15:28:30"), None, "7")), [token, 7], heard, **hours)
    assert named["minute"].to_list() == [at("15:28"), at("15:29")]
    assert set(named["instrument_token"]) == {7}
    outside = gaps(("g", at("09:00"), at("09:15"), None))
    assert hole_minutes(outside, [token], heard, **hours).is_empty()


@pytest.mark.parametrize("cut", [0, 1, 2, 3])
def test_a_candle_by_hand_and_the_same_in_any_split(
    at: At, ticks: Build, subscription: Build, cut: int
) -> None:
    chosen = subscription({})
    (token,) = chosen["instrument_token"]
    low = {"high": 103.0, "low": 98.0}
    day = {"open": 99.0, "high": 121.0, "low": 97.0}
    heard = ticks(
        ("09:15:10", {"last_price": 100.0, "volume_units": 75} | day | low),
        ("09:18:30", {"last_price": 120.0, "volume_units": 400} | day | {"high": 121.0}),
    )  # fmt: skip
    gap = gaps(("g", at("09:16"), at("09:18:20"), None))
    hours = {"session_open": at("09:15"), "session_close": at("15:30")}
    told = candles(candle(at, "09:16", 101, 111, 97, 110, 150, 800, token=token))
    holes = hole_minutes(gap, [token], heard, **hours)
    filling = candles_in_holes(told, holes, gap, at("09:15"))
    minutes = [at("09:15") + timedelta(minutes=n) for n in range(4)]
    state, parts = NO_STATE, []
    for span in filter(None, (minutes[:cut], minutes[cut:])):
        part = chain_minute(
            heard, chosen, state, span, TABLES["snapshots.index_minute"].empty(),
            TABLES["snapshots.chain_close"].empty(), **hours, candles=filling,
        )  # fmt: skip
        parts.append(part)
        state = part.filter(pl.col("minute") == span[-1])
    rows = pl.concat(parts).to_dicts()
    first, filled, silent, last = rows
    assert [row["filled_from"] for row in rows] == [None, "candles", None, None]
    figures = (
        "last_price",
        "open",
        "high",
        "low",
        "volume_units",
        "volume_minute_units",
        "oi_units",
    )
    assert [filled[n] for n in figures] == [110.0, 99.0, 111.0, 97.0, 225, 150, 800]
    unknown = ("twap", "vwap", "average_price", "bid", "ask", "mid_price", "bid_units")
    assert [filled[n] for n in unknown] == [None] * len(unknown)
    assert (filled["twap_seconds"], filled["ticks"]) == (0.0, 0)
    assert filled["last_tick_at"] == first["last_tick_at"] == at("09:15:10")
    # nobody said anything of 09:17: the candle's figures stand, and no stale book
    assert (silent["last_price"], silent["bid"], silent["volume_minute_units"]) == (110.0, None, 0)
    assert (last["last_price"], last["volume_minute_units"]) == (120.0, 175)
    (stated,) = healed(gap, holes, told).to_dicts()
    assert (stated["healed_at"], stated["filled_minutes"]) == (at("16:00"), 1)
    assert stated["unfilled_minutes"] == 1


def test_a_day_begins_with_candles(at: At, subscription: Build) -> None:
    chosen = subscription({})
    (token,) = chosen["instrument_token"]
    hours = {"session_open": at("09:15"), "session_close": at("15:30")}
    gap = gaps(("g", at("09:15"), at("09:17"), None))
    none = TABLES["raw.ticks"].empty()
    told = candles(
        candle(at, "09:15", 0, 0, 0, 0, 0, 750, token=token),  # it had not traded yet
        candle(at, "09:16", 101, 111, 97, 110, 150, 800, token=token),
    )
    filling = candles_in_holes(told, hole_minutes(gap, [token], none, **hours), gap, at("09:15"))
    chain = chain_minute(
        none, chosen, NO_STATE, [at("09:15"), at("09:16")],
        TABLES["snapshots.index_minute"].empty(), TABLES["snapshots.chain_close"].empty(),
        **hours, candles=filling,
    )  # fmt: skip
    TABLES["snapshots.chain_minute"].pandera.validate(chain)
    untraded, traded = chain.to_dicts()
    assert (untraded["last_price"], untraded["open"], untraded["oi_units"]) == (None, None, 750)
    assert [traded[n] for n in ("open", "high", "low", "volume_units")] == [101.0, 111.0, 97.0, 150]
    assert traded["source"] == "kite"
    # in a gap that began later, what traded before is not known
    later = candles_in_holes(told, hole_minutes(gap, [token], none, **hours), gap, at("09:14"))
    chain = chain_minute(
        none, chosen, NO_STATE, [at("09:16")], TABLES["snapshots.index_minute"].empty(),
        TABLES["snapshots.chain_close"].empty(), **hours, candles=later,
    )  # fmt: skip
    (row,) = chain.to_dicts()
    assert (row["volume_units"], row["open"], row["volume_minute_units"]) == (None, None, 150)
    assert row["last_price"] == 110.0
