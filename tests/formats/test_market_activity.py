"""The market activity report, and completing a bhavcopy with it."""

from __future__ import annotations

from datetime import date

import polars as pl
import pytest

from optrade.formats.market_activity import lot_sizes, with_premium_turnover
from tests.formats import samples as s
from tests.formats.conftest import Read, Refused

KIND, DAY = "fo_market_activity", s.ACTIVITY_DAY
FO, OP = "fo30092021.csv", "op30092021.csv"


def packed(member: str, line: int, field: str, value: str) -> bytes:
    members = s.activity_members()
    members[member] = s.edit(members[member], line, field, value)
    return s.zipped(members)


def test_columns_mean_what_they_say(read: Read) -> None:
    frame = read(KIND, s.zipped(s.activity_members()), DAY)
    call = frame.row(
        by_predicate=(pl.col("strike") == 17600) & (pl.col("instrument_type") == "CE"), named=True
    )
    assert call == call | {
        "trade_date": DAY,
        "underlying": "NIFTY",
        "expiry": date(2021, 10, 7),
        "premium_turnover_rupees": 60000.0,
        "turnover_rupees": 8860000.0,
        "volume_units": 500,
        "volume_lots": 10,
        "trades": 8,
    }
    futures = frame.filter(instrument_type="FUT")
    assert futures["premium_turnover_rupees"].null_count() == futures.height == 2
    assert futures["turnover_rupees"].to_list() == [1215000.0, 8825000.0]


def test_american_options_are_left_out(read: Read) -> None:
    data = packed(OP, 4, "OPT_TYPE", "CA      ")
    assert read(KIND, data, DAY)["underlying"].to_list() == ["ACC", "NIFTY", "NIFTY", "NIFTY"]


@pytest.mark.parametrize(
    ("rule", "member", "line", "field", "value", "found"),
    [
        ("instrument", OP, 2, "INSTRUMENT", "OPTCUR", "'OPTCUR'"),
        ("instrument", OP, 2, "OPT_TYPE", "XX", "'XX'"),
        ("date_format", OP, 2, "EXP_DATE", "7 Oct", "'7 Oct'"),
        ("expiry", OP, 2, "EXP_DATE", "02/09/2021", "'02/09/2021'"),
        ("number", OP, 2, "PR_VAL", "x", "'x'"),
        ("number", FO, 2, "TRD_VAL", "", "''"),
        ("negative", OP, 2, "PR_VAL", "-1", "'-1'"),
        ("units", OP, 2, "TRD_QTY", "503", "NO_OF_CONT '010'"),
        ("turnover", OP, 2, "NOTION_VAL", "8860002", "PR_VAL '60000.00'"),
        ("turnover", OP, 2, "HI_PRICE", "119", "HI_PRICE '119'"),
        ("duplicate", OP, 3, "OPT_TYPE", "CE", "again, already on line 2"),
        ("duplicate", FO, 3, "SYMBOL", "NIFTY", "again, already on line 2"),
    ],
)
def test_a_spoilt_cell_is_named(
    rule: str, member: str, line: int, field: str, value: str, found: str, refused: Refused
) -> None:
    error = refused(rule, KIND, packed(member, line, field, value), DAY)
    assert error.file == f"fo30092021.zip: {member}"
    assert error.line == line
    assert found in error.found


def test_members_of_another_day_are_refused(refused: Refused) -> None:
    data = s.zipped(s.activity_members(day=date(2021, 9, 29)))
    error = refused("member", KIND, data, DAY)
    assert error.expected == f"{FO} and {OP}"
    assert "op29092021.csv" in error.found


def test_a_changed_header_is_refused(refused: Refused) -> None:
    members = s.activity_members()
    members[OP] = members[OP].replace("PR_VAL", "PREMIUM")
    assert refused("header", KIND, s.zipped(members), DAY).field == "PR_VAL"


def test_lot_sizes_are_exact_where_they_agree(read: Read) -> None:
    activity = read(KIND, s.zipped(s.activity_members()), DAY)
    assert lot_sizes(activity).rows() == [
        (DAY, "ACC", date(2021, 10, 28), 500),
        (DAY, "NIFTY", date(2021, 10, 7), 50),
        (DAY, "NIFTY", date(2021, 10, 28), 50),
    ]
    changed = activity.with_columns(
        volume_units=pl.when(instrument_type="PE").then(375).otherwise("volume_units")
    )
    assert lot_sizes(changed)["expiry"].to_list() == [date(2021, 10, 28)] * 2


def test_premium_turnover_is_joined_by_contract(read: Read) -> None:
    activity = read(KIND, s.zipped(s.activity_members()), DAY)
    row = "OPTIDX,NIFTY,07-Oct-2021,{},{},120,130,110,125,125,10,88.60,50000,0,30-SEP-2021"
    rows = [
        row.format(17600, "CE"),
        "OPTIDX,NIFTY,07-Oct-2021,20000,CE,0,0,0,1,1,0,0,0,0,30-SEP-2021",
        "FUTIDX,NIFTY,28-Oct-2021,0,XX,17600,17700,17500,17650,17650,10,88.25,50000,0,30-SEP-2021",
    ]
    bhavcopy = read("fo_bhavcopy", s.legacy(rows), DAY, "fo30SEP2021bhav.csv")
    joined = with_premium_turnover(bhavcopy, activity)
    assert joined.columns == bhavcopy.columns
    assert joined["premium_turnover_rupees"].to_list() == [60000.0, None, None]
    assert joined.drop("premium_turnover_rupees").equals(bhavcopy.drop("premium_turnover_rupees"))
