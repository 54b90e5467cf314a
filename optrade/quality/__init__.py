"""Rules every table is held to, each with a threshold, a sample and a named remedy.

Belongs here: pure checks of frames, judged over many days at once. Does not belong here:
running them, storing verdicts, or carrying remedies out.
"""

from __future__ import annotations

from optrade.quality import (
    analytics,
    bhavcopy,
    bounds,
    calendar,
    candles,
    chain,
    estimates,
    exposure,
    fii_stats,
    files,
    index_close,
    minute,
    participants,
    premium,
    prices,
    reconciliation,
    signals,
    surface,
    ticks,
    volatility,
)
from optrade.quality.rules import Inputs, Rule, evaluate

RULES: tuple[Rule, ...] = (
    *bounds.RULES,
    *calendar.RULES,
    *files.RULES,
    *bhavcopy.RULES,
    *index_close.RULES,
    *fii_stats.RULES,
    *participants.RULES,
    *estimates.RULES,
    *chain.RULES,
    *prices.RULES,
    *analytics.RULES,
    *premium.RULES,
    *surface.RULES,
    *exposure.RULES,
    *volatility.RULES,
    *signals.RULES,
    *ticks.RULES,
    *minute.RULES,
    *candles.RULES,
    *reconciliation.RULES,
)
"""Every rule, family by family."""


def rules_for(table: str) -> tuple[Rule, ...]:
    """Return the rules of one table, by its full name."""
    return tuple(rule for rule in RULES if rule.table == table)


__all__ = ["RULES", "Inputs", "Rule", "evaluate", "rules_for"]
