"""Every real day is green, but for the oddities named here."""

from __future__ import annotations

import time
from datetime import date

import polars as pl
import pytest

from optrade.quality import RULES, Inputs, Rule, evaluate
from optrade.tables import quality, raw_live

RED = {("raw.fo_bhavcopy.expiry_steady", date(2025, 1, 2))}
"""All of BANKNIFTY, FINNIFTY and MIDCPNIFTY was re-dated that night."""
LIVE = {table.full_name for table in (*raw_live.TABLES, *quality.TABLES)}
LIVE |= {"raw.candles", "quality.reconciliation"}
CLOSE_RULES = [r for r in RULES if r.table not in LIVE and not r.table.endswith("_minute")]
"""No real day of ticks or candles is held."""
OLD = {date(2015, 11, 6), date(2015, 11, 18), date(2020, 1, 1)}


@pytest.mark.parametrize("rule", CLOSE_RULES, ids=lambda rule: rule.full_name)
def test_real_days_are_green(rule: Rule, real: Inputs) -> None:
    days = real.days(rule.table)
    assert days
    verdict = evaluate(rule, real, days)
    assert set(verdict["trade_date"]) == days
    failed = verdict.filter(~pl.col("passed"))
    assert {(rule.full_name, day) for day in failed["trade_date"]} <= RED, failed.rows()


def test_most_rules_had_something_to_check(real: Inputs) -> None:
    silent = [
        rule.full_name
        for rule in CLOSE_RULES
        if evaluate(rule, real, real.days(rule.table))["passed"].null_count()
        == len(real.days(rule.table))
    ]
    unpriced = ("interval_ordered", "flows_cancel", "total_is_calls_and_puts")
    assert silent == [
        "participants.cross.divergence_is_ordinary",
        *(f"participants.premium_flow.{name}" for name in unpriced),
        "analytics.volatility_history.premiums_follow_from_volatilities",
    ]  # no real day has both its volume file and its contracts, or those and a month of closes


def test_old_days_have_no_verdict_on_what_was_not_published(real: Inputs) -> None:
    by_name = {rule.full_name: rule for rule in RULES}
    unknown = ("raw.fo_bhavcopy.turnover_fits_lots", "snapshots.chain_close.forward_near_spot")
    for name in unknown:
        assert evaluate(by_name[name], real, OLD)["passed"].to_list() == [None] * 3
    known = ("raw.fo_bhavcopy.prices_ordered", "snapshots.chain_close.parity_holds")
    for name in known:
        assert evaluate(by_name[name], real, OLD)["passed"].to_list() == [True] * 3


def test_a_year_is_judged_in_seconds(real: Inputs) -> None:
    """Every real UDiFF day repeated to 250 days: about 4,000 rows a day and table."""
    names = [name for name in real.tables if name.startswith(("raw.fo", "snapshots", "analytics"))]
    models = sorted(real.days("snapshots.chain_close") - OLD - {date(2026, 1, 6)})
    sessions = [day for day in sorted(real.sessions) if day < date(2025, 1, 1)][-250:]
    places = pl.DataFrame(
        {"trade_date": [models[n % len(models)] for n in range(len(sessions))], "as": sessions}
    )
    year = {}
    for name in names:
        rows = real.frame(name).join(places, on="trade_date").with_columns(trade_date="as")
        year[name] = rows.drop("as").sort("trade_date", maintain_order=True)
    inputs = Inputs(year, real.sessions)
    started = time.perf_counter()
    for rule in RULES:
        evaluate(rule, inputs, sessions)
    assert time.perf_counter() - started < 30
