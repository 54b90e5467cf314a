"""The volatility tables of the made-up market: its own day, with a past made up for it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import polars as pl

from optrade.volatility import vix_replica, volatility_history

RATE = 0.065
INDICES = {"Nifty 50": 24_000.0, "Nifty Bank": 56_000.0}


def volatility_tables(
    chain: pl.DataFrame,
    bhavcopy: pl.DataFrame,
    index_close: pl.DataFrame,
    metrics: pl.DataFrame,
    days: Sequence[date],
) -> dict[str, pl.DataFrame]:
    """Both tables; every option traded enough, and every session looked like the last one."""
    busy = chain.with_columns(trades=pl.lit(100))
    places = pl.DataFrame({"trade_date": days}).with_row_index("n")
    last = metrics.filter(pl.col("trade_date") == days[-1]).drop("trade_date")
    past = last.join(places, how="cross").with_columns(
        atm_iv=pl.col("atm_iv") * (1 + pl.col("n") % 5 / 50)
    )
    closes = pl.concat(
        places.select("trade_date", index_name=pl.lit(name), close=level + 50.0 * (pl.col("n") % 3))
        for name, level in INDICES.items()
    ).with_columns(open="close", high="close", low="close")
    return {
        "analytics.vix_replica": vix_replica(busy, bhavcopy, index_close, RATE),
        "analytics.volatility_history": volatility_history(past, closes, days[-2:], days),
    }
