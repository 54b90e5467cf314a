"""A day of the minute lane judged as a whole: after the close, over all of its minutes."""

from __future__ import annotations

from datetime import UTC, datetime

import polars as pl

from assets import minute_day
from assets.quality import record
from optrade.quality import rules_for
from optrade.tables.quality import CHECK_RESULTS
from optrade_dagster.definitions import build_defs, build_resources
from optrade_dagster.home import open_lake
from optrade_dagster.jobs import DAY_CLOSED
from tests.assets.spooled_market import DAY, QUIET, Market, whole_day


def close_day(market: Market) -> None:
    job = build_defs(market.settings).resolve_job_def(DAY_CLOSED)
    config = {"ops": {"compact_day": {"config": {"day": DAY.isoformat()}}}}
    assert job.execute_in_process(instance=market.instance, run_config=QUIET | config).success


def test_minutes_are_judged_one_by_one_and_the_day_as_a_whole(market, monkeypatch):
    monkeypatch.setattr(minute_day, "_SEGMENTS", 2)
    for minute in range(3):
        market.seal(minute, whole_day(minute))
        assert market.run().success
    by_minute = market.read("quality.check_results")
    chain = by_minute.filter(table_name="snapshots.chain_minute", rule="declared")
    assert chain["scope"].n_unique() == 3
    assert chain["scope"].null_count() == 0

    close_day(market)

    results = market.read("quality.check_results")
    whole = results.join(by_minute, on=CHECK_RESULTS.key, how="anti")
    assert set(whole["scope"]) == {None}
    for table in ("raw.ticks", "snapshots.chain_minute", "analytics.greeks_minute"):
        rules = {rule.name for rule in rules_for(table)}
        assert set(whole.filter(table_name=table)["rule"]) >= rules
    assert whole.filter(~pl.col("passed")).is_empty()
    counted = whole.filter(table_name="raw.ticks", rule="declared")["checked"].item()
    assert counted >= market.read("raw.ticks").height / 3  # the worst helping counts
    with open_lake(market.settings, read_only=True) as lake:
        assert len(lake.live_files(CHECK_RESULTS)[DAY]) == 2  # the minutes', compacted, and this


def test_a_bad_minute_stays_an_incident_until_the_day_is_found_well(market):
    market.seal(0, whole_day(0))
    assert market.run().success
    failed = {
        "trade_date": DAY, "evaluated_at": datetime.now(UTC), "run_id": "r", "batch": "",
        "table_name": "snapshots.index_minute", "rule": "indices_heard",
        "scope": "09:15 to 09:15", "check_name": "ordinary", "severity": "WARN",
        "passed": False, "checked": 1, "found": 1.0, "threshold": 0.05, "detail": "silent",
        "sample": "09:15 NIFTY", "cause": "feed_odd",
    }  # fmt: skip
    lake = build_resources(market.settings)["lake"]
    rows = pl.DataFrame([failed], schema=CHECK_RESULTS.schema)
    record(lake, CHECK_RESULTS.conform(rows), [DAY], "r")
    lake.teardown_after_execution(None)

    market.seal(1, whole_day(1))
    assert market.run().success  # that minute is well, which says nothing of the one before
    (incident,) = market.read("quality.incidents").to_dicts()
    assert (incident["subject"], incident["status"]) == ("indices_heard", "open")
    assert incident["handling"] == "manual"

    close_day(market)
    (incident,) = market.read("quality.incidents").to_dicts()
    assert (incident["status"], incident["found_before"]) == ("closed", 1.0)
    assert incident["found_after"] <= 0.05
