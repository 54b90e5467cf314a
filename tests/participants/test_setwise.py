"""Days in one call or one by one: the same rows, the same bits."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from itertools import pairwise

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optrade.participants import (
    activity,
    cross,
    expiry_flags,
    ledger,
    positions,
    premium_flow,
)
from optrade.tables import TABLES
from optrade.tables.common import PARTICIPANTS, SEGMENTS

Frame = pl.DataFrame
Figures = dict[tuple[date, str, str], tuple[int, int]]
SESSIONS = [date(2025, 1, 1) + timedelta(days=n) for n in range(100)]
BEFORE = dict(zip(SESSIONS[1:], SESSIONS, strict=False))


def random_figures(seed: int, days: list[date]) -> Figures:
    rng = np.random.default_rng(seed)
    sides = rng.integers(0, 10**7, (len(days), len(PARTICIPANTS), len(SEGMENTS), 2))
    return {
        (day, who, segment): (int(sides[i, j, k, 0]), int(sides[i, j, k, 1]))
        for i, day in enumerate(days)
        for j, who in enumerate(PARTICIPANTS)
        for k, segment in enumerate(SEGMENTS)
    }


def random_chain() -> Frame:
    """Options enough for the volumes of `random_figures`, expiring every tenth day."""
    rng = np.random.default_rng(11)
    rows = [
        (day, SESSIONS[min(n // 10 * 10 + 9, 99)], kind, int(lots), 65, float(price))
        for n, day in enumerate(SESSIONS)
        for kind in ("CE", "PE")
        for lots, price in zip(rng.integers(0, 2 * 10**6, 20), rng.gamma(0.5, 80, 20), strict=True)
    ]
    names = ("trade_date", "expiry", "option_type", "volume_lots", "lot_size", "average_price")
    return pl.DataFrame(rows, schema=names, orient="row")


CHAIN = random_chain()


def some(frame: Frame, days: list[date]) -> Frame:
    return frame.filter(pl.col("trade_date").is_in(days))


def everything(oi: Frame, volume: Frame, days: list[date]) -> dict[str, Frame]:
    """Every table of `days`, from no more rows than they need."""
    near = [d for d in SESSIONS if any(timedelta() <= day - d <= timedelta(60) for day in days)]
    pairs = pl.DataFrame(
        [(day, BEFORE.get(day)) for day in days],
        schema={"trade_date": pl.Date, "previous_date": pl.Date},
        orient="row",
    )
    none = TABLES["raw.fo_bhavcopy"].empty()
    flags = expiry_flags(days, none, dict.fromkeys(days, SEGMENTS[:3]))
    held, traded = some(oi, days), some(volume, days)
    flows = premium_flow(traded, some(CHAIN, days))
    return {
        "participants.positions": positions(held),
        "participants.premium_flow": flows,
        "participants.activity": activity(held, traded, flows),
        "participants.cross": cross(positions(some(oi, near)), days, near),
        "participants.ledger": ledger(some(oi, near), traded, pairs, flags),
    }


@settings(deadline=None, max_examples=3)
@given(seed=st.integers(0, 2**32), cuts=st.sets(st.integers(1, 99), max_size=4))
def test_random_days(frame: Callable[[Figures], Frame], seed: int, cuts: set[int]) -> None:
    volume_days = SESSIONS[:40] + SESSIONS[41:]
    oi = frame(random_figures(seed, SESSIONS[:20] + SESSIONS[21:]))
    volume = frame(random_figures(seed + 1, volume_days))
    together = everything(oi, volume, SESSIONS)
    edges = [0, *sorted(cuts), len(SESSIONS)]
    groups = [SESSIONS[a:b] for a, b in pairwise(edges)]
    for split in (groups, [[day] for day in SESSIONS]):
        apart = [everything(oi, volume, days) for days in split]
        for name, rows in together.items():
            TABLES[name].pandera.validate(rows)
            assert rows.equals(pl.concat(part[name] for part in apart)), name


def test_more_history_than_needed_changes_nothing(frame: Callable[[Figures], Frame]) -> None:
    held = positions(frame(random_figures(7, SESSIONS)))
    whole = cross(held, SESSIONS, SESSIONS)
    for first, day in ((30, 95), (39, 99), (0, 60), (33, 93)):
        narrow = some(held, SESSIONS[first : day + 1])
        found = cross(narrow, [SESSIONS[day]], SESSIONS[first:])
        assert found.equals(some(whole, [SESSIONS[day]]))


@pytest.mark.parametrize("seed", range(5))
def test_one_day_is_divided_exactly(frame: Callable[[Figures], Frame], seed: int) -> None:
    figures = random_figures(seed, SESSIONS[:1])
    for row in positions(frame(figures)).iter_rows(named=True):
        day, segment = row["trade_date"], row["segment"]
        total = sum(figures[day, who, segment][0] for who in PARTICIPANTS)
        assert row["long_share"] == figures[day, row["participant"], segment][0] / total
