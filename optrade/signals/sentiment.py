"""One reading of the market from several: parts, weights and score in one row.

Belongs here: the parts, their weights and the version of both. Does not belong here: the
figures the parts are taken from, or whether the reading was ever right (`scorecard`).
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import date
from functools import reduce
from typing import Final

import polars as pl

from optrade.division import quotient
from optrade.history import against_past
from optrade.tables.signals import PARTS, SENTIMENT

RULE: Final = "sentiment-1"
"""Changes whenever a part, a weight or a bound does."""
UNDERLYING: Final = "NIFTY"
FULL: Final = 2.0
"""Standard deviations at which a part counts fully."""
DECISIVE: Final = 0.25
"""From this score on the reading is BULLISH, from its negative down BEARISH."""
WEIGHTS: Final = {
    "put_call_ratio": 1 / 6,
    "india_vix": -1 / 6,
    "future_long_share": 1 / 6,
    "smart_money_direction": 1 / 6,
    "crowd_vs_smart_gap": -1 / 6,
    "premium_flow_rupees": 1 / 6,
}
"""Equal, since nothing shows that one is worth more; negative where more is bearish."""


def sentiment(
    dates: Collection[date],
    sessions: Collection[date],
    *,
    chain_metrics: pl.DataFrame,
    index_close: pl.DataFrame,
    activity: pl.DataFrame,
    cross: pl.DataFrame,
    premium_flow: pl.DataFrame,
) -> pl.DataFrame:
    """Return the `analytics.sentiment` rows of those `dates` that have any part.

    The frames hold rows of `analytics.chain_metrics_close`, `raw.index_close`,
    `participants.activity`, `participants.cross` and `participants.premium_flow` of the dates
    and of their history; `sessions` the calendar's trading days over the same span. Each part is
    measured `against_past`; where one is not, the score is null: the weights are never spread
    over the others.

    Raises `ValueError` when a date with a part is not one of the `sessions`.
    """
    parts = _parts(chain_metrics, index_close, activity, cross, premium_flow)
    measured = against_past(parts.drop("source"), dates, sessions, by=["part"])
    sources = parts.group_by("trade_date").agg(pl.col("source").drop_nulls().first())
    wide = sources.join(measured.select("trade_date").unique(), on="trade_date")
    for part, weight in WEIGHTS.items():
        own = measured.filter(pl.col("part") == part).select(
            "trade_date",
            pl.col("value").alias(part),
            pl.col("standardised").alias(f"{part}_standardised"),
            pl.col("history_n").alias(f"{part}_history_n"),
            pl.col("reason").alias(f"{part}_reason"),
        )
        wide = wide.join(own, on="trade_date", how="left").with_columns(
            pl.col(f"{part}_history_n").fill_null(0),
            pl.col(f"{part}_reason").fill_null(
                pl.when(pl.col(part).is_null()).then(pl.lit("no_value"))
            ),
            pl.lit(weight).alias(f"{part}_weight"),
        )
    return SENTIMENT.conform(_scored(wide))


def _parts(
    chain_metrics: pl.DataFrame,
    index_close: pl.DataFrame,
    activity: pl.DataFrame,
    cross: pl.DataFrame,
    premium_flow: pl.DataFrame,
) -> pl.DataFrame:
    """Every part of every day: frame[trade_date, part, value, source]."""
    fii = pl.col("participant") == "FII"
    mid = pl.col("net_premium_flow_mid_rupees")
    calls = mid.filter(pl.col("segment") == "index_call").first()
    puts = mid.filter(pl.col("segment") == "index_put").first()
    taken = {
        "put_call_ratio": chain_metrics.filter(pl.col("underlying") == UNDERLYING)
        .group_by("trade_date")
        .agg(value=pl.col("underlying_pcr_oi").first(), source=pl.col("source").first()),
        "india_vix": index_close.filter(pl.col("index_name") == "India VIX").select(
            "trade_date", "source", value="close"
        ),
        "future_long_share": activity.filter(fii).select(
            "trade_date", "source", value="future_long_share"
        ),
        "smart_money_direction": cross.select("trade_date", "source", value="fii_lean"),
        "crowd_vs_smart_gap": cross.select("trade_date", "source", value="crowd_vs_smart_gap"),
        "premium_flow_rupees": premium_flow.filter(fii)
        .group_by("trade_date")
        .agg(value=calls - puts, source=pl.col("source").first()),
    }
    return pl.concat(
        taken[part].select("trade_date", "value", "source", part=pl.lit(part)) for part in PARTS
    )


def full_score() -> pl.Expr:
    """The score of a row of `analytics.sentiment`; null where a part is not measured."""
    counts = [
        pl.col(f"{part}_weight")
        * quotient(pl.col(f"{part}_standardised"), FULL).clip(lower_bound=-1, upper_bound=1)
        for part in PARTS
    ]
    return reduce(lambda total, part: total + part, counts).clip(lower_bound=-1, upper_bound=1)


def label_of(score: pl.Expr) -> pl.Expr:
    """BULLISH, BEARISH or NEUTRAL; null where the score is."""
    return (
        pl.when(score >= DECISIVE)
        .then(pl.lit("BULLISH"))
        .when(score <= -DECISIVE)
        .then(pl.lit("BEARISH"))
        .when(score.is_not_null())
        .then(pl.lit("NEUTRAL"))
    )


def _scored(wide: pl.DataFrame) -> pl.DataFrame:
    reasons = [pl.col(f"{part}_reason") for part in PARTS]

    def any_of(word: str) -> pl.Expr:
        return pl.any_horizontal(reason == word for reason in reasons)

    unmeasured = [
        pl.when(pl.col(f"{part}_reason").is_not_null()).then(pl.lit(part)) for part in PARTS
    ]
    return wide.with_columns(score=full_score()).with_columns(
        underlying=pl.lit(UNDERLYING),
        rule=pl.lit(RULE),
        label=label_of(pl.col("score")),
        missing_parts=pl.when(pl.col("score").is_null()).then(
            pl.concat_str(unmeasured, separator=", ", ignore_nulls=True)
        ),
        reason=pl.when(any_of("no_value"))
        .then(pl.lit("part_missing"))
        .when(any_of("too_few_days"))
        .then(pl.lit("too_few_days"))
        .when(any_of("no_variation"))
        .then(pl.lit("no_variation")),
    )
