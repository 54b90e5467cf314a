"""Levels of an expiry that people watch: walls of open interest, and the move that is priced in.

Belongs here: one figure per expiry from its chain and the volatility at its money. Does not
belong here: sums and ratios (`metrics`), gamma (`exposure`), a volatility's history.
"""

from __future__ import annotations

from typing import Final

import polars as pl

from optrade.chain.grain import Grain
from optrade.division import quotient

SIDES: Final = {"call": "CE", "put": "PE"}


def walls(chain: pl.DataFrame, grain: Grain) -> pl.DataFrame:
    """The strikes with the largest open interest, and those where it rose most, per expiry.

    `chain` are rows of a chain of that grain. Gives the expiry's key and, for calls and puts,
    `*_wall_strike`, `*_wall_oi_units`, `*_oi_rise_strike` and `*_oi_rise_units`. Of equals the
    strike nearest to spot counts, the lower of two. Null where any part is not known, where there
    is no open interest, and where it rose nowhere.
    """
    return chain.group_by(grain.expiry).agg(
        expression
        for side, option_type in SIDES.items()
        for expression in (
            *_largest("oi_units", option_type, f"{side}_wall_strike", f"{side}_wall_oi_units"),
            *_largest(
                "oi_change_units", option_type, f"{side}_oi_rise_strike", f"{side}_oi_rise_units"
            ),
        )
    )


def _largest(column: str, option_type: str, strike: str, units: str) -> tuple[pl.Expr, pl.Expr]:
    """Where a column is largest on one side, and how large; null unless above 0 and all known."""
    side = pl.col("option_type") == option_type
    value, at = pl.col(column).filter(side), pl.col("strike").filter(side)
    away = (pl.col("strike") - pl.col("spot")).abs().filter(side)
    order = [-value, away, at]
    known = (value.null_count() == 0) & (value.max() > 0)
    return (
        pl.when(known).then(at.sort_by(order, nulls_last=True).first()).alias(strike),
        pl.when(known).then(value.max()).alias(units),
    )


def moves(metrics: pl.DataFrame, grain: Grain) -> pl.DataFrame:
    """The moves that are priced in, and the volatility between one expiry and the next.

    `metrics` has the expiry's key, forward, years_to_expiry, atm_iv, atm_straddle. Adds
    `expected_move_straddle` (the price of both options at the money: what the move to expiry is
    worth on average, up or down), `expected_move_iv` (one standard deviation: forward x atm_iv x
    sqrt(years)), both rupees; `forward_iv`, the volatility of the time after the expiry before:
    sqrt((w - w0) / (t - t0)) with total variance w = atm_iv^2 t; and why it is null.
    """
    key = grain.expiry
    variance = pl.col("atm_iv").pow(2) * pl.col("years_to_expiry")
    ordered = metrics.sort(key).with_columns(_w=variance)
    earlier_w = pl.col("_w").shift(1).over(grain.underlying)
    earlier_t = pl.col("years_to_expiry").shift(1).over(grain.underlying)
    rise, time = pl.col("_w") - earlier_w, pl.col("years_to_expiry") - earlier_t
    first = pl.col("expiry") == pl.col("expiry").min().over(grain.underlying)
    return ordered.with_columns(
        expected_move_straddle=pl.col("atm_straddle"),
        expected_move_iv=pl.col("forward") * pl.col("atm_iv") * pl.col("years_to_expiry").sqrt(),
        forward_iv=pl.when(rise >= 0, time > 0).then(quotient(rise, time).sqrt()),
        forward_iv_reason=pl.when(first)
        .then(pl.lit("first_expiry"))
        .when(rise.is_null())
        .then(pl.lit("no_atm_iv"))
        .when(rise < 0)
        .then(pl.lit("variance_falls")),
    ).drop("_w")
