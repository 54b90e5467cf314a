"""The `participants` group: who holds and trades what, end of day.

Belongs here: wiring to `optrade.participants`. Does not belong here: the maths.
"""

from __future__ import annotations

from datetime import date
from functools import partial

import polars as pl

from assets.building import Graph, Reads, Recipe
from optrade.calendar import TradingCalendar
from optrade.expiries import segments_expiring
from optrade.history import HISTORY_SESSIONS
from optrade.participants import (
    activity,
    cross,
    expiry_flags,
    ledger,
    positions,
    premium_flow,
)
from optrade.participants.positioning import RULE
from optrade.tables.participants import ACTIVITY, CROSS, LEDGER, POSITIONS, PREMIUM_FLOW
from optrade.tables.raw import FO_BHAVCOPY, PARTICIPANT_OI, PARTICIPANT_VOLUME
from optrade.tables.snapshots import CHAIN_CLOSE

Dates = tuple[date, ...]
_PREMIUM_COLUMNS = (
    "trade_date",
    "expiry",
    "option_type",
    "volume_lots",
    "lot_size",
    "average_price",
)
_CONTRACT_COLUMNS = ("trade_date", "underlying_class", "instrument_type", "expiry")


def recipes(graph: Graph) -> tuple[Recipe, ...]:
    """The assets of this group."""
    oi, volume = Reads(PARTICIPANT_OI), Reads(PARTICIPANT_VOLUME)
    return (
        Recipe(POSITIONS, _positions, {"participant_oi": oi}, "1", _position_notes),
        Recipe(
            PREMIUM_FLOW,
            _premium_flow,
            {"participant_volume": volume, "chain": Reads(CHAIN_CLOSE, _PREMIUM_COLUMNS)},
            "1",
            _premium_flow_notes,
        ),
        Recipe(
            ACTIVITY,
            _activity,
            {
                "participant_oi": oi,
                "participant_volume": volume,
                "premium_flow": Reads(PREMIUM_FLOW),
            },
            f"2 {RULE}",
            _activity_notes,
        ),
        Recipe(
            CROSS,
            partial(_cross, graph.calendar),
            {"positions": Reads(POSITIONS, sessions_before=HISTORY_SESSIONS)},
            "1",
            _cross_notes,
        ),
        Recipe(
            LEDGER,
            partial(_ledger, graph.calendar),
            {
                "participant_oi": Reads(PARTICIPANT_OI, sessions_before=1),
                "participant_volume": volume,
                "contracts": Reads(FO_BHAVCOPY, columns=_CONTRACT_COLUMNS),
            },
            "2",
            _ledger_notes,
        ),
    )


def _positions(_dates: Dates, participant_oi: pl.DataFrame) -> pl.DataFrame:
    return positions(participant_oi)


def _premium_flow(
    _dates: Dates, participant_volume: pl.DataFrame, chain: pl.DataFrame
) -> pl.DataFrame:
    return premium_flow(participant_volume, chain)


def _activity(
    _dates: Dates,
    participant_oi: pl.DataFrame,
    participant_volume: pl.DataFrame,
    premium_flow: pl.DataFrame,
) -> pl.DataFrame:
    return activity(participant_oi, participant_volume, premium_flow)


def _cross(calendar: TradingCalendar, dates: Dates, positions: pl.DataFrame) -> pl.DataFrame:
    start = min([dates[0], *positions["trade_date"].unique()])
    return cross(positions, dates, calendar.sessions(start, dates[-1]))


def _ledger(
    calendar: TradingCalendar,
    dates: Dates,
    participant_oi: pl.DataFrame,
    participant_volume: pl.DataFrame,
    contracts: pl.DataFrame,
) -> pl.DataFrame:
    known = [d for d in dates if d > calendar.first]
    days = pl.DataFrame(
        {"trade_date": known, "previous_date": [calendar.previous(d) for d in known]},
        schema={"trade_date": pl.Date(), "previous_date": pl.Date()},
    )
    by_rule = {d: segments_expiring(calendar, d) for d in dates}
    flags = expiry_flags(dates, contracts, by_rule)
    return ledger(participant_oi, participant_volume, days, flags)


def _position_notes(rows: pl.DataFrame) -> pl.DataFrame:
    fii = pl.col("participant") == "FII"
    future = pl.col("segment") == "index_future"
    return rows.group_by("trade_date").agg(
        fii_net_index_future_contracts=pl.col("net_contracts").filter(fii & future).sum(),
        open_contracts=pl.col("long_contracts").sum(),
    )


def _premium_flow_notes(rows: pl.DataFrame) -> pl.DataFrame:
    total = rows.filter(pl.col("segment") == "total")

    def paid(participant: str) -> pl.Expr:
        of = pl.col("participant") == participant
        return pl.col("net_premium_flow_mid_rupees").filter(of).first() / 1e7

    return total.group_by("trade_date").agg(
        fii_net_premium_crore=paid("FII"), client_net_premium_crore=paid("CLIENT")
    )


def _activity_notes(rows: pl.DataFrame) -> pl.DataFrame:
    def of(participant: str, column: str) -> pl.Expr:
        return pl.col(column).filter(pl.col("participant") == participant).first()

    return rows.group_by("trade_date").agg(
        fii_future_long_share=of("FII", "future_long_share"),
        fii_pcr_oi=of("FII", "pcr_oi"),
        client_pcr_oi=of("CLIENT", "pcr_oi"),
    )


def _cross_notes(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.select(
        "trade_date",
        "smart_money_direction",
        "institutional_vs_retail_ratio",
        "crowd_vs_smart_divergence",
        "history_n",
    )


def _ledger_notes(rows: pl.DataFrame) -> pl.DataFrame:
    quiet = pl.col("identity") != "expiry"
    return rows.group_by("trade_date").agg(
        largest_residual_contracts=pl.col("residual").filter(quiet).abs().max(),
        expired_rows=(pl.col("identity") == "expiry").sum(),
        broken_rows=(pl.col("identity") == "broken").sum(),
        unknown_rows=pl.col("identity").is_null().sum(),
    )
