"""Incidents follow from what was judged: opened, kept, closed, escalated, and healed in turn."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
import pytest

from optrade.quality import RULES
from optrade.quality.causes import CAUSES, COMPONENTS, OF_GAP, cause_of, component_of
from optrade.quality.healing import WAITS, due, source_of
from optrade.quality.incidents import JUDGED, MOST_ATTEMPTS, follow, of_checks, of_gaps
from optrade.tables.quality import (
    ACTIONS,
    CHECK_RESULTS,
    GAP_CAUSES,
    INCIDENTS,
    RECOVERIES,
    TICK_GAPS,
)

DAY = date(2026, 1, 12)
NOON = datetime(2026, 1, 12, 12, 0, tzinfo=ZoneInfo("Asia/Kolkata"))
MINUTE = timedelta(minutes=1)


def result(rule: str, passed: bool | None, at: datetime = NOON, **more: Any) -> dict[str, Any]:
    failed = passed is False
    return {
        "trade_date": DAY, "evaluated_at": at, "run_id": "r", "batch": f"{at:%H%M%S}",
        "table_name": "raw.fo_bhavcopy", "rule": rule, "scope": None, "check_name": "contract",
        "severity": "ERROR", "passed": passed, "checked": 10, "found": 3.0 if failed else 0.0,
        "threshold": 0.0, "detail": "3 rows", "sample": "NIFTY 25000 CE" if failed else None,
        "cause": "figures_contradict" if failed else None,
    } | more  # fmt: skip


def results(*rows: dict[str, Any]) -> pl.DataFrame:
    return CHECK_RESULTS.conform(pl.DataFrame(list(rows), schema=CHECK_RESULTS.schema))


def followed(*rows: dict[str, Any], known: pl.DataFrame | None = None, at: datetime = NOON):
    known = INCIDENTS.empty() if known is None else known
    return follow(known, of_checks(results(*rows)), RECOVERIES.empty(), at)


def attempt(incident: str, number: int, at: datetime = NOON) -> dict[str, Any]:
    return dict.fromkeys(RECOVERIES.schema) | {
        "trade_date": DAY, "incident_id": incident, "attempt": number, "action": "refetch",
        "tried_with": "here", "run_id": f"heal {number}", "ended_at": at, "outcome": "not_healed",
    }  # fmt: skip


def recovered(*rows: dict[str, Any]) -> pl.DataFrame:
    return RECOVERIES.conform(pl.DataFrame(list(rows), schema=RECOVERIES.schema))


def test_every_rule_and_hole_has_a_cause_and_every_table_a_component():
    assert {cause_of(rule) for rule in RULES} <= set(CAUSES)
    assert set(OF_GAP) == set(GAP_CAUSES)
    assert set(OF_GAP.values()) <= set(CAUSES)
    for cause in CAUSES.values():
        assert cause.action is None or cause.action in ACTIONS
        assert cause.meaning.endswith(".")
        for rule in RULES:
            assert component_of(rule.table, cause) in COMPONENTS


def test_a_failing_rule_opens_an_incident_with_its_evidence():
    (incident,) = followed(result("high_low", passed=False), result("keys", passed=True)).to_dicts()
    assert incident["subject"] == "high_low"
    assert (incident["status"], incident["handling"], incident["action"]) == (
        "open", "automatic", "refetch",
    )  # fmt: skip
    assert incident["component"] == "exchange_files"
    assert incident["evidence"] == "3 rows: NIFTY 25000 CE"
    assert incident["suggestion"] == CAUSES["figures_contradict"].suggestion
    assert (incident["opened_at"], incident["closed_at"]) == (NOON, None)
    assert (incident["found_before"], incident["found_after"]) == (3.0, None)
    INCIDENTS.pandera.validate(followed(result("high_low", passed=False)))


def test_it_keeps_its_beginning_and_takes_the_newest_evidence():
    first = followed(result("high_low", passed=False))
    later = NOON + MINUTE
    again = result("high_low", passed=False, at=later, sample="NIFTY 26000 PE")
    (incident,) = followed(again, known=first, at=later).to_dicts()
    assert incident["incident_id"] == first["incident_id"].item()
    assert incident["opened_at"] == NOON
    assert incident["evidence"] == "3 rows: NIFTY 26000 PE"


def test_it_is_closed_by_a_verdict_and_not_by_silence():
    first = followed(result("high_low", passed=False))
    later = NOON + MINUTE
    for silent in (result("other", passed=True), result("high_low", passed=None, at=later)):
        assert followed(silent, known=first, at=later)["status"].to_list() == ["open"]
    well = followed(result("high_low", passed=True, at=later), known=first, at=later)
    (incident,) = well.to_dicts()
    assert (incident["status"], incident["closed_at"], incident["found_after"]) == (
        "closed", later, 0.0,
    )  # fmt: skip
    again = followed(
        result("high_low", passed=False, at=later + MINUTE), known=well, at=later + MINUTE
    )
    assert again["status"].to_list() == ["closed", "open"]
    assert again["incident_id"].n_unique() == 2


def test_some_minutes_that_pass_do_not_speak_for_their_day():
    rows = [
        result("heard", passed=False, scope="10:15 to 10:15"),
        result("heard", passed=True, at=NOON + MINUTE, scope="10:16 to 10:16"),
    ]
    first = followed(*rows)
    assert first["status"].to_list() == ["open"]
    whole = result("heard", passed=True, at=NOON + 2 * MINUTE)
    assert followed(*rows, whole, known=first)["status"].to_list() == ["closed"]


@pytest.mark.parametrize("ended", [NOON, None], ids=["over", "still open"])
def test_a_hole_is_an_incident_until_it_is_filled(ended):
    start = NOON - 7 * MINUTE
    hole = {
        "trade_date": DAY, "gap": "g1", "started_at": start, "ended_at": ended,
        "cause": "connection_lost", "instruments": 497, "instrument_tokens": None,
        "session": "s", "detail": "cut", "filled_minutes": 0, "unfilled_minutes": 3479,
        "source": "simulated",
    }  # fmt: skip
    gaps = pl.DataFrame([dict.fromkeys(TICK_GAPS.schema) | hole], schema=TICK_GAPS.schema)
    later = NOON + timedelta(minutes=5)
    known = follow(
        INCIDENTS.empty(), of_gaps(gaps, INCIDENTS.empty(), later), RECOVERIES.empty(), later
    )
    (incident,) = known.to_dicts()
    assert (incident["cause"], incident["action"]) == ("feed_cut", "candles")
    assert incident["opened_at"] == start
    assert incident["found_before"] == (420.0 if ended else None)
    assert "497 instruments: connection_lost: cut" in incident["evidence"]
    assert of_gaps(gaps, INCIDENTS.empty(), NOON + MINUTE).height == (0 if ended else 1)
    assert len(due(known, RECOVERIES.empty(), later)) == (1 if ended else 0)
    filled = gaps.with_columns(ended_at=pl.lit(NOON).cast(gaps.schema["ended_at"]))
    for unfilled, status in ((1, "open"), (0, "closed")):
        judged = of_gaps(filled.with_columns(unfilled_minutes=pl.lit(unfilled)), known, later)
        assert follow(known, judged, RECOVERIES.empty(), later)["status"].item() == status


def test_after_the_last_attempt_a_person_is_needed():
    known = followed(result("high_low", passed=False))
    name = known["incident_id"].item()
    for count in range(MOST_ATTEMPTS + 1):
        tried = recovered(*(attempt(name, n + 1) for n in range(count)))
        now = follow(known, pl.DataFrame(schema=JUDGED), tried, NOON)
        expected = "escalated" if count >= MOST_ATTEMPTS else "open"
        assert (now["status"].item(), now["attempts"].item()) == (expected, count)


def test_attempts_are_due_after_waits_that_grow_and_go_from_source_to_source():
    incidents = followed(result("high_low", passed=False), result("keys", passed=False))
    names = tuple(sorted(incidents["incident_id"]))
    assert due(incidents, RECOVERIES.empty(), NOON + WAITS[0] - MINUTE / 60) == []
    (first,) = due(incidents, RECOVERIES.empty(), NOON + WAITS[0])
    assert (first.day, first.action, first.lane, first.attempt) == (DAY, "refetch", "close", 1)
    assert first.incidents == names
    tried = recovered(*(attempt(name, 1) for name in names))
    once = follow(incidents, pl.DataFrame(schema=JUDGED), tried, NOON)
    assert due(once, tried, NOON + WAITS[1] - MINUTE) == []
    (second,) = due(once, tried, NOON + WAITS[1])
    assert second.attempt == 2
    sources = ["archive", "mirror"]
    assert [source_of(n, sources) for n in (1, 2, 3)] == ["archive", "mirror", "archive"]


def test_manual_and_ended_incidents_are_never_tried():
    odd = result("spread", passed=False, cause="market_odd", severity="WARN")
    (incident,) = followed(odd).to_dicts()
    assert (incident["handling"], incident["action"]) == ("manual", None)
    assert due(followed(odd), RECOVERIES.empty(), NOON + timedelta(days=9)) == []
