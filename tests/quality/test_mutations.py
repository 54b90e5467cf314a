"""Every rule passes the good market and fails when its own kind of damage is done to it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta

import polars as pl
import pytest

from optrade.quality import RULES, Inputs, Rule, evaluate, rules_for
from optrade.tables import TABLES, TIMESTAMP, quality, raw_live

Damage = Callable[[pl.DataFrame], pl.DataFrame]
col = pl.col
DAY = date(2026, 7, 3)
LIVE = {table.full_name for table in (*raw_live.TABLES, *quality.TABLES)}
LIVE |= {"raw.candles", "quality.reconciliation"}
CLOSE_RULES = [r for r in RULES if r.table not in LIVE and not r.table.endswith("_minute")]
"""The rules of the live lane have their own market (`test_minute_rules`), and so have those of
candles and reconciliation (`test_candle_rules`, `test_reconcile`)."""
TODAY = col("trade_date") == DAY
EXPOSURE = "analytics.gamma_exposure_close"
SURFACE, POINTS = "analytics.surface_close", "analytics.surface_points_close"
GREEKS, METRICS = "analytics.greeks_close", "analytics.chain_metrics_close"
OPEN_INTEREST, PREMIUM = "analytics.open_interest_close", "analytics.premium_close"
OVERLAY = "analytics.premium_overlay"
CHAIN, BHAV, INDEX = "snapshots.chain_close", "raw.fo_bhavcopy", "raw.index_close"
OI, VOLUME, FII, FILES = (
    "raw.participant_oi",
    "raw.participant_volume",
    "raw.fii_stats",
    "raw.source_files",
)
POSITIONS, ACTIVITY = "participants.positions", "participants.activity"
CROSS, LEDGER = "participants.cross", "participants.ledger"
FLOW, SENTIMENT = "participants.premium_flow", "analytics.sentiment"
SCORECARD = "analytics.scorecard"
REPLICA, HISTORY = "analytics.vix_replica", "analytics.volatility_history"
MID = "net_premium_flow_mid_rupees"


def put(where: pl.Expr | bool = True, **values: object) -> Damage:
    """Set columns on today's rows `where` it holds."""

    def damage(frame: pl.DataFrame) -> pl.DataFrame:
        hit = TODAY & where
        changed = [
            pl.when(hit)
            .then(v if isinstance(v, pl.Expr) else pl.lit(v))
            .otherwise(name)
            .alias(name)
            for name, v in values.items()
        ]
        return frame.with_columns(changed).cast(frame.schema)

    return damage


def drop(where: pl.Expr | bool = True) -> Damage:
    """Lose today's rows `where` it holds."""
    return lambda frame: frame.filter(~(TODAY & where))


def repeat_yesterday(frame: pl.DataFrame) -> pl.DataFrame:
    """Put yesterday's rows in place of today's."""
    yesterday = frame.filter(col("trade_date") == DAY - timedelta(days=1))
    return pl.concat([frame.filter(~TODAY), yesterday.with_columns(trade_date=pl.lit(DAY))])


def swap_sides(frame: pl.DataFrame) -> pl.DataFrame:
    """Read the column of calls as puts."""
    other = col("option_type").replace({"CE": "PE", "PE": "CE"})
    return frame.with_columns(option_type=pl.when(TODAY).then(other).otherwise("option_type"))


NIFTY = col("underlying") == "NIFTY"
NEAR = NIFTY & (col("expiry") == date(2026, 7, 28))
TRADED = col("volume_lots") > 0
AT_MONEY = NEAR & (col("strike_offset") == 0)
FIRST_CALL = (col("participant") == "CLIENT") & (col("segment") == "index_call")

DAMAGES: dict[str, tuple[str, Damage]] = {
    f"{SURFACE}.covers_chain": (SURFACE, drop(col("expiry") == col("expiry").min())),
    f"{SURFACE}.nulls_explained": (SURFACE, put(reason="few_quotes")),
    f"{SURFACE}.without_arbitrage": (SURFACE, put(butterfly_violations=3, calendar_violations=0)),
    f"{SURFACE}.near_its_quotes": (SURFACE, put(rmse=0.05)),
    f"{POINTS}.nulls_explained": (POINTS, put(reason=None, risk_reversal_25=None)),
    f"{EXPOSURE}.covers_chain": (EXPOSURE, drop(col("assumption") == "calls_short")),
    f"{EXPOSURE}.adds_up": (EXPOSURE, put(exposure_rupees=col("exposure_rupees") * 1.01 + 1)),
    f"{EXPOSURE}.nulls_explained": (EXPOSURE, put(exposure_rupees=None)),
    f"{FILES}.held_means_kept": (FILES, put(col("kind") == "fii_stats", sha256=None)),
    f"{FILES}.name_has_the_date": (
        FILES,
        put(col("kind") == "fii_stats", url="fii_stats_02-Jul-2026.xls"),
    ),
    f"{FILES}.not_turned_away": (FILES, put(col("kind") == "fii_stats", status="blocked")),
    f"{BHAV}.main_underlyings": (BHAV, drop(col("underlying") == "FINNIFTY")),
    f"{BHAV}.underlying_priced": (BHAV, put(NIFTY, underlying_price=0.0)),
    f"{BHAV}.expiries_listed": (BHAV, drop(NIFTY & (col("expiry") > date(2026, 7, 28)))),
    f"{BHAV}.prices_ordered": (BHAV, put(NEAR & TRADED, high=col("close") - 0.05)),
    f"{BHAV}.untraded_rows_blank": (BHAV, put(~TRADED, open=5.0)),
    f"{BHAV}.turnover_fits_lots": (BHAV, put(TRADED, volume_lots=col("volume_lots") * 65)),
    f"{BHAV}.open_interest_carries_over": (BHAV, put(NEAR, oi_units=col("oi_units") + 65)),
    f"{BHAV}.close_carries_over": (BHAV, put(NEAR, previous_close=col("close") + 50)),
    f"{BHAV}.lot_size_steady": (BHAV, put(NEAR, lot_size=75)),
    f"{BHAV}.expiry_steady": (BHAV, put(NEAR, expiry=date(2026, 7, 27))),
    f"{BHAV}.rows_not_collapsed": (BHAV, drop(col("strike") > 24_000)),
    f"{INDEX}.indices_present": (INDEX, drop(col("index_name") == "India VIX")),
    f"{INDEX}.inside_day_range": (INDEX, put(col("index_name") == "Nifty 50", low=24_001.0)),
    f"{INDEX}.change_adds_up": (INDEX, put(col("index_name") == "Nifty 50", change_pct=1.0)),
    f"{INDEX}.continues": (INDEX, put(col("index_name") == "Nifty 50", points_change=10.0)),
    f"{INDEX}.move_is_ordinary": (INDEX, put(col("index_name") == "Nifty 50", change_pct=-12.0)),
    f"{INDEX}.vix_is_plausible": (INDEX, put(col("index_name") == "India VIX", close=0.16)),
    f"{INDEX}.rows_not_collapsed": (INDEX, drop(col("index_name").str.contains("Other"))),
    f"{FII}.complete": (FII, drop(col("product") == "stock_option")),
    f"{FII}.indices_sum_to_product": (
        FII,
        put(NIFTY, oi_contracts=col("oi_contracts") + 4),
    ),
    f"{FII}.values_sum_to_product": (FII, put(NIFTY, buy_crore=col("buy_crore") + 1)),
    f"{FII}.value_per_contract": (FII, put(oi_crore=col("oi_contracts").cast(pl.Float64))),
    f"{FII}.agrees_with_open_interest": (
        FII,
        put(col("product") == "stock_future", oi_contracts=col("oi_contracts") + 1),
    ),
    f"{FII}.agrees_with_volume": (
        FII,
        put(col("product") == "index_option", buy_contracts=col("buy_contracts") + 2),
    ),
    f"{OI}.complete": (OI, drop(FIRST_CALL)),
    f"{OI}.balanced": (OI, put(FIRST_CALL, long_contracts=col("long_contracts") + 2)),
    f"{OI}.not_stale": (OI, repeat_yesterday),
    f"{VOLUME}.complete": (VOLUME, drop(FIRST_CALL)),
    f"{VOLUME}.balanced": (VOLUME, put(FIRST_CALL, short_contracts=0)),
    f"{VOLUME}.not_stale": (VOLUME, repeat_yesterday),
    f"{POSITIONS}.complete": (POSITIONS, drop(FIRST_CALL)),
    f"{POSITIONS}.shares_sum_to_one": (POSITIONS, put(FIRST_CALL, long_share=0.9)),
    f"{ACTIVITY}.agrees_with_positions": (
        ACTIVITY,
        put(
            col("participant") == "FII",
            call_long_oi_contracts=col("put_long_oi_contracts"),
            put_long_oi_contracts=col("call_long_oi_contracts"),
        ),
    ),
    f"{ACTIVITY}.bought_equals_sold": (
        ACTIVITY,
        put(col("participant") == "FII", put_bought_contracts=9_999),
    ),
    f"{ACTIVITY}.nulls_explained": (ACTIVITY, put(call_volume_contracts=None)),
    f"{FLOW}.complete": (FLOW, drop(FIRST_CALL)),
    f"{FLOW}.interval_ordered": (
        FLOW,
        put(net_premium_flow_low_rupees=col("net_premium_flow_high_rupees") + 1),
    ),
    f"{FLOW}.flows_cancel": (FLOW, put(FIRST_CALL, **{MID: col(MID) + 8_000})),
    f"{FLOW}.total_is_calls_and_puts": (
        FLOW,
        put(col("segment") == "total", **{MID: col(MID) + 1}),
    ),
    f"{FLOW}.net_premium_flow_mid_explained": (FLOW, put(FIRST_CALL, **{MID: None})),
    f"{ACTIVITY}.agrees_with_premium_flow": (
        ACTIVITY,
        put(col("participant") == "FII", **{MID: col(MID) + 1}),
    ),
    f"{ACTIVITY}.positioning_follows_its_rule": (
        ACTIVITY,
        put(positioning=col("positioning").replace({"BULLISH": "BEARISH", "NEUTRAL": "BULLISH"})),
    ),
    f"{ACTIVITY}.net_premium_flow_mid_explained": (ACTIVITY, put(**{MID: None})),
    f"{ACTIVITY}.positioning_explained": (ACTIVITY, put(positioning=None)),
    f"{LEDGER}.expired_net_explained": (LEDGER, put(FIRST_CALL, expired_reason=None)),
    f"{LEDGER}.expired_inventory_cancels": (
        LEDGER,
        put(FIRST_CALL, expired_net_contracts=5, expired_reason=None),
    ),
    f"{REPLICA}.covers_underlyings": (REPLICA, put(underlying="BANKNIFTY")),
    f"{REPLICA}.follows_from_variances": (REPLICA, put(near_variance=col("near_variance") * 1.01)),
    f"{REPLICA}.published_is_the_index_close": (REPLICA, put(published=col("published") + 0.01)),
    f"{REPLICA}.nulls_explained": (REPLICA, put(error=None)),
    f"{REPLICA}.error_is_ordinary": (REPLICA, put(error=col("published") * 0.011)),
    f"{HISTORY}.covers_underlyings": (HISTORY, drop(NIFTY)),
    f"{HISTORY}.nulls_explained": (HISTORY, put(NIFTY, ex_post_reason="no_iv")),
    f"{HISTORY}.iv_between_expiries": (HISTORY, put(NIFTY, iv_30d=col("iv_30d_next") + 0.5)),
    f"{HISTORY}.premiums_follow_from_volatilities": (
        HISTORY,
        put(NIFTY, realised_since_then=col("realised_since_then") * 1.1),
    ),
    f"{HISTORY}.enough_behind_each_figure": (HISTORY, put(NIFTY, iv_percentile=0.5)),
    f"{HISTORY}.nothing_looks_ahead": (HISTORY, put(NIFTY, window_start=DAY)),
    f"{HISTORY}.volatility_plausible": (HISTORY, put(NIFTY, realised_10=2.0)),
    f"{SENTIMENT}.weights_add_up_to_one": (SENTIMENT, put(india_vix_weight=0.0)),
    f"{SENTIMENT}.score_follows_from_parts": (SENTIMENT, put(score=0.99)),
    f"{SENTIMENT}.nulls_explained": (SENTIMENT, put(score=None)),
    f"{SCORECARD}.nothing_looks_ahead": (SCORECARD, put(lead_hours=-1.0)),
    f"{SCORECARD}.verdicts_follow_from_tests": (SCORECARD, put(verdict="edge_shown")),
    f"{SCORECARD}.labels_share_out_days": (SCORECARD, drop(col("label") == "NEUTRAL")),
    f"{CROSS}.nulls_explained": (CROSS, put(crowd_vs_smart_divergence=None)),
    f"{CROSS}.divergence_is_ordinary": (CROSS, put(crowd_vs_smart_divergence=-7.5)),
    f"{LEDGER}.nulls_explained": (LEDGER, put(residual=None)),
    f"{LEDGER}.positions_moved_by_trades": (
        LEDGER,
        put(FIRST_CALL, residual=26, identity="broken"),
    ),
    f"{LEDGER}.residuals_cancel": (LEDGER, put(FIRST_CALL, residual=5, identity="broken")),
    f"{CHAIN}.covers_bhavcopy": (CHAIN, drop(AT_MONEY)),
    f"{CHAIN}.ladder_unbroken": (CHAIN, drop(NEAR & (col("strike") == 24_150))),
    f"{CHAIN}.money_in_the_middle": (CHAIN, drop(NEAR & (col("strike") > 24_400))),
    f"{CHAIN}.calls_and_puts_listed": (
        CHAIN,
        drop(NEAR & (col("strike") == 24_150) & (col("option_type") == "CE")),
    ),
    f"{CHAIN}.money_known": (CHAIN, put(NEAR, atm_strike=None)),
    f"{CHAIN}.nearest_expiry_in_bucket": (CHAIN, put(NEAR, expiry_bucket=None)),
    f"{CHAIN}.units_are_lots_times_lot": (CHAIN, put(NEAR, volume_units=col("volume_lots"))),
    f"{CHAIN}.parity_holds": (CHAIN, put(forward=col("forward") * 1.02)),
    f"{CHAIN}.not_below_intrinsic": (CHAIN, put(close_price=col("close_price") * 0.2)),
    f"{CHAIN}.calls_and_puts_not_swapped": (CHAIN, swap_sides),
    f"{CHAIN}.forward_near_spot": (CHAIN, put(forward=col("forward") * 1.05)),
    f"{CHAIN}.forward_near_future": (CHAIN, put(forward=col("forward") * 1.02)),
    f"{CHAIN}.spot_move_is_ordinary": (CHAIN, put(NIFTY, spot=21_000.0)),
    f"{CHAIN}.spot_is_the_index_close": (CHAIN, put(NIFTY, spot=24_020.0)),
    f"{GREEKS}.covers_chain": (GREEKS, drop(AT_MONEY)),
    f"{GREEKS}.nulls_explained": (GREEKS, put(AT_MONEY, iv=None)),
    f"{GREEKS}.delta_has_its_sign": (GREEKS, swap_sides),
    f"{METRICS}.covers_chain": (METRICS, drop(NEAR)),
    f"{METRICS}.agrees_with_chain": (METRICS, put(NEAR, call_oi_units=col("put_oi_units") + 1)),
    f"{METRICS}.max_pain_is_listed": (METRICS, put(NEAR, max_pain_strike=24_010.0)),
    f"{METRICS}.iv_coverage": (METRICS, put(NEAR, iv_coverage=0.3)),
    f"{METRICS}.atm_iv_plausible": (METRICS, put(NEAR, atm_iv=None)),
    f"{METRICS}.atm_iv_near_vix": (METRICS, put(NIFTY, atm_iv=0.35)),
    f"{OPEN_INTEREST}.covers_chain": (OPEN_INTEREST, drop(AT_MONEY)),
    f"{OPEN_INTEREST}.nulls_explained": (OPEN_INTEREST, put(AT_MONEY, buildup=None)),
    f"{OPEN_INTEREST}.shares_sum_to_one": (OPEN_INTEREST, put(AT_MONEY, oi_share=0.5)),
    f"{PREMIUM}.buckets_covered": (PREMIUM, drop(col("expiry_bucket") == "this_week")),
    f"{PREMIUM}.straddle_above_payoff": (PREMIUM, put(close_premium=1.0)),
    f"{PREMIUM}.agrees_with_metrics": (PREMIUM, put(close_premium=col("close_premium") + 0.05)),
    f"{PREMIUM}.nulls_explained": (PREMIUM, put(percentile_reason=None)),
    f"{OVERLAY}.covers_premium": (OVERLAY, drop(col("comparison") == "weekday")),
    f"{OVERLAY}.agrees_with_premium": (OVERLAY, put(premium=col("premium") + 1)),
    f"{OVERLAY}.quartiles_ordered": (OVERLAY, put(lower_quartile_pct=2.0, median_pct=1.0)),
    f"{OVERLAY}.regimes_add_up": (OVERLAY, put(crosses_regime=~col("crosses_regime"))),
    f"{OVERLAY}.nulls_explained": (OVERLAY, put(reason=None)),
}


def _generic(rule: Rule) -> tuple[str, Damage] | None:
    """Damage for the rules that every table, or every raw table, has."""
    table = TABLES[rule.table]
    if rule.name == "declared":
        return rule.table, put(source="rumour")
    if rule.name == "unique_key":
        return rule.table, lambda frame: pl.concat([frame, frame.filter(TODAY).head(1)])
    if rule.name == "inside_date":
        if "expiry" in table.schema:
            return rule.table, put(expiry=DAY - timedelta(days=1))
        (stamp,) = (name for name, dtype in table.schema.items() if dtype == TIMESTAMP)
        return rule.table, put(**{stamp: col(stamp) - timedelta(days=1)})
    if rule.name == "traced_to_held_file":
        return rule.table, put(source_sha256="cd" * 32)
    return None


def damaged(good: Inputs, rule: Rule) -> Inputs:
    if rule.name == "is_session":
        return Inputs(good.tables, good.sessions - {DAY})
    table, damage = _generic(rule) or DAMAGES[rule.full_name]
    return Inputs({**good.tables, table: damage(good.frame(table))}, good.sessions)


@pytest.mark.parametrize("rule", CLOSE_RULES, ids=lambda rule: rule.full_name)
def test_passes_a_good_day_and_fails_a_damaged_one(rule: Rule, good: Inputs) -> None:
    verdict = evaluate(rule, good, [DAY]).row(0, named=True)
    assert verdict["passed"] is True, verdict
    assert verdict["checked"] > 0
    verdict = evaluate(rule, damaged(good, rule), [DAY]).row(0, named=True)
    assert verdict["passed"] is False, verdict
    assert verdict["found"] > rule.threshold
    assert verdict["sample"]
    assert rule.unit in verdict["detail"]


def test_no_damage_without_a_rule() -> None:
    assert set(DAMAGES) <= {rule.full_name for rule in RULES}


def test_names_remedies_and_descriptions() -> None:
    names = [rule.full_name for rule in RULES]
    assert len(names) == len(set(names))
    for rule in RULES:
        assert rule.name.isidentifier()
        assert rule.remedy.split(":")[0].isidentifier()
        assert rule.description.endswith(".")


def test_every_table_has_rules() -> None:
    for table in set(TABLES) - {table.full_name for table in quality.RECORD}:
        assert {"declared", "unique_key"} <= {rule.name for rule in rules_for(table)}
    assert sum(len(rules_for(table)) for table in TABLES) == len(RULES)


def test_the_day_before_is_judged_apart(good: Inputs) -> None:
    """Damage to one day leaves the verdict of another alone."""
    rule = next(r for r in RULES if r.full_name == f"{OI}.balanced")
    verdict = evaluate(rule, damaged(good, rule), sorted(good.sessions))
    assert verdict.filter(~col("passed"))["trade_date"].to_list() == [DAY]


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (put(FIRST_CALL, long_share=float("nan")), "long_share is not finite"),
        (put(FIRST_CALL, long_contracts=-1), "long_contracts -1 is not"),
        (put(FIRST_CALL, participant="RETAIL"), "participant RETAIL is not"),
        (put(FIRST_CALL, segment=None), "segment null is not"),
    ],
)
def test_declared_names_the_row_and_the_fault(good: Inputs, damage: Damage, said: str) -> None:
    rule = next(r for r in RULES if r.full_name == f"{POSITIONS}.declared")
    bad = Inputs({POSITIONS: damage(good.frame(POSITIONS))}, good.sessions)
    verdict = evaluate(rule, bad, sorted(good.sessions))
    failed = verdict.filter(~col("passed"))
    assert failed["trade_date"].to_list() == [DAY]
    assert failed["found"].to_list() == [1.0]
    assert said in failed["sample"][0]
    assert "2026-07-03" in failed["sample"][0]


@pytest.mark.parametrize(
    "damage",
    [
        lambda frame: frame.drop("source"),
        lambda frame: frame.cast({"long_contracts": pl.Int32}),
        lambda frame: frame.with_columns(extra=1),
    ],
)
def test_a_frame_of_another_shape_fails_every_day(good: Inputs, damage: Damage) -> None:
    rule = next(r for r in RULES if r.full_name == f"{POSITIONS}.declared")
    bad = Inputs({POSITIONS: damage(good.frame(POSITIONS))}, good.sessions)
    assert not evaluate(rule, bad, sorted(good.sessions))["passed"].any()


def test_old_files_without_spot_or_lots_get_no_verdict(good: Inputs) -> None:
    """What the old format does not publish is not checked, and not called right either."""
    bare = good.frame(CHAIN).with_columns(
        spot=pl.lit(None, pl.Float64), lot_size=pl.lit(None, pl.Int64)
    )
    inputs = Inputs({**good.tables, CHAIN: bare}, good.sessions)
    for name in ("forward_near_spot", "spot_move_is_ordinary", "units_are_lots_times_lot"):
        rule = next(r for r in RULES if r.full_name == f"{CHAIN}.{name}")
        verdict = evaluate(rule, inputs, [DAY])
        assert verdict["passed"].to_list() == [None]
        assert verdict["checked"].to_list() == [0]
