"""Notices: who is told what of incidents, once, grouped, in words that can be acted upon."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from optrade.quality.causes import CAUSES
from optrade.quality.notices import MOST_SAMPLES, notices, trial
from optrade.tables.quality import INCIDENTS

DAY = date(2026, 1, 12)
NOON = datetime(2026, 1, 12, 12, 0, tzinfo=ZoneInfo("Asia/Kolkata"))
MINUTE = timedelta(minutes=1)
NOTHING = INCIDENTS.empty()


def incident(name: str, status: str = "open", **more: Any) -> dict[str, Any]:
    return {
        "trade_date": DAY, "incident_id": name, "opened_at": NOON, "component": "exchange_files",
        "severity": "ERROR", "cause": "figures_contradict", "table_name": "raw.fo_bhavcopy",
        "subject": "high_low", "evidence": "3 rows: NIFTY 25000 CE", "instruments": None,
        "suggestion": "Read the sample.", "handling": "automatic", "action": "refetch",
        "attempts": 0, "status": status, "found_before": 3.0, "found_after": None,
        "closed_at": NOON + MINUTE if status == "closed" else None,
    } | more  # fmt: skip


def rows(*incidents: dict[str, Any]) -> pl.DataFrame:
    return INCIDENTS.conform(pl.DataFrame(list(incidents), schema=INCIDENTS.schema))


def told(now: pl.DataFrame, before: pl.DataFrame = NOTHING, **more: Any) -> list[tuple[Any, ...]]:
    return [(n.event, n.severity, n.count) for n in notices(now, before, market="real", **more)]


@pytest.mark.parametrize(
    ("before", "now", "late", "event"),
    [
        (None, "open", False, "opened"),
        ("open", "open", False, None),
        ("open", "escalated", False, "escalated"),
        (None, "escalated", False, "escalated"),
        ("escalated", "escalated", False, None),
        ("open", "closed", False, "closed"),
        ("escalated", "closed", False, "closed"),
        ("closed", "closed", True, None),
        (None, "closed", False, None),
        (None, "closed", True, "closed"),
    ],
)
def test_what_becomes_of_an_incident_is_told_once(before, now, late, event):
    was = rows(incident("a", before)) if before else NOTHING
    expected = [(event, "ERROR", 1)] if event else []
    assert told(rows(incident("a", now)), was, late=late) == expected


def test_a_storm_is_one_notice_a_group_with_a_few_samples():
    storm = [
        incident(
            f"{n:03}",
            trade_date=DAY + timedelta(days=n % 30),
            table_name=("raw.fo_bhavcopy", "raw.index_close")[n % 2],
            severity=("ERROR", "WARN")[n % 3 == 0],
        )
        for n in range(300)
    ]
    found = notices(rows(*storm), NOTHING, market="real")
    assert [(one.severity, one.count) for one in found] == [("ERROR", 200), ("WARN", 100)]
    assert [one.first_date for one in found] == [DAY + timedelta(days=1), DAY]
    for one in found:
        assert len(one.samples) == MOST_SAMPLES
        assert sum(table.count for table in one.affected) == one.count
        assert one.samples[0].trade_date == one.last_date
        assert "\n" not in one.subject
    assert len({one.key for one in found}) == 2


def test_a_warning_is_told_unless_only_errors_are_asked_for():
    odd = rows(incident("a", severity="WARN"), incident("b"))
    assert told(odd) == [("opened", "ERROR", 1), ("opened", "WARN", 1)]
    assert told(odd, least_severity="ERROR") == [("opened", "ERROR", 1)]


def test_the_words_say_what_where_since_when_and_what_to_do():
    (one,) = notices(rows(incident("a")), NOTHING, market="simulated")
    assert one.subject == (
        "[optrade SIMULATED] ERROR opened: figures_contradict in exchange_files, 1 incident, "
        "2026-01-12"
    )
    for part in (
        CAUSES["figures_contradict"].meaning,
        "the exchange's daily files",
        "raw.fo_bhavcopy (1)",
        "What to do: Read the sample.",
        "- 2026-01-12 raw.fo_bhavcopy, high_low, since 2026-01-12 12:00:00 IST: 3 rows: NIFTY",
        "cause = 'figures_contradict' AND component = 'exchange_files' AND status <> 'closed'",
    ):
        assert part in one.body
    (worse,) = notices(rows(incident("a", "escalated")), rows(incident("a")), market="real")
    assert "a person is needed" in worse.body
    (well,) = notices(rows(incident("a", "closed")), rows(incident("a")), market="real")
    assert "nothing is to be done" in well.body
    assert "closed 2026-01-12 12:01:00 IST" in well.body


def test_evidence_is_put_on_one_line_and_cut():
    (one,) = notices(rows(incident("a", evidence="a\nb\r\n" + "x" * 999)), NOTHING, market="real")
    assert one.samples[0].evidence.startswith("a b xxx")
    assert (len(one.samples[0].evidence), one.samples[0].evidence[-1]) == (400, "…")


def test_a_table_is_well_when_the_last_of_its_incidents_is():
    before = rows(incident("a"), incident("b", opened_at=NOON - MINUTE))
    (one,) = notices(rows(incident("a"), incident("b", "closed")), before, market="real")
    assert (one.affected[0].since, one.affected[0].until) == (NOON, None)
    both = rows(incident("a", "closed"), incident("b", "closed", opened_at=NOON - MINUTE))
    (one,) = notices(both, before, market="real")
    assert (one.affected[0].since, one.affected[0].until) == (NOON - MINUTE, NOON + MINUTE)


def test_a_cause_of_another_version_is_told_too():
    (one,) = notices(rows(incident("a", cause="of_old")), NOTHING, market="real")
    assert "does not know" in one.body


def test_the_trial_has_all_a_notice_has():
    (one,) = trial("real", NOON)
    assert "optrade notify --test" in one.body
    assert one.affected[0].until == NOON + 5 * MINUTE


STATES = st.sampled_from([None, "open", "escalated", "closed"])
ORDER = {None: 0, "open": 1, "escalated": 2, "closed": 3}


@given(st.lists(st.tuples(STATES, STATES, STATES), min_size=1, max_size=8))
def test_told_step_by_step_nothing_is_told_twice_and_all_that_stands_was_told(lives):
    looks = [
        rows(*(incident(f"{n}", life[step]) for n, life in enumerate(ordered) if life[step]))
        for ordered in [[sorted(life, key=ORDER.__getitem__) for life in lives]]
        for step in range(3)
    ]
    heard: list[tuple[str, str]] = []
    for before, now in zip([NOTHING, *looks], looks, strict=False):
        news = notices(now, before, market="real")
        for row in now.iter_rows(named=True):
            lone = now.filter(pl.col("incident_id") == row["incident_id"])
            heard += [(row["incident_id"], n.event) for n in notices(lone, before, market="real")]
        assert sum(n.count for n in news) == sum(
            len(notices(now.slice(i, 1), before, market="real")) for i in range(now.height)
        )
    assert len(heard) == len(set(heard))
    for row in looks[-1].iter_rows(named=True):
        events = {event for name, event in heard if name == row["incident_id"]}
        assert bool(events & {"opened", "escalated"}) or row["status"] == "closed"
        assert ("closed" in events) == (row["status"] == "closed" and len(events) > 1)
