from __future__ import annotations

from datetime import date, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optrade.contracts import (
    NEXT_WEEK_DAYS,
    UNDERLYINGS,
    expiry_buckets,
    fill_buckets,
    strike_ladder,
)

KEY = ["trade_date", "underlying", "expiry"]


def listing(day: date, *expiries: date, underlying: str = "NIFTY") -> pl.DataFrame:
    return pl.DataFrame(
        {"trade_date": [day] * len(expiries), "underlying": underlying, "expiry": expiries}
    )


def filled(day: date, *expiries: date) -> dict[str, tuple[date, bool]]:
    rows = fill_buckets(listing(day, *expiries)).rows(named=True)
    return {row["expiry_bucket"]: (row["expiry"], row["bucket_alias"]) for row in rows}


JANUARY = [date(2025, 1, n) for n in (2, 9, 16, 23, 30)]
FEBRUARY = [date(2025, 2, n) for n in (6, 27)]
MARCH = date(2025, 3, 27)


def test_weekly_index_early_in_the_month() -> None:
    assert filled(date(2025, 1, 3), *JANUARY[1:], *FEBRUARY, MARCH) == {
        "this_week": (date(2025, 1, 9), False),
        "next_week": (date(2025, 1, 16), False),
        "this_month": (date(2025, 1, 30), False),
        "next_month": (date(2025, 2, 27), False),
    }


def test_expiry_day_itself_still_counts() -> None:
    assert filled(date(2025, 1, 2), *JANUARY)["this_week"] == (date(2025, 1, 2), False)


def test_monthly_expiry_week_fills_two_buckets() -> None:
    assert filled(date(2025, 1, 28), JANUARY[-1], *FEBRUARY, MARCH) == {
        "this_week": (date(2025, 1, 30), False),
        "next_week": (date(2025, 2, 6), False),
        "this_month": (date(2025, 1, 30), True),
        "next_month": (date(2025, 2, 27), False),
    }


def test_month_end_as_next_week() -> None:
    found = filled(date(2025, 1, 21), *JANUARY[3:], *FEBRUARY)
    assert found["next_week"] == (date(2025, 1, 30), False)
    assert found["this_month"] == (date(2025, 1, 30), True)


def test_index_with_monthlies_only_has_no_next_week() -> None:
    assert filled(date(2025, 1, 3), JANUARY[-1], FEBRUARY[-1], MARCH) == {
        "this_week": (date(2025, 1, 30), False),
        "this_month": (date(2025, 1, 30), True),
        "next_month": (date(2025, 2, 27), False),
    }


@pytest.mark.parametrize(("gap", "weekly"), [(NEXT_WEEK_DAYS, True), (NEXT_WEEK_DAYS + 1, False)])
def test_next_week_is_near(gap: int, weekly: bool) -> None:
    first = date(2025, 1, 2)
    assert ("next_week" in filled(first, first, first + timedelta(gap))) is weekly


def test_year_turns() -> None:
    found = filled(date(2024, 12, 27), date(2025, 1, 2), date(2025, 1, 30), date(2025, 2, 27))
    assert found["this_month"] == (date(2025, 1, 30), False)


def test_one_row_per_expiry_keeps_those_without_a_bucket() -> None:
    day = date(2025, 1, 28)
    past = date(2025, 1, 23)
    frame = expiry_buckets(listing(day, past, JANUARY[-1], *FEBRUARY, MARCH, MARCH))
    assert frame["expiry"].to_list() == [past, JANUARY[-1], *FEBRUARY, MARCH]
    assert frame["expiry_bucket"].to_list() == [None, "this_week", "next_week", "next_month", None]
    assert frame["bucket_alias"].to_list() == [False, True, False, False, False]


def test_no_rows() -> None:
    nothing = listing(date(2025, 1, 1)).with_columns(pl.col("expiry").cast(pl.Date))
    assert fill_buckets(nothing).is_empty()
    assert expiry_buckets(nothing).columns == [*KEY, "expiry_bucket", "bucket_alias"]


days = st.dates(date(2025, 1, 1), date(2025, 3, 31))


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(days, st.sampled_from(["A", "B"]), st.integers(-5, 80)), min_size=1))
def test_buckets_by_definition_and_day_by_day(rows: list[tuple[date, str, int]]) -> None:
    frame = pl.DataFrame(
        {
            "trade_date": [day for day, _, _ in rows],
            "underlying": [name for _, name, _ in rows],
            "expiry": [day + timedelta(ahead) for day, _, ahead in rows],
        }
    )
    together = fill_buckets(frame)
    apart = [fill_buckets(part) for part in frame.sort("trade_date").partition_by("trade_date")]
    assert together.equals(pl.concat(apart))
    assert together.select("trade_date", "underlying", "expiry_bucket").is_unique().all()
    for key, group in frame.group_by("trade_date", "underlying"):
        live = sorted({expiry for expiry in group["expiry"] if expiry >= key[0]})
        expected = {}
        if live:
            months = sorted({(e.year, e.month) for e in live})
            lasts = [max(e for e in live if (e.year, e.month) == month) for month in months]
            expected = {"this_week": live[0], "this_month": lasts[0]}
            if len(live) > 1 and (live[1] - live[0]).days <= NEXT_WEEK_DAYS:
                expected["next_week"] = live[1]
            if len(lasts) > 1:
                expected["next_month"] = lasts[1]
        mine = together.filter(
            pl.col("trade_date") == key[0], pl.col("underlying") == key[1]
        ).select("expiry_bucket", "expiry")
        assert dict(mine.rows()) == expected


def ladder(reference: float | None, *strikes: float) -> dict[float, tuple[float, int]]:
    frame = listing(date(2025, 1, 1), *[JANUARY[-1]] * len(strikes)).with_columns(
        strike=pl.Series(strikes), ref=pl.lit(reference, pl.Float64)
    )
    rows = strike_ladder(frame, "ref").select("strike", "atm_strike", "strike_offset").rows()
    return {strike: (atm, offset) for strike, atm, offset in rows}


def test_ladder_steps_over_listed_strikes_however_uneven() -> None:
    assert ladder(104.0, 90, 100, 105, 105, 200) == {
        90: (105.0, -2),
        100: (105.0, -1),
        105: (105.0, 0),
        200: (105.0, 1),
    }


def test_ladder_tie_goes_down() -> None:
    assert ladder(102.5, 95, 100, 105)[100] == (100.0, 0)


def test_ladder_without_reference_is_null() -> None:
    assert ladder(None, 95, 100) == {95: (None, None), 100: (None, None)}


def test_underlyings_name_their_index() -> None:
    assert UNDERLYINGS["NIFTY"].index_name == "Nifty 50"
    assert {u.exchange for u in UNDERLYINGS.values()} == {"NSE", "BSE"}
    assert all(symbol == u.symbol and u.tick == 0.05 for symbol, u in UNDERLYINGS.items())
