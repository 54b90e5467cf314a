"""Implied volatility and greeks of a chain, quote by quote.

Belongs here: which price is solved on which forward, and the reason where it can't be. Does
not belong here: the model (`optrade.pricing.black76`), smoothing over strikes.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from optrade.contracts import TICK
from optrade.division import quotient
from optrade.pricing import black76
from optrade.tables import TABLES


def greeks_close(chain: pl.DataFrame, tick: float = TICK) -> pl.DataFrame:
    """`analytics.greeks_close` of rows of `snapshots.chain_close`, any number of days.

    The closing price over the discount factor is solved by Black (1976) on the forward of its
    own expiry, on the out-of-the-money side: a quote in the money counts by its own time value,
    its out-of-the-money twin by put-call parity. Greeks are derivatives of the discounted
    price (`black76.greeks`); iv_error = tick / 2 / vega, `tick` in rupees.

    Where there is no volatility, all of iv, iv_error and greeks are null and `reason` says why
    (`black76.reasons`).
    """
    solved = _solved(chain.with_columns(price="close_price"), tick)
    return TABLES["analytics.greeks_close"].conform(solved)


def greeks_minute(chain: pl.DataFrame, tick: float = TICK) -> pl.DataFrame:
    """`analytics.greeks_minute` of rows of `snapshots.chain_minute`, any number of minutes.

    As `greeks_close`, but solved from the middle of bid and ask where both stand, else from the
    last trade of the day; `price_basis` is `mid` or `last`.
    """
    mid, last = pl.col("mid_price"), pl.col("last_price")
    basis = (
        pl.when(mid.is_not_null()).then(pl.lit("mid")).when(last.is_not_null()).then(pl.lit("last"))
    )
    quotes = chain.with_columns(price=pl.coalesce(mid, last), price_basis=basis)
    return TABLES["analytics.greeks_minute"].conform(_solved(quotes, tick))


def _solved(quotes: pl.DataFrame, tick: float) -> pl.DataFrame:
    discounted = pl.col("discount_factor") > 0
    columns = quotes.select(
        undiscounted=quotient(pl.col("price"), pl.when(discounted).then("discount_factor")),
        price="price",
        forward=pl.when(discounted).then("forward"),
        strike="strike",
        years="years_to_expiry",
        discount="discount_factor",
    )
    u, p, f, k, t, d = (column.cast(pl.Float64).fill_null(np.nan).to_numpy() for column in columns)
    call = (quotes["option_type"] == "CE").to_numpy()
    iv, greeks = black76.implied_volatility_and_greeks(u, f, k, t, call, d)
    # Without a discount the undiscounted price is unknown too, but it is not what is missing.
    reason = black76.reasons(np.where(np.isnan(f), p, u), f, k, t, call, iv)
    values = {"iv": iv, **greeks._asdict(), "iv_error": tick / 2 / greeks.vega}
    return quotes.with_columns(
        *(pl.Series(name, value, nan_to_null=True) for name, value in values.items()),
        pl.Series("reason", reason.tolist(), dtype=pl.String),
    )
