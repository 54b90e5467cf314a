from __future__ import annotations

from collections.abc import Callable
from datetime import date
from itertools import product

import polars as pl
import pytest

from optrade.chain.premium import premium_close
from optrade.tables import TABLES

Rows = Callable[..., pl.DataFrame]


@pytest.fixture
def ladder(chain: Rows) -> Rows:
    """Calls of 10 + offset and puts of 20 + offset at five strikes around 100."""

    def build(**more: object) -> pl.DataFrame:
        return chain(
            *(
                {
                    "option_type": side,
                    "strike": 100.0 + 10 * offset,
                    "strike_offset": offset,
                    "last_price": base + offset + 0.5,
                    "close_price": base + offset,
                    "average_price": base + offset - 0.5,
                    "settlement": base + offset,
                    "oi_units": 100,
                }
                | more
                for offset, (side, base) in product(range(-2, 3), (("CE", 10.0), ("PE", 20.0)))
            )
        )

    return build


def premium(frame: pl.DataFrame, *offsets: int) -> pl.DataFrame:
    result = premium_close(frame, offsets) if offsets else premium_close(frame)
    TABLES["analytics.premium_close"].pandera.validate(result)
    assert result.select(TABLES["analytics.premium_close"].key).is_unique().all()
    return result


def test_straddles_and_strangles_by_hand(ladder: Rows) -> None:
    week = premium(ladder()).filter(pl.col("expiry_bucket") == "this_week")
    columns = ("kind", "strike_offset", "call_strike", "put_strike", "close_premium")
    assert week.select(columns).rows() == [
        ("straddle", -2, 80.0, 80.0, 26.0),
        ("straddle", -1, 90.0, 90.0, 28.0),
        ("straddle", 0, 100.0, 100.0, 30.0),
        ("straddle", 1, 110.0, 110.0, 32.0),
        ("straddle", 2, 120.0, 120.0, 34.0),
        ("strangle", 1, 110.0, 90.0, 30.0),
        ("strangle", 2, 120.0, 80.0, 30.0),
    ]
    money = week.row(2, named=True)
    assert (money["last_premium"], money["vwap_premium"]) == (31.0, 29.0)
    assert (money["settlement_premium"], money["oi_units"]) == (30.0, 200)
    assert (money["close_premium_pct"], money["reason"]) == (30.0, None)


def test_one_expiry_fills_two_buckets_and_says_so(ladder: Rows) -> None:
    rows = premium(ladder(), 0).select("expiry_bucket", "bucket_alias").rows()
    assert rows == [("this_month", True), ("this_week", False)]


def test_chosen_offsets(ladder: Rows) -> None:
    week = premium(ladder(), 0, 1).filter(pl.col("expiry_bucket") == "this_week")
    assert week.select("kind", "strike_offset").rows() == [
        ("straddle", 0),
        ("straddle", 1),
        ("strangle", 1),
    ]


def test_untraded_leg(ladder: Rows) -> None:
    put = (pl.col("strike") == 100) & (pl.col("option_type") == "PE")
    prices = ("last_price", "close_price", "average_price")
    frame = ladder().with_columns(pl.when(~put).then(name).alias(name) for name in prices)
    row = premium(frame, 0).row(0, named=True)
    absent = ("last_premium", "close_premium", "vwap_premium", "close_premium_pct")
    assert [row[name] for name in absent] == [None] * 4
    assert (row["settlement_premium"], row["reason"]) == (30.0, "no_trade")


@pytest.mark.parametrize("name", ["last_price", "average_price"])
def test_figures_that_are_not_published(ladder: Rows, name: str) -> None:
    row = premium(ladder(**{name: None}), 0).row(0, named=True)
    assert (row["close_premium"], row["reason"]) == (30.0, "not_published")


def test_combinations_without_both_legs_are_left_out(ladder: Rows) -> None:
    call = (pl.col("strike") == 110) & (pl.col("option_type") == "CE")
    week = premium(ladder().filter(~call)).filter(pl.col("expiry_bucket") == "this_week")
    assert week.select("kind", "strike_offset").rows() == [
        ("straddle", -2),
        ("straddle", -1),
        ("straddle", 0),
        ("straddle", 2),
        ("strangle", 2),
    ]


def test_expiries_beyond_the_buckets_are_left_out(ladder: Rows) -> None:
    far = [date(2025, 3, 27), date(2025, 6, 26)]
    frame = pl.concat([ladder(), *(ladder(expiry=expiry, expiry_bucket=None) for expiry in far)])
    assert far[1] not in premium(frame)["expiry"].to_list()
