"""The `analytics` tables of volatility over time: India VIX rebuilt, and its history.

Belongs here: wiring to `optrade.volatility`. Does not belong here: the maths.
"""

from __future__ import annotations

from datetime import date
from functools import partial

import polars as pl

from assets.building import Graph, Reads, Recipe
from optrade.calendar import TradingCalendar
from optrade.tables.analytics import CHAIN_METRICS_CLOSE
from optrade.tables.raw import FO_BHAVCOPY, INDEX_CLOSE
from optrade.tables.snapshots import CHAIN_CLOSE
from optrade.tables.volatility import VIX_REPLICA, VOLATILITY_HISTORY
from optrade.volatility import CLOSE_SESSIONS, LOOKBACK_SESSIONS, vix_replica, volatility_history

Dates = tuple[date, ...]
_OPTIONS = (
    *("trade_date", "underlying", "expiry", "strike", "option_type", "close_price", "trades"),
    *("forward", "forward_basis", "years_to_expiry", "source"),
)
_FUTURES = ("trade_date", "underlying", "instrument_type", "expiry", "close", "volume_lots")
_EXPIRIES = (
    *("trade_date", "underlying", "expiry", "years_to_expiry", "atm_iv", "spot", "forward"),
    *("expected_move_straddle", "expected_move_iv", "source"),
)
_BARS = ("trade_date", "index_name", "open", "high", "low", "close")


def recipes(graph: Graph, *, rate: float) -> tuple[Recipe, ...]:
    """The assets of this module; `rate` is the configured one, a year."""
    nifty = "underlying = 'NIFTY'"
    return (
        Recipe(
            VIX_REPLICA,
            partial(_vix_replica, rate),
            {
                "chain": Reads(CHAIN_CLOSE, _OPTIONS, nifty),
                "futures": Reads(FO_BHAVCOPY, _FUTURES, f"{nifty} AND instrument_type = 'FUT'"),
                "index_close": Reads(
                    INDEX_CLOSE,
                    ("trade_date", "index_name", "close"),
                    "index_name = 'India VIX'",
                ),
            },
            f"1 rate={rate:g}",
            _replica_notes,
        ),
        Recipe(
            VOLATILITY_HISTORY,
            partial(_volatility_history, graph.calendar),
            {
                "metrics": Reads(CHAIN_METRICS_CLOSE, _EXPIRIES, sessions_before=LOOKBACK_SESSIONS),
                "index_close": Reads(INDEX_CLOSE, _BARS, sessions_before=CLOSE_SESSIONS),
            },
            "1",
            _history_notes,
        ),
    )


def _vix_replica(
    rate: float,
    _dates: Dates,
    chain: pl.DataFrame,
    futures: pl.DataFrame,
    index_close: pl.DataFrame,
) -> pl.DataFrame:
    return vix_replica(chain, futures, index_close, rate)


def _volatility_history(
    calendar: TradingCalendar, dates: Dates, metrics: pl.DataFrame, index_close: pl.DataFrame
) -> pl.DataFrame:
    sessions = calendar.sessions(calendar.first, dates[-1])
    return volatility_history(metrics, index_close, dates, sessions)


def _replica_notes(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.select(
        "trade_date",
        "replica",
        "published",
        "error",
        splined_strikes=pl.col("near_splined_strikes") + pl.col("next_splined_strikes"),
    )


def _history_notes(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.filter(pl.col("underlying") == "NIFTY").select(
        "trade_date",
        "iv_rank",
        "iv_history_n",
        nifty_iv_30d="iv_30d",
        nifty_realised_20="realised_20",
        nifty_premium_ex_ante="variance_premium_ex_ante",
    )
