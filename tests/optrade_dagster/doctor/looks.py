"""How tests of `optrade doctor` look at a home, and what time it is then."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import dagster as dg

from optrade.calendar import IST
from optrade_dagster.doctor import Sight, examine
from resources.settings import Settings

DAY = date(2026, 1, 23)
NOW = datetime.now(UTC)
EVENING = datetime(2026, 2, 2, 20, 0, tzinfo=IST)
"""What time it is where no simulated broker plays; the calendar knows that year."""


def run_of(name: str, status: dg.DagsterRunStatus, **tags: str) -> dg.DagsterRun:
    run_id = f"{name:0<8}-0000-4000-8000-000000000000"
    return dg.DagsterRun("close_lane", run_id=run_id, status=status, tags=tags)


def sight(home: Path, port: int, **changes: Any) -> Sight:
    changes = {"market": "simulated", "simulator": {"port": port}} | changes
    return Sight(Settings(home=home, **changes), port)


def look(home: Path, port: int, **changes: Any) -> dict[str, tuple[str, str, str]]:
    """Verdict, what was found and section of each probe that is not content."""
    return {
        one.probe: (one.verdict, one.found, one.trouble)
        for one in examine(sight(home, port, **changes))
        if one.verdict != "ok"
    }


def stamps(home: Path) -> dict[str, tuple[int, int]]:
    """Every file and folder with its time of change and size."""
    paths = [home, *home.rglob("*")]
    return {str(p): (p.stat().st_mtime_ns, p.stat().st_size) for p in paths}
