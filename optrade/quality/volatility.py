"""Volatility over time: follows from its parts, says why it is null, and stays plausible.

Belongs here: rules of `analytics.vix_replica` and `analytics.volatility_history`. Does not belong
here: rules of one expiry's volatility (`analytics`).
"""

from __future__ import annotations

from functools import partial

import polars as pl

from optrade.quality import remedies
from optrade.quality.rules import DAY, Inputs, Rule, counted, largest, missing, words
from optrade.tables.volatility import REALISED_WINDOWS
from optrade.volatility.expected_move import ENOUGH_EXPIRIES
from optrade.volatility.history import RANK_MINIMUM
from optrade.volatility.vix_formula import MINUTES_OF_INDEX

REPLICA, HISTORY = "analytics.vix_replica", "analytics.volatility_history"
CHAIN, METRICS, INDEX_CLOSE = (
    "snapshots.chain_close",
    "analytics.chain_metrics_close",
    "raw.index_close",
)
_ROUNDING = 1e-9
_OF = words("{} {}", DAY, "underlying")


def _uncovered(inputs: Inputs, table: str, source: str) -> pl.DataFrame:
    """Underlyings of the source without a row; the replica is of NIFTY only."""
    expected = inputs.frame(source).select(DAY, "underlying").unique().sort(DAY, "underlying")
    if table == REPLICA:
        expected = expected.filter(pl.col("underlying") == "NIFTY")
    return missing(inputs.frame(table), expected, _OF)


def _replica_off(inputs: Inputs) -> pl.DataFrame:
    """How far the index is from what the two variances in the row make of it."""
    weight = pl.col("near_weight")
    total = weight * pl.col("near_variance") * pl.col("near_minutes") + (1 - weight) * pl.col(
        "next_variance"
    ) * pl.col("next_minutes")
    off = (pl.col("replica") - (total / MINUTES_OF_INDEX).sqrt() * 100).abs()
    return largest(inputs.frame(REPLICA), off, words("{}: {}", DAY, "replica"))


def _published_off(inputs: Inputs) -> pl.DataFrame:
    """Published closes that are not the exchange's, and errors that are not the difference."""
    vix = inputs.frame(INDEX_CLOSE).filter(pl.col("index_name") == "India VIX")
    rows = inputs.frame(REPLICA).join(
        vix.select(DAY, close="close"), on=DAY, how="left", maintain_order="left"
    )
    published, error = pl.col("published"), pl.col("error")
    stated = (error - (pl.col("replica") - published)).abs() <= _ROUNDING
    bad = published.ne_missing(pl.col("close")) | ~stated.fill_null(value=True)
    return counted(rows, bad, words("{}: {}, error {}", DAY, "published", "error"))


def _unexplained(inputs: Inputs, table: str, pairs: dict[str, str]) -> pl.DataFrame:
    wrong = [
        pl.col(figure).is_null() != pl.col(reason).is_not_null() for figure, reason in pairs.items()
    ]
    return counted(inputs.frame(table), pl.any_horizontal(wrong), _OF)


def _error_pct(inputs: Inputs) -> pl.DataFrame:
    off = pl.col("error").abs() / pl.col("published") * 100
    text = words("{}: {} against {}", DAY, pl.col("replica").round(4), "published")
    return largest(inputs.frame(REPLICA), off, text)


def _iv_outside(inputs: Inputs) -> pl.DataFrame:
    """30-day volatility outside the two it is taken from, between which it is an average."""
    near, following, iv = (pl.col(f"iv_30d{end}") for end in ("_near", "_next", ""))
    least, most = pl.min_horizontal(near, following), pl.max_horizontal(near, following)
    bad = ~iv.is_between(least - _ROUNDING, most + _ROUNDING)
    return counted(inputs.frame(HISTORY), bad, words("{}: {}", _OF, "iv_30d"))


def _premium_off(inputs: Inputs) -> pl.DataFrame:
    """How far the premiums are from the volatilities in the row."""
    realised = pl.col("realised_since_then") ** 2
    ante = pl.col("variance_premium_ex_ante") - (pl.col("iv_30d") ** 2 - realised)
    post = pl.col("variance_premium_ex_post") - (pl.col("iv_30d_then") ** 2 - realised)
    off = pl.max_horizontal(ante.abs(), post.abs())
    return largest(inputs.frame(HISTORY), off, words("{}: off by {}", _OF, off))


def _too_few(inputs: Inputs) -> pl.DataFrame:
    """Ranks, shares and windows given over fewer days or expiries than they need."""
    ranked = pl.any_horizontal(pl.col("iv_rank", "iv_percentile").is_not_null())
    bad = [ranked & (pl.col("iv_history_n") < RANK_MINIMUM)]
    bad += [
        pl.col(f"inside_{move}_share").is_not_null()
        != (pl.col(f"inside_{move}_n") >= ENOUGH_EXPIRIES)
        for move in ("straddle", "iv")
    ]
    bad += [
        pl.col(f"realised_{window}").is_not_null() != (pl.col("realised_n") >= window)
        for window in REALISED_WINDOWS
    ]
    return counted(inputs.frame(HISTORY), pl.any_horizontal(bad), _OF)


def _ahead(inputs: Inputs) -> pl.DataFrame:
    """Windows that do not begin 30 days or more before, and expiries that are over."""
    days = (pl.col(DAY) - pl.col("window_start")).dt.total_days()
    bad = (days < 30) | (pl.col("nearest_expiry") < pl.col(DAY)).fill_null(value=False)
    text = words("{}: since {}, to {}", _OF, "window_start", "nearest_expiry")
    return counted(inputs.frame(HISTORY), bad, text)


def _implausible(inputs: Inputs) -> pl.DataFrame:
    figures = ("iv_30d", "realised_10", "realised_20", "realised_30", "realised_since_then")
    inside = [pl.col(name).is_between(0.01, 1.5).fill_null(value=True) for name in figures]
    bad = ~pl.all_horizontal(inside)
    text = words("{}: implied {}, realised {}", _OF, "iv_30d", "realised_20")
    return counted(inputs.frame(HISTORY), bad, text)


def _covers(table: str, source: str) -> Rule:
    return Rule(
        name="covers_underlyings",
        table=table,
        severity="ERROR",
        blocking=True,
        description=f"Every underlying it is made for has its row where `{source}` has any.",
        remedy=remedies.REBUILD,
        threshold=0,
        unit="rows missing",
        measure=partial(_uncovered, table=table, source=source),
        needs=(source,),
    )


def _explained(table: str, pairs: dict[str, str]) -> Rule:
    said = ", ".join(f"`{figure}`" for figure in pairs)
    return Rule(
        name="nulls_explained",
        table=table,
        severity="ERROR",
        blocking=False,
        description=f"Null exactly where a reason is given: {said}.",
        remedy=remedies.REBUILD,
        threshold=0,
        unit="rows unexplained",
        measure=partial(_unexplained, table=table, pairs=pairs),
    )


RULES: tuple[Rule, ...] = (
    _covers(REPLICA, CHAIN),
    Rule(
        name="follows_from_variances",
        table=REPLICA,
        severity="ERROR",
        blocking=True,
        description="The index is what the two variances and their minutes make of it.",
        remedy=remedies.REBUILD,
        threshold=_ROUNDING,
        unit="points off",
        measure=_replica_off,
    ),
    Rule(
        name="published_is_the_index_close",
        table=REPLICA,
        severity="ERROR",
        blocking=False,
        description="`published` is India VIX in `raw.index_close`, `error` the difference to it.",
        remedy=remedies.REBUILD,
        threshold=0,
        unit="rows that differ",
        measure=_published_off,
        needs=(INDEX_CLOSE,),
    ),
    _explained(REPLICA, {"error": "reason"}),
    Rule(
        name="error_is_ordinary",
        table=REPLICA,
        severity="WARN",
        blocking=False,
        description="The replica is within 1 % of the published close (0.29 % at most on 6 real "
        "days that have both).",
        remedy=remedies.LOOK,
        threshold=1.0,
        unit="percent of the published close, at most",
        measure=_error_pct,
    ),
    _covers(HISTORY, METRICS),
    _explained(
        HISTORY,
        {
            "iv_30d": "iv_30d_reason",
            "iv_rank": "iv_rank_reason",
            "variance_premium_ex_ante": "ex_ante_reason",
            "variance_premium_ex_post": "ex_post_reason",
        },
    ),
    Rule(
        name="iv_between_expiries",
        table=HISTORY,
        severity="ERROR",
        blocking=True,
        description="30-day volatility lies between those of the two expiries it is taken from.",
        remedy=remedies.REBUILD,
        threshold=0,
        unit="volatilities outside",
        measure=_iv_outside,
    ),
    Rule(
        name="premiums_follow_from_volatilities",
        table=HISTORY,
        severity="ERROR",
        blocking=True,
        description="Both premiums are the difference of the squared volatilities in the row.",
        remedy=remedies.REBUILD,
        threshold=_ROUNDING,
        unit="variance a year off",
        measure=_premium_off,
    ),
    Rule(
        name="enough_behind_each_figure",
        table=HISTORY,
        severity="ERROR",
        blocking=True,
        description="A rank has 60 days behind it, a share 10 expiries, realised volatility every "
        "session of its window; where they have, the shares and realised volatilities are given.",
        remedy=remedies.REBUILD,
        threshold=0,
        unit="rows with too little",
        measure=_too_few,
    ),
    Rule(
        name="nothing_looks_ahead",
        table=HISTORY,
        severity="ERROR",
        blocking=True,
        description="Realised variance begins 30 days before or earlier, and the nearest expiry is "
        "not over.",
        remedy=remedies.REBUILD,
        threshold=0,
        unit="rows out of time",
        measure=_ahead,
    ),
    Rule(
        name="volatility_plausible",
        table=HISTORY,
        severity="WARN",
        blocking=False,
        description="30-day implied and realised volatilities are between 1 % and 150 % a year.",
        remedy=remedies.LOOK,
        threshold=0,
        unit="rows out of the band",
        measure=_implausible,
    ),
)
