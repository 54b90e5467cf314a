"""Index closes: missing values, old spellings and refusals."""

from __future__ import annotations

from datetime import date

import polars as pl
import pytest

from optrade.errors import InputRefused
from tests.formats import samples as s
from tests.formats.conftest import Read, Refused

KIND = "index_close"


def spoil(line: int, field: str, value: str) -> str:
    return s.edit(s.index_close(), line, field, value)


def test_columns_mean_what_they_say(read: Read) -> None:
    frame = read(KIND, s.index_close(), s.DAY)
    nifty = frame.row(by_predicate=pl.col("index_name") == "Nifty 50", named=True)
    assert nifty == nifty | {
        "trade_date": s.DAY,
        "open": 26189.7,
        "high": 26273.95,
        "low": 26124.75,
        "close": 26178.7,
        "points_change": -71.6,
        "change_pct": -0.27,
        "volume_units": 309511254.0,
        "turnover_crore": 24938.07,
        "pe_ratio": 22.6,
        "pb_ratio": 3.0,
        "dividend_yield_pct": 1.0,
    }
    vix = frame.row(by_predicate=pl.col("index_name") == "India VIX", named=True)
    assert vix["close"] == 10.02
    assert [vix[name] for name in ("volume_units", "pe_ratio")] == [None, None]
    points = frame.row(by_predicate=pl.col("index_name") == "Nifty50 Dividend Points", named=True)
    assert [points[name] for name in ("open", "high", "low", "change_pct")] == [None] * 4


def test_blank_and_dash_are_both_not_known(read: Read) -> None:
    dashes = read(KIND, s.index_close(), s.DAY).drop("source_sha256")
    text = s.index_close().replace(",-,", ",,").replace(",-,", ",,").replace(",-\n", ",\n")
    assert ",-," not in text
    assert read(KIND, text, s.DAY).drop("source_sha256").equals(dashes)


def test_a_row_that_says_nothing_is_left_out(read: Read) -> None:
    text = s.index_close() + "Nifty New,06-01-2026,-,-,-,-,-,-,-,-,-,-,-\n"
    assert read(KIND, text, s.DAY).height == 4


def test_slash_dates(read: Read) -> None:
    assert read(KIND, s.index_close().replace("06-01-2026", "06/01/2026"), s.DAY).height == 4


def test_month_first_only_in_the_week_it_happened(read: Read, refused: Refused) -> None:
    glitch = date(2023, 4, 6)
    for spelt in ("04-06-2023", "06-04-2023"):
        frame = read(KIND, s.index_close().replace("06-01-2026", spelt), glitch)
        assert set(frame["trade_date"]) == {glitch}
    text = s.index_close().replace("06-01-2026", "05-09-2023")
    error = refused("date", KIND, text, date(2023, 5, 9))
    assert (error.found, error.expected) == ("2023-09-05", "2023-05-09")


@pytest.mark.parametrize(
    ("rule", "line", "field", "value", "found", "expected"),
    [
        ("date", 3, "Index Date", "05-01-2026", "2026-01-05", "2026-01-06"),
        ("date_format", 3, "Index Date", "6th", "'6th'", "a date like"),
        ("number", 2, "Closing Index Value", "-", "'-'", "a number"),
        ("number", 2, "P/E", "n.a.", "'n.a.'", "a number"),
        ("number", 2, "Volume", "24938.07", "'24938.07'", "a whole number"),
        ("negative", 2, "Volume", "-5", "'-5'", "0 or more"),
        ("negative", 2, "Low Index Value", "-5", "'-5'", "0 or more"),
        ("value_order", 2, "Closing Index Value", "26300", "High Index Value '26273.95'", "low"),
        ("value_order", 2, "Open Index Value", "26100", "Low Index Value '26124.75'", "low"),
        ("change", 2, "Change(%)", "-2.7", "Points Change '-71.6'", "points change"),
        ("duplicate", 4, "Index Name", "Nifty 50", "Nifty 50 again, already on line 2", "index"),
    ],
)
def test_a_spoilt_cell_is_named(
    rule: str, line: int, field: str, value: str, found: str, expected: str, refused: Refused
) -> None:
    error = refused(rule, KIND, spoil(line, field, value), s.DAY)
    assert (error.line, error.field) == (line, field)
    assert found in error.found
    assert expected in error.expected


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("High Index Value", "Low Index Value"),
        ("High Index Value", "Closing Index Value"),
        ("Points Change", "Change(%)"),
        ("Volume", "Turnover (Rs. Cr.)"),
        ("Index Name", "Index Date"),
    ],
)
def test_swapped_columns_are_refused(one: str, other: str, read: Read, refused: Refused) -> None:
    with pytest.raises(InputRefused, match=r", line \d+, field "):
        read(KIND, s.swap_data(s.index_close(), one, other), s.DAY)
    header, rest = s.index_close().split("\n", 1)
    header = header.replace(one, "?").replace(other, one).replace("?", other)
    assert refused("header", KIND, f"{header}\n{rest}", s.DAY).line == 1
