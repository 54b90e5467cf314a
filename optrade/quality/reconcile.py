"""Our last minute against the exchange's close: `quality.reconciliation`.

Belongs here: the comparison, its tolerances, and naming the usual causes. Does not belong here:
the rules about its rows (`reconciliation`), the chains themselves.

Tolerances. Open interest and volume may differ by `SHARE` or `LOTS` lots, whichever is more: the
feed tells open interest some minutes late, and trades of the last second may not be heard. Prices
are compared last trade with last trade, never with the closing price, which is an average of
the last half hour; they may differ by `PRICE_SHARE` or `PRICE_RUPEES`, a trade after the last
packet. Previous open interest, lot sizes and strikes are facts: they agree or do not.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import polars as pl

from optrade.tables.reconciliation import RECONCILIATION

SHARE, LOTS = 0.05, 20
PRICE_SHARE, PRICE_RUPEES = 0.05, 0.5
ENOUGH: Final = 0.9
"""Of the contracts compared, so many agree where nothing is wrong (facts: all of them)."""
_LOT_NEAR: Final = 0.1
"""How near the ratio of two figures is to the lot size where one is in lots."""
_EXPIRY: Final = ("trade_date", "underlying", "expiry")
_CONTRACT: Final = (*_EXPIRY, "strike", "option_type")


@dataclass(frozen=True)
class _Field:
    """A figure: its name, the expression of it on either side, and the room between the two."""

    name: str
    ours: pl.Expr
    theirs: pl.Expr
    room: pl.Expr
    enough: float = ENOUGH


def _count(name: str, column: str) -> _Field:
    ours, theirs = pl.col(column), pl.col(f"{column}_close")
    lots = LOTS * pl.col("lot_size_close")
    room = pl.max_horizontal(SHARE * theirs, lots.fill_null(0))
    return _Field(name, ours, theirs, room)


_PRICE: Final = pl.col("last_price_close")
_FIELDS: Final = (
    _count("oi", "oi_units"),
    _count("volume", "volume_units"),
    _Field(
        "price",
        pl.col("last_price"),
        _PRICE,
        pl.max_horizontal(PRICE_SHARE * _PRICE, pl.lit(PRICE_RUPEES)),
    ),
    _Field(
        "previous_oi",
        pl.col("oi_units") - pl.col("oi_change_units"),
        pl.col("oi_units_close") - pl.col("oi_change_units_close"),
        pl.lit(0),
        1.0,
    ),
    _Field("lot_size", pl.col("lot_size"), pl.col("lot_size_close"), pl.lit(0), 1.0),
)
_KEPT: Final = ("oi_units", "oi_change_units", "volume_units", "last_price", "lot_size")


def reconcile(minute: pl.DataFrame, close: pl.DataFrame) -> pl.DataFrame:
    """`quality.reconciliation` of the days that both have.

    - `minute`: rows of `snapshots.chain_minute`; of each day only the last minute counts
    - `close`: rows of `snapshots.chain_close`

    A contract whose figure is null on either side is not compared. Expiries the exchange does
    not list are left to the strikes: all of theirs are extra.
    """
    last = minute.filter(pl.col("minute") == pl.col("minute").max().over("trade_date"))
    last = last.join(close.select("trade_date").unique(), on="trade_date", how="semi")
    if last.is_empty():
        return RECONCILIATION.empty()
    theirs = close.select(*_CONTRACT, pl.col(_KEPT).name.suffix("_close"), closed_at="snapshot_at")
    both = last.join(theirs, on=_CONTRACT, how="inner")
    ends = last.group_by(_EXPIRY).agg(pl.col("minute", "source").first())
    found = [_field(both, field) for field in _FIELDS]
    rows = pl.concat([*found, _strikes(last, close)], how="diagonal")
    return RECONCILIATION.conform(
        rows.join(ends, on=_EXPIRY, how="left").rename({"minute": "last_minute"})
    )


def _field(both: pl.DataFrame, field: _Field) -> pl.DataFrame:
    """A figure of each expiry."""
    rows = both.with_columns(_ours=field.ours, _theirs=field.theirs).with_columns(
        _room=field.room, _off=pl.col("_ours") - pl.col("_theirs")
    )
    other = pl.when(pl.col("option_type") == "CE").then(pl.lit("PE")).otherwise(pl.lit("CE"))
    opposite = rows.select(*_EXPIRY, "strike", option_type=other, _other="_theirs")
    rows = rows.join(opposite, on=_CONTRACT, how="left")
    ours, theirs, room = pl.col("_ours"), pl.col("_theirs"), pl.col("_room")
    known = pl.col("_off").is_not_null()
    inside = pl.col("_off").abs() <= room
    ratio = pl.max_horizontal(ours / theirs, theirs / ours)
    lot = pl.col("lot_size_close")
    by_lot = (ratio / lot - 1).abs() <= _LOT_NEAR
    telling = known & (ours > 0) & (theirs > 0) & (lot > 1)
    differs = known & ((pl.col("_other") - theirs).abs() > room)
    swapped = (ours - pl.col("_other")).abs() <= room
    worst = pl.col("_off").abs().arg_max()
    text = pl.format(
        "{} {}: {} against {}", pl.col("strike").cast(pl.String), "option_type",
        ours.cast(pl.String), theirs.cast(pl.String),
    )  # fmt: skip
    sums = rows.group_by(_EXPIRY).agg(
        compared=known.sum(),
        within=(known & inside).sum(),
        worst_difference=pl.col("_off").get(worst).cast(pl.Float64),
        sample=text.get(worst),
        early=(pl.col("minute") + timedelta(minutes=1) < pl.col("closed_at")).any(),
        by_lot=(telling & by_lot & ~inside).sum() > telling.sum() / 2,
        swapped=((differs & swapped).sum() > differs.sum() * ENOUGH) & (differs.sum() > 1),
    )
    enough = pl.col("within") >= field.enough * pl.col("compared")
    measured = field.name not in ("previous_oi", "lot_size")
    cause = (
        pl.when(enough)
        .then(None)
        .when(pl.lit(measured) & pl.col("early"))
        .then(pl.lit("ended_early"))
        .when(pl.lit(field.name != "price") & pl.col("by_lot"))
        .then(pl.lit("units_lots"))
        .when("swapped")
        .then(pl.lit("sides_swapped"))
        .otherwise(pl.lit("unexplained"))
    )
    unlike = pl.col("within") < pl.col("compared")
    return sums.select(
        *_EXPIRY, "compared", "within", "worst_difference",
        field=pl.lit(field.name), cause=cause, sample=pl.when(unlike).then("sample"),
    )  # fmt: skip


def _strikes(last: pl.DataFrame, close: pl.DataFrame) -> pl.DataFrame:
    """Contracts of each expiry that one side lacks, between our lowest and highest strike."""
    span = last.group_by(_EXPIRY).agg(lowest=pl.col("strike").min(), highest=pl.col("strike").max())
    listed = close.join(span, on=_EXPIRY).filter(pl.col("strike").is_between("lowest", "highest"))
    sides = last.select(*_CONTRACT, ours=True).join(
        listed.select(*_CONTRACT, theirs=True), on=_CONTRACT, how="full", coalesce=True
    )
    extra, missing = pl.col("theirs").is_null(), pl.col("ours").is_null()
    name = pl.format("{} {}", pl.col("strike").cast(pl.String), "option_type")
    rows = (
        sides.sort(_CONTRACT)
        .group_by(_EXPIRY)
        .agg(
            compared=pl.len(),
            within=(~extra & ~missing).sum(),
            extra=name.filter(extra),
            missing=name.filter(missing),
        )
    )
    lacking, beyond = pl.col("missing").list, pl.col("extra").list
    return rows.select(
        *_EXPIRY, "compared", "within",
        worst_difference=pl.lit(None, pl.Float64),
        field=pl.lit("strikes"),
        cause=pl.when(lacking.len() > 0)
        .then(pl.lit("missing_strikes"))
        .when(beyond.len() > 0)
        .then(pl.lit("extra_strikes")),
        sample=pl.when(lacking.len() + beyond.len() > 0).then(
            pl.format(
                "missing {}: {}; extra {}: {}",
                lacking.len(), lacking.head(3).list.join(", "),
                beyond.len(), beyond.head(3).list.join(", "),
            )
        ),
    )  # fmt: skip
