"""The forward price and the discount of an expiry, from what traded.

Belongs here: put-call parity over many expiries at once and its fallbacks. Does not belong
here: which session closed when, the spot's source (`optrade.chain.snapshot`), the option model.

Parity of European options: C - P = D (F - K). Closing prices are not simultaneous: pairs are
noisy, some are stale by hours. So only pairs of which both legs traded count, near the money,
weighted by the root of the smaller leg's volume, in a regression that rejects outliers
(Tukey's bisquare by iterated reweighting; Beaton & Tukey, Technometrics 16, 1974). Its slope
hardly pins D near expiry (a tick of noise over a few hundred rupees of strikes), so D is drawn
to exp(-rate x years) as by a normal prior on the rate: far out the quotes decide, near the
configured rate does.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

Array = npt.NDArray[np.float64]

RATE: Final = 0.065
"""Default rate a year, continuously compounded."""
MIN_PAIRS: Final = 3
"""Parity needs so many pairs, else it is too thin."""
NEAREST_PAIRS: Final = 16
BAND: Final = 0.10
"""Pairs lie within this share of the centre, the median estimate of the five busiest pairs."""
RATE_DEVIATION: Final = 0.01
"""Standard deviation of the prior on the rate; it can't leave three of them."""
MAX_ERROR: Final = 0.005
"""Parity whose standard error is above this share of the forward counts as too thin."""

_EXPIRY: Final = ("trade_date", "underlying", "expiry")
_BUSIEST: Final = 5
_ITERATIONS: Final = 12
_BISQUARE: Final = 4.685
_SMALLEST_SCALE: Final = 0.025  # half a tick: quotes are not finer than that


def forwards(
    options: pl.DataFrame, futures: pl.DataFrame, expiries: pl.DataFrame, rate: float = RATE
) -> pl.DataFrame:
    """Forward and discount of every expiry: parity, else its future, else spot carried.

    - `options`: trade_date, underlying, expiry, strike, option_type, price, volume; one row
      per listed option, price null or volume 0 where it did not trade
    - `futures`: trade_date, underlying, expiry, price, volume, likewise
    - `expiries`: one row per trade_date, underlying, expiry with years and spot (maybe null)

    Columns: trade_date, underlying, expiry, forward, discount_factor, forward_basis ("parity",
    "future", "carry", or null when nothing pins it), parity_pairs (pairs the regression kept;
    null for another basis). One row per row of `expiries`, sorted by key.
    """
    carry = pl.col("spot") * (rate * pl.col("years")).exp()
    traded = futures.filter(pl.col("volume") > 0, pl.col("price") > 0)
    found = (
        expiries.select(*_EXPIRY, "years", "spot")
        .sort(_EXPIRY)
        .join(parity_forwards(options, expiries, rate), on=_EXPIRY, how="left")
        .join(traded.select(*_EXPIRY, future="price"), on=_EXPIRY, how="left")
    )
    basis = (
        pl.when(pl.col("parity").is_not_null())
        .then(pl.lit("parity"))
        .when(pl.col("future").is_not_null())
        .then(pl.lit("future"))
        .when(pl.col("spot").is_not_null())
        .then(pl.lit("carry"))
    )
    forward = pl.coalesce("parity", "future", carry)
    flat = pl.when(forward.is_not_null()).then((-rate * pl.col("years")).exp())
    return found.select(
        *_EXPIRY,
        forward=forward,
        discount_factor=pl.coalesce("parity_discount", flat),
        forward_basis=basis,
        parity_pairs="parity_pairs",
    )


def parity_forwards(
    options: pl.DataFrame, expiries: pl.DataFrame, rate: float = RATE
) -> pl.DataFrame:
    """Forward and discount by parity, for the expiries with `MIN_PAIRS` pairs or more.

    Arguments as in `forwards`. Columns: trade_date, underlying, expiry, parity,
    parity_discount, parity_error (standard error of the forward, rupees), parity_pairs.
    """
    pairs = _near_pairs(options, expiries, rate)
    keys = pairs.select(_EXPIRY).unique(maintain_order=True)
    group = pairs.select(pl.struct(_EXPIRY).rle_id()).to_series().to_numpy().astype(np.int64)
    one = pairs.group_by(_EXPIRY, maintain_order=True).agg(pl.col("years", "centre").first())
    fit = _fit(
        group,
        pairs["strike"].to_numpy(),
        pairs["difference"].to_numpy(),
        np.sqrt(pairs["volume"].to_numpy().astype(np.float64)),
        one["years"].to_numpy(),
        one["centre"].to_numpy(),
        rate,
    )
    return keys.with_columns(**fit).filter(
        pl.col("parity_pairs") >= MIN_PAIRS,
        pl.col("parity") > 0,
        pl.col("parity_error") <= MAX_ERROR * pl.col("parity"),
    )


def _near_pairs(options: pl.DataFrame, expiries: pl.DataFrame, rate: float) -> pl.DataFrame:
    """Call-put pairs that traded near the money: strike, difference C - P, smaller volume."""
    legs = options.filter(pl.col("volume") > 0, pl.col("price").is_not_null())
    call, put = (
        legs.filter(pl.col("option_type") == side).select(*_EXPIRY, "strike", "price", "volume")
        for side in ("CE", "PE")
    )
    away = (pl.col("strike") - pl.col("centre")).abs()
    estimate = pl.col("strike") + pl.col("difference") * (rate * pl.col("years")).exp()
    return (
        call.join(put, on=[*_EXPIRY, "strike"], suffix="_put")
        .join(expiries.select(*_EXPIRY, "years"), on=_EXPIRY)
        .select(
            *_EXPIRY,
            "strike",
            "years",
            difference=pl.col("price") - pl.col("price_put"),
            volume=pl.min_horizontal("volume", "volume_put"),
        )
        .sort(*_EXPIRY, "strike")
        .with_columns(
            centre=estimate.sort_by("volume", descending=True, maintain_order=True)
            .head(_BUSIEST)
            .median()
            .over(_EXPIRY)
        )
        .filter(away <= BAND * pl.col("centre"))
        .filter(away.rank("ordinal").over(_EXPIRY) <= NEAREST_PAIRS)
    )


def _fit(
    group: npt.NDArray[np.int64],
    strike: Array,
    difference: Array,
    weight: Array,
    years: Array,
    centre: Array,
    rate: float,
) -> dict[str, Array]:
    """All regressions at once: rows are pairs, `group` their expiry, one result per expiry.

    Sums go row by row in order, so a group's figures do not depend on its neighbours.
    """
    groups = years.size

    def total(values: Array) -> Array:
        return np.bincount(group, values, groups).astype(np.float64)

    flat = np.exp(-rate * years)
    prior = (RATE_DEVIATION * years * flat) ** 2
    lowest = np.exp(-(rate + 3 * RATE_DEVIATION) * years)
    highest = np.exp(-max(rate - 3 * RATE_DEVIATION, 0.0) * years)
    weight = weight / (total(weight) / np.maximum(total(np.ones_like(weight)), 1))[group]
    forward, discount = centre, flat
    for _ in range(_ITERATIONS):
        residual = np.abs(difference - (discount * forward)[group] + discount[group] * strike)
        scale = np.maximum(1.4826 * _medians(group, residual, groups), _SMALLEST_SCALE)
        reach = residual / (_BISQUARE * scale[group])
        w = weight * np.maximum(1 - reach * reach, 0.0) ** 2
        sum_w = total(w)
        mean_k, mean_y = total(w * strike) / sum_w, total(w * difference) / sum_w
        k, y = strike - mean_k[group], difference - mean_y[group]
        pull = -total(w * k * y) - flat * total(w * k * k)
        discount = flat + prior * pull / (prior * total(w * k * k) + scale * scale)
        discount = np.clip(discount, lowest, highest)
        forward = mean_k + mean_y / discount
    return {
        "parity": forward,
        "parity_discount": discount,
        "parity_error": scale * np.sqrt(total(w * w)) / sum_w,
        "parity_pairs": total((w > 0).astype(np.float64)),
    }


def _medians(group: npt.NDArray[np.int64], values: Array, groups: int) -> Array:
    """The lower median of each group's values; every group has at least one."""
    order = np.lexsort((values, group))
    size = np.bincount(group, minlength=groups)
    first = np.cumsum(size) - size
    return np.asarray(values[order][first + (size - 1) // 2])
