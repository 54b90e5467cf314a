"""What a rule is, and how it is judged over many days at once.

Belongs here: the rule type, its inputs, evaluation, what rules about our own work share, and the
three shapes a measurement takes (a count, a share, a largest value). Does not belong here: any
particular rule; each family has its own module.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Literal

import polars as pl

from optrade.quality import remedies
from optrade.tables import TABLES

DAY = "trade_date"
SAMPLE_ROWS = 3
"""How many offending rows a verdict shows."""

_VERDICT_SCHEMA = {
    DAY: pl.Date(),
    "passed": pl.Boolean(),
    "checked": pl.Int64(),
    "found": pl.Float64(),
    "threshold": pl.Float64(),
    "sample": pl.String(),
    "detail": pl.String(),
}


@dataclass(frozen=True)
class Inputs:
    """What rules look at: rows of several days, and the calendar.

    `tables` maps a table's full name to its rows: those of the days to be judged and, for rules
    with `looks_back`, those of the session before each of them. `sessions` are the calendar's
    trading days over the same span, the session before the first day included.
    """

    tables: Mapping[str, pl.DataFrame]
    sessions: Collection[date] = field(default_factory=frozenset)

    def frame(self, table: str) -> pl.DataFrame:
        """Return the rows given of a table; none when it was not given."""
        given = self.tables.get(table)
        return TABLES[table].empty() if given is None else given

    def days(self, table: str) -> frozenset[date]:
        """Return the days of which a table has rows."""
        return frozenset(self.frame(table)[DAY].unique().drop_nulls())

    def previous(self) -> pl.DataFrame:
        """Return each session with the one before it: frame[trade_date, previous_date]."""
        ordered = pl.DataFrame({DAY: sorted(set(self.sessions))}, schema={DAY: pl.Date()})
        return ordered.with_columns(previous_date=pl.col(DAY).shift(1)).drop_nulls()

    def with_previous(self, table: str, on: Collection[str], *columns: str) -> pl.DataFrame:
        """Pair a table's rows with those of the session before, matched `on` columns.

        Returns the rows that have a counterpart, each with the counterpart's `columns` under
        the suffix `_before`. A null key equals a null key.
        """
        rows = self.frame(table)
        before = rows.select(
            pl.col(DAY).alias("previous_date"), *on, pl.col(columns).name.suffix("_before")
        )
        return rows.join(self.previous(), on=DAY, maintain_order="left").join(
            before, on=["previous_date", *on], nulls_equal=True, maintain_order="left"
        )


@dataclass(frozen=True)
class Rule:
    """One check of one table.

    `measure` gives frame[trade_date, checked (i64), found (number), sample (String)], at most
    one row a day: how many things were looked at, the number held against `threshold` (a day
    passes when `found <= threshold`), and a few offending rows as text. `unit` says what
    `found` counts. `needs` names the other tables it looks at; `looks_back` says that it also
    needs the rows of the session before. `blocking` is for data nothing may be built upon.
    """

    name: str
    table: str
    severity: Literal["ERROR", "WARN"]
    blocking: bool
    description: str
    remedy: str
    threshold: float
    unit: str
    measure: Callable[[Inputs], pl.DataFrame]
    needs: tuple[str, ...] = ()
    looks_back: bool = False

    def __post_init__(self) -> None:
        unknown = [name for name in (self.table, *self.needs) if name not in TABLES]
        if unknown:
            raise ValueError(f"rule {self.name}: no table is called {unknown[0]}")
        if self.blocking and self.severity != "ERROR":
            raise ValueError(f"rule {self.full_name}: only an ERROR can block")

    @property
    def full_name(self) -> str:
        """`group.table.rule`, the rule's one name everywhere."""
        return f"{self.table}.{self.name}"


def evaluate(rule: Rule, inputs: Inputs, dates: Collection[date]) -> pl.DataFrame:
    """Judge a rule on days.

    Returns frame[trade_date, passed, checked, found, threshold, sample, detail], one row for
    each of the `dates` on which the rule's own table has rows. `passed` is null where there is
    no verdict: a needed table has no rows of the day (or of the session before, for a rule
    that looks back), or there was nothing to check. A rule never claims what it did not see,
    and `detail` says why.

    Frames must have their declared columns: judge the rule `declared` first.
    """
    own = inputs.days(rule.table)
    judged = pl.DataFrame({DAY: sorted(own.intersection(dates))}, schema={DAY: pl.Date()})
    missing = pl.lit(None, pl.String())
    for table in reversed(rule.needs):
        absent = ~pl.col(DAY).is_in(list(inputs.days(table)))
        missing = pl.when(absent).then(pl.lit(f"{table} has no rows of the day")).otherwise(missing)
    if rule.looks_back:
        before = inputs.previous().filter(pl.col("previous_date").is_in(list(own)))[DAY]
        missing = (
            pl.when(~pl.col(DAY).is_in(before.implode()))
            .then(pl.lit("the session before is not held"))
            .otherwise(missing)
        )
    judged = judged.with_columns(missing=missing)
    if judged.is_empty() or not judged["missing"].has_nulls():
        measured = _NOTHING_MEASURED
    else:
        measured = rule.measure(inputs)
    return _verdicts(rule, judged, measured)


def _verdicts(rule: Rule, judged: pl.DataFrame, measured: pl.DataFrame) -> pl.DataFrame:
    seen = pl.col("missing").is_null() & (pl.col("checked") > 0)
    found = pl.col("found").round_sig_figs(7).cast(pl.String()).str.strip_suffix(".0")
    in_words = words(
        f"{{}} {rule.unit} (at most {rule.threshold:g}) over {{}} checked", found, "checked"
    )
    return (
        judged.join(measured, on=DAY, how="left")
        .with_columns(
            checked=pl.when(seen).then("checked").otherwise(0),
            found=pl.when(seen).then(pl.col("found").cast(pl.Float64())),
            sample=pl.when(seen & (pl.col("sample") != "")).then("sample"),
        )
        .with_columns(
            passed=pl.col("found") <= rule.threshold,
            threshold=pl.lit(float(rule.threshold)),
            detail=pl.when(pl.col("found").is_not_null())
            .then(in_words)
            .otherwise(words("not checked: {}", pl.col("missing").fill_null("nothing to check"))),
        )
        .select(pl.col(name).cast(dtype) for name, dtype in _VERDICT_SCHEMA.items())
        .sort(DAY)
    )


_NOTHING_MEASURED = pl.DataFrame(
    schema={DAY: pl.Date(), "checked": pl.Int64(), "found": pl.Float64(), "sample": pl.String()}
)


def own_error(
    table: str,
    name: str,
    description: str,
    unit: str,
    measure: Callable[[Inputs], pl.DataFrame],
    *needs: str,
    blocking: bool = False,
    threshold: float = 0,
) -> Rule:
    """A rule about our own work: what is off is an error, and making it anew is the remedy."""
    return Rule(
        name=name,
        table=table,
        severity="ERROR",
        blocking=blocking,
        description=description,
        remedy=remedies.REBUILD,
        threshold=threshold,
        unit=unit,
        measure=measure,
        needs=needs,
    )


def words(template: str, *parts: pl.Expr | str) -> pl.Expr:
    """Fill a template's `{}` with columns or expressions, as text; a null reads `null`.

    Joined piece by piece: `pl.format` of Polars 2.1.0 panics on some pairs of columns.
    """
    columns = [pl.col(part) if isinstance(part, str) else part for part in parts]
    filled = [column.cast(pl.String()).fill_null("null") for column in columns]
    first, *rest = (pl.lit(piece) for piece in template.split("{}"))
    pairs = zip(filled, rest, strict=True)
    return pl.concat_str(first, *(piece for pair in pairs for piece in pair))


def counted(rows: pl.DataFrame, bad: pl.Expr, text: pl.Expr) -> pl.DataFrame:
    """Measure how many rows are bad, day by day; a null verdict is not checked.

    `text` describes a bad row; it is only worked out for those.
    """
    rows = rows.with_columns(_bad=bad)
    checked = rows.group_by(DAY).agg(checked=pl.col("_bad").count().cast(pl.Int64()))
    return _with_found(checked, rows.filter(pl.col("_bad")), text)


def share(rows: pl.DataFrame, bad: pl.Expr, text: pl.Expr) -> pl.DataFrame:
    """Measure which share of the rows is bad, day by day; a null verdict is not checked."""
    return counted(rows, bad, text).with_columns(found=pl.col("found") / pl.col("checked"))


def largest(rows: pl.DataFrame, value: pl.Expr, text: pl.Expr) -> pl.DataFrame:
    """Measure the largest value, day by day; a null value is not checked, NaN is the largest.

    `text` describes a row; the largest above zero become the sample.
    """
    rows = rows.with_columns(_value=value.cast(pl.Float64())).drop_nulls("_value")
    rows = rows.with_columns(_value=pl.col("_value").fill_nan(float("inf")))
    top = (
        rows.filter(pl.col("_value") > 0)
        .filter(pl.col("_value").rank("ordinal", descending=True).over(DAY) <= SAMPLE_ROWS)
        .sort(DAY, "_value", descending=[False, True], maintain_order=True)
        .select(DAY, _text=text)
        .group_by(DAY, maintain_order=True)
        .agg(sample=_sample())
    )
    measured = rows.group_by(DAY).agg(
        checked=pl.len().cast(pl.Int64()), found=pl.col("_value").max()
    )
    return measured.join(top, on=DAY, how="left")


def missing(rows: pl.DataFrame, expected: pl.DataFrame, text: pl.Expr) -> pl.DataFrame:
    """Measure how many of the `expected` rows are absent, day by day.

    `expected` is frame[trade_date, ...]; `rows` is searched for the same values in those
    columns (a null matches nothing). Days without any row are not measured.
    """
    sought = expected.join(rows.select(DAY).unique(), on=DAY, how="semi", maintain_order="left")
    absent = sought.join(rows, on=expected.columns, how="anti", maintain_order="left")
    checked = sought.group_by(DAY).agg(checked=pl.len().cast(pl.Int64()))
    return _with_found(checked, absent, text)


def _with_found(checked: pl.DataFrame, bad: pl.DataFrame, text: pl.Expr) -> pl.DataFrame:
    found = (
        bad.select(DAY, _text=text)
        .group_by(DAY, maintain_order=True)
        .agg(found=pl.len(), sample=_sample())
    )
    return checked.join(found, on=DAY, how="left").with_columns(
        found=pl.col("found").fill_null(0).cast(pl.Float64())
    )


def shrinkage(inputs: Inputs, rows: pl.DataFrame) -> pl.DataFrame:
    """Measure by which share the rows became fewer since the session before, day by day."""
    sizes = rows.group_by(DAY).agg(now=pl.len())
    both = sizes.join(inputs.previous(), on=DAY).join(
        sizes.select(previous_date=DAY, before="now"), on="previous_date"
    )
    return largest(
        both, 1 - pl.col("now") / pl.col("before"), words("{} after {}", "now", "before")
    )


def _sample() -> pl.Expr:
    return pl.col("_text").head(SAMPLE_ROWS).str.join("; ")
