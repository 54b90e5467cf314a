"""The F&O bhavcopy: complete, consistent with itself and with the session before.

Belongs here: rules of `raw.fo_bhavcopy`. Does not belong here: what needs a spot, a forward or
the money (`chain`).
"""

from __future__ import annotations

from datetime import date

import polars as pl

from optrade.quality import remedies
from optrade.quality.rules import (
    DAY,
    Inputs,
    Rule,
    counted,
    missing,
    share,
    shrinkage,
    words,
)

TABLE = "raw.fo_bhavcopy"
MAIN = {
    "NIFTY": date(2001, 6, 4),
    "BANKNIFTY": date(2005, 6, 13),
    "FINNIFTY": date(2021, 1, 11),
    "MIDCPNIFTY": date(2022, 1, 24),
}
"""Indices whose contracts every file must list, and the first day they traded."""

_CONTRACT = ("contract_id", "underlying", "instrument_type", "strike")
_NAME = words(
    "{} {} {} {}",
    "underlying",
    "expiry",
    pl.col("strike").cast(pl.String()).fill_null("-"),
    "instrument_type",
)


def _main(inputs: Inputs) -> pl.DataFrame:
    return inputs.frame(TABLE).filter(pl.col("underlying").is_in(list(MAIN)))


def _expected(inputs: Inputs) -> pl.DataFrame:
    since = pl.DataFrame({"underlying": MAIN.keys(), "since": MAIN.values()})
    days = inputs.frame(TABLE).select(DAY).unique()
    return days.join(since, how="cross").filter(pl.col(DAY) >= pl.col("since")).drop("since")


def _absent(inputs: Inputs) -> pl.DataFrame:
    return missing(inputs.frame(TABLE), _expected(inputs), words("no {}", "underlying"))


def _unpriced(inputs: Inputs) -> pl.DataFrame:
    """The old format has no price of the underlying at all."""
    price = pl.col("underlying_price")
    stated = _main(inputs).filter(price.is_not_null().any().over(DAY))
    listed = stated.group_by(DAY, "underlying").agg(price.min()).sort(DAY, "underlying")
    wrong = (price.is_null() | (price <= 0)).fill_null(value=True)
    return counted(listed, wrong, words("{} at {}", "underlying", "underlying_price"))


def _few_expiries(inputs: Inputs) -> pl.DataFrame:
    option = pl.col("instrument_type") != "FUT"
    listed = (
        _main(inputs)
        .group_by(DAY, "underlying")
        .agg(
            options=pl.col("expiry").filter(option).n_unique(),
            futures=pl.col("expiry").filter(~option).n_unique(),
        )
        .sort(DAY, "underlying")
    )
    return counted(
        listed,
        (pl.col("options") < 2) | (pl.col("futures") < 2),
        words("{}: {} of options, {} of futures", "underlying", "options", "futures"),
    )


def _disordered(inputs: Inputs) -> pl.DataFrame:
    """Only a traded row's prices are of the day."""
    low, high = pl.col("low"), pl.col("high")
    last = pl.coalesce("last", "close")
    ordered = pl.all_horizontal(
        price.is_between(low, high) for price in (pl.col("open"), pl.col("close"), last)
    )
    return share(inputs.frame(TABLE).filter(pl.col("volume_lots") > 0), ~ordered, _NAME)


def _unblank(inputs: Inputs) -> pl.DataFrame:
    figures = pl.col("open", "high", "low", "turnover_rupees")
    untraded = inputs.frame(TABLE).filter(pl.col("volume_lots") == 0)
    return share(untraded, pl.any_horizontal(figures > 0), _NAME)


def _turnover_off(inputs: Inputs) -> pl.DataFrame:
    """The average price that turnover, lots and lot size imply must lie within the day's range."""
    rows = inputs.frame(TABLE).filter(
        (pl.col("volume_lots") > 0) & pl.col("lot_size").is_not_null()
    )
    units = pl.col("volume_lots") * pl.col("lot_size")
    average = pl.col("turnover_rupees") / units - pl.col("strike").fill_null(0)
    # Published to the paisa; the old format rounds turnover to 1,000 rupees.
    slack = 0.01 + 500 / units
    inside = average.is_between(pl.col("low") - slack, pl.col("high") + slack)
    return share(rows, ~inside, words("{}: average {}", _NAME, average.round(2)))


def _before(inputs: Inputs, *columns: str) -> pl.DataFrame:
    """Index contracts of a day beside themselves on the session before.

    Stocks are left out: their contracts are adjusted for dividends and splits.
    """
    index = inputs.frame(TABLE).filter(pl.col("underlying_class") == "index")
    only_index = Inputs({TABLE: index}, inputs.sessions)
    return only_index.with_previous(TABLE, (*_CONTRACT, "expiry"), *columns)


def _oi_jumps(inputs: Inputs) -> pl.DataFrame:
    stated = pl.col("oi_units") - pl.col("oi_change_units")
    return share(
        _before(inputs, "oi_units"),
        stated != pl.col("oi_units_before"),
        words("{}: {} before, now said {}", _NAME, "oi_units_before", stated),
    )


def _close_jumps(inputs: Inputs) -> pl.DataFrame:
    return share(
        _before(inputs, "close"),
        (pl.col("previous_close") - pl.col("close_before")).abs() > 0.001,
        words("{}: {} before, now said {}", _NAME, "close_before", "previous_close"),
    )


def _lot_changes(inputs: Inputs) -> pl.DataFrame:
    return counted(
        _before(inputs, "lot_size"),
        pl.col("lot_size") != pl.col("lot_size_before"),
        words("{}: {} after {}", _NAME, "lot_size", "lot_size_before"),
    )


def _redated(inputs: Inputs) -> pl.DataFrame:
    known = inputs.frame(TABLE).filter(pl.col("contract_id").is_not_null())
    rows = Inputs({TABLE: known}, inputs.sessions).with_previous(TABLE, _CONTRACT, "expiry")
    return counted(
        rows,
        pl.col("expiry") != pl.col("expiry_before"),
        words("{} expired on {} before", _NAME, "expiry_before"),
    )


def _fewer(inputs: Inputs) -> pl.DataFrame:
    return shrinkage(inputs, _main(inputs))


RULES: tuple[Rule, ...] = (
    Rule(
        name="main_underlyings",
        table=TABLE,
        severity="ERROR",
        blocking=True,
        description="The main indices are listed: "
        + ", ".join(f"{name} (from {since})" for name, since in MAIN.items())
        + ".",
        remedy=remedies.REFETCH,
        threshold=0,
        unit="indices missing",
        measure=_absent,
    ),
    Rule(
        name="underlying_priced",
        table=TABLE,
        severity="ERROR",
        blocking=False,
        description="A file that states the price of underlyings states one above 0 for each main "
        "index. The chain takes the index's own close where it does not.",
        remedy=remedies.REFETCH,
        threshold=0,
        unit="indices without a price",
        measure=_unpriced,
    ),
    Rule(
        name="expiries_listed",
        table=TABLE,
        severity="ERROR",
        blocking=True,
        description="Each main index has options and futures of at least two expiries (as on "
        "all 18 real days).",
        remedy=remedies.REFETCH,
        threshold=0,
        unit="indices with too few expiries",
        measure=_few_expiries,
    ),
    Rule(
        name="prices_ordered",
        table=TABLE,
        severity="ERROR",
        blocking=True,
        description="Where a contract traded, open, close and last lie between low and high, "
        "but for 0.5 % of rows (0.1 % at worst: 3 stock contracts on 2015-11-06).",
        remedy=remedies.REPARSE,
        threshold=0.005,
        unit="share of traded rows",
        measure=_disordered,
    ),
    Rule(
        name="untraded_rows_blank",
        table=TABLE,
        severity="ERROR",
        blocking=False,
        description="A contract without volume has no open, high, low or turnover (none of "
        "128,615 untraded rows has).",
        remedy=remedies.REPARSE,
        threshold=0.001,
        unit="share of untraded rows",
        measure=_unblank,
    ),
    Rule(
        name="turnover_fits_lots",
        table=TABLE,
        severity="ERROR",
        blocking=True,
        description="Turnover over lots x lot size, less the strike, is an average price within "
        "the day's range, but for 0.1 % of rows (all 35,554 real rows that state a lot do): "
        "volume is in lots, turnover is notional, the lot size is right.",
        remedy=remedies.REPARSE,
        threshold=0.001,
        unit="share of traded rows",
        measure=_turnover_off,
    ),
    Rule(
        name="open_interest_carries_over",
        table=TABLE,
        severity="ERROR",
        blocking=False,
        description="Open interest less its change is the session before's, for index contracts "
        "of the same id and expiry, but for 1 % (none of 40,794 on 13 real pairs of days).",
        remedy=remedies.BACKFILL_PREVIOUS,
        threshold=0.01,
        unit="share of contracts",
        measure=_oi_jumps,
        looks_back=True,
    ),
    Rule(
        name="close_carries_over",
        table=TABLE,
        severity="ERROR",
        blocking=False,
        description="The previous close is the session before's close, for index contracts, but "
        "for 1 % (none of 40,794 on 13 real pairs of days).",
        remedy=remedies.BACKFILL_PREVIOUS,
        threshold=0.01,
        unit="share of contracts",
        measure=_close_jumps,
        looks_back=True,
    ),
    Rule(
        name="lot_size_steady",
        table=TABLE,
        severity="WARN",
        blocking=False,
        description="No index contract changed its lot size overnight (none on 13 real pairs "
        "of days): history in contracts breaks where one does.",
        remedy=remedies.LOOK,
        threshold=0,
        unit="contracts with a new lot size",
        measure=_lot_changes,
        looks_back=True,
    ),
    Rule(
        name="expiry_steady",
        table=TABLE,
        severity="WARN",
        blocking=False,
        description="No contract was re-dated overnight (1,695 were on 2025-01-02, none on 12 "
        "other real pairs of days). On such a day the exchange's change of open interest counts "
        "a re-dated contract's whole open interest as new.",
        remedy=remedies.LOOK,
        threshold=0,
        unit="contracts with a new expiry",
        measure=_redated,
        looks_back=True,
    ),
    Rule(
        name="rows_not_collapsed",
        table=TABLE,
        severity="WARN",
        blocking=False,
        description="At most 30 % fewer contracts of the main indices than the session before "
        "(0.7 % on 13 real pairs of days).",
        remedy=remedies.REFETCH,
        threshold=0.3,
        unit="share of rows lost",
        measure=_fewer,
        looks_back=True,
    ),
)
