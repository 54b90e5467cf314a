"""The fitted surfaces of the `analytics` group.

Belongs here: wiring to `optrade.surface`. Does not belong here: the maths.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from functools import partial

import polars as pl

from assets.building import Reads, Recipe
from optrade.surface.frames import surface_close, surface_points_close
from optrade.surface.picture import as_markdown, smiles
from optrade.tables.analytics import GREEKS_CLOSE
from optrade.tables.snapshots import CHAIN_CLOSE
from optrade.tables.surface import SURFACE_CLOSE, SURFACE_POINTS_CLOSE

PICTURED = "NIFTY"
"""The underlying whose smiles the asset shows."""
_THIRTY_DAYS = 30
Dates = tuple[date, ...]


def recipes(*, repair: bool) -> tuple[Recipe, ...]:
    """The assets of the surface at the close; with `repair` arbitrage is fitted away."""
    return (
        Recipe(
            SURFACE_CLOSE,
            partial(_surface, repair=repair),
            {"chain": Reads(CHAIN_CLOSE), "greeks": Reads(GREEKS_CLOSE)},
            f"1 repair={repair}",
            _surface_notes,
            pictures=_pictures,
        ),
        Recipe(
            SURFACE_POINTS_CLOSE,
            _points,
            {"surface": Reads(SURFACE_CLOSE)},
            "1",
            _point_notes,
        ),
    )


def _surface(
    dates: Dates, chain: pl.DataFrame, greeks: pl.DataFrame, *, repair: bool
) -> pl.DataFrame:
    del dates
    return surface_close(chain, greeks, repair=repair)


def _points(dates: Dates, surface: pl.DataFrame) -> pl.DataFrame:
    del dates
    return surface_points_close(surface)


def _surface_notes(rows: pl.DataFrame) -> pl.DataFrame:
    fitted = pl.col("a").is_not_null()
    return rows.group_by("trade_date").agg(
        slices=fitted.sum(),
        slices_repaired=pl.col("repaired").sum(),
        butterfly_violations=pl.col("butterfly_violations").sum(),
        calendar_violations=pl.col("calendar_violations").sum(),
        median_rmse=pl.col("rmse").median(),
    )


def _point_notes(rows: pl.DataFrame) -> pl.DataFrame:
    month = rows.filter(pl.col("underlying") == PICTURED, pl.col("maturity_days") == _THIRTY_DAYS)
    return month.select(
        "trade_date",
        nifty_30_day_iv="atm_iv",
        nifty_30_day_risk_reversal="risk_reversal_25",
    )


def _pictures(rows: pl.DataFrame, frames: Mapping[str, pl.DataFrame]) -> dict[date, str]:
    """The day's smiles of one underlying, quotes as dots."""
    of_one = rows.filter(pl.col("underlying") == PICTURED)
    greeks = frames["greeks"].filter(pl.col("underlying") == PICTURED)
    return {
        day: as_markdown(
            smiles(slices, greeks.filter(pl.col("trade_date") == day), f"{PICTURED} {day}")
        )
        for (day,), slices in of_one.partition_by("trade_date", as_dict=True).items()
    }
