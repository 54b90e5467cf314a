"""Every table keeps its declaration: types, nulls, bounds, words, key and date.

Belongs here: rules built from `optrade.tables` alone, the same for every table. Does not
belong here: anything that has to know what a table is about.
"""

from __future__ import annotations

import pandera.polars as pa
import polars as pl

from optrade.quality import remedies
from optrade.quality.rules import DAY, Inputs, Rule, counted, words
from optrade.tables import IST, TABLES, TIMESTAMP, Table
from optrade.tables.quality import RECORD


def _remedy(table: Table) -> str:
    return remedies.REPARSE if table.group == "raw" else remedies.REBUILD


def _named(key: list[str]) -> pl.Expr:
    """A row's key as text."""
    return words(" ".join("{}" for _ in key), *key)


def _declared(table: Table) -> Rule:
    """Rule: types, nulls, bounds and words are as declared, and no number is NaN or infinite."""

    def measure(inputs: Inputs) -> pl.DataFrame:
        rows = inputs.frame(table.full_name)
        faults = pl.concat([_model_faults(table, rows), _unnumbers(rows)])
        texts = faults.group_by("row").agg(pl.col("text").sort().str.join(", ")).sort("row")
        key = [name for name in table.key if name in rows.columns]
        marked = rows.select(key).with_row_index("row").with_columns(pl.col("row").cast(pl.Int64()))
        everywhere = texts.filter(pl.col("row") < 0)["text"]
        if len(everywhere):
            return counted(marked, pl.lit(value=True), pl.lit(everywhere[0]))
        return counted(
            marked.join(texts, on="row", how="left", maintain_order="left"),
            pl.col("text").is_not_null(),
            words("{}: {}", _named(key), "text"),
        )

    return Rule(
        name="declared",
        table=table.full_name,
        severity="ERROR",
        blocking=True,
        description="Types, nulls, bounds and words are as the table declares, and no number is "
        "NaN or infinite.",
        remedy=_remedy(table),
        threshold=0,
        unit="rows not as declared",
        measure=measure,
    )


_FAULTS = {"row": pl.Int64(), "text": pl.String()}


def _model_faults(table: Table, rows: pl.DataFrame) -> pl.DataFrame:
    """What the pandera model objects to: frame[row, text]; row -1 is the frame as a whole."""
    try:
        table.pandera.validate(rows, lazy=True)
    except pa.errors.SchemaErrors as errors:
        cases: pl.DataFrame = errors.failure_cases
        return cases.select(
            row=pl.col("index").cast(pl.Int64()).fill_null(-1),
            text=words("{} {} is not {}", "column", "failure_case", "check"),
        )
    return pl.DataFrame(schema=_FAULTS)


def _unnumbers(rows: pl.DataFrame) -> pl.DataFrame:
    """NaN and infinities, which pass a lower bound: frame[row, text]."""
    floats = [name for name, dtype in rows.schema.items() if dtype.is_float()]
    if rows.select(pl.all_horizontal(pl.col(floats).is_finite().all())).item() if floats else True:
        return pl.DataFrame(schema=_FAULTS)
    bad = pl.any_horizontal(~pl.col(floats).is_finite())
    named = pl.concat_str(
        [pl.when(~pl.col(n).is_finite()).then(pl.lit(f"{n} is not finite")) for n in floats],
        separator=", ",
        ignore_nulls=True,
    )
    return (
        rows.with_row_index("row")
        .filter(bad)
        .select(row=pl.col("row").cast(pl.Int64()), text=named)
    )


def _unique_key(table: Table) -> Rule:
    """Rule: no two rows share a key."""
    key = list(table.key)

    def measure(inputs: Inputs) -> pl.DataFrame:
        rows = inputs.frame(table.full_name).select(key)
        return counted(rows, pl.struct(key).is_duplicated(), _named(key))

    return Rule(
        name="unique_key",
        table=table.full_name,
        severity="ERROR",
        blocking=True,
        description=f"No two rows share {', '.join(key)}.",
        remedy=_remedy(table),
        threshold=0,
        unit="rows that share a key",
        measure=measure,
    )


_OF_THE_PAST = {"raw.ticks": ("exchange_at", "last_trade_at")}
"""Stamps of earlier days are in order there: a packet repeats the last thing that happened."""


def _inside_date(table: Table) -> Rule | None:
    """Rule: nothing in a row lies before its date, and a snapshot lies on it."""
    names = table.schema
    faults: list[tuple[pl.Expr, str]] = []
    if "expiry" in names:
        faults.append((pl.col("expiry") < pl.col(DAY), "expiry"))
    for name, dtype in names.items():
        if dtype == TIMESTAMP and name not in _OF_THE_PAST.get(table.full_name, ()):
            on = pl.col(name).dt.convert_time_zone(IST).dt.date()
            late = on != pl.col(DAY) if name == "snapshot_at" else on < pl.col(DAY)
            faults.append((late, name))
    if not faults:
        return None
    columns = [name for _, name in faults]

    def measure(inputs: Inputs) -> pl.DataFrame:
        bad = pl.any_horizontal(fault.fill_null(value=False) for fault, _ in faults)
        text = pl.concat_str([words(f"{name} {{}}", name) for name in columns], separator=" ")
        return counted(inputs.frame(table.full_name).select(DAY, *columns), bad, text)

    return Rule(
        name="inside_date",
        table=table.full_name,
        severity="ERROR",
        blocking=True,
        description="Nothing in a row lies before its trading day, and a snapshot lies on it: "
        f"{', '.join(columns)}.",
        remedy=_remedy(table),
        threshold=0,
        unit="rows outside their date",
        measure=measure,
    )


RULES: tuple[Rule, ...] = tuple(
    rule
    for table in TABLES.values()
    if table not in RECORD
    for rule in (_declared(table), _unique_key(table), _inside_date(table))
    if rule is not None
)
