"""The `participants` group: who holds and trades what, end of day.

Belongs here: wiring to `optrade.participants`. Does not belong here: the maths.
"""

from __future__ import annotations

from datetime import date

import polars as pl

from assets.building import Graph, Reads, Recipe
from optrade.expiries import segments_expiring
from optrade.participants import (
    HISTORY_SESSIONS,
    activity,
    cross,
    expiry_flags,
    ledger,
    positions,
)
from optrade.tables.participants import ACTIVITY, CROSS, LEDGER, POSITIONS
from optrade.tables.raw import FO_BHAVCOPY, PARTICIPANT_OI, PARTICIPANT_VOLUME

_CONTRACT_COLUMNS = ("trade_date", "underlying_class", "instrument_type", "expiry")


def recipes(graph: Graph) -> tuple[Recipe, ...]:
    """The assets of this group."""
    calendar = graph.calendar

    def make_positions(dates: tuple[date, ...], participant_oi: pl.DataFrame) -> pl.DataFrame:
        del dates
        return positions(participant_oi)

    def make_activity(
        dates: tuple[date, ...], participant_oi: pl.DataFrame, participant_volume: pl.DataFrame
    ) -> pl.DataFrame:
        del dates
        return activity(participant_oi, participant_volume)

    def make_cross(dates: tuple[date, ...], positions: pl.DataFrame) -> pl.DataFrame:
        first = positions["trade_date"].min()
        start = min(dates[0], first) if isinstance(first, date) else dates[0]
        return cross(positions, dates, calendar.sessions(start, dates[-1]))

    def make_ledger(
        dates: tuple[date, ...],
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
        in_run = pl.col("trade_date").is_in(dates)
        rows = ledger(participant_oi, participant_volume, days, flags)
        return rows.filter(in_run)

    return (
        Recipe(
            POSITIONS,
            make_positions,
            {"participant_oi": Reads(PARTICIPANT_OI)},
            code_version="1",
            notes=_position_notes,
        ),
        Recipe(
            ACTIVITY,
            make_activity,
            {
                "participant_oi": Reads(PARTICIPANT_OI),
                "participant_volume": Reads(PARTICIPANT_VOLUME),
            },
            code_version="1",
            notes=_activity_notes,
        ),
        Recipe(
            CROSS,
            make_cross,
            {"positions": Reads(POSITIONS, sessions_before=HISTORY_SESSIONS)},
            code_version="1",
            notes=_cross_notes,
        ),
        Recipe(
            LEDGER,
            make_ledger,
            {
                "participant_oi": Reads(PARTICIPANT_OI, sessions_before=1),
                "participant_volume": Reads(PARTICIPANT_VOLUME),
                "contracts": Reads(FO_BHAVCOPY, columns=_CONTRACT_COLUMNS),
            },
            code_version="1",
            notes=_ledger_notes,
        ),
    )


def _position_notes(rows: pl.DataFrame) -> pl.DataFrame:
    fii = pl.col("participant") == "FII"
    future = pl.col("segment") == "index_future"
    return rows.group_by("trade_date").agg(
        fii_net_index_future_contracts=pl.col("net_contracts").filter(fii & future).sum(),
        open_contracts=pl.col("long_contracts").sum(),
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
