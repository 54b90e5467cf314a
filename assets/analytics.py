"""The `analytics` group: what follows from a chain.

Belongs here: wiring to `optrade.chain` and `optrade.pricing`. Does not belong here: the maths.
"""

from __future__ import annotations

from datetime import date

import polars as pl

from assets.building import Graph, Reads, Recipe
from optrade.chain.exposure import dealer_weights, gamma_exposure_close
from optrade.chain.greeks import greeks_close
from optrade.chain.metrics import chain_metrics_close
from optrade.chain.open_interest import open_interest_close
from optrade.chain.premium import premium_close
from optrade.chain.premium_history import HISTORY_SESSIONS
from optrade.tables.analytics import (
    CHAIN_METRICS_CLOSE,
    GREEKS_CLOSE,
    OPEN_INTEREST_CLOSE,
)
from optrade.tables.exposure import GAMMA_EXPOSURE_CLOSE
from optrade.tables.participants import POSITIONS
from optrade.tables.premium import PREMIUM_CLOSE
from optrade.tables.snapshots import CHAIN_CLOSE

CHAIN = Reads(CHAIN_CLOSE)
PAST = Reads(
    CHAIN_CLOSE,
    columns=(
        "trade_date", "underlying", "expiry", "strike", "option_type", "strike_offset", "spot",
        "last_price", "close_price", "average_price", "settlement", "oi_units", "lot_size",
        "source",
    ),
    where="expiry_bucket IS NOT NULL",
    sessions_before=HISTORY_SESSIONS,
)  # fmt: skip
"""What premiums and their past are made of."""


def recipes(graph: Graph, *, tick: float, offsets: tuple[int, ...]) -> tuple[Recipe, ...]:
    """The assets of this group; `tick` in rupees, `offsets` in ladder steps."""

    def make_greeks(dates: tuple[date, ...], chain: pl.DataFrame) -> pl.DataFrame:
        del dates
        return greeks_close(chain, tick)

    def make_metrics(
        dates: tuple[date, ...], chain: pl.DataFrame, greeks: pl.DataFrame
    ) -> pl.DataFrame:
        del dates
        return chain_metrics_close(chain, greeks)

    def make_exposure(
        dates: tuple[date, ...],
        chain: pl.DataFrame,
        greeks: pl.DataFrame,
        positions: pl.DataFrame,
    ) -> pl.DataFrame:
        del dates
        return gamma_exposure_close(chain, greeks, dealer_weights(positions))

    def make_open_interest(dates: tuple[date, ...], chain: pl.DataFrame) -> pl.DataFrame:
        calendar = graph.calendar
        previous_of = {d: calendar.previous(d) for d in dates if d > calendar.first}
        return open_interest_close(chain, dates, previous_of)

    def make_premium(dates: tuple[date, ...], chain: pl.DataFrame) -> pl.DataFrame:
        return premium_close(chain, offsets, dates, graph.calendar)

    steps = ",".join(map(str, offsets))
    return (
        Recipe(GREEKS_CLOSE, make_greeks, {"chain": CHAIN}, f"1 tick={tick:g}", _greeks_notes),
        Recipe(
            CHAIN_METRICS_CLOSE,
            make_metrics,
            {"chain": CHAIN, "greeks": Reads(GREEKS_CLOSE)},
            "2",
            _metrics_notes,
        ),
        Recipe(
            GAMMA_EXPOSURE_CLOSE,
            make_exposure,
            {"chain": CHAIN, "greeks": Reads(GREEKS_CLOSE), "positions": Reads(POSITIONS)},
            "1",
            _exposure_notes,
        ),
        Recipe(
            OPEN_INTEREST_CLOSE,
            make_open_interest,
            {"chain": Reads(CHAIN_CLOSE, sessions_before=1)},
            "1",
            _oi_notes,
        ),
        Recipe(PREMIUM_CLOSE, make_premium, {"chain": PAST}, f"2 offsets={steps}", _premium_notes),
    )


def _greeks_notes(rows: pl.DataFrame) -> pl.DataFrame:
    traded = pl.col("price").is_not_null()
    return rows.group_by("trade_date").agg(
        iv_coverage=(pl.col("iv").is_not_null() & traded).sum() / traded.sum(),
        below_intrinsic=(pl.col("reason") == "below_intrinsic").sum(),
        median_iv_error=pl.col("iv_error").median(),
    )


def _metrics_notes(rows: pl.DataFrame) -> pl.DataFrame:
    nearest = rows.filter(pl.col("expiry_bucket") == "this_week")

    def of(underlying: str, column: str) -> pl.Expr:
        return pl.col(column).filter(pl.col("underlying") == underlying).first()

    return nearest.group_by("trade_date").agg(
        nifty_pcr_oi=of("NIFTY", "pcr_oi"),
        nifty_pcr_volume=of("NIFTY", "pcr_volume"),
        nifty_atm_iv=of("NIFTY", "atm_iv"),
        nifty_max_pain_strike=of("NIFTY", "max_pain_strike"),
        banknifty_pcr_oi=of("BANKNIFTY", "pcr_oi"),
        banknifty_atm_iv=of("BANKNIFTY", "atm_iv"),
    )


def _exposure_notes(rows: pl.DataFrame) -> pl.DataFrame:
    nifty = rows.filter(pl.col("underlying") == "NIFTY")

    def of(assumption: str, column: str) -> pl.Expr:
        return pl.col(column).filter(pl.col("assumption") == assumption).first()

    return nifty.group_by("trade_date").agg(
        nifty_exposure_calls_long_crore=of("calls_long", "exposure_rupees") / 1e7,
        nifty_exposure_participants_crore=of("participants", "exposure_rupees") / 1e7,
        nifty_flip_level=of("calls_long", "flip_level"),
    )


def _oi_notes(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.group_by("trade_date").agg(
        oi_change_units=pl.col("oi_change_units").sum(),
        long_buildups=(pl.col("buildup") == "long_buildup").sum(),
        short_buildups=(pl.col("buildup") == "short_buildup").sum(),
    )


def _premium_notes(rows: pl.DataFrame) -> pl.DataFrame:
    straddle = rows.filter(
        (pl.col("kind") == "straddle")
        & (pl.col("strike_offset") == 0)
        & (pl.col("underlying") == "NIFTY")
    )
    return straddle.group_by("trade_date").agg(
        nifty_this_week_straddle=pl.col("close_premium")
        .filter(pl.col("expiry_bucket") == "this_week")
        .first(),
        nifty_this_month_straddle=pl.col("close_premium")
        .filter(pl.col("expiry_bucket") == "this_month")
        .first(),
    )
