"""What is listed, when it expires, and how one day's row follows from the day before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date

import numpy as np
import polars as pl
import pytest

from optrade.calendar import load_calendar
from optrade.expiries import expected_expiries
from optrade.simulation import MarketDay, market_days
from optrade.simulation.listing import Expiry, moved, schedule, strikes
from optrade.simulation.parameters import BANKNIFTY, NIFTY, UNDERLYINGS, Ladder

Tables = Mapping[str, pl.DataFrame]


def test_contract_ids_name_one_contract_for_its_whole_life(
    tables: Tables, days: Sequence[date]
) -> None:
    rows = tables["fo_bhavcopy"]
    what = ["underlying", "instrument_type", "expiry", "strike", "contract_name", "lot_size"]
    for one, other in (("contract_id", what), ("contract_name", ["contract_id"])):
        assert rows.group_by(one).agg(pl.struct(other).n_unique().alias("n"))["n"].max() == 1
    position = {day: i for i, day in enumerate(days)}
    lives = rows.group_by("contract_id").agg(
        pl.col("trade_date").min().alias("first"),
        pl.col("trade_date").max().alias("last"),
        pl.len(),
        pl.col("expiry").first(),
    )
    for first, last, n, expiry in lives.select("first", "last", "len", "expiry").iter_rows():
        assert n == position[last] - position[first] + 1
        assert last == min(expiry, days[-1])


def test_a_row_follows_from_the_day_before(tables: Tables, days: Sequence[date]) -> None:
    rows = tables["fo_bhavcopy"].sort("contract_id", "trade_date")
    before = pl.col("oi_units").shift(1).over("contract_id")
    rows = rows.with_columns(
        oi_before=before, close_before=pl.col("close").shift(1).over("contract_id")
    )
    later = rows.filter(pl.col("oi_before").is_not_null())
    assert later.filter(
        pl.col("oi_units") - pl.col("oi_before") != pl.col("oi_change_units")
    ).is_empty()
    assert later.filter(pl.col("close_before") != pl.col("previous_close")).is_empty()
    new = rows.filter(pl.col("oi_before").is_null() & (pl.col("trade_date") > days[0]))
    assert len(new) > 100
    assert new.filter(pl.col("oi_units") != pl.col("oi_change_units")).is_empty()


def test_prices_and_turnover_hold_together(tables: Tables) -> None:
    rows = tables["fo_bhavcopy"]
    traded = rows.filter(pl.col("volume_lots") > 0)
    for name in ("open", "close", "last"):
        assert traded.filter(~pl.col(name).is_between(pl.col("low"), pl.col("high"))).is_empty()
    assert traded.filter(~pl.col("trades").is_between(1, pl.col("volume_lots"))).is_empty()
    units = pl.col("volume_lots") * pl.col("lot_size")
    premium = pl.col("turnover_rupees") - pl.col("strike").fill_null(0) * units
    ticks = (premium / pl.col("lot_size") / 0.05).alias("ticks")
    assert traded.select(((ticks - ticks.round()).abs() * 0.05).max()).item() < 1e-3
    vwap = premium / units
    assert traded.filter(~vwap.is_between(pl.col("low") - 1e-6, pl.col("high") + 1e-6)).is_empty()
    prices = ["open", "high", "low", "close", "last", "previous_close"]
    off = rows.select((pl.col(prices) * 20 - (pl.col(prices) * 20).round()).abs().max())
    assert max(off.row(0)) < 1e-6
    assert rows.filter(pl.col("oi_units") % pl.col("lot_size") != 0).is_empty()
    change = (pl.col("oi_change_units") / pl.col("lot_size")).abs()
    assert rows.filter(change > pl.col("volume_lots")).is_empty()


def test_untraded_contracts_carry_their_close(tables: Tables) -> None:
    idle = tables["fo_bhavcopy"].filter(pl.col("volume_lots") == 0)
    assert len(idle) > 1000
    for name in ("open", "high", "low", "turnover_rupees", "trades", "oi_change_units"):
        assert idle.filter(pl.col(name) != 0).is_empty()
    assert idle.filter(pl.col("close") != pl.col("previous_close")).is_empty()
    assert idle.filter(pl.col("settlement") <= 0).is_empty()
    assert 0 < idle.filter(pl.col("last") == 0).height < len(idle)


def test_settlement_is_the_close_and_at_expiry_the_underlying(tables: Tables) -> None:
    rows = tables["fo_bhavcopy"]
    ends = rows.filter(pl.col("expiry") == pl.col("trade_date"))
    assert ends["underlying"].n_unique() == len(UNDERLYINGS)
    assert ends.filter(pl.col("settlement") != pl.col("underlying_price")).is_empty()
    alive = rows.filter((pl.col("expiry") > pl.col("trade_date")) & (pl.col("volume_lots") > 0))
    assert alive.filter(pl.col("settlement") != pl.col("close")).is_empty()


def test_spot_is_the_index_close(tables: Tables) -> None:
    closes = tables["index_close"].select("trade_date", "index_name", "close")
    for underlying in (NIFTY, BANKNIFTY):
        spots = tables["fo_bhavcopy"].filter(pl.col("underlying") == underlying.symbol)
        index = closes.filter(pl.col("index_name") == underlying.asset.name)
        both = spots.select("trade_date", "underlying_price").unique().join(index, on="trade_date")
        assert len(both) == len(index)
        assert both.filter(pl.col("underlying_price") != pl.col("close")).is_empty()


def test_expiries_are_those_of_the_published_rules(tables: Tables, days: Sequence[date]) -> None:
    options = tables["fo_bhavcopy"].filter(pl.col("instrument_type") != "FUT")
    for symbol, cycles in (("NIFTY", ("weekly", "monthly")), ("BANKNIFTY", ("monthly",))):
        rules = expected_expiries(load_calendar(), days[0], days[-1], [symbol])
        expected = rules.filter(pl.col("cycle").is_in(cycles))["expiry"]
        mine = options.filter((pl.col("underlying") == symbol) & (pl.col("expiry") <= days[-1]))
        assert sorted(mine["expiry"].unique()) == sorted(expected)


def test_an_expiry_on_a_holiday_moves_to_the_session_before(tables: Tables) -> None:
    calendar = load_calendar()
    holiday = date(2026, 3, 3)
    assert not calendar.is_session(holiday)
    assert moved(calendar, holiday) == date(2026, 3, 2)
    names = tables["fo_bhavcopy"].filter(
        (pl.col("underlying") == "NIFTY") & (pl.col("expiry") == date(2026, 3, 2))
    )["contract_name"]
    assert names.str.starts_with("NIFTY26302").all()
    assert Expiry(date(2026, 3, 30), date(2026, 3, 31), monthly=True).label == "26MAR"
    assert Expiry(date(2026, 11, 3), date(2026, 11, 3), monthly=False).label == "26N03"


def test_the_weekday_of_2025_changes_in_september() -> None:
    found = schedule(NIFTY, date(2025, 8, 18), date(2025, 9, 30), load_calendar())
    got = [expiry.day for expiry in found if expiry.day < date(2025, 9, 20)]
    assert got[-5:] == [
        date(2025, 8, 21), date(2025, 8, 28), date(2025, 9, 2), date(2025, 9, 9), date(2025, 9, 16),
    ]  # fmt: skip


@pytest.mark.parametrize("underlying", UNDERLYINGS, ids=lambda u: u.symbol)
def test_three_futures_stand_on_every_day(market: Sequence[MarketDay], underlying: object) -> None:
    symbol = underlying.symbol  # type: ignore[attr-defined]
    for one in market:
        futures = one.contracts.filter((pl.col("kind") == 0) & (pl.col("underlying") == symbol))
        assert len(futures) == 3


def test_a_quarterly_gets_its_future_when_it_comes_near() -> None:
    days = load_calendar().sessions(date(2026, 3, 23), date(2026, 4, 8))
    for one in market_days(days, seed=5, underlyings=(BANKNIFTY,)):
        futures = one.contracts.filter(pl.col("kind") == 0)["expiry"]
        assert len(futures) == 3
    assert date(2026, 6, 30) in futures.to_list()


def test_the_ladder_follows_the_spot(market: Sequence[MarketDay]) -> None:
    for one in market:
        for underlying in (NIFTY, BANKNIFTY):
            mine = one.contracts.filter(pl.col("underlying") == underlying.symbol)
            near = mine.filter(pl.col("expiry") == mine["expiry"].min())
            listed = near["strike"].drop_nulls().unique().sort()
            step, spot = underlying.near[0].step, near["underlying_price"][0]
            round_money = listed.filter(listed.is_between(spot * 0.95, spot * 1.05))
            assert set(np.diff(round_money.to_numpy())) == {step}
            assert listed.min() < spot * 0.90
            assert listed.max() > spot * 1.10
            pairs = near.filter(pl.col("kind") > 0).group_by("strike").len()["len"]
            assert pairs.unique().to_list() == [2]


def test_strikes_are_multiples_within_the_width() -> None:
    assert strikes((Ladder(50, 0.01), Ladder(500, 0.04)), 10_000.0).tolist() == [
        *(9_900, 9_950, 10_000, 10_050, 10_100),
    ]
    assert strikes((Ladder(50, 0.01), Ladder(500, 0.05)), 10_000.0)[[0, -1]].tolist() == [
        9_500,
        10_500,
    ]
