"""Declared schema of the evening's reconciliation: our last minute beside the exchange's close.

Belongs here: how far the collected chain and the published one agree. Does not belong here: holes
of the ticks (see `quality`), the comparison (`optrade.quality.reconcile`).
"""

from __future__ import annotations

from optrade.tables.common import (
    EXPIRY,
    SOURCE,
    TRADE_DATE,
    UNDERLYING,
    count,
    real,
    stamp,
    word,
)
from optrade.tables.schema import Table

FIELDS = ("oi", "volume", "price", "previous_oi", "lot_size", "strikes")
CAUSES = (
    "units_lots",
    "sides_swapped",
    "missing_strikes",
    "extra_strikes",
    "ended_early",
    "unexplained",
)

RECONCILIATION = Table(
    group="quality",
    name="reconciliation",
    row="one figure of one expiry: the last collected minute held against the exchange's close",
    method=(
        "Contract by contract, `snapshots.chain_minute` of the day's last minute against "
        "`snapshots.chain_close`. Days without minutes have no row."
    ),
    columns=(
        TRADE_DATE,
        UNDERLYING,
        EXPIRY,
        word("field", "What is compared", *FIELDS),
        stamp("last_minute", "Start of the last collected minute"),
        count("compared", "Contracts (strikes) with the figure on both sides", "contracts"),
        count("within", "Of these, within the tolerance", "contracts"),
        real(
            "worst_difference",
            "Largest difference, ours less the exchange's: units, rupees; null for strikes and "
            "where nothing is compared",
        ),
        word(
            "cause",
            "Why too few agree: a factor of the lot size, calls and puts interchanged, strikes "
            "that one side lacks, minutes that end before the close, or none of these; null where "
            "enough agree",
            *CAUSES,
            nullable=True,
        ),
        word("sample", "The worst of what differs: ours against theirs", nullable=True),
        SOURCE,
    ),
    key=("trade_date", "underlying", "expiry", "field"),
)

TABLES = (RECONCILIATION,)
