"""Fitted smiles cover the chain, lie near their quotes and have no arbitrage.

Belongs here: rules of `analytics.surface_*` and `analytics.surface_points_*`, the same at both
grains. Does not belong here: rules of the volatilities they are fitted to (`analytics`, `minute`).
"""

from __future__ import annotations

from functools import partial

import polars as pl

from optrade.quality import remedies
from optrade.quality.rules import DAY, Inputs, Rule, counted, largest, missing, own_error, words

SHORTEST_DAYS = 3
"""Nearer to expiry half a tick far from the money is worth volatility points."""

_TERM = words("{} {}", "underlying", "expiry")
_POINT = words("{} {} days", "underlying", "maturity_days")


def _uncovered(inputs: Inputs, table: str, chain: str, moment: tuple[str, ...]) -> pl.DataFrame:
    key = (*moment, "underlying", "expiry")
    return missing(inputs.frame(table), inputs.frame(chain).select(key).unique().sort(key), _TERM)


def _unexplained(inputs: Inputs, table: str, figure: str, text: pl.Expr) -> pl.DataFrame:
    bad = pl.col(figure).is_null() != pl.col("reason").is_not_null()
    return counted(inputs.frame(table), bad, text)


def _arbitrage(inputs: Inputs, table: str) -> pl.DataFrame:
    found = pl.col("butterfly_violations") + pl.col("calendar_violations")
    text = words("{}: {} points of {}", _TERM, found, "quotes")
    return counted(inputs.frame(table), found > 0, text)


def _far_off(inputs: Inputs, table: str) -> pl.DataFrame:
    rows = inputs.frame(table).filter(pl.col("years_to_expiry") * 365 >= SHORTEST_DAYS)
    return largest(rows, pl.col("rmse"), words("{}: rmse {}", _TERM, "rmse"))


def _rules(grain: str, moment: tuple[str, ...]) -> tuple[Rule, ...]:
    table, chain = f"analytics.surface_{grain}", f"snapshots.chain_{grain}"
    return (
        own_error(
            table,
            "covers_chain",
            "Every expiry of the chain has a row.",
            "expiries missing",
            partial(_uncovered, table=table, chain=chain, moment=moment),
            chain,
        ),
        own_error(
            table,
            "nulls_explained",
            "A slice is missing exactly where a reason is given.",
            "rows unexplained",
            partial(_unexplained, table=table, figure="a", text=_TERM),
        ),
        Rule(
            name="without_arbitrage",
            table=table,
            severity="WARN",
            blocking=False,
            description="No slice has a butterfly or lies below an earlier one (none of 228 slices "
            "on 15 real days, 11 of which were repaired).",
            remedy=remedies.LOOK,
            threshold=0,
            unit="slices with arbitrage",
            measure=partial(_arbitrage, table=table),
        ),
        Rule(
            name="near_its_quotes",
            table=table,
            severity="WARN",
            blocking=False,
            description="A slice of an expiry three days ahead or more misses its quotes by at "
            "most 4 volatility points in the mean square (0.2 in the median of 228 "
            "real slices, 3.1 in the worst of 20 simulated days).",
            remedy=remedies.LOOK,
            threshold=0.04,
            unit="volatility, at most",
            measure=partial(_far_off, table=table),
        ),
    )


def _points_explained(table: str) -> Rule:
    return own_error(
        table,
        "nulls_explained",
        "A maturity's volatility at the forward, or a point of it, is missing only "
        "where a reason is given.",
        "rows unexplained",
        partial(_unexplained, table=table, figure="risk_reversal_25", text=_POINT),
    )


RULES: tuple[Rule, ...] = (
    *_rules("close", (DAY,)),
    _points_explained("analytics.surface_points_close"),
    *_rules("minute", (DAY, "minute")),
    _points_explained("analytics.surface_points_minute"),
)
