"""What is estimated or judged of the participants: premium flow, positioning, expired inventory.

Belongs here: rules of figures that no file states. Does not belong here: rules of what the
files do state (`participants`).
"""

from __future__ import annotations

from functools import partial
from itertools import pairwise

import polars as pl

from optrade.participants.positioning import RULE, positioning
from optrade.participants.premium_flow import FIGURES
from optrade.quality import remedies
from optrade.quality.rules import DAY, Inputs, Rule, counted, largest, missing, words
from optrade.tables.common import PARTICIPANTS

FLOW, ACTIVITY = "participants.premium_flow", "participants.activity"
LEDGER = "participants.ledger"

_MID = "net_premium_flow_mid_rupees"
_WHO = words("{} {}", "participant", "segment")


def _incomplete(inputs: Inputs) -> pl.DataFrame:
    flows = inputs.frame(FLOW)
    lines = pl.DataFrame({"participant": PARTICIPANTS}).join(
        pl.DataFrame({"segment": ("index_call", "index_put", "total")}), how="cross"
    )
    return missing(flows, flows.select(DAY).unique().join(lines, how="cross"), _WHO)


def _unordered(inputs: Inputs) -> pl.DataFrame:
    """Floor, low, mid, high, ceiling never fall."""
    falls = [pl.col(lower) > pl.col(upper) for lower, upper in pairwise(FIGURES)]
    return counted(inputs.frame(FLOW), pl.any_horizontal(falls), _WHO)


def _uncancelled(inputs: Inputs) -> pl.DataFrame:
    """What the classes paid in a segment, over what one contract cost."""
    sums = (
        inputs.frame(FLOW)
        .drop_nulls("mean_premium_rupees")
        .group_by(DAY, "segment")
        .agg(pl.col(_MID).sum(), pl.col("mean_premium_rupees").first())
        .sort(DAY, "segment")
    )
    left = pl.col(_MID).abs() / pl.max_horizontal("mean_premium_rupees", 1.0)
    return largest(sums, left, words("{}: {} rupees", "segment", _MID))


def _total_off(inputs: Inputs) -> pl.DataFrame:
    total = pl.col("segment") == "total"
    sums = (
        inputs.frame(FLOW)
        .drop_nulls(_MID)
        .group_by(DAY, "participant")
        .agg(
            parts=pl.col(_MID).filter(~total).sum(),
            whole=pl.col(_MID).filter(total).sum(),
        )
        .sort(DAY, "participant")
    )
    off = pl.col("parts") != pl.col("whole")
    return counted(sums, off, words("{}: {} against {}", "participant", "whole", "parts"))


def _unexplained(
    inputs: Inputs, table: str, figure: str, reason: str, text: pl.Expr
) -> pl.DataFrame:
    """A null has a reason, and a figure has none."""
    bad = pl.col(figure).is_null() != pl.col(reason).is_not_null()
    return counted(inputs.frame(table), bad, text)


def _flows_differ(inputs: Inputs) -> pl.DataFrame:
    """Activity's premium flow is the total of `participants.premium_flow`, to the bit."""
    names = [name for name in FIGURES if name in inputs.frame(ACTIVITY).columns]
    totals = (
        inputs.frame(FLOW)
        .filter(pl.col("segment") == "total")
        .select(DAY, "participant", pl.col(names).name.suffix("_there"))
    )
    rows = inputs.frame(ACTIVITY).join(totals, on=[DAY, "participant"], maintain_order="left")
    differs = pl.any_horizontal(pl.col(n).ne_missing(pl.col(f"{n}_there")) for n in names)
    return counted(rows, differs, words("{}: {}", "participant", _MID))


def _rule_broken(inputs: Inputs) -> pl.DataFrame:
    """Positionings of today's rule that do not follow from the figures beside them."""
    rows = inputs.frame(ACTIVITY).filter(pl.col("positioning_rule") == RULE)
    wrong = pl.col("positioning").ne_missing(positioning())
    return counted(rows, wrong, words("{}: {}", "participant", "positioning"))


def _expired_uncancelled(inputs: Inputs) -> pl.DataFrame:
    unknown = (pl.col("expired_reason") == "residual_unknown").fill_null(value=False)
    sums = (
        inputs.frame(LEDGER)
        .filter(~unknown)
        .group_by(DAY, "segment")
        .agg(pl.col("expired_net_contracts").sum())
        .sort(DAY, "segment")
    )
    left = pl.col("expired_net_contracts").abs()
    return largest(sums, left, words("{}: {}", "segment", "expired_net_contracts"))


def _explained(table: str, figure: str, reason: str, text: pl.Expr) -> Rule:
    return Rule(
        name=f"{figure.removesuffix('_rupees').removesuffix('_contracts')}_explained",
        table=table,
        severity="ERROR",
        blocking=False,
        description=f"`{figure}` is null exactly where `{reason}` is given.",
        remedy=remedies.REBUILD,
        threshold=0,
        unit="rows unexplained",
        measure=partial(_unexplained, table=table, figure=figure, reason=reason, text=text),
    )


RULES: tuple[Rule, ...] = (
    Rule(
        name="complete",
        table=FLOW,
        severity="ERROR",
        blocking=True,
        description="Four participant classes for calls, puts and both: 12 rows.",
        remedy=remedies.REBUILD,
        threshold=0,
        unit="lines missing",
        measure=_incomplete,
    ),
    Rule(
        name="interval_ordered",
        table=FLOW,
        severity="ERROR",
        blocking=True,
        description="Floor, low, mid, high and ceiling come in this order.",
        remedy=remedies.REBUILD,
        threshold=0,
        unit="intervals out of order",
        measure=_unordered,
    ),
    Rule(
        name="flows_cancel",
        table=FLOW,
        severity="ERROR",
        blocking=True,
        description="What some classes paid the others received: the mid flows of a segment add "
        "up to 0, within the premium of the 2 contracts by which a file may be rounded.",
        remedy=remedies.REFETCH,
        threshold=2,
        unit="contracts' premium left over, at most",
        measure=_uncancelled,
    ),
    Rule(
        name="total_is_calls_and_puts",
        table=FLOW,
        severity="ERROR",
        blocking=True,
        description="The total's mid flow is that of calls and puts, exactly.",
        remedy=remedies.REBUILD,
        threshold=0,
        unit="classes that differ",
        measure=_total_off,
    ),
    _explained(FLOW, _MID, "reason", _WHO),
    Rule(
        name="agrees_with_premium_flow",
        table=ACTIVITY,
        severity="ERROR",
        blocking=False,
        description="The premium flow is the total of `participants.premium_flow`.",
        remedy=remedies.REBUILD,
        threshold=0,
        unit="classes that differ",
        measure=_flows_differ,
        needs=(FLOW,),
    ),
    Rule(
        name="positioning_follows_its_rule",
        table=ACTIVITY,
        severity="ERROR",
        blocking=True,
        description="The positioning is what its rule makes of the figures in the row.",
        remedy=remedies.REBUILD,
        threshold=0,
        unit="classes that differ",
        measure=_rule_broken,
    ),
    _explained(ACTIVITY, _MID, "premium_flow_reason", pl.col("participant")),
    _explained(ACTIVITY, "positioning", "positioning_reason", pl.col("participant")),
    _explained(LEDGER, "expired_net_contracts", "expired_reason", _WHO),
    Rule(
        name="expired_inventory_cancels",
        table=LEDGER,
        severity="ERROR",
        blocking=False,
        description="Over the classes the net inventory that expired adds up to 0 within 4 "
        "contracts: every long that expired had its short (2 on 6 real expiry days).",
        remedy=remedies.REFETCH,
        threshold=4,
        unit="contracts left over, at most",
        measure=_expired_uncancelled,
    ),
)
