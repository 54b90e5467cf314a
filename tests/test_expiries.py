"""Published expiry days, moves off holidays, and the rules against real NSE files."""

import csv
import os
from collections.abc import Iterator
from datetime import date, datetime
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from optrade.calendar import CalendarError, load_calendar
from optrade.expiries import (
    COLUMNS,
    SCHEMA,
    STOCKS,
    expected_expiries,
    load_rules,
    segments_expiring,
)

SHARED = Path(os.environ.get("MARKET_FILES", Path(__file__).parents[2] / "shared"))
NSE = SHARED / "data" / "nse"
needs_shared = pytest.mark.skipif(
    not NSE.is_dir(), reason=f"no real files under {SHARED} (MARKET_FILES)"
)
CALENDAR = load_calendar()
OPTIONS = {"index_call", "index_put"}
INDEX = OPTIONS | {"index_future"}
ALL = INDEX | {"stock_future", "stock_call", "stock_put"}
SEGMENT_COLUMNS = {
    "index_future": "Future Index",
    "stock_future": "Future Stock",
    "index_call": "Option Index Call",
    "index_put": "Option Index Put",
    "stock_call": "Option Stock Call",
    "stock_put": "Option Stock Put",
}


def days(underlying: str, start: str, end: str) -> list[str]:
    span = (date.fromisoformat(start), date.fromisoformat(end))
    return [day.isoformat() for day in expected_expiries(CALENDAR, *span, [underlying])["expiry"]]


@pytest.mark.parametrize(
    ("underlying", "start", "end", "expected"),
    [
        ("NIFTY", "2000-06-12", "2000-08-31", "06-29 07-27 08-31"),
        ("NIFTY", "2019-02-01", "2019-02-28", "02-14 02-21 02-28"),
        ("NIFTY", "2025-08-18", "2025-09-10", "08-21 08-28 09-02 09-09"),
        ("BANKNIFTY", "2016-05-20", "2016-06-10", "05-26 06-02 06-09"),
        ("BANKNIFTY", "2023-08-28", "2023-09-30", "08-31 09-06 09-13 09-20 09-28"),
        ("BANKNIFTY", "2024-02-20", "2024-03-31", "02-21 02-29 03-06 03-13 03-20 03-27"),
        ("BANKNIFTY", "2024-11-01", "2025-02-28", "11-06 11-13 11-27 12-24 01-30 02-27"),
        ("FINNIFTY", "2021-10-01", "2021-10-31", "10-07 10-14 10-19 10-26"),
        ("FINNIFTY", "2024-11-12", "2025-01-31", "11-12 11-19 11-26 12-31 01-30"),
        ("MIDCPNIFTY", "2023-04-18", "2023-05-11", "04-18 04-25 05-03 05-10"),
        ("MIDCPNIFTY", "2023-08-09", "2023-08-31", "08-09 08-16 08-21 08-28"),
        ("NIFTYNXT50", "2024-12-01", "2025-01-31", "12-27 01-30"),
        ("SENSEX", "2024-12-20", "2025-01-15", "12-20 12-27 01-03 01-07 01-14"),
        ("SENSEX", "2025-08-20", "2025-09-12", "08-26 09-04 09-11"),
        ("BANKEX", "2024-11-10", "2025-01-31", "11-11 11-18 11-25 12-30 01-28"),
        (STOCKS, "2025-07-01", "2025-09-30", "07-31 08-28 09-30"),
    ],
)
def test_published_expiry_days(underlying: str, start: str, end: str, expected: str) -> None:
    assert [day[5:] for day in days(underlying, start, end)] == expected.split()


@pytest.mark.parametrize(
    ("underlying", "nominal", "moved"),
    [
        ("NIFTY", "2025-10-21", "2025-10-20"),  # Muhurat day
        ("NIFTY", "2021-11-04", "2021-11-03"),  # Muhurat day
        ("NIFTY", "2026-03-31", "2026-03-30"),  # Mahavir Jayanti, the month's last Tuesday
        ("NIFTY", "2026-11-24", "2026-11-23"),  # Guru Nanak Jayanti
        ("BANKNIFTY", "2024-12-25", "2024-12-24"),  # Christmas, the month's last Wednesday
        ("MIDCPNIFTY", "2024-01-22", "2024-01-20"),  # to the full Saturday session
        ("MIDCPNIFTY", "2024-05-20", "2024-05-17"),  # not to the short Saturday drill
        ("SENSEX", "2026-01-15", "2026-01-14"),  # municipal election
    ],
)
def test_a_holiday_moves_the_expiry_to_the_full_session_before(
    underlying: str, nominal: str, moved: str
) -> None:
    assert not CALENDAR.is_session(date.fromisoformat(nominal)) or "Muhurat" in CALENDAR.explain(
        date.fromisoformat(nominal)
    )
    assert days(underlying, moved, nominal) == [moved]


@pytest.mark.parametrize(
    ("day", "segments"),
    [
        ("2025-08-28", ALL),
        ("2025-08-29", set()),
        ("2025-09-02", OPTIONS),
        ("2025-09-30", ALL),
        ("2024-03-27", INDEX),  # BANKNIFTY monthly; the stocks expire a day later
        ("2024-03-28", ALL),
        ("2018-06-27", set()),
        ("2000-06-29", INDEX),  # before stock derivatives
    ],
)
def test_segments_that_expire(day: str, segments: set[str]) -> None:
    assert segments_expiring(CALENDAR, date.fromisoformat(day)) == segments


def test_exchanges_are_kept_apart() -> None:
    thursday = date(2025, 9, 4)
    assert segments_expiring(CALENDAR, thursday) == frozenset()
    assert segments_expiring(CALENDAR, thursday, "BSE") == OPTIONS


def test_frame_shape_and_a_day_outside() -> None:
    frame = expected_expiries(CALENDAR, date(2026, 1, 1), date(2026, 12, 31))
    assert frame.schema == pl.Schema(SCHEMA)
    assert frame.select("expiry", "underlying").is_unique().all()
    assert frame["expiry"].is_sorted()
    assert expected_expiries(CALENDAR, date(2026, 1, 1), date(2026, 1, 1), []).height == 0
    with pytest.raises(CalendarError, match="2000-06-12 to"):
        expected_expiries(CALENDAR, date(1999, 1, 1), date(2000, 12, 31))


def test_a_bad_or_overlapping_rule_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "rules.csv"
    good = "NSE,NIFTY,weekly,Tuesday,2025-09-01,,d,s\n"
    path.write_text(",".join(COLUMNS) + "\n" + good.replace("2025-09-01", "2025-9-1"))
    with pytest.raises(CalendarError, match="line 2, field valid_from: found '2025-9-1'"):
        load_rules(path)
    later = tmp_path / "later.csv"
    later.write_text(",".join(COLUMNS) + "\n" + good + good.replace("2025-09", "2026-09"))
    with pytest.raises(CalendarError, match="NSE NIFTY weekly twice on 2026-09-01"):
        load_rules(later)


@given(st.dates(date(2000, 7, 1), date(2027, 12, 1)))
def test_every_expiry_is_a_full_session(day: date) -> None:
    frame = expected_expiries(CALENDAR, day, day)
    if frame.height:
        assert CALENDAR.is_session(day)
        assert CALENDAR.session(day).kind != "muhurat"
    nse = {rule.underlying for rule in load_rules() if rule.exchange == "NSE"}
    held = set(frame["underlying"]) & nse
    assert bool(held) == bool(segments_expiring(CALENDAR, day))


Positions = dict[date, dict[str, dict[str, int]]]


def _participants(kind: str) -> Positions:
    """Net contracts (long less short) by day, participant and segment."""
    days: Positions = {}
    for path in sorted((NSE / kind).glob("*.csv")):
        lines = path.read_text(encoding="utf-8-sig").replace('"', "").splitlines()[1:]
        header, *rows = ([cell.strip() for cell in row] for row in csv.reader(lines))
        day = datetime.strptime(path.stem[-8:], "%d%m%Y").date()  # noqa: DTZ007
        for row in rows:
            cells = dict(zip(header, row, strict=False))
            if cells["Client Type"] not in ("Client", "DII", "FII", "Pro"):
                continue
            days.setdefault(day, {})[cells["Client Type"]] = {
                segment: int(cells[f"{name} Long"]) - int(cells[f"{name} Short"])
                for segment, name in SEGMENT_COLUMNS.items()
            }
    return days


def _residuals() -> Iterator[tuple[date, str, int]]:
    """Largest residual of the ledger identity over the participants, by day and segment."""
    held, traded = _participants("participant_oi"), _participants("participant_vol")
    for day in sorted(held):
        before = CALENDAR.previous(day)
        if before not in held or day not in traded:
            continue
        for segment in SEGMENT_COLUMNS:
            yield (
                day,
                segment,
                max(
                    abs(held[day][who][segment] - held[before][who][segment] - net[segment])
                    for who, net in traded[day].items()
                ),
            )


@needs_shared
def test_the_rules_explain_every_break_of_the_real_participant_ledger() -> None:
    residuals = list(_residuals())
    assert len({day for day, _, _ in residuals}) >= 20
    wrong = [
        (day, segment, residual)
        for day, segment, residual in residuals
        if (residual > 13) is not (segment in segments_expiring(CALENDAR, day))
    ]
    assert wrong == []
    assert {day for day, _, residual in residuals if residual > 13} == {
        date(2025, 8, 28), date(2025, 9, 2),
        date(2026, 7, 7), date(2026, 7, 14), date(2026, 7, 21), date(2026, 7, 28),
    }  # fmt: skip


@needs_shared
@pytest.mark.parametrize("underlying", ["NIFTY", "BANKNIFTY", "FINNIFTY", "MIDCPNIFTY"])
def test_the_rules_agree_with_real_contracts(underlying: str) -> None:
    for folder in sorted((NSE / "fo_udiff_by_symbol").iterdir()):
        day = date.fromisoformat(folder.name)
        if day == date(2025, 1, 1) and underlying != "NIFTY":
            continue  # the contracts were re-dated that evening
        with (folder / f"{underlying}.csv").open() as file:
            listed = {date.fromisoformat(row["XpryDt"]) for row in csv.DictReader(file)}
        horizon = sorted(listed)[2]  # the next three are listed without a gap
        ruled = expected_expiries(CALENDAR, day, horizon, [underlying])["expiry"]
        assert sorted(x for x in listed if x <= horizon) == ruled.to_list(), folder.name
