"""The schedule at dawn: the last day's run, and a reason on mornings after no session."""

from __future__ import annotations

from datetime import date, datetime
from zoneinfo import ZoneInfo

import dagster as dg
import pytest

from optrade_dagster.definitions import build_defs
from resources.settings import Settings

INDIA = ZoneInfo("Asia/Kolkata")


@pytest.fixture(scope="module")
def dawn(tmp_path_factory):
    """Evaluates the schedule on the morning of a day."""
    defs = build_defs(Settings(home=tmp_path_factory.mktemp("home") / "none", market="real"))
    schedule = defs.resolve_schedule_def("close_lane_at_dawn")

    def evaluate(day: date):
        time = datetime(day.year, day.month, day.day, 6, tzinfo=INDIA)
        with (
            dg.DagsterInstance.ephemeral() as instance,
            dg.build_schedule_context(
                instance=instance,
                scheduled_execution_time=time,
                repository_def=defs.get_repository_def(),
            ) as context,
        ):
            return schedule.evaluate_tick(context)

    return evaluate


@pytest.mark.parametrize(
    ("morning", "traded"),
    [
        (date(2026, 1, 28), "2026-01-27"),
        (date(2026, 1, 24), "2026-01-23"),
        (date(2026, 2, 2), "2026-02-01"),
        (date(2024, 11, 2), "2024-11-01"),
    ],
    ids=["a weekday", "Saturday after Friday", "after a Sunday session", "after Muhurat"],
)
def test_the_morning_after_a_session_asks_for_it(dawn, morning, traded):
    (request,) = dawn(morning).run_requests
    assert request.partition_key == traded
    assert request.tags["dagster/partition"] == traded
    assert request.run_key == f"{traded} dawn"


@pytest.mark.parametrize(
    ("morning", "why"),
    [
        (date(2026, 1, 27), "2026-01-26 was no trading day: holiday: "),
        (date(2026, 1, 25), "2026-01-24 was no trading day: weekend"),
        (date(2026, 1, 26), "2026-01-25 was no trading day: weekend"),
    ],
    ids=["a holiday", "Saturday", "Sunday"],
)
def test_the_morning_after_no_session_says_why_it_skips(dawn, morning, why):
    tick = dawn(morning)
    assert tick.run_requests == []
    assert tick.skip_message.startswith(why)
