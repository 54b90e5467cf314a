"""How a premium moved in the session so far: its average over time, efficiency and volatility.

Belongs here: what adds up over the minutes of a day, and what is carried from one to the next.
Does not belong here: the premium of one minute (`premium`), other days (`premium_history`).

All sums are of whole numbers (0.01 rupees; 1e-12 of a squared return; 0.0001 rupees times 0.01
seconds). Rows keep them exactly up to 2**50, a day at 50,000 rupees, so a minute has the same bits
whichever minutes are computed with it.
"""

from __future__ import annotations

from typing import Final

import polars as pl

from optrade.division import quotient

MINUTES_A_YEAR: Final = 375 * 252
"""Minutes of a session, 09:15 to 15:30, times sessions of a year: what volatility is scaled by."""
MINIMUM_RETURNS: Final = 30
"""Under so many the volatility is null: its own error is then 13 % of it or more (1/sqrt(2n))."""

_KEY: Final = ("underlying", "expiry", "expiry_bucket", "kind", "strike_offset")
_PAISE: Final = 100
_TINY: Final = 10**12
_FINE: Final = 10_000
_CENTI: Final = 100


def with_path(rows: pl.DataFrame, state: pl.DataFrame) -> pl.DataFrame:
    """The rows of minutes in a row with the path so far, sorted by combination and minute.

    `rows` has the combination (underlying, expiry, expiry_bucket, kind, strike_offset), minute,
    strikes, last_premium, `premium_before` (of the same two strikes a minute earlier),
    twap_premium and the legs' twap_seconds. `state` are rows of `analytics.premium_minute` of the
    minute before; maybe none.

    - moves_n, net_move, path_length, realised_variance: over the minutes whose premium and
      `premium_before` are known, so that a change of strike is no move
    - price_efficiency = |net_move| / path_length (Kaufman, *Smarter Trading*, 1995)
    - intraday_volatility = sqrt(realised_variance / moves_n x 375 x 252)
    - day_twap_premium: twap_premium weighted by the seconds in which both legs had a price (the
      fewer of the two), day_twap_seconds
    - fixed_call_strike, fixed_put_strike: those of the first minute that had both legs
    """
    carried = state.select(*_KEY, **_carried()).unique(_KEY)
    summed = rows.join(carried, on=_KEY, how="left").sort(*_KEY, "minute")
    summed = summed.with_columns(**_steps()).with_columns(
        (pl.col(f"_{name}").fill_null(0) + pl.col(name).fill_null(0).cum_sum().over(_KEY)).alias(
            name
        )
        for name in _STEPS
    )
    return summed.with_columns(**_fixed(), **_figures()).with_columns(**_judged())


_STEPS: Final = ("moved", "net", "path", "squares", "weighted", "weight")


def _whole(value: pl.Expr, scale: int) -> pl.Expr:
    return (value * scale).round().cast(pl.Int64)


def _carried() -> dict[str, pl.Expr]:
    """The sums as they stood, in whole numbers again."""
    weight = _whole(pl.col("day_twap_seconds"), _CENTI)
    return {
        "_moved": pl.col("moves_n"),
        "_net": _whole(pl.col("net_move"), _PAISE),
        "_path": _whole(pl.col("path_length"), _PAISE),
        "_squares": _whole(pl.col("realised_variance"), _TINY),
        "_weighted": _whole(pl.col("day_twap_premium") * weight, _FINE),
        "_weight": weight,
        "_call": pl.col("fixed_call_strike"),
        "_put": pl.col("fixed_put_strike"),
    }


def _steps() -> dict[str, pl.Expr]:
    """What each minute adds; null where it adds nothing."""
    now, before = pl.col("last_premium"), pl.col("premium_before")
    move = _whole(now, _PAISE) - _whole(before, _PAISE)
    seconds = pl.min_horizontal("call_twap_seconds", "put_twap_seconds")
    weight = pl.when(pl.col("twap_premium").is_not_null()).then(_whole(seconds, _CENTI))
    steps = {
        "moved": move.is_not_null().cast(pl.Int64),
        "net": move,
        "path": move.abs(),
        "squares": _whole(quotient(now, before).log().pow(2), _TINY),
        "weighted": _whole(pl.col("twap_premium"), _FINE) * weight,
        "weight": weight,
    }
    return {name: steps[name] for name in _STEPS}


def _fixed() -> dict[str, pl.Expr]:
    """The first strikes known up to each minute."""

    def first(carried: str, strike: str) -> pl.Expr:
        seen = pl.col(strike).is_not_null().cum_sum().over(_KEY) > 0
        earliest = pl.col(strike).drop_nulls().first().over(_KEY)
        return pl.coalesce(carried, pl.when(seen).then(earliest))

    return {
        "fixed_call_strike": first("_call", "call_strike"),
        "fixed_put_strike": first("_put", "put_strike"),
    }


def _figures() -> dict[str, pl.Expr]:
    n, weight = pl.col("moved"), pl.col("weight")
    some = n > 0
    return {
        "moves_n": n,
        "net_move": pl.when(some).then(quotient(pl.col("net"), _PAISE)),
        "path_length": pl.when(some).then(quotient(pl.col("path"), _PAISE)),
        "realised_variance": pl.when(some).then(quotient(pl.col("squares"), _TINY)),
        "price_efficiency": pl.when(pl.col("path") > 0).then(
            quotient(pl.col("net").abs(), pl.col("path"))
        ),
        "intraday_volatility": pl.when(n >= MINIMUM_RETURNS).then(
            quotient(pl.col("squares") * pl.lit(MINUTES_A_YEAR / _TINY), n).sqrt()
        ),
        "day_twap_premium": pl.when(weight > 0).then(
            quotient(quotient(pl.col("weighted"), weight), _FINE)
        ),
        "day_twap_seconds": quotient(weight, _CENTI),
    }


def _judged() -> dict[str, pl.Expr]:
    none = pl.col("price_efficiency").is_null()
    return {
        "efficiency_reason": pl.when(none & (pl.col("moves_n") == 0))
        .then(pl.lit("too_few_prices"))
        .when(none)
        .then(pl.lit("no_move")),
        "volatility_reason": pl.when(pl.col("intraday_volatility").is_null()).then(
            pl.lit("too_few_returns")
        ),
    }
