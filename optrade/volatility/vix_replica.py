"""India VIX rebuilt from the day's closes, beside the published one.

Belongs here: which months and which closes enter, and the frame of the result. Does not belong
here: the formula (`vix_formula`).

Closing prices stand for quotes. The white paper takes a quote as adequate when its spread is at
most 30 % of its middle; a closing price shows no spread, but may be hours old: the exchange's
close is the average of the last half hour only where the option traded in it. So one is adequate
from `ENOUGH_TRADES` trades on.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any, Final

import numpy as np
import polars as pl

from optrade.tables.volatility import VIX_REPLICA
from optrade.volatility.vix_formula import (
    MINUTES_A_YEAR,
    Array,
    Strip,
    index_points,
    near_weight,
    strip,
    variance,
)

UNDERLYING: Final = "NIFTY"
PUBLISHED: Final = "India VIX"
LEAST_DAYS: Final = 2
"""A month with fewer calendar days left is passed over for the next one."""
ENOUGH_TRADES: Final = 36
"""(1 - 30/375)^36 = 5 %: so unlikely is it that none of as many trades fell into the last half
hour of a session's 375 minutes."""
_MONTH: Final = ("trade_date", "expiry")


def vix_replica(
    chain: pl.DataFrame, futures: pl.DataFrame, index_close: pl.DataFrame, rate: float
) -> pl.DataFrame:
    """`analytics.vix_replica`: one row for each day on which `chain` has NIFTY options.

    - `chain`: rows of `snapshots.chain_close`
    - `futures`: trade_date, underlying, instrument_type, expiry, close and volume_lots of
      `raw.fo_bhavcopy`
    - `index_close`: rows of `raw.index_close`; gives the published close
    - `rate`: a year, continuously compounded
    """
    nifty = chain.filter(pl.col("underlying") == UNDERLYING)
    months = _months(nifty, futures)
    quotes = _quotes(nifty.join(months, on=_MONTH, how="semi"))
    of_day: dict[date, list[dict[str, Any]]] = {}
    for month in months.iter_rows(named=True):
        of_day.setdefault(month["trade_date"], []).append(month)
    published = dict(
        index_close.filter(pl.col("index_name") == PUBLISHED)
        .select("trade_date", "close")
        .iter_rows()
    )
    days = nifty.group_by("trade_date").agg(pl.col("source").first()).sort("trade_date")
    rows = [
        _judged(_replica(of_day.get(day, []), quotes, rate), published.get(day))
        | {"trade_date": day, "underlying": UNDERLYING, "rate": rate, "source": source}
        for day, source in days.iter_rows()
    ]
    return VIX_REPLICA.conform(pl.DataFrame(rows, schema=VIX_REPLICA.schema))


def _months(nifty: pl.DataFrame, futures: pl.DataFrame) -> pl.DataFrame:
    """The two months of each day with their forwards, the near one first."""
    traded = futures.filter(
        pl.col("underlying") == UNDERLYING,
        pl.col("instrument_type") == "FUT",
        pl.col("volume_lots") > 0,
        pl.col("close") > 0,
    )
    expiry, month = pl.col("expiry"), pl.col("expiry").dt.truncate("1mo")
    future = pl.col("future")
    return (
        nifty.group_by(_MONTH)
        .agg(pl.col("years_to_expiry", "forward", "forward_basis").first())
        .filter(expiry == expiry.max().over("trade_date", month))
        .filter(expiry - pl.col("trade_date") >= pl.duration(days=LEAST_DAYS))
        .filter(expiry.rank("dense").over("trade_date") <= 2)
        .join(traded.select(*_MONTH, future="close"), on=_MONTH, how="left")
        .select(
            *_MONTH,
            minutes=(pl.col("years_to_expiry") * MINUTES_A_YEAR).round().cast(pl.Int64),
            forward=pl.coalesce("future", "forward"),
            forward_basis=pl.when(future.is_not_null())
            .then(pl.lit("future"))
            .otherwise("forward_basis"),
        )
        .sort(_MONTH)
    )


def _quotes(options: pl.DataFrame) -> Mapping[tuple[Any, ...], pl.DataFrame]:
    """Listed strikes of each day and expiry, rising, with the adequate prices of call and put."""
    enough = (pl.col("trades") >= ENOUGH_TRADES).fill_null(value=True)  # the old format has none
    price = pl.when(enough, pl.col("close_price") > 0).then("close_price").cast(pl.Float64)

    def of(side: str) -> pl.Expr:
        return pl.col("price").filter(pl.col("option_type") == side).first()

    return (
        options.with_columns(price=price)
        .group_by(*_MONTH, "strike")
        .agg(call=of("CE"), put=of("PE"))
        .sort(*_MONTH, "strike")
        .partition_by(_MONTH, as_dict=True)
    )


def _replica(
    months: list[dict[str, Any]], quotes: Mapping[tuple[Any, ...], pl.DataFrame], rate: float
) -> dict[str, Any]:
    """The replica of one day and all that explains it."""
    found: dict[str, Any] = {"replica": None, "reason": None}
    strips: list[Strip | None] = []
    for term, month in zip(("near", "next"), months, strict=False):
        of_term = {"expiry": month["expiry"]} | {
            name: month[name] for name in ("minutes", "forward", "forward_basis")
        }
        strips.append(_strip(quotes[month["trade_date"], month["expiry"]], month["forward"]))
        of_term |= _used(strips[-1], month, rate)
        found |= {f"{term}_{name}": value for name, value in of_term.items()}
    if len(months) < 2:
        return found | {"reason": "no_pair"}
    near, following = (month["minutes"] for month in months)
    found["near_weight"] = near_weight(near, following)
    if any(month["forward"] is None for month in months):
        return found | {"reason": "no_forward"}
    if None in strips:
        return found | {"reason": "too_few_quotes"}
    variances = found["near_variance"], found["next_variance"]
    if None in variances:
        return found | {"reason": "no_variance"}
    points = index_points(variances[0], near, variances[1], following)
    if not np.isfinite(points):
        return found | {"reason": "no_variance"}
    return found | {"replica": points}


def _strip(quotes: pl.DataFrame, forward: float | None) -> Strip | None:
    if forward is None:
        return None
    strikes, calls, puts = (_floats(quotes[name]) for name in ("strike", "call", "put"))
    return strip(strikes, calls, puts, forward)


def _floats(values: pl.Series) -> Array:
    """A column as floats, null as NaN."""
    return values.to_numpy().astype(np.float64)


def _used(quotes: Strip | None, month: Mapping[str, Any], rate: float) -> dict[str, Any]:
    """What of the strip stands in the row; nothing without one."""
    if quotes is None:
        return {}
    found = variance(quotes, month["forward"], month["minutes"] / MINUTES_A_YEAR, rate)
    return {
        "atm_strike": quotes.atm_strike,
        "lowest_strike": float(quotes.strikes[0]),
        "highest_strike": float(quotes.strikes[-1]),
        "strikes": len(quotes.strikes),
        "splined_strikes": quotes.splined,
        "variance": found if found >= 0 else None,
    }


def _judged(found: dict[str, Any], published: float | None) -> dict[str, Any]:
    """The day's row with its error; every column is there."""
    row = dict.fromkeys(VIX_REPLICA.schema) | found | {"published": published}
    if row["replica"] is not None and published is not None:
        row["error"] = row["replica"] - published
    elif row["reason"] is None:
        row["reason"] = "not_published"
    return row
