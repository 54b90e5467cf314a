"""The `optrade` command as typed: what it prints, where, and how it ends."""

from __future__ import annotations

import csv
import io
import json
import re

import pytest

DAYS = ["2026-01-12", "2026-01-13", "2026-01-14"]
COUNT = "SELECT trade_date, count(*) AS n FROM raw.source_files GROUP BY ALL ORDER BY ALL"


def told(process) -> str:
    """Everything printed, without line breaks."""
    return " ".join((process.stdout + " " + process.stderr).split())


def closing_rows(output: str) -> dict[str, list[str]]:
    """The closing table's cells by date."""
    rows = {}
    for line in output.splitlines():
        cells = [cell.strip() for cell in line.strip("│ ").split("│")]
        if re.fullmatch(r"\d{4}-\d\d-\d\d", cells[0]) and len(cells) == 7:
            rows[cells[0]] = cells[1:]
    return rows


def test_the_demo_says_that_it_is_simulated_and_closes_with_its_table(demo):
    assert demo.code == 0, demo.output
    assert demo.output.count("SIMULATED") >= 2
    assert "Traceback" not in demo.output
    rows = closing_rows(demo.output)
    assert list(rows) == DAYS
    for files, tables, _, new, checks, missing in rows.values():
        assert (files, tables, new, missing) == ("5/5", "24", "24/24", "nothing")
        assert re.fullmatch(r"[56]\d ok", checks)
    assert "max_pain_strike" in demo.output
    assert "BANKNIFTY" in demo.output


def test_running_the_same_days_again_finds_nothing_new(demo):
    again = demo.optrade("backfill", "--from", DAYS[0], "--to", DAYS[-1], MARKET="simulated")
    assert again.returncode == 0, told(again)
    rows = closing_rows(again.stdout)
    assert {day: cells[3] for day, cells in rows.items()} == dict.fromkeys(DAYS, "0/24")
    first = closing_rows(demo.output)
    assert {d: c[2] for d, c in rows.items()} == {d: c[2] for d, c in first.items()}


def test_queries_print_tables_csv_and_json(demo):
    outputs = {}
    for style in ("csv", "json"):
        process = demo.optrade("sql", COUNT, "--format", style)
        assert process.returncode == 0, told(process)
        assert "SIMULATED" in process.stderr
        outputs[style] = process.stdout
    expected = [{"trade_date": day, "n": 6} for day in DAYS]
    assert json.loads(outputs["json"]) == expected
    read = list(csv.DictReader(io.StringIO(outputs["csv"])))
    assert read == [{"trade_date": day, "n": "6"} for day in DAYS]
    table = demo.optrade("sql", COUNT)
    assert table.returncode == 0
    assert [day for day in DAYS if day in table.stdout] == DAYS
    assert "3 rows" in table.stdout


def test_a_query_that_cannot_be_answered_says_why(demo):
    wrong = demo.optrade("sql", "SELECT nope FROM raw.source_files")
    assert wrong.returncode == 2
    assert 'Referenced column "nope" not found' in told(wrong)
    assert "Traceback" not in told(wrong)
    assert wrong.stdout == ""


def test_a_query_cannot_write(demo):
    write = demo.optrade("sql", "DELETE FROM raw.source_files")
    assert write.returncode == 2
    assert "read-only" in told(write)
    assert closing_rows(demo.output).keys() == set(DAYS)
    kept = demo.optrade("sql", "SELECT count(*) AS n FROM raw.source_files", "--format", "json")
    assert json.loads(kept.stdout) == [{"n": 18}]


def test_before_its_birth_a_lake_knew_nothing(demo):
    early = demo.optrade("sql", COUNT, "--as-known-at", "2020-01-01T10:31")
    assert early.returncode == 2
    assert "Nothing was known yet at 2020-01-01T10:31:00+05:30" in told(early)
    assert "Ask for a later moment" in told(early)


def test_an_empty_home_says_what_to_do_and_stays_empty(optrade):
    process = optrade("sql", COUNT)
    assert process.returncode == 2
    assert "There is no real lake at" in told(process)
    assert "`optrade demo` (simulated) or `optrade backfill" in told(process)
    assert not optrade.home.exists()


@pytest.mark.parametrize(
    ("first", "last", "words"),
    [
        ("2026-01-14", "2026-01-12", "--from 2026-01-14 is after --to 2026-01-12; swap them"),
        ("2026-01-26", "2026-01-26", "2026-01-26: holiday: Republic Day"),
        ("2026-01-24", "2026-01-26", "has no trading day (2026-01-24: weekend"),
        ("1999-01-01", "1999-12-31", "from 2000-06-12 to "),
    ],
    ids=["swapped", "a holiday", "a long weekend", "before the market"],
)
def test_a_range_that_cannot_be_run_is_refused_before_anything_is_made(optrade, first, last, words):
    process = optrade("backfill", "--from", first, "--to", last)
    assert process.returncode == 2
    assert words in told(process)
    assert "Traceback" not in told(process)
    assert not optrade.home.exists()


def test_an_unknown_setting_suggests_the_nearest(optrade):
    process = optrade("backfill", "--from", DAYS[0], "--to", DAYS[0], MARKT="real")
    assert process.returncode == 2
    assert "OPTRADE_MARKT is not a setting. Did you mean OPTRADE_MARKET?" in told(process)
    assert not optrade.home.exists()


def test_a_selection_of_nothing_says_what_to_type(demo):
    process = demo.optrade(
        "backfill", "--from", DAYS[0], "--to", DAYS[0], "--select", "nope/x", MARKET="simulated"
    )
    assert process.returncode == 2
    assert "--select 'nope/x' names no asset. Try `group:participants`" in told(process)
    assert "Traceback" not in told(process)


def test_a_real_market_takes_nothing_from_a_simulated_exchange(demo, optrade):
    archive = demo.optrade.home / "simulated" / "exchange"
    process = optrade("backfill", "--from", DAYS[0], "--to", DAYS[0], NSE__BASE_URL=str(archive))
    assert process.returncode != 0
    assert "found a simulated exchange's archive; expected a real one" in told(process)
    assert "Set OPTRADE_MARKET or OPTRADE_NSE__BASE_URL so that both agree" in told(process)
    held = optrade("sql", COUNT, "--format", "json")
    assert held.returncode == 2 or json.loads(held.stdout) == []
