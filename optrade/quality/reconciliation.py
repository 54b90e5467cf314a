"""The evening's verdict on the collected chain: it agrees with what the exchange published.

Belongs here: rules of `quality.reconciliation`. Does not belong here: the comparison and its
tolerances (`reconcile`).
"""

from __future__ import annotations

from functools import partial
from typing import Literal

import polars as pl

from optrade.quality import remedies
from optrade.quality.rules import Inputs, Rule, counted, words

TABLE = "quality.reconciliation"
_TEXT = words(
    "{} {} {}: {} of {} agree, {}", "underlying", "expiry", "field", "within", "compared", "sample"
)


def _caused(inputs: Inputs, causes: tuple[str, ...]) -> pl.DataFrame:
    wrong = pl.col("cause").is_in(causes).fill_null(value=False)
    return counted(inputs.frame(TABLE), wrong, _TEXT)


def _rule(
    name: str, severity: Literal["ERROR", "WARN"], description: str, remedy: str, *causes: str
) -> Rule:
    return Rule(
        name=name,
        table=TABLE,
        severity=severity,
        blocking=False,
        description=description,
        remedy=remedy,
        threshold=0,
        unit="figures of an expiry",
        measure=partial(_caused, causes=causes),
    )


RULES: tuple[Rule, ...] = (
    _rule(
        "units_agree",
        "ERROR",
        "No figure is in lots on one side and in units on the other.",
        remedies.MEANING,
        "units_lots",
    ),
    _rule(
        "sides_agree",
        "ERROR",
        "Calls and puts are not interchanged.",
        remedies.MEANING,
        "sides_swapped",
    ),
    _rule(
        "strikes_agree",
        "ERROR",
        "Between the lowest and highest collected strike both sides have the same contracts.",
        remedies.CONTRACTS,
        "missing_strikes",
        "extra_strikes",
    ),
    _rule(
        "minutes_reach_close",
        "WARN",
        "Where figures differ, it is not because the minutes end before the close.",
        remedies.FEED,
        "ended_early",
    ),
    _rule(
        "figures_agree",
        "WARN",
        "Of an expiry, nine figures in ten are within their tolerance of the exchange's, and "
        "every previous open interest and lot size is the same.",
        remedies.MEANING,
        "unexplained",
    ),
)
