"""Files as fetched: what is held is whole, of its day, and what every raw row was read from.

Belongs here: rules of `raw.source_files`, and of raw rows against it. Does not belong here:
reading a file (`optrade.formats` refuses what it can't read), or rules about figures.
"""

from __future__ import annotations

from functools import partial

import polars as pl

from optrade.quality import remedies
from optrade.quality.rules import DAY, Inputs, Rule, counted, words

TABLE = "raw.source_files"
READ_FROM_FILES = (
    "raw.fo_bhavcopy",
    "raw.participant_oi",
    "raw.participant_volume",
    "raw.fii_stats",
    "raw.index_close",
    "snapshots.chain_close",
)

_DATE_SPELLINGS = ("%d%m%Y", "%Y%m%d", "%d%b%Y", "%d-%b-%Y")
_HELD = pl.col("status") == "held"


def _not_whole(inputs: Inputs) -> pl.DataFrame:
    has_bytes = (
        pl.col("sha256").str.contains("^[0-9a-f]{64}$")
        & (pl.col("bytes") > 0)
        & pl.col("fetched_at").is_not_null()
        & pl.col("stored_as").is_not_null()
    )
    explained = pl.col("detail").is_not_null()
    bad = pl.when(_HELD).then(~has_bytes.fill_null(value=False)).otherwise(~explained)
    return counted(inputs.frame(TABLE), bad, words("{} is {}", "kind", "status"))


def _of_another_day(inputs: Inputs) -> pl.DataFrame:
    name = pl.col("url").str.split("/").list.last().str.to_uppercase()
    spelt = [pl.col(DAY).dt.to_string(spelling).str.to_uppercase() for spelling in _DATE_SPELLINGS]
    named = pl.any_horizontal(name.str.contains(date, literal=True) for date in spelt)
    return counted(inputs.frame(TABLE).filter(_HELD), ~named, words("{}: {}", "kind", "url"))


def _turned_away(inputs: Inputs) -> pl.DataFrame:
    return counted(
        inputs.frame(TABLE),
        pl.col("status").is_in(["blocked", "refused"]),
        words("{} {}: {}", "kind", "status", pl.col("detail").fill_null("no detail")),
    )


def _untraceable(inputs: Inputs, table: str) -> pl.DataFrame:
    held = inputs.frame(TABLE).filter(_HELD).select(DAY, source_sha256="sha256", held=True).unique()
    read = inputs.frame(table).group_by(DAY, "source_sha256").agg(rows=pl.len())
    return counted(
        read.join(held, on=[DAY, "source_sha256"], how="left", maintain_order="left"),
        pl.col("held").is_null(),
        words("{} rows from {}", "rows", pl.col("source_sha256").str.slice(0, 12)),
    )


RULES: tuple[Rule, ...] = (
    Rule(
        name="held_means_kept",
        table=TABLE,
        severity="ERROR",
        blocking=False,
        description="A held file has its hash, size, time and place; one that is not held says "
        "why.",
        remedy=remedies.REFETCH,
        threshold=0,
        unit="answers without their evidence",
        measure=_not_whole,
    ),
    Rule(
        name="name_has_the_date",
        table=TABLE,
        severity="ERROR",
        blocking=False,
        description="The name of a held file has its trading day in it, in one of the four ways "
        "the exchange spells it.",
        remedy=remedies.REFETCH,
        threshold=0,
        unit="files of another day",
        measure=_of_another_day,
    ),
    Rule(
        name="not_turned_away",
        table=TABLE,
        severity="WARN",
        blocking=False,
        description="No file was blocked by its host or refused by its reader.",
        remedy=remedies.REFETCH,
        threshold=0,
        unit="files turned away",
        measure=_turned_away,
    ),
    *(
        Rule(
            name="traced_to_held_file",
            table=table,
            severity="ERROR",
            blocking=False,
            description="Every row was read from a file that is held for its day.",
            remedy=remedies.REPARSE if table.startswith("raw.") else remedies.REBUILD,
            threshold=0,
            unit="files read but not held",
            measure=partial(_untraceable, table=table),
            needs=(TABLE,),
        )
        for table in READ_FROM_FILES
    ),
)
