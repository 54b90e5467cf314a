"""The path of a premium in the session, worked by hand, and the same whatever the batches."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import date, datetime, timedelta
from itertools import pairwise, product

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from optrade.chain.premium import premium_minute
from optrade.tables import TABLES

Frame = pl.DataFrame
DAY, EXPIRY = date(2026, 7, 3), date(2026, 7, 7)
STRIKES = (23_950.0, 24_000.0, 24_050.0)
CHAIN, PREMIUM = TABLES["snapshots.chain_minute"], TABLES["analytics.premium_minute"]
Price = float | None
Minute = tuple[float, dict[float, Price]]
"""The strike at the money, and what call and put cost together at each strike."""


@pytest.fixture(scope="module")
def chain_of(at: Callable[[str], datetime]) -> Callable[..., Frame]:
    """Rows of the chain, a minute each from 09:15 on; a call costs 5, the put the rest."""

    def build(minutes: Sequence[Minute], seconds: float = 60.0) -> Frame:
        rows = [
            {
                "trade_date": DAY,
                "minute": at("09:15") + timedelta(minutes=n),
                "underlying": "NIFTY",
                "expiry": EXPIRY,
                "strike": strike,
                "option_type": side,
                "strike_offset": round((strike - money) / 50),
                "spot": money,
                "lot_size": 65,
                "source": "kite",
                "twap_seconds": seconds,
            }
            | dict.fromkeys(
                ("last_price", "close_price", "average_price", "mid_price", "twap"),
                None if price is None else 5.0 if side == "CE" else price - 5.0,
            )
            for n, (money, prices) in enumerate(minutes)
            for (strike, price), side in product(prices.items(), ("CE", "PE"))
        ]
        return CHAIN.conform(pl.DataFrame(rows, schema=CHAIN.schema))

    return build


def straddle(rows: Frame) -> Frame:
    PREMIUM.pandera.validate(rows)
    return rows.filter(
        pl.col("kind") == "straddle",
        pl.col("strike_offset") == 0,
        pl.col("expiry_bucket") == "this_week",
    )


def at_one_strike(*prices: Price) -> list[Minute]:
    return [(24_000.0, {24_000.0: price}) for price in prices]


def last(rows: Frame) -> dict[str, object]:
    return straddle(rows).row(-1, named=True)


def test_efficiency_by_hand(chain_of: Callable[..., Frame]) -> None:
    """100, 104, 103, 101, 106: moves 4, -1, -2, 5; net 6 over a path of 12."""
    row = last(premium_minute(chain_of(at_one_strike(100, 104, 103, 101, 106)), (0,)))
    assert (row["moves_n"], row["net_move"], row["path_length"]) == (4, 6.0, 12.0)
    assert (row["price_efficiency"], row["efficiency_reason"]) == (0.5, None)
    squares = sum(math.log(b / a) ** 2 for a, b in pairwise((100, 104, 103, 101, 106)))
    assert row["realised_variance"] == pytest.approx(squares, abs=4e-12)
    assert (row["intraday_volatility"], row["volatility_reason"]) == (None, "too_few_returns")


def test_a_change_of_strike_is_no_move(chain_of: Callable[..., Frame]) -> None:
    """The money goes up a strike: 120 there, 117 a minute earlier, is a move of 3, not of 20."""
    minutes = [
        (24_000.0, {24_000.0: 100.0, 24_050.0: 117.0}),
        (24_050.0, {24_000.0: 101.0, 24_050.0: 120.0}),
        (24_050.0, {24_000.0: 90.0, 24_050.0: 118.0}),
    ]
    rows = straddle(premium_minute(chain_of(minutes), (0,)))
    assert rows["last_premium"].to_list() == [100.0, 120.0, 118.0]
    assert rows["net_move"].to_list() == [None, 3.0, 1.0]
    assert rows["path_length"].to_list() == [None, 3.0, 5.0]
    assert rows["price_efficiency"].to_list() == [None, 1.0, 0.2]
    assert rows["fixed_call_strike"].to_list() == [24_000.0] * 3
    assert rows["fixed_premium"].to_list() == [100.0, 101.0, 90.0]


def test_volatility_by_hand(chain_of: Callable[..., Frame]) -> None:
    """31 minutes between 100 and 101: each return is ln 1.01 up or down."""
    prices = [100 + n % 2 for n in range(31)]
    rows = straddle(premium_minute(chain_of(at_one_strike(*prices)), (0,)))
    assert rows["intraday_volatility"].null_count() == 30
    row = rows.row(-1, named=True)
    expected = math.log(1.01) * math.sqrt(375 * 252)
    assert row["intraday_volatility"] == pytest.approx(expected, rel=1e-6)
    assert (row["moves_n"], row["net_move"], row["path_length"]) == (30, 0.0, 30.0)
    assert row["volatility_reason"] is None


def test_no_move_and_no_price(chain_of: Callable[..., Frame]) -> None:
    still = straddle(premium_minute(chain_of(at_one_strike(100, 100, 100)), (0,)))
    assert still["price_efficiency"].to_list() == [None] * 3
    assert still["efficiency_reason"].to_list() == ["too_few_prices", "no_move", "no_move"]
    none = last(premium_minute(chain_of(at_one_strike(None, 100, None)), (0,)))
    assert (none["moves_n"], none["efficiency_reason"]) == (0, "too_few_prices")
    assert (none["net_move"], none["realised_variance"]) == (None, None)


def test_averages_over_time_by_hand(chain_of: Callable[..., Frame]) -> None:
    """100 for 60 s, 110 for 20 s (a leg was silent), 130 for 40 s: 13400 / 120."""
    chain = chain_of(at_one_strike(100, 110, 130))
    of_minute = pl.col("minute").dt.minute()
    known = pl.when(of_minute == 16).then(20.0).when(of_minute == 17).then(40.0).otherwise(60.0)
    put = pl.col("option_type") == "PE"
    chain = chain.with_columns(twap_seconds=pl.when(put).then(known).otherwise(60.0))
    rows = straddle(premium_minute(chain, (0,)))
    assert rows["twap_premium"].to_list() == [100.0, 110.0, 130.0]
    assert rows["day_twap_seconds"].to_list() == [60.0, 80.0, 120.0]
    assert rows["day_twap_premium"].to_list() == pytest.approx([100.0, 102.5, 13_400 / 120])


def test_a_combination_without_legs_keeps_its_path(chain_of: Callable[..., Frame]) -> None:
    """The money goes where nothing was heard of, and comes back."""
    known = {24_000.0: 100.0}
    minutes = [(24_000.0, known), (24_000.0, {24_000.0: 104.0}), (24_100.0, {24_000.0: 110.0})]
    rows = straddle(premium_minute(chain_of([*minutes, (24_000.0, {24_000.0: 108.0})]), (0,)))
    assert rows["reason"].to_list() == [None, None, "legs_not_heard", None]
    assert rows["call_strike"].to_list() == [24_000.0, 24_000.0, None, 24_000.0]
    assert rows["net_move"].to_list() == [None, 4.0, 4.0, 2.0]
    assert rows["path_length"].to_list() == [None, 4.0, 4.0, 6.0]
    assert rows["fixed_premium"].to_list() == [100.0, 104.0, 110.0, 108.0]


PAISE = st.integers(2_000, 60_000).map(lambda n: n * 5 / 100)
MINUTES = st.lists(
    st.tuples(
        st.sampled_from(STRIKES),
        st.dictionaries(st.sampled_from(STRIKES), PAISE | st.none(), min_size=1),
    ),
    min_size=2,
    max_size=12,
)


def in_pieces(chain: Frame, cuts: Sequence[int]) -> Frame:
    minutes = chain["minute"].unique().sort().to_list()
    made, before = [PREMIUM.empty()], CHAIN.empty()
    for start, stop in pairwise([0, *sorted(set(cuts)), len(minutes)]):
        part = chain.filter(pl.col("minute").is_in(minutes[start:stop]))
        state = made[-1].filter(pl.col("minute") == pl.col("minute").max())
        made.append(premium_minute(part, state=state, chain_before=before))
        before = part.filter(pl.col("minute") == minutes[stop - 1])
    return PREMIUM.conform(pl.concat(made))


@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.too_slow])
@given(minutes=MINUTES, data=st.data())
def test_any_batches_give_the_same_bits_within_bounds(
    minutes: list[Minute], data: st.DataObject, chain_of: Callable[..., Frame]
) -> None:
    heard: dict[float, Price] = {}
    dense = []
    for money, prices in minutes:  # What was heard of once has a row in every later minute.
        heard = heard | prices
        dense.append((money, heard))
    cuts = data.draw(st.lists(st.integers(1, len(minutes) - 1), unique=True), "cuts")
    seconds = data.draw(st.floats(0.01, 60.0), "seconds")
    chain = chain_of(dense, seconds)
    whole = premium_minute(chain)
    assert whole.equals(in_pieces(chain.sample(fraction=1, shuffle=True, seed=1), cuts))
    assert whole.select(PREMIUM.key).is_unique().all()
    assert whole["price_efficiency"].drop_nulls().is_between(0, 1).all()
    rows = straddle(whole)
    average, seen = rows["day_twap_premium"], rows["twap_premium"]
    low, high = seen.cum_min().forward_fill(), seen.cum_max().forward_fill()
    assert (average.drop_nulls() >= (low - 1e-4).filter(average.is_not_null())).all()
    assert (average.drop_nulls() <= (high + 1e-4).filter(average.is_not_null())).all()


@given(steps=st.lists(st.integers(0, 500), min_size=1, max_size=20), up=st.booleans())
@settings(deadline=None, max_examples=20)
def test_one_way_is_fully_efficient(
    steps: list[int], up: bool, chain_of: Callable[..., Frame]
) -> None:
    price, prices = 20_000, [20_000]
    for step in steps:
        price += step * 5 if up else -step
        prices.append(price)
    row = last(premium_minute(chain_of(at_one_strike(*(p / 100 for p in prices))), (0,)))
    if any(steps):
        assert row["price_efficiency"] == 1.0
        assert abs(float(str(row["net_move"]))) == row["path_length"]
    else:
        assert row["efficiency_reason"] == "no_move"
