"""Exchange days on which nothing is wrong raise no incident. More days: OPTRADE_STRESS=1."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from optrade.calendar import load_calendar
from optrade.formats.archive import candidates
from optrade.simulation import UNDERLYINGS
from optrade.tables.raw import FILE_KINDS
from resources.simulator import write_exchange

SHARED = Path(__file__).parents[3] / "shared"
STRESS = os.environ.get("OPTRADE_STRESS") == "1"
SEED, SESSIONS = 20260301, 20 if STRESS else 4
CALENDAR = load_calendar()
REAL = [(date(2025, 1, 1), date(2025, 1, 10)), (date(2026, 1, 1), date(2026, 1, 9))]
REAL += [(date(2025, 8, 25), date(2025, 9, 5)), (date(2026, 7, 1), date(2026, 7, 28))]
EXPECTED = {("raw.fo_bhavcopy", "expiry_steady", date(2025, 1, 2))}
"""The exchange dated every BANKNIFTY, FINNIFTY and MIDCPNIFTY contract anew that night."""
ABSENT = "files_complete"


def told(lane: Any, days: list[date]) -> set[tuple[str, str, date]]:
    """Table, rule and date of every incident."""
    rows = lane.read("quality.incidents", *days)
    return {(row["table_name"], row["subject"], row["trade_date"]) for row in rows}


def test_simulated_days_raise_no_incident(lanes: Callable[..., Any], tmp_path: Path) -> None:
    days = CALENDAR.sessions(date(2026, 3, 2), CALENDAR.last)[:SESSIONS]
    write_exchange(tmp_path / "files", days, SEED, underlyings=UNDERLYINGS[:5])
    lane = lanes(tmp_path / "files")
    assert lane.run(days[0], days[-1]).success
    assert told(lane, days) == set()
    judged = lane.read("quality.check_results", *days)
    assert {row["trade_date"] for row in judged if row["passed"]} == set(days)


@pytest.fixture(scope="module")
def mirror(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real files as the exchange's archive lays them out."""
    tool = SHARED / "tools" / "make_nse_mirror.py"
    if not tool.exists():
        pytest.skip(f"{tool} is not there: no real files at hand")
    folder = tmp_path_factory.mktemp("archive")
    subprocess.run([sys.executable, tool, SHARED / "data", folder], check=True, stdout=-3)
    return folder


@pytest.mark.parametrize("span", REAL if STRESS else REAL[1:2], ids=lambda span: str(span[0]))
def test_real_days_raise_no_incident(
    span: tuple[date, date], mirror: Path, lanes: Callable[..., Any]
) -> None:
    """But of files that the folder does not have: those are told as missing, and nothing else."""
    days = CALENDAR.sessions(*span)
    lane = lanes(mirror, market="real")
    lane.run(days[0], days[-1])
    missing = {
        day
        for day in days
        if not all(any((mirror / path).exists() for path in candidates(k, day)) for k in FILE_KINDS)
    }
    found = told(lane, days)
    absent = {incident for incident in found if incident[1] == ABSENT}
    assert {day for _, _, day in absent} <= missing
    assert found - absent <= EXPECTED
