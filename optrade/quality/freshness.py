"""Freshness: whether a session that is going on is logged in for, heard, and made in time.

Belongs here: the limits, and what follows from the times of a session. Does not belong here:
finding those times (see `optrade_dagster.freshness_watch`), holes in what was heard (see `ticks`).

Outside a session nothing is judged: there is nothing to be late with.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Final

import polars as pl

from optrade.quality.incidents import JUDGED

LOGIN_BEFORE: Final = timedelta(minutes=30)
"""So long before the open somebody has to be logged in."""
HEARD_WITHIN: Final = timedelta(minutes=4)
"""The collector seals a minute when it is over; three missed ones are no unlucky moment."""
MADE_WITHIN: Final = timedelta(minutes=5)
"""A minute is in the lake some seconds after it is sealed, unless something stands still."""
TICKS, CHAIN = "raw.ticks", "snapshots.chain_minute"


@dataclass(frozen=True)
class Progress:
    """How far a session has come at `now`; all times aware.

    `heard` is the end of the last minute that was sealed, `made` that of the last one in the lake,
    None where there is none yet. `login` says what is wrong with the broker's session, if anything.
    """

    day: date
    opens: datetime
    closes: datetime
    now: datetime
    heard: datetime | None
    made: datetime | None
    login: str | None


def judge(progress: Progress) -> pl.DataFrame:
    """What is and is not in time: frame[JUDGED], empty outside a session.

    `found` are seconds: since anything was heard, and from what was made to what was heard.
    """
    at = progress
    rows = []
    if at.opens - LOGIN_BEFORE <= at.now <= at.closes:
        rows.append(_row(at, TICKS, "logged_in", "login_missing", at.login, None))
    if at.opens + HEARD_WITHIN <= at.now <= at.closes:
        heard = max(at.opens, at.heard or at.opens)
        made = max(at.opens, at.made or at.opens)
        silent, behind = at.now - heard, heard - made
        text = f"nothing was heard since {heard:%H:%M:%S}; the market is open"
        late = text if silent > HEARD_WITHIN else None
        rows.append(_row(at, TICKS, "heard_on_time", "not_collected", late, silent))
        text = f"heard to {heard:%H:%M:%S}, made to {made:%H:%M:%S}"
        late = text if behind > MADE_WITHIN else None
        rows.append(_row(at, CHAIN, "made_on_time", "made_late", late, behind))
    return pl.DataFrame(rows, schema=JUDGED)


def _row(
    at: Progress, table: str, subject: str, cause: str, wrong: str | None, found: timedelta | None
) -> dict[str, Any]:
    missing = float(wrong is not None)
    return dict.fromkeys(JUDGED) | {
        "trade_date": at.day,
        "table_name": table,
        "subject": subject,
        "well": wrong is None,
        "severity": "ERROR",
        "cause": cause,
        "evidence": wrong,
        "found": missing if found is None else found.total_seconds(),
    }
