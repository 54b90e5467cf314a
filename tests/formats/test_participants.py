"""Participant-wise open interest and volume: both files, both eras, and refusals."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from optrade.errors import InputRefused
from optrade.tables.common import PARTICIPANTS, SEGMENTS
from tests.formats import samples as s
from tests.formats.conftest import Read, Refused

OI = "participant_oi"
COUNTS = st.lists(st.integers(0, 10**9), min_size=12, max_size=12)


def spoil(line: int, field: str, value: str) -> str:
    return s.edit(s.participants(), line, field, value, header=2)


def test_long_and_short_are_read_by_name_not_by_place(read: Read) -> None:
    frame = read(OI, s.participants(), s.DAY)
    client = {
        row[0]: row[1:]
        for row in frame.filter(participant="CLIENT")
        .select("segment", "long_contracts", "short_contracts")
        .rows()
    }
    assert client == {
        "index_future": (50, 40),
        "stock_future": (300, 100),
        "index_call": (700, 800),
        "index_put": (500, 450),
        "stock_call": (90, 60),
        "stock_put": (40, 70),
    }
    assert set(frame["participant"]) == {*PARTICIPANTS, "TOTAL"}
    assert frame.height == 5 * len(SEGMENTS)


def test_the_total_is_kept_as_published(read: Read) -> None:
    frame = read(OI, s.participants(), s.DAY).filter(participant="TOTAL", segment="index_put")
    assert frame.select("long_contracts", "short_contracts").row(0) == (1200, 1200)


@pytest.mark.parametrize("spelt", ["Jan 06, 2026", "Jan 06,2026", "January 6, 2026", "Jan 06 2026"])
@pytest.mark.parametrize("quoted", [True, False])
def test_titles_of_every_era(spelt: str, quoted: bool, read: Read) -> None:
    assert read(OI, s.participants(spelt=spelt, quoted=quoted), s.DAY).height == 30


def test_header_names_may_be_quoted_with_a_tab(read: Read) -> None:
    text = s.participants().replace("Future Stock Short       ", '"Future Stock Short\t"')
    assert read(OI, text, s.DAY).height == 30


def test_the_other_report_under_this_name_is_refused(refused: Refused) -> None:
    error = refused("title", OI, s.participants(measure="Trading Volume"), s.DAY)
    assert (error.line, error.field) == (1, "title")
    assert "Trading Volume" in error.found
    assert "Open Interest" in error.expected


def test_a_title_without_a_date_is_refused(refused: Refused) -> None:
    error = refused("date_format", OI, s.participants(spelt="Monday"), s.DAY)
    assert (error.line, error.field) == (1, "title")


@pytest.mark.parametrize(
    ("rule", "line", "field", "value", "found", "expected"),
    [
        ("number", 3, "Future Index Long", "n/a", "'n/a'", "a whole number"),
        ("number", 3, "Future Index Long", "", "''", "a whole number"),
        ("number", 3, "Future Index Long", "-", "'-'", "a whole number"),
        ("negative", 3, "Future Index Long", "-50", "'-50'", "0 or more"),
        ("participant", 5, "Client Type", "FPI", "'FPI'", "CLIENT, DII, FII, PRO, TOTAL"),
        ("duplicate", 5, "Client Type", "DII", "DII again, already on line 4", "each participant"),
        ("balance", 7, "Option Index Put Short", "1201", "'1200'", "Option Index Put Long"),
        ("column_total", 7, "Future Index Long", "53", "four rows make 113", "within 2"),
        ("row_total", 3, "Total Long Contracts", "1684", "'1684'", "within 3"),
    ],
)
def test_a_spoilt_cell_is_named(
    rule: str, line: int, field: str, value: str, found: str, expected: str, refused: Refused
) -> None:
    text = spoil(line, field, value)
    if rule == "column_total":
        text = s.edit(s.edit(text, 3, field, "53", header=2), 7, field, "110", header=2)
    if rule == "row_total":
        text = s.edit(text, 4, field, "168", header=2)
    error = refused(rule, OI, text, s.DAY)
    assert (error.line, error.field) == (line, field)
    assert found in error.found
    assert expected in error.expected


def test_sums_may_be_off_by_their_rounding(read: Read) -> None:
    text = spoil(3, "Option Index Put Long", "501")
    text = s.edit(text, 3, "Total Short Contracts", "1521", header=2)
    assert read(OI, text, s.DAY).height == 30


def test_a_missing_row_is_refused(refused: Refused) -> None:
    lines = s.participants().split("\n")
    error = refused("missing_row", OI, "\n".join([*lines[:3], *lines[4:]]), s.DAY)
    assert error.found == "no row of DII"
    assert "cut off or edited" in error.remedy


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Option Index Put Long", "Option Index Call Short"),
        ("Option Stock Put Long", "Option Stock Call Short"),
        ("Future Index Short", "Future Stock Long"),
        ("Option Stock Put Short", "Total Long Contracts"),
        ("Client Type", "Future Index Long"),
    ],
)
def test_swapped_columns_are_refused(one: str, other: str, read: Read, refused: Refused) -> None:
    with pytest.raises(InputRefused, match=r", line \d+, field "):
        read(OI, s.swap_data(s.participants(), one, other, header=2), s.DAY)
    names = s.participants().split("\n")
    names[1] = names[1].replace(one, "?").replace(other, one).replace("?", other)
    assert refused("header", OI, "\n".join(names), s.DAY).line == 2


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(COUNTS, min_size=3, max_size=3))
def test_any_balanced_book_comes_back_as_written(read: Read, rows: list[list[int]]) -> None:
    people: Mapping[str, list[int]] = dict(zip(("Client", "DII", "FII"), rows, strict=True))
    sides = ((0, 1), (2, 3), (4, 6), (5, 7), (8, 10), (9, 11))
    pro = [0] * 12
    for long, short in sides:
        gap = sum(row[long] - row[short] for row in rows)
        pro[short if gap > 0 else long] = abs(gap)
    frame = read(OI, s.participants({**people, "Pro": pro}), s.DAY)
    for name, figures in {**people, "Pro": pro}.items():
        held = frame.filter(pl.col("participant") == name.upper())
        for segment, (long, short) in zip(SEGMENTS, sides, strict=True):
            row = held.filter(segment=segment).select("long_contracts", "short_contracts").row(0)
            assert row == (figures[long], figures[short])
