"""What open interest did over the day, option by option.

Belongs here: changes, shares and the build-up label. Does not belong here: sums over an expiry
(`metrics`), positions of participants.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import date
from typing import Final

import polars as pl

from optrade.chain.grain import CLOSE, MINUTE, Grain
from optrade.division import quotient
from optrade.tables import TABLES

_CONTRACT: Final = ("contract_id", "underlying", "strike", "option_type")
"""What stays when a contract is re-dated. The exchange uses an id again once it is free."""


def open_interest_close(
    chain: pl.DataFrame,
    dates: Collection[date] | None = None,
    previous_of: Mapping[date, date] | None = None,
) -> pl.DataFrame:
    """`analytics.open_interest_close` of `dates`, from rows of `snapshots.chain_close`.

    `chain` holds the rows of the dates (all its days if None) and of the sessions before them;
    `previous_of` gives the session before each date, as far as it is known.

    The exchange states the change of open interest against the same expiry, so a contract it
    re-dates seems to start from nothing. Where its change is not what the previous session's
    row of the same contract gives, that row is believed and `oi_change_basis` is `held`. That
    row's closing price also stands in for a previous close that is absent or 0. A date whose
    previous session is not in `chain` keeps the published figures.

    The change of open interest and the change of the closing price give the option's own story:

    - up, up: `long_buildup`; up, down: `short_buildup`
    - down, up: `short_covering`; down, down: `long_unwinding`
    - either of them nil: `unchanged`

    A rising call is bullish for the underlying, a rising put bearish, and the reverse. Null
    with a reason where the option did not trade or its previous close is not known.
    """
    wanted = chain if dates is None else chain.filter(pl.col("trade_date").is_in(list(dates)))
    rows = _against_held(wanted, _held(chain, previous_of or {}))
    return TABLES["analytics.open_interest_close"].conform(_story(rows, CLOSE))


def open_interest_minute(chain: pl.DataFrame) -> pl.DataFrame:
    """`analytics.open_interest_minute` of rows of `snapshots.chain_minute`, any number of minutes.

    As `open_interest_close`, against yesterday's close as held: the change of open interest is
    the one of `chain_minute`, so `oi_change_basis` is `held` wherever it is known. Where it is
    not, there is no build-up and `reason` is `no_previous_oi`, unless there was no trade or no
    previous close either.
    """
    known = pl.col("oi_change_units").is_not_null()
    basis = pl.when(known).then(pl.lit("held"))
    rows = _story(chain.with_columns(oi_change_basis=basis), MINUTE)
    return TABLES["analytics.open_interest_minute"].conform(rows)


def _story(rows: pl.DataFrame, grain: Grain) -> pl.DataFrame:
    """Shares, price changes and build-up of rows whose change of open interest is set right."""
    side = (*grain.expiry, "option_type")
    oi, change = pl.col("oi_units"), pl.col("oi_change_units")
    before = oi - change
    total = pl.when(oi.null_count().over(side) == 0).then(oi.sum().over(side))
    known_before = pl.col("previous_close") > 0
    frame = rows.with_columns(
        oi_change_pct=pl.when(before > 0).then(quotient(change, before) * 100),
        oi_share=pl.when(total > 0).then(quotient(oi, total)),
        price_change=pl.when(known_before).then(pl.col("close_price") - pl.col("previous_close")),
        reason=pl.when(pl.col("close_price").is_null())
        .then(pl.lit("no_trade"))
        .when(known_before.not_() | known_before.is_null())
        .then(pl.lit("no_previous_close"))
        .when(change.is_null())
        .then(pl.lit("no_previous_oi")),
    ).with_columns(_buildup())
    return frame.with_columns(_view())


def _held(chain: pl.DataFrame, previous_of: Mapping[date, date]) -> pl.DataFrame:
    """trade_date, contract, held_oi, held_close: the session before, of contracts that lived on."""
    pairs = pl.DataFrame(
        list(previous_of.items()),
        schema={"trade_date": pl.Date, "previous_date": pl.Date},
        orient="row",
    )
    return (
        chain.filter(pl.col("contract_id").is_not_null(), pl.col("expiry") > pl.col("trade_date"))
        .select(
            pl.col("trade_date").alias("previous_date"),
            *_CONTRACT,
            held_oi="oi_units",
            held_close="close_price",
        )
        .unique(["previous_date", *_CONTRACT], keep="none")
        .join(pairs, on="previous_date")
    )


def _against_held(rows: pl.DataFrame, held: pl.DataFrame) -> pl.DataFrame:
    """The rows with their change and previous close set right, and `oi_change_basis`."""
    held_change = pl.col("oi_units") - pl.col("held_oi")
    disagree = held_change != pl.col("oi_change_units")
    previous = pl.col("previous_close")
    return rows.join(held, on=["trade_date", *_CONTRACT], how="left").with_columns(
        oi_change_units=pl.when(disagree).then(held_change).otherwise("oi_change_units"),
        oi_change_basis=pl.when(disagree).then(pl.lit("held")).otherwise(pl.lit("published")),
        previous_close=pl.when(previous > 0).then(previous).otherwise("held_close"),
    )


def _buildup() -> pl.Expr:
    # A hundredth of a paisa: prices are whole paise, so less than that is float dust.
    rise = pl.col("price_change").round(4).sign()
    added = pl.col("oi_change_units").sign()
    return (
        pl.when(rise.is_null() | added.is_null())
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
