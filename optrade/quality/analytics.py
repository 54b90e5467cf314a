"""What is worked out from the chain: covers it, adds up to it, and stays plausible.

Belongs here: rules of the `analytics` tables at the close. Does not belong here: rules of the
chain itself (`chain`) and of premium (`premium`).
"""

from __future__ import annotations

from functools import partial

import polars as pl

from optrade.quality import remedies
from optrade.quality.rules import DAY, Inputs, Rule, counted, largest, missing, words

CHAIN, INDEX_CLOSE = "snapshots.chain_close", "raw.index_close"
GREEKS, METRICS = "analytics.greeks_close", "analytics.chain_metrics_close"
OPEN_INTEREST = "analytics.open_interest_close"
ENOUGH_TRADED = 50
"""Options an expiry must have traded for its volatility to be judged."""

_EXPIRY = (DAY, "underlying", "expiry")
_TERM = words("{} {}", "underlying", "expiry")
_OPTION = words("{} {} {} {}", "underlying", "expiry", "strike", "option_type")


def _uncovered(inputs: Inputs, table: str, key: tuple[str, ...], text: pl.Expr) -> pl.DataFrame:
    expected = inputs.frame(CHAIN).select(key)
    if key == _EXPIRY:
        expected = expected.unique().sort(key)
    return missing(inputs.frame(table), expected, text)


def _unexplained(inputs: Inputs, table: str, figure: str) -> pl.DataFrame:
    bad = pl.col(figure).is_null() != pl.col("reason").is_not_null()
    return counted(inputs.frame(table), bad, _OPTION)


def _wrong_sign(inputs: Inputs) -> pl.DataFrame:
    delta = pl.col("delta")
    call = pl.col("option_type") == "CE"
    right = pl.when(call).then(delta.is_between(0, 1)).otherwise(delta.is_between(-1, 0))
    return counted(inputs.frame(GREEKS), ~right, words("{}: delta {}", _OPTION, delta))


def _judged(inputs: Inputs) -> pl.DataFrame:
    """Expiries that fill a bucket, are not over, and traded enough."""
    return inputs.frame(METRICS).filter(
        pl.col("expiry_bucket").is_not_null()
        & (pl.col("years_to_expiry") > 0)
        & (pl.col("contracts_traded") >= ENOUGH_TRADED)
    )


def _uncovered_iv(inputs: Inputs) -> pl.DataFrame:
    text = words("{}: {} of {}", _TERM, "iv_count", "contracts_traded")
    return largest(_judged(inputs), 1 - pl.col("iv_coverage"), text)


def _implausible_iv(inputs: Inputs) -> pl.DataFrame:
    iv = pl.col("atm_iv")
    bad = ~iv.is_between(0.03, 1.5).fill_null(value=False)
    text = words("{}: atm_iv {}", _TERM, iv.round(4))
    return counted(_judged(inputs), bad, text)


def _iv_off_vix(inputs: Inputs) -> pl.DataFrame:
    """NIFTY's expiry nearest to 30 days ahead against India VIX, both in percent a year."""
    days = pl.col("years_to_expiry") * 365
    nearest = (
        _judged(inputs)
        .filter((pl.col("underlying") == "NIFTY") & pl.col("atm_iv").is_not_null())
        .sort(DAY, (days - 30).abs(), "expiry")
        .group_by(DAY, maintain_order=True)
        .first()
    )
    vix = inputs.frame(INDEX_CLOSE).filter(pl.col("index_name") == "India VIX")
    both = nearest.join(vix.select(DAY, vix="close"), on=DAY, maintain_order="left")
    iv = pl.col("atm_iv") * 100
    off = (iv / pl.col("vix")).log().abs()
    return largest(both, off, words("{}: {} against {}", _TERM, iv.round(2), "vix"))


def _sums_off(inputs: Inputs) -> pl.DataFrame:
    side, oi = pl.col("option_type"), pl.col("oi_units")
    sums = (
        inputs.frame(CHAIN)
        .group_by(_EXPIRY)
        .agg(
            calls=oi.filter(side == "CE").sum(),
            puts=oi.filter(side == "PE").sum(),
            listed=pl.col("strike").n_unique(),
        )
    )
    agrees = (
        (pl.col("call_oi_units") == pl.col("calls"))
        & (pl.col("put_oi_units") == pl.col("puts"))
        & (pl.col("strikes") == pl.col("listed"))
    )
    text = words(
        "{}: calls {} against {}, puts {} against {}",
        _TERM,
        "call_oi_units",
        "calls",
        "put_oi_units",
        "puts",
    )
    rows = inputs.frame(METRICS).join(sums, on=_EXPIRY, how="left", maintain_order="left")
    return counted(rows, ~agrees.fill_null(value=False), text)


def _pain_outside(inputs: Inputs) -> pl.DataFrame:
    listed = inputs.frame(CHAIN).select(*_EXPIRY, max_pain_strike="strike", listed=True).unique()
    rows = (
        inputs.frame(METRICS)
        .drop_nulls("max_pain_strike")
        .join(listed, on=[*_EXPIRY, "max_pain_strike"], how="left", maintain_order="left")
    )
    return counted(rows, pl.col("listed").is_null(), words("{}: {}", _TERM, "max_pain_strike"))


def _shares_off(inputs: Inputs) -> pl.DataFrame:
    sums = (
        inputs.frame(OPEN_INTEREST)
        .group_by(*_EXPIRY, "option_type")
        .agg(pl.col("oi_share").sum(), held=pl.col("oi_share").count())
        .filter(pl.col("held") > 0)
        .sort(*_EXPIRY, "option_type")
    )
    return largest(
        sums,
        (pl.col("oi_share") - 1).abs(),
        words("{} {}: {}", _TERM, "option_type", "oi_share"),
    )


def _covers_chain(table: str, what: str, key: tuple[str, ...], text: pl.Expr) -> Rule:
    return Rule(
        name="covers_chain",
        table=table,
        severity="ERROR",
        blocking=True,
        description=f"Every {what} of the chain has its row.",
        remedy=remedies.REBUILD,
        threshold=0,
        unit="rows missing",
        measure=partial(_uncovered, table=table, key=key, text=text),
        needs=(CHAIN,),
    )


def _explained(table: str, figure: str) -> Rule:
    return Rule(
        name="nulls_explained",
        table=table,
        severity="ERROR",
        blocking=False,
        description=f"`{figure}` is null exactly where a reason is given.",
        remedy=remedies.REBUILD,
        threshold=0,
        unit="rows unexplained",
        measure=partial(_unexplained, table=table, figure=figure),
    )


_CHAIN_KEY = (*_EXPIRY, "strike", "option_type")

RULES: tuple[Rule, ...] = (
    _covers_chain(GREEKS, "option", _CHAIN_KEY, _OPTION),
    _explained(GREEKS, "iv"),
    Rule(
        name="delta_has_its_sign",
        table=GREEKS,
        severity="ERROR",
        blocking=True,
        description="A call's delta is 0 to 1, a put's -1 to 0.",
        remedy=remedies.REBUILD,
        threshold=0,
        unit="deltas of the wrong sign",
        measure=_wrong_sign,
    ),
    _covers_chain(METRICS, "expiry", _EXPIRY, _TERM),
    Rule(
        name="agrees_with_chain",
        table=METRICS,
        severity="ERROR",
        blocking=True,
        description="Open interest in calls and puts and the number of strikes are the chain's.",
        remedy=remedies.REBUILD,
        threshold=0,
        unit="expiries that differ",
        measure=_sums_off,
        needs=(CHAIN,),
    ),
    Rule(
        name="max_pain_is_listed",
        table=METRICS,
        severity="ERROR",
        blocking=False,
        description="Max pain is one of the listed strikes.",
        remedy=remedies.REBUILD,
        threshold=0,
        unit="expiries with an unlisted strike",
        measure=_pain_outside,
        needs=(CHAIN,),
    ),
    Rule(
        name="iv_coverage",
        table=METRICS,
        severity="WARN",
        blocking=False,
        description="In expiries that fill a bucket and traded 50 options, at least 60 % of "
        "them have a volatility (70 % at worst in 128 real expiries).",
        remedy=remedies.LOOK,
        threshold=0.4,
        unit="share without a volatility, at most",
        measure=_uncovered_iv,
    ),
    Rule(
        name="atm_iv_plausible",
        table=METRICS,
        severity="WARN",
        blocking=False,
        description="In the same expiries the volatility at the money is known and between 3 % "
        "and 150 % a year (6 % to 25 % in 128 real expiries).",
        remedy=remedies.LOOK,
        threshold=0,
        unit="expiries out of the band",
        measure=_implausible_iv,
    ),
    Rule(
        name="atm_iv_near_vix",
        table=METRICS,
        severity="WARN",
        blocking=False,
        description="NIFTY's volatility at the money nearest to 30 days ahead is within a factor "
        "1.5 of India VIX (1.04 at most on 6 real days that have both).",
        remedy=remedies.LOOK,
        threshold=0.405,
        unit="|ln(atm_iv / VIX)|, at most",
        measure=_iv_off_vix,
        needs=(INDEX_CLOSE,),
    ),
    _covers_chain(OPEN_INTEREST, "option", _CHAIN_KEY, _OPTION),
    _explained(OPEN_INTEREST, "buildup"),
    Rule(
        name="shares_sum_to_one",
        table=OPEN_INTEREST,
        severity="ERROR",
        blocking=False,
        description="The shares of an expiry's calls, and of its puts, add up to 1.",
        remedy=remedies.REBUILD,
        threshold=1e-9,
        unit="largest distance from 1",
        measure=_shares_off,
    ),
)
