"""Gamma exposure adds up under each assumption, and says why where it is null.

Belongs here: rules of `analytics.gamma_exposure_*`, the same at both grains. Does not belong
here: rules of single options (`analytics`, `minute`).
"""

from __future__ import annotations

from functools import partial

import polars as pl

from optrade.quality.rules import DAY, Inputs, Rule, counted, largest, missing, own_error, words
from optrade.tables.exposure import ASSUMPTIONS

_BOOK = words("{} {}", "underlying", "assumption")
_ROUNDING = 1e-9
"""Share of the unsigned exposure by which a sum may be off."""


def _uncovered(inputs: Inputs, table: str, chain: str, moment: tuple[str, ...]) -> pl.DataFrame:
    names = pl.DataFrame({"assumption": ASSUMPTIONS})
    books = inputs.frame(chain).select(*moment, "underlying").unique().join(names, how="cross")
    return missing(inputs.frame(table), books.sort(*moment, "underlying", "assumption"), _BOOK)


def _off(inputs: Inputs, table: str) -> pl.DataFrame:
    call, put = pl.col("call_gamma_rupees"), pl.col("put_gamma_rupees")
    weighted = pl.col("call_weight") * call + pl.col("put_weight") * put
    away = (pl.col("exposure_rupees") - weighted).abs() / (call + put)
    return largest(inputs.frame(table), pl.when(call + put > 0).then(away), _BOOK)


def _unexplained(inputs: Inputs, table: str) -> pl.DataFrame:
    told = pl.col("reason").is_in(["no_volatility", "no_positions"]).fill_null(value=False)
    return counted(inputs.frame(table), pl.col("exposure_rupees").is_null() != told, _BOOK)


def _rules(grain: str, moment: tuple[str, ...]) -> tuple[Rule, ...]:
    table, chain = f"analytics.gamma_exposure_{grain}", f"snapshots.chain_{grain}"
    return (
        own_error(
            table,
            "covers_chain",
            "Every underlying of the chain has a row under each assumption.",
            "rows missing",
            partial(_uncovered, table=table, chain=chain, moment=moment),
            chain,
        ),
        own_error(
            table,
            "adds_up",
            "An exposure is the weighted sum of that of calls and of puts.",
            "share of the unsigned exposure, at most",
            partial(_off, table=table),
            blocking=True,
            threshold=_ROUNDING,
        ),
        own_error(
            table,
            "nulls_explained",
            "An exposure is null exactly where its reason says so.",
            "rows unexplained",
            partial(_unexplained, table=table),
        ),
    )


RULES: tuple[Rule, ...] = (*_rules("close", (DAY,)), *_rules("minute", (DAY, "minute")))
