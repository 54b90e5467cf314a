"""What the figures together say of the index, and what that was worth so far.

Belongs here: the composite of several tables' figures, the labels of every table, and their
out-of-sample record. Does not belong here: the figures themselves (their own rooms).
"""

from __future__ import annotations

from optrade.signals.labels import LookAhead, labels
from optrade.signals.scorecard import RECORD_SESSIONS, scorecard
from optrade.signals.sentiment import sentiment

__all__ = ["RECORD_SESSIONS", "LookAhead", "labels", "scorecard", "sentiment"]
