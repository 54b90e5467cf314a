"""Volatility of a whole underlying: India VIX rebuilt, and what was implied against what came.

Belongs here: the index formula, realised volatility, and a day's volatility against its own past.
Does not belong here: one option's or expiry's volatility (`optrade.pricing`, `optrade.chain`), the
surface, anything that reads or stores.
"""

from __future__ import annotations

from optrade.volatility.history import CLOSE_SESSIONS, LOOKBACK_SESSIONS, volatility_history
from optrade.volatility.vix_replica import vix_replica

__all__ = ["CLOSE_SESSIONS", "LOOKBACK_SESSIONS", "vix_replica", "volatility_history"]
