"""The `analytics` tables that judge: the sentiment, and the record of every label.

Belongs here: wiring to `optrade.signals`. Does not belong here: the maths.
"""

from __future__ import annotations

from datetime import date
from functools import partial

import polars as pl

from assets.building import Graph, Reads, Recipe
from assets.snapshots import session_closes
from optrade.calendar import TradingCalendar
from optrade.history import HISTORY_SESSIONS
from optrade.signals import RECORD_SESSIONS, labels, scorecard, sentiment
from optrade.signals.sentiment import RULE
from optrade.tables.analytics import CHAIN_METRICS_CLOSE
from optrade.tables.participants import ACTIVITY, CROSS, PREMIUM_FLOW
from optrade.tables.raw import INDEX_CLOSE
from optrade.tables.schema import Table
from optrade.tables.signals import SCORECARD, SENTIMENT

Dates = tuple[date, ...]


def recipes(graph: Graph) -> tuple[Recipe, ...]:
    """The assets of this module."""

    def past(table: Table, *columns: str, where: str | None = None) -> Reads:
        return Reads(table, ("trade_date", *columns, "source"), where, HISTORY_SESSIONS)

    def record(table: Table, *columns: str, where: str | None = None) -> Reads:
        return Reads(table, ("trade_date", *columns, "source"), where, RECORD_SESSIONS)

    return (
        Recipe(
            SENTIMENT,
            partial(_sentiment, graph.calendar),
            {
                "chain_metrics": past(
                    CHAIN_METRICS_CLOSE,
                    *("underlying", "underlying_pcr_oi"),
                    where="underlying = 'NIFTY'",
                ),
                "index_close": past(
                    INDEX_CLOSE, "index_name", "close", where="index_name = 'India VIX'"
                ),
                "activity": past(ACTIVITY, "participant", "future_long_share"),
                "cross": past(CROSS, "fii_lean", "crowd_vs_smart_gap"),
                "premium_flow": past(
                    PREMIUM_FLOW, "participant", "segment", "net_premium_flow_mid_rupees"
                ),
            },
            RULE,
            _sentiment_notes,
        ),
        Recipe(
            SCORECARD,
            partial(_scorecard, graph.calendar),
            {
                "activity": record(ACTIVITY, "participant", "positioning", "positioning_rule"),
                "cross": record(CROSS, "smart_money_direction", "crowd_vs_smart_divergence"),
                "sentiment": record(SENTIMENT, "label", "rule"),
                "index_close": record(
                    INDEX_CLOSE, "index_name", "close", where="index_name = 'Nifty 50'"
                ),
            },
            "1",
            _scorecard_notes,
        ),
    )


def _sessions(calendar: TradingCalendar, dates: Dates, *frames: pl.DataFrame) -> list[date]:
    """The trading days from the oldest row held to the last date."""
    held = [day for frame in frames for day in frame["trade_date"].unique()]
    return calendar.sessions(min([dates[0], *held]), dates[-1])


def _sentiment(calendar: TradingCalendar, dates: Dates, **frames: pl.DataFrame) -> pl.DataFrame:
    return sentiment(dates, _sessions(calendar, dates, *frames.values()), **frames)


def _scorecard(
    calendar: TradingCalendar,
    dates: Dates,
    activity: pl.DataFrame,
    cross: pl.DataFrame,
    sentiment: pl.DataFrame,
    index_close: pl.DataFrame,
) -> pl.DataFrame:
    sessions = _sessions(calendar, dates, activity, cross, sentiment, index_close)
    closes = session_closes(calendar, tuple(sessions))
    return scorecard(labels(activity, cross, sentiment), index_close, dates, sessions, closes)


def _sentiment_notes(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.select("trade_date", "score", "put_call_ratio", "future_long_share")


def _scorecard_notes(rows: pl.DataFrame) -> pl.DataFrame:
    verdict = pl.col("verdict")
    return rows.group_by("trade_date").agg(
        tests=pl.col("p_value").count(),
        edges_shown=(verdict == "edge_shown").sum(),
        contrary_shown=(verdict == "contrary_shown").sum(),
        longest_record=pl.col("all_n").max(),
    )
