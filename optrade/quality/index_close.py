"""Index closes: the indices options are written on are there, and the figures hang together.

Belongs here: rules of `raw.index_close`. Does not belong here: spot against futures and
options (`chain`).
"""

from __future__ import annotations

from datetime import date

import polars as pl

from optrade.quality import remedies
from optrade.quality.rules import DAY, Inputs, Rule, counted, largest, missing, shrinkage, words

TABLE = "raw.index_close"
KNOWN = {
    "Nifty 50": date(2015, 11, 9),
    "Nifty Bank": date(2015, 11, 9),
    "India VIX": date(2016, 1, 1),
    "Nifty Financial Services": date(2021, 1, 11),
    "Nifty Midcap Select": date(2022, 1, 24),
}
"""Indices every file must have, and since when: their names (earlier ones began with CNX) and,
for the last two, the first day options on them traded."""


def _absent(inputs: Inputs) -> pl.DataFrame:
    known = pl.DataFrame({"index_name": KNOWN.keys(), "since": KNOWN.values()})
    rows = inputs.frame(TABLE)
    expected = (
        rows.select(DAY)
        .unique()
        .join(known, how="cross")
        .filter(pl.col(DAY) >= pl.col("since"))
        .drop("since")
    )
    valued = rows.filter(pl.col("close") > 0)
    return missing(valued, expected, words("no {}", "index_name"))


def _outside_range(inputs: Inputs) -> pl.DataFrame:
    low, high = pl.col("low"), pl.col("high")
    inside = pl.col("open").is_between(low, high) & pl.col("close").is_between(low, high)
    return counted(
        inputs.frame(TABLE),
        ~inside,
        words("{}: open {} high {} low {} close {}", "index_name", "open", "high", "low", "close"),
    )


def _change_off(inputs: Inputs) -> pl.DataFrame:
    """Points against percent, in basis points of the close, beyond what rounding explains."""
    close = pl.col("close")
    implied = close - close / (1 + pl.col("change_pct") / 100)
    off = (pl.col("points_change") - implied).abs() / close * 10_000
    rounding = 0.5 + 50 / close  # 0.005 percent, and 0.005 points
    return largest(
        inputs.frame(TABLE),
        (off - rounding).clip(lower_bound=0),
        words("{}: {} points, {} %", "index_name", "points_change", "change_pct"),
    )


def _discontinuous(inputs: Inputs) -> pl.DataFrame:
    rows = inputs.with_previous(TABLE, ("index_name",), "close").filter(
        pl.col("index_name").is_in(list(KNOWN))
    )
    stated = pl.col("close") - pl.col("points_change")
    off = (stated - pl.col("close_before")).abs()
    return largest(
        rows,
        off,
        words("{}: {} before, now said {}", "index_name", "close_before", stated.round(2)),
    )


def _moved(inputs: Inputs) -> pl.DataFrame:
    rows = inputs.frame(TABLE).filter(
        pl.col("index_name").is_in(list(KNOWN)) & (pl.col("index_name") != "India VIX")
    )
    return largest(rows, pl.col("change_pct").abs(), words("{}: {} %", "index_name", "change_pct"))


def _vix_odd(inputs: Inputs) -> pl.DataFrame:
    rows = inputs.frame(TABLE).filter(pl.col("index_name") == "India VIX")
    return counted(rows, ~pl.col("close").is_between(6, 90), words("India VIX at {}", "close"))


def _fewer(inputs: Inputs) -> pl.DataFrame:
    return shrinkage(inputs, inputs.frame(TABLE))


RULES: tuple[Rule, ...] = (
    Rule(
        name="indices_present",
        table=TABLE,
        severity="ERROR",
        blocking=True,
        description="India VIX and the indices with options are there, above 0: "
        + ", ".join(f"{name} (from {since})" for name, since in KNOWN.items())
        + ".",
        remedy=remedies.REFETCH,
        threshold=0,
        unit="indices missing",
        measure=_absent,
    ),
    Rule(
        name="inside_day_range",
        table=TABLE,
        severity="ERROR",
        blocking=False,
        description="Open and close lie between low and high (all of 3,900 rows of 26 real "
        "days that state them).",
        remedy=remedies.REPARSE,
        threshold=0,
        unit="indices outside their range",
        measure=_outside_range,
    ),
    Rule(
        name="change_adds_up",
        table=TABLE,
        severity="ERROR",
        blocking=False,
        description="Points and percent of change tell one story, within 1 basis point of the "
        "close beyond what rounding to two places explains (0.025 on 26 real days).",
        remedy=remedies.REPARSE,
        threshold=1,
        unit="basis points off, at most",
        measure=_change_off,
    ),
    Rule(
        name="continues",
        table=TABLE,
        severity="ERROR",
        blocking=False,
        description="The close less the change is the close of the session before, for the indices "
        "that must be present, within 0.05 points (0.01 on 24 real pairs of days).",
        remedy=remedies.BACKFILL_PREVIOUS,
        threshold=0.05,
        unit="points off, at most",
        measure=_discontinuous,
        looks_back=True,
    ),
    Rule(
        name="move_is_ordinary",
        table=TABLE,
        severity="WARN",
        blocking=False,
        description="No index with options moved more than 8 % (2.5 % on 26 real days).",
        remedy=remedies.LOOK,
        threshold=8,
        unit="percent, at most",
        measure=_moved,
    ),
    Rule(
        name="vix_is_plausible",
        table=TABLE,
        severity="WARN",
        blocking=False,
        description="India VIX closes between 6 and 90 (11.65 to 15.65 on 26 real days; its "
        "records are about 8 and 87).",
        remedy=remedies.LOOK,
        threshold=0,
        unit="closes out of the band",
        measure=_vix_odd,
    ),
    Rule(
        name="rows_not_collapsed",
        table=TABLE,
        severity="WARN",
        blocking=False,
        description="At most 30 % fewer indices than the session before (10 % on 26 real days).",
        remedy=remedies.REFETCH,
        threshold=0.3,
        unit="share of rows lost",
        measure=_fewer,
        looks_back=True,
    ),
)
