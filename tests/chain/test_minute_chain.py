"""The minute's chain: spot, forward, money, changes since yesterday, and what follows."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime

import polars as pl
import pytest

from optrade.chain.greeks import greeks_minute
from optrade.chain.metrics import chain_metrics_minute
from optrade.chain.minute import chain_minute, index_minute
from optrade.chain.open_interest import open_interest_minute
from optrade.chain.premium import premium_minute
from optrade.pricing import black76
from optrade.tables import TABLES

Frame = pl.DataFrame
Build = Callable[..., Frame]
EXPIRY, TODAY = date(2026, 7, 7), date(2026, 7, 3)
STRIKES = [23_900.0, 23_950.0, 24_000.0, 24_050.0, 24_100.0]
INDEX, FUTURE, FORWARD = 265, 514, 24_020.0
YEARS = (4 * 86_400 + 6 * 3600 + 14 * 60) / (365 * 86_400)
NOTHING = {"strike": None, "option_type": None, "expiry_bucket": None, "bucket_alias": None}


def token(strike: float, side: str) -> int:
    return 256 * (2 * STRIKES.index(strike) + (side == "PE") + 100) + 2


def fair(strike: float, side: str) -> float:
    return round(float(black76.price(FORWARD, strike, YEARS, 0.12, side == "CE")) * 20) / 20


@pytest.fixture
def chosen(subscription: Build) -> Frame:
    options = [
        {"strike": k, "option_type": side, "instrument_token": token(k, side)}
        for k in STRIKES
        for side in ("CE", "PE")
    ]
    future = {"kind": "future", "instrument_token": FUTURE} | NOTHING
    index = {"kind": "index", "instrument_token": INDEX, "expiry": None} | NOTHING
    return subscription(*options, future, index)


@pytest.fixture
def build(at: Callable[[str], datetime], ticks: Build, chosen: Frame) -> Build:
    """The chain of 09:15, each option quoted a tick either side of its fair price."""

    def build(
        *,
        index: bool = True,
        future: bool = True,
        previous: Frame | None = None,
        subscribed: Frame = chosen,
        **changes: object,
    ) -> Frame:
        rows = []
        for strike in STRIKES:
            for side in ("CE", "PE"):
                price = fair(strike, side)
                quote = {"bid": price - 0.05, "ask": price + 0.05, "last_price": price + 3}
                rows.append(
                    ("09:15:30", quote | changes | {"instrument_token": token(strike, side)})
                )
        if future:
            rows.append(("09:15:31", {"instrument_token": FUTURE, "last_price": 24_033.0}))
        if index:
            value = {"mode": "index_full", "instrument_token": INDEX, "last_price": 24_010.0}
            rows.append(("09:15:32", value | {"volume_units": None}))
        hours = {"session_open": at("09:15"), "session_close": at("15:30")}
        minutes, fed = [at("09:15")], ticks(*rows)
        empty = TABLES["snapshots.index_minute"].empty()
        found = index_minute(fed, subscribed, empty, minutes, **hours)
        chain = chain_minute(
            fed,
            subscribed,
            TABLES["snapshots.chain_minute"].empty(),
            minutes,
            found,
            TABLES["snapshots.chain_close"].empty() if previous is None else previous,
            rate=0.065,
            **hours,
        )
        TABLES["snapshots.chain_minute"].pandera.validate(chain)
        return chain

    return build


def at_money(frame: Frame, side: str = "CE") -> dict[str, object]:
    return frame.filter(pl.col("strike") == 24_000, pl.col("option_type") == side).row(
        0, named=True
    )


def test_a_row_in_full(build: Build, at: Callable[[str], datetime]) -> None:
    row = at_money(build())
    assert (row["minute"], row["snapshot_at"]) == (at("09:15"), at("09:16"))
    assert (row["spot"], row["spot_basis"], row["atm_basis"]) == (24_010.0, "index", "spot")
    assert (row["atm_strike"], row["strike_offset"]) == (24_000.0, 0)
    assert row["years_to_expiry"] == pytest.approx(YEARS, rel=1e-12)
    assert (row["volume_units"], row["lot_size"], row["volume_lots"]) == (75, 75, 1)
    assert (row["lot_size_basis"], row["contract_id"]) == (
        "published",
        row["instrument_token"] >> 8,
    )
    assert (row["expiry_bucket"], row["bucket_alias"], row["source"]) == (
        "this_week",
        False,
        "simulated",
    )
    absent = ("settlement", "turnover_rupees", "trades", "oi_change_units")
    assert [row[name] for name in absent] == [None] * 4


def test_the_forward_is_by_parity_of_the_middles(build: Build) -> None:
    """Quotes pin it before anything traded."""
    chain = build(volume_units=0)
    assert chain["forward_basis"].unique().to_list() == ["parity"]
    assert chain["forward"].unique().item() == pytest.approx(FORWARD, abs=0.1)
    assert chain["parity_pairs"].unique().item() >= 3
    assert chain["last_price"].null_count() == chain.height


def test_without_quotes_the_last_trades_and_without_trades_the_future(build: Build) -> None:
    chain = build(bid=None)
    assert chain["forward_basis"].unique().to_list() == ["parity"]
    assert chain["forward"].unique().item() == pytest.approx(FORWARD, abs=0.1)
    chain = build(bid=None, volume_units=0)
    assert chain["forward_basis"].unique().to_list() == ["future"]
    assert chain["forward"].unique().to_list() == [24_033.0]
    chain = build(bid=None, volume_units=0, future=False)
    assert chain["forward_basis"].unique().to_list() == ["carry"]
    chain = build(bid=None, volume_units=0, future=False, index=False)
    for name in ("forward", "forward_basis", "spot", "atm_strike", "strike_offset", "atm_basis"):
        assert chain[name].null_count() == chain.height


def test_money_by_the_forward_where_the_index_is_silent(build: Build) -> None:
    row = at_money(build(index=False))
    assert (row["spot"], row["spot_basis"], row["atm_basis"]) == (None, None, "forward")
    assert (row["atm_strike"], row["strike_offset"]) == (24_000.0, 0)


def test_the_ladder_is_what_is_subscribed(build: Build, chosen: Frame) -> None:
    """A strike nobody heard of yet is a step all the same."""
    unheard = [
        chosen.filter(pl.col("strike") == 24_000).with_columns(
            pl.lit(24_025.0).alias("strike"), pl.col("instrument_token") + 25_600
        )
    ]
    chain = build(subscribed=pl.concat([chosen, *unheard]))
    assert chain.height == 10
    steps = dict(chain.select("strike", "strike_offset").rows())
    assert steps == {23_900: -2, 23_950: -1, 24_000: 0, 24_050: 2, 24_100: 3}


def test_lots_only_where_they_are_whole(build: Build, chosen: Frame) -> None:
    assert at_money(build(volume_units=100))["volume_lots"] is None
    unknown = chosen.with_columns(lot_size=pl.lit(None, pl.Int64))
    row = at_money(build(subscribed=unknown))
    assert (row["volume_lots"], row["lot_size_basis"], row["volume_units"]) == (None, None, 75)


@pytest.fixture
def yesterday(chain: Build) -> Frame:
    day = {"trade_date": date(2026, 7, 2), "expiry": EXPIRY}
    rows = [
        {"strike": k, "option_type": side, "oi_units": 600}
        for k in STRIKES
        for side in ("CE", "PE")
    ]
    return chain(*(day | row for row in rows if row["strike"] != 24_050))


def test_open_interest_is_against_yesterdays_close(build: Build, yesterday: Frame) -> None:
    made = build(previous=yesterday, close=90.0)
    assert at_money(made)["oi_change_units"] == 150
    rows = open_interest_minute(made)
    TABLES["analytics.open_interest_minute"].pandera.validate(rows)
    known = at_money(rows)
    assert (known["oi_change_basis"], known["oi_change_pct"]) == ("held", 25.0)
    assert (known["buildup"], known["underlying_view"]) == ("long_buildup", "bullish")
    assert known["oi_share"] == 0.2
    new = rows.filter(pl.col("strike") == 24_050)
    assert new["oi_change_units"].to_list() == [None, None]
    assert new["oi_change_basis"].to_list() == [None, None]
    assert new["buildup"].to_list() == [None, None]
    assert new["reason"].to_list() == ["no_previous_oi"] * 2


def test_greeks_solve_the_middle_before_the_last_trade(build: Build) -> None:
    rows = greeks_minute(build())
    TABLES["analytics.greeks_minute"].pandera.validate(rows)
    row = at_money(rows)
    assert (row["price"], row["price_basis"]) == (pytest.approx(fair(24_000, "CE")), "mid")
    assert row["iv"] == pytest.approx(0.12, abs=0.001)
    row = at_money(greeks_minute(build(ask=None)))
    assert (row["price"], row["price_basis"]) == (pytest.approx(fair(24_000, "CE") + 3), "last")
    row = at_money(greeks_minute(build(ask=None, volume_units=0)))
    assert (row["price"], row["price_basis"], row["reason"]) == (None, None, "no_trade")


def test_the_last_minute_of_expiry_day_is_over(build: Build) -> None:
    over = build().with_columns(years_to_expiry=pl.lit(0.0))
    assert greeks_minute(over)["reason"].unique().to_list() == ["expired"]


def test_metrics_of_a_minute(build: Build) -> None:
    chain = build()
    rows = chain_metrics_minute(chain, greeks_minute(chain))
    TABLES["analytics.chain_metrics_minute"].pandera.validate(rows)
    row = rows.row(0, named=True)
    assert (row["strikes"], row["contracts_traded"], row["iv_coverage"]) == (5, 10, 1.0)
    assert (row["call_oi_units"], row["pcr_oi"], row["max_pain_strike"]) == (3750, 1.0, 24_000.0)
    assert row["atm_iv"] == pytest.approx(0.12, abs=0.001)
    one = (pl.col("strike") == 24_000) & (pl.col("option_type") == "CE")
    unknown = chain.with_columns(
        pl.when(~one).then(name).alias(name) for name in ("oi_units", "volume_units", "volume_lots")
    )
    row = chain_metrics_minute(unknown, greeks_minute(unknown)).row(0, named=True)
    assert (row["call_oi_units"], row["put_oi_units"], row["pcr_oi"]) == (None, 3750, None)
    assert (row["max_pain_strike"], row["call_volume_units"]) == (None, None)
    assert (row["pcr_volume"], row["underlying_pcr_oi"]) == (None, None)
    assert row["contracts_traded"] == 9


def test_premiums_of_a_minute(build: Build) -> None:
    rows = premium_minute(build(), (0, 1))
    TABLES["analytics.premium_minute"].pandera.validate(rows)
    straddle = rows.filter(pl.col("kind") == "straddle", pl.col("strike_offset") == 0)
    assert straddle["expiry_bucket"].to_list() == ["this_month", "this_week"]
    row = straddle.row(1, named=True)
    both = fair(24_000, "CE") + fair(24_000, "PE")
    assert row["mid_premium"] == pytest.approx(both)
    assert row["last_premium"] == row["twap_premium"] == pytest.approx(both + 6)
    assert (row["settlement_premium"], row["oi_units"], row["reason"]) == (None, 1500, None)


def test_buckets_of_premiums_are_of_all_that_is_listed(build: Build) -> None:
    """Where only the later expiry is collected, it is not taken for the nearest."""
    listed = pl.DataFrame(
        {"trade_date": TODAY, "underlying": "NIFTY", "expiry": [TODAY, EXPIRY, date(2026, 7, 28)]}
    )
    rows = premium_minute(build(), (0,), listed)
    assert rows["expiry_bucket"].to_list() == ["next_week"]
