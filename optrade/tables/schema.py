"""What a table declaration is: columns with types, units, bounds and words, and what follows.

Belongs here: `Column`, `Table` and the things derived from a declaration (Polars schema, lake
DDL, pandera model, documentation). Does not belong here: the declarations themselves (see the
module of each group beside this one) and anything that reads or writes data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import pandera.polars as pa
import polars as pl

IST = "Asia/Kolkata"
TIMESTAMP = pl.Datetime("us", IST)
"""Every instant in the lake: microseconds, timezone-aware, shown in India's time."""
DECIMAL_DIGITS = 18
"""As many as fit 64 bits."""

_SQL_TYPES: Mapping[pl.DataType, str] = {
    pl.Date(): "DATE",
    pl.String(): "VARCHAR",
    pl.Float64(): "DOUBLE",
    pl.Int64(): "BIGINT",
    pl.Int32(): "INTEGER",
    pl.Boolean(): "BOOLEAN",
    TIMESTAMP: "TIMESTAMPTZ",
}

_ROUNDING = 1e-6
"""What is left of a float's own rounding when its decimals are moved before the point."""


@dataclass(frozen=True)
class Column:
    """One named column.

    `unit` is a word for people (`units`, `lots`, `rupees`, `fraction a year`); the name carries
    it too where a figure could be mistaken. `ge`/`le` are inclusive bounds; `isin` lists the
    only words allowed. A null in a nullable column means "not known", never zero. A Float64
    column with `decimals` is stored as a number with just so many of them, exactly.
    """

    name: str
    dtype: pl.DataType
    description: str
    unit: str = ""
    nullable: bool = False
    ge: float | None = None
    le: float | None = None
    isin: tuple[str, ...] = ()
    decimals: int | None = None

    @property
    def sql_type(self) -> str:
        """The DuckDB type of this column."""
        if self.decimals is not None:
            return f"DECIMAL({DECIMAL_DIGITS},{self.decimals})"
        return _SQL_TYPES[self.dtype]

    def pandera(self) -> pa.Column:
        """This column as a pandera column with its bounds as checks."""
        checks = []
        if self.ge is not None:
            checks.append(pa.Check.greater_than_or_equal_to(self.ge))
        if self.le is not None:
            checks.append(pa.Check.less_than_or_equal_to(self.le))
        if self.isin:
            checks.append(pa.Check.isin(self.isin))
        return pa.Column(self.dtype, checks=checks, nullable=self.nullable, name=self.name)

    def within(self) -> pl.Expr:
        """Whether a value keeps the bounds and decimals; true for null."""
        value = pl.col(self.name)
        kept = [pl.lit(value=True)]
        kept += [value >= self.ge] if self.ge is not None else []
        kept += [value <= self.le] if self.le is not None else []
        if self.decimals is not None:
            scaled = value * 10**self.decimals
            kept.append((scaled - scaled.round()).abs() < _ROUNDING)
        return pl.all_horizontal(kept).fill_null(value=True)


@dataclass(frozen=True)
class Table:
    """One table of the lake: asset key, DuckDB schema and table are all `group.name`.

    `row` says what one row is. `key` columns identify a row (a null key value equals itself).
    `sort` is the order rows are written in; `trade_date` is always the partition. A table that
    grows during the day names in `part` the column whose value is replaced as a whole (a minute,
    a segment); other tables replace whole dates. A `compact` table is stored in fewer bytes that
    take longer to make; only such a table may have columns with `decimals`.
    """

    group: str
    name: str
    row: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    sort: tuple[str, ...] = ()
    method: str = ""
    part: str | None = None
    compact: bool = False
    extra_docs: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names = [c.name for c in self.columns]
        unknown = [n for n in (*self.key, *self.sort, *filter(None, [self.part])) if n not in names]
        if unknown or len(set(names)) != len(names) or "trade_date" not in names:
            raise ValueError(f"table {self.full_name}: bad declaration near {unknown or names}")
        exact = [c.name for c in self.columns if c.decimals is not None]
        if exact and not self.compact:
            raise ValueError(f"table {self.full_name}: {exact} have decimals; make it compact")

    @property
    def full_name(self) -> str:
        """`group.name`, the table's one name everywhere."""
        return f"{self.group}.{self.name}"

    @property
    def asset_path(self) -> tuple[str, str]:
        """The Dagster asset key's path."""
        return (self.group, self.name)

    @cached_property
    def schema(self) -> dict[str, pl.DataType]:
        """Column names and Polars types, in order."""
        return {c.name: c.dtype for c in self.columns}

    @property
    def order(self) -> tuple[str, ...]:
        """The columns rows are sorted by when written."""
        return self.sort or self.key

    def column(self, name: str) -> Column:
        """The declared column of that name; `KeyError` if there is none."""
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(f"{self.full_name} has no column {name!r}")

    def empty(self) -> pl.DataFrame:
        """A frame of this table with no rows."""
        return pl.DataFrame(schema=self.schema)

    def within(self) -> pl.Expr:
        """Whether every value of a row keeps its column's bounds and decimals."""
        return pl.all_horizontal(column.within() for column in self.columns)

    def conform(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Select and cast the declared columns, in order, sorted; extra columns are dropped.

        Raises `polars.exceptions.ColumnNotFoundError` when a declared column is missing.
        """
        columns = [pl.col(c.name).cast(c.dtype) for c in self.columns]
        return frame.select(columns).sort(self.order, nulls_last=False, maintain_order=True)

    def ddl(self, catalog: str) -> Sequence[str]:
        """The statements that create this table in an attached lake, partitioned by date."""
        body = ", ".join(f'"{c.name}" {c.sql_type}' for c in self.columns)
        name = f"{catalog}.{self.group}.{self.name}"
        return (
            f"CREATE SCHEMA IF NOT EXISTS {catalog}.{self.group}",
            f"CREATE TABLE {name} ({body})",
            f"ALTER TABLE {name} SET PARTITIONED BY (trade_date)",
        )

    @cached_property
    def pandera(self) -> pa.DataFrameSchema:
        """The whole table as a pandera model: types, nulls and bounds (not key uniqueness)."""
        return pa.DataFrameSchema(
            {c.name: c.pandera() for c in self.columns},
            strict=True,
            ordered=True,
            name=self.full_name,
        )
