"""The premium each participant class paid for index options, as an interval.

Belongs here: what follows from contracts bought and sold by class and from the market's premium
by contract. Does not belong here: the premium itself (`optrade.chain.snapshot`).

Nobody publishes which strikes a class traded, so its flow is estimated: its net contracts at the
market's mean premium, with a spread and with sharp bounds. `docs/analytics.md` derives them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from optrade.participants.positions import classes
from optrade.tables.participants import PREMIUM_FLOW

Array = npt.NDArray[np.float64]

SEGMENTS: Final = ("index_call", "index_put")
STEP: Final = 1 / 64
"""The mean premium is rounded to so many rupees: contracts times it is then exact in binary, and
what the classes paid adds up to exactly 0."""
DEVIATIONS: Final = 2
"""How many standard deviations `low` and `high` lie from `mid`."""
DISAGREEMENT: Final = 0.1
"""By which share the lots with a known premium may miss the contracts the classes traded."""
FIGURES: Final = tuple(
    f"net_premium_flow_{name}_rupees" for name in ("floor", "low", "mid", "high", "ceiling")
)


@dataclass(frozen=True)
class Premiums:
    """The market's lots of one segment by premium, `lots` and `premium` of shape (n,), ascending.

    `premium` is rupees a contract (a lot); `expires` when some of the contracts expired that day.
    """

    lots: Array
    premium: Array
    expires: bool

    def scaled(self, total: float) -> Premiums:
        """The same premiums over `total` lots."""
        return replace(self, lots=self.lots * (total / self.lots.sum()))

    @property
    def mean(self) -> float:
        """Mean premium over lots, in steps of `STEP`."""
        mean = (self.lots * self.premium).sum() / self.lots.sum()
        return float(np.round(mean / STEP) * STEP)

    @property
    def deviation(self) -> float:
        """Standard deviation of the premium over lots."""
        away = (self.premium - self.mean) ** 2
        return float(np.sqrt((self.lots * away).sum() / self.lots.sum()))

    def cheapest(self, lots: Array) -> Array:
        """What so many lots cost when they are the cheapest that traded."""
        reached = np.concatenate([[0.0], np.cumsum(self.lots)])
        paid = np.concatenate([[0.0], np.cumsum(self.lots * self.premium)])
        return np.asarray(np.interp(lots, reached, paid), dtype=np.float64)

    def dearest(self, lots: Array) -> Array:
        """What so many lots cost when they are the dearest that traded."""
        total = self.lots.sum()
        return self.cheapest(total) - self.cheapest(total - lots)


def premium_flow(participant_volume: pl.DataFrame, chain: pl.DataFrame) -> pl.DataFrame:
    """Return the `participants.premium_flow` rows of every day in `raw.participant_volume` rows.

    `chain` holds `snapshots.chain_close` rows: trade_date, expiry, option_type, volume_lots,
    lot_size and average_price (the day's VWAP). On days without a premium for the contracts
    that traded the flows are null and `reason` says why.
    """
    traded = (
        classes(participant_volume)
        .filter(pl.col("segment").is_in(SEGMENTS))
        .select(
            "trade_date",
            "participant",
            "segment",
            "source",
            bought_contracts="long_contracts",
            sold_contracts="short_contracts",
            net_contracts=pl.col("long_contracts") - pl.col("short_contracts"),
        )
    )
    known = _premiums(chain)
    parts = [
        _estimated(rows, known.get(key))
        for key, rows in traded.sort("trade_date", "segment", "participant")
        .partition_by("trade_date", "segment", as_dict=True)
        .items()
    ]
    if not parts:
        return PREMIUM_FLOW.empty()
    rows = pl.concat(parts)
    deviation = pl.col("flow_deviation_rupees")
    return PREMIUM_FLOW.conform(
        pl.concat([rows, _totals(rows)], how="diagonal").with_columns(
            pl.when(deviation.is_finite()).then(deviation).alias("flow_deviation_rupees"),
            spread_basis=pl.when(deviation.is_finite())
            .then(pl.lit("deviation"))
            .when(deviation.is_infinite())
            .then(pl.lit("bounds")),
        )
    )


def _premiums(chain: pl.DataFrame) -> dict[tuple[object, ...], Premiums]:
    """The premiums of each day and segment that has any."""
    priced = (
        chain.filter(pl.col("volume_lots") > 0)
        .select(
            "trade_date",
            segment=pl.col("option_type").replace_strict(
                {"CE": "index_call", "PE": "index_put"}, return_dtype=pl.String()
            ),
            lots=pl.col("volume_lots").cast(pl.Float64),
            premium=pl.col("average_price") * pl.col("lot_size"),
            expires=pl.col("expiry") == pl.col("trade_date"),
        )
        .drop_nulls("premium")
        .sort("trade_date", "segment", "premium", "lots")
    )
    return {
        key: Premiums(
            rows["lots"].to_numpy(), rows["premium"].to_numpy(), bool(rows["expires"].any())
        )
        for key, rows in priced.partition_by("trade_date", "segment", as_dict=True).items()
    }


def _estimated(rows: pl.DataFrame, premiums: Premiums | None) -> pl.DataFrame:
    """The flows of the classes of one day and segment."""
    total = float(max(rows["bought_contracts"].sum(), rows["sold_contracts"].sum()))
    share = float(premiums.lots.sum()) / total if premiums and total else None
    reason = None
    if total == 0:
        reason = "no_trade"
    elif share is None:
        reason = "premium_not_held"
    elif abs(share - 1) > DISAGREEMENT:
        reason = "volumes_disagree"
    flows = _flows(rows, premiums.scaled(total)) if premiums and reason is None else {}
    unknown = np.full(rows.height, np.nan)
    return rows.with_columns(
        pl.Series(name, flows.get(name, unknown), pl.Float64, nan_to_null=True)
        for name in ("mean_premium_rupees", "flow_deviation_rupees", *FIGURES)
    ).with_columns(priced_share=pl.lit(share, pl.Float64), reason=pl.lit(reason, pl.String))


def _flows(rows: pl.DataFrame, premiums: Premiums) -> dict[str, Array]:
    """Estimate and bounds, each of shape (classes,); an unknown deviation is infinite."""
    bought, sold = (
        rows[f"{side}_contracts"].cast(pl.Float64).to_numpy() for side in ("bought", "sold")
    )
    net, gross = bought - sold, bought + sold
    mid = net * premiums.mean
    switched = gross * ((net**2).sum() / gross.sum())
    deviation = premiums.deviation * np.sqrt(net**2 + switched)
    if premiums.expires:  # Nets in what expires and in what stays cancel: they tell no scale.
        deviation = np.full(rows.height, np.inf)
    floor = premiums.cheapest(bought) - premiums.dearest(sold)
    ceiling = premiums.dearest(bought) - premiums.cheapest(sold)
    interval = _interval(np.minimum(floor, mid), mid, np.maximum(ceiling, mid), deviation)
    return {
        "mean_premium_rupees": np.full(rows.height, premiums.mean),
        "flow_deviation_rupees": deviation,
        **dict(zip(FIGURES, interval, strict=True)),
    }


def _interval(floor: Array, mid: Array, ceiling: Array, deviation: Array) -> tuple[Array, ...]:
    """Floor, low, mid, high and ceiling: the spread never leaves the bounds."""
    low = np.maximum(mid - DEVIATIONS * deviation, floor)
    high = np.minimum(mid + DEVIATIONS * deviation, ceiling)
    return floor, low, mid, high, ceiling


def _totals(rows: pl.DataFrame) -> pl.DataFrame:
    """Calls and puts together; null unless both are known."""
    col = pl.col
    floor, low, mid, high, ceiling = FIGURES
    deviation = "flow_deviation_rupees"

    def of_both(name: str, value: pl.Expr) -> pl.Expr:
        return pl.when(col(name).count() == len(SEGMENTS)).then(value).alias(name)

    return (
        rows.sort("trade_date", "participant", "segment")
        .group_by("trade_date", "participant", maintain_order=True)
        .agg(
            col("source").first(),
            col("bought_contracts", "sold_contracts", "net_contracts").sum(),
            *(of_both(name, col(name).sum()) for name in (floor, mid, ceiling)),
            of_both(deviation, (col(deviation) ** 2).sum().sqrt()),
            reason=col("reason").drop_nulls().first(),
        )
        .with_columns(
            pl.max_horizontal(floor, col(mid) - DEVIATIONS * col(deviation)).alias(low),
            pl.min_horizontal(ceiling, col(mid) + DEVIATIONS * col(deviation)).alias(high),
            segment=pl.lit("total"),
        )
    )
