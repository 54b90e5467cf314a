"""FII derivatives statistics: complete, adding up, and telling what the participant files tell.

Belongs here: rules of `raw.fii_stats`, identity 3 among them. Does not belong here: the
identity's arithmetic (`optrade.participants`).
"""

from __future__ import annotations

from functools import partial

import polars as pl

from optrade.participants import fii_disagreements
from optrade.quality import remedies
from optrade.quality.rules import DAY, Inputs, Rule, counted, largest, words
from optrade.tables import TABLES

TABLE = "raw.fii_stats"
OI, VOLUME = "raw.participant_oi", "raw.participant_volume"
PRODUCTS = ("index_future", "index_option", "stock_future", "stock_option")

_COUNTS = ("buy_contracts", "sell_contracts", "oi_contracts")
_VALUES = ("buy_crore", "sell_crore", "oi_crore")
_LAKH_PER_CRORE = 100


def _incomplete(inputs: Inputs) -> pl.DataFrame:
    rows = inputs.frame(TABLE).filter(pl.col("underlying") == "ALL")
    totals = (
        inputs.frame(TABLE)
        .select(DAY)
        .unique()
        .join(pl.DataFrame({"product": PRODUCTS}), how="cross")
    )
    marked = totals.join(
        rows.select(DAY, "product", held=pl.lit(value=True)),
        on=[DAY, "product"],
        how="left",
        maintain_order="left",
    )
    return counted(marked, pl.col("held").is_null(), words("no {} line", "product"))


def _parts_off(inputs: Inputs, columns: tuple[str, ...]) -> pl.DataFrame:
    """How far the indices of a product are from its own line."""
    is_total = pl.col("underlying") == "ALL"
    parts, totals = inputs.frame(TABLE).filter(~is_total), inputs.frame(TABLE).filter(is_total)
    both = (
        parts.group_by(DAY, "product")
        .agg(pl.col(columns).sum().name.suffix("_parts"))
        .join(totals, on=[DAY, "product"])
        .sort(DAY, "product")
    )
    off = pl.max_horizontal((pl.col(c) - pl.col(f"{c}_parts")).abs() for c in columns)
    return largest(both, off, words("{}: {} off", "product", off.round(2)))


def _disagreeing(inputs: Inputs, table: str, whats: tuple[str, ...]) -> pl.DataFrame:
    """Identity 3 against one of the participant files."""
    frames = {name: TABLES[name].empty() for name in (OI, VOLUME)} | {table: inputs.frame(table)}
    breaks = fii_disagreements(inputs.frame(TABLE), frames[OI], frames[VOLUME])
    compared = (
        inputs.frame(TABLE)
        .filter(pl.col("underlying") == "ALL")
        .select(DAY, "product")
        .join(pl.DataFrame({"what": whats}), how="cross")
    )
    return counted(
        compared.join(breaks, on=[DAY, "product", "what"], how="left", maintain_order="left"),
        pl.col("difference").is_not_null(),
        words("{} {}: {} against {}", "product", "what", "left_contracts", "right_contracts"),
    )


def _implausible_values(inputs: Inputs) -> pl.DataFrame:
    """Value over contracts, in lakh rupees a contract, for lines of 100 contracts and more."""
    long = pl.concat(
        [
            inputs.frame(TABLE).select(
                DAY, "product", "underlying", contracts=count, value=pl.col(value)
            )
            for count, value in zip(_COUNTS, _VALUES, strict=True)
        ]
    ).filter(pl.col("contracts") >= 100)
    lakh = pl.col("value") / pl.col("contracts") * _LAKH_PER_CRORE
    return counted(
        long,
        ~lakh.is_between(1, 60),
        words("{} {}: {} lakh a contract", "product", "underlying", lakh.round(2)),
    )


RULES: tuple[Rule, ...] = (
    Rule(
        name="complete",
        table=TABLE,
        severity="ERROR",
        blocking=True,
        description="Index and stock futures and options each have their own total line.",
        remedy=remedies.REFETCH,
        threshold=0,
        unit="product lines missing",
        measure=_incomplete,
    ),
    Rule(
        name="indices_sum_to_product",
        table=TABLE,
        severity="ERROR",
        blocking=True,
        description="The indices of a product add up to its line, within 3 contracts (at most 1 "
        "off on 10 real days).",
        remedy=remedies.REPARSE,
        threshold=3,
        unit="contracts off, at most",
        measure=partial(_parts_off, columns=_COUNTS),
    ),
    Rule(
        name="values_sum_to_product",
        table=TABLE,
        severity="ERROR",
        blocking=False,
        description="Their values too, within 0.1 crore (at most 0.02 off on 10 real days).",
        remedy=remedies.REPARSE,
        threshold=0.1,
        unit="crore rupees off, at most",
        measure=partial(_parts_off, columns=_VALUES),
    ),
    Rule(
        name="value_per_contract",
        table=TABLE,
        severity="WARN",
        blocking=False,
        description="A contract is worth 1 to 60 lakh rupees (6.6 to 20.1 on 10 real days): "
        "contracts and crores have not changed places.",
        remedy=remedies.REPARSE,
        threshold=0,
        unit="lines out of the band",
        measure=_implausible_values,
    ),
    Rule(
        name="agrees_with_open_interest",
        table=TABLE,
        severity="ERROR",
        blocking=True,
        description="Identity 3: open interest is FII's longs and shorts in "
        "`raw.participant_oi`; futures to the contract, options within 1 (so on all 9 real "
        "days seen).",
        remedy=remedies.REFETCH,
        threshold=0,
        unit="products that disagree",
        measure=partial(_disagreeing, table=OI, whats=("open_interest",)),
        needs=(OI,),
    ),
    Rule(
        name="agrees_with_volume",
        table=TABLE,
        severity="ERROR",
        blocking=True,
        description="Identity 3: bought and sold are FII's in `raw.participant_volume`; futures "
        "to the contract, options within 1 (on all 9 real days seen).",
        remedy=remedies.REFETCH,
        threshold=0,
        unit="figures that disagree",
        measure=partial(_disagreeing, table=VOLUME, whats=("bought", "sold")),
        needs=(VOLUME,),
    ),
)
