"""Corrections, tampering, damage and questions that have no one answer."""

from __future__ import annotations

import hashlib
import json
import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from typer.testing import CliRunner

from optrade.chain.greeks import greeks_close
from optrade.explanation import Explanation
from optrade.tables import IST, TABLES, Table
from optrade_dagster.cli import app
from optrade_dagster.explain import explain
from optrade_dagster.explain_text import as_text
from optrade_dagster.home import open_lake
from resources.lake import Lake, LakeLocation, Slice
from resources.lake_history import equals

FII = "participant = 'FII'"
GREEKS = "analytics.greeks_close"
CONTRACT = ("underlying", "expiry", "strike", "option_type")


def asked(lane: Any, day: date, *, where: str = FII, **how: Any) -> Explanation:
    """Of participants.activity.future_long_share, unless another table or column is named."""
    table = how.pop("table", "participants.activity")
    column = how.pop("column", "future_long_share")
    where = f"trade_date = DATE '{day}' AND {where}"
    return explain(lane.settings, table, where, column, instance=lane.instance, **how)


def corrected(path: Path) -> None:
    """Ten thousand index futures, long, that were FII's turn out to be CLIENT's."""
    lines = path.read_text(encoding="utf-8").splitlines()
    total = [name.strip() for name in lines[1].split(",")].index("Total Long Contracts")
    for place, line in enumerate(lines):
        cells = line.split(",")
        change = {"Client": 10_000, "FII": -10_000}.get(cells[0].strip())
        if change:
            for cell in (1, total):
                cells[cell] = str(int(cells[cell]) + change)
            lines[place] = ",".join(cells)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def next_second() -> datetime:
    """A whole second, once it is over: later commits are later than it."""
    moment = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=1)
    while datetime.now(UTC) <= moment:
        time.sleep(0.05)
    return moment


def tampered(lane: Any, table: str, day: date, change: pl.Expr) -> None:
    with open_lake(lane.settings, read_only=False) as lake:
        rows = lake.read(TABLES[table], [day]).with_columns(change)
        part = Slice(TABLES[table], (day,), TABLES[table].conform(rows))
        lake.commit([part], author="somebody", provenance={})


def test_a_late_correction_changes_now_and_not_as_known_then(
    filled: Any, lanes: Any, own_exchange: Path, reading: Any, sessions: list[date],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    day = sessions[3]
    lane = lanes(own_exchange, like=filled[0])
    moment = next_second()
    before = asked(lane, day)
    corrected(lane.file("participant_oi", day))
    result = lane.run(day)
    assert result.success, reading.failure_text(result)

    then, now = asked(lane, day, as_known_at=moment, verify=True), asked(lane, day, verify=True)

    assert then.value == before.value
    assert now.value.value < then.value.value
    assert then.first_difference is now.first_difference is None
    old, new = ({f.kind: f for f in found.raw_files} for found in (then, now))
    assert old["participant_oi"].sha256 != new["participant_oi"].sha256
    assert old["participant_volume"] == new["participant_volume"]
    for file in (old["participant_oi"], new["participant_oi"]):
        kept = (lane.settings.lake_root / file.stored_as).read_bytes()
        assert hashlib.sha256(kept).hexdigest() == file.sha256
    (run,) = (r for r in now.runs if r.job)
    assert run.run_id == result.run_id
    assert run.tags is not None
    location = LakeLocation(lane.settings.lake_root, "simulated")
    with Lake.open(location, as_known_at=moment) as lake:
        query = f"SELECT future_long_share FROM participants.activity WHERE {FII} "
        known = lake.sql(f"{query} AND trade_date = DATE '{day}'").item()
    assert known == then.value.value

    monkeypatch.setenv("OPTRADE_HOME", str(lane.home))
    monkeypatch.setenv("OPTRADE_MARKET", "simulated")
    shown = moment.astimezone(ZoneInfo(IST)).strftime("%Y-%m-%dT%H:%M:%S")
    told = []
    for ask in ([], ["--as-known-at", shown]):
        query = f"SELECT future_long_share FROM participants.activity WHERE {FII} "
        query += f"AND trade_date = DATE '{day}'"
        answer = CliRunner().invoke(app, ["sql", query, "--format", "json", *ask])
        assert answer.exit_code == 0, answer.output
        told.append(float(answer.output.split(":")[-1].strip(" }]\n")))
    assert told == [now.value.value, then.value.value]


def test_the_first_table_that_differs_is_named(
    filled: Any, lanes: Any, exchange: Path, sessions: list[date], monkeypatch: pytest.MonkeyPatch
) -> None:
    day = sessions[2]
    lane = lanes(exchange, like=filled[0])
    wrong = pl.when(pl.col("participant") == "FII").then(0.5).otherwise(pl.col("future_long_share"))
    tampered(lane, "participants.activity", day, wrong.alias("future_long_share"))

    found = asked(lane, day, verify=True)

    first = found.first_difference
    assert first is not None
    assert first.table == "participants.activity"
    assert first.difference is not None
    assert first.difference.rows == 1
    assert (first.difference.column, first.difference.held) == ("future_long_share", 0.5)
    assert first.difference.key["participant"] == "FII"
    assert [v.identical for v in found.verified] == [True] * (len(found.verified) - 1) + [False]
    text = "\n".join(as_text(found))
    assert "NOT identical: the first table that differs is participants.activity" in text
    assert "by somebody" in text
    assert json.loads(found.to_json())["first_difference"]["table"] == "participants.activity"
    monkeypatch.setenv("OPTRADE_HOME", str(lane.home))
    monkeypatch.setenv("OPTRADE_MARKET", "simulated")
    monkeypatch.setenv("OPTRADE_NSE__BASE_URL", str(exchange))
    command = ["explain", "participants.activity", "--column", "future_long_share", "--where"]
    answer = CliRunner().invoke(app, [*command, f"trade_date = '{day}' AND {FII}", "--verify"])
    assert answer.exit_code == 1, answer.output
    assert "participants.activity.future_long_share = 0.5 fraction" in answer.stdout
    assert "NOT identical" in answer.stdout
    command.append(f"trade_date = '{day}' AND participant = 'PRO'")
    answer = CliRunner().invoke(app, [*command, "--format", "json"])
    assert answer.exit_code == 0, answer.output
    assert json.loads(answer.stdout)["value"]["key"]["participant"] == "PRO"
    made_before = asked(lane, day, table="analytics.sentiment", column="score", where="true",
                        verify=True)  # fmt: skip
    assert made_before.first_difference is None


def test_what_was_made_from_a_tampered_table_is_traced_to_it(
    filled: Any, lanes: Any, exchange: Path, reading: Any, sessions: list[date]
) -> None:
    day = sessions[1]
    lane = lanes(exchange, like=filled[0])
    tampered(lane, "snapshots.chain_close", day, pl.col("close_price") * 1.5)
    result = lane.run(day, only=[GREEKS])
    assert result.success, reading.failure_text(result)
    with lane.lake() as lake:
        one = lake.read(TABLES[GREEKS], [day], where="iv IS NOT NULL").row(0, named=True)
    where = equals({name: one[name] for name in CONTRACT})

    found = asked(lane, day, table=GREEKS, column="iv", where=where, verify=True)

    verdicts = {v.table: v.identical for v in found.verified}
    assert verdicts.pop("snapshots.chain_close") is False
    assert set(verdicts.values()) == {True}  # The greeks follow from the chain they were given.
    assert found.first_difference is not None
    assert found.first_difference.table == "snapshots.chain_close"


def test_inputs_that_changed_while_a_run_was_at_work_are_found(
    filled: Any, lanes: Any, exchange: Path, sessions: list[date]
) -> None:
    day = sessions[0]
    lane = lanes(exchange, like=filled[0])
    chain, greeks = TABLES["snapshots.chain_close"], TABLES[GREEKS]
    with open_lake(lane.settings, read_only=False) as lake:

        def commit(run: str, table: Table, rows: pl.DataFrame) -> None:
            part = Slice(table, (day,), table.conform(rows))
            lake.commit([part], author=f"dagster run {run}", provenance={"run_id": run})

        before = lake.read(chain, [day])
        was_read = before.with_columns(pl.col("close_price") * 1.5)
        made = greeks_close(was_read, lane.settings.analytics.tick_rupees)
        one = made.filter(pl.col("iv").is_not_null()).row(0, named=True)
        commit("first", chain, was_read)
        commit("second", chain, before)
        commit("first", greeks, made)
    where = equals({name: one[name] for name in CONTRACT})

    found = asked(lane, day, table=GREEKS, column="iv", where=where, verify=True)

    assert found.first_difference is None
    assert found.value.value == one["iv"]
    assert found.verified[-1].inputs_at == found.snapshot - 2


def test_a_damaged_raw_file_is_named_with_both_hashes(
    filled: Any, lanes: Any, exchange: Path, sessions: list[date]
) -> None:
    day = sessions[4]
    lane = lanes(exchange, like=filled[0])
    (file,) = (f for f in asked(lane, day).raw_files if f.kind == "participant_oi")
    path = lane.settings.lake_root / file.stored_as
    path.write_bytes(path.read_bytes()[:-20])
    changed = hashlib.sha256(path.read_bytes()).hexdigest()

    first = asked(lane, day, verify=True).first_difference

    assert first is not None
    assert first.table == "raw.participant_oi"
    assert first.problem is not None
    assert all(said in first.problem for said in (str(path), changed, str(file.sha256)))
    path.unlink()
    first = asked(lane, day, verify=True).first_difference
    assert first is not None
    assert f"{path}: found no such file" in str(first.problem)


def test_a_null_says_why(filled: Any, sessions: list[date]) -> None:
    lane, _ = filled
    with lane.lake() as lake:
        bad = lake.read(TABLES[GREEKS], sessions, where="iv IS NULL").row(0, named=True)
    where = equals({name: bad[name] for name in CONTRACT})
    found = asked(lane, bad["trade_date"], table=GREEKS, column="iv", where=where)
    assert found.value.value is None
    assert found.value.reason == f"reason: {bad['reason']}"


@pytest.mark.parametrize(
    ("question", "told"),
    [
        ({"where": "true"}, r"found 4 rows, such as trade_date=.*participant=CLIENT.*exactly one"),
        ({"where": "participant = 'NOBODY'"}, "found no row; expected exactly one"),
        ({"column": "futur_long_share"}, "no column 'futur_long_share'; did you mean future_long"),
        ({"table": "participants.activty"}, "no table .*did you mean participants.activity"),
    ],
)
def test_a_question_without_one_answer_is_told(
    filled: Any, sessions: list[date], question: dict[str, Any], told: str
) -> None:
    with pytest.raises(ValueError, match=told):
        asked(filled[0], sessions[0], **question)
