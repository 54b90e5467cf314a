"""The `snapshots` group: option chains at one moment.

Belongs here: wiring to `optrade.chain`. Does not belong here: the maths.
"""

from __future__ import annotations

from datetime import date, datetime, time
from zoneinfo import ZoneInfo

import polars as pl

from assets.building import Graph, Reads, Recipe
from optrade.calendar import TradingCalendar
from optrade.chain.snapshot import chain_close
from optrade.tables import IST
from optrade.tables.raw import FO_BHAVCOPY, INDEX_CLOSE
from optrade.tables.snapshots import CHAIN_CLOSE

_USUAL_CLOSE = time(15, 30, tzinfo=ZoneInfo(IST))


def session_closes(calendar: TradingCalendar, dates: tuple[date, ...]) -> dict[date, datetime]:
    """When each day's session closed; 15:30 where a special session's hours are not on record."""
    return {
        day: calendar.session(day).close or datetime.combine(day, _USUAL_CLOSE) for day in dates
    }


def recipes(graph: Graph, *, rate: float) -> tuple[Recipe, ...]:
    """The assets of this group; `rate` is the configured one, a year."""

    def make_chain_close(
        dates: tuple[date, ...], bhavcopy: pl.DataFrame, index_close: pl.DataFrame
    ) -> pl.DataFrame:
        return chain_close(bhavcopy, index_close, session_closes(graph.calendar, dates), rate)

    return (
        Recipe(
            CHAIN_CLOSE,
            make_chain_close,
            {
                "bhavcopy": Reads(FO_BHAVCOPY, where="underlying_class = 'index'"),
                "index_close": Reads(INDEX_CLOSE),
            },
            code_version=f"1 rate={rate:g}",
            notes=_chain_notes,
        ),
    )


def _chain_notes(chain: pl.DataFrame) -> pl.DataFrame:
    nifty = pl.col("underlying") == "NIFTY"
    return chain.group_by("trade_date").agg(
        underlyings=pl.col("underlying").n_unique(),
        expiries=pl.struct("underlying", "expiry").n_unique(),
        nifty_spot=pl.col("spot").filter(nifty).first(),
        oi_units=pl.col("oi_units").sum(),
        contracts_traded=(pl.col("volume_lots") > 0).sum(),
    )
