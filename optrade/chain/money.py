"""Forward, money and offsets of a chain, at either grain.

Belongs here: what the close and the minute share once prices, spot and time are known. Does not
belong here: where those come from (`snapshot`, `minute`), the regression
(`optrade.pricing.forward`), the ladder itself (`optrade.contracts`).
"""

from __future__ import annotations

import polars as pl

from optrade.chain.grain import Grain
from optrade.contracts import strike_ladder
from optrade.division import quotient
from optrade.pricing.forward import forwards
from optrade.tables import IST

_SECONDS_A_YEAR = 365 * 86_400


def years_to_expiry() -> pl.Expr:
    """Calendar time to 15:30 of the expiry day over 365 days, 0 once it is past."""
    end = pl.col("expiry").dt.combine(pl.time(15, 30)).dt.replace_time_zone(IST)
    seconds = (end - pl.col("snapshot_at")).dt.total_seconds()
    return quotient(seconds.clip(lower_bound=0), _SECONDS_A_YEAR).alias("years_to_expiry")


def with_forwards(
    options: pl.DataFrame,
    quotes: pl.DataFrame,
    futures: pl.DataFrame,
    rate: float,
    grain: Grain,
) -> pl.DataFrame:
    """The options with forward, discount_factor, forward_basis, parity_pairs and the money's basis.

    `options` has the grain's expiry columns, spot and years_to_expiry; `quotes` (strike,
    option_type, price, volume) and `futures` (price, volume) are as in
    `optrade.pricing.forward.forwards`. `reference` is what the money is measured from.
    """
    expiries = options.group_by(grain.expiry).agg(
        pl.col("spot").first(), years=pl.col("years_to_expiry").first()
    )
    quotes, futures, expiries = (_by_instant(f, grain) for f in (quotes, futures, expiries))
    found = forwards(quotes, futures, expiries, rate)
    reference = pl.coalesce("spot", "forward")
    return options.join(
        found.rename({"trade_date": grain.instant}),
        on=[grain.instant, "underlying", "expiry"],
    ).with_columns(
        reference=reference,
        atm_basis=pl.when(pl.col("spot").is_not_null())
        .then(pl.lit("spot"))
        .when(reference.is_not_null())
        .then(pl.lit("forward")),
    )


def with_offsets(options: pl.DataFrame, listed: pl.DataFrame, grain: Grain) -> pl.DataFrame:
    """The options with atm_strike and strike_offset, on the ladder of the strikes `listed`.

    `listed` has the grain's expiry columns, strike and `reference`, one price per expiry.
    """
    ladder = strike_ladder(_by_instant(listed, grain), "reference")
    return options.join(
        ladder.rename({"trade_date": grain.instant}),
        on=[grain.instant, "underlying", "expiry", "strike"],
    )


def _by_instant(frame: pl.DataFrame, grain: Grain) -> pl.DataFrame:
    """The frame with its instant in the place of the date, which only tells groups apart there."""
    return frame.with_columns(trade_date=grain.instant)
