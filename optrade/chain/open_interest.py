"""What open interest did over the day, option by option.

Belongs here: changes, shares and the build-up label. Does not belong here: sums over an expiry
(`metrics`), positions of participants.
"""

from __future__ import annotations

from typing import Final

import polars as pl

from optrade.division import quotient
from optrade.tables import TABLES

_SIDE: Final = ("trade_date", "underlying", "expiry", "option_type")


def open_interest_close(chain: pl.DataFrame) -> pl.DataFrame:
    """`analytics.open_interest_close` of rows of `snapshots.chain_close`, any number of days.

    The change of open interest (as the exchange states it) and the change of the closing price
    give the option's own story:

    - up, up: `long_buildup`; up, down: `short_buildup`
    - down, up: `short_covering`; down, down: `long_unwinding`
    - either of them nil: `unchanged`

    A rising call is bullish for the underlying, a rising put bearish, and the reverse. Null
    with a reason where the option did not trade or its previous close is not published.
    """
    oi, change = pl.col("oi_units"), pl.col("oi_change_units")
    before, total = oi - change, oi.sum().over(_SIDE)
    known_before = pl.col("previous_close") > 0
    frame = chain.with_columns(
        oi_change_pct=pl.when(before > 0).then(quotient(change, before) * 100),
        oi_share=pl.when(total > 0).then(quotient(oi, total)),
        price_change=pl.when(known_before).then(pl.col("close_price") - pl.col("previous_close")),
        reason=pl.when(pl.col("close_price").is_null())
        .then(pl.lit("no_trade"))
        .when(known_before.not_() | known_before.is_null())
        .then(pl.lit("no_previous_close")),
    ).with_columns(_buildup())
    return TABLES["analytics.open_interest_close"].conform(frame.with_columns(_view()))


def _buildup() -> pl.Expr:
    # A hundredth of a paisa: prices are whole paise, so less than that is float dust.
    rise = pl.col("price_change").round(4).sign()
    added = pl.col("oi_change_units").sign()
    return (
        pl.when(rise.is_null())
        .then(None)
        .when((rise == 0) | (added == 0))
        .then(pl.lit("unchanged"))
        .when(added > 0)
        .then(pl.when(rise > 0).then(pl.lit("long_buildup")).otherwise(pl.lit("short_buildup")))
        .otherwise(
            pl.when(rise > 0).then(pl.lit("short_covering")).otherwise(pl.lit("long_unwinding"))
        )
        .alias("buildup")
    )


def _view() -> pl.Expr:
    rising = pl.col("buildup").is_in(["long_buildup", "short_covering"])
    call = pl.col("option_type") == "CE"
    return (
        pl.when(pl.col("buildup").is_null())
        .then(None)
        .when(pl.col("buildup") == "unchanged")
        .then(pl.lit("neutral"))
        .when(rising == call)
        .then(pl.lit("bullish"))
        .otherwise(pl.lit("bearish"))
        .alias("underlying_view")
    )
