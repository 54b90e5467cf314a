"""A premium beside its past: percentiles and quartiles by hand, regimes told, nothing ahead."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from optrade.calendar import load_calendar
from optrade.chain.premium import premium_close
from optrade.chain.premium_history import (
    HISTORY_SESSIONS,
    expiry_weekday,
    premium_overlay,
    with_percentiles,
    with_sessions,
)
from optrade.tables import TABLES

Frame = pl.DataFrame
CALENDAR = load_calendar()
CLOSE, MINUTE = TABLES["analytics.premium_close"], TABLES["analytics.premium_minute"]
OVERLAY = TABLES["analytics.premium_overlay"]
LAST = date(2025, 8, 22)
"""The last Friday before NIFTY's last Thursday expiry; then came Tuesdays."""
SPOT = 20_000.0


def fridays(count: int, last: date = LAST) -> list[date]:
    """Fridays with a session, each with its expiry on the Thursday after also one."""
    days = [last - timedelta(weeks=n) for n in range(2 * count)]
    good = [
        day
        for day in days
        if CALENDAR.is_session(day) and CALENDAR.sessions_between(day, day + timedelta(6)) == 4
    ]
    return sorted(good[:count])


def premiums(values: dict[date, float | None], **more: object) -> Frame:
    """NIFTY's straddle at the money of each day, in rupees; expires six days later."""
    rows = [
        dict.fromkeys(CLOSE.schema)
        | {
            "trade_date": day,
            "underlying": "NIFTY",
            "expiry": day + timedelta(days=6),
            "expiry_bucket": "this_week",
            "bucket_alias": False,
            "strike_offset": 0,
            "kind": "straddle",
            "close_premium": value,
            "fixed_premium": None if value is None else value + 50,
            "close_premium_pct": None if value is None else value / SPOT * 100,
            "spot": SPOT,
            "lot_size": 75,
            "source": "exchange",
        }
        | more
        for day, value in values.items()
    ]
    return with_sessions(
        pl.DataFrame(rows, schema=CLOSE.schema).drop("sessions_to_expiry"), CALENDAR
    )


def overlay(frame: Frame, *dates: date, **which: object) -> dict[str, object]:
    rows = premium_overlay(frame, dates, CALENDAR)
    OVERLAY.pandera.validate(rows)
    assert rows.select(OVERLAY.key).is_unique().all()
    chosen = {"comparison": "sessions_to_expiry", "variant": "rolling_atm"} | which
    return rows.filter(**chosen).row(-1, named=True)


NINE = dict(zip(fridays(9), [300.0, 100, 200, 700, 500, 400, 600, 800, 450], strict=True))
TODAY = max(NINE)


def test_quartiles_by_hand() -> None:
    """Of 100 to 800 in hundreds: places 2.75, 4.5 and 6.25 of eight."""
    row = overlay(premiums(NINE), TODAY)
    names = ("lower_quartile_premium", "median_premium", "upper_quartile_premium")
    assert [row[name] for name in names] == [275.0, 450.0, 625.0]
    assert (row["premium"], row["premium_pct"]) == (450.0, 2.25)
    closed = datetime(TODAY.year, TODAY.month, TODAY.day, 15, 30, tzinfo=ZoneInfo("Asia/Kolkata"))
    assert (row["grain"], row["snapshot_at"]) == ("close", closed)
    shares = ("lower_quartile_pct", "median_pct", "upper_quartile_pct")
    assert [row[name] for name in shares] == [1.375, 2.25, 3.125]
    assert (row["n"], row["same_regime_n"], row["sessions_to_expiry"]) == (8, 8, 4)
    assert (row["crosses_regime"], row["regime_change"], row["reason"]) == (False, None, None)
    fixed = overlay(premiums(NINE), TODAY, variant="fixed_strike")
    assert (fixed["premium"], fixed["median_premium"]) == (500.0, 500.0)


def test_percentile_by_hand() -> None:
    """450 is above 100, 200, 300 and 400 of the eight before."""
    frame = premiums(NINE).drop("percentile", "history_n", "same_regime_n", "percentile_reason")
    rows = with_percentiles(frame, frame, CALENDAR).sort("trade_date")
    row = rows.row(-1, named=True)
    assert (row["percentile"], row["history_n"], row["same_regime_n"]) == (50.0, 8, 8)
    assert rows["percentile"].null_count() == 8
    assert rows["percentile_reason"].to_list() == ["too_few_sessions"] * 8 + [None]
    assert rows["history_n"].to_list() == list(range(9))


def test_a_change_of_expiry_weekday_is_told() -> None:
    """Fridays six days from a Thursday; then one four sessions from a Tuesday."""
    assert expiry_weekday("NIFTY", date(2025, 8, 28), "this_week") == 3
    assert expiry_weekday("NIFTY", date(2025, 9, 2), "this_week") == 1
    wednesdays = {date(2025, 9, 3): 100.0, date(2025, 9, 10): 120.0}  # Four sessions ahead.
    later = [premiums({d: v}, expiry=d + timedelta(days=6)) for d, v in wednesdays.items()]
    row = overlay(pl.concat([premiums(NINE), *later]), max(wednesdays))
    assert (row["n"], row["same_regime_n"]) == (10, 1)
    assert (row["other_weekday_n"], row["other_lot_n"]) == (9, 0)
    assert (row["crosses_regime"], row["regime_change"]) == (True, "expiry_weekday")
    weekday = overlay(pl.concat([premiums(NINE), *later]), max(wednesdays), comparison="weekday")
    assert (weekday["n"], weekday["crosses_regime"]) == (1, False)
    assert weekday["reason"] == "too_few_sessions"


def test_a_change_of_lot_size_is_told() -> None:
    early = premiums(dict(list(NINE.items())[:3]), lot_size=25)
    frame = pl.concat([early, premiums(dict(list(NINE.items())[3:]))])
    row = overlay(frame, TODAY)
    assert (row["n"], row["same_regime_n"], row["other_lot_n"]) == (8, 5, 3)
    assert row["regime_change"] == "lot_size"
    unknown = pl.concat([early, premiums({TODAY: 1.0}, lot_size=None)])
    assert overlay(unknown, TODAY)["same_regime_n"] == 0


def test_an_expiry_moved_off_a_holiday_is_no_change_of_regime() -> None:
    """Thursday 2025-04-10 was a holiday: the contract expired on Wednesday, by the same rule."""
    moved = expiry_weekday("NIFTY", date(2025, 4, 9), "this_week")
    assert moved == 3
    assert expiry_weekday("BANKNIFTY", date(2023, 11, 15), "this_week") == 2
    assert expiry_weekday("BANKNIFTY", date(2023, 11, 30), "this_month") == 3
    assert expiry_weekday("NOBODY", date(2025, 8, 27), "this_week") == 2


def test_too_few_and_unknown_say_why() -> None:
    few = overlay(premiums(dict(list(NINE.items())[1:])), TODAY)
    assert (few["n"], few["median_pct"], few["reason"]) == (7, None, "too_few_sessions")
    assert few["premium"] == 450.0
    none = overlay(premiums(NINE | {TODAY: None}), TODAY)
    assert (none["premium"], none["median_premium"], none["reason"]) == (None, 450.0, "no_premium")
    far = CALENDAR.last + timedelta(days=20)
    beyond = overlay(premiums({TODAY: 100.0}, expiry=far), TODAY)
    assert (beyond["sessions_to_expiry"], beyond["reason"]) == (None, "calendar_ends")


def test_neither_the_day_itself_nor_later_nor_long_ago_enters() -> None:
    frame = premiums(NINE)
    before = overlay(frame.filter(pl.col("trade_date") <= TODAY), TODAY)
    tomorrow = CALENDAR.next(TODAY)
    expiry = CALENDAR.sessions(tomorrow, tomorrow + timedelta(days=20))[4]
    after = premiums({tomorrow: 9_999.0}, expiry=expiry)
    assert after["sessions_to_expiry"].to_list() == [4]
    assert overlay(pl.concat([frame, after]), TODAY) == before
    sessions = CALENDAR.sessions(CALENDAR.first, TODAY)
    inside, outside = sessions[-1 - HISTORY_SESSIONS], sessions[-2 - HISTORY_SESSIONS]
    for day, n in ((inside, 9), (outside, 8)):
        expiry = CALENDAR.sessions(day, day + timedelta(days=20))[4]
        old = premiums({day: 300.0}, expiry=expiry)
        assert overlay(pl.concat([frame, old]), TODAY)["n"] == n


def test_by_minute_only_the_same_minute_compares() -> None:
    def at(day: date, hour: int, minute: int) -> datetime:
        return datetime(day.year, day.month, day.day, hour, minute, tzinfo=ZoneInfo("Asia/Kolkata"))

    rows = premiums(NINE)
    parts = [
        rows.with_columns(
            pl.Series("minute", [at(day, *clock) for day in rows["trade_date"]]),
            close_premium=pl.col("close_premium") * more,
        )
        for clock, more in (((9, 15), 1), ((9, 16), 2))
    ]
    minutes = pl.concat(parts, how="vertical").cast({"minute": MINUTE.schema["minute"]})
    alone = minutes.filter(~(pl.col("minute") == at(TODAY, 9, 17)))
    found = premium_overlay(alone, [TODAY], CALENDAR).filter(
        comparison="sessions_to_expiry", variant="rolling_atm"
    )
    assert found["snapshot_at"].to_list() == [at(TODAY, 9, 16), at(TODAY, 9, 17)]
    assert set(found["grain"]) == {"minute"}
    assert found["median_premium"].to_list() == [450.0, 900.0]
    first = premium_overlay(minutes, [min(NINE)], CALENDAR)
    assert first.is_empty()  # No earlier session has those minutes.


VALUES = st.floats(1, 5_000).map(lambda x: round(x, 2))


@settings(deadline=None, max_examples=20, suppress_health_check=[HealthCheck.too_slow])
@given(
    values=st.lists(VALUES | st.none(), min_size=12, max_size=12),
    lots=st.lists(st.sampled_from([25, 75]), min_size=12, max_size=12),
    seed=st.integers(0, 99),
)
def test_a_range_is_its_dates_one_by_one(
    values: Sequence[float | None], lots: Sequence[int], seed: int
) -> None:
    days = fridays(12)
    frame = pl.concat(
        premiums({day: value}, lot_size=lot)
        for day, value, lot in zip(days, values, lots, strict=True)
    )
    shuffled = frame.sample(fraction=1, shuffle=True, seed=seed)
    together = premium_overlay(shuffled, days, CALENDAR)
    past = pl.col("trade_date")
    apart = [premium_overlay(frame.filter(past <= day), [day], CALENDAR) for day in days]
    assert together.equals(pl.concat(apart))
    for row in together.iter_rows(named=True):
        known = [v for d, v in zip(days, values, strict=True) if d < row["trade_date"] and v]
        if row["variant"] == "rolling_atm":
            assert row["n"] == len(known)
            if row["n"] >= 8:
                quarters = statistics.quantiles(known, n=4, method="inclusive")
                names = ("lower_quartile_premium", "median_premium", "upper_quartile_premium")
                assert [row[name] for name in names] == pytest.approx(quarters)


def test_fixed_strikes_are_those_of_the_close_before(chain: Callable[..., Frame]) -> None:
    """The money goes from 100 to 110; what was at the money costs 3 + 12 now."""
    first, second = date(2025, 1, 1), date(2025, 1, 2)

    def day(trade_date: date, money: float, prices: dict[tuple[float, str], float]) -> Frame:
        return chain(
            *(
                {"trade_date": trade_date, "strike": strike, "option_type": side}
                | {"strike_offset": round((strike - money) / 10), "close_price": price}
                for (strike, side), price in prices.items()
            )
        )

    sides = {(100.0, "CE"): 5.0, (100.0, "PE"): 6.0, (110.0, "CE"): 1.0, (110.0, "PE"): 9.0}
    later = {(100.0, "CE"): 12.0, (100.0, "PE"): 3.0, (110.0, "CE"): 6.0, (110.0, "PE"): 5.0}
    both = pl.concat([day(first, 100.0, sides), day(second, 110.0, later)])
    rows = premium_close(both, (0,), [second]).filter(expiry_bucket="this_week")
    (row,) = rows.to_dicts()
    assert (row["call_strike"], row["close_premium"]) == (110.0, 11.0)
    assert (row["fixed_call_strike"], row["fixed_put_strike"]) == (100.0, 100.0)
    assert row["fixed_premium"] == 15.0
    assert (row["efficiency_reason"], row["day_twap_premium"]) == ("not_published", None)
    assert (row["sessions_to_expiry"], row["lot_size"]) == (20, 75)
    alone = premium_close(day(second, 110.0, later), (0,))
    assert alone["fixed_premium"].null_count() == alone.height
