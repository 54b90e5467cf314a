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

    Where there is no volatility, all of iv, iv_error and greeks are null and `reason` says why,
    the first that holds of: expired, no_trade, no_forward, below_intrinsic, above_max,
    out_of_domain.
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
    undiscounted = quotient(pl.col("price"), pl.col("discount_factor"))
    quotes = quotes.with_columns(undiscounted=undiscounted)
    quotes = quotes.with_columns(reason=_refusal())
    p, f, k, t, d = (
        quotes[name].cast(pl.Float64).fill_null(np.nan).to_numpy()
        for name in ("undiscounted", "forward", "strike", "years_to_expiry", "discount_factor")
    )
    call = (quotes["option_type"] == "CE").to_numpy()
    refused = quotes["reason"].is_not_null().to_numpy()
    iv = black76.implied_volatility(np.where(refused, np.nan, p), f, k, t, call)
    values = black76.greeks(f, k, t, iv, call, d)._asdict()
    values |= {"iv": iv, "iv_error": tick / 2 / values["vega"]}
    return quotes.with_columns(
        pl.Series(name, value, nan_to_null=True) for name, value in values.items()
    ).with_columns(
        reason=pl.when(pl.col("reason").is_null() & pl.col("iv").is_null())
        .then(pl.lit("out_of_domain"))
        .otherwise("reason")
    )


def _refusal() -> pl.Expr:
    """Why a quote can't be solved, as far as it shows before solving; null if it may be."""
    undiscounted = pl.col("undiscounted")
    call = pl.col("option_type") == "CE"
    away = pl.col("forward") - pl.col("strike")
    intrinsic = pl.when(call).then(away).otherwise(-away).clip(lower_bound=0)
    ceiling = pl.when(call).then("forward").otherwise("strike")
    return (
        pl.when(pl.col("years_to_expiry") <= 0)
        .then(pl.lit("expired"))
        .when(pl.col("price").is_null())
        .then(pl.lit("no_trade"))
        .when(pl.col("forward").is_null() | pl.col("discount_factor").is_null())
        .then(pl.lit("no_forward"))
        .when(undiscounted <= intrinsic)
        .then(pl.lit("below_intrinsic"))
        .when(undiscounted >= ceiling)
        .then(pl.lit("above_max"))
    )
