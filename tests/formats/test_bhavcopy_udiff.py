"""The UDiFF bhavcopy: meaning of its columns and everything it is refused for."""

from __future__ import annotations

from datetime import date

import polars as pl
import pytest

from optrade.errors import InputRefused
from tests.formats import samples as s
from tests.formats.conftest import Read, Refused

NAME = "BhavCopy_NSE_FO_0_0_0_20260106_F_0000.csv"


def spoil(line: int, field: str, value: str) -> str:
    return s.edit(s.udiff(), line, field, value)


def test_columns_mean_what_they_say(read: Read) -> None:
    frame = read("fo_bhavcopy", s.udiff(), s.DAY, NAME)
    put = frame.row(by_predicate=pl.col("contract_id") == 46250, named=True)
    assert put == put | {
        "trade_date": date(2026, 1, 6),
        "underlying": "NIFTY",
        "underlying_class": "index",
        "instrument_type": "PE",
        "contract_name": "NIFTY2611327450PE",
        "expiry": date(2026, 1, 13),
        "strike": 27450.0,
        "lot_size": 65,
        "open": 1153.75,
        "high": 1244.85,
        "low": 1150.0,
        "close": 1242.05,
        "last": 1240.0,
        "previous_close": 1171.7,
        "settlement": 1242.6,
        "underlying_price": 26178.7,
        "oi_units": 325,
        "oi_change_units": 195,
        "volume_lots": 6,
        "turnover_rupees": 11167123.5,
        "premium_turnover_rupees": None,
        "trades": 3,
    }
    future = frame.row(by_predicate=pl.col("contract_id") == 35001, named=True)
    assert (future["instrument_type"], future["strike"]) == ("FUT", None)
    assert frame.filter(underlying="RELIANCE")["underlying_class"].item() == "stock"


def test_prices_of_untraded_contracts_stay_zero(read: Read) -> None:
    frame = read("fo_bhavcopy", s.udiff(), s.DAY, NAME)
    idle = frame.row(by_predicate=pl.col("contract_id") == 46260, named=True)
    assert [idle[name] for name in ("open", "high", "low", "volume_lots")] == [0, 0, 0, 0]
    assert idle["close"] == 0.05


def test_numbers_may_be_quoted_with_commas(read: Read) -> None:
    text = s.udiff().replace("1784380000.00", '"1,78,43,80,000.00"')
    frame = read("fo_bhavcopy", text, s.DAY, NAME)
    assert frame.filter(contract_id=46251)["turnover_rupees"].item() == 1784380000.0


@pytest.mark.parametrize(
    ("rule", "line", "field", "value", "found", "expected"),
    [
        ("date", 4, "TradDt", "2026-01-05", "2026-01-05", "2026-01-06"),
        ("date_format", 3, "TradDt", "06/01/2026", "TradDt '06/01/2026'", "like 2026-01-06"),
        ("date_format", 3, "FininstrmActlXpryDt", "soon", "'soon'", "a date like"),
        ("segment", 2, "Sgmt", "CM", "Sgmt 'CM'", "FO"),
        ("segment", 2, "Src", "BSE", "Src 'BSE'", "NSE"),
        ("instrument", 3, "FinInstrmTp", "XXO", "'XXO'", "IDF or IDO or STF or STO"),
        ("instrument", 3, "OptnTp", "CA", "OptnTp 'CA'", "CE or PE"),
        ("instrument", 5, "OptnTp", "CE", "FinInstrmTp 'IDF'", "no option type"),
        ("contract", 3, "StrkPric", "", "StrkPric ''", "a strike"),
        ("contract", 3, "OptnTp", "PE", "NIFTY2611327450CE", "ends in its own type"),
        ("expiry", 3, "FininstrmActlXpryDt", "2025-12-23", "2025-12-23", "on or after"),
        ("number", 3, "ClsPric", "2.0.5", "ClsPric '2.0.5'", "a number"),
        ("number", 3, "ClsPric", "", "ClsPric ''", "a number"),
        ("number", 3, "ClsPric", "nan", "ClsPric 'nan'", "a number"),
        ("number", 3, "TtlTradgVol", "1000.5", "'1000.5'", "a whole number"),
        ("number", 3, "OpnIntrst", "9" * 20, "'99999999999999999999'", "a whole number"),
        ("negative", 3, "LwPric", "-1.90", "LwPric '-1.90'", "0 or more"),
        ("negative", 3, "OpnIntrst", "-650000", "OpnIntrst '-650000'", "0 or more"),
        ("negative", 3, "NewBrdLotQty", "0", "NewBrdLotQty '0'", "1 or more"),
        ("price_order", 3, "OpnPric", "1.85", "OpnPric '1.85', LwPric '1.90'", "<= OpnPric <="),
        ("price_order", 3, "ClsPric", "3.05", "ClsPric '3.05'", "HghPric where"),
        ("price_order", 3, "LastPric", "9", "LastPric '9'", "LwPric <= LastPric"),
        ("price_order", 3, "HghPric", "1.00", "HghPric '1.00'", "OpnPric"),
        ("turnover", 3, "TtlTrfVal", "1784.38", "TtlTrfVal '1784.38'", "(strike + low)"),
        ("turnover", 4, "TtlTrfVal", "5.00", "TtlTradgVol '0'", "lots x lot size"),
        ("turnover", 3, "NewBrdLotQty", "75", "NewBrdLotQty '75'", "lot size"),
        ("trades", 3, "TtlNbOfTxsExctd", "1001", "TtlTradgVol '1000'", "one lot in each"),
        ("trades", 3, "TtlNbOfTxsExctd", "0", "TtlNbOfTxsExctd '0'", "a trade where"),
        ("oi_change", 3, "ChngInOpnIntrst", "650065", "ChngInOpnIntrst '650065'", "at most"),
        ("underlying", 3, "UndrlygPric", "26178.75", "'26178.75'", "one price"),
        ("duplicate", 4, "FinInstrmId", "46250", "already on line 2", "each instrument id"),
    ],
)
def test_a_spoilt_cell_is_named(
    rule: str, line: int, field: str, value: str, found: str, expected: str, refused: Refused
) -> None:
    error = refused(rule, "fo_bhavcopy", spoil(line, field, value), s.DAY, NAME)
    assert error.line == line
    assert found in error.found
    assert expected in error.expected
    assert error.field is not None
    assert error.file == NAME


def test_the_same_contract_twice_names_both_lines(refused: Refused) -> None:
    again = [*s.UDIFF_ROWS[1]]
    again[5], again[11] = "777", "27450"
    error = refused("duplicate", "fo_bhavcopy", s.udiff([*s.UDIFF_ROWS, again]), s.DAY, NAME)
    assert (error.line, error.field) == (7, "FinInstrmNm")
    assert error.found == "NIFTY CE 2026-01-13 27450.0 again, already on line 3"
    assert "contradicts itself" in error.remedy


def test_more_faults_of_one_kind_are_counted(refused: Refused) -> None:
    text = s.edit(spoil(2, "ClsPric", "x"), 3, "ClsPric", "y")
    error = refused("number", "fo_bhavcopy", text, s.DAY, NAME)
    assert error.found == "ClsPric 'x' (and 1 more line)"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("OpnPric", "HghPric"),
        ("HghPric", "LwPric"),
        ("LwPric", "ClsPric"),
        ("OpnIntrst", "TtlTradgVol"),
        ("OpnIntrst", "ChngInOpnIntrst"),
        ("TtlTrfVal", "TtlTradgVol"),
        ("StrkPric", "UndrlygPric"),
        ("TtlTradgVol", "NewBrdLotQty"),
        ("TradDt", "FininstrmActlXpryDt"),
        ("TtlTradgVol", "TtlNbOfTxsExctd"),
        ("FinInstrmNm", "TckrSymb"),
    ],
)
def test_swapped_data_columns_are_refused(one: str, other: str, read: Read) -> None:
    with pytest.raises(InputRefused, match=r", line \d+, field "):
        read("fo_bhavcopy", s.swap_data(s.udiff(), one, other), s.DAY, NAME)


def test_headers_in_another_order_are_refused(refused: Refused) -> None:
    text = s.udiff().replace("HghPric,LwPric", "LwPric,HghPric", 1)
    error = refused("header", "fo_bhavcopy", text, s.DAY, NAME)
    assert (error.line, error.field) == (1, "HghPric")
    assert "LwPric in place of HghPric" in error.found
    assert "layout" in error.remedy


def test_a_renamed_header_is_refused(refused: Refused) -> None:
    text = s.udiff().replace("OpnIntrst", "OpenInterest", 1)
    error = refused("header", "fo_bhavcopy", text, s.DAY, NAME)
    assert error.field == "OpnIntrst"
    assert error.found == "no column OpnIntrst; unknown column 'OpenInterest'"


def test_a_missing_header_is_refused(refused: Refused) -> None:
    text = s.udiff().replace("SttlmPric,", "", 1)
    assert refused("header", "fo_bhavcopy", text, s.DAY, NAME).found == "no column SttlmPric"


def test_the_wrong_member_is_refused(refused: Refused) -> None:
    packed = s.zipped({NAME.replace("20260106", "20260105"): s.udiff()})
    error = refused("member", "fo_bhavcopy", packed, s.DAY)
    assert (error.field, error.expected) == ("zip member", NAME)
