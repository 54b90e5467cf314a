"""The option chain at the close: whole around the money.

Belongs here: rules of `snapshots.chain_close` about what is listed. Does not belong here: its
prices (`prices`), figures worked out from it (`analytics`), or its file (`bhavcopy`).
"""

from __future__ import annotations

import polars as pl

from optrade.quality import remedies
from optrade.quality.rules import DAY, Inputs, Rule, counted, missing, words

TABLE = "snapshots.chain_close"
BHAVCOPY = "raw.fo_bhavcopy"
LADDER_REACH = 10
"""Steps from the money within which the ladder must be whole."""

_EXPIRY = (DAY, "underlying", "expiry")
_OPTION = words("{} {} {} {}", "underlying", "expiry", "strike", "option_type")
_STRIKE = words("{} {} {}", "underlying", "expiry", "strike")
_TERM = words("{} {}", "underlying", "expiry")


def near(inputs: Inputs) -> pl.DataFrame:
    """Options of the expiries that fill a bucket: beyond, exchanges list thinly."""
    return inputs.frame(TABLE).filter(pl.col("expiry_bucket").is_not_null())


def _terms(inputs: Inputs) -> pl.DataFrame:
    """One row per expiry that fills a bucket, with its strikes either side of the money."""
    return (
        near(inputs)
        .group_by(_EXPIRY)
        .agg(
            above=pl.col("strike_offset").max(),
            below=-pl.col("strike_offset").min(),
        )
        .sort(_EXPIRY)
    )


def _uncovered(inputs: Inputs) -> pl.DataFrame:
    kind = pl.col("instrument_type")
    listed = inputs.frame(BHAVCOPY).filter(
        (pl.col("underlying_class") == "index") & (kind != "FUT")
    )
    keys = listed.select(*_EXPIRY, "strike", option_type=kind)
    return missing(inputs.frame(TABLE), keys, _OPTION)


def _gaps(inputs: Inputs) -> pl.DataFrame:
    strikes = (
        near(inputs)
        .filter(pl.col("strike_offset").abs() <= LADDER_REACH)
        .select(*_EXPIRY, "strike")
        .unique()
        .sort(*_EXPIRY, "strike")
        .with_columns(step=pl.col("strike").diff().over(_EXPIRY))
    )
    usual = pl.col("step").median().over(_EXPIRY)
    return counted(
        strikes.drop_nulls("step"),
        pl.col("step") >= 2 * usual,
        words("{} comes {} after the one below", _STRIKE, "step"),
    )


def _off_centre(inputs: Inputs) -> pl.DataFrame:
    least = pl.min_horizontal("above", "below")
    return counted(
        _terms(inputs),
        least < LADDER_REACH,
        words("{}: {} strikes below the money, {} above", _TERM, "below", "above"),
    )


def _unpaired(inputs: Inputs) -> pl.DataFrame:
    strikes = (
        near(inputs)
        .group_by(*_EXPIRY, "strike")
        .agg(sides=pl.col("option_type").n_unique(), only=pl.col("option_type").first())
        .sort(*_EXPIRY, "strike")
    )
    return counted(strikes, pl.col("sides") < 2, words("{} only {}", _STRIKE, "only"))


def _money_unknown(inputs: Inputs) -> pl.DataFrame:
    rows = near(inputs).filter(pl.col("underlying").is_in(["NIFTY", "BANKNIFTY"]))
    terms = rows.group_by(_EXPIRY).agg(pl.col("atm_strike").first()).sort(_EXPIRY)
    return counted(terms, pl.col("atm_strike").is_null(), _TERM)


def _nearest_unbucketed(inputs: Inputs) -> pl.DataFrame:
    live = inputs.frame(TABLE).filter(pl.col("expiry") >= pl.col(DAY))
    nearest = (
        live.group_by(DAY, "underlying")
        .agg(pl.col("expiry").min(), bucket=pl.col("expiry_bucket").sort_by("expiry").first())
        .sort(DAY, "underlying")
    )
    bucket = pl.col("bucket").fill_null("no bucket")
    return counted(nearest, bucket != "this_week", words("{} fills {}", _TERM, bucket))


def _units_off(inputs: Inputs) -> pl.DataFrame:
    lots = pl.col("volume_lots") * pl.col("lot_size")
    return counted(
        inputs.frame(TABLE).filter(pl.col("volume_lots") > 0),
        pl.col("volume_units") != lots,
        words("{}: {} units of {} lots", _OPTION, "volume_units", "volume_lots"),
    )


RULES: tuple[Rule, ...] = (
    Rule(
        name="covers_bhavcopy",
        table=TABLE,
        severity="ERROR",
        blocking=True,
        description="Every index option of the bhavcopy is there.",
        remedy=remedies.REBUILD,
        threshold=0,
        unit="options missing",
        measure=_uncovered,
        needs=(BHAVCOPY,),
    ),
    Rule(
        name="ladder_unbroken",
        table=TABLE,
        severity="ERROR",
        blocking=False,
        description="Within 10 steps of the money no strike is missing from the ladder of an "
        "expiry that fills a bucket (none of 3,500 on 18 real days).",
        remedy=remedies.REFETCH,
        threshold=0,
        unit="strikes missing",
        measure=_gaps,
    ),
    Rule(
        name="money_in_the_middle",
        table=TABLE,
        severity="WARN",
        blocking=False,
        description="Expiries that fill a bucket list at least 10 strikes either side of the "
        "money (all 175 on 18 real days).",
        remedy=remedies.LOOK,
        threshold=0,
        unit="expiries with the money off centre",
        measure=_off_centre,
    ),
    Rule(
        name="calls_and_puts_listed",
        table=TABLE,
        severity="ERROR",
        blocking=False,
        description="In an expiry that fills a bucket, every strike has a call and a put (all on "
        "18 real days; beyond, some NIFTY strikes have one side only).",
        remedy=remedies.REFETCH,
        threshold=0,
        unit="strikes with one side",
        measure=_unpaired,
    ),
    Rule(
        name="money_known",
        table=TABLE,
        severity="ERROR",
        blocking=True,
        description="NIFTY and BANKNIFTY have a money in every expiry that fills a bucket, by "
        "spot or by forward (on all 18 real days, old format included).",
        remedy=remedies.REBUILD,
        threshold=0,
        unit="expiries without a money",
        measure=_money_unknown,
    ),
    Rule(
        name="nearest_expiry_in_bucket",
        table=TABLE,
        severity="ERROR",
        blocking=True,
        description="The nearest expiry of every underlying fills `this_week`.",
        remedy=remedies.REBUILD,
        threshold=0,
        unit="underlyings without a nearest bucket",
        measure=_nearest_unbucketed,
    ),
    Rule(
        name="units_are_lots_times_lot",
        table=TABLE,
        severity="ERROR",
        blocking=True,
        description="Units traded are lots traded times the lot size, where that is known.",
        remedy=remedies.REBUILD,
        threshold=0,
        unit="options off",
        measure=_units_off,
    ),
)
