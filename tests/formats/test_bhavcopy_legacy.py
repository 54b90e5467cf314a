"""The older bhavcopy: meaning of its columns, oddities of real files, and refusals."""

from __future__ import annotations

from datetime import date

import polars as pl
import pytest

from optrade.errors import InputRefused
from tests.formats import samples as s
from tests.formats.conftest import Read, Refused

DAY = s.LEGACY_DAY
NAME = "fo06NOV2015bhav.csv"
EARLY = date(2005, 6, 15)
EARLY_ROWS = [
    "FUTIDX,NIFTY,30-Jun-2005,0,XX,2099,2112.9,2090.1,2110.35,2110.35,100,420.15,200000,5200,15-JUN-2005",
    "FUTINT,NSE10Y06,30-Jun-2005,0,XX,0,0,0,97.95,92.63,0,0,0,0,15-JUN-2005",
    "OPTIDX,NIFTY,30-Jun-2005,1900,CE,195,213,195,210.65,210.65,20,42.15,24000,1270,15-JUN-2005",
    "OPTSTK,ACC,30-Jun-2005,370,CA,13.4,13.6,11.55,11.95,11.95,9,25.85,29250,-5250,15-JUN-2005",
]


def spoil(line: int, field: str, value: str) -> str:
    return s.edit(s.legacy(), line, field, value)


def on(day: date, rows: list[str]) -> str:
    """The rows under another day's stamp."""
    stamp = f"{day:%d}-{('JAN', 'FEB', 'MAR')[day.month - 1]}-{day.year}"
    expiry = f"28-Mar-{day.year}"
    return s.legacy(
        [row.replace("06-NOV-2015", stamp).replace("26-Nov-2015", expiry) for row in rows]
    )


def test_columns_mean_what_they_say(read: Read) -> None:
    frame = read("fo_bhavcopy", s.legacy(), DAY, NAME)
    call = frame.row(
        by_predicate=(pl.col("underlying") == "NIFTY") & (pl.col("instrument_type") == "CE"),
        named=True,
    )
    assert call == call | {
        "trade_date": DAY,
        "underlying_class": "index",
        "expiry": date(2015, 11, 26),
        "strike": 8000.0,
        "open": 90.0,
        "high": 110.0,
        "low": 80.0,
        "close": 100.0,
        "settlement": 100.0,
        "oi_units": 1500000,
        "oi_change_units": 75000,
        "volume_lots": 1000,
        "turnover_rupees": 607_000_000.0,
    }
    unknown = (
        "contract_id contract_name lot_size last previous_close underlying_price "
        "premium_turnover_rupees trades"
    )
    assert [call[name] for name in unknown.split()] == [None] * 8
    classes = frame.select("underlying", "underlying_class", "instrument_type").rows()
    assert ("INDIAVIX", "volatility", "FUT") in classes
    assert ("ACC", "stock", "FUT") in classes
    assert frame.filter(instrument_type="FUT")["strike"].to_list() == [None] * 3


def test_the_name_may_have_a_mixed_case_month(read: Read) -> None:
    assert read("fo_bhavcopy", s.legacy(), DAY, "fo06Nov2015bhav.csv").height == 7


@pytest.mark.parametrize(
    ("rule", "line", "field", "value", "found", "expected"),
    [
        ("date", 5, "TIMESTAMP", "05-NOV-2015", "2015-11-05", "2015-11-06"),
        ("date_format", 5, "EXPIRY_DT", "26-Xyz-2015", "'26-Xyz-2015'", "26-Nov-2015"),
        ("instrument", 5, "INSTRUMENT", "OPTXXX", "'OPTXXX'", "FUTIDX or"),
        ("instrument", 5, "OPTION_TYP", "XX", "OPTION_TYP 'XX'", "XX for a future"),
        ("instrument", 5, "OPTION_TYP", "QQ", "OPTION_TYP 'QQ'", "CE"),
        ("contract", 5, "STRIKE_PR", "0", "STRIKE_PR '0'", "a strike"),
        ("expiry", 5, "EXPIRY_DT", "29-Oct-2015", "'29-Oct-2015'", "2015-11-06"),
        ("number", 5, "CLOSE", "1OO", "CLOSE '1OO'", "a number"),
        ("number", 5, "CONTRACTS", "1.5", "CONTRACTS '1.5'", "a whole number"),
        ("negative", 5, "OPEN_INT", "-1", "OPEN_INT '-1'", "0 or more"),
        ("negative", 5, "VAL_INLAKH", "-6070", "VAL_INLAKH '-6070'", "0 or more"),
        ("price_order", 5, "OPEN", "111", "OPEN '111', LOW '80', HIGH '110'", "LOW <= OPEN"),
        ("price_order", 5, "CLOSE", "79", "CLOSE '79'", "LOW <= CLOSE"),
        ("price_order", 4, "CLOSE", "1399", "CLOSE '1399'", "LOW <= CLOSE"),
        ("turnover", 5, "VAL_INLAKH", "6200", "VAL_INLAKH '6200'", "one whole lot size"),
        ("turnover", 3, "VAL_INLAKH", "1", "VAL_INLAKH '1'", "0 without contracts"),
        ("oi_change", 5, "CHG_IN_OI", "1500075", "CHG_IN_OI '1500075'", "at most OPEN_INT"),
        ("duplicate", 6, "OPTION_TYP", "CE", "again, already on line 5", "each contract"),
    ],
)
def test_a_spoilt_cell_is_named(
    rule: str, line: int, field: str, value: str, found: str, expected: str, refused: Refused
) -> None:
    error = refused(rule, "fo_bhavcopy", spoil(line, field, value), DAY, NAME)
    assert error.line == line
    assert found in error.found
    assert expected in error.expected
    assert error.field is not None


def test_lots_of_one_expiry_must_agree_and_both_lines_are_named(refused: Refused) -> None:
    text = spoil(6, "VAL_INLAKH", "4040.50")
    error = refused("turnover", "fo_bhavcopy", text, DAY, NAME)
    assert error.line == 6
    assert "line 5 75.12 or less" in error.expected
    assert "99." in error.expected


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("OPEN", "HIGH"),
        ("HIGH", "LOW"),
        ("LOW", "CLOSE"),
        ("STRIKE_PR", "SETTLE_PR"),
        ("CONTRACTS", "VAL_INLAKH"),
        ("CONTRACTS", "OPEN_INT"),
        ("OPEN_INT", "CHG_IN_OI"),
        ("EXPIRY_DT", "TIMESTAMP"),
    ],
)
def test_swapped_data_columns_are_refused(one: str, other: str, read: Read) -> None:
    with pytest.raises(InputRefused, match=r", line \d+, field "):
        read("fo_bhavcopy", s.swap_data(s.legacy(), one, other), DAY, NAME)


def test_swapped_headers_are_refused(refused: Refused) -> None:
    text = s.legacy().replace("OPEN_INT,CHG_IN_OI", "CHG_IN_OI,OPEN_INT", 1)
    error = refused("header", "fo_bhavcopy", text, DAY, NAME)
    assert error.found == (
        "columns in another order: CHG_IN_OI in place of OPEN_INT, OPEN_INT in place of CHG_IN_OI"
    )


def test_a_few_odd_stock_futures_pass_but_a_column_of_them_does_not(
    read: Read, refused: Refused
) -> None:
    row = "FUTSTK,S{},26-Nov-2015,0,XX,1380,1390,1370,{},1385,20,103.50,75000,750,06-NOV-2015"
    rows = [row.format(i, 1385) for i in range(100)]
    odd = [row.format(100, 1364.5)]
    assert read("fo_bhavcopy", s.legacy([*rows, *odd]), DAY, NAME).height == 101
    many = [row.format(i, 1364.5) for i in range(200, 210)]
    error = refused("price_order", "fo_bhavcopy", s.legacy([*rows, *many]), DAY, NAME)
    assert error.line == 102
    assert "(and 9 more lines)" in error.found


def test_contracts_without_prices_are_kept(read: Read) -> None:
    row = "FUTSTK,UBL,26-Nov-2015,0,XX,0,0,0,0,873.8,1,0,500,500,06-NOV-2015"
    assert read("fo_bhavcopy", s.legacy([*s.LEGACY_ROWS, row]), DAY, NAME).height == 8


def test_early_files_leave_out_what_the_table_has_no_word_for(read: Read) -> None:
    columns = [n.replace("OPTION_TYP", "OPTIONTYPE") for n in s.LEGACY_COLUMNS]
    frame = read("fo_bhavcopy", s.legacy(EARLY_ROWS, columns), EARLY, "fo15JUN2005bhav.csv")
    assert frame.select("underlying", "instrument_type").rows() == [
        ("NIFTY", "FUT"),
        ("NIFTY", "CE"),
    ]


def test_two_digit_years(read: Read) -> None:
    text = s.legacy().replace("26-Nov-2015", "26-Nov-15").replace("06-NOV-2015", "06-Nov-15")
    frame = read("fo_bhavcopy", text, DAY, NAME)
    assert date(2015, 11, 26) in frame["expiry"].to_list()


def test_records_glued_on_a_line_are_parted(read: Read) -> None:
    lines = s.legacy().split("\n")
    glued = "\n".join([*lines[:2], lines[2] + lines[3], *lines[4:]])
    assert read("fo_bhavcopy", glued, DAY, NAME).height == 7


def test_copies_are_folded_only_where_the_exchange_made_them(read: Read, refused: Refused) -> None:
    zeros = "FUTIDX,NIFTY,26-Nov-2015,0,XX,0,0,0,0,0,0,0,0,0,06-NOV-2015"
    rows = [s.LEGACY_ROWS[0], s.LEGACY_ROWS[3], s.LEGACY_ROWS[3], zeros]
    early = date(2003, 1, 6)
    frame = read("fo_bhavcopy", on(early, rows), early, "fo06JAN2003bhav.csv")
    assert frame["volume_lots"].to_list() == [100, 1000]
    error = refused("duplicate", "fo_bhavcopy", s.legacy(rows), DAY, NAME)
    assert error.found.startswith("NIFTY FUT 2015-11-26 again") or "8000.0" in error.found
