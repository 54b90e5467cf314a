"""Gamma exposure: how much of the underlying the other side of an option book must trade.

Belongs here: the exposure of a whole chain under named assumptions of who holds which side, and
the level at which it changes sign. Does not belong here: greeks of one option (`greeks`), who
the participants are (`optrade.participants`).

Nobody publishes who sold which option, so the sign of an exposure is an assumption and never a
fact. Three are kept side by side; where their flip levels disagree no label is given. Method: the
sum over options of weight x open interest x gamma, as in S. Barbon and A. Buraschi, "Gamma
fragility" (2020), with each option's own volatility held while the forward moves.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from optrade.chain.grain import CLOSE, MINUTE, Grain
from optrade.division import quotient
from optrade.tables import TABLES

Array = npt.NDArray[np.float64]

ASSUMED: Final = {"calls_long": (1.0, -1.0), "calls_short": (-1.0, 1.0)}
"""Weights of calls and puts in the book of dealers, by assumption."""
PARTICIPANTS: Final = "participants"
REACH: Final = 0.10
"""A flip is looked for within this log move of spot."""
AGREEMENT: Final = 0.005
"""Flip levels within this share of spot agree."""
_STEPS: Final = 81
_ROWS: Final = 50_000  # options whose curves fit into memory together
_PER_CENT: Final = 0.01
_ROOT_2_PI: Final = float(np.sqrt(2 * np.pi))


def dealer_weights(positions: pl.DataFrame) -> pl.DataFrame:
    """The side PRO holds in index calls and puts: frame[trade_date, call_weight, put_weight].

    `positions` are rows of `participants.positions`. A weight is net over gross contracts,
    between -1 and 1, of the whole market: the exchange publishes none of a single index.
    """

    def weight(segment: str) -> pl.Expr:
        here = pl.col("segment") == segment
        net = pl.col("net_contracts").filter(here).sum()
        gross = (pl.col("long_contracts") + pl.col("short_contracts")).filter(here).sum()
        return pl.when(gross > 0).then(quotient(net, gross))

    return (
        positions.filter(participant="PRO")
        .group_by("trade_date")
        .agg(call_weight=weight("index_call"), put_weight=weight("index_put"))
    )


def gamma_exposure_close(
    chain: pl.DataFrame, greeks: pl.DataFrame, weights: pl.DataFrame
) -> pl.DataFrame:
    """`analytics.gamma_exposure_close`: three rows per underlying and day, any number of days.

    `chain` and `greeks` are rows of `snapshots.chain_close` and `analytics.greeks_close`,
    `weights` those of `dealer_weights` for the same days.
    """
    return TABLES["analytics.gamma_exposure_close"].conform(
        _exposure(chain, greeks, weights, CLOSE)
    )


def gamma_exposure_minute(
    chain: pl.DataFrame, greeks: pl.DataFrame, weights: pl.DataFrame
) -> pl.DataFrame:
    """`analytics.gamma_exposure_minute`: as at the close, by minute.

    `weights` carry the date they are used on: they are of the evening before, for nothing newer
    is published during a session.
    """
    return TABLES["analytics.gamma_exposure_minute"].conform(
        _exposure(chain, greeks, weights, MINUTE)
    )


def _exposure(
    chain: pl.DataFrame, greeks: pl.DataFrame, weights: pl.DataFrame, grain: Grain
) -> pl.DataFrame:
    options = _options(chain, greeks, grain)
    books = _books(options, grain).join(weights, on="trade_date", how="left")
    calls, puts = gamma_curves(options.filter("usable"), books.height)
    each = [_under(books, calls, puts, name) for name in (*ASSUMED, PARTICIPANTS)]
    return _labelled(pl.concat(each), grain.underlying)


def _options(chain: pl.DataFrame, greeks: pl.DataFrame, grain: Grain) -> pl.DataFrame:
    """Every option of a chain with what its gamma needs, and the number of its book."""
    key = (*grain.expiry, "strike", "option_type")
    held = chain.select(*key, "oi_units", "spot", "years_to_expiry", "discount_factor", "source")
    options = held.join(greeks.select(*key, "iv", "forward"), on=key, how="left")
    needed = pl.all_horizontal(pl.col("iv", "oi_units", "forward", "discount_factor").is_not_null())
    book = pl.struct(grain.underlying).rank("dense").cast(pl.Int64) - 1
    return options.with_columns(usable=needed & (pl.col("iv") > 0), book=book)


def _books(options: pl.DataFrame, grain: Grain) -> pl.DataFrame:
    """One row per chain of an underlying at a moment, by its number."""
    oi = pl.col("oi_units").filter(pl.col("years_to_expiry") > 0)
    return (
        options.group_by("book", *grain.underlying)
        .agg(
            pl.col("spot", "source").first(),
            options=pl.col("usable").sum().cast(pl.Int64),
            oi_share=pl.when(oi.sum() > 0, oi.null_count() == 0).then(
                quotient(pl.col("oi_units").filter("usable").sum(), oi.sum())
            ),
        )
        .sort("book")
    )


def gamma_curves(options: pl.DataFrame, books: int) -> tuple[Array, Array]:
    """Unsigned gamma of the calls and of the puts of each book, over moves of the forward.

    `options` has book (0 to `books` - 1), option_type, strike, forward, iv, years_to_expiry,
    discount_factor and oi_units. Both arrays have shape (books, steps): rupees of the underlying
    to trade when it moves by one percent, with every forward at e^x of its level for x from
    -REACH to REACH in equal steps.
    """
    curves = np.zeros((2, books, _STEPS))
    for some in options.iter_slices(_ROWS):
        book = some["book"].to_numpy()
        call = (some["option_type"] == "CE").to_numpy()
        gamma = _dollar_gamma(some)
        np.add.at(curves[0], book[call], gamma[call])
        np.add.at(curves[1], book[~call], gamma[~call])
    return curves[0], curves[1]


def _dollar_gamma(options: pl.DataFrame) -> Array:
    """Open interest x gamma x forward^2 / 100 of each option at each move, rupees."""
    f, k, iv, years, discount, oi = (
        options[name].cast(pl.Float64).to_numpy()[:, None]
        for name in ("forward", "strike", "iv", "years_to_expiry", "discount_factor", "oi_units")
    )
    moves = np.linspace(-REACH, REACH, _STEPS)
    total = iv * np.sqrt(years)
    d1 = (np.log(f / k) + moves) / total + total / 2
    density = np.exp(-d1 * d1 / 2) / _ROOT_2_PI
    return np.asarray(oi * discount * density * f * np.exp(moves) / total * _PER_CENT)


def flips(curves: Array) -> Array:
    """The move nearest to none at which each curve changes sign; NaN where it does not.

    `curves` has shape (n, steps) over moves from -REACH to REACH; linear between steps. A book
    without any exposure changes no sign.
    """
    moves = np.linspace(-REACH, REACH, _STEPS)
    left, right = curves[:, :-1], curves[:, 1:]
    crosses = (left < 0) != (right < 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        roots = moves[:-1] + (moves[1:] - moves[:-1]) * left / (left - right)
    roots = np.where(crosses, roots, np.nan)
    distance = np.where(crosses, np.abs(roots), np.inf)
    nearest = np.argmin(distance, axis=1)
    return np.asarray(roots[np.arange(len(roots)), nearest])


def _under(books: pl.DataFrame, calls: Array, puts: Array, assumption: str) -> pl.DataFrame:
    """The books' exposure and flip level under one assumption."""
    if assumption in ASSUMED:
        call, put = ASSUMED[assumption]
        books = books.with_columns(call_weight=pl.lit(call), put_weight=pl.lit(put))
    weights = books.select("call_weight", "put_weight").cast(pl.Float64)
    call_weight, put_weight = (w.to_numpy()[:, None] for w in weights)
    curves = call_weight * calls + put_weight * puts
    now = _STEPS // 2
    spot = books["spot"].cast(pl.Float64).to_numpy()
    figures = {
        "call_gamma_rupees": calls[:, now],
        "put_gamma_rupees": puts[:, now],
        "exposure_rupees": curves[:, now],
        "flip_level": spot * np.exp(flips(curves)),
    }
    solved = books.with_columns(
        pl.Series(name, values, pl.Float64, nan_to_null=True) for name, values in figures.items()
    )
    bare = pl.col("options") == 0
    reason = (
        pl.when(bare)
        .then(pl.lit("no_volatility"))
        .when(pl.col("call_weight").is_null() | pl.col("put_weight").is_null())
        .then(pl.lit("no_positions"))
        .when(pl.col("flip_level").is_null())
        .then(
            pl.when(pl.col("spot").is_null()).then(pl.lit("no_spot")).otherwise(pl.lit("no_flip"))
        )
    )
    measured = [pl.when(~bare).then(pl.col(name)).alias(name) for name in figures]
    return solved.with_columns(measured).with_columns(assumption=pl.lit(assumption), reason=reason)


def _labelled(rows: pl.DataFrame, key: tuple[str, ...]) -> pl.DataFrame:
    """The label that all assumptions with a verdict share, on each of a book's rows."""
    flip, spot = pl.col("flip_level"), pl.col("spot")
    judged = pl.col("reason").is_null() | (pl.col("reason") == "no_flip")
    apart = flip.filter(judged).max() - flip.filter(judged).min()
    label = (
        pl.when(judged.sum() == 0)
        .then(None)
        .when(flip.filter(judged).count() == 0)
        .then(pl.lit("no_flip"))
        .when((flip.filter(judged).count() < judged.sum()) | (apart > AGREEMENT * spot.first()))
        .then(pl.lit("indeterminate"))
        .when(spot.first() >= flip.filter(judged).mean())
        .then(pl.lit("above_flip"))
        .otherwise(pl.lit("below_flip"))
    )
    labels = rows.group_by(key).agg(label=label)
    return rows.join(labels, on=key, how="left")
