"""Every table's declaration holds together, and the page written from it is the one shipped."""

from __future__ import annotations

import ast
import re
from fnmatch import fnmatchcase
from pathlib import Path

import pandera.errors
import polars as pl
import pytest

from optrade.tables import TABLES, Table
from optrade.tables.docs import FILE, MADE_BY, allowed, page
from optrade.tables.quality import RECORD
from optrade.tables.schema import Column

ROOT = Path(__file__).parents[1]
EVERY = pytest.mark.parametrize("table", TABLES.values(), ids=lambda table: table.full_name)


def test_page_is_as_written() -> None:
    assert FILE.read_text(encoding="utf-8") == page(), "run `python -m optrade.tables.docs`"


def test_page_names_every_table_and_column_once() -> None:
    sections = page().split("\n### ")[1:]
    assert [section.splitlines()[0] for section in sections] == list(TABLES)
    for section, table in zip(sections, TABLES.values(), strict=True):
        rows = [line.split("`")[1] for line in section.splitlines() if line.startswith("| `")]
        assert rows == [column.name for column in table.columns]
        assert table.row in section
        assert table.method in section


def test_every_figure_is_explained() -> None:
    """`docs/analytics.md` names each number that is no part of a key, itself or by a pattern."""
    text = (ROOT / "docs" / "analytics.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`([a-z0-9_*]+)`", text)) - {"*"}
    keys = {name for table in TABLES.values() for name in table.key}
    figures = {
        (table.full_name, column.name)
        for table in TABLES.values()
        if table.group in ("analytics", "participants")
        for column in table.columns
        if column.dtype.is_numeric() and column.name not in keys
    }
    assert len(figures) > 300
    silent = [f for f in sorted(figures) if not any(fnmatchcase(f[1], name) for name in named)]
    assert silent == []


@EVERY
def test_declaration_says_everything(table: Table) -> None:
    assert table.method, "no method"
    assert not table.row.endswith(".")
    for column in table.columns:
        assert column.description, column.name
        assert column.sql_type
        if column.ge is not None or column.le is not None:
            assert column.unit, f"{column.name} has bounds but no unit"
    for name in table.key:
        column = table.column(name)
        assert not column.nullable or (table.full_name, name) == ("raw.fo_bhavcopy", "strike")
    assert table.columns[0].name == "trade_date"
    if table not in RECORD:  # what our own runs say has no other source
        assert table.column("source").isin == ("exchange", "kite", "simulated")


@EVERY
def test_the_module_that_makes_it_speaks_of_it(table: Table) -> None:
    tree = ast.parse((ROOT / MADE_BY[table.full_name]).read_text(encoding="utf-8"))
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    words = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    constant = table.name.upper()
    assert (
        table.full_name in words
        or constant in names
        or f"_{constant}" in names
        or (table.group == "raw" and any(table.name in str(word) for word in words))
    )


def test_made_by_knows_every_table() -> None:
    assert list(MADE_BY) == list(TABLES)


@EVERY
def test_what_follows_from_a_declaration_agrees(table: Table) -> None:
    empty = table.empty()
    table.pandera.validate(empty)
    assert table.conform(empty).schema == empty.schema
    create = table.ddl("lake")[1]
    for column in table.columns:
        assert f'"{column.name}" {column.sql_type}' in create


def test_bounds_words_and_nulls_are_checked() -> None:
    kind = Column("kind", pl.String(), "A word", isin=("a", "b"))
    share = Column("share", pl.Float64(), "A share", "fraction", nullable=True, ge=0, le=1)
    day = Column("trade_date", pl.Date(), "Day")
    table = Table("made", "up", "one row", (day, kind, share), ("trade_date",))
    rows = pl.DataFrame(
        {"trade_date": [None], "kind": ["a"], "share": [None]}, schema=table.schema
    ).with_columns(trade_date=pl.date(2026, 1, 1))
    table.pandera.validate(rows)
    for wrong in (
        {"kind": pl.lit("c")},
        {"kind": pl.lit(None, pl.String)},
        {"share": pl.lit(1.1)},
        {"share": pl.lit(-0.1)},
        {"trade_date": pl.lit(None, pl.Date)},
        {"share": pl.lit(1)},
    ):
        with pytest.raises(pandera.errors.SchemaError):
            table.pandera.validate(rows.with_columns(**wrong))
    assert (allowed(kind), allowed(share), allowed(day)) == ("`a`, `b`", "≥ 0, ≤ 1", "")


def test_bad_declarations_are_refused() -> None:
    day = Column("trade_date", pl.Date(), "Day")
    for columns, key in (((day, day), ("trade_date",)), ((day,), ("other",)), ((), ())):
        with pytest.raises(ValueError, match=r"table made\.up: bad declaration"):
            Table("made", "up", "one row", columns, key)
