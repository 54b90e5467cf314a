"""Published facts about NSE's trading days, and what the loader does with a user's file."""

import os
from collections import Counter
from collections.abc import Callable
from datetime import date, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optrade.calendar import (
    IST,
    SHIPPED,
    CalendarError,
    TradingCalendar,
    load_calendar,
    read_calendar_rows,
)

SHARED = Path(os.environ.get("MARKET_FILES", Path(__file__).parents[2] / "shared"))
needs_shared = pytest.mark.skipif(
    not (SHARED / "data" / "nse").is_dir(), reason=f"no real files under {SHARED} (MARKET_FILES)"
)
CALENDAR = load_calendar()
HEADER = "date,kind,session_open,session_close,description,source\n"

# Row numbers, in a public daily history of NIFTY 50 (docs/calendar.md, code nifty-a), of the
# first session of each year: they count the sessions without knowing this calendar.
FIRST_ROW_OF_YEAR = {
    2001: 250, 2002: 498, 2003: 749, 2004: 1003, 2005: 1257, 2006: 1508, 2007: 1758, 2008: 2007,
    2009: 2253, 2010: 2496, 2011: 2748, 2012: 2995, 2013: 3246, 2014: 3496, 2015: 3740,
    2016: 3988, 2017: 4235, 2018: 4483, 2019: 4729,
}  # fmt: skip
# Files, one a session, in a public store of daily prices (code ohlc).
FILES_IN_YEAR = {2020: 252, 2021: 248, 2022: 248, 2023: 246, 2024: 249}

days = st.dates(CALENDAR.first + timedelta(days=10), CALENDAR.last - timedelta(days=10))


@pytest.fixture
def extra(tmp_path: Path) -> Callable[[str], Path]:
    def write(body: str, header: str = HEADER) -> Path:
        path = tmp_path / "mine.csv"
        path.write_text(header + body, encoding="utf-8")
        return path

    return write


def clock(text: str) -> datetime:
    return datetime.strptime(text, "%Y-%m-%d %H:%M").replace(tzinfo=IST)


@pytest.mark.parametrize(
    ("day", "why"),
    [
        ("2005-07-28", "floods"),
        ("2008-11-27", "terror"),
        ("2013-11-15", "Moharram"),
        ("2024-01-22", "Ram temple"),
        ("2024-11-20", "election"),
        ("2025-08-27", "Ganesh Chaturthi"),
        ("2026-01-15", "Municipal Corporation election"),
        ("2026-05-28", "Bakri Id"),
        ("2026-11-24", "Guru Nanak"),
    ],
)
def test_published_holidays_are_closed_and_explained(day: str, why: str) -> None:
    closed = date.fromisoformat(day)
    assert not CALENDAR.is_session(closed)
    assert why in CALENDAR.explain(closed)
    with pytest.raises(CalendarError, match=why):
        CALENDAR.session(closed)


@pytest.mark.parametrize(
    "day",
    [
        "2001-01-01", "2004-01-01", "2013-11-14", "2005-07-27", "2003-10-16",
        "2006-06-25", "2010-02-06", "2012-03-03", "2015-02-28", "2020-02-01",
        "2024-01-20", "2024-03-02", "2024-05-18", "2025-02-01", "2026-02-01",
    ],
)  # fmt: skip
def test_days_that_some_lists_miss_were_sessions(day: str) -> None:
    assert CALENDAR.is_session(date.fromisoformat(day))


@pytest.mark.parametrize(
    ("day", "opens", "closes"),
    [
        ("2000-10-26", "18:30", "19:45"),
        ("2012-11-13", "15:45", "17:00"),
        ("2019-10-27", "18:15", "19:15"),
        ("2024-11-01", "18:00", "19:00"),
        ("2025-10-21", "13:45", "14:45"),
    ],
)
def test_muhurat_replaces_the_normal_session(day: str, opens: str, closes: str) -> None:
    session = CALENDAR.session(date.fromisoformat(day))
    assert session.kind == "muhurat"
    assert (session.open, session.close) == (clock(f"{day} {opens}"), clock(f"{day} {closes}"))


def test_every_year_has_one_muhurat_session() -> None:
    kinds = [CALENDAR.session(day) for day in CALENDAR.sessions(CALENDAR.first, date(2026, 12, 31))]
    years = Counter(session.date.year for session in kinds if session.kind == "muhurat")
    assert years == dict.fromkeys(range(2000, 2027), 1)


@pytest.mark.parametrize(
    ("day", "opens", "closes"),
    [
        ("2009-12-31", "09:55", "15:30"),
        ("2010-01-04", "09:00", "15:30"),
        ("2010-10-15", "09:00", "15:30"),
        ("2010-10-18", "09:15", "15:30"),
        ("2026-07-31", "09:15", "15:30"),
        ("2026-08-03", "09:15", "15:40"),
        ("2026-12-07", "09:15", "15:45"),
    ],
)
def test_normal_hours_follow_their_dated_regime(day: str, opens: str, closes: str) -> None:
    session = CALENDAR.session(date.fromisoformat(day))
    assert session.kind == "normal"
    assert (session.open, session.close) == (clock(f"{day} {opens}"), clock(f"{day} {closes}"))


def test_unknown_times_stay_unknown_and_say_why() -> None:
    unknown = [
        session
        for session in map(CALENDAR.session, CALENDAR.sessions(CALENDAR.first, CALENDAR.last))
        if session.open is None
    ]
    assert unknown
    assert all("unknown: " in session.description for session in unknown)


@pytest.mark.parametrize(("year", "following"), list(pairwise(FIRST_ROW_OF_YEAR)))
def test_sessions_of_a_year_match_a_public_index_history(year: int, following: int) -> None:
    count = FIRST_ROW_OF_YEAR[following] - FIRST_ROW_OF_YEAR[year]
    assert len(CALENDAR.sessions(date(year, 1, 1), date(year, 12, 31))) == count


@pytest.mark.parametrize("year", FILES_IN_YEAR)
def test_sessions_of_a_year_match_a_public_daily_store(year: int) -> None:
    assert len(CALENDAR.sessions(date(year, 1, 1), date(year, 12, 31))) == FILES_IN_YEAR[year]


def test_published_counts_of_other_spans() -> None:
    assert CALENDAR.sessions_between(date(2000, 6, 12), date(2001, 1, 1)) == 250 - 109
    assert CALENDAR.sessions_between(date(2019, 1, 1), date(2019, 12, 2)) == 4953 - 4729
    assert len(CALENDAR.sessions(date(2020, 10, 1), date(2025, 9, 30))) == 1241
    assert len([d for d in CALENDAR.closed_days(date(2026, 1, 1), date(2026, 12, 31))
                if d.weekday() < 5]) == 16  # fmt: skip


def test_2027_is_provisional() -> None:
    assert CALENDAR.provisional_from == date(2027, 1, 1)
    assert CALENDAR.last == date(2027, 12, 31)
    assert "provisional" in CALENDAR.explain(date(2027, 5, 3))
    assert "provisional" not in CALENDAR.explain(date(2026, 12, 31))
    assert not CALENDAR.is_session(date(2027, 3, 26))


def test_a_day_outside_is_an_error_with_its_remedy() -> None:
    for call in (CALENDAR.is_session, CALENDAR.previous, CALENDAR.next, CALENDAR.explain):
        with pytest.raises(CalendarError, match="2000-06-12 to 2027-12-31"):
            call(date(1999, 12, 31))
    with pytest.raises(CalendarError, match="session before"):
        CALENDAR.previous(CALENDAR.first)


@given(days)
def test_previous_and_next_undo_each_other(day: date) -> None:
    assert CALENDAR.previous(CALENDAR.next(day)) == (
        day if CALENDAR.is_session(day) else CALENDAR.previous(day)
    )
    assert CALENDAR.previous(day) < day < CALENDAR.next(day)


@given(days, days)
def test_open_and_closed_days_part_the_span(a: date, b: date) -> None:
    start, end = sorted((a, b))
    trading, closed = CALENDAR.sessions(start, end), CALENDAR.closed_days(start, end)
    assert len(trading) + len(closed) == (end - start).days + 1
    assert all(map(CALENDAR.is_session, trading))
    assert not any(map(CALENDAR.is_session, closed))
    assert CALENDAR.sessions_between(start, end) == len(trading) - CALENDAR.is_session(start)
    assert CALENDAR.sessions_between(end, start) == -CALENDAR.sessions_between(start, end)


@given(days)
def test_explain_agrees_with_is_session(day: date) -> None:
    assert CALENDAR.is_session(day) is ("session" in CALENDAR.explain(day).split(":")[0])


def test_an_extra_file_overrides_and_extends(extra: Callable[[str], Path]) -> None:
    path = extra(
        "2025-08-27,session,,,Holiday withdrawn,circular\n"
        "2025-08-28,holiday,,,Moved here,circular\n"
        "2028-01-26,holiday,,,Republic Day,FAOP\n"
        "2028-02-05,special,10:00,11:00,Drill,FAOP\n"
        "2028-12-31,complete,,,NSE lists for 2027 and 2028,FAOP\n"
    )
    for given_path in (path, path.parent):
        mine = load_calendar([given_path])
        assert mine.is_session(date(2025, 8, 27))
        assert mine.session(date(2025, 8, 27)).kind == "normal"
        assert not mine.is_session(date(2025, 8, 28))
        assert mine.session(date(2028, 2, 5)).open == clock("2028-02-05 10:00")
        assert (mine.last, mine.provisional_from) == (date(2028, 12, 31), None)
    assert CALENDAR.is_session(date(2025, 8, 28)), "the shipped calendar must not change"
    assert load_calendar() is load_calendar()


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ("26-01-2028,holiday,,,R,s\n", "line 2, field date: found '26-01-2028'; expected YYYY-MM-"),
        ("2028-01-26,hoilday,,,R,s\n", "field kind: found 'hoilday'; expected one of holiday,"),
        ("2028-01-26,holiday,09:15,15:30,R,s\n", "field session_open: found 09:15; expected no "),
        ("2028-01-29,special,9h15,15:30,R,s\n", "field session_open: found '9h15'; expected HH:MM"),
        ("2028-01-29,special,09:15,,R,s\n", "field session_close: .*both times"),
        ("2028-01-29,special,15:30,09:15,R,s\n", "found 15:30-09:15; expected a close after"),
        ("2028-01-26,holiday,,,,s\n", "field description: found nothing"),
        ("2028-01-26,holiday,,,R,\n", "field source: found nothing"),
        ("2028-01-26,holiday,,,R,s\n2028-01-26,holiday,,,R,s\n", "line 3, field date: .* again"),
        ("2028-01-26,holiday,,,A,b,c,s\n", "line 2: found 8 fields; expected 6"),
    ],
)
def test_a_bad_row_names_its_line_and_remedy(
    extra: Callable[[str], Path], row: str, expected: str
) -> None:
    with pytest.raises(CalendarError, match=expected) as refused:
        load_calendar([extra(row)])
    assert "mine.csv" in str(refused.value)
    assert "docs/calendar.md" in str(refused.value)
    assert isinstance(refused.value, ValueError)


def test_a_missing_path_and_a_wrong_header_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CalendarError, match="no such file"):
        load_calendar([tmp_path / "none.csv"])
    wrong = tmp_path / "wrong.csv"
    wrong.write_text("day,why\n", encoding="utf-8")
    with pytest.raises(CalendarError, match="line 1: found header 'day,why'"):
        load_calendar([wrong])


def test_shipped_rows_are_in_order_and_every_exception_is_one() -> None:
    rows = read_calendar_rows(SHIPPED)
    assert [row.date for row in rows] == sorted(row.date for row in rows)
    for row in rows:
        if row.kind == "holiday":
            assert row.date.weekday() < 5, f"{row.date} needs no row: it is a weekend"


@needs_shared
def test_every_dated_real_file_is_a_session() -> None:
    root = SHARED / "data" / "nse"
    names = [*root.glob("participant_*/*.csv"), *root.glob("ind_close_all/*.csv")]
    found = {datetime.strptime(path.stem[-8:], "%d%m%Y").date() for path in names}  # noqa: DTZ007
    found |= {date.fromisoformat(path.name) for path in root.glob("fo_udiff_by_symbol/*")}
    assert len(found) > 40
    assert [day for day in sorted(found) if not CALENDAR.is_session(day)] == []


@needs_shared
def test_a_real_vix_history_has_exactly_the_sessions() -> None:
    (path,) = (SHARED / "data" / "nse" / "india_vix").glob("*.csv")
    lines = path.read_text(encoding="utf-8-sig").splitlines()[1:]
    stamps = [line.split(",")[0].strip() for line in lines if line]
    real = sorted(datetime.strptime(stamp, "%d-%b-%Y").date() for stamp in stamps)  # noqa: DTZ007
    assert CALENDAR.sessions(real[0], real[-1]) == real


def test_the_calendar_is_frozen() -> None:
    with pytest.raises(AttributeError):
        CALENDAR.last = date(2030, 1, 1)  # type: ignore[misc]
    assert isinstance(CALENDAR, TradingCalendar)
