"""Premiums are complete, agree with the chain's metrics, and their paths and histories add up.

Belongs here: rules of `analytics.premium_*` at each grain and of the overlay. Does not belong
here: rules of the chain (`chain`, `minute`) and of what else is made from it (`analytics`).
"""

from __future__ import annotations

from functools import partial

import polars as pl

from optrade.quality import remedies
from optrade.quality.rules import DAY, Inputs, Rule, counted, largest, missing, own_error, words
from optrade.tables.premium import COMPARISONS, VARIANTS

CHAIN = "snapshots.chain_close"
CLOSE, MINUTE = "analytics.premium_close", "analytics.premium_minute"
OVERLAY = "analytics.premium_overlay"
METRICS = {name: name.replace("premium", "chain_metrics") for name in (CLOSE, MINUTE)}
_EXPIRY = (DAY, "underlying", "expiry")
_AT = pl.col("minute").dt.to_string("%H:%M")
_COMBINATION = words("{} {} {} {}", "underlying", "expiry_bucket", "kind", "strike_offset")
_TERM = words("{} {}", "underlying", "expiry")
_COMPARED = words("{} {} {}", _COMBINATION, "comparison", "variant")
_REASON_OF = {
    "percentile": "percentile_reason",
    "price_efficiency": "efficiency_reason",
    "intraday_volatility": "volatility_reason",
}
_STATISTICS = tuple(
    f"{point}_{measure}"
    for measure in ("premium", "pct")
    for point in ("lower_quartile", "median", "upper_quartile")
)


def _unfilled(inputs: Inputs) -> pl.DataFrame:
    """Buckets that an expiry of the chain fills and that have no premium."""
    filled = inputs.frame(CHAIN).filter(
        pl.col("expiry_bucket").is_not_null() & pl.col("atm_strike").is_not_null()
    )
    key = (DAY, "underlying", "expiry_bucket")
    buckets = filled.select(key).unique().sort(key)
    return missing(inputs.frame(CLOSE), buckets, words("{} {}", "underlying", "expiry_bucket"))


def _cheap(inputs: Inputs) -> pl.DataFrame:
    """A straddle pays |forward - strike| at least; what it falls short by, in percent of it."""
    forwards = (
        inputs.frame(CHAIN)
        .group_by(_EXPIRY)
        .agg(pl.col("forward", "discount_factor").drop_nulls().first())
    )
    straddles = (
        inputs.frame(CLOSE)
        .filter(pl.col("kind") == "straddle")
        .join(forwards, on=_EXPIRY, maintain_order="left")
    )
    due = (pl.col("forward") - pl.col("call_strike")).abs() * pl.col("discount_factor")
    short = ((due - pl.col("close_premium")) / pl.col("forward") * 100).clip(lower_bound=0)
    text = words("{} {}: {}", _TERM, "call_strike", "close_premium")
    return largest(straddles, short, text)


def _straddle_disagrees(inputs: Inputs, table: str) -> pl.DataFrame:
    key = _EXPIRY if table == CLOSE else (*_EXPIRY, "minute")
    at_money = inputs.frame(table).filter(
        (pl.col("kind") == "straddle") & (pl.col("strike_offset") == 0)
    )
    stated = inputs.frame(METRICS[table]).select(*key, "atm_straddle")
    rows = at_money.join(stated, on=key, maintain_order="left")
    close, straddle = pl.col("close_premium"), pl.col("atm_straddle")
    same = close.eq_missing(straddle) | ((close - straddle).abs() < 0.001).fill_null(value=False)
    return counted(rows, ~same, words("{}: {} against {}", _TERM, close, straddle))


def _unexplained(inputs: Inputs, table: str) -> pl.DataFrame:
    bad = pl.any_horizontal(
        pl.col(figure).is_null() != pl.col(reason).is_not_null()
        for figure, reason in _REASON_OF.items()
    )
    return counted(inputs.frame(table), bad, _COMBINATION)


def _path_off(inputs: Inputs) -> pl.DataFrame:
    net, path = pl.col("net_move").abs(), pl.col("path_length")
    n, efficiency = pl.col("moves_n"), pl.col("price_efficiency")
    right = (
        (net <= path)
        & (pl.col("realised_variance").is_null() == (n == 0))
        & (efficiency.is_null() | ((efficiency * path - net).abs() < 1e-6))
    )
    text = words("{} {}: {} of {}", _AT, _COMBINATION, "net_move", "path_length")
    return counted(inputs.frame(MINUTE), ~right.fill_null(n == 0), text)


def _overlay_unexplained(inputs: Inputs) -> pl.DataFrame:
    figures = (*_STATISTICS, "premium", "premium_pct")
    some_null = pl.any_horizontal(pl.col(name).is_null() for name in figures)
    return counted(inputs.frame(OVERLAY), some_null != pl.col("reason").is_not_null(), _COMPARED)


def _unordered(inputs: Inputs) -> pl.DataFrame:
    ordered = pl.all_horizontal(
        (pl.col(f"lower_quartile_{m}") <= pl.col(f"median_{m}"))
        & (pl.col(f"median_{m}") <= pl.col(f"upper_quartile_{m}"))
        for m in ("premium", "pct")
    )
    return counted(inputs.frame(OVERLAY), ~ordered.fill_null(value=True), _COMPARED)


def _regimes_off(inputs: Inputs) -> pl.DataFrame:
    n, weekday, lot = pl.col("n"), pl.col("other_weekday_n"), pl.col("other_lot_n")
    other = n - pl.col("same_regime_n")
    right = (
        (pl.max_horizontal(weekday, lot) <= other)
        & (other <= weekday + lot)
        & (other <= n)
        & (pl.col("crosses_regime") == (other > 0))
        & (pl.col("regime_change").is_not_null() == (other > 0))
    )
    text = words("{}: {} of {}", _COMPARED, "same_regime_n", "n")
    return counted(inputs.frame(OVERLAY), ~right, text)


def _not_overlaid(inputs: Inputs) -> pl.DataFrame:
    key = (DAY, "underlying", "expiry_bucket", "kind", "strike_offset", "comparison", "variant")
    expected = (
        inputs.frame(CLOSE)
        .join(pl.DataFrame({"comparison": COMPARISONS}), how="cross")
        .join(pl.DataFrame({"variant": VARIANTS}), how="cross")
        .select(key)
        .sort(key)
    )
    at_close = inputs.frame(OVERLAY).filter(pl.col("grain") == "close")
    return missing(at_close, expected, _COMPARED)


def _overlay_disagrees(inputs: Inputs) -> pl.DataFrame:
    key = (DAY, "underlying", "expiry_bucket", "kind", "strike_offset")
    stated = inputs.frame(CLOSE).select(*key, "close_premium", "fixed_premium")
    at_close = inputs.frame(OVERLAY).filter(pl.col("grain") == "close")
    rolling = pl.col("variant") == VARIANTS[0]
    due = pl.when(rolling).then("close_premium").otherwise("fixed_premium")
    rows = at_close.join(stated, on=key, how="left", maintain_order="left")
    text = words("{}: {} against {}", _COMPARED, "premium", due)
    return counted(rows, ~pl.col("premium").eq_missing(due), text)


def _shared(table: str) -> tuple[Rule, ...]:
    """The rules that both grains have."""
    return (
        own_error(
            table,
            "agrees_with_metrics",
            f"The straddle at the money is the one in `{METRICS[table]}`.",
            "straddles that differ",
            partial(_straddle_disagrees, table=table),
            METRICS[table],
        ),
        own_error(
            table,
            "nulls_explained",
            "Percentile, efficiency and volatility are null exactly where a reason is given.",
            "rows unexplained",
            partial(_unexplained, table=table),
        ),
    )


RULES: tuple[Rule, ...] = (
    own_error(
        CLOSE,
        "buckets_covered",
        "Every bucket that an expiry of the chain fills first has its premiums.",
        "buckets missing",
        _unfilled,
        CHAIN,
    ),
    Rule(
        name="straddle_above_payoff",
        table=CLOSE,
        severity="WARN",
        blocking=False,
        description="A straddle costs at least the discounted distance of the forward from its "
        "strike, within 0.5 % of the forward (0.001 % at most on 18 real days).",
        remedy=remedies.LOOK,
        threshold=0.5,
        unit="percent short, at most",
        measure=_cheap,
        needs=(CHAIN,),
    ),
    *_shared(CLOSE),
    *_shared(MINUTE),
    own_error(
        MINUTE,
        "path_adds_up",
        "A net move is no longer than its path, and the efficiency is their ratio.",
        "paths that don't add up",
        _path_off,
        blocking=True,
    ),
    own_error(
        OVERLAY,
        "covers_premium",
        "Every premium at the close stands beside its history in every way.",
        "rows missing",
        _not_overlaid,
        CLOSE,
    ),
    own_error(
        OVERLAY,
        "agrees_with_premium",
        "Today's premium is the one in `analytics.premium_close`.",
        "premiums that differ",
        _overlay_disagrees,
        CLOSE,
    ),
    own_error(
        OVERLAY,
        "quartiles_ordered",
        "The lower quartile is not above the median, nor that above the upper quartile.",
        "histories out of order",
        _unordered,
        blocking=True,
    ),
    own_error(
        OVERLAY,
        "regimes_add_up",
        "A history that crosses a change of regime says so, and its parts add up.",
        "histories that don't add up",
        _regimes_off,
        blocking=True,
    ),
    own_error(
        OVERLAY,
        "nulls_explained",
        "A premium or a quartile is null exactly where a reason is given.",
        "rows unexplained",
        _overlay_unexplained,
    ),
)
