"""Archive paths, file names and containers."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optrade.errors import InputRefused
from optrade.formats import dates, parse
from optrade.formats.archive import (
    candidates,
    check_file_name,
    container_fault,
    is_optional,
    looks_like_html,
    unzip,
)
from optrade.tables.raw import FILE_KINDS
from tests.formats import samples as s

UDIFF = "content/fo/BhavCopy_NSE_FO_0_0_0_{}_F_0000.csv.zip"
DAYS = st.dates(date(2000, 6, 12), date(2035, 12, 31))


@pytest.mark.parametrize(
    ("day", "expected"),
    [
        (date(2026, 1, 6), (UDIFF.format("20260106"),)),
        (date(2024, 7, 8), (UDIFF.format("20240708"),)),
        (
            date(2024, 7, 5),
            (
                "content/historical/DERIVATIVES/2024/JUL/fo05JUL2024bhav.csv.zip",
                UDIFF.format("20240705"),
            ),
        ),
        (
            date(2024, 1, 1),
            (
                "content/historical/DERIVATIVES/2024/JAN/fo01JAN2024bhav.csv.zip",
                UDIFF.format("20240101"),
            ),
        ),
        (
            date(2023, 12, 29),
            ("content/historical/DERIVATIVES/2023/DEC/fo29DEC2023bhav.csv.zip",),
        ),
    ],
)
def test_bhavcopy_paths_change_with_the_format(day: date, expected: tuple[str, ...]) -> None:
    assert candidates("fo_bhavcopy", day) == expected


def test_paths_of_the_other_kinds() -> None:
    day = date(2025, 7, 17)
    assert {kind: candidates(kind, day) for kind in FILE_KINDS[1:]} == {
        "fo_market_activity": ("archives/fo/mkt/fo17072025.zip",),
        "participant_oi": ("content/nsccl/fao_participant_oi_17072025.csv",),
        "participant_volume": ("content/nsccl/fao_participant_vol_17072025.csv",),
        "fii_stats": (
            "content/fo/fii_stats_17-Jul-2025.xls",
            "content/fo/fii_stats_17-Jul-2025.csv",
        ),
        "index_close": ("content/indices/ind_close_all_17072025.csv",),
    }


def test_only_the_activity_report_is_optional() -> None:
    assert [kind for kind in FILE_KINDS if is_optional(kind)] == ["fo_market_activity"]


def test_an_unknown_kind_is_the_callers_mistake() -> None:
    with pytest.raises(ValueError, match="unknown file kind 'ticks'"):
        candidates("ticks", s.DAY)
    with pytest.raises(ValueError, match="unknown file kind 'ticks'"):
        parse("ticks", "x.csv", b"x", s.DAY, source="exchange", sha256="")


@given(st.sampled_from(FILE_KINDS), DAYS)
def test_every_candidate_is_recognised_as_its_own_days_file(kind: str, day: date) -> None:
    for path in candidates(kind, day):
        check_file_name(kind, path, day)


@given(st.sampled_from(FILE_KINDS), DAYS, DAYS)
def test_a_candidate_of_another_day_is_refused(kind: str, day: date, other: date) -> None:
    if day == other:
        return
    with pytest.raises(InputRefused) as caught:
        check_file_name(kind, candidates(kind, day)[-1], other)
    assert caught.value.rule == "date"
    assert caught.value.field == "file name"
    assert (caught.value.found, caught.value.expected) == (day.isoformat(), other.isoformat())


def test_a_name_of_no_such_file_is_refused() -> None:
    with pytest.raises(InputRefused) as caught:
        check_file_name("participant_oi", "folder/fao_participant_vol_06012026.csv", s.DAY)
    error = caught.value
    assert (error.rule, error.field) == ("file_name", "file name")
    assert error.found == "fao_participant_vol_06012026.csv"
    assert error.expected == "fao_participant_oi_06012026.csv"
    assert "own name" in error.remedy


@given(DAYS)
def test_month_names_are_english_whatever_the_case(day: date) -> None:
    spelt = f"{day:%d}-{dates.MONTHS[day.month - 1]}-{day.year}"
    for text in (spelt, spelt.upper(), spelt.lower(), f"{day:%d/%m/%Y}"):
        assert dates.named(text) == day
    assert dates.titled(f"{dates.MONTHS[day.month - 1]} {day.day}, {day.year}") == day
    assert dates.iso(day.isoformat()) == day


@pytest.mark.parametrize(
    ("text", "day"),
    [
        ("Jul 28, 2026", date(2026, 7, 28)),
        ("Jul 28,2026", date(2026, 7, 28)),
        ("July 28, 2026", date(2026, 7, 28)),
        ("Jul 28 2026", date(2026, 7, 28)),
        ("Sept 1, 2025", date(2025, 9, 1)),
        ("17-Jul-2025", date(2025, 7, 17)),
        ("Jul 99, 2026", None),
        ("Foo 28, 2026", None),
        ("", None),
    ],
)
def test_title_dates(text: str, day: date | None) -> None:
    assert dates.titled(text) == day


def test_two_digit_years_are_of_this_century() -> None:
    assert dates.named("31-May-12") == date(2012, 5, 31)


@pytest.mark.parametrize(
    "page",
    [b"<!DOCTYPE html><html>", b"\n\n <html lang=en>", b"\xef\xbb\xbf<HTML>", b"<?xml version"],
)
def test_web_pages_are_told_apart(page: bytes) -> None:
    assert looks_like_html(page)


@pytest.mark.parametrize("data", [s.udiff().encode(), s.participants().encode(), s.fii_xls(), b""])
def test_data_is_no_web_page(data: bytes) -> None:
    assert not looks_like_html(data)


def test_whole_containers_have_no_fault() -> None:
    assert container_fault(s.zipped({"a.csv": "x" * 5000})) is None
    assert container_fault(s.fii_xls()) is None


@given(st.data())
def test_every_cut_container_has_a_fault(data: st.DataObject) -> None:
    whole = data.draw(st.sampled_from([s.zipped({"a.csv": s.udiff()}), s.fii_xls()]))
    size = data.draw(st.integers(0, len(whole) - 1))
    assert container_fault(whole[:size]) is not None


def test_members_are_found_in_any_case_and_folder() -> None:
    packed = s.zipped({"in/FO06NOV2015bhav.CSV": "a", "readme.txt": "b"})
    assert unzip("x.zip", packed, "fo06NOV2015bhav.csv") == (b"a",)


def test_a_wrong_member_is_refused() -> None:
    with pytest.raises(InputRefused) as caught:
        unzip("x.zip", s.zipped({"fo05NOV2015bhav.csv": "a"}), "fo06NOV2015bhav.csv")
    error = caught.value
    assert (error.rule, error.field) == ("member", "zip member")
    assert (error.found, error.expected) == ("fo05NOV2015bhav.csv", "fo06NOV2015bhav.csv")
    assert "another file" in error.remedy


def test_two_tables_where_one_is_due_are_refused() -> None:
    with pytest.raises(InputRefused, match=r"a\.csv, b\.csv"):
        unzip("x.zip", s.zipped({"a.csv": "1", "b.csv": "2"}), "a.csv")


def test_a_flipped_byte_in_a_member_is_found() -> None:
    packed = bytearray(s.zipped({"a.csv": s.udiff()}))
    packed[60] ^= 0xFF
    with pytest.raises(InputRefused) as caught:
        unzip("x.zip", bytes(packed), "a.csv")
    assert caught.value.rule == "container"
    assert "damaged zip" in caught.value.found
