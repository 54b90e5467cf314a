"""What is late in a session that is going on, and what is not judged outside one."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from optrade.calendar import IST
from optrade.quality.freshness import HEARD_WITHIN, LOGIN_BEFORE, MADE_WITHIN, Progress, judge

OPENS, CLOSES = (datetime(2026, 1, 23, *hour, tzinfo=IST) for hour in ((9, 15), (15, 30)))
MINUTE = timedelta(minutes=1)
SECOND = timedelta(seconds=1)


def late(now, heard=None, made=None, login=None) -> dict[str, str]:
    """Subject and cause of what is late."""
    found = judge(Progress(OPENS.date(), OPENS, CLOSES, now, heard, made, login))
    return {row["subject"]: row["cause"] for row in found.to_dicts() if not row["well"]}


def subjects(now) -> set[str]:
    return set(judge(Progress(OPENS.date(), OPENS, CLOSES, now, None, None, None))["subject"])


def test_nothing_is_judged_outside_a_session():
    assert subjects(OPENS - LOGIN_BEFORE - SECOND) == set()
    assert subjects(OPENS - LOGIN_BEFORE) == {"logged_in"}
    assert subjects(OPENS + HEARD_WITHIN - SECOND) == {"logged_in"}
    assert subjects(OPENS + HEARD_WITHIN) == {"logged_in", "heard_on_time", "made_on_time"}
    assert subjects(CLOSES) == {"logged_in", "heard_on_time", "made_on_time"}
    assert subjects(CLOSES + SECOND) == set()


@pytest.mark.parametrize("at", [OPENS + timedelta(hours=1), CLOSES])
def test_each_limit(at):
    in_time = {"heard": at - HEARD_WITHIN, "made": at - HEARD_WITHIN - MADE_WITHIN}
    assert late(at, **in_time) == {}
    assert late(at + SECOND, **in_time) == (
        {} if at == CLOSES else {"heard_on_time": "not_collected"}
    )
    made = in_time | {"made": in_time["made"] - SECOND}
    assert late(at, **made) == {"made_on_time": "made_late"}


def test_what_nobody_collects_is_told_once_and_not_as_slow_runs():
    assert late(OPENS + HEARD_WITHIN) == {}
    assert late(OPENS + HEARD_WITHIN + SECOND) == {"heard_on_time": "not_collected"}
    assert late(OPENS, login="nobody has logged in") == {"logged_in": "login_missing"}


def test_what_was_collected_before_the_open_counts_from_the_open():
    assert late(OPENS + 6 * MINUTE, heard=OPENS + 5 * MINUTE, made=OPENS - MINUTE) == {}
    assert late(OPENS + 7 * MINUTE, heard=OPENS + 6 * MINUTE) == {"made_on_time": "made_late"}
