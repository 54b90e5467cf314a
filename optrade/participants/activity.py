"""What each participant class held and traded in index derivatives.

Belongs here: sums over the index segments of one class and day. Does not belong here: classes
held against each other (`cross`), or changes from day to day (`ledger`).
"""

from __future__ import annotations

import polars as pl

from optrade.participants.positioning import RULE, positioning
from optrade.participants.positions import classes, ratio
from optrade.tables.participants import ACTIVITY

_KEY = ("trade_date", "participant")


def _wide(frame: pl.DataFrame, names: dict[str, tuple[str, str]]) -> pl.DataFrame:
    """One row per day and class; each name takes one side (`long`/`short`) of one segment."""
    sums = [
        pl.col(f"{side}_contracts").filter(pl.col("segment") == segment).sum().alias(name)
        for name, (segment, side) in names.items()
    ]
    return classes(frame).group_by(*_KEY).agg(pl.col("source").first(), *sums)


def activity(
    participant_oi: pl.DataFrame, participant_volume: pl.DataFrame, premium_flow: pl.DataFrame
) -> pl.DataFrame:
    """Return the `participants.activity` rows of every day in `raw.participant_oi` rows.

    `participant_volume` holds `raw.participant_volume` rows; on days it lacks, the traded
    figures are null and `reason` is `volume_file_not_held`. `premium_flow` holds
    `participants.premium_flow` rows, from which the totals are taken over.
    """
    rows = (
        _held(participant_oi)
        .join(_traded(participant_volume), on=_KEY, how="left")
        .join(_paid(premium_flow), on=_KEY, how="left")
    )
    return ACTIVITY.conform(_judged(_figures(rows)))


def _held(participant_oi: pl.DataFrame) -> pl.DataFrame:
    return _wide(
        participant_oi,
        {
            "call_long_oi_contracts": ("index_call", "long"),
            "call_short_oi_contracts": ("index_call", "short"),
            "put_long_oi_contracts": ("index_put", "long"),
            "put_short_oi_contracts": ("index_put", "short"),
            "future_long": ("index_future", "long"),
            "future_short": ("index_future", "short"),
        },
    )


def _traded(participant_volume: pl.DataFrame) -> pl.DataFrame:
    return _wide(
        participant_volume,
        {
            "call_bought_contracts": ("index_call", "long"),
            "call_sold_contracts": ("index_call", "short"),
            "put_bought_contracts": ("index_put", "long"),
            "put_sold_contracts": ("index_put", "short"),
            "future_bought": ("index_future", "long"),
            "future_sold": ("index_future", "short"),
        },
    ).drop("source")


def _paid(premium_flow: pl.DataFrame) -> pl.DataFrame:
    flows = [f"net_premium_flow_{name}_rupees" for name in ("low", "mid", "high")]
    return premium_flow.filter(pl.col("segment") == "total").select(
        *_KEY, *flows, premium_flow_reason="reason"
    )


def _figures(rows: pl.DataFrame) -> pl.DataFrame:
    """The figures the rule and the ratios are made of."""
    col = pl.col
    return rows.with_columns(
        call_oi_contracts=col("call_long_oi_contracts") + col("call_short_oi_contracts"),
        put_oi_contracts=col("put_long_oi_contracts") + col("put_short_oi_contracts"),
        call_volume_contracts=col("call_bought_contracts") + col("call_sold_contracts"),
        put_volume_contracts=col("put_bought_contracts") + col("put_sold_contracts"),
        net_index_future_contracts=col("future_long") - col("future_short"),
        net_index_future_volume_contracts=col("future_bought") - col("future_sold"),
        future_long_share=ratio(col("future_long"), col("future_long") + col("future_short")),
        option_net=col("call_long_oi_contracts")
        - col("call_short_oi_contracts")
        - col("put_long_oi_contracts")
        + col("put_short_oi_contracts"),
        option_net_volume=col("call_bought_contracts")
        - col("call_sold_contracts")
        - col("put_bought_contracts")
        + col("put_sold_contracts"),
    ).with_columns(option_oi=col("call_oi_contracts") + col("put_oi_contracts"))


def _judged(rows: pl.DataFrame) -> pl.DataFrame:
    """Ratios, leans, the positioning, and why anything is null."""
    col = pl.col
    unheld = pl.when(col("call_bought_contracts").is_null()).then(pl.lit("volume_file_not_held"))
    net_volume = col("net_index_future_volume_contracts") + col("option_net_volume")
    held = col("option_oi") + col("future_long") + col("future_short")
    return (
        rows.with_columns(
            pcr_oi=ratio(col("put_oi_contracts"), col("call_oi_contracts")),
            pcr_volume=ratio(col("put_volume_contracts"), col("call_volume_contracts")),
            option_lean=ratio(col("option_net"), col("option_oi")),
            traded_lean=ratio(net_volume, held),
            premium_flow_reason=pl.coalesce("premium_flow_reason", unheld),
            reason=unheld,
        )
        .with_columns(positioning=positioning(), positioning_rule=pl.lit(RULE))
        .with_columns(
            positioning_reason=pl.when(col("positioning").is_null()).then(
                pl.coalesce("reason", pl.lit("no_positions"))
            )
        )
    )
