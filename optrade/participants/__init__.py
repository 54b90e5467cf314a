"""Who holds and trades what: positions, activity, premium, leans and the ledger of the classes.

Belongs here: pure functions from the participant files' frames to the `participants` tables.
Does not belong here: reading files (`optrade.formats`), verdicts (`optrade.quality`), or any
figure per index or intraday, which the exchange does not publish.
"""

from __future__ import annotations

from optrade.participants.activity import activity
from optrade.participants.cross import cross
from optrade.participants.identities import fii_disagreements, unbalanced
from optrade.participants.ledger import expiring_segments, expiry_flags, ledger
from optrade.participants.positions import positions
from optrade.participants.premium_flow import premium_flow

__all__ = [
    "activity",
    "cross",
    "expiring_segments",
    "expiry_flags",
    "fii_disagreements",
    "ledger",
    "positions",
    "premium_flow",
    "unbalanced",
]
