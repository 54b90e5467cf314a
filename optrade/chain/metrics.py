"""Figures of a whole expiry: put-call ratios, max pain, volatility at the money, coverage.

Belongs here: sums and ratios over all listed strikes of a chain, one row per expiry. Does not
belong here: per-option figures (`greeks`, `open_interest`), combinations of options
(`premium`), fitted surfaces.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from optrade.chain.grain import CLOSE, MINUTE, Grain
from optrade.chain.levels import moves, walls
from optrade.division import quotient
from optrade.tables import TABLES

_PAISE: Final = 100
ATM_REACH: Final = 0.05
"""The strikes that pin the volatility at the forward lie within this share of it."""


def chain_metrics_close(chain: pl.DataFrame, greeks: pl.DataFrame) -> pl.DataFrame:
    """`analytics.chain_metrics_close`: one row per expiry, any number of days.

    `chain` are rows of `snapshots.chain_close`, `greeks` those of `analytics.greeks_close` for
    the same options. Ratios cover all listed strikes, traded or not; the ratios of the whole
    underlying stand on each of its expiries.
    """
    return TABLES["analytics.chain_metrics_close"].conform(_metrics(chain, greeks, CLOSE))


def chain_metrics_minute(chain: pl.DataFrame, greeks: pl.DataFrame) -> pl.DataFrame:
    """`analytics.chain_metrics_minute`: one row per expiry and minute, any number of minutes.

    As `chain_metrics_close`, of rows of `snapshots.chain_minute` and `analytics.greeks_minute`,
    over the options that were heard of by then. A sum with an unknown part is null.
    """
    return TABLES["analytics.chain_metrics_minute"].conform(_metrics(chain, greeks, MINUTE))


def _metrics(chain: pl.DataFrame, greeks: pl.DataFrame, grain: Grain) -> pl.DataFrame:
    whole = (
        _sums(chain, grain)
        .with_columns(_ratios(grain))
        .join(_max_pains(chain, grain), on=grain.expiry, how="left")
        .join(_volatility(greeks, grain), on=grain.expiry, how="left")
        .join(_straddles(chain, grain), on=grain.expiry, how="left")
        .join(walls(chain, grain), on=grain.expiry, how="left")
        .with_columns(
            iv_coverage=pl.when(pl.col("priced") > 0).then(
                quotient(pl.col("iv_count"), pl.col("priced"))
            )
        )
    )
    return moves(whole, grain)


def max_pain(
    strikes: npt.ArrayLike, call_oi: npt.ArrayLike, put_oi: npt.ArrayLike
) -> tuple[float, float] | None:
    """The strike at which options pay out least, and what they pay there, in rupees.

    The payout at S is the sum of call_oi x max(S - K, 0) + put_oi x max(K - S, 0) over listed
    strikes K, rupees with `strikes` in rupees and open interest in whole units. S is one of
    `strikes` (any order, distinct); the lowest of equals. None without open interest.
    Exact for strikes in whole paise: one pass of cumulative sums in integers.

    >>> max_pain([90, 100, 110], [10, 20, 30], [30, 20, 10])
    (100.0, 200.0)
    """
    frame = pl.DataFrame(
        {
            "strike": np.asarray(strikes, np.float64),
            "call": np.asarray(call_oi, np.int64),
            "put": np.asarray(put_oi, np.int64),
        }
    )
    least = _least_payout(frame.with_columns(group=0), ("group",))
    return None if least.is_empty() else least.row(0)[1:]


def _least_payout(ladder: pl.DataFrame, key: tuple[str, ...]) -> pl.DataFrame:
    """key, max_pain_strike, max_pain_payout_rupees from key, strike, call, put (OI units)."""
    strike = (pl.col("strike") * _PAISE).round().cast(pl.Int64)
    call, put = pl.col("call"), pl.col("put")
    call_below = strike * call.cum_sum() - (strike * call).cum_sum()
    put_above = ((strike * put).sum() - (strike * put).cum_sum()) - strike * (
        put.sum() - put.cum_sum()
    )
    return (
        ladder.sort(*key, "strike")
        .filter(((call + put).sum() > 0).over(key))
        .with_columns(payout=(call_below + put_above).over(key))
        .sort(*key, "payout", "strike")
        .group_by(key, maintain_order=True)
        .agg(
            max_pain_strike=pl.col("strike").first(),
            max_pain_payout_rupees=quotient(pl.col("payout").first(), _PAISE),
        )
    )


def _total(column: str, option_type: str) -> pl.Expr:
    """The sum of a column over one side; null where a part of it is not known."""
    values = pl.col(column).filter(pl.col("option_type") == option_type)
    return pl.when(values.null_count() == 0).then(values.sum())


def _max_pains(chain: pl.DataFrame, grain: Grain) -> pl.DataFrame:
    call, put = pl.col("call"), pl.col("put")
    ladder = chain.group_by(*grain.expiry, "strike").agg(
        call=_total("oi_units", "CE"), put=_total("oi_units", "PE")
    )
    known = (call.is_not_null() & put.is_not_null()).all().over(grain.expiry)
    return _least_payout(ladder.filter(known), grain.expiry)


def _sums(chain: pl.DataFrame, grain: Grain) -> pl.DataFrame:
    shared = (
        "expiry_bucket",
        "bucket_alias",
        "spot",
        "forward",
        "forward_basis",
        "parity_pairs",
        "years_to_expiry",
        "atm_strike",
        "source",
    )
    return chain.group_by(grain.expiry).agg(
        pl.col(shared).first(),
        strikes=pl.col("strike").n_unique(),
        contracts_traded=(pl.coalesce("volume_lots", "volume_units") > 0).sum(),
        call_oi_units=_total("oi_units", "CE"),
        put_oi_units=_total("oi_units", "PE"),
        call_volume_units=_total("volume_units", "CE"),
        put_volume_units=_total("volume_units", "PE"),
        call_lots=_total("volume_lots", "CE"),
        put_lots=_total("volume_lots", "PE"),
        one_lot=pl.col("lot_size").n_unique() == 1,
    )


def _ratios(grain: Grain) -> tuple[pl.Expr, ...]:
    def ratio(put: pl.Expr, call: pl.Expr) -> pl.Expr:
        return pl.when(call > 0).then(quotient(put, call))

    def over_underlying(column: str) -> pl.Expr:
        known = pl.col(column).null_count().over(grain.underlying) == 0
        return pl.when(known).then(pl.col(column).sum().over(grain.underlying))

    lots = ratio(pl.col("put_lots"), pl.col("call_lots"))
    units = ratio(pl.col("put_volume_units"), pl.col("call_volume_units"))
    return (
        ratio(pl.col("put_oi_units"), pl.col("call_oi_units")).alias("pcr_oi"),
        pl.when("one_lot").then(pl.coalesce(lots, units)).otherwise(units).alias("pcr_volume"),
        ratio(over_underlying("put_oi_units"), over_underlying("call_oi_units")).alias(
            "underlying_pcr_oi"
        ),
        ratio(over_underlying("put_volume_units"), over_underlying("call_volume_units")).alias(
            "underlying_pcr_volume"
        ),
    )


def _straddles(chain: pl.DataFrame, grain: Grain) -> pl.DataFrame:
    legs = pl.col("close_price")
    return (
        chain.filter(pl.col("strike_offset") == 0)
        .group_by(grain.expiry)
        .agg(atm_straddle=pl.when(legs.count() == 2).then(legs.min() + legs.max()))
    )


def _volatility(greeks: pl.DataFrame, grain: Grain) -> pl.DataFrame:
    """atm_iv, its reason and iv_count per expiry.

    At each strike the out-of-the-money option speaks, the other one where it has no volatility;
    between the nearest such strike on each side total variance is linear in ln(K/F).
    """
    key = grain.expiry
    strike, forward, iv = pl.col("strike"), pl.col("forward"), pl.col("iv")
    otm = (pl.col("option_type") == "CE") == (strike > forward)
    smile = (
        greeks.filter(iv.is_not_null(), (strike - forward).abs() <= ATM_REACH * forward)
        .sort(*key, "strike", otm, descending=[False] * (len(key) + 1) + [True])
        .group_by(*key, "strike", maintain_order=True)
        .agg(pl.col("forward", "iv").first())
        .with_columns(k=quotient(strike, forward).log(), variance=iv * iv)
    )
    below, above = strike <= forward, strike > forward
    ends = smile.group_by(key, maintain_order=True).agg(
        k0=pl.col("k").filter(below).last(),
        k1=pl.col("k").filter(above).first(),
        v0=pl.col("variance").filter(below).last(),
        v1=pl.col("variance").filter(above).first(),
    )
    share = quotient(-pl.col("k0"), pl.col("k1") - pl.col("k0"))
    between = (pl.col("v0") + share * (pl.col("v1") - pl.col("v0"))).sqrt()
    at_strike = pl.when(pl.col("k0") == 0).then(pl.col("v0").sqrt())
    atm = ends.select(*key, atm_iv=pl.coalesce(at_strike, between))
    return _with_reason(greeks, atm, key)


def _with_reason(greeks: pl.DataFrame, atm: pl.DataFrame, key: tuple[str, ...]) -> pl.DataFrame:
    """Counts beside atm_iv, and where it is null the reason of the unsolved quote nearest it."""
    distance = (pl.col("strike") - pl.col("forward")).abs()
    nearest = pl.col("reason").sort_by(distance, "strike", "option_type", nulls_last=True)
    per_expiry = greeks.group_by(key).agg(
        iv_count=pl.col("iv").count(),
        priced=pl.col("price").count(),
        nearest=nearest.drop_nulls().first(),
    )
    joined = per_expiry.join(atm, on=key, how="left")
    reason = pl.when(pl.col("atm_iv").is_null()).then(pl.col("nearest").fill_null("no_trade"))
    return joined.with_columns(atm_iv_reason=reason).drop("nearest")
