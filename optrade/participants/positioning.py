"""Which way a participant class leans: a published rule with a version.

Belongs here: the rule, its thresholds and its version. Does not belong here: the rule's inputs
(`activity`), or what the label was worth (`optrade.signals.scorecard`).
"""

from __future__ import annotations

from typing import Final

import polars as pl

RULE: Final = "positioning-1"
"""Changes whenever a threshold, an input or the count of votes does."""
FUTURE_SHARE: Final = (0.45, 0.55)
OPTION_LEAN: Final = (-0.05, 0.05)
TRADED_LEAN: Final = (-0.01, 0.01)
"""Up to the first a figure votes -1, from the second on 1, between them 0."""
DECISIVE: Final = 2
"""How many votes more on one side than on the other decide."""
_VOTERS: Final = {
    "future_long_share": FUTURE_SHARE,
    "option_lean": OPTION_LEAN,
    "traded_lean": TRADED_LEAN,
}


def positioning() -> pl.Expr:
    """BULLISH, BEARISH or NEUTRAL by `RULE`, from the columns of `participants.activity`.

    Null where one of the three figures is.
    """
    votes = pl.sum_horizontal(
        (pl.col(name) >= high).cast(pl.Int64) - (pl.col(name) <= low).cast(pl.Int64)
        for name, (low, high) in _VOTERS.items()
    )
    known = pl.all_horizontal(pl.col(name).is_not_null() for name in _VOTERS)
    return (
        pl.when(known & (votes >= DECISIVE))
        .then(pl.lit("BULLISH"))
        .when(known & (votes <= -DECISIVE))
        .then(pl.lit("BEARISH"))
        .when(known)
        .then(pl.lit("NEUTRAL"))
    )
