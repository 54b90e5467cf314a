"""The tables of the surface, from the chain and its implied volatilities.

Belongs here: which quotes a slice is fitted to and what they weigh, the reasons where there is
none, and the rows at each grain. Does not belong here: the mathematics (the modules beside this
one).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from optrade.chain.grain import CLOSE, MINUTE, Grain
from optrade.division import quotient
from optrade.surface.arbitrage import butterflies, calendars
from optrade.surface.calibration import calibrate
from optrade.surface.points import between, of_slices, read
from optrade.surface.repair import Quotes, Range, repaired
from optrade.surface.svi import Array, Slices, total_variance
from optrade.tables import TABLES

MIN_QUOTES: Final = 6
"""One more than a slice has parameters."""
NOISE: Final = 0.01
"""What closing quotes of one smile scatter by anyway, as a share of the volatility."""
MATURITIES: Final = (7, 30, 60, 90)
"""Calendar days."""
_DAYS_A_YEAR: Final = 365


def surface_close(
    chain: pl.DataFrame, greeks: pl.DataFrame, *, repair: bool = True
) -> pl.DataFrame:
    """`analytics.surface_close`: one row per expiry, any number of days.

    `chain` are rows of `snapshots.chain_close`, `greeks` those of `analytics.greeks_close` for
    the same options. A slice is fitted to the out-of-the-money option of every strike that has
    a volatility, each weighted by 1 / (iv_error^2 + (NOISE x iv)^2), the square of what it may
    be wrong by. With `repair`, slices with arbitrage are fitted again without.

    `reason` says why there is no slice, the first that holds of: expired, no_forward,
    few_quotes (under MIN_QUOTES); `points_reason` why a point is null: no_slice, or
    outside_quotes.
    """
    return TABLES["analytics.surface_close"].conform(_surface(chain, greeks, CLOSE, repair=repair))


def surface_minute(
    chain: pl.DataFrame, greeks: pl.DataFrame, *, repair: bool = True
) -> pl.DataFrame:
    """`analytics.surface_minute`: as `surface_close`, by minute, any number of minutes."""
    return TABLES["analytics.surface_minute"].conform(
        _surface(chain, greeks, MINUTE, repair=repair)
    )


def surface_points_close(
    surface: pl.DataFrame, maturities: Sequence[int] = MATURITIES
) -> pl.DataFrame:
    """`analytics.surface_points_close` of rows of `analytics.surface_close`, any number of days.

    One row per underlying and each of `maturities` (calendar days). `reason` says why a point is
    null, the first that holds of: no_slice (of any expiry), before_first_expiry,
    after_last_expiry, outside_quotes.
    """
    return TABLES["analytics.surface_points_close"].conform(
        _surface_points(surface, maturities, CLOSE)
    )


def surface_points_minute(
    surface: pl.DataFrame, maturities: Sequence[int] = MATURITIES
) -> pl.DataFrame:
    """`analytics.surface_points_minute`: as `surface_points_close`, by minute."""
    return TABLES["analytics.surface_points_minute"].conform(
        _surface_points(surface, maturities, MINUTE)
    )


def smile_quotes(greeks: pl.DataFrame) -> pl.DataFrame:
    """The rows of a greeks table that a slice is fitted to, with k, w and weight beside them.

    k = ln(strike / forward), w = iv^2 x years_to_expiry; at the forward's own strike the put.
    """
    out_of_the_money = (pl.col("option_type") == "CE") == (pl.col("strike") > pl.col("forward"))
    years, iv, error = pl.col("years_to_expiry"), pl.col("iv"), pl.col("iv_error")
    # An error of the volatility is 2 iv years times one of w.
    spread = 2 * iv * years
    variance = spread * spread * (error * error + NOISE * NOISE * iv * iv)
    return greeks.filter(out_of_the_money, iv > 0, years > 0).with_columns(
        k=quotient(pl.col("strike"), pl.col("forward")).log(),
        w=iv * iv * years,
        weight=quotient(iv * 0 + 1, variance),
    )


def _surface(
    chain: pl.DataFrame, greeks: pl.DataFrame, grain: Grain, *, repair: bool
) -> pl.DataFrame:
    expiries = _expiries(chain, grain)
    quotes = (
        smile_quotes(greeks)
        .join(expiries.select(*grain.expiry, "row"), on=grain.expiry)
        .sort("row", "strike")
    )
    extent = quotes.group_by("row").agg(
        quotes=pl.len().cast(pl.Int64),
        low_log_moneyness=pl.col("k").first(),
        high_log_moneyness=pl.col("k").last(),
    )
    expiries = expiries.join(extent, on="row", how="left", maintain_order="left").with_columns(
        pl.col("quotes").fill_null(0)
    )
    expiries = expiries.with_columns(reason=_refusal())
    fitted = expiries.filter(pl.col("reason").is_null())
    used = quotes.join(fitted.select("row"), on="row", how="semi", maintain_order="left")
    figures = _figures(fitted, used, repair=repair)
    rows = expiries.join(figures, on="row", how="left", maintain_order="left")
    unread = pl.any_horizontal(pl.col("atm_iv", "put_25_iv", "call_25_iv").is_null())
    return rows.with_columns(
        repaired=pl.col("repaired").fill_null(value=False),
        points_reason=pl.when(pl.col("reason").is_not_null())
        .then(pl.lit("no_slice"))
        .when(unread)
        .then(pl.lit("outside_quotes")),
    )


def _expiries(chain: pl.DataFrame, grain: Grain) -> pl.DataFrame:
    """One row per expiry, numbered near to far within each surface, and its surface's number."""
    shared = ("expiry_bucket", "bucket_alias", "forward", "years_to_expiry", "source")
    return (
        chain.group_by(grain.expiry)
        .agg(pl.col(shared).first())
        .sort(grain.expiry)
        .with_row_index("row")
        .with_columns(surface=pl.struct(grain.underlying).rank("dense").cast(pl.Int64))
    )


def _refusal() -> pl.Expr:
    return (
        pl.when(pl.col("years_to_expiry") <= 0)
        .then(pl.lit("expired"))
        .when(pl.col("forward").is_null())
        .then(pl.lit("no_forward"))
        .when(pl.col("quotes") < MIN_QUOTES)
        .then(pl.lit("few_quotes"))
    )


def _figures(fitted: pl.DataFrame, quotes: pl.DataFrame, *, repair: bool) -> pl.DataFrame:
    """Every figure of the expiries that have a slice, by `row`."""
    k, w, weight, iv = (quotes[name].to_numpy() for name in ("k", "w", "weight", "iv"))
    low, high, years = (
        fitted[name].to_numpy()
        for name in ("low_log_moneyness", "high_log_moneyness", "years_to_expiry")
    )
    sizes, surface = fitted["quotes"].to_numpy(), fitted["surface"].to_numpy()
    first = calibrate(k, w, weight, sizes)
    where = Range(low, high)
    before, before_rmse = _audit(first, surface, where), _rmse(first, k, iv, years, sizes)
    slices, after, after_rmse = first, before, before_rmse
    changed = np.zeros(len(sizes), bool)
    bad = before["butterfly_violations"] + before["calendar_violations"] > 0
    if repair and bad.any():
        slices, changed = _repair(first, (k, w, weight), sizes, surface, bad, where)
        after, after_rmse = _audit(slices, surface, where), _rmse(slices, k, iv, years, sizes)
    kept = ("min_g", "butterfly_violations", "calendar_violations")
    figures = {
        **slices._asdict(),
        "rmse": after_rmse,
        **{name: after[name] for name in kept},
        "repaired": changed,
        "fit_rmse": before_rmse,
        **{f"fit_{name}": values for name, values in before.items()},
        **read(of_slices(slices), years, low, high),
    }
    return pl.DataFrame(
        [
            fitted["row"],
            *(pl.Series(name, values, nan_to_null=True) for name, values in figures.items()),
        ]
    )


def _audit(
    slices: Slices, surface: npt.NDArray[np.int64], where: Range
) -> dict[str, npt.NDArray[Any]]:
    butterfly, calendar = butterflies(slices, *where), calendars(slices, surface, *where)
    return {
        "min_g": butterfly.min_g,
        "min_g_log_moneyness": butterfly.at,
        "butterfly_violations": butterfly.violations,
        "calendar_violations": calendar.violations,
        "calendar_gap": calendar.gap,
        "calendar_gap_log_moneyness": calendar.at,
    }


def _rmse(slices: Slices, k: Array, iv: Array, years: Array, sizes: npt.NDArray[np.int64]) -> Array:
    """Root mean square of fitted less quoted volatility, by slice."""
    if not len(sizes):
        return np.empty(0)
    of = np.repeat(np.arange(len(sizes)), sizes)
    w = total_variance(slices.take(of), k[:, None])[:, 0]
    missed = np.sqrt(np.maximum(w, 0.0) / years[of]) - iv
    first = np.cumsum(sizes) - sizes
    return np.asarray(np.sqrt(np.add.reduceat(missed * missed, first) / sizes))


def _repair(
    first: Slices,
    quotes: tuple[Array, Array, Array],
    sizes: npt.NDArray[np.int64],
    surface: npt.NDArray[np.int64],
    bad: npt.NDArray[np.bool_],
    where: Range,
) -> tuple[Slices, npt.NDArray[np.bool_]]:
    """The slices of all surfaces without arbitrage, and which of them changed."""
    slices = Slices(*(values.copy() for values in first))
    changed = np.zeros(len(sizes), bool)
    ends = np.cumsum(sizes)
    for number in np.unique(surface[bad]):
        rows = np.flatnonzero(surface == number)
        own = [
            Quotes(*(part[end - size : end] for part in quotes))
            for end, size in zip(ends[rows], sizes[rows], strict=True)
        ]
        new, changed[rows] = repaired(first.take(rows), own, where.take(rows))
        for values, value in zip(slices, new, strict=True):
            values[rows] = value
    return slices, changed


def _surface_points(surface: pl.DataFrame, maturities: Sequence[int], grain: Grain) -> pl.DataFrame:
    key = grain.underlying
    kept = ("expiry", *Slices._fields, "low_log_moneyness", "high_log_moneyness")
    slices = (
        surface.filter(pl.col("a").is_not_null())
        .select(*key, *kept, years="years_to_expiry")
        .sort("years")
    )
    books = surface.group_by(key).agg(pl.col("source").first())
    days = pl.DataFrame({"maturity_days": pl.Series(sorted(set(maturities)), dtype=pl.Int64)})
    wanted = books.join(days, how="cross").with_columns(
        years=quotient(pl.col("maturity_days"), pl.lit(float(_DAYS_A_YEAR)))
    )
    sides: tuple[tuple[str, Literal["backward", "forward"]], ...]
    sides = (("near", "backward"), ("far", "forward"))
    for side, strategy in sides:
        named = slices.select(
            *key, "years", *(pl.col(name).alias(f"{side}_{name}") for name in (*kept, "years"))
        )
        wanted = wanted.sort("years").join_asof(
            named, on="years", by=key, strategy=strategy, check_sortedness=False
        )
    near, far = (pl.col(f"{side}_expiry").is_null() for side in ("near", "far"))
    wanted = wanted.sort(*key, "maturity_days").with_columns(
        reason=pl.when(near & far)
        .then(pl.lit("no_slice"))
        .when(near)
        .then(pl.lit("before_first_expiry"))
        .when(far)
        .then(pl.lit("after_last_expiry"))
    )
    points = _read_between(wanted)
    unread = pl.any_horizontal(pl.col("atm_iv", "put_25_iv", "call_25_iv").is_null())
    return points.with_columns(
        reason=pl.when(pl.col("reason").is_null() & unread)
        .then(pl.lit("outside_quotes"))
        .otherwise("reason")
    )


def _read_between(wanted: pl.DataFrame) -> pl.DataFrame:
    """The points between the near and the far slice of each row, null where one is missing."""

    def column(name: str) -> Array:
        return wanted[name].cast(pl.Float64).fill_null(np.nan).to_numpy()

    near, far = (
        Slices(*(column(f"{side}_{name}") for name in Slices._fields)) for side in ("near", "far")
    )
    years, start, end = column("years"), column("near_years"), column("far_years")
    apart = end - start
    share = np.divide(years - start, apart, out=np.zeros_like(apart), where=apart > 0)
    low = np.maximum(column("near_low_log_moneyness"), column("far_low_log_moneyness"))
    high = np.minimum(column("near_high_log_moneyness"), column("far_high_log_moneyness"))
    points = read(between(near, far, share), years, low, high)
    return wanted.with_columns(
        pl.Series(name, values, nan_to_null=True) for name, values in points.items()
    )
