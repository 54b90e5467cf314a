"""The classes against each other: by hand, and the divergence by the statistics module."""

from __future__ import annotations

import statistics
from datetime import date, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optrade.history import HISTORY_MINIMUM, HISTORY_SESSIONS
from optrade.participants import cross, positions
from optrade.tables import TABLES
from optrade.tables.common import PARTICIPANTS

D1 = date(2026, 7, 1)
SESSIONS = [date(2026, 1, 1) + timedelta(days=n) for n in range(150)]
INDEX = ("index_future", "index_call", "index_put")


def book(day: date, **sides: tuple[int, int]) -> dict[tuple[date, str, str], tuple[int, int]]:
    """Positions in index futures; calls and puts nil."""
    return {
        (day, who, segment): sides.get(who, (1, 1)) if segment == "index_future" else (0, 0)
        for who in PARTICIPANTS
        for segment in INDEX
    }


def test_ratios_and_leans_by_hand(frame) -> None:
    held = {
        (D1, "CLIENT", "index_future"): (50, 10),
        (D1, "CLIENT", "index_call"): (20, 0),
        (D1, "CLIENT", "index_put"): (0, 20),
        (D1, "DII", "index_future"): (0, 20),
        (D1, "DII", "index_call"): (0, 0),
        (D1, "DII", "index_put"): (0, 0),
        (D1, "FII", "index_future"): (0, 30),
        (D1, "FII", "index_call"): (0, 0),
        (D1, "FII", "index_put"): (10, 0),
        (D1, "PRO", "index_future"): (10, 0),
        (D1, "PRO", "index_call"): (0, 20),
        (D1, "PRO", "index_put"): (10, 0),
        (D1, "PRO", "stock_call"): (999, 0),
    }
    found = cross(positions(frame(held)), [D1], [D1])
    TABLES["participants.cross"].pandera.validate(found)
    assert found.row(0, named=True) == {
        "trade_date": D1,
        "institutional_vs_retail_ratio": (20 + 40) / 100,
        "foreign_vs_domestic_ratio": 40 / (100 + 20 + 40),
        "fii_lean": -1.0,
        "client_lean": 0.8,
        "smart_money_direction": -1.0,
        "smart_money_direction_with_pro": (10 - 20 - 10 - 40) / 80,
        "crowd_vs_smart_gap": 1.8,
        "crowd_vs_smart_divergence": None,
        "history_n": 0,
        "reason": "too_few_days",
        "source": "exchange",
    }


def held(frame, gaps: dict[date, int]) -> pl.DataFrame:
    """Positions whose gap is `n / 100`: CLIENT is long n more than short in 100, FII even."""
    figures: dict = {}
    for day, n in gaps.items():
        figures |= book(day, CLIENT=(50 + n, 50 - n), FII=(50, 50))
    return positions(frame(figures))


def by_hand(gaps: dict[date, int], day: date) -> tuple[int, float | None, str | None]:
    at = SESSIONS.index(day)
    window = SESSIONS[max(0, at - HISTORY_SESSIONS) : at]
    past = [2 * gaps[d] / 100 for d in window if d in gaps]
    if len(past) < HISTORY_MINIMUM:
        return len(past), None, "too_few_days"
    if len(set(past)) == 1:
        return len(past), None, "no_variation"
    z = (2 * gaps[day] / 100 - statistics.fmean(past)) / statistics.stdev(past)
    return len(past), z, None


GAPS = st.dictionaries(st.sampled_from(SESSIONS), st.integers(-50, 50), min_size=30, max_size=150)


@settings(max_examples=25, deadline=None)
@given(GAPS, st.data())
def test_divergence_by_the_statistics_module(frame, gaps, data) -> None:
    dates = data.draw(st.sets(st.sampled_from(sorted(gaps)), min_size=1))
    found = cross(held(frame, gaps), dates, SESSIONS)
    assert found["trade_date"].to_list() == sorted(dates)
    for row in found.iter_rows(named=True):
        n, z, reason = by_hand(gaps, row["trade_date"])
        assert (row["history_n"], row["reason"]) == (n, reason)
        assert row["crowd_vs_smart_divergence"] == (None if z is None else pytest.approx(z))


@settings(max_examples=25, deadline=None)
@given(GAPS, st.data())
def test_a_date_knows_neither_the_other_dates_asked_for_nor_the_future(frame, gaps, data) -> None:
    day = data.draw(st.sampled_from(sorted(gaps)))
    together = cross(held(frame, gaps), gaps, SESSIONS).filter(pl.col("trade_date") == day)
    assert cross(held(frame, gaps), [day], SESSIONS).equals(together)
    later = {d: -n if d > day else n for d, n in gaps.items()}
    assert cross(held(frame, later), [day], SESSIONS).equals(together)
    known = {d: n for d, n in gaps.items() if d <= day}
    until = [d for d in SESSIONS if d <= day]
    assert cross(held(frame, known), [day], until).equals(together)


def test_only_the_last_sixty_sessions_count(frame) -> None:
    gaps = {day: n % 7 for n, day in enumerate(SESSIONS)}
    day = SESSIONS[100]
    found = cross(held(frame, gaps), [day], SESSIONS)
    assert found["history_n"].to_list() == [60]
    distant = gaps | {SESSIONS[39]: 50}
    assert cross(held(frame, distant), [day], SESSIONS).equals(found)
    near = gaps | {SESSIONS[40]: 50}
    assert not cross(held(frame, near), [day], SESSIONS).equals(found)


def test_nothing_varies(frame) -> None:
    gaps = dict.fromkeys(SESSIONS[:30], 7)
    row = cross(held(frame, gaps), [SESSIONS[29]], SESSIONS).row(0, named=True)
    assert (row["crowd_vs_smart_divergence"], row["reason"]) == (None, "no_variation")


def test_a_class_that_holds_nothing(frame) -> None:
    rows = positions(frame(book(D1, FII=(0, 0))))
    row = cross(rows, [D1], [D1]).row(0, named=True)
    assert (row["fii_lean"], row["crowd_vs_smart_gap"], row["reason"]) == (
        None,
        None,
        "no_positions",
    )


def test_dates_without_positions_have_no_row(frame) -> None:
    rows = held(frame, {SESSIONS[0]: 1})
    assert cross(rows, SESSIONS[1:5], SESSIONS).is_empty()


def test_a_date_that_is_no_session_is_refused(frame) -> None:
    with pytest.raises(ValueError, match="2026-01-01, which is not one of the sessions"):
        cross(held(frame, {SESSIONS[0]: 1}), [SESSIONS[0]], SESSIONS[1:])


def test_real_leans(frame, real_oi) -> None:
    days = sorted({day for day, _, _ in real_oi})
    for row in cross(positions(frame(real_oi)), days, days).iter_rows(named=True):
        day = row["trade_date"]
        net = dict.fromkeys(PARTICIPANTS, 0)
        gross = dict.fromkeys(PARTICIPANTS, 0)
        for who in PARTICIPANTS:
            for segment, sign in (("index_future", 1), ("index_call", 1), ("index_put", -1)):
                long, short = real_oi[day, who, segment]
                net[who] += sign * (long - short)
                gross[who] += long + short
        assert row["fii_lean"] == net["FII"] / gross["FII"]
        assert row["client_lean"] == net["CLIENT"] / gross["CLIENT"]
        both = net["FII"] + net["PRO"], gross["FII"] + gross["PRO"]
        assert row["smart_money_direction_with_pro"] == both[0] / both[1]
        others = gross["CLIENT"] + gross["DII"] + gross["PRO"]
        assert row["foreign_vs_domestic_ratio"] == gross["FII"] / others
