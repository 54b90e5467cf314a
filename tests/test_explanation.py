"""Comparing rows bit for bit, and which of an upstream table's rows share a row's keys."""

from __future__ import annotations

import math
from datetime import date

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optrade.calendar import load_calendar
from optrade.explanation import Upstream, compare, reason_of, shared_key
from optrade.tables import TABLES

TABLE = TABLES["analytics.vix_replica"]
DAYS = [date(2026, 1, 28), date(2026, 1, 29), date(2026, 1, 30)]


def rows(values: list[float | None]) -> pl.DataFrame:
    made = [
        dict.fromkeys(TABLE.schema) | {"trade_date": day, "underlying": "NIFTY", "replica": value}
        for day, value in zip(DAYS, values, strict=False)
    ]
    return pl.DataFrame(made, schema=TABLE.schema)


@settings(deadline=None)
@given(st.lists(st.none() | st.floats(), min_size=1, max_size=3))
def test_the_same_bits_are_the_same_in_any_order(values: list[float | None]) -> None:
    frame = rows(values)
    assert compare(TABLE, frame, frame.reverse()) is None


@pytest.mark.parametrize(
    ("held", "again"),
    [(0.0, -0.0), (1.0, math.nextafter(1.0, 2.0)), (None, 0.0), (math.nan, None)],
)
def test_one_other_bit_is_a_difference(held: float | None, again: float | None) -> None:
    found = compare(TABLE, rows([1.5, held]), rows([1.5, again]))
    assert found is not None
    assert (found.rows, found.column) == (1, "replica")
    assert found.key == {"trade_date": DAYS[1], "underlying": "NIFTY"}
    assert repr((found.held, found.recomputed)) == repr((held, again))


def test_rows_that_one_side_lacks_are_named() -> None:
    lost = compare(TABLE, rows([1.0]), rows([1.0, 2.0]))
    assert lost is not None
    assert (lost.rows, lost.key["trade_date"], lost.held) == (1, DAYS[1], "no such row")
    extra = compare(TABLE, rows([1.0, 2.0]), rows([1.0]))
    assert extra is not None
    assert (extra.held, extra.recomputed) == ("a row", "no such row")


def test_a_product_group_is_no_segment_of_the_feed() -> None:
    row = {"trade_date": DAYS[0], "participant": "FII", "segment": "index_call"}
    assert shared_key(row, TABLES["raw.participant_oi"]) == {
        "participant": "FII",
        "segment": "index_call",
    }
    assert shared_key(row, TABLES["raw.tick_segments"]) == {}
    assert shared_key(row, TABLES["snapshots.chain_close"]) == {}


def test_the_reason_is_that_of_the_column() -> None:
    table = TABLES["participants.activity"]
    row = {"reason": "volume_file_not_held", "positioning_reason": None}
    assert reason_of(table, "pcr_volume", row) == "reason: volume_file_not_held"
    row |= {"positioning_reason": "no_previous"}
    assert reason_of(table, "positioning", row) == "positioning_reason: no_previous"
    assert reason_of(table, "pcr_volume", {}) is None


def test_the_dates_that_are_read() -> None:
    calendar, table = load_calendar(), TABLES["snapshots.chain_close"]
    assert Upstream(table).dates(calendar, DAYS[2]) == (DAYS[2],)
    assert Upstream(table, sessions_before=2).dates(calendar, DAYS[2]) == tuple(DAYS)
    before = Upstream(table, sessions_before=1, own_day=False)
    assert before.dates(calendar, DAYS[2]) == (DAYS[1],)
