"""The broker's candles: of one minute that is over, and in order.

Belongs here: rules of `raw.candles`. Does not belong here: the minutes that candles fill (see
`minute`).
"""

from __future__ import annotations

import polars as pl

from optrade.quality import remedies
from optrade.quality.rules import Inputs, Rule, counted, words

CANDLES = "raw.candles"
_ROW = words("{} {}", pl.col("minute").dt.to_string("%H:%M"), "instrument_token")


def _disordered(inputs: Inputs) -> pl.DataFrame:
    low, high = pl.col("low"), pl.col("high")
    inside = pl.col("open").is_between(low, high) & pl.col("close").is_between(low, high)
    text = words("{}: {} {} {} {}", _ROW, "open", "high", "low", "close")
    return counted(inputs.frame(CANDLES), ~inside, text)


def _unfinished(inputs: Inputs) -> pl.DataFrame:
    early = pl.col("fetched_at") < pl.col("minute").dt.offset_by("1m")
    return counted(inputs.frame(CANDLES), early, words("{}: asked at {}", _ROW, "fetched_at"))


RULES: tuple[Rule, ...] = (
    Rule(
        name="prices_ordered",
        table=CANDLES,
        severity="ERROR",
        blocking=True,
        description="Open and close lie between low and high.",
        remedy=remedies.CANDLE,
        threshold=0,
        unit="candles out of order",
        measure=_disordered,
    ),
    Rule(
        name="minute_over",
        table=CANDLES,
        severity="ERROR",
        blocking=True,
        description="A candle was asked for when its minute was over.",
        remedy=remedies.CANDLE,
        threshold=0,
        unit="candles of an unfinished minute",
        measure=_unfinished,
    ),
)
